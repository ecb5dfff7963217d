"""The edge: requests in, responses out, errors in the shape that each service's clients expect.

A route is a row of a table: method, pattern, endpoint. Patterns are literal segments and `{name}`; matching walks a dict per
segment, so its cost does not depend on the number of routes.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from naru.model.errors import Invalid, MethodNotAllowed, NaruError, TooLarge, Unauthenticated
from naru.model.identity import Caller

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Call:
    """One request as an endpoint sees it: who asks, and the values of the `{name}` segments in order."""

    __slots__ = ("caller", "ids", "max_body_bytes", "request")

    def __init__(self, request: Request, caller: Caller | None, ids: tuple[str, ...], max_body_bytes: int) -> None:
        self.request = request
        self._set_caller(caller)
        self.ids = ids
        self.max_body_bytes = max_body_bytes

    def _set_caller(self, caller: Caller | None) -> None:
        self.caller: Caller = caller if caller is not None else Caller("", "")

    @property
    def id(self) -> str:
        return self.ids[0]

    @property
    def query(self) -> list[tuple[str, str]]:
        return self.request.query_params.multi_items()

    def values(self, key: str) -> tuple[str, ...]:
        """Of a key of the query string, those that are not empty."""
        return tuple(value for value in self.request.query_params.getlist(key) if value)

    @property
    def base_url(self) -> str:
        """`http://host:port` as the client wrote it."""
        return f"{self.request.url.scheme}://{self.request.headers.get('host', self.request.url.netloc)}"

    async def body(self) -> bytes:
        """Raises TooLarge before more than `max_body_bytes` are read."""
        chunks: list[bytes] = []
        size = 0
        async for chunk in self.request.stream():
            size += len(chunk)
            if size > self.max_body_bytes:
                raise TooLarge(f"The body is larger than {self.max_body_bytes} bytes; send it in parts.")
            chunks.append(chunk)
        return b"".join(chunks)

    async def json(self) -> Any:
        """The body as JSON. Raises Invalid when it is none, with the place of the fault."""
        body = await self.body()
        if not body:
            raise Invalid("Resource body required")
        try:
            return _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Invalid(f"The request body is not valid JSON: {error}.") from None

    async def member(self, name: str) -> dict[str, Any]:
        """The object under `name` in a body such as {"port": {…}}. Raises Invalid when it is not there."""
        return member(await self.json(), name)


def member(document: Any, name: str) -> dict[str, Any]:
    if not isinstance(document, dict) or name not in document:
        raise Invalid(f"Unable to find '{name}' in request body")
    found = document[name]
    if not isinstance(found, dict):
        raise Invalid(f"Object '{name}' contains invalid data: it is not an object")
    return found


Endpoint = Callable[[Call], Awaitable[Response]]
Refuse = Callable[[NaruError], Response]


class Route(NamedTuple):
    method: str
    pattern: str
    endpoint: Endpoint
    is_public: bool = False  # answered without a token
    rule: str = ""  # Neutron's name of the rule by which it may be done, where the operator may override it


class Matched(NamedTuple):
    route: Route
    refuse: Refuse
    ids: tuple[str, ...]


class Dispatch:
    """Finds the route of a request."""

    def __init__(self) -> None:
        self._root: dict[str, Any] = {}

    def add(self, routes: Iterable[Route], refuse: Refuse) -> None:
        for route in routes:
            node = self._root
            for segment in _segments(route.pattern):
                node = node.setdefault("{}" if segment.startswith("{") else segment, {})
            node.setdefault("", {})[route.method] = (route, refuse)

    def match(self, method: str, path: str) -> Matched | None:
        """None: no such path. A path that has not the method matches a route that says so."""
        found = _walk(self._root, _segments(path.removesuffix(".json")), ())
        if found is None:
            return None
        methods: Mapping[str, tuple[Route, Refuse]] = found[0]
        at = methods.get(method) or (methods.get("GET") if method == "HEAD" else None)
        return Matched(*(at or _without_method(method, methods)), found[1])


def _without_method(method: str, methods: Mapping[str, tuple[Route, Refuse]]) -> tuple[Route, Refuse]:
    route, refuse = next(iter(methods.values()))
    allowed = ", ".join(sorted(methods))

    async def endpoint(call: Call) -> Response:
        response = refuse(MethodNotAllowed(f"The method {method} is not allowed for {call.request.url.path}; {allowed} would be."))
        response.headers["Allow"] = allowed
        return response

    return route._replace(method=method, endpoint=endpoint), refuse


def _segments(path: str) -> list[str]:
    return [segment for segment in path.split("/") if segment]


def _walk(node: dict[str, Any], segments: list[str], ids: tuple[str, ...]) -> tuple[dict[str, Any], tuple[str, ...]] | None:
    if not segments:
        return (node[""], ids) if "" in node else None
    head, rest = segments[0], segments[1:]
    if head in node and head != "{}" and (found := _walk(node[head], rest, ids)) is not None:
        return found
    return _walk(node["{}"], rest, (*ids, head)) if "{}" in node else None


def json_response(body: bytes | Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`body` is JSON bytes, or anything that msgspec encodes."""
    content = body if isinstance(body, bytes) else _encode(body)
    return Response(content, status, headers, media_type="application/json")


def no_content(status: int = 204) -> Response:
    return Response(status_code=status)


def network_refusal(error: NaruError) -> Response:
    """Neutron's shape; 401 has keystonemiddleware's, because it answers before Neutron does."""
    if isinstance(error, Unauthenticated):
        return identity_refusal(error)
    return json_response(
        {"NeutronError": {"type": error.type, "message": str(error), "detail": error.detail}, **error.beside}, error.status
    )


def refusal_at(path: str) -> Refuse:
    """In whose shape to refuse a path that nobody has."""
    if path.startswith(("/identity", "/image")):
        return identity_refusal
    return compute_refusal if path.startswith("/compute") else network_refusal


_COMPUTE_FAULTS = {
    400: "badRequest",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    503: "serviceUnavailable",
}


def compute_refusal(error: NaruError) -> Response:
    """https://docs.openstack.org/api-guide/compute/faults.html"""
    if isinstance(error, Unauthenticated):
        return identity_refusal(error)
    fault = _COMPUTE_FAULTS.get(error.status, "computeFault")
    return json_response({fault: {"code": error.status, "message": str(error)}}, error.status)


def identity_refusal(error: NaruError) -> Response:
    """https://docs.openstack.org/api-ref/identity/v3/#errors"""
    title = HTTPStatus(error.status).phrase
    return json_response({"error": {"code": error.status, "title": title, "message": str(error)}}, error.status)
