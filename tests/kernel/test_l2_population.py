"""VXLAN with L2 population on Linux bridges, seen on the wires between the hosts."""

import contextlib
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from live_lab import Instance, LiveLab, live_lab
from naru.testing import eventually
from wire import ARP, EVERYONE, IPV4, arp, ethernet, marked, raw_in, udp

pytestmark = pytest.mark.needs("root")

WITHIN_S = 20
VXLAN_PORT = b"\x12\xb5"  # 4789


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[LiveLab]:
    with live_lab(tmp_path_factory.mktemp("population"), "[agent]\nreport_interval_s = 0.5\n", hosts=4) as made:
        yield made


@pytest.fixture(scope="module")
def pair(lab) -> list[Instance]:
    """On compute01 and compute02; the DHCP server is on the controller, and nothing of the network on compute03."""
    network = lab.create("network", name="pair")
    lab.create("subnet", network_id=network["id"], ip_version=4, cidr="10.9.0.0/24")
    modes = {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}
    lab.create("subnet", network_id=network["id"], ip_version=6, cidr="fd00:9::/64", **modes)
    made = [lab.boot(host, network, host) for host in ("compute01", "compute02")]
    for one in made:
        eventually(one.has_lease, 30)
        eventually(lambda one=one: address6(one) in one.run("ip", "-6", "address", "show", "dev", "eth0", "-tentative"), WITHIN_S)
    return made


def address6(instance: Instance) -> str:
    return next(ip["ip_address"] for ip in instance.port["fixed_ips"] if ":" in ip["ip_address"])


def mac(instance: Instance) -> bytes:
    return bytes.fromhex(instance.port["mac_address"].replace(":", ""))


@contextlib.contextmanager
def tunnelled(lab: LiveLab, host: str) -> Iterator:
    """-> what there was so far of frames in VXLAN on the host's wire between hosts."""
    with raw_in(lab.enter(host), "eth1") as wire:
        wire.settimeout(0.5)

        def heard() -> list[bytes]:
            found = []
            with contextlib.suppress(TimeoutError):
                while True:
                    frame = wire.recv(65536)
                    if frame[12:14] == b"\x08\x00" and frame[23] == 17 and frame[36:38] == VXLAN_PORT:
                        found.append(frame[50:])
            return found

        yield heard


def test_who_is_looked_for_is_answered_by_the_own_host_and_nothing_of_it_is_on_the_wire(lab, pair):
    one, other = pair
    one.run("ip", "neighbour", "flush", "all")
    with tunnelled(lab, "compute01") as heard:
        assert eventually(lambda: one.pings(other.address), WITHIN_S)
        assert eventually(lambda: one.pings(address6(other)), WITHIN_S)
        frames = heard()
    sought = [frame for frame in frames if frame[6:12] == mac(one) and (is_arp(frame) or is_solicitation(frame, address6(other)))]
    assert sought == []
    assert {frame[12:14] for frame in frames if frame[:12] == mac(other) + mac(one)} == {b"\x08\x00", b"\x86\xdd"}


def is_arp(frame: bytes) -> bool:
    return frame[12:14] == b"\x08\x06" and frame[:6] == b"\xff" * 6


def is_solicitation(frame: bytes, address: str) -> bool:
    return frame[12:14] == b"\x86\xdd" and frame[54] == 135 and frame[62:78] == ip_address(address).packed and frame[:2] == b"\x33\x33"


def test_what_is_sent_to_all_comes_to_hosts_with_ports_of_the_network_alone(lab, pair):
    one, _ = pair
    mark = marked()
    frame = ethernet(one.port["mac_address"], EVERYONE, IPV4, udp(one.address, "255.255.255.255", 9, 9, mark))
    with tunnelled(lab, "compute02") as there, tunnelled(lab, "compute03") as elsewhere, raw_in(one.prefix) as out:
        out.send(frame)
        assert [heard for heard in there() if mark in heard] == [frame]
        assert elsewhere() == []


def test_an_address_that_several_ports_may_have_is_found_on_the_host_where_it_is_and_followed_when_it_moves(lab, pair):
    """As the virtual address of two routers that watch each other: nobody but they knows who has it."""
    virtual = "10.9.0.99"
    for one in pair:
        lab.update("port", one.port["id"], allowed_address_pairs=[{"ip_address": virtual}])
    watcher = lab.boot("watcher", {"id": pair[0].port["network_id"]}, "compute03")
    eventually(watcher.has_lease, 30)
    pair[0].run("ip", "address", "add", f"{virtual}/32", "dev", "eth0")
    eventually(lambda: watcher.pings(virtual), WITHIN_S)
    for before, now in (pair, pair[::-1]):
        assert before.port["mac_address"] in watcher.run("ip", "neighbour", "show", virtual)
        before.run("ip", "address", "del", f"{virtual}/32", "dev", "eth0")
        now.run("ip", "address", "add", f"{virtual}/32", "dev", "eth0")
        with raw_in(now.prefix) as out:  # tells all that it is there now
            out.send(ethernet(now.port["mac_address"], EVERYONE, ARP, arp(now.port["mac_address"], virtual, virtual)))
        eventually(lambda now=now: now.port["mac_address"] in watcher.run("ip", "neighbour", "show", virtual), 5)
        assert watcher.pings(virtual)
    pair[0].run("ip", "address", "del", f"{virtual}/32", "dev", "eth0")
    for one in pair:
        lab.update("port", one.port["id"], allowed_address_pairs=[])
    eventually(lambda: "proxy" in lab.run("compute01", "ip", "-d", "link", "show", "type", "vxlan").split(), WITHIN_S)
    eventually(lambda: pair[0].pings(pair[1].address), WITHIN_S)
