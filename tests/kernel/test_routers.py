"""Routers on real hosts: what instances behind them reach, as what they are heard, and what happens when a host dies."""

import contextlib
import json
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from live_lab import World, live_lab
from naru.model.devices import router_netns, tap_name
from naru.testing import eventually
from wire import READ_METADATA_BY_IPV6

pytestmark = pytest.mark.needs("root", "nft")

CONFIG = """
agent_down_time_s = 3.0
[agent]
report_interval_s = 0.5
nova_metadata_url = "http://10.0.0.1:8775"
metadata_proxy_shared_secret = "between us"
"""
WITHIN_S = 15
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAFOTZIsWWo4Ct/J7tci6DWCLxI2dhaT5Lq7YeGvuwTx me@home"

NOVA = """
import hmac, http.server, json
class Metadata(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        instance = self.headers["X-Instance-ID"]
        signature = hmac.new(b"between us", instance.encode(), "sha256").hexdigest()
        known = hmac.compare_digest(signature, self.headers["X-Instance-ID-Signature"])
        told = {"path": self.path, "instance": instance, "tenant": self.headers["X-Tenant-ID"], "from": self.headers["X-Forwarded-For"]}
        self.send_response(200 if known else 403)
        self.end_headers()
        self.wfile.write(json.dumps(told).encode())
server = http.server.ThreadingHTTPServer(("10.0.0.1", 8775), Metadata)
print("ready", flush=True)
server.serve_forever()
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[SimpleNamespace]:
    """Two networks on two hosts behind one router with a gateway to the world."""
    with live_lab(tmp_path_factory.mktemp("routers"), CONFIG) as lab:
        made = SimpleNamespace(lab=lab, world=lab.world("203.0.113.1/24", "2001:db8:113::1/64"))
        flat = {"provider:network_type": "flat", "provider:physical_network": "physnet2", "router:external": True}
        made.outside = lab.create("network", name="outside", **flat)
        pools = [{"start": "203.0.113.100", "end": "203.0.113.199"}]
        lab.create("subnet", network_id=made.outside["id"], ip_version=4, cidr="203.0.113.0/24", allocation_pools=pools, enable_dhcp=False)
        made.router = lab.create("router", name="r", external_gateway_info={"network_id": made.outside["id"]})
        made.left, made.right = (network(made, number) for number in (1, 2))
        made.a, made.b = lab.boot("a", made.left, "compute01"), lab.boot("b", made.right, "compute02")
        eventually(lambda: made.a.has_lease() and made.b.has_lease(), 30)
        made.world.serve(8080)
        lab.run_server([*lab.beside, sys.executable, "-c", NOVA])
        made.a.serve(22)
        made.b.serve(22)
        yield made


def network(site, number):
    made = site.lab.create("network", name=f"net{number}", port_security_enabled=False)
    subnet = site.lab.create("subnet", network_id=made["id"], ip_version=4, cidr=f"10.{number}.0.0/24")
    attach(site, subnet)
    return made


def attach(site, subnet):
    site.lab.ask("PUT", f"/v2.0/routers/{site.router['id']}/add_router_interface", {"subnet_id": subnet["id"]})


def gateway_address(site):
    (port,) = site.lab.find("port", device_id=site.router["id"], device_owner="network:router_gateway")
    return port["fixed_ips"][0]["ip_address"]


def router_host(site):
    (agent,) = site.lab.ask("GET", f"/v2.0/routers/{site.router['id']}/l3-agents")["agents"]
    return agent["host"]


def float_for(site, instance=None):
    port = {"port_id": instance.port["id"]} if instance is not None else {}
    return site.lab.create("floatingip", floating_network_id=site.outside["id"], **port)


def drop(site, floating):
    site.lab.ask("DELETE", f"/v2.0/floatingips/{floating['id']}")


@contextlib.contextmanager
def pinging(who, address) -> Iterator[Callable[[], set[int]]]:
    """One flow of 25 packets that goes on meanwhile; afterwards it can be asked which of them got no answer."""
    ping = subprocess.Popen([*who.prefix, "ping", "-i", "0.2", "-c", "25", address], stdout=subprocess.PIPE, text=True)
    said = []
    try:
        assert who.pings(address)
        yield lambda: set(range(1, 26)) - {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", said[0])}
    finally:
        said.append(ping.communicate(timeout=20)[0])


def test_networks_on_different_hosts_reach_each_other_through_the_router(site):
    eventually(lambda: site.a.pings(site.b.address), WITHIN_S)
    assert site.a.hears(site.b.address, 22) == f"b hears {site.a.address}"
    ports = site.lab.find("port", device_id=site.router["id"])
    assert {(port["status"], port["binding:host_id"]) for port in ports} == {("ACTIVE", router_host(site))}


def test_what_has_no_floating_ip_leaves_with_the_address_of_the_gateway(site):
    eventually(lambda: site.a.hears("203.0.113.1", 8080) == f"world hears {gateway_address(site)}", WITHIN_S)
    assert site.b.hears("203.0.113.1", 8080) == f"world hears {gateway_address(site)}"


def test_a_floating_ip_leads_in_and_out_and_ends_with_what_it_carried(site):
    floating = float_for(site, site.a)
    address = floating["floating_ip_address"]
    eventually(lambda: site.lab.show("floatingip", floating["id"])["status"] == "ACTIVE", WITHIN_S)
    assert site.world.hears(address, 22) == "a hears 203.0.113.1"
    assert site.a.hears("203.0.113.1", 8080) == f"world hears {address}"
    assert site.b.hears(address, 22) == "a hears 10.1.0.1"  # from inside: as the router, so that the answer comes back by it
    assert site.a.hears(address, 22) == f"a hears {address}"
    with pinging(site.world, address) as lost:
        site.lab.update("floatingip", floating["id"], port_id=None)
        assert site.lab.show("floatingip", floating["id"])["status"] == "DOWN"
        eventually(lambda: not site.world.pings(address), WITHIN_S)
        assert not site.world.pings(address)
    assert len(lost()) >= 4  # of a flow that went through before
    eventually(lambda: site.a.hears("203.0.113.1", 8080) == f"world hears {gateway_address(site)}", WITHIN_S)
    drop(site, floating)


def test_a_connection_outlives_a_change_of_the_translations(site):
    with pinging(site.a, "203.0.113.1") as lost:
        floating = float_for(site, site.b)
        eventually(lambda: site.world.hears(floating["floating_ip_address"], 22) == "b hears 203.0.113.1", WITHIN_S)
        drop(site, floating)
        eventually(lambda: not site.world.pings(floating["floating_ip_address"]), WITHIN_S)
    assert lost() == set()


def test_numbers_of_a_floating_ip_lead_to_ports_of_instances(site):
    floating = float_for(site)
    address, path = floating["floating_ip_address"], f"/v2.0/floatingips/{floating['id']}/port_forwardings"
    inside = {"protocol": "tcp", "internal_port_id": site.b.port["id"], "internal_ip_address": site.b.address}
    for numbers in (
        {"external_port": 2222, "internal_port": 22},
        {"external_port_range": "8000:8001", "internal_port_range": "9000:9001"},
        {"external_port_range": "7000:7001", "internal_port_range": "7000:7001"},
    ):
        site.lab.ask("POST", path, {"port_forwarding": inside | numbers})
    for number in (9000, 9001, 7001):
        site.b.serve(number)
    for number in (2222, 8000, 8001, 7001):
        eventually(lambda number=number: site.world.hears(address, number) == "b hears 203.0.113.1", WITHIN_S)
    assert site.world.hears(address, 22) == ""
    eventually(lambda: site.lab.show("floatingip", floating["id"])["status"] == "ACTIVE", WITHIN_S)
    assert site.b.hears("203.0.113.1", 8080) == f"world hears {gateway_address(site)}"
    for forwarding in site.lab.ask("GET", path)["port_forwardings"]:
        site.lab.ask("DELETE", f"{path}/{forwarding['id']}")
    eventually(lambda: site.world.hears(address, 2222) == "", WITHIN_S)
    drop(site, floating)


def test_an_extra_route_leads_to_what_is_behind_an_instance(site):
    site.a.run("ip", "address", "add", "10.99.0.1/32", "dev", "lo")
    routes = [{"destination": "10.99.0.0/24", "nexthop": site.a.address}]
    site.lab.update("router", site.router["id"], routes=routes)
    eventually(lambda: site.b.pings("10.99.0.1"), WITHIN_S)
    site.lab.update("router", site.router["id"], routes=[])
    eventually(lambda: not site.b.pings("10.99.0.1"), WITHIN_S)


def test_without_snat_an_instance_leaves_with_its_own_address(site):
    info = {"network_id": site.outside["id"], "enable_snat": False}
    site.lab.update("router", site.router["id"], external_gateway_info=info)
    site.world.run("ip", "route", "replace", "10.0.0.0/8", "via", gateway_address(site))
    eventually(lambda: site.a.hears("203.0.113.1", 8080) == f"world hears {site.a.address}", WITHIN_S)
    site.lab.update("router", site.router["id"], external_gateway_info=info | {"enable_snat": True})
    eventually(lambda: site.a.hears("203.0.113.1", 8080) == f"world hears {gateway_address(site)}", WITHIN_S)


def test_a_gateway_moves_to_another_address_and_goes(site):
    before = gateway_address(site)
    moved = [{"ip_address": "203.0.113.177"}]
    site.lab.update("router", site.router["id"], external_gateway_info={"network_id": site.outside["id"], "external_fixed_ips": moved})
    assert gateway_address(site) == "203.0.113.177"
    eventually(lambda: site.a.hears("203.0.113.1", 8080) == "world hears 203.0.113.177", WITHIN_S)
    eventually(lambda: not site.world.pings(before), WITHIN_S)
    site.lab.update("router", site.router["id"], external_gateway_info=None)
    eventually(lambda: not site.a.pings("203.0.113.1"), WITHIN_S)
    assert site.a.pings(site.b.address)
    site.lab.update("router", site.router["id"], external_gateway_info={"network_id": site.outside["id"]})
    eventually(lambda: site.a.hears("203.0.113.1", 8080) == f"world hears {gateway_address(site)}", WITHIN_S)


def test_ipv6_is_routed_and_leaves_as_it_is(site):
    for number, instance, network in ((1, site.a, site.left), (2, site.b, site.right)):
        prefix = f"fd00:{number}::/64"
        subnet = site.lab.create("subnet", network_id=network["id"], ip_version=6, cidr=prefix, enable_dhcp=False)
        attach(site, subnet)
        given = {"subnet_id": subnet["id"], "ip_address": f"fd00:{number}::99"}
        site.lab.update("port", instance.port["id"], fixed_ips=[*instance.port["fixed_ips"], given])
        instance.run("ip", "address", "add", f"fd00:{number}::99/64", "dev", "eth0", "nodad")  # no router advertises yet
        instance.run("ip", "-6", "route", "replace", "default", "via", f"fd00:{number}::1")
    eventually(lambda: site.a.pings("fd00:2::99"), WITHIN_S)
    site.lab.create("subnet", network_id=site.outside["id"], ip_version=6, cidr="2001:db8:113::/64", gateway_ip="2001:db8:113::1")
    info = {"network_id": site.outside["id"]}
    site.lab.update("router", site.router["id"], external_gateway_info=None)
    site.lab.update("router", site.router["id"], external_gateway_info=info)
    (port,) = site.lab.find("port", device_id=site.router["id"], device_owner="network:router_gateway")
    outer = next(ip["ip_address"] for ip in port["fixed_ips"] if ":" in ip["ip_address"])
    site.world.run("ip", "-6", "route", "replace", "fd00::/16", "via", outer)
    eventually(lambda: site.a.hears("2001:db8:113::1", 8080) == "world hears fd00:1::99", WITHIN_S)


def test_a_router_that_is_switched_off_keeps_its_wires_and_forwards_nothing(site):
    host, netns = router_host(site), router_netns(site.router["id"])
    there = lambda *what: site.lab.run(host, "ip", "-n", netns, *what)  # noqa: E731
    assert "inet " in there("address", "show", "scope", "global")
    site.lab.update("router", site.router["id"], admin_state_up=False)
    eventually(lambda: not there("address", "show", "scope", "global"), WITHIN_S)
    assert "qr-" in there("link")
    assert not site.a.pings(site.b.address)
    site.lab.update("router", site.router["id"], admin_state_up=True)
    eventually(lambda: site.a.pings(site.b.address), WITHIN_S)


def test_a_restarted_agent_changes_nothing_of_a_router_that_is_right(site):
    name, floating = f"agent-{router_host(site)}", float_for(site, site.a)
    eventually(lambda: site.world.hears(floating["floating_ip_address"], 22) == "a hears 203.0.113.1", WITHIN_S)
    words, environment = site.lab.kill(name)
    said = len(site.lab.log(name))
    site.lab.start(name, [*words, "-v"], environment)
    eventually(lambda: "in sync with the server" in site.lab.log(name)[said:], WITHIN_S)
    another = float_for(site, site.b)
    eventually(lambda: site.world.hears(another["floating_ip_address"], 22) == "b hears 203.0.113.1", WITHIN_S)
    ran = lambda: [line for line in site.lab.log(name)[said:].splitlines() if " action " in line]  # noqa: E731
    eventually(lambda: len(ran()) >= 3, WITHIN_S)
    assert len(ran()) == 3, ran()  # the second floating IP's: the address, its announcement, the translations
    drop(site, floating)
    drop(site, another)


def test_a_router_goes_to_another_host_when_its_own_dies_and_is_gone_there_when_that_comes_back(site):
    before, netns = router_host(site), router_netns(site.router["id"])
    floating = float_for(site, site.b)
    address = floating["floating_ip_address"]
    eventually(lambda: site.world.hears(address, 22) == "b hears 203.0.113.1", WITHIN_S)
    words, environment = site.lab.kill(f"agent-{before}")
    wires = ("eth1", "eth2")
    for wire in wires:
        site.lab.run(before, "ip", "link", "set", wire, "down")
    eventually(lambda: router_host(site) != before, WITHIN_S)
    after = router_host(site)
    eventually(lambda: site.lab.show("floatingip", floating["id"])["status"] == "ACTIVE", WITHIN_S)
    if site.b.host != before:
        assert site.world.hears(address, 22) == "b hears 203.0.113.1"
    assert netns in site.lab.namespaces(after)
    assert netns in site.lab.namespaces(before)  # nobody was there to take it away
    site.lab.start(f"agent-{before}", words, environment)
    eventually(lambda: netns not in site.lab.namespaces(before), WITHIN_S)
    for wire in wires:
        site.lab.run(before, "ip", "link", "set", wire, "up")
    eventually(lambda: site.world.hears(address, 22) == "b hears 203.0.113.1", WITHIN_S)
    assert router_host(site) == after
    drop(site, floating)


# -- metadata


def read(who, path):
    """What an HTTP client gets there; "" for a refusal or none at all."""
    get = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=3).read().decode(), end='')"
    return who.run(sys.executable, "-c", get, f"http://169.254.169.254{path}", check=False)


def test_an_instance_reads_its_metadata_through_the_router(site):
    assert read(site.a, "/latest/meta-data/instance-id") == site.a.id
    assert read(site.a, "/latest/meta-data/local-ipv4") == site.a.address
    assert "instance-id" in read(site.a, "/latest/meta-data/").split()
    document = json.loads(read(site.b, "/openstack/latest/meta_data.json"))
    assert (document["uuid"], document["name"], document["hostname"]) == (site.b.id, "b", "b")
    assert read(site.b, "/latest/user-data") == ""
    site.lab.ask("PUT", f"servers/{site.b.id}", {"server": {"name": "renamed"}}, service="compute")
    eventually(lambda: '"name":"renamed"' in read(site.b, "/openstack/latest/meta_data.json"), WITHIN_S)
    assert read(site.world, "/latest/meta-data/instance-id") == ""


def test_an_instance_without_a_router_reads_its_metadata_from_the_dhcp_server(site):
    isolated = site.lab.create("network", name="isolated", port_security_enabled=False)
    site.lab.create("subnet", network_id=isolated["id"], ip_version=4, cidr="10.1.0.0/24")  # the same addresses as behind the router
    site.lab.ask("POST", "os-keypairs", {"keypair": {"name": "mine", "public_key": PUBLIC_KEY}}, service="compute")
    c = site.lab.boot("c", isolated, "compute02", key_name="mine", user_data="IyEvYmluL3NoCg==")
    eventually(c.has_lease, WITHIN_S)
    assert "169.254.169.254 via" in c.run("ip", "route")
    assert read(c, "/latest/meta-data/instance-id") == c.id
    assert read(c, "/latest/meta-data/public-keys/0/openssh-key") == PUBLIC_KEY
    assert read(c, "/latest/user-data") == "#!/bin/sh\n"
    assert read(site.a, "/latest/user-data") == ""


@pytest.mark.parametrize("place", ["dhcp", "router"])
def test_an_instance_reads_its_metadata_by_ipv6(site, place):
    network = site.lab.create("network", name=f"six-{place}")
    modes = {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"} if place == "dhcp" else {"enable_dhcp": False}
    prefix = f"fd00:{6 if place == 'dhcp' else 7}::"
    subnet = site.lab.create("subnet", network_id=network["id"], ip_version=6, cidr=f"{prefix}/64", **modes)
    if place == "router":
        attach(site, subnet)
    owner = {"dhcp": "network:dhcp", "router": "network:router_interface"}[place]
    (port,) = site.lab.find("port", network_id=network["id"], device_owner=owner)
    asked = port["binding:host_id"]
    one = site.lab.boot("one", network, "compute01" if asked != "compute01" else "compute02")
    read_ipv6 = lambda: one.run(sys.executable, "-c", READ_METADATA_BY_IPV6, "/latest/meta-data/instance-id", check=False)  # noqa: E731
    eventually(lambda: read_ipv6() == one.id, WITHIN_S)
    site.lab.run(asked, "ip", "link", "del", tap_name(port["id"]))
    eventually(lambda: read_ipv6() == one.id, WITHIN_S)  # of a device that was made anew


def test_instances_of_nova_are_answered_by_nova_who_is_told_who_asks(site):
    instance = str(uuid.uuid4())
    plugged = {"device_id": instance, "device_owner": "compute:nova", "binding:host_id": "compute01"}
    port = site.lab.create("port", network_id=site.left["id"], **plugged)
    address, tap = port["fixed_ips"][0]["ip_address"], tap_name(port["id"])
    for line in (
        "ip netns add guest",
        f"ip link add {tap} type veth peer name eth0 address {port['mac_address']} netns guest",
        "ip -n guest link set eth0 up",
        f"ip -n guest address add {address}/24 dev eth0",
        "ip -n guest route add default via 10.1.0.1",
    ):
        site.lab.run("compute01", *line.split())
    guest = World(site.lab, [*site.lab.enter("compute01"), "ip", "netns", "exec", "guest"], "guest")
    told = eventually(lambda: read(guest, "/latest/meta-data/?x=1"), WITHIN_S)
    assert json.loads(told) == {"path": "/latest/meta-data/?x=1", "instance": instance, "tenant": port["project_id"], "from": address}
