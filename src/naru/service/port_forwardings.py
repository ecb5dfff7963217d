"""Port forwardings: some port numbers of a floating IP lead to a port each, instead of the whole address to one.

https://docs.openstack.org/api-ref/network/v2/#floating-ips-port-forwarding
"""

from typing import Any

from msgspec.structs import replace

from naru.model.errors import Conflict, Invalid
from naru.model.identity import Caller
from naru.model.resources import Changes, Port, new_id, put, remove
from naru.model.routing import FloatingIp, PortForwarding
from naru.model.view import View
from naru.service.floatingips import already_associated, router_between
from naru.service.policy import Cloud, fetch, fetch_own
from naru.service.router_ports import free_routers

_SIDES = ("external", "internal")


def create_port_forwarding(view: View, caller: Caller, given: dict[str, Any], cloud: Cloud) -> Changes[PortForwarding]:
    """Raises Conflict where the floating IP leads to a port as a whole, Invalid for numbers that are forwarded already."""
    floating = fetch_own(view, caller, FloatingIp, given["floatingip_id"], "create_floatingip_port_forwarding")
    forwarding = PortForwarding(id=new_id(), **given | _ranges(given) | {"project_id": floating.project_id})
    if floating.port_id is not None:
        raise already_associated(floating, forwarding.internal_port_id, forwarding.internal_ip_address)
    yield from _place(view, caller, floating, forwarding)
    return forwarding


def update_port_forwarding(view: View, caller: Caller, id: str, given: dict[str, Any], cloud: Cloud) -> Changes[PortForwarding]:
    forwarding = fetch_own(view, caller, PortForwarding, id, "update")
    floating = fetch_own(view, caller, FloatingIp, forwarding.floatingip_id, "update_floatingip_port_forwarding")
    changed = replace(forwarding, **given | _ranges(given, forwarding))
    yield from _place(view, caller, floating, changed)
    return changed


def delete_port_forwarding(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    forwarding = fetch_own(view, caller, PortForwarding, id, "delete")
    yield remove(forwarding)
    yield from free_routers(view, {forwarding.floatingip_id})


def _ranges(given: dict[str, Any], before: PortForwarding | None = None) -> dict[str, Any]:
    """Both ways to say the port numbers, from the one that is given: a range of one is a number too."""
    found: dict[str, Any] = {}
    for side in _SIDES:
        number, numbers = given.get(f"{side}_port"), given.get(f"{side}_port_range")
        if number is not None and numbers is not None and numbers != f"{number}:{number}":
            raise _bad(f"{side}_port and {side}_port_range cannot be specified together, or must say the same")
        if number is not None:
            numbers = f"{number}:{number}"
        elif numbers is None and before is not None:
            numbers = getattr(before, f"{side}_port_range")
        if numbers is None:
            raise _bad(f"{side}_port or {side}_port_range must be specified")
        first, last = _bounds(numbers)
        found |= {f"{side}_port": first if first == last else None, f"{side}_port_range": numbers}
    external, internal = (_bounds(found[f"{side}_port_range"]) for side in _SIDES)
    if internal[1] - internal[0] not in (0, external[1] - external[0]):
        raise _bad("the internal port range must be one port, or as long as the external port range")
    return found


def _bounds(numbers: str) -> tuple[int, int]:
    first, _, last = numbers.partition(":")
    return int(first), int(last)


def _place(view: View, caller: Caller, floating: FloatingIp, forwarding: PortForwarding) -> Changes[None]:
    """Put `forwarding` where it fits, and its floating IP on the router that serves it."""
    port = fetch(view, caller, Port, forwarding.internal_port_id)
    if port.project_id != floating.project_id and not caller.is_admin:
        raise _bad(f"port {port.id} is owned by a different project")
    fixed = next((ip for ip in port.fixed_ips if ip.ip_address == forwarding.internal_ip_address), None)
    if fixed is None:
        addresses = ", ".join(ip.ip_address for ip in port.fixed_ips)
        raise _bad(f"The internal IP does not correspond to an address on the internal port, which has fixed_ips {addresses}")
    if ":" in fixed.ip_address:
        raise _bad(f"Requested internal IP address {fixed.ip_address} is not IPv4, and floating IPs are")
    _check_unassociated(view, floating, port, fixed.ip_address)
    _check_collisions(view, forwarding)
    router_id = router_between(view, port, fixed.subnet_id, floating.floating_network_id)
    others = [other for other in view.find(PortForwarding, "floatingip_id", floating.id) if other.id != forwarding.id]
    if others and floating.router_id not in (None, router_id):
        raise _bad(f"floating IP {floating.id} is served by router {floating.router_id}, port {port.id} is behind router {router_id}")
    yield put(forwarding)
    if floating.router_id != router_id:
        yield put(replace(floating, router_id=router_id))


def _check_unassociated(view: View, floating: FloatingIp, port: Port, address: str) -> None:
    """Raises Conflict where the internal address has a floating IP for itself."""
    if any(other.fixed_ip_address == address for other in view.find(FloatingIp, "port_id", port.id)):
        message = (
            f"Cannot create port forwarding to floating IP {floating.floating_ip_address} ({floating.id}) with port {port.id} "
            f"using fixed IP {address}, as that port already has a binding floating IP."
        )
        raise Conflict(message, "PortHasBindingFloatingIP")


def _check_collisions(view: View, forwarding: PortForwarding) -> None:
    """Raises Invalid where a number of the floating IP would lead to two places, or two numbers to one place."""
    outside = (other for other in view.find(PortForwarding, "floatingip_id", forwarding.floatingip_id))
    inside = (
        other
        for other in view.find(PortForwarding, "internal_port_id", forwarding.internal_port_id)
        if other.internal_ip_address == forwarding.internal_ip_address
    )
    for side, others in (("external", outside), ("internal", inside)):
        first, last = _bounds(getattr(forwarding, f"{side}_port_range"))
        for other in others:
            other_first, other_last = _bounds(getattr(other, f"{side}_port_range"))
            if other.id != forwarding.id and other.protocol == forwarding.protocol and first <= other_last and other_first <= last:
                raise _bad(
                    "A duplicate port forwarding entry with same attributes already exists, conflicting values are "
                    f"{side}_port_range {other_first}:{other_last}, protocol {other.protocol} of port forwarding {other.id}"
                )


def _bad(reason: str) -> Invalid:
    return Invalid(f"Bad port_forwarding request: {reason}.", "BadRequest")
