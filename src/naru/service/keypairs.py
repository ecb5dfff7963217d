"""Key pairs: a user's public keys, by name. The private half is never kept."""

from collections.abc import Iterator

from naru.model.compute import KeyPair
from naru.model.errors import Conflict, Forbidden, NotFound
from naru.model.identity import Caller
from naru.model.resources import Changes, new_id, put, remove
from naru.model.view import View


def create_keypair(view: View, user_id: str, name: str, public_key: str, fingerprint: str) -> Changes[KeyPair]:
    """Raises Conflict where the user has one of that name."""
    if find_keypair(view, user_id, name) is not None:
        raise Conflict(f"Key pair '{name}' already exists.")
    made = KeyPair(id=new_id(), user_id=user_id, name=name, public_key=public_key, fingerprint=fingerprint)
    yield put(made)
    return made


def delete_keypair(view: View, user_id: str, name: str) -> Changes[None]:
    """Instances keep the key that they were made with."""
    yield remove(fetch_keypair(view, user_id, name))


def fetch_keypair(view: View, user_id: str, name: str) -> KeyPair:
    found = find_keypair(view, user_id, name)
    if found is None:
        raise NotFound(f"Keypair {name} not found for user {user_id}")
    return found


def find_keypair(view: View, user_id: str, name: str) -> KeyPair | None:
    return next((pair for pair in keypairs_of(view, user_id) if pair.name == name), None)


def keypairs_of(view: View, user_id: str) -> Iterator[KeyPair]:
    return view.find(KeyPair, "user_id", user_id)


def whose(caller: Caller, user_id: str | None, action: str) -> str:
    """The user whose key pairs are meant: one's own; for administrators, any that they name. Raises Forbidden."""
    if user_id not in (None, caller.user_id) and not caller.is_admin:
        raise Forbidden(f"Policy doesn't allow os_compute_api:os-keypairs:{action} to be performed.")
    return user_id or caller.user_id
