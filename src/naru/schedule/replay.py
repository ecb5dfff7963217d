"""What a policy would have made of a history: `place`, over the requests as they came, and the sums that tell policies apart."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from heapq import heappop, heappush
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from naru.schedule.candidates import Candidate, Counts, Facts, Mode, Wish
from naru.schedule.networks import place
from naru.schedule.weighers import POLICIES, WEIGHERS

T = TypeVar("T")

POLICY_NAMES = tuple(POLICIES)


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of a trace: what came into being, `create`, or went, `delete`, under which name. Of a deletion the rest says nothing."""

    time: Annotated[datetime, Meta(tz=True)]
    create: str | None = None
    delete: str | None = None
    project: str = ""
    count: Annotated[int, Meta(ge=1)] = 1
    mode: Mode = "per_instance"
    purpose: str = ""


class Member(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A network of the pool, with as many addresses for instances."""

    name: str
    usable: Annotated[int, Meta(ge=0)]
    priority: int | None = None  # None: its place in the list
    weight: float = 1.0
    cordoned: bool = False
    purposes: tuple[str, ...] = ()


class Pool(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Where the history is replayed: the members of a pool, and what the API's pool says beside its policy."""

    networks: Annotated[tuple[Member, ...], Meta(min_length=1)]
    weights: dict[str, float] = {}
    floor_count: Annotated[int, Meta(ge=0)] = 0
    floor_ratio: Annotated[float, Meta(ge=0, le=1)] = 0.0
    quarantine_s: Annotated[int, Meta(ge=0)] = 60

    def __post_init__(self) -> None:
        """Raises ValueError, which decoding tells with its place."""
        if unknown := [name for name in self.weights if name not in WEIGHERS]:
            raise ValueError(f"{unknown[0]!r} is no weigher; there are {', '.join(WEIGHERS)}")
        if len({network.name for network in self.networks}) < len(self.networks):
            raise ValueError("two networks have the same name")


class Outcome(msgspec.Struct, frozen=True):
    """Of one policy. Ratios are means over time, between 0 and 1."""

    policy: str
    requests: int
    refused: int  # requests
    refused_addresses: int
    first_refusal: datetime | None
    first_full: dict[str, datetime]  # network -> when its last free address was taken for the first time
    peak_used: float
    skew: float  # between the fullest network and the emptiest: used of usable
    fragmentation: float  # of the free addresses, those that the network with the most of them has not


def read_trace(text: bytes) -> tuple[Pool, list[Event]]:
    """The pool of its first line, and the events of the others in the order of time. Raises ValueError with the line that is none."""
    lines = text.splitlines() or [b""]
    pool = _read_line(1, lines[0], Pool)
    events = [_read_line(number, line, Event) for number, line in enumerate(lines[1:], 2)]
    return pool, sorted(events, key=lambda event: event.time)


def _read_line(number: int, line: bytes, type: type[T]) -> T:
    try:
        return msgspec.json.decode(line, type=type)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"line {number}: {error}") from None


def replay(events: Iterable[Event], pool: Pool, policy: str) -> Outcome:
    """Events in the order of time. Raises KeyError for a policy that there is not."""
    networks = _Networks(pool)
    requests = refused = refused_addresses = 0
    first_refusal: datetime | None = None
    for event in events:
        networks.go_to(event.time)
        if event.delete is not None:
            networks.release(event.delete)
        if event.create is None:
            continue
        requests += 1
        if not networks.take(event, policy):
            refused += 1
            refused_addresses += event.count
            first_refusal = first_refusal or event.time
    spread, fragmentation, peak = networks.means()
    return Outcome(policy, requests, refused, refused_addresses, first_refusal, networks.first_full, peak, spread, fragmentation)


class _Networks:
    """How full each network is, and how it was over time."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.index = {network.name: index for index, network in enumerate(pool.networks)}
        self.used = [0] * len(pool.networks)
        self.resting = [0] * len(pool.networks)
        self.rests: list[tuple[datetime, int]] = []  # when which address wakes
        self.placed: dict[str, tuple[str, tuple[int, ...]]] = {}  # name -> project, where
        self.of_project: Counter[tuple[str, int]] = Counter()
        self.last = -1  # whose turn it was
        self.first_full: dict[str, datetime] = {}
        self.now: datetime | None = None
        self.total_s = self.skew_s = self.fragmented_s = self.peak = 0.0

    def go_to(self, time: datetime) -> None:
        """Time passes as it is; then rests end."""
        if self.now is not None:
            seconds = (time - self.now).total_seconds()
            ratios = [used / (member.usable or 1) for used, member in zip(self.used, self.pool.networks, strict=True)]
            free = [member.usable - used for used, member in zip(self.used, self.pool.networks, strict=True)]
            self.total_s += seconds
            self.skew_s += seconds * (max(ratios) - min(ratios))
            self.fragmented_s += seconds * (1 - max(free) / sum(free) if sum(free) else 0.0)
        self.now = time
        while self.rests and self.rests[0][0] <= time:
            self.resting[heappop(self.rests)[1]] -= 1

    def take(self, event: Event, policy: str) -> bool:
        """-> whether there was room."""
        purposes = (event.purpose,) if event.purpose else ()
        wish = Wish(count=event.count, mode=event.mode, purposes_any=purposes)
        placement = place([self._candidate(index, wish, event.project) for index in range(len(self.used))], wish, policy, self.pool.weights)
        where = tuple(self.index[name] for name in placement.assignments)
        for index in where:
            self.used[index] += 1
            self.of_project[event.project, index] += 1
            if self.used[index] == self.pool.networks[index].usable:
                self.first_full.setdefault(self.pool.networks[index].name, event.time)
        if where:
            self.last = where[-1]
            self.placed[event.create or ""] = event.project, where
            self.peak = max(self.peak, sum(self.used))
        return bool(where)

    def release(self, name: str) -> None:
        """What was refused is not there to be deleted."""
        project, where = self.placed.pop(name, ("", ()))
        for index in where:
            self.used[index] -= 1
            self.of_project[project, index] -= 1
            if self.pool.quarantine_s and self.now is not None:
                self.resting[index] += 1
                heappush(self.rests, (self.now + timedelta(seconds=self.pool.quarantine_s), index))

    def means(self) -> tuple[float, float, float]:
        """Skew and fragmentation over time, and the most that was used of all."""
        usable = sum(member.usable for member in self.pool.networks)
        return self.skew_s / (self.total_s or 1.0), self.fragmented_s / (self.total_s or 1.0), self.peak / (usable or 1)

    def _candidate(self, index: int, wish: Wish, project: str) -> Candidate:
        member, used, resting = self.pool.networks[index], self.used[index], self.resting[index]
        counts = Counts(member.usable, used, 0, resting, member.usable - used - resting)
        is_meant = wish.takes_purposes(member.purposes) if wish.purposes else not member.purposes
        return Candidate(
            Facts(member.name, member.name, ipv4=counts),
            counts,
            priority=index if member.priority is None else member.priority,
            weight=member.weight,
            cordoned="" if member.cordoned else None,
            kept_for=None if is_meant else ", ".join(member.purposes),
            floor=max(self.pool.floor_count, int(self.pool.floor_ratio * member.usable)),
            floor_ratio=self.pool.floor_ratio,
            turn=(index - self.last - 1) % len(self.used),
            project_ports=self.of_project[project, index],
        )


def usage_by_hour(events: Sequence[Event]) -> list[int]:
    """The most addresses in use in each hour from the first event on, were nothing ever refused: what a forecast is tried on."""
    counts: dict[str, int] = {}
    hours: list[int] = []
    used = 0
    for event in events:
        hour = int((event.time - events[0].time).total_seconds() // 3600)
        hours += [used] * (hour + 1 - len(hours))
        if event.delete is not None:
            used -= counts.pop(event.delete, 0)
        if event.create is not None:
            counts[event.create] = event.count
            used += event.count
        hours[-1] = max(hours[-1], used)
    return hours
