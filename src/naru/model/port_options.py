"""What a port says beside its addresses: its name in DNS, options for its DHCP client, hints for who plugs it in."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec

from naru.model.attributes import Unconvertible, shown, takes

FQDN_MAX_LENGTH = 255
DEFAULT_DNS_DOMAIN = "openstacklocal."
NUMA_POLICIES = ("required", "preferred", "legacy", "socket", None)

# A label of RFC 1123 §2.1, or a word that an external DNS service fills in
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)|<(project_id|project_name|user_id|user_name)>", re.ASCII)


class DhcpOption(msgspec.Struct, frozen=True, gc=False):
    """An option by its name or number. `opt_value` None: none, and in an update: no longer."""

    opt_name: str
    opt_value: str | None
    ip_version: int = 4


class Binding(msgspec.Struct, frozen=True):
    """A port on a host. A port has at most one active binding, which is in its own `binding:*` attributes."""

    host: str
    vnic_type: str = "normal"
    profile: dict[str, Any] = {}
    vif_type: str = "unbound"
    vif_details: dict[str, Any] = {}


class DnsAssignment(msgspec.Struct, frozen=True, gc=False):
    ip_address: str
    hostname: str
    fqdn: str


class _Address(Protocol):
    @property
    def ip_address(self) -> str: ...


def dns_assignments(dns_name: str, suffix: str, fixed_ips: Iterable[_Address]) -> tuple[DnsAssignment, ...]:
    """What an internal DNS calls each address of a port. `suffix` ends in a period."""
    return tuple(
        DnsAssignment(ip.ip_address, hostname, hostname if hostname.endswith(".") else f"{hostname}.{suffix}")
        for ip in fixed_ips
        for hostname in (dns_name or automatic_hostname(ip.ip_address),)
    )


def automatic_hostname(address: str) -> str:
    return "host-" + re.sub("[.:]", "-", address)


# -- names


def check_labels(name: str) -> None:
    """Raises ValueError unless `name` is one that a host can have: RFC 1034 §3.1, RFC 1123 §2.1."""
    trimmed = name.removesuffix(".")
    if len(trimmed) > FQDN_MAX_LENGTH:
        raise ValueError(f"{shown(name)} not a valid PQDN or FQDN. Reason: it exceeds the {FQDN_MAX_LENGTH} character FQDN limit")
    labels = trimmed.split(".")
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise ValueError(
                f"{shown(name)} not a valid PQDN or FQDN. Reason: Name {shown(label)} must be 1-63 characters long, each of which can "
                "only be alphanumeric or a hyphen, and must not start or end with a hyphen"
            )
    if len(labels) > 1 and labels[-1].isdecimal():
        raise ValueError(f"{shown(name)} not a valid PQDN or FQDN. Reason: TLD {shown(labels[-1])} must not be all numeric")


@takes({"type": "string", "format": "dns-name"})
def host_name(value: Any) -> str:
    """A host's name in lower case, relative or complete (with a period at its end); "" is none."""
    name = _lower(value)
    if name:
        check_labels(name)
    return name


@takes({"type": "string", "format": "dns-label"})
def relative_dns_name(value: Any) -> str:
    """The name of a floating IP: a domain comes after it."""
    name = _lower(value)
    if name.endswith("."):
        raise ValueError(f"{shown(name)} is a FQDN. It should be a relative domain name")
    if name:
        check_labels(name)
        _check_room(name, FQDN_MAX_LENGTH - 3, "domain name")
    return name


@takes({"type": "string", "format": "dns-domain"})
def domain_name(value: Any) -> str:
    """A complete domain, with a period at its end; "" is none."""
    domain = _lower(value)
    if domain and not domain.endswith("."):
        raise ValueError(f"{shown(domain)} is not a FQDN")
    if domain:
        check_labels(domain)
        _check_room(domain, FQDN_MAX_LENGTH - 2, "sub-domain")
    return domain


def _lower(value: Any) -> str:
    if not isinstance(value, str):
        raise Unconvertible(f"Input value {shown(value)} must be string type")
    return value.lower()


def _check_room(name: str, maximum: int, what: str) -> None:
    if len(name) > maximum:
        raise ValueError(f"{shown(name)} contains {len(name)} characters. Adding a {what} will cause it to exceed a FQDN's maximum length")


# -- DHCP options

_MAY_BE_BLANK = ("router", "classless-static-route")
_OPTION_MEMBERS = {"opt_name", "opt_value", "ip_version"}
_OPTION_NUMBERS = {4: range(1, 255), 6: range(1, 65536)}  # RFC 2132 §2, RFC 8415 §21.1


def dhcp_options(value: Any) -> tuple[DhcpOption, ...]:
    """Names as dnsmasq knows them, or numbers. Null is an empty list."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise Unconvertible(f"{shown(value)} is not a list")
    options = tuple(_dhcp_option(item) for item in value)
    if len(set(options)) != len(options):
        raise Unconvertible(f"duplicate items in the list: {shown(value)}")
    return options


def _dhcp_option(value: Any) -> DhcpOption:
    refusal = Unconvertible(f"No valid key specs matched for: {shown(value)}")
    if not isinstance(value, dict) or not {"opt_name", "opt_value"} <= set(value) <= _OPTION_MEMBERS:
        raise refusal
    name, text = value["opt_name"], value["opt_value"]
    version = next((version for version in (4, 6) if value.get("ip_version", 4) in (version, str(version))), None)
    is_text = text is None or (isinstance(text, str) and len(text) <= 255 and "\x00" not in text)
    if version is None or not isinstance(name, str) or not _is_line(name, 64) or not is_text:
        raise refusal
    if name not in _MAY_BE_BLANK and text is not None and not _is_line(text, 255):
        raise refusal
    if name.isdecimal() and int(name) not in _OPTION_NUMBERS[version]:
        raise Unconvertible(f"there is no DHCPv{version} option {name}")
    return DhcpOption(name, text, version)


def _is_line(text: str, maximum: int) -> bool:
    return 0 < len(text) <= maximum and bool(text.strip()) and not any(ord(character) < 32 for character in text)


def merged_options(present: Sequence[DhcpOption], asked: Sequence[DhcpOption]) -> tuple[DhcpOption, ...]:
    """An update names the options that change; one without a value goes, the others stay."""
    merged = {(option.opt_name, option.ip_version): option for option in (*present, *asked)}
    return tuple(option for option in merged.values() if option.opt_value is not None)
