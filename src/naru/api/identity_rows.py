"""Identity's resources as Keystone shows them, and its lists with their filters."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from starlette.responses import Response

from naru.api.catalog import Row
from naru.api.http import Call, json_response
from naru.model.attributes import boolean
from naru.model.identity import DOMAIN_ID, ApplicationCredential, Domain, Project, Role, User
from naru.model.view import View


def domain_row(domain: Domain) -> Row:
    return domain.extra | {
        "id": domain.id,
        "name": domain.name,
        "description": domain.description or "",
        "enabled": domain.enabled,
        "tags": [],
        "options": domain.options,
    }


def project_row(project: Project) -> Row:
    return (
        {"tags": []}
        | project.extra
        | {
            "id": project.id,
            "name": project.name,
            "description": project.description or "",
            "domain_id": project.domain_id,
            "parent_id": project.parent_id or project.domain_id,
            "enabled": project.enabled,
            "is_domain": False,
            "options": project.options,
        }
    )


def user_row(user: User) -> Row:
    described = {"description": user.description} if user.description else {}
    placed = {"default_project_id": user.default_project_id} if user.default_project_id else {}
    return (
        user.extra
        | described
        | placed
        | {
            "id": user.id,
            "name": user.name,
            "domain_id": user.domain_id,
            "enabled": user.enabled,
            "password_expires_at": None,
            "options": user.options,
        }
    )


def role_row(role: Role) -> Row:
    return {"id": role.id, "name": role.name, "domain_id": None, "description": role.description or None, "options": role.options}


def credential_row(view: View, credential: ApplicationCredential) -> Row:
    roles = (view.get(Role, id) for id in credential.roles)
    return {
        "id": credential.id,
        "name": credential.name,
        "description": credential.description or None,
        "project_id": credential.project_id,
        "user_id": credential.user_id,
        "roles": [{"id": role.id, "name": role.name, "domain_id": None} for role in roles if role is not None],
        "expires_at": credential.expires_at and credential.expires_at.removesuffix("Z"),
        "unrestricted": credential.unrestricted,
        "system": None,
    }


def domain_ref(view: View, id: str) -> Row:
    domain = view.get(Domain, id)
    return {"id": id, "name": domain.name if domain is not None else DOMAIN_ID}


def role_refs(view: View, names: Iterable[str]) -> list[Row]:
    return [{"id": role.id, "name": role.name} for name in sorted(names) for role in view.find(Role, "name", name)]


# -- lists


def list_response(plural: str, rows: Iterable[Row], call: Call, path: str = "") -> Response:
    """Every attribute is a filter; what is no attribute is ignored, as Keystone does."""
    chosen = [row for row in rows if all(_fits(row, key, value) for key, value in call.query)]

    def link(row: Row) -> Row:
        return row | {"links": {"self": f"{call.base_url}/identity/v3/{path or plural}/{row['id']}"}}

    return json_response({plural: [link(row) for row in chosen], "links": links(call) | {"previous": None, "next": None}})


def show_response(singular: str, row: Row, call: Call, status: int = 200) -> Response:
    return json_response({singular: row | {"links": links(call, row["id"])}}, status)


def links(call: Call, id: str = "") -> Row:
    path = call.request.url.path.rstrip("/")
    return {"self": f"{call.base_url}{path if not id or path.endswith(id) else f'{path}/{id}'}"}


# name__contains=x: https://docs.openstack.org/api-ref/identity/v3/#filtering
_COMPARISONS: Mapping[str, Callable[[str, str], bool]] = {
    "": lambda have, want: have == want,
    "contains": lambda have, want: want in have,
    "icontains": lambda have, want: want.lower() in have.lower(),
    "startswith": lambda have, want: have.startswith(want),
    "istartswith": lambda have, want: have.lower().startswith(want.lower()),
    "endswith": lambda have, want: have.endswith(want),
    "iendswith": lambda have, want: have.lower().endswith(want.lower()),
}


def _fits(row: Row, key: str, value: str) -> bool:
    name, _, comparison = key.partition("__")
    if name not in row or comparison not in _COMPARISONS:
        return True
    have: Any = row[name]
    if isinstance(have, bool):
        return have == _truth(value)
    return _COMPARISONS[comparison]("" if have is None else str(have), value)


def _truth(value: str) -> bool:
    """`?enabled` and `?enabled=true`; everything that is not a no is a yes, as in Keystone."""
    try:
        return boolean(value) if value else True
    except ValueError:
        return True
