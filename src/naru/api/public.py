"""What anyone may ask of the server itself: how its API is described."""

from collections.abc import Sequence

from starlette.responses import Response

from naru.api.http import Call, Route, json_response


def public_routes(described: Sequence[Route]) -> list[Route]:
    """`described` are the routes that /openapi.json tells of. It is written when it is asked for first."""
    written: list[bytes] = []

    async def show_openapi(call: Call) -> Response:
        if not written:
            from naru.api.openapi import openapi_document  # noqa: PLC0415  (a server that nobody asks does without)

            written.append(openapi_document(described))
        return json_response(written[0])

    return [Route("GET", "/openapi", show_openapi, is_public=True)]  # with .json, as every path
