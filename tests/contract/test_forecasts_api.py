"""Forecasts through a real server: what is kept survives a restart, and who may ask."""

import asyncio
import time

import pytest

from clients import Clients
from naru.model.resources import put
from naru.model.usage import NetworkUsage
from naru.store.store import Store
from networking import Networking
from serving import Serving

DAYS = 40


def keep_history(state_dir, network_id):
    """As the server would have written it in the last weeks: one address more each day."""
    hour = int(time.time()) // 3600
    usage = NetworkUsage(id=network_id)
    for past in range(DAYS * 24 + hour % 24, 0, -1):
        usage = usage.recorded(hour - past, DAYS - past // 24)

    async def write():
        store = Store(f"sqlite:///{state_dir / 'naru.db'}")
        store.start()
        await store.write(lambda _: iter([put(usage)]))
        store.stop()

    asyncio.run(write())


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server with a network that has a history, one that has none, and a pool of both."""
    state_dir = tmp_path_factory.mktemp("forecasts")
    with Serving(state_dir) as serving, Clients(serving).http("admin") as http:
        admin = Networking(http)
        ids = []
        for name in ("growing", "new"):
            network = admin.network(name=name)
            admin.subnet(network, "10.0.0.0/24", enable_dhcp=False)
            ids.append(network["id"])
        pool = http.post("/v2.0/network-pools", json={"network_pool": {"name": "both", "members": [{"network_id": id} for id in ids]}})
        assert pool.status_code == 201, pool.text
    keep_history(state_dir, ids[0])
    with Serving(state_dir) as serving:
        yield Clients(serving), [*ids, pool.json()["network_pool"]["id"]]


def test_a_forecast_of_what_was_kept_before_a_restart(served):
    clients, (growing, _, _) = served
    with clients.http("admin") as http:
        found = http.get(f"/v2.0/network-ip-forecasts/{growing}").json()["network_ip_forecast"]
    assert found["days_known"] == DAYS
    assert found["status"] == "forecast"
    (days,) = set(found["days_to_exhaustion"].values())  # one a day, so all cases are the same
    assert days in (212, 213, 214)  # the hour of the day tells which days were whole
    assert (found["usable"], found["used"], found["free"], found["days_to_floor"]) == (253, 0, 253, None)


def test_a_network_without_a_history_says_so_and_its_pool_goes_by_the_others(served):
    clients, (_, new, pool) = served
    with clients.http("admin") as http:
        rows = {row["id"]: row for row in http.get("/v2.0/network-ip-forecasts").json()["network_ip_forecasts"]}
    assert (rows[new]["status"], rows[new]["days_to_exhaustion"]) == ("not_enough_history", None)
    assert (rows[pool]["of"], rows[pool]["usable"], rows[pool]["status"]) == ("network_pool", 506, "forecast")


def test_forecasts_are_filtered_sorted_cut_into_pages_and_reduced_to_fields(served):
    clients, (growing, _, pool) = served
    with clients.http("admin") as http:

        def ask(query):
            return http.get(f"/v2.0/network-ip-forecasts?{query}")

        assert [row["id"] for row in ask("of=network_pool").json()["network_ip_forecasts"]] == [pool]
        assert ask("name=growing&fields=status").json()["network_ip_forecasts"] == [{"status": "forecast"}]
        names = [row["name"] for row in ask("sort_key=name&limit=2").json()["network_ip_forecasts"]]
        assert names == ["both", "growing"]
        assert ask("nonsense=1").status_code == 400
        shown = http.get(f"/v2.0/network-ip-forecasts/{growing}?fields=free&fields=id").json()["network_ip_forecast"]
        assert shown == {"free": 253, "id": growing}


def test_projects_see_none_of_what_is_not_theirs(served):
    clients, (growing, _, pool) = served
    with clients.http("demo") as http:
        assert http.get("/v2.0/network-ip-forecasts").json() == {"network_ip_forecasts": []}
        for id in (growing, pool, "nothing"):
            assert http.get(f"/v2.0/network-ip-forecasts/{id}").status_code == 404


def test_the_openstack_command_lists_the_soonest_first_and_says_what_is_not_known(served):
    clients, (growing, new, pool) = served
    listed = clients.openstack("network", "forecast", "list", "--long", user="admin")
    assert [row["ID"] for row in listed] == [growing, pool, new]
    with clients.http("admin") as http:
        days = http.get(f"/v2.0/network-ip-forecasts/{growing}").json()["network_ip_forecast"]["days_to_exhaustion"]
    assert {quantile: listed[0][f"Days {quantile.upper()}"] for quantile in ("p10", "p50", "p90")} == days
    assert (listed[2]["Status"], listed[2]["Days P50"], listed[2]["Days Known"]) == ("not_enough_history", None, 0)
    assert listed[1]["Of"] == "network_pool"
    done = clients.try_openstack("network", "forecast", "show", "both", "--lang", "ko", user="admin")
    assert done.returncode == 0, done.stderr
    assert "> 365" in done.stdout
    assert "주소 506개 중" in done.stdout
    assert clients.openstack("network", "forecast", "show", growing, user="admin")["days_to_exhaustion_p50"] == days["p50"]
    done = clients.try_openstack("network", "forecast", "show", "nowhere", user="admin")
    assert done.stderr.strip() == "No network or pool that has a forecast with the name or id 'nowhere'."
