"""Since when the server hears its hosts without a break."""

from naru.model.clocks import Clocks


class Listening:
    """A host is silent when it could have been heard, and was not. So the time that counts begins anew with each break: the server's start,
    a database that was away, and a clock that was set, which makes heartbeats look older, or from the future.
    """

    def __init__(self, clocks: Clocks) -> None:
        self._since_s = clocks.steady_s
        self._last = clocks

    def begin_anew(self, clocks: Clocks) -> None:
        self._since_s = clocks.steady_s

    def lasts_s(self, clocks: Clocks) -> float:
        """For how many seconds, by both clocks."""
        if clocks.set_by_s(self._last):
            self._since_s = clocks.steady_s
        self._last = clocks
        return clocks.steady_s - self._since_s
