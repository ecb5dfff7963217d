"""What hosts talk to: `/agent/v1/hosts/{host}`; the contract is naru.model.hoststate."""

from functools import partial
from typing import TypeVar

import msgspec
from starlette.responses import Response, StreamingResponse

from naru.api.backend import Backend
from naru.api.http import Call, Route, json_response
from naru.feed.publish import Publisher
from naru.model.errors import Invalid, Unauthenticated, not_found
from naru.model.hostreport import HostDescription, HostReport, Receipt
from naru.service.binding import agent_of
from naru.service.enrolment import is_host
from naru.service.hosts import record_report, register_host

T = TypeVar("T")


class HostDoor(msgspec.Struct, frozen=True):
    """What the host endpoints need: the feed, and the secret that agents of hosts without a credential of their own show."""

    backend: Backend
    publisher: Publisher
    secret: str


def agent_routes(door: HostDoor) -> list[Route]:
    path = "/agent/v1/hosts/{host}"
    return [
        Route("PUT", path, partial(_register, door), is_public=True),
        Route("POST", f"{path}/report", partial(_report, door), is_public=True),
        Route("GET", f"{path}/state", partial(_watch, door), is_public=True),
    ]


async def _register(door: HostDoor, call: Call) -> Response:
    _require_host(door, call)
    description = await read_body(call, HostDescription)
    agent = await door.backend.store.write(lambda view: register_host(view, call.id, description, door.backend.now(), door.backend.cloud))
    return json_response({"id": agent.id})


async def _report(door: HostDoor, call: Call) -> Response:
    _require_host(door, call)
    report = await read_body(call, HostReport)
    await door.backend.store.write(lambda view: record_report(view, call.id, report, door.backend.now(), door.backend.cloud))
    return json_response(Receipt(door.publisher.is_current(call.id, report.revision)))


async def _watch(door: HostDoor, call: Call) -> Response:
    """200 and NDJSON; 404 for a host that has not registered; 410 when `since` is too old to go on from."""
    _require_host(door, call)
    if agent_of(door.backend.view, call.id) is None:
        raise not_found("Agent", call.id)
    since = call.request.query_params.get("since")
    if since is None:
        return StreamingResponse(door.publisher.watch(call.id, None), media_type="application/x-ndjson")
    if not since.isdecimal():
        raise Invalid(f"since '{since}' is not a revision")
    if not door.publisher.is_current(call.id, int(since)):
        return json_response({"error": f"revision {since} is not current; list again"}, 410)
    return StreamingResponse(door.publisher.watch(call.id, int(since)), media_type="application/x-ndjson")


async def read_body(call: Call, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(await call.body(), type=kind)
    except msgspec.DecodeError as error:
        raise Invalid(f"not a {kind.__name__}: {error}") from None


def bearer(call: Call) -> str:
    """The secret that is shown; "" for none."""
    scheme, _, secret = call.request.headers.get("authorization", "").partition(" ")
    return secret if scheme == "Bearer" else ""


def _require_host(door: HostDoor, call: Call) -> None:
    if not is_host(door.backend.view, call.id, bearer(call), door.secret):
        raise Unauthenticated(
            f"This door is for host {call.id}: show its credential, or the agent token while it has none, with `Authorization: Bearer …`."
        )
