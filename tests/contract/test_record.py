"""`naru replay --record`: what a server's pool has, as a trace that can be replayed."""

import subprocess
import sys

import pytest

from naru.schedule.replay import Member, read_trace
from networking import Networking


@pytest.fixture
def replay(serving):
    def run(*arguments):
        command = [sys.executable, "-m", "naru", "replay", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return run


def test_a_pool_is_recorded_with_its_ports_and_replayed(serving, clients, replay, tmp_path):
    trace, clouds = tmp_path / "trace.jsonl", serving.state_dir / "clouds.yaml"
    with clients.http("admin") as http:
        admin = Networking(http)
        networks = [admin.network(name=name) for name in ("first", "second", "third")]
        for number, network in enumerate(networks):
            admin.subnet(network, f"10.9.{number}.0/28", enable_dhcp=False)
        admin.subnet(networks[0], "fd00:9::/64", ip_version=6, enable_dhcp=False)
        members = [{"network_id": networks[0]["id"]}, {"network_id": networks[1]["id"], "weight": 2.0, "cordoned": True}]
        pool = admin.create("network-pools", members=members, floor_count=2)
        ports = [admin.create("ports", network_id=network["id"]) for network in (*networks, networks[0])]
        empty = admin.create("network-pools")
    done = replay(trace, "--record", pool["id"], "--clouds", clouds)
    assert done.returncode == 0, done.stderr
    recorded, events = read_trace(trace.read_bytes())
    first, second = (network["id"] for network in networks[:2])
    assert recorded.networks == (Member(first, 13), Member(second, 13, weight=2.0, cordoned=True))
    assert recorded.floor_count == 2
    assert {event.create for event in events} == {ports[0]["id"], ports[1]["id"], ports[3]["id"]}
    assert {event.project for event in events} == {ports[0]["project_id"]}
    assert "| 0 of 3" in replay(trace, "--policy", "spread").stdout

    done = replay(trace, "--record", empty["id"], "--clouds", clouds)
    assert (done.returncode, "names no network" in done.stderr) == (2, True)
    done = replay(trace, "--record", "nothing", "--clouds", clouds)
    assert (done.returncode, "404" in done.stderr, "Traceback" in done.stderr) == (1, True, False)
