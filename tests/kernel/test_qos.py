"""Limits and marks on real hosts, as who receives sees them."""

import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from live_lab import live_lab
from naru.model.devices import ifb_name, router_netns
from naru.testing import eventually

pytestmark = pytest.mark.needs("root", "nft", "shaping")

WITHIN_S = 15
LIMIT_KBPS, BURST_KBIT, LIMIT_KPPS = 8000, 400, 1
HEADERS_BYTES = 42  # of a frame: Ethernet, IPv4, UDP
EMPTY_S = 0.7  # so long it takes, at most, at three times the limit
OFCTL = "ovs-ofctl", "--protocols=OpenFlow14"

# What comes when the bucket is empty: packets and kilobits a second.
RECEIVE = f"""
import socket, sys, time
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", int(sys.argv[1])))
print("ready", flush=True)
while True:
    server.settimeout(None)
    server.recv(65536)
    packets, received, started_s = 0, 0, time.monotonic()
    server.settimeout(0.5)
    try:
        while True:
            size = len(server.recv(65536)) + {HEADERS_BYTES}
            if (now_s := time.monotonic()) > started_s + {EMPTY_S}:
                packets, received, last_s = packets + 1, received + size, now_s
    except TimeoutError:
        over_s = last_s - started_s - {EMPTY_S}
        with open(sys.argv[2], "w") as file:
            file.write(f"{{packets / over_s}} {{received * 8 / 1000 / over_s}}")
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


def received(site, size_bytes: int, rate_pps: int) -> list[float]:
    """-> packets and kilobits a second that arrive of UDP packets from the first instance to the second."""
    return sent(site, site.a, site.b, site.b.address, size_bytes, rate_pps)


def sent(site, sender, receiver, address: str, size_bytes: int = 1200, rate_pps: int = 3000) -> list[float]:
    file = site.rates / receiver.name
    file.unlink(missing_ok=True)
    sender.run(sys.executable, "-c", SEND, address, "9000", *map(str, (size_bytes, rate_pps, 2)))
    return [float(word) for word in eventually(lambda: file.exists() and file.read_text(), WITHIN_S).split()]


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
    assert received(site, 1200, 3000)[1] > 2.5 * LIMIT_KBPS
    limit = {"max_kbps": LIMIT_KBPS, "max_burst_kbps": BURST_KBIT, "direction": direction}
    lab.update("port", limited.port["id"], qos_policy_id=policy(lab, bandwidth_limit_rule=limit))
    eventually(lambda: limits(site, limited), WITHIN_S)
    assert received(site, 1200, 3000)[1] == pytest.approx(LIMIT_KBPS, rel=0.06)

    lab.update("port", limited.port["id"], qos_policy_id=None)
    eventually(lambda: limits(site, limited) == "", WITHIN_S)


@pytest.mark.parametrize(("end", "direction"), [("a", "egress"), ("b", "ingress")])
def test_a_packet_rate_limit_is_what_arrives_and_a_bandwidth_limit_beside_it_holds_too(site, end, direction):
    lab, limited = site.lab, getattr(site, end)
    packets = {"max_kpps": LIMIT_KPPS, "max_burst_kpps": 0, "direction": direction}
    bandwidth = {"max_kbps": LIMIT_KBPS, "max_burst_kbps": BURST_KBIT, "direction": direction}
    made = policy(lab, packet_rate_limit_rule=packets, bandwidth_limit_rule=bandwidth)
    lab.update("port", limited.port["id"], qos_policy_id=made)
    eventually(lambda: limits(site, limited), WITHIN_S)
    assert received(site, 100, 3000)[0] == pytest.approx(1000 * LIMIT_KPPS, rel=0.06)
    assert received(site, 1400, 3000)[1] == pytest.approx(LIMIT_KBPS, rel=0.06)

    lab.update("port", limited.port["id"], qos_policy_id=None)
    eventually(lambda: limits(site, limited) == "", WITHIN_S)
    assert received(site, 100, 3000)[0] > 2500 * LIMIT_KPPS


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
    assert sent(site, world, b, external)[1] == pytest.approx(LIMIT_KBPS, rel=0.06)
    assert sent(site, b, world, "203.0.113.1")[1] == pytest.approx(LIMIT_KBPS, rel=0.06)
    assert sent(site, a, world, "203.0.113.1")[1] > 2.5 * LIMIT_KBPS

    gateway = {"network_id": site.outside["id"], "qos_policy_id": made}
    (own,) = lab.update("router", site.router["id"], external_gateway_info=gateway)["external_gateway_info"]["external_fixed_ips"]
    eventually(lambda: own["ip_address"] in limited(), WITHIN_S)
    assert sent(site, a, world, "203.0.113.1")[1] == pytest.approx(LIMIT_KBPS, rel=0.06)
    lab.update("router", site.router["id"], external_gateway_info=gateway | {"qos_policy_id": None})
    lab.update("floatingip", floating["id"], qos_policy_id=None)
    eventually(lambda: "203." not in limited(), WITHIN_S)
    assert sent(site, b, world, "203.0.113.1")[1] > 2.5 * LIMIT_KBPS
