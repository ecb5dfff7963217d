"""Bad luck: the agent says clearly what is wrong and what would help, does the rest, touches nothing of anyone else's, and recovers."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import pytest

from agent_host import Cloud, Host, child_of, leased, settled
from conftest import faketime
from naru.drivers.iproute import batch
from naru.lab.openvswitch import START
from naru.model.devices import bridge_name, vlan_name
from naru.model.hoststate import NetworkState, SegmentState, TapState
from naru.testing import eventually
from own_host import in_own_host


@pytest.fixture
def host(tmp_path) -> Iterator[Host]:
    made = Host(tmp_path)
    made.configure(physical_interface_mappings='{ physnet1 = "eth1" }')
    try:
        yield made
    finally:
        made.close()
        print("".join(line for line in made.log().splitlines(keepends=True) if "[debug" not in line))


def physical(host: Host, network_type: str, vlan: int | None = None) -> tuple[NetworkState, TapState]:
    """A network on physnet1, and a port of it."""
    network = NetworkState(str(uuid.uuid4()), 1500, (SegmentState(network_type, "physnet1", vlan),))
    tap = TapState(str(uuid.uuid4()), network.network_id, "fa:16:3e:00:00:01", 1500, netns="instance-1", device="eth0")
    host.server.put(network, tap)
    return network, tap


def reason(host: Host, key: str) -> str:
    return eventually(lambda: host.server.status.get(key, ""), 10)


def lay_wire(host: Host) -> None:
    host.run("ip", "link", "add", "eth1", "up", "type", "veth", "peer", "name", "wire")
    host.run("ip", "link", "set", "wire", "up")


def shown(host: Host, *devices: str) -> list[str]:
    return [host.run("ip", "-details", "link", "show", device) for device in devices]


def test_a_physical_interface_that_vanishes_is_named_and_taken_again_when_it_is_back(host):
    lay_wire(host)
    network, tap = physical(host, "flat")
    other = Cloud()
    host.server.put(other.network)
    host.start()
    eventually(lambda: settled(host), 10)
    host.run("ip", "link", "del", "eth1")
    assert "eth1 of physical network physnet1 does not exist" in reason(host, network.key)
    assert "eth1 of physical network physnet1 does not exist" in reason(host, tap.key)
    assert host.server.status[other.network.key] == ""
    lay_wire(host)
    eventually(lambda: settled(host), 10)
    assert f"master {bridge_name(network.network_id)}" in host.run("ip", "link", "show", "eth1")


def test_a_physical_interface_in_a_bridge_of_somebodys_carries_no_vlan_and_stays_there(host):
    lay_wire(host)
    host.run("ip", "link", "add", "br0", "type", "bridge")
    host.run("ip", "link", "set", "eth1", "master", "br0")
    before = shown(host, "eth1", "br0")
    network, tap = physical(host, "vlan", 200)
    host.start()
    assert "eth1 is in br0, which is not Naru's" in reason(host, network.key)
    assert "eth1 is in br0" in reason(host, tap.key)
    assert shown(host, "eth1", "br0") == before


def test_a_vlan_interface_that_somebody_else_made_is_left_alone(host):
    """What is of the name need not be a VLAN device, so every kernel shows it."""
    lay_wire(host)
    device = vlan_name("eth1", 200)
    host.run("ip", "link", "add", device, "type", "veth", "peer", "name", "theirs")
    host.run("ip", "addr", "add", "192.0.2.1/24", "dev", device)
    before = shown(host, device)
    network, tap = physical(host, "vlan", 200)
    host.start()
    assert f"device {device} exists and is not Naru's" in reason(host, network.key)
    assert f"device {device} exists" in reason(host, tap.key)
    assert shown(host, device) == before
    host.server.delete(network.key, tap.key)
    eventually(lambda: not host.server.status, 10)
    assert shown(host, device) == before


def test_a_bridge_of_somebodys_under_our_name_is_left_alone_whatever_is_wanted(host):
    lay_wire(host)
    network, tap = physical(host, "flat")
    bridge = bridge_name(network.network_id)
    host.run("ip", "link", "add", bridge, "type", "bridge")
    host.run("ip", "addr", "add", "192.0.2.1/24", "dev", bridge)
    host.run("ip", "link", "add", "theirs", "type", "veth", "peer", "name", "far")
    host.run("ip", "link", "set", "theirs", "master", bridge)
    before = shown(host, bridge, "theirs", "eth1")
    host.start()
    assert f"bridge {bridge} exists and is not Naru's: it has 192.0.2.1/24, theirs in it" in reason(host, network.key)
    assert f"bridge {bridge} exists" in reason(host, tap.key)
    other = Cloud()
    host.server.put(other.network)
    eventually(lambda: host.server.status.get(other.network.key) == "", 10)  # a pass later
    inside = host.run("ip", "-brief", "link", "show", "master", bridge)
    assert [line.partition("@")[0] for line in inside.splitlines()] == ["theirs"]
    assert shown(host, bridge, "theirs", "eth1") == before
    host.server.delete(*host.server.state)
    eventually(lambda: not host.server.status, 10)
    assert shown(host, bridge, "theirs", "eth1") == before


@pytest.mark.needs("root", "ovs-vswitchd")
def test_a_switch_of_somebodys_with_another_datapath_is_named_and_left_alone(host):
    host.run("sh", "-ec", START, "sh", "/dev/null")
    host.run("ovs-vsctl", "--no-wait", "add-br", "br-int")  # in the kernel; where that has none, it is not even made
    before = host.run("ovs-vsctl", "list", "Bridge", "br-int")
    host.configure(mechanism='"openvswitch"', ovs_datapath_type='"netdev"')
    cloud = Cloud()
    host.server.put(cloud.network, *cloud.instance(1, running=False)[:2])
    host.start()
    assert "bridge br-int of Open vSwitch exists and has another datapath_type (wanted: netdev)" in reason(host, cloud.network.key)
    host.server.delete(*host.server.state)
    eventually(lambda: not host.server.status, 10)
    assert host.run("ovs-vsctl", "list", "Bridge", "br-int") == before


def fill(host: Host, directory: str, size: str) -> str:
    """Mount a small file system there and leave no room in it. -> the file that takes it all."""
    ballast = f"{directory}/ballast"
    line = f"mkdir -p {directory}; mount -t tmpfs -o size={size} tmpfs {directory}; cat /dev/zero >{ballast} || test -s {ballast}"
    host.run("sh", "-ec", line)
    return ballast


def test_with_a_full_disk_all_is_wired_and_the_report_says_that_nothing_is_kept(host):
    ballast = fill(host, f"{host.directory}/state", "64k")
    cloud = Cloud()
    first, second = cloud.instance(1), cloud.instance(2)
    host.server.put(*cloud.dhcp(), *first)
    host.start()
    eventually(lambda: settled(host) and leased(host, *first), 15)
    assert "No space left on device" in reason(host, "agent/memory")
    assert "h1.json" not in host.run("ls", f"{host.directory}/state/agent")
    host.run("rm", ballast)
    host.server.put(*second)
    eventually(lambda: "agent/memory" not in host.server.status, 10)
    assert "h1.json" in host.run("ls", f"{host.directory}/state/agent")


ASK = """
import http.client, sys
server = http.client.HTTPConnection("127.0.0.1", 9696)
server.request(*sys.argv[1:], body='{"network": {"name": "n"}}', headers={"Content-Type": "application/json"})
answer = server.getresponse()
print(answer.status, answer.read().decode())
"""


def test_a_server_on_a_full_disk_refuses_to_write_says_so_and_writes_again_when_there_is_room(host):
    def ask(method: str, path: str) -> str:
        return host.run(sys.executable, "-c", ASK, method, path, check=False)

    state = f"{host.directory}/server"
    host.run("sh", "-ec", f"mkdir {state}; mount -t tmpfs -o size=3m tmpfs {state}")
    command = [*host.enter, "env", "NARU_AUTH=none", sys.executable, "-m", "naru", "server", "--state-dir", state]
    with (host.directory / "server.log").open("ab") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        eventually(lambda: ask("GET", "/healthz").startswith("200"), 20)
        assert ask("POST", "/v2.0/networks").startswith("201")
        host.run("sh", "-ec", f"cat /dev/zero >{state}/ballast || test -s {state}/ballast")
        refused = ask("POST", "/v2.0/networks")
        assert refused.startswith("503")
        assert "database or disk is full" in refused
        assert ask("GET", "/healthz").startswith("503")
        assert ask("GET", "/v2.0/networks").count('"name":"n"') == 1
        host.run("rm", f"{state}/ballast")
        assert ask("POST", "/v2.0/networks").startswith("201")
        assert ask("GET", "/healthz").startswith("200")
    finally:
        os.kill(child_of(server.pid), signal.SIGTERM)
        server.wait(10)


def test_with_a_full_run_directory_what_needs_it_fails_by_name_and_is_made_when_there_is_room(host):
    ballast = fill(host, "/run/naru", "16k")
    cloud = Cloud()
    instance = cloud.instance(1)
    host.server.put(*cloud.dhcp(), *instance)
    host.start()
    assert "No space left on device" in reason(host, f"dhcp/{cloud.id}")
    assert host.server.status[cloud.network.key] == ""
    host.run("rm", ballast)
    host.run("mount", "-o", "remount,size=1m", "/run/naru")
    eventually(lambda: settled(host) and leased(host, *instance), 30)


def test_while_the_server_is_away_the_wiring_is_kept_right(host):
    cloud = Cloud()
    first = cloud.instance(1)
    host.server.put(*cloud.dhcp(), *first)
    host.start()
    eventually(lambda: settled(host) and leased(host, *first), 15)
    host.server.close()
    eventually(lambda: "lost the server; keeping what is wired" in host.log(), 10)
    host.run("ip", "link", "del", bridge_name(cloud.id))
    ping = ["ip", "netns", "exec", first[0].netns, "ping", "-c1", "-w1", "10.7.0.2"]
    eventually(lambda: "1 received" in host.run(*ping, check=False), 15)


def test_a_clock_that_is_not_the_servers_is_told_and_all_is_wired(host):
    host.configure(report_interval_s="0.2", resync_interval_s="0.2")
    cloud = Cloud()
    instance = cloud.instance(1)
    host.server.put(*cloud.dhcp(), *instance)
    host.server.ahead_s = 3600
    host.start()
    assert "this host's clock is 60 min behind the server's. Wiring, leases and heartbeats do not go by it" in reason(host, "agent/clock")
    assert "(chrony, systemd-timesyncd)" in host.server.status["agent/clock"]
    eventually(lambda: settled(host) and leased(host, *instance), 15)
    host.server.ahead_s = 0
    eventually(lambda: "agent/clock" not in host.server.status, 10)


@pytest.mark.needs("libfaketime", "bash")
def test_a_clock_that_jumps_takes_no_lease_away(host):
    """dnsmasq writes down until when each lease lasts; it, and nobody else, sees another time of day here."""
    wrapper, clock = host.directory / "bin/dnsmasq", host.directory / "clock"
    wrapper.parent.mkdir()
    sees = f"export LD_PRELOAD={faketime()} FAKETIME_TIMESTAMP_FILE={clock} FAKETIME_NO_CACHE=1"
    wrapper.write_text(f'#!/bin/bash\n{sees}\nexec -a dnsmasq {shutil.which("dnsmasq")} "$@"\n')
    wrapper.chmod(0o755)
    clock.write_text("+0")
    cloud = Cloud()
    instances = [cloud.instance(number) for number in (1, 2, 3)]
    host.server.put(*cloud.dhcp(), *instances[0])
    host.start("env", f"PATH={wrapper.parent}:{os.environ['PATH']}")
    eventually(lambda: settled(host) and leased(host, *instances[0]), 15)
    pid = host.run("cat", f"/run/naru/dhcp/{cloud.id}/pid")
    for jump, older, new in (("+3d", instances[:1], instances[1]), ("-3d", instances[:2], instances[2])):
        clock.write_text(jump)
        for instance, *_ in older:
            renew(host, instance.instance_id)
        host.server.put(*new)
        eventually(lambda new=new: settled(host) and leased(host, *new), 15)
    assert host.run("cat", f"/run/naru/dhcp/{cloud.id}/pid") == pid
    ends = [int(line.split()[0]) for line in host.run("cat", f"/run/naru/dhcp/{cloud.id}/leases").splitlines()]
    assert max(ends) < time.time()  # by dnsmasq's clock they last


def renew(host: Host, instance_id: str) -> None:
    """Have an instance's DHCP client ask again, and wait until it has been given the same address."""
    directory = f"/run/naru/instances/{instance_id}"
    before = json.loads(host.run("cat", f"{directory}/eth0.lease"))
    host.run("sh", "-ec", f"cd {directory}; rm eth0.lease; kill -USR1 $(cat eth0.pid)")
    again = eventually(lambda: host.run("cat", f"{directory}/eth0.lease", check=False), 10)
    assert json.loads(again)["address"] == before["address"]


def test_a_device_that_is_missing_for_one_network_stops_no_other(host):
    """The tap of the first is in a bridge that cannot be made; what `ip` is to do for the second stands behind it in the same batch."""
    first, _ = physical(host, "vlan", 200)
    second = Cloud()
    host.server.put(second.network, *second.instance(1, running=False)[:2])
    host.start()
    eventually(lambda: host.server.status.get(second.network.key) == "", 10)
    eventually(
        lambda: [host.server.status.get(key) for key in host.server.state if second.id in key or "tap/00000001" in key] == ["", ""], 10
    )
    assert "eth1 of physical network physnet1 does not exist" in reason(host, first.key)


@pytest.mark.needs("root")
def test_lines_behind_one_that_ends_ip_run_and_each_failure_is_told_by_its_line():
    def check():
        lines = [
            "link set dev lo up",
            "link set dev nowhere up",
            "link add name a type veth peer name b",
            "link set dev a master nobridge",
            "link set dev a up",
            "link add name c type veth peer name d netns nonamespace",
            "link del dev gone",
            "link set dev b up",
            "link set dev b master nobridge",
        ]
        failed = batch(("ip",), lines)
        assert sorted(failed) == [1, 3, 5, 8]
        assert "nowhere" in failed[1]
        assert "nobridge" in failed[3]
        assert "nonamespace" in failed[5]
        assert batch(("ip",), ["link set dev a down", "link set dev b down"]) == {}
        assert sorted(batch(("ip", "-n", "nonamespace"), lines[:3])) == [0, 1, 2]

    in_own_host(check)
