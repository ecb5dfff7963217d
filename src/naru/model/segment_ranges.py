"""Ranges of segmentation ids as a resource: from which ids networks that name none get theirs, and whose networks."""

from typing import Annotated, ClassVar

from msgspec import field

from naru.model.attributes import Tags, at_create, boolean, integer, name_text, one_of, read_only, settable, text
from naru.model.resources import Resource

RANGE_TYPES = ("vlan", "vxlan", "gre", "geneve")
MAX_SEGMENTATION_ID = 2**32 - 1  # of GRE (RFC 2890 §2.1); a type with fewer bits has its own check


class NetworkSegmentRange(Resource, frozen=True, kw_only=True):
    """Of everyone (`shared`) or of one project; `default` ones are those of the settings. Administrators alone see them.

    `used` and `available` follow from the segments that there are: they are filled in when a range is shown.

    https://docs.openstack.org/api-ref/network/v2/#network-segment-ranges
    """

    kind: ClassVar[str] = "NetworkSegmentRange"
    singular: ClassVar[str] = "network_segment_range"
    plural: ClassVar[str] = "network_segment_ranges"

    name: Annotated[str, settable(name_text(255))] = ""
    default: Annotated[bool, read_only(filter=False, sort=False)] = False
    shared: Annotated[bool, at_create(boolean, filter=False, sort=False)] = True
    network_type: Annotated[str, at_create(one_of(RANGE_TYPES), sort=False)] = ""
    physical_network: Annotated[str | None, at_create(text(64), sort=False)] = None
    minimum: Annotated[int, settable(integer(1, MAX_SEGMENTATION_ID), required=True, filter=False, sort=False)]
    maximum: Annotated[int, settable(integer(1, MAX_SEGMENTATION_ID), required=True, filter=False, sort=False)]
    used: Annotated[dict[str, str], read_only(filter=False, sort=False)] = field(
        default_factory=dict
    )  # segmentation id -> project of its network
    available: Annotated[tuple[int, ...], read_only(filter=False, sort=False)] = ()
    tags: Tags = ()
