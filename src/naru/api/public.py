"""What anyone may ask of the server itself: whether it is well, and how its API is described."""

import asyncio
from collections.abc import Sequence

from starlette.responses import Response

from naru.api.backend import Backend
from naru.api.http import Call, Route, json_response
from naru.model.errors import Unavailable

_PATIENCE_S = 2.0


def public_routes(backend: Backend, described: Sequence[Route]) -> list[Route]:
    """`described` are the routes that /openapi.json tells of. It is written when it is asked for first."""
    written: list[bytes] = []

    async def show_health(call: Call) -> Response:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await backend.store.confirm()
        except TimeoutError:
            raise Unavailable(f"The database has not answered for {_PATIENCE_S:g} s.") from None
        return json_response({"status": "ok"})

    async def show_openapi(call: Call) -> Response:
        if not written:
            from naru.api.openapi import openapi_document  # noqa: PLC0415  (a server that nobody asks does without)

            written.append(openapi_document(described))
        return json_response(written[0])

    return [
        Route("GET", "/healthz", show_health, is_public=True),
        Route("GET", "/openapi", show_openapi, is_public=True),  # with .json, as every path
    ]
