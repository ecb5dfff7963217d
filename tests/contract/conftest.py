"""A server for each module, and the clients that reach it."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openstack.network.v2._proxy import Proxy

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


@pytest.fixture(scope="module")
def admin_http(clients: Clients) -> Iterator[httpx.Client]:
    """All of the server, as the administrator sees it."""
    with clients.http("admin") as http:
        yield http


@pytest.fixture(scope="module")
def http(clients: Clients) -> Iterator[httpx.Client]:
    """The same as a member of the project demo."""
    with clients.http("demo") as http:
        yield http


@pytest.fixture(scope="module")
def admin_sdk(clients: Clients, admin: Networking) -> Iterator[Proxy]:
    """The network API as openstacksdk has it, for the administrator."""
    with clients.sdk("admin") as connection:
        yield connection.network


@pytest.fixture(scope="module")
def sdk(clients: Clients, admin: Networking) -> Iterator[Proxy]:
    """The same for a member of the project demo."""
    with clients.sdk("demo") as connection:
        yield connection.network


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def url(engine: str, databases: Databases, tmp_path: Path) -> str:
    return databases.new(engine, tmp_path)
