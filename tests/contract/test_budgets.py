"""What a request may cost: statements, reads and commits in the database, bytes of the answer, and calls of functions of ours, held to
tests/budgets.json.

Through the whole application, on real databases: one budget for all. A rise fails until the file says that it is meant. Calls say what a
request costs the processor, on any machine; their budgets leave a tenth for small changes.
"""

import asyncio
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, event

import naru
from databases import ENGINES, Databases
from naru.bootstrap import Server
from naru.settings import load
from naru.store.database import open_database

BUDGETS = Path(__file__).parents[1] / "budgets.json"
OURS = naru.__path__[0]


class Calls:
    """How many functions of ours began or went on, in all threads that start while it counts."""

    def __init__(self) -> None:
        self.number = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]

    def _note(self, frame: Any, event: str, _argument: object) -> None:
        self.number += event == "call" and frame.f_code.co_filename.startswith(OURS)


class Meter:
    """Asks, and notes what each kind of request cost."""

    def __init__(self, client: httpx.AsyncClient, engine: Engine, calls: Calls) -> None:
        self._client = client
        self._calls = calls
        self._statements: list[str] = []
        self._commits = 0
        self.examples: dict[str, Any] = {}  # statement -> parameters that it was run with
        self.costs: dict[str, dict[str, int]] = {}
        event.listen(engine, "before_cursor_execute", self._note_statement)
        event.listen(engine, "commit", self._note_commit)

    async def ask(self, kind: str, method: str, path: str, body: object = None) -> Any:
        self._statements.clear()
        self._commits = self._calls.number = 0
        answer = await self._client.request(method, f"/v2.0{path}", json=body)
        answer.raise_for_status()
        self.costs[kind] = {
            "statements": len(self._statements),
            "selects": sum(statement.lstrip().upper().startswith("SELECT") for statement in self._statements),
            "commits": self._commits,
            "bytes": len(answer.content),
            "calls": self._calls.number,
        }
        return answer.json() if answer.content else None

    def _note_statement(self, _connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:  # noqa: FBT001
        self._statements.append(statement)
        self.examples[statement] = parameters[0] if many else parameters

    def _note_commit(self, _connection: Any) -> None:
        self._commits += 1


async def ask_for_everything(meter: Meter) -> None:
    """Names and addresses are of one length, so that the bytes are the same each time."""
    network = (await meter.ask("create network", "POST", "/networks", {"network": {"name": "net"}}))["network"]["id"]
    pool = {"start": "10.100.100.100", "end": "10.100.100.250"}
    subnet = {"network_id": network, "cidr": "10.100.100.0/24", "ip_version": 4, "allocation_pools": [pool]}
    await meter.ask("create subnet", "POST", "/subnets", {"subnet": subnet})
    bodies = [{"network_id": network, "name": f"port-{number:03}", "device_id": f"device-{number:03}"} for number in range(100)]
    port = (await meter.ask("create port", "POST", "/ports", {"port": bodies[0]}))["port"]["id"]
    await meter.ask("create 99 ports", "POST", "/ports", {"ports": bodies[1:]})
    await meter.ask("update port", "PUT", f"/ports/{port}", {"port": {"name": "port-1000"}})
    await meter.ask("show port", "GET", f"/ports/{port}")
    await meter.ask("show network", "GET", f"/networks/{network}")
    await meter.ask("list 100 ports", "GET", "/ports")
    await meter.ask("list 100 ports, fields=id", "GET", "/ports?fields=id")
    await meter.ask("list ports by device_id", "GET", "/ports?device_id=device-007")
    await meter.ask("show availability", "GET", f"/network-ip-availabilities/{network}")
    await meter.ask("delete port", "DELETE", f"/ports/{port}")
    await turn_over(meter, "subnet", {"network_id": network, "cidr": "10.100.200.0/24", "ip_version": 4})
    for kind in ("network", "router", "security group"):
        await turn_over(meter, kind, {"name": "another"})
    made = await meter.ask("create 50 networks", "POST", "/networks", {"networks": [{"name": f"net-{number:02}"} for number in range(50)]})
    cidrs = ((row["id"], f"10.101.{number + 100}.0/24") for number, row in enumerate(made["networks"]))
    subnets = [{"network_id": id, "cidr": cidr, "ip_version": 4} for id, cidr in cidrs]
    await meter.ask("create 50 subnets", "POST", "/subnets", {"subnets": subnets})
    for _ in range(2):  # the first finds out what the second knows
        await meter.ask("pick among 51 networks", "POST", "/network-picks", {"network_pick": {}})


async def turn_over(meter: Meter, kind: str, body: dict[str, object]) -> None:
    singular, path = kind.replace(" ", "_"), f"/{kind}s".replace(" ", "-")
    made = await meter.ask(f"create another {kind}", "POST", path, {singular: body})
    await meter.ask(f"delete {kind}", "DELETE", f"{path}/{made[singular]['id']}")


def measure(database_url: str, state_dir: Path) -> Meter:
    """Through a server of its own."""
    environ = {"NARU_DATABASE_URL": database_url}
    server = Server(load(environ=environ, state_dir=str(state_dir), bind="127.0.0.1:0", auth="none"))
    calls = Calls()

    async def scenario() -> Meter:
        with calls.counting():
            server.store.start()
            async with httpx.AsyncClient(transport=httpx.ASGITransport(server.app()), base_url="http://naru") as client:
                meter = Meter(client, server.store._engine, calls)
                await ask_for_everything(meter)
            server.store.stop()
        server._listening.close()
        return meter

    return asyncio.run(scenario())


@pytest.mark.parametrize("engine", ENGINES)
def test_no_request_costs_more_than_its_budget(engine: str, databases: Databases, tmp_path: Path):
    measure(databases.new("sqlite", tmp_path / "first"), tmp_path / "first")  # what is found out once in a process is no request's
    costs = measure(databases.new(engine, tmp_path), tmp_path).costs
    budgets: dict[str, dict[str, int]] = json.loads(BUDGETS.read_text())
    too_dear = [
        f"{kind}: {cost} {what}, the budget is {budgets.get(kind, {}).get(what, 0)}"
        for kind, found in costs.items()
        for what, cost in found.items()
        if cost > budgets.get(kind, {}).get(what, 0)
    ]
    assert not too_dear, "\n".join([*too_dear, "where that is meant, tests/budgets.json becomes:", _as_file(costs)])
    assert budgets.keys() == costs.keys()


def test_no_statement_of_a_request_reads_a_whole_table(databases: Databases, tmp_path: Path):
    """As SQLite sees it; but the lease, which is one row."""
    url = databases.new("sqlite", tmp_path)
    examples = measure(url, tmp_path).examples
    engine = open_database(url)
    with engine.connect() as connection:
        plans = {each: connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {each}", examples[each]).all() for each in examples}
    engine.dispose()
    steps = [(statement, step.detail) for statement, plan in plans.items() for step in plan]
    assert any(detail.startswith("SEARCH resources") for _, detail in steps)
    assert not [step for step in steps if step[1].startswith("SCAN") and step[1] != "SCAN lease"]


def _as_file(costs: dict[str, dict[str, int]]) -> str:
    for found in costs.values():
        found["calls"] = ceil(found["calls"] * 1.1 / 10) * 10
    return "{\n" + ",\n".join(f"  {json.dumps(kind)}: {json.dumps(found)}" for kind, found in costs.items()) + "\n}"
