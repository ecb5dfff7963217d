"""A cloud whose hosts have both mechanisms, and hypervisors' taps on each `vif_type`: leases, pings, filters, and who reaches whom.

compute01 and compute03 have Open vSwitch; compute02, and the controller with its DHCP servers, Linux bridges.
"""

import itertools
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pytest

from guests import Machine
from live_lab import Instance, LiveLab, live_lab
from naru.model.devices import bridge_name, tap_name
from naru.testing import eventually
from wire import IPV4, ethernet, marked, raw_in, udp

pytestmark = pytest.mark.needs("root", "nft", "ovs-vswitchd")

HOSTS = ("compute01", "compute02", "compute03")
PHYSNET = {"provider:physical_network": "physnet2"}
NETWORKS = {"flat": {"provider:network_type": "flat", **PHYSNET}, "vxlan": {"provider:network_type": "vxlan"}}
WITHIN_S = 30


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[LiveLab]:
    mechanisms = "linuxbridge compute01=openvswitch compute03=openvswitch"
    with live_lab(tmp_path_factory.mktemp("both"), "[agent]\nreport_interval_s = 0.5\n", 4, mechanisms) as made:
        yield made


@pytest.fixture(scope="module")
def networks(lab) -> dict[str, dict[str, Any]]:
    made = {name: lab.create("network", name=name, **attributes) for name, attributes in NETWORKS.items()}
    for number, network in enumerate(made.values(), 1):
        lab.create("subnet", network_id=network["id"], ip_version=4, cidr=f"10.{number}.0.0/24")
    return made


@pytest.fixture(scope="module")
def instances(lab, networks) -> dict[str, list[Instance]]:
    """On each host one, of each network."""
    made = {name: [lab.boot(f"{name}-{host}", network, host) for host in HOSTS] for name, network in networks.items()}
    for instance in itertools.chain(*made.values()):
        eventually(instance.has_lease, WITHIN_S)
    return made


@pytest.mark.parametrize("name", NETWORKS)
def test_instances_reach_each_other_whatever_wires_their_hosts(instances, name):
    for instance in instances[name]:
        instance.serve(80)
    for one, other in itertools.permutations(instances[name], 2):
        eventually(lambda one=one, other=other: one.pings(other.address), 10)
        if other.port["security_groups"] == one.port["security_groups"]:
            assert one.hears(other.address, 80) == f"{other.name} hears {one.address}"


def test_in_a_tunnel_frames_go_to_the_host_that_they_are_for_and_nobody_is_asked_for_an_address(lab, instances):
    one, other, third = instances["vxlan"]
    for sender, receiver, aside in ((one, other, third), (other, third, one), (third, other, one)):
        mark = marked()
        sender.run("ip", "neighbour", "flush", "all")
        with raw_in(lab.beside, f"t-{aside.host}") as wire, raw_in(lab.beside, f"t-{receiver.host}") as right:
            assert sender.pings(receiver.address)
            with raw_in(sender.prefix) as out:
                out.send(
                    ethernet(
                        sender.port["mac_address"], receiver.port["mac_address"], IPV4, udp(sender.address, receiver.address, 9, 9, mark)
                    )
                )
            while mark not in right.recv(65536):
                pass
            wire.setblocking(False)
            asked = bytes.fromhex("0806") + bytes.fromhex("00010800060400 01".replace(" ", ""))
            mac = bytes.fromhex(sender.port["mac_address"].replace(":", ""))
            seen = list(iter(lambda: _next(wire), b""))
            assert not [frame for frame in seen if mark in frame or mac + asked in frame]


def _next(wire: Any) -> bytes:
    try:
        return bytes(wire.recv(65536))
    except BlockingIOError:
        return b""


def test_a_rule_for_a_group_holds_between_the_mechanisms(lab, networks, instances):
    outside = lab.ask("POST", "/v2.0/security-groups", {"security_group": {"name": "outside"}})["security_group"]
    for host, others in (("compute01", 1), ("compute02", 0)):
        stranger = lab.boot(f"stranger-{host}", networks["vxlan"], host, security_groups=[{"name": "outside"}])
        eventually(stranger.has_lease, WITHIN_S)
        victim = instances["vxlan"][others]
        assert not stranger.pings(victim.address)
        rule = {"security_group_id": victim.port["security_groups"][0], "direction": "ingress", "remote_group_id": outside["id"]}
        made = lab.ask("POST", "/v2.0/security-group-rules", {"security_group_rule": rule})["security_group_rule"]
        eventually(lambda stranger=stranger, victim=victim: stranger.pings(victim.address), 10)
        lab.ask("DELETE", f"/v2.0/security-group-rules/{made['id']}")
        eventually(lambda stranger=stranger, victim=victim: not stranger.pings(victim.address), 10)


def test_a_router_joins_networks_whose_ports_are_on_hosts_of_both(lab, networks, instances):
    subnets = [lab.find("subnet", network_id=networks[name]["id"])[0] for name in NETWORKS]
    router = lab.create("router", name="between")
    for subnet in subnets:
        lab.ask("PUT", f"/v2.0/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    for one, other in ((0, 1), (1, 0), (2, 1)):
        near, far = instances["flat"][one], instances["vxlan"][other]
        near.run("ip", "route", "replace", "default", "via", "10.1.0.1")
        far.run("ip", "route", "replace", "default", "via", "10.2.0.1")
        eventually(lambda near=near, far=far: near.pings(far.address), WITHIN_S)


def test_a_network_that_a_host_cannot_carry_is_refused_there_in_words_and_works_where_it_can_be(lab):
    """This kernel may have no VLAN devices; Open vSwitch tags by itself. Geneve is Open vSwitch's alone."""
    vlan = lab.create("network", name="vlan", **{"provider:network_type": "vlan", "provider:segmentation_id": 30, **PHYSNET})
    geneve = lab.create("network", name="geneve", **{"provider:network_type": "geneve", "provider:segmentation_id": 7})
    for number, network in enumerate((vlan, geneve), 3):
        lab.create("subnet", network_id=network["id"], ip_version=4, cidr=f"10.{number}.0.0/24", enable_dhcp=False)
        pair = [lab.boot(f"{network['name']}-{host}", network, host) for host in ("compute01", "compute03")]
        eventually(partial(reach_each_other, pair), WITHIN_S)
        port = bound(lab, network, "compute02")
        if network is geneve or not lab_has_vlan(lab):
            assert port["binding:vif_type"] == "binding_failed"
            assert "compute02" in port["binding:vif_details"]["reason"]


def reach_each_other(pair: list[Instance]) -> bool:
    """Where no DHCP server gives them addresses."""
    for one in pair:
        one.run("ip", "address", "replace", f"{one.address}/24", "dev", "eth0", check=False)
    return pair[0].pings(pair[1].address)


def lab_has_vlan(lab: LiveLab) -> bool:
    (agent,) = lab.find("agent", host="compute02", agent_type="Linux bridge agent")
    return bool(agent["configurations"]["vlan"])


# -- a hypervisor's taps: in the order in which Nova and os-vif do it


def bound(lab: LiveLab, network: Mapping[str, Any], host: str) -> dict[str, Any]:
    """A port as Nova makes it: made by the user, then bound by the service."""
    port = lab.create("port", network_id=network["id"], device_id=SERVER)
    return lab.update("port", port["id"], **{"device_owner": "compute:nova", "binding:host_id": host})


SERVER = "6f70656e-7374-4261-a36b-000000000001"


class Hypervisor:
    """A machine on a host, plugged as the port's `vif_type` says."""

    def __init__(self, lab: LiveLab, host: str, port: Mapping[str, Any], vif_type: str) -> None:
        self.lab, self.host, self.port, self.vif_type, self.tap = lab, host, port, vif_type, tap_name(port["id"])

    def plug(self) -> Machine:
        bridge = bridge_name(self.port["network_id"])
        if self.vif_type == "bridge":
            self.lab.run(self.host, "sh", "-c", f"ip link add {bridge} type bridge && ip link set {bridge} up", check=False)
        machine = Machine(self.lab.enter(self.host), self.tap, f"guest-{self.tap}", self.port["mac_address"])
        if self.vif_type == "bridge":
            self.lab.run(self.host, "ip", "link", "set", self.tap, "master", bridge)
        if self.vif_type == "ovs":
            ids = (f'attached-mac="{self.port["mac_address"]}"', f"iface-id={self.port['id']}", "iface-status=active", f"vm-uuid={SERVER}")
            switch = "--may-exist add-br br-int -- set Bridge br-int datapath_type=netdev"
            line = f"{switch} -- --if-exists del-port {self.tap} -- add-port br-int {self.tap} -- set Interface {self.tap}"
            self.lab.run(self.host, "ovs-vsctl", *line.split(), *(f"external_ids:{id}" for id in ids))
        return machine

    def unplug(self, machine: Machine) -> None:
        if self.vif_type == "ovs":
            self.lab.run(self.host, "ovs-vsctl", "--if-exists", "del-port", "br-int", self.tap)
        machine.end()

    def status(self) -> str:
        return str(self.lab.show("port", self.port["id"])["status"])


PLUGGED = [("ovs", "compute01", "vxlan"), ("bridge", "compute02", "flat"), ("tap", "compute02", "vxlan")]


@pytest.mark.parametrize(("vif_type", "host", "name"), PLUGGED)
def test_a_tap_that_a_hypervisor_plugs_has_all_that_an_instance_has(lab, networks, instances, vif_type, host, name):
    if vif_type != "ovs":
        words, environment = lab.kill(f"agent-{host}")
        lab.start(f"agent-{host}", words, environment | {"NARU_AGENT_VIF_TYPE": vif_type})
    port = eventually(lambda: bound_as(lab, networks[name], host, vif_type), WITHIN_S)
    hypervisor = Hypervisor(lab, host, port, vif_type)
    neighbours = instances[name]
    address = port["fixed_ips"][0]["ip_address"]
    for _ in range(2):  # plugged, and plugged anew, as when a server is rebooted hard
        machine = hypervisor.plug()
        try:
            eventually(lambda: hypervisor.status() == "ACTIVE", WITHIN_S)
            assert eventually(machine.asks_dhcp, WITHIN_S) == address
            for neighbour in neighbours:
                eventually(partial(machine.pings, neighbour.address), 10)
                assert neighbour.pings(address)
            spoofed = address.rpartition(".")[0] + ".77"
            machine.run("ip", "address", "add", f"{spoofed}/24", "dev", "eth0")
            assert not machine.pings(neighbours[0].address, "-I", spoofed)
        finally:
            hypervisor.unplug(machine)
        eventually(lambda: hypervisor.status() == "DOWN", WITHIN_S)
    machine = hypervisor.plug()  # bound no more, while its guest still runs
    try:
        assert eventually(machine.asks_dhcp, WITHIN_S) == address
        assert neighbours[0].pings(address)
        lab.update("port", port["id"], **{"binding:host_id": None, "device_id": "", "device_owner": ""})
        eventually(lambda: not neighbours[0].pings(address), 10)
        assert not machine.pings(neighbours[1].address)
        lab.update("port", port["id"], **{"binding:host_id": host, "device_id": SERVER, "device_owner": "compute:nova"})
        eventually(lambda: neighbours[0].pings(address), WITHIN_S)  # the tap was there before the port was bound
    finally:
        hypervisor.unplug(machine)
        lab.ask("DELETE", f"/v2.0/ports/{port['id']}")


def bound_as(lab: LiveLab, network: Mapping[str, Any], host: str, vif_type: str) -> dict[str, Any]:
    port = bound(lab, network, host)
    if port["binding:vif_type"] != vif_type:
        lab.ask("DELETE", f"/v2.0/ports/{port['id']}")
        raise AssertionError(port)
    return port


def test_a_server_that_moves_from_a_linux_bridge_to_open_vswitch_takes_its_address_along_when_its_binding_is_activated(
    lab, networks, instances
):
    port = bound(lab, networks["vxlan"], "compute02")
    address, bindings, neighbour = port["fixed_ips"][0]["ip_address"], f"/v2.0/ports/{port['id']}/bindings", instances["vxlan"][2]
    source = Hypervisor(lab, "compute02", port, port["binding:vif_type"])
    leaving = source.plug()
    assert eventually(leaving.asks_dhcp, WITHIN_S) == address
    made = lab.ask("POST", bindings, {"binding": {"host": "compute01"}})["binding"]
    target = Hypervisor(lab, "compute01", port, made["vif_type"])
    coming = target.plug()
    try:
        coming.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
        assert leaving.pings(neighbour.address)
        assert not coming.pings(neighbour.address)
        lab.ask("PUT", f"{bindings}/compute01/activate")
        source.unplug(leaving)
        eventually(partial(coming.pings, neighbour.address), 10)
        assert neighbour.pings(address)
        eventually(lambda: target.status() == "ACTIVE", WITHIN_S)
    finally:
        target.unplug(coming)
        lab.ask("DELETE", f"/v2.0/ports/{port['id']}")
