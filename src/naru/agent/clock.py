"""The time of day on this host: whether it jumped, and whether it is the server's. What the agent does goes by neither."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from naru.model.clocks import Clocks, span_text

CLOCK = "agent/clock"  # reported like a key of the state
TOLD_S = 3600.0  # for so long a jump is reported
TOLERATED_S = 5.0  # between this host's clock and the server's
DATE_S = 2.0  # the date of an answer is in whole seconds, and up to a second old
HARMLESS = (
    "Wiring, leases and heartbeats do not go by it; logs and certificates do. "
    "Have NTP keep the clocks of hosts and server right (chrony, systemd-timesyncd)"
)


def read_clocks() -> Clocks:
    """The steady one counts the time that the machine sleeps: to wake up is no jump."""
    return Clocks(time.clock_gettime(time.CLOCK_BOOTTIME), time.time())


class HostClock:
    """Looked at now and then; remembers what it has to say of the time of day."""

    def __init__(self, read: Callable[[], Clocks] = read_clocks) -> None:
        self.read = read
        self._last = read()
        self._jump, self._told_until_s = "", 0.0
        self._ahead_s = 0.0  # of the server's clock, where that is too much

    def fault(self) -> str:
        """What is wrong with the time of day, in words; "" for nothing. It says the same until something else is true."""
        now = self.read()
        if jump_s := now.set_by_s(self._last):
            way, at = ("forward" if jump_s > 0 else "back"), datetime.fromtimestamp(now.wall_s, UTC)
            self._jump = f"this host's clock was set {way} by {span_text(jump_s)}, to {at:%Y-%m-%d %H:%M} UTC"
            self._told_until_s = now.steady_s + TOLD_S
        elif now.steady_s > self._told_until_s:
            self._jump = ""
        self._last = now
        said = [part for part in (self._jump, self._difference()) if part]
        return f"{'; '.join(said)}. {HARMLESS}" if said else ""

    def compare(self, asked: Clocks, date: str) -> None:
        """With the server's clock, by the Date (RFC 9110) of its answer to what was asked then, however slow it was."""
        answered = self.read()
        try:
            server_s = parsedate_to_datetime(date).timestamp()
        except ValueError:  # an answer without one
            return
        if answered.set_by_s(asked):
            return
        least_s, most_s = asked.wall_s - server_s - DATE_S, answered.wall_s - server_s  # between these it is ahead
        sure_s = least_s if least_s > TOLERATED_S else most_s if most_s < -TOLERATED_S else 0.0
        if not sure_s or abs(sure_s - self._ahead_s) > TOLERATED_S:
            self._ahead_s = sure_s

    def _difference(self) -> str:
        if not self._ahead_s:
            return ""
        return f"this host's clock is {span_text(self._ahead_s)} {'ahead of' if self._ahead_s > 0 else 'behind'} the server's"
