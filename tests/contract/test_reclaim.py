"""`naru reclaim` against a real server: it lists with evidence, deletes what is named, and nothing else."""

import json
import subprocess
import sys

import pytest

from networking import Networking


@pytest.fixture(scope="module")
def admin(clients):
    with clients.http("admin") as http:
        yield Networking(http)


@pytest.fixture
def reclaim(serving):
    def run(*arguments):
        command = [sys.executable, "-m", "naru", "reclaim", "--clouds", str(serving.state_dir / "clouds.yaml"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.fixture(scope="module")
def network(admin):
    network = admin.network(name="reclaimed")
    admin.subnet(network, "10.7.0.0/24", enable_dhcp=False)
    return network


def listed(reclaim, network, *arguments):
    done = reclaim("--network", network["id"], "--days", "0", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return {row["id"]: row for row in json.loads(done.stdout)}


def test_what_is_abandoned_is_listed_and_only_what_is_named_is_deleted(admin, reclaim, network):
    idle, kept = (admin.create("ports", network_id=network["id"]) for _ in range(2))
    orphan = admin.create("ports", network_id=network["id"], device_owner="compute:nova", device_id="gone")
    admin.create("ports", network_id=network["id"], device_owner="network:router_gateway", device_id="r")
    pick = admin.create("network-picks", count=1, pool_id=admin.create("network-pools", members=[{"network_id": network["id"]}])["id"])
    assert admin.request("PUT", f"/network-picks/{pick['id']}/commit", json={}).status_code == 200
    found = listed(reclaim, network)
    assert {id: row["reason"] for id, row in found.items()} == {
        idle["id"]: "idle_port",
        kept["id"]: "idle_port",
        orphan["id"]: "gone_server",
        pick["id"]: "forgotten_hold",
    }
    assert found[idle["id"]]["addresses"] == [idle["fixed_ips"][0]["ip_address"]]
    done = reclaim("--days", "0", "--delete", idle["id"], orphan["id"], pick["id"])
    assert (done.returncode, done.stdout.count("deleted")) == (0, 3), done.stderr
    assert set(listed(reclaim, network)) == {kept["id"]}


def test_the_list_for_people_says_why_in_their_language(admin, reclaim, network):
    port = admin.create("ports", network_id=network["id"])
    english = reclaim("--network", network["id"], "--days", "0").stdout
    assert port["id"] in english
    assert "without a device" in english
    assert "DOWN 상태로" in reclaim("--network", network["id"], "--days", "0", "--lang", "ko").stdout
    assert "nothing looks abandoned" in reclaim("--network", network["id"]).stdout


def test_what_is_not_listed_is_not_deleted_and_neither_is_what_stands_beside_it(admin, reclaim, network):
    idle = admin.create("ports", network_id=network["id"])
    used = admin.create("ports", network_id=network["id"], device_id="d", device_owner="x:y")
    done = reclaim("--days", "0", "--delete", idle["id"], used["id"])
    assert done.returncode == 2
    assert f"{used['id']} is not among what looks abandoned" in done.stderr
    assert admin.show("ports", idle["id"])
    assert reclaim("--days", "0", "--delete").returncode == 2


def test_a_project_sees_its_own(clients, reclaim, network):
    with clients.http("demo") as http:
        demo = Networking(http)
        own = demo.network(name="own")
        demo.subnet(own, "10.8.0.0/24", enable_dhcp=False)
        port = demo.create("ports", network_id=own["id"])
    done = reclaim("--os-cloud", "naru-demo", "--days", "0", "--json")
    assert done.returncode == 0, done.stderr
    found = {row["id"]: row["network_id"] for row in json.loads(done.stdout)}
    assert found[port["id"]] == own["id"]
    assert network["id"] not in found.values()


def test_who_cannot_log_in_gets_one_line(reclaim, tmp_path):
    done = reclaim("--os-cloud", "nobody")
    assert done.returncode == 1
    assert "no cloud nobody" in done.stderr
    assert "Traceback" not in done.stderr
    (tmp_path / "clouds.yaml").write_text(
        "clouds:\n  naru-admin:\n    auth:\n      auth_url: http://127.0.0.1:1/identity/v3\n      username: admin\n"
        '      password: "x"\n      project_name: admin\n      user_domain_name: Default\n      project_domain_name: Default\n'
    )
    done = reclaim("--clouds", str(tmp_path / "clouds.yaml"))
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "the server does not answer" in done.stderr
