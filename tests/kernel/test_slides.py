"""What the slides of chapter 5, "Creating Networks with Neutron", show of hosts, on controller01, compute01 and compute02.

tests/tutorial replays what they show of the API.
"""

import json
import os
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import pytest

from live_lab import Instance, LiveLab, live_lab
from naru.lab import LabError
from naru.lab.cloud import read_cloud
from naru.model.devices import bridge_name, dhcp_netns, tap_name, vxlan_name
from naru.testing import eventually
from wire import raw_in

pytestmark = pytest.mark.needs("root", "busybox")

CONFIG = "[agent]\nreport_interval_s = 0.5\n"
WITHIN_S = 20
FLAT = ("--provider-network-type", "flat", "--provider-physical-network", "physnet2", "--share")
VLAN = ("--provider-network-type", "vlan", "--provider-physical-network", "physnet2", "--share", "--disable-port-security")
READ = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=3).read().decode(), end='')"
DHCP_MESSAGES = {1: "DISCOVER", 2: "OFFER", 3: "REQUEST", 5: "ACK"}  # RFC 2132, 9.6


def command(lab: LiveLab, program: str, *arguments: str) -> str:
    """What a client of the administrator's printed, on the controller."""
    cloud = read_cloud(Path(lab.running.clouds_yaml), "naru-admin")
    words = [f"OS_{name.upper()}={value}" for name, value in cloud.items()] + [f"PATH={os.environ['PATH']}", "LANG=C.UTF-8"]
    return lab.run("controller01", "env", "-i", *words, str(Path(sys.executable).parent / program), *arguments)


def openstack(lab: LiveLab, *arguments: str) -> dict:
    made: dict = json.loads(command(lab, "openstack", *arguments, "-f", "json"))
    return made


def nova_boot(lab: LiveLab, name: str, network: dict, host: str) -> Instance:
    words = ("--flavor", "m1.tiny", "--image", "netns", "--availability-zone", f"nova:{host}", "--nic", f"net-id={network['id']}")
    command(lab, "nova", "boot", *words, name)
    (server,) = lab.ask("GET", f"servers?name={name}", service="compute")["servers"]
    (port,) = lab.find("port", device_id=server["id"])
    return Instance(lab, name, host, server["id"], port)


def devices_in(lab: LiveLab, host: str, network: dict) -> set[str]:
    """The devices in the Linux bridge of a network."""
    links = json.loads(lab.run(host, "ip", "-json", "link", "show", "master", bridge_name(network["id"]), check=False) or "[]")
    return {link["ifname"] for link in links}


def dhcp_port(lab: LiveLab, network: dict) -> dict:
    (port,) = eventually(lambda: lab.find("port", network_id=network["id"], device_owner="network:dhcp"), WITHIN_S)
    eventually(lambda: lab.show("port", port["id"])["status"] == "ACTIVE", WITHIN_S)
    return lab.show("port", port["id"])


def lease(instance: Instance) -> dict:
    told: dict = json.loads(instance.lab.run(instance.host, "cat", f"/run/naru/instances/{instance.id}/eth0.lease"))
    return told


def reads_instance_id(instance: Instance) -> str:
    return instance.run(sys.executable, "-c", READ, "http://169.254.169.254/2009-04-04/meta-data/instance-id", check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[SimpleNamespace]:
    """Linux bridges; MyFlatNetwork and MyFlatSubnet, and an instance there."""
    with live_lab(tmp_path_factory.mktemp("slides"), CONFIG) as lab:
        network = openstack(lab, "network", "create", *FLAT, "MyFlatNetwork")
        dns = ("--dns-nameserver", "8.8.8.8", "--dns-nameserver", "8.8.4.4")
        openstack(lab, "subnet", "create", "--network", "MyFlatNetwork", "--subnet-range", "192.168.100.0/24", *dns, "MyFlatSubnet")
        instance = nova_boot(lab, "first", network, "compute01")
        eventually(instance.has_lease, 30)
        yield SimpleNamespace(lab=lab, network=network, instance=instance)


def test_a_flat_network_is_a_bridge_with_the_interface_of_its_physical_network(site):
    server = tap_name(dhcp_port(site.lab, site.network)["id"])
    assert devices_in(site.lab, "controller01", site.network) == {"eth2", server}
    assert devices_in(site.lab, "compute01", site.network) == {"eth2", tap_name(site.instance.port["id"])}


def test_a_second_flat_network_there_is_refused_and_the_first_goes_on(site):
    before = devices_in(site.lab, "compute01", site.network)
    flat = {"provider:network_type": "flat", "provider:physical_network": "physnet2"}
    with pytest.raises(LabError, match=r"Unable to create the flat network\. Physical network physnet2 is in use\."):
        site.lab.create("network", name="MyFlatNetwork2", **flat)
    assert devices_in(site.lab, "compute01", site.network) == before
    assert site.instance.pings("192.168.100.2")


def test_the_port_of_the_dhcp_server_is_a_device_in_the_namespace_of_its_network(site):
    port = dhcp_port(site.lab, site.network)
    assert (port["binding:host_id"], port["binding:vif_type"]) == ("controller01", "bridge")
    assert port["device_id"].startswith("dhcp")
    assert port["device_id"].endswith(f"-{site.network['id']}")
    assert [ip["ip_address"] for ip in port["fixed_ips"]] == ["192.168.100.2"]

    netns = f"qdhcp-{site.network['id']}"
    assert netns in site.lab.namespaces("controller01")
    said = site.lab.run("controller01", "ip", "netns", "exec", netns, "ip", "addr")
    assert f" ns-{port['id'][:11]}@if" in said
    assert f"link/ether {port['mac_address']}" in said
    assert "inet 192.168.100.2/24 " in said
    assert "inet 169.254.169.254/" in said


def test_an_instance_gets_its_address_by_four_packets(site):
    port = dhcp_port(site.lab, site.network)
    inside = [*site.lab.enter("controller01"), "ip", "netns", "exec", dhcp_netns(site.network["id"])]
    with raw_in(inside, f"ns-{port['id'][:11]}") as wire:
        instance = nova_boot(site.lab, "four-packets", site.network, "compute02")
        eventually(instance.has_lease, 30)
        told = dhcp_messages(wire, instance.port["mac_address"])
    assert list(told) == ["DISCOVER", "OFFER", "REQUEST", "ACK"]
    assert told["DISCOVER"] == told["REQUEST"] == "0.0.0.0"
    assert told["OFFER"] == told["ACK"] == instance.address
    assert instance.pings(site.instance.address)


def dhcp_messages(wire, mac: str) -> dict[str, str]:
    """Message -> the address that it gives, in the order of their first, until the ACK."""
    told: dict[str, str] = {}
    while "ACK" not in told:
        frame = wire.recv(2048)
        message = frame[42:]  # behind Ethernet, IPv4 and UDP
        if (
            frame[12:14] == b"\x08\x00"
            and message[28:34] == bytes.fromhex(mac.replace(":", ""))
            and message[236:240] == b"\x63\x82\x53\x63"
        ):
            kind = message[240:].partition(b"\x35\x01")[2][0]
            told.setdefault(DHCP_MESSAGES[kind], ".".join(map(str, message[16:20])))
    return told


def test_an_instance_reads_its_instance_id_at_169_254_169_254(site):
    assert reads_instance_id(site.instance) == site.instance.id


def test_nova_attaches_a_running_instance_to_a_network_and_detaches_it(site):
    lab, instance = site.lab, site.instance
    network = lab.create("network", name="MyUserNetwork")
    pools = [{"start": f"192.168.204.{start}", "end": f"192.168.204.{end}"} for start, end in ((50, 99), (200, 253))]
    lab.create("subnet", network_id=network["id"], ip_version=4, cidr="192.168.204.0/24", allocation_pools=pools)

    command(lab, "nova", "interface-attach", "--net-id", network["id"], instance.name)
    (port,) = lab.find("port", network_id=network["id"], device_id=instance.id)
    address = port["fixed_ips"][0]["ip_address"]
    eventually(lambda: f"inet {address}/24" in instance.run("ip", "address", "show", "eth1", check=False), WITHIN_S)
    tunnel = vxlan_name(network["provider:segmentation_id"])
    assert devices_in(lab, "compute01", network) == {tunnel, tap_name(port["id"])}
    assert instance.pings(dhcp_port(lab, network)["fixed_ips"][0]["ip_address"])

    command(lab, "nova", "interface-detach", instance.name, port["id"])
    eventually(lambda: "eth1" not in instance.run("ip", "-br", "link"), WITHIN_S)
    assert lab.find("port", id=port["id"]) == []
    assert instance.pings("192.168.100.2")


def test_an_instance_is_told_of_name_servers_pool_gateway_and_route_as_they_were_updated(site):
    assert (lease(site.instance)["router"], set(lease(site.instance)["dns"])) == ("192.168.100.1", {"8.8.8.8", "8.8.4.4"})
    dns = ("--no-dns-nameservers", "--dns-nameserver", "168.126.63.1", "--dns-nameserver", "168.126.63.2")
    pool = ("--no-allocation-pool", "--allocation-pool", "start=192.168.100.2,end=192.168.100.22")
    command(site.lab, "openstack", "subnet", "set", *dns, *pool, "MyFlatSubnet")
    route = ("--host-route", "destination=10.0.0.0/24,gateway=192.168.100.100")
    command(site.lab, "openstack", "subnet", "set", "--gateway", "192.168.100.100", *route, "MyFlatSubnet")

    instance = site.lab.boot("updated", site.network, "compute02")
    eventually(instance.has_lease, 30)
    told = lease(instance)
    assert set(told["dns"]) == {"168.126.63.1", "168.126.63.2"}
    assert "10.0.0.0/24 192.168.100.100 " in f"{' '.join(told['routes'])} "
    assert int(instance.address.rpartition(".")[2]) <= 22
    routes = instance.run("ip", "route")
    assert "default via 192.168.100.100 " in routes
    assert "10.0.0.0/24 via 192.168.100.100 " in routes


@pytest.fixture(scope="module")
def vlans(tmp_path_factory) -> Iterator[SimpleNamespace]:
    """Open vSwitch, as a kernel may lack 8021q; MyVLANNetwork (200) and MyVLANNetwork2 (201), an instance of each on each compute host."""
    with live_lab(tmp_path_factory.mktemp("slides"), CONFIG, mechanism="openvswitch") as lab:
        made = SimpleNamespace(lab=lab, networks={}, instances={})
        for name, vlan in (("MyVLANNetwork", 200), ("MyVLANNetwork2", 201)):
            made.networks[name] = openstack(lab, "network", "create", *VLAN, "--provider-segment", str(vlan), name)
            lab.create("subnet", network_id=made.networks[name]["id"], ip_version=4, cidr="10.20.0.0/24")
        for name, network in made.networks.items():
            made.instances[name] = [lab.boot(f"{name}-{host}", network, host) for host in ("compute01", "compute02")]
        for instance in chain.from_iterable(made.instances.values()):
            eventually(instance.has_lease, 30)
        yield made


needs_switch = pytest.mark.needs("ovs-vswitchd", "ethtool")


@needs_switch
def test_each_vlan_network_reaches_across_hosts_and_not_the_other(vlans):
    (one, other), (stranger, beside) = vlans.instances.values()
    stranger.run("ip", "address", "add", "10.20.0.99/24", "dev", "eth0")
    assert eventually(lambda: one.pings(other.address), WITHIN_S)
    assert eventually(lambda: beside.pings("10.20.0.99"), WITHIN_S)
    assert not one.pings("10.20.0.99")
    assert reads_instance_id(one) == one.id  # both networks have the same addresses
    assert reads_instance_id(beside) == beside.id


@needs_switch
def test_a_network_that_is_set_external_unshared_and_down_has_neither_dhcp_nor_metadata(vlans):
    lab, (one, _) = vlans.lab, vlans.instances["MyVLANNetwork"]
    network = vlans.networks["MyVLANNetwork"]
    server = lambda: lab.run("controller01", "pgrep", "-f", f"dnsmasq.*{network['id']}", check=False)  # noqa: E731
    assert server()
    command(lab, "openstack", "network", "set", "--external", "--no-share", "--disable", "MyVLANNetwork")
    shown = lab.show("network", network["id"])
    assert (shown["router:external"], shown["shared"], shown["admin_state_up"], shown["status"]) == (True, False, False, "ACTIVE")
    eventually(lambda: not server(), WITHIN_S)
    eventually(lambda: reads_instance_id(one) == "", WITHIN_S)


@needs_switch
def test_a_network_that_is_deleted_leaves_no_namespace_and_the_other_goes_on(vlans):
    lab, network, kept = vlans.lab, vlans.networks["MyVLANNetwork"], vlans.networks["MyVLANNetwork2"]
    for instance in vlans.instances["MyVLANNetwork"]:
        lab.ask("DELETE", f"servers/{instance.id}", service="compute")
    command(lab, "openstack", "network", "delete", "MyVLANNetwork")
    eventually(lambda: dhcp_netns(network["id"]) not in lab.namespaces("controller01"), WITHIN_S)
    assert dhcp_netns(kept["id"]) in lab.namespaces("controller01")
    assert reads_instance_id(vlans.instances["MyVLANNetwork2"][1]) == vlans.instances["MyVLANNetwork2"][1].id
