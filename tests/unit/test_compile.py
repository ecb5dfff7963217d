"""From intent to hosts: what each host is told, and when a port is ACTIVE."""

from msgspec.structs import replace

from naru.compile.host import compile_host
from naru.model.agents import Agent
from naru.model.compute import Server
from naru.model.devices import router_netns
from naru.model.hostreport import HostDescription, InstanceReport
from naru.model.hoststate import (
    DhcpState,
    FloatingAddress,
    ForwardedPorts,
    InstanceState,
    LeaseState,
    NetworkState,
    PeerState,
    Route,
    RouterState,
    SegmentState,
    TapState,
)
from naru.model.port_security import AddressPair
from naru.model.provider import ProviderSegment
from naru.model.resources import DHCP_OWNER, Change, HostRoute, Port, put
from naru.model.routing import FloatingIp, Router, WantedGateway
from naru.model.segments import Segment
from naru.service.floatingips import create_floating_ip, update_floating_ip
from naru.service.hosts import register_host
from naru.service.instances import ServerRequest, WantedNic, attach_interface, create_servers, detach_interface
from naru.service.port_forwardings import create_port_forwarding
from naru.service.ports import delete_port, update_port
from naru.service.router_hosts import ensure_router_hosts
from naru.service.router_interfaces import add_router_interface
from naru.service.routers import create_router, update_router
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


def test_only_where_addresses_may_be_elsewhere_hosts_ask_each_other_who_has_one():
    cloud = three_hosts()
    network, flat = cloud.network("net1"), cloud.network("net2")
    for each in (network, flat):
        cloud.subnet(each)
    port = cloud.port(network, binding_host_id="compute01")
    cloud.port(flat, binding_host_id="compute01")

    def roaming():
        return {value.network_id: value.roaming for value in of_kind(compile_host(cloud.view, "compute01"), NetworkState)}

    assert roaming() == {network.id: False, flat.id: False}  # the DHCP server's port is not filtered, and has its own addresses
    elsewhere = cloud.port(network)
    for given in ({"allowed_address_pairs": (AddressPair("10.0.0.99"),)}, {"port_security_enabled": False, "security_groups": ()}):
        cloud.run(update_port(cloud.view, ADMIN, elsewhere.id, given, CLOUD))
        assert roaming() == {network.id: True, flat.id: False}
        cloud.run(update_port(cloud.view, ADMIN, elsewhere.id, {"allowed_address_pairs": (), "port_security_enabled": True}, CLOUD))
        assert roaming() == {network.id: False, flat.id: False}
    assert port.port_security_enabled


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
        cloud.run(register_host(cloud.view, name, HostDescription(physical_networks=wires, tunnel_address=address), NOW, CLOUD))
    network = cloud.network("mixed", segments=several(("vlan", "p1", 200), ("vxlan", None, 7)))
    for host in ("compute02", "compute03"):
        cloud.port(network, binding_host_id=host)
    cloud.port(network, binding_host_id="compute01")

    (peer,) = of_kind(compile_host(cloud.view, "compute01"), PeerState)

    assert (peer.vtep, peer.tunnel) == ("172.18.0.33", SegmentState("vxlan", None, 7))


def test_a_network_whose_subnets_are_tied_to_segments_is_a_domain_for_each():
    cloud = PlainCloud()
    for name, address, wire in (("compute01", "172.18.0.31", "p1"), ("compute02", "172.18.0.32", "p2")):
        cloud.run(register_host(cloud.view, name, HostDescription(physical_networks=(wire,), tunnel_address=address), NOW, CLOUD))
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


def test_a_port_that_is_bound_after_its_lease_was_reported_waits_for_its_tap_alone():
    cloud = three_hosts()
    network = cloud.network("net1")
    cloud.subnet(network)
    port = cloud.port(network)
    cloud.report("controller01", ok=(f"lease/{port.id}",))
    cloud.run(update_port(cloud.view, ADMIN, port.id, {"binding_host_id": "compute01"}, CLOUD))
    assert cloud.view.get(Port, port.id).status == "DOWN"

    cloud.report("compute01", ok=(f"tap/{port.id}",))
    assert cloud.view.get(Port, port.id).status == "ACTIVE"


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


def test_an_interface_attached_to_a_running_instance_waits_for_its_own_port_and_stops_no_other():
    cloud = three_hosts()
    network = cloud.network("net1", MEMBER)
    cloud.subnet(network, caller=MEMBER)
    (server,) = cloud.run(create_servers(cloud.view, MEMBER, ServerRequest("web1", "1", "netns"), 1, 1, CLOUD))
    (first,) = cloud.view.find(Port, "device_id", server.id)

    def wire(port: Port) -> None:
        cloud.report(server.host, ok=(f"tap/{port.id}",))
        cloud.report("controller01", ok=(f"lease/{port.id}",))

    def instance() -> InstanceState:
        (found,) = of_kind(compile_host(cloud.view, server.host), InstanceState)
        return found

    wire(first)
    cloud.report(server.host, instances={server.id: InstanceReport("running")})
    second = cloud.run(attach_interface(cloud.view, MEMBER, server.id, WantedNic(network.id), CLOUD))
    (tap,) = (tap for tap in of_kind(compile_host(cloud.view, server.host), TapState) if tap.port_id == second.id)
    assert (tap.netns, tap.device) == (instance().netns, "eth1")
    assert (instance().running, instance().devices) == (True, ("eth0",))
    wire(second)
    assert (instance().running, instance().devices) == (True, ("eth0", "eth1"))

    cloud.run(detach_interface(cloud.view, MEMBER, server.id, first.id, CLOUD))
    assert (instance().running, instance().devices) == (True, ("eth1",))
    third = cloud.run(attach_interface(cloud.view, MEMBER, server.id, None, CLOUD))
    wire(third)
    assert instance().devices == ("eth0", "eth1")
    assert cloud.view.get(Server, server.id).interfaces == (third.id, second.id)


def test_an_interface_that_has_had_a_lease_goes_on_when_its_port_fails_and_a_new_one_in_its_place_waits():
    cloud = three_hosts()
    network = cloud.network("net1", MEMBER)
    cloud.subnet(network, caller=MEMBER)
    (server,) = cloud.run(create_servers(cloud.view, MEMBER, ServerRequest("web1", "1", "netns"), 1, 1, CLOUD))
    (port,) = cloud.view.find(Port, "device_id", server.id)

    def devices() -> tuple[str, ...]:
        (found,) = of_kind(compile_host(cloud.view, server.host), InstanceState)
        assert found.running
        return found.devices

    cloud.report(server.host, ok=(f"tap/{port.id}",))
    cloud.report("controller01", ok=(f"lease/{port.id}",))
    cloud.report(server.host, instances={server.id: InstanceReport("running", {"eth0": "10.0.0.5/28"})})
    cloud.report(server.host, failed={f"tap/{port.id}": "ovs-vswitchd does not answer"})
    assert cloud.view.get(Port, port.id).status == "DOWN"
    assert devices() == ("eth0",)

    cloud.run(detach_interface(cloud.view, MEMBER, server.id, port.id, CLOUD))
    cloud.run(attach_interface(cloud.view, MEMBER, server.id, None, CLOUD))
    assert devices() == ()


def test_a_virtual_machine_plugs_taps_that_its_host_adopts_also_while_it_runs():
    cloud = three_hosts()
    network = cloud.network("net1", MEMBER)
    cloud.subnet(network, caller=MEMBER)
    cloud.host("compute01", "172.18.0.31", instance_drivers=("qemu",))
    (server,) = cloud.run(create_servers(cloud.view, MEMBER, ServerRequest("vm", "2", "qemu"), 1, 1, CLOUD))
    (port,) = cloud.view.find(Port, "device_id", server.id)

    state = compile_host(cloud.view, server.host)

    (instance,), (tap,) = of_kind(state, InstanceState), of_kind(state, TapState)
    assert (instance.driver, instance.netns, instance.devices, instance.memory_mib) == ("qemu", "", (f"tap{port.id[:11]}",), 256)
    assert (tap.netns, tap.device) == (None, None)
    more = cloud.run(attach_interface(cloud.view, MEMBER, server.id, None, CLOUD))
    cloud.run(detach_interface(cloud.view, MEMBER, server.id, port.id, CLOUD))
    state = compile_host(cloud.view, server.host)
    (instance,), (tap,) = of_kind(state, InstanceState), of_kind(state, TapState)
    assert (instance.devices, tap.port_id) == ((f"tap{more.id[:11]}",), more.id)


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


class Street(PlainCloud):
    """An external network, a network behind a router with a gateway to it, and an instance's port there; two hosts may run routers."""

    def __init__(self) -> None:
        super().__init__()
        self.host("controller01", "172.18.0.30", dhcp=True, l3=True)
        self.host("controller02", "172.18.0.33", l3=True)
        self.host("compute01", "172.18.0.31")
        self.outside = self.network("outside", router_external=True)
        self.subnet(self.outside, "203.0.113.0/28")
        self.home = self.network("home")
        self.rooms = self.subnet(self.home, "10.0.0.0/24")
        self.desk = self.port(self.home, binding_host_id="compute01")
        wanted = {"external_gateway_info": WantedGateway(self.outside.id)} | OWN
        self.router_id = self.run(create_router(self.view, ADMIN, wanted, CLOUD)).id
        self.run(add_router_interface(self.view, ADMIN, self.router_id, {"subnet_id": self.rooms.id}, CLOUD))

    @property
    def router(self) -> Router:
        return self.view.get(Router, self.router_id)

    def state(self) -> RouterState:
        (state,) = of_kind(compile_host(self.view, self.router.host), RouterState)
        return state

    def float(self, **given: object) -> FloatingIp:
        return self.run(create_floating_ip(self.view, ADMIN, {"floating_network_id": self.outside.id, **OWN, **given}, CLOUD))


OWN = {"project_id": "admin"}


def test_a_router_goes_to_one_host_with_its_addresses_routes_and_translations():
    street = Street()
    floating = street.float(port_id=street.desk.id)
    forwarded = street.float()
    inside = {"internal_port_id": street.port(street.home).id, "internal_ip_address": "10.0.0.4", "internal_port_range": "9000:9001"}
    asked = {"floatingip_id": forwarded.id, "protocol": "tcp", "external_port_range": "8000:8001"}
    street.run(create_port_forwarding(street.view, ADMIN, OWN | asked | inside, CLOUD))
    street.run(update_router(street.view, ADMIN, street.router_id, {"routes": (HostRoute("10.9.0.0/16", "10.0.0.99"),)}, CLOUD))

    state = street.state()

    assert [interface.addresses for interface in state.interfaces] == [("10.0.0.1/24",)]
    assert state.gateway is not None
    assert state.gateway.addresses == (f"{state.snat_address}/28",)
    assert state.routes == (Route("0.0.0.0/0", "203.0.113.1"), Route("10.9.0.0/16", "10.0.0.99"))
    assert state.floating == (FloatingAddress(floating.id, floating.floating_ip_address, street.desk.fixed_ips[0].ip_address),)
    ports = ForwardedPorts(forwarded.id, forwarded.floating_ip_address, "tcp", "8000:8001", "10.0.0.4", "9000:9001")
    assert state.forwarded == (ports,)
    taps = {tap.device: tap.netns for tap in of_kind(compile_host(street.view, street.router.host), TapState) if tap.netns == state.netns}
    assert taps.keys() == {state.gateway.device, state.interfaces[0].device}
    others = {"controller01", "controller02", "compute01"} - {street.router.host}
    assert not [other for other in others if of_kind(compile_host(street.view, other), RouterState)]


def test_a_router_without_snat_or_gateway_translates_nothing():
    street = Street()
    street.run(update_router(street.view, ADMIN, street.router_id, {"external_gateway_info": gateway(street, enable_snat=False)}, CLOUD))
    assert (street.state().snat_address, street.state().gateway is None) == (None, False)
    street.run(update_router(street.view, ADMIN, street.router_id, {"external_gateway_info": None}, CLOUD))
    assert (street.state().snat_address, street.state().gateway, street.state().routes) == (None, None, ())


def gateway(street, **given):
    return WantedGateway(street.outside.id, **given)


def test_a_router_that_is_down_keeps_its_wires_and_nothing_else():
    street = Street()
    router = router_netns(street.router_id)
    wires = lambda: [tap for tap in of_kind(compile_host(street.view, street.router.host), TapState) if tap.netns == router]  # noqa: E731
    before = wires()
    street.run(update_router(street.view, ADMIN, street.router_id, {"admin_state_up": False}, CLOUD))
    assert before
    assert wires() == before
    assert not of_kind(compile_host(street.view, street.router.host), RouterState)


def test_routers_are_spread_and_leave_a_host_that_falls_silent():
    street = Street()
    second = street.run(create_router(street.view, ADMIN, {"external_gateway_info": gateway(street)} | OWN, CLOUD))
    before = street.router.host
    assert {before, second.host} == {"controller01", "controller02"}

    street.view.apply([Change(agent, replace(agent, alive=agent.host != before)) for agent in list(street.view.all(Agent))])
    street.run(ensure_router_hosts(street.view))

    assert street.router.host == second.host
    ports = [port for port in street.view.all(Port) if port.device_id == street.router_id]
    assert {(port.binding_host_id, port.status) for port in ports} == {(second.host, "DOWN")}
    assert not of_kind(compile_host(street.view, before), RouterState)


def test_a_router_stays_where_it_is_while_no_other_host_can_run_it():
    street = Street()
    before = street.router.host
    street.view.apply([Change(agent, replace(agent, alive=False)) for agent in list(street.view.all(Agent))])
    street.run(ensure_router_hosts(street.view))
    assert street.router.host == before
    assert of_kind(compile_host(street.view, before), RouterState)


def test_a_router_and_its_floating_ip_show_what_their_host_reports():
    street = Street()
    floating = street.float(port_id=street.desk.id)

    def shown() -> tuple[str, str]:
        return street.router.status, street.view.get(FloatingIp, floating.id).status

    keys = (f"router/{street.router_id}", f"floatingip/{floating.id}")
    assert shown() == ("ACTIVE", "DOWN")
    street.report(next(host for host in ("controller01", "controller02") if host != street.router.host), ok=keys)
    assert shown() == ("ACTIVE", "DOWN")  # it speaks for its own
    street.report(street.router.host, ok=keys)
    assert shown() == ("ACTIVE", "ACTIVE")
    street.report(street.router.host, failed=dict.fromkeys(keys, "no such device"))
    assert shown() == ("ERROR", "ERROR")
    street.report(street.router.host, ok=keys)
    street.run(update_floating_ip(street.view, ADMIN, floating.id, {"port_id": None}, CLOUD))
    assert shown() == ("ACTIVE", "DOWN")


def test_a_port_of_a_router_needs_no_lease_to_be_active():
    street = Street()
    (inner,) = [port for port in street.view.find(Port, "device_id", street.router_id) if port.network_id == street.home.id]
    street.report(street.router.host, ok=(f"tap/{inner.id}",))
    assert street.view.get(Port, inner.id).status == "ACTIVE"
