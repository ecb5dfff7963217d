"""What a port says beside its addresses, checked against what stands around it."""

from typing import Any

from naru.model.errors import Invalid, invalid_value
from naru.model.port_options import FQDN_MAX_LENGTH, merged_options
from naru.model.resources import Network, Port


def options_of_new_port(network: Network, given: dict[str, Any]) -> dict[str, Any]:
    """Raises Invalid for a name that does not fit into the network's domain."""
    check_dns_name(given.get("dns_name", ""), network.dns_suffix)
    return {"dns_suffix": network.dns_suffix, "extra_dhcp_opts": merged_options((), given.get("extra_dhcp_opts", ()))}


def options_of_changed_port(port: Port, given: dict[str, Any]) -> dict[str, Any]:
    """Raises Invalid for a name that does not fit into the domain of the port's network."""
    check_dns_name(given.get("dns_name", ""), port.dns_suffix)
    changed: dict[str, Any] = {}
    if "extra_dhcp_opts" in given:
        changed["extra_dhcp_opts"] = merged_options(port.extra_dhcp_opts, given["extra_dhcp_opts"])
    if "binding_host_id" in given:  # the host where the port is now does not wait for it any more
        changed["inactive_bindings"] = tuple(one for one in port.inactive_bindings if one.host != given["binding_host_id"])
    return changed


def check_dns_name(name: str, suffix: str) -> None:
    """A complete name must be one of the domain `suffix`, a relative one must leave room for it."""
    if name.endswith(".") and not name.endswith(f".{suffix}"):
        reason = f"The dns_name passed is a FQDN. It must end in the domain of the network, '{suffix}', after one or more labels of its own"
        raise invalid_value("dns_name", reason)
    if name and not name.endswith(".") and len(name) + 1 + len(suffix) > FQDN_MAX_LENGTH:
        reason = f"'{name}' and the domain of the network, '{suffix}', make a name longer than {FQDN_MAX_LENGTH} characters"
        raise invalid_value("dns_name", reason)


def check_vlan_transparency(given: dict[str, Any]) -> None:
    """Raises Invalid: nothing that wires our hosts promises to carry tags of guests."""
    if given.get("vlan_transparent"):
        raise Invalid("Backend does not support VLAN Transparency.", "VlanTransparencyDriverError")


def check_name_and_domain(given: dict[str, Any]) -> None:
    """Of a floating IP. Raises Invalid where one comes without the other: no record could be made of it."""
    name, domain = given.get("dns_name", ""), given.get("dns_domain", "")
    if bool(name) != bool(domain):
        known, missing = ("dns_name", "dns_domain") if name else ("dns_domain", "dns_name")
        raise Invalid(f"Bad floatingip request: {known} cannot be specified without a {missing}.", "BadRequest")
