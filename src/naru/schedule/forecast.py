"""When addresses run out, from the most that were in use on each day: pure, deterministic. docs/explanation/forecasts.md says why so.

The trend is the median of the slopes between days a week or more apart (Theil 1950, Sen 1968): neither a weekend nor a burst bends it.
What the trend does not explain repeats in whole weeks: of such weeks, drawn from those that were, other histories and futures are put
together. In how many of the futures the level is reached by when, that is the forecast.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from math import ceil
from statistics import median

from naru.model.usage import Days
from naru.schedule.reasons import Words

METHOD = "theil-sen, residuals by the week"
LEAST_DAYS = 14
MOST_DAYS = 56
HORIZON_DAYS = 365

_LEVEL_DAYS = 14  # where usage is now, is seen in the last of them
_WEEK_DAYS = 7
_FUTURES = 60

TEXTS: Mapping[str, Words] = {
    "forecast": Words(
        "{free} of {usable} addresses are free; the last one is taken in {p50}, in 1 of 10 cases within {p10}, in 9 of 10 within {p90}",
        "주소 {usable}개 중 {free}개가 비어 있습니다. 예상 소진 시점은 {p50}이며, 10번 중 1번은 {p10}, 10번 중 9번은 {p90} 안에 소진됩니다",
    ),
    "not_enough_history": Words(
        "{free} of {usable} addresses are free; there are {days} whole days of history, and a forecast needs {least}",
        "주소 {usable}개 중 {free}개가 비어 있습니다. 기록이 {days}일치뿐이라 예측할 수 없습니다({least}일 필요)",
    ),
    "no_addresses": Words("it has no addresses for instances", "인스턴스에 줄 주소가 없습니다"),
    "boundless": Words("it has more addresses than will ever be used", "주소가 사실상 무한합니다"),
}
_BEYOND = Words("more than a year", "1년 이후")
_SPAN = Words("{days} days", "{days}일")


def days_words(days: int | None) -> Words:
    return _BEYOND if days is None else Words(*(text.format(days=days) for text in _SPAN))


@lru_cache(maxsize=4096)
def days_until(daily: tuple[int, ...], levels: tuple[int, ...]) -> tuple[Days, ...]:
    """For each level the days until so many are in use, counted from the last of `daily`, of which there are `LEAST_DAYS` or more."""
    daily = daily[-MOST_DAYS:]
    reached = [[_reaches(future, level) for level in levels] for future in _futures(daily)]
    return tuple(_quantiles([row[index] for row in reached]) for index in range(len(levels)))


class _Future:
    """A line, and around it what the weeks were like."""

    def __init__(self, level: float, slope: float, residuals: Sequence[float], weeks: Sequence[int]) -> None:
        self.level = level
        self.slope = slope
        self.residuals = residuals
        self.weeks = weeks  # where in the residuals each begins


def _reaches(future: _Future, level: int) -> int | None:
    most = max(future.residuals)
    for number, start in enumerate(future.weeks):
        day = number * _WEEK_DAYS
        if future.level + most + max(future.slope * (day + 1), future.slope * (day + _WEEK_DAYS)) < level:
            continue
        for offset in range(_WEEK_DAYS):
            if future.level + future.slope * (day + 1 + offset) + future.residuals[start + offset] >= level:
                return day + 1 + offset
    return None


def _futures(daily: Sequence[int]) -> Iterator[_Future]:
    days = range(1 - len(daily), 1)  # the last one is 0
    slope = _slope(daily)
    residuals = [used - slope * day for day, used in zip(days, daily, strict=True)]
    middle = median(residuals)
    residuals = [residual - middle for residual in residuals]
    fitted = [middle + slope * day for day in days]
    draw = _draws(len(daily) - _WEEK_DAYS + 1)
    for _ in range(_FUTURES):
        past = [residuals[start + day] for start in _take(draw, ceil(len(daily) / _WEEK_DAYS)) for day in range(_WEEK_DAYS)]
        drawn = _slope([used + residual for used, residual in zip(fitted, past, strict=False)])
        level = median(used - drawn * day for day, used in list(zip(days, daily, strict=True))[-_LEVEL_DAYS:])
        yield _Future(level, drawn, residuals, _take(draw, ceil(HORIZON_DAYS / _WEEK_DAYS)))


def _slope(values: Sequence[float]) -> float:
    """Every second day against every third that is a week or more later: enough of them, and soon done."""
    count = len(values)
    return median((values[j] - values[i]) / (j - i) for i in range(0, count, 2) for j in range(i + _WEEK_DAYS, count, 3))


def _draws(below: int) -> Iterator[int]:
    """The same numbers each time: what is forecast of the same days does not change (a linear congruential generator, C99 7.20.2)."""
    state = 1
    while True:
        state = (1103515245 * state + 12345) % 2**31
        yield state * below >> 31


def _take(draw: Iterator[int], count: int) -> list[int]:
    return [next(draw) for _ in range(count)]


def _quantiles(reached: Sequence[int | None]) -> Days:
    ordered = sorted(HORIZON_DAYS + 1 if day is None else day for day in reached)
    at = [ordered[round(share * (len(ordered) - 1))] for share in (0.1, 0.5, 0.9)]
    return Days(*(None if day > HORIZON_DAYS else day for day in at))
