"""The chores of a whole server, with a clock that runs as the test wants: history is kept, and the forecast follows from it."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

from naru.bootstrap import Server, keep_on
from naru.model.agents import Agent
from naru.model.hostreport import HostDescription
from naru.model.identity import Caller
from naru.model.usage import NetworkUsage
from naru.service.hosts import register_host
from naru.service.networks import create_network
from naru.service.ports import create_port
from naru.service.subnets import create_subnet
from naru.settings import load

DAYS = 16
ADMIN = Caller("admin", "admin", frozenset({"admin"}))


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, 0, 30, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


async def until(check, server):
    async with asyncio.timeout(20):
        while not check():  # noqa: ASYNC110 - the server tells nobody when it has looked
            await asyncio.sleep(server.look_every_s)


async def live(server, clock):
    """Each day a port more."""
    stop, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.ensure_future(server.run(stop, ready.set))
    await ready.wait()
    write, cloud, view = server.store.write, server.backend.cloud, server.store.view
    given = {"name": "growing", "project_id": "admin"}
    network = await write(lambda view: create_network(view, ADMIN, given, cloud))
    subnet = {"network_id": network.id, "cidr": "10.0.0.0/24", "ip_version": 4, "enable_dhcp": False, "project_id": "admin"}
    await write(lambda view: create_subnet(view, ADMIN, subnet, cloud))
    for day in range(DAYS):
        await write(lambda view: create_port(view, ADMIN, {"network_id": network.id, "project_id": "admin"}, cloud))
        await until(lambda day=day: server.peaks.get(network.id) == day + 1, server)
        clock.time += timedelta(days=1)
        await until(lambda day=day: (usage := view.get(NetworkUsage, network.id)) is not None and usage.hours[-1] == day + 1, server)
    await until(lambda: view.get(NetworkUsage, network.id).days_left is not None, server)
    stop.set()
    await running
    return view.get(NetworkUsage, network.id)


def test_a_server_records_what_is_used_and_keeps_the_days_that_are_left(tmp_path):
    clock = Clock()
    settings = load(environ={}, bind="127.0.0.1:0", state_dir=str(tmp_path), auth="none")
    usage = asyncio.run(live(Server(settings, clock.now, look_every_s=0.02), clock))
    hour = int(clock.time.timestamp()) // 3600
    assert usage.daily(hour) == tuple(range(1, DAYS + 1))
    assert usage.days_left == 253 - DAYS - 1


def test_a_server_whose_clock_is_set_says_so_and_misses_no_host(tmp_path, capsys):
    set_by = timedelta()
    settings = load(environ={}, bind="127.0.0.1:0", state_dir=str(tmp_path), auth="none", agent_down_time_s=2)
    server = Server(settings, lambda: datetime.now(UTC) + set_by)

    async def jump():
        nonlocal set_by
        stop, ready = asyncio.Event(), asyncio.Event()
        running = asyncio.ensure_future(server.run(stop, ready.set))
        await ready.wait()
        register = partial(register_host, host="compute01", description=HostDescription(), cloud=server.backend.cloud)
        await server.store.write(lambda view: register(view, now=server.now()))
        set_by = timedelta(days=-2)
        said = []
        async with asyncio.timeout(20):
            while "server's clock was set" not in "".join(said):
                await asyncio.sleep(0.05)
                said += [*capsys.readouterr()]
        await server.store.confirm()
        stop.set()
        await running
        return "".join(said)

    said = asyncio.run(jump())
    assert "by='-2 days'" in said
    assert [agent.alive for agent in server.store.view.all(Agent)] == [True]


def test_a_chore_that_dies_of_a_fault_says_so_and_begins_anew(capsys):
    runs = []

    async def duty():
        runs.append(len(runs))
        if len(runs) == 1:
            raise KeyError("a fault of ours")

    asyncio.run(keep_on(duty))
    assert len(runs) == 2
    said = capsys.readouterr()
    assert "a chore failed" in said.out + said.err
