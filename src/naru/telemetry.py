"""Logs: one line per event, for people, on standard error. And sums of what happened since the start, for /metrics."""

import logging
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable

import structlog


def configure_logging(*, verbose: bool = False) -> None:
    """Call once, first thing in a command. Tracebacks are plain: no local variables, which may hold secrets."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )


class Answered:
    """How many requests were answered, and how long they took in all."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, int]] = Counter()  # method, pattern of the route, status
        self.seconds: defaultdict[tuple[str, str], float] = defaultdict(float)  # method, pattern of the route

    def add(self, method: str, pattern: str, status: int, seconds: float) -> None:
        self.counts[method, pattern, status] += 1
        self.seconds[method, pattern] += seconds


class WriterSums:
    """What the writer did."""

    def __init__(self) -> None:
        self.batches = self.requests = self.changes = 0
        self.seconds = 0.0  # from planning to the commit
        self.refusals: Counter[str] = Counter()  # by type

    def add(self, requests: int, changes: int, seconds: float, refusals: Iterable[str]) -> None:
        self.batches += 1
        self.requests += requests
        self.changes += changes
        self.seconds += seconds
        self.refusals.update(refusals)
