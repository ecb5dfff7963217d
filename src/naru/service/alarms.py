"""When a pool runs out of addresses, or soon will, that is said once; and again only after it had come back."""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from naru.model.alarms import CapacityAlarm
from naru.model.network_pools import NetworkPool
from naru.model.resources import Changes, Network, attributes, new_id, put, remove
from naru.model.usage import NetworkIpForecast
from naru.model.view import View
from naru.service.forecasts import Subject, everything, subjects_of

_SHOWN = {wire: item for wire, item in attributes(NetworkIpForecast).items() if not item.attribute.is_hidden}
_BACK = 1.25  # so many times the limit, and a twentieth of all addresses more, is back: what wavers at the limit is told once


class Limits(NamedTuple):
    """`floor`: of the usable addresses the share that is to be free. `horizon_days`: how long they are to last (P50)."""

    floor: float
    horizon_days: int


def watched_subjects(view: View, of: str, now: datetime) -> list[Subject]:
    """Those of `operator_pools`, of all `pools`, or `all` networks as well."""
    return subjects_of(view, (one for one in everything(view) if of == "all" or _is_watched(one, of)), now)


def _is_watched(one: NetworkPool | Network, of: str) -> bool:
    return isinstance(one, NetworkPool) and (of == "pools" or one.of_operator)


def watch_capacity(view: View, forecasts: Sequence[NetworkIpForecast], limits: Limits) -> Changes[None]:
    """Raise alarms for what has crossed a limit, and withdraw those for what has come back or is watched no longer."""
    crossings = {f"{row.id}:{crossed}": state for row in forecasts for crossed, state in _states(row, limits)}
    for id, is_crossed in crossings.items():
        alarm = view.get(CapacityAlarm, id)
        if is_crossed and alarm is None:
            subject_id, _, crossed = id.partition(":")
            yield put(CapacityAlarm(id=id, subject_id=subject_id, crossed=crossed, delivery=new_id()))
        elif is_crossed is False and alarm is not None:
            yield remove(alarm)
    watched = {row.id for row in forecasts}
    for alarm in [alarm for alarm in view.all(CapacityAlarm) if alarm.subject_id not in watched]:
        yield remove(alarm)


def alarms_to_tell(view: View) -> list[CapacityAlarm]:
    return [alarm for alarm in view.all(CapacityAlarm) if not alarm.is_told]


def notice(alarm: CapacityAlarm, forecasts: Sequence[NetworkIpForecast]) -> bytes:
    """What is sent, as JSON: what was crossed, and what is known of it now."""
    rows = (row for row in forecasts if row.id == alarm.subject_id)
    shown = [{wire: getattr(row, item.field) for wire, item in _SHOWN.items()} for row in rows]
    told = {"event": f"{alarm.crossed}_crossed", "delivery": alarm.delivery, "at": alarm.created_at}
    return msgspec.json.encode(told | {"network_ip_forecast": shown[0] if shown else {"id": alarm.subject_id}})


def record_told(view: View, delivery: str) -> Changes[None]:
    for alarm in [alarm for alarm in view.all(CapacityAlarm) if alarm.delivery == delivery]:
        yield put(replace(alarm, is_told=True))


def _states(row: NetworkIpForecast, limits: Limits) -> Iterator[tuple[str, bool | None]]:
    """What it is that may be crossed -> whether it is; None: neither, or not known, and all stays as it is."""
    if row.status in ("no_addresses", "boundless"):
        return
    least = max(row.floor, limits.floor * row.usable)
    yield "floor", _is_crossed(row.free, least, least * _BACK + row.usable / 20)
    if row.days_to_exhaustion is not None:
        days = math.inf if row.days_to_exhaustion.p50 is None else row.days_to_exhaustion.p50
        yield "horizon", _is_crossed(days, limits.horizon_days, limits.horizon_days * _BACK)


def _is_crossed(value: float, limit: float, back: float) -> bool | None:
    return True if value <= limit else False if value >= back else None
