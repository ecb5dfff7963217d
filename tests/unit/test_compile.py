"""From intent to hosts: what each host is told, and when a port is ACTIVE."""

from naru.compile.host import compile_host
from naru.model.compute import Server
from naru.model.hoststate import DhcpState, HostDescription, InstanceState, LeaseState, NetworkState, PeerState, SegmentState, TapState
from naru.model.provider import ProviderSegment
from naru.model.resources import DHCP_OWNER, Port, put
from naru.model.segments import Segment
from naru.service.hosts import register_host
from naru.service.instances import ServerRequest, create_servers
from naru.service.ports import delete_port
from planning import ADMIN, CLOUD, MEMBER, NOW, PlainCloud


def three_hosts() -> PlainCloud:
    cloud = PlainCloud()
    cloud.host("controller01", "172.18.0.30", dhcp=True)
    cloud.host("compute01", "172.18.0.31")
    cloud.host("compute02", "172.18.0.32")
    return cloud


def of_kind(state, kind):
    return [value for value in state.values() if isinstance(value, kind)]


def test_a_host_is_told_of_its_taps_its_peers_and_nothing_else():
    cloud = three_hosts()
    network = cloud.network("net1")
    subnet = cloud.subnet(network)
    here = cloud.port(network, binding_host_id="compute01")
    there = cloud.port(network, binding_host_id="compute02")

    state = compile_host(cloud.view, "compute01")

    (bridge,) = of_kind(state, NetworkState)
    assert (bridge.segments, bridge.mtu_bytes) == ((SegmentState("vxlan", None, 1),), 1450)
    assert [tap.port_id for tap in of_kind(state, TapState)] == [here.id]
    peers = {peer.port_id: (peer.vtep, peer.ip_addresses) for peer in of_kind(state, PeerState)}
    assert peers[there.id] == ("172.18.0.32", ("10.0.0.4",))
    (dhcp_port,) = [port for port in cloud.view.find(Port, "subnet_id", subnet.id) if port.device_owner == DHCP_OWNER]
    assert peers[dhcp_port.id] == ("172.18.0.30", ("10.0.0.2",))
    assert not of_kind(state, DhcpState)


def test_the_dhcp_host_serves_every_port_of_the_network_with_its_options():
    cloud = three_hosts()
    network = cloud.network("net1")
    cloud.subnet(network, dns_nameservers=("8.8.8.8",))
    port = cloud.port(network, binding_host_id="compute01")

    state = compile_host(cloud.view, "controller01")

    (dhcp,) = of_kind(state, DhcpState)
    assert (dhcp.netns, dhcp.subnets[0].server_address, dhcp.subnets[0].dns_nameservers) == (
        f"qdhcp-{network.id}",
        "10.0.0.2",
        ("8.8.8.8",),
    )
    (lease,) = of_kind(state, LeaseState)
    assert (lease.port_id, lease.mac_address, lease.ip_addresses) == (port.id, port.mac_address, ("10.0.0.3",))


def test_a_host_without_the_network_is_told_nothing_of_it():
    cloud = three_hosts()
    network = cloud.network("net1")
    cloud.subnet(network)
    cloud.port(network, binding_host_id="compute01")

    assert compile_host(cloud.view, "compute02") == {}


def test_a_flat_network_has_no_peers():
    cloud = three_hosts()
    network = cloud.network("flat", provider_network_type="flat", provider_physical_network="physnet2")
    cloud.subnet(network)
    cloud.port(network, binding_host_id="compute01")
    cloud.port(network, binding_host_id="compute02")

    state = compile_host(cloud.view, "compute01")

    assert [value.segments for value in of_kind(state, NetworkState)] == [(SegmentState("flat", "physnet2"),)]
    assert not of_kind(state, PeerState)


def several(*segments):
    """The attribute `segments` of a network, of (type, physical network, id)."""
    return tuple(ProviderSegment(*segment) for segment in segments)


def test_every_segment_that_a_host_carries_is_mapped_there():
    cloud = three_hosts()
    wire = [("vlan", "physnet2", 200), ("vlan", "physnet2", 201), ("vlan", "elsewhere", 7)]
    network = cloud.network("blog", segments=several(*wire))
    cloud.port(network, binding_host_id="compute01")

    (domain,) = of_kind(compile_host(cloud.view, "compute01"), NetworkState)

    assert (domain.network_id, domain.segments, domain.mtu_bytes) == (network.id, (SegmentState(*wire[0]), SegmentState(*wire[1])), 1500)


def test_a_tunnel_leads_only_to_hosts_that_no_physical_segment_reaches():
    cloud = PlainCloud()
    for name, address, wires in (
        ("compute01", "172.18.0.31", ("p1",)),
        ("compute02", "172.18.0.32", ("p1",)),
        ("compute03", "172.18.0.33", ()),
    ):
        cloud.run(register_host(cloud.view, name, HostDescription(physical_networks=wires, tunnel_address=address), NOW))
    network = cloud.network("mixed", segments=several(("vlan", "p1", 200), ("vxlan", None, 7)))
    for host in ("compute02", "compute03"):
        cloud.port(network, binding_host_id=host)
    cloud.port(network, binding_host_id="compute01")

    (peer,) = of_kind(compile_host(cloud.view, "compute01"), PeerState)

    assert (peer.vtep, peer.tunnel) == ("172.18.0.33", SegmentState("vxlan", None, 7))


def test_a_network_whose_subnets_are_tied_to_segments_is_a_domain_for_each():
    cloud = PlainCloud()
    for name, address, wire in (("compute01", "172.18.0.31", "p1"), ("compute02", "172.18.0.32", "p2")):
        cloud.run(register_host(cloud.view, name, HostDescription(physical_networks=(wire,), tunnel_address=address), NOW))
    network = cloud.network("routed", segments=several(("vlan", "p1", 200), ("vlan", "p2", 201)))
    first, second = sorted(cloud.view.find(Segment, "network_id", network.id), key=lambda segment: segment.segmentation_id)
    cloud.subnet(network, "10.0.1.0/24", segment_id=first.id, enable_dhcp=False)
    cloud.subnet(network, "10.0.2.0/24", segment_id=second.id, enable_dhcp=False)
    for number, (host, segment) in enumerate((("compute01", first), ("compute02", second)), 1):
        port = cloud.port(network, binding_host_id=host)
        (domain,) = of_kind(compile_host(cloud.view, host), NetworkState)
        (tap,) = of_kind(compile_host(cloud.view, host), TapState)
        assert (domain.network_id, domain.segments) == (segment.id, (SegmentState("vlan", f"p{number}", 199 + number),))
        assert (tap.port_id, tap.network_id) == (port.id, segment.id)


def test_a_port_is_active_only_when_its_tap_and_its_lease_are_both_reported():
    cloud = three_hosts()
    network = cloud.network("net1")
    cloud.subnet(network)
    port = cloud.port(network, binding_host_id="compute01")

    def status():
        return cloud.view.get(Port, port.id).status

    cloud.report("compute01", ok=(f"tap/{port.id}",))
    assert status() == "DOWN"
    cloud.report("controller01", ok=(f"lease/{port.id}",))
    assert status() == "ACTIVE"
    cloud.report("compute01", failed={f"tap/{port.id}": "the bridge is gone"})
    assert status() == "DOWN"


def test_a_host_cannot_speak_for_another_hosts_port():
    cloud = three_hosts()
    network = cloud.network("net1")
    cloud.subnet(network, enable_dhcp=False)
    port = cloud.port(network, binding_host_id="compute01")

    cloud.report("compute02", ok=(f"tap/{port.id}",))

    assert cloud.view.get(Port, port.id).status == "DOWN"


def test_what_a_full_report_does_not_name_is_not_there():
    cloud = three_hosts()
    network = cloud.network("net1")
    cloud.subnet(network, enable_dhcp=False)
    port = cloud.port(network, binding_host_id="compute01")
    cloud.report("compute01", ok=(f"tap/{port.id}",))

    cloud.report("compute01", full=True)

    assert cloud.view.get(Port, port.id).status == "DOWN"


def test_an_instance_runs_once_all_its_ports_are_active():
    cloud = three_hosts()
    network = cloud.network("net1", MEMBER)
    cloud.subnet(network, caller=MEMBER)
    (server,) = cloud.run(create_servers(cloud.view, MEMBER, ServerRequest("web1", "1", "netns"), 1, 1, CLOUD))
    (port,) = cloud.view.find(Port, "device_id", server.id)

    def instance() -> InstanceState:
        (found,) = of_kind(compile_host(cloud.view, server.host), InstanceState)
        return found

    assert (instance().running, instance().devices) == (False, ("eth0",))
    cloud.report(server.host, ok=(f"tap/{port.id}",))
    cloud.report("controller01", ok=(f"lease/{port.id}",))
    assert instance().running


def test_neighbours_on_a_network_are_spread_over_the_hosts():
    cloud = three_hosts()
    network = cloud.network("net1", MEMBER)
    cloud.subnet(network, caller=MEMBER)

    servers = cloud.run(create_servers(cloud.view, MEMBER, ServerRequest("web", "1", "netns"), 4, 4, CLOUD))

    assert sorted(server.host for server in servers) == ["compute01", "compute01", "compute02", "compute02"]


def test_a_port_of_a_hypervisor_is_adopted_not_made():
    cloud = three_hosts()
    network = cloud.network("net1")
    cloud.subnet(network)
    cloud.port(network, binding_host_id="compute01", device_owner="compute:nova", device_id="11111111-0000-4000-8000-000000000000")

    (tap,) = of_kind(compile_host(cloud.view, "compute01"), TapState)

    assert (tap.netns, tap.device) == (None, None)


def test_the_second_interface_of_an_instance_stays_eth1_when_the_first_port_is_deleted():
    cloud = three_hosts()
    network = cloud.network("net1")
    cloud.subnet(network)
    port = cloud.port(network, binding_host_id="compute01")
    server = Server(id="s1", name="web", host="compute01", flavor_id="1", image_id="netns", interfaces=("gone", port.id))
    cloud.run(iter_put(server))

    (tap,) = of_kind(compile_host(cloud.view, "compute01"), TapState)

    assert (tap.netns, tap.device) == ("instance-s1", "eth1")


def iter_put(resource):
    yield put(resource)


def test_a_full_network_gets_its_dhcp_server_as_soon_as_an_address_is_free():
    cloud = PlainCloud()
    cloud.host("compute01", "172.18.0.31")
    network = cloud.network("net1")
    cloud.subnet(network, "10.0.0.0/30")
    port = cloud.port(network)
    cloud.host("controller01", "172.18.0.30", dhcp=True)
    assert not [port for port in cloud.view.all(Port) if port.device_owner == DHCP_OWNER]

    cloud.run(delete_port(cloud.view, ADMIN, port.id, CLOUD))

    (server,) = cloud.view.all(Port)
    assert (server.device_owner, server.binding_host_id) == (DHCP_OWNER, "controller01")
