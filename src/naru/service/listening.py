"""Since when the server hears its hosts without a break."""

from datetime import datetime

_SET_S = 1.0  # by so much a clock that is only kept right does not move between two looks


class Listening:
    """A host is silent when it could have been heard, and was not. So the time that counts begins anew with each break: the server's start,
    a database that was away, and a clock that was set, which makes heartbeats look older, or from the future.
    """

    def __init__(self, monotonic_s: float, now: datetime) -> None:
        self._since_s = monotonic_s
        self._offset_s = now.timestamp() - monotonic_s

    def begin_anew(self, monotonic_s: float) -> None:
        self._since_s = monotonic_s

    def lasts_s(self, monotonic_s: float, now: datetime) -> float:
        """For how many seconds, by both clocks."""
        offset_s = now.timestamp() - monotonic_s
        if abs(offset_s - self._offset_s) > _SET_S:
            self._since_s = monotonic_s
        self._offset_s = offset_s
        return monotonic_s - self._since_s
