"""Which method forecasts best: each is asked on the days of the shipped traces, and compared with what came. Prints the table of
docs/explanation/forecasts.md.

    .venv/bin/python tests/bench/forecasts.py
"""

import gzip
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean, pstdev

from naru.schedule.forecast import LEAST_DAYS, MOST_DAYS, days_until
from naru.schedule.replay import read_trace, usage_by_hour

TRACES = Path(__file__).parents[2] / "docs" / "data"
HORIZON_DAYS = 60
QUANTILES = (0.1, 0.5, 0.9)
LEVELS = (1.1, 1.25, 1.5)  # of the most of the last week
Forecast = Callable[[Sequence[int], int], Sequence[float]]  # days so far, level -> P10, P50, P90 in days


def theil_sen(daily: Sequence[int], level: int) -> Sequence[float]:
    """What Naru does."""
    (days,) = days_until(tuple(daily), (level,))
    return [math.inf if value is None else value for value in (days.p10, days.p50, days.p90)]


def drift(daily: Sequence[int], level: int) -> Sequence[float]:
    """The line from the first day of four weeks to the last."""
    daily = daily[-28:]
    slope = (daily[-1] - daily[0]) / (len(daily) - 1)
    return [(level - daily[-1]) / slope if slope > 0 else math.inf] * 3


def holt(daily: Sequence[int], level: int) -> Sequence[float]:
    """Level and trend, smoothed with the constants that would have been best so far (Holt 1957), and a normal error."""
    daily, best = daily[-MOST_DAYS:], (math.inf, 0.0, 0.0, 0.0, 0.0, 0.0)
    for alpha in (0.1, 0.3, 0.6):
        for beta in (0.02, 0.1, 0.3):
            at, trend, errors = float(daily[0]), (daily[7] - daily[0]) / 7, []
            for used in daily[1:]:
                errors.append(used - at - trend)
                before, at = at, alpha * used + (1 - alpha) * (at + trend)
                trend = beta * (at - before) + (1 - beta) * trend
            best = min(best, (fmean(error**2 for error in errors[7:]), at, trend, pstdev(errors[7:]), alpha, beta))
    _, at, trend, error, alpha, beta = best

    def most(day: int, z: float) -> float:
        spread = 1 + (day - 1) * (alpha**2 + alpha * beta * day + beta**2 * day * (2 * day - 1) / 6)
        return at + trend * day + z * error * math.sqrt(spread)

    return [next((day for day in range(1, HORIZON_DAYS) if most(day, z) >= level), math.inf) for z in (1.28, 0.0, -1.28)]


def changes_by_the_week(daily: Sequence[int], level: int) -> Sequence[float]:
    """The changes from day to day, drawn in whole weeks and added up."""
    daily = daily[-MOST_DAYS:]
    changes = [after - before for before, after in pairwise(daily)]
    state, reached = 1, []
    for _ in range(100):
        used, day, hit = daily[-1], 0, math.inf
        while day < HORIZON_DAYS and hit == math.inf:
            state = (1103515245 * state + 12345) % 2**31
            start = state * (len(changes) - 6) >> 31
            for change in changes[start : start + 7]:
                day, used = day + 1, used + change
                hit = min(hit, day if used >= level else math.inf)
        reached.append(hit)
    return [sorted(reached)[round(share * 99)] for share in QUANTILES]


METHODS: dict[str, Forecast] = {
    "a line through the ends": drift,
    "Holt": holt,
    "changes drawn by the week": changes_by_the_week,
    "Theil-Sen, residuals drawn by the week": theil_sen,
}


def days_of(trace: str) -> list[int]:
    _, events = read_trace(gzip.decompress((TRACES / f"{trace}.jsonl.gz").read_bytes()))
    hours = usage_by_hour(events)
    return [max(hours[start : start + 24]) for start in range(0, len(hours) - 23, 24)]


def cases(daily: Sequence[int]) -> Iterator[tuple[Sequence[int], int, int, int]]:
    """Every third day -> what was known, a level, when it was reached (or the end), and the end."""
    for today in range(LEAST_DAYS + 7, len(daily) - 7, 3):
        end = min(HORIZON_DAYS, len(daily) - today)
        for more in LEVELS:
            level = math.ceil(max(daily[today - 7 : today]) * more)
            came = next((day for day, used in enumerate(daily[today:], 1) if used >= level), end)
            yield daily[:today], level, min(came, end), end


def judge(method: Forecast, daily: Sequence[int]) -> tuple[float, float, float]:
    """-> pinball loss in days, mean over the three quantiles; how far P50 was off, in days; share of cases sooner than P10."""
    losses, errors, early = [], [], []
    for known, level, came, end in cases(daily):
        told = [min(days, end) for days in method(known, level)]
        losses += [max(share * (came - days), (share - 1) * (came - days)) for share, days in zip(QUANTILES, told, strict=True)]
        errors.append(abs(came - told[1]))
        early.append(came < told[0])
    return fmean(losses), fmean(errors), fmean(early)


def table() -> str:
    traces = sorted(path.name.removesuffix(".jsonl.gz") for path in TRACES.glob("*.jsonl.gz"))
    days = {trace: days_of(trace) for trace in traces}
    rows = [["method", *traces, "mean loss"], ["---"] * (len(traces) + 2)]
    for name, method in METHODS.items():
        found = [judge(method, days[trace]) for trace in traces]
        cells = [f"{loss:.2f} / {error:.1f} / {early:.0%}" for loss, error, early in found]
        rows.append([name, *cells, f"{fmean(loss for loss, _, _ in found):.2f}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    print(table())
