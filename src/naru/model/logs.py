"""Logs: of which security group, at which port, what is to be written down."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from naru.model.attributes import at_create, boolean, hidden, name_text, one_of, or_none, read_only, settable, text, uuid_text
from naru.model.resources import Keys, Resource

LOGGABLE = ("security_group",)


class LogResource(Resource, frozen=True, kw_only=True):
    """Of all security groups and ports, or of the one that `resource_id` or `target_id` names.

    https://docs.openstack.org/api-ref/network/v2/#logging-resource
    """

    kind: ClassVar[str] = "LogResource"
    singular: ClassVar[str] = "log"
    plural: ClassVar[str] = "logs"

    name: Annotated[str, settable(name_text(255))] = ""
    resource_type: Annotated[str, at_create(text(255), required=True)]
    resource_id: Annotated[str | None, at_create(or_none(uuid_text))] = None
    event: Annotated[str, at_create(one_of(("ACCEPT", "DROP", "ALL")), sort=False)] = "ALL"
    target_id: Annotated[str | None, at_create(or_none(uuid_text))] = None
    enabled: Annotated[bool, settable(boolean)] = True

    indexes: ClassVar[Mapping[str, Keys]] = {"of": lambda log: tuple({id for id in (log.resource_id, log.target_id) if id})}


class LoggableResource(Resource, frozen=True, kw_only=True):
    """A type of resource that logs can be of; made when asked for, never kept.

    https://docs.openstack.org/api-ref/network/v2/#list-loggable-resources
    """

    kind: ClassVar[str] = "LoggableResource"
    singular: ClassVar[str] = "loggable_resource"
    plural: ClassVar[str] = "loggable_resources"

    id: Annotated[str, hidden()]
    project_id: Annotated[str, hidden()] = ""
    description: Annotated[str | None, hidden()] = None
    created_at: Annotated[str, hidden()] = ""
    updated_at: Annotated[str, hidden()] = ""
    revision_number: Annotated[int, hidden()] = 1

    type: Annotated[str, read_only(filter=False, sort=False)]
