"""Segment ranges: the settings' own, those that administrators add for everyone, and those that are one project's alone.

A project's networks get their ids from its own ranges first, then from those of everyone; never from another project's.
Reference: https://docs.openstack.org/api-ref/network/v2/#network-segment-ranges
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from msgspec.structs import replace

from naru.allocate.segments import MAX_ID, IdRange, SegmentRanges, without
from naru.model.errors import Conflict, Invalid
from naru.model.identity import Caller
from naru.model.resources import Changes, Network, new_id, put, remove
from naru.model.segment_ranges import NetworkSegmentRange
from naru.model.segments import Segment, wire_key
from naru.model.view import View
from naru.service.policy import Cloud, fetch_own, require_admin

MAX_AVAILABLE_SHOWN = 4094  # a whole VLAN range; of millions of VNIs the first ones tell enough


def keep_default_ranges(view: View, ranges: SegmentRanges) -> Changes[None]:
    """At the start of a server: what stands for the settings' ranges says what the settings say now."""
    wanted = {(type, each.physical_network, each.first, each.last) for type, of_type in ranges.ids.items() for each in of_type}
    for present in [each for each in view.all(NetworkSegmentRange) if each.default]:
        place = (present.network_type, present.physical_network, present.minimum, present.maximum)
        if place in wanted:
            wanted.remove(place)
        else:
            yield remove(present)
    for network_type, physical_network, first, last in sorted(wanted, key=str):
        made = NetworkSegmentRange(id=new_id(), default=True, network_type=network_type, minimum=first, maximum=last)
        yield put(replace(made, physical_network=physical_network))


def ranges_of(view: View, project_id: str, ranges: SegmentRanges) -> SegmentRanges:
    """What `project_id` may have: the settings' ranges, with those that administrators made, in the order in which they are used."""
    made = [each for each in view.all(NetworkSegmentRange) if not each.default]
    if not made:
        return ranges
    ids = {}
    for network_type in {*ranges.ids, *(each.network_type for each in made)}:
        of_type = [each for each in made if each.network_type == network_type]
        own = [_id_range(each) for each in of_type if not each.shared and each.project_id == project_id]
        reserved = [_id_range(each) for each in of_type if not each.shared]
        shared = [*ranges.ids.get(network_type, ()), *(_id_range(each) for each in of_type if each.shared)]
        ids[network_type] = (*own, *without(shared, reserved))
    return replace(ranges, ids=ids)


def describe_range(view: View, kept: NetworkSegmentRange) -> NetworkSegmentRange:
    """With the ids in it that networks have, and those that are free, at most the first 4,094."""
    free = islice(_free_ids(view, kept), MAX_AVAILABLE_SHOWN)
    owners = {}
    for segment in _segments_in(view, kept):
        network = view.get(Network, segment.network_id)
        owners[str(segment.segmentation_id)] = network.project_id if network is not None else ""
    return replace(kept, used=owners, available=tuple(free))


def create_range(view: View, caller: Caller, given: dict[str, Any], cloud: Cloud) -> Changes[NetworkSegmentRange]:
    """Administrators only. Raises Invalid for ids that the type has not, Conflict for those of another range."""
    require_admin(caller, "create_network_segment_range")
    made = NetworkSegmentRange(id=new_id(), **given)
    if not made.network_type:
        message = "Network type  does not support network segment ranges: name one of vlan, vxlan, gre, geneve."
        raise Invalid(message, "NetworkSegmentRangeNetTypeNotSupported")
    if made.network_type == "vlan" and not made.physical_network:
        reason = "Network type vlan requires 'physical_network' to be specified while creating new range"
        raise Invalid(f"Bad network_segment_range request: {reason}.", "BadRequest")
    if not made.shared and not made.project_id:
        raise Invalid("Bad network_segment_range request: if it is not shared, it must have a project_id.", "BadRequest")
    physical_network = made.physical_network if made.network_type == "vlan" else None
    made = replace(made, physical_network=physical_network, project_id="" if made.shared else made.project_id)
    _check(view, made)
    yield put(made)
    return made


def update_range(view: View, caller: Caller, id: str, given: dict[str, Any], cloud: Cloud) -> Changes[NetworkSegmentRange]:
    """Raises Conflict where a network would be left outside, or another range is in the way."""
    present = _fetch_made(view, caller, id, "update")
    changed = replace(present, **given)
    used = [segment.segmentation_id or 0 for segment in _segments_in(view, present)]
    if any(not changed.minimum <= number <= changed.maximum for number in used):
        raise _in_use(id)
    _check(view, changed)
    yield put(changed)
    return changed


def delete_range(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    """Raises Conflict while a network has an id of it."""
    present = _fetch_made(view, caller, id, "delete")
    if any(_segments_in(view, present)):
        raise _in_use(id)
    yield remove(present)


def _fetch_made(view: View, caller: Caller, id: str, action: str) -> NetworkSegmentRange:
    found = fetch_own(view, caller, NetworkSegmentRange, id, action)
    if found.default:
        message = f"Network Segment Range {id} is a default segment range which could not be updated or deleted: the settings say it."
        raise Invalid(message, "NetworkSegmentRangeDefaultReadOnly")
    return found


def _check(view: View, wanted: NetworkSegmentRange) -> None:
    most = MAX_ID[wanted.network_type]
    if not wanted.minimum <= wanted.maximum <= most:
        type = "NetworkVlanRangeError" if wanted.network_type == "vlan" else "NetworkTunnelRangeError"
        message = f"Invalid network {wanted.network_type} range: '{wanted.minimum}:{wanted.maximum}' is not within 1 and {most}, or ends "
        raise Invalid(message + "before it starts.", type)
    others = [
        other.id
        for other in view.all(NetworkSegmentRange)
        if (other.default, other.network_type, other.physical_network) == (False, wanted.network_type, wanted.physical_network)
        if other.id != wanted.id and wanted.minimum <= other.maximum and wanted.maximum >= other.minimum
    ]
    if others:
        raise Conflict(f"Network segment range overlaps with range(s) with id {', '.join(others)}", "NetworkSegmentRangeOverlaps")


def _segments_in(view: View, kept: NetworkSegmentRange) -> Iterator[Segment]:
    for segment in view.find(Segment, "wire", wire_key(kept.network_type, kept.physical_network)):
        if kept.minimum <= (segment.segmentation_id or 0) <= kept.maximum:
            yield segment


def _free_ids(view: View, kept: NetworkSegmentRange) -> Iterator[int]:
    ids = view.segmentation_ids(kept.network_type, kept.physical_network)
    free = ids.next_free(kept.minimum)
    while free is not None and free <= kept.maximum:
        yield free
        free = ids.next_free(free + 1)


def _id_range(kept: NetworkSegmentRange) -> IdRange:
    return IdRange(kept.minimum, kept.maximum, kept.physical_network)


def _in_use(id: str) -> Conflict:
    return Conflict(f"Network Segment Range {id} is referenced by one or more project networks.", "NetworkSegmentRangeReferencedByProject")
