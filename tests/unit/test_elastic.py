"""Elastic networks: one network of several segments, and ports that get a subnet, and with it a segment, by the scheduler."""

from collections import Counter

import pytest
from msgspec.structs import replace

from naru.compile.host import compile_host
from naru.model.agents import Agent
from naru.model.errors import Conflict, Invalid, NetworkPickRefused
from naru.model.hoststate import DhcpState, LeaseState, NetworkState, SegmentState, TapState
from naru.model.network_pools import NetworkPool
from naru.model.picks import NetworkPick
from naru.model.provider import ProviderSegment
from naru.model.requests import decode_create, decode_update
from naru.model.resources import Network, Port, Subnet, WantedIp
from naru.model.segments import Segment
from naru.service.candidates import facts_of
from naru.service.dhcp_agents import give_network
from naru.service.instances import ServerRequest, WantedNic, create_servers
from naru.service.network_pools import create_network_pool
from naru.service.networks import update_network
from naru.service.picks import create_pick
from naru.service.ports import create_port, create_ports, delete_port, update_port
from naru.service.subnets import update_subnet
from planning import ADMIN, CLOUD, MEMBER, PlainCloud

VLAN201, VLAN202 = ProviderSegment("vlan", "physnet2", 201), ProviderSegment("vlan", "physnet9", 202)


class Elastic(PlainCloud):
    """VLAN 201 is on physnet2, which compute01 and compute02 have; VLAN 202 on physnet9, which compute02 and compute03 have."""

    def __init__(self, *hosts: str) -> None:
        super().__init__()
        for name, *physical_networks in (("compute01", "physnet2"), ("compute02", "physnet2", "physnet9"), ("compute03", "physnet9")):
            if name in hosts or not hosts:
                self.host(name, "", physical_networks=tuple(physical_networks), vlan=True)

    def elastic(self, *cidrs: str, policy: str | None = "sequential", **given: object) -> Network:
        """A subnet for each segment, of 5 usable addresses where nothing else is said."""
        network = self.network(segments=(VLAN201, VLAN202), shared=True, subnet_policy=policy)
        for cidr, segment in zip(cidrs or ("10.0.1.0/29", "10.0.2.0/29"), self.view.find(Segment, "network_id", network.id), strict=False):
            self.subnet(network, cidr, segment_id=segment.id, **{"enable_dhcp": False} | given)
        return self.fresh(network)

    def fresh(self, network: Network) -> Network:
        found = self.view.get(Network, network.id)
        assert found is not None
        return found

    def bind(self, port: Port, host: str) -> Port:
        return self.run(update_port(self.view, ADMIN, port.id, {"binding_host_id": host}, CLOUD))

    def pick(self, **body: object) -> NetworkPick:
        return self.run(create_pick(self.view, MEMBER, decode_create(NetworkPick, body, MEMBER), CLOUD))

    def tags(self, *ports: Port) -> list[int | None]:
        """The VLAN of each."""
        subnets = [self.view.get(Subnet, port.fixed_ips[0].subnet_id) for port in ports]
        return [self.view.get(Segment, subnet.segment_id).segmentation_id for subnet in subnets]  # type: ignore[union-attr, arg-type]


@pytest.fixture
def cloud() -> Elastic:
    return Elastic()


# -- which segment


def test_a_port_gets_its_subnet_and_its_segment_at_once(cloud):
    network = cloud.elastic()
    ports = [cloud.port(network, MEMBER) for _ in range(10)]
    assert cloud.tags(*ports) == [201] * 5 + [202] * 5
    assert {port.ip_allocation for port in ports} == {"immediate"}
    with pytest.raises(Conflict, match=r"5 of 5 taken.*5 of 5 taken"):
        cloud.port(network, MEMBER)


@pytest.mark.parametrize(
    ("policy", "expected"), [("spread", [201, 202, 201, 202]), ("pack", [201, 201, 201, 201]), ("balanced", [201, 202, 201, 202])]
)
def test_the_networks_policy_chooses_among_its_segments(cloud, policy, expected):
    network = cloud.elastic(policy=policy)
    assert cloud.tags(*(cloud.port(network) for _ in range(4))) == expected


def test_a_bound_port_is_on_a_segment_that_its_host_carries(cloud):
    network = cloud.elastic(policy="spread")
    for host, tags in (("compute02", {201, 202}), ("compute01", {201}), ("compute03", {202})):
        assert set(cloud.tags(*(cloud.port(network, binding_host_id=host) for _ in range(2)))) == tags
    with pytest.raises(Conflict, match="not connected to any"):
        cloud.port(network, binding_host_id="elsewhere")


def test_a_full_segment_is_no_reason_to_go_where_the_host_is_not(cloud):
    network = cloud.elastic()
    for _ in range(5):
        cloud.port(network, binding_host_id="compute01")
    with pytest.raises(Conflict, match="No more IP addresses"):
        cloud.port(network, binding_host_id="compute01")
    assert cloud.tags(cloud.port(network, binding_host_id="compute02")) == [202]


def test_before_it_is_bound_a_port_is_on_a_segment_that_a_live_host_carries():
    cloud = Elastic("compute03")
    assert cloud.tags(cloud.port(cloud.elastic())) == [202]


def test_a_port_is_placed_anew_where_its_host_does_not_carry_what_was_chosen(cloud):
    network = cloud.elastic()
    stays, moves = cloud.port(network), cloud.port(network)
    assert cloud.tags(stays, moves) == [201, 201]
    assert cloud.bind(stays, "compute02").fixed_ips == stays.fixed_ips
    moved = cloud.bind(moves, "compute03")
    assert (cloud.tags(moved), moved.ip_allocation, moved.binding_vif_type) == ([202], "immediate", "bridge")
    assert cloud.view.addresses(moves.fixed_ips[0].subnet_id).free == 4

    with pytest.raises(Conflict) as refused:  # an instance knows its address by now
        cloud.bind(moved, "compute01")
    assert refused.value.type == "HostNotCompatibleWithFixedIps"


def test_an_address_that_was_asked_for_is_not_exchanged(cloud):
    network = cloud.elastic()
    port = cloud.port(network, fixed_ips=(WantedIp(ip_address="10.0.1.4"),))
    with pytest.raises(Conflict) as refused:
        cloud.bind(port, "compute03")
    assert refused.value.type == "HostNotCompatibleWithFixedIps"


def test_both_ip_versions_are_of_one_segment(cloud):
    network = cloud.elastic("10.0.1.0/29", "10.0.2.0/29", policy="spread")
    segments = list(cloud.view.find(Segment, "network_id", network.id))
    for number, segment in enumerate(segments, 1):
        cloud.subnet(network, f"fd00:0:0:{number}::/64", segment_id=segment.id, ipv6_address_mode="slaac", ipv6_ra_mode="slaac")
    ports = [cloud.port(network) for _ in range(4)]
    for port in ports:
        subnets = [cloud.view.get(Subnet, ip.subnet_id) for ip in port.fixed_ips]
        assert [subnet.ip_version for subnet in subnets] == [4, 6]
        assert len({subnet.segment_id for subnet in subnets}) == 1
    assert Counter(cloud.tags(*ports)) == {201: 2, 202: 2}
    named = cloud.port(network, fixed_ips=(WantedIp(subnet_id=network.subnets[1]),))
    assert len({cloud.view.get(Subnet, ip.subnet_id).segment_id for ip in named.fixed_ips}) == 1


def test_without_a_policy_a_routed_network_is_as_in_neutron(cloud):
    network = cloud.elastic(policy=None)
    assert cloud.port(network).ip_allocation == "deferred"
    cloud.run(update_network(cloud.view, ADMIN, network.id, decode_update(Network, {"subnet_policy": "spread"}, ADMIN), CLOUD))
    assert cloud.port(network).ip_allocation == "immediate"


# -- several subnets on one segment


def test_subnets_are_used_in_the_order_of_their_priority(cloud):
    network = cloud.network()
    for cidr, priority in (("10.0.1.0/29", 7), ("10.0.2.0/29", None), ("10.0.3.0/29", 0)):
        cloud.subnet(network, cidr, enable_dhcp=False, allocation_priority=priority)
    ports = [cloud.port(network) for _ in range(15)]
    assert [port.fixed_ips[0].ip_address[:7] for port in ports] == ["10.0.3."] * 5 + ["10.0.2."] * 5 + ["10.0.1."] * 5


def test_subnets_are_used_by_their_weight(cloud):
    network = cloud.network(subnet_policy="spread")
    small = cloud.subnet(network, "10.0.1.0/28", enable_dhcp=False)
    large = cloud.subnet(network, "10.0.2.0/28", enable_dhcp=False)
    cloud.run(update_subnet(cloud.view, ADMIN, large.id, decode_update(Subnet, {"allocation_weight": 2}, ADMIN), CLOUD))
    used = Counter(cloud.port(network).fixed_ips[0].subnet_id for _ in range(12))
    assert used == {large.id: 8, small.id: 4}  # 2 x 5 free, and 9
    with pytest.raises(Invalid):
        decode_update(Subnet, {"allocation_weight": -1}, ADMIN)


# -- picks


def test_a_pick_knows_the_room_that_a_host_can_reach(cloud):
    network = cloud.elastic()
    assert facts_of(cloud.view, network).ipv4.free == 10
    assert len(cloud.pick(count=5, host="compute01").placements) == 5
    with pytest.raises(NetworkPickRefused, match="full"):
        cloud.pick(host="compute01")
    (place,) = cloud.pick(host="compute02").placements
    assert cloud.view.get(Segment, place.segment_id).on_the_wire == VLAN202
    with pytest.raises(NetworkPickRefused, match="not on physical network physnet7"):
        cloud.pick(physical_network="physnet7")


def test_a_pick_spreads_its_addresses_over_the_segments(cloud):
    network = cloud.elastic(policy="spread")
    pick = cloud.pick(count=10)
    assert Counter(place.subnet_id for place in pick.placements) == dict.fromkeys(network.subnets, 5)
    given = decode_create(Port, {"pick_id": pick.id, "network_id": network.id}, MEMBER)
    port = cloud.run(create_port(cloud.view, MEMBER, given, CLOUD))
    assert port.fixed_ips == pick.placements[0].fixed_ips


def test_what_a_pick_held_is_exchanged_where_the_host_does_not_carry_it(cloud):
    cloud.elastic()
    pick = cloud.pick()
    given = decode_create(Port, {"pick_id": pick.id, "binding:host_id": "compute03"}, ADMIN)
    port = cloud.run(create_port(cloud.view, ADMIN, given, CLOUD))
    assert (cloud.tags(port), port.pick_id) == ([202], pick.id)
    assert [space.held for space in map(cloud.view.addresses, cloud.view.get(Network, port.network_id).subnets)] == [0, 0]


def test_what_is_exchanged_is_never_what_another_port_of_the_request_was_promised(cloud):
    network = cloud.elastic(policy="spread")
    pick = cloud.pick(count=4)
    body = {"pick_id": pick.id, "network_id": network.id, "binding:host_id": "compute03"}
    ports = cloud.run(create_ports(cloud.view, ADMIN, [decode_create(Port, body, ADMIN) for _ in range(4)], CLOUD))
    assert cloud.tags(*ports) == [202] * 4
    assert len({port.fixed_ips for port in ports}) == 4


def test_in_a_pool_an_elastic_network_is_as_large_as_all_its_segments(cloud):
    network = cloud.elastic()
    body = {"members": [{"network_id": network.id}], "is_default": True, "shared": True}
    cloud.run(create_network_pool(cloud.view, ADMIN, decode_create(NetworkPool, body, ADMIN), CLOUD))
    assert len(cloud.pick(count=10).placements) == 10


# -- servers


def test_a_server_runs_where_a_segment_has_room(cloud):
    network = cloud.elastic()
    for _ in range(5):
        cloud.port(network, binding_host_id="compute01")
    unnamed = ServerRequest("web", "1", "netns")
    for request in (unnamed, replace(unnamed, nics=(WantedNic(network_id=network.id),))):
        (server,) = cloud.run(create_servers(cloud.view, MEMBER, request, 1, 1, CLOUD))
        assert server.host in ("compute02", "compute03")
        assert cloud.tags(*cloud.view.find(Port, "device_id", server.id)) == [202]
    there = replace(unnamed, availability_zone="nova:compute01", nics=(WantedNic(network_id=network.id),))
    with pytest.raises(Conflict, match=r"compute01: host compute01 has no device for physical network physnet9"):
        cloud.run(create_servers(cloud.view, ADMIN, there, 1, 1, CLOUD))


def test_a_server_follows_the_addresses_of_its_port(cloud):
    port = cloud.port(cloud.elastic(), project_id="demo", fixed_ips=(WantedIp(ip_address="10.0.2.4"),))
    request = ServerRequest("web", "1", "netns", nics=(WantedNic(port_id=port.id),))
    (server,) = cloud.run(create_servers(cloud.view, MEMBER, request, 1, 1, CLOUD))
    assert server.host in ("compute02", "compute03")
    assert cloud.view.get(Port, port.id).fixed_ips == port.fixed_ips


# -- on the wire


def test_a_port_lands_in_the_bridge_of_its_segment(cloud):
    network = cloud.elastic(policy="spread")
    ports = [cloud.port(network, binding_host_id="compute02", device_owner="compute:nova") for _ in range(4)]
    desired = compile_host(cloud.view, "compute02")
    domains = {value.network_id: value.segments for value in desired.values() if isinstance(value, NetworkState)}
    wire = {port.id: domains[desired[f"tap/{port.id}"].network_id] for port in ports}
    state = {201: SegmentState("vlan", "physnet2", 201), 202: SegmentState("vlan", "physnet9", 202)}
    assert wire == {port.id: (state[tag],) for port, tag in zip(ports, cloud.tags(*ports), strict=True)}
    assert len(domains) == 2
    assert isinstance(desired[f"tap/{ports[0].id}"], TapState)


def test_each_segment_has_a_dhcp_server_on_a_host_that_carries_it(cloud):
    for name, physical_network in (("dhcp01", "physnet2"), ("dhcp02", "physnet9")):
        cloud.host(name, "", dhcp=True, physical_networks=(physical_network,), vlan=True)
    network = cloud.elastic(enable_dhcp=True)
    servers = {port.binding_host_id: port for port in cloud.view.find(Port, "dhcp", network.id)}
    assert [cloud.tags(servers[name]) for name in ("dhcp01", "dhcp02")] == [[201], [202]]

    ports = [cloud.port(network, binding_host_id=host) for host in ("compute01", "compute03")]
    for name, port in zip(("dhcp01", "dhcp02"), ports, strict=True):
        values = compile_host(cloud.view, name).values()
        assert [type(value) for value in values if isinstance(value, DhcpState)] == [DhcpState]
        assert [value.port_id for value in values if isinstance(value, LeaseState)] == [port.id]


def test_a_host_tells_only_of_the_leases_that_it_serves(cloud):
    for name, physical_network in (("dhcp01", "physnet2"), ("dhcp02", "physnet9")):
        cloud.host(name, "", dhcp=True, physical_networks=(physical_network,), vlan=True)
    port = cloud.port(cloud.elastic(enable_dhcp=True), binding_host_id="compute01", device_owner="compute:nova")
    cloud.report("compute01", ok=(f"tap/{port.id}",))
    cloud.report("dhcp01", ok=(f"lease/{port.id}",))
    assert cloud.view.get(Port, port.id).status == "ACTIVE"
    cloud.report("dhcp02", ok=(), full=True)
    assert cloud.view.get(Port, port.id).status == "ACTIVE"
    cloud.report("dhcp01", ok=(), full=True)
    assert cloud.view.get(Port, port.id).status == "DOWN"


def test_a_dhcp_server_that_went_comes_back_on_its_segment(cloud):
    cloud.host("dhcp01", "", dhcp=True, physical_networks=("physnet2", "physnet9"), vlan=True)
    network = cloud.elastic(enable_dhcp=True)
    first, second = cloud.view.find(Port, "dhcp", network.id)
    cloud.run(delete_port(cloud.view, ADMIN, first.id, CLOUD))
    servers = list(cloud.view.find(Port, "dhcp", network.id))
    assert second in servers
    assert sorted(cloud.tags(*servers)) == [201, 202]


def test_what_an_agent_is_given_are_the_segments_that_it_carries(cloud):
    cloud.host("dhcp01", "", dhcp=True, physical_networks=("physnet2", "physnet9"), vlan=True)
    network = cloud.elastic(enable_dhcp=True)
    cloud.host("dhcp02", "", dhcp=True, physical_networks=("physnet9",), vlan=True)
    agent = next(agent for agent in cloud.view.all(Agent) if agent.host == "dhcp02")
    cloud.run(give_network(cloud.view, ADMIN, agent.id, network.id))
    where = {tag: port.binding_host_id for port in cloud.view.find(Port, "dhcp", network.id) for tag in cloud.tags(port)}
    assert where == {201: "dhcp01", 202: "dhcp02"}
