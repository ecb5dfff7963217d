"""Domains, projects, users and roles: administered in Keystone's words, with its refusals.

https://docs.openstack.org/api-ref/identity/v3/
"""

from collections.abc import Iterator
from typing import Any, TypeVar

from msgspec.structs import replace

from naru.model.errors import Conflict, Forbidden, Invalid, NotFound
from naru.model.identity import DOMAIN_ID, ApplicationCredential, Caller, Domain, Project, Role, Token, User
from naru.model.resources import Changes, Resource, new_id, put, remove
from naru.model.view import View

Account = Domain | Project | User | Role
A = TypeVar("A", Domain, Project, User, Role)


# -- looking


def missing(kind: type[Resource], id: str) -> NotFound:
    return NotFound(f"Could not find {kind.singular.replace('_', ' ')}: {id}.")


def fetch(view: View, kind: type[A], id: str) -> A:
    found = view.get(kind, id)
    if found is None:
        raise missing(kind, id)
    return found


def not_allowed(action: str, why: str = "") -> Forbidden:
    return Forbidden(f"You are not authorized to perform the requested action: identity:{action}.{why and f' {why}'}")


def require_admin(caller: Caller, action: str) -> None:
    if not caller.is_admin:
        raise not_allowed(action)


def require_self(caller: Caller, user_id: str, action: str) -> None:
    """Of a user: he himself, and who reads all."""
    if user_id != caller.user_id and not caller.reads_all:
        raise not_allowed(action, "It is another user.")


def visible(view: View, caller: Caller, kind: type[A]) -> Iterator[A]:
    """All for administrators and services. For others: himself, his projects, and domains and roles, which are no secret."""
    if caller.reads_all or kind in (Domain, Role):
        return view.all(kind)
    if kind is User:
        return (user for user in view.all(kind) if user.id == caller.user_id)
    return projects_of(view, caller, caller.user_id)  # type: ignore[return-value]


def projects_of(view: View, caller: Caller, user_id: str) -> Iterator[Project]:
    """The projects on which a user has a role. Raises NotFound or Forbidden for another's."""
    return _scopes_of(view, caller, user_id, Project)


def domains_of(view: View, caller: Caller) -> Iterator[Domain]:
    return _scopes_of(view, caller, caller.user_id, Domain)


def _scopes_of(view: View, caller: Caller, user_id: str, kind: type[A]) -> Iterator[A]:
    require_self(caller, user_id, f"list_user_{kind.plural}")
    scopes = (view.get(kind, id) for id, roles in fetch(view, User, user_id).roles.items() if roles)
    return (scope for scope in scopes if scope is not None and getattr(scope, "enabled", True))


# -- making


def create_domain(view: View, caller: Caller, given: dict[str, Any]) -> Changes[Domain]:
    require_admin(caller, "create_domain")
    return (yield from _store_new(view, Domain(id=_hex_id(), **given)))


def create_project(view: View, caller: Caller, given: dict[str, Any]) -> Changes[Project]:
    """In the domain of the parent, or in the caller's, where the request names none."""
    require_admin(caller, "create_project")
    parent_id = given.get("parent_id")
    above = view.get(Project, parent_id) if parent_id else None
    domain_id = given.get("domain_id") or (above.domain_id if above else parent_id or domain_of(view, caller))
    if view.get(Domain, domain_id) is None:
        raise missing(Project if parent_id else Domain, parent_id or domain_id)
    if parent_id and parent_id != domain_id and (above is None or above.domain_id != domain_id):
        raise Invalid(f"The project's parent {parent_id} is not in its domain {domain_id}.")
    return (yield from _store_new(view, Project(id=_hex_id(), **given | {"domain_id": domain_id, "parent_id": above.id if above else ""})))


def create_user(view: View, caller: Caller, given: dict[str, Any]) -> Changes[User]:
    """`password` is a hash here; without one nobody can log in as the user."""
    require_admin(caller, "create_user")
    domain_id = given.get("domain_id") or domain_of(view, caller)
    fetch(view, Domain, domain_id)
    return (yield from _store_new(view, User(id=_hex_id(), **given | {"domain_id": domain_id, "password": given.get("password") or ""})))


def create_role(view: View, caller: Caller, given: dict[str, Any]) -> Changes[Role]:
    require_admin(caller, "create_role")
    if given.get("extra", {}).pop("domain_id", None) is not None:
        raise Invalid("Roles that are one domain's own are not kept here: leave domain_id out.")
    return (yield from _store_new(view, Role(id=_hex_id(), **given)))


def domain_of(view: View, caller: Caller) -> str:
    """The domain that the caller's token is for."""
    project = view.get(Project, caller.project_id)
    return project.domain_id if project is not None else caller.scope if view.get(Domain, caller.scope) else DOMAIN_ID


def _hex_id() -> str:
    return new_id().replace("-", "")


def _store_new(view: View, account: A) -> Changes[A]:
    _check_name(view, account)
    yield put(account)
    return account


def _check_name(view: View, account: Account) -> None:
    """Raises Conflict where the name is taken: in its domain, where it has one."""
    domain_id = getattr(account, "domain_id", None)
    for other in view.find(type(account), "name", account.name):
        if other.id != account.id and getattr(other, "domain_id", None) == domain_id:
            where = f" at domain ID {domain_id}" if domain_id is not None else ""
            raise Conflict(
                f"Conflict occurred attempting to store {account.singular} - Duplicate entry found with name {account.name}{where}."
            )


# -- changing


def update_account(view: View, caller: Caller, before: A, given: dict[str, Any]) -> Changes[A]:
    """A user who gets another password, and whatever is disabled, loses the tokens that stand for it."""
    require_admin(caller, f"update_{before.singular}")
    if given.keys() - {"options"} or "immutable" not in given.get("options", {}):
        _check_mutable(before, "modify")
    if "options" in given:
        given = given | {"options": {name: value for name, value in (before.options | given["options"]).items() if value is not None}}
    after = replace(before, **given)
    _check_name(view, after)
    yield put(after)
    if "password" in given or (given.get("enabled") is False and getattr(before, "enabled", False)):
        yield from _end_tokens(view, after)
    return after


def change_password(view: View, user_id: str, password: str) -> Changes[None]:
    """By who knew the old one; `password` is a hash."""
    user = replace(fetch(view, User, user_id), password=password)
    yield put(user)
    yield from _end_tokens(view, user)


def _check_mutable(account: Account, verb: str) -> None:
    if account.options.get("immutable"):
        message = f"Cannot {verb} resource {account.id} of type {account.singular}: it is immutable."
        raise Forbidden(f"You are not authorized to perform the requested action: {message}")


def _end_tokens(view: View, account: Account) -> Changes[None]:
    """The tokens of a user, and those for a project or domain, or of the users and for the projects in a domain."""
    ended = set(view.find(Token, "user_id" if isinstance(account, User) else "scope", account.id))
    if isinstance(account, Domain):
        for user in view.find(User, "domain_id", account.id):
            ended.update(view.find(Token, "user_id", user.id))
        for project in view.find(Project, "domain_id", account.id):
            ended.update(view.find(Token, "scope", project.id))
    for token in ended:
        yield remove(token)


# -- deleting


def delete_account(view: View, caller: Caller, account: Account) -> Changes[None]:
    """With the tokens, roles and application credentials that stand on it. Raises Forbidden for what must stay."""
    require_admin(caller, f"delete_{account.singular}")
    _check_mutable(account, "delete")
    if isinstance(account, Domain):
        if account.id == DOMAIN_ID or account.enabled:
            why = "the default domain stays" if account.id == DOMAIN_ID else "disable it first"
            raise not_allowed("delete_domain", f"Cannot delete a domain that is enabled, or that every installation has: {why}.")
        members: list[User | Project] = [*view.find(User, "domain_id", account.id), *view.find(Project, "domain_id", account.id)]
        for member in members:
            yield from _remove(view, member)
    if isinstance(account, Project) and view.count(Project, "parent_id", account.id):
        raise not_allowed("delete_project", f"Cannot delete the project {account.id} since it is not a leaf in the hierarchy.")
    yield from _remove(view, account)


def _remove(view: View, account: Account) -> Changes[None]:
    yield from _end_tokens(view, account)
    if isinstance(account, User | Project):
        for credential in list(view.find(ApplicationCredential, f"{account.singular}_id", account.id)):
            yield remove(credential)
    if isinstance(account, Role):
        for user in [user for user in view.all(User) if any(account.id in roles for roles in user.roles.values())]:
            yield put(replace(user, roles={scope: _without(roles, account.id) for scope, roles in user.roles.items()}))
    if isinstance(account, Project | Domain):
        for user in list(view.find(User, "scope", account.id)):
            yield put(replace(user, roles={scope: roles for scope, roles in user.roles.items() if scope != account.id}))
    yield remove(account)


def _without(roles: tuple[str, ...], role_id: str) -> tuple[str, ...]:
    return tuple(id for id in roles if id != role_id)
