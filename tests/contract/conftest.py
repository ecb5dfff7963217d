"""A server for each module, and the clients that reach it."""

from collections.abc import Iterator

import pytest

from clients import Clients
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
