"""A server for each module, and the clients that reach it."""

from collections.abc import Iterator

import pytest

from clients import Clients
from serving import Serving


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with Serving(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def clients(serving: Serving) -> Clients:
    return Clients(serving)
