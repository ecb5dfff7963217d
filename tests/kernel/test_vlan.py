"""VLAN devices of a kernel that has them, and Open vSwitch in the kernel. `make test-vm` runs this where this machine's kernel has neither.

The host's eth1 is one end of a trunk. At the other end each VLAN has a device in a namespace of its own, with an address of one subnet.
"""

import subprocess
import sys

import pytest
from msgspec.structs import replace

from naru.drivers.base import plan
from naru.drivers.linuxbridge import LinuxBridge
from naru.drivers.ovs import OpenVswitch
from naru.drivers.qos import Qos
from naru.model.hoststate import BandwidthLimit, NetworkState, PacketRateLimit, QosState, SegmentState, TapState
from own_host import RUN, bring, on_own_host, planned, run, start_open_vswitch, state

pytestmark = pytest.mark.needs("root", "8021q")

VLANS = (200, 201, 202)
BOTH = NetworkState("11111111-1111", 1500, (SegmentState("vlan", "physnet1", 200), SegmentState("vlan", "physnet1", 201)))
OTHER = NetworkState("22222222-2222", 1500, (SegmentState("vlan", "physnet1", 202),))
FLAT = NetworkState("33333333-3333", 1500, (SegmentState("flat", "physnet1"),))
TAP = TapState("44444444-4444", BOTH.network_id, "fa:16:3e:00:00:05", 1500, netns="instance-1", device="eth0")
OTHER_TAP = TapState("55555555-5555", OTHER.network_id, "fa:16:3e:00:00:06", 1500, netns="instance-2", device="eth0")


def lay_trunk(device="eth1"):
    """The trunk behind `device`, and who is in its VLANs: 10.0.0.200 in VLAN 200, and so on."""
    run("ip netns add street")
    run(f"ip link add {device} up type veth peer name trunk netns street")
    run("ip -n street link set trunk up")
    for vlan in VLANS:
        run(f"ip netns add vlan{vlan}")
        run(f"ip -n street link add link trunk name t{vlan} type vlan id {vlan}")
        run(f"ip -n street link set t{vlan} netns vlan{vlan}")
        address(f"vlan{vlan}", f"t{vlan}", vlan)


def address(netns, device, number):
    run(f"ip -n {netns} address add 10.0.0.{number}/24 dev {device}")
    run(f"ip -n {netns} link set {device} up")


def reaches(netns, number, within_s=2):
    ping = ["ip", "netns", "exec", netns, "ping", "-c1", "-i0.3", f"-w{within_s}", f"10.0.0.{number}"]
    return subprocess.run(ping, capture_output=True, check=False).returncode == 0


def linux_bridges(device="eth1"):
    return LinuxBridge(RUN, {"physnet1": device}, None)


def open_vswitch():
    return OpenVswitch(RUN, {"physnet1": "br-ex"}, "127.0.0.1", "system", filters=True)


def prepare_linux_bridges():
    lay_trunk()


def prepare_open_vswitch():
    start_open_vswitch()
    lay_trunk()
    run("ovs-vsctl add-br br-ex -- add-port br-ex eth1")


SWITCHES = [
    pytest.param(prepare_linux_bridges, linux_bridges, id="linuxbridge"),
    pytest.param(prepare_open_vswitch, open_vswitch, id="openvswitch", marks=pytest.mark.needs("ovs-vswitchd", "openvswitch")),
]


@pytest.mark.parametrize(("prepare", "fresh"), SWITCHES)
@on_own_host
def test_a_port_is_in_the_vlans_of_its_network_and_in_no_other(prepare, fresh):
    prepare()
    bring(fresh(), state(BOTH, OTHER, TAP, OTHER_TAP))
    address("instance-1", "eth0", 5)
    address("instance-2", "eth0", 6)
    for netns, vlan in (("instance-1", 200), ("instance-1", 201), ("instance-2", 202)):
        assert reaches(netns, vlan, within_s=10), f"{netns} does not reach VLAN {vlan}"
    for netns, number in (("instance-1", 202), ("instance-2", 200), ("instance-1", 6)):
        assert not reaches(netns, number), f"{netns} reaches 10.0.0.{number}"
    assert not reaches("vlan200", 201), "the two segments are bridged to each other"
    assert planned(fresh(), state(BOTH, OTHER, TAP, OTHER_TAP)) == []


@pytest.mark.parametrize(("prepare", "fresh"), SWITCHES)
@on_own_host
def test_flat_and_vlan_share_a_device_and_everything_goes_as_it_came(prepare, fresh):
    prepare()
    before = planned(fresh(), {})
    bring(fresh(), state(FLAT, OTHER, OTHER_TAP))
    address("instance-2", "eth0", 6)
    assert reaches("instance-2", 202)
    assert planned(fresh(), state(FLAT, OTHER, OTHER_TAP)) == []
    bring(fresh(), state(BOTH))
    bring(fresh(), {})
    assert planned(fresh(), {}) == before == []


RECEIVE = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("10.0.0.6", 7000))
server.setsockopt(socket.SOL_IP, socket.IP_RECVTOS, 1)
server.setsockopt(socket.SOL_SOCKET, 33, 4 << 20)  # SO_RCVBUFFORCE: all of them at once
server.settimeout(10)
print("ready", flush=True)
count, marks = 0, set()
try:
    while True:
        _, told, _, _ = server.recvmsg(2000, 100)
        count, marks = count + 1, marks | {told[0][2][0] >> 2}
        server.settimeout(2)
except TimeoutError:
    print(count, *marks)
"""
SEND = """
import socket, sys
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(400):
    sender.sendto(bytes(int(sys.argv[1])), ("10.0.0.6", 7000))
"""


@pytest.mark.needs("ovs-vswitchd", "openvswitch", "nft", "shaping")
@on_own_host
def test_open_vswitch_in_the_kernel_limits_and_marks_as_one_in_user_space_does():
    """Of 400 packets at once, a bucket lets through what it holds: in the kernel a burst, and what may pass in a second."""
    prepare_open_vswitch()
    other = replace(TAP, port_id="66666666-6666", mac_address="fa:16:3e:00:00:07", netns="instance-2")
    taps = state(BOTH, TAP, other)
    bring(open_vswitch(), taps)
    address("instance-1", "eth0", 5)
    address("instance-2", "eth0", 6)
    assert reaches("instance-1", 6, within_s=10)
    assert arrived(1200)[0] > 300
    few, slow = PacketRateLimit(50, 50), BandwidthLimit(400, 400)
    types = ("bandwidth_limit", "dscp_marking", "packet_rate_limit")
    for limits, size_bytes in (
        (QosState(TAP.port_id, egress=slow, dscp_mark=26), 1200),
        (QosState(TAP.port_id, egress=BandwidthLimit(10**6, 10**6), egress_packets=few, dscp_mark=26), 100),
        (QosState(other.port_id, ingress_packets=few), 100),
    ):
        wanted = taps | state(limits)
        bring(open_vswitch(), wanted)
        bring(Qos("openvswitch", types), wanted)
        count, marks = arrived(size_bytes)
        assert 30 < count < 200
        assert marks == [limits.dscp_mark or 0]
        assert planned(open_vswitch(), wanted) == planned(Qos("openvswitch", types), wanted) == []
    bring(Qos("openvswitch", types), {})


def arrived(size_bytes):
    """-> how many packets of one instance the other gets, and with which marks."""
    python = [sys.executable, "-S", "-E", "-c"]
    with subprocess.Popen(["ip", "netns", "exec", "instance-2", *python, RECEIVE], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout.readline() == "ready\n"
        subprocess.run(["ip", "netns", "exec", "instance-1", *python, SEND, str(size_bytes)], check=True, timeout=60)
        count, *marks = map(int, server.stdout.readline().split())
    return count, marks


@on_own_host
def test_a_long_device_name_is_cut_in_the_vlans_name():
    lay_trunk("enp129s0f0np0")
    bring(linux_bridges("enp129s0f0np0"), state(OTHER))
    assert planned(linux_bridges("enp129s0f0np0"), state(OTHER)) == []
    run("ip link show enp197e4a1.202")


@on_own_host
def test_a_vlan_device_that_somebody_else_made_fails_the_network_and_stays():
    lay_trunk()
    run("ip link add link eth1 name eth1.202 type vlan id 202")
    shown = subprocess.run(["ip", "-d", "link", "show", "eth1.202"], capture_output=True, text=True, check=True).stdout
    assert reasons(state(OTHER)) == ["device eth1.202 exists and is not Naru's; rename or remove it if nothing uses it"]
    assert subprocess.run(["ip", "-d", "link", "show", "eth1.202"], capture_output=True, text=True, check=True).stdout == shown


@on_own_host
def test_a_device_that_is_missing_or_in_a_strangers_bond_fails_each_network_on_it():
    assert {reason.split(";")[0] for reason in reasons(state(BOTH, OTHER))} == {
        "device eth1 of physical network physnet1 does not exist on this host"
    }
    lay_trunk()
    run("ip link add bond0 type bond")
    run("ip link set eth1 down")
    run("ip link set eth1 master bond0")
    said = reasons(state(BOTH, OTHER))
    assert len(said) == 2
    assert {reason.split(";")[0] for reason in said} == {"eth1 is in bond0, which is not Naru's"}


def reasons(desired):
    driver = linux_bridges()
    want, failures = driver.want(desired)
    to_do = plan(want, driver.read(), prune=True)
    failures += to_do.failures + driver.apply([*to_do.removals, *to_do.additions])
    return [failure.reason for failure in failures]
