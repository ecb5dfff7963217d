"""Metering: labels, and below them rules that say which traffic of a project's routers is counted under the label."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from naru.model.attributes import at_create, boolean, cidr, hidden, name_text, one_of, text, uuid_text
from naru.model.qos import DIRECTIONS
from naru.model.resources import Keys, Resource


class MeteringLabel(Resource, frozen=True, kw_only=True):
    """It is never changed, and Neutron keeps no times of it. https://docs.openstack.org/api-ref/network/v2/#metering-labels-and-rules"""

    kind: ClassVar[str] = "MeteringLabel"
    singular: ClassVar[str] = "metering_label"
    plural: ClassVar[str] = "metering_labels"

    description: Annotated[str | None, at_create(text(1024))] = ""
    created_at: Annotated[str, hidden()] = ""
    updated_at: Annotated[str, hidden()] = ""
    revision_number: Annotated[int, hidden()] = 1

    name: Annotated[str, at_create(name_text(255))] = ""
    shared: Annotated[bool, at_create(boolean)] = False  # it counts for every project


class MeteringLabelRule(Resource, frozen=True, kw_only=True):
    """`excluded`: what matches is not counted. https://docs.openstack.org/api-ref/network/v2/#metering-labels-and-rules"""

    kind: ClassVar[str] = "MeteringLabelRule"
    singular: ClassVar[str] = "metering_label_rule"
    plural: ClassVar[str] = "metering_label_rules"

    project_id: Annotated[str, at_create(text(255), filter=False, sort=False)] = ""
    description: Annotated[str | None, hidden()] = None
    created_at: Annotated[str, hidden()] = ""
    updated_at: Annotated[str, hidden()] = ""
    revision_number: Annotated[int, hidden()] = 1

    metering_label_id: Annotated[str, at_create(uuid_text, required=True)]
    direction: Annotated[str, at_create(one_of(DIRECTIONS), required=True)]
    excluded: Annotated[bool, at_create(boolean)] = False
    remote_ip_prefix: Annotated[str, at_create(cidr, required=True)]

    indexes: ClassVar[Mapping[str, Keys]] = {"metering_label_id": lambda rule: (rule.metering_label_id,)}
