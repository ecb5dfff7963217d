"""What a network is on the wire: values shared by networks and segments, with ML2's names."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from naru.model.attributes import Unconvertible, integer, schema_of, shown, takes, text


class ProviderSegment(
    msgspec.Struct,
    frozen=True,
    gc=False,
    rename={name: f"provider:{name}" for name in ("network_type", "physical_network", "segmentation_id")},
):
    """One way of a network through the underlay. Of a request, "" and None are what it left open."""

    network_type: str = ""
    physical_network: str | None = None
    segmentation_id: int | None = None


_MEMBERS = {
    "provider:network_type": ("network_type", text(32)),
    "provider:physical_network": ("physical_network", text(64)),
    "provider:segmentation_id": ("segmentation_id", integer()),
}


_PROPERTIES = {wire: schema_of(convert) or {} for wire, (_, convert) in _MEMBERS.items()}


@takes({"type": "array", "items": {"type": "object", "properties": _PROPERTIES, "additionalProperties": False}})
def provider_segments(value: Any) -> tuple[ProviderSegment, ...]:
    """The attribute `segments` of a network: a list of objects with the `provider:` attributes."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError(f"{shown(value)} is not a list of objects")
    return tuple(_provider_segment(item) for item in value)


def _provider_segment(item: dict[str, Any]) -> ProviderSegment:
    if unknown := [name for name in item if name not in _MEMBERS]:
        raise Unconvertible(f"Unrecognized attribute(s) '{', '.join(map(str, unknown))}'")
    given = {name: convert(item[wire]) for wire, (name, convert) in _MEMBERS.items() if item.get(wire) not in (None, "")}
    return ProviderSegment(**given)


def segment_claim(segment: ProviderSegment) -> tuple[str, ...]:
    """What makes a segment unique; a local one is not, each host has its own."""
    if segment.network_type in ("", "local"):
        return ()
    number = "" if segment.segmentation_id is None else segment.segmentation_id
    return (f"segment/{segment.network_type}/{segment.physical_network or ''}/{number}",)


def _wants_device(segment: ProviderSegment, host: str, configurations: Mapping[str, Any]) -> str | None:
    mapped = segment.physical_network in configurations.get("physical_networks", ())
    return None if mapped else f"host {host} has no device for physical network {segment.physical_network}"


def _wants_vlan(segment: ProviderSegment, host: str, configurations: Mapping[str, Any]) -> str | None:
    return None if configurations.get("vlan") else f"the kernel of host {host} has no VLAN devices (8021q)"


def _wants_tunnel_type(segment: ProviderSegment, host: str, configurations: Mapping[str, Any]) -> str | None:
    kind, mechanism = segment.network_type, configurations.get("mechanism", "no agent")
    return None if kind in configurations.get("tunnel_types", ()) else f"host {host} ({mechanism}) has no {kind} tunnels"


def _wants_tunnel_address(segment: ProviderSegment, host: str, configurations: Mapping[str, Any]) -> str | None:
    return None if configurations.get("tunneling_ip") else f"host {host} has no tunnel address"


# What a segment of each type wants of a host, in the order in which it is asked for.
_WANTS = {
    "flat": (_wants_device,),
    "vlan": (_wants_vlan, _wants_device),
    "vxlan": (_wants_tunnel_type, _wants_tunnel_address),
    "geneve": (_wants_tunnel_type, _wants_tunnel_address),
}


def why_not_carried(segment: ProviderSegment, host: str, configurations: Mapping[str, Any]) -> str | None:
    """Why a host cannot carry a segment, in words; None when it can. `configurations` are those of its agent."""
    if segment.network_type not in _WANTS:
        return f"no agent wires {segment.network_type} networks yet"
    reasons = (wants(segment, host, configurations) for wants in _WANTS[segment.network_type])
    return next((reason for reason in reasons if reason is not None), None)


def carried(segments: Iterable[ProviderSegment], host: str, configurations: Mapping[str, Any]) -> tuple[ProviderSegment, ...]:
    """The segments that a host can carry, in their order."""
    return tuple(segment for segment in segments if why_not_carried(segment, host, configurations) is None)
