"""A lab for tests: real hosts, server and agents, as `naru lab up` makes them; its API, and commands on its hosts."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from naru.lab.running import enter, outside_pids, require_lab
from naru.testing import eventually

NARU = [sys.executable, "-m", "naru"]
CALLS = """
import json, sys
from pathlib import Path
from naru.lab import LabError
from naru.lab.cloud import log_in, read_cloud
auth, projects = read_cloud(Path(sys.argv[1]), "naru-admin"), {}
for line in sys.stdin:
    project, service, method, path, body = json.loads(line)
    if project not in projects:
        projects[project] = log_in(auth | ({"project_name": project} if project else {}))
    try:
        answer = projects[project][service].request(method, path, json=body)
        said = answer.json() if answer.content else {}
    except LabError as error:
        said = {"refused": str(error)}
    print(json.dumps(said), flush=True)
"""


class LabCloud:
    """Ends with `close`, and everything in it too."""

    def __init__(self, state_dir: Path, *options: str) -> None:
        self.state_dir = state_dir
        subprocess.run([*NARU, "lab", "up", "--detach", "--state-dir", str(state_dir), *options], check=True, timeout=120)
        self.running = require_lab(state_dir)
        self._restarted: list[subprocess.Popen[bytes]] = []
        inside = enter(self.running, "controller01")
        self._api = subprocess.Popen(
            [*inside, sys.executable, "-c", CALLS, self.running.clouds_yaml], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )  # fmt: skip

    def close(self) -> None:
        subprocess.run([*NARU, "lab", "down", "--state-dir", str(self.state_dir)], check=True, timeout=60)
        for pipe in (self._api.stdin, self._api.stdout):
            assert pipe is not None
            pipe.close()
        for child in (self._api, *self._restarted):
            child.wait(10)
        for log in sorted(self.state_dir.glob("logs/*.log")):
            print(f"--- {log.name}", *log.read_text(errors="replace").splitlines()[-40:], sep="\n")

    def call(self, service: str, method: str, path: str, body: Any = None, project: str = "") -> Any:
        """By the administrator, in his own project or in another that he has a role in."""
        assert self._api.stdin is not None
        assert self._api.stdout is not None
        self._api.stdin.write(json.dumps([project, service, method, path, body]) + "\n")
        self._api.stdin.flush()
        said = json.loads(self._api.stdout.readline())
        assert "refused" not in said, said
        return said

    def on(self, host: str, *command: str, check: bool = True, stdin: str = "") -> str:
        """What a command on a host printed."""
        argv = [*enter(self.running, host), *command]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60, input=stdin)
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def on_wires(self, *command: str) -> str:
        """What a command in the lab's own network namespace, where the wires are, printed."""
        (pid,) = (outside for inside, outside in outside_pids(self.running.pid).items() if inside == 1)
        argv = ["nsenter", "-t", str(pid), "--net", "--", *command]
        return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout

    def restart_agent(self, host: str, meanwhile: Callable[[], None]) -> Path:
        """Kill an agent, do something, and start it as it was; returns its new log."""
        pid = outside_pids(self.running.pid)[self.running.programs[f"agent-{host}"]]
        argv = Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
        environment = dict(pair.split("=", 1) for pair in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in pair)
        os.kill(pid, signal.SIGKILL)
        meanwhile()
        log = self.state_dir / f"logs/agent-{host}-again.log"
        with log.open("w") as file:
            self._restarted.append(subprocess.Popen([*enter(self.running, host), *argv], env=environment, stdout=file, stderr=file))
        return log

    # -- what there is

    def network(self, name: str, cidr: str, **attributes: Any) -> dict[str, Any]:
        network: dict[str, Any] = self.call("network", "POST", "/v2.0/networks", {"network": {"name": name, **attributes}})["network"]
        self.call("network", "POST", "/v2.0/subnets", {"subnet": {"network_id": network["id"], "cidr": cidr, "ip_version": 4}})
        return network

    def boot(self, name: str, network: dict[str, Any]) -> str:
        """-> id"""
        wanted = {"name": name, "flavorRef": "1", "imageRef": "netns", "networks": [{"uuid": network["id"]}]}
        return str(self.call("compute", "POST", "/servers", {"server": wanted})["server"]["id"])

    def delete(self, servers: list[str], networks: list[str]) -> None:
        for server in servers:
            self.call("compute", "DELETE", f"/servers/{server}")
        for network in networks:
            eventually(lambda network=network: self._gone(network), 20, 0.2)

    def _gone(self, network: str) -> bool:
        self.call("network", "DELETE", f"/v2.0/networks/{network}")
        return True

    def instances(self) -> dict[str, "Instance"]:
        """By name, once all are ACTIVE and have their leases."""

        def all_active() -> dict[str, Instance]:
            servers = self.call("compute", "GET", "/servers/detail")["servers"]
            assert {server["name"]: server["status"] for server in servers} == {server["name"]: "ACTIVE" for server in servers}
            return {server["name"]: Instance(self, server) for server in servers}

        return eventually(all_active, 40, 0.2)


class Instance:
    """An instance of Naru's own: a namespace on one of the hosts."""

    def __init__(self, lab: LabCloud, server: dict[str, Any]) -> None:
        self._lab = lab
        self.id = server["id"]
        self.host = server["OS-EXT-SRV-ATTR:host"]
        ((entry, *_),) = server["addresses"].values()
        self.address = entry["addr"]
        self.netns = f"instance-{self.id}"

    def run(self, *command: str, check: bool = True) -> str:
        return self._lab.on(self.host, "ip", "netns", "exec", self.netns, *command, check=check)

    def reaches(self, other: "Instance", patience_s: int = 3) -> bool:
        said = self.run("ping", "-c", "1", "-i", "0.2", "-w", str(patience_s), other.address, check=False)
        return " 0% packet loss" in said or ", 1 received" in said
