"""A real Keystone: what a token of its means, asked with a token of our own.

https://docs.openstack.org/api-ref/identity/v3/#validate-and-show-information-for-token
"""

import asyncio
import ssl
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import httpx
import msgspec
import structlog

from naru import settings
from naru.model.errors import Unavailable
from naru.model.identity import SYSTEM, Caller

_log = structlog.get_logger("naru.keystone")

ANSWER_S = 10.0  # so long may Keystone take


class _Ref(msgspec.Struct):
    id: str


class _Role(msgspec.Struct):
    name: str


class _Token(msgspec.Struct):
    user: _Ref
    expires_at: str
    project: _Ref | None = None
    domain: _Ref | None = None
    system: dict[str, Any] | None = None
    roles: tuple[_Role, ...] = ()
    catalog: tuple[dict[str, Any], ...] = ()


class _Answer(msgspec.Struct):
    token: _Token


def open_keystone(account: settings.Keystone) -> "Keystone":
    """Raises SettingsError for an account that is incomplete, or certificates that cannot be read. Asks nobody yet."""
    for key in ("auth_url", "username", "password"):
        if not getattr(account, key):
            raise settings.SettingsError(f'auth = "keystone" needs keystone.{key}')
    if not account.auth_url.startswith(("http://", "https://")):
        raise settings.SettingsError(f"keystone.auth_url is no URL: {account.auth_url}")
    try:
        return Keystone(account)
    except OSError as error:
        raise settings.SettingsError(f"cannot use keystone.cafile {account.cafile}: {error}") from None


def http_client(account: settings.Keystone, url: str) -> httpx.AsyncClient:
    """For a service at `url` that trusts the same authorities. Raises OSError for certificates that cannot be read."""
    trusted: ssl.SSLContext | bool = url.startswith("https:")  # loading the certificates of all authorities costs 8 MB
    if account.cafile:
        trusted = ssl.create_default_context(cafile=account.cafile)
    return httpx.AsyncClient(timeout=ANSWER_S, trust_env=False, verify=trusted)


class Keystone:
    """Lives on one event loop. Every method raises Unavailable where Keystone does not answer, or not as it should."""

    def __init__(self, account: settings.Keystone) -> None:
        self.url = f"{account.auth_url.rstrip('/').removesuffix('/v3')}/v3"
        self._login = _login(account)
        self._http = http_client(account, self.url)
        self._own_token = ""
        self._logging_in = asyncio.Lock()

    async def close(self) -> None:
        await self._http.aclose()

    async def validate(self, secret: str, *, allow_expired: bool = False) -> tuple[Caller, datetime] | None:
        """Whom a token stands for, and when it ends; None: it stands for nobody."""
        own = self._own_token or await self.log_in("")
        answer = await self._look_up(secret, own, allow_expired=allow_expired)
        if answer.status_code == httpx.codes.UNAUTHORIZED:  # it is our token that does not hold any more
            answer = await self._look_up(secret, await self.log_in(own), allow_expired=allow_expired)
        if answer.status_code in (httpx.codes.NOT_FOUND, httpx.codes.BAD_REQUEST):
            return None
        token = _read(answer)
        return _caller(token), datetime.fromisoformat(token.expires_at)

    async def endpoints(self, kind: str, region: str) -> list[str]:
        """The URLs of a kind of service in the region's catalog, the public one first."""
        own = self._own_token or await self.log_in("")
        token = _read(await self._look_up(own, own, catalog=True))
        listed = (endpoint for service in token.catalog if service.get("type") == kind for endpoint in service.get("endpoints", ()))
        here = [endpoint for endpoint in listed if endpoint.get("region_id") == region]
        return [endpoint["url"] for endpoint in sorted(here, key=lambda endpoint: endpoint.get("interface") != "public")]

    async def log_in(self, outdated: str) -> str:
        """-> a token of our own, not the outdated one. Many may ask at once: one of them fetches it."""
        async with self._logging_in:
            if self._own_token == outdated:
                answer = await self._send("POST", params={"nocatalog": ""}, json=self._login)
                _read(answer)
                self._own_token = answer.headers["X-Subject-Token"]
            return self._own_token

    async def _look_up(self, secret: str, own: str, *, allow_expired: bool = False, catalog: bool = False) -> httpx.Response:
        query = ({"allow_expired": "1"} if allow_expired else {}) | ({} if catalog else {"nocatalog": ""})
        headers = {b"X-Auth-Token": own.encode(), b"X-Subject-Token": secret.encode("latin-1", "replace")}
        return await self._send("GET", params=query, headers=headers)

    async def _send(self, method: str, **options: Any) -> httpx.Response:
        try:
            return await self._http.request(method, f"{self.url}/auth/tokens", **options)
        except httpx.HTTPError as error:
            _log.warning("Keystone does not answer", url=self.url, error=repr(error))
            raise Unavailable("Keystone does not answer, so the token cannot be checked. Try again.") from None


def _login(account: settings.Keystone) -> Mapping[str, Any]:
    user = {"name": account.username, "password": account.password, "domain": {"name": account.user_domain_name}}
    project = {"name": account.project_name, "domain": {"name": account.project_domain_name}}
    return {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": {"project": project}}}


def _read(answer: httpx.Response) -> _Token:
    """Raises Unavailable for anything but a token: a fault of Keystone's, or of our account there."""
    try:
        answer.raise_for_status()
        return msgspec.json.decode(answer.content, type=_Answer).token
    except (httpx.HTTPStatusError, msgspec.DecodeError):
        _log.error("Keystone refused us", method=answer.request.method, status=answer.status_code, body=answer.text[:200])
        raise Unavailable("Keystone did not check the token; the server's log says why.") from None


def _caller(token: _Token) -> Caller:
    roles = frozenset(role.name for role in token.roles)
    if token.project is not None:
        return Caller(token.user.id, token.project.id, roles)
    return Caller(token.user.id, "", roles, token.domain.id if token.domain is not None else SYSTEM if token.system else "")
