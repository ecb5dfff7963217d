"""Segments: the ways of a network through the underlay, and which subnets a port can have addresses of on its host."""

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from naru.allocate.segments import SegmentRanges, choose_segment
from naru.model.agents import Agent
from naru.model.errors import Conflict, Invalid, not_found
from naru.model.identity import Caller
from naru.model.provider import ProviderSegment, why_not_carried
from naru.model.resources import DHCP_OWNER, Changes, FixedIp, HostRoute, Network, Port, Subnet, new_id, put, remove
from naru.model.segments import Segment
from naru.model.view import View
from naru.service.policy import Cloud, fetch, fetch_own, require_admin
from naru.service.segment_ranges import ranges_of

MAX_HOST_ROUTES = 20  # of a subnet: DHCP option 121 has 255 bytes, and a route takes up to 9 (RFC 3442)

# -- of a network


def asked_segments(given: dict[str, Any]) -> tuple[ProviderSegment, ...]:
    """What a request for a network asks for, by `segments` or by the `provider:` attributes; takes them out of `given`."""
    network_type = given.pop("provider_network_type", None)
    physical_network = given.pop("provider_physical_network", None)
    segmentation_id = given.pop("provider_segmentation_id", None)
    segments: tuple[ProviderSegment, ...] = given.pop("segments", ())
    one = ProviderSegment(network_type or "", physical_network, segmentation_id)
    if not segments:
        return (one,)
    if one != ProviderSegment():
        raise Invalid(
            "Invalid input for operation: Segments and provider values cannot both be set.", "SegmentsSetInConjunctionWithProviders"
        )
    named = [segment for segment in segments if segment.segmentation_id is not None or segment.network_type == "flat"]
    if len(set(named)) != len(named):
        raise Invalid("Invalid input for operation: Duplicate segment entry in request.", "SegmentsContainDuplicateEntry")
    return segments


def take_segments(view: View, network_id: str, asked: Sequence[ProviderSegment], ranges: SegmentRanges) -> Changes[list[ProviderSegment]]:
    """The segments of a new network, each with what it left open chosen."""
    taken = []
    for ask in asked:
        chosen = choose_segment(ask, ranges, view.segmentation_ids)
        yield put(_segment(network_id, chosen))
        taken.append(chosen)
    return taken


def provider_attributes(segments: Sequence[ProviderSegment]) -> dict[str, Any]:
    """How a network shows its segments."""
    first = segments[0]
    return {
        "provider_network_type": first.network_type,
        "provider_physical_network": first.physical_network,
        "provider_segmentation_id": first.segmentation_id,
        "segments": tuple(segments) if len(segments) > 1 else (),
    }


def _segment(network_id: str, chosen: ProviderSegment, **given: Any) -> Segment:
    return Segment(
        id=new_id(),
        network_id=network_id,
        **given
        | {
            "network_type": chosen.network_type,
            "physical_network": chosen.physical_network,
            "segmentation_id": chosen.segmentation_id,
        },
    )


def _show_segments(view: View, network_id: str) -> Changes[None]:
    """After a segment came or went; the others stay in their order."""
    network = view.get(Network, network_id)
    segments = {segment.on_the_wire for segment in view.find(Segment, "network_id", network_id)}
    if network is not None and segments:
        kept = [segment for segment in network.on_the_wire if segment in segments]
        yield put(replace(network, **provider_attributes([*kept, *segments.difference(kept)])))


# -- as a resource


def create_segment(view: View, caller: Caller, given: dict[str, Any], cloud: Cloud) -> Changes[Segment]:
    """Administrators only. Raises Invalid or Conflict for a segment that cannot be, or that another network has."""
    require_admin(caller, "create_segment")
    network = fetch(view, caller, Network, given["network_id"])
    ask = ProviderSegment(given["network_type"], given.get("physical_network"), given.get("segmentation_id"))
    chosen = choose_segment(ask, ranges_of(view, network.project_id, cloud.ranges), view.segmentation_ids)
    named = {name: given[name] for name in ("name", "description") if name in given}
    segment = _segment(network.id, chosen, **named)
    yield put(segment)
    yield from _show_segments(view, network.id)
    return segment


def update_segment(view: View, caller: Caller, id: str, given: dict[str, Any], cloud: Cloud) -> Changes[Segment]:
    changed = replace(fetch_own(view, caller, Segment, id, "update"), **given)
    yield put(changed)
    return changed


def delete_segment(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    """Raises Conflict (SegmentInUse) while a subnet is tied to it, and for the only segment of a network."""
    segment = fetch_own(view, caller, Segment, id, "delete")
    if subnets := [subnet.id for subnet in view.find(Subnet, "segment_id", id)]:
        reason = f"The segment is still associated with subnet(s) {', '.join(subnets[:20])}"
    elif view.count(Segment, "network_id", segment.network_id) == 1:
        reason = f"It is the only segment of network {segment.network_id}"
    else:
        yield remove(segment)
        yield from _show_segments(view, segment.network_id)
        return
    raise Conflict(f"Segment '{id}' cannot be deleted: {reason}.", "SegmentInUse")


# -- of a subnet


def check_new_subnet(view: View, network_id: str, segment_id: str | None) -> None:
    """Raises Invalid unless all subnets of a network are tied to segments of it, or none is; NotFound for a segment that is none."""
    _check_segment(view, network_id, segment_id)
    if any((subnet.segment_id is None) != (segment_id is None) for subnet in view.find(Subnet, "network_id", network_id)):
        message = (
            f"All of the subnets on network '{network_id}' must either all be associated with segments or all not associated with any "
            "segment."
        )
        raise Invalid(message, "SubnetsNotAllAssociatedWithSegments")


def check_changed_subnet(view: View, subnet: Subnet, segment_id: str | None) -> None:
    """A subnet is tied once, where its network has one segment only: nobody could say on which one its ports are."""
    if segment_id == subnet.segment_id:
        return
    if subnet.segment_id is not None:
        message = "A subnet that is already associated with a segment cannot have its segment association changed."
        raise Invalid(message, "SubnetSegmentAssociationChangeNotAllowed")
    _check_segment(view, subnet.network_id, segment_id)
    if view.count(Segment, "network_id", subnet.network_id) > 1:
        message = (
            f"The network '{subnet.network_id}' has multiple segments, it is only possible to associate an existing subnet with a segment "
            "on networks with a single segment."
        )
        raise Invalid(message, "NoUpdateSubnetWhenMultipleSegmentsOnNetwork")


def _check_segment(view: View, network_id: str, segment_id: str | None) -> None:
    if segment_id is None:
        return
    segment = view.get(Segment, segment_id)
    if segment is None:
        raise not_found("Segment", segment_id)
    if segment.network_id != network_id:
        message = f"The subnet's network id, '{network_id}', doesn't match the network_id of segment '{segment_id}'"
        raise Invalid(message, "NetworkIdsDontMatch")


def follow_peers(view: View, network_id: str, before: Subnet | None = None) -> Changes[None]:
    """Subnets of a routed network have host routes, by their own gateways, to those on its other segments.

    To be run when a subnet came, went or changed; `before` is what it was. A route that somebody else made to a peer stays. To more
    peers than a subnet may have routes leads the default route, by the same gateway.
    """
    routed = [subnet for subnet in view.find(Subnet, "network_id", network_id) if subnet.segment_id and subnet.gateway_ip]
    gone = {before.cidr} if before is not None else set()
    for subnet in routed:
        peers = {peer.cidr for peer in routed if peer.ip_version == subnet.ip_version and peer.segment_id != subnet.segment_id}
        gateway = before.gateway_ip if before is not None and before.id == subnet.id else subnet.gateway_ip
        own = [route for route in subnet.host_routes if route.destination not in peers | gone or route.nexthop != gateway]
        missing = peers - {route.destination for route in own}
        routes = (*own, *(HostRoute(cidr, subnet.gateway_ip or "") for cidr in sorted(missing)[: max(0, MAX_HOST_ROUTES - len(own))]))
        if routes != subnet.host_routes:
            yield put(replace(subnet, host_routes=routes))
    yield from _show_adjacency(view, network_id)


def _show_adjacency(view: View, network_id: str) -> Changes[None]:
    """A network whose subnets are tied to segments is routed between them: not all of its ports hear each other's broadcasts."""
    network = view.get(Network, network_id)
    is_one_link = all(subnet.segment_id is None for subnet in view.find(Subnet, "network_id", network_id))
    if network is not None and network.l2_adjacency != is_one_link:
        yield put(replace(network, l2_adjacency=is_one_link))


# -- of a port


def usable_subnets(view: View, network_id: str, subnets: Sequence[Subnet], device_owner: str, host: str) -> list[Subnet]:
    """Of the subnets of a network those that a port with this owner, bound to this host, may have addresses of.

    Subnets kept for the owner come first, those kept for others not at all. Subnets tied to a segment are for hosts on it. Empty: the
    network has none, or the address is chosen when the port is bound. Raises Conflict where the host or the owner has none.
    """
    if any(subnet.segment_id is not None for subnet in subnets):
        here = {None, *_usable_segments(view, network_id, host)}
        subnets = [subnet for subnet in subnets if subnet.segment_id in here]
    kept = [subnet for subnet in subnets if device_owner in subnet.service_types]
    found = kept + [subnet for subnet in subnets if not subnet.service_types]
    if subnets and not found and device_owner != DHCP_OWNER:
        raise Conflict("No valid service subnet for the given device owner.", "IpAddressGenerationFailureNoMatchingSubnet")
    return found


def ip_allocation(view: View, port: Port, *, wants_none: bool) -> str:
    """When a port gets its addresses: at once, when it is bound, or never."""
    if port.fixed_ips or port.binding_host_id:
        return "immediate"
    if wants_none:
        return "none"
    subnets = list(view.find(Subnet, "network_id", port.network_id))
    return "deferred" if subnets and all(subnet.segment_id is not None for subnet in subnets) else "immediate"


def check_host(view: View, port: Port) -> None:
    """Raises Invalid for addresses of several segments, Conflict (HostNotCompatibleWithFixedIps) for a host that is not on theirs."""
    subnets = (view.get(Subnet, ip.subnet_id) for ip in port.fixed_ips)
    segments = {subnet.segment_id for subnet in subnets if subnet is not None} - {None}
    if len(segments) > 1:
        raise Invalid("Cannot allocate addresses from different segments.", "FixedIpsSubnetsNotOnSameSegment")
    if not is_carried(view, port.network_id, port.fixed_ips, port.binding_host_id):
        message = (
            f"Host {port.binding_host_id} is not connected to a segment where the existing fixed_ips on port {port.id} will function "
            "given the routed network topology."
        )
        raise Conflict(message, "HostNotCompatibleWithFixedIps")


def open_segments(view: View, network: Network) -> list[str]:
    """Those with a subnet that has addresses left, in order."""
    subnets = (view.get(Subnet, id) for id in network.subnets)
    return list({subnet.segment_id: None for subnet in subnets if subnet and subnet.segment_id and view.addresses(subnet.id).free})


def segment_of(view: View, port: Port) -> str | None:
    """The one that the port's addresses are on; None where its subnets are tied to none, or it has none."""
    subnets = (view.get(Subnet, ip.subnet_id) for ip in port.fixed_ips)
    return next((subnet.segment_id for subnet in subnets if subnet is not None and subnet.segment_id is not None), None)


def is_carried(view: View, network_id: str, fixed_ips: Iterable[FixedIp], host: str | None) -> bool:
    """Whether such addresses work on a host; without one they may."""
    subnets = (view.get(Subnet, ip.subnet_id) for ip in fixed_ips)
    segments = {subnet.segment_id for subnet in subnets if subnet is not None} - {None}
    return not segments or not host or segments <= {segment.id for segment in _segments_on(view, network_id, host)}


def _segments_on(view: View, network_id: str, host: str) -> list[Segment]:
    """Those of a network that a host can carry."""
    configurations = next((agent.configurations for agent in view.find(Agent, "host", host)), {})
    segments = view.find(Segment, "network_id", network_id)
    return [segment for segment in segments if why_not_carried(segment.on_the_wire, host, configurations) is None]


def _usable_segments(view: View, network_id: str, host: str) -> list[str]:
    """Those that a port on this host may be on. Before there is a host: those that some live host carries, where the network chooses."""
    network = view.get(Network, network_id)
    chooses = network is not None and network.subnet_policy is not None
    hosts = [host] if host else [agent.host for agent in view.all(Agent) if agent.alive and chooses]
    segments = {segment.id: None for each in hosts for segment in _segments_on(view, network_id, each)}
    if not host or len(segments) == 1 or (segments and chooses):
        return list(segments)
    many = "connected to multiple" if segments else "not connected to any"
    message = f"Host {host} is {many} segments on routed provider network '{network_id}'.  It should be connected to one."
    raise Conflict(message, "HostConnectedToMultipleSegments" if segments else "HostNotConnectedToAnySegment")
