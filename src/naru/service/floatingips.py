"""Floating IPs: an address of an external network that a router lends to a port behind it."""

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from naru.model.errors import Conflict, Invalid, NaruError, NotFound
from naru.model.identity import Caller
from naru.model.resources import Changes, Network, Port, Subnet, WantedIp, new_id, put
from naru.model.routing import FLOATING_IP_OWNER, INTERFACE_OWNER, FloatingIp, FloatingIpPool, PortDetails, PortForwarding
from naru.model.view import View
from naru.service.addressing import choose_mac, take_wanted
from naru.service.policy import Cloud, can_see, check_quota, fetch, fetch_own
from naru.service.port_options import check_name_and_domain
from naru.service.qos import check_outer_policy
from naru.service.router_ports import gateway_port, remove_floating_ip, routing_port


def create_floating_ip(view: View, caller: Caller, given: dict[str, Any], cloud: Cloud) -> Changes[FloatingIp]:
    """Raises Invalid for a network that is not external or full, Conflict for an address that is taken."""
    network = view.get(Network, given["floating_network_id"])
    if network is None or not can_see(view, caller, network):
        raise NotFound(f"Network {given['floating_network_id']} could not be found.", "NetworkNotFound")
    if not network.router_external:
        raise _bad(f"Network {network.id} is not a valid external network")
    check_quota(view, cloud, FloatingIp, given["project_id"])
    check_name_and_domain(given)
    id = new_id()
    port = _external_port(view, network, id, given.get("subnet_id"), given.get("floating_ip_address"))
    yield put(port)
    fixed = {"floating_ip_address": port.fixed_ips[0].ip_address, "floating_port_id": port.id}
    kept = {name: value for name, value in given.items() if name not in ("port_id", "fixed_ip_address", "subnet_id")}
    floating = _associated(view, caller, FloatingIp(id=id, **kept | fixed), given)
    check_outer_policy(view, caller, floating, None, floating.qos_policy_id)
    yield put(floating)
    return floating


def update_floating_ip(view: View, caller: Caller, id: str, given: dict[str, Any], cloud: Cloud) -> Changes[FloatingIp]:
    """`port_id` null takes it off its port; left out, it stays where it is."""
    floating = fetch_own(view, caller, FloatingIp, id, "update")
    check_outer_policy(view, caller, floating, floating.qos_policy_id, given.get("qos_policy_id", floating.qos_policy_id))
    rest = {name: value for name, value in given.items() if name not in ("port_id", "fixed_ip_address")}
    changed = _associated(view, caller, replace(floating, **rest), given)
    yield put(changed)
    return changed


def delete_floating_ip(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    yield from remove_floating_ip(view, fetch_own(view, caller, FloatingIp, id, "delete"))


def describe_floating_ip(view: View, floating: FloatingIp) -> FloatingIp:
    """With what it shows of its port and of the port forwardings below it."""
    port = view.get(Port, floating.port_id) if floating.port_id is not None else None
    details = PortDetails(**{name: getattr(port, name) for name in PortDetails.__struct_fields__}) if port is not None else None
    forwardings = tuple(_summary(forwarding) for forwarding in view.find(PortForwarding, "floatingip_id", floating.id))
    network = view.get(Network, floating.floating_network_id)
    inherited = network.qos_policy_id if network is not None else None
    return replace(floating, port_details=details, port_forwardings=forwardings, qos_network_policy_id=inherited)


_SUMMARY = ("id", "protocol", "internal_ip_address", "internal_port_id")
_SUMMARY_PORTS = ("external_port", "internal_port", "external_port_range", "internal_port_range")


def _summary(forwarding: PortForwarding) -> dict[str, Any]:
    ports = {name: value for name in _SUMMARY_PORTS if (value := getattr(forwarding, name)) is not None}
    return {name: getattr(forwarding, name) for name in _SUMMARY} | ports


def list_pools(view: View, caller: Caller) -> Iterator[FloatingIpPool]:
    """The IPv4 subnets of the external networks that the caller sees."""
    for subnet in view.all(Subnet):
        network = view.get(Network, subnet.network_id)
        if network is not None and network.router_external and subnet.ip_version == 4 and can_see(view, caller, network):
            yield FloatingIpPool(
                id=subnet.id,
                project_id=subnet.project_id,
                network_id=network.id,
                subnet_id=subnet.id,
                subnet_name=subnet.name,
                cidr=str(subnet.cidr),
            )


# -- its address


def _external_port(view: View, network: Network, floatingip_id: str, subnet_id: str | None, address: str | None) -> Port:
    """The port that holds the address, nobody's: as asked, else of the first subnet that has one left."""
    subnets = [subnet for subnet in view.find(Subnet, "network_id", network.id) if subnet.ip_version == 4]
    if not subnets:
        raise _bad(f"Network {network.id} does not contain any IPv4 subnet")
    if subnet_id is None and address is None:
        subnet_id = next((subnet.id for subnet in subnets if view.addresses(subnet.id).free), subnets[0].id)
    mac = choose_mac(view, network.id)
    try:
        fixed_ips = take_wanted(view, network.id, mac, [WantedIp(subnet_id, address)])
    except NaruError as error:
        if error.type == "IpAddressGenerationFailure":
            raise Invalid(
                f"Unable to find any IP address on external network {network.id}. {error}", "ExternalIpAddressExhausted"
            ) from None
        raise
    if ":" in fixed_ips[0].ip_address:
        raise Invalid(f"Unable to find any IPv4 address on external network {network.id}.", "ExternalIpAddressExhausted")
    return routing_port(view, network.id, FLOATING_IP_OWNER, floatingip_id, fixed_ips[:1], mac_address=mac, status="N/A")


# -- the port it leads to


def _associated(view: View, caller: Caller, floating: FloatingIp, given: dict[str, Any]) -> FloatingIp:
    """`floating` as it leads where the request says."""
    port_id, address = given.get("port_id"), given.get("fixed_ip_address")
    if address is not None and port_id is None:
        raise _bad("fixed_ip_address cannot be specified without a port_id")
    if "port_id" not in given:
        return floating
    is_forwarding = view.count(PortForwarding, "floatingip_id", floating.id) > 0
    if port_id is None:
        return replace(floating, port_id=None, fixed_ip_address=None, router_id=floating.router_id if is_forwarding else None)
    if is_forwarding:
        raise Conflict(f"Floating IP {floating.id} in use by Port Forwarding resources.", "FipInUseByPortForwarding")
    port = fetch(view, caller, Port, port_id)
    if port.project_id != floating.project_id and not caller.is_admin:
        raise _bad(f"Cannot process floating IP association with Port {port.id}, since that port is owned by a different project")
    subnet_id, address = _internal_address(port, address)
    router_id = router_between(view, port, subnet_id, floating.floating_network_id)
    _check_only_one(view, floating, port, address)
    return replace(floating, port_id=port.id, fixed_ip_address=address, router_id=router_id)


def _internal_address(port: Port, address: str | None) -> tuple[str, str]:
    """-> subnet and IPv4 address of the port that a floating IP leads to: the one that is asked for, or the only one."""
    if address is not None and ":" in address:
        raise _bad(f"Cannot process floating IP association with {address}, since that is not an IPv4 address")
    candidates = [ip for ip in port.fixed_ips if ":" not in ip.ip_address and address in (None, ip.ip_address)]
    if not candidates and address is not None:
        raise _bad(f"Port {port.id} does not have fixed ip {address}")
    if not candidates:
        raise _bad(f"Cannot add floating IP to port {port.id} that has no fixed IPv4 addresses")
    if len(candidates) > 1:
        raise _bad(f"Port {port.id} has multiple fixed IPv4 addresses.  Must provide a specific IPv4 address when assigning a floating IP")
    return candidates[0].subnet_id, candidates[0].ip_address


def router_between(view: View, port: Port, subnet_id: str, external_network_id: str) -> str:
    """The router from a port's subnet to the external network, first the one that is the subnet's gateway. Raises NotFound."""
    subnet = view.get(Subnet, subnet_id)
    found = []
    for interface in view.find(Port, "subnet_id", subnet_id):
        gateway = gateway_port(view, interface.device_id) if interface.device_owner == INTERFACE_OWNER else None
        if gateway is not None and gateway.network_id == external_network_id:
            is_gateway = any(subnet is not None and ip.ip_address == subnet.gateway_ip for ip in interface.fixed_ips)
            found.append((not is_gateway, interface.device_id))
    if not found:
        message = (
            f"External network {external_network_id} is not reachable from subnet {subnet_id}.  Therefore, cannot associate "
            f"Port {port.id} with a Floating IP."
        )
        raise NotFound(message, "ExternalGatewayForFloatingIPNotFound")
    return min(found)[1]


def _check_only_one(view: View, floating: FloatingIp, port: Port, address: str) -> None:
    """Raises Conflict where the address has a floating IP of the same network already, or is forwarded to."""
    others = [other for other in view.find(FloatingIp, "port_id", port.id) if other.id != floating.id]
    if any(other.fixed_ip_address == address and other.floating_network_id == floating.floating_network_id for other in others):
        raise already_associated(floating, port.id, address)
    if any(forwarding.internal_ip_address == address for forwarding in view.find(PortForwarding, "internal_port_id", port.id)):
        message = (
            f"Cannot associate floating IP {floating.floating_ip_address} ({floating.id}) with port {port.id} using fixed IP {address}, "
            "as that port already has port forwarding."
        )
        raise Conflict(message, "PortHasPortForwarding")


def already_associated(floating: FloatingIp, port_id: str, address: str) -> Conflict:
    message = (
        f"Cannot associate floating IP {floating.floating_ip_address} ({floating.id}) with port {port_id} using fixed IP {address}, "
        f"as that fixed IP already has a floating IP on external network {floating.floating_network_id}."
    )
    return Conflict(message, "FloatingIPPortAlreadyAssociated")


def _bad(reason: str) -> Invalid:
    return Invalid(f"Bad floatingip request: {reason}.", "BadRequest")
