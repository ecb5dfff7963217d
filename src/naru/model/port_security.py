"""What a port says about security: its groups, and the addresses beside its own that it may send from."""

import ipaddress
from typing import Any

import msgspec

from naru.model.attributes import Unconvertible, cidr, ip_address, mac_address, schema_of, shown, takes, uuid_text
from naru.model.errors import Invalid

MAX_ADDRESS_PAIRS = 10  # of one port; Neutron's max_allowed_address_pair


class AddressPair(msgspec.Struct, frozen=True, gc=False):
    """`mac_address` None: the port's own, which stands there once the port is made."""

    ip_address: str  # or a prefix
    mac_address: str | None = None


def address_pairs(value: Any) -> tuple[AddressPair, ...]:
    """Raises with the type that Neutron has for the case. Null means none."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise Invalid("Allowed address pairs must be a list.")
    if len(value) > MAX_ADDRESS_PAIRS:
        raise Invalid(f"The number of allowed address pair exceeds the maximum {MAX_ADDRESS_PAIRS}.", "AllowedAddressPairExhausted")
    pairs = tuple(_address_pair(item) for item in value)
    check_distinct(pairs)
    return pairs


def check_distinct(pairs: tuple[AddressPair, ...]) -> None:
    """Raises Invalid (DuplicateAddressPairInRequest)."""
    for number, pair in enumerate(pairs):
        if pair in pairs[:number]:
            message = f"Request contains duplicate address pair: mac_address {pair.mac_address} ip_address {pair.ip_address}."
            raise Invalid(message, "DuplicateAddressPairInRequest")


def _address_pair(value: Any) -> AddressPair:
    if not isinstance(value, dict):
        raise ValueError(f"{shown(value)} is not a dictionary")
    if "ip_address" not in value:
        raise Invalid("AllowedAddressPair must contain ip_address", "AllowedAddressPairsMissingIP")
    if unknown := set(value) - {"ip_address", "mac_address"}:
        raise Invalid(f"Unrecognized attribute(s) '{', '.join(sorted(unknown))}'")
    mac = value.get("mac_address")
    return AddressPair(_address_or_prefix(value["ip_address"]), None if mac is None else mac_address(mac))


def _address_or_prefix(value: Any) -> str:
    """A multicast address is nobody's to send from (RFC 1112 §6.3, RFC 4291 §2.7)."""
    text = cidr(value) if isinstance(value, str) and "/" in value else ip_address(value)
    if ipaddress.ip_network(text).is_multicast:
        raise ValueError(f"{shown(value)} is multicast, which is not allowed in address pairs")
    return text


@takes({"type": ["array", "null"], "items": schema_of(uuid_text)})
def group_ids(value: Any) -> tuple[str, ...] | None:
    """Each once, in the order in which they were named. Null is what the service makes of it."""
    if value is None:
        return None
    if not isinstance(value, list):
        raise ValueError(f"{shown(value)} is not a list of security group IDs")
    try:
        return tuple(dict.fromkeys(uuid_text(item) for item in value))
    except ValueError:
        raise Unconvertible(f"{shown(value)} is not an integer or uuid") from None
