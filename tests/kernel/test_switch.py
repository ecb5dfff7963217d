"""Open vSwitch on the hosts of the lab: leases and pings on every type of network, isolation, restarts, faults, and strangers."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from lab_cloud import Instance, LabCloud
from naru.lab.openvswitch import BRIDGES, START
from naru.lab.running import enter
from naru.testing import eventually
from wire import READ_METADATA_BY_IPV6

pytestmark = pytest.mark.needs("ovs-vswitchd")

PHYSNET = {"provider:physical_network": "physnet2"}
NETWORKS = {
    "flat": {"provider:network_type": "flat", **PHYSNET},
    "vlan": {"provider:network_type": "vlan", "provider:segmentation_id": 30, **PHYSNET},
    "vlan2": {"provider:network_type": "vlan", "provider:segmentation_id": 31, **PHYSNET},
    "both": {"segments": [{"provider:network_type": "vlan", "provider:segmentation_id": vlan, **PHYSNET} for vlan in (200, 201)]},
    "vxlan": {"provider:network_type": "vxlan"},
    "geneve": {"provider:network_type": "geneve", "provider:segmentation_id": 77},
}

# Asks who has an address, as a device in one VLAN of a wire; prints in which VLANs it was answered, and in which its question came back.
ASK = """
import json, socket, struct, sys, time
wire, address, vlan = sys.argv[1], sys.argv[2], int(sys.argv[3])
wired = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wired.bind((wire, 0))
wired.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA: where the kernel tells of the tag that it took off
wired.setsockopt(263, 1, struct.pack("iHH8x", socket.if_nametoindex(wire), 1, 0))  # PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC
mac = bytes((2, 0, 0, 0, vlan >> 8, vlan & 255))
arp = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, mac, socket.inet_aton("10.99.0.250"), bytes(6), socket.inet_aton(address))
question = b"\\xff" * 6 + mac + struct.pack("!HHH", 0x8100, vlan, 0x0806) + arp
answered, came_back = set(), set()
wired.settimeout(0.1)
wired.send(question)
end = time.monotonic() + 1.0
while time.monotonic() < end:
    try:
        frame, auxiliary, _, source = wired.recvmsg(2048, 256)
    except TimeoutError:
        continue
    if source[2] == 4:  # PACKET_OUTGOING
        continue
    tag = 0
    for _, _, data in auxiliary:
        status, _, _, _, _, tci, _ = struct.unpack("=IIIHHHH", data[:20])
        tag = tci & 0xFFF if status & 16 else tag
    if frame[12:14] == b"\\x81\\x00":
        tag, frame = struct.unpack("!H", frame[14:16])[0] & 0xFFF, frame[:12] + frame[16:]
    if frame[12:14] == b"\\x08\\x06" and frame[20:22] == b"\\x00\\x02" and frame[:6] == mac:
        answered.add(tag)
    if frame[6:12] == mac:
        came_back.add(tag)
print(json.dumps([sorted(answered), sorted(came_back)]))
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[LabCloud]:
    made = LabCloud(tmp_path_factory.mktemp("lab") / "state", "--mechanism", "openvswitch")
    try:
        made.on("compute01", "ovs-vsctl", "add-br", "br-mine", "--", "set", "Bridge", "br-mine", "datapath_type=netdev")
        made.on("compute01", "ip", "tuntap", "add", "mine", "mode", "tap")
        made.on("compute01", "ovs-vsctl", "add-port", "br-mine", "mine", "tag=7")
        for number, (name, attributes) in enumerate(NETWORKS.items(), 1):
            network = made.network(name, f"10.{number}.0.0/24", **attributes)
            for host in (1, 2):
                made.boot(f"{name}-{host}", network)
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def instances(lab) -> dict[str, Instance]:
    found = lab.instances()
    for name in NETWORKS:
        assert {found[f"{name}-1"].host, found[f"{name}-2"].host} == {"compute01", "compute02"}
    return found


def stranger(lab: LabCloud) -> str:
    return lab.on("compute01", "ovs-vsctl", "list", "Bridge", "br-mine", "--", "list", "Port", "mine", "br-mine")


@pytest.mark.parametrize("network", NETWORKS)
def test_instances_get_their_addresses_by_dhcp_and_reach_each_other_across_hosts(instances, network):
    one, other = instances[f"{network}-1"], instances[f"{network}-2"]
    eventually(lambda: f"inet {one.address}/24 " in one.run("ip", "-4", "address", "show", "eth0"), 10)
    assert one.reaches(other)
    assert other.reaches(one)


@pytest.mark.parametrize("network", ["vlan", "both", "geneve"])
def test_tcp_works_too_where_the_switch_is_in_user_space(instances, network):
    one, other = instances[f"{network}-1"], instances[f"{network}-2"]
    serve = "import socket; s = socket.create_server(('', 5001)); print(len(s.accept()[0].recv(65536, socket.MSG_WAITALL)))"
    send = f"import socket, time; s = socket.create_connection(('{other.address}', 5001), 5); s.sendall(bytes(65536)); s.close()"
    argv = ["ip", "netns", "exec", other.netns, sys.executable, "-c", serve]
    server = subprocess.Popen([*enter(other._lab.running, other.host), *argv], stdout=subprocess.PIPE, text=True)
    try:
        eventually(lambda: ":5001" in other.run("ss", "-ltn"), 10)
        one.run(sys.executable, "-c", send)
        assert server.communicate(timeout=10)[0].strip() == "65536"
    finally:
        server.kill()


def test_no_network_reaches_another(instances):
    names = list(NETWORKS)
    for name, other in zip(names, names[1:] + names[:1], strict=True):
        one = instances[f"{name}-1"]
        one.run("ip", "route", "replace", "10.0.0.0/8", "dev", "eth0")
        assert not one.reaches(instances[f"{other}-2"], patience_s=1), f"{name} reaches {other}"


def ask(lab: LabCloud, address: str, vlan: int) -> list[list[int]]:
    answer: list[list[int]] = json.loads(lab.on_wires(sys.executable, "-c", ASK, "physnet2", address, str(vlan)))
    return answer


def test_both_vlans_200_and_201_of_one_network_carry_traffic_on_every_host(lab, instances):
    for instance in (instances["both-1"], instances["both-2"]):
        for vlan in (200, 201):
            answered, _ = ask(lab, instance.address, vlan)
            assert answered == [vlan]
        assert ask(lab, instance.address, 202)[0] == []


def test_what_comes_in_by_one_segment_does_not_leave_by_another(lab, instances):
    assert ask(lab, "10.4.0.222", 200) == [[], []]


def test_frames_for_a_port_behind_a_tunnel_go_to_its_host_alone(lab, instances):
    frame = f"in_port=patch-int,{frame_to(lab, instances['geneve-2'])}"
    host = instances["geneve-1"].host
    traced = lab.on(host, "ovs-appctl", "ofproto/trace", "br-tun", frame).partition("Final flow")[0]
    assert f"{tunnel_address(instances['geneve-2'])}->tun_dst" in traced
    assert traced.count("->tun_dst") == 1


def tunnel_address(instance: Instance) -> str:
    return {"compute01": "172.18.0.31", "compute02": "172.18.0.32"}[instance.host]


def frame_to(lab: LabCloud, instance: Instance) -> str:
    """A frame of its network for an instance, as br-tun sees it."""
    mac = instance.run("cat", "/sys/class/net/eth0/address").strip()
    flows = lab.on(other_host(instance), "ovs-ofctl", "dump-flows", "br-tun", f"dl_dst={mac}")
    vlan = flows.partition("dl_vlan=")[2].partition(",")[0]
    return f"dl_vlan={vlan},dl_dst={mac},dl_src=fa:16:3e:ff:ff:ff"


def other_host(instance: Instance) -> str:
    return "compute02" if instance.host == "compute01" else "compute01"


def test_restarted_agent_without_memory_writes_nothing(lab, instances):
    memory, before = lab.state_dir / "compute01/agent/compute01.json", written(lab)
    log = lab.restart_agent("compute01", meanwhile=memory.unlink)
    eventually(memory.exists, 20)  # written after the first pass that knew everything
    assert "agent started" in log.read_text()
    assert " wired " not in log.read_text()
    assert written(lab) == before


def written(lab: LabCloud) -> str:
    """Grows with each write of ovs-vsctl; and the flows of br-tun, without their counters."""
    counter = lab.on("compute01", "ovs-vsctl", "get", "Open_vSwitch", ".", "next_cfg")
    return counter + lab.on("compute01", "ovs-ofctl", "--no-stats", "dump-flows", "br-tun")


@pytest.mark.parametrize("daemon", ["ovs-vswitchd", "ovsdb-server"])
def test_killed_daemons_of_open_vswitch_come_back_to_what_was(lab, instances, daemon):
    before = lab.on("compute01", "ovs-ofctl", "--no-stats", "dump-flows", "br-tun")
    lab.on("compute01", "sh", "-c", f"kill -9 $(cat /run/openvswitch/{daemon}.pid)")
    lab.on("compute01", "sh", "-ec", START, "sh", "/dev/null")
    lab.on("compute01", "sh", "-ec", BRIDGES, "sh", "172.18.0.31/24")
    local = [one for one in instances.values() if one.host == "compute01"]
    for one in local:
        name = next(name for name, instance in instances.items() if instance is one)
        other = instances[f"{name[:-1]}{'12'.replace(name[-1], '')}"]
        eventually(lambda one=one, other=other: one.reaches(other, 1), 20)
    assert lab.on("compute01", "ovs-ofctl", "--no-stats", "dump-flows", "br-tun") == before


def test_while_open_vswitch_is_down_its_ports_fail_in_words_and_leases_and_instances_go_on(lab, instances):
    (server,) = lab.call("network", "GET", f"/v2.0/ports?device_owner=network:dhcp&fixed_ips=subnet_id={subnet_of(lab, 'vlan')}")["ports"]
    one = instances["vlan-1"]
    downed = {server["binding:host_id"], one.host}
    tunnels = {host: lab.on(host, "ip", "-4", "-br", "address", "show", "br-tunnel").split()[2] for host in downed}
    for host in downed:
        lab.on(host, "sh", "-c", "kill -9 $(cat /run/openvswitch/ovs-vswitchd.pid)")
    (port,) = lab.call("network", "GET", f"/v2.0/ports?device_id={one.id}")["ports"]
    status = lambda: lab.call("network", "GET", f"/v2.0/ports/{port['id']}")["port"]["status"]  # noqa: E731
    eventually(lambda: status() == "DOWN", 20)
    logs = lambda: "".join(log.read_text() for log in lab.state_dir.glob(f"logs/agent-{one.host}*.log"))  # noqa: E731
    eventually(lambda: "reason='ovs-vswitchd does not answer" in logs(), 20)
    new = lab.call("network", "POST", "/v2.0/ports", {"port": {"network_id": server["network_id"]}})["port"]
    reservations = f"/run/naru/dhcp/{server['network_id']}/reservations"
    eventually(lambda: new["mac_address"] in lab.on(server["binding:host_id"], "cat", reservations), 20)
    assert f" {one.address}/24 " in one.run("ip", "address", "show", "eth0")
    for host, tunnel in tunnels.items():
        lab.on(host, "sh", "-ec", START, "sh", "/dev/null")
        lab.on(host, "sh", "-ec", BRIDGES, "sh", tunnel)
    eventually(lambda: status() == "ACTIVE", 20)
    eventually(lambda: one.reaches(instances["vlan-2"], 1), 20)
    lab.call("network", "DELETE", f"/v2.0/ports/{new['id']}")


def test_an_instance_reads_its_metadata_by_ipv6_through_a_tunnel(lab, instances):
    (network,) = lab.call("network", "GET", "/v2.0/networks?name=geneve")["networks"]
    modes = {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}
    subnet = {"network_id": network["id"], "ip_version": 6, "cidr": "fd00:6::/64"} | modes
    lab.call("network", "POST", "/v2.0/subnets", {"subnet": subnet})
    for name in ("geneve-1", "geneve-2"):
        one = instances[name]
        read = (sys.executable, "-c", READ_METADATA_BY_IPV6, "/latest/meta-data/instance-id")
        eventually(lambda one=one, read=read: one.run(*read, check=False) == one.id, 20)


def subnet_of(lab: LabCloud, network: str) -> str:
    (found,) = lab.call("network", "GET", f"/v2.0/networks?name={network}")["networks"]
    (subnet,) = found["subnets"]
    return str(subnet)


def test_nothing_of_ours_is_left_and_nothing_of_a_strangers_is_touched(lab, instances):
    before = stranger(lab)
    networks = lab.call("network", "GET", "/v2.0/networks")["networks"]
    lab.delete([one.id for one in instances.values()], [network["id"] for network in networks])
    eventually(lambda: lab.on("compute01", "ovs-vsctl", "list-br").split() == ["br-mine", "br-physnet2", "br-tunnel"], 20)
    assert lab.on("compute01", "ovs-vsctl", "list-ports", "br-physnet2").split() == ["eth2"]
    eventually(lambda: lab.on("compute01", "ip", "netns") == "", 20)
    assert stranger(lab) == before
