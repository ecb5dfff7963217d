"""Segments: what a network is on the wire, for each type one entry in a table; no row per VNI.

A type validates what was asked for, and chooses what was not. The ranges come from the settings, what is taken from
the caller's predicate, so nothing here remembers anything.
"""

from collections.abc import Callable, Mapping

import msgspec

from naru.model.errors import Conflict, Invalid, Unavailable

VXLAN_OVERHEAD_BYTES = 50  # outer IPv4 20, UDP 8, VXLAN 8, inner Ethernet 14 (RFC 7348 §5)
MAX_VNI = 2**24 - 1


class Segment(msgspec.Struct, frozen=True):
    network_type: str
    physical_network: str | None = None
    segmentation_id: int | None = None


class SegmentRanges(msgspec.Struct, frozen=True):
    """What this cloud may use: physical networks for flat ("*": any), VNI ranges (both ends included)."""

    flat_physical_networks: tuple[str, ...] = ("*",)
    vni_ranges: tuple[tuple[int, int], ...] = ((1, MAX_VNI),)
    tenant_network_types: tuple[str, ...] = ("vxlan",)
    global_physnet_mtu: int = 1500


IsTaken = Callable[[Segment], bool]
Choose = Callable[[str | None, int | None, SegmentRanges, IsTaken], Segment]


def parse_ranges(texts: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """ML2's `first:last` texts. Raises ValueError naming the text that is none."""
    ranges = []
    for text in texts:
        first, _, last = text.partition(":")
        if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last) <= MAX_VNI):
            raise ValueError(f"'{text}' is not a VNI range: write first:last, between 1 and {MAX_VNI}")
        ranges.append((int(first), int(last)))
    return tuple(ranges)


def _choose_flat(physical_network: str | None, segmentation_id: int | None, ranges: SegmentRanges, is_taken: IsTaken) -> Segment:
    if physical_network is None:
        raise _invalid("physical_network required for flat provider network")
    if segmentation_id is not None:
        raise _invalid("segmentation_id prohibited for flat provider network")
    if not {"*", physical_network} & set(ranges.flat_physical_networks):
        raise _invalid(f"physical_network '{physical_network}' unknown for flat provider network")
    segment = Segment("flat", physical_network)
    if is_taken(segment):
        message = f"Unable to create the flat network. Physical network {physical_network} is in use."
        raise Conflict(message, "FlatNetworkInUse")
    return segment


def _choose_vxlan(physical_network: str | None, segmentation_id: int | None, ranges: SegmentRanges, is_taken: IsTaken) -> Segment:
    if physical_network is not None:
        raise _invalid("provider:physical_network specified for vxlan network")
    if segmentation_id is not None:
        if not 1 <= segmentation_id <= MAX_VNI:
            raise _invalid(f"segmentation_id out of range (1 through {MAX_VNI}) for vxlan network")
        segment = Segment("vxlan", None, segmentation_id)
        if is_taken(segment):
            raise Conflict(f"Unable to create the network. The tunnel ID {segmentation_id} is in use.", "TunnelIdInUse")
        return segment
    for first, last in ranges.vni_ranges:
        for vni in range(first, last + 1):
            segment = Segment("vxlan", None, vni)
            if not is_taken(segment):
                return segment
    raise Unavailable("Unable to create the network. No project network is available for allocation.", "NoNetworkAvailable")


_TYPES: Mapping[str, Choose] = {"flat": _choose_flat, "vxlan": _choose_vxlan}


def choose_segment(
    network_type: str | None, physical_network: str | None, segmentation_id: int | None, ranges: SegmentRanges, is_taken: IsTaken
) -> Segment:
    """The segment of a new network. Without a type, the first of `tenant_network_types` that has one free.

    Raises Invalid for a combination that the type has not, Conflict for one in use, Unavailable when all are.
    """
    if network_type is None:
        if physical_network is not None or segmentation_id is not None:
            raise _invalid("network_type required")
        for candidate in ranges.tenant_network_types[:-1]:
            try:
                return _TYPES[candidate](None, None, ranges, is_taken)
            except Unavailable:
                continue
        network_type = ranges.tenant_network_types[-1]
    choose = _TYPES.get(network_type)
    if choose is None:
        raise _invalid(f"network_type value '{network_type}' not supported; supported are {', '.join(_TYPES)}")
    return choose(physical_network, segmentation_id, ranges, is_taken)


def max_mtu(network_type: str, ranges: SegmentRanges) -> int:
    """The largest MTU, in bytes, that a network of this type can have on the underlay."""
    return ranges.global_physnet_mtu - (VXLAN_OVERHEAD_BYTES if network_type == "vxlan" else 0)


def _invalid(reason: str) -> Invalid:
    return Invalid(f"Invalid input for operation: {reason}.", "InvalidInput")
