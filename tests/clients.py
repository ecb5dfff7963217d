"""The clients that people use, the command lines and plain HTTP, with the credentials of a server; and a host without a kernel."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import msgspec
import yaml
from openstack.config import OpenStackConfig
from openstack.connection import Connection

from naru.model.hostreport import HostDescription, HostReport, InstanceReport
from naru.model.hoststate import Bookmark, Frame, InstanceState, Put, Value
from serving import Serving

PROGRAMS = Path(sys.executable).parent


class Clients:
    """What the users of a server's clouds.yaml do with it."""

    def __init__(self, serving: Serving) -> None:
        self.serving = serving

    def auth(self, user: str) -> dict[str, str]:
        clouds: dict[str, Any] = yaml.safe_load((self.serving.state_dir / "clouds.yaml").read_text())["clouds"]
        return dict(clouds[f"naru-{user}"]["auth"])

    def openstack(self, *arguments: str, user: str = "demo") -> Any:
        """The command's answer as JSON; raises AssertionError with what it printed where it fails."""
        done = self.try_openstack(*arguments, "-f", "json", user=user)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def try_openstack(self, *arguments: str, user: str = "demo") -> "subprocess.CompletedProcess[str]":
        clouds = str(self.serving.state_dir / "clouds.yaml")
        return self._run("openstack", "--os-cloud", f"naru-{user}", *arguments, OS_CLIENT_CONFIG_FILE=clouds)

    def nova(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        auth = self.auth("demo")
        options = {name.replace("_", "-"): value for name, value in auth.items()}
        return self._run("nova", *(word for name, value in options.items() for word in (f"--os-{name}", value)), *arguments)

    def _run(self, program: str, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        command = [str(PROGRAMS / program), *arguments]
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")} | environ
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    def ask_token(self, user: str = "demo", **changed: Any) -> httpx.Response:
        """POST auth/tokens as the user; `changed` replaces parts of the request: password, user, identity, scope."""
        auth = self.auth(user)
        who = {"name": auth["username"], "password": auth["password"], "domain": {"id": "default"}}
        who |= {key: changed[key] for key in ("name", "password", "domain") if key in changed}
        identity = changed.get("identity", {"methods": ["password"], "password": {"user": who}})
        body = {"identity": identity, "scope": {"project": {"name": auth["project_name"], "domain": {"name": "Default"}}}}
        if "scope" in changed:
            body["scope"] = changed["scope"]
        return httpx.post(f"{self.serving.url}/identity/v3/auth/tokens", json={"auth": body}, trust_env=False, timeout=30)

    def token(self, user: str = "demo") -> str:
        response = self.ask_token(user)
        response.raise_for_status()
        return response.headers["X-Subject-Token"]

    def http(self, user: str = "demo", **headers: str) -> httpx.Client:
        """Plain HTTP with a token of the user; paths start at the server's root."""
        base = {"X-Auth-Token": self.token(user)} | headers
        return httpx.Client(base_url=self.serving.url, headers=base, trust_env=False, timeout=30)

    def sdk(self, user: str = "demo") -> Connection:
        """openstacksdk as the user; to be closed."""
        clouds = OpenStackConfig(config_files=[str(self.serving.state_dir / "clouds.yaml")], load_envvars=False)
        return Connection(config=clouds.get_one(f"naru-{user}"))


class FakeHost:
    """A host whose agent achieves at once whatever it is asked for."""

    def __init__(self, serving: Serving, name: str, physical_networks: tuple[str, ...] = (), **more: Any) -> None:
        secret = (serving.state_dir / "agent-token").read_text().strip()
        url = f"{serving.url}/agent/v1/hosts/{name}"
        self.http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}, trust_env=False, timeout=30)
        can = {"dhcp": True, "instance_drivers": ("netns",), "port_filter": True} | more
        description = HostDescription("linuxbridge", physical_networks, "172.18.0.31", **can)
        self.http.put("", content=msgspec.json.encode(description)).raise_for_status()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.http.close()

    def achieve(self) -> None:
        """One pass: read the desired state, report all of it done."""
        values, revision = self.read()
        running = {value.instance_id for value in values.values() if isinstance(value, InstanceState) and value.running}
        instances = {id: InstanceReport("running") for id in running}
        report = HostReport(revision, ok=tuple(values), instances=instances, full=True)
        self.http.post("/report", content=msgspec.json.encode(report)).raise_for_status()

    def read(self) -> tuple[dict[str, Value], int]:
        """-> the desired state, and its revision."""
        values = {}
        with self.http.stream("GET", "/state") as frames:
            for line in frames.iter_lines():
                frame = msgspec.json.decode(line, type=Frame)
                if isinstance(frame, Bookmark):
                    break
                assert isinstance(frame, Put), frame
                values[frame.key] = frame.value
        return values, frame.revision


@contextmanager
def working(serving: Serving, name: str, **can: Any) -> Iterator[None]:
    """While it lasts, the agent of a host achieves at once whatever it is asked for."""
    ended = threading.Event()

    def work() -> None:
        with FakeHost(serving, name, **can) as host:
            while not ended.wait(0.1):
                host.achieve()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        ended.set()
        worker.join()
