"""Which security groups a port gets, and whether it may send from addresses that are not its own."""

from typing import Any

from msgspec.structs import replace

from naru.model.errors import Conflict, Invalid
from naru.model.identity import Caller
from naru.model.port_security import AddressPair, check_distinct
from naru.model.resources import Changes, Network, Port
from naru.model.security import SecurityGroup
from naru.model.view import View
from naru.service.policy import fetch
from naru.service.security import ensure_default_group

TRUSTED = "network:"  # beginning of the device_owner of ports that are the service's own


def protect_new_port(view: View, caller: Caller, network: Network, given: dict[str, Any], mac: str) -> Changes[dict[str, Any]]:
    """The port's security attributes: inherited from its network, and its project's default group, unless it says otherwise.

    Raises Invalid or Conflict, as Neutron does, for groups and address pairs on a port without port security.
    """
    is_trusted = given.get("device_owner", "").startswith(TRUSTED)
    enabled = not is_trusted and given.get("port_security_enabled", network.port_security_enabled)
    groups, pairs = given.get("security_groups"), given.get("allowed_address_pairs", ())
    if not enabled:
        _refuse_pairs(pairs)
        _refuse_new_groups(groups)
        groups = ()
    elif groups is None:
        default = yield from ensure_default_group(view, given["project_id"])
        groups = (default.id,) if default is not None else ()
    else:
        _check_groups(view, caller, groups)
    return {"port_security_enabled": enabled, "security_groups": groups, "allowed_address_pairs": _with_mac(pairs, mac)}


def protect_changed_port(view: View, caller: Caller, port: Port, given: dict[str, Any], mac: str) -> dict[str, Any]:
    """What of `given` is about security, checked against what the port has. Null groups are none."""
    names = ("port_security_enabled", "security_groups", "allowed_address_pairs")
    changed: dict[str, Any] = {name: given[name] for name in names if name in given}
    if "security_groups" in changed:
        changed["security_groups"] = changed["security_groups"] or ()
        _check_groups(view, caller, changed["security_groups"])
    if "allowed_address_pairs" in changed:
        changed["allowed_address_pairs"] = _with_mac(changed["allowed_address_pairs"], mac)
    if not changed.get("port_security_enabled", port.port_security_enabled):
        _refuse_pairs(changed.get("allowed_address_pairs", port.allowed_address_pairs))
        _refuse_new_groups(changed.get("security_groups"))
        if "security_groups" not in changed and port.security_groups:
            message = "Port has security group associated. Cannot disable port security or IP address until security group is removed."
            raise Conflict(message, "PortSecurityPortHasSecurityGroup")
    return changed


def _check_groups(view: View, caller: Caller, groups: tuple[str, ...]) -> None:
    """Raises NotFound for a group that the caller may not see."""
    for id in groups:
        fetch(view, caller, SecurityGroup, id)


def _refuse_pairs(pairs: tuple[AddressPair, ...]) -> None:
    if pairs:
        message = "Port Security must be enabled in order to have allowed address pairs on a port."
        raise Conflict(message, "AddressPairAndPortSecurityRequired")


def _refuse_new_groups(groups: tuple[str, ...] | None) -> None:
    if groups:
        message = "Port security must be enabled and port must have an IP address in order to use security groups."
        raise Invalid(message, "PortSecurityAndIPRequiredForSecurityGroups")


def _with_mac(pairs: tuple[AddressPair, ...], mac: str) -> tuple[AddressPair, ...]:
    filled = tuple(replace(pair, mac_address=pair.mac_address or mac) for pair in pairs)
    check_distinct(filled)
    return filled
