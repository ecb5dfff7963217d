"""Who asks: from a request's token to a caller."""

from collections.abc import Sequence
from datetime import datetime

from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from naru.api.backend import Backend
from naru.api.http import Call, Route
from naru.model.errors import Forbidden, Unauthenticated
from naru.model.identity import ApplicationCredential, Caller, Domain, Overrides, Project, Role, Token, User
from naru.model.resources import Change
from naru.service import identity
from naru.service.policy import require_writer

DEMO_PROJECT_HEADER = "x-project-id"


def anyone(request: Request) -> Caller:
    """auth = "none", on loopback only: an administrator of the project that the request names, or of `admin`."""
    return Caller("admin", request.headers.get(DEMO_PROJECT_HEADER, "admin"), frozenset({"admin", "member", "reader"}))


def for_writers(route: Route) -> Route:
    """The one place that keeps readers from changing anything, but for what a rule of the operator's is about."""
    if route.method == "GET" or route.is_public:
        return route

    async def endpoint(call: Call) -> Response:
        if not call.caller.is_ruled(route.rule):
            require_writer(call.caller, f"{route.method} {call.request.scope['path']}")
        return await route.endpoint(call)

    return route._replace(endpoint=endpoint)


def under_rules(route: Route, overrides: Overrides) -> Route:
    """The same for callers of whom the operator's rules hold; `context_is_admin` says who is an administrator."""

    async def endpoint(call: Call) -> Response:
        caller = replace(call.caller, overrides=overrides)
        is_admin = caller.may("context_is_admin", caller.is_admin)
        if is_admin != caller.is_admin:
            caller = replace(caller, roles=caller.roles | {"admin"} if is_admin else caller.roles - {"admin"})
        call.caller = caller
        return await route.endpoint(call)

    return route if route.is_public else route._replace(endpoint=endpoint)


def admit(caller: Caller, path: str) -> Caller:
    """Only identity is there for who has no project. Raises Unauthenticated without any scope, Forbidden for a wider one."""
    if not caller.project_id and not path.startswith("/identity/"):
        if caller.scope:
            raise Forbidden(f"The token is for {caller.scope}, not for a project: what is here belongs to projects.")
        raise Unauthenticated("The token is not scoped to a project: ask for one with a scope.")
    return caller


_STOOD_FOR = frozenset({User, Project, Domain, Role, ApplicationCredential})


class ByToken:
    """auth = "builtin": the caller whom the token in X-Auth-Token stands for; a service may show its own in X-Service-Token besides.

    What a token was found to mean is remembered until the store changes it: a check costs a digest and a look into a dict.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._known: dict[str, tuple[Caller, datetime]] = {}  # by token id; until when

    def __call__(self, request: Request) -> Caller:
        headers, path = request.headers, request.scope["path"]
        caller = admit(self._caller(headers.get("x-auth-token")), path)
        if "x-service-token" in headers:
            service = self._caller(headers["x-service-token"])
            caller = replace(caller, by_service=not service.roles.isdisjoint(("service", "admin")))
        return caller

    def _caller(self, secret: str | None) -> Caller:
        if not secret:
            raise Unauthenticated(identity.WRONG)
        id = identity.token_id(secret)
        known = self._known.get(id) or self._look_up(id)
        if known is None or known[1] <= self._backend.now():
            raise Unauthenticated(identity.WRONG)
        return known[0]

    def on_changes(self, changes: Sequence[Change]) -> None:
        """Forget what was known of tokens that went, and of all when what they stand for changed."""
        for change in changes:
            kind = type(change.resource)
            if kind is Token:
                self._known.pop(change.resource.id, None)
            elif kind in _STOOD_FOR:
                self._known.clear()

    def _look_up(self, id: str) -> tuple[Caller, datetime] | None:
        token = self._backend.view.get(Token, id)
        caller = identity.caller_of(self._backend.view, token) if token is not None else None
        if token is None or caller is None:
            return None
        self._known[id] = known = caller, datetime.fromisoformat(token.expires_at)
        return known
