"""What each kind of request costs the server, in processor time: what can be compared on a machine that others use, too.

`costs.py` measures the tree whose Python runs it. `costs.py OTHER/.venv/bin/python` measures both in turns, and prints them side by side:
what did a change cost? The server's files are in memory, so no disk is waited for.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from load import drive, request

sys.path.append(str(Path(__file__).parents[1]))  # as pytest does
from serving import Serving

LISTED = 10_000  # ports
CREATED = 1_000  # ports one by one
BULKS, BULK = 10, 100  # requests, ports in each
TURNED_OVER = 400  # resources of a kind, made and deleted
READS = 10
CLIENTS = 8
QUOTAS = ("port", "network", "subnet", "router", "security_group", "security_group_rule")


class Costs:
    """Of one server, as it goes: what, and ms of all its threads for one."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._token = serving.token()
        self._http = serving.client()
        project = self._ask("GET", "/quotas/tenant")["tenant"]["tenant_id"]
        self._ask("PUT", f"/quotas/{project}", {"quota": dict.fromkeys(QUOTAS, -1)})
        self._network = self._ask("POST", "/networks", {"network": {"name": "bench"}})["network"]["id"]
        self._ask("POST", "/subnets", {"subnet": {"network_id": self._network, "cidr": "10.64.0.0/16", "ip_version": 4}})
        self._made = 0

    def measure(self) -> Iterator[tuple[str, float]]:
        yield "start, new database", self._processor_ms()
        bodies = [{"ports": [self._port() for _ in range(500)]} for _ in range(LISTED // 500)]
        self._drive("POST", [("/ports", body) for body in bodies], 1, 201)
        yield from self._read()
        for clients in (1, CLIENTS):
            ports = [("/ports", {"port": self._port()}) for _ in range(CREATED)]
            yield f"create a port, {clients} at once", self._drive("POST", ports, clients, 201)
        bulks = [("/ports", {"ports": [self._port() for _ in range(BULK)]}) for _ in range(BULKS)]
        yield f"create {BULK} ports in one request", self._drive("POST", bulks, 1, 201)
        ids = [port["id"] for port in self._ask("GET", f"/ports?fields=id&limit={CREATED}")["ports"]]
        yield "update a port", self._drive("PUT", [(f"/ports/{id}", {"port": {"name": "new"}}) for id in ids], CLIENTS, 200)
        yield "delete a port", self._drive("DELETE", [(f"/ports/{id}", None) for id in ids], CLIENTS, 204)
        yield from self._turn_over()

    def _read(self) -> Iterator[tuple[str, float]]:
        port = self._ask("GET", "/ports?limit=1")["ports"][0]
        for name, path, times in (
            (f"list {LISTED:,} ports", "/ports", READS),
            (f"list {LISTED:,} ports, fields=id", "/ports?fields=id", READS),
            ("list by device_id", f"/ports?device_id={port['device_id']}", 50 * READS),
            ("list by address", f"/ports?fixed_ips=ip_address%3D{port['fixed_ips'][0]['ip_address']}", 50 * READS),
            ("show a port", f"/ports/{port['id']}", 50 * READS),
        ):
            yield name, self._drive("GET", [(path, None)] * times, 1, 200)

    def _turn_over(self) -> Iterator[tuple[str, float]]:
        numbers = range(TURNED_OVER)
        subnet = {"network_id": self._network, "ip_version": 4}
        for plural, bodies in {
            "networks": [{"network": {"name": f"n-{number}"}} for number in numbers],
            "subnets": [{"subnet": subnet | {"cidr": f"10.{100 + number // 256}.{number % 256}.0/24"}} for number in numbers],
            "routers": [{"router": {"name": f"r-{number}"}} for number in numbers],
            "security-groups": [{"security_group": {"name": f"g-{number}"}} for number in numbers],
        }.items():
            before = self._ids(plural)
            yield f"create {plural}", self._drive("POST", [(f"/{plural}", body) for body in bodies], CLIENTS, 201)
            gone = [(f"/{plural}/{id}", None) for id in self._ids(plural) - before]
            yield f"delete {plural}", self._drive("DELETE", gone, CLIENTS, 204)

    def _drive(self, method: str, asked: list[tuple[str, Any]], clients: int, status: int) -> float:
        """Ask all. -> processor time of one, ms."""
        requests = [request(method, f"/v2.0{path}", self._token, json.dumps(body).encode() if body else b"") for path, body in asked]
        before = self._processor_ms()
        load = drive(self._serving.address, requests, clients)
        assert set(load.statuses) == {status}, load.statuses
        return (self._processor_ms() - before) / len(requests)

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        answer = self._http.request(method, path, json=body)
        answer.raise_for_status()
        return answer.json()

    def _ids(self, plural: str) -> set[str]:
        return {row["id"] for row in self._ask("GET", f"/{plural}?fields=id")[plural.replace("-", "_")]}

    def _port(self) -> dict[str, object]:
        self._made += 1
        return {"network_id": self._network, "name": f"p-{self._made}", "admin_state_up": True, "device_id": f"vm-{self._made}"}

    def _processor_ms(self) -> float:
        """As the scheduler counts it: proc(5), /proc/pid/schedstat."""
        threads = Path(f"/proc/{self._serving.process.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e6


def measure(command: str) -> dict[str, float]:
    state_dir = Path(tempfile.mkdtemp(prefix="naru-bench-", dir="/dev/shm"))
    try:
        with Serving(state_dir, command) as serving:
            return dict(Costs(serving).measure())
    finally:
        shutil.rmtree(state_dir)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("pythons", nargs="*", metavar="PYTHON", help="of other trees")
    options.add_argument("--rounds", type=int, default=3, help="[3]")
    options.add_argument("--command", default="up --no-dataplane", help="what is measured, as in `naru COMMAND`  [up --no-dataplane]")
    options.add_argument("--once", action="store_true", help="measure this tree and print JSON")
    asked = options.parse_args()
    if asked.once:
        print(json.dumps(measure(asked.command)))
        return
    pythons = [sys.executable, *asked.pythons]
    found: list[list[dict[str, float]]] = [[] for _ in pythons]
    for _ in range(asked.rounds):
        for python, rounds in zip(pythons, found, strict=True):
            argv = [python, __file__, "--once", "--command", asked.command]
            rounds.append(json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout))
    for what in found[0][0]:
        costs = [statistics.median(one[what] for one in rounds) for rounds in found]
        print(f"{what:34}", *(f"{ms:9.3f} ms" for ms in costs), *(f"{costs[0] / ms:6.2f} x" for ms in costs[1:]))


if __name__ == "__main__":
    main()
