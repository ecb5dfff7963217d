"""Weighers: of the networks that fit, which are better. A policy is a preset of multipliers."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from naru.schedule.candidates import Candidate, Weight

TURN = "least_recently_picked"  # what it says of each candidate changes with each pick
_LAPS = 1_000_000  # more than there are networks in a pool: who had a turn in this pick comes behind all others
_NO_END_DAYS = 3650.0  # what counts as days left where there is no forecast


class Weigher(NamedTuple):
    """`raw(candidate, taken)`: the more the better, when `taken` addresses of this pick are placed there already."""

    raw: Callable[[Candidate, int], float]
    meaning: str


def _free_ratio(candidate: Candidate, taken: int) -> float:
    return (candidate.counts.free - taken) / candidate.counts.usable if candidate.counts.usable else 0.0


WEIGHERS: Mapping[str, Weigher] = {
    "free_count": Weigher(lambda c, taken: (c.counts.free - taken) * c.weight, "free addresses, times the member's weight"),
    "free_ratio": Weigher(lambda c, taken: _free_ratio(c, taken) * c.weight, "free of usable addresses, times the member's weight"),
    "used_ratio": Weigher(lambda c, taken: 1.0 - _free_ratio(c, taken), "used of usable addresses: fill one after the other"),
    "priority": Weigher(lambda c, _: -c.priority, "the member's priority, the lowest first"),
    TURN: Weigher(lambda c, taken: -(c.turn + taken * _LAPS), "whose turn it is, going round the pool"),
    "sticky": Weigher(lambda c, taken: float(bool(c.project_ports or taken)), "1 where the project has a port already"),
    "in_flight": Weigher(lambda c, taken: -(c.counts.held + taken), "addresses held by picks under way, the fewest first"),
    "same_network_as": Weigher(lambda c, _: c.peers, "how many of the ports of `same_network_as` are there"),
    "fragmentation": Weigher(lambda c, _: -c.counts.usable, "usable addresses, the fewest first: keep large networks whole"),
    "days_left": Weigher(
        lambda c, _: min(_NO_END_DAYS, _NO_END_DAYS if c.days_left is None else c.days_left), "days until it is full, by forecast"
    ),
}

POLICIES: Mapping[str, Mapping[str, float]] = {
    "sequential": {"priority": 1.0},
    "spread": {"free_count": 1.0},
    "pack": {"used_ratio": 1.0, "fragmentation": 0.5},
    "balanced": {"free_ratio": 1.0, "days_left": 0.5},
    "round_robin": {TURN: 1.0},
    "sticky": {"sticky": 2.0, "free_ratio": 1.0},
}


class Scale(NamedTuple):
    """Of one weigher, for all candidates."""

    name: str
    multiplier: float
    least: float
    span: float  # 0: all are the same


class Weighing:
    """The scores of some candidates. Their scale stays that of the beginning while addresses are placed."""

    def __init__(self, candidates: Sequence[Candidate], policy: str, weights: Mapping[str, float]) -> None:
        """Raises KeyError for a policy or a weigher that there is not."""
        self._candidates = candidates
        scales, columns = [], []
        self.scores = [0.0] * len(candidates)
        for name, multiplier in ({**POLICIES[policy], **weights}).items():
            weigh = WEIGHERS[name].raw
            raw = [weigh(candidate, 0) for candidate in candidates]
            least = min(raw, default=0.0)
            span = max(raw, default=0.0) - least
            scales.append(Scale(name, multiplier, least, span))
            columns.append(raw)
            if span and multiplier:
                self.scores = [score + multiplier * (value - least) / span for score, value in zip(self.scores, raw, strict=True)]
        self.scales = tuple(scales)
        self.goes_round = any(scale.name == TURN for scale in scales)
        self.raw = list(zip(*columns, strict=True))  # of each candidate what each weigher said

    def score_after(self, index: int, taken: int) -> float:
        """Of one candidate, when so many addresses are placed on it."""
        candidate = self._candidates[index]
        values = ((scale, WEIGHERS[scale.name].raw(candidate, taken)) for scale in self.scales)
        return sum(scale.multiplier * (value - scale.least) / (scale.span or 1.0) for scale, value in values)


def weights_of(scales: Sequence[Scale], raw: Sequence[float]) -> dict[str, Weight]:
    """What each weigher said of one candidate."""
    return {
        name: Weight(value, (value - least) / (span or 1.0), multiplier)
        for (name, multiplier, least, span), value in zip(scales, raw, strict=True)
    }
