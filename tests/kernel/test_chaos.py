"""kill -9 of any program at any moment, while networks, instances and rules come and go: in the end every host is what was asked for.

The moments and the victims follow from a seed. Another, longer storm:

    NARU_CHAOS_SEED=7 NARU_CHAOS_STEPS=200 pytest tests/kernel/test_chaos.py
"""

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from live_lab import Instance, LiveLab, live_lab
from naru.lab import LabError
from naru.lab.openvswitch import BRIDGES, START
from naru.testing import eventually

SEED, STEPS = int(os.environ.get("NARU_CHAOS_SEED", "1")), int(os.environ.get("NARU_CHAOS_STEPS", "12"))
AGENTS = ("agent-controller01", "agent-compute01", "agent-compute02")
COMPUTE = ("compute01", "compute02")
HOSTS = ("controller01", *COMPUTE)

# Sends a number every 10 ms and, when its input ends, says how many; the other end says which came.
SEND = """
import socket, sys, threading
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
number = 0
while not ended.wait(0.01):
    out.sendto(str(number).encode(), (sys.argv[1], 9000))
    number += 1
print(number)
"""
HEAR = """
import json, socket, sys, threading
into = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
into.bind(("", 9000))
heard = set()
def hear():
    while True:
        heard.add(int(into.recv(100)))
threading.Thread(target=hear, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
print(json.dumps(sorted(heard)))
"""


class Flow:
    """Datagrams from one instance to another, for as long as the storm goes on."""

    def __init__(self, sender: Instance, receiver: Instance) -> None:
        self.name = f"{sender.name} -> {receiver.name}"
        self._hear = self._start(receiver, HEAR)
        assert self._hear.stdout is not None
        assert self._hear.stdout.readline() == "ready\n"
        self._send = self._start(sender, SEND, receiver.address)

    def _start(self, instance: Instance, program: str, *arguments: str) -> subprocess.Popen[str]:
        command = [*instance.prefix, sys.executable, "-c", program, *arguments]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def end(self) -> tuple[int, list[int]]:
        """-> how many were sent, and which of them were lost."""
        sent = int(self._send.communicate(timeout=20)[0])
        threading.Event().wait(0.2)  # for what is still on its way
        heard = set(json.loads(self._hear.communicate(timeout=20)[0]))
        return sent, sorted(set(range(sent)) - heard)


class Storm:
    """Changes that somebody asks for, and the programs that die meanwhile."""

    def __init__(self, lab: LiveLab, more: tuple[str, ...]) -> None:
        self.lab = lab
        self.group = lab.ask("POST", "/v2.0/security-groups", {"security_group": {"name": "storm"}})["security_group"]["id"]
        self.random = random.Random(SEED)
        self.killed: list[str] = []
        self.plugged = 0  # ports that have come or gone
        self.wanted: dict[str, dict[str, Any]] = {}  # servers by name
        self.networks: list[dict[str, Any]] = []
        self.rules: list[str] = []
        self._changes = [self.boot, self.boot, self.delete, self.add_rule, self.remove_rule, self.add_network, self.rename]
        self._victims = [*AGENTS, *AGENTS, "server", "dnsmasq", *more]
        self._count = 0

    # -- changes

    def insist(self, method: str, path: str, body: Any = None, service: str = "network") -> Any:
        """As a client that does not give up: the server may be away, or have done it without having said so. -> None: it had."""
        unheard: list[str] = []

        def ask() -> tuple[Any]:
            try:
                return (self.lab.ask(method, path, body, service),)
            except httpx.HTTPError as error:
                unheard.append(repr(error))
                raise AssertionError(f"{method} {path}: {error!r}") from error

        try:
            return eventually(ask, 30)[0]
        except LabError:
            if unheard:
                return None
            raise

    def boot(self) -> None:
        self._count += 1
        self.plugged += 1
        name, host, network = f"storm{self._count}", self.random.choice(COMPUTE), self.random.choice(self.networks)
        wanted = {
            "name": name,
            "flavorRef": "1",
            "imageRef": "netns",
            "networks": [{"uuid": network["id"]}],
            "availability_zone": f"nova:{host}",
        }
        wanted["security_groups"] = [{"name": self.random.choice(["storm", "default"])}]
        self.wanted[name] = self.insist("POST", "servers", {"server": wanted}, "compute")["server"]

    def delete(self) -> None:
        if self.wanted:
            self.plugged += 1
            name = self.random.choice(sorted(self.wanted))
            self.insist("DELETE", f"servers/{self.wanted.pop(name)['id']}", service="compute")

    def add_rule(self) -> None:
        port = self.random.randrange(1000, 9000)
        rule = {"security_group_id": self.group, "direction": "ingress", "protocol": "tcp", "port_range_min": port, "port_range_max": port}
        made = self.insist("POST", "/v2.0/security-group-rules", {"security_group_rule": rule})
        if made is not None:
            self.rules.append(made["security_group_rule"]["id"])

    def remove_rule(self) -> None:
        if self.rules:
            self.insist("DELETE", f"/v2.0/security-group-rules/{self.rules.pop()}")

    def add_network(self) -> None:
        self.plugged += 1  # its DHCP server's
        number = len(self.networks) + 1
        network = self.insist("POST", "/v2.0/networks", {"network": {"name": f"storm{number}"}})["network"]
        self.insist("POST", "/v2.0/subnets", {"subnet": {"network_id": network["id"], "ip_version": 4, "cidr": f"10.{number}.0.0/24"}})
        self.networks.append(network)

    def rename(self) -> None:
        """A port's name is a name that its DHCP server knows."""
        if self.wanted:
            server = self.wanted[self.random.choice(sorted(self.wanted))]
            ports = self.insist("GET", f"/v2.0/ports?device_id={server['id']}")["ports"]
            for port in ports:
                self.insist("PUT", f"/v2.0/ports/{port['id']}", {"port": {"name": f"renamed{self._count}", "description": "in a storm"}})

    # -- deaths

    def kill(self, victim: str) -> None:
        """At once; what an operator's supervisor would start again is started again a moment later."""
        self.killed.append(victim)
        if victim in self.lab.running.programs:
            again = self.lab.kill(victim)
            self._pause(0.3)
            self.lab.start(victim, *again)
        elif victim == "dnsmasq":
            self.lab.run("controller01", "sh", "-c", "for file in /run/naru/dhcp/*/pid; do kill -9 $(cat $file); done", check=False)
        else:
            host = self.random.choice(COMPUTE)
            self.lab.run(host, "sh", "-c", f"kill -9 $(cat /run/openvswitch/{victim}.pid)")
            self.lab.run(host, "sh", "-ec", START, "sh", "/dev/null")
            self.lab.run(host, "sh", "-ec", BRIDGES, "sh", f"172.18.0.3{host[-1]}/24")

    def _pause(self, most_s: float) -> None:
        threading.Event().wait(self.random.uniform(0, most_s))

    # -- the whole of it

    def rage(self, steps: int) -> None:
        with ThreadPoolExecutor(1) as client:
            for _ in range(steps):
                change = client.submit(self.random.choice(self._changes))
                self._pause(0.4)
                self.kill(self.random.choice(self._victims))
                change.result()

    def is_over(self) -> bool:
        """Everything that was asked for is there, and nothing that was not."""
        servers = self.lab.ask("GET", "servers/detail", service="compute")["servers"]
        named = {server["name"]: server["status"] for server in servers if server["name"].startswith("storm")}
        assert {name: named.get(name) for name in self.wanted} == dict.fromkeys(self.wanted, "ACTIVE")
        for server in servers:
            if server["name"].startswith("storm") and server["id"] not in {one["id"] for one in self.wanted.values()}:
                self.insist("DELETE", f"servers/{server['id']}", service="compute")  # made, but its client never heard of it
                raise AssertionError(f"{server['name']} was made twice")
        ports = self.lab.find("port")
        assert {port["id"]: port["status"] for port in ports} == {port["id"]: "ACTIVE" for port in ports}
        return True


@pytest.fixture
def lab(mechanism, tmp_path) -> Iterator[LiveLab]:
    """With a fourth host, whose agent is never killed: a lab ends with the last of the programs that it started."""
    with live_lab(tmp_path, "[agent]\nreport_interval_s = 1.0\n", hosts=4, mechanism=mechanism) as made:
        yield made


OVS = pytest.mark.needs("ovs-vswitchd")


@pytest.mark.parametrize(
    ("mechanism", "more"),
    [
        pytest.param("linuxbridge", (), marks=pytest.mark.needs("nft")),
        pytest.param("openvswitch", (), marks=OVS),
        pytest.param("openvswitch", ("ovsdb-server", "ovs-vswitchd"), marks=OVS),
    ],
    ids=["linuxbridge", "openvswitch", "switch"],
)
def test_after_a_storm_of_kills_every_host_is_what_was_asked_for_and_what_stood_still_lost_nothing(lab, mechanism, more):
    storm = Storm(lab, more)
    storm.add_network()
    still = [lab.boot(f"still{number}", storm.networks[0], host) for number, host in enumerate(("compute01", "compute02", "compute01"))]
    for instance in still:
        eventually(instance.has_lease, 20)
    pairs = ((still[0], still[1]), (still[1], still[0]), (still[0], still[2]))
    for one, other in pairs:
        eventually(lambda one=one, other=other: one.pings(other.address), 10)
    flows = [Flow(one, other) for one, other in pairs]
    try:
        storm.rage(STEPS)
        eventually(storm.is_over, 60)
    finally:
        ended = {flow.name: flow.end() for flow in flows}
    lost = {name: missing for name, (_, missing) in ended.items() if missing}
    assert all(sent > 100 for sent, _ in ended.values())
    if mechanism == "linuxbridge":
        assert lost == {}, storm.killed
    elif not more:
        # A switch in user space was seen to drop a packet of a tunnel in the moment in which it adds a port. (It carries the packets
        # itself: when it dies, or its database does, there is a gap that no agent can fill.)
        assert max(map(len, lost.values()), default=0) <= storm.plugged, (lost, storm.killed)
    for host in HOSTS:
        assert_right(lab, host)
    for server in lab.ask("GET", "servers", service="compute")["servers"]:
        lab.ask("DELETE", f"servers/{server['id']}", service="compute")
    for network in lab.find("network"):
        eventually(lambda network=network: is_gone(lab, network), 20)
    for host in HOSTS:
        eventually(lambda host=host: leftovers(lab, host, mechanism) == "", 20)


def is_gone(lab: LiveLab, network: dict[str, Any]) -> bool:
    try:
        lab.ask("DELETE", f"/v2.0/networks/{network['id']}")
    except LabError as refused:
        raise AssertionError(refused) from None
    return True


def assert_right(lab: LiveLab, host: str) -> None:
    """An agent that remembers nothing, and knows the whole intent, finds nothing to do."""
    words, environment = lab.kill(f"agent-{host}")
    memory = lab.state_dir / host / "agent" / f"{host}.json"
    memory.unlink()
    before = len(lab.log(f"agent-{host}"))
    lab.start(f"agent-{host}", words, environment)
    eventually(memory.exists, 20)  # written after the first pass that knew everything
    assert " wired " not in lab.log(f"agent-{host}")[before:]


def leftovers(lab: LiveLab, host: str, mechanism: str) -> str:
    """What is there of ours."""
    found = lab.run(host, "ip", "netns")
    if mechanism == "openvswitch":
        return found + lab.run(host, "sh", "-c", "ovs-vsctl list-br | grep -x 'br-int\\|br-tun' || true")
    return found + lab.run(host, "sh", "-c", "ip -br link | grep '^brq\\|^tap\\|^vxlan' || true; nft list tables | grep naru || true")
