"""A small Keystone v3: tokens for passwords, the catalog, and what clients look up by id or name.

https://docs.openstack.org/api-ref/identity/v3/
"""

import asyncio
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import msgspec
from starlette.responses import Response

from naru.api.backend import Backend
from naru.api.http import Call, Endpoint, Route, json_response, no_content
from naru.model.errors import Invalid, Unauthenticated, not_found
from naru.model.identity import DOMAIN_ID, DOMAIN_NAME, ROLES, AuthRequest, Project, Proof, Token, User, UserPassword
from naru.service import identity

REGION = "RegionOne"
_INTERFACES = ("public", "internal", "admin")
_HASHING = ThreadPoolExecutor(2, "naru-scrypt")  # so many password checks at a time: each takes 16 MiB and a core

Row = dict[str, Any]


class Service(NamedTuple):
    """A row of the catalog: what clients call the service, and where it is on this server."""

    type: str
    name: str
    path: str

    @property
    def id(self) -> str:
        return uuid.uuid5(uuid.NAMESPACE_URL, f"naru:{self.type}").hex


SERVICES = (
    Service("identity", "keystone", "/identity"),
    Service("network", "neutron", ""),
    Service("compute", "nova", "/compute/v2.1"),
    Service("image", "glance", "/image"),
)


def identity_routes(backend: Backend) -> list[Route]:
    bind: Callable[[Callable[..., Any]], Endpoint] = lambda endpoint: partial(endpoint, backend)  # noqa: E731
    routes = [
        Route("GET", "/identity", _show_versions, is_public=True),
        Route("GET", "/identity/v3", _show_version, is_public=True),
        Route("POST", "/identity/v3/auth/tokens", bind(_issue_token), is_public=True),
        Route("GET", "/identity/v3/auth/tokens", bind(_show_token)),
        Route("DELETE", "/identity/v3/auth/tokens", bind(_revoke_token)),
        Route("GET", "/identity/v3/auth/catalog", _show_catalog),
        Route("GET", "/identity/v3/auth/projects", bind(_list_my_projects)),
        Route("GET", "/identity/v3/auth/domains", partial(_list, _LISTINGS["domains"], backend)),
        Route("GET", "/identity/v3/users/{id}/projects", bind(_list_user_projects)),
    ]
    for path, listing in _LISTINGS.items():
        routes.append(Route("GET", f"/identity/v3/{path}", partial(_list, listing, backend)))
        routes.append(Route("GET", f"/identity/v3/{path}/{{id}}", partial(_show, listing, backend)))
    return routes


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


async def _issue_token(backend: Backend, call: Call) -> Response:
    """401 in the same words, and after the same work, for an unknown user and a wrong password."""
    asked = _decode(await call.member("auth"))
    user, expires_at = await _identify(backend, asked.identity)
    project_id = _scope(backend, asked)
    plan = partial(
        identity.issue_token,
        user_id=user.id,
        project_id=project_id,
        methods=asked.identity.methods,
        now=backend.now(),
        expires_at=expires_at,
    )
    secret, token = await backend.store.write(plan)
    return _token_response(backend, call, token, secret, 201)


def _decode(auth: Row) -> AuthRequest:
    try:
        return msgspec.convert(auth, AuthRequest)
    except msgspec.ValidationError as error:
        raise Invalid(f"Invalid input for auth: {error}.") from None


async def _identify(backend: Backend, proof: Proof) -> tuple[User, str]:
    """-> the user who proved to be himself, and until when that holds."""
    if proof.methods not in (("password",), ("token",)):
        raise Unauthenticated(f"Attempted to authenticate with an unsupported method: {list(proof.methods)}; there are password and token.")
    if proof.methods == ("password",) and proof.password is not None:
        found = await _by_password(backend, proof.password.user)
    elif proof.methods == ("token",) and proof.token is not None:
        found = _by_token(backend, proof.token.id)
    else:
        raise Invalid(f"Expecting to find {proof.methods[0]} in identity: it is the method that the request names.")
    if found is None:
        raise Unauthenticated(identity.WRONG)
    return found


async def _by_password(backend: Backend, given: UserPassword) -> tuple[User, str] | None:
    user = identity.find_user(backend.view, given)
    hashed = user.password if user is not None else None
    fits = await asyncio.get_running_loop().run_in_executor(_HASHING, identity.fits, given.password, hashed)
    return (user, identity.expiry(backend.now(), backend.token_lifetime_s)) if user is not None and fits else None


def _by_token(backend: Backend, secret: str) -> tuple[User, str] | None:
    """A token that is made from a token lives no longer than that."""
    token = identity.find_token(backend.view, secret, backend.now())
    user = backend.view.get(User, token.user_id) if token is not None else None
    return (user, token.expires_at) if token is not None and user is not None else None


def _scope(backend: Backend, asked: AuthRequest) -> str:
    """The project's id; "" for none."""
    scope = asked.scope
    if scope is None or scope == "unscoped" or scope.unscoped is not None:
        return ""
    project = identity.find_project(backend.view, scope.project) if scope.project is not None else None
    if project is None:
        raise Unauthenticated(identity.WRONG)  # also for a domain or the system: nobody has a role there
    return project.id


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
    user = backend.view.get(User, token.user_id)
    caller = identity.caller_of(backend.view, token)
    if user is None or caller is None:
        raise Unauthenticated(identity.WRONG)
    domain = {"id": DOMAIN_ID, "name": DOMAIN_NAME}
    body: Row = {
        "methods": token.methods,
        "user": {"id": user.id, "name": user.name, "domain": domain, "password_expires_at": None},
        "audit_ids": [token.audit_id],
        "issued_at": token.issued_at,
        "expires_at": token.expires_at,
    }
    project = backend.view.get(Project, token.project_id)
    if project is not None:
        body["project"] = {"id": project.id, "name": project.name, "domain": domain}
        body["is_domain"] = False
        body["roles"] = [{"id": role, "name": role} for role in ROLES if role in caller.roles]
        if "nocatalog" not in dict(call.query):
            body["catalog"] = _catalog(call)
    return json_response({"token": body}, status, {"X-Subject-Token": secret, "Vary": "X-Auth-Token"})


# -- the catalog: URLs as this client reaches this server


def _catalog(call: Call) -> list[Row]:
    rows = _endpoints(call)
    keys = ("id", "interface", "region", "region_id", "url")
    return [
        {
            "type": service.type,
            "name": service.name,
            "id": service.id,
            "endpoints": [{key: row[key] for key in keys} for row in rows if row["service_id"] == service.id],
        }
        for service in SERVICES
    ]


def _endpoints(call: Call) -> list[Row]:
    return [
        {
            "id": uuid.uuid5(uuid.UUID(service.id), interface).hex,
            "interface": interface,
            "region": REGION,
            "region_id": REGION,
            "service_id": service.id,
            "url": f"{call.base_url}{service.path}",
            "enabled": True,
        }
        for service in SERVICES
        for interface in _INTERFACES
    ]


async def _show_catalog(call: Call) -> Response:
    return json_response({"catalog": _catalog(call), "links": _links(call)})


# -- what is listed and looked up


Rows = Callable[[Backend, Call], Iterable[Row]]  # those that the caller may see


class Listing(NamedTuple):
    singular: str
    plural: str
    rows: Rows


def _same(*rows: Row) -> Rows:
    return lambda _backend, _call: rows


def _project_row(project: Project) -> Row:
    return {
        "id": project.id,
        "name": project.name,
        "description": project.description,
        "domain_id": project.domain_id,
        "parent_id": project.domain_id,
        "enabled": project.enabled,
        "is_domain": False,
        "tags": [],
        "options": {},
    }


def _user_row(user: User) -> Row:
    return {
        "id": user.id,
        "name": user.name,
        "description": user.description,
        "domain_id": user.domain_id,
        "enabled": user.enabled,
        "password_expires_at": None,
        "options": {},
    }


def _service_row(service: Service) -> Row:
    return {"id": service.id, "type": service.type, "name": service.name, "description": "", "enabled": True}


_DOMAIN = {"id": DOMAIN_ID, "name": DOMAIN_NAME, "description": "The default domain", "enabled": True, "tags": [], "options": {}}
_REGION = {"id": REGION, "description": "", "parent_region_id": None}

_LISTINGS = {
    listing.plural: listing
    for listing in (
        Listing("project", "projects", lambda backend, call: map(_project_row, identity.visible_projects(backend.view, call.caller))),
        Listing("user", "users", lambda backend, call: map(_user_row, identity.visible_users(backend.view, call.caller))),
        Listing("role", "roles", _same(*({"id": role, "name": role, "domain_id": None} for role in ROLES))),
        Listing("domain", "domains", _same(_DOMAIN)),
        Listing("region", "regions", _same(_REGION)),
        Listing("service", "services", _same(*map(_service_row, SERVICES))),
        Listing("endpoint", "endpoints", lambda _backend, call: _endpoints(call)),
    )
}


async def _list(listing: Listing, backend: Backend, call: Call) -> Response:
    """Every attribute is a filter; what is no attribute is ignored, as Keystone does."""
    rows = [row for row in listing.rows(backend, call) if all(str(row[key]) == value for key, value in call.query if key in row)]
    return _rows(listing.plural, rows, call)


async def _show(listing: Listing, backend: Backend, call: Call) -> Response:
    for row in listing.rows(backend, call):
        if row["id"] == call.id:
            return json_response({listing.singular: row | {"links": _links(call)}})
    raise not_found(listing.singular.capitalize(), call.id)


async def _list_my_projects(backend: Backend, call: Call) -> Response:
    return _rows("projects", map(_project_row, identity.projects_of(backend.view, call.caller, call.caller.user_id)), call)


async def _list_user_projects(backend: Backend, call: Call) -> Response:
    return _rows("projects", map(_project_row, identity.projects_of(backend.view, call.caller, call.id)), call)


def _rows(plural: str, rows: Iterable[Row], call: Call) -> Response:
    def link(row: Row) -> Row:
        return row | {"links": {"self": f"{call.base_url}/identity/v3/{plural}/{row['id']}"}}

    return json_response({plural: [link(row) for row in rows], "links": _links(call) | {"previous": None, "next": None}})


def _links(call: Call) -> dict[str, Any]:
    return {"self": f"{call.base_url}{call.request.url.path}"}
