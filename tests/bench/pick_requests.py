"""What a request for one address of 1,000 networks costs the server, from the socket and back: authenticate, choose, hold, commit, answer.

Each network is a /22, three quarters of it taken by a port. The server's files are in memory, so no disk is waited for. Processor time is
that of all threads of the server.
"""

import asyncio
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from load import Connection, request

sys.path.append(str(Path(__file__).parents[1]))  # as pytest does
from naru.model.resources import FixedIp, Port, new_id, put
from naru.store.store import Store
from serving import Serving

NETWORKS, TAKEN = 1_000, 765  # addresses of each network that a port has
PICKS = 100


class Cost(NamedTuple):
    took_ms: float  # until the client has the answer
    processor_ms: float
    answer_bytes: int


class Cloud:
    """A server with networks that nobody else uses."""

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self._token = serving.token()
        self._connection = Connection(serving.address)
        unlimited = {"quota": dict.fromkeys(("port", "network", "subnet"), -1)}
        self.ask("PUT", f"/quotas/{self.ask('GET', '/quotas/tenant')['tenant']['tenant_id']}", unlimited)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        answer = self._connection.ask(request(method, f"/v2.0{path}", self._token, json.dumps(body).encode() if body else b""))
        assert answer.status < 300, answer.body
        return json.loads(answer.body or b"null")

    def make_networks(self) -> list[dict[str, Any]]:
        """-> their subnets."""
        made = self.ask("POST", "/networks", {"networks": [{"name": f"net{number:04}"} for number in range(NETWORKS)]})["networks"]
        prefixes = islice(ip_network("10.0.0.0/8").subnets(new_prefix=22), NETWORKS)
        pairs = zip(made, prefixes, strict=True)
        subnets = [{"network_id": network["id"], "ip_version": 4, "cidr": str(prefix)} for network, prefix in pairs]
        return self.ask("POST", "/subnets", {"subnets": subnets})["subnets"]

    def pick(self, **wish: object) -> Cost:
        """The median of many."""
        body = json.dumps({"network_pick": wish}).encode()
        costs = []
        for _ in range(PICKS):
            before = self.processor_s()
            answer = self._connection.ask(request("POST", "/v2.0/network-picks", self._token, body))
            assert answer.status == 201, answer.body
            costs.append(Cost(answer.took_s * 1000, (self.processor_s() - before) * 1000, len(answer.body)))
        return Cost(*map(statistics.median, zip(*costs, strict=True)))

    def processor_s(self) -> float:
        """Of all its threads, as the scheduler counts it: proc(5), /proc/pid/schedstat."""
        threads = Path(f"/proc/{self.serving.process.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


async def fill(state_dir: Path, subnets: Sequence[dict[str, Any]]) -> None:
    """While no server runs. One port on each network has all the addresses that are taken: what a pick counts is addresses."""
    ports = []
    for subnet in subnets:
        first = int(ip_network(subnet["cidr"]).network_address) + 2
        taken = tuple(FixedIp(subnet["id"], str(ip_address(first + number))) for number in range(TAKEN))
        network_id = subnet["network_id"]
        mac = f"fa:16:3e:00:{len(ports) // 256:02x}:{len(ports) % 256:02x}"
        ports.append(Port(id=new_id(), project_id=subnet["project_id"], network_id=network_id, mac_address=mac, fixed_ips=taken))
    store = Store(f"sqlite:///{state_dir / 'naru.db'}")
    store.start()
    await store.write(lambda _: (put(port) for port in ports))
    store.stop()


def measure(command: str = "up --no-dataplane") -> Iterator[tuple[str, Cost]]:
    """What is asked for, and what it costs."""
    state_dir = Path(tempfile.mkdtemp(prefix="naru-bench-", dir="/dev/shm"))
    try:
        with Serving(state_dir, command) as serving:
            subnets = Cloud(serving).make_networks()
        asyncio.run(fill(state_dir, subnets))
        with Serving(state_dir, command, within_s=120) as serving:  # it reads 765,000 addresses
            yield from _measure(Cloud(serving), [subnet["network_id"] for subnet in subnets])
    finally:
        shutil.rmtree(state_dir)


def _measure(cloud: Cloud, ids: Sequence[str]) -> Iterator[tuple[str, Cost]]:
    yield "no pool", cloud.pick()
    near = [cloud.ask("GET", f"/ports?limit=1&fields=id&network_id={ids[0]}")["ports"][0]["id"]]
    for policy, given, wish in (
        ("spread", {}, {}),
        ("spread", {}, {"dry_run": True}),
        ("spread", {}, {"anti_affinity": near}),
        ("spread", {"project_share": 0.9}, {}),
        ("round_robin", {}, {}),
    ):
        pool = {"policy": policy, "members": [{"network_id": id} for id in ids], **given}
        id = cloud.ask("POST", "/network-pools", {"network_pool": pool})["network_pool"]["id"]
        yield ", ".join((policy, *given, *wish)), cloud.pick(pool_id=id, **wish)
        cloud.ask("DELETE", f"/network-pools/{id}")


if __name__ == "__main__":
    for name, cost in measure():
        print(f"{name:24} {cost.took_ms:6.2f} ms, processor {cost.processor_ms:6.2f} ms, {cost.answer_bytes / 1024:.0f} KiB", flush=True)
