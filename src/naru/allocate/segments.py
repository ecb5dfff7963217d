"""Segments: what a network is on the wire, for each type one entry in a table.

A type validates what was asked for, and chooses what was not. The ranges come from the settings, what is taken from the caller,
so nothing here remembers anything; the next free id is looked up, not searched for.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from naru.model.errors import Conflict, Invalid, Unavailable
from naru.model.provider import ProviderSegment

MAX_VLAN = 4094  # IEEE 802.1Q: 0 and 4095 are reserved
MAX_VNI = 2**24 - 1
MAX_ID = {"vlan": MAX_VLAN, "vxlan": MAX_VNI, "geneve": MAX_VNI, "gre": 2**32 - 1}

# What an encapsulation takes of the underlay's MTU: outer IPv4 20 and inner Ethernet 14, and UDP 8 with a header of 8 (VXLAN, RFC 7348;
# Geneve without options, RFC 8926), or GRE with a key 8 (RFC 2890).
OVERHEAD_BYTES = {"vxlan": 50, "geneve": 50, "gre": 42}


class IdRange(msgspec.Struct, frozen=True):
    """Segmentation ids for networks that name none, both ends included."""

    first: int
    last: int
    physical_network: str | None = None


class SegmentRanges(msgspec.Struct, frozen=True):
    """What this cloud may use: physical networks for flat and vlan ("*": any), and ranges of ids."""

    flat_physical_networks: tuple[str, ...] = ("*",)
    vlan_physical_networks: tuple[str, ...] = ("*",)
    ids: Mapping[str, tuple[IdRange, ...]] = msgspec.field(default_factory=lambda: {"vxlan": (IdRange(1, MAX_VNI),)})
    tenant_network_types: tuple[str, ...] = ("vxlan",)
    global_physnet_mtu: int = 1500


class Ids(Protocol):
    """The segmentation ids of one type on one physical network; a type without ids has the id 0."""

    def is_free(self, address: int) -> bool: ...

    def next_free(self, start: int) -> int | None: ...


IdsOf = Callable[[str, str | None], Ids]
Choose = Callable[[ProviderSegment, SegmentRanges, IdsOf], ProviderSegment]


def parse_ranges(texts: tuple[str, ...]) -> tuple[IdRange, ...]:
    """ML2's `first:last` texts. Raises ValueError naming the text that is none."""
    ranges = []
    for text in texts:
        first, _, last = text.partition(":")
        if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last) <= MAX_VNI):
            raise ValueError(f"'{text}' is not a VNI range: write first:last, between 1 and {MAX_VNI}")
        ranges.append(IdRange(int(first), int(last)))
    return tuple(ranges)


def parse_vlan_ranges(texts: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[IdRange, ...]]:
    """ML2's `physical_network` and `physical_network:first:last` -> the physical networks, and the ranges. Raises ValueError."""
    physical_networks, ranges = [], []
    for text in texts:
        physical_network, *ends = text.split(":")
        physical_networks.append(physical_network)
        if not ends and physical_network:
            continue
        if (
            not physical_network
            or len(ends) != 2
            or not all(end.isdecimal() for end in ends)
            or not 1 <= int(ends[0]) <= int(ends[1]) <= MAX_VLAN
        ):
            raise ValueError(f"'{text}' is not a VLAN range: write physical_network or physical_network:first:last, up to {MAX_VLAN}")
        ranges.append(IdRange(int(ends[0]), int(ends[1]), physical_network))
    return tuple(dict.fromkeys(physical_networks)), tuple(ranges)


def without(ranges: Iterable[IdRange], reserved: Iterable[IdRange]) -> tuple[IdRange, ...]:
    """What is left of `ranges`, in their order."""
    left = list(ranges)
    for gap in reserved:
        pieces = []
        for each in left:
            if each.physical_network != gap.physical_network or gap.last < each.first or each.last < gap.first:
                pieces.append(each)
                continue
            ends = ((each.first, gap.first - 1), (gap.last + 1, each.last))
            pieces += [IdRange(first, last, each.physical_network) for first, last in ends if first <= last]
        left = pieces
    return tuple(left)


def _choose_local(ask: ProviderSegment, ranges: SegmentRanges, ids_of: IdsOf) -> ProviderSegment:
    for name in ("physical_network", "segmentation_id"):
        if getattr(ask, name) is not None:
            raise _invalid(f"{name} prohibited for local provider network")
    return ask


def _choose_flat(ask: ProviderSegment, ranges: SegmentRanges, ids_of: IdsOf) -> ProviderSegment:
    if ask.physical_network is None:
        raise _invalid("physical_network required for flat provider network")
    if ask.segmentation_id is not None:
        raise _invalid("segmentation_id prohibited for flat provider network")
    _check_physical_network(ask, ranges.flat_physical_networks)
    if not ids_of("flat", ask.physical_network).is_free(0):
        message = f"Unable to create the flat network. Physical network {ask.physical_network} is in use."
        raise Conflict(message, "FlatNetworkInUse")
    return ask


def _choose_vlan(ask: ProviderSegment, ranges: SegmentRanges, ids_of: IdsOf) -> ProviderSegment:
    physical_network, vlan = ask.physical_network, ask.segmentation_id
    if physical_network is not None:
        _check_physical_network(ask, ranges.vlan_physical_networks)
    if vlan is None:
        own = [each for each in ranges.ids.get("vlan", ()) if physical_network in (None, each.physical_network)]
        if physical_network is not None and not own:
            raise _invalid(f"Physical network {physical_network} requires segmentation_id to be specified when creating a provider network")
        return _first_free("vlan", own, ids_of)
    if physical_network is None:
        raise _invalid("segmentation_id requires physical_network for vlan provider network")
    if not 1 <= vlan <= MAX_VLAN:
        raise _invalid(f"segmentation_id out of range (1 through {MAX_VLAN})")
    if not ids_of("vlan", physical_network).is_free(vlan):
        message = f"Unable to create the network. The VLAN {vlan} on physical network {physical_network} is in use."
        raise Conflict(message, "VlanIdInUse")
    return ask


def _choose_tunnel(ask: ProviderSegment, ranges: SegmentRanges, ids_of: IdsOf) -> ProviderSegment:
    network_type, tunnel, most = ask.network_type, ask.segmentation_id, MAX_ID[ask.network_type]
    if ask.physical_network is not None:
        raise _invalid(f"provider:physical_network specified for {network_type} network")
    if tunnel is None:
        return _first_free(network_type, ranges.ids.get(network_type, ()), ids_of)
    if not 1 <= tunnel <= most:
        raise _invalid(f"segmentation_id out of range (1 through {most}) for {network_type} network")
    if not ids_of(network_type, None).is_free(tunnel):
        raise Conflict(f"Unable to create the network. The tunnel ID {tunnel} is in use.", "TunnelIdInUse")
    return ask


_TYPES: Mapping[str, Choose] = {
    "local": _choose_local,
    "flat": _choose_flat,
    "vlan": _choose_vlan,
    "vxlan": _choose_tunnel,
    "geneve": _choose_tunnel,
    "gre": _choose_tunnel,
}


def choose_segment(ask: ProviderSegment, ranges: SegmentRanges, ids_of: IdsOf) -> ProviderSegment:
    """The segment of a new network. Without a type, the first of `tenant_network_types` that has one free.

    Raises Invalid for a combination that the type has not, Conflict for one in use, Unavailable when all are.
    """
    if ask.network_type:
        choose = _TYPES.get(ask.network_type)
        if choose is None:
            raise _invalid(f"network_type value '{ask.network_type}' not supported; supported are {', '.join(_TYPES)}")
        return choose(ask, ranges, ids_of)
    if ask.physical_network is not None or ask.segmentation_id is not None:
        raise _invalid("network_type required")
    for candidate in ranges.tenant_network_types[:-1]:
        try:
            return _TYPES[candidate](ProviderSegment(candidate), ranges, ids_of)
        except Unavailable:
            continue
    return choose_segment(ProviderSegment(ranges.tenant_network_types[-1]), ranges, ids_of)


def max_mtu(network_type: str, ranges: SegmentRanges) -> int:
    """The largest MTU, in bytes, that a network of this type can have on the underlay."""
    return ranges.global_physnet_mtu - OVERHEAD_BYTES.get(network_type, 0)


def _first_free(network_type: str, ranges: tuple[IdRange, ...] | list[IdRange], ids_of: IdsOf) -> ProviderSegment:
    for each in ranges:
        found = ids_of(network_type, each.physical_network).next_free(each.first)
        if found is not None and found <= each.last:
            return ProviderSegment(network_type, each.physical_network, found)
    raise Unavailable("Unable to create the network. No project network is available for allocation.", "NoNetworkAvailable")


def _check_physical_network(ask: ProviderSegment, known: tuple[str, ...]) -> None:
    if not {"*", ask.physical_network} & set(known):
        raise _invalid(f"physical_network '{ask.physical_network}' unknown for {ask.network_type} provider network")


def _invalid(reason: str) -> Invalid:
    return Invalid(f"Invalid input for operation: {reason}.", "InvalidInput")
