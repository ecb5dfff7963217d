"""Nothing passes a port before its rules are in: seen by packets, while ports are plugged, wired, unwired, and the agent dies meanwhile.

An instance sends what it must not send, as fast as it can, from the moment that its device exists; others send to it what it must not
receive. Frames say in words whether they may arrive.
"""

import contextlib
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL

import pytest

from agent_host import Host, settled
from guests import Guest
from naru.lab.openvswitch import START
from naru.model.devices import bridge_name, tap_name
from naru.model.hoststate import FilterRule, FilterState, NetworkState, RulesState, SegmentState, Source, TapState
from naru.testing import eventually
from wire import ARP, EVERYONE, IPV4, IPV6, VLAN, arp, ethernet, udp

pytestmark = pytest.mark.needs("root", "nft")

NETWORK = NetworkState(str(uuid.UUID(int=1 << 127)), 1500, (SegmentState("flat", "physnet1"),))
VICTIM, FRIEND = str(uuid.UUID(int=2 << 120)), str(uuid.UUID(int=3 << 120))
MAC, FRIENDS_MAC, STREETS_MAC = "fa:16:3e:00:00:11", "fa:16:3e:00:00:12", "fa:16:3e:00:00:99"
ADDRESS, FRIENDS, STREETS = "10.7.0.11", "10.7.0.12", "10.7.0.99"
MAY, MUST_NOT = 1000, 9  # UDP ports that a rule lets pass, and that none does
SOMEBODY = "fa:16:3e:77:77:77"
LINK_LOCAL = "fe80::f816:3eff:fe00:11"


End = tuple[str, str]  # MAC and address
IT, NEIGHBOUR, ALL = (MAC, ADDRESS), (FRIENDS_MAC, FRIENDS), (EVERYONE, "10.7.0.255")
ALL_BY_IPV6 = ("33:33:00:00:00:01", "ff02::1")


def _udp(source: End, target: End, port: int, word: str, source_port: int = 99) -> bytes:
    packet = udp(source[1], target[1], source_port, port, f"<{word}>".encode())
    return ethernet(source[0], target[0], IPV6 if ":" in source[1] else IPV4, packet)


def _sent() -> list[bytes]:
    """By the instance."""
    tagged = _udp(IT, ALL, MUST_NOT, "forbidden: tagged")
    return [
        _udp(IT, ALL, MAY, "allowed"),
        _udp(IT, NEIGHBOUR, MUST_NOT, "forbidden: no rule"),
        _udp(IT, ALL, MUST_NOT, "forbidden: no rule, to all"),
        _udp((MAC, LINK_LOCAL), ALL_BY_IPV6, MUST_NOT, "forbidden: no rule, by IPv6"),
        _udp((SOMEBODY, ADDRESS), ALL, MAY, "forbidden: another MAC"),
        _udp((MAC, "10.7.0.77"), ALL, MAY, "forbidden: another address"),
        _udp(IT, (EVERYONE, "255.255.255.255"), 68, "forbidden: a DHCP answer", source_port=67),
        ethernet(MAC, EVERYONE, ARP, arp(MAC, FRIENDS, STREETS) + b"<forbidden: ARP for another>"),
        ethernet(MAC, EVERYONE, 0x88CC, b"<forbidden: another protocol>" + bytes(40)),
        *(ethernet(MAC, EVERYONE, VLAN, tag.to_bytes(2, "big") + tagged[12:]) for tag in (1, 2)),
    ]


def _sent_to(source: End) -> list[bytes]:
    """By others, to the instance."""
    return [
        _udp(source, IT, MAY, "allowed"),
        _udp(source, IT, MUST_NOT, "forbidden to it: no rule"),
        _udp(source, ALL, MUST_NOT, "forbidden to it: no rule, to all"),
        _udp((source[0], "fe80::1"), ALL_BY_IPV6, MUST_NOT, "forbidden to it: no rule, by IPv6"),
    ]


def words(frames: list[bytes]) -> set[str]:
    return {frame.partition(b"<")[2].partition(b">")[0].decode() for frame in frames}


def rules(group: str) -> RulesState:
    return RulesState(group, tuple(FilterRule(direction, "IPv4", 17, MAY, MAY) for direction in ("ingress", "egress")))


class Bed:
    """A host with an agent, a wire that leads out of it, a neighbour of the instance on the host, and somebody out on the wire.

    `plugged`: the instance is in a namespace ("netns"), or a hypervisor plugs its tap for the `vif_type` "tap", "bridge", "ovs", or
    "isolated", which is ovs with `isolate_vif` in its nova.conf.
    """

    def __init__(self, directory: Path, mechanism: str, plugged: str, **settings: str) -> None:
        self.host, self.is_switch, self.plugged = Host(directory), mechanism == "openvswitch", plugged
        switch = {"bridge_mappings": '{ physnet1 = "br-ex" }', "ovs_datapath_type": '"netdev"'}
        mapped = switch if self.is_switch else {"physical_interface_mappings": '{ physnet1 = "eth1" }'}
        self.host.configure(mechanism=f'"{mechanism}"', **mapped, **settings)
        self.tap = tap_name(VICTIM)
        self.guests: dict[str, Guest] = {}
        self.heard_by: dict[str, Counter[str]] = {"instance": Counter(), "friend": Counter(), "street": Counter()}
        self.boot()

    def boot(self) -> None:
        """What a host has before anything is wired."""
        run = self.host.run
        run("ip", "netns", "add", "street")
        run("ip", "link", "add", "eth1", "up", "type", "veth", "peer", "name", "wire", "netns", "street")
        if self.is_switch:
            run("sh", "-ec", START, "sh", "/dev/null")
            run("ovs-vsctl", "--may-exist", "add-br", "br-ex", "--", "set", "Bridge", "br-ex", "datapath_type=netdev")
            run("ovs-vsctl", "--may-exist", "add-port", "br-ex", "eth1")

    def populate(self) -> None:
        """Let in who is there all the time, and for whom nothing is filtered."""
        self.guests["friend"] = Guest(self.host.enter, _sent_to(NEIGHBOUR), 0.005, netns="friend", device="eth0")
        self.guests["street"] = Guest(self.host.enter, _sent_to((STREETS_MAC, STREETS)), 0.005, netns="street", device="wire")
        self.host.server.put(NETWORK, TapState(FRIEND, NETWORK.network_id, FRIENDS_MAC, 1500, netns="friend", device="eth0"))
        if self.plugged == "netns":
            self.guests["instance"] = Guest(self.host.enter, _sent(), netns="victim", device="eth0")

    def close(self) -> None:
        for guest in self.guests.values():
            guest.end()
        self.host.close()

    # -- what a hypervisor does

    def plug(self) -> None:
        """As os-vif and libvirt do it for a port of Nova's."""
        if self.plugged == "netns":
            return
        bridge = bridge_name(NETWORK.network_id)
        if self.plugged == "bridge":
            self.host.run("sh", "-c", f"ip link add {bridge} type bridge && ip link set {bridge} up", check=False)
        self.guests["instance"] = Guest(self.host.enter, _sent(), tap=self.tap)
        eventually(lambda: self.host.run("ip", "link", "show", self.tap, check=False), 10)
        if self.plugged == "bridge":
            self.host.run("ip", "link", "set", self.tap, "master", bridge)
        if self.plugged in ("ovs", "isolated"):
            ids = (f'attached-mac="{MAC}"', f"iface-id={VICTIM}", "iface-status=active")
            named = " ".join(f"external_ids:{id}" for id in ids)
            isolated = f"-- set Port {self.tap} tag=4095 vlan_mode=trunk trunks=4095" if self.plugged == "isolated" else ""
            switch = "--may-exist add-br br-int -- set Bridge br-int datapath_type=netdev"
            line = f"{switch} -- --if-exists del-port {self.tap} -- add-port br-int {self.tap} {isolated}"
            self.host.run("ovs-vsctl", "--timeout=5", *f"{line} -- set Interface {self.tap} {named}".split())

    def unplug(self) -> None:
        if self.plugged == "netns":
            return
        if self.plugged in ("ovs", "isolated"):
            self.host.run("ovs-vsctl", "--if-exists", "del-port", self.tap)
        self.listen()
        self.guests.pop("instance").end()

    def reboot(self) -> None:
        """All that lives in memory is gone: links, filters, flows, namespaces, /run. What is on disk stays, Open vSwitch's database too."""
        run = self.host.run
        self.unplug()
        if self.is_switch:
            run("sh", "-c", "kill -9 $(cat /run/openvswitch/*.pid); rm /run/openvswitch/*.pid /run/openvswitch/db.sock")
        run("sh", "-c", "for link in $(ls /sys/class/net | grep -v '^lo$'); do ip link del $link; done", check=False)
        run("sh", "-c", "ip netns | cut -d' ' -f1 | xargs -n1 ip netns del; nft flush ruleset; rm -rf /run/naru")
        self.boot()

    # -- what the server asks for

    def bind(self, group: str = "one") -> None:
        """Have the port wired, or only its rules replaced by those of another group, which are the same."""
        netns, device = ("victim", "eth0") if self.plugged == "netns" else (None, None)
        allowed = tuple(FilterRule(direction, "IPv4", 17, MAY, MAY) for direction in ("ingress", "egress"))
        before = [key for key in self.host.server.state if key.startswith("rules/") and key != f"rules/{group}"]
        self.host.server.put(
            RulesState(group, allowed),
            FilterState(VICTIM, NETWORK.network_id, MAC, (Source(MAC, ADDRESS),), (group,)),
            TapState(VICTIM, NETWORK.network_id, MAC, 1500, netns=netns, device=device, filtered=True),
        )
        self.host.server.delete(*before)

    def unbind(self) -> None:
        self.host.server.delete(*(key for key in self.host.server.state if VICTIM in key or key.startswith("rules/")))

    # -- what is heard

    def listen(self) -> None:
        """Take down what each has heard so far."""
        for name, guest in self.guests.items():
            self.heard_by[name].update(guest.heard())

    def passes(self) -> bool:
        """Whether what may pass does, both ways, from now on."""
        self.listen()
        before = {name: heard["allowed"] for name, heard in self.heard_by.items()}

        def is_heard() -> bool:
            self.listen()
            assert [name for name, count in before.items() if self.heard_by[name]["allowed"] == count] == []
            return True

        return eventually(is_heard, 15)

    def forbidden(self) -> list[str]:
        """What was heard and must not have been."""
        self.listen()
        counts = ((name, word, count) for name, heard in self.heard_by.items() for word, count in heard.items())
        return [
            f"{word}: {count} heard by {name}"
            for name, word, count in counts
            if word != "allowed"
            and word.startswith("forbidden to it") == (name == "instance")
            # Open vSwitch itself floods what it does not know to a port without a VLAN, until somebody gives it one: os-vif, or the agent.
            and (self.plugged, name) != ("ovs", "instance")
        ]


@contextlib.contextmanager
def bed_of(directory: Path, mechanism: str, plugged: str, **settings: str) -> Iterator[Bed]:
    made = Bed(directory, mechanism, plugged, **settings)
    try:
        yield made
    finally:
        made.close()
        print("".join(line for line in made.host.log().splitlines(keepends=True) if "[debug" not in line))


OVS = pytest.mark.needs("ovs-vswitchd")
PLUGGED = [
    pytest.param("linuxbridge", "netns"),
    pytest.param("linuxbridge", "tap"),
    pytest.param("linuxbridge", "bridge"),
    pytest.param("openvswitch", "netns", marks=OVS),
    pytest.param("openvswitch", "isolated", marks=OVS),
    pytest.param("openvswitch", "ovs", marks=OVS),
]


@pytest.mark.parametrize(("mechanism", "plugged"), PLUGGED)
def test_nothing_forbidden_passes_while_a_port_comes_and_goes_and_its_agent_dies(tmp_path, mechanism, plugged):
    with bed_of(tmp_path, mechanism, plugged) as bed:
        host, pause = bed.host, threading.Event()
        bed.populate()
        host.start()
        eventually(lambda: settled(host), 15)
        bed.plug()  # nobody has told the agent of it
        pause.wait(0.3)
        assert bed.forbidden() == []
        bed.bind()
        assert bed.passes()
        for group in ("two", "one"):
            bed.bind(group)
            assert bed.passes()
        assert bed.forbidden() == []
        bed.unbind()
        eventually(lambda: f"tap/{VICTIM}" not in host.server.status, 10)
        bed.unplug()
        bed.bind()
        pause.wait(0.3)
        bed.plug()
        assert bed.passes()
        assert bed.forbidden() == []
        for wait_s in (0.0, 0.05, 0.15, 0.4):
            bed.unbind()
            pause.wait(wait_s / 2)
            bed.unplug()
            bed.plug()
            bed.bind()
            pause.wait(wait_s)
            host.end(SIGKILL)
            bed.unplug()
            bed.plug()
            pause.wait(0.1)
            host.start()
            assert bed.passes()
            assert bed.forbidden() == [], wait_s
        host.end(SIGKILL)
        bed.reboot()
        bed.plug()
        pause.wait(0.3)
        host.start()
        assert bed.passes()
        assert bed.forbidden() == []


@pytest.mark.parametrize(("mechanism", "plugged"), [PLUGGED[1], PLUGGED[5]])
def test_where_nothing_is_filtered_each_of_those_frames_is_heard(tmp_path, mechanism, plugged):
    """So that the test above can fail."""
    with bed_of(tmp_path, mechanism, plugged, firewall='"none"') as bed:
        bed.populate()
        bed.bind()
        bed.plug()
        bed.host.start()
        assert bed.passes()
        tagged = {"forbidden: tagged"} if bed.is_switch else set()  # a port that is in a VLAN cannot send them anyhow
        assert words(_sent()) - tagged <= bed.heard_by["street"].keys() & bed.heard_by["friend"].keys() | {"forbidden: no rule"}
        assert "forbidden: no rule" in bed.heard_by["friend"]
        assert words(_sent_to(NEIGHBOUR)) <= bed.heard_by["instance"].keys()
