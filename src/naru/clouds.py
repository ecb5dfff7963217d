"""clouds.yaml: where a client on this machine finds the server and its credentials.

https://docs.openstack.org/openstacksdk/latest/user/config/configuration.html
"""

import asyncio
import contextlib
import ipaddress
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from naru.api.backend import Store
from naru.api.catalog import REGION
from naru.model.identity import DOMAIN_ID, Domain
from naru.service import identity
from naru.settings import SettingsError

_CLOUD = """\
  naru-{user}:
    auth:
      auth_url: {auth_url}
      username: {user}
      password: "{password}"
      project_name: {user}
      user_domain_name: Default
      project_domain_name: Default
    region_name: {region}
    identity_api_version: 3
"""

_ANY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]", "::": "[::1]"}  # noqa: S104 - asks, does not bind


async def keep_clouds(store: Store, path: Path, url: str) -> None:
    """Seed the users and keep their passwords in clouds.yaml; who is not in there gets a new random one.

    What an administrator changed since, through the API, stays: another password, a user who is gone.
    """
    kept = _read_passwords(path)
    is_new = store.view.get(Domain, DOMAIN_ID) is None
    passwords: dict[str, str] = {}
    hashes: dict[str, str] = {}
    for name in identity.SEED_USERS:
        passwords[name] = kept.get(name) or secrets.token_hex(16)  # no character means anything to a shell or an option parser
        if is_new or name not in kept:
            hashes[name] = await asyncio.to_thread(identity.hash_password, passwords[name])
    await store.write(lambda view: identity.seed_identity(view, hashes))
    _write_clouds(path, f"{url}/identity/v3", passwords)


def reachable(bind: str) -> str:
    """Where a client on this machine finds a server that listens at `bind`."""
    host, _, port = bind.rpartition(":")
    return f"{_ANY_ADDRESS.get(host, host)}:{port}"


def require_loopback(bind: str) -> None:
    """Raises SettingsError where others than this machine could reach a server that asks nobody who he is."""
    host = bind.rpartition(":")[0].strip("[]")
    try:
        is_loopback = host in ("", "localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise SettingsError(f'auth = "none" makes everyone an administrator; it is for a loopback address, not {bind}')


def _write_clouds(path: Path, auth_url: str, passwords: Mapping[str, str]) -> None:
    """One cloud for each user, on the project of his name. The file is for its owner alone, and whole or not there."""
    clouds = (_CLOUD.format(user=user, password=password, auth_url=auth_url, region=REGION) for user, password in passwords.items())
    text = "clouds:\n" + "".join(clouds)
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == text.encode() and path.stat().st_mode & 0o077 == 0:
            return
    written = path.with_name(f"{path.name}.new")
    written.unlink(missing_ok=True)
    descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    written.rename(path)


def _read_passwords(path: Path) -> dict[str, str]:
    """user -> password, as `_write_clouds` wrote them; nothing of a file that is not there or not ours."""
    try:
        text = path.read_text()
    except (FileNotFoundError, UnicodeDecodeError):
        return {}
    return dict(re.findall(r'^      username: (\S+)\n      password: "([^"\n]+)"$', text, re.MULTILINE))
