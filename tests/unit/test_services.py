"""What services decide, over a plain snapshot: addresses, DHCP servers, status, quotas, and that a refusal changes nothing."""

from datetime import timedelta
from ipaddress import ip_address

import msgspec
import pytest

from naru.model.agents import Agent
from naru.model.errors import Conflict, Forbidden, Invalid, NaruError, NotFound
from naru.model.hostreport import HostDescription, HostReport
from naru.model.resources import DHCP_OWNER, Network, Port, Quota, Subnet, WantedIp
from naru.service.availability import show_availability
from naru.service.binding import agent_of
from naru.service.dhcp import dhcp_ports
from naru.service.hosts import mark_silent_hosts, record_report, register_host
from naru.service.networks import delete_network, update_network
from naru.service.ports import create_port, delete_port, update_port
from naru.service.quotas import delete_quota, update_quota
from naru.service.subnets import delete_subnet, update_subnet
from planning import ADMIN, CLOUD, MEMBER, NOW, PlainCloud


@pytest.fixture
def cloud() -> PlainCloud:
    return PlainCloud()


def addresses(port: Port) -> list[str]:
    return [ip.ip_address for ip in port.fixed_ips]


def now_of(cloud: PlainCloud, port: Port) -> Port:
    found = cloud.view.get(Port, port.id)
    assert found is not None
    return found


# -- addresses


def test_a_port_gets_one_address_of_each_version(cloud):
    network = cloud.network()
    cloud.subnet(network, "10.0.0.0/28")
    cloud.subnet(network, "10.1.0.0/28")
    cloud.subnet(network, "fd00::/64")
    assert addresses(cloud.port(network)) == ["10.0.0.2", "fd00::2"]


def test_a_port_may_ask_for_so_many_addresses_and_keep_more_than_these(cloud):
    network = cloud.network()
    subnet = cloud.subnet(network, "10.0.0.0/24")
    asked, most = [WantedIp(subnet.id)] * 5, msgspec.structs.replace(CLOUD, max_fixed_ips_per_port=3)
    port = cloud.port(network, fixed_ips=asked)
    for plan in (
        create_port(cloud.view, ADMIN, {"network_id": network.id, "project_id": "admin", "fixed_ips": asked[:4]}, most),
        update_port(cloud.view, ADMIN, port.id, {"fixed_ips": [WantedIp(subnet.id)] * 6}, most),
    ):
        with pytest.raises(Invalid, match="Exceeded maximum amount of fixed ips per port: "):
            cloud.run(plan)
    another = WantedIp(subnet.id, "10.0.0.99")
    kept = [WantedIp(ip.subnet_id, ip.ip_address) for ip in port.fixed_ips[:4]]
    assert len(cloud.run(update_port(cloud.view, ADMIN, port.id, {"fixed_ips": [*kept, another]}, most)).fixed_ips) == 5
    assert (
        len(cloud.run(create_port(cloud.view, ADMIN, {"network_id": network.id, "fixed_ips": asked[:3], "project_id": ""}, most)).fixed_ips)
        == 3
    )


def test_the_next_subnet_gives_when_the_first_is_full(cloud):
    network = cloud.network()
    cloud.subnet(network, "10.0.0.0/29")
    cloud.subnet(network, "10.1.0.0/29")
    given = [addresses(cloud.port(network))[0] for _ in range(10)]
    assert given == [f"10.0.0.{last}" for last in range(2, 7)] + [f"10.1.0.{last}" for last in range(2, 7)]


def test_exhaustion_names_pools_and_counts(cloud):
    network = cloud.network()
    subnet = cloud.subnet(network, "10.0.0.0/30")
    cloud.port(network)
    with pytest.raises(Conflict) as refused:
        cloud.port(network)
    assert refused.value.type == "IpAddressGenerationFailure"
    for part in (network.id, subnet.id, "10.0.0.2-10.0.0.2", "1 of 1 taken"):
        assert part in str(refused.value)


def test_a_deleted_port_gives_its_address_back_but_last(cloud):
    network = cloud.network()
    cloud.subnet(network, "10.0.0.0/29")
    first = cloud.port(network)
    cloud.run(delete_port(cloud.view, ADMIN, first.id, CLOUD))
    assert [addresses(cloud.port(network))[0] for _ in range(5)] == ["10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2"]


def test_a_port_may_ask_twice_for_the_same_subnet(cloud):
    network = cloud.network()
    subnet = cloud.subnet(network, "10.0.0.0/29")
    port = cloud.port(network, fixed_ips=(WantedIp(subnet.id), WantedIp(subnet.id), WantedIp(None, "10.0.0.6")))
    assert sorted(addresses(port)) == ["10.0.0.2", "10.0.0.3", "10.0.0.6"]


def test_an_update_keeps_what_it_names_and_gives_back_the_rest(cloud):
    network = cloud.network()
    subnet = cloud.subnet(network, "10.0.0.0/29")
    port = cloud.port(network, fixed_ips=(WantedIp(subnet.id, "10.0.0.2"), WantedIp(subnet.id, "10.0.0.3")))
    wanted = {"fixed_ips": (WantedIp(None, "10.0.0.3"), WantedIp(None, "10.0.0.5"))}
    assert addresses(cloud.run(update_port(cloud.view, ADMIN, port.id, wanted, CLOUD))) == ["10.0.0.3", "10.0.0.5"]
    space = cloud.view.addresses(subnet.id)
    assert [number for number in range(2, 7) if space.is_free(int(ip_address(f"10.0.0.{number}")))] == [2, 4, 6]


def test_pools_that_move_leave_ports_their_addresses(cloud):
    network = cloud.network()
    subnet = cloud.subnet(network, "10.0.0.0/28")
    cloud.port(network)
    pool = type(subnet.allocation_pools[0])("10.0.0.8", "10.0.0.9")
    cloud.run(update_subnet(cloud.view, ADMIN, subnet.id, {"allocation_pools": (pool,)}, CLOUD))
    found = show_availability(cloud.view, ADMIN, network.id)
    assert (found.total_ips, found.used_ips) == (2, 1)
    assert addresses(cloud.port(network)) == ["10.0.0.8"]


def test_a_mac_is_taken_within_its_network_only(cloud):
    mac = {"mac_address": "fa:16:3e:00:00:01"}
    network = cloud.network()
    cloud.port(network, **mac)
    cloud.port(cloud.network(), **mac)
    with pytest.raises(Conflict) as refused:
        cloud.port(network, **mac)
    assert refused.value.type == "MacAddressInUse"


@pytest.mark.parametrize(
    ("wanted", "refusal"),
    [
        (WantedIp(None, "10.0.0.2"), "IpAddressAlreadyAllocated"),
        (WantedIp(None, "10.0.0.0"), "InvalidIpForNetwork"),
        (WantedIp(None, "10.0.0.15"), "InvalidIpForNetwork"),
        (WantedIp(None, "192.0.2.1"), "InvalidIpForNetwork"),
        (WantedIp("here", "192.0.2.1"), "InvalidIpForSubnet"),
        (WantedIp("elsewhere", None), "InvalidInput"),
        (WantedIp("nowhere", None), "SubnetNotFound"),
        (WantedIp(None, None), "InvalidInput"),
    ],
)
def test_an_address_that_cannot_be_had_is_refused_and_nothing_changes(cloud, wanted, refusal):
    network, other = cloud.network(), cloud.network()
    ids = {"here": cloud.subnet(network, "10.0.0.0/28").id, "elsewhere": cloud.subnet(other, "10.9.0.0/28").id, "nowhere": "nowhere"}
    cloud.port(network)
    done = len(cloud.changes)
    asked = WantedIp(ids.get(wanted.subnet_id) if wanted.subnet_id else None, wanted.ip_address)
    with pytest.raises(NaruError) as refused:
        cloud.port(network, fixed_ips=(asked,))
    assert refused.value.type == refusal
    assert len(cloud.changes) == done
    assert cloud.view.addresses(ids["here"]).allocated == 1


# -- DHCP servers


def test_a_subnet_brings_a_dhcp_server_to_the_host_with_the_fewest(cloud):
    cloud.host("controller01", "172.18.0.11", dhcp=True)
    cloud.host("controller02", "172.18.0.12", dhcp=True)
    networks = [cloud.network(f"n{number}") for number in range(4)]
    for network in networks:
        cloud.subnet(network)
    hosts = [port.binding_host_id for network in networks for port in dhcp_ports(cloud.view, network.id)]
    assert hosts == ["controller01", "controller02"] * 2


def test_a_host_that_comes_later_serves_what_nobody_serves(cloud):
    network = cloud.network()
    cloud.subnet(network)
    assert dhcp_ports(cloud.view, network.id) == []
    cloud.host("controller01", "172.18.0.11", dhcp=True)
    (server,) = dhcp_ports(cloud.view, network.id)
    assert (server.binding_host_id, server.device_owner, addresses(server)) == ("controller01", DHCP_OWNER, ["10.0.0.2"])


def test_one_server_serves_all_subnets_and_goes_with_the_last(cloud):
    cloud.host("controller01", "172.18.0.11", dhcp=True)
    network = cloud.network()
    first = cloud.subnet(network, "10.0.0.0/28")
    second = cloud.subnet(network, "10.1.0.0/28")
    (server,) = dhcp_ports(cloud.view, network.id)
    assert addresses(server) == ["10.0.0.2", "10.1.0.2"]
    cloud.run(update_subnet(cloud.view, ADMIN, first.id, {"enable_dhcp": False}, CLOUD))
    assert addresses(now_of(cloud, server)) == ["10.1.0.2"]
    cloud.run(delete_subnet(cloud.view, ADMIN, second.id, CLOUD))
    assert dhcp_ports(cloud.view, network.id) == []


def test_a_host_without_the_physical_network_serves_no_flat_network(cloud):
    cloud.host("controller01", "172.18.0.11", dhcp=True)
    near = cloud.network(provider_network_type="flat", provider_physical_network="physnet2")
    far = cloud.network(provider_network_type="flat", provider_physical_network="physnet9")
    for network in (near, far):
        cloud.subnet(network)
    assert len(dhcp_ports(cloud.view, near.id)) == 1
    assert dhcp_ports(cloud.view, far.id) == []


# -- what is in use stays


def test_a_network_goes_with_its_server_but_not_with_a_port(cloud):
    cloud.host("controller01", "172.18.0.11", dhcp=True)
    network = cloud.network()
    cloud.subnet(network)
    port = cloud.port(network)
    with pytest.raises(Conflict, match=port.id) as refused:
        cloud.run(delete_network(cloud.view, ADMIN, network.id, CLOUD))
    assert refused.value.type == "NetworkInUse"
    cloud.run(delete_port(cloud.view, ADMIN, port.id, CLOUD))
    cloud.run(delete_network(cloud.view, ADMIN, network.id, CLOUD))
    assert not any(cloud.view.size(kind) for kind in (Network, Subnet, Port))


def test_a_subnet_stays_while_a_port_has_its_address(cloud):
    network = cloud.network()
    subnet = cloud.subnet(network)
    port = cloud.port(network)
    with pytest.raises(Conflict, match=port.id):
        cloud.run(delete_subnet(cloud.view, ADMIN, subnet.id, CLOUD))


# -- binding and status


def test_a_port_is_bound_where_its_host_can_carry_the_network(cloud):
    cloud.host("compute01", "172.18.0.31")
    cloud.host("compute02", "")
    network = cloud.network()
    types = {host: cloud.port(network, binding_host_id=host).binding_vif_type for host in ("compute01", "compute02", "nobody", "")}
    assert types == {"compute01": "bridge", "compute02": "binding_failed", "nobody": "binding_failed", "": "unbound"}


@pytest.mark.parametrize(
    ("able", "network_type", "reason"),
    [
        ({"tunnel_address": None}, "vxlan", "host h has no tunnel address"),
        ({"physical_networks": ()}, "flat", "host h has no device for physical network p1"),
        ({"vlan": False, "physical_networks": ("p1",)}, "vlan", "the kernel of host h has no VLAN devices (8021q)"),
        ({"physical_networks": ("p2",)}, "vlan", "host h has no device for physical network p1"),
        ({"tunnel_address": "10.9.0.1"}, "geneve", "host h (linuxbridge) has no geneve tunnels"),
        ({"tunnel_address": "10.9.0.1"}, "local", "no agent wires local networks yet"),
    ],
)
def test_a_port_that_cannot_be_bound_says_why(cloud, able, network_type, reason):
    cloud.run(register_host(cloud.view, "h", HostDescription(**able), NOW, CLOUD))
    physical = {"provider_physical_network": "p1"} if network_type in ("flat", "vlan") else {}
    number = {} if network_type in ("flat", "local") else {"provider_segmentation_id": 7}
    network = cloud.network(provider_network_type=network_type, **physical, **number)
    port = cloud.port(network, binding_host_id="h")
    assert (port.binding_vif_type, port.binding_vif_details) == ("binding_failed", {"reason": reason})


def test_a_port_is_plugged_as_the_agent_of_its_host_says(cloud):
    details = {"bridge_name": "br-int", "datapath_type": "netdev", "ovs_hybrid_plug": False}
    description = HostDescription(
        "openvswitch", tunnel_address="10.9.0.1", tunnel_types=("vxlan", "geneve"), vif_type="ovs", vif_details=details
    )
    cloud.run(register_host(cloud.view, "h", description, NOW, CLOUD))
    assert agent_of(cloud.view, "h").agent_type == "Open vSwitch agent"
    port = cloud.port(cloud.network(provider_network_type="geneve", provider_segmentation_id=7), binding_host_id="h")
    assert (port.binding_vif_type, port.binding_vif_details) == ("ovs", {"port_filter": False, "connectivity": "l2", **details})


def test_a_port_that_could_not_be_bound_is_bound_once_its_host_can_carry_the_network(cloud):
    cloud.host("compute01", "")
    port = cloud.port(cloud.network(), binding_host_id="compute01")
    assert port.binding_vif_type == "binding_failed"
    cloud.host("compute01", "172.18.0.31")
    assert (now_of(cloud, port).binding_vif_type, now_of(cloud, port).status) == ("bridge", "DOWN")


def test_a_port_that_moves_starts_over(cloud):
    cloud.host("compute01", "172.18.0.31")
    cloud.host("compute02", "172.18.0.32")
    port = cloud.port(cloud.network(), binding_host_id="compute01")
    cloud.report("compute01", ok=(f"tap/{port.id}",))
    assert now_of(cloud, port).status == "ACTIVE"
    moved = cloud.run(update_port(cloud.view, ADMIN, port.id, {"binding_host_id": "compute02"}, CLOUD))
    assert (moved.status, moved.provisioned, moved.binding_vif_type) == ("DOWN", (), "bridge")


def test_a_port_switched_off_is_down_and_comes_back_as_it_was(cloud):
    cloud.host("compute01", "172.18.0.31")
    port = cloud.port(cloud.network(), binding_host_id="compute01")
    cloud.report("compute01", ok=(f"tap/{port.id}",))
    assert cloud.run(update_port(cloud.view, ADMIN, port.id, {"admin_state_up": False}, CLOUD)).status == "DOWN"
    assert cloud.run(update_port(cloud.view, ADMIN, port.id, {"admin_state_up": True}, CLOUD)).status == "ACTIVE"


def test_a_failure_takes_a_port_down(cloud):
    cloud.host("compute01", "172.18.0.31")
    port = cloud.port(cloud.network(), binding_host_id="compute01")
    cloud.report("compute01", ok=(f"tap/{port.id}",))
    cloud.report("compute01", failed={f"tap/{port.id}": "no such device"})
    assert now_of(cloud, port).status == "DOWN"


# -- hosts that fall silent


def test_a_silent_host_is_not_alive_until_it_reports_again(cloud):
    cloud.host("compute01", "172.18.0.31")
    later = NOW + timedelta(seconds=CLOUD.agent_down_time_s + 1)
    cloud.run(mark_silent_hosts(cloud.view, CLOUD, later))
    (agent,) = cloud.view.all(Agent)
    assert not agent.alive
    cloud.run(record_report(cloud.view, "compute01", HostReport(cloud.view.revision), later, CLOUD))
    (agent,) = cloud.view.all(Agent)
    assert agent.alive


def test_a_heartbeat_is_written_now_and_then_only(cloud):
    cloud.host("compute01", "172.18.0.31")
    done = len(cloud.changes)
    for seconds in (1, 5, 9, 11, 12):
        cloud.run(record_report(cloud.view, "compute01", HostReport(cloud.view.revision), NOW + timedelta(seconds=seconds), CLOUD))
    assert len(cloud.changes) == done + 1


def test_a_host_that_never_registered_reports_to_nobody(cloud):
    with pytest.raises(NotFound):
        cloud.report("compute09")


# -- who may what


def test_what_a_caller_may_not_see_is_not_there(cloud):
    network = cloud.network()
    for attempt in (
        create_port(cloud.view, MEMBER, {"network_id": network.id, "project_id": "demo"}, CLOUD),
        update_network(cloud.view, MEMBER, network.id, {"name": "mine"}, CLOUD),
        delete_network(cloud.view, MEMBER, network.id, CLOUD),
    ):
        with pytest.raises(NotFound) as refused:
            cloud.run(attempt)
        assert refused.value.type == "NetworkNotFound"


def test_on_a_shared_network_a_stranger_takes_what_he_is_given(cloud):
    network = cloud.network(shared=True)
    subnet = cloud.subnet(network)
    port = cloud.port(network, MEMBER)
    assert addresses(port) == ["10.0.0.2"]
    for asked in ({"mac_address": "fa:16:3e:00:00:01"}, {"fixed_ips": (WantedIp(None, "10.0.0.9"),)}, {"device_owner": "network:dhcp"}):
        with pytest.raises(Forbidden):
            cloud.port(network, MEMBER, **asked)
    assert addresses(cloud.port(network, MEMBER, fixed_ips=(WantedIp(subnet.id),))) == ["10.0.0.3"]
    with pytest.raises(Forbidden):
        cloud.run(delete_network(cloud.view, MEMBER, network.id, CLOUD))


def test_sharing_cannot_end_while_others_use_it(cloud):
    network = cloud.network(shared=True)
    port = cloud.port(network, MEMBER)
    with pytest.raises(Conflict) as refused:
        cloud.run(update_network(cloud.view, ADMIN, network.id, {"shared": False}, CLOUD))
    assert refused.value.type == "InvalidSharedSetting"
    cloud.run(delete_port(cloud.view, ADMIN, port.id, CLOUD))
    assert not cloud.run(update_network(cloud.view, ADMIN, network.id, {"shared": False}, CLOUD)).shared


# -- quotas


def test_a_quota_counts_what_there_is(cloud):
    cloud.run(update_quota(cloud.view, ADMIN, "demo", {"port": 2}, CLOUD))
    network = cloud.network(caller=MEMBER)
    first = cloud.port(network, MEMBER)
    cloud.port(network, MEMBER)
    with pytest.raises(Conflict, match="has 2 of 2") as refused:
        cloud.port(network, MEMBER)
    assert refused.value.type == "OverQuota"
    cloud.run(delete_port(cloud.view, MEMBER, first.id, CLOUD))
    cloud.port(network, MEMBER)


def test_a_quota_that_is_deleted_is_the_default_again(cloud):
    cloud.run(update_quota(cloud.view, ADMIN, "demo", {"port": 0}, CLOUD))
    cloud.run(delete_quota(cloud.view, ADMIN, "demo", CLOUD))
    assert cloud.view.size(Quota) == 0
    cloud.port(cloud.network(caller=MEMBER), MEMBER)


def test_quotas_are_the_administrators(cloud):
    with pytest.raises(Forbidden):
        cloud.run(update_quota(cloud.view, MEMBER, "demo", {"port": 1000}, CLOUD))
    with pytest.raises(Invalid, match="elephant"):
        cloud.run(update_quota(cloud.view, ADMIN, "demo", {"elephant": 1}, CLOUD))
