"""The agent's side of the feed, against a server that answers as the contract says."""

import asyncio
import contextlib
import socket

import httpx
import pytest

from naru.feed.subscribe import Feed
from naru.model.hostreport import HostDescription, HostReport
from naru.model.hoststate import NetworkState
from naru.testing import FakeServer

ONE, TWO, THREE = (NetworkState(name, 1450, ()) for name in ("one", "two", "three"))


@pytest.fixture
def server():
    made = FakeServer(socket.create_server(("127.0.0.1", 0)))
    yield made
    made.close()


@contextlib.asynccontextmanager
async def following(server, saved, token="secret"):
    feed = Feed(server.url, token, "h1", HostDescription(), saved=saved)
    feed.load()
    task = asyncio.create_task(feed.run())
    try:
        yield feed
    finally:
        task.cancel()
        await feed.close()


async def soon(check, within_s=5.0):
    async with asyncio.timeout(within_s):
        while not check():  # noqa: ASYNC110 - the feed has no event for each thing that a test waits for
            await asyncio.sleep(0.01)


def test_list_then_watch(server, tmp_path):
    async def scenario():
        server.put(ONE, TWO)
        async with following(server, tmp_path / "saved") as feed:
            await soon(lambda: feed.in_sync)
            assert feed.state == {"network/one": ONE, "network/two": TWO}
            server.put(THREE)
            server.delete("network/one")
            await soon(lambda: feed.state == {"network/two": TWO, "network/three": THREE})
            await soon(lambda: feed.revision == server.revision)
        assert server.descriptions == [HostDescription()]

    asyncio.run(scenario())


def test_after_a_lost_connection_only_what_changed_is_asked_for(server, tmp_path):
    async def scenario():
        server.put(ONE)
        async with following(server, tmp_path / "saved") as feed:
            await soon(lambda: feed.in_sync)
            server.hang_up()
            server.put(TWO)
            await soon(lambda: len(feed.state) == 2)
            assert feed.in_sync
        assert server.lists == 1

    asyncio.run(scenario())


def test_after_410_the_whole_state_is_listed_and_what_is_not_in_it_is_gone(server, tmp_path):
    async def scenario():
        server.put(ONE, TWO)
        async with following(server, tmp_path / "saved") as feed:
            await soon(lambda: feed.in_sync)
            del server.state["network/one"]  # forgotten with the old revisions: no frame will say so
            server.compact()
            await soon(lambda: feed.state == {"network/two": TWO} and feed.in_sync)
        assert server.lists == 2

    asyncio.run(scenario())


def test_saved_state_is_there_before_the_server_and_continues_from_its_revision(server, tmp_path):
    async def scenario():
        server.put(ONE)
        async with following(server, tmp_path / "deep/saved") as feed:
            await soon(lambda: feed.in_sync)
            feed.save()
        server.put(TWO)
        restarted = Feed(server.url, "secret", "h1", HostDescription(), saved=tmp_path / "deep/saved")
        restarted.load()
        assert restarted.state == {"network/one": ONE}
        assert not restarted.in_sync
        await restarted.close()
        async with following(server, tmp_path / "deep/saved") as feed:
            await soon(lambda: feed.in_sync)
            assert feed.state == {"network/one": ONE, "network/two": TWO}
        assert server.lists == 1

    asyncio.run(scenario())


def test_saved_state_that_cannot_be_read_is_left_aside(server, tmp_path):
    async def scenario():
        (tmp_path / "saved").write_text('{"revision": 3, "sta')
        server.put(ONE)
        async with following(server, tmp_path / "saved") as feed:
            await soon(lambda: feed.in_sync)
            assert feed.state == {"network/one": ONE}

    asyncio.run(scenario())


def test_host_that_the_server_forgot_registers_again(server, tmp_path):
    async def scenario():
        registered = []
        async with following(server, tmp_path / "saved") as feed:
            feed.on_register = lambda: registered.append(feed.revision)
            await soon(lambda: feed.in_sync)
            server.forget()
            await soon(lambda: len(server.descriptions) == 2)
            await soon(lambda: len(registered) == 2)

    asyncio.run(scenario())


def test_report_to_a_server_that_forgot_the_host_registers_it(server, tmp_path):
    async def scenario():
        async with following(server, tmp_path / "saved") as feed:
            await soon(lambda: feed.in_sync)
            server.known = False
            with pytest.raises(httpx.HTTPStatusError):
                await feed.report(HostReport(1))
            assert len(server.descriptions) == 2
            await feed.report(HostReport(2))
        assert [report.revision for report in server.reports] == [2]

    asyncio.run(scenario())


def test_a_report_is_answered_by_whether_the_state_that_it_speaks_of_is_the_newest(server, tmp_path):
    async def scenario():
        server.put(ONE)
        async with following(server, tmp_path / "saved") as feed:
            await soon(lambda: feed.in_sync)
            assert (await feed.report(HostReport(feed.revision)))[0].current
            assert not (await feed.report(HostReport(feed.revision - 1)))[0].current

    asyncio.run(scenario())


def test_wrong_token_is_never_in_sync(server, tmp_path):
    async def scenario():
        async with following(server, tmp_path / "saved", token="wrong") as feed:
            with pytest.raises(TimeoutError):
                await soon(lambda: feed.in_sync, within_s=0.5)

    asyncio.run(scenario())


def test_frame_of_a_newer_server_does_not_hide_the_others(tmp_path):
    async def scenario():
        feed = Feed("http://127.0.0.1:1", "secret", "h1", HostDescription(), saved=tmp_path / "saved")
        feed._take('{"frame":"put","key":"lantern/1","value":{"kind":"lantern"}}')
        feed._take('{"frame":"put","key":"network/one","value":{"kind":"network","network_id":"one","mtu_bytes":1450,"segments":[]}}')
        assert feed.state == {"network/one": ONE}
        await feed.close()

    asyncio.run(scenario())
