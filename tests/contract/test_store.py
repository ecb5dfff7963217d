"""The store on a real SQLite file: what was answered is there, whatever happens; what was refused is not."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy import Table, func, insert, select

from bench.load import Connection, drive, request
from naru.model.agents import Agent
from naru.model.errors import Conflict, NaruError, Unavailable
from naru.model.resources import Changes, Network, Port, Subnet, WantedIp, new_id, put, remove
from naru.model.view import View
from naru.service.networks import create_network
from naru.service.ports import create_port
from naru.service.subnets import create_subnet
from naru.store.check import check_database
from naru.store.database import open_database
from naru.store.store import Store
from naru.store.tables import changes, claims, resources
from planning import ADMIN, CLOUD
from serving import Serving

# -- a server under load


def make_subnet(client: httpx.Client, **given: Any) -> dict[str, Any]:
    project_id = client.get("/quotas/tenant").json()["tenant"]["tenant_id"]
    client.put(f"/quotas/{project_id}", json={"quota": {"port": -1}}).raise_for_status()
    network = client.post("/networks", json={"network": {"name": "net"}}).json()["network"]
    answer = client.post("/subnets", json={"subnet": {"network_id": network["id"], "cidr": "10.0.0.0/16", "ip_version": 4} | given})
    answer.raise_for_status()
    return answer.json()["subnet"]


def port_request(subnet: dict[str, Any], token: str) -> bytes:
    return request("POST", "/v2.0/ports", token, msgspec.json.encode({"port": {"network_id": subnet["network_id"]}}))


def test_the_last_addresses_go_to_as_many_and_none_twice(serving: Serving):
    token = serving.token()
    with serving.client() as client:
        subnet = make_subnet(client, cidr="10.0.0.0/24", allocation_pools=[{"start": "10.0.0.10", "end": "10.0.0.109"}])
        ports = {"ports": [{"network_id": subnet["network_id"]}] * 50}
        client.post("/ports", json=ports).raise_for_status()

        load = drive(serving.address, [port_request(subnet, token)] * 64, clients=64)

        assert load.statuses == {201: 50, 409: 14}
        found = client.get("/ports", params={"network_id": subnet["network_id"]}).json()["ports"]
        addresses = [ip["ip_address"] for port in found for ip in port["fixed_ips"]]
        assert sorted(addresses) == sorted(f"10.0.0.{last}" for last in range(10, 110))


def test_what_was_answered_survives_kill_9(tmp_path: Path):
    answered: list[str] = []

    def keep_asking(asking: bytes, address: tuple[str, int]) -> None:
        connection = Connection(address)
        try:
            while True:
                answer = connection.ask(asking)
                assert answer.status == 201
                answered.append(msgspec.json.decode(answer.body)["port"]["id"])
                if len(answered) >= 300:
                    enough.set()
        except ConnectionError:
            connection.close()

    enough = threading.Event()
    with Serving(tmp_path) as serving:
        with serving.client() as client:
            subnet = make_subnet(client)
        asking = port_request(subnet, serving.token())
        clients = [threading.Thread(target=keep_asking, args=(asking, serving.address)) for _ in range(4)]
        for client_thread in clients:
            client_thread.start()
        assert enough.wait(20)
        serving.kill()
        for client_thread in clients:
            client_thread.join()

    assert check_database(f"sqlite:///{tmp_path / 'naru.db'}")[1] == []
    with Serving(tmp_path) as serving, serving.client() as client:
        found = {port["id"] for port in client.get("/ports", params={"fields": "id"}).json()["ports"]}
        assert set(answered) <= found
        assert len(found) <= len(answered) + len(clients)  # at most one more for each client: done, but not yet answered


def test_a_server_that_lost_the_lease_writes_nothing(tmp_path: Path):
    with Serving(tmp_path) as first, first.client() as to_first:
        network = to_first.post("/networks", json={"network": {"name": "before"}}).json()["network"]
        with Serving(tmp_path) as second, second.client() as to_second:
            refused = [
                to_first.post("/networks", json={"network": {"name": "after"}}),
                to_first.delete(f"/networks/{network['id']}"),
            ]
            assert [answer.status_code for answer in refused] == [503, 503]
            assert "another server" in refused[0].json()["NeutronError"]["message"]
            health = [httpx.get(f"{serving.url}/healthz", trust_env=False) for serving in (first, second)]
            assert [(answer.status_code, answer.json().get("status")) for answer in health] == [(503, None), (200, "ok")]
            for client in (to_first, to_second):
                assert [found["name"] for found in client.get("/networks").json()["networks"]] == ["before"]
            assert to_second.post("/networks", json={"network": {"name": "after"}}).status_code == 201


# -- the writer itself


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'naru.db'}?timeout=0.1"


def run(scenario: Callable[[Store], Awaitable[None]], url: str) -> None:
    """On a store that writes. A writer that died would let its clients wait for ever."""

    async def limited() -> None:
        store = Store(url)
        store.start()
        async with asyncio.timeout(20):
            await scenario(store)
        store.stop()

    asyncio.run(limited())


async def in_one_batch(store: Store, *plans: Callable[[View], Changes[Any]]) -> list[Any]:
    """What became of each plan: the writer is held until all have been submitted."""
    go = threading.Event()

    def wait(view: View) -> Changes[None]:
        assert go.wait(10)
        yield from ()

    held = asyncio.ensure_future(store.write(wait))
    asked = [asyncio.ensure_future(store.write(plan)) for plan in plans]
    await asyncio.sleep(0)  # each has submitted its plan
    go.set()
    await held
    return await asyncio.gather(*asked, return_exceptions=True)


def new_network(view: View) -> Changes[Network]:
    return create_network(view, ADMIN, {"project_id": "p"}, CLOUD)


def new_subnet(network: Network) -> Callable[[View], Changes[Subnet]]:
    given = {"project_id": "p", "network_id": network.id, "cidr": "10.0.0.0/24", "ip_version": 4}
    return lambda view: create_subnet(view, ADMIN, given, CLOUD)


def new_port(network: Network, **given: Any) -> Callable[[View], Changes[Port]]:
    return lambda view: create_port(view, ADMIN, {"project_id": "p", "network_id": network.id, **given}, CLOUD)


def rows(url: str, table: Table) -> int:
    engine = open_database(url)
    with engine.connect() as connection:
        count = connection.execute(select(func.count()).select_from(table)).scalar_one()
    engine.dispose()
    return count


def test_a_claim_that_is_taken_refuses_one_request_of_a_batch(url: str):
    async def scenario(store: Store) -> None:
        network = await store.write(new_network)
        subnet = await store.write(new_subnet(network))
        claim = f"address/{subnet.id}/10.0.0.77"
        foreign = open_database(url)
        with foreign.begin() as connection:
            connection.execute(insert(claims).values(claim=claim, resource_id="somebody"))
        foreign.dispose()
        clash = new_port(network, fixed_ips=(WantedIp(subnet.id, "10.0.0.77"),))

        outcomes = await in_one_batch(store, *[new_port(network)] * 5, clash, *[new_port(network)] * 5)

        refused = outcomes.pop(5)
        assert isinstance(refused, Conflict)
        assert refused.type == "NeutronDbObjectDuplicateEntry"
        assert len({port.fixed_ips for port in outcomes}) == 10
        assert {port.id for port in store.view.all(Port)} == {port.id for port in outcomes}
        assert check_database(url)[1] == [f"somebody holds the claim {claim}, which is not its own"]

    run(scenario, url)


def test_a_plan_that_cannot_be_written_fails_alone(url: str):
    """A bug in a plan must not end the writer: its request fails, the others and those that come later do not."""

    def broken(view: View) -> Changes[None]:
        yield put(Network(id="n", name="\ud800"))  # half of a character: UTF-8 has no bytes for it

    async def scenario(store: Store) -> None:
        outcomes = await in_one_batch(store, new_network, broken, new_network)
        assert [type(outcome) for outcome in outcomes] == [Network, NaruError, Network]
        assert await store.write(new_network)
        assert store.view.size(Network) == 3

    run(scenario, url)
    assert check_database(url)[1] == []


def new_agent(view: View) -> Changes[Agent]:
    """One resource, one claim, one change."""
    agent = Agent(id=new_id(), host=new_id())
    yield put(agent)
    return agent


def test_a_request_that_is_refused_half_way_leaves_nothing(url: str):
    def half(view: View) -> Changes[None]:
        yield from new_agent(view)
        raise Conflict("enough")

    async def scenario(store: Store) -> None:
        outcomes = await in_one_batch(store, half, new_agent, half)
        assert [type(outcome) for outcome in outcomes] == [Conflict, Agent, Conflict]
        assert store.view.size(Agent) == 1

    run(scenario, url)
    assert (rows(url, resources), rows(url, claims), rows(url, changes)) == (1, 1, 1)


def test_what_comes_and_goes_in_one_batch_is_in_the_log_alone(url: str):
    def brief(view: View) -> Changes[None]:
        agent = yield from new_agent(view)
        yield remove(agent)

    run(lambda store: store.write(brief), url)
    assert (rows(url, resources), rows(url, claims), rows(url, changes)) == (0, 0, 2)


def test_a_database_that_cannot_be_written_is_unavailable_and_nothing_more(url: str):
    async def scenario(store: Store) -> None:
        await store.write(new_network)
        somebody = open_database(url)
        with somebody.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable, match="nothing was changed"):
                await store.write(new_network)
        somebody.dispose()
        assert store.view.size(Network) == 1
        assert await store.write(new_network)

    run(scenario, url)
    assert check_database(url)[1] == []
