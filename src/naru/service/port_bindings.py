"""Bindings of a port: one is active, and stands in the port's own attributes; the others wait to be activated.

A live migration prepares a binding on the host that an instance moves to, activates it when the instance runs there, and deletes
the one that it left. Only the active binding is wired.
"""

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from naru.model.bindings import PortBinding
from naru.model.errors import Conflict, NotFound
from naru.model.identity import Caller
from naru.model.port_options import Binding
from naru.model.resources import Changes, Port, put
from naru.model.view import View
from naru.service.binding import bind
from naru.service.policy import Cloud, fetch, reader, refused
from naru.service.ports import update_port


def list_bindings(view: View, caller: Caller, port_id: str) -> list[PortBinding]:
    """The active one first. Administrators only, as everything here."""
    port = _fetch_port(view, caller, port_id, "get")
    return [_shown(port, binding, "ACTIVE") for binding in _active(port)] + [
        _shown(port, binding, "INACTIVE") for binding in port.inactive_bindings
    ]


def show_binding(view: View, caller: Caller, port_id: str, host: str) -> PortBinding:
    """Raises NotFound (PortBindingNotFound)."""
    found = next((binding for binding in list_bindings(view, caller, port_id) if binding.host == host), None)
    if found is None:
        raise NotFound(f"Binding for port {port_id} for host {host} could not be found.", "PortBindingNotFound")
    return found


def create_binding(view: View, caller: Caller, port_id: str, given: dict[str, Any], cloud: Cloud) -> Changes[PortBinding]:
    """Raises Conflict: PortBindingAlreadyExists, or PortBindingError for a host that cannot carry the network or enforce the policy."""
    port = _fetch_port(view, caller, port_id, "create")
    binding = _bound(view, port, Binding(given["host"], given.get("vnic_type", "normal"), given.get("profile", {})))
    _check_absent(port, binding.host)
    yield put(replace(port, inactive_bindings=(*port.inactive_bindings, binding)))
    return _shown(port, binding, "INACTIVE")


def update_binding(view: View, caller: Caller, port_id: str, host: str, given: dict[str, Any], cloud: Cloud) -> Changes[PortBinding]:
    """Another host, VNIC type or profile. What is active becomes so anew."""
    port = _fetch_port(view, caller, port_id, "update")
    present = show_binding(view, caller, port_id, host)
    if given.get("host", host) != host:
        _check_absent(port, given["host"])
    wanted = Binding(given.get("host", host), given.get("vnic_type", present.vnic_type), given.get("profile", present.profile))
    if present.status == "ACTIVE":
        yield from _activate(view, caller, port, wanted, cloud)
    else:
        binding = _bound(view, port, wanted)
        yield put(replace(port, inactive_bindings=(*_without(port.inactive_bindings, host), binding)))
    return show_binding(view, caller, port_id, wanted.host)


def activate_binding(view: View, caller: Caller, port_id: str, host: str, cloud: Cloud) -> Changes[PortBinding]:
    """What was active waits, unbound, from now on. Raises Conflict (PortBindingAlreadyActive)."""
    port = _fetch_port(view, caller, port_id, "activate")
    wanted = show_binding(view, caller, port_id, host)
    if wanted.status == "ACTIVE":
        raise Conflict(f"Binding for port {port_id} on host {host} is already active.", "PortBindingAlreadyActive")
    left = tuple(replace(binding, vif_type="unbound", vif_details={}) for binding in _active(port))
    yield put(replace(port, inactive_bindings=(*_without(port.inactive_bindings, host), *left)))
    yield from _activate(view, caller, port, Binding(host, wanted.vnic_type, wanted.profile), cloud)
    return show_binding(view, caller, port_id, host)


def delete_binding(view: View, caller: Caller, port_id: str, host: str, cloud: Cloud) -> Changes[None]:
    """A port whose active binding is deleted is unbound."""
    port = _fetch_port(view, caller, port_id, "delete")
    if show_binding(view, caller, port_id, host).status == "ACTIVE":
        yield from _activate(view, caller, port, Binding("", port.binding_vnic_type), cloud)
    else:
        yield put(replace(port, inactive_bindings=_without(port.inactive_bindings, host)))


def _fetch_port(view: View, caller: Caller, port_id: str, action: str) -> Port:
    port = fetch(view, caller, Port, port_id)
    rule = f"{action}_port_binding"
    if not caller.may(rule, caller.is_admin or (action == "get" and caller.reads_all), reader(view, caller, port)):
        raise refused(caller, rule, "bindings are an administrator's affair")
    return port


def _activate(view: View, caller: Caller, port: Port, wanted: Binding, cloud: Cloud) -> Changes[None]:
    given = {"binding_host_id": wanted.host, "binding_vnic_type": wanted.vnic_type, "binding_profile": wanted.profile}
    yield from update_port(view, caller, port.id, given, cloud)


def _active(port: Port) -> list[Binding]:
    """At most one."""
    if not port.binding_host_id:
        return []
    parts = (port.binding_vnic_type, port.binding_profile, port.binding_vif_type, port.binding_vif_details)
    return [Binding(port.binding_host_id, *parts)]


def _bound(view: View, port: Port, binding: Binding) -> Binding:
    vif_type, vif_details = bind(view, port, binding.host, binding.vnic_type)
    if vif_type == "binding_failed":
        message = f"Binding for port {port.id} on host {binding.host} could not be created or updated: {vif_details['reason']}."
        raise Conflict(message, "PortBindingError")
    return replace(binding, vif_type=vif_type, vif_details=vif_details)


def _check_absent(port: Port, host: str) -> None:
    if host in (port.binding_host_id, *(binding.host for binding in port.inactive_bindings)):
        raise Conflict(f"Binding for port {port.id} on host {host} already exists.", "PortBindingAlreadyExists")


def _without(bindings: Iterable[Binding], host: str) -> tuple[Binding, ...]:
    return tuple(binding for binding in bindings if binding.host != host)


def _shown(port: Port, binding: Binding, status: str) -> PortBinding:
    return PortBinding(
        id=binding.host,
        project_id=port.project_id,
        host=binding.host,
        vif_type=binding.vif_type,
        vif_details=binding.vif_details,
        vnic_type=binding.vnic_type,
        profile=binding.profile,
        status=status,
    )
