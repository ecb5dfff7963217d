"""A router that went to another host because its own fell silent: who answers for its addresses, on real hosts, and what flows outlive."""

import contextlib
import re
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import httpx
import pytest

from live_lab import live_lab
from naru.model.devices import gateway_device, router_netns
from naru.testing import eventually
from wire import ARP, EVERYONE, arp, ethernet, raw_in

pytestmark = pytest.mark.needs("root", "nft", "ethtool")

CONFIG = """
agent_down_time_s = 3.0
[agent]
report_interval_s = 0.5
"""
WITHIN_S = 20
OLD, NEW, OTHER = "compute02", "compute01", "compute03"  # where the router is at first, where it goes, and where it is never
HOSTS = (OLD, NEW, OTHER, "controller01")
CUT = """
add table inet cut
add chain inet cut input { type filter hook input priority 0; }
add chain inet cut output { type filter hook output priority 0; }
add rule inet cut input ip saddr 10.0.0.30 tcp flags & rst == 0x0 drop
add rule inet cut output ip daddr 10.0.0.30 reject with tcp reset
"""
ECHO = """
import socketserver, sys
connected = []
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        connected.append(self)
        for line in self.rfile:
            who = "{}:{}".format(*self.client_address).removeprefix("::ffff:").encode()
            for each in connected if line.startswith(b"all ") else [self]:
                each.wfile.write(who + b" said " + line)
class Server(socketserver.ThreadingTCPServer):
    address_family, daemon_threads, allow_reuse_address = 10, True, True
server = Server(("::", int(sys.argv[1])), Echo)
print("ready", flush=True)
server.serve_forever()
"""
TALK = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as peer:
    peer.settimeout(None)
    answers = peer.makefile("r")
    for line in sys.stdin:
        peer.sendall(line.encode())
        while not (answer := answers.readline()).endswith(" said " + line):
            assert answer
        print(answer, end="", flush=True)
"""


BOTH = pytest.mark.parametrize("site", ["linuxbridge", "openvswitch"], indirect=True, scope="module")
BRIDGES = pytest.mark.parametrize("site", ["linuxbridge"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def site(request, tmp_path_factory) -> Iterator[SimpleNamespace]:
    """A network on two hosts behind a router with a gateway to the world; one instance has a floating IP."""
    with live_lab(tmp_path_factory.mktemp("failover"), CONFIG, len(HOSTS), request.param) as lab:
        made = SimpleNamespace(lab=lab, world=lab.world("203.0.113.1/24"))
        made.world.run("ethtool", "-K", "eth0", "tx", "off")  # a switch in user space gets frames as they are
        flat = {"provider:network_type": "flat", "provider:physical_network": "physnet2", "router:external": True}
        outside = lab.create("network", name="outside", **flat)
        pools = [{"start": "203.0.113.100", "end": "203.0.113.199"}]
        lab.create("subnet", network_id=outside["id"], ip_version=4, cidr="203.0.113.0/24", allocation_pools=pools, enable_dhcp=False)
        made.router = lab.create("router", name="r", external_gateway_info={"network_id": outside["id"]})
        network = lab.create("network", name="inside", port_security_enabled=False)
        subnet = lab.create("subnet", network_id=network["id"], ip_version=4, cidr="10.1.0.0/24")
        lab.ask("PUT", f"/v2.0/routers/{made.router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
        made.a, made.b, made.c = (lab.boot(name, network, host) for name, host in (("a", OTHER), ("b", OLD), ("c", NEW)))
        eventually(lambda: made.a.has_lease() and made.b.has_lease() and made.c.has_lease(), 30)
        floating = lab.create("floatingip", floating_network_id=outside["id"], port_id=made.a.port["id"])
        made.floating = floating["floating_ip_address"]
        (gateway,) = lab.find("port", device_id=made.router["id"], device_owner="network:router_gateway")
        made.gateway, made.device = gateway, gateway_device(gateway["id"])
        for host in (OTHER, "controller01"):
            lab.ask("PUT", f"/v2.0/agents/{agents(made)[host]['id']}", {"agent": {"admin_state_up": False}})  # no routers
        other = lab.create("floatingip", floating_network_id=outside["id"])
        made.forwarded = other["floating_ip_address"]
        numbers = {"protocol": "tcp", "external_port": 7000, "internal_port": 7000}
        inside = {"internal_port_id": made.c.port["id"], "internal_ip_address": made.c.address}
        lab.ask("POST", f"/v2.0/floatingips/{other['id']}/port_forwardings", {"port_forwarding": numbers | inside})
        for who in (made.world, made.a, made.c):
            lab.run_server([*who.prefix, sys.executable, "-c", ECHO, "7000"])
        yield made


@pytest.fixture
def placed(site) -> SimpleNamespace:
    """The site with its router on OLD, and all agents alive."""
    move(site, OLD)
    return site


def agents(site):
    return {agent["host"]: agent for agent in site.lab.ask("GET", "/v2.0/agents")["agents"]}


def is_served(site) -> bool:
    with contextlib.suppress(httpx.ConnectError):
        return len(agents(site)) == len(HOSTS)
    return False


def router_host(site):
    (agent,) = site.lab.ask("GET", f"/v2.0/routers/{site.router['id']}/l3-agents")["agents"] or [{"host": ""}]
    return agent["host"]


def move(site, host):
    eventually(lambda: all(agent["alive"] for agent in agents(site).values()), WITHIN_S)
    here = router_host(site)
    if here != host:
        site.lab.ask("DELETE", f"/v2.0/agents/{agents(site)[here]['id']}/l3-routers/{site.router['id']}")
        site.lab.ask("POST", f"/v2.0/agents/{agents(site)[host]['id']}/l3-routers", {"router_id": site.router["id"]})
    eventually(lambda: holders(site) == {host}, WITHIN_S)
    eventually(lambda: site.lab.find("floatingip", floating_ip_address=site.floating)[0]["status"] == "ACTIVE", WITHIN_S)
    eventually(lambda: is_answered_once(site), WITHIN_S)


def holders(site):
    """The hosts that have the router's namespace."""
    return {host for host in HOSTS if router_netns(site.router["id"]) in site.lab.namespaces(host)}


def answers(site, address) -> int:
    """How many hosts answer one ARP request of the world for an address, each once."""
    mac = re.search(r"link/ether (\S+)", site.world.run("ip", "link", "show", "eth0"))[1]
    with raw_in(site.world.prefix) as wire:
        wire.settimeout(0.5)
        wire.send(ethernet(mac, EVERYONE, ARP, arp(mac, "203.0.113.1", address)))
        heard = []
        with contextlib.suppress(TimeoutError):
            while True:
                heard.append(wire.recv(65536))
        begin, replies = bytes.fromhex(mac.replace(":", "")), b"\x08\x06\0\1\x08\0\6\4\0\2"
        return sum(frame[:6] == begin and frame[12:22] == replies and frame[28:32] == socket.inet_aton(address) for frame in heard)


def elements(site, host, name) -> bool:
    """Whether a set of the router's fence has any."""
    netns = router_netns(site.router["id"])
    return "elements" in site.lab.run(host, "ip", "netns", "exec", netns, "nft", "list", "set", "netdev", "naru", name)


def sent(site, host) -> int:
    """How many frames left the router on this host by its gateway."""
    netns = router_netns(site.router["id"])
    return int(site.lab.run(host, "ip", "netns", "exec", netns, "cat", f"/sys/class/net/{site.device}/statistics/tx_packets"))


def is_answered_once(site) -> bool:
    """Whether the world gets one answer for each address of the router."""
    got = [answers(site, address) for address in (site.floating, site.gateway["fixed_ips"][0]["ip_address"])]
    return got == [1, 1] and site.world.pings(site.floating)


def is_silent(site, host) -> bool:
    """Whether the world is answered, and by another host than this one."""
    before = sent(site, host)
    return is_answered_once(site) and sent(site, host) == before


@contextlib.contextmanager
def without_agent(site, host):
    words, environment = site.lab.kill(f"agent-{host}")
    try:
        yield
    finally:
        site.lab.start(f"agent-{host}", words, environment)


@contextlib.contextmanager
def without_server(site, host):
    """Its agent runs, and hears nothing of the server; what it says is refused."""
    site.lab.run(host, "nft", CUT)
    try:
        yield
    finally:
        site.lab.run(host, "nft", "delete table inet cut")


@contextlib.contextmanager
def without_wires(site, host):
    """Neither to other hosts nor to the physical network."""
    for wire in ("eth1", "eth2"):
        site.lab.run(host, "ip", "link", "set", wire, "down")
    try:
        yield
    finally:
        for wire in ("eth1", "eth2"):
            site.lab.run(host, "ip", "link", "set", wire, "up")


@contextlib.contextmanager
def talking(who, address) -> Iterator[Callable[[str], str]]:
    """One TCP connection; -> what is answered to a line."""
    command = [*who.prefix, sys.executable, "-c", TALK, address, "7000"]
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(line: str) -> str:
        client.stdin.write(f"{line}\n")
        client.stdin.flush()
        ready, _, _ = select.select([client.stdout], [], [], WITHIN_S)
        return client.stdout.readline().strip() if ready else ""

    try:
        yield say
    finally:
        client.kill()
        client.communicate()


@contextlib.contextmanager
def pinging(who, address) -> Iterator[Callable[[], int]]:
    """One flow of packets for five seconds; afterwards it can be asked how many of them got no answer."""
    ping = subprocess.Popen([*who.prefix, "ping", "-q", "-i", "0.05", "-c", "100", address], stdout=subprocess.PIPE, text=True)
    said = []
    try:
        assert who.pings(address)
        yield lambda: 100 - int(re.search(r"(\d+) received", said[0])[1])
    finally:
        said.append(ping.communicate(timeout=30)[0])


# -- no double addresses


@BOTH
def test_a_router_whose_agent_is_gone_is_silent_once_another_host_has_it(placed):
    site = placed
    with without_agent(site, OLD):
        eventually(lambda: router_host(site) == NEW, WITHIN_S)
        eventually(lambda: is_silent(site, OLD), WITHIN_S)
        assert holders(site) == {OLD, NEW}
        assert site.a.pings("203.0.113.1")
        eventually(lambda: site.b.pings("10.1.0.1"), WITHIN_S)  # an instance on the old host reaches one of the two
        assert is_silent(site, OLD)
    eventually(lambda: holders(site) == {NEW}, WITHIN_S)
    eventually(lambda: site.b.pings("203.0.113.1"), WITHIN_S)


@BRIDGES
def test_a_router_whose_agent_does_not_reach_the_server_is_silent_once_another_host_has_it(placed):
    site = placed
    with without_server(site, OLD):
        eventually(lambda: router_host(site) == NEW, WITHIN_S)
        eventually(lambda: is_silent(site, OLD), WITHIN_S)
        assert holders(site) == {OLD, NEW}
    eventually(lambda: holders(site) == {NEW}, WITHIN_S)
    assert is_answered_once(site)


@BRIDGES
def test_a_host_that_was_off_its_wires_when_its_router_moved_hears_of_it_afterwards(placed):
    site = placed
    with without_agent(site, OLD):
        with without_wires(site, OLD):
            eventually(lambda: router_host(site) == NEW, WITHIN_S)
            eventually(lambda: site.world.pings(site.floating), WITHIN_S)
        eventually(lambda: is_silent(site, OLD), WITHIN_S)


@BRIDGES
def test_a_router_goes_on_while_its_agent_is_gone_and_no_other_host_has_it(placed):
    site = placed
    words, environment = site.lab.kill("server")
    try:
        with without_agent(site, OLD):
            with pinging(site.world, site.floating) as lost:
                eventually(lambda: not elements(site, OLD, "alive"), WITHIN_S)
                assert is_answered_once(site)
            assert lost() == 0
            with raw_in(site.world.prefix) as wire:  # as a bond or a loop would send back what the router asks
                mac, address = site.gateway["mac_address"], site.gateway["fixed_ips"][0]["ip_address"]
                wire.send(ethernet(mac, EVERYONE, ARP, arp(mac, address, "203.0.113.1")))
            site.world.run("ip", "neighbour", "flush", "all")
            eventually(lambda: is_answered_once(site), WITHIN_S)
            assert not elements(site, OLD, "moved")
    finally:
        site.lab.start("server", words, environment)
        eventually(lambda: is_served(site), WITHIN_S)


@BRIDGES
def test_a_host_that_gets_its_router_back_speaks_for_it_again(placed):
    site = placed
    with contextlib.ExitStack() as still:
        with without_agent(site, OLD):
            eventually(lambda: router_host(site) == NEW, WITHIN_S)
            eventually(lambda: is_silent(site, OLD), WITHIN_S)
            still.enter_context(without_server(site, NEW))
            eventually(lambda: not agents(site)[NEW]["alive"], WITHIN_S)
        eventually(lambda: router_host(site) == OLD, WITHIN_S)
        eventually(lambda: is_silent(site, NEW), WITHIN_S)
    eventually(lambda: holders(site) == {OLD}, WITHIN_S)
    assert is_answered_once(site)


# -- what flows outlive


@pytest.fixture
def conversations(placed) -> Iterator[Callable[[str], list[str]]]:
    """Connections that go on, out and in by a floating IP, in by a port forwarding, out by the gateway; -> as whom each is heard."""
    ways = (placed.a, "203.0.113.1"), (placed.world, placed.floating), (placed.world, placed.forwarded), (placed.c, "203.0.113.1")
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(talking(who, address)) for who, address in ways]
        yield lambda word: [say(word).partition(" said ")[0] for say in connections]


@BOTH
def test_connections_outlive_the_host_of_their_router(placed, conversations):
    site = placed
    before = conversations("one")
    addresses = [end.partition(":")[0] for end in before]
    assert addresses == [site.floating, "203.0.113.1", "203.0.113.1", site.gateway["fixed_ips"][0]["ip_address"]]
    with without_agent(site, OLD), without_wires(site, OLD):
        eventually(lambda: router_host(site) == NEW, WITHIN_S)
        with talking(site.world, "203.0.113.1") as beside:
            beside("all at once")  # what comes to the gateway before the new host knows its connection is not refused
        assert conversations("two") == before


@BRIDGES
def test_connections_go_on_while_an_agent_starts_again_and_floating_ips_of_others_change(placed, conversations):
    site = placed
    before = conversations("one")
    with without_agent(site, OLD):
        assert conversations("two") == before
    floating = site.lab.create("floatingip", floating_network_id=site.gateway["network_id"], port_id=site.b.port["id"])
    eventually(lambda: site.world.pings(floating["floating_ip_address"]), WITHIN_S)
    assert conversations("three") == before
    site.lab.ask("DELETE", f"/v2.0/floatingips/{floating['id']}")
    eventually(lambda: not site.world.pings(floating["floating_ip_address"]), WITHIN_S)
    assert conversations("four") == before
