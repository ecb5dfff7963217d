"""Limits and marks on real hosts, as who receives sees them."""

import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from live_lab import live_lab
from naru.model.devices import ifb_name
from naru.testing import eventually

pytestmark = pytest.mark.needs("root", "nft", "shaping")

WITHIN_S = 15
LIMIT_KBPS, BURST_KBIT, SENT_BYTES = 8000, 400, 2_000_000

RECEIVE = """
import socket, sys, time
server = socket.create_server(("", int(sys.argv[1])))
print("ready", flush=True)
while True:
    peer, _ = server.accept()
    first = peer.recv(65536)
    received, started_s = 0, time.monotonic()
    while part := peer.recv(65536):
        received += len(part)
    peer.close()
    with open(sys.argv[2], "w") as file:
        file.write(str(received * 8 / 1000 / (time.monotonic() - started_s)))
"""
SEND = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as peer:
    peer.sendall(bytes(int(sys.argv[3])))
    peer.shutdown(socket.SHUT_WR)
    peer.settimeout(20)
    peer.recv(1)
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


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[SimpleNamespace]:
    """Two instances on two hosts; `rates` and `marks` are files in which the second writes what it sees."""
    directory = tmp_path_factory.mktemp("qos")
    with live_lab(directory, "[agent]\nreport_interval_s = 0.5\n") as lab:
        made = SimpleNamespace(lab=lab, rates=directory / "rates", marks=directory / "marks")
        network = lab.create("network", name="net", port_security_enabled=False)
        lab.create("subnet", network_id=network["id"], ip_version=4, cidr="10.1.0.0/24")
        made.a, made.b = lab.boot("a", network, "compute01"), lab.boot("b", network, "compute02")
        eventually(lambda: made.a.has_lease() and made.b.has_lease(), 30)
        lab.run_server([*made.b.prefix, sys.executable, "-c", RECEIVE, "9000", str(made.rates)])
        lab.run_server([*made.b.prefix, sys.executable, "-c", LISTEN, made.a.address, str(made.marks)])
        yield made


def rate_kbps(site) -> float:
    """Of so many bytes from the first instance to the second; what comes at once, out of the full bucket, is counted too."""
    site.rates.unlink(missing_ok=True)
    site.a.run(sys.executable, "-c", SEND, site.b.address, "9000", str(SENT_BYTES))
    return float(eventually(lambda: site.rates.exists() and site.rates.read_text(), WITHIN_S))


def policy(lab, **rules):
    made = lab.ask("POST", "/v2.0/qos/policies", {"policy": {"name": "p"}})["policy"]
    for kind, given in rules.items():
        lab.ask("POST", f"/v2.0/qos/policies/{made['id']}/{kind}s", {kind: given})
    return made["id"]


def enforced(lab, port) -> bool:
    return lab.show("port", port["id"])["binding:vif_details"].get("qos_enforced") is True


@pytest.mark.parametrize(("end", "direction"), [("a", "egress"), ("b", "ingress")])
def test_a_bandwidth_limit_is_what_arrives(site, end, direction):
    lab, limited = site.lab, getattr(site, end)
    assert rate_kbps(site) > 3 * LIMIT_KBPS
    limit = {"max_kbps": LIMIT_KBPS, "max_burst_kbps": BURST_KBIT, "direction": direction}
    made = policy(lab, bandwidth_limit_rule=limit)
    lab.update("port", limited.port["id"], qos_policy_id=made)
    eventually(lambda: "tbf 6278:" in lab.run(limited.host, "tc", "qdisc"), WITHIN_S)
    assert enforced(lab, limited.port)
    assert 0.6 * LIMIT_KBPS < rate_kbps(site) < 1.3 * LIMIT_KBPS

    lab.update("port", limited.port["id"], qos_policy_id=None)
    eventually(lambda: "tbf" not in lab.run(limited.host, "tc", "qdisc"), WITHIN_S)
    assert ifb_name(limited.port["id"]) not in lab.run(limited.host, "ip", "-br", "link")
    assert rate_kbps(site) > 3 * LIMIT_KBPS


def test_a_dscp_mark_is_what_arrives_and_a_restarted_agent_writes_nothing(site):
    lab, a = site.lab, site.a

    def marks() -> set[str]:
        site.marks.write_text("")
        assert a.pings(site.b.address)
        return set(eventually(lambda: site.marks.read_text().split(), WITHIN_S))

    assert marks() == {"0"}
    limit = {"max_kbps": LIMIT_KBPS, "direction": "egress"}
    made = policy(lab, dscp_marking_rule={"dscp_mark": 26}, bandwidth_limit_rule=limit)
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
    assert "naru_qos" not in lab.run("compute01", "nft", "list", "tables")
    assert ifb_name(a.port["id"]) not in lab.run("compute01", "ip", "-br", "link")
