"""A database that goes away: the server says so, loses nothing that it answered, and goes on when the database is back."""

import asyncio
import contextlib
import shutil
import socket
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from databases import ENGINES, Databases, DatabaseServer
from naru.model.agents import Agent
from naru.model.errors import Unavailable
from naru.model.resources import Changes, new_id, put
from naru.model.view import View
from naru.store.check import check_database
from naru.store.store import Store

# PyMySQL leaves the socket of a connection that was refused to the collector, which pytest would call a fault of the test.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(params=ENGINES[1:])
def server(request: pytest.FixtureRequest, databases: Databases) -> DatabaseServer:
    return databases.server(request.param)


def new_agent(view: View) -> Changes[Agent]:
    agent = Agent(id=new_id(), host=new_id())
    yield put(agent)
    return agent


def run(scenario: Callable[[Store], Awaitable[None]], url: str) -> None:
    async def limited() -> None:
        store = Store(url)
        store.start()
        async with asyncio.timeout(120):
            await scenario(store)
        store.stop()

    asyncio.run(limited())


def agents(store: Store) -> set[str]:
    return {agent.id for agent in store.view.all(Agent)}


def test_nobody_notices_that_an_idle_connection_was_replaced(server: DatabaseServer):
    async def scenario(store: Store) -> None:
        before = await store.write(new_agent)
        server.crash()
        server.start()
        after = await store.write(new_agent)
        assert agents(store) == {before.id, after.id}

    url = server.new_database()
    run(scenario, url)
    assert check_database(url) == (2, [])


def test_writes_are_unavailable_while_the_database_is_away_and_reads_are_not(server: DatabaseServer):
    async def scenario(store: Store) -> None:
        before = await store.write(new_agent)
        server.crash()
        try:
            for _ in range(3):
                with pytest.raises(Unavailable, match="nothing was changed"):
                    await store.write(new_agent)
            with pytest.raises(Unavailable):
                await store.confirm()
            assert agents(store) == {before.id}
        finally:
            server.start()
        after = await store.write(new_agent)
        assert agents(store) == {before.id, after.id}

    url = server.new_database()
    run(scenario, url)
    assert check_database(url) == (2, [])


# -- a commit whose answer never comes


class Wire:
    """Stands between the store and the database's socket. Armed, it breaks off at the next COMMIT: before or after the database has it."""

    def __init__(self, beyond: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="naru-wire-"))  # a socket's path has to be short
        self.path = self.folder / beyond.name
        self._beyond = beyond
        self.breaks = ""  # "before" or "after"
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.path))
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        shutil.rmtree(self.folder)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(str(self._beyond))
                threading.Thread(target=self._ask, args=(near, far), daemon=True).start()

    def _ask(self, near: socket.socket, far: socket.socket) -> None:
        answering = threading.Thread(target=self._answer, args=(near, far), daemon=True)
        answering.start()
        while piece := near.recv(1 << 16):
            is_commit = b"COMMIT" in piece and b"READ COMMITTED" not in piece
            if is_commit and self.breaks:
                near.shutdown(socket.SHUT_RDWR)
            if is_commit and self.breaks == "before":
                break
            far.sendall(piece)
        far.shutdown(socket.SHUT_WR)
        answering.join()
        for end in (near, far):
            end.close()

    def _answer(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := far.recv(1 << 16):
                near.sendall(piece)


@pytest.fixture
def wire(server: DatabaseServer) -> Iterator[Wire]:
    opened = Wire(server.socket)
    yield opened
    opened.close()


def through(wire: Wire, url: str) -> str:
    key, place = ("host", wire.folder) if url.startswith("postgresql") else ("unix_socket", wire.path)
    return make_url(url).update_query_dict({key: str(place)}).render_as_string(hide_password=False)


@pytest.mark.parametrize(("breaks", "written"), [("before", False), ("after", True)], ids=str)
def test_a_commit_in_doubt_is_looked_up_when_the_database_is_back(server: DatabaseServer, wire: Wire, breaks: str, *, written: bool):
    url = server.new_database()
    published: list[Any] = []

    async def scenario(store: Store) -> None:
        store.listen(published.extend)
        before = await store.write(new_agent)
        wire.breaks = breaks
        with pytest.raises(Unavailable, match="Look before you try again"):
            await store.write(new_agent)
        assert agents(store) == {before.id}
        wire.breaks = ""

        after = await store.write(new_agent)

        in_doubt = agents(store) - {before.id, after.id}
        assert len(in_doubt) == written
        assert [change.after.id for change in published] == [before.id, *in_doubt, after.id]

    run(scenario, through(wire, url))
    assert check_database(url) == (2 + written, [])
