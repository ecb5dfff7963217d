"""auth = "keystone": who asks, as a real Keystone says, remembered for a while."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime, timedelta
from functools import partial
from typing import Generic, Protocol, TypeVar

from msgspec.structs import replace
from starlette.requests import Request

from naru.api.auth import admit
from naru.model.errors import Unauthenticated
from naru.model.identity import Caller
from naru.service.identity import WRONG, token_id

_MOST = 10_000  # tokens that are remembered, and as many that were refused
_REFUSED_S = 10.0  # for so long a refusal is remembered: a client that tries again and again costs Keystone little

T = TypeVar("T")


class Validate(Protocol):
    """Whom a token stands for, and when it ends; None: nobody. Raises Unavailable."""

    async def __call__(self, secret: str, *, allow_expired: bool = False) -> tuple[Caller, datetime] | None: ...


class Remembered(Generic[T]):
    """What was learnt of tokens, each until its time, or until the clock is set back; of too many the oldest is forgotten."""

    def __init__(self, now: Callable[[], datetime], most: int = _MOST) -> None:
        self._now = now
        self._most = most
        self._kept: dict[str, tuple[T, datetime, datetime]] = {}  # since and until when

    def get(self, key: str) -> T | None:
        value, since, until = self._kept.get(key, (None, self._now(), self._now()))
        return value if since <= self._now() < until else None

    def keep(self, key: str, value: T, until: datetime) -> None:
        self._kept.pop(key, None)
        if len(self._kept) >= self._most:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = value, self._now(), until


class ByKeystone:
    """The caller whom the token in X-Auth-Token stands for; at once where that is remembered, else when Keystone has answered.

    A token that was revoked opens for `cache_s` more at most. While Keystone is away, what is remembered goes on. With a service's token
    in X-Service-Token the user's own may be over: work that takes long is finished, as keystonemiddleware allows it.
    """

    def __init__(self, validate: Validate, now: Callable[[], datetime], cache_s: float, service_roles: Collection[str]) -> None:
        self._validate = validate
        self._now = now
        self._cache_s = cache_s
        self._service_roles = frozenset(service_roles)
        self._callers: Remembered[Caller] = Remembered(now)
        self._refused: Remembered[bool] = Remembered(now)
        self._asked: dict[str, asyncio.Task[Caller]] = {}  # of those that come while Keystone is asked, all wait for one answer

    def __call__(self, request: Request) -> Caller | Awaitable[Caller]:
        headers, path = request.headers, request.scope["path"]
        secret = headers.get("x-auth-token")
        if not secret:
            raise Unauthenticated(WRONG)
        if "x-service-token" in headers:
            return self._admit_for_service(secret, headers["x-service-token"], path)
        caller = self._callers.get(token_id(secret))
        return admit(caller, path) if caller is not None else self._admit(secret, path)

    async def _admit(self, secret: str, path: str) -> Caller:
        return admit(await self._find(secret), path)

    async def _admit_for_service(self, secret: str, service_secret: str, path: str) -> Caller:
        service = await self._find(service_secret)
        by_service = not service.roles.isdisjoint(self._service_roles)
        return admit(replace(await self._find(secret, allow_expired=by_service), by_service=by_service), path)

    async def _find(self, secret: str, *, allow_expired: bool = False) -> Caller:
        key = token_id(secret)
        caller = self._callers.get(key)
        if caller is not None:
            return caller
        key = f"{key}/expired" if allow_expired else key
        if self._refused.get(key):
            raise Unauthenticated(WRONG)
        caller = self._callers.get(key)
        if caller is not None:
            return caller
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.ensure_future(self._ask(key, secret, allow_expired=allow_expired))
            task.add_done_callback(partial(self._answered, key))
        return await asyncio.shield(task)  # one client that goes away does not take the answer from the others

    async def _ask(self, key: str, secret: str, *, allow_expired: bool) -> Caller:
        found = await self._validate(secret, allow_expired=allow_expired)
        if found is None:
            self._refused.keep(key, value=True, until=self._now() + timedelta(seconds=min(_REFUSED_S, self._cache_s)))
            raise Unauthenticated(WRONG)
        caller, ends = found
        until = self._now() + timedelta(seconds=self._cache_s)
        self._callers.keep(key, caller, until if allow_expired else min(until, ends))
        return caller

    def _answered(self, key: str, task: "asyncio.Task[Caller]") -> None:
        self._asked.pop(key, None)
        if not task.cancelled():
            task.exception()  # seen, also where nobody waits any more
