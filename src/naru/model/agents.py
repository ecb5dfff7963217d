"""Agents: the hosts, as the API shows them."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from msgspec import field

from naru.model.attributes import at_update, boolean, hidden, or_none, read_only, text
from naru.model.resources import Keys, Resource


class Agent(Resource, frozen=True, kw_only=True):
    """A host that runs `naru agent`. https://docs.openstack.org/api-ref/network/v2/#networking-agents-agents"""

    kind: ClassVar[str] = "Agent"
    singular: ClassVar[str] = "agent"
    plural: ClassVar[str] = "agents"

    # Where it differs from other resources: nobody's, without times of change, described at update only.
    id: Annotated[str, read_only()]
    project_id: Annotated[str, hidden()] = ""
    description: Annotated[str | None, at_update(or_none(text(255)), who="admin")] = None
    created_at: Annotated[str, read_only(filter=False)] = ""
    updated_at: Annotated[str, hidden()] = ""
    revision_number: Annotated[int, hidden()] = 1

    agent_type: Annotated[str, read_only()] = "Linux bridge agent"  # by its mechanism, in Neutron's words
    binary: Annotated[str, read_only()] = "naru-agent"
    topic: Annotated[str, read_only()] = "N/A"
    host: Annotated[str, read_only()]
    admin_state_up: Annotated[bool, at_update(boolean, who="admin")] = True
    alive: Annotated[bool, read_only(convert=boolean)] = True
    started_at: Annotated[str, read_only(filter=False)] = ""
    heartbeat_timestamp: Annotated[str, read_only(filter=False)] = ""
    availability_zone: Annotated[str, read_only(sort=False)] = "nova"
    resources_synced: Annotated[bool | None, read_only(filter=False, sort=False)] = None  # no host's resources are told to Placement
    configurations: Annotated[dict[str, Any], read_only(filter=False, sort=False)] = field(default_factory=dict)
    # What its host cannot do now: the key in the host's state -> the reason, in words for the operator.
    failures: Annotated[dict[str, str], read_only(see="admin", filter=False, sort=False)] = field(default_factory=dict)

    indexes: ClassVar[Mapping[str, Keys]] = {"host": lambda agent: (agent.host,)}

    def claims(self) -> tuple[str, ...]:
        return (f"agent/{self.host}",)
