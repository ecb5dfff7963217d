"""Alarms: a pool or a network that runs out of addresses, or soon will."""

from typing import Annotated, ClassVar

from naru.model.attributes import hidden
from naru.model.resources import Resource


class CapacityAlarm(Resource, frozen=True, kw_only=True):
    """Something crossed its floor or its horizon, and has not come back. The id is `<network or pool id>:<what was crossed>`."""

    kind: ClassVar[str] = "CapacityAlarm"

    subject_id: Annotated[str, hidden()] = ""
    crossed: Annotated[str, hidden()] = ""  # floor, horizon
    delivery: Annotated[str, hidden()] = ""  # names this crossing to whoever is told
    is_told: Annotated[bool, hidden()] = False
