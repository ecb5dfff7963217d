"""The ASGI application: find the route, authenticate, run the endpoint, turn refusals into responses."""

import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from naru.api.http import Call, Dispatch, Matched, refusal_at
from naru.model.errors import NaruError, NotFound, Unauthenticated
from naru.model.identity import Caller
from naru.telemetry import Answered

_log = structlog.get_logger("naru.api")

Authenticate = Callable[[Request], Caller | Awaitable[Caller]]  # at once where it can; raises Unauthenticated, Forbidden, Unavailable


class App:
    def __init__(
        self,
        dispatch: Dispatch,
        authenticate: Authenticate,
        max_body_bytes: int,
        identity_url: str = "/identity/v3",
        answered: Answered | None = None,
    ) -> None:
        """`identity_url` is where those who are not let in may get a token; `answered` counts the requests."""
        self._dispatch = dispatch
        self._authenticate = authenticate
        self._max_body_bytes = max_body_bytes
        self._answered = answered or Answered()
        self._challenge = f'Keystone uri="{identity_url}"'

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        response = await self._respond(request)
        response.headers["X-Openstack-Request-Id"] = _request_id(scope)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        matched = self._dispatch.match(request.method, request.scope["path"])
        began = time.perf_counter()
        response = await self._answer(request, matched)
        self._answered.add(request.method, matched.route.pattern if matched else "", response.status_code, time.perf_counter() - began)
        return response

    async def _answer(self, request: Request, matched: Matched | None) -> Response:
        """The boundary of a request: every error becomes a response here, and only surprises are logged."""
        path = request.scope["path"]
        if matched is None:
            return refusal_at(path)(NotFound(f"The resource could not be found: {request.method} {path}."))
        try:
            caller = None if matched.route.is_public else self._authenticate(request)
            if caller is not None and not isinstance(caller, Caller):
                caller = await caller
            return await matched.route.endpoint(Call(request, caller, matched.ids, self._max_body_bytes))
        except NaruError as error:
            response = matched.refuse(error)
            if isinstance(error, Unauthenticated):
                response.headers["WWW-Authenticate"] = self._challenge
            return response
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception:  # noqa: BLE001  (the boundary of a request)
            _log.exception("request failed", id=_request_id(request.scope), method=request.method, path=path)
            return matched.refuse(NaruError("Request Failed: internal server error while processing your request."))


def _request_id(scope: Any) -> str:
    """One id per request: in the response, in the log."""
    state = scope.setdefault("state", {})
    return state.setdefault("request_id", f"req-{secrets.token_hex(16)}")  # type: ignore[no-any-return]
