"""The interfaces of a router: PUT routers/{id}/add_router_interface and remove_router_interface.

https://docs.openstack.org/api-ref/network/v2/#add-interface-to-router
"""

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from msgspec.structs import replace

from naru.model.attributes import uuid_text
from naru.model.errors import Conflict, Invalid, NotFound, not_found
from naru.model.identity import Caller
from naru.model.resources import Changes, FixedIp, Network, Port, Subnet, put, remove
from naru.model.routing import INTERFACE_OWNER, FloatingIp, Router
from naru.model.view import View
from naru.service.addressing import check_free
from naru.service.policy import Cloud, fetch, fetch_own, owns
from naru.service.ports import check_unused
from naru.service.router_hosts import ensure_router_host, ports_of
from naru.service.router_ports import bad_router, check_subnets, interface_ports, routing_port, subnets_of
from naru.service.routers import is_reached


def add_router_interface(view: View, caller: Caller, id: str, body: Any, cloud: Cloud) -> Changes[dict[str, Any]]:
    """By subnet the router takes the subnet's gateway address; by port it takes the port over."""
    router = fetch_own(view, caller, Router, id, "add_router_interface")
    port_id, subnet_id = _named(body)
    if port_id is not None and subnet_id is not None:
        raise bad_router("Cannot specify both subnet-id and port-id")
    if port_id is not None:
        port, subnets = _port_to_attach(view, caller, router, port_id)
    else:
        assert subnet_id is not None
        port, subnets = _port_on_subnet(view, caller, router, fetch(view, caller, Subnet, subnet_id))
    yield put(port)
    yield from ensure_router_host(view, id)
    return _answer(router, port, subnets)


def remove_router_interface(view: View, caller: Caller, id: str, body: Any, cloud: Cloud) -> Changes[dict[str, Any]]:
    """Raises NotFound for what is no interface, Conflict while floating IPs or routes need it."""
    router = fetch_own(view, caller, Router, id, "remove_router_interface")
    port_id, subnet_id = _named(body)
    port = _interface(view, router, port_id, subnet_id)
    subnets = [subnet for subnet in subnets_of(view, [port]) if subnet_id in (None, subnet.id)]
    _check_unneeded(view, router, port, subnets)
    rest = tuple(ip for ip in port.fixed_ips if all(ip.subnet_id != subnet.id for subnet in subnets))
    yield put(replace(port, fixed_ips=rest)) if rest else remove(port)
    yield from ensure_router_host(view, id)
    return _answer(router, port, subnets)


def _named(body: Any) -> tuple[str | None, str | None]:
    """-> the port and the subnet that a request names, at least one."""
    named = body if isinstance(body, Mapping) else {}
    if "port_id" not in named and "subnet_id" not in named:
        raise bad_router("Either subnet_id or port_id must be specified")
    try:
        port_id, subnet_id = (uuid_text(named[key]) if key in named else None for key in ("port_id", "subnet_id"))
    except ValueError as error:
        raise bad_router(str(error)) from None
    return port_id, subnet_id


def _answer(router: Router, port: Port, subnets: list[Subnet]) -> dict[str, Any]:
    return {
        "id": router.id,
        "tenant_id": router.project_id,
        "project_id": router.project_id,
        "port_id": port.id,
        "network_id": port.network_id,
        "subnet_id": subnets[0].id,
        "subnet_ids": [subnet.id for subnet in subnets],
    }


def _port_to_attach(view: View, caller: Caller, router: Router, port_id: str) -> tuple[Port, list[Subnet]]:
    """Raises Conflict (PortInUse) for a port of another device, Invalid for one whose addresses the router cannot have."""
    port = fetch_own(view, caller, Port, port_id, "update")
    check_unused(port)
    if not port.fixed_ips:
        raise bad_router("Router port must have at least one fixed IP")
    subnets = subnets_of(view, [port])
    if any(subnet.ip_version == 6 for subnet in subnets) and (other := _ipv6_port(view, router, port.network_id)):
        raise bad_router(
            "Cannot have multiple router ports with the same network id if both contain IPv6 subnets. "
            f"Existing port {other.id} has IPv6 subnet(s) and network id {port.network_id}"
        )
    check_subnets(view, router.id, subnets)
    if sum(subnet.ip_version == 4 for subnet in subnets) > 1:
        raise bad_router("Cannot have multiple IPv4 subnets on router port")
    return replace(port, device_id=router.id, device_owner=INTERFACE_OWNER), subnets


def _port_on_subnet(view: View, caller: Caller, router: Router, subnet: Subnet) -> tuple[Port, list[Subnet]]:
    """A new port with the gateway's address; a further IPv6 prefix of a network goes to the port that is there."""
    if subnet.gateway_ip is None:
        raise bad_router("Subnet for router interface must have a gateway IP")
    if subnet.ip_version == 6 and subnet.ipv6_ra_mode is None and subnet.ipv6_address_mode is not None:
        raise bad_router(f"IPv6 subnet {subnet.id} configured to receive RAs from an external router cannot be added to Neutron Router")
    network = view.get(Network, subnet.network_id)
    if network is not None and not owns(caller, network) and not owns(caller, subnet):
        raise bad_router(f"Cannot add interface to router because subnet {subnet.id} is not owned by project making the request")
    check_subnets(view, router.id, [subnet])
    check_free(view, subnet, subnet.gateway_ip)
    gateway = FixedIp(subnet.id, subnet.gateway_ip)
    if subnet.ip_version == 6 and (port := _ipv6_port(view, router, subnet.network_id)):
        return replace(port, fixed_ips=(*port.fixed_ips, gateway)), [subnet]
    return routing_port(view, subnet.network_id, INTERFACE_OWNER, router.id, (gateway,), project_id=router.project_id), [subnet]


def _ipv6_port(view: View, router: Router, network_id: str) -> Port | None:
    """The interface with IPv6 addresses on a network: there is at most one, because one link has one router to advertise."""
    ports = (port for port in interface_ports(view, router.id) if port.network_id == network_id)
    return next((port for port in ports if any(":" in ip.ip_address for ip in port.fixed_ips)), None)


def _interface(view: View, router: Router, port_id: str | None, subnet_id: str | None) -> Port:
    """The interface that a request names."""
    ports = interface_ports(view, router.id)
    if port_id is not None:
        port = next((port for port in ports if port.id == port_id), None)
        if port is None:
            raise NotFound(f"Router {router.id} does not have an interface with id {port_id}", "RouterInterfaceNotFound")
        if subnet_id is not None and all(ip.subnet_id != subnet_id for ip in port.fixed_ips):
            raise Invalid(f"Subnet on port {port_id} does not match the requested subnet {subnet_id}.", "SubnetMismatchForPort")
        return port
    assert subnet_id is not None
    if view.get(Subnet, subnet_id) is None:
        raise not_found("Subnet", subnet_id)
    port = next((port for port in ports if any(ip.subnet_id == subnet_id for ip in port.fixed_ips)), None)
    if port is None:
        raise NotFound(f"Router {router.id} has no interface on subnet {subnet_id}", "RouterInterfaceNotFoundForSubnet")
    return port


def _check_unneeded(view: View, router: Router, port: Port, subnets: list[Subnet]) -> None:
    """Raises Conflict where a floating IP leads to a subnet that is to go, or a route's next hop is on it."""
    gone = {subnet.id for subnet in subnets}
    stay = [subnet for subnet in subnets_of(view, ports_of(view, router.id)) if subnet.id not in gone]
    floating_ips = [floating for floating in view.find(FloatingIp, "router_id", router.id) if floating.fixed_ip_address]
    for subnet in subnets:
        prefix = ip_network(subnet.cidr)
        if any(ip_address(floating.fixed_ip_address or "") in prefix for floating in floating_ips):
            message = (
                f"Router interface for subnet {subnet.id} on router {router.id} cannot be deleted, as it is required by one or more "
                "floating IPs."
            )
            raise Conflict(message, "RouterInterfaceInUseByFloatingIP")
        if any(is_reached(route, [subnet]) and not is_reached(route, stay) for route in router.routes):
            message = (
                f"Router interface for subnet {subnet.id} on router {router.id} cannot be deleted, as it is required by one or more routes."
            )
            raise Conflict(message, "RouterInterfaceInUseByRoute")
