"""DHCP on real hosts: what clients are told, by IPv4 and by each mode of IPv6, by how many servers, and what happens when one dies."""

import contextlib
import json
import sys
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from types import SimpleNamespace

import pytest

from live_lab import live_lab
from naru.model.devices import dhcp_netns
from naru.testing import eventually

pytestmark = pytest.mark.needs("root", "dhclient", "sysctl")

CONFIG = """
agent_down_time_s = 3.0
dhcp_agents_per_network = 2
[agent]
report_interval_s = 0.5
"""
WITHIN_S = 15
OPTIONS = [
    {"opt_name": "ntp-server", "opt_value": "10.1.0.99"},
    {"opt_name": "67", "opt_value": "undionly"},
    {"opt_name": "domain-search", "opt_value": "of.its.own", "ip_version": 6},
]

# Asks the routers of a link who they are; prints the first answer.
SOLICIT = """
import ipaddress, json, socket, struct, sys
asking = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
asking.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
asking.settimeout(1)
said = {}
for attempt in range(5):
    asking.sendto(bytes((133, 0, 0, 0, 0, 0, 0, 0)), ("ff02::2", 0, 0, socket.if_nametoindex("eth0")))
    try:
        while not said:
            heard, (sender, *_) = asking.recvfrom(2048)
            if heard[0] == 134:
                flags, lifetime = struct.unpack("!BH", heard[5:8])
                said = {"managed": bool(flags & 128), "other": bool(flags & 64), "lifetime_s": lifetime, "from": sender.partition("%")[0]}
                said |= {"mtu": 0, "prefixes": {}, "dns": []}
                rest = heard[16:]
                while rest:
                    kind, length = rest[0], rest[1] * 8
                    if kind == 3:
                        said["prefixes"][f"{ipaddress.IPv6Address(rest[16:32])}/{rest[2]}"] = bool(rest[3] & 64)
                    elif kind == 5:
                        said["mtu"] = struct.unpack("!I", rest[4:8])[0]
                    elif kind == 25:
                        said["dns"] += [str(ipaddress.IPv6Address(rest[at:at + 16])) for at in range(8, length, 16)]
                    rest = rest[length:]
    except TimeoutError:
        continue
    break
print(json.dumps(said))
"""


class Site:
    """A lab, and clients of its DHCP servers in instances."""

    def __init__(self, directory, lab) -> None:
        self.directory, self.lab = directory, lab
        self.script = directory / "told"
        self.script.write_text('#!/bin/sh\nenv >"$0.last"\n')
        self.script.chmod(0o755)

    def network(self, name, *cidrs, **attributes):
        """With its subnets: each a prefix and what else is said of it."""
        network = self.lab.create("network", name=name, **attributes)
        for cidr, subnet in cidrs:
            self.lab.create("subnet", network_id=network["id"], ip_version=6 if ":" in cidr else 4, cidr=cidr, **subnet)
        return network

    def boot(self, name, network, host="compute01", **attributes):
        """An instance whose port is `attributes`."""
        port = self.lab.create("port", network_id=network["id"], **attributes)
        return self.lab.boot(name, network, host, port=port["id"])

    def told(self, client, *asked):
        """What a DHCP client of an instance is told, by its names of options."""
        options = [word for option in asked for word in ("-O", option)]
        client.run("busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "5", "-T", "1", "-s", str(self.script), *options)
        return self._read()

    def told6(self, client, *options):
        """The same by DHCPv6. -> what was told, and the address that the client has by then; "-S": without one."""
        eventually(lambda: "inet6" in client.run("ip", "-6", "address", "show", "dev", "eth0", "scope", "link", "-tentative"), WITHIN_S)
        (self.directory / "dhclient.conf").write_text("request dhcp6.name-servers, dhcp6.domain-search;\n")
        files = [word for flag in ("lf", "pf") for word in (f"-{flag}", str(self.directory / f"{client.name}.{flag}"))]
        client.run(
            *("timeout", "20", "dhclient", "-6", "-1", *options, "-cf", str(self.directory / "dhclient.conf"), *files),
            *("-sf", str(self.script), "eth0"),
        )
        client.run("sh", "-c", f"kill $(cat {self.directory}/{client.name}.pf)", check=False)
        return self._read()

    def _read(self):
        """What the script was run with last."""
        text = (self.directory / "told.last").read_text()
        return SimpleNamespace(**dict(line.split("=", 1) for line in text.splitlines() if "=" in line))

    def servers(self, network):
        """Host and fixed addresses of each DHCP port."""
        ports = self.lab.find("port", network_id=network["id"], device_owner="network:dhcp")
        return {port["binding:host_id"]: [ip["ip_address"] for ip in port["fixed_ips"]] for port in ports}

    def served(self, id):
        """The hosts with a namespace for the DHCP of a network or segment."""
        return {host for host in ("controller01", "compute01", "compute02") if dhcp_netns(id) in self.lab.namespaces(host)}

    def is_active(self, client):
        return self.lab.show("port", client.port["id"])["status"] == "ACTIVE"


@pytest.fixture(scope="module")
def bridged(tmp_path_factory) -> Iterator[Site]:
    with site_of(tmp_path_factory.mktemp("dhcp"), "linuxbridge") as made:
        yield made


@pytest.fixture(scope="module")
def switched(tmp_path_factory) -> Iterator[Site]:
    with site_of(tmp_path_factory.mktemp("dhcp"), "openvswitch") as made:
        yield made


@pytest.fixture(params=["bridged", pytest.param("switched", marks=pytest.mark.needs("ovs-vswitchd"))])
def on_each(request) -> Site:
    """On each mechanism: what is sent to all of a link, and to none of its hosts in particular."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def site(bridged) -> Site:
    return bridged


@contextlib.contextmanager
def site_of(directory, mechanism) -> Iterator[Site]:
    with live_lab(directory, CONFIG, mechanism=mechanism) as lab:
        for name in ("agent-compute01", "agent-compute02"):  # the lab's own serve no DHCP
            words, environment = lab.kill(name)
            lab.start(name, words, environment | {"NARU_AGENT_DHCP": "true"})
        eventually(lambda: all(agent["configurations"]["dhcp"] for agent in lab.find("agent")), 30)
        yield Site(directory, lab)


def addresses6(client):
    """Those that the kernel of an instance has made up or been given, tentative ones left out."""
    links = json.loads(client.run("ip", "-6", "-json", "address", "show", "dev", "eth0", "scope", "global"))
    return {entry["local"] for link in links for entry in link.get("addr_info", ()) if entry and not entry.get("tentative")}


def default_routes6(client):
    return {route["gateway"] for route in json.loads(client.run("ip", "-6", "-json", "route", "show", "default"))}


def solicit(client):
    return json.loads(client.run(sys.executable, "-c", SOLICIT))


def fixed(client, version=6):
    return {ip["ip_address"] for ip in client.port["fixed_ips"] if (":" in ip["ip_address"]) is (version == 6)}


# -- IPv4


def test_a_client_is_told_what_its_subnet_and_its_port_say(site):
    routes = [{"destination": "10.99.0.0/16", "nexthop": "10.1.0.77"}]
    network = site.network("four", ("10.1.0.0/24", {"dns_nameservers": ["9.9.9.9"], "host_routes": routes}), mtu=1400)
    client, plain = site.boot("a", network, extra_dhcp_opts=OPTIONS), site.boot("b", network)
    eventually(lambda: client.has_lease() and plain.has_lease(), 30)
    assert site.is_active(client)
    told = site.told(client, "staticroutes", "mtu", "ntpsrv", "bootfile")
    assert (told.ip, told.mtu, told.dns, told.domain) == (client.address, "1400", "9.9.9.9", "openstacklocal")
    assert "10.99.0.0/16 10.1.0.77" in told.staticroutes
    assert "0.0.0.0/0 10.1.0.1" in told.staticroutes
    assert (told.ntpsrv, told.bootfile) == ("10.1.0.99", "undionly")
    assert not hasattr(site.told(plain, "ntpsrv", "bootfile"), "ntpsrv")
    changed = [{"opt_name": "ntp-server", "opt_value": "10.1.0.98"}, {"opt_name": "mtu", "opt_value": "1300"}]
    site.lab.update("port", client.port["id"], extra_dhcp_opts=changed)
    eventually(lambda: site.told(client, "ntpsrv", "mtu").ntpsrv == "10.1.0.98", WITHIN_S)
    assert site.told(client, "mtu").mtu == "1300"


def test_an_option_that_dnsmasq_does_not_know_harms_nobody(site):
    network = site.network("odd", ("10.9.0.0/24", {}))
    pairs = (("nonsense", "1"), ("server-ip-address", "nowhere"), ("tag:,", ","), ("ntp-server", "10.9.0.99"))
    odd = site.boot("odd", network, extra_dhcp_opts=[{"opt_name": name, "opt_value": value} for name, value in pairs])
    plain = site.boot("even", network)
    eventually(lambda: odd.has_lease() and plain.has_lease(), 30)
    assert site.told(odd, "ntpsrv").ntpsrv == "10.9.0.99"
    assert site.told(plain).router == "10.9.0.1"


# -- IPv6


def test_slaac(site):
    mode = {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac", "dns_nameservers": ["fd00::53"]}
    network = site.network("slaac", ("fd00:1::/64", mode), mtu=1400)
    client = site.boot("slaac", network)
    eventually(lambda: addresses6(client) == fixed(client), 30)
    said = solicit(client)
    assert (said["managed"], said["other"], said["lifetime_s"], said["mtu"], said["dns"]) == (False, False, 0, 1400, ["fd00::53"])
    assert said["prefixes"] == {"fd00:1::/64": True}
    assert default_routes6(client) == set()
    eventually(lambda: site.is_active(client), WITHIN_S)


def test_dhcpv6_stateless(site):
    mode = {"ipv6_ra_mode": "dhcpv6-stateless", "ipv6_address_mode": "dhcpv6-stateless", "dns_nameservers": ["fd00::53"]}
    network = site.network("stateless", ("fd00:2::/64", mode))
    client = site.boot("stateless", network, extra_dhcp_opts=OPTIONS)
    plain = site.boot("stateless-plain", network)
    eventually(lambda: addresses6(client) == fixed(client) and addresses6(plain) == fixed(plain), 30)
    said = solicit(client)
    assert (said["managed"], said["other"], said["prefixes"]) == (False, True, {"fd00:2::/64": True})
    told = site.told6(client, "-S")
    assert (told.new_dhcp6_name_servers, told.new_dhcp6_domain_search) == ("fd00::53", "of.its.own.")
    assert site.told6(plain, "-S").new_dhcp6_domain_search == "openstacklocal."


def test_dhcpv6_stateful(on_each):
    site = on_each
    mode = {"ipv6_ra_mode": "dhcpv6-stateful", "ipv6_address_mode": "dhcpv6-stateful", "dns_nameservers": ["fd00::53"]}
    network = site.network("stateful", ("fd00:3::/64", mode))
    client = site.boot("stateful", network, "compute01")
    other = site.boot("stateful-other", network, "compute02")
    eventually(lambda: site.is_active(client) and site.is_active(other), 30)
    said = eventually(lambda: solicit(client), WITHIN_S)
    assert (said["managed"], said["prefixes"]) == (True, {"fd00:3::/64": False})
    for one in (client, other):
        told = site.told6(one)
        assert {told.new_ip6_address} == fixed(one)
        assert told.new_dhcp6_name_servers == "fd00::53"
        one.run("ip", "address", "replace", f"{told.new_ip6_address}/64", "dev", "eth0", "nodad")
    eventually(lambda: client.pings(*fixed(other)), WITHIN_S)


def test_a_router_advertises_itself_as_the_way_out_in_every_mode(on_each):
    site = on_each
    clients = {}
    for number, mode in enumerate(("slaac", "dhcpv6-stateless", "dhcpv6-stateful"), 1):
        modes = {"ipv6_ra_mode": mode, "ipv6_address_mode": mode, "dns_nameservers": ["fd00::53"]}
        network = site.network(f"routed-{mode}", (f"fd00:7:{number}::/64", modes), mtu=1400)
        clients[mode] = site.boot(mode, network, "compute01" if number == 1 else "compute02")
    before = clients["slaac"]
    eventually(lambda: addresses6(before) == fixed(before), 30)
    assert default_routes6(before) == set()
    router = site.lab.create("router", name="r")
    for client in clients.values():
        subnet = {"subnet_id": client.port["fixed_ips"][0]["subnet_id"]}
        site.lab.ask("PUT", f"/v2.0/routers/{router['id']}/add_router_interface", subnet)
    flags = {"slaac": (False, False), "dhcpv6-stateless": (False, True), "dhcpv6-stateful": (True, True)}
    for mode, client in clients.items():
        eventually(lambda client=client: solicit(client).get("lifetime_s") == 1800, 30)
        said = solicit(client)
        assert (said["managed"], said["other"], said["mtu"], said["dns"]) == (*flags[mode], 1400, ["fd00::53"])
        assert said["from"].startswith("fe80:")
        ((prefix, is_automatic),) = said["prefixes"].items()
        assert (ip_address(*fixed(client)) in ip_network(prefix), is_automatic) == (True, mode != "dhcpv6-stateful")
        eventually(lambda client=client: len(default_routes6(client)) == 1, WITHIN_S)
    stateful = clients["dhcpv6-stateful"]
    told = site.told6(stateful)
    assert {told.new_ip6_address} == fixed(stateful)
    stateful.run("ip", "address", "replace", f"{told.new_ip6_address}/64", "dev", "eth0", "nodad")
    eventually(lambda: before.pings(*fixed(stateful)), WITHIN_S)


# -- how many servers, and where


def test_each_segment_of_a_routed_network_has_servers_of_its_own(site):
    segments = [{"provider:network_type": "vxlan", "provider:segmentation_id": number} for number in (4001, 4002)]
    network = site.network("routed", segments=segments)
    clients = []
    for number, segment in enumerate(site.lab.find("segment", network_id=network["id"]), 1):
        cidr = f"10.2.{number}.0/24"
        subnet = site.lab.create("subnet", network_id=network["id"], ip_version=4, cidr=cidr, segment_id=segment["id"])
        clients.append(site.boot(f"routed{number}", network, fixed_ips=[{"subnet_id": subnet["id"]}]))
        eventually(lambda segment=segment: len(site.served(segment["id"])) == 2, WITHIN_S)
    assert site.served(network["id"]) == set()
    for number, client in enumerate(clients, 1):
        eventually(client.has_lease, 30)
        told = site.told(client, "staticroutes")
        assert told.ip == client.address
        assert f"10.2.{3 - number}.0/24 10.2.{number}.1" in told.staticroutes


def test_a_dead_server_is_not_missed_and_another_host_takes_over(site):
    network = site.network("two", ("10.3.0.0/24", {}))
    client = site.boot("two", network, "compute01")
    eventually(client.has_lease, 30)
    before = site.servers(network)
    assert len(before) == 2
    dead = next(host for host in before if host != "compute01")
    words, environment = site.lab.kill(f"agent-{dead}")
    site.lab.run(dead, "sh", "-c", f"kill -9 $(cat /run/naru/dhcp/{network['id']}/pid)")
    assert site.told(client).ip == client.address  # by the other
    eventually(lambda: dead not in site.servers(network), WITHIN_S)
    after = site.servers(network)
    assert sorted(before.values()) == sorted(after.values())
    late = site.boot("late", network, "compute01")
    eventually(late.has_lease, 30)
    for host in after:
        eventually(lambda host=host: f"{late.port['mac_address']},host-" in reservations(site, host, network), WITHIN_S)
    site.lab.start(f"agent-{dead}", words, environment)
    eventually(lambda: dead not in site.served(network["id"]), WITHIN_S)
    assert set(site.servers(network)) == site.served(network["id"]) == set(after)


def reservations(site, host, network):
    return site.lab.run(host, "cat", f"/run/naru/dhcp/{network['id']}/reservations", check=False)


def test_no_two_clients_of_two_servers_get_one_address(site):
    network = site.network("many", ("10.5.0.0/28", {}))
    clients = [site.boot(f"many{number}", network, f"compute0{1 + number % 2}") for number in range(8)]
    for client in clients:
        eventually(client.has_lease, 30)
    seen = [site.told(client).ip for client in clients]
    assert seen == [client.address for client in clients]
    for host in site.servers(network):
        leases = site.lab.run(host, "cat", f"/run/naru/dhcp/{network['id']}/leases").splitlines()
        held = {line.split()[2]: line.split()[1] for line in leases if line.count(" ") > 2}
        assert held.items() <= {(client.address, client.port["mac_address"]) for client in clients}


# -- while leases run


def test_a_subnet_comes_and_goes_and_an_address_changes_while_leases_run(site):
    network = site.network("grows", ("10.6.0.0/24", {}))
    client = site.boot("grows", network)
    eventually(client.has_lease, 30)
    subnet = site.lab.create("subnet", network_id=network["id"], ip_version=4, cidr="10.6.1.0/24")
    eventually(lambda: {len(addresses) for addresses in site.servers(network).values()} == {2}, WITHIN_S)
    later = site.boot("later", network, fixed_ips=[{"subnet_id": subnet["id"]}])
    eventually(later.has_lease, 30)
    assert site.told(client).ip == client.address
    moved = [{"ip_address": "10.6.0.77"}]
    site.lab.update("port", client.port["id"], fixed_ips=moved)
    eventually(lambda: site.told(client).ip == "10.6.0.77", WITHIN_S)
    heir = site.boot("heir", network, fixed_ips=[{"ip_address": client.address}])  # of the address that was left
    eventually(heir.has_lease, 30)
    site.lab.ask("DELETE", f"/v2.0/ports/{later.port['id']}")
    site.lab.ask("DELETE", f"/v2.0/subnets/{subnet['id']}")
    eventually(lambda: {len(addresses) for addresses in site.servers(network).values()} == {1}, WITHIN_S)
    assert site.told(heir).ip == heir.address


def test_a_restarted_agent_leaves_servers_that_are_right_as_they_are(site):
    modes = {"ipv6_ra_mode": "dhcpv6-stateful", "ipv6_address_mode": "dhcpv6-stateful"}
    network = site.network("restart", ("10.8.0.0/24", {}), ("fd00:8::/64", modes))
    client = site.boot("restart", network, extra_dhcp_opts=OPTIONS)
    eventually(client.has_lease, 30)
    site.told6(client)
    host = next(iter(site.servers(network)))
    before = site.lab.run(host, "cat", f"/run/naru/dhcp/{network['id']}/pid")
    words, environment = site.lab.kill(f"agent-{host}")
    said = len(site.lab.log(f"agent-{host}"))
    site.lab.start(f"agent-{host}", [*words, "-v"], environment)
    site.boot("after", network)  # a change that shows when the agent is back
    ran = lambda: [line for line in site.lab.log(f"agent-{host}")[said:].splitlines() if " action " in line]  # noqa: E731
    eventually(lambda: any("reservations" in line for line in ran()), 30)
    assert not any("dnsmasq" in line or "TERM" in line for line in ran())
    assert site.lab.run(host, "cat", f"/run/naru/dhcp/{network['id']}/pid") == before
    assert site.told(client).ip == client.address


# -- off and on


def test_dhcp_off_and_a_network_that_is_down_leave_no_server(site):
    network = site.network("off", ("10.4.0.0/24", {}), ("fd00:4::/64", {}))
    eventually(lambda: len(site.served(network["id"])) == 2, WITHIN_S)
    site.lab.update("network", network["id"], admin_state_up=False)
    eventually(lambda: not any(is_served(site, host, network) for host in site.servers(network)), WITHIN_S)
    site.lab.update("network", network["id"], admin_state_up=True)
    eventually(lambda: all(is_served(site, host, network) for host in site.servers(network)), WITHIN_S)
    for subnet in site.lab.find("subnet", network_id=network["id"]):
        site.lab.update("subnet", subnet["id"], enable_dhcp=False)
    eventually(lambda: site.served(network["id"]) == set(), WITHIN_S)
    assert site.servers(network) == {}
    client = site.boot("off", network)
    eventually(lambda: site.is_active(client), WITHIN_S)


def is_served(site, host, network):
    return bool(site.lab.run(host, "sh", "-c", f"cat /run/naru/dhcp/{network['id']}/pid 2>/dev/null", check=False))
