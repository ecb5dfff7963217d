"""What a request may cost: statements, reads and commits in the database, and bytes of the answer, held to tests/budgets.json.

Through the whole application, on real databases: one budget for all. A rise fails until the file says that it is meant.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, event

from databases import ENGINES, Databases
from naru.bootstrap import Server
from naru.settings import load

BUDGETS = Path(__file__).parents[1] / "budgets.json"


class Meter:
    """Asks, and notes what each kind of request cost."""

    def __init__(self, client: httpx.AsyncClient, engine: Engine) -> None:
        self._client = client
        self._statements: list[str] = []
        self._commits = 0
        self.costs: dict[str, dict[str, int]] = {}
        event.listen(engine, "before_cursor_execute", self._note_statement)
        event.listen(engine, "commit", self._note_commit)

    async def ask(self, kind: str, method: str, path: str, body: object = None) -> Any:
        self._statements.clear()
        self._commits = 0
        answer = await self._client.request(method, f"/v2.0{path}", json=body)
        answer.raise_for_status()
        self.costs[kind] = {
            "statements": len(self._statements),
            "selects": sum(statement.lstrip().upper().startswith("SELECT") for statement in self._statements),
            "commits": self._commits,
            "bytes": len(answer.content),
        }
        return answer.json() if answer.content else None

    def _note_statement(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        self._statements.append(statement)

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


@pytest.mark.parametrize("engine", ENGINES)
def test_no_request_costs_more_than_its_budget(engine: str, databases: Databases, tmp_path: Path):
    environ = {"NARU_DATABASE_URL": databases.new(engine, tmp_path)}
    server = Server(load(environ=environ, state_dir=str(tmp_path), bind="127.0.0.1:0", auth="none"))

    async def scenario() -> dict[str, dict[str, int]]:
        server.store.start()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(server.app()), base_url="http://naru") as client:
            meter = Meter(client, server.store._engine)
            await ask_for_everything(meter)
        server.store.stop()
        server._listening.close()
        return meter.costs

    costs = asyncio.run(scenario())
    budgets: dict[str, dict[str, int]] = json.loads(BUDGETS.read_text())
    too_dear = [
        f"{kind}: {cost} {what}, the budget is {budgets.get(kind, {}).get(what, 0)}"
        for kind, found in costs.items()
        for what, cost in found.items()
        if cost > budgets.get(kind, {}).get(what, 0)
    ]
    assert not too_dear, "\n".join([*too_dear, "where that is meant, tests/budgets.json becomes:", _as_file(costs)])
    assert budgets.keys() == costs.keys()


def _as_file(costs: dict[str, dict[str, int]]) -> str:
    return "{\n" + ",\n".join(f"  {json.dumps(kind)}: {json.dumps(found)}" for kind, found in costs.items()) + "\n}"
