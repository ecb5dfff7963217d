"""The cheapest changes that would make a refused pick a yes. Each was tried: `place` says yes with it."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec
from msgspec.structs import replace

from naru.schedule.candidates import Candidate, Counts, Share, Wish
from naru.schedule.networks import place
from naru.schedule.reasons import words

MOST_PORTS = 10
_MOST_TRIED = 5  # networks, of each change: those that lack the least


class Means(msgspec.Struct, frozen=True):
    """What could be done about the addresses of a network."""

    subnet_id: str = ""  # the one that has the most addresses in no allocation pool
    extend: int = 0  # how many these are
    idle_ports: tuple[str, ...] = ()  # DOWN, without a device; the longest idle first
    quarantine_s: int = 0  # how long one would rest whose port goes now
    rests_s: tuple[int, ...] = ()  # how long each address in quarantine rests on, the shortest first


class Fix(msgspec.Struct, frozen=True):
    """`code` is a row of `reasons.FIXES`, `values` complete its words."""

    code: str
    values: dict[str, Any]

    def described(self) -> dict[str, Any]:
        return {"code": self.code, "text_en": words(self.code, self.values), "text_ko": words(self.code, self.values, "ko")} | self.values


Proposal = tuple[dict[str, Any], list[Candidate], Wish]  # values of the fix, the candidates that it changes, the wish with it


class Refused:
    """A wish that was refused, and what each candidate lacked."""

    def __init__(self, candidates: Sequence[Candidate], wish: Wish, means: Mapping[str, Means]) -> None:
        self.wish = wish
        self.means = means
        self.reasons = {verdict.network_id: verdict.reason for verdict in place(candidates, wish).verdicts}
        self.possible = len(place(candidates, replace(wish, min_count=1)).assignments)
        self.closest = sorted(candidates, key=lambda candidate: (-candidate.room, candidate.facts.name, candidate.facts.network_id))
        self.fit = [candidate for candidate in self.closest if self.reasons[candidate.facts.network_id] == "no_quorum"]

    def is_solved_by(self, changed: Sequence[Candidate], wish: Wish) -> bool:
        ids = {candidate.facts.network_id for candidate in changed}
        rest = [candidate for candidate in self.fit if candidate.facts.network_id not in ids]
        return not place([*rest, *changed], wish).is_refused

    def because(self, *codes: str) -> list[Candidate]:
        return [candidate for candidate in self.closest if self.reasons[candidate.facts.network_id] in codes]

    def lack(self, candidate: Candidate) -> int:
        """How many addresses more of this network would do."""
        if self.wish.mode == "one_network":
            return self.wish.least - candidate.room
        placed = self.possible if self.reasons[candidate.facts.network_id] == "no_quorum" else self.possible + candidate.room
        return self.wish.least - placed + max(0, candidate.floor - candidate.counts.free)


def nearest_fixes(candidates: Sequence[Candidate], wish: Wish, means: Mapping[str, Means]) -> list[Fix]:
    """The first of each sort that works, what the asker himself can do before what an operator must. No policy makes room."""
    refused = Refused(candidates, wish, means)
    fixes = []
    for code, propose in PROPOSALS.items():
        tried = islice(propose(refused), 2 * _MOST_TRIED)
        values = next((values for values, changed, asked in tried if refused.is_solved_by(changed, asked)), None)
        if values is not None:
            fixes.append(Fix(code, values))
    return fixes


def _ask_fewer(refused: Refused) -> Iterator[Proposal]:
    if refused.possible:
        yield {"count": refused.possible}, refused.closest, replace(refused.wish, count=refused.possible, min_count=None)


# A reason -> the attribute of the wish that it comes from, and what it is where nobody asks.
_RELAXED: Mapping[str, tuple[str, Any]] = {
    "mtu": ("mtu", None),
    "port_security": ("port_security_enabled", None),
    "qos": ("qos_policy_id", None),
    "dhcp_off": ("dhcp", None),
    "ip_version": ("ip_version", None),
    "affinity": ("affinity", ()),
    "anti_affinity": ("anti_affinity", ()),
}


def _relax(refused: Refused) -> Iterator[Proposal]:
    for code, (attribute, unasked) in _RELAXED.items():
        wish = replace(refused.wish, **{attribute: unasked})
        changed = [replace(candidate, counts=candidate.facts.counts(wish.ip_version)) for candidate in refused.because(code)]
        if changed:
            yield {"attribute": attribute}, changed, wish


def _ask_pool(refused: Refused) -> Iterator[Proposal]:
    kept = refused.because("purpose")
    for pool_id in dict.fromkeys(candidate.pool_id for candidate in kept):
        members = [replace(candidate, kept_for=None) for candidate in kept if candidate.pool_id == pool_id]
        purposes = next(candidate.kept_for for candidate in kept if candidate.pool_id == pool_id)
        yield {"pool": members[0].pool, "pool_id": pool_id, "purposes": purposes or "-"}, members, refused.wish


def _wait(refused: Refused) -> Iterator[Proposal]:
    """The shortest time: what rests longer than others need not be waited for."""
    resting = [candidate for candidate in refused.because("full", "floor", "no_quorum") if refused.means.get(candidate.facts.network_id)]
    times = sorted({time_s for candidate in resting for time_s in refused.means[candidate.facts.network_id].rests_s})
    low, high = 0, len(times)
    while low < high:
        middle = (low + high) // 2
        if refused.is_solved_by(_rested(refused, resting, times[middle])[0], refused.wish):
            high = middle
        else:
            low = middle + 1
    if low < len(times):
        changed, addresses = _rested(refused, resting, times[low])
        yield {"seconds": times[low], "addresses": addresses}, changed, refused.wish


def _rested(refused: Refused, resting: Sequence[Candidate], seconds: int) -> tuple[list[Candidate], int]:
    woken = [sum(time_s <= seconds for time_s in refused.means[candidate.facts.network_id].rests_s) for candidate in resting]
    return [_with_more(candidate, quarantined=number) for candidate, number in zip(resting, woken, strict=True)], sum(woken)


def _free_ports(refused: Refused) -> Iterator[Proposal]:
    for candidate in refused.because("full", "floor", "no_quorum")[:_MOST_TRIED]:
        means = refused.means.get(candidate.facts.network_id, Means())
        idle = means.idle_ports[:MOST_PORTS]
        lack = refused.lack(candidate)
        if 0 < lack <= len(idle):
            ports = {"ports": ", ".join(idle[:lack]), "port_ids": list(idle[:lack])}
            values = _network(candidate) | ports | {"seconds": means.quarantine_s}
            yield values, [_with_more(candidate, allocated=lack)], refused.wish


def _uncordon(refused: Refused) -> Iterator[Proposal]:
    for candidate in refused.because("cordoned"):
        yield _network(candidate) | _pool(candidate), [replace(candidate, cordoned=None)], refused.wish


def _admin_up(refused: Refused) -> Iterator[Proposal]:
    for candidate in refused.because("admin_down"):
        yield _network(candidate), [replace(candidate, facts=replace(candidate.facts, admin_state_up=True))], refused.wish


def _lower_floor(refused: Refused) -> Iterator[Proposal]:
    for candidate in refused.because("floor", "no_quorum")[:_MOST_TRIED]:
        floor = candidate.floor - refused.lack(candidate)
        if 0 <= floor < candidate.floor:
            yield _network(candidate) | _pool(candidate) | {"floor": floor}, [replace(candidate, floor=floor)], refused.wish


def _raise_share(refused: Refused) -> Iterator[Proposal]:
    for share in dict.fromkeys(candidate.share for candidate in refused.because("project_share", "no_quorum")):
        if share is None:
            continue
        more = Share(share.pool_id, share.limit + refused.wish.least - (refused.possible if refused.fit else 0), share.used)
        members = [candidate for candidate in refused.because("project_share", "no_quorum") if candidate.share == share]
        changed = [replace(candidate, share=more) for candidate in members]
        yield _pool(members[0]) | {"addresses": more.limit - share.limit}, changed, refused.wish


def _extend(refused: Refused) -> Iterator[Proposal]:
    for candidate in refused.because("full", "floor", "no_quorum")[:_MOST_TRIED]:
        means = refused.means.get(candidate.facts.network_id, Means())
        more = (
            math.ceil(refused.lack(candidate) / (1 - candidate.floor_ratio)) if candidate.floor_ratio < 1 else 0
        )  # the floor rises with it
        if 0 < more <= means.extend:
            floor = max(candidate.floor, int(candidate.floor_ratio * (candidate.counts.usable + more)))
            changed = [replace(_with_more(candidate, usable=more), floor=floor)]
            yield _network(candidate) | {"subnet": means.subnet_id, "addresses": more}, changed, refused.wish


# Code -> what might help, the least change first.
PROPOSALS: Mapping[str, Callable[[Refused], Iterator[Proposal]]] = {
    "ask_fewer": _ask_fewer,
    "relax": _relax,
    "ask_pool": _ask_pool,
    "wait": _wait,
    "free_ports": _free_ports,
    "uncordon": _uncordon,
    "admin_up": _admin_up,
    "lower_floor": _lower_floor,
    "raise_share": _raise_share,
    "extend": _extend,
}


def _with_more(candidate: Candidate, usable: int = 0, allocated: int = 0, quarantined: int = 0) -> Candidate:
    """So many more usable, or fewer allocated or in quarantine: all of them are free."""
    has = candidate.counts
    more = usable + allocated + quarantined
    counts = Counts(has.usable + usable, has.allocated - allocated, has.held, has.quarantined - quarantined, has.free + more)
    return replace(candidate, counts=counts)


def _network(candidate: Candidate) -> dict[str, Any]:
    return {"network": candidate.facts.name or candidate.facts.network_id, "network_id": candidate.facts.network_id}


def _pool(candidate: Candidate) -> dict[str, Any]:
    return {"pool": candidate.pool, "pool_id": candidate.pool_id}
