"""Trunks on Linux bridges, with what a guest tags itself: traffic, isolation, filters, limits, DHCP, repair. `make test-vm` runs this.

An instance of three VLANs: no tag, 100 and 101, each on a network of its own, where somebody answers at the address .9 of 10.1, 10.2, 10.3.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from msgspec.structs import replace

from naru.drivers.base import plan
from naru.drivers.dnsmasq import Dnsmasq
from naru.drivers.linuxbridge import LinuxBridge
from naru.drivers.nft import Nft
from naru.drivers.qos import Qos
from naru.model.devices import bridge_name, tap_name
from naru.model.hoststate import (
    BandwidthLimit,
    DhcpState,
    DhcpSubnet,
    FilterRule,
    FilterState,
    LeaseState,
    NetworkState,
    QosState,
    RulesState,
    SegmentState,
    Source,
    TapState,
)
from own_host import RUN, bring, on_own_host, planned, run, state

pytestmark = pytest.mark.needs("root", "8021q")

NETWORKS = tuple(NetworkState(f"{n}1111111-1111", 1500 - 50 * (n - 1), (SegmentState("vxlan", None, n),)) for n in (1, 2, 3))
OUTER, INNER, THIRD = NETWORKS
PARENT = TapState("44444444-4444", OUTER.network_id, "fa:16:3e:00:01:05", OUTER.mtu_bytes, netns="instance-guest", device="eth0")
SUB, OTHER = (
    TapState(f"{n}5555555-5555", network.network_id, f"fa:16:3e:00:0{n}:05", network.mtu_bytes, parent=PARENT.port_id, vlan=98 + n)
    for n, network in ((2, INNER), (3, THIRD))
)
PEERS = tuple(
    TapState(f"{n}6666666-6666", network.network_id, f"fa:16:3e:00:0{n}:09", network.mtu_bytes, netns=f"instance-{n}", device="eth0")
    for n, network in enumerate(NETWORKS, 1)
)
TRUNK = state(*NETWORKS, PARENT, SUB, OTHER, *PEERS)
GUEST = PARENT.netns


def links() -> LinuxBridge:
    return LinuxBridge(RUN, {}, "127.0.0.1")


def lay(desired=TRUNK) -> None:
    """Wire the host, and do in the guest what a user does: VLANs 100 to 102 of its one card; the last is in no trunk."""
    bring(links(), desired)
    run(f"ip -n {GUEST} link set eth0 up")
    run(f"ip -n {GUEST} address add 10.1.0.5/24 dev eth0")
    for n, vlan in ((2, 100), (3, 101), (4, 102)):
        run(f"ip -n {GUEST} link add link eth0 name eth0.{vlan} address fa:16:3e:00:0{n}:05 type vlan id {vlan}")
        run(f"ip -n {GUEST} link set eth0.{vlan} up")
    for n, vlan in ((2, 100), (3, 101)):
        run(f"ip -n {GUEST} address add 10.{n}.0.5/24 dev eth0.{vlan}")
    for n in (1, 2, 3):
        run(f"ip -n instance-{n} link set eth0 up")
        run(f"ip -n instance-{n} address add 10.{n}.0.9/24 dev eth0")


def pings(address, *options, netns=GUEST, within_s=2) -> bool:
    ping = ["ip", "netns", "exec", netns, "ping", "-c1", "-i0.3", f"-w{within_s}", *options, address]
    return subprocess.run(ping, capture_output=True, check=False).returncode == 0


def said(*command) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@on_own_host
def test_what_a_guest_tags_is_on_the_network_of_its_sub_port_and_on_no_other():
    lay()
    for n in (1, 2, 3):
        assert pings(f"10.{n}.0.9", within_s=10), f"the guest does not reach 10.{n}.0.9"
        assert pings(f"10.{n}.0.5", netns=f"instance-{n}"), f"10.{n}.0.9 does not reach the guest"
    run(f"ip -n {GUEST} address add 10.2.0.6/32 dev eth0.101")
    run(f"ip -n {GUEST} address add 10.2.0.7/32 dev eth0.102")
    run(f"ip -n {GUEST} address add 10.2.0.8/32 dev eth0")
    for device in ("eth0.101", "eth0.102", "eth0"):
        assert not pings("10.2.0.9", "-I", device), f"{device} reaches the network of VLAN 100"
    assert not pings("10.3.0.9", "-I", "eth0.100")


@on_own_host
def test_a_sub_port_has_the_mtu_of_its_network():
    lay()
    fitting = INNER.mtu_bytes - 28
    assert pings("10.2.0.9", "-M", "do", "-s", str(fitting), within_s=10)
    assert f"mtu {INNER.mtu_bytes} " in said("ip", "link", "show", tap_name(SUB.port_id))
    assert pings("10.1.0.9", "-M", "do", "-s", str(OUTER.mtu_bytes - 28))


@on_own_host
def test_a_restarted_agent_writes_nothing_and_what_others_undo_is_made_again():
    lay()
    device = tap_name(SUB.port_id)
    assert planned(links(), TRUNK) == []
    for harm in (f"ip link del {device}", f"ip link set {device} nomaster", f"ip link set {device} down", f"ip link set {device} mtu 1300"):
        run(harm)
        assert {action.key for action in planned(links(), TRUNK)} == {SUB.key}, harm
        bring(links(), TRUNK)
        assert planned(links(), TRUNK) == []
        assert pings("10.2.0.9", within_s=10), f"not repaired after {harm}"
    run(f"ip link del {tap_name(PARENT.port_id)}")
    bring(links(), TRUNK)
    assert planned(links(), TRUNK) == []
    assert f"master {bridge_name(INNER.network_id)} " in said("ip", "link", "show", device)
    bring(links(), {})
    assert "tap" not in said("ip", "-br", "link")


@on_own_host
def test_a_sub_port_that_is_down_stays_so_when_its_parent_goes_up():
    closed = replace(SUB, admin_state_up=False)
    bring(links(), TRUNK | state(closed, replace(PARENT, admin_state_up=False)))
    changed = TRUNK | state(closed)
    lay(changed)
    assert planned(links(), changed) == []
    assert pings("10.3.0.9", within_s=10)
    assert not pings("10.2.0.9")


@pytest.mark.needs("nft", "br_netfilter")
@on_own_host
def test_a_sub_port_is_filtered_by_itself():
    sources = (Source(SUB.mac_address, "10.2.0.5"),)
    rules = RulesState("g1", (FilterRule("egress", "IPv4"),))
    closed = FilterState(SUB.port_id, INNER.network_id, SUB.mac_address, sources, ("g1",))
    filtered = TRUNK | state(replace(SUB, filtered=True), rules, closed)
    bring(Nft({}), filtered)
    lay(filtered)
    assert pings("10.2.0.9", within_s=10)
    assert not pings("10.2.0.5", netns="instance-2"), "what no rule lets in reached the sub-port"
    assert pings("10.1.0.5", netns="instance-1"), "the filter of a sub-port is that of its parent, too"
    run(f"ip -n {GUEST} address add 10.2.0.66/24 dev eth0.100")
    assert not pings("10.2.0.9", "-I", "10.2.0.66"), "the address is not its own"
    letting_in = RulesState("g1", (*rules.rules, FilterRule("ingress", "IPv4", 1)))
    bring(Nft({}), filtered | state(letting_in))
    assert pings("10.2.0.5", netns="instance-2")
    bring(Nft({}), {})


@pytest.mark.needs("shaping")
@on_own_host
def test_a_sub_port_is_limited_by_itself():
    lay()
    types = ("bandwidth_limit",)
    bring(Qos("linuxbridge", types), state(QosState(SUB.port_id, egress=BandwidthLimit(1000, 100))))
    assert pings("10.2.0.9", within_s=10)
    unlimited, limited = (kbps_received(n) for n in (1, 2))
    assert limited < 1500
    assert unlimited > 3000
    bring(Qos("linuxbridge", types), state(QosState(PARENT.port_id, egress=BandwidthLimit(1000, 100))))
    limited, below = (kbps_received(n) for n in (1, 2))
    assert limited < 1500
    assert below < 1500, "the limit of a parent holds for what is behind it"
    bring(Qos("linuxbridge", types), {})


RECEIVE = """
import socket, sys, time
with socket.create_server(("", 7000)) as server:
    print("ready", flush=True)
    peer, _ = server.accept()
    received, started_s = len(peer.recv(65536)), time.monotonic()
    while part := peer.recv(65536):
        received += len(part)
    print(received * 8 / 1000 / (time.monotonic() - started_s))
"""
SEND = """
import socket, sys
with socket.create_connection((sys.argv[1], 7000), 20) as peer:
    peer.sendall(bytes(400_000))
    peer.shutdown(socket.SHUT_WR)
    peer.recv(1)
"""


def kbps_received(n) -> float:
    """How fast 400 kB come by TCP from the guest to who answers on a network."""
    enter = ["ip", "netns", "exec"]
    receive = [*enter, f"instance-{n}", sys.executable, "-S", "-E", "-c", RECEIVE]
    with subprocess.Popen(receive, stdout=subprocess.PIPE, text=True) as server, ended(server):
        assert server.stdout.readline() == "ready\n"
        subprocess.run([*enter, GUEST, sys.executable, "-S", "-E", "-c", SEND, f"10.{n}.0.9"], check=True, timeout=60)
        return float(server.stdout.readline())


@contextmanager
def ended(process) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()


@pytest.mark.needs("dnsmasq", "udhcpc")
@on_own_host
def test_a_sub_port_gets_its_address_by_dhcp():
    server = TapState("77777777-7777", INNER.network_id, "fa:16:3e:00:02:02", INNER.mtu_bytes, netns="qdhcp-2", device="ns-77777777-77")
    subnets = (DhcpSubnet("s1", "10.2.0.0/24", "10.2.0.2", None),)
    dhcp = DhcpState(INNER.network_id, server.port_id, server.netns, server.device, INNER.mtu_bytes, subnets)
    lease = LeaseState(SUB.port_id, INNER.network_id, SUB.mac_address, "guest", ("10.2.0.77",))
    lay(TRUNK | state(server))
    bring(Dnsmasq(RUN), state(dhcp, lease))
    ask = ["ip", "netns", "exec", GUEST, "busybox", "udhcpc", "-i", "eth0.100", "-n", "-q", "-f", "-t", "10", "-T", "2", "-s", "/bin/true"]
    told = subprocess.run(ask, capture_output=True, text=True, check=False)
    assert "lease of 10.2.0.77 obtained" in told.stderr + told.stdout
    bring(Dnsmasq(RUN), {})


@on_own_host
def test_a_parent_that_a_hypervisor_plugs_carries_its_sub_ports_from_then_on():
    """The hypervisor's tap is the end of a veth pair here, whose other end stands for the guest."""
    plugged, device = replace(PARENT, netns=None, device=None), tap_name(PARENT.port_id)
    wanted = TRUNK | state(plugged)
    assert set(fails(wanted)) == {plugged.key}
    run(f"ip netns add {GUEST}")
    for _ in range(2):
        run(f"ip link add {device} type veth peer name eth0 netns {GUEST}")
        lay(wanted)
        assert planned(links(), wanted) == []
        assert pings("10.1.0.9", within_s=10)
        assert pings("10.2.0.9", within_s=10)
        run(f"ip link del {device}")
        assert set(fails(wanted)) == {plugged.key}
        for n in (1, 2, 3):
            run(f"ip -n instance-{n} address flush dev eth0")
    run(f"ip link add {device} type veth peer name eth0 netns {GUEST}")
    bring(links(), wanted)
    bring(links(), {})
    left = said("ip", "-br", "link")
    assert device in left
    assert tap_name(SUB.port_id) not in left


def fails(desired) -> list[str]:
    """The keys that fail, and no action is planned for what rests on them."""
    driver = links()
    want, failures = driver.want(desired)
    to_do = plan(want, driver.read(), prune=True)
    assert not [action for action in to_do.additions if tap_name(SUB.port_id) in action.line]
    driver.apply([*to_do.removals, *to_do.additions])
    return [failure.key for failure in (*failures, *to_do.failures)]
