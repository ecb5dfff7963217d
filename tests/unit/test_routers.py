"""Routers, floating IPs and port forwardings: what is refused, by its Neutron type, and what follows from what."""

import pytest

from naru.model.errors import NaruError
from naru.model.resources import Network, Port, Subnet, WantedIp
from naru.model.routing import FloatingIp, PortForwarding, WantedGateway
from naru.service.floatingips import create_floating_ip, delete_floating_ip, describe_floating_ip, update_floating_ip
from naru.service.networks import delete_network, update_network
from naru.service.port_forwardings import create_port_forwarding, delete_port_forwarding, update_port_forwarding
from naru.service.ports import delete_port, update_port
from naru.service.router_interfaces import add_router_interface, remove_router_interface
from naru.service.routers import add_extraroutes, create_router, delete_router, remove_extraroutes, update_router
from naru.service.subnets import delete_subnet, update_subnet
from planning import ADMIN, CLOUD, MEMBER, PlainCloud


class Site(PlainCloud):
    """An external network, a member's network behind a router with a gateway to it, and a port there."""

    def __init__(self) -> None:
        super().__init__()
        self.outside = self.network("outside", router_external=True)
        self.street = self.subnet(self.outside, "198.51.100.0/28")
        self.home = self.network("home", caller=MEMBER)
        self.rooms = self.subnet(self.home, "10.0.0.0/24", caller=MEMBER)
        self.router = self.ask(create_router, project_id="demo", external_gateway_info=WantedGateway(self.outside.id))
        self.act(add_router_interface, subnet_id=self.rooms.id)
        self.desk = self.port(self.home, caller=MEMBER)

    def ask(self, plan, *id, caller=MEMBER, **given):
        return self.run(plan(self.view, caller, *id, given, CLOUD))

    def act(self, action, caller=MEMBER, **body):
        return self.run(action(self.view, caller, self.router.id, body, CLOUD))

    def drop(self, plan, id, caller=MEMBER):
        return self.run(plan(self.view, caller, id, CLOUD))

    def gateway(self, *network, caller=MEMBER, **wanted):
        return self.ask(
            update_router, self.router.id, caller=caller, external_gateway_info=WantedGateway(*network, **wanted) if network else None
        )

    def float(self, **given):
        return self.ask(create_floating_ip, project_id="demo", floating_network_id=self.outside.id, **given)

    def forward(self, floating, **given):
        wanted = {"protocol": "tcp", "internal_port_id": self.desk.id, "internal_ip_address": self.desk.fixed_ips[0].ip_address}
        numbers = {} if given.keys() & {"external_port_range"} else {"external_port": 2222, "internal_port": 22}
        return self.ask(create_port_forwarding, floatingip_id=floating.id, project_id="demo", **wanted | numbers | given)


@pytest.fixture
def site():
    return Site()


def refused(type, call, *arguments, **named):
    with pytest.raises(NaruError) as caught:
        call(*arguments, **named)
    assert caught.value.type == type, caught.value
    return caught.value.status, str(caught.value)


# -- the gateway


def test_a_gateway_is_a_port_of_nobody_on_the_external_network(site):
    port = next(site.view.find(Port, "device_id", site.router.id))
    assert (port.device_owner, port.project_id, port.network_id) == ("network:router_gateway", "", site.outside.id)
    assert site.router.external_gateway_info.external_fixed_ips == port.fixed_ips
    assert not port.port_security_enabled


def test_a_gateway_is_changed_and_cleared(site):
    asked = (WantedIp(None, "198.51.100.9"),)
    router = site.gateway(site.outside.id, caller=ADMIN, external_fixed_ips=asked, enable_snat=False)
    assert [ip.ip_address for ip in router.external_gateway_info.external_fixed_ips] == ["198.51.100.9"]
    assert not router.external_gateway_info.enable_snat
    assert not site.gateway(site.outside.id).external_gateway_info.enable_snat  # what is not said stays
    assert site.gateway().external_gateway_info is None
    assert not [port for port in site.view.all(Port) if port.device_owner == "network:router_gateway"]


def test_what_cannot_be_a_gateway(site):
    assert refused("BadRequest", site.gateway, site.home.id)[0] == 400
    assert refused("NetworkNotFound", site.gateway, "00000000-0000-4000-8000-000000000000")[0] == 404
    assert refused("PolicyNotAuthorized", site.gateway, site.outside.id, enable_snat=False)[0] == 403
    asked = (WantedIp(None, "198.51.100.1"),)
    refused("BadRequest", site.gateway, site.outside.id, caller=ADMIN, external_fixed_ips=asked)  # the subnet's gateway


def test_a_gateway_that_a_floating_ip_needs_stays(site):
    site.float(port_id=site.desk.id)
    assert refused("RouterExternalGatewayInUseByFloatingIp", site.gateway)[0] == 409


def test_ha_is_changed_while_the_router_is_down(site):
    assert refused("BadRequest", site.ask, update_router, site.router.id, caller=ADMIN, ha=True)[0] == 400
    assert site.ask(update_router, site.router.id, caller=ADMIN, admin_state_up=False).admin_state_up is False
    assert site.ask(update_router, site.router.id, caller=ADMIN, ha=True).ha


# -- interfaces


def test_an_interface_has_the_subnets_gateway_address(site):
    (port,) = site.view.find(Port, "ip_address", "10.0.0.1")
    assert (port.device_id, port.device_owner, port.project_id) == (site.router.id, "network:router_interface", "demo")
    answer = site.act(remove_router_interface, port_id=port.id)
    assert answer["subnet_ids"] == [site.rooms.id]
    assert (answer["id"], answer["port_id"], answer["tenant_id"]) == (site.router.id, port.id, "demo")
    assert site.view.get(Port, port.id) is None


def test_an_interface_by_port_takes_the_port_over(site):
    other = site.network("other", caller=MEMBER)
    site.subnet(other, "10.1.0.0/24", caller=MEMBER)
    port = site.port(other, caller=MEMBER)
    site.act(add_router_interface, port_id=port.id)
    assert site.view.get(Port, port.id).device_owner == "network:router_interface"
    assert refused("PortInUse", site.act, add_router_interface, port_id=port.id)[0] == 409


def test_what_cannot_be_an_interface(site):
    other = site.network("other", caller=MEMBER)
    overlapping = site.subnet(other, "10.0.0.0/16", caller=MEMBER)
    without = site.subnet(other, "10.9.0.0/24", caller=MEMBER, gateway_ip=None)
    for body in ({}, {"subnet_id": "x"}, {"subnet_id": site.rooms.id, "port_id": site.desk.id}):
        assert refused("BadRequest", site.act, add_router_interface, **body)[0] == 400
    for subnet in (site.rooms, overlapping, without, site.street):
        refused("BadRequest", site.act, add_router_interface, caller=ADMIN, subnet_id=subnet.id)
    assert refused("SubnetNotFound", site.act, add_router_interface, subnet_id=site.home.id)[0] == 404
    refused("RouterNotFound", site.run, add_router_interface(site.view, MEMBER, "none", {"subnet_id": site.rooms.id}, CLOUD))
    bare = site.port(site.network("bare", caller=MEMBER), caller=MEMBER)
    refused("BadRequest", site.act, add_router_interface, port_id=bare.id)
    taken = site.subnet(other, "10.7.0.0/24", caller=MEMBER)
    site.port(other, caller=MEMBER, fixed_ips=[WantedIp(taken.id, "10.7.0.1")])
    assert refused("IpAddressAlreadyAllocated", site.act, add_router_interface, subnet_id=taken.id)[0] == 409


def test_further_ipv6_prefixes_of_a_network_share_one_interface(site):
    first, second = (site.subnet(site.home, cidr, caller=MEMBER, enable_dhcp=False) for cidr in ("fd00:1::/64", "fd00:2::/64"))
    one = site.act(add_router_interface, subnet_id=first.id)
    two = site.act(add_router_interface, subnet_id=second.id)
    assert one["port_id"] == two["port_id"]
    site.act(remove_router_interface, subnet_id=first.id)
    assert [ip.subnet_id for ip in site.view.get(Port, one["port_id"]).fixed_ips] == [second.id]


def test_what_is_no_interface_is_not_removed(site):
    other = site.subnet(site.network("other", caller=MEMBER), "10.1.0.0/24", caller=MEMBER)
    assert refused("RouterInterfaceNotFoundForSubnet", site.act, remove_router_interface, subnet_id=other.id)[0] == 404
    assert refused("RouterInterfaceNotFound", site.act, remove_router_interface, port_id=site.desk.id)[0] == 404
    (port,) = site.view.find(Port, "ip_address", "10.0.0.1")
    assert refused("SubnetMismatchForPort", site.act, remove_router_interface, port_id=port.id, subnet_id=other.id)[0] == 400


def test_an_interface_that_is_needed_stays(site):
    floating = site.float(port_id=site.desk.id)
    assert refused("RouterInterfaceInUseByFloatingIP", site.act, remove_router_interface, subnet_id=site.rooms.id)[0] == 409
    site.drop(delete_floating_ip, floating.id)
    site.act(add_extraroutes, router={"routes": [{"destination": "192.0.2.0/24", "nexthop": "10.0.0.99"}]})
    assert refused("RouterInterfaceInUseByRoute", site.act, remove_router_interface, subnet_id=site.rooms.id)[0] == 409


def test_a_router_with_interfaces_stays(site):
    assert refused("RouterInUse", site.drop, delete_router, site.router.id)[0] == 409
    site.act(remove_router_interface, subnet_id=site.rooms.id)
    site.drop(delete_router, site.router.id)
    assert not list(site.view.find(Port, "device_id", site.router.id))


def test_router_ports_go_and_change_through_their_router_only(site):
    for port in [port for port in site.view.all(Port) if port.device_id == site.router.id]:
        assert refused("ServicePortInUse", site.drop, delete_port, port.id, caller=ADMIN)[0] == 409
    floating = site.float()
    for port in (next(site.view.find(Port, "network_id", site.outside.id)), site.view.get(Port, floating.floating_port_id)):
        asked = [WantedIp(None, "198.51.100.13")]
        assert refused("BadRequest", site.ask, update_port, port.id, caller=ADMIN, fixed_ips=asked)[0] == 400
    (interface,) = site.view.find(Port, "ip_address", "10.0.0.1")
    same = [WantedIp(site.rooms.id, None)]
    assert site.ask(update_port, interface.id, fixed_ips=same).fixed_ips == interface.fixed_ips


def test_what_a_router_stands_on_stays(site):
    assert refused("GatewayIpInUse", site.ask, update_subnet, site.rooms.id, gateway_ip="10.0.0.254")[0] == 409
    assert refused("SubnetInUse", site.drop, delete_subnet, site.rooms.id)[0] == 409
    assert refused("NetworkInUse", site.drop, delete_network, site.home.id)[0] == 409
    assert refused("ExternalNetworkInUse", site.ask, update_network, site.outside.id, caller=ADMIN, router_external=False)[0] == 409


def test_a_router_keeps_an_automatic_subnet(site):
    subnet = site.subnet(site.home, "fd00:1::/64", caller=MEMBER, ipv6_ra_mode="slaac", ipv6_address_mode="slaac")
    site.act(add_router_interface, subnet_id=subnet.id)
    refused("SubnetInUse", site.drop, delete_subnet, subnet.id)
    assert [ip.ip_address for port in site.view.find(Port, "ip_address", "fd00:1::1") for ip in port.fixed_ips] == ["fd00:1::1"]


# -- routes


def test_routes_lead_to_neighbours(site):
    def routes(*pairs):
        return {"routes": [{"destination": destination, "nexthop": nexthop} for destination, nexthop in pairs]}

    near, far, own = ("192.0.2.0/24", "10.0.0.99"), ("192.0.2.0/24", "10.66.0.1"), ("192.0.2.0/24", "10.0.0.1")
    assert refused("InvalidRoutes", site.act, add_extraroutes, router=routes(far))[0] == 400
    assert refused("InvalidRoutes", site.act, add_extraroutes, router=routes(own))[0] == 400
    refused("BadRequest", site.act, add_extraroutes, router={})
    refused("HTTPBadRequest", site.act, add_extraroutes, router={"routes": [{}]})
    assert len(site.act(add_extraroutes, router=routes(near)).routes) == 1
    second = ("203.0.113.0/24", "198.51.100.14")
    assert len(site.act(add_extraroutes, router=routes(near, second)).routes) == 2
    assert len(site.act(remove_extraroutes, router=routes(near, far)).routes) == 1
    many = routes(*((f"192.0.2.{n}/32", "10.0.0.99") for n in range(31)))
    assert refused("RoutesExhausted", site.act, add_extraroutes, router=many)[0] == 400


# -- floating IPs


def test_a_floating_ip_leads_to_a_port_behind_a_router(site):
    floating = site.float()
    assert (floating.status, floating.router_id, floating.port_id) == ("DOWN", None, None)
    port = site.view.get(Port, floating.floating_port_id)
    assert (port.device_owner, port.device_id, port.project_id) == ("network:floatingip", floating.id, "")
    assert port.fixed_ips[0].ip_address == floating.floating_ip_address
    floating = site.ask(update_floating_ip, floating.id, port_id=site.desk.id)
    assert (floating.fixed_ip_address, floating.router_id) == (site.desk.fixed_ips[0].ip_address, site.router.id)
    assert describe_floating_ip(site.view, floating).port_details.mac_address == site.desk.mac_address
    assert site.ask(update_floating_ip, floating.id, description="x").port_id == site.desk.id
    floating = site.ask(update_floating_ip, floating.id, port_id=None)
    assert (floating.fixed_ip_address, floating.router_id) == (None, None)
    site.drop(delete_floating_ip, floating.id)
    assert site.view.get(Port, port.id) is None


def test_floating_ips_come_from_external_ipv4_subnets(site):
    make = create_floating_ip
    ask = {"project_id": "demo"}
    assert refused("BadRequest", site.ask, make, **ask, floating_network_id=site.home.id)[0] == 400
    empty = site.network("empty", router_external=True)
    assert refused("BadRequest", site.ask, make, **ask, floating_network_id=empty.id)[0] == 400
    tiny = site.network("tiny", router_external=True)
    site.subnet(tiny, "203.0.113.0/30", enable_dhcp=False)
    site.ask(make, **ask, floating_network_id=tiny.id)
    assert refused("ExternalIpAddressExhausted", site.ask, make, **ask, floating_network_id=tiny.id)[0] == 400
    given = {**ask, "floating_network_id": site.outside.id, "caller": ADMIN}
    assert site.ask(make, **given, floating_ip_address="198.51.100.9").floating_ip_address == "198.51.100.9"
    assert refused("IpAddressAlreadyAllocated", site.ask, make, **given, floating_ip_address="198.51.100.9")[0] == 409
    assert refused("InvalidIpForNetwork", site.ask, make, **given, floating_ip_address="192.0.2.9")[0] == 400
    assert refused("InvalidIpForSubnet", site.ask, make, **given, subnet_id=site.street.id, floating_ip_address="192.0.2.9")[0] == 400


def test_where_a_floating_ip_cannot_lead(site):
    lone = site.network("lone", caller=MEMBER)
    site.subnet(lone, "10.8.0.0/24", caller=MEMBER)
    port = site.port(lone, caller=MEMBER)
    assert refused("ExternalGatewayForFloatingIPNotFound", site.float, port_id=port.id)[0] == 404
    refused("PortNotFound", site.float, port_id=lone.id)
    refused("BadRequest", site.float, fixed_ip_address="10.0.0.9")
    refused("BadRequest", site.float, port_id=site.desk.id, fixed_ip_address="10.0.0.99")
    refused("BadRequest", site.float, port_id=site.desk.id, fixed_ip_address="fd00::1")
    twice = site.port(site.home, caller=MEMBER, fixed_ips=[WantedIp(site.rooms.id, "10.0.0.50"), WantedIp(site.rooms.id, "10.0.0.51")])
    refused("BadRequest", site.float, port_id=twice.id)
    assert site.float(port_id=twice.id, fixed_ip_address="10.0.0.51").fixed_ip_address == "10.0.0.51"
    site.float(port_id=site.desk.id)
    assert refused("FloatingIPPortAlreadyAssociated", site.float, port_id=site.desk.id)[0] == 409


def test_the_address_under_a_floating_ip_stays(site):
    site.float(port_id=site.desk.id)
    refused("BadRequest", site.ask, update_port, site.desk.id, fixed_ips=[WantedIp(None, "10.0.0.77")])
    kept = [WantedIp(None, site.desk.fixed_ips[0].ip_address), WantedIp(None, "10.0.0.77")]
    assert len(site.ask(update_port, site.desk.id, fixed_ips=kept).fixed_ips) == 2


def test_a_port_that_goes_lets_its_floating_ips_go(site):
    floating = site.float(port_id=site.desk.id)
    site.drop(delete_port, site.desk.id)
    freed = site.view.get(FloatingIp, floating.id)
    assert (freed.port_id, freed.fixed_ip_address, freed.router_id) == (None, None, None)


def test_unused_floating_ips_go_with_their_network(site):
    network = site.network("spare", router_external=True)
    site.subnet(network, "203.0.113.0/28", enable_dhcp=False)
    floating = site.ask(create_floating_ip, project_id="demo", floating_network_id=network.id)
    site.drop(delete_network, network.id, caller=ADMIN)
    assert site.view.get(FloatingIp, floating.id) is None
    assert site.view.get(Network, network.id) is None


# -- port forwardings


def test_a_port_forwarding_puts_its_floating_ip_on_a_router(site):
    floating = site.float()
    forwarding = site.forward(floating)
    assert (forwarding.external_port_range, forwarding.internal_port) == ("2222:2222", 22)
    floating = site.view.get(FloatingIp, floating.id)
    assert floating.router_id == site.router.id
    (shown,) = describe_floating_ip(site.view, floating).port_forwardings
    assert (shown["external_port"], shown["internal_port_id"], shown["id"]) == (2222, site.desk.id, forwarding.id)
    assert site.ask(update_port_forwarding, forwarding.id, external_port=2223).external_port_range == "2223:2223"
    refused("RouterExternalGatewayInUseByFloatingIp", site.gateway)
    site.drop(delete_port_forwarding, forwarding.id)
    assert site.view.get(FloatingIp, floating.id).router_id is None


def test_numbers_are_forwarded_once(site):
    floating = site.float()
    site.forward(floating, external_port_range="8000:8009", internal_port_range="80:89")
    assert refused("BadRequest", site.forward, floating, external_port=8005)[0] == 400
    refused("BadRequest", site.forward, floating, internal_port=85)
    refused("BadRequest", site.forward, floating, external_port_range="1:3", internal_port_range="1:2")
    refused("BadRequest", site.forward, floating, external_port=None)
    refused("BadRequest", site.forward, floating, internal_ip_address="10.0.0.99")
    assert site.forward(floating, external_port_range="100:102", internal_port_range="1:1").external_port is None
    assert site.forward(floating, protocol="udp", external_port=8005).external_port == 8005


def test_a_floating_ip_leads_to_one_port_or_is_forwarded(site):
    floating, other = site.float(), site.float()
    site.forward(floating)
    assert refused("FipInUseByPortForwarding", site.ask, update_floating_ip, floating.id, port_id=site.desk.id)[0] == 409
    assert refused("PortHasPortForwarding", site.ask, update_floating_ip, other.id, port_id=site.desk.id)[0] == 409
    site.drop(delete_floating_ip, floating.id)
    assert not list(site.view.all(PortForwarding))
    site.ask(update_floating_ip, other.id, port_id=site.desk.id)
    assert refused("FloatingIPPortAlreadyAssociated", site.forward, other)[0] == 409
    assert refused("PortHasBindingFloatingIP", site.forward, site.float())[0] == 409


def test_port_forwardings_go_with_their_port(site):
    floating = site.float()
    site.forward(floating)
    site.drop(delete_port, site.desk.id)
    assert not list(site.view.all(PortForwarding))
    assert site.view.get(FloatingIp, floating.id).router_id is None
    assert site.view.get(Subnet, site.rooms.id) is not None
