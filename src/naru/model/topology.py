"""The network that a project gets without asking for its parts."""

from typing import Annotated, ClassVar

from naru.model.attributes import hidden, read_only
from naru.model.resources import Resource


class AutoAllocatedTopology(Resource, frozen=True, kw_only=True):
    """What was made for a project, so that it is found again. Its id is the project's; the API shows the network's instead.

    https://docs.openstack.org/api-ref/network/v2/#auto-allocated-topologies
    """

    kind: ClassVar[str] = "AutoAllocatedTopology"
    singular: ClassVar[str] = "auto_allocated_topology"
    plural: ClassVar[str] = "auto_allocated_topologies"

    network_id: Annotated[str, read_only()]
    router_id: Annotated[str, hidden()]
