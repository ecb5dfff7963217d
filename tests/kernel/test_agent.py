"""A real agent on a real kernel: what it wires, how it recovers, what it leaves alone."""

import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator

import msgspec
import pytest

from agent_host import Cloud, Host, child_of, leased, settled
from naru.lab.openvswitch import START
from naru.model.devices import bridge_name, tap_name
from naru.model.hoststate import FilterState, InstanceState, LeaseState, NetworkState, PeerState, SegmentState, Source, TapState, Value
from naru.testing import eventually


@pytest.fixture
def host(tmp_path) -> Iterator[Host]:
    made = Host(tmp_path)
    try:
        yield made
    finally:
        made.close()
        print("".join(line for line in made.log().splitlines(keepends=True) if "[debug" not in line))


def test_instances_get_their_addresses_by_dhcp_and_answer_ping(host):
    cloud = Cloud()
    first, second = cloud.instance(1), cloud.instance(2)
    host.server.put(*cloud.dhcp(), *first, *second)
    host.start()
    eventually(lambda: settled(host), 10)
    eventually(lambda: leased(host, *first, *second), 10)
    host.run("ip", "netns", "exec", first[0].netns, "ping", "-c1", "-W2", "10.7.0.12")
    lease = json.loads(host.run("cat", f"/run/naru/instances/{first[0].instance_id}/eth0.lease"))
    assert (lease["address"], lease["mtu"], lease["dns"]) == ("10.7.0.11/24", 1450, ["9.9.9.9"])
    routes = host.run("ip", "-n", first[0].netns, "route")
    assert "default via 10.7.0.1" in routes
    assert "10.8.0.0/16 via 10.7.0.254" in routes


def test_restarted_agent_without_memory_does_nothing(host):
    cloud = Cloud()
    peer = PeerState("peer0001", cloud.id, "fa:16:3e:00:00:99", ("10.7.0.99", "fd00::99"), "10.9.0.2", cloud.network.segments[0])
    instance = cloud.instance(1)
    host.server.put(*cloud.dhcp(), *instance, peer)
    host.start()
    eventually(lambda: settled(host), 10)
    eventually(lambda: leased(host, *instance), 10)
    host.end(signal.SIGKILL)
    before = host.actions()
    (host.directory / "state/agent/h1.json").unlink()
    host.server.reports.clear()
    host.start()
    eventually(lambda: any(report.full for report in host.server.reports), 10)
    assert settled(host)
    assert host.actions() == before
    host.run("ip", "netns", "exec", instance[0].netns, "ping", "-c1", "-W2", "10.7.0.2")


def test_restarted_agent_recognises_more_namespaces_than_one_message_of_the_kernel_holds(host):
    cloud = Cloud()
    taps = [value for number in range(150) for value in cloud.instance(number, running=False)[:2]]
    host.server.put(cloud.network, *taps)
    host.start()
    eventually(lambda: settled(host), 20)
    host.end(signal.SIGKILL)
    before = host.actions()
    host.server.reports.clear()
    host.start()
    eventually(lambda: any(report.full for report in host.server.reports), 10)
    assert settled(host)
    assert host.actions() == before


def test_instances_of_two_hosts_reach_each_other_through_the_tunnel(host, tmp_path):
    (tmp_path / "second").mkdir()
    other = Host(tmp_path / "second")
    try:
        other.configure(local_ip="10.9.0.2")
        namespace = str(child_of(other.holder.pid))
        outside = [part for part in host.enter if part != "-p"]  # where `namespace` is that pid
        subprocess.run([*outside, "ip", "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", namespace], check=True)
        for number, end in enumerate((host, other), 1):
            end.run("ip", "addr", "add", f"10.9.0.{number}/24", "dev", "wire")
            end.run("ip", "link", "set", "wire", "up")
        cloud = Cloud()
        near, far = cloud.instance(1), cloud.instance(2)
        dhcp = cloud.dhcp()
        host.server.put(*dhcp, *near, far[2], peer(far, "10.9.0.2"))
        other.server.put(
            cloud.network,
            *far[:2],
            peer(near, "10.9.0.1"),
            PeerState("d", cloud.id, dhcp[1].mac_address, ("10.7.0.2",), "10.9.0.1", cloud.network.segments[0]),
        )
        host.start()
        other.start()
        eventually(lambda: settled(host) and settled(other), 10)
        eventually(lambda: leased(host, *near) and leased(other, *far), 10)
        host.run("ip", "netns", "exec", near[0].netns, "ping", "-c1", "-W2", "10.7.0.12")
        moved = peer(far, "10.9.0.3")
        host.server.put(moved)
        eventually(lambda: "10.9.0.3" in host.run("bridge", "fdb", "show", "dev", "vxlan-77"))
        assert "1 received" not in host.run("ip", "netns", "exec", near[0].netns, "ping", "-c1", "-W1", "10.7.0.12", check=False)
    finally:
        other.close()


def peer(instance: list[Value], vtep: str) -> PeerState:
    _, tap, lease = instance
    return PeerState(tap.port_id, tap.network_id, tap.mac_address, lease.ip_addresses, vtep, SegmentState("vxlan", None, 77))


def test_without_the_server_a_restarted_agent_repairs_but_removes_nothing(host):
    cloud = Cloud()
    first, second = cloud.instance(1), cloud.instance(2)
    host.server.put(*cloud.dhcp(), *first, *second)
    host.start()
    eventually(lambda: settled(host), 10)
    eventually((host.directory / "state/agent/h1.json").exists)
    host.end(signal.SIGTERM)
    host.server.close()
    host.run("ip", "link", "del", tap_name(first[1].port_id))
    kept = tap_name(second[1].port_id)
    saved = host.directory / "state/agent/h1.json"
    state = json.loads(saved.read_text())
    del state["state"][second[1].key]
    saved.write_text(json.dumps(state))
    host.start()
    eventually(lambda: host.run("ip", "link", "show", tap_name(first[1].port_id), check=False), 10)
    ping = ("ip", "netns", "exec", first[0].netns, "ping", "-c1", "-W1", "10.7.0.2")
    eventually(lambda: "1 received" in host.run(*ping, check=False), 10)
    assert kept in host.run("ip", "link", "show", kept)


def test_nothing_is_left_of_what_is_no_longer_wanted(host):
    cloud = Cloud()
    before = host.run("ip", "link")
    host.server.put(*cloud.dhcp(), *cloud.instance(1))
    host.start()
    eventually(lambda: settled(host), 10)
    host.server.delete(*host.server.state)
    eventually(lambda: not host.server.status, 10)
    assert host.run("ip", "link") == before
    assert host.run("ip", "netns") == ""
    assert host.run("find", "/run/naru", "-mindepth", "2") == ""
    assert host.run("pgrep", "--runstates", "RSD", "dnsmasq|busybox", check=False) == ""


def test_a_tap_that_somebody_deletes_comes_back_with_its_address(host):
    cloud = Cloud()
    instance = cloud.instance(1)
    host.server.put(*cloud.dhcp(), *instance)
    host.start()
    eventually(lambda: settled(host), 10)
    eventually(lambda: leased(host, *instance), 10)
    host.run("ip", "link", "del", tap_name(instance[1].port_id))
    eventually(lambda: host.run("ip", "link", "show", tap_name(instance[1].port_id), check=False), 1)
    eventually(lambda: "10.7.0.11" in host.run("ip", "-n", instance[0].netns, "addr", check=False), 5)


def test_a_bridge_that_somebody_deletes_comes_back_with_its_ports(host):
    cloud = Cloud()
    instance = cloud.instance(1)
    host.server.put(*cloud.dhcp(), *instance)
    host.start()
    eventually(lambda: settled(host), 10)
    host.run("ip", "link", "del", bridge_name(cloud.id))
    eventually(lambda: tap_name(instance[1].port_id) in host.run("ip", "link", "show", "master", bridge_name(cloud.id), check=False), 2)


def test_dnsmasq_that_dies_is_started_again_at_once(host):
    cloud = Cloud()
    host.server.put(*cloud.dhcp())
    host.start()
    eventually(lambda: settled(host), 10)
    pid_file = f"/run/naru/dhcp/{cloud.id}/pid"
    pid = host.run("cat", pid_file)
    host.run("kill", "-9", pid.strip())
    eventually(lambda: host.run("cat", pid_file) != pid, 1)
    assert settled(host)


def test_a_new_reservation_is_loaded_without_a_restart(host):
    cloud = Cloud()
    host.server.put(*cloud.dhcp(), *cloud.instance(1))
    host.start()
    eventually(lambda: settled(host), 10)
    pid = host.run("cat", f"/run/naru/dhcp/{cloud.id}/pid")
    later = cloud.instance(2)
    host.server.put(*later)
    eventually(lambda: leased(host, *later), 10)
    assert host.run("cat", f"/run/naru/dhcp/{cloud.id}/pid") == pid


def test_an_address_passes_to_another_port_while_the_old_lease_lives(host):
    cloud = Cloud()
    old, new = cloud.instance(1), cloud.instance(2)
    host.server.put(*cloud.dhcp(), *old)
    host.start()
    eventually(lambda: leased(host, *old), 10)
    # The old client is cut off before it can give its lease back.
    host.run("ip", "link", "set", tap_name(old[1].port_id), "nomaster")
    host.server.delete(*(value.key for value in old))
    moved = LeaseState(new[2].port_id, cloud.id, new[2].mac_address, "host-2", old[2].ip_addresses)
    host.server.put(*new[:2], moved)
    eventually(lambda: leased(host, *new), 10)
    assert "10.7.0.11" in host.run("ip", "-n", new[0].netns, "addr")


def flat(host: Host) -> tuple[NetworkState, str]:
    """A flat network on eth1, and the name of its bridge."""
    host.configure(physical_interface_mappings='{ physnet1 = "eth1" }')
    network = NetworkState(str(uuid.uuid4()), 1500, (SegmentState("flat", "physnet1"),))
    host.server.put(network)
    return network, bridge_name(network.network_id)


def reason(host: Host, key: str) -> str:
    return eventually(lambda: host.server.status.get(key, ""), 10)


def test_an_interface_with_addresses_is_not_enslaved_until_they_are_gone(host):
    network, bridge = flat(host)
    host.run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "wire")
    host.run("ip", "addr", "add", "192.0.2.1/24", "dev", "eth1")
    host.start()
    assert "eth1 carries 192.0.2.1/24" in reason(host, network.key)
    assert "master" not in host.run("ip", "link", "show", "eth1")
    host.run("ip", "addr", "del", "192.0.2.1/24", "dev", "eth1")
    eventually(lambda: settled(host), 10)
    assert f"master {bridge}" in host.run("ip", "link", "show", "eth1")


def test_an_interface_in_a_foreign_bridge_is_left_there(host):
    network, _ = flat(host)
    host.run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "wire")
    host.run("ip", "link", "add", "br0", "type", "bridge")
    host.run("ip", "link", "set", "eth1", "master", "br0")
    host.start()
    assert "eth1 is in bridge br0" in reason(host, network.key)
    assert "master br0" in host.run("ip", "link", "show", "eth1")


def test_a_flat_network_waits_for_its_interface_and_releases_it_at_the_end(host):
    network, bridge = flat(host)
    host.start()
    assert "eth1 of physical network physnet1 does not exist" in reason(host, network.key)
    host.run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "wire")
    eventually(lambda: settled(host), 10)
    assert f"master {bridge}" in host.run("ip", "link", "show", "eth1")
    host.server.delete(network.key)
    eventually(lambda: not host.server.status, 10)
    assert "master" not in host.run("ip", "link", "show", "eth1")


def test_a_physical_network_that_is_not_mapped_fails_in_words_and_so_do_its_ports(host):
    network = NetworkState(str(uuid.uuid4()), 1500, (SegmentState("flat", "physnet9"),))
    tap = TapState(str(uuid.uuid4()), network.network_id, "fa:16:3e:00:00:01", 1500, netns="instance-1", device="eth0")
    host.server.put(network, tap)
    host.start()
    assert "physnet9 is not mapped" in reason(host, network.key)
    assert "physnet9 is not mapped" in reason(host, tap.key)


def test_foreign_objects_of_a_name_we_need_are_left_alone(host):
    cloud = Cloud()
    instance = cloud.instance(1)
    host.run("ip", "link", "add", bridge_name(cloud.id), "type", "bridge")
    host.run("ip", "netns", "add", cloud.netns)
    host.run("ip", "netns", "add", "somebody")
    host.server.put(*cloud.dhcp(), *instance)
    host.start()
    assert "is not Naru's" in reason(host, cloud.network.key)
    assert "is not Naru's" in reason(host, f"dhcp/{cloud.id}")
    host.run("ip", "link", "del", bridge_name(cloud.id))
    host.run("ip", "netns", "del", cloud.netns)
    eventually(lambda: settled(host), 20)
    assert "somebody" in host.run("ip", "netns")


def test_a_hypervisors_tap_is_adopted_once_it_is_plugged(host):
    cloud = Cloud()
    tap = TapState(str(uuid.uuid4()), cloud.id, "fa:16:3e:00:00:05", 1450)
    name = tap_name(tap.port_id)
    host.server.put(cloud.network, tap)
    host.start()
    assert "not plugged yet" in reason(host, tap.key)
    host.run("ip", "tuntap", "add", name, "mode", "tap")
    eventually(lambda: settled(host), 2)
    shown = host.run("ip", "link", "show", name)
    assert f"master {bridge_name(cloud.id)}" in shown
    assert "mtu 1450" in shown
    host.server.delete(tap.key)
    eventually(lambda: tap.key not in host.server.status, 5)
    assert "master" not in host.run("ip", "link", "show", name)


@pytest.mark.parametrize("comes", ["before", "after"])
def test_a_bridge_that_a_hypervisor_made_first_is_taken_over_with_its_tap(host, comes):
    """os-vif makes the bridge, and libvirt puts the tap into it: the agent may look in between."""
    cloud = Cloud()
    tap = TapState(str(uuid.uuid4()), cloud.id, "fa:16:3e:00:00:05", 1450)
    name, bridge = tap_name(tap.port_id), bridge_name(cloud.id)
    host.run("ip", "link", "add", bridge, "type", "bridge")
    host.run("ip", "link", "set", bridge, "up")
    index = host.run("cat", f"/sys/class/net/{bridge}/ifindex")
    host.server.put(*cloud.dhcp(), tap)
    if comes == "after":
        host.start()
        assert "not plugged yet" in reason(host, tap.key)
        assert host.server.status[cloud.network.key] == ""
    host.run("ip", "tuntap", "add", name, "mode", "tap")
    host.run("ip", "link", "set", name, "master", bridge)
    if comes == "before":
        host.start()
    eventually(lambda: settled(host), 10)
    assert host.run("cat", f"/sys/class/net/{bridge}/ifindex") == index, "it was not made anew"
    assert f"master {bridge}" in host.run("ip", "link", "show", name)
    failed = {failure for report in host.server.reports for failure in report.failed.values() if "not plugged yet" not in failure}
    assert failed == set()
    before = host.actions()
    host.end(signal.SIGKILL)
    host.server.reports.clear()
    host.start()
    eventually(lambda: any(report.full for report in host.server.reports), 10)
    assert settled(host)
    assert host.actions() == before
    host.server.delete(*host.server.state)
    eventually(lambda: not host.server.status, 10)
    assert bridge not in host.run("ip", "link")
    assert name in host.run("ip", "link")


def test_a_bridge_that_a_hypervisor_made_in_the_same_moment_as_the_agent_is_taken_over_with_what_the_agent_put_there(host):
    cloud = Cloud()
    tap = TapState(str(uuid.uuid4()), cloud.id, "fa:16:3e:00:00:05", 1450)
    bridge = bridge_name(cloud.id)
    host.server.put(*cloud.dhcp(), tap)
    host.run("ip", "tuntap", "add", tap_name(tap.port_id), "mode", "tap")
    host.start()
    eventually(lambda: settled(host), 10)
    host.end(signal.SIGKILL)
    host.run("ip", "link", "set", bridge, "group", "default")  # as if the agent had come second
    host.start()
    eventually(lambda: settled(host) and "group 6278" in host.run("ip", "link", "show", bridge), 10)


@pytest.mark.parametrize("stranger", ["a device", "an address"])
def test_a_bridge_of_our_name_that_serves_somebody_else_is_left_alone_and_so_is_the_tap_in_it(host, stranger):
    cloud = Cloud()
    tap = TapState(str(uuid.uuid4()), cloud.id, "fa:16:3e:00:00:05", 1450)
    name, bridge = tap_name(tap.port_id), bridge_name(cloud.id)
    host.run("ip", "link", "add", bridge, "type", "bridge")
    host.run("ip", "tuntap", "add", name, "mode", "tap")
    host.run("ip", "link", "set", name, "master", bridge)
    if stranger == "a device":
        host.run("ip", "link", "add", "theirs", "type", "veth", "peer", "name", "far")
        host.run("ip", "link", "set", "theirs", "master", bridge)
    if stranger == "an address":
        host.run("ip", "addr", "add", "192.0.2.1/24", "dev", bridge)
    before = host.run("ip", "-details", "link")
    host.server.put(cloud.network, tap)
    host.start()
    found = {"a device": "theirs", "an address": "192.0.2.1/24"}[stranger]
    assert f"it has {found} in it" in reason(host, cloud.network.key)
    assert f"it has {found} in it" in reason(host, tap.key)
    assert " tool=ip " not in host.log()
    assert host.run("ip", "-details", "link") == before


def test_a_stopped_instance_gives_its_lease_back_and_starts_again(host):
    cloud = Cloud()
    instance = cloud.instance(1)
    host.server.put(*cloud.dhcp(), *instance)
    host.start()
    eventually(lambda: leased(host, *instance), 10)
    stopped = InstanceState(**{field: getattr(instance[0], field) for field in instance[0].__struct_fields__} | {"running": False})
    host.server.put(stopped)
    eventually(lambda: "stopped" in [report.state for report in host.server.reports[-1].instances.values()])
    assert "10.7.0.11" not in host.run("ip", "-n", stopped.netns, "addr")
    assert "10.7.0.11" not in host.run("cat", f"/run/naru/dhcp/{cloud.id}/leases")
    host.server.reports.clear()
    host.server.put(instance[0])
    eventually(lambda: leased(host, *instance), 10)


def test_a_changed_port_is_changed_in_place(host):
    cloud = Cloud()
    _, tap, _ = instance = cloud.instance(1, running=False)  # a running one sets the MTU that DHCP says
    host.server.put(*cloud.dhcp(), *instance)
    host.start()
    eventually(lambda: settled(host), 10)
    down = TapState(tap.port_id, cloud.id, tap.mac_address, 1400, admin_state_up=False, netns=tap.netns, device="eth0")
    index = host.run("cat", f"/sys/class/net/{tap_name(tap.port_id)}/ifindex")
    host.server.put(down)
    eventually(lambda: "UP" not in host.run("ip", "link", "show", tap_name(tap.port_id)).split(">")[0])
    assert "mtu 1400" in host.run("ip", "link", "show", tap_name(tap.port_id))
    eventually(lambda: "mtu 1400" in host.run("ip", "-n", tap.netns, "link", "show", "eth0"))
    assert host.run("cat", f"/sys/class/net/{tap_name(tap.port_id)}/ifindex") == index


@pytest.mark.needs("root", "ovs-vswitchd", "nft")
def test_a_host_that_goes_to_another_mechanism_and_back_keeps_nothing_of_the_one_before(host):
    host.run("sh", "-ec", START, "sh", "/dev/null")
    host.run("ovs-vsctl", "add-br", "br-mine", "--", "set", "Bridge", "br-mine", "datapath_type=netdev", "external_ids:whose=mine")
    host.run("nft", "add table inet mine")
    cloud = Cloud()
    one, two = cloud.instance(1), cloud.instance(2)
    tap = one[1]
    assert isinstance(tap, TapState)
    filtered = FilterState(tap.port_id, cloud.id, tap.mac_address, (Source(tap.mac_address, "10.7.0.11"),))
    host.server.put(*cloud.dhcp(), one[0], msgspec.structs.replace(tap, filtered=True), one[2], *two, filtered)

    def has() -> tuple[set[str], set[str], set[str]]:
        """Bridges of Open vSwitch, those of Linux, tables of nftables."""
        bridges = host.run("ip", "-br", "link", "show", "type", "bridge").splitlines()
        tables = host.run("nft", "list", "tables").splitlines()
        return set(host.run("ovs-vsctl", "list-br").split()), {line.split()[0] for line in bridges}, set(tables)

    mine, ours = {"table inet mine"}, {"table bridge naru", "table inet naru"}
    expected = {
        "openvswitch": ({"br-mine", "br-int", "br-tun"}, set(), mine),
        "linuxbridge": ({"br-mine"}, {bridge_name(cloud.id)}, mine | ours),
    }
    for mechanism in ("openvswitch", "linuxbridge", "openvswitch"):
        host.configure(mechanism=f'"{mechanism}"', ovs_datapath_type='"netdev"')
        host.start()
        eventually(lambda mechanism=mechanism: has() == expected[mechanism], 20)
        eventually(lambda: "10.7.0.11/24" in host.run("ip", "-n", one[0].netns, "address"), 15)  # its filter lets DHCP through
        ping = ("ip", "netns", "exec", two[0].netns, "ping", "-c1", "-W1", "10.7.0.2")
        eventually(lambda ping=ping: " 0% packet loss" in host.run(*ping, check=False), 15)
        host.end(signal.SIGTERM)
    assert host.run("ovs-vsctl", "get", "Bridge", "br-mine", "external_ids:whose").strip() == "mine"


def test_a_server_that_forgot_the_host_is_told_everything_again(host):
    cloud = Cloud()
    host.server.put(*cloud.dhcp())
    host.start()
    eventually(lambda: settled(host), 10)
    host.server.forget()
    eventually(lambda: len(host.server.descriptions) == 2, 10)
    eventually(lambda: settled(host), 10)
    assert host.server.descriptions[-1].tunnel_address == "10.9.0.1"


def test_agent_without_a_way_to_its_server_says_so_waits_and_can_be_stopped(host):
    host.configure(local_ip="")
    host.server.url = "http://192.0.2.1:9696"
    host.start()
    eventually(lambda: "there is no way to the server yet" in host.log(), 10)
    host.end(signal.SIGTERM)


def test_without_rights_or_tools_the_agent_says_so_and_ends(host):
    (host.directory / "bin").mkdir()
    (host.directory / "bin/ip").symlink_to("/bin/true")
    argv = [sys.executable, "-m", "naru.cli.main", "agent", "--host", "h1", "--server", "http://127.0.0.1:1"]
    ran = subprocess.run(
        [*host.enter, "env", f"PATH={host.directory}/bin", *argv, "--token-file", f"{host.directory}/token"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert ran.returncode == 1
    assert "this host lacks bridge, nsenter, unshare, nft, dnsmasq, sysctl, busybox; on Debian: apt-get install" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
