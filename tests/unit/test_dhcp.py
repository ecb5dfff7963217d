"""Which hosts serve DHCP for a network, what they are told, and when a port counts as served."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from naru.compile.host import compile_host
from naru.model.agents import Agent
from naru.model.errors import Conflict, Invalid
from naru.model.hostreport import HostReport
from naru.model.hoststate import ClientOption, DhcpState, LeaseState
from naru.model.port_options import DhcpOption
from naru.model.provider import ProviderSegment
from naru.model.resources import Port, Subnet, WantedIp
from naru.model.routing import INTERFACE_OWNER
from naru.model.segments import Segment
from naru.service.dhcp import dhcp_ports
from naru.service.dhcp_agents import agents_of_network, give_network, take_network
from naru.service.hosts import mark_silent_hosts, record_report
from naru.service.subnets import create_subnet, update_subnet
from planning import ADMIN, CLOUD, NOW, PlainCloud

LATER = NOW + timedelta(seconds=CLOUD.agent_down_time_s + 1)
TWO = replace(CLOUD, dhcp_agents_per_network=2)


@pytest.fixture
def cloud():
    made = PlainCloud()
    for number in (1, 2, 3):
        made.host(f"dhcp{number}", f"172.18.0.1{number}", dhcp=True, availability_zone="b" if number == 3 else "a")
    return made


def serving(cloud, network):
    return sorted(port.binding_host_id for port in dhcp_ports(cloud.view, network.id))


def subnet_of(cloud, network, settings, cidr="10.0.0.0/24"):
    wanted = {"network_id": network.id, "cidr": cidr, "ip_version": 4, "project_id": "admin"}
    return cloud.run(create_subnet(cloud.view, ADMIN, wanted, settings))


def fall_silent(cloud, host, settings=CLOUD):
    for agent in list(cloud.view.all(Agent)):
        if agent.host != host:
            cloud.run(record_report(cloud.view, agent.host, HostReport(cloud.view.revision), LATER, settings))
    cloud.run(mark_silent_hosts(cloud.view, settings, LATER))


def values(cloud, host, kind):
    return [value for value in compile_host(cloud.view, host).values() if isinstance(value, kind)]


def now_of(cloud, port):
    return cloud.view.get(Port, port.id)


def agent_on(cloud, host):
    (agent,) = cloud.view.find(Agent, "host", host)
    return agent


# -- how many, and where


def test_a_network_gets_as_many_servers_as_are_set_in_different_zones_first(cloud):
    network = cloud.network()
    subnet_of(cloud, network, TWO)
    assert serving(cloud, network) == ["dhcp1", "dhcp3"]
    addresses = {ip.ip_address for port in dhcp_ports(cloud.view, network.id) for ip in port.fixed_ips}
    assert addresses == {"10.0.0.2", "10.0.0.3"}


def test_where_fewer_hosts_can_each_serves_once(cloud):
    network = cloud.network()
    subnet_of(cloud, network, replace(CLOUD, dhcp_agents_per_network=9))
    assert serving(cloud, network) == ["dhcp1", "dhcp2", "dhcp3"]


def test_a_server_moves_with_its_addresses_when_its_host_falls_silent_and_stays_there(cloud):
    network = cloud.network()
    cloud.subnet(network)
    (before,) = dhcp_ports(cloud.view, network.id)
    fall_silent(cloud, before.binding_host_id)
    (after,) = dhcp_ports(cloud.view, network.id)
    assert (before.binding_host_id, after.binding_host_id) == ("dhcp1", "dhcp3")  # what fails together is avoided
    assert (after.id, after.fixed_ips, after.mac_address) == (before.id, before.fixed_ips, before.mac_address)
    assert values(cloud, "dhcp1", DhcpState) == []
    cloud.run(record_report(cloud.view, "dhcp1", HostReport(cloud.view.revision), LATER, CLOUD))
    assert serving(cloud, network) == ["dhcp3"]


def test_a_server_stays_on_a_silent_host_where_no_other_can(cloud):
    network = cloud.network()
    subnet_of(cloud, network, replace(CLOUD, dhcp_agents_per_network=3))
    fall_silent(cloud, "dhcp1")
    assert serving(cloud, network) == ["dhcp1", "dhcp2", "dhcp3"]


def test_an_administrator_adds_a_server_and_takes_it_away(cloud):
    network = cloud.network()
    cloud.subnet(network)
    second = agent_on(cloud, "dhcp2")
    cloud.run(give_network(cloud.view, ADMIN, second.id, network.id))
    assert [agent.host for agent in agents_of_network(cloud.view, ADMIN, network.id)] == ["dhcp1", "dhcp2"]
    with pytest.raises(Conflict, match="already hosted"):
        cloud.run(give_network(cloud.view, ADMIN, second.id, network.id))
    cloud.run(take_network(cloud.view, ADMIN, second.id, network.id))
    assert serving(cloud, network) == ["dhcp1"]


def test_what_nobody_can_serve_is_given_to_nobody(cloud):
    unserved = cloud.network()
    with pytest.raises(Invalid, match="no subnet that DHCP serves"):
        cloud.run(give_network(cloud.view, ADMIN, agent_on(cloud, "dhcp1").id, unserved.id))
    far = cloud.network(provider_network_type="flat", provider_physical_network="physnet9")
    cloud.subnet(far)
    with pytest.raises(Invalid, match="no device for physical network physnet9"):
        cloud.run(give_network(cloud.view, ADMIN, agent_on(cloud, "dhcp1").id, far.id))


def test_each_segment_of_a_routed_network_has_a_server_that_knows_its_own_ports(cloud):
    segments = (ProviderSegment("vxlan", None, 7), ProviderSegment("flat", "physnet2", None))
    network = cloud.network(segments=segments)
    for number, segment in enumerate(list(cloud.view.find(Segment, "network_id", network.id))):
        cloud.subnet(network, f"10.0.{number}.0/24", segment_id=segment.id)
    servers = dhcp_ports(cloud.view, network.id)
    assert len(servers) == 2
    ports = {}
    for subnet in list(cloud.view.find(Subnet, "network_id", network.id)):
        ports[subnet.segment_id] = cloud.port(network, fixed_ips=(WantedIp(subnet.id),))
    states = [state for host in ("dhcp1", "dhcp2", "dhcp3") for state in values(cloud, host, DhcpState)]
    leases = [lease for host in ("dhcp1", "dhcp2", "dhcp3") for lease in values(cloud, host, LeaseState)]
    assert {state.network_id for state in states} == set(ports)
    assert {lease.network_id: lease.port_id for lease in leases} == {segment_id: port.id for segment_id, port in ports.items()}


# -- when a port is served


def test_a_port_is_active_while_one_of_its_servers_has_its_lease(cloud):
    cloud.host("compute01", "172.18.0.31")
    network = cloud.network()
    subnet_of(cloud, network, TWO)
    port = cloud.port(network, binding_host_id="compute01")
    cloud.report("compute01", ok=(f"tap/{port.id}",))
    cloud.report("dhcp2", ok=(f"lease/{port.id}",))  # no server of this network
    assert now_of(cloud, port).status == "DOWN"
    cloud.report("dhcp1", ok=(f"lease/{port.id}",))
    assert now_of(cloud, port).status == "ACTIVE"
    cloud.report("dhcp3", ok=(f"lease/{port.id}",))
    cloud.report("dhcp1", failed={f"lease/{port.id}": "dnsmasq died"})
    assert now_of(cloud, port).status == "ACTIVE"
    cloud.report("dhcp3", gone=(f"lease/{port.id}",))
    assert now_of(cloud, port).status == "DOWN"


def test_an_ipv6_port_waits_for_a_lease_only_where_it_gets_one(cloud):
    cloud.host("compute01", "172.18.0.31")
    for mode, waits in (("dhcpv6-stateful", True), ("dhcpv6-stateless", False), ("slaac", False), (None, True)):
        network = cloud.network(f"net-{mode}")
        cloud.subnet(network, "fd00:6::/64", ipv6_ra_mode=mode, ipv6_address_mode=mode)
        port = cloud.port(network, binding_host_id="compute01")
        cloud.report("compute01", ok=(f"tap/{port.id}",))
        assert (now_of(cloud, port).status == "DOWN") is waits, mode


def test_a_port_waits_for_no_lease_once_dhcp_is_off(cloud):
    cloud.host("compute01", "172.18.0.31")
    network = cloud.network()
    subnet = cloud.subnet(network)
    port = cloud.port(network, binding_host_id="compute01")
    cloud.report("compute01", ok=(f"tap/{port.id}",))
    for enabled, status in ((False, "ACTIVE"), (True, "DOWN")):
        cloud.run(update_subnet(cloud.view, ADMIN, subnet.id, {"enable_dhcp": enabled}, CLOUD))
        assert now_of(cloud, port).status == status


# -- what a server is told


def test_a_server_of_ipv6_has_an_address_of_each_kind_and_advertises_until_a_router_is_there(cloud):
    network = cloud.network()
    for number, mode in enumerate(("dhcpv6-stateful", "slaac")):
        cloud.subnet(network, f"fd00:{number}::/64", ipv6_ra_mode=mode, ipv6_address_mode=mode)
    (server,) = dhcp_ports(cloud.view, network.id)
    port = cloud.port(network)
    (dhcp,) = values(cloud, "dhcp1", DhcpState)
    assert [(subnet.mode, subnet.advertised) for subnet in dhcp.subnets] == [("dhcpv6-stateful", True), ("slaac", True)]
    assert server.fixed_ips[1].ip_address.endswith(server.mac_address[-5:].replace(":", "").lstrip("0"))
    (lease,) = values(cloud, "dhcp1", LeaseState)
    assert lease.ip_addresses == tuple(ip.ip_address for ip in port.fixed_ips if ip.ip_address.startswith("fd00::"))
    cloud.port(network, device_owner=INTERFACE_OWNER, fixed_ips=(WantedIp(dhcp.subnets[0].subnet_id),))
    (dhcp,) = values(cloud, "dhcp1", DhcpState)
    assert not dhcp.subnets[0].advertised


def test_a_server_knows_the_options_of_each_port(cloud):
    network = cloud.network()
    cloud.subnet(network)
    cloud.port(network, extra_dhcp_opts=(DhcpOption("ntp-server", "10.0.0.9"), DhcpOption("59", "http://boot", 6)))
    (lease,) = values(cloud, "dhcp1", LeaseState)
    assert lease.options == (ClientOption("ntp-server", "10.0.0.9"), ClientOption("59", "http://boot", 6))


def test_without_dhcp_nothing_is_served(cloud):
    network = cloud.network()
    four, six = cloud.subnet(network), cloud.subnet(network, "fd00::/64")
    cloud.run(update_subnet(cloud.view, ADMIN, four.id, {"enable_dhcp": False}, CLOUD))
    (dhcp,) = values(cloud, "dhcp1", DhcpState)
    assert [subnet.subnet_id for subnet in dhcp.subnets] == [six.id]
    cloud.run(update_subnet(cloud.view, ADMIN, six.id, {"enable_dhcp": False}, CLOUD))
    assert compile_host(cloud.view, "dhcp1") == {}
