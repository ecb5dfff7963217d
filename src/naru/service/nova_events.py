"""What Nova was told of ports: kept with them."""

from collections.abc import Iterable

from naru.model.nova_events import NovaEvent
from naru.model.resources import Changes, Port, put, remove
from naru.model.view import View


def record_nova_events(view: View, told: Iterable[NovaEvent]) -> Changes[None]:
    """Of ports that are still there."""
    for event in told:
        if view.get(Port, event.id) is not None:
            yield put(event)


def forget_nova_event(view: View, port_id: str) -> Changes[None]:
    """With a port goes what Nova was told of it."""
    if (event := view.get(NovaEvent, port_id)) is not None:
        yield remove(event)
