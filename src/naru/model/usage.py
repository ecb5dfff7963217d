"""How many addresses of a network were in use, hour by hour and day by day; and what is expected of the days to come."""

from typing import Annotated, ClassVar

import msgspec
from msgspec.structs import replace

from naru.model.attributes import hidden, read_only
from naru.model.resources import Resource

_DAY_H = 24
_HOURS_KEPT = 14 * _DAY_H
_DAYS_KEPT = 400


class NetworkUsage(Resource, frozen=True, kw_only=True):
    """The most addresses in use (allocated, held or at rest) in each hour of the last two weeks, and on each day before.

    Its id is the network's. An hour that is not there was like the one before it: nothing is written where nothing changes.
    Hours count from 1970, days are UTC's.
    """

    kind: ClassVar[str] = "NetworkUsage"

    first_hour: Annotated[int, hidden()] = 0  # of `hours`
    hours: Annotated[tuple[int, ...], hidden()] = ()
    days: Annotated[tuple[int, ...], hidden()] = ()  # up to the day before that of `first_hour`
    days_left: Annotated[int | None, hidden()] = None  # until it is full (P50), as forecast at the last midnight

    def recorded(self, hour: int, used: int) -> "NetworkUsage":
        """With what was used in an hour: a new one, or the last one again."""
        if not self.hours:
            return replace(self, first_hour=hour, hours=(used,))
        gap = hour - self.first_hour - len(self.hours)
        if gap < 0:
            return replace(self, hours=(*self.hours[:-1], max(self.hours[-1], used)))
        hours = (*self.hours, *(self.hours[-1:] * min(gap, _HOURS_KEPT + _DAYS_KEPT * _DAY_H)), used)
        first, days = hour + 1 - len(hours), list(self.days)
        while len(hours) >= _HOURS_KEPT + _DAY_H:
            rest = _DAY_H - first % _DAY_H  # of its day
            if days or rest == _DAY_H:
                days.append(max(hours[:rest]))
            hours, first = hours[rest:], first + rest
        return replace(self, hours=hours, first_hour=first, days=tuple(days[-_DAYS_KEPT:]))

    def daily(self, hour: int) -> tuple[int, ...]:
        """The most in use on each whole day before the one of `hour`, the oldest first."""
        if not self.hours:
            return ()
        # The first day counts where it is whole, or where all before it is in `days`.
        skipped = 0 if self.days else -self.first_hour % _DAY_H
        days = (*self.days, *(max(self.hours[start : start + _DAY_H]) for start in range(skipped, len(self.hours), _DAY_H)))
        after = hour // _DAY_H - 1 - (self.first_hour + len(self.hours) - 1) // _DAY_H  # whole days behind the last record
        days = days[:after] if after < 0 else (*days, *(self.hours[-1:] * min(after, _DAYS_KEPT)))
        return days[-_DAYS_KEPT:]


class Days(msgspec.Struct, frozen=True):
    """Days from now; null: not within a year. Sooner than `p10` in 1 of 10 cases, than `p50` in half of them, than `p90` in 9 of 10."""

    p10: int | None
    p50: int | None
    p90: int | None


class NetworkIpForecast(Resource, frozen=True, kw_only=True):
    """When the addresses of a network, or of all members of a pool, run out. Made when asked for; its id is the network's or the pool's."""

    kind: ClassVar[str] = "NetworkIpForecast"
    singular: ClassVar[str] = "network_ip_forecast"
    plural: ClassVar[str] = "network_ip_forecasts"

    description: Annotated[str | None, hidden()] = None
    created_at: Annotated[str, hidden()] = ""
    updated_at: Annotated[str, hidden()] = ""
    revision_number: Annotated[int, hidden()] = 1

    project_id: Annotated[str, read_only(sort=False)] = ""
    name: Annotated[str, read_only()] = ""
    of: Annotated[str, read_only()] = "network"  # or network_pool
    usable: Annotated[int, read_only(filter=False)] = 0
    used: Annotated[int, read_only(filter=False)] = 0  # allocated, held, or at rest
    free: Annotated[int, read_only(filter=False)] = 0
    floor: Annotated[int, read_only(filter=False, sort=False)] = 0  # of the free addresses so many are left untouched by picks
    status: Annotated[str, read_only()] = "forecast"  # or a reason why there is none: not_enough_history, no_addresses, boundless
    method: Annotated[str | None, read_only(filter=False, sort=False)] = None
    days_known: Annotated[int, read_only(filter=False, sort=False)] = 0  # whole days of history
    days_used: Annotated[int, read_only(filter=False, sort=False)] = 0  # of these, the last ones that the forecast goes by
    days_to_exhaustion: Annotated[Days | None, read_only(filter=False, sort=False)] = None
    days_to_floor: Annotated[Days | None, read_only(filter=False, sort=False)] = None  # null where there is no floor
    text_en: Annotated[str, read_only(filter=False, sort=False)] = ""
    text_ko: Annotated[str, read_only(filter=False, sort=False)] = ""
