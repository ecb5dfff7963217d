"""Every refusal that a client can see, in one tree.

    NaruError
    |- Invalid              400  HTTPBadRequest, or the type that Neutron has for the case
    |- Unauthenticated      401
    |- Forbidden            403  PolicyNotAuthorized
    |- NotFound             404  <Resource>NotFound
    |- MethodNotAllowed     405
    |- NotAcceptable        406  a microversion that is not offered
    |- Conflict             409  in use, exhausted, over quota: the type that Neutron has for the case
    |  `- NetworkPickRefused     no network has room: its body has the candidates, and what would help
    |- StaleRevision        412  RevisionNumberConstraintFailed
    |- TooLarge             413
    `- Unavailable          503

`type` is Neutron's exception name, because clients map on it (python-neutronclient, Nova). The message says
what, which id, why, and what would help. `api/http.py` alone turns an error into a response.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec


class NaruError(Exception):
    """A refusal. `type` is Neutron's name for it, `status` the HTTP status."""

    status: ClassVar[int] = 500
    type: str = "InternalServerError"
    detail: str = ""
    beside: Mapping[str, Any] = {}  # what the body of the network API has beside "NeutronError"

    def __init__(self, message: str, type: str | None = None) -> None:
        super().__init__(message)
        if type is not None:
            self.type = type


class Invalid(NaruError):
    status = 400
    type = "HTTPBadRequest"


class Unauthenticated(NaruError):
    status = 401
    type = "HTTPUnauthorized"


class Forbidden(NaruError):
    status = 403
    type = "PolicyNotAuthorized"


class NotFound(NaruError):
    status = 404
    type = "HTTPNotFound"


class MethodNotAllowed(NaruError):
    status = 405
    type = "HTTPMethodNotAllowed"


class NotAcceptable(NaruError):
    status = 406
    type = "HTTPNotAcceptable"


class Conflict(NaruError):
    status = 409
    type = "Conflict"


class NetworkPickRefused(Conflict):
    """`network_pick` has the verdict on every candidate, and the fixes: as a member of the body, and as JSON text in `detail`."""

    type = "NetworkPickRefused"

    def __init__(self, message: str, network_pick: Mapping[str, Any], type: str | None = None) -> None:
        super().__init__(message, type)
        self.detail = msgspec.json.encode(network_pick).decode()
        self.beside = {"network_pick": network_pick}


class StaleRevision(NaruError):
    status = 412
    type = "RevisionNumberConstraintFailed"


class TooLarge(NaruError):
    status = 413
    type = "RequestTooLarge"


class Unavailable(NaruError):
    status = 503
    type = "ServiceUnavailable"


def not_found(kind: str, id: str) -> NotFound:
    """Neutron's words: `Network <id> could not be found.`, type `NetworkNotFound`."""
    return NotFound(f"{kind} {id} could not be found.", f"{kind}NotFound")


def invalid_value(attribute: str, reason: str, type: str = "HTTPBadRequest") -> Invalid:
    return Invalid(f"Invalid input for {attribute}. Reason: {reason}.", type)
