"""Who has which role where. A scope is the id of a project or of a domain, or SYSTEM (model/identity.py)."""

from collections.abc import Iterator
from typing import NamedTuple

from msgspec.structs import replace

from naru.model.errors import NotFound
from naru.model.identity import SYSTEM, Caller, Domain, Project, Role, User
from naru.model.resources import Changes, put
from naru.model.view import View
from naru.service.accounts import fetch, require_admin, require_self
from naru.service.identity import role_names


class Assignment(NamedTuple):
    user: User
    scope: Project | Domain | None  # None: the system
    role: Role


def roles_at(view: View, caller: Caller, scope: str, user_id: str) -> Iterator[Role]:
    """The roles that were given there, not those that they imply."""
    require_self(caller, user_id, "list_grants")
    roles = (view.get(Role, id) for id in fetch(view, User, user_id).roles.get(scope, ()))
    return (role for role in roles if role is not None)


def check_role(view: View, caller: Caller, scope: str, user_id: str, role_id: str) -> None:
    """Raises NotFound where the user has not been given the role there."""
    require_self(caller, user_id, "check_grant")
    fetch(view, Role, role_id)
    if role_id not in fetch(view, User, user_id).roles.get(scope, ()):
        raise NotFound(
            f"Could not find role assignment with role: {role_id}, user or group: {user_id}, project, domain, or system: {scope}."
        )


def give_role(view: View, caller: Caller, scope: str, user_id: str, role_id: str) -> Changes[None]:
    """Giving it again changes nothing."""
    require_admin(caller, "create_grant")
    user, role = fetch(view, User, user_id), fetch(view, Role, role_id)
    given = user.roles.get(scope, ())
    if role.id not in given:
        yield put(replace(user, roles=user.roles | {scope: (*given, role.id)}))


def take_role(view: View, caller: Caller, scope: str, user_id: str, role_id: str) -> Changes[None]:
    """Tokens follow: with the last role they stand for nobody."""
    require_admin(caller, "revoke_grant")
    check_role(view, caller, scope, user_id, role_id)
    user = fetch(view, User, user_id)
    rest = tuple(id for id in user.roles[scope] if id != role_id)
    others = {at: roles for at, roles in user.roles.items() if at != scope}
    yield put(replace(user, roles=others | ({scope: rest} if rest else {})))


def assignments(view: View, caller: Caller, *, effective: bool = False) -> Iterator[Assignment]:
    """All for who reads all, else one's own; `effective`: with the roles that are implied."""
    for user in view.all(User) if caller.reads_all else (fetch(view, User, caller.user_id),):
        for scope, given in user.roles.items():
            place = view.get(Project, scope) or view.get(Domain, scope)
            if place is None and scope != SYSTEM:
                continue
            ids = {role.id for name in role_names(view, given) for role in view.find(Role, "name", name)} if effective else given
            yield from (Assignment(user, place, role) for id in ids if (role := view.get(Role, id)) is not None)
