"""Who asks: from a request's token to a caller."""

from starlette.requests import Request

from naru.api.app import Authenticate
from naru.api.backend import Backend
from naru.model.errors import Unauthenticated
from naru.model.identity import Caller

DEMO_PROJECT_HEADER = "x-project-id"


def anyone(request: Request) -> Caller:
    """auth = "none", on loopback only: an administrator of the project that the request names, or of `admin`."""
    return Caller("admin", request.headers.get(DEMO_PROJECT_HEADER, "admin"), frozenset({"admin", "member", "reader"}))


def by_token(backend: Backend) -> Authenticate:
    """auth = "builtin": the token in X-Auth-Token, checked against the store."""

    def authenticate(request: Request) -> Caller:
        token = request.headers.get("x-auth-token")
        if not token:
            raise Unauthenticated("The request you have made requires authentication.")
        raise NotImplementedError

    return authenticate
