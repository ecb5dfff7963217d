"""Nova without any filter, for a project that sees no network: `auto` comes to a hidden pool. `make test-nova`."""

from collections import Counter

import pytest

POOL = {"hidden": True, "policy": "spread"}


@pytest.fixture
def pooled(cloud, project):
    """-> a function that gives the project a hidden pool of an administrator's networks with so many addresses each."""

    def make(*sizes):
        networks = [cloud.operator.network(f"pool-{number}", addresses) for number, addresses in enumerate(sizes, 1)]
        body = {"project_id": project.id, "members": [{"network_id": id} for id in networks], **POOL}
        cloud.admin.post("/network-pools", json={"network_pool": body}).raise_for_status()
        return networks

    return make


def listed(project):
    url = f"{project.cloud.server.url}/v2.0/networks"
    return project.http.get(url).raise_for_status().json()["networks"]


def test_a_server_becomes_active_on_a_network_of_the_pool_and_leaves_no_port(project, pooled):
    pooled(5, 5)
    assert listed(project) == []
    (server,) = project.boot("stock", networks="auto")
    assert server["status"] == "ACTIVE", server.get("fault")
    (name,) = server["addresses"]
    assert name in ("pool-1", "pool-2")
    project.delete(server["id"])
    assert project.ports() == []


def test_several_servers_are_spread_over_the_pool(project, pooled):
    pooled(6, 6, 6)
    servers = project.boot("stock", networks="auto", min_count=3, max_count=3)
    assert [server["status"] for server in servers] == ["ACTIVE"] * 3
    assert Counter(name for server in servers for name in server["addresses"]) == {"pool-1": 1, "pool-2": 1, "pool-3": 1}
    assert [pick["status"] for pick in project.picks()] == ["used"] * 3


def test_the_last_addresses_are_used_up_and_then_the_refusal_is_clean(project, pooled):
    pooled(1, 1)
    servers = project.boot("stock", networks="auto", min_count=2, max_count=2)
    assert [server["status"] for server in servers] == ["ACTIVE"] * 2
    refused = project.post_server("stock", networks="auto")
    assert refused.status_code == 400
    assert refused.json()["badRequest"]["message"] == f"Unable to automatically allocate a network for project {project.id}"


def test_a_rebooted_server_keeps_the_name_of_its_network(project, pooled):
    """Nova asks for the network by its id again, as an administrator."""
    pooled(5)
    (server,) = project.boot("stock", networks="auto")
    project.reboot(server["id"])
    assert list(project.built()[0]["addresses"]) == ["pool-1"]


def test_the_filter_picks_from_the_pool_too(project, pooled):
    pooled(1, 1)
    servers = project.boot("filtered", networks="auto")
    assert [server["status"] for server in servers] == ["ACTIVE"]
    (port,) = project.ports()
    assert project.pick(port["pick_id"])["mode"] == "one_network"
