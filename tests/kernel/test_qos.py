"""Limits and marks on real hosts, as who receives sees them."""

import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from live_lab import live_lab
from naru.model.devices import ifb_name, router_netns
from naru.testing import eventually

pytestmark = pytest.mark.needs("root", "nft", "shaping")

WITHIN_S = 15
LIMIT_KBPS, BURST_KBIT, LIMIT_KPPS = 8000, 400, 1
HEADERS_BYTES = 42  # of a frame: Ethernet, IPv4, UDP
OFCTL = "ovs-ofctl", "--protocols=OpenFlow14"

# What comes in the last second by the kernel's clock, when the bucket has long been empty: packets and kilobits a second.
RECEIVE = f"""
import socket, struct, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", int(sys.argv[1])))
server.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
print("ready", flush=True)
while True:
    server.settimeout(None)
    came = []
    try:
        while True:
            packet, told, _, _ = server.recvmsg(65536, 100)
            seconds, nanoseconds = struct.unpack("=qq", told[0][2])
            came.append((len(packet), seconds + nanoseconds / 1e9))
            server.settimeout(0.5)
    except TimeoutError:
        sizes = [size + {HEADERS_BYTES} for size, at_s in came if at_s > came[-1][1] - 1]
        with open(sys.argv[2], "w") as file:
            file.write(f"{{len(sizes)}} {{sum(sizes) * 8 / 1000}}")
"""
SEND = """
import socket, sys, time
address, port, size, rate, seconds = sys.argv[1], *map(int, sys.argv[2:])
sender, started_s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), time.monotonic()
sender.setsockopt(socket.SOL_SOCKET, 11, 1)  # SO_NO_CHECK: what leaves that to the network card, a switch in user space cannot pass on
for number in range(rate * seconds):
    while time.monotonic() < started_s + number / rate:
        time.sleep(0.001)
    sender.sendto(bytes(size), (address, port))
"""
LISTEN = """
import socket, sys
sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x800))
print("ready", flush=True)
while True:
    packet = sniffer.recv(65536)
    if packet[9] == 1 and packet[12:16] == socket.inet_aton(sys.argv[1]):
        with open(sys.argv[2], "a") as file:
            file.write(f"{packet[1] >> 2}\\n")
"""


@pytest.fixture(scope="module", params=["linuxbridge", pytest.param("openvswitch", marks=pytest.mark.needs("ovs-vswitchd"))])
def site(request, tmp_path_factory) -> Iterator[SimpleNamespace]:
    """Two instances on two hosts, behind a router to the world; in `rates` are files that say how fast it comes, `marks` is another.

    A switch filters them, too, and lets in what comes.
    """
    directory, is_switch = tmp_path_factory.mktemp("qos"), request.param == "openvswitch"
    with live_lab(directory, "[agent]\nreport_interval_s = 0.5\n", mechanism=request.param) as lab:
        made = SimpleNamespace(lab=lab, is_switch=is_switch, rates=directory, marks=directory / "marks", world=lab.world("203.0.113.1/24"))
        flat = {"provider:network_type": "flat", "provider:physical_network": "physnet2", "router:external": True}
        made.outside = lab.create("network", name="outside", **flat)
        pools = [{"start": "203.0.113.100", "end": "203.0.113.199"}]
        lab.create("subnet", network_id=made.outside["id"], ip_version=4, cidr="203.0.113.0/24", allocation_pools=pools, enable_dhcp=False)
        made.router = lab.create("router", name="r", external_gateway_info={"network_id": made.outside["id"]})
        network = lab.create("network", name="net", port_security_enabled=is_switch)
        subnet = lab.create("subnet", network_id=network["id"], ip_version=4, cidr="10.1.0.0/24")
        lab.ask("PUT", f"/v2.0/routers/{made.router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
        made.a, made.b = lab.boot("a", network, "compute01"), lab.boot("b", network, "compute02")
        for group in made.b.port["security_groups"]:
            inward = {"security_group_id": group, "direction": "ingress", "ethertype": "IPv4"}
            lab.ask("POST", "/v2.0/security-group-rules", {"security_group_rule": inward})
        eventually(lambda: made.a.has_lease() and made.b.has_lease(), 30)
        for who in (made.b, made.world):
            lab.run_server([*who.prefix, sys.executable, "-c", RECEIVE, "9000", str(made.rates / who.name)])
        lab.run_server([*made.b.prefix, sys.executable, "-c", LISTEN, made.a.address, str(made.marks)])
        yield made


def packets(site) -> float:
    """How many small ones arrive in a second from the first instance at the second."""
    return sent(site, site.a, site.b, site.b.address, 100)[0]


def kilobits(site, sender=None, receiver=None, address: str = "") -> float:
    """How many arrive in a second: of the first instance at the second, unless said."""
    return sent(site, sender or site.a, receiver or site.b, address or site.b.address, 1200)[1]


def sent(site, sender, receiver, address: str, size_bytes: int) -> list[float]:
    """-> packets and kilobits a second that arrive of three times what the limits are."""
    file = site.rates / receiver.name
    file.unlink(missing_ok=True)
    sender.run(sys.executable, "-c", SEND, address, "9000", *map(str, (size_bytes, 3000, 2)))
    return [float(word) for word in eventually(lambda: file.exists() and file.read_text(), WITHIN_S).split()]


def assert_limited(most: float, measure: Callable[[], float]) -> None:
    """What may arrive does, and no more: within 6 %, at one of a few tries. Where the machine halts the sender, it has a burst again."""
    assert_once(lambda came: came == pytest.approx(most, rel=0.06), measure)


def assert_unlimited(least: float, measure: Callable[[], float]) -> None:
    assert_once(lambda came: came > 2 * least, measure)


def assert_once(holds: Callable[[float], bool], measure: Callable[[], float]) -> None:
    tries: list[float] = []
    while not tries or not holds(tries[-1]):
        assert len(tries) < 4, tries
        tries.append(measure())


def policy(lab, **rules):
    made = lab.ask("POST", "/v2.0/qos/policies", {"policy": {"name": "p"}})["policy"]
    for kind, given in rules.items():
        lab.ask("POST", f"/v2.0/qos/policies/{made['id']}/{kind}s", {kind: given})
    return made["id"]


def limits(site, instance) -> str:
    """All that is ours on the host of an instance for limits and marks, in the words of the tools."""
    lab, host = site.lab, instance.host
    found = [line for line in lab.run(host, "tc", "qdisc").splitlines() if "tbf 6278:" in line]
    found += [line for line in lab.run(host, "nft", "list", "tables").splitlines() if "naru_qos" in line]
    found += [line for line in lab.run(host, "ip", "-br", "link").splitlines() if ifb_name(instance.port["id"]) in line]
    if site.is_switch:
        found += [line for line in lab.run(host, *OFCTL, "dump-meters", "br-int").splitlines() if "meter=" in line]
        found += [line for line in lab.run(host, *OFCTL, "dump-flows", "br-int").splitlines() if "reg7=" in line]
    return "\n".join(found)


@pytest.mark.parametrize(("end", "direction"), [("a", "egress"), ("b", "ingress")])
def test_a_bandwidth_limit_is_what_arrives(site, end, direction):
    lab, limited = site.lab, getattr(site, end)
    assert_unlimited(LIMIT_KBPS, lambda: kilobits(site))
    limit = {"max_kbps": LIMIT_KBPS, "max_burst_kbps": BURST_KBIT, "direction": direction}
    lab.update("port", limited.port["id"], qos_policy_id=policy(lab, bandwidth_limit_rule=limit))
    eventually(lambda: limits(site, limited), WITHIN_S)
    assert_limited(LIMIT_KBPS, lambda: kilobits(site))

    lab.update("port", limited.port["id"], qos_policy_id=None)
    eventually(lambda: limits(site, limited) == "", WITHIN_S)


@pytest.mark.parametrize(("end", "direction"), [("a", "egress"), ("b", "ingress")])
def test_a_packet_rate_limit_is_what_arrives_and_a_bandwidth_limit_beside_it_holds_too(site, end, direction):
    lab, limited = site.lab, getattr(site, end)
    rate = {"max_kpps": LIMIT_KPPS, "max_burst_kpps": 0, "direction": direction}
    bandwidth = {"max_kbps": LIMIT_KBPS, "max_burst_kbps": BURST_KBIT, "direction": direction}
    made = policy(lab, packet_rate_limit_rule=rate, bandwidth_limit_rule=bandwidth)
    lab.update("port", limited.port["id"], qos_policy_id=made)
    eventually(lambda: limits(site, limited), WITHIN_S)
    assert_limited(1000 * LIMIT_KPPS, lambda: packets(site))
    assert_limited(LIMIT_KBPS, lambda: kilobits(site))

    lab.update("port", limited.port["id"], qos_policy_id=None)
    eventually(lambda: limits(site, limited) == "", WITHIN_S)
    assert_unlimited(1000 * LIMIT_KPPS, lambda: packets(site))


def test_a_dscp_mark_is_what_arrives_and_a_restarted_agent_writes_nothing(site):
    lab, a = site.lab, site.a

    def marks() -> set[str]:
        site.marks.write_text("")
        assert a.pings(site.b.address)
        return set(eventually(lambda: site.marks.read_text().split(), WITHIN_S))

    assert marks() == {"0"}
    limits_ = {"bandwidth_limit_rule": {"max_kbps": LIMIT_KBPS}, "packet_rate_limit_rule": {"max_kpps": LIMIT_KPPS}}
    made = policy(lab, dscp_marking_rule={"dscp_mark": 26}, **limits_)
    lab.update("port", a.port["id"], qos_policy_id=made)
    eventually(lambda: marks() == {"26"}, WITHIN_S)

    again = lab.kill("agent-compute01")
    written = lab.log("agent-compute01").count(" wired ")
    lab.start("agent-compute01", *again)
    eventually(lambda: lab.log("agent-compute01").count("agent started") == 2, WITHIN_S)
    (rule,) = lab.ask("GET", f"/v2.0/qos/policies/{made}/dscp_marking_rules")["dscp_marking_rules"]
    lab.ask("PUT", f"/v2.0/qos/policies/{made}/dscp_marking_rules/{rule['id']}", {"dscp_marking_rule": {"dscp_mark": 46}})
    eventually(lambda: marks() == {"46"}, WITHIN_S)
    eventually(lambda: lab.log("agent-compute01").count(" wired ") == written + 1, WITHIN_S)  # the new mark

    lab.update("port", a.port["id"], qos_policy_id=None)
    eventually(lambda: marks() == {"0"}, WITHIN_S)
    eventually(lambda: limits(site, a) == "", WITHIN_S)


def test_a_floating_ip_and_a_gateway_pass_no_more_than_their_limits(site):
    lab, a, b, world = site.lab, site.a, site.b, site.world
    rules = [{"max_kbps": LIMIT_KBPS, "max_burst_kbps": BURST_KBIT, "direction": direction} for direction in ("ingress", "egress")]
    made = policy(lab)
    for rule in rules:
        lab.ask("POST", f"/v2.0/qos/policies/{made}/bandwidth_limit_rules", {"bandwidth_limit_rule": rule})
    floating = lab.create("floatingip", floating_network_id=site.outside["id"], port_id=b.port["id"], qos_policy_id=made)
    external = floating["floating_ip_address"]
    (agent,) = lab.ask("GET", f"/v2.0/routers/{site.router['id']}/l3-agents")["agents"]

    def limited() -> str:
        enter = ["ip", "netns", "exec", router_netns(site.router["id"])]
        return lab.run(agent["host"], *enter, "nft", "list", "map", "ip", "naru", "egress")

    eventually(lambda: external in limited() and world.pings(external), WITHIN_S)
    assert_limited(LIMIT_KBPS, lambda: kilobits(site, world, b, external))
    assert_limited(LIMIT_KBPS, lambda: kilobits(site, b, world, "203.0.113.1"))
    assert_unlimited(LIMIT_KBPS, lambda: kilobits(site, a, world, "203.0.113.1"))

    gateway = {"network_id": site.outside["id"], "qos_policy_id": made}
    (own,) = lab.update("router", site.router["id"], external_gateway_info=gateway)["external_gateway_info"]["external_fixed_ips"]
    eventually(lambda: own["ip_address"] in limited(), WITHIN_S)
    assert_limited(LIMIT_KBPS, lambda: kilobits(site, a, world, "203.0.113.1"))
    lab.update("router", site.router["id"], external_gateway_info=gateway | {"qos_policy_id": None})
    lab.update("floatingip", floating["id"], qos_policy_id=None)
    eventually(lambda: "203." not in limited(), WITHIN_S)
    assert_unlimited(LIMIT_KBPS, lambda: kilobits(site, b, world, "203.0.113.1"))
