"""Availability zones: places that fail apart from each other, as the hosts' agents name them."""

from typing import Annotated, ClassVar

from naru.model.attributes import hidden, read_only
from naru.model.resources import Resource


class AvailabilityZone(Resource, frozen=True, kw_only=True):
    """Made of the agents when it is asked for, never kept. https://docs.openstack.org/api-ref/network/v2/#availability-zones"""

    kind: ClassVar[str] = "AvailabilityZone"
    singular: ClassVar[str] = "availability_zone"
    plural: ClassVar[str] = "availability_zones"

    id: Annotated[str, hidden()]
    project_id: Annotated[str, hidden()] = ""
    description: Annotated[str | None, hidden()] = None
    created_at: Annotated[str, hidden()] = ""
    updated_at: Annotated[str, hidden()] = ""
    revision_number: Annotated[int, hidden()] = 1

    name: Annotated[str, read_only(sort=False)]
    resource: Annotated[str, read_only(sort=False)]  # what its hosts do: serve a "network" with DHCP, or run a "router"
    state: Annotated[str, read_only(sort=False)]  # "available" or "unavailable"
