"""The ports of routing: those of routers and floating IPs. What others must ask before they change a port, a subnet or a network.

A router holds no list of its interfaces: they are the ports whose device it is.
"""

from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from typing import Any

from msgspec.structs import replace

from naru.model.errors import Conflict, Invalid
from naru.model.resources import Changes, FixedIp, Network, Port, Resource, Subnet, new_id, put, remove
from naru.model.routing import FLOATING_IP_OWNER, GATEWAY_OWNER, INTERFACE_OWNER, FloatingIp, PortForwarding, Router
from naru.model.view import View
from naru.service.addressing import choose_mac


def routing_port(view: View, network_id: str, owner: str, device_id: str, fixed_ips: tuple[FixedIp, ...], **given: Any) -> Port:
    """A port of the router or floating IP `device_id`. It forwards what is not its own, so nothing filters it."""
    mac = given.pop("mac_address", None) or choose_mac(view, network_id)
    return Port(
        id=new_id(),
        network_id=network_id,
        mac_address=mac,
        fixed_ips=fixed_ips,
        device_owner=owner,
        device_id=device_id,
        port_security_enabled=False,
        **given,
    )


def interface_ports(view: View, router_id: str) -> list[Port]:
    return [port for port in view.find(Port, "device_id", router_id) if port.device_owner == INTERFACE_OWNER]


def gateway_port(view: View, router_id: str) -> Port | None:
    return next((port for port in view.find(Port, "device_id", router_id) if port.device_owner == GATEWAY_OWNER), None)


def subnets_of(view: View, ports: Iterable[Port]) -> list[Subnet]:
    found = (view.get(Subnet, ip.subnet_id) for port in ports for ip in port.fixed_ips)
    return [subnet for subnet in found if subnet is not None]


def check_subnets(view: View, router_id: str, added: Iterable[Subnet]) -> None:
    """Raises Invalid (BadRequest) for a subnet that the router is on already, or that overlaps with one of its interfaces'."""
    ports = interface_ports(view, router_id)
    gateway = gateway_port(view, router_id)
    taken = {subnet.id for subnet in subnets_of(view, [*ports, *([gateway] if gateway else [])])}
    for subnet in added:
        if subnet.id in taken:
            raise bad_router(f"Router already has a port on subnet {subnet.id}")
        for other in subnets_of(view, ports):
            if ip_network(subnet.cidr).overlaps(ip_network(other.cidr)):
                raise bad_router(f"Cidr {subnet.cidr} of subnet {subnet.id} overlaps with cidr {other.cidr} of subnet {other.id}")


def bad_router(reason: str) -> Invalid:
    return Invalid(f"Bad router request: {reason}.", "BadRequest")


# -- asked by ports

_DEVICES: Mapping[str, type[Resource]] = {INTERFACE_OWNER: Router, GATEWAY_OWNER: Router, FLOATING_IP_OWNER: FloatingIp}


def _device(view: View, port: Port) -> Resource | None:
    """The router or floating IP that has the port."""
    kind = _DEVICES.get(port.device_owner)
    return view.get(kind, port.device_id) if kind is not None else None


def check_deletable(view: View, port: Port) -> None:
    """Raises Conflict (ServicePortInUse) for a port that goes only with its router or floating IP."""
    if port.fixed_ips and _device(view, port) is not None:
        message = f"Port {port.id} cannot be deleted directly via the port API: has device owner {port.device_owner}."
        raise Conflict(message, "ServicePortInUse")


def check_addresses(view: View, before: Port, after: Port) -> None:
    """Raises Invalid (BadRequest) where an address goes away that routing still needs."""
    kept = {ip.ip_address for ip in after.fixed_ips}
    if before.fixed_ips == after.fixed_ips:
        return
    if before.device_owner != INTERFACE_OWNER and (device := _device(view, before)) is not None:
        message = f"Bad port request: the addresses of port {before.id} are changed through {device.singular} {device.id}."
        raise Invalid(message, "BadRequest")
    if any(floating.fixed_ip_address not in kept for floating in view.find(FloatingIp, "port_id", before.id)):
        message = (
            f"Bad port request: Cannot update the fixed_ips of the port {before.id}, because its original fixed_ip has been associated "
            "to a floating ip."
        )
        raise Invalid(message, "BadRequest")


def follow_addresses(view: View, port: Port) -> Changes[None]:
    """Port forwardings to an address that the port has no longer go with the address."""
    addresses = {ip.ip_address for ip in port.fixed_ips}
    lost = [f for f in view.find(PortForwarding, "internal_port_id", port.id) if f.internal_ip_address not in addresses]
    for forwarding in lost:
        yield remove(forwarding)
    yield from free_routers(view, {forwarding.floatingip_id for forwarding in lost})


def let_go(view: View, port: Port) -> Changes[None]:
    """A port that goes leaves its floating IPs to others, and takes the port forwardings to it along."""
    for floating in list(view.find(FloatingIp, "port_id", port.id)):
        yield put(replace(floating, port_id=None, fixed_ip_address=None, router_id=None))
    yield from follow_addresses(view, replace(port, fixed_ips=()))


def free_routers(view: View, floatingip_ids: set[str]) -> Changes[None]:
    """A floating IP without port forwardings (and without a port) needs no router."""
    for id in floatingip_ids:
        floating = view.get(FloatingIp, id)
        if floating is not None and floating.port_id is None and not view.count(PortForwarding, "floatingip_id", id):
            yield put(replace(floating, router_id=None))


# -- asked by subnets and networks


def check_gateway_change(view: View, subnet: Subnet, gateway_ip: str | None) -> None:
    """Raises Conflict (GatewayIpInUse) while a router has the gateway address that is to change."""
    if subnet.gateway_ip is None or gateway_ip == subnet.gateway_ip:
        return
    for port in view.find(Port, "ip_address", subnet.gateway_ip):
        if port.device_owner == INTERFACE_OWNER and any(ip.subnet_id == subnet.id for ip in port.fixed_ips):
            message = f"Current gateway ip {subnet.gateway_ip} already in use by port {port.id}. Unable to update."
            raise Conflict(message, "GatewayIpInUse")


def check_not_external(view: View, network: Network) -> None:
    """Raises Conflict (ExternalNetworkInUse) where routers go out through the network."""
    if any(port.device_owner == GATEWAY_OWNER for port in view.find(Port, "network_id", network.id)):
        message = f"External network {network.id} cannot be updated to be made non-external, since it has existing gateway ports."
        raise Conflict(message, "ExternalNetworkInUse")


def drop_unused_floating_ips(view: View, network_id: str) -> Changes[None]:
    """Floating IPs that lead nowhere do not keep their network from being deleted."""
    for floating in list(view.find(FloatingIp, "floating_network_id", network_id)):
        if floating.router_id is None and floating.port_id is None:
            yield from remove_floating_ip(view, floating)


def remove_floating_ip(view: View, floating: FloatingIp) -> Changes[None]:
    for forwarding in list(view.find(PortForwarding, "floatingip_id", floating.id)):
        yield remove(forwarding)
    yield remove(floating)
    port = view.get(Port, floating.floating_port_id)
    if port is not None:
        yield remove(port)
