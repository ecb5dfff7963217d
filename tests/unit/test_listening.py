"""Hosts are missed by how long they could have been heard, whatever the clock says."""

from dataclasses import dataclass

from naru.model.clocks import Clocks
from naru.service.listening import Listening
from planning import NOW


@dataclass
class Day:
    """The clock that only goes on, and the one that somebody sets."""

    steady_s: float = 0.0
    set_by_s: float = 0.0

    def read(self) -> Clocks:
        return Clocks(self.steady_s, NOW.timestamp() + self.steady_s + self.set_by_s)

    def lasts(self, listening: Listening, after_s: float) -> float:
        self.steady_s += after_s
        return listening.lasts_s(self.read())


def test_time_counts_from_the_start() -> None:
    day = Day()
    listening = Listening(day.read())
    assert [day.lasts(listening, 5) for _ in range(3)] == [5, 10, 15]


def test_a_clock_that_is_set_forth_or_back_begins_it_anew() -> None:
    day = Day()
    listening = Listening(day.read())
    for set_by_s in (3600, -7200):
        assert day.lasts(listening, 100) == 100
        day.set_by_s += set_by_s
        assert day.lasts(listening, 5) == 0
    assert day.lasts(listening, 5) == 5


def test_a_clock_that_is_kept_right_does_not() -> None:
    day = Day()
    listening = Listening(day.read())
    for _ in range(100):
        day.set_by_s += 0.02
        day.lasts(listening, 5)
    assert day.lasts(listening, 5) == 505


def test_a_break_begins_it_anew() -> None:
    day = Day()
    listening = Listening(day.read())
    day.lasts(listening, 100)
    listening.begin_anew(day.read())
    assert day.lasts(listening, 5) == 5
