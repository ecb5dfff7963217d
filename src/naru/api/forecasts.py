"""When addresses run out: `GET /v2.0/network-ip-forecasts`, of networks and of pools."""

import asyncio
from functools import partial

from starlette.responses import Response

from naru.api.backend import Backend
from naru.api.collections import page_response
from naru.api.http import Call, Route, json_response
from naru.model.resources import attributes
from naru.model.usage import NetworkIpForecast
from naru.service.forecasts import find_subject, forecast, list_subjects
from naru.store.read import list_computed, parse_query, project

_PATH = "/v2.0/network-ip-forecasts"


def forecast_routes(backend: Backend) -> list[Route]:
    return [Route("GET", _PATH, partial(_list, backend)), Route("GET", f"{_PATH}/{{id}}", partial(_show, backend))]


async def _list(backend: Backend, call: Call) -> Response:
    kind, admin = NetworkIpForecast, call.caller.reads_all
    query = parse_query(kind, call.query, admin=admin, max_limit=backend.pagination_max_limit)
    subjects = list_subjects(backend.view, call.caller, backend.now())
    rows = await asyncio.to_thread(lambda: [forecast(subject) for subject in subjects])  # others are answered meanwhile
    return page_response(call, kind, query, list_computed(rows, kind, query, admin=admin))


async def _show(backend: Backend, call: Call) -> Response:
    row = await asyncio.to_thread(forecast, find_subject(backend.view, call.caller, call.id, backend.now()))
    fields = call.values("fields") or tuple(attributes(NetworkIpForecast))
    return json_response({row.singular: project(row, fields, admin=call.caller.reads_all)})
