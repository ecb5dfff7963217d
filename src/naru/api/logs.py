"""`/v2.0/log/…`: logs, and which types of resources can have them."""

from functools import partial

from starlette.responses import Response

from naru.api.backend import Backend
from naru.api.collections import Collection, page_response
from naru.api.http import Call, Route
from naru.model.logs import LoggableResource, LogResource
from naru.service.logs import create_log, delete_log, list_loggable, update_log
from naru.store.read import list_computed, parse_query

LOGS = Collection(LogResource, create_log, update_log, delete_log, path="log/logs")


def log_routes(backend: Backend) -> list[Route]:
    return [Route("GET", "/v2.0/log/loggable-resources", partial(_list_loggable, backend))]


async def _list_loggable(backend: Backend, call: Call) -> Response:
    kind, admin = LoggableResource, call.caller.reads_all
    query = parse_query(kind, call.query, admin=admin, max_limit=backend.pagination_max_limit)
    return page_response(call, kind, query, list_computed(list_loggable(call.caller), kind, query, admin=admin))
