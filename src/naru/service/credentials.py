"""Application credentials: a user's own, on the project of the token with which he makes them.

https://docs.openstack.org/api-ref/identity/v3/#application-credentials
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from naru.model.auth_request import ApplicationCredentialMethod, Ref
from naru.model.errors import Conflict, Invalid
from naru.model.identity import ApplicationCredential, Caller, Role, Token, User
from naru.model.resources import Changes, new_id, put, remove
from naru.model.view import View
from naru.service.accounts import fetch, missing, not_allowed, require_self
from naru.service.identity import find_user, role_names, time_text


def require_maker(caller: Caller, user_id: str, action: str) -> None:
    """The user himself. Raises Forbidden also for an application credential that may not make others, or end them."""
    if caller.user_id != user_id or caller.restricted:
        raise not_allowed(action, "An application credential is made by its user, with no other that is restricted.")


def create_credential(
    view: View, caller: Caller, user_id: str, given: dict[str, Any], wanted_roles: list[Ref] | None, now: datetime
) -> Changes[ApplicationCredential]:
    """`secret` is a hash here. Without `wanted_roles` it has those of the token. Raises Conflict for a second one of the name."""
    require_maker(caller, user_id, "create_application_credential")
    if not caller.project_id:
        raise not_allowed("create_application_credential", "The token is for no project.")
    if any(other.name == given["name"] for other in view.find(ApplicationCredential, "user_id", user_id)):
        raise Conflict(f"Conflict occurred attempting to store application_credential - Duplicate entry found with name {given['name']}.")
    if wanted_roles is None:
        held = fetch(view, User, user_id).roles.get(caller.project_id, ())
        roles = tuple(id for id in held if role_names(view, (id,)) <= caller.roles)
    else:
        roles = tuple(_held_role(view, role, caller) for role in wanted_roles)
    made = {"user_id": user_id, "project_id": caller.project_id, "roles": roles, "expires_at": _end(given.get("expires_at"), now)}
    credential = ApplicationCredential(id=new_id().replace("-", ""), **given | made)
    yield put(credential)
    return credential


def _held_role(view: View, ref: Ref, caller: Caller) -> str:
    """Raises Invalid for a role that the token does not have: nobody gives away more than he has."""
    role = view.get(Role, ref.id) if ref.id is not None else next(view.find(Role, "name", ref.name or ""), None)
    if role is None or not role_names(view, (role.id,)) <= caller.roles:
        raise Invalid(f"Invalid application credential: Could not find role assignment with role: {ref.id or ref.name}.")
    return role.id


def _end(given: str | None, now: datetime) -> str | None:
    if given is None:
        return None
    try:
        end = datetime.fromisoformat(given)
        end = end.astimezone(UTC) if end.tzinfo is not None else end.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise Invalid(f"Invalid input for field 'expires_at': '{given}' is not a 'date-time'") from None
    if end <= now:
        raise Invalid(f"Invalid input for field 'expires_at': '{given}' is in the past")
    return time_text(end)


def credentials_of(view: View, caller: Caller, user_id: str) -> Iterator[ApplicationCredential]:
    require_self(caller, user_id, "list_application_credentials")
    fetch(view, User, user_id)
    return view.find(ApplicationCredential, "user_id", user_id)


def fetch_credential(view: View, caller: Caller, user_id: str, id: str) -> ApplicationCredential:
    require_self(caller, user_id, "get_application_credential")
    found = view.get(ApplicationCredential, id)
    if found is None or found.user_id != user_id:
        raise missing(ApplicationCredential, id)
    return found


def delete_credential(view: View, caller: Caller, user_id: str, id: str) -> Changes[None]:
    """And the tokens that were given for it."""
    if not caller.is_admin or caller.restricted:
        require_maker(caller, user_id, "delete_application_credential")
    credential = fetch_credential(view, caller, user_id, id)
    for token in list(view.find(Token, "credential_id", id)):
        yield remove(token)
    yield remove(credential)


def find_credential(view: View, asked: ApplicationCredentialMethod, now: datetime) -> ApplicationCredential | None:
    """That a request for a token names. None: there is none, or its time is over. Raises Invalid where a name stands without a user."""
    if asked.id is not None:
        found = view.get(ApplicationCredential, asked.id)
    elif asked.name is None or asked.user is None:
        raise Invalid("Expecting to find id, or name and user, in application_credential.")
    else:
        user = find_user(view, asked.user)
        mine = view.find(ApplicationCredential, "user_id", user.id) if user is not None else iter(())
        found = next((credential for credential in mine if credential.name == asked.name), None)
    is_over = found is not None and found.expires_at is not None and found.expires_at <= time_text(now)
    return None if is_over else found
