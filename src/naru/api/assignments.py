"""Role assignments over HTTP: on projects, on domains and on the system."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from starlette.responses import Response

from naru.api.backend import Backend
from naru.api.catalog import Row
from naru.api.http import Call, Route, json_response, no_content
from naru.api.identity_rows import domain_ref, links, list_response, role_row
from naru.model.identity import SYSTEM, Domain, Project, User
from naru.model.view import View
from naru.service import accounts
from naru.service.assignments import Assignment, assignments, check_role, give_role, roles_at, take_role

_SCOPES: Mapping[str, type[Project] | type[Domain] | None] = {
    "/identity/v3/projects/{project_id}/users/{user_id}/roles": Project,
    "/identity/v3/domains/{domain_id}/users/{user_id}/roles": Domain,
    "/identity/v3/system/users/{user_id}/roles": None,
}


def assignment_routes(backend: Backend) -> list[Route]:
    routes = [Route("GET", "/identity/v3/role_assignments", partial(_list_assignments, backend))]
    for path, kind in _SCOPES.items():
        one = f"{path}/{{role_id}}"
        routes += [
            Route("GET", path, partial(_list, backend, kind)),
            Route("GET", one, partial(_check, backend, kind)),
            Route("PUT", one, partial(_write, backend, kind, give_role)),
            Route("DELETE", one, partial(_write, backend, kind, take_role)),
        ]
    return routes


def _scope(view: View, kind: type[Project] | type[Domain] | None, call: Call) -> tuple[str, tuple[str, ...]]:
    """-> the scope, and the ids that follow it in the path: the user's and the role's."""
    if kind is None:
        return SYSTEM, call.ids
    if view.get(kind, call.id) is None:
        raise accounts.missing(kind, call.id)
    return call.id, call.ids[1:]


async def _list(backend: Backend, kind: type[Project] | type[Domain] | None, call: Call) -> Response:
    scope, (user_id,) = _scope(backend.view, kind, call)
    return list_response("roles", map(role_row, roles_at(backend.view, call.caller, scope, user_id)), call)


async def _check(backend: Backend, kind: type[Project] | type[Domain] | None, call: Call) -> Response:
    scope, (user_id, role_id) = _scope(backend.view, kind, call)
    check_role(backend.view, call.caller, scope, user_id, role_id)
    return no_content()


async def _write(backend: Backend, kind: type[Project] | type[Domain] | None, plan: Callable[..., Any], call: Call) -> Response:
    scope, (user_id, role_id) = _scope(backend.view, kind, call)
    await backend.store.write(lambda view: plan(view, call.caller, scope, user_id, role_id))
    return no_content()


# -- the list of all


_FILTERS: Mapping[str, Callable[[Assignment], str | None]] = {
    "user.id": lambda assignment: assignment.user.id,
    "role.id": lambda assignment: assignment.role.id,
    "scope.project.id": lambda assignment: assignment.scope.id if isinstance(assignment.scope, Project) else None,
    "scope.domain.id": lambda assignment: assignment.scope.id if isinstance(assignment.scope, Domain) else None,
    "scope.system": lambda assignment: "all" if assignment.scope is None else None,
    "group.id": lambda _assignment: None,  # there are no groups,
    "scope.OS-INHERIT:inherited_to": lambda _assignment: None,  # and no inherited roles
}


async def _list_assignments(backend: Backend, call: Call) -> Response:
    query = dict(call.query)
    is_set = {key: query.get(key, "0").lower() not in ("0", "false") for key in ("effective", "include_names")}
    wanted = {key: value for key, value in query.items() if key in _FILTERS}
    rows = [
        _row(backend.view, assignment, call, names=is_set["include_names"])
        for assignment in assignments(backend.view, call.caller, effective=is_set["effective"])
        if all(_FILTERS[key](assignment) == (value.lower() if key == "scope.system" else value) for key, value in wanted.items())
    ]
    return json_response({"role_assignments": rows, "links": links(call) | {"previous": None, "next": None}})


def _row(view: View, assignment: Assignment, call: Call, *, names: bool) -> Row:
    user, scope, role = assignment
    at = "system" if scope is None else f"{scope.plural}/{scope.id}"
    return {
        "role": {"id": role.id} | ({"name": role.name} if names else {}),
        "user": _ref(view, user, names=names),
        "scope": {"system": {"all": True}} if scope is None else {scope.singular: _ref(view, scope, names=names)},
        "links": {"assignment": f"{call.base_url}/identity/v3/{at}/users/{user.id}/roles/{role.id}"},
    }


def _ref(view: View, account: User | Project | Domain, *, names: bool) -> Row:
    if not names:
        return {"id": account.id}
    domain = {"domain": domain_ref(view, account.domain_id)} if not isinstance(account, Domain) else {}
    return {"id": account.id, "name": account.name} | domain
