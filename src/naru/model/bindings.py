"""Where a port is bound: on one host it is active; on others it may be prepared, so that an instance can move there."""

from typing import Annotated, Any, ClassVar

from msgspec import field

from naru.model.attributes import at_create, hidden, mapping, one_of, read_only, settable, text
from naru.model.resources import VNIC_TYPES, Resource


class PortBinding(Resource, frozen=True, kw_only=True):
    """https://docs.openstack.org/api-ref/network/v2/#port-binding; made of its port when asked for, never kept. Its id is the host."""

    kind: ClassVar[str] = "PortBinding"
    singular: ClassVar[str] = "binding"
    plural: ClassVar[str] = "bindings"

    id: Annotated[str, hidden()]
    project_id: Annotated[str, at_create(text(255), filter=False, sort=False)] = ""
    description: Annotated[str | None, hidden()] = None
    created_at: Annotated[str, hidden()] = ""
    updated_at: Annotated[str, hidden()] = ""
    revision_number: Annotated[int, hidden()] = 1

    host: Annotated[str, settable(text(255), who="admin", required=True, sort=False)]
    vif_type: Annotated[str, read_only(sort=False)] = "unbound"
    vif_details: Annotated[dict[str, Any], read_only(filter=False, sort=False)] = field(default_factory=dict)
    vnic_type: Annotated[str, settable(one_of(VNIC_TYPES), who="admin", sort=False)] = "normal"
    profile: Annotated[dict[str, Any], settable(mapping(4095), who="admin", filter=False, sort=False)] = field(default_factory=dict)
    status: Annotated[str, read_only(sort=False)] = "INACTIVE"
