"""What a host cannot do is shown to administrators, by the API and by `openstack network agent failure list`."""

import msgspec
import pytest

from clients import FakeHost
from naru.model.hostreport import HostReport

WHY = "device eth2 of physical network physnet2 does not exist"


@pytest.fixture
def host(serving):
    with FakeHost(serving, "compute01") as host:
        yield host


def report(host, **parts):
    host.http.post("/report", content=msgspec.json.encode(HostReport(1, **parts))).raise_for_status()


def failures(admin):
    (agent,) = admin.list("agents")
    return agent["failures"]


def test_what_a_host_cannot_do_is_shown_until_it_can(host, admin, demo, clients):
    (agent,) = admin.list("agents")
    assert agent["failures"] == {}

    report(host, failed={"network/n1": WHY, "agent/memory": "no space"})
    assert failures(admin) == {"network/n1": WHY, "agent/memory": "no space"}
    listed = clients.openstack("network", "agent", "failure", "list", "--host", "compute01", user="admin")
    assert [tuple(row.values()) for row in listed] == [
        ("compute01", True, "agent/memory", "no space"),
        ("compute01", True, "network/n1", WHY),
    ]
    assert demo.list("agents") == []

    report(host, ok=("network/n1",), gone=("agent/memory",))
    assert failures(admin) == {}
