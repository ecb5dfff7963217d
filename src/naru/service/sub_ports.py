"""The ports behind the parent of a trunk follow it: they are bound where it is, or refused there with the reason."""

from typing import Any

from msgspec.structs import replace

from naru.model.resources import Changes, Port, put
from naru.model.trunks import SUB_PORT_OWNER, Trunk
from naru.model.view import View
from naru.service.binding import agent_of, bind
from naru.service.provisioning import unwired


def follow_parent(view: View, parent: Port) -> Changes[None]:
    """The parent was bound elsewhere, or nowhere."""
    for trunk in list(view.find(Trunk, "port_id", parent.id)):
        yield from place_sub_ports(view, trunk)


def place_sub_ports(view: View, trunk: Trunk) -> Changes[None]:
    parent = view.get(Port, trunk.port_id)
    for sub_port in trunk.sub_ports:
        port = view.get(Port, sub_port.port_id)
        if port is not None and parent is not None:
            yield from _place(view, port, parent)
    yield from _show_status(view, trunk)


def place_anew(view: View, port: Port) -> Changes[None]:
    """The host of a sub-port says anew what it can do."""
    for trunk in list(view.find(Trunk, "sub_port_id", port.id)):
        yield from place_sub_ports(view, trunk)


def release_sub_port(view: View, port: Port) -> Changes[None]:
    """It is behind no parent any more."""
    if port.device_owner == SUB_PORT_OWNER:
        yield put(_bound(port, "", "unbound", {}))


def show_trunk_status(view: View, port: Port) -> Changes[None]:
    """A host has wired the port, or has not any more."""
    for index in ("port_id", "sub_port_id"):
        for trunk in list(view.find(Trunk, index, port.id)):
            yield from _show_status(view, trunk)


def _show_status(view: View, trunk: Trunk) -> Changes[None]:
    ports = [view.get(Port, id) for id in (trunk.port_id, *(sub_port.port_id for sub_port in trunk.sub_ports))]
    status = "ACTIVE" if all(port is not None and "L2" in port.provisioned for port in ports) else "DOWN"
    if trunk.status != status:
        yield put(replace(view.get(Trunk, trunk.id) or trunk, status=status))


def _place(view: View, port: Port, parent: Port) -> Changes[None]:
    host = parent.binding_host_id
    vif_type, details = bind(view, port, host, port.binding_vnic_type)
    if host and vif_type != "binding_failed" and (reason := _why_no_trunk(view, host)):
        vif_type, details = "binding_failed", {"reason": reason}
    if (host, vif_type, details) != (port.binding_host_id, port.binding_vif_type, port.binding_vif_details):
        yield put(_bound(port, host, vif_type, details))


def _bound(port: Port, host: str, vif_type: str, details: dict[str, Any]) -> Port:
    owner = SUB_PORT_OWNER if host else ""
    bound = replace(port, device_owner=owner, binding_host_id=host, binding_vif_type=vif_type, binding_vif_details=details)
    return replace(unwired(bound), status="DOWN")


def _why_no_trunk(view: View, host: str) -> str | None:
    agent = agent_of(view, host)
    if agent is None or not agent.configurations["vlan"]:
        return f"host {host} cannot tag for trunks: its kernel has no VLAN devices (8021q)"
    return None
