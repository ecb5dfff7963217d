"""Trunks: which ports lie behind which, and what the parent shows of them (`trunk_details`).

A trunk is ACTIVE while all of its ports are wired.
"""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from naru.model.attributes import Convert, Unconvertible, shown
from naru.model.errors import Conflict, Invalid, NotFound, invalid_value
from naru.model.identity import Caller
from naru.model.resources import Changes, Network, Port, attributes, new_id, put, remove
from naru.model.trunks import SubPort, Trunk, port_id_of, sub_port_list
from naru.model.view import View
from naru.service.policy import Cloud, check_quota, fetch, fetch_own
from naru.service.sub_ports import place_sub_ports, release_sub_port


def create_trunk(view: View, caller: Caller, given: dict[str, Any], cloud: Cloud) -> Changes[Trunk]:
    """Raises Conflict for a parent that is bound (ParentPortInUse) and for ports that are in a trunk already (TrunkPortInUse)."""
    parent = fetch(view, caller, Port, given["port_id"])
    _check_free(view, parent.id)
    if parent.binding_host_id or parent.device_owner.startswith("network:"):
        raise _unfit_parent(parent.id)
    check_quota(view, cloud, Trunk, given["project_id"])
    trunk = Trunk(id=new_id(), **given | {"sub_ports": ()})
    trunk = replace(trunk, sub_ports=_checked(view, caller, trunk, given.get("sub_ports", ())))
    yield put(trunk)
    yield from _show_on_parent(view, trunk)
    return trunk


def update_trunk(view: View, caller: Caller, id: str, given: dict[str, Any], cloud: Cloud) -> Changes[Trunk]:
    changed = replace(fetch_own(view, caller, Trunk, id, "update"), **given)
    yield put(changed)
    return changed


def delete_trunk(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    """Raises Conflict (TrunkInUse) while its parent is bound."""
    trunk = fetch_own(view, caller, Trunk, id, "delete")
    parent = view.get(Port, trunk.port_id)
    if parent is not None and parent.binding_host_id:
        raise Conflict(f"Trunk {id} is currently in use.", "TrunkInUse")
    yield remove(trunk)
    if parent is not None:
        yield put(replace(parent, trunk_details=None))


def add_subports(view: View, caller: Caller, id: str, body: Any, cloud: Cloud) -> Changes[dict[str, Any]]:
    """PUT trunks/{id}/add_subports. Raises Conflict for a port or a tag that is taken, and for a trunk that is disabled."""
    trunk = _manageable(view, caller, id, "add_subports")
    added = _checked(view, caller, trunk, _asked(body, sub_port_list))
    changed = replace(trunk, sub_ports=(*trunk.sub_ports, *added))
    yield put(changed)
    yield from place_sub_ports(view, changed)
    return (yield from _shown(view, changed))


def remove_subports(view: View, caller: Caller, id: str, body: Any, cloud: Cloud) -> Changes[dict[str, Any]]:
    """PUT trunks/{id}/remove_subports. Raises NotFound (SubPortNotFound)."""
    trunk = _manageable(view, caller, id, "remove_subports")
    gone = _asked(body, _port_ids)
    present = {sub_port.port_id for sub_port in trunk.sub_ports}
    for port_id in gone:
        if port_id not in present:
            message = f"SubPort on trunk {id} with parent port {trunk.port_id} could not be found: port {port_id}."
            raise NotFound(message, "SubPortNotFound")
    changed = replace(trunk, sub_ports=tuple(one for one in trunk.sub_ports if one.port_id not in gone))
    yield put(changed)
    for port in [view.get(Port, id) for id in gone]:
        if port is not None:
            yield from release_sub_port(view, port)
    yield from place_sub_ports(view, changed)
    return (yield from _shown(view, changed))


def show_subports(view: View, caller: Caller, id: str) -> dict[str, Any]:
    """GET trunks/{id}/get_subports."""
    return {"sub_ports": fetch(view, caller, Trunk, id).sub_ports}


def _manageable(view: View, caller: Caller, id: str, action: str) -> Trunk:
    trunk = fetch_own(view, caller, Trunk, id, action)
    if not trunk.admin_state_up:
        raise Conflict(f"Trunk {id} is currently disabled.", "TrunkDisabled")
    return trunk


def _shown(view: View, trunk: Trunk) -> Changes[dict[str, Any]]:
    """-> the trunk as these actions answer it: without its word around it."""
    yield from _show_on_parent(view, trunk)
    kept = view.get(Trunk, trunk.id) or trunk
    return {item.wire: getattr(kept, item.field) for item in attributes(Trunk).values()}


def _asked(body: Any, convert: Convert) -> Any:
    if not isinstance(body, dict) or "sub_ports" not in body:
        raise invalid_value("sub_ports", f"{shown(body)} has no sub_ports")
    try:
        return convert(body["sub_ports"])
    except Unconvertible as error:
        raise invalid_value("sub_ports", str(error), "InvalidInput") from None
    except ValueError as error:
        raise invalid_value("sub_ports", str(error)) from None


def _port_ids(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise ValueError(f"Invalid data format for subports: {shown(value)} is not a list")
    return [port_id_of(item) for item in value]


# -- what a sub-port may be


def _checked(view: View, caller: Caller, trunk: Trunk, wanted: Sequence[SubPort]) -> tuple[SubPort, ...]:
    """`wanted` with the tags that are inherited."""
    taken = {(one.segmentation_type, one.segmentation_id) for one in trunk.sub_ports}
    checked: list[SubPort] = []
    for asked in wanted:
        sub_port = _checked_one(view, caller, trunk, asked)
        tag = (sub_port.segmentation_type, sub_port.segmentation_id)
        if tag in taken:
            message = f"segmentation_type {tag[0]} and segmentation_id {tag[1]} already in use on trunk {trunk.id}."
            raise Conflict(message, "DuplicateSubPort")
        taken.add(tag)
        checked.append(sub_port)
    return tuple(checked)


def _checked_one(view: View, caller: Caller, trunk: Trunk, asked: SubPort) -> SubPort:
    port = fetch(view, caller, Port, asked.port_id)
    if port.id == trunk.port_id:
        raise _unfit_parent(port.id)
    _check_free(view, port.id)
    if port.device_id:
        message = (
            f"Unable to complete operation on port {port.id} for network {port.network_id}. "
            f"Port already has an attached device {port.device_id}."
        )
        raise Conflict(message, "PortInUse")
    network, parent_network = _network_of(view, port), _network_of(view, fetch(view, caller, Port, trunk.port_id))
    if network.mtu > parent_network.mtu:
        message = f"MTU {network.mtu} of subport {port.id} cannot be greater than MTU {parent_network.mtu} of trunk {trunk.id}."
        raise Conflict(message, "SubPortMtuGreaterThanTrunkPortMtu")
    if asked.segmentation_type != "inherit":
        return asked
    if network.provider_network_type != "vlan" or network.provider_segmentation_id is None:
        message = f"Invalid input for operation: network {network.id} of port {port.id} is not a VLAN, so that there is no tag to inherit."
        raise Invalid(message, "InvalidInput")
    return SubPort(port.id, "vlan", network.provider_segmentation_id)


def _network_of(view: View, port: Port) -> Network:
    network = view.get(Network, port.network_id)
    assert network is not None
    return network


def _check_free(view: View, port_id: str) -> None:
    if view.count(Trunk, "port_id", port_id) or view.count(Trunk, "sub_port_id", port_id):
        raise Conflict(f"Port {port_id} is in use by another trunk.", "TrunkPortInUse")


def _unfit_parent(port_id: str) -> Conflict:
    return Conflict(f"Port {port_id} is currently in use and is not eligible for use as a parent port.", "ParentPortInUse")


# -- the other side: ports


def check_in_no_trunk(view: View, port: Port) -> None:
    """Raises Conflict for a port that would leave a hole in a trunk."""
    for index, role, type in (("port_id", "parent port", "PortInUseAsTrunkParent"), ("sub_port_id", "subport", "PortInUseAsSubPort")):
        for trunk in view.find(Trunk, index, port.id):
            raise Conflict(f"Port {port.id} is currently a {role} for trunk {trunk.id}.", type)


def follow_mac(view: View, before: Port, after: Port) -> Changes[None]:
    """The parent shows the MACs of the ports behind it."""
    if before.mac_address != after.mac_address:
        for trunk in list(view.find(Trunk, "sub_port_id", after.id)):
            yield from _show_on_parent(view, trunk)


def _show_on_parent(view: View, trunk: Trunk) -> Changes[None]:
    parent = view.get(Port, trunk.port_id)
    if parent is None:
        return
    below = [(one, view.get(Port, one.port_id)) for one in trunk.sub_ports]
    details = [
        {
            "port_id": one.port_id,
            "segmentation_type": one.segmentation_type,
            "segmentation_id": one.segmentation_id,
            "mac_address": port.mac_address,
        }
        for one, port in below
        if port is not None
    ]
    yield put(replace(parent, trunk_details={"trunk_id": trunk.id, "sub_ports": details}))
