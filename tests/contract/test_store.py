"""The store on real databases: what was answered is there, whatever happens; what was refused is not."""

import asyncio
import stat
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Table, func, insert, make_url, select, update

from databases import ENGINES, NEEDS, Databases
from naru.model.agents import Agent
from naru.model.errors import Conflict, Invalid, NaruError, Unavailable
from naru.model.resources import Changes, Network, Port, Subnet, WantedIp, new_id, put, remove
from naru.model.view import View
from naru.service.networks import create_network
from naru.service.ports import create_port
from naru.service.subnets import create_subnet
from naru.store.check import check_database
from naru.store.database import open_database
from naru.store.store import Store
from naru.store.tables import changes, claims, lease, resources
from planning import ADMIN, CLOUD
from serving import Serving


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


def test_a_server_that_lost_the_lease_writes_nothing(engine: str, databases: Databases, tmp_path: Path):
    environ = {"NARU_DATABASE_URL": databases.new(engine, tmp_path)}
    with Serving(tmp_path, **environ) as first, first.client() as to_first:
        network = to_first.post("/networks", json={"network": {"name": "before"}}).json()["network"]
        with Serving(tmp_path, **environ) as second, second.client() as to_second:
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


def test_a_new_database_is_its_owners_alone_whatever_the_umask(tmp_path: Path):
    state = tmp_path / "state"
    wide = 'umask 0; mkdir "$1"; exec "$0" -m naru db upgrade --state-dir "$1"'
    subprocess.run(["sh", "-ec", wide, sys.executable, state], check=True, capture_output=True)
    with Serving(state) as serving, serving.client() as client:
        client.post("/networks", json={"network": {"name": "private"}}).raise_for_status()
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in state.glob("naru.db*")}
    assert modes == dict.fromkeys(("naru.db", "naru.db-wal", "naru.db-shm"), 0o600)


# -- the writer itself


# Who finds a lock waits no longer than this.
IMPATIENT = {
    "sqlite": {"timeout": "0.1"},
    "postgresql": {"options": "-c lock_timeout=100"},
    "mariadb": {"init_command": "SET innodb_lock_wait_timeout=1"},
}


@pytest.fixture
def url(engine: str, databases: Databases, tmp_path: Path) -> str:
    return make_url(databases.new(engine, tmp_path)).update_query_dict(IMPATIENT[engine]).render_as_string(hide_password=False)


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
            connection.execute(update(lease).values(epoch=lease.c.epoch))
            with pytest.raises(Unavailable, match="nothing was changed"):
                await store.write(new_network)
        somebody.dispose()
        assert store.view.size(Network) == 1
        assert await store.write(new_network)

    run(scenario, url)
    assert check_database(url)[1] == []


def agent_on(host: str) -> Callable[[View], Changes[Agent]]:
    def plan(view: View) -> Changes[Agent]:
        agent = Agent(id=new_id(), host=host)
        yield put(agent)
        return agent

    return plan


def test_claims_that_are_nearly_alike_are_two(url: str):
    """Capitals, accents, spaces at the end: some databases take them for the same."""
    hosts = ["a", "A", "a ", "\u00e1", "a\u0301", "\U0001f600", "\U0001f601"]

    async def scenario(store: Store) -> None:
        assert [agent.host for agent in await in_one_batch(store, *map(agent_on, hosts))] == hosts
        with pytest.raises(Conflict):
            await store.write(agent_on("a "))

    run(scenario, url)
    assert rows(url, claims) == len(hosts)


def test_a_text_that_the_database_cannot_hold_refuses_its_request_alone(url: str, engine: str):
    async def scenario(store: Store) -> None:
        outcomes = await in_one_batch(store, new_agent, agent_on("x" * 600), new_agent)
        assert [type(outcome) for outcome in outcomes] == [Agent, Agent if engine == "sqlite" else Invalid, Agent]

    run(scenario, url)
    assert check_database(url)[1] == []


def test_a_document_of_a_megabyte_comes_back(url: str):
    text = "\u00e9\\\"'%s\x00" * 100_000

    def new_network_of_it(view: View) -> Changes[None]:
        yield put(Network(id=new_id(), description=text))

    async def write(store: Store) -> None:
        await store.write(new_network_of_it)

    async def read(store: Store) -> None:
        assert [network.description for network in store.view.all(Network)] == [text]

    run(write, url)
    run(read, url)


def test_nothing_that_was_answered_is_lost_to_the_next_leader(engine: str, databases: Databases, tmp_path: Path):
    """It takes the lease while the first one writes, and reads everything: what is answered is either in there or never was."""
    url = databases.new(engine, tmp_path)
    answered: list[str] = []

    async def scenario() -> None:
        first, is_busy = Store(url), asyncio.Event()
        first.start()

        async def keep_writing() -> None:
            while True:
                answered.append((await first.write(new_agent)).id)
                is_busy.set()

        writers = [asyncio.ensure_future(keep_writing()) for _ in range(4)]
        await is_busy.wait()
        second = await asyncio.to_thread(Store, url)
        async with asyncio.timeout(20):
            lost = await asyncio.gather(*writers, return_exceptions=True)
        assert {str(refusal) for refusal in lost} == {"another server has become the writer of this database; send the request there"}
        first.stop()
        assert set(answered) <= {agent.id for agent in second.view.all(Agent)}
        second.start()
        await second.write(new_agent)
        second.stop()

    asyncio.run(scenario())
    assert check_database(url)[1] == []


def test_a_check_sees_one_moment_though_a_server_writes(engine: str, databases: Databases, tmp_path: Path):
    def come_and_go(view: View) -> Changes[None]:
        yield from new_agent(view)
        for agent in list(view.all(Agent))[:-5]:
            yield remove(agent)

    async def scenario(store: Store) -> None:
        async def keep_writing() -> None:
            while True:
                await store.write(come_and_go)

        writers = [asyncio.ensure_future(keep_writing()) for _ in range(4)]
        for _ in range(10):
            assert (await asyncio.to_thread(check_database, url))[1] == []
        assert not any(writer.done() for writer in writers)
        for writer in writers:
            writer.cancel()

    url = databases.new(engine, tmp_path)
    run(scenario, url)


@pytest.mark.needs(*NEEDS["mariadb"])
def test_many_rows_take_few_round_trips_on_mariadb(databases: Databases, tmp_path: Path):
    """PyMySQL sends the rows of most statements one by one; a batch must not cost a round trip for each."""
    url = databases.new("mariadb", tmp_path)

    def asked() -> int:
        with opened.connect() as connection:
            return int(connection.exec_driver_sql("SHOW GLOBAL STATUS LIKE 'Questions'").one()[1])

    def rename(view: View) -> Changes[None]:
        for agent in list(view.all(Agent)):
            yield put(Agent(id=agent.id, host=new_id()))

    def drop(view: View) -> Changes[None]:
        for agent in list(view.all(Agent)):
            yield remove(agent)

    async def scenario(store: Store) -> None:
        for plan in (new_agents, rename, drop):
            before = asked()
            await store.write(plan)
            assert asked() - before < 20

    def new_agents(view: View) -> Changes[None]:
        for _ in range(100):
            yield from new_agent(view)

    opened = open_database(url)
    run(scenario, url)
    opened.dispose()
    assert check_database(url) == (0, [])
