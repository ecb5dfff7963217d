"""Domains, projects, users and roles over HTTP; and what is only listed: groups, regions, services, endpoints."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from starlette.responses import Response

from naru.api.backend import Backend
from naru.api.catalog import REGION, SERVICES, Row, endpoints
from naru.api.http import Call, Endpoint, Route, json_response, no_content
from naru.api.identity_rows import domain_row, links, list_response, project_row, role_refs, role_row, show_response, user_row
from naru.api.passwords import fits, hash_password
from naru.model.errors import Invalid, NotFound, Unauthenticated
from naru.model.identity import IMPLIED, Domain, Project, Role, User
from naru.model.identity_requests import decode_change, decode_new
from naru.service import accounts, identity


class Managed(NamedTuple):
    """A kind of account: how it is shown, and what makes one: create(view, caller, given)."""

    kind: Any
    row: Callable[[Any], Row]
    create: Callable[..., Any]


_MANAGED = (
    Managed(Domain, domain_row, accounts.create_domain),
    Managed(Project, project_row, accounts.create_project),
    Managed(User, user_row, accounts.create_user),
    Managed(Role, role_row, accounts.create_role),
)

_FIXED: tuple[tuple[str, str, Callable[[Call], Iterable[Row]]], ...] = (
    ("group", "groups", lambda _call: ()),
    ("region", "regions", lambda _call: ({"id": REGION, "description": "", "parent_region_id": None},)),
    ("service", "services", lambda _call: map(_service_row, SERVICES)),
    ("endpoint", "endpoints", endpoints),
)


def account_routes(backend: Backend) -> list[Route]:
    bind: Callable[[Callable[..., Any]], Endpoint] = lambda endpoint: partial(endpoint, backend)  # noqa: E731
    routes = [
        Route("GET", "/identity/v3/auth/projects", bind(_list_my_projects)),
        Route("GET", "/identity/v3/auth/domains", bind(_list_my_domains)),
        Route("GET", "/identity/v3/users/{id}/projects", bind(_list_user_projects)),
        Route("GET", "/identity/v3/users/{id}/groups", partial(_list_none, "groups", backend)),
        Route("GET", "/identity/v3/users/{id}/access_rules", partial(_list_none, "access_rules", backend)),
        Route("GET", "/identity/v3/role_inferences", bind(_list_implied_roles)),
        Route("POST", "/identity/v3/users/{id}/password", bind(_change_password), is_public=True),  # the old password is the proof
    ]
    for managed in _MANAGED:
        path = f"/identity/v3/{managed.kind.plural}"
        routes += [
            Route("GET", path, partial(_list, managed, backend)),
            Route("POST", path, partial(_create, managed, backend)),
            Route("GET", f"{path}/{{id}}", partial(_show, managed, backend)),
            Route("PATCH", f"{path}/{{id}}", partial(_update, managed, backend)),
            Route("DELETE", f"{path}/{{id}}", partial(_delete, managed, backend)),
        ]
    for singular, plural, rows in _FIXED:
        routes.append(Route("GET", f"/identity/v3/{plural}", partial(_list_fixed, plural, rows)))
        routes.append(Route("GET", f"/identity/v3/{plural}/{{id}}", partial(_show_fixed, singular, rows)))
    return routes


async def _list(managed: Managed, backend: Backend, call: Call) -> Response:
    rows = map(managed.row, accounts.visible(backend.view, call.caller, managed.kind))
    return list_response(managed.kind.plural, rows, call)


async def _show(managed: Managed, backend: Backend, call: Call) -> Response:
    for account in accounts.visible(backend.view, call.caller, managed.kind):
        if account.id == call.id:
            return show_response(managed.kind.singular, managed.row(account), call)
    raise accounts.missing(managed.kind, call.id)


async def _create(managed: Managed, backend: Backend, call: Call) -> Response:
    accounts.require_admin(call.caller, f"create_{managed.kind.singular}")  # before a password is hashed
    given = await _hashed(decode_new(managed.kind, await call.member(managed.kind.singular)))
    made = await backend.store.write(lambda view: managed.create(view, call.caller, given))
    return show_response(managed.kind.singular, managed.row(made), call, 201)


async def _update(managed: Managed, backend: Backend, call: Call) -> Response:
    kind = managed.kind
    accounts.require_admin(call.caller, f"update_{kind.singular}")
    body = await call.member(kind.singular)
    given = await _hashed(decode_change(kind, body, accounts.fetch(backend.view, kind, call.id)))
    changed = await backend.store.write(lambda view: accounts.update_account(view, call.caller, accounts.fetch(view, kind, call.id), given))
    return show_response(kind.singular, managed.row(changed), call)


async def _hashed(given: Row) -> Row:
    return given | {"password": await hash_password(given["password"])} if given.get("password") else given


async def _delete(managed: Managed, backend: Backend, call: Call) -> Response:
    accounts.require_admin(call.caller, f"delete_{managed.kind.singular}")
    await backend.store.write(lambda view: accounts.delete_account(view, call.caller, accounts.fetch(view, managed.kind, call.id)))
    return no_content()


async def _change_password(backend: Backend, call: Call) -> Response:
    """By the user himself. 401 in the same words for an unknown user and a wrong password."""
    body = await call.member("user")
    old, new = body.get("original_password"), body.get("password")
    if not isinstance(old, str) or not isinstance(new, str) or not new:
        raise Invalid("'password' and 'original_password' are required properties, of type 'string'")
    user = backend.view.get(User, call.id)
    if not await fits(old, user.password if user is not None else None) or user is None or not user.enabled:
        raise Unauthenticated(identity.WRONG)
    hashed = await hash_password(new)
    await backend.store.write(lambda view: accounts.change_password(view, call.id, hashed))
    return no_content()


# -- where a user has a role


async def _list_my_projects(backend: Backend, call: Call) -> Response:
    return list_response("projects", map(project_row, accounts.projects_of(backend.view, call.caller, call.caller.user_id)), call)


async def _list_my_domains(backend: Backend, call: Call) -> Response:
    return list_response("domains", map(domain_row, accounts.domains_of(backend.view, call.caller)), call)


async def _list_user_projects(backend: Backend, call: Call) -> Response:
    return list_response("projects", map(project_row, accounts.projects_of(backend.view, call.caller, call.id)), call)


async def _list_none(plural: str, backend: Backend, call: Call) -> Response:
    """What a user has none of."""
    accounts.require_self(call.caller, call.id, f"list_{plural}")
    accounts.fetch(backend.view, User, call.id)
    return list_response(plural, (), call)


async def _list_implied_roles(backend: Backend, call: Call) -> Response:
    rows = [
        {"prior_role": prior, "implies": role_refs(backend.view, implied)}
        for name, implied in IMPLIED.items()
        for prior in role_refs(backend.view, (name,))
    ]
    return json_response({"role_inferences": rows, "links": links(call)})


# -- what is only listed


def _service_row(service: Any) -> Row:
    return {"id": service.id, "type": service.type, "name": service.name, "description": "", "enabled": True}


async def _list_fixed(plural: str, rows: Callable[[Call], Iterable[Row]], call: Call) -> Response:
    return list_response(plural, rows(call), call)


async def _show_fixed(singular: str, rows: Callable[[Call], Iterable[Row]], call: Call) -> Response:
    for row in rows(call):
        if row["id"] == call.id:
            return show_response(singular, row, call)
    raise NotFound(f"Could not find {singular}: {call.id}.")
