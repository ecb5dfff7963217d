"""A small Keystone v3: its versions, and tokens for whoever proves to be himself.

https://docs.openstack.org/api-ref/identity/v3/
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import msgspec
from starlette.responses import Response

from naru.api.accounts import account_routes
from naru.api.assignments import assignment_routes
from naru.api.backend import Backend
from naru.api.catalog import Row, catalog
from naru.api.credentials import credential_routes
from naru.api.http import Call, Endpoint, Route, json_response, no_content
from naru.api.identity_rows import domain_ref, links, role_refs
from naru.api.passwords import fits
from naru.model.auth_request import ApplicationCredentialMethod, AuthRequest, Proof, UserPassword
from naru.model.errors import Invalid, Unauthenticated
from naru.model.identity import SYSTEM, ApplicationCredential, Domain, Project, Token, User
from naru.service import identity
from naru.service.credentials import find_credential
from naru.service.identity import Grant

_METHODS = ("password", "token", "application_credential")


def identity_routes(backend: Backend) -> list[Route]:
    bind: Callable[[Callable[..., Any]], Endpoint] = lambda endpoint: partial(endpoint, backend)  # noqa: E731
    return [
        Route("GET", "/identity", _show_versions, is_public=True),
        Route("GET", "/identity/v3", _show_version, is_public=True),
        Route("POST", "/identity/v3/auth/tokens", bind(_issue_token), is_public=True),
        Route("GET", "/identity/v3/auth/tokens", bind(_show_token)),
        Route("DELETE", "/identity/v3/auth/tokens", bind(_revoke_token)),
        Route("GET", "/identity/v3/auth/catalog", _show_catalog),
        *account_routes(backend),
        *assignment_routes(backend),
        *credential_routes(backend),
    ]


# -- versions


def _version(call: Call) -> Row:
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": f"{call.base_url}/identity/v3/"}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }


async def _show_versions(call: Call) -> Response:
    return json_response({"versions": {"values": [_version(call)]}}, 300, {"Location": f"{call.base_url}/identity/v3/"})


async def _show_version(call: Call) -> Response:
    return json_response({"version": _version(call)})


# -- tokens


class Proved(NamedTuple):
    """Who proved to be himself, until when that holds, and what else follows from the proof."""

    user: User
    expires_at: str
    grant: Grant | None = None  # what the token is for, where the request has no say in it


async def _issue_token(backend: Backend, call: Call) -> Response:
    """401 in the same words, and after the same work, for an unknown user and a wrong password."""
    asked = _decode(await call.member("auth"))
    proved = await _identify(backend, asked.identity)
    grant = _grant(backend, asked, proved)
    plan = partial(identity.issue_token, grant=grant, methods=asked.identity.methods, now=backend.now(), expires_at=proved.expires_at)
    secret, token = await backend.store.write(plan)
    return _token_response(backend, call, token, secret, 201)


def _decode(auth: Row) -> AuthRequest:
    try:
        return msgspec.convert(auth, AuthRequest)
    except msgspec.ValidationError as error:
        raise Invalid(f"Invalid input for auth: {error}.") from None


async def _identify(backend: Backend, proof: Proof) -> Proved:
    if len(proof.methods) != 1 or proof.methods[0] not in _METHODS:
        raise Unauthenticated(
            f"Attempted to authenticate with an unsupported method: {list(proof.methods)}; there are {', '.join(_METHODS)}: one at a time."
        )
    match proof:
        case Proof(methods=("password",), password=given) if given is not None:
            proved = await _by_password(backend, given.user)
        case Proof(methods=("token",), token=given) if given is not None:
            proved = _by_token(backend, given.id)
        case Proof(methods=("application_credential",), application_credential=given) if given is not None:
            proved = await _by_credential(backend, given)
        case _:
            raise Invalid(f"Expecting to find {proof.methods[0]} in identity: it is the method that the request names.")
    if proved is None:
        raise Unauthenticated(identity.WRONG)
    return proved


async def _by_password(backend: Backend, given: UserPassword) -> Proved | None:
    user = identity.find_user(backend.view, given)
    is_right = await fits(given.password, user.password if user is not None else None)
    return Proved(user, identity.expiry(backend.now(), backend.token_lifetime_s)) if user is not None and is_right else None


def _by_token(backend: Backend, secret: str) -> Proved | None:
    """A token that is made from a token lives no longer than that, and one of an application credential stays one."""
    token = identity.find_token(backend.view, secret, backend.now())
    user = backend.view.get(User, token.user_id) if token is not None else None
    if token is None or user is None:
        return None
    fixed = Grant(user.id, token.project_id, credential_id=token.credential_id) if token.credential_id else None
    return Proved(user, token.expires_at, fixed)


async def _by_credential(backend: Backend, given: ApplicationCredentialMethod) -> Proved | None:
    credential = find_credential(backend.view, given, backend.now())
    is_right = await fits(given.secret, credential.secret if credential is not None else None)
    user = backend.view.get(User, credential.user_id) if credential is not None else None
    if credential is None or user is None or not is_right:
        return None
    until = min(identity.expiry(backend.now(), backend.token_lifetime_s), credential.expires_at or "9")
    return Proved(user, until, Grant(user.id, credential.project_id, credential_id=credential.id))


def _grant(backend: Backend, asked: AuthRequest, proved: Proved) -> Grant:
    """What the token is to be for. Raises Unauthenticated for what is not there, and for a way out of an application credential."""
    wanted = _wanted(backend, asked, proved.user)
    if proved.grant is None:
        return wanted
    is_same = asked.scope is None or (wanted.project_id, wanted.scope) == (proved.grant.project_id, "")
    if not is_same:
        raise Unauthenticated("Application credentials cannot request a scope.")
    return proved.grant


def _wanted(backend: Backend, asked: AuthRequest, user: User) -> Grant:
    view, scope = backend.view, asked.scope
    if scope is None:
        return _by_default(backend, user)
    if scope == "unscoped" or scope.unscoped is not None:
        return Grant(user.id)
    if scope.project is not None:
        project = identity.find_project(view, scope.project)
        return Grant(user.id, _known(project).id)
    if scope.domain is not None:
        return Grant(user.id, scope=_known(identity.find_domain(view, scope.domain)).id)
    if scope.system:
        return Grant(user.id, scope=SYSTEM)
    raise Invalid("Expecting to find project, domain or system in scope.")


def _known(place: Project | Domain | None) -> Project | Domain:
    if place is None:
        raise Unauthenticated(identity.WRONG)
    return place


def _by_default(backend: Backend, user: User) -> Grant:
    """The user's default project, where he has a role on it; else none."""
    project = backend.view.get(Project, user.default_project_id or "")
    is_usable = identity.is_enabled(backend.view, project) and project is not None and bool(user.roles.get(project.id))
    return Grant(user.id, project.id if is_usable and project is not None else "")


async def _show_token(backend: Backend, call: Call) -> Response:
    secret = _subject(call)
    token = identity.fetch_token(backend.view, call.caller, secret, backend.now())
    return _token_response(backend, call, token, secret, 200)


async def _revoke_token(backend: Backend, call: Call) -> Response:
    secret = _subject(call)
    await backend.store.write(lambda view: identity.revoke_token(view, call.caller, secret, backend.now()))
    return no_content()


def _subject(call: Call) -> str:
    secret = call.request.headers.get("x-subject-token")
    if not secret:
        raise Invalid("The header X-Subject-Token names the token to look at; it is missing.")
    return secret


def _token_response(backend: Backend, call: Call, token: Token, secret: str, status: int) -> Response:
    view = backend.view
    user, caller = view.get(User, token.user_id), identity.caller_of(view, token)
    if user is None or caller is None:
        raise Unauthenticated(identity.WRONG)
    body: Row = {
        "methods": token.methods,
        "user": {"id": user.id, "name": user.name, "domain": domain_ref(view, user.domain_id), "password_expires_at": None},
        "audit_ids": [token.audit_id],
        "issued_at": token.issued_at,
        "expires_at": token.expires_at,
    }
    project = view.get(Project, token.project_id)
    if project is not None:
        body["project"] = {"id": project.id, "name": project.name, "domain": domain_ref(view, project.domain_id)}
        body["is_domain"] = False
    elif token.scope == SYSTEM:
        body["system"] = {"all": True}
    elif token.scope:
        body["domain"] = domain_ref(view, token.scope)
    if caller.roles:
        body["roles"] = role_refs(view, caller.roles)
        if "nocatalog" not in dict(call.query):
            body["catalog"] = catalog(call)
    credential = view.get(ApplicationCredential, token.credential_id)
    if credential is not None:
        body["application_credential"] = {"id": credential.id, "name": credential.name, "restricted": not credential.unrestricted}
    return json_response({"token": body}, status, {"X-Subject-Token": secret, "Vary": "X-Auth-Token"})


async def _show_catalog(call: Call) -> Response:
    return json_response({"catalog": catalog(call), "links": links(call)})
