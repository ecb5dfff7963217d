"""Ports: the hot path. An address, a MAC, a binding; status follows from what hosts report."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from naru.model.errors import Conflict, Forbidden, Invalid
from naru.model.identity import Caller, Read
from naru.model.resources import DHCP_OWNER, Changes, Network, Port, WantedIp, new_id, put, remove
from naru.model.view import View
from naru.service.addressing import (
    are_free,
    check_mac,
    choose_mac,
    fixed_by_choice,
    subnets_in_order,
    take_wanted,
    with_automatic,
)
from naru.service.binding import bound, check_enforced, is_bound
from naru.service.dhcp import ensure_dhcp_servers, is_unserved
from naru.service.growth import choose_or_grow
from naru.service.holds import Taken, count_held, forget_pick, release_addresses, take_placements, wake_addresses
from naru.service.logs import forget_logs
from naru.service.nova_events import forget_nova_event
from naru.service.policy import Cloud, check_quota, fetch, fetch_own, owns, reader, reader_of_new, refused
from naru.service.port_options import options_of_changed_port, options_of_new_port
from naru.service.port_security import protect_changed_port, protect_new_port
from naru.service.provisioning import port_status, unwired
from naru.service.qos import check_policy, policy_of_new_port
from naru.service.router_ports import check_addresses, check_deletable, follow_addresses, let_go
from naru.service.segments import check_host, ip_allocation, is_carried
from naru.service.sub_ports import follow_parent
from naru.service.trunks import check_in_no_trunk, follow_mac


def create_port(view: View, caller: Caller, given: dict[str, Any], cloud: Cloud) -> Changes[Port]:
    """Raises NotFound for a network that the caller may not see, Conflict when it has no free address."""
    (port,) = yield from create_ports(view, caller, [given], cloud)
    return port


def create_ports(view: View, caller: Caller, many: Sequence[dict[str, Any]], cloud: Cloud) -> Changes[list[Port]]:
    """All that one request asks for. Raises as `create_port`."""
    taken = yield from take_placements(view, caller, many)
    ports = []
    for given, place in zip(many, taken, strict=True):
        ports.append((yield from create_port_of(view, caller, given, cloud, place)))
    return ports


def create_port_of(view: View, caller: Caller, given: dict[str, Any], cloud: Cloud, taken: Taken | None) -> Changes[Port]:
    """`taken`: a pick, and the placement that the port is for. Raises as `create_port`."""
    id = (taken is not None and taken.place.port_id) or new_id()
    given = {name: value for name, value in given.items() if name != "pick_token"}
    if taken is not None:
        given |= {"pick_id": taken.pick_id, "network_id": taken.place.network_id}
    network = fetch(view, caller, Network, given["network_id"])
    if not owns(caller, network):
        _refuse_reserved(caller, given, "create", reader_of_new(view, caller, Port, given))
    check_quota(view, cloud, Port, given["project_id"], held=count_held(view, given["project_id"]))
    given = given | options_of_new_port(network, given) | policy_of_new_port(view, caller, network, given)
    mac = given.get("mac_address")
    if not mac:
        mac = choose_mac(view, network.id)
    else:
        check_mac(view, network.id, mac)
    wanted, host = given.get("fixed_ips"), given.get("binding_host_id")
    if taken is not None and is_carried(view, network.id, taken.place.fixed_ips, host) and are_free(view, taken.place.fixed_ips):
        fixed_ips = with_automatic(subnets_in_order(view, network.id), taken.place.fixed_ips, mac)
    elif wanted is None:
        fixed_ips = yield from choose_or_grow(view, network, mac, given.get("device_owner", ""), host, cloud)
    else:
        _check_number(wanted, cloud.max_fixed_ips_per_port)
        yield from wake_addresses(view, network.id, wanted)
        fixed_ips = take_wanted(view, network.id, mac, wanted)
    protection = yield from protect_new_port(view, caller, network, given, mac)
    is_provisional = wanted is None and not host and not network.l2_adjacency
    port = Port(id=id, **given | protection | {"mac_address": mac, "fixed_ips": fixed_ips, "is_provisional": is_provisional})
    port = bound(view, port)
    port = replace(port, ip_allocation=ip_allocation(view, port, wants_none=wanted is not None))
    check_host(view, port)
    yield put(port)
    return port


def update_port(view: View, caller: Caller, id: str, given: dict[str, Any], cloud: Cloud) -> Changes[Port]:
    """A port that moves to another host starts over as DOWN."""
    port = fetch_own(view, caller, Port, id, "update")
    network = fetch(view, caller, Network, port.network_id)
    if not owns(caller, network):
        _refuse_reserved(caller, given, "update", reader(view, caller, port))
    given = given | options_of_changed_port(port, given)
    check_policy(view, caller, port.qos_policy_id, given.get("qos_policy_id", port.qos_policy_id))
    mac = given.get("mac_address", port.mac_address)
    if not mac:
        mac = given["mac_address"] = choose_mac(view, network.id)
    if mac != port.mac_address:
        _check_movable(port, mac)
        check_mac(view, network.id, mac)
    host, is_named = given.get("binding_host_id"), "fixed_ips" in given
    if host and not is_named and _has_no_place(view, port, host):
        given["fixed_ips"] = yield from choose_or_grow(view, network, mac, given.get("device_owner", port.device_owner), host, cloud)
        given["ip_allocation"] = "immediate"
    elif "fixed_ips" in given or mac != port.mac_address:
        wanted = given.get("fixed_ips", fixed_by_choice(view, port.fixed_ips))
        _check_number(wanted, max(cloud.max_fixed_ips_per_port, len(port.fixed_ips)))
        yield from wake_addresses(view, network.id, wanted)
        given["fixed_ips"] = take_wanted(view, network.id, mac, wanted, held=port.fixed_ips)
        if given["fixed_ips"]:
            given["ip_allocation"] = "immediate"
    given["is_provisional"] = port.is_provisional and not host and not is_named
    changed = replace(port, **given | protect_changed_port(view, caller, port, given, mac))
    is_moved = (changed.binding_host_id or "", changed.binding_vnic_type) != (port.binding_host_id, port.binding_vnic_type)
    if is_moved or port.binding_vif_type == "binding_failed":
        changed = bound(view, unwired(changed))
    elif changed.qos_policy_id != port.qos_policy_id:
        check_enforced(view, changed)
    changed = replace(changed, status=port_status(view, changed))
    check_host(view, changed)
    check_addresses(view, port, changed)
    yield put(changed)
    yield from release_addresses(view, port, tuple(ip for ip in port.fixed_ips if ip not in changed.fixed_ips), cloud)
    yield from follow_mac(view, port, changed)
    if changed.binding_host_id != port.binding_host_id or changed.device_id != port.device_id:
        yield from follow_parent(view, changed)
    yield from follow_addresses(view, changed)
    return changed


def _check_number(wanted: Sequence[WantedIp], most: int) -> None:
    """Raises Invalid for more addresses than one port may ask for: to choose them keeps everybody else waiting."""
    if len(wanted) > most:
        message = f"Exceeded maximum amount of fixed ips per port: {len(wanted)} are asked for, and {most} may be."
        raise Invalid(f"Invalid input for operation: {message} The setting max_fixed_ips_per_port says so.", "InvalidInput")


def delete_port(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    port = fetch_own(view, caller, Port, id, "delete")
    _check_not_a_servers(caller, port)
    check_deletable(view, port)
    check_in_no_trunk(view, port)
    yield from remove_port(view, port, cloud)
    if port.device_owner == DHCP_OWNER or is_unserved(view, port.network_id):  # a full network has an address for a server again
        yield from ensure_dhcp_servers(view, port.network_id, cloud)


def _check_not_a_servers(caller: Caller, port: Port) -> None:
    """Raises Forbidden where a user would pull a port out of a server; the service that runs it may, and an administrator."""
    if port.device_owner.startswith("compute:") and not (caller.is_admin or caller.is_service):
        message = f"port {port.id} is in use by server {port.device_id}: detach it there, or delete the server"
        raise Forbidden(f"(rule:delete_port) is disallowed by policy: {message}")


def remove_port(view: View, port: Port, cloud: Cloud) -> Changes[None]:
    """The port goes, and what leads to it lets go of it."""
    yield from let_go(view, port)
    yield from forget_logs(view, port.id)
    yield from forget_nova_event(view, port.id)
    yield remove(port)
    yield from release_addresses(view, port, port.fixed_ips, cloud)
    yield from forget_pick(view, port)


def _has_no_place(view: View, port: Port, host: str) -> bool:
    """It waits for addresses until it is bound, or has some that were chosen before its host was known, and do not work there."""
    return port.ip_allocation == "deferred" or (port.is_provisional and not is_carried(view, port.network_id, port.fixed_ips, host))


def _check_movable(port: Port, mac: str) -> None:
    """Raises Conflict (PortBound): what is plugged in goes on with the MAC that it knows."""
    if is_bound(port):
        message = (
            f"Unable to complete operation on port {port.id}, port is already bound, port type: {port.binding_vif_type}, "
            f"old_mac {port.mac_address}, new_mac {mac}."
        )
        raise Conflict(message, "PortBound")


def check_unused(port: Port) -> None:
    """Raises Conflict (PortInUse) when something is plugged into the port already."""
    if port.device_id:
        message = (
            f"Unable to complete operation on port {port.id} for network {port.network_id}. "
            f"Port already has an attached device {port.device_id}."
        )
        raise Conflict(message, "PortInUse")


def _refuse_reserved(caller: Caller, given: dict[str, Any], action: str, read: Read) -> None:
    """On somebody else's shared network a caller takes the addresses and MACs that he is given."""
    asks_address = any(ask.ip_address is not None for ask in given.get("fixed_ips") or ())
    reserved = {
        "mac_address": "mac_address" in given,
        "fixed_ips:ip_address": asks_address,
        "port_security_enabled": "port_security_enabled" in given,
        "allowed_address_pairs": bool(given.get("allowed_address_pairs")),
        "device_owner": str(given.get("device_owner", "")).startswith("network:"),
    }
    for attribute, is_asked in reserved.items():
        if is_asked and not caller.may(f"{action}_port:{attribute}", False, read):
            raise refused(caller, f"{action}_port:{attribute}", "the network belongs to another project")
