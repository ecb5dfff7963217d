"""Security groups and port security in a lab: real packets between instances on two hosts, in two networks with the same addresses."""

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest

from agent_host import Cloud, Host, leased, settled
from naru.lab.cloud import read_cloud
from naru.lab.running import enter, require_lab
from naru.model.hoststate import FilterRule, FilterState, GroupState, RulesState, Source
from naru.testing import eventually
from wire import ARP, EVERYONE, IPV4, IPV6, VLAN, arp, arrives, ethernet, icmpv6, marked, raw_in, socket_in, udp

pytestmark = pytest.mark.needs("nft", "root")  # sockets that hear every frame

COMPUTE = "compute01", "compute02"


class Api:
    """The lab's server, asked from its own host as the administrator."""

    def __init__(self, state_dir: Path) -> None:
        self.lab = require_lab(state_dir)
        self.at = enter(self.lab, "controller01")
        auth = read_cloud(Path(self.lab.clouds_yaml), "naru-admin")
        user = {"name": auth["username"], "password": auth["password"], "domain": {"name": auth["user_domain_name"]}}
        project = {"name": auth["project_name"], "domain": {"name": auth["project_domain_name"]}}
        identity = {"methods": ["password"], "password": {"user": user}}
        self.token = ""
        answer, _ = self.ask("POST", "/identity/v3/auth/tokens", {"auth": {"identity": identity, "scope": {"project": project}}})
        self.token = answer.headers["X-Subject-Token"]

    def ask(self, method: str, path: str, body: object = None) -> tuple[http.client.HTTPResponse, dict]:
        address, port = self.lab.url.removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(address, int(port))
        connection.sock = socket_in(self.at)
        connection.sock.settimeout(20)
        connection.sock.connect((address, int(port)))
        with contextlib.closing(connection):
            connection.request(method, path, json.dumps(body), {"X-Auth-Token": self.token, "Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status < 400, text
            return answer, json.loads(text) if text else {}

    def create(self, kind: str, **attributes: object) -> dict:
        return self.ask("POST", f"/v2.0/{kind.replace('_', '-')}s", {kind: attributes})[1][kind]

    def update_port(self, port_id: str, **attributes: object) -> None:
        self.ask("PUT", f"/v2.0/ports/{port_id}", {"port": attributes})


class Instance(msgspec.Struct):
    """An instance, by its one port; `at` are the words that lead into its namespace."""

    name: str
    port_id: str
    mac: str
    address: str
    address6: str
    at: list[str]

    def run(self, *argv: str) -> None:
        subprocess.run([*self.at, *argv], check=True, capture_output=True, timeout=20)

    def pings(self, address: str, *options: str) -> bool:
        done = subprocess.run([*self.at, "ping", "-c1", "-W0.5", *options, address], capture_output=True, check=False, timeout=20)
        return done.returncode == 0

    def connects(self, server: "Instance", port: int = 80, address: str = "") -> bool:
        """Whether a TCP connection comes about; `server` listens there for as long."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket_in(server.at, family) as listener, socket_in(self.at, family) as client:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address or server.address, port))
            listener.listen()
            client.settimeout(0.5)
            try:
                client.connect((address or server.address, port))
            except OSError:
                return False
            return True


class Networks(msgspec.Struct):
    api: Api
    mechanism: str
    by_name: dict[str, Instance]
    outsiders: str  # the group of A3

    def __getattr__(self, name: str) -> Instance:
        return self.by_name[name]


@pytest.fixture(
    scope="module",
    params=["linuxbridge", pytest.param("openvswitch", marks=pytest.mark.needs("ovs-vswitchd"))],
)
def there(request, tmp_path_factory) -> Iterator[Networks]:
    """A1, A3, A4 on compute01 and A2 on compute02; B1 and B2 in another network, with the addresses of A1 and A2.

    A1, A2, B1 and B2 have the default group. A3 has another one; A4 has no port security.
    """
    state_dir = tmp_path_factory.mktemp("filters") / "lab"
    command = [sys.executable, "-m", "naru", "lab"]
    subprocess.run([*command, "up", "--detach", "--mechanism", request.param, "--state-dir", str(state_dir)], check=True, timeout=60)
    try:
        yield build(Api(state_dir), request.param)
    finally:
        subprocess.run([*command, "down", "--state-dir", str(state_dir)], check=False, timeout=60)


def build(api: Api, mechanism: str) -> Networks:
    networks = {name: api.create("network", name=name)["id"] for name in "AB"}
    for network in networks.values():
        api.create("subnet", network_id=network, ip_version=4, cidr="10.30.0.0/24")
        api.create("subnet", network_id=network, ip_version=6, cidr="fd30::/64", enable_dhcp=False)
    outsiders = api.create("security_group", name="outsiders")["id"]
    special = {"A3": {"security_groups": [outsiders]}, "A4": {"port_security_enabled": False}}
    made = {}
    for name, host in (("A1", 0), ("A2", 1), ("A3", 0), ("A4", 0), ("B1", 0), ("B2", 1)):
        subnets = api.ask("GET", f"/v2.0/subnets?network_id={networks[name[0]]}")[1]["subnets"]
        addresses = {4: f"10.30.0.1{name[1]}", 6: f"fd30::1{name[1]}"}
        fixed_ips = [{"subnet_id": subnet["id"], "ip_address": addresses[subnet["ip_version"]]} for subnet in subnets]
        port = api.create("port", network_id=networks[name[0]], fixed_ips=fixed_ips, **special.get(name, {}))
        server = {"name": name, "networks": [{"port": port["id"]}], "availability_zone": f"nova:{COMPUTE[host]}"}
        server |= {"flavorRef": "1", "imageRef": api.ask("GET", "/image/v2/images")[1]["images"][0]["id"]}
        made[name] = api.ask("POST", "/compute/v2.1/servers", {"server": server})[1]["server"]["id"], port, COMPUTE[host]
    for _, port, _ in made.values():
        eventually(partial(is_active, api, port["id"]), 20)
    instances = {}
    for name, (id, port, host) in made.items():
        at = [*enter(api.lab, host), "nsenter", f"--net=/run/netns/instance-{id}"]
        instances[name] = Instance(name, port["id"], port["mac_address"], f"10.30.0.1{name[1]}", f"fd30::1{name[1]}", at)
        eventually(partial(has_lease, at), 20)
        instances[name].run("ip", "address", "add", f"fd30::1{name[1]}/64", "dev", "eth0", "nodad")
    return Networks(api, mechanism, instances, outsiders)


def is_active(api: Api, port_id: str) -> bool:
    return api.ask("GET", f"/v2.0/ports/{port_id}")[1]["port"]["status"] == "ACTIVE"


def has_lease(at: Sequence[str]) -> bool:
    return b"10.30.0.1" in subprocess.run([*at, "ip", "address"], capture_output=True, check=True, timeout=20).stdout


@pytest.mark.parametrize("name", ["A", "B"])
def test_members_of_the_default_group_reach_each_other_across_hosts(there, name):
    first, second = there.by_name[f"{name}1"], there.by_name[f"{name}2"]
    for client, server in ((first, second), (second, first)):
        eventually(partial(client.pings, server.address), 5)
        assert client.pings(server.address6)
        assert client.connects(server)
        assert client.connects(server, address=server.address6)


@contextlib.contextmanager
def connection(client: Sequence[str], server: Sequence[str], address: str, port: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a TCP connection from one namespace to an address of another."""
    with socket_in(server) as listener, socket_in(client) as near:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen()
        near.bind(("", 40001))
        near.connect((address, port))
        far, _ = listener.accept()
        with far:
            far.settimeout(0.5)
            yield near, far


def passes(sender: socket.socket, receiver: socket.socket) -> bool:
    """Whether what one end of a connection sends comes out of the other."""
    sender.send(b"more")
    try:
        return bool(receiver.recv(64))
    except TimeoutError:
        return False


def test_flows_of_two_networks_with_the_same_addresses_are_told_apart(there):
    """The same five numbers on one host at the same time."""
    with connection(there.A1.at, there.A2.at, there.A2.address, 7001) as (near, far):
        with connection(there.B1.at, there.B2.at, there.B2.address, 7001) as other:
            assert passes(*other)
            assert passes(near, far)
        assert passes(far, near)


def test_who_is_in_another_group_gets_in_nowhere_and_nobody_to_him(there):
    for client, server in ((there.A3, there.A1), (there.A3, there.A2), (there.A1, there.A3), (there.A2, there.A3)):
        assert not client.connects(server)
        assert not client.pings(server.address)
    assert not there.A3.pings(there.A1.address6)
    assert not there.A3.connects(there.A1, address=there.A1.address6)


def test_a_rule_opens_and_its_removal_closes_and_cuts_in_both_directions(there):
    words = ["openstack", "--os-cloud", "naru-admin", "security", "group", "rule", "create", "-f", "json"]
    default = there.api.ask("GET", f"/v2.0/ports/{there.A1.port_id}")[1]["port"]["security_groups"][0]
    rule = [default, "--protocol", "tcp", "--dst-port", "7002", "--remote-ip", f"{there.A3.address}/32"]
    lab = [sys.executable, "-m", "naru", "lab", "exec", "--state-dir", there.api.lab.state_dir, "controller01", "--"]
    done = subprocess.run([*lab, *words, *rule], capture_output=True, text=True, check=True, timeout=60)

    eventually(lambda: there.A3.connects(there.A1, 7002), 5)
    assert not there.A3.connects(there.A1, 7003)
    with connection(there.A3.at, there.A1.at, there.A1.address, 7002) as (near, far):
        assert passes(near, far)
        assert passes(far, near)
        there.api.ask("DELETE", f"/v2.0/security-group-rules/{json.loads(done.stdout)['id']}")
        eventually(lambda: not passes(near, far), 5)
        assert not passes(far, near)
    assert not there.A3.connects(there.A1, 7002)


def test_rules_by_icmp_type_and_code_by_range_and_by_address_group(there):
    named = there.api.create("address_group", name="a3", addresses=[f"{there.A3.address}/32"])["id"]
    group, sender = (there.api.create("security_group", name=name)["id"] for name in ("inside", "sender"))
    for rule in there.api.ask("GET", f"/v2.0/security-group-rules?security_group_id={sender}")[1]["security_group_rules"]:
        there.api.ask("DELETE", f"/v2.0/security-group-rules/{rule['id']}")
    before = there.api.ask("GET", f"/v2.0/ports/{there.A2.port_id}")[1]["port"]["security_groups"]
    there.api.update_port(there.A2.port_id, security_groups=[group])
    there.api.update_port(there.A3.port_id, security_groups=[sender])
    echo, echo6 = ({"protocol": name, "port_range_min": kind, "port_range_max": 0} for name, kind in (("icmp", 8), ("ipv6-icmp", 128)))
    ranged = {"protocol": "tcp", "port_range_min": 7010, "port_range_max": 7012}
    for rule in (
        {"security_group_id": group, "direction": "ingress", "remote_address_group_id": named, **echo},
        {"security_group_id": group, "direction": "ingress", "ethertype": "IPv6", "remote_ip_prefix": "fd30::/64", **echo6},
        {"security_group_id": group, "direction": "ingress", "remote_address_group_id": named, **ranged},
        {"security_group_id": sender, "direction": "egress", **echo},
        {"security_group_id": sender, "direction": "egress", "ethertype": "IPv6", "protocol": "58"},
        {"security_group_id": sender, "direction": "egress", "protocol": "6", "remote_group_id": group},
    ):
        there.api.create("security_group_rule", **rule)
    try:
        eventually(lambda: there.A3.connects(there.A2, 7010), 5)
        assert there.A3.connects(there.A2, 7012)
        assert not there.A3.connects(there.A2, 7013)
        assert there.A3.pings(there.A2.address)
        assert there.A3.pings(there.A2.address, "-s", "4000")  # in fragments
        assert there.A3.pings(there.A2.address6)
        assert not there.A2.pings(there.A3.address)
        assert not there.A1.pings(there.A2.address)  # not in the address group
        assert not there.A3.connects(there.A4, 7010)  # not in the group that may be reached
    finally:
        there.api.update_port(there.A2.port_id, security_groups=before)
        there.api.update_port(there.A3.port_id, security_groups=[there.outsiders])


def test_a_port_that_joins_a_group_which_a_rule_names_is_let_in_and_one_that_leaves_is_not(there):
    members = there.api.create("security_group", name="members")["id"]
    default = there.api.ask("GET", f"/v2.0/ports/{there.A2.port_id}")[1]["port"]["security_groups"][0]
    there.api.create("security_group_rule", security_group_id=default, direction="ingress", protocol="tcp", remote_group_id=members)
    assert not there.A3.connects(there.A2)
    there.api.update_port(there.A3.port_id, security_groups=[there.outsiders, members])
    eventually(lambda: there.A3.connects(there.A2), 5)
    there.api.update_port(there.A3.port_id, security_groups=[there.outsiders])
    eventually(lambda: not there.A3.connects(there.A2), 5)


STRANGER = "fa:16:3e:99:99:99"


def frames(one: Instance) -> dict[str, bytes]:
    """What an instance must not send."""
    to_all, digits = "255.255.255.255", one.mac.replace(":", "")
    link_local = f"fe80::{digits[:4]}:{digits[4:6]}ff:fe{digits[6:8]}:{digits[8:]}".replace("fa16", "f816")
    neighbour = bytes(4) + ip_address("fd30::99").packed + bytes.fromhex("0201" + digits)
    good = udp(one.address, "10.30.0.14", 9, 9, marked())
    return {
        "another MAC": ethernet(STRANGER, EVERYONE, IPV4, udp(one.address, "10.30.0.14", 9, 9, marked())),
        "another IPv4 address": ethernet(one.mac, EVERYONE, IPV4, udp("10.30.0.77", "10.30.0.14", 9, 9, marked())),
        "another IPv6 address": ethernet(one.mac, EVERYONE, IPV6, udp("fd30::77", "fd30::14", 9, 9, marked())),
        "ARP for another address": ethernet(one.mac, EVERYONE, ARP, arp(one.mac, "10.30.0.77", "10.30.0.14")),
        "ARP for another MAC": ethernet(one.mac, EVERYONE, ARP, arp(STRANGER, one.address, "10.30.0.14")),
        "a neighbour that it is not": ethernet(one.mac, "33:33:00:00:00:01", IPV6, icmpv6(one.address6, "ff02::1", 136, neighbour)),
        "a router advertisement": ethernet(one.mac, "33:33:00:00:00:01", IPV6, icmpv6(link_local, "ff02::1", 134, bytes(12))),
        "a DHCP answer": ethernet(one.mac, EVERYONE, IPV4, udp(one.address, to_all, 67, 68, marked())),
        "a DHCPv6 answer": ethernet(one.mac, "33:33:00:00:00:01", IPV6, udp(link_local, "ff02::1", 547, 546, marked())),
        "a tagged frame": ethernet(one.mac, EVERYONE, VLAN, b"\x00\x07\x08\x00" + good),
        "another protocol": ethernet(one.mac, EVERYONE, 0x88CC, marked() + bytes(40)),
    }


GOOD = {
    "its own ARP": lambda one: ethernet(one.mac, EVERYONE, ARP, arp(one.mac, one.address, "10.30.0.99")),
    "an ARP probe": lambda one: ethernet(one.mac, EVERYONE, ARP, arp(one.mac, "0.0.0.0", "10.30.0.98")),
    "a DHCP request": lambda one: ethernet(one.mac, EVERYONE, IPV4, udp("0.0.0.0", "255.255.255.255", 68, 67, marked())),
    "its own IPv6 address": lambda one: ethernet(one.mac, EVERYONE, IPV6, udp(one.address6, "fd30::14", 9, 9, marked())),
    "a search for its own address": lambda one: ethernet(
        one.mac,
        "33:33:ff:00:00:11",
        IPV6,
        icmpv6("::", "ff02::1:ff00:11", 135, bytes(4) + ip_address("fd30::11").packed),
    ),
}


@contextlib.contextmanager
def listening(sender: Instance, receiver: Instance) -> Iterator:
    """-> whether a frame from the sender's device arrives at the receiver's."""
    with raw_in(sender.at) as out, raw_in(receiver.at) as into:
        into.settimeout(3)

        def heard(frame: bytes) -> bool:
            sentinel = udp(sender.address, receiver.address, 9, 9, marked())
            return arrives(out, frame, ethernet(sender.mac, receiver.mac, IPV4, sentinel), into)

        yield heard


def test_an_instance_sends_as_nobody_else(there):
    with listening(there.A1, there.A4) as heard:
        assert [what for what, frame in frames(there.A1).items() if heard(frame)] == []
        assert [what for what, frame in GOOD.items() if not heard(frame(there.A1))] == []


def test_without_port_security_an_instance_sends_what_it_likes(there):
    there.api.update_port(there.A1.port_id, security_groups=[], port_security_enabled=False)
    try:
        with listening(there.A4, there.A1) as heard:
            eventually(lambda: heard(ethernet(STRANGER, EVERYONE, IPV4, udp("10.9.9.9", "10.30.0.11", 9, 9, marked()))), 5)
            unheard = [what for what, frame in frames(there.A4).items() if not heard(frame)]
            assert unheard == (["a tagged frame"] if there.mechanism == "openvswitch" else [])  # it is no trunk
    finally:
        for poisoned in there.by_name.values():
            poisoned.run("ip", "neighbour", "flush", "all")
        default = there.api.ask("GET", f"/v2.0/ports/{there.A2.port_id}")[1]["port"]["security_groups"]
        there.api.update_port(there.A1.port_id, port_security_enabled=True, security_groups=default)


def test_an_allowed_address_pair_allows_its_address_with_its_mac_and_no_other(there):
    def frame(mac: str, address: str) -> bytes:
        return ethernet(mac, EVERYONE, IPV4, udp(address, "10.30.0.14", 9, 9, marked()))

    with listening(there.A1, there.A4) as heard:
        eventually(lambda: not heard(frame(there.A1.mac, "10.30.0.77")), 5)
        pairs = [{"ip_address": "10.30.0.77"}, {"ip_address": "10.31.0.0/24", "mac_address": STRANGER}]
        there.api.update_port(there.A1.port_id, allowed_address_pairs=pairs)
        eventually(lambda: heard(frame(there.A1.mac, "10.30.0.77")), 5)
        assert heard(ethernet(there.A1.mac, EVERYONE, ARP, arp(there.A1.mac, "10.30.0.77", "10.30.0.14")))
        assert heard(frame(STRANGER, "10.31.0.9"))
        assert not heard(frame(STRANGER, "10.30.0.77"))
        assert not heard(frame(there.A1.mac, "10.31.0.9"))
        there.api.update_port(there.A1.port_id, allowed_address_pairs=[])
        eventually(lambda: not heard(frame(there.A1.mac, "10.30.0.77")), 5)
        assert not heard(frame(STRANGER, "10.31.0.9"))


def test_a_port_of_a_stateless_group_gets_answers_only_by_a_rule(there):
    group = there.api.create("security_group", name="stateless", stateful=False)["id"]
    assert there.A3.connects(there.A4)
    there.api.update_port(there.A3.port_id, security_groups=[group])
    eventually(lambda: not there.A3.connects(there.A4), 5)
    there.api.create("security_group_rule", security_group_id=group, direction="ingress", protocol="tcp")
    eventually(lambda: there.A3.connects(there.A4), 5)
    assert there.A4.connects(there.A3)
    there.api.update_port(there.A3.port_id, security_groups=[there.outsiders])


def test_a_restarted_agent_writes_nothing_flows_go_on_meanwhile_and_filters_that_are_flushed_come_back(tmp_path):
    host = Host(tmp_path)
    try:
        cloud, group = Cloud(), str(uuid.uuid4())
        instances = [cloud.instance(number) for number in (1, 2)]
        rules = RulesState(group, (FilterRule("egress", "IPv4"), FilterRule("ingress", "IPv4", 6, 80, 80, remote_group=group)))
        members = GroupState(group, ("10.7.0.11", "10.7.0.12"))
        for instance, tap, lease in instances:
            source = Source(tap.mac_address, lease.ip_addresses[0])
            filtered = msgspec.structs.replace(tap, filtered=True)
            host.server.put(instance, filtered, lease, FilterState(tap.port_id, cloud.id, tap.mac_address, (source,), (group,)))
        host.server.put(*cloud.dhcp(), rules, members)
        host.start()
        eventually(lambda: settled(host) and leased(host, *(value for values in instances for value in values)), 15)
        at = [[*host.enter, "nsenter", f"--net=/run/netns/{instance.netns}"] for instance, _, _ in instances]
        with connection(at[1], at[0], "10.7.0.11", 80) as (near, far):
            host.end(signal.SIGKILL)
            before = host.actions()
            (host.directory / "state/agent/h1.json").unlink()
            assert passes(near, far)
            host.server.reports.clear()
            host.start()
            eventually(lambda: passes(near, far) and any(report.full for report in host.server.reports), 10)
            assert passes(far, near)
        assert settled(host)
        assert host.actions() == before
        host.run("nft", "flush", "ruleset")
        eventually(lambda: "10.7.0.12" in host.run("nft", "list", "ruleset"), 2)
    finally:
        host.close()
