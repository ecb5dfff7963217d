"""What every driver keeps to (naru/drivers/base.py), asked of each in the same words: the fake, and those of the kernel.

Kernel drivers run in a host of the test's own: a thread that has left the machine's network and mounts for new ones.
"""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import pytest

from naru.agent.instances import Instances
from naru.drivers.advertise import Advertisers
from naru.drivers.base import Action, Driver, plan
from naru.drivers.dnsmasq import Dnsmasq
from naru.drivers.linuxbridge import LinuxBridge
from naru.drivers.metadata import Metadata
from naru.drivers.nft import Nft
from naru.drivers.ovs import OpenVswitch
from naru.drivers.qos import Qos
from naru.drivers.router import Routers
from naru.model.hoststate import (
    AddressLimit,
    AdvertisedPrefix,
    BandwidthLimit,
    ClientOption,
    DhcpState,
    DhcpSubnet,
    FilterRule,
    FilterState,
    FloatingAddress,
    ForwardedPorts,
    GroupState,
    HostState,
    InstanceDocument,
    InstanceState,
    LeaseState,
    MetadataState,
    NetworkState,
    PacketRateLimit,
    PeerState,
    QosState,
    Route,
    RouterInterface,
    RouterState,
    RulesState,
    SegmentState,
    Source,
    TapState,
)
from naru.testing import FakeDriver
from own_host import RUN, bring, in_own_host, planned, run, start_open_vswitch, state

VXLAN = NetworkState("11111111-1111", 1450, (SegmentState("vxlan", None, 77),))
SMALL = NetworkState("11111111-1111", 1200, (SegmentState("vxlan", None, 78),))
FLAT = NetworkState("22222222-2222", 1500, (SegmentState("flat", "physnet1"),))
DHCP_TAP = TapState("33333333-3333", "11111111-1111", "fa:16:3e:00:00:02", 1450, netns="qdhcp-1", device="ns-33333333-33")
TAP = TapState("44444444-4444", "11111111-1111", "fa:16:3e:00:00:05", 1450, netns="instance-1", device="eth0")
OTHER_TAP = TapState("44444444-4444", "22222222-2222", "fa:16:3e:00:00:06", 1200, admin_state_up=False, netns="instance-2", device="eth1")
PLUGGED = TapState("55555555-5555", "22222222-2222", "fa:16:3e:00:00:07", 1500)
PEER = PeerState("p9", "11111111-1111", "fa:16:3e:00:00:09", ("10.7.0.9", "fd00::9"), "10.9.0.2", VXLAN.segments[0])
MOVED = PeerState("p9", "11111111-1111", "fa:16:3e:00:00:09", ("10.7.0.8",), "10.9.0.3", SMALL.segments[0])
INSTANCE = InstanceState("i1", "web", "netns", "instance-1", ("eth0",), running=True)
SUBNETS = (DhcpSubnet("s1", "10.7.0.0/28", "10.7.0.2", "10.7.0.1", ("9.9.9.9",)), DhcpSubnet("s2", "10.8.0.0/28", "10.8.0.2", None))
DHCP, TWO = (DhcpState("1", "33333333-3333", "qdhcp-1", "ns-33333333-33", 1450, SUBNETS[:count]) for count in (1, 2))
MODES = ("slaac", "dhcpv6-stateless", "dhcpv6-stateful")
IPV6 = tuple(DhcpSubnet(f"s{n}", f"fd00:{n}::/64", f"fd00:{n}::2", None, (), (), mode, advertised=True) for n, mode in enumerate(MODES, 1))
SIX = DhcpState("1", "33333333-3333", "qdhcp-1", "ns-33333333-33", 1450, (SUBNETS[0], *IPV6))
BOOTING = LeaseState("p6", "1", "fa:16:3e:00:00:06", "host-6", ("10.7.0.6", "fd00:3::6"), (ClientOption("67", "undionly"),))
LEASE, LATER = (LeaseState(f"p{n}", "1", f"fa:16:3e:00:00:0{n}", f"host-{n}", (f"10.7.0.{n}",)) for n in (5, 6))
ITSELF = FilterRule("ingress", "IPv4", remote_group="g1")
WEB = FilterRule("ingress", "IPv6", 6, 80, 88, remote_prefix="fd00::/8")
GROUP = (RulesState("g1", (FilterRule("egress", "IPv4"), ITSELF)), GroupState("g1", ("10.7.0.5", "10.7.0.6", "fd00::5", "10.9.0.0/24")))
OTHER_GROUP = (RulesState("g2", (WEB, FilterRule("ingress", "IPv4", 1, 8, 0))),)
CHANGED_GROUP = (RulesState("g1", (ITSELF, WEB)), GroupState("g1", ("10.7.0.6", "10.7.0.7", "10.9.0.7", "10.8.0.0/16")))
FILTER = FilterState("44444444-4444", "11111111-1111", TAP.mac_address, (Source(TAP.mac_address, "10.7.0.5"),), ("g1",))
PAIRS = (Source(TAP.mac_address, "fd00::5"), Source("fa:16:3e:00:00:ff", "10.9.0.0/24"), Source("fa:16:3e:00:00:ff", "fd01::/64"))
CHANGED_FILTER = FilterState("44444444-4444", "22222222-2222", TAP.mac_address, PAIRS, ("g1", "g2"), stateful=False)
CLOSED = FilterState("55555555-5555", "22222222-2222", PLUGGED.mac_address, ())


INSIDE = RouterInterface("66666666-6666", "11111111-1111", "qr-66666666-66", ("10.7.0.1/24", "fd00::1/64"))
OUTSIDE = RouterInterface("77777777-7777", "22222222-2222", "qg-77777777-77", ("203.0.113.5/24",))
ROUTER_TAPS = (
    TapState("66666666-6666", "11111111-1111", "fa:16:3e:00:00:11", 1450, netns="qrouter-9", device="qr-66666666-66"),
    TapState("77777777-7777", "22222222-2222", "fa:16:3e:00:00:12", 1500, netns="qrouter-9", device="qg-77777777-77"),
)
CHANGED_TAPS = tuple(msgspec.structs.replace(tap, mac_address="fa:16:3e:00:00:13") for tap in ROUTER_TAPS)
ROUTES = (Route("0.0.0.0/0", "203.0.113.1"), Route("10.9.0.0/16", "10.7.0.99"), Route("fd09::/64", "fd00::99"))
FLOATING = FloatingAddress("f1", "203.0.113.50", "10.7.0.11")
NUMBERS = tuple(
    ForwardedPorts("f2", "203.0.113.51", protocol, outer, "10.7.0.12", inner)
    for protocol, outer, inner in (("tcp", "2222:2222", "22:22"), ("tcp", "8000:8002", "9000:9002"), ("udp", "700:710", "700:710"))
)
INNER_ROUTER = RouterState("9", "qrouter-9", (msgspec.structs.replace(INSIDE, addresses=(*INSIDE.addresses, "fe80::a9fe:a9fe/64")),))
MOST, LEAST = BandwidthLimit(2**31, 2**31), BandwidthLimit(0, 0)
LIMITS = AddressLimit("203.0.113.5", MOST, LEAST), AddressLimit("203.0.113.50", None, BandwidthLimit(8000, 800))
ROUTER = RouterState("9", "qrouter-9", (INSIDE,), OUTSIDE, "203.0.113.5", ROUTES, (FLOATING,), NUMBERS, limits=LIMITS)
READDRESSED = RouterState(
    "9",
    "qrouter-9",
    (INSIDE,),
    msgspec.structs.replace(OUTSIDE, addresses=("203.0.113.6/24",)),
    None,
    (Route("0.0.0.0/0", "198.51.100.1"), Route("10.9.0.0/16", "10.7.0.98")),
    (msgspec.structs.replace(FLOATING, fixed="10.7.0.13"),),
)


class Subject(NamedTuple):
    """A driver under test: how to make one afresh, the host that it expects, and states to move between."""

    fresh: Callable[[], Driver]
    prepare: Callable[[], None]
    states: list[HostState]
    stride: int = 1  # a driver that takes long dies after every so many actions only


def fake() -> Subject:
    host: dict = {}

    def fresh() -> FakeDriver:
        driver = FakeDriver()
        driver.facts = host
        return driver

    return Subject(fresh, lambda: None, [state(), state(VXLAN, TAP), state(SMALL, PEER)])


def linuxbridge() -> Subject:
    def prepare() -> None:
        run("ip link add eth1 type veth peer name wire")
        run("ip tuntap add tap55555555-55 mode tap")

    return Subject(
        links,
        prepare,
        [
            state(),
            state(VXLAN, DHCP_TAP, TAP, PEER),
            state(msgspec.structs.replace(VXLAN, roaming=True), TAP, PEER),
            state(SMALL, FLAT, OTHER_TAP, PLUGGED, MOVED),
            state(FLAT),
            state(INSTANCE),
        ],
    )


def trunks() -> Subject:
    """The trunks of Linux bridges: a parent that Naru plugs, moved and made anew below its sub-ports, and one that a hypervisor plugs."""

    below = TapState("88888888-8888", "22222222-2222", "fa:16:3e:00:00:18", 1450, parent=TAP.port_id, vlan=100)
    beside = msgspec.structs.replace(below, port_id="99999999-9999", network_id="11111111-1111", vlan=101, admin_state_up=False)
    other, anew = msgspec.structs.replace(below, vlan=200), msgspec.structs.replace(TAP, mac_address="fa:16:3e:00:00:25")
    plugged = msgspec.structs.replace(below, parent=PLUGGED.port_id)
    states = [
        state(),
        state(VXLAN, FLAT, TAP, below, beside),
        state(VXLAN, FLAT, anew, other, msgspec.structs.replace(beside, admin_state_up=True)),
        state(VXLAN, FLAT, TAP, PLUGGED, plugged, beside),
    ]
    return Subject(links, linuxbridge().prepare, states, stride=7)


def ovs() -> Subject:
    """With a bridge that leads to physnet1 and one that a stranger made; a hypervisor has plugged a tap into br-int, and a trunk."""

    def prepare() -> None:
        start_open_vswitch()
        run("ovs-vsctl add-br br-ex -- set Bridge br-ex datapath_type=netdev")
        run("ovs-vsctl add-br br-int -- set Bridge br-int datapath_type=netdev")
        run("ip tuntap add tap55555555-55 mode tap")
        run("ovs-vsctl add-port br-int tap55555555-55 -- set Interface tap55555555-55 external_ids:iface-id=55555555-5555")
        run("ovs-vsctl add-br tbr-aaaaaaaa-a -- set Bridge tbr-aaaaaaaa-a datapath_type=netdev")
        run("ip tuntap add tapaaaaaaaa-aa mode tap")
        run("ovs-vsctl add-port tbr-aaaaaaaa-a tapaaaaaaaa-aa -- set Interface tapaaaaaaaa-aa external_ids:iface-id=aaaaaaaa-aaaa")

    both = NetworkState("22222222-2222", 1500, (SegmentState("vlan", "physnet1", 200), SegmentState("vlan", "physnet1", 201)))
    geneve = NetworkState("11111111-1111", 1450, (SegmentState("geneve", None, 77),))
    far = PeerState("p8", "11111111-1111", "fa:16:3e:00:00:08", ("10.7.0.8", "fd00::8"), "10.9.0.2", geneve.segments[0])
    # Few and full: what Open vSwitch is told takes a tenth of a second each time.
    filtered, plugged, moved = (msgspec.structs.replace(tap, filtered=True) for tap in (TAP, PLUGGED, OTHER_TAP))
    behind = TapState("88888888-8888", "22222222-2222", "fa:16:3e:00:00:18", 1450, parent=TAP.port_id, vlan=100)
    of_hypervisor = TapState("aaaaaaaa-aaaa", "22222222-2222", "fa:16:3e:00:00:19", 1400, trunk=True)
    slow, few = BandwidthLimit(1000, 800), PacketRateLimit(1000, 800)
    limits = QosState(TAP.port_id, slow, slow, 8), QosState(behind.port_id, slow, None, 26, few, few)
    states = [
        state(),
        state(QosState(PLUGGED.port_id, slow, BandwidthLimit(0, 0)), VXLAN, FLAT, DHCP_TAP, PLUGGED, PEER, filtered, FILTER, *GROUP),
        state(
            QosState(PLUGGED.port_id, None, slow, 26, None, few),
            both,
            plugged,
            CLOSED,
            geneve,
            moved,
            far,
            CHANGED_FILTER,
            *CHANGED_GROUP,
            *OTHER_GROUP,
        ),
        state(geneve, FLAT, msgspec.structs.replace(TAP, trunk=True), behind, of_hypervisor, *limits),
    ]
    return Subject(switch, prepare, states, stride=17)


def switch() -> OpenVswitch:
    return OpenVswitch(RUN, {"physnet1": "br-ex"}, "127.0.0.1", "netdev", filters=True)


def dnsmasq() -> Subject:
    states = [
        state(),
        state(msgspec.structs.replace(DHCP, metadata=True, metadata_ipv6=True)),
        state(DHCP, LEASE),
        state(DHCP, LEASE, LATER),
        state(TWO, LATER),
        state(SIX, LEASE, BOOTING),
    ]
    return Subject(lambda: Dnsmasq(RUN), lambda: bring(links(), state(VXLAN, DHCP_TAP)), states)


def instances() -> Subject:
    return Subject(lambda: Instances(RUN), lambda: bring(links(), state(VXLAN, TAP)), [state(), state(INSTANCE)])


def nft() -> Subject:
    states = [
        state(),
        state(VXLAN, DHCP_TAP, FILTER, *GROUP),
        state(FLAT, CHANGED_FILTER, *CHANGED_GROUP, *OTHER_GROUP, CLOSED),
        state(VXLAN),
    ]
    return Subject(lambda: Nft({"physnet1": "eth1"}), lambda: None, states, stride=3)


def routers() -> Subject:
    def prepare() -> None:
        run("ip link add eth1 type veth peer name wire")
        bring(links(), state(VXLAN, FLAT, *ROUTER_TAPS))

    return Subject(
        lambda: Routers(RUN, 60.0),
        prepare,
        [state(), state(ROUTER, *ROUTER_TAPS), state(INNER_ROUTER, *CHANGED_TAPS), state(READDRESSED, *CHANGED_TAPS)],
    )


def advertisers() -> Subject:
    def prepare() -> None:
        bring(links(), state(VXLAN, *ROUTER_TAPS[:1]))
        bring(Routers(RUN, 60.0), state(INNER_ROUTER))

    prefixes = [AdvertisedPrefix("fd00::/64", mode, ("fd00::53",)) for mode in MODES]
    told = [msgspec.structs.replace(INSIDE, mtu_bytes=1450, advertised=(prefix,)) for prefix in prefixes]
    routers = [msgspec.structs.replace(INNER_ROUTER, interfaces=(interface,)) for interface in told]
    return Subject(lambda: Advertisers(RUN), prepare, [state(), *(state(router) for router in routers)])


def metadata() -> Subject:
    def prepare() -> None:
        bring(links(), state(VXLAN, DHCP_TAP, ROUTER_TAPS[0]))

    served, routed = msgspec.structs.replace(DHCP, metadata=True), msgspec.structs.replace(INNER_ROUTER, metadata=True)
    by_ipv6 = msgspec.structs.replace(served, metadata_ipv6=True)
    document = InstanceDocument("web", "web", "nova")
    asker = MetadataState("p1", "qdhcp-1", ("10.7.0.5",), "i1", "demo", document, "fa:16:3e:00:00:01", (DHCP.device,))
    return Subject(lambda: Metadata(RUN), prepare, [state(), state(served), state(by_ipv6, routed, asker)])


def qos(mechanism: str = "linuxbridge") -> Subject:
    port, other = "44444444-4444", "33333333-3333"
    fast, slow, none = BandwidthLimit(10_000_000, 8_000_000), BandwidthLimit(1000, 800), BandwidthLimit(0, 0)
    many, few, no_packet = PacketRateLimit(2**31 * 1000, 2**31 * 1000), PacketRateLimit(1000, 800), PacketRateLimit(0, 0)
    states = [
        state(),
        state(QosState(port, fast, slow, 26, many, few)),
        state(QosState(port, None, fast, 8), QosState(other, slow, egress_packets=many)),
        state(QosState(port, none), QosState(other, slow, none, 56, no_packet, no_packet)),
    ]
    types = ("bandwidth_limit", "dscp_marking", "packet_rate_limit")
    return Subject(lambda: Qos(mechanism, types), lambda: bring(links(), state(VXLAN, DHCP_TAP, TAP)), states)


def qos_of_a_switch() -> Subject:
    """What comes out of taps, a switch sees to itself."""
    return qos("openvswitch")


def links() -> LinuxBridge:
    return LinuxBridge(RUN, {"physnet1": "eth1"}, "127.0.0.1")


SUBJECTS = [
    fake,
    *(
        pytest.param(subject, marks=pytest.mark.needs("root", "veth", "vxlan", "linux-bridge", *tools))
        for subject, tools in (
            (linuxbridge, ()),
            (trunks, ("8021q",)),
            (ovs, ("ovs-vswitchd",)),
            (dnsmasq, ("dnsmasq", "sysctl")),
            (instances, ("udhcpc",)),
            (routers, ("nft", "sysctl")),
            (advertisers, ("dnsmasq", "nft", "sysctl")),
            (metadata, ()),
            (nft, ("nft",)),
            (qos, ("nft", "shaping")),
            (qos_of_a_switch, ("nft", "shaping")),
        )
    ),
]


def on_own_host(test):
    """Run the test with its subject prepared, and take everything back in the end."""

    @functools.wraps(test)
    def wrapped(**arguments):
        def work():
            subject = arguments["subject"]()
            subject.prepare()
            try:
                test(subject)
            finally:
                bring(subject.fresh(), {})

        in_own_host(work)

    return wrapped


@pytest.mark.parametrize("subject", SUBJECTS)
@on_own_host
def test_every_state_is_reached_from_every_other_and_a_fresh_driver_agrees(subject):
    for before, after in itertools.permutations(subject.states, 2):
        bring(subject.fresh(), before)
        bring(subject.fresh(), after)
        assert planned(subject.fresh(), after) == []


@pytest.mark.parametrize("subject", SUBJECTS)
@on_own_host
def test_a_driver_that_goes_on_sees_what_a_fresh_one_sees_whoever_made_it(subject):
    """Drivers may keep what they have seen, where they are told of changes (ADR 0020)."""
    lasting = subject.fresh()
    for other, own in itertools.pairwise([*subject.states[1:], *reversed(subject.states)]):
        bring(subject.fresh(), other)
        assert set(planned(lasting, own)) == set(planned(subject.fresh(), own))  # in any order that can be
        bring(lasting, own)
        assert planned(lasting, own) == [] == planned(subject.fresh(), own)


@pytest.mark.parametrize("subject", SUBJECTS)
@on_own_host
def test_a_driver_that_dies_after_any_action_is_followed_by_one_that_completes_the_work(subject):
    for after in subject.states[1:]:
        for target, start in ((after, {}), ({}, after)):
            count = 1
            while True:
                bring(subject.fresh(), start)
                actions = planned(subject.fresh(), target)
                subject.fresh().apply(actions[:count])
                bring(subject.fresh(), target)
                assert planned(subject.fresh(), target) == []
                count += subject.stride
                if count >= len(actions):
                    break


@pytest.mark.parametrize("subject", SUBJECTS)
@on_own_host
def test_removing_the_absent_succeeds(subject):
    for before in subject.states[1:]:
        bring(subject.fresh(), before)
        actions = planned(subject.fresh(), {})
        assert subject.fresh().apply(actions) == []
        assert subject.fresh().apply(actions) == []


@pytest.mark.parametrize("subject", SUBJECTS)
@on_own_host
def test_nothing_is_removed_unless_it_is_asked_for(subject):
    for before in subject.states:
        bring(subject.fresh(), before)
        assert plan({}, subject.fresh().read(), prune=False).removals == []


@pytest.mark.parametrize("subject", [SUBJECTS[1]])
@on_own_host
def test_one_failing_line_does_not_stop_the_others(subject):
    broken = Action("tap/broken", ("ip",), "link set dev nosuch up")
    driver = subject.fresh()
    actions = planned(driver, subject.states[1])
    failures = driver.apply([actions[0], broken, *actions[1:]])
    assert [(failure.key, failure.reason) for failure in failures] == [("tap/broken", 'Cannot find device "nosuch"')]
    assert planned(driver, subject.states[1]) == []


@pytest.mark.parametrize("subject", [SUBJECTS[3]])
@on_own_host
def test_tap_that_cannot_compute_checksums_is_made_anew_and_does_not_stop_the_others(subject):
    beside = TapState("99999999-9999", FLAT.network_id, "fa:16:3e:00:00:19", 1400, netns="instance-2", device="eth1")
    driver, wanted = subject.fresh(), state(FLAT, TAP, beside)
    actions = planned(driver, wanted)
    (at,) = (index for index, action in enumerate(actions) if action.line == "instance-2 eth1")
    failures = driver.apply([*actions[:at], msgspec.structs.replace(actions[at], line="instance-2 nosuch"), *actions[at + 1 :]])
    reason = "cannot have nosuch in network namespace instance-2 compute its checksums: No such device"
    assert [(failure.key, failure.reason) for failure in failures] == [(beside.key, reason)]
    again = planned(subject.fresh(), wanted)
    assert {action.key for action in again[1:]} == {beside.key}
    assert again[0].line == "link del dev tap99999999-99"
    bring(subject.fresh(), wanted)
