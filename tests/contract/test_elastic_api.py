"""Elastic networks over HTTP and by the real command: a client names the network, and nothing else."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from clients import Clients, FakeHost
from naru.testing import eventually
from networking import Networking


@pytest.fixture(scope="module", autouse=True)
def compute01(serving):
    with FakeHost(serving, "compute01") as host:
        yield host


@pytest.fixture
def spare(admin):
    """Prefixes of 5 usable addresses each."""
    pool = admin.create("subnetpools", name="spare", prefixes=["10.20.0.0/24"], shared=True)
    yield pool
    admin.delete("subnetpools", pool["id"])


@pytest.fixture
def prod(admin, spare):
    """A network of one VXLAN segment, with room for 5 ports, that may have three subnets."""
    bench = {"subnetpool_id": spare["id"], "prefixlen": 29, "limit": 3, "network_type": "vxlan", "minimum": 7000, "maximum": 7001}
    wire = {"provider:network_type": "vxlan", "provider:segmentation_id": 6999}
    network = admin.network(name="prod", shared=True, subnet_policy="sequential", autogrow=bench, **wire)
    eventually(lambda: len(admin.show("networks", network["id"])["subnets"]) == 1, 15)  # a network without a subnet is full
    for id in admin.show("networks", network["id"])["subnets"]:
        admin.update("subnets", id, enable_dhcp=False)
    yield admin.show("networks", network["id"])
    for port in admin.list("ports", network_id=network["id"]):
        admin.delete("ports", port["id"])
    admin.delete("networks", network["id"])


def segment_of(admin: Networking, port: dict) -> int:
    (fixed,) = port["fixed_ips"]
    return admin.show("segments", admin.show("subnets", fixed["subnet_id"])["segment_id"])["segmentation_id"]


def test_a_dry_run_of_a_pick_that_would_grow_changes_nothing(admin, demo, prod):
    before = admin.everything()
    pick = demo.create("network-picks", count=9, dry_run=True)
    assert (pick["status"], len(pick["placements"])) == ("dry_run", 9)
    assert [row["reason"] for row in pick["candidates"] if row["name"] == "prod"] == ["grown"]
    assert admin.everything() == before


def test_who_names_the_network_gets_a_port_until_the_bench_is_used_up(admin, demo, prod, clients: Clients):
    ports = [demo.port(prod) for _ in range(5)]
    made = clients.openstack("port", "create", "--network", "prod", "sixth")
    sixth = admin.show("ports", made["id"])
    assert [segment_of(admin, port) for port in (*ports, sixth)] == [6999] * 5 + [7000]
    assert [segment["provider:segmentation_id"] for segment in admin.show("networks", prod["id"])["segments"]] == [6999, 7000]
    assert "autogrow" not in demo.show("networks", prod["id"])

    while (answer := demo.request("POST", "/ports", json={"port": {"network_id": prod["id"]}})).status_code == 201:
        assert answer.json()["port"]["fixed_ips"]
    error = answer.json()["NeutronError"]
    assert (answer.status_code, error["type"]) == (409, "IpAddressGenerationFailure")
    assert "it has 3 subnets, and its limit is 3" in error["message"]
    assert len(admin.show("networks", prod["id"])["subnets"]) == 3


def test_many_who_ask_at_once_let_it_grow_as_far_as_they_need(admin, demo, spare):
    bench = {"subnetpool_id": spare["id"], "prefixlen": 29, "limit": 20, "network_type": "vxlan", "minimum": 7100, "maximum": 7120}
    wire = {"provider:network_type": "vxlan", "provider:segmentation_id": 7100}
    network = admin.network(shared=True, subnet_policy="sequential", autogrow=bench, **wire)
    eventually(lambda: admin.show("networks", network["id"])["subnets"], 15)
    with ThreadPoolExecutor(16) as clients:
        ports = list(clients.map(lambda _: demo.port(network), range(48)))
    assert len({port["fixed_ips"][0]["ip_address"] for port in ports}) == 48
    # Of the 5 addresses of each the DHCP server has one; the chore may have been one ahead.
    assert len(admin.show("networks", network["id"])["subnets"]) in (12, 13)
    for port in ports:
        demo.delete("ports", port["id"])
    admin.delete("networks", network["id"])
