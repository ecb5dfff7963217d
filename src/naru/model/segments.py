"""Segments as a resource: a network's ways through the underlay, to which subnets can be tied."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from naru.model.attributes import at_create, integer, name_text, or_none, settable, text, uuid_text
from naru.model.provider import ProviderSegment, segment_claim
from naru.model.resources import Keys, Resource


def wire_key(network_type: str, physical_network: str | None) -> str:
    """Index key of the segments of one type on one physical network."""
    return f"{network_type}/{physical_network or ''}"


class Segment(Resource, frozen=True, kw_only=True):
    """Each network has at least one. Nobody's, so administrators alone see them.

    https://docs.openstack.org/api-ref/network/v2/#segments
    """

    kind: ClassVar[str] = "Segment"
    singular: ClassVar[str] = "segment"
    plural: ClassVar[str] = "segments"

    project_id: Annotated[str, at_create(text(255), see="nobody", filter=False, sort=False)] = ""
    name: Annotated[str | None, settable(or_none(name_text(255)))] = None
    network_id: Annotated[str, at_create(uuid_text, who="admin", required=True)]
    network_type: Annotated[str, at_create(text(32), who="admin", required=True)]
    physical_network: Annotated[str | None, at_create(text(64), who="admin")] = None
    segmentation_id: Annotated[int | None, at_create(integer(), who="admin", filter=False)] = None

    indexes: ClassVar[Mapping[str, Keys]] = {
        "network_id": lambda segment: (segment.network_id,),
        "wire": lambda segment: (wire_key(segment.network_type, segment.physical_network),),
    }

    def claims(self) -> tuple[str, ...]:
        return segment_claim(self.on_the_wire)

    @property
    def on_the_wire(self) -> ProviderSegment:
        return ProviderSegment(self.network_type, self.physical_network, self.segmentation_id)
