"""Whom a password and a token stand for, and for how long."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from msgspec.structs import replace
from starlette.requests import Request

from naru.api.auth import ByToken
from naru.api.backend import Backend
from naru.model.auth_request import DomainRef, Ref
from naru.model.errors import Forbidden, Invalid, NotFound, Unauthenticated
from naru.model.identity import Project, Token, User
from naru.model.resources import Change, Resource, put, remove
from naru.service import identity
from planning import CLOUD, NOW, PlainCloud


def seeded() -> PlainCloud:
    cloud = PlainCloud()
    cloud.run(identity.seed_identity(cloud.view, {"admin": "hash of admin's", "demo": "hash of demo's"}))
    return cloud


def user(cloud: PlainCloud, name: str = "demo") -> User:
    found = identity.find_user(cloud.view, identity.in_domain(name))
    assert found is not None
    return found


def project(cloud: PlainCloud, name: str = "demo") -> Project:
    found = identity.find_project(cloud.view, identity.in_domain(name))
    assert found is not None
    return found


def issue(cloud: PlainCloud, name: str = "demo", on: str = "demo", lifetime_s: int = 60) -> tuple[str, Token]:
    grant = identity.Grant(user(cloud, name).id, project(cloud, on).id if on else "")
    return cloud.run(identity.issue_token(cloud.view, grant, ("password",), NOW, identity.expiry(NOW, lifetime_s)))


def change(cloud: PlainCloud, resource: Resource) -> Change:
    def plan() -> Iterator[Change]:
        yield put(resource)

    cloud.run(plan())  # type: ignore[arg-type]
    return cloud.changes[-1]


def caller(cloud: PlainCloud, token: Token):
    return identity.caller_of(cloud.view, token)


def test_a_password_fits_its_hash_only():
    hashed = identity.hash_password("한국어 pässword")
    assert identity.fits("한국어 pässword", hashed)
    assert not identity.fits("password", hashed)
    assert not identity.fits("", None)
    assert identity.hash_password("x") != identity.hash_password("x")


def test_seeding_twice_changes_nothing_but_the_passwords_that_are_given():
    cloud = seeded()
    _, token = issue(cloud)
    before = len(cloud.changes)

    cloud.run(identity.seed_identity(cloud.view, {}))
    assert len(cloud.changes) == before

    cloud.run(identity.seed_identity(cloud.view, {"demo": "another hash"}))
    assert user(cloud).password == "another hash"
    assert cloud.view.get(Token, token.id) is None  # who knew the old password is out
    assert user(cloud, "admin").password == "hash of admin's"


def test_roles_are_those_on_the_project_of_the_token():
    cloud = seeded()
    assert caller(cloud, issue(cloud)[1]).roles == {"member", "reader"}
    assert caller(cloud, issue(cloud, "admin", "admin")[1]).is_admin
    assert caller(cloud, issue(cloud, "demo", "")[1]).roles == frozenset()
    with pytest.raises(Unauthenticated):
        issue(cloud, "demo", "admin")


def test_a_token_follows_its_user_and_project():
    cloud = seeded()
    _, token = issue(cloud)
    owner, where = user(cloud), project(cloud)

    change(cloud, replace(owner, roles={where.id: ("admin",)}))
    assert caller(cloud, token).is_admin
    change(cloud, replace(owner, roles={}))
    assert caller(cloud, token) is None
    change(cloud, replace(owner, enabled=False))
    assert caller(cloud, token) is None
    change(cloud, owner)
    change(cloud, replace(where, enabled=False))
    assert caller(cloud, token) is None


def test_the_secret_of_a_token_is_kept_nowhere():
    cloud = seeded()
    secret, token = issue(cloud)
    assert token.id == identity.token_id(secret)
    assert not any(secret in repr(change) for change in cloud.changes)


def test_a_token_ends_and_is_swept():
    cloud = seeded()
    secret, token = issue(cloud, lifetime_s=60)
    issue(cloud, lifetime_s=61)

    assert identity.find_token(cloud.view, secret, NOW + timedelta(seconds=59)) == token
    end = NOW + timedelta(seconds=60)
    assert identity.find_token(cloud.view, secret, end) is None
    cloud.run(identity.remove_expired(cloud.view, end))
    assert [kept.expires_at for kept in cloud.view.all(Token)] == ["2026-01-01T00:01:01.000000Z"]


def test_a_token_is_shown_to_its_owner_and_to_administrators():
    cloud = seeded()
    secret, token = issue(cloud)
    admin_secret, admin_token = issue(cloud, "admin", "admin")
    member, admin = caller(cloud, token), caller(cloud, admin_token)

    assert identity.fetch_token(cloud.view, member, secret, NOW) == token
    assert identity.fetch_token(cloud.view, admin, secret, NOW) == token
    with pytest.raises(Forbidden):
        identity.fetch_token(cloud.view, member, admin_secret, NOW)
    with pytest.raises(NotFound):
        identity.fetch_token(cloud.view, admin, "no-such", NOW)


def test_names_are_looked_up_in_their_domain():
    cloud = seeded()
    assert identity.find_user(cloud.view, Ref(name="demo", domain=DomainRef(name="Default"))) == user(cloud)
    assert identity.find_user(cloud.view, Ref(id=user(cloud).id)) == user(cloud)
    assert identity.find_user(cloud.view, Ref(name="demo", domain=DomainRef(name="Elsewhere"))) is None
    with pytest.raises(Invalid, match="domain in user"):
        identity.find_user(cloud.view, Ref(name="demo"))
    with pytest.raises(Invalid, match="names no project"):
        identity.find_project(cloud.view, Ref(domain=DomainRef("default")))


# -- the door


class Door:
    """`ByToken` over a plain cloud whose clock stands at `now`."""

    def __init__(self) -> None:
        self.cloud = seeded()
        self.now = NOW
        self.authenticate = ByToken(Backend(self.cloud, CLOUD, lambda: self.now))  # type: ignore[arg-type]

    def enter(self, secret: str, path: str = "/v2.0/ports"):
        return self.authenticate(Request({"type": "http", "path": path, "headers": [(b"x-auth-token", secret.encode())]}))

    def apply(self, resource: Resource) -> None:
        self.authenticate.on_changes([change(self.cloud, resource)])


def test_what_the_door_remembers_of_a_token_ends_when_it_does():
    door = Door()
    secret, token = issue(door.cloud)
    assert door.enter(secret).project_id == token.project_id
    door.now = NOW + timedelta(seconds=60)
    with pytest.raises(Unauthenticated):
        door.enter(secret)


def test_what_the_door_remembers_of_a_token_follows_the_store():
    door = Door()
    secret, token = issue(door.cloud)
    owner = user(door.cloud)
    assert not door.enter(secret).is_admin

    door.apply(replace(owner, roles={token.project_id: ("admin",)}))
    assert door.enter(secret).is_admin
    door.apply(replace(owner, enabled=False))
    with pytest.raises(Unauthenticated):
        door.enter(secret)

    door.apply(owner)
    door.enter(secret)
    door.cloud.run(iter([remove(token)]))  # type: ignore[arg-type]
    door.authenticate.on_changes([door.cloud.changes[-1]])
    with pytest.raises(Unauthenticated):
        door.enter(secret)


def test_a_token_without_a_project_opens_identity_only():
    door = Door()
    secret, _ = issue(door.cloud, "demo", "")
    assert door.enter(secret, "/identity/v3/auth/projects").user_id == user(door.cloud).id
    with pytest.raises(Unauthenticated, match="not scoped"):
        door.enter(secret)


@pytest.mark.parametrize("secret", ["", "no-such"])
def test_no_token_or_an_unknown_one_opens_nothing(secret):
    with pytest.raises(Unauthenticated):
        Door().enter(secret)
