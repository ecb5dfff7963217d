"""Trunks on real hosts with Open vSwitch: what an instance sends with a tag is heard without it on the sub-port's network, and back."""

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from live_lab import Instance, World, live_lab
from naru.model.compute import IMAGES
from naru.model.devices import tap_name, trunk_bridge
from naru.testing import eventually

pytestmark = pytest.mark.needs("root", "ovs-vswitchd")

WITHIN_S = 20
VLAN = 100

# Ask by ARP, with a tag; print the tag of each answer of the one who was asked. Source: packet(7), linux/if_packet.h (tpacket_auxdata).
ASK_WITH_TAG = """
import socket, struct, sys
mac, address, asked, tag = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.bind(("eth0", 0))
wire.setsockopt(263, 8, 1)
wire.settimeout(2)
own, ip = bytes.fromhex(mac.replace(":", "")), socket.inet_aton(asked)
arp = struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, own, socket.inet_aton(address), bytes(6), ip)
wire.send(b"\\xff" * 6 + own + struct.pack("!HHH", 0x8100, tag, 0x806) + arp)
try:
    while True:
        frame, told, _, _ = wire.recvmsg(2000, 100)
        if frame[12:14] == b"\\x81\\x00":
            tags, body = struct.unpack("!H", frame[14:16])[0], frame[18:]
        else:
            status, _, _, _, _, tags, _ = struct.unpack("=IIIHHHH", told[0][2][:20])
            tags, body = tags if status & 0x10 else 0, frame[14:]
        if body[6:8] == b"\\x00\\x02" and body[14:18] == ip:
            print(tags)
            break
except TimeoutError:
    print("no answer")
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[SimpleNamespace]:
    """An instance on a trunk: its parent on one network, a sub-port on another, filtered, where an instance of another host is."""
    config = "[agent]\nreport_interval_s = 0.5\n"
    with live_lab(tmp_path_factory.mktemp("trunks"), config, mechanism="openvswitch") as lab:
        made = SimpleNamespace(lab=lab)
        made.outer, made.inner = (network(lab, number) for number in (1, 2))
        made.parent, made.sub = (lab.create("port", network_id=each["id"]) for each in (made.outer, made.inner))
        sub_port = {"port_id": made.sub["id"], "segmentation_type": "vlan", "segmentation_id": VLAN}
        made.trunk = lab.create("trunk", port_id=made.parent["id"], sub_ports=[sub_port])
        wanted = {"name": "a", "flavorRef": "1", "imageRef": IMAGES[0].id, "availability_zone": "nova:compute01"}
        asked = {"server": wanted | {"networks": [{"port": made.parent["id"]}]}}
        id = lab.ask("POST", "servers", asked, service="compute")["server"]["id"]
        made.a = Instance(lab, "a", "compute01", id, made.parent)
        made.b = lab.boot("b", made.inner, "compute02")
        eventually(lambda: made.a.has_lease() and made.b.has_lease(), 40)
        yield made


def network(lab, number):
    made = lab.create("network", name=f"net{number}", port_security_enabled=number == 2)
    lab.create("subnet", network_id=made["id"], ip_version=4, cidr=f"10.{number}.0.0/24")
    return made


def ask(site, tag: int, address: str = "", by: World | None = None) -> str:
    sub = site.sub if by is None else site.other_sub
    address = address or sub["fixed_ips"][0]["ip_address"]
    return (by or site.a).run(sys.executable, "-c", ASK_WITH_TAG, sub["mac_address"], address, site.b.address, str(tag)).strip()


COUNT = """
import socket
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.bind(("eth0", 0))
wire.settimeout(10)
print("ready", flush=True)
count = 0
try:
    while True:
        if len(wire.recv(2000)) > 1000:
            count += 1
            wire.settimeout(1)
except TimeoutError:
    print(count)
"""
SEND = """
import socket, sys, time
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(400):
    sender.sendto(bytes(1200), (sys.argv[1], 7000))
    time.sleep(0.001)  # a switch in user space loses what comes all at once
"""


def received(site) -> int:
    """How many of 400 packets to the sub-port its instance gets."""
    address = site.sub["fixed_ips"][0]["ip_address"]
    site.b.run("ip", "neigh", "replace", address, "lladdr", site.sub["mac_address"], "dev", "eth0")
    with subprocess.Popen([*site.a.prefix, sys.executable, "-c", COUNT], stdout=subprocess.PIPE, text=True) as counting:
        assert counting.stdout.readline() == "ready\n"
        site.b.run(sys.executable, "-c", SEND, address)
        return int(counting.stdout.readline())


def test_what_a_sub_port_receives_is_limited(site):
    lab = site.lab
    assert received(site) > 250
    policy = lab.ask("POST", "/v2.0/qos/policies", {"policy": {"name": "p"}})["policy"]
    for kind, limit in (("bandwidth_limit_rule", {"max_kbps": 10**6}), ("packet_rate_limit_rule", {"max_kpps": 1})):
        lab.ask("POST", f"/v2.0/qos/policies/{policy['id']}/{kind}s", {kind: limit | {"direction": "ingress"}})
    path = f"/v2.0/qos/policies/{policy['id']}/bandwidth_limit_rules"
    (rule,) = lab.ask("GET", path)["bandwidth_limit_rules"]
    lab.update("port", site.sub["id"], qos_policy_id=policy["id"])
    bridge = trunk_bridge(site.parent["id"])

    def meters() -> str:
        return lab.run("compute01", "ovs-ofctl", "-O", "OpenFlow14", "dump-meters", bridge)

    eventually(lambda: meters().count("meter=") == 2, WITHIN_S)
    assert received(site) > 250
    lab.ask("PUT", f"{path}/{rule['id']}", {"bandwidth_limit_rule": {"max_kbps": 400, "max_burst_kbps": 400}})
    eventually(lambda: "rate=400 " in meters(), WITHIN_S)
    assert 30 < received(site) < 150  # what the bucket holds, and what it lets through meanwhile
    lab.update("port", site.sub["id"], qos_policy_id=None)
    eventually(lambda: "meter=" not in meters(), WITHIN_S)
    assert received(site) > 250


def test_a_sub_port_is_on_its_network_by_its_tag_and_the_trunk_is_active_while_it_is(site):
    lab = site.lab
    eventually(lambda: lab.show("trunk", site.trunk["id"])["status"] == "ACTIVE", WITHIN_S)
    assert lab.show("port", site.sub["id"])["device_owner"] == "trunk:subport"
    eventually(lambda: ask(site, VLAN) == str(VLAN), WITHIN_S)
    assert ask(site, VLAN + 1) == "no answer"
    assert ask(site, VLAN, address="10.2.0.99") == "no answer"  # the filter of the sub-port: the address is not its own
    assert site.a.pings("10.1.0.2")  # the parent's own network, without a tag

    again = lab.kill("agent-compute01")
    written = lab.log("agent-compute01").count(" wired ")
    lab.start("agent-compute01", *again)
    eventually(lambda: lab.log("agent-compute01").count("in sync with the server") == 2, WITHIN_S)
    assert lab.log("agent-compute01").count(" wired ") == written
    assert ask(site, VLAN) == str(VLAN)

    path = f"/v2.0/trunks/{site.trunk['id']}"
    lab.ask("PUT", f"{path}/remove_subports", {"sub_ports": [{"port_id": site.sub["id"]}]})
    eventually(lambda: f"spt-{site.sub['id'][:11]}" not in lab.run("compute01", "ovs-vsctl", "show"), WITHIN_S)
    assert site.a.pings("10.1.0.2")
    assert ask(site, VLAN) == "no answer"
    freed = lab.show("port", site.sub["id"])
    assert (freed["device_owner"], freed["binding:host_id"], freed["status"]) == ("", "", "DOWN")

    sub_port = {"port_id": site.sub["id"], "segmentation_type": "vlan", "segmentation_id": VLAN + 1}
    lab.ask("PUT", f"{path}/add_subports", {"sub_ports": [sub_port]})
    eventually(lambda: ask(site, VLAN + 1) == str(VLAN + 1), WITHIN_S)

    lab.ask("DELETE", f"servers/{site.a.id}", service="compute")
    eventually(lambda: trunk_bridge(site.parent["id"]) not in lab.run("compute01", "ovs-vsctl", "list-br"), WITHIN_S)
    assert "spi-" not in lab.run("compute01", "ovs-vsctl", "show")
    assert lab.show("trunk", site.trunk["id"])["status"] == "DOWN"


def test_a_hypervisor_plugs_the_parent_where_its_binding_says_before_or_after_the_agent_has_made_the_bridge(site):
    """As os-vif and libvirt do it; a veth pair stands for the guest's card."""
    lab = site.lab
    parent, site.other_sub = (lab.create("port", network_id=each["id"]) for each in (site.outer, site.inner))
    sub_port = {"port_id": site.other_sub["id"], "segmentation_type": "vlan", "segmentation_id": VLAN}
    trunk = lab.create("trunk", port_id=parent["id"], sub_ports=[sub_port])
    bound = {"binding:host_id": "compute01", "device_id": "of-nova", "device_owner": "compute:nova"}
    freed = {"binding:host_id": "", "device_id": "", "device_owner": ""}
    tap, bridge = tap_name(parent["id"]), trunk_bridge(parent["id"])
    guest = World(lab, [*lab.enter("compute01"), "ip", "netns", "exec", "of-nova"], "of-nova")
    lab.run("compute01", "ip", "netns", "add", "of-nova")
    for comes_first in (False, True):
        if comes_first:
            plug(lab, bridge, tap, parent)
        details = lab.update("port", parent["id"], **bound)["binding:vif_details"]
        assert (details["bridge_name"], details["datapath_type"]) == (bridge, "netdev")
        if not comes_first:
            eventually(lambda: bridge in lab.run("compute01", "ovs-vsctl", "list-br"), WITHIN_S)
            plug(lab, bridge, tap, parent)
        eventually(lambda: ask(site, VLAN, by=guest) == str(VLAN), WITHIN_S)
        assert ask(site, VLAN + 1, by=guest) == "no answer"
        assert ask(site, VLAN, address="10.2.0.99", by=guest) == "no answer"
        eventually(lambda: lab.show("trunk", trunk["id"])["status"] == "ACTIVE", WITHIN_S)
        lab.run("compute01", "ovs-vsctl", "del-port", tap)
        lab.run("compute01", "ip", "link", "del", tap)
        eventually(lambda: lab.show("trunk", trunk["id"])["status"] == "DOWN", WITHIN_S)
        lab.update("port", parent["id"], **freed)
        eventually(lambda: bridge not in lab.run("compute01", "ovs-vsctl", "list-br"), WITHIN_S)
    assert lab.show("port", site.other_sub["id"])["binding:vif_type"] == "unbound"


def plug(lab, bridge, tap, port):
    lab.run("compute01", "ip", "link", "add", tap, "type", "veth", "peer", "name", "eth0", "netns", "of-nova")
    lab.run("compute01", "ip", "-n", "of-nova", "link", "set", "eth0", "up")
    made = f"--may-exist add-br {bridge} -- set Bridge {bridge} datapath_type=netdev -- --may-exist add-port {bridge} {tap}"
    ids = (f'external_ids:iface-id="{port["id"]}"', f'external_ids:attached-mac="{port["mac_address"]}"')
    lab.run("compute01", "ovs-vsctl", *made.split(), "--", "set", "Interface", tap, *ids)
