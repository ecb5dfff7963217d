"""A lab that runs, for tests that look at it from outside: its API, its hosts, and a world beyond its physical network."""

import contextlib
import os
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from agent_host import child_of
from naru.drivers.announce import CLONE_NEWNET, enter_namespace
from naru.lab.cloud import connect
from naru.lab.running import enter, find_lab, outside_pids
from naru.model.devices import instance_netns
from naru.testing import eventually

ANSWER_WHO = """
import socket, sys
server = socket.create_server(("", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    peer, (address, *_) = server.accept()
    peer.sendall(f"{sys.argv[2]} hears {address.removeprefix('::ffff:')}".encode())
    peer.close()
"""
ASK = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 2) as peer:
    print(peer.recv(1000).decode())
"""


class LiveLab:
    """`naru lab up` with a naru.toml of the test's; only root may look into it from outside."""

    def __init__(self, directory: Path, config: str, hosts: int, mechanism: str, guest: Path | None) -> None:
        self.state_dir = directory / "lab"
        (directory / "naru.toml").write_text(config)
        command = [sys.executable, "-m", "naru", "lab", "up", "--hosts", str(hosts), "--state-dir", str(self.state_dir)]
        command += [word for of_hosts in mechanism.split() for word in ("--mechanism", of_hosts)]
        command += ["--guest", str(guest)] if guest else []
        with (directory / "lab.log").open("w") as log:
            self._lab = subprocess.Popen([*command, "--config", str(directory / "naru.toml")], stdout=log, stderr=subprocess.STDOUT)
        try:
            self.running = eventually(lambda: find_lab(self.state_dir), 60)
        except AssertionError:
            self._lab.terminate()
            self._lab.wait(20)
            raise
        self._inside = ThreadPoolExecutor(1, initializer=enter_namespace, initargs=(Path(f"/proc/{self.running.pid}/ns/net"), CLONE_NEWNET))
        self.beside = ["nsenter", "-t", str(self.running.pid), "-n", "-m", "-p"]  # in the lab, on none of its hosts
        services = self._inside.submit(connect, Path(self.running.clouds_yaml), "naru-admin").result()
        self._http = services
        self._servers: list[subprocess.Popen[str]] = []
        self.programs: dict[str, subprocess.Popen[bytes]] = {}  # those that the test started again
        self._commands: dict[str, tuple[list[str], dict[str, str]]] = {}  # of those that were killed or started again

    def close(self) -> None:
        for server in (*self._servers, *self.programs.values()):
            server.kill()
            server.wait()
        self._lab.terminate()
        self._lab.wait(20)
        for http in self._http.values():
            http.close()
        self._inside.shutdown()

    # -- the API

    def ask(self, method: str, path: str, body: Any = None, service: str = "network") -> Any:
        answer: httpx.Response = self._inside.submit(self._http[service].request, method, path, json=body).result()
        return answer.json() if answer.content else None

    def create(self, kind: str, **attributes: Any) -> dict[str, Any]:
        created: dict[str, Any] = self.ask("POST", f"/v2.0/{kind}s", {kind: attributes})[kind]
        return created

    def show(self, kind: str, id: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.ask("GET", f"/v2.0/{kind}s/{id}")[kind]
        return shown

    def update(self, kind: str, id: str, **attributes: Any) -> dict[str, Any]:
        updated: dict[str, Any] = self.ask("PUT", f"/v2.0/{kind}s/{id}", {kind: attributes})[kind]
        return updated

    def find(self, kind: str, **filters: str) -> list[dict[str, Any]]:
        query = "&".join(f"{key}={value}" for key, value in filters.items())
        listed: list[dict[str, Any]] = self.ask("GET", f"/v2.0/{kind}s?{query}")[f"{kind}s"]
        return listed

    def boot(self, name: str, network: Mapping[str, Any], host: str, port: str | None = None, **given: Any) -> "Instance":
        """With a port that is there already, or a new one on the network."""
        networks = [{"port": port} if port is not None else {"uuid": network["id"]}]
        wanted = given | {"name": name, "flavorRef": "1", "imageRef": "6e617275-0000-4000-8000-000000000001", "networks": networks}
        server = self.ask("POST", "servers", {"server": wanted | {"availability_zone": f"nova:{host}"}}, service="compute")["server"]
        (port,) = self.find("port", device_id=server["id"])
        return Instance(self, name, host, server["id"], port)

    # -- the hosts

    def enter(self, host: str) -> list[str]:
        return enter(self.running, host)

    def run(self, host: str, *argv: str, check: bool = True) -> str:
        done = subprocess.run([*self.enter(host), *argv], check=False, capture_output=True, text=True, timeout=30)
        assert not check or done.returncode == 0, f"{shlex.join(argv)} on {host}: {done.stderr}"
        return done.stdout

    def namespaces(self, host: str) -> set[str]:
        return {line.split()[0] for line in self.run(host, "ip", "netns").splitlines()}

    def log(self, name: str) -> str:
        return (self.state_dir / "logs" / f"{name}.log").read_text()

    def kill(self, name: str) -> tuple[list[str], dict[str, str]]:
        """End a program at once. -> the command line and the environment with which it is started again."""
        again = self.programs.pop(name, None)
        pid = child_of(again.pid) if again is not None else outside_pids(self.running.pid)[self.running.programs[name]]
        if name not in self._commands:
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
            environment = dict(pair.split("=", 1) for pair in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in pair)
            self._commands[name] = words, environment
        descriptor = os.pidfd_open(pid)
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        select.select([descriptor], [], [], 10)  # until it has ended, it holds its lock
        os.close(descriptor)
        if again is not None:
            again.wait()
        return self._commands[name]

    def start(self, name: str, words: list[str], environment: dict[str, str]) -> None:
        host = "controller01" if name == "server" else name.removeprefix("agent-")
        self._commands[name] = words, environment
        with (self.state_dir / "logs" / f"{name}.log").open("a") as log:
            self.programs[name] = subprocess.Popen([*self.enter(host), *words], env=environment, stdout=log, stderr=subprocess.STDOUT)

    # -- who talks to whom

    def world(self, *addresses: str) -> "World":
        """A namespace on the lab's physical network, where no host of the lab is."""
        lines = ["ip netns add world", "ip link add world type veth peer name eth0 netns world", "ip link set world master physnet2 up"]
        lines += ["ip -n world link set lo up", "ip -n world link set eth0 up", "ip netns exec world sysctl -qw net.ipv4.ip_forward=1"]
        lines += [f"ip -n world addr add {address} dev eth0{' nodad' if ':' in address else ''}" for address in addresses]
        for line in lines:
            subprocess.run([*self.beside, *line.split()], check=True, capture_output=True)
        return World(self, [*self.beside, "ip", "netns", "exec", "world"])

    def serve(self, enter: list[str], name: str, port: int) -> None:
        """Answer each TCP connection with who is heard."""
        self.run_server([*enter, sys.executable, "-c", ANSWER_WHO, str(port), name])

    def run_server(self, command: list[str]) -> None:
        """Start a program that says "ready"; it ends with the lab."""
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        server.stdout.close()
        self._servers.append(server)


class World:
    """Somebody who can send and answer."""

    def __init__(self, lab: LiveLab, enter: list[str], name: str = "world") -> None:
        self.lab, self.name, self.prefix = lab, name, enter

    def run(self, *argv: str, check: bool = True) -> str:
        done = subprocess.run([*self.prefix, *argv], check=False, capture_output=True, text=True, timeout=30)
        assert not check or done.returncode == 0, f"{shlex.join(argv)} by {self.name}: {done.stderr}"
        return done.stdout

    def serve(self, port: int) -> None:
        self.lab.serve(self.prefix, self.name, port)

    def hears(self, address: str, port: int) -> str:
        """What a server there says; "" if none answers."""
        return self.run(sys.executable, "-c", ASK, address, str(port), check=False).strip()

    def pings(self, address: str) -> bool:
        return " 0% packet loss" in self.run("ping", "-c", "1", "-W", "1", address, check=False)


class Instance(World):
    """An instance of the lab, on its host."""

    def __init__(self, lab: LiveLab, name: str, host: str, id: str, port: dict[str, Any]) -> None:
        super().__init__(lab, [*lab.enter(host), "ip", "netns", "exec", instance_netns(id)], name)
        self.host, self.id, self.port = host, id, port

    @property
    def address(self) -> str:
        return next(ip["ip_address"] for ip in self.port["fixed_ips"] if ":" not in ip["ip_address"])

    def has_lease(self) -> bool:
        return self.address in self.run("ip", "address", check=False)


@contextlib.contextmanager
def live_lab(directory: Path, config: str, hosts: int = 3, mechanism: str = "linuxbridge", guest: Path | None = None) -> Iterator[LiveLab]:
    """`mechanism`: of all hosts, and of single ones: "linuxbridge compute01=openvswitch"."""
    lab = LiveLab(directory, config, hosts, mechanism, guest)
    try:
        yield lab
    finally:
        lab.close()
