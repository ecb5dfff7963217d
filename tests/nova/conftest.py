"""One cloud for all tests, a project in it for each."""

from collections.abc import Iterator
from itertools import count

import pytest

from clients import working
from databases import Databases
from nova_cloud import BREAKER_S, TIMEOUT_S, Cloud, Project
from real_keystone import RealKeystone
from real_nova import HOST, RealNova
from serving import Serving
from side_door import SideDoor

_numbers = count(1)


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> Iterator[Cloud]:
    with RealKeystone(tmp_path_factory.mktemp("keystone")) as keystone:
        service = keystone.create("project", name="service")
        keystone.user("naru", service, "admin", "service")
        keystone.user("nova", service, "admin", "service")
        environ = {"NARU_KEYSTONE_AUTH_URL": keystone.url, "NARU_KEYSTONE_PASSWORD": "naru"}
        options = {"timeout_s": str(TIMEOUT_S), "breaker_s": str(BREAKER_S)}
        with (
            Serving(tmp_path_factory.mktemp("server"), NARU_AUTH="keystone", **environ) as server,
            working(server, HOST, vif_type="tap"),  # Nova 34 knows no Linux bridges any more
            SideDoor(server.url) as door,
            RealNova(
                tmp_path_factory.mktemp("nova"), keystone, server.url, databases.server("mariadb"), options | {"naru_url": door.url}
            ) as nova,
        ):
            keystone.create("region", id="RegionOne")
            compute = keystone.create("service", type="compute", name="nova")
            keystone.create("endpoint", service_id=compute, interface="public", region_id="RegionOne", url=nova.url("stock"))
            cloud = Cloud(keystone, server, nova, door)
            yield cloud
            cloud.close()


@pytest.fixture
def project(cloud: Cloud) -> Iterator[Project]:
    """With no network and no server."""
    made = cloud.project(f"project{next(_numbers)}")
    yield made
    cloud.door.turn("open")
    made.http.close()
