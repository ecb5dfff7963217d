"""Usage is recorded as time goes by, and what comes of it is forecast when somebody asks."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from naru.model.errors import not_found
from naru.model.identity import Caller
from naru.model.network_pools import NetworkPool
from naru.model.resources import Changes, Network, put, remove
from naru.model.usage import Days, NetworkIpForecast, NetworkUsage
from naru.model.view import View
from naru.schedule.candidates import Counts
from naru.schedule.forecast import LEAST_DAYS, METHOD, MOST_DAYS, TEXTS, days_until, days_words
from naru.service.candidates import facts_of
from naru.service.policy import owns
from naru.service.pool_reach import member_networks, pools_with

_BOUNDLESS = 2**32  # usable addresses: an IPv6 subnet has more than will ever be used


def hour_of(now: datetime) -> int:
    """Since 1970."""
    return int(now.timestamp()) // 3600


# -- what was


def observe_usage(view: View, peaks: dict[str, int]) -> None:
    """Note in `peaks` the most that each network uses."""
    for network in view.all(Network):
        counts = counts_of(view, network)
        if 0 < counts.usable < _BOUNDLESS:
            peaks[network.id] = max(peaks.get(network.id, 0), counts.usable - counts.free)


def record_usage(view: View, hour: int, peaks: Mapping[str, int]) -> Changes[None]:
    """What was noted in an hour, of the networks where it is other than before. Of networks that are gone nothing is kept."""
    for gone in [usage for usage in view.all(NetworkUsage) if view.get(Network, usage.id) is None]:
        yield remove(gone)
    for id, used in peaks.items():
        usage = view.get(NetworkUsage, id) or NetworkUsage(id=id)
        if view.get(Network, id) is not None and usage.hours[-1:] != (used,):
            yield put(usage.recorded(hour, used))


def record_days_left(view: View, forecasts: Iterable[NetworkIpForecast]) -> Changes[None]:
    """What the weigher `days_left` goes by. Picks do not wait for forecasts: they take the one of the last midnight."""
    for row in forecasts:
        usage = view.get(NetworkUsage, row.id)
        days_left = row.days_to_exhaustion.p50 if row.days_to_exhaustion is not None else None
        if usage is not None and usage.days_left != days_left:
            yield put(replace(usage, days_left=days_left))


# -- what will be


class Subject(NamedTuple):
    """What is forecast, a network or the members of a pool together, and all that it takes: values, so that another thread can do it."""

    of: NetworkPool | Network
    counts: Counts
    floor: int
    histories: tuple[NetworkUsage, ...]
    hour: int


def find_subject(view: View, caller: Caller, id: str, now: datetime) -> Subject:
    """A network or a pool. Raises NotFound for what is neither, and for whoever may not know."""
    of = view.get(NetworkPool, id) or view.get(Network, id)
    if of is None or not _may_know(caller, of):
        raise not_found("Network", id)
    return _subject(view, of, hour_of(now))


def list_subjects(view: View, caller: Caller, now: datetime) -> list[Subject]:
    """All pools and networks that the caller may know of, pools first."""
    return subjects_of(view, (one for one in everything(view) if _may_know(caller, one)), now)


def everything(view: View) -> list[NetworkPool | Network]:
    return [*view.all(NetworkPool), *view.all(Network)]


def subjects_of(view: View, ones: Iterable[NetworkPool | Network], now: datetime) -> list[Subject]:
    hour = hour_of(now)
    return [_subject(view, one, hour) for one in ones]


def counts_of(view: View, network: Network) -> Counts:
    """Of IPv4 and IPv6 those that run out first."""
    return facts_of(view, network).counts(None)


def _may_know(caller: Caller, of: NetworkPool | Network) -> bool:
    return caller.may("get_network_ip_forecast", caller.reads_all or owns(caller, of))


def _subject(view: View, of: NetworkPool | Network, hour: int) -> Subject:
    if isinstance(of, Network):
        counts = counts_of(view, of)
        floor = max((_floor(pool, counts) for pool in pools_with(view, of)), default=0)
        return Subject(of, counts, floor, _histories(view, [of]), hour)
    networks = member_networks(view, of)
    parts = [counts for network in networks if 0 < (counts := counts_of(view, network)).usable < _BOUNDLESS]
    counts = Counts(*(sum(getattr(part, field) for part in parts) for field in Counts.__struct_fields__))
    return Subject(of, counts, sum(_floor(of, part) for part in parts), _histories(view, networks), hour)


def _floor(pool: NetworkPool, counts: Counts) -> int:
    return max(pool.floor_count, int(pool.floor_ratio * counts.usable))


def _histories(view: View, networks: Iterable[Network]) -> tuple[NetworkUsage, ...]:
    return tuple(usage for network in networks if (usage := view.get(NetworkUsage, network.id)) is not None)


def _sum(histories: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    """Day by day; before a network is known it counts as on its first day, so that to add one is no growth."""
    known = [history for history in histories if history]
    longest = max((len(history) for history in known), default=0)
    padded = (history[:1] * (longest - len(history)) + history for history in known)
    return tuple(sum(day) for day in zip(*padded, strict=True))


def forecast(subject: Subject) -> NetworkIpForecast:
    """Pure, and some milliseconds of work."""
    counts, daily = subject.counts, _sum(usage.daily(subject.hour) for usage in subject.histories)
    used = counts.usable - counts.free
    full: Days | None = None
    floor: Days | None = None
    if not counts.usable:
        status = "no_addresses"
    elif counts.usable >= _BOUNDLESS:
        status = "boundless"
    elif len(daily) < LEAST_DAYS:
        status = "not_enough_history"
    else:
        status = "forecast"
        full, floor = (_from_now(days, used, level) for days, level in _levels(daily, counts.usable, counts.usable - subject.floor))
    spans = [days_words(days) for days in (full.p10, full.p50, full.p90)] if full is not None else []
    numbers = {"free": counts.free, "usable": counts.usable, "days": len(daily), "least": LEAST_DAYS}
    text_en, text_ko = (
        text.format(**numbers, **dict(zip(("p10", "p50", "p90"), (span[language] for span in spans), strict=False)))
        for language, text in enumerate(TEXTS[status])
    )
    return NetworkIpForecast(
        id=subject.of.id,
        project_id=subject.of.project_id,
        name=subject.of.name,
        of=subject.of.singular,
        usable=counts.usable,
        used=used,
        free=counts.free,
        floor=subject.floor,
        status=status,
        method=METHOD if full is not None else None,
        days_known=len(daily),
        days_used=min(len(daily), MOST_DAYS) if full is not None else 0,
        days_to_exhaustion=full,
        days_to_floor=floor if subject.floor else None,
        text_en=text_en,
        text_ko=text_ko,
    )


def _levels(daily: tuple[int, ...], *levels: int) -> Iterator[tuple[Days, int]]:
    return zip(days_until(daily[-MOST_DAYS:], levels), levels, strict=True)


def _from_now(days: Days, used: int, level: int) -> Days:
    """The first day behind the history is today; a level that is reached now is not waited for."""
    if used >= level:
        return Days(0, 0, 0)
    return Days(*(None if day is None else day - 1 for day in (days.p10, days.p50, days.p90)))
