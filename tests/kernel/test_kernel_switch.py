"""Open vSwitch in the kernel: tunnels between two hosts, and filters by the kernel's own connection tracking. `make test-vm` runs it.

Each host is a thread with namespaces of its own and its own Open vSwitch; a wire joins the two. What else filters mean, test_filters.py
shows of the switch in user space: the flows are the same.
"""

import contextlib
import itertools
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from naru.drivers.announce import CLONE_NEWNET, enter_namespace
from naru.drivers.base import ToolError
from naru.drivers.ovs import OpenVswitch
from naru.model.hoststate import (
    FilterRule,
    FilterState,
    GroupState,
    HostState,
    NetworkState,
    PeerState,
    RulesState,
    SegmentState,
    Source,
    TapState,
    Value,
)
from naru.testing import eventually
from own_host import RUN, bring, own_host, planned, run, start_open_vswitch, state

pytestmark = pytest.mark.needs("root", "ovs-vswitchd", "openvswitch")

T = TypeVar("T")
NETWORKS = {
    name: NetworkState(f"{number}1111111-1111", 1400, (SegmentState(name, None, 70 + number),))
    for number, name in enumerate(("vxlan", "geneve"))
}
GROUP = "99999999-9999"
EGRESS = FilterRule("egress", "IPv4")


class Host:
    """`submit`: to run something on it. It has two instances of each network."""

    def __init__(self, number: int, thread: ThreadPoolExecutor) -> None:
        self.number, self._thread = number, thread
        self.driver = OpenVswitch(RUN, {}, self.address, "system", filters=True)
        self.do(start_open_vswitch)
        self.namespace = self.do(lambda: f"/proc/{threading.get_native_id()}/ns/net")

    @property
    def address(self) -> str:
        return f"10.9.0.{self.number}"

    def do(self, work: Callable[[], T]) -> T:
        return self._thread.submit(work).result()

    def bring(self, *values: Value) -> None:
        """Until all is as it is wanted: an emulated switch may take longer to answer than a driver waits."""
        eventually(lambda: self.do(lambda: self._has(state(*values))), 120)

    def _has(self, desired: HostState) -> bool:
        try:
            bring(self.driver, desired)
        except ToolError as error:
            raise AssertionError(error) from None
        assert planned(self.driver, desired) == []
        return True

    def socket_in(self, netns: str, kind: int) -> socket.socket:
        def make() -> socket.socket:
            enter_namespace(Path("/run/netns") / netns, CLONE_NEWNET)
            made = socket.socket(socket.AF_INET, kind)
            made.settimeout(3.0)
            return made

        def aside() -> socket.socket:
            with ThreadPoolExecutor(1) as thread:  # begun on the host; it alone goes into the namespace
                return thread.submit(make).result()

        return self.do(aside)


class Instance:
    """Number `index` of a network on a host."""

    def __init__(self, host: Host, network: NetworkState, index: int) -> None:
        self.host, self.network, self.index = host, network, index
        self.name = f"{network.segments[0].network_type}{host.number}{index}"
        octet = 10 * host.number + index
        self.address, self.mac = f"10.7.0.{octet}", f"fa:16:3e:00:{network.network_id[0]}0:{octet}"
        self.port_id = f"{network.network_id[0]}{octet}00000-0000-4000-8000-000000000000"

    def tap(self, *, filtered: bool) -> TapState:
        return TapState(self.port_id, self.network.network_id, self.mac, 1400, netns=self.name, device="eth0", filtered=filtered)

    @property
    def filter(self) -> FilterState:
        return FilterState(self.port_id, self.network.network_id, self.mac, (Source(self.mac, self.address),), (GROUP,))

    @property
    def peer(self) -> PeerState:
        ends = (self.mac, (self.address,), self.host.address)
        return PeerState(self.port_id, self.network.network_id, *ends, self.network.segments[0])

    def settle(self) -> None:
        self.host.do(lambda: run(f"ip -n {self.name} address replace {self.address}/24 dev eth0"))
        self.host.do(lambda: run(f"ip -n {self.name} link set eth0 up"))

    def pings(self, other: "Instance") -> bool:
        words = ["ip", "netns", "exec", self.name, "ping", "-c1", "-W1", other.address]
        return self.host.do(lambda: subprocess.run(words, capture_output=True, check=False, timeout=60)).returncode == 0

    @contextlib.contextmanager
    def connection(self, other: "Instance", port: int, source: str = "") -> Iterator[tuple[socket.socket, socket.socket]]:
        """Both ends; raises TimeoutError where none comes about."""
        with other.host.socket_in(other.name, socket.SOCK_STREAM) as listener, self.host.socket_in(self.name, socket.SOCK_STREAM) as near:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((other.address, port))
            listener.listen()
            near.bind((source or self.address, 0))
            near.connect((other.address, port))
            far, _ = listener.accept()
            with far:
                far.settimeout(3.0)
                yield near, far

    def connects(self, other: "Instance", port: int, source: str = "") -> bool:
        try:
            with self.connection(other, port, source):
                return True
        except TimeoutError:
            return False


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[Host]]:
    with own_host() as first, own_host() as second:
        made = [Host(1, first), Host(2, second)]
        first.submit(run, f"ip link add wire type veth peer name wire netns {made[1].namespace}").result()
        for host in made:
            host.do(lambda host=host: run(f"ip address add {host.address}/24 dev wire"))
            host.do(lambda: run("ip link set wire up"))
        yield made


def population(hosts: list[Host]) -> list[Instance]:
    return [Instance(host, network, index) for host in hosts for network in NETWORKS.values() for index in (1, 2)]


def wire(hosts: list[Host], instances: list[Instance], *more: Value, filtered: bool) -> None:
    for host in hosts:
        here, there = ([one for one in instances if (one.host is host) == is_here] for is_here in (True, False))
        filters = [one.filter for one in here] if filtered else []
        host.bring(*NETWORKS.values(), *(one.tap(filtered=filtered) for one in here), *(one.peer for one in there), *filters, *more)
    for one in instances:
        one.settle()


def group(instances: list[Instance], *rules: FilterRule) -> list[Value]:
    return [RulesState(GROUP, (EGRESS, *rules)), GroupState(GROUP, tuple(dict.fromkeys(one.address for one in instances)))]


def carries(ends: tuple[socket.socket, socket.socket]) -> bool:
    """Whether much of one end comes out of the other: in segments that only their sender's card would have cut and summed up."""
    near, far = ends
    near.sendall(bytes(65536))
    received = 0
    while received < 65536:
        try:
            received += len(far.recv(65536))
        except TimeoutError:
            return False
    return True


def test_instances_of_a_network_reach_each_other_through_its_tunnel_and_those_of_another_do_not(hosts):
    instances = population(hosts)
    wire(hosts, instances, filtered=False)
    for one, other in itertools.permutations(instances, 2):
        if one.network is other.network:
            eventually(lambda one=one, other=other: one.pings(other), 20)
    for network in NETWORKS.values():
        one, *_, other = (instance for instance in instances if instance.network is network)
        with one.connection(other, 80) as ends:
            assert carries(ends)
    # The two networks have the same addresses: what the second is told is of its own.
    macs = hosts[0].do(lambda: subprocess.run(["ip", "-n", "vxlan11", "neighbour"], capture_output=True, text=True, check=True)).stdout
    assert "fa:16:3e:00:00:" in macs
    assert "fa:16:3e:00:10:" not in macs


def test_filters_hold_in_the_kernel_across_the_tunnel_and_on_one_host(hosts):
    instances = population(hosts)
    allowed = group(instances, FilterRule("ingress", "IPv4", 6, 80, 80, remote_group=GROUP))
    wire(hosts, instances, *allowed, filtered=True)
    for network in NETWORKS.values():
        first, neighbour, far, _ = (instance for instance in instances if instance.network is network)
        for one, other in ((first, far), (far, first), (first, neighbour)):
            eventually(lambda one=one, other=other: one.connects(other, 80), 20)
            assert not one.connects(other, 81)
            assert not one.pings(other)
        with first.connection(far, 80) as ends:
            assert carries(ends)
            assert carries(ends[::-1])
        first.host.do(lambda first=first: run(f"ip -n {first.name} address add 10.7.0.77/24 dev eth0"))
        assert not first.connects(far, 80, source="10.7.0.77")


def test_a_rule_that_goes_cuts_what_the_kernel_was_tracking(hosts):
    instances = population(hosts)
    ping = FilterRule("ingress", "IPv4", 1, 8, 0, remote_group=GROUP)
    wire(hosts, instances, *group(instances, FilterRule("ingress", "IPv4", 6, 80, 80), ping), filtered=True)
    one, _, other, _ = (instance for instance in instances if instance.network is NETWORKS["geneve"])
    eventually(lambda: one.pings(other), 20)
    with one.connection(other, 80) as ends:
        assert carries(ends)
        wire(hosts, instances, *group(instances, ping), filtered=True)
        assert not carries(ends)
        assert one.pings(other)


def test_everything_goes_as_it_came(hosts):
    wire(hosts, population(hosts), filtered=False)
    for host in hosts:
        host.bring()
        assert host.do(lambda: subprocess.run(["ovs-vsctl", "list-br"], capture_output=True, text=True, check=True)).stdout == ""
        assert host.do(lambda: subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True)).stdout == ""
