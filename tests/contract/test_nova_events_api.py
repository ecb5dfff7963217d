"""What Nova was last told of a port, and its answer: for administrators, over a restart of the server, as long as there is the port."""

import asyncio
from functools import partial

import pytest

from clients import Clients
from naru.model.nova_events import NovaEvent
from naru.service.nova_events import record_nova_events
from naru.store.store import Store
from networking import Networking
from serving import Serving

SERVER = "11111111-1111-4111-8111-111111111111"


def keep(state_dir, *told):
    """As a server that tells Nova writes it."""

    async def write():
        store = Store(f"sqlite:///{state_dir / 'naru.db'}")
        store.start()
        await store.write(partial(record_nova_events, told=told))
        store.stop()

    asyncio.run(write())


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server, and two ports of servers of Nova's: the first was taken, the second refused by an earlier process."""
    state_dir = tmp_path_factory.mktemp("events")
    with Serving(state_dir) as serving, Clients(serving).http("demo") as http:
        demo = Networking(http)
        network = demo.network()
        ports = [http.post("/v2.0/ports", json={"port": {"network_id": network["id"]}}).json()["port"]["id"] for _ in range(2)]
    taken = NovaEvent(id=ports[0], server_id=SERVER, name="network-vif-plugged", http_status=200, code=200, status="completed")
    why = "Nova knows no such server"
    refused = NovaEvent(id=ports[1], server_id=SERVER, name="network-changed", http_status=207, code=404, status="failed", reason=why)
    keep(state_dir, taken, refused, NovaEvent(id="no-such-port", server_id=SERVER, name="network-changed"))
    with Serving(state_dir) as serving:
        yield Clients(serving), ports


def test_an_administrator_sees_what_nova_said_before_the_restart(served):
    clients, (taken, refused) = served
    with clients.http("admin") as http:
        shown = http.get(f"/v2.0/nova-events/{refused}").json()["nova_event"]
        assert shown == {
            "id": refused,
            "server_id": SERVER,
            "name": "network-changed",
            "told_status": "completed",
            "sent_at": "",
            "attempts": 1,
            "http_status": 207,
            "code": 404,
            "status": "failed",
            "reason": "Nova knows no such server",
            "next_try_at": None,
        }
        listed = http.get("/v2.0/nova-events?code=404&fields=id").json()["nova_events"]
        assert listed == [{"id": refused}]
        assert {row["id"] for row in http.get(f"/v2.0/nova-events?server_id={SERVER}").json()["nova_events"]} == {taken, refused}


def test_the_ports_own_project_does_not(served):
    clients, (_, refused) = served
    with clients.http("demo") as http:
        assert http.get("/v2.0/nova-events").json() == {"nova_events": []}
        assert http.get(f"/v2.0/nova-events/{refused}").status_code == 404
        assert http.delete(f"/v2.0/nova-events/{refused}").status_code in (404, 405)


def test_it_goes_with_the_port(served):
    clients, (taken, _) = served
    with clients.http("admin") as http:
        assert http.delete(f"/v2.0/ports/{taken}").status_code == 204
        assert http.get(f"/v2.0/nova-events/{taken}").status_code == 404
