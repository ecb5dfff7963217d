"""A server as users start it: a process of its own, on a loopback port, with a state directory."""

import os
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import httpx
import yaml


class Serving:
    """`naru server` (or another command that takes --bind and --state-dir) from start to stop."""

    def __init__(self, state_dir: Path, command: str = "server", cafile: str = "", within_s: float = 20, **environ: str) -> None:
        """Start it and wait for the first answer, `within_s` at most; `started_after_s` says how long that took."""
        self.address = ("127.0.0.1", _free_port())
        self.url = f"http{'s' if cafile else ''}://127.0.0.1:{self.address[1]}"
        self._tls = ssl.create_default_context(cafile=cafile) if cafile else None
        self.state_dir = state_dir
        state_dir.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, "-m", "naru.cli.main", *shlex.split(command)]
        argv += ["--bind", f"127.0.0.1:{self.address[1]}", "--state-dir", str(state_dir)]
        began = time.perf_counter()
        with (state_dir / "server.log").open("ab") as log:
            self.process = subprocess.Popen(argv, env=os.environ | environ, stdout=log, stderr=log)
        try:
            self._wait_for_answer(within_s)
        except BaseException:
            self.kill()
            raise
        self.started_after_s = time.perf_counter() - began

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it as an operator would."""
        self.process.terminate()
        try:
            self.process.wait(10)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it without a chance to tidy up."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def log(self) -> str:
        return (self.state_dir / "server.log").read_text()

    def token(self) -> str:
        """Of the administrator in clouds.yaml; empty where the server asks for none."""
        clouds = self.state_dir / "clouds.yaml"
        if not clouds.exists():
            return ""
        auth = yaml.safe_load(clouds.read_text())["clouds"]["naru-admin"]["auth"]
        user = {"name": auth["username"], "password": auth["password"], "domain": {"id": "default"}}
        project = {"name": auth["project_name"], "domain": {"id": "default"}}
        identity = {"methods": ["password"], "password": {"user": user}}
        asked = {"auth": {"identity": identity, "scope": {"project": project}}}
        answer = httpx.post(f"{self.url}/identity/v3/auth/tokens", json=asked, trust_env=False)
        answer.raise_for_status()
        return answer.headers["X-Subject-Token"]

    def client(self) -> httpx.Client:
        """Speaks to the network API as the administrator."""
        return httpx.Client(base_url=f"{self.url}/v2.0", headers={"X-Auth-Token": self.token()}, trust_env=False, timeout=30)

    def _connect(self, within_s: float) -> socket.socket:
        connection = socket.create_connection(self.address, timeout=within_s)
        return connection if self._tls is None else self._tls.wrap_socket(connection, server_hostname=self.address[0])

    def _wait_for_answer(self, within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with self._connect(within_s) as connection:
                    connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    if b" 200 " in connection.recv(64):
                        return
            except OSError:
                time.sleep(0.002)  # noqa: TID251 - a start is timed to milliseconds
        raise AssertionError(f"no answer from the server; its log ends in:\n{self.log()[-2000:]}")


def certify(folder: Path, name: str) -> Path:
    """Make a CA of our own, `ca.pem`, and a certificate of it for a name as "IP:127.0.0.1": `server.pem`, `server.key`. -> the folder."""
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    for file, more in {
        "ca": ["-subj", "/CN=our CA", "-addext", "keyUsage=critical,keyCertSign"],
        "server": ["-subj", "/CN=naru", "-addext", f"subjectAltName={name}", "-CA", "ca.pem", "-CAkey", "ca.key"],
    }.items():
        subprocess.run([*new, "-keyout", f"{file}.key", "-out", f"{file}.pem", *more], cwd=folder, check=True, capture_output=True)
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
