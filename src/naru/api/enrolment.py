"""How hosts are enrolled: by whoever holds the server's agent token, and the host itself with a one-time token."""

import hmac
import re
import secrets
from functools import partial

import msgspec
from starlette.responses import Response

from naru.api.agents import HostDoor, bearer, read_body
from naru.api.http import Call, Route, json_response, no_content
from naru.model.enrolment import HostCredential
from naru.model.errors import Invalid, Unauthenticated
from naru.model.hoststate import ONCE
from naru.service.enrolment import digest, enrol_host, invite_host, revoke_host


class Choice(msgspec.Struct, frozen=True):
    credential_sha256: str


def enrolment_routes(door: HostDoor) -> list[Route]:
    path = "/agent/v1/hosts/{host}"
    return [
        Route("GET", "/agent/v1/hosts", partial(_list, door), is_public=True),
        Route("POST", f"{path}/invitation", partial(_invite, door), is_public=True),
        Route("PUT", f"{path}/credential", partial(_enrol, door), is_public=True),
        Route("DELETE", f"{path}/credential", partial(_revoke, door), is_public=True),
    ]


async def _list(door: HostDoor, call: Call) -> Response:
    _require_operator(door, call)
    hosts = sorted(door.backend.view.all(HostCredential), key=lambda each: each.host)
    return json_response({"hosts": [{"host": each.host, "state": _state(each), "until": each.ticket_expires_at} for each in hosts]})


def _state(kept: HostCredential) -> str:
    if kept.credential:
        return "enrolled"
    return "invited" if kept.ticket else "revoked"


async def _invite(door: HostDoor, call: Call) -> Response:
    _require_operator(door, call)
    if not re.fullmatch(r"[\w.-]{1,255}", call.id, re.ASCII):
        raise Invalid(f"'{call.id}' is not a host's name: it has letters, digits, dots and hyphens")
    token = ONCE + secrets.token_urlsafe(32)
    invited = await door.backend.store.write(lambda view: invite_host(view, call.id, digest(token), door.backend.now()))
    return json_response({"token": token, "expires_at": invited.ticket_expires_at}, 201)


async def _enrol(door: HostDoor, call: Call) -> Response:
    chosen = (await read_body(call, Choice)).credential_sha256
    if not re.fullmatch(r"[0-9a-f]{64}", chosen):
        raise Invalid("credential_sha256 is 64 hexadecimal digits in small letters")
    shown = digest(bearer(call))
    await door.backend.store.write(lambda view: enrol_host(view, call.id, shown, chosen, door.backend.now()))
    door.publisher.hang_up(call.id)  # whoever spoke for the host before has to show that he still may
    return no_content()


async def _revoke(door: HostDoor, call: Call) -> Response:
    _require_operator(door, call)
    await door.backend.store.write(lambda view: revoke_host(view, call.id))
    door.publisher.hang_up(call.id)
    return no_content()


def _require_operator(door: HostDoor, call: Call) -> None:
    if not hmac.compare_digest(bearer(call).encode(), door.secret.encode()):
        raise Unauthenticated("This door is for who runs the server: show the agent token of its state directory.")
