"""A real Keystone in a directory: SQLite, Fernet keys, one process on loopback; and the two requests that tests make of it."""

import getpass
import grp
import os
import secrets
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any, Self

import httpx

from naru.testing import eventually

PROGRAMS = Path(__file__).parents[1] / ".venv-keystone" / "bin"

_CONFIG = """\
[DEFAULT]
log_dir = {home}

[database]
connection = sqlite:///{home}/keystone.db

[token]
provider = fernet

[fernet_tokens]
key_repository = {home}/fernet

[identity]
password_hash_rounds = 4

[cache]
enabled = false
"""

_SERVE = """\
import sys
port = int(sys.argv.pop())  # what stays, oslo.config reads
from keystone.server.wsgi import initialize_public_application
from werkzeug.serving import run_simple
run_simple("127.0.0.1", port, initialize_public_application(), threaded=True)
"""

Scope = dict[str, Any]


class RealKeystone:
    """With the users of `bootstrap` and those that tests make; start and stop it as often as needed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.password = secrets.token_hex(8)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v3"
        self._config = home / "keystone.conf"
        self._config.write_text(_CONFIG.format(home=home))
        self._manage("db_sync")
        self._manage("fernet_setup", "--keystone-user", getpass.getuser(), "--keystone-group", grp.getgrgid(os.getegid()).gr_name)
        self._manage("bootstrap", "--bootstrap-password", self.password, "--bootstrap-public-url", self.url)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        self.http = httpx.Client(base_url=self.url, trust_env=False, timeout=30)
        self.http.headers["X-Auth-Token"] = self.token("admin", self.password, on="admin")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.http.close()
        self.stop()

    def start(self) -> None:
        environ = os.environ | {"OS_KEYSTONE_CONFIG_DIR": str(self.home), "OS_KEYSTONE_CONFIG_FILES": "keystone.conf"}
        with (self.home / "served.log").open("ab") as log:
            argv = [str(PROGRAMS / "python"), "-c", _SERVE, str(self.port)]
            process = self._process = subprocess.Popen(argv, env=environ, stdout=log, stderr=log)
        try:
            eventually(lambda: self._answers() or process.poll() is not None, within_s=60)
            assert process.poll() is None
        except AssertionError:
            self.stop()
            raise AssertionError(f"Keystone does not answer; its log ends in:\n{(self.home / 'served.log').read_text()[-2000:]}") from None

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def token(self, name: str, password: str, on: str | None = None, scope: Scope | None = None) -> str:
        """Of a user, on the project `on` or for another scope."""
        user = {"name": name, "password": password, "domain": {"id": "default"}}
        auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
        if on is not None:
            auth["scope"] = {"project": {"name": on, "domain": {"id": "default"}}}
        elif scope is not None:
            auth["scope"] = scope
        answer = httpx.post(f"{self.url}/auth/tokens", json={"auth": auth}, trust_env=False, timeout=30)
        answer.raise_for_status()
        return answer.headers["X-Subject-Token"]

    def create(self, singular: str, **body: Any) -> str:
        """-> the id."""
        answer = self.http.post(f"/{singular}s", json={singular: body})
        answer.raise_for_status()
        return str(answer.json()[singular]["id"])

    def user(self, name: str, project_id: str, *roles: str) -> str:
        """A user whose password is his name, with roles on a project. -> his id."""
        id = self.create("user", name=name, password=name)
        by_name = {role["name"]: role["id"] for role in self.http.get("/roles").json()["roles"]}
        for role in roles:
            self.http.put(f"/projects/{project_id}/users/{id}/roles/{by_name[role]}").raise_for_status()
        return id

    def revoke(self, token: str) -> None:
        self.http.delete("/auth/tokens", headers={"X-Subject-Token": token}).raise_for_status()

    def _manage(self, *arguments: str) -> None:
        command = [str(PROGRAMS / "keystone-manage"), "--config-file", str(self._config), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, done.stderr[-2000:]

    def _answers(self) -> bool:
        try:
            return httpx.get(self.url, trust_env=False, timeout=30).is_success
        except httpx.TransportError:
            return False
