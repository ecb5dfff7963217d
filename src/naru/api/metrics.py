"""`GET /metrics`: what a Prometheus server collects. docs/reference/metrics.md names the metrics.

Sums are of this process since its start; what is about addresses is made when it is asked for.
"""

import asyncio
import hmac
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from starlette.responses import Response

from naru.api.backend import Backend
from naru.api.http import Call, Route
from naru.model.alarms import CapacityAlarm
from naru.model.errors import Unauthenticated
from naru.model.picks import NetworkPick
from naru.model.resources import Change
from naru.model.usage import NetworkIpForecast
from naru.service.forecasts import Subject, everything, forecast, subjects_of
from naru.telemetry import Answered, WriterSums

_STATES = ("usable", "allocated", "held", "quarantined", "free")
_NO_ROOM = ("NetworkPickRefused", "NoFreeAddress")  # of a pick, and of an instance that names no network
_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class PickOutcomes:
    """A listener for the store: how many picks came to be of which status."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def on_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            before, after = change.before, change.after
            if isinstance(after, NetworkPick) and (not isinstance(before, NetworkPick) or before.status != after.status):
                self.counts[after.status] += 1


def metrics_routes(backend: Backend, secret: str, answered: Answered, picks: PickOutcomes) -> list[Route]:
    async def show(call: Call) -> Response:
        shown = call.request.headers.get("authorization", "")
        if not hmac.compare_digest(shown.encode(), f"Bearer {secret}".encode()):
            raise Unauthenticated("Show the token of the file metrics-token in the state directory with `Authorization: Bearer …`.")
        sums = backend.store.sums
        outcomes = picks.counts + Counter(refused=sum(sums.refusals[type] for type in _NO_ROOM))
        alarms = Counter(alarm.crossed for alarm in backend.view.all(CapacityAlarm))
        now_known = [*_requests(answered), *_writer(sums), *_picks(outcomes), *_alarms(alarms)]
        subjects = subjects_of(backend.view, everything(backend.view), backend.now())
        page = await asyncio.to_thread(lambda: _page([*now_known, *_capacity(subjects)]))
        return Response(page, media_type=_MEDIA_TYPE)

    return [Route("GET", "/metrics", show, is_public=True)]


class _Page(CollectorRegistry):
    """A registry for one answer: nothing is kept between two."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        super().__init__()
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _page(metrics: Sequence[Metric]) -> bytes:
    return generate_latest(_Page(metrics))


def _requests(answered: Answered) -> Iterator[Metric]:
    requests = CounterMetricFamily("naru_http_requests", "Requests answered.", labels=("method", "route", "status"))
    for (method, route, status), count in answered.counts.items():
        requests.add_metric((method, route, str(status)), count)
    seconds = SummaryMetricFamily(
        "naru_http_request_seconds", "How long they took, until the answer was ready.", labels=("method", "route")
    )
    for (method, route), sum_s in answered.seconds.items():
        count = sum(count for key, count in answered.counts.items() if key[:2] == (method, route))
        seconds.add_metric((method, route), count, sum_s)
    yield from (requests, seconds)


def _writer(sums: WriterSums) -> Iterator[Metric]:
    yield SummaryMetricFamily("naru_writer_batch_requests", "Requests in a batch.", sums.batches, sums.requests)
    yield SummaryMetricFamily("naru_writer_batch_seconds", "A batch, from planning to the commit.", sums.batches, sums.seconds)
    yield CounterMetricFamily("naru_writer_changes", "Changes of resources written.", sums.changes)
    refusals = CounterMetricFamily("naru_writer_refusals", "Requests that were refused when they were planned.", labels=("type",))
    for type, count in sums.refusals.items():
        refusals.add_metric((type,), count)
    yield refusals


def _picks(outcomes: Counter[str]) -> Iterator[Metric]:
    picks = CounterMetricFamily("naru_network_picks", "Picks by what became of them.", labels=("verdict",))
    for verdict, count in outcomes.items():
        picks.add_metric((verdict,), count)
    yield picks


def _alarms(alarms: Counter[str]) -> Iterator[Metric]:
    raised = GaugeMetricFamily(
        "naru_capacity_alarms", "Pools and networks that have crossed it, and have not come back.", labels=("crossed",)
    )
    for crossed in ("floor", "horizon"):
        raised.add_metric((crossed,), alarms[crossed])
    yield raised


def _capacity(subjects: Sequence[Subject]) -> Iterator[Metric]:
    for of in ("network", "network_pool"):
        rows = [subject for subject in subjects if subject.of.singular == of]
        labels = ("id", "name")
        addresses = GaugeMetricFamily(
            f"naru_{of}_addresses", "Addresses for instances; usable is the sum of the others.", labels=(*labels, "state")
        )
        floors = GaugeMetricFamily(f"naru_{of}_floor_addresses", "Free addresses that picks leave untouched.", labels=labels)
        days = GaugeMetricFamily(f"naru_{of}_days_to_exhaustion", "Days until the last one is taken.", labels=(*labels, "quantile"))
        for subject in rows:
            named = (subject.of.id, subject.of.name)
            for state in _STATES:
                addresses.add_metric((*named, state), getattr(subject.counts, state))
            floors.add_metric(named, subject.floor)
            for quantile, value in _quantiles(forecast(subject)):
                days.add_metric((*named, quantile), value)
        yield from (addresses, floors, days)


def _quantiles(row: NetworkIpForecast) -> Iterator[tuple[str, float]]:
    """None where there is no forecast; +Inf for what is further than it looks."""
    found = row.days_to_exhaustion
    if found is not None:
        for quantile, days in (("0.1", found.p10), ("0.5", found.p50), ("0.9", found.p90)):
            yield quantile, math.inf if days is None else days
