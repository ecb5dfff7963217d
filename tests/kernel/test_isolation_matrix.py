"""Who reaches whom: networks x projects x groups x hosts, IPv4 and IPv6, each pair asked by real packets.

What is expected follows from the tables below by `Oracle`, which knows nothing of Naru: it says what security groups mean in twenty lines.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from itertools import permutations
from typing import NamedTuple

import pytest

from lab_cloud import LabCloud
from naru.lab.running import enter
from naru.model.devices import instance_netns
from naru.testing import eventually

PROGRAM = """
import json, os, selectors, socket, struct, sys, threading, time

def answer(server):
    while True:
        text, peer = server.recvfrom(100)
        server.sendto(text, peer)

for port in (80, 81):
    listener = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1000)
    globals()[f"listener{port}"] = listener
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
udp.bind(("", 53))
threading.Thread(target=answer, args=(udp,), daemon=True).start()

def echo(number, family):
    words = struct.pack("!BBHHH", 8 if family == socket.AF_INET else 128, 0, 0, os.getpid() & 0xFFFF, number)
    if family == socket.AF_INET:  # of version 6, the kernel sums
        total = sum(struct.unpack("!4H", words))
        words = words[:2] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + words[4:]
    return words

def ask(probes, seconds):
    reached, waiting, again = set(), selectors.DefaultSelector(), []
    raw = {}
    for family, protocol in ((socket.AF_INET, socket.IPPROTO_ICMP), (socket.AF_INET6, socket.IPPROTO_ICMPV6)):
        raw[family] = socket.socket(family, socket.SOCK_RAW, protocol)
        waiting.register(raw[family], selectors.EVENT_READ, None)
    for number, (kind, address, port) in enumerate(probes):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        if kind == "icmp":
            again.append(lambda number=number, family=family, address=address: raw[family].sendto(echo(number, family), (address, 0)))
            continue
        asking = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        asking.setblocking(False)
        asking.connect_ex((address, port))
        waiting.register(asking, selectors.EVENT_WRITE if kind == "tcp" else selectors.EVENT_READ, number)
        if kind == "udp":
            again.append(lambda asking=asking: asking.send(b"?"))
    ends = time.monotonic() + seconds
    for pause in (0, seconds / 3, seconds / 3):  # what was lost while its neighbour was looked for is said again
        due = time.monotonic() + pause
        while (left := due - time.monotonic()) > 0:
            take(waiting, raw, left, reached)
        for send in again:
            try:
                send()
            except OSError:
                pass
    while (left := ends - time.monotonic()) > 0:
        take(waiting, raw, left, reached)
    for key in list(waiting.get_map().values()):
        key.fileobj.close()
    return sorted(reached)

def take(waiting, raw, seconds, reached):
    for key, _ in waiting.select(seconds):
        if key.data is None:
            words, (peer, *_) = key.fileobj.recvfrom(2000)
            if key.fileobj is raw[socket.AF_INET]:
                words = words[(words[0] & 15) * 4:]
            kind, _, _, process, number = struct.unpack("!BBHHH", words[:8])
            if kind in (0, 129) and process == os.getpid() & 0xFFFF:
                reached.add(number)
            continue
        waiting.unregister(key.fileobj)
        try:
            said = key.fileobj.recv(100) if key.events == selectors.EVENT_READ else key.fileobj.getpeername()
            reached.add(key.data)
        except OSError:
            pass
        key.fileobj.close()

print("ready", flush=True)
for line in sys.stdin:
    print(json.dumps(ask(*json.loads(line))), flush=True)
"""
CIDRS = {4: "10.40.0.0/24", 6: "fd40::/64"}  # of both networks: who is asked for in the wrong one is on the link, and yet not there
PROBES = (("icmp", 0), ("tcp", 80), ("tcp", 81), ("udp", 53))
PATIENCE_S = 1.5


class Rule(NamedTuple):
    direction: str
    version: int
    protocol: str | None = None
    port: int | None = None
    remote_group: str | None = None  # by name
    remote_prefix: str | None = None


class Port(NamedTuple):
    network: str
    project: str
    host: str
    groups: tuple[str, ...] | None  # None: without port security
    last: int  # of its addresses

    def address(self, version: int) -> str:
        return str(ip_network(CIDRS[version])[self.last])


def both(direction: str, **fields: object) -> list[Rule]:
    return [Rule(direction, version, **fields) for version in (4, 6)]


GROUPS = {
    "default-admin": [*both("egress"), *both("ingress", remote_group="default-admin")],
    "default-demo": [*both("egress"), *both("ingress", remote_group="default-demo")],
    "web": [*both("egress"), *both("ingress", protocol="tcp", port=80)],
    "friends": [  # of one version, one neighbour, one other group; and they may not send but by UDP
        *both("egress", protocol="udp", port=53),
        Rule("ingress", 4, remote_prefix="10.40.0.11/32"),
        Rule("ingress", 6, "tcp", 81, remote_group="web"),
        *both("ingress", protocol="icmp", remote_group="default-demo"),
    ],
}
PORTS = {
    "red1": Port("A", "admin", "compute01", ("default-admin",), 11),
    "red2": Port("A", "admin", "compute02", ("default-admin",), 12),
    "web1": Port("A", "admin", "compute01", ("web",), 13),
    "web2": Port("A", "admin", "compute02", ("web", "default-admin"), 14),
    "friend": Port("A", "admin", "compute01", ("friends",), 15),
    "nobody": Port("A", "admin", "compute02", (), 16),
    "blue1": Port("A", "demo", "compute01", ("default-demo",), 17),
    "blue2": Port("A", "demo", "compute02", ("default-demo",), 18),
    "open": Port("A", "demo", "compute02", None, 19),
    "far1": Port("B", "demo", "compute01", ("default-demo",), 21),
    "far2": Port("B", "demo", "compute02", ("default-demo",), 22),
}
CHANGED_GROUPS = GROUPS | {"web": [*both("egress"), *both("ingress", protocol="tcp", port=81, remote_group="default-demo")]}
CHANGED_PORTS = PORTS | {
    "red2": PORTS["red2"]._replace(groups=("friends",)),
    "nobody": PORTS["nobody"]._replace(groups=("default-admin",)),
    "friend": PORTS["friend"]._replace(groups=None),
    "open": PORTS["open"]._replace(groups=("web", "default-demo")),
}

Matrix = dict[str, bool]


class Oracle:
    """What the words of the tables mean: a packet passes where some rule of its sender and some rule of its receiver let it."""

    def __init__(self, groups: dict[str, list[Rule]], ports: dict[str, Port]) -> None:
        self._groups, self._ports = groups, ports

    def matrix(self) -> Matrix:
        return {
            spell(client, server, version, *probe): self._passes(self._ports[client], self._ports[server], version, *probe)
            for client, server in permutations(self._ports, 2)
            for version in (4, 6)
            for probe in PROBES
        }

    def _passes(self, client: Port, server: Port, version: int, protocol: str, port: int) -> bool:
        return (
            client.network == server.network
            and self._lets(client, "egress", server, version, protocol, port)
            and self._lets(server, "ingress", client, version, protocol, port)
        )

    def _lets(self, own: Port, direction: str, remote: Port, version: int, protocol: str, port: int) -> bool:
        if own.groups is None:
            return True
        return any(
            (rule.direction, rule.version) == (direction, version)
            and rule.protocol in (None, protocol)
            and rule.port in (None, port)
            and (rule.remote_group is None or rule.remote_group in (remote.groups or ()))
            and (rule.remote_prefix is None or ip_address(remote.address(version)) in ip_network(rule.remote_prefix))
            for group in own.groups
            for rule in self._groups[group]
        )


def spell(client: str, server: str, version: int, protocol: str, port: int) -> str:
    return f"{client} -> {server} IPv{version} {protocol}{port or ''}"


class World:
    """The tables in a lab, and a program inside each instance that asks all others at once."""

    def __init__(self, lab: LabCloud) -> None:
        self._lab = lab
        self._groups: dict[str, str] = {}
        self.ports: dict[str, str] = {}
        self.programs: dict[str, subprocess.Popen[str]] = {}

    def build(self) -> None:
        networks = {name: self._create("network", name=name, shared=True) for name in "AB"}
        subnets = {
            (name, version): self._create("subnet", network_id=id, ip_version=version, cidr=cidr, enable_dhcp=version == 4)
            for name, id in networks.items()
            for version, cidr in CIDRS.items()
        }
        self._join_project("demo")
        self._make_groups()
        servers = {}
        for name, port in PORTS.items():
            fixed_ips = [{"subnet_id": subnets[port.network, version], "ip_address": port.address(version)} for version in CIDRS]
            security = self._security(port)
            id = self._create("port", network_id=networks[port.network], fixed_ips=fixed_ips, project=port.project, **security)
            self.ports[name] = id
            wanted = {
                "name": name,
                "flavorRef": "1",
                "imageRef": "netns",
                "networks": [{"port": id}],
                "availability_zone": f"nova:{port.host}",
            }
            servers[name] = self._lab.call("compute", "POST", "/servers", {"server": wanted}, port.project)["server"]["id"]
        self._lab.instances()
        for name, id in servers.items():
            inside = [*enter(self._lab.running, PORTS[name].host), "ip", "netns", "exec", instance_netns(id)]
            eventually(lambda inside=inside, name=name: has_address(inside, PORTS[name].address(4)), 20)
            command = ["ip", "address", "add", f"{PORTS[name].address(6)}/64", "dev", "eth0", "nodad"]
            subprocess.run([*inside, *command], check=True, timeout=20)
            program = [*inside, sys.executable, "-c", PROGRAM]
            self.programs[name] = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in PORTS:
            assert self._said(name) == "ready"

    def _make_groups(self) -> None:
        for name in GROUPS:
            project = name.removeprefix("default-")
            if project == name:
                self._groups[name] = self._create("security_group", name=name)
                continue
            listed = self._lab.call("network", "GET", "/v2.0/security-groups?name=default", project=project)["security_groups"]
            self._groups[name] = next(group["id"] for group in listed if group["project_id"] == self._project(project))
        for name in ("web", "friends"):
            self.set_rules(name, GROUPS[name])

    def _join_project(self, name: str) -> None:
        """As its administrator."""
        (user,) = self._lab.call("identity", "GET", "/v3/users?name=admin")["users"]
        (role,) = self._lab.call("identity", "GET", "/v3/roles?name=admin")["roles"]
        self._lab.call("identity", "PUT", f"/v3/projects/{self._project(name)}/users/{user['id']}/roles/{role['id']}")

    def _project(self, name: str) -> str:
        return str(self._lab.call("identity", "GET", f"/v3/projects?name={name}")["projects"][0]["id"])

    def set_rules(self, group: str, rules: list[Rule]) -> None:
        listed = self._lab.call("network", "GET", f"/v2.0/security-group-rules?security_group_id={self._groups[group]}")
        for rule in listed["security_group_rules"]:
            self._lab.call("network", "DELETE", f"/v2.0/security-group-rules/{rule['id']}")
        for rule in rules:
            protocol = "ipv6-icmp" if (rule.protocol, rule.version) == ("icmp", 6) else rule.protocol
            fields = {"direction": rule.direction, "ethertype": f"IPv{rule.version}", "protocol": protocol}
            fields |= {"port_range_min": rule.port, "port_range_max": rule.port, "remote_ip_prefix": rule.remote_prefix}
            fields["remote_group_id"] = self._groups[rule.remote_group] if rule.remote_group else None
            self._create("security_group_rule", security_group_id=self._groups[group], **fields)

    def set_port(self, name: str, port: Port) -> None:
        self._lab.call("network", "PUT", f"/v2.0/ports/{self.ports[name]}", {"port": self._security(port)})

    def _security(self, port: Port) -> dict[str, object]:
        groups = [self._groups[group] for group in port.groups or ()]
        return {"port_security_enabled": port.groups is not None, "security_groups": groups}

    def _create(self, kind: str, project: str = "", **attributes: object) -> str:
        path = f"/v2.0/{kind.replace('_', '-')}s"
        return str(self._lab.call("network", "POST", path, {kind: attributes}, project)[kind]["id"])

    def matrix(self, ports: dict[str, Port]) -> Matrix:
        """What everybody sees, all at once."""
        asked = {}
        for client, program in self.programs.items():
            asked[client] = [(server, version, *probe) for server in ports if server != client for version in CIDRS for probe in PROBES]
            probes = [(protocol, ports[server].address(version), port) for server, version, protocol, port in asked[client]]
            assert program.stdin is not None
            print(json.dumps([probes, PATIENCE_S]), file=program.stdin, flush=True)
        seen = {}
        for client, probes in asked.items():
            reached = set(json.loads(self._said(client)))
            seen |= {spell(client, *probe): number in reached for number, probe in enumerate(probes)}
        return seen

    def _said(self, name: str) -> str:
        pipe = self.programs[name].stdout
        assert pipe is not None
        return pipe.readline().strip()

    def close(self) -> None:
        for program in self.programs.values():
            program.kill()
            program.communicate()


def has_address(inside: list[str], address: str) -> bool:
    done = subprocess.run([*inside, "ip", "-4", "address", "show", "eth0"], capture_output=True, text=True, check=True, timeout=20)
    return f" {address}/" in done.stdout


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("linuxbridge", marks=pytest.mark.needs("nft")),
        pytest.param("openvswitch", marks=pytest.mark.needs("ovs-vswitchd")),
    ],
)
def world(request, tmp_path_factory) -> Iterator[World]:
    lab = LabCloud(tmp_path_factory.mktemp("matrix") / "state", "--mechanism", request.param)
    made = World(lab)
    try:
        made.build()
        yield made
    finally:
        made.close()
        lab.close()


def differences(seen: Matrix, expected: Matrix) -> list[str]:
    """In words, each with what was seen."""
    return [f"{question}: {'yes' if seen[question] else 'no'}" for question in expected if seen[question] != expected[question]]


def settles(world: World, groups: dict[str, list[Rule]], ports: dict[str, Port]) -> bool:
    assert differences(world.matrix(ports), Oracle(groups, ports).matrix()) == []
    return True


def test_the_oracle_says_yes_and_no_to_each_kind_of_question():
    matrix = Oracle(GROUPS, PORTS).matrix()
    assert len(matrix) == 11 * 10 * 2 * 4
    for question, answer in (
        ("red1 -> red2 IPv6 tcp81", True),
        ("red1 -> blue1 IPv4 icmp", False),
        ("blue2 -> web1 IPv4 tcp80", True),
        ("blue2 -> web1 IPv4 tcp81", False),
        ("web2 -> friend IPv6 tcp81", True),
        ("web2 -> friend IPv4 tcp81", False),
        ("far1 -> far2 IPv6 udp53", True),
        ("blue1 -> far1 IPv4 udp53", False),
        ("open -> nobody IPv4 tcp80", False),
        ("friend -> open IPv4 udp53", True),
    ):
        assert matrix[question] is answer, question


def test_everybody_reaches_whom_the_groups_allow_and_nobody_else(world):
    eventually(lambda: settles(world, GROUPS, PORTS), 20)


def test_after_rules_groups_and_port_security_have_changed_so_has_every_answer(world):
    world.set_rules("web", CHANGED_GROUPS["web"])
    for name, port in CHANGED_PORTS.items():
        if port != PORTS[name]:
            world.set_port(name, port)
    eventually(lambda: settles(world, CHANGED_GROUPS, CHANGED_PORTS), 20)
