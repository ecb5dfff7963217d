"""A server for each module, and the clients that reach it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from clients import Clients
from databases import ENGINES, Databases
from networking import Networking
from serving import Serving


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with Serving(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def clients(serving: Serving) -> Clients:
    return Clients(serving)


@pytest.fixture(scope="module")
def admin(clients: Clients) -> Iterator[Networking]:
    """The network API as the administrator sees it."""
    with clients.http("admin") as http:
        yield Networking(http)


@pytest.fixture(scope="module")
def demo(clients: Clients) -> Iterator[Networking]:
    """The same as a member of the project demo."""
    with clients.http("demo") as http:
        yield Networking(http)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def url(engine: str, databases: Databases, tmp_path: Path) -> str:
    return databases.new(engine, tmp_path)
