"""The real commands boot from a project's default pool: spread as its policy says, all or nothing, an explicit network as given."""

from collections import Counter

import msgspec
import pytest

from bench.load import drive, request
from clients import Clients, FakeHost
from networking import Networking
from serving import Serving


@pytest.fixture(scope="module")
def host(serving):
    with FakeHost(serving, "compute01") as host:
        yield host


@pytest.fixture
def pool(demo, host):
    """Two networks of 6 addresses; the pool spreads."""
    networks = [demo.network(name=name) for name in ("NET1", "NET2")]
    for number, network in enumerate(networks):
        allocation = {"start": f"10.40.{number}.10", "end": f"10.40.{number}.15"}
        demo.subnet(network, f"10.40.{number}.0/24", enable_dhcp=False, allocation_pools=[allocation])
    members = [{"network_id": network["id"]} for network in networks]
    pool = demo.create("network-pools", name="dev", members=members, policy="spread", is_default=True, quarantine_s=0)
    yield pool
    for server in demo.http.get("/compute/v2.1/servers").json()["servers"]:
        assert demo.http.delete(f"/compute/v2.1/servers/{server['id']}").status_code == 204
    demo.delete("network-pools", pool["id"])
    for network in networks:
        demo.delete("networks", network["id"])


BOOT = ("--image", "netns", "--flavor", "m1.tiny")


def spread(clients) -> Counter[str]:
    return Counter(name for row in clients.openstack("server", "list") for name in row["Networks"])


def test_openstack_spreads_what_it_boots_at_once(clients, demo, pool):
    clients.openstack("server", "create", *BOOT, "--min", "5", "--max", "5", "web")

    counts = spread(clients)
    assert counts.total() == 5
    assert max(counts.values()) - min(counts.values()) <= 1
    (pick,) = demo.list("network-picks")
    assert (pick["pool_id"], pick["status"], len(pick["placements"])) == (pool["id"], "used", 5)
    assert {port["pick_id"] for port in demo.list("ports")} == {pick["id"]}


def test_more_than_all_networks_have_is_nothing(clients, demo, pool):
    done = clients.try_openstack("server", "create", *BOOT, "--min", "13", "--max", "13", "web")
    assert done.returncode == 1
    assert "No network has a free address for instance web" in done.stderr
    assert (demo.list("ports"), demo.list("network-picks")) == ([], [])
    clients.openstack("server", "create", *BOOT, "--min", "2", "--max", "20", "web")
    assert spread(clients) == {"NET1": 6, "NET2": 6}


def test_nova_spreads_and_an_explicit_network_is_as_given(clients, demo, pool):
    assert clients.nova("boot", *BOOT, "--min-count", "2", "--max-count", "4", "old").returncode == 0
    assert spread(clients) == {"NET1": 2, "NET2": 2}
    named = next(network for network in demo.list("networks") if network["name"] == "NET2")
    made = clients.openstack("server", "create", *BOOT, "--network", named["id"], "named")
    assert list(made["addresses"]) == ["NET2"]
    assert "naru:network_pick" not in made["properties"]


def test_a_server_without_a_network_is_on_the_projects_default_one(clients, demo, host):
    other = demo.network(name="A-NET")
    made = clients.openstack("network", "create", "--extra-property", "type=bool,name=project_default,value=true", "B-NET")
    for number, id in enumerate((other["id"], made["id"])):
        demo.subnet({"id": id}, f"10.50.{number}.0/24", enable_dhcp=False)
    try:
        server = clients.openstack("server", "create", *BOOT, "web")
        assert clients.nova("boot", *BOOT, "old").returncode == 0
        assert spread(clients) == {"B-NET": 2}
        assert "B-NET: chosen" in server["properties"]["naru:network_pick"]
        assert demo.show("networks", made["id"])["project_default"] is True
    finally:
        for row in demo.http.get("/compute/v2.1/servers").json()["servers"]:
            demo.http.delete(f"/compute/v2.1/servers/{row['id']}")
        for id in (other["id"], made["id"]):
            demo.delete("networks", id)


def test_500_boots_at_once_level_the_networks_out(tmp_path):
    """64 clients; each boot is a pick of its own."""
    with Serving(tmp_path) as serving, FakeHost(serving, "compute01"), Clients(serving).http("demo") as http:
        demo, clients = Networking(http), Clients(serving)
        networks = [demo.network(name=f"NET{number}") for number in range(7)]
        for number, network in enumerate(networks):
            demo.subnet(network, f"10.42.{number}.0/24", enable_dhcp=False)
        demo.create("network-pools", policy="spread", is_default=True, members=[{"network_id": network["id"]} for network in networks])
        with clients.http("admin") as admin:
            admin.put(f"/v2.0/quotas/{networks[0]['project_id']}", json={"quota": {"port": -1}}).raise_for_status()
        boot = {"server": {"name": "web", "imageRef": found(http, "/image/v2/images", "netns"), "networks": "auto"}}
        boot["server"]["flavorRef"] = found(http, "/compute/v2.1/flavors", "m1.tiny")
        asking = request("POST", "/compute/v2.1/servers", clients.token(), msgspec.json.encode(boot))
        asking = asking.replace(b"\r\n", b"\r\nOpenStack-API-Version: compute 2.37\r\n", 1)
        assert drive(serving.address, [asking] * 500, clients=64).statuses == {202: 500}
        ports = demo.list("ports")
    assert len({(port["network_id"], port["fixed_ips"][0]["ip_address"]) for port in ports}) == 500
    counts = Counter(port["network_id"] for port in ports)
    assert sorted(counts.values()) == [71, 71, 71, 71, 72, 72, 72]


def found(http, path: str, name: str) -> str:
    """The id of an image or a flavor."""
    (rows,) = (rows for rows in http.get(path).json().values() if isinstance(rows, list))
    return next(row["id"] for row in rows if row["name"] == name)
