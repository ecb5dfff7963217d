"""What Nova was last told of a port, and what it said."""

from typing import Annotated, ClassVar

from naru.model.attributes import hidden, read_only
from naru.model.resources import Resource


class NovaEvent(Resource, frozen=True, kw_only=True):
    """The last event about a port, and Nova's answer; the id is the port's, and with the port it goes.

    https://docs.openstack.org/api-ref/compute/#create-external-events-os-server-external-events
    """

    kind: ClassVar[str] = "NovaEvent"
    singular: ClassVar[str] = "nova_event"
    plural: ClassVar[str] = "nova_events"

    id: Annotated[str, read_only()]
    project_id: Annotated[str, hidden()] = ""
    description: Annotated[str | None, hidden()] = None
    created_at: Annotated[str, hidden()] = ""
    updated_at: Annotated[str, hidden()] = ""
    revision_number: Annotated[int, hidden()] = 1

    server_id: Annotated[str, read_only()]
    name: Annotated[str, read_only()]  # network-vif-plugged, network-vif-unplugged, network-changed
    told_status: Annotated[str, read_only()] = "completed"  # with which it was told: "failed" where the host could not wire the port
    sent_at: Annotated[str, read_only(filter=False)] = ""  # the last time
    attempts: Annotated[int, read_only(filter=False)] = 1
    http_status: Annotated[int | None, read_only(sort=False)] = None  # of the answer to the request, which is about many events; null: none
    code: Annotated[int | None, read_only(sort=False)] = None  # the event's own: 200, 404, 422; null: Nova has not come to it
    status: Annotated[str | None, read_only(sort=False)] = None  # the event's own: "completed", "failed"
    reason: Annotated[str, read_only(filter=False, sort=False)] = ""  # why Nova does not act on it, in words; "" where it does
    next_try_at: Annotated[str | None, read_only(filter=False, sort=False)] = None  # null: it is not sent again
