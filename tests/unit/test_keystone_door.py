"""What is remembered of tokens that a real Keystone validated, and for how long."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta

import pytest
from starlette.requests import Request

from naru.api.keystone import ByKeystone, Remembered
from naru.integrations.keystone import open_keystone
from naru.model.errors import Forbidden, Unauthenticated, Unavailable
from naru.model.identity import Caller
from naru.settings import Keystone, SettingsError
from planning import NOW

CALLERS = {
    "alice": Caller("alice", "lab", frozenset({"member"})),
    "nova": Caller("nova", "service", frozenset({"service"})),
    "root": Caller("root", "", frozenset({"admin"}), "system"),
    "nobody": Caller("nobody", ""),
}


class Door:
    """`ByKeystone` before a Keystone that is a table; `asked` holds what it was asked, `down` makes it unreachable."""

    def __init__(self) -> None:
        self.now = NOW
        self.asked: list[str] = []
        self.expired: set[str] = set()
        self.down = False
        self.by_keystone = ByKeystone(self.validate, lambda: self.now, cache_s=300, service_roles=("service",))

    async def validate(self, secret, *, allow_expired=False):
        self.asked.append(secret)
        await asyncio.sleep(0)
        if self.down:
            raise Unavailable("down")
        caller = CALLERS.get(secret)
        if caller is None or (secret in self.expired and not allow_expired):
            return None
        return caller, self.now + timedelta(seconds=100 if caller.user_id == "nova" else 3600)

    def admit(self, secret: str, **headers: str):
        """The answer at once, or something to wait for."""
        given = {"x-auth-token": secret} | {name.replace("_", "-"): value for name, value in headers.items()}
        raw = [(name.encode(), value.encode()) for name, value in given.items()]
        return self.by_keystone(Request({"type": "http", "path": "/v2.0/ports", "headers": raw}))

    def enter(self, secret: str, **headers: str) -> Caller:
        async def wait():
            found = self.admit(secret, **headers)
            return await found if isinstance(found, Awaitable) else found

        return asyncio.run(wait())


def test_a_token_is_asked_for_once_and_then_answered_at_once():
    door = Door()
    assert door.enter("alice") == CALLERS["alice"]
    assert door.admit("alice") is CALLERS["alice"]
    assert door.asked == ["alice"]


@pytest.mark.parametrize(("secret", "after_s"), [("alice", 300), ("nova", 100)], ids=["the cache's time", "the token's end"])
def test_a_token_is_asked_for_again_after(secret, after_s):
    door = Door()
    door.enter(secret)
    door.now += timedelta(seconds=after_s - 1)
    door.enter(secret)
    door.now += timedelta(seconds=1)
    door.enter(secret)
    assert door.asked == [secret, secret]


def test_a_refusal_is_remembered_for_a_moment():
    door = Door()
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            door.enter("no-such")
    assert door.asked == ["no-such"]
    door.now += timedelta(seconds=10)
    with pytest.raises(Unauthenticated):
        door.enter("no-such")
    assert door.asked == ["no-such", "no-such"]


def test_many_who_come_at_once_wait_for_one_answer():
    door = Door()

    async def crowd():
        return await asyncio.gather(*(door.admit("alice") for _ in range(20)))

    assert asyncio.run(crowd()) == [CALLERS["alice"]] * 20
    assert door.asked == ["alice"]


def test_while_keystone_is_away_those_who_are_known_go_on():
    door = Door()
    door.enter("alice")
    door.down = True
    assert door.enter("alice") == CALLERS["alice"]
    with pytest.raises(Unavailable):
        door.enter("nova")
    door.down = False
    assert door.enter("nova") == CALLERS["nova"]  # that it was away is not remembered


def test_a_token_that_is_for_no_project_opens_nothing():
    door = Door()
    for _ in range(2):  # asked for, then remembered
        with pytest.raises(Forbidden):
            door.enter("root")
        with pytest.raises(Unauthenticated, match="not scoped"):
            door.enter("nobody")
    with pytest.raises(Unauthenticated):
        door.enter("")


def test_a_service_vouches_for_a_user():
    door = Door()
    assert not door.enter("alice", x_service_token="alice").by_service
    assert door.enter("alice", x_service_token="nova").is_service
    assert not door.enter("alice").is_service
    with pytest.raises(Unauthenticated):
        door.enter("alice", x_service_token="no-such")


def test_with_a_services_token_the_users_may_be_over():
    door = Door()
    door.expired.add("alice")
    with pytest.raises(Unauthenticated):
        door.enter("alice")
    assert door.enter("alice", x_service_token="nova").project_id == "lab"
    with pytest.raises(Unauthenticated):
        door.enter("alice")


def test_of_too_many_the_oldest_is_forgotten():
    kept: Remembered[int] = Remembered(lambda: NOW, most=2)
    for number in range(3):
        kept.keep(str(number), number, NOW + timedelta(seconds=1))
    assert [kept.get(str(number)) for number in range(3)] == [None, 1, 2]


def test_a_token_is_asked_for_again_when_the_clock_was_set_back():
    door = Door()
    door.enter("alice")
    door.now -= timedelta(hours=1)
    door.expired.add("alice")
    with pytest.raises(Unauthenticated):
        door.enter("alice")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "keystone.auth_url"),
        ({"auth_url": "http://controller01:5000"}, "keystone.password"),
        ({"auth_url": "controller01:5000", "password": "x"}, "no URL"),
        ({"auth_url": "https://controller01:5000", "password": "x", "cafile": "/no/such/file"}, "keystone.cafile"),
    ],
    ids=str,
)
def test_an_account_that_cannot_be_used_is_refused_at_the_start(given, words):
    with pytest.raises(SettingsError, match=words):
        open_keystone(Keystone(**given))


@pytest.mark.parametrize(
    "url", ["http://controller01:5000", "http://controller01:5000/", "http://controller01:5000/v3", "http://controller01:5000/v3/"]
)
def test_keystones_url_is_taken_with_or_without_the_version(url):
    assert open_keystone(Keystone(auth_url=url, password="x")).url == "http://controller01:5000/v3"
