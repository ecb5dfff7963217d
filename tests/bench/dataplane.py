"""What wiring costs: `python tests/bench/dataplane.py`, as root. Each part by its name: `hosts`, `feeds`, `ports`, `boots`.

hosts   1,000 emulated hosts follow one server: from asking for a port to the frames on the hosts concerned, and on nobody else's
feeds   very many hosts that must hear of one port more: what it costs the server (feeds.py)
ports   500 filtered ports of 20 groups on one host: wired from nothing, found right by an agent that starts without memory, taken away;
        and a change of one of them: until it is reported, and the processor time of the agent with its tools, and of the switch
boots   a server asked for in a lab: until it is ACTIVE, until it answers a host that was there before (with its DHCP lease)
"""

import argparse
import contextlib
import json
import os
import random
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from feeds import measure_feeds
from filters import ports
from load import Connection, request
from msgspec.structs import replace

sys.path.append(str(Path(__file__).parents[1]))  # as pytest does
from agent_host import Cloud, Host, child_of, settled
from live_lab import Instance, LiveLab, live_lab
from naru.lab.openvswitch import START
from naru.model.hostreport import HostDescription
from naru.model.hoststate import FilterState, GroupState, TapState, Value
from naru.testing import eventually
from serving import Serving

HOSTS, NETWORKS, HOSTS_OF_A_NETWORK, CHANGES = 1000, 100, 10, 300
PORTS, GROUPS, CHANGED = 500, 20, 5
BOOTS = 30
MECHANISMS = ("linuxbridge", "openvswitch")

Stream = tuple[str, socket.socket]


def percentiles(found_ms: list[float]) -> str:
    ordered = sorted(found_ms)
    return f"p50 {statistics.median(ordered):.0f} ms, p99 {ordered[len(ordered) * 99 // 100]:.0f} ms, longest {ordered[-1]:.0f} ms"


# -- hosts


class Crowd:
    """Emulated hosts: each is registered and keeps its stream open, as an agent does."""

    def __init__(self, serving: Serving, count: int) -> None:
        self._serving = serving
        self._token = (serving.state_dir / "agent-token").read_text().strip()
        self._waiting = selectors.DefaultSelector()
        self.heard: dict[str, list[tuple[float, bytes]]] = {}
        register = Connection(serving.address)
        self.names = [f"h{number:04}" for number in range(count)]
        for number, name in enumerate(self.names):
            described = HostDescription(tunnel_address=f"172.16.{number >> 8}.{number & 255}", dhcp=number < 3, port_filter=True)
            answer = register.ask(self._request("PUT", f"/agent/v1/hosts/{name}", msgspec.json.encode(described)))
            assert answer.status < 300, answer.body
        for name in self.names:
            stream = socket.create_connection(serving.address, timeout=60)
            stream.sendall(self._request("GET", f"/agent/v1/hosts/{name}/state"))
            stream.setblocking(False)
            self._waiting.register(stream, selectors.EVENT_READ, name)

    def _request(self, method: str, path: str, body: bytes = b"") -> bytes:
        return request(method, path, "", body).replace(b"\r\n\r\n", f"\r\nAuthorization: Bearer {self._token}\r\n\r\n".encode(), 1)

    def listen(self, seconds: float) -> None:
        """Note what comes, and when."""
        ends = time.perf_counter() + seconds
        while (left := ends - time.perf_counter()) > 0:
            for key, _ in self._waiting.select(left):
                piece, at = key.fileobj.recv(1 << 20), time.perf_counter()
                assert piece, f"the server ended the stream of {key.data}"
                if b'"frame":"put"' in piece or b'"frame":"del"' in piece:
                    self.heard.setdefault(key.data, []).append((at, piece))


def measure_hosts() -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory, Serving(Path(directory)) as serving:
        crowd, token, api = Crowd(serving, HOSTS), serving.token(), Connection(serving.address)

        def create(kind: str, **attributes: object) -> dict[str, Any]:
            answer = api.ask(request("POST", f"/v2.0/{kind.replace('_', '-')}s", token, json.dumps({kind: attributes}).encode()))
            assert answer.status == 201, answer.body
            return json.loads(answer.body)[kind]

        quotas = {"quota": dict.fromkeys(("port", "network", "subnet", "security_group", "security_group_rule"), -1)}
        project = json.loads(api.ask(request("GET", "/v2.0/quotas/tenant", token)).body)["tenant"]["tenant_id"]
        api.ask(request("PUT", f"/v2.0/quotas/{project}", token, json.dumps(quotas).encode()))
        choose = random.Random(1)
        places: list[tuple[dict[str, Any], list[str]]] = []
        for number in range(NETWORKS):
            network, group = create("network", name=f"n{number}"), create("security_group", name=f"g{number}")
            create("subnet", network_id=network["id"], ip_version=4, cidr="10.0.0.0/16")
            port = {
                "network_id": network["id"],
                "security_groups": [group["id"]],
                "device_owner": "compute:nova",
                "device_id": f"vm{number}",
            }
            hosts = choose.sample(crowd.names, HOSTS_OF_A_NETWORK)
            for host in hosts:
                create("port", **port, **{"binding:host_id": host})
            places.append((port, hosts))
        crowd.listen(3)
        latencies_ms, idle = [], 0
        for _ in range(CHANGES):
            port, hosts = choose.choice(places)
            listed = json.loads(api.ask(request("GET", f"/v2.0/ports?network_id={port['network_id']}", token)).body)["ports"]
            concerned = {one["binding:host_id"] for one in listed if one["binding:host_id"]}
            crowd.heard.clear()
            body = json.dumps({"port": port | {"binding:host_id": choose.choice(hosts)}}).encode()
            asked_at = time.perf_counter()
            api.send(request("POST", "/v2.0/ports", token, body))
            crowd.listen(0.15)
            answer = None
            while answer is None:
                answer = api.receive()
            assert answer.status == 201, answer.body
            if crowd.heard.keys() != concerned:
                crowd.listen(2)
            assert crowd.heard.keys() == concerned, (sorted(crowd.heard), sorted(concerned))
            latencies_ms += [(pieces[0][0] - asked_at) * 1000 for pieces in crowd.heard.values()]
            idle += len(crowd.names) - len(concerned)
        print(
            f"hosts: {CHANGES} ports created one by one on {NETWORKS} networks, {HOSTS} hosts: from asking to the first frame on each of "
            f"{len(latencies_ms)} hosts concerned {percentiles(latencies_ms)}; the others, {idle} in all, heard nothing",
            flush=True,
        )


# -- ports


def wait(host: Host, began_s: float) -> float:
    eventually(lambda: settled(host), 120, 0.005)
    return time.monotonic() - began_s


class Cost(NamedTuple):
    """Of one change on a full host."""

    ms: float  # until it is reported
    agent_ms: float  # processor time, with the programs that it ran
    switch_ms: float  # of Open vSwitch

    def __str__(self) -> str:
        return f"{self.ms:.0f} ms (processor: agent {self.agent_ms:.0f} ms, switch {self.switch_ms:.0f} ms)"


def change(host: Host, *values: Value) -> Cost:
    """Median of what `values` cost, one after the other."""
    costs = []
    for value in values:
        assert host.agent is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            host.agent.wait(1.6)  # it looks once more a second after it has changed something
        began, began_s = processor_ms(host), time.monotonic()
        host.server.status.pop(value.key, None)
        seen = len(host.log())
        host.server.put(value)
        eventually(lambda seen=seen: " wired " in host.log()[seen:], 20, 0.005)
        took_s = time.monotonic() - began_s
        costs.append(Cost(took_s * 1000, *(after - before for before, after in zip(began, processor_ms(host), strict=True))))
    return Cost(*(statistics.median(cost[index] for cost in costs) for index in range(3)))


def processor_ms(host: Host) -> tuple[float, float]:
    """Of the agent with its tools, and of the daemons of Open vSwitch, so far."""
    assert host.agent is not None
    daemons = host.run("sh", "-c", "cat /run/openvswitch/ovs*.pid 2>/dev/null || true").split()
    stats = [Path(f"/proc/{child_of(host.agent.pid)}/stat").read_text(), *(host.run("cat", f"/proc/{pid}/stat") for pid in daemons)]
    ticks = [[int(word) for word in stat.rpartition(")")[2].split()[11:15]] for stat in stats]  # utime, stime, and those of its children
    tick_ms = 1000 / os.sysconf("SC_CLK_TCK")
    return sum(ticks[0]) * tick_ms, sum(sum(own[:2]) for own in ticks[1:]) * tick_ms


def measure_ports(mechanism: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        host = Host(Path(directory))
        try:
            if mechanism == "openvswitch":
                host.run("sh", "-ec", START, "sh", "/dev/null")
                host.configure(mechanism='"openvswitch"', ovs_datapath_type='"netdev"')
            cloud, values = Cloud(), list(ports(PORTS + CHANGED, GROUPS))
            filters = [replace(value, network_id=cloud.id) for value in values if isinstance(value, FilterState)]
            shared = [value for value in values if not isinstance(value, FilterState)]
            taps = [
                TapState(port.port_id, cloud.id, port.mac_address, 1450, netns=f"instance-{number}", device="eth0", filtered=True)
                for number, port in enumerate(filters)
            ]
            host.start()
            eventually(lambda: bool(host.server.reports), 20)
            began_s = time.monotonic()
            host.server.put(cloud.network, *shared, *filters[:PORTS], *taps[:PORTS])
            wired_s, mib = wait(host, began_s), resident_mib(host)
            before = host.actions()
            host.end(9)  # SIGKILL
            (Path(directory) / "state/agent/h1.json").unlink()
            host.server.reports.clear()
            host.server.status.clear()
            began_s = time.monotonic()
            host.start()
            again_s, again_mib, writes = wait(host, began_s), resident_mib(host), host.actions() - before
            readdressed = [replace(port, sources=(replace(port.sources[0], ip_address=f"10.99.0.{n}"),)) for n, port in enumerate(filters)]
            address = change(host, *readdressed[1 : CHANGED + 1])
            host.server.put(*filters[PORTS:])  # the filter of each tap is there when it comes
            port = change(host, *taps[PORTS:])
            groups = [value for value in shared if isinstance(value, GroupState)]
            member = change(host, *(replace(group, addresses=(*group.addresses, "10.98.0.1")) for group in groups[:CHANGED]))
            began_s = time.monotonic()
            host.server.delete(*list(host.server.state))
            eventually(lambda: host.server.status == {} and "instance-" not in host.run("ip", "netns"), 120)
            gone_s = time.monotonic() - began_s
        finally:
            host.close()
    print(
        f"ports, {mechanism}: {PORTS} of {GROUPS} groups wired and reported in {wired_s:.2f} s, agent {mib:.0f} MiB; "
        f"restarted without memory: {writes} writes, {again_s:.2f} s from its start to the report, {again_mib:.0f} MiB; "
        f"all taken away in {gone_s:.2f} s\n"
        f"  another address of one: {address}\n  one more: {port}\n  a group has one member more: {member}",
        flush=True,
    )


def resident_mib(host: Host) -> float:
    assert host.agent is not None
    status = Path(f"/proc/{child_of(host.agent.pid)}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024


# -- boots

FIRST_ANSWER = """
import os, socket, struct, sys, time
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
raw.settimeout(0.01)
number = 0
print("ready", flush=True)
for line in sys.stdin:
    address, ends = line.strip(), time.monotonic() + 20
    while time.monotonic() < ends:
        number = (number + 1) & 0xFFFF
        words = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, number)
        total = sum(struct.unpack("!4H", words))
        try:
            raw.sendto(words[:2] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + words[4:], (address, 0))
            answer, (peer, _) = raw.recvfrom(2000)
        except OSError:
            continue
        if answer[20] == 0 and peer == address:
            break
    print(time.monotonic(), flush=True)
"""


def measure_boots(mechanism: str) -> None:
    with tempfile.TemporaryDirectory() as directory, live_lab(Path(directory), "", mechanism=mechanism) as lab:
        network = lab.create("network", name="boots")
        lab.create("subnet", network_id=network["id"], ip_version=4, cidr="10.9.0.0/24")
        first = lab.boot("first", network, "compute01")
        eventually(first.has_lease, 20)
        first.run("sysctl", "-qw", "net.ipv4.neigh.eth0.retrans_time_ms=20")  # else it looks for a neighbour once a second
        asker = subprocess.Popen(
            [*first.prefix, sys.executable, "-c", FIRST_ANSWER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert asker.stdin is not None
        assert asker.stdout is not None
        assert asker.stdout.readline() == "ready\n"
        active_ms, answered_ms = [], []
        try:
            for active, answered in boot_one_by_one(lab, network, asker):
                active_ms.append(active)
                answered_ms.append(answered)
        finally:
            asker.kill()
            asker.communicate()
    print(
        f"boots, {mechanism}: {BOOTS} one by one: ACTIVE after {percentiles(active_ms)}; "
        f"answers a ping from another host after {percentiles(answered_ms)}",
        flush=True,
    )


def boot_one_by_one(lab: LiveLab, network: dict[str, Any], asker: subprocess.Popen[str]) -> Iterator[tuple[float, float]]:
    assert asker.stdin is not None
    assert asker.stdout is not None
    for number in range(BOOTS):
        began_s = time.monotonic()
        instance = lab.boot(f"b{number}", network, "compute02")
        print(instance.address, file=asker.stdin, flush=True)
        eventually(lambda instance=instance: is_active(lab, instance), 20, 0.01)
        active_s = time.monotonic() - began_s
        answered_s = float(asker.stdout.readline()) - began_s
        yield active_s * 1000, answered_s * 1000


def is_active(lab: LiveLab, instance: Instance) -> bool:
    return bool(lab.show("port", instance.port["id"])["status"] == "ACTIVE")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("parts", nargs="*", default=["hosts", "feeds", "ports", "boots"], help="[hosts feeds ports boots]")
    asked = options.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)  # a stream for each host
    print(f"load of this machine: {os.getloadavg()[0]:.1f}, cores: {os.cpu_count()}", flush=True)
    for part in asked.parts:
        if part == "hosts":
            measure_hosts()
        elif part == "feeds":
            measure_feeds()
        else:
            for mechanism in MECHANISMS:
                (measure_ports if part == "ports" else measure_boots)(mechanism)


if __name__ == "__main__":
    main()
