"""Application credentials over HTTP, below their user."""

import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from starlette.responses import Response

from naru.api.backend import Backend
from naru.api.http import Call, Endpoint, Route, no_content
from naru.api.identity_rows import credential_row, list_response, show_response
from naru.api.passwords import hash_password
from naru.model.auth_request import Ref
from naru.model.errors import Invalid
from naru.model.identity import ApplicationCredential
from naru.model.identity_requests import decode_new
from naru.service import credentials

_PATH = "/identity/v3/users/{user_id}/application_credentials"


def credential_routes(backend: Backend) -> list[Route]:
    bind: Callable[[Callable[..., Any]], Endpoint] = lambda endpoint: partial(endpoint, backend)  # noqa: E731
    return [
        Route("GET", _PATH, bind(_list)),
        Route("POST", _PATH, bind(_create)),
        Route("GET", f"{_PATH}/{{id}}", bind(_show)),
        Route("DELETE", f"{_PATH}/{{id}}", bind(_delete)),
    ]


async def _list(backend: Backend, call: Call) -> Response:
    found = credentials.credentials_of(backend.view, call.caller, call.id)
    path = f"users/{call.id}/application_credentials"
    return list_response("application_credentials", (credential_row(backend.view, credential) for credential in found), call, path)


async def _create(backend: Backend, call: Call) -> Response:
    """The answer is the only one that holds the secret."""
    credentials.require_maker(call.caller, call.id, "create_application_credential")  # before a secret is hashed
    body = await call.member("application_credential")
    if body.get("access_rules"):
        raise Invalid("Invalid input for field 'access_rules': no rule is enforced here, so none can be given")
    roles = _roles(body.get("roles"))
    given = decode_new(ApplicationCredential, {key: value for key, value in body.items() if key not in ("roles", "access_rules")})
    secret = given.get("secret") or secrets.token_hex(32)  # never begins with the hyphen of an option
    given["secret"] = await hash_password(secret)
    made = await backend.store.write(lambda view: credentials.create_credential(view, call.caller, call.id, given, roles, backend.now()))
    return show_response("application_credential", credential_row(backend.view, made) | {"secret": secret}, call, 201)


def _roles(given: Any) -> list[Ref] | None:
    try:
        return msgspec.convert(given, list[Ref] | None) or None
    except msgspec.ValidationError as error:
        raise Invalid(f"Invalid input for field 'roles': {error}") from None


async def _show(backend: Backend, call: Call) -> Response:
    found = credentials.fetch_credential(backend.view, call.caller, *call.ids)
    return show_response("application_credential", credential_row(backend.view, found), call)


async def _delete(backend: Backend, call: Call) -> Response:
    await backend.store.write(lambda view: credentials.delete_credential(view, call.caller, *call.ids))
    return no_content()
