"""Which networks a pick gets its addresses from: pure, deterministic, with a verdict and a reason for every candidate.

Filters refuse, each with a code. Of the rest weighers make a score: the highest comes first, ties go by priority, then own networks
before others, then names. Addresses are placed one after the other, and each counts at once; so 500 picks of one and one pick of
500 come to the same. The cost grows with the candidates, and for each address with their logarithm, never with the ports there are.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from heapq import heapify, heappop, heappush

import msgspec

from naru.schedule.candidates import NO_WEIGHTS, Became, Candidate, Counts, Verdict, Weight, Wish
from naru.schedule.filters import Filter, Values, filters_of
from naru.schedule.reasons import words
from naru.schedule.weighers import Scale, Weighing, weights_of

Judged = tuple[Candidate, Verdict | None]  # a candidate, and what `judge` says of it


class Placement(msgspec.Struct, frozen=True):
    """The network of each address, in the order of placing; none where the wish is refused.

    Verdicts in the order of preference: what was chosen, what else would fit, what was refused.
    """

    assignments: tuple[str, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def is_refused(self) -> bool:
        return not self.assignments


def judge(candidate: Candidate, wish: Wish, filters: Sequence[Filter] | None = None) -> Verdict | None:
    """Why a network cannot be had; None where it can. `filters`: these alone, where the others were asked already."""
    for row in filters_of(wish) if filters is None else filters:
        if row.refuses(candidate, wish):
            return _verdict(candidate, "refused", row.code, row.values(candidate, wish))
    return None


def place(candidates: Iterable[Candidate], wish: Wish, policy: str = "sequential", weights: Mapping[str, float] | None = None) -> Placement:
    """Networks for `wish.count` addresses, or for as many as there is room for; but where that is less than `wish.least`, for none.

    `weights` are multipliers beside, or instead of, those of the policy. No network stands twice among the candidates, whose order
    means nothing.
    """
    return place_judged([(candidate, judge(candidate, wish)) for candidate in candidates], wish, policy, weights or {})


def place_judged(judged: Iterable[Judged], wish: Wish, policy: str, weights: Mapping[str, float]) -> Placement:
    """`place`, where it is known what `judge` says of each."""
    judged = sorted(judged, key=_tie)
    fit = [candidate for candidate, refusal in judged if refusal is None]
    weighing = Weighing(fit, policy, weights)
    ranking = sorted(range(len(fit)), key=weighing.scores.__getitem__, reverse=True)  # stable: of the same score the first in order
    if wish.mode == "one_network":
        chosen = _on_one(fit, ranking, wish)
    elif wish.count == 1:
        chosen = ranking[:1]
    else:
        chosen = _one_by_one(fit, weighing, wish)
    is_enough = len(chosen) >= max(1, wish.least)
    return Placement(
        assignments=tuple(fit[index].facts.network_id for index in chosen) if is_enough else (),
        verdicts=(
            *_fit_verdicts(fit, ranking, weighing, wish, chosen, is_enough=is_enough),
            *(refusal for _, refusal in judged if refusal is not None),
        ),
    )


def _tie(judged: Judged) -> tuple[int, bool, str, str]:
    candidate = judged[0]
    return candidate.priority, not candidate.own, candidate.facts.name, candidate.facts.network_id


def _on_one(fit: Sequence[Candidate], ranking: Sequence[int], wish: Wish) -> list[int]:
    """All addresses on the best of those that have room for the most."""
    most = max((min(wish.count, candidate.room) for candidate in fit), default=0)
    best = next((index for index in ranking if min(wish.count, fit[index].room) == most), 0)
    return [best] * most


def _one_by_one(fit: Sequence[Candidate], weighing: Weighing, wish: Wish) -> list[int]:
    """Each address on the network that is best when it is its turn."""
    taken = [0] * len(fit)
    room = [candidate.room for candidate in fit]
    left = {candidate.share.pool_id: candidate.share.limit - candidate.share.used for candidate in fit if candidate.share is not None}
    waiting: list[int] = []  # they are ahead of the others by all that `max_skew` allows
    level, at_level = 0, Counter({0: len(fit)})  # of the networks with room: the fewest taken, and how many have taken so many
    best_first = [(-score, index) for index, score in enumerate(weighing.scores)]
    heapify(best_first)
    chosen: list[int] = []
    while best_first and len(chosen) < wish.count:
        _, index = heappop(best_first)
        if wish.max_skew is not None and taken[index] - level >= wish.max_skew:
            waiting.append(index)
            continue
        share = fit[index].share
        at_level[taken[index]] -= 1
        if share is None or left[share.pool_id] > 0:
            chosen.append(index)
            taken[index] += 1
            if share is not None:
                left[share.pool_id] -= 1
            if taken[index] < room[index]:
                at_level[taken[index]] += 1
                heappush(best_first, (-weighing.score_after(index, taken[index]), index))
        if wish.max_skew is not None and not at_level[level]:
            level = min((count for count, networks in at_level.items() if networks), default=level)
            for ahead in waiting:
                heappush(best_first, (-weighing.score_after(ahead, taken[ahead]), ahead))
            waiting.clear()
    return chosen


def _fit_verdicts(
    fit: Sequence[Candidate], ranking: Sequence[int], weighing: Weighing, wish: Wish, chosen: Sequence[int], *, is_enough: bool
) -> Iterator[Verdict]:
    taken = Counter(chosen) if is_enough else Counter()
    raw, scales, scores = weighing.raw, weighing.scales, weighing.scores
    for index in [index for index in ranking if index in taken] if taken else ():
        counts = fit[index].counts
        values = {"free": counts.free, "usable": counts.usable, "taken": taken[index], "count": len(chosen)}
        yield _verdict(fit[index], "chosen", "chosen", values, weights_of(scales, raw[index]), scores[index])
    too_few = {"possible": len(chosen), "least": wish.least}
    passed = _passed.__wrapped__ if weighing.goes_round else _passed  # else it would keep what nobody asks for again
    for index in ranking:
        if index not in taken:  # a loop that goes round as often as there are networks: no call that could be spared
            candidate = fit[index]
            if is_enough:
                yield passed(candidate.facts.network_id, candidate.facts.name, candidate.counts, raw[index], scales, scores[index])
            else:
                yield _verdict(candidate, "refused", "no_quorum", too_few, weights_of(scales, raw[index]), scores[index])


@lru_cache(maxsize=8192)
def _passed(network_id: str, name: str, counts: Counts, raw: tuple[float, ...], scales: tuple[Scale, ...], score: float) -> Verdict:
    """What most candidates of a large pool come to, and most of them the same for one pick after the other."""
    en, ko, values = _not_needed(counts.free, counts.usable)
    return Verdict(network_id, name, "passed", "not_needed", en, ko, values, counts, weights_of(scales, raw), score)


@lru_cache(maxsize=8192)
def _not_needed(free: int, usable: int) -> tuple[str, str, Values]:
    values = {"free": free, "usable": usable}
    return words("not_needed", values, "en"), words("not_needed", values, "ko"), values


def _verdict(
    candidate: Candidate, became: Became, code: str, values: Values, weights: Mapping[str, Weight] = NO_WEIGHTS, score: float = 0.0
) -> Verdict:
    facts, told = candidate.facts, (words(code, values, "en"), words(code, values, "ko"))
    return Verdict(facts.network_id, facts.name, became, code, *told, values, candidate.counts, weights, score)
