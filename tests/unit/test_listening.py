"""Hosts are missed by how long they could have been heard, whatever the clock says."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from naru.service.listening import Listening
from naru.testing import ManualClock
from planning import NOW


@dataclass
class Clocks:
    """The one that only goes on, and the one that somebody sets."""

    monotonic: ManualClock = field(default_factory=ManualClock)
    set_by_s: float = 0.0

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.monotonic() + self.set_by_s)

    def lasts(self, listening: Listening, after_s: float) -> float:
        self.monotonic.advance(after_s)
        return listening.lasts_s(self.monotonic(), self.now())


def test_time_counts_from_the_start() -> None:
    clocks = Clocks()
    listening = Listening(clocks.monotonic(), clocks.now())
    assert [clocks.lasts(listening, 5) for _ in range(3)] == [5, 10, 15]


def test_a_clock_that_is_set_forth_or_back_begins_it_anew() -> None:
    clocks = Clocks()
    listening = Listening(clocks.monotonic(), clocks.now())
    for set_by_s in (3600, -7200):
        assert clocks.lasts(listening, 100) == 100
        clocks.set_by_s += set_by_s
        assert clocks.lasts(listening, 5) == 0
    assert clocks.lasts(listening, 5) == 5


def test_a_clock_that_is_kept_right_does_not() -> None:
    clocks = Clocks()
    listening = Listening(clocks.monotonic(), clocks.now())
    for _ in range(100):
        clocks.set_by_s += 0.02
        clocks.lasts(listening, 5)
    assert clocks.lasts(listening, 5) == 505


def test_a_break_begins_it_anew() -> None:
    clocks = Clocks()
    listening = Listening(clocks.monotonic(), clocks.now())
    clocks.lasts(listening, 100)
    listening.begin_anew(clocks.monotonic())
    assert clocks.lasts(listening, 5) == 5
