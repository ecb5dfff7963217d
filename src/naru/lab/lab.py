"""A lab at work: the hosts, a server on controller01, an agent on every host, each a process of its own."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import msgspec

from naru.lab import LabError
from naru.lab.cloud import connect
from naru.lab.hosts import Host, create_hosts, host_names
from naru.lab.openvswitch import BRIDGE_MAPPINGS, start_open_vswitch, sum_up

CONTROLLER = "controller01"
MECHANISMS = ("linuxbridge", "openvswitch")
_PORT = 9696
_START_S = 20.0  # a machine that is busy takes its time


class Lab(msgspec.Struct, frozen=True):
    hosts: dict[str, Host]
    programs: dict[str, subprocess.Popen[bytes]]  # `server`, `agent-compute01` …: the name is that of its log
    state_dir: Path
    url: str

    @property
    def clouds_yaml(self) -> Path:
        return self.state_dir / "server" / "clouds.yaml"

    @property
    def logs(self) -> Path:
        return self.state_dir / "logs"


def start_lab(
    host_count: int, state_dir: Path, mechanisms: Sequence[str] = (), config: Path | None = None, guest: Path | None = None
) -> Lab:
    """Make the hosts and start the programs; returns when the server answers and knows every host as alive.

    `mechanisms` are as `choose_mechanisms` has them. `config` is a naru.toml for all programs; what a host of the lab needs goes before
    it. `guest`: what virtual machines boot.
    """
    names = host_names(host_count)
    chosen = choose_mechanisms(mechanisms, names)
    hosts = create_hosts(names)
    for name, host in hosts.items():
        if chosen[name] == "openvswitch":
            start_open_vswitch(host)
        elif "openvswitch" in chosen.values():
            sum_up(host)
    lab = Lab(hosts, {}, state_dir, f"http://{hosts[CONTROLLER].management}:{_PORT}")
    lab.logs.mkdir(parents=True)
    server_dir = state_dir / "server"
    bind = f"{hosts[CONTROLLER].management}:{_PORT}"
    more = ["--config", str(config)] if config is not None else []
    _start_program(lab, "server", hosts[CONTROLLER], ["server", "--bind", bind, "--state-dir", str(server_dir), *more], {})
    token_file = server_dir / "agent-token"
    _require(lab, "the server has made the agents' token", lambda: token_file.exists() and token_file.stat().st_size > 0)
    for host in hosts.values():
        arguments = ["agent", "--host", host.name, "--server", lab.url, "--token-file", str(token_file), *more]
        _start_program(lab, f"agent-{host.name}", host, arguments, agent_settings(host, state_dir, chosen[host.name], guest))
    _require(lab, "the server answers", lambda: _answers(lab.url))
    agents = connect(lab.clouds_yaml, "naru-admin")["network"]
    _require(lab, "every host's agent is alive", lambda: _alive_hosts(agents) >= hosts.keys())
    return lab


def choose_mechanisms(words: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Host -> mechanism: a word is one for all hosts, or `HOST=MECHANISM`; Linux bridges where nothing is said. Raises LabError."""
    pairs = [word.rpartition("=")[::2] for word in words]
    for host, mechanism in pairs:
        if mechanism not in MECHANISMS:
            raise LabError(f"{mechanism} is no mechanism; there are {' and '.join(MECHANISMS)}")
        if host and host not in names:
            raise LabError(f"there is no host {host} in this lab; there are {', '.join(names)}")
    of_all = next((mechanism for host, mechanism in pairs if not host), MECHANISMS[0])
    return dict.fromkeys(names, of_all) | {host: mechanism for host, mechanism in pairs if host}


def agent_settings(host: Host, state_dir: Path, mechanism: str, guest: Path | None = None) -> dict[str, str]:
    """The environment of a host's agent: the controller runs DHCP servers, the other hosts run instances."""
    is_controller = host.name == CONTROLLER
    if mechanism == "openvswitch":
        switch = {"NARU_AGENT_BRIDGE_MAPPINGS": BRIDGE_MAPPINGS, "NARU_AGENT_OVS_DATAPATH_TYPE": "netdev"}
    else:
        switch = {"NARU_AGENT_PHYSICAL_INTERFACE_MAPPINGS": "physnet2:eth2"}
    drivers = [] if is_controller else ["netns", "qemu"] if guest is not None else ["netns"]
    return switch | {
        "NARU_STATE_DIR": str(state_dir / host.name),
        "NARU_AGENT_MECHANISM": mechanism,
        "NARU_AGENT_LOCAL_IP": str(host.tunnel),
        "NARU_AGENT_DHCP": str(is_controller).lower(),
        "NARU_AGENT_INSTANCE_DRIVERS": json.dumps(drivers),
        **({"NARU_AGENT_GUEST_DIR": str(guest)} if guest is not None else {}),
    }


def holds_within(lab: Lab, check: Callable[[], bool], within_s: float) -> bool:
    """Whether `check` comes to hold in time. Raises LabError when a program of the lab has ended meanwhile."""
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while not check():
        for name, program in lab.programs.items():
            if program.poll() is not None:
                raise LabError(f"{name} ended with exit code {program.returncode}: {_last_line(lab.logs / f'{name}.log')}")
        if time.monotonic() > deadline:
            return False
        pause.wait(0.02)
    return True


def _require(lab: Lab, what: str, check: Callable[[], bool]) -> None:
    if not holds_within(lab, check, _START_S):
        raise LabError(f"waited {_START_S:.0f} s in vain until {what}")


def _start_program(lab: Lab, name: str, host: Host, arguments: list[str], settings: dict[str, str]) -> None:
    with (lab.logs / f"{name}.log").open("wb") as log:
        lab.programs[name] = subprocess.Popen(
            host.enter(sys.executable, "-m", "naru", *arguments),
            env=_environment() | settings,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _environment() -> dict[str, str]:
    """The caller's, without its settings of Naru and its proxies: neither is meant for the lab."""
    return {key: value for key, value in os.environ.items() if not key.startswith("NARU_") and not key.lower().endswith("_proxy")}


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=1.0).is_success
    except httpx.TransportError:
        return False


def _alive_hosts(network: httpx.Client) -> set[str]:
    return {agent["host"] for agent in network.get("/v2.0/agents").json()["agents"] if agent["alive"]}


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"it said nothing in {log.name}"
