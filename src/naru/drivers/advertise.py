"""Router advertisements (RFC 4861): one dnsmasq(8) in a router's `qrouter-…` namespace, which does nothing else; it outlives the agent.

It tells who hears it that the router is the way out, the MTU, which prefixes are on the link, and how to get an address (ipv6_ra_mode).
Addresses and options themselves come from the domain's DHCP server: this one ignores all who ask. All that it is told is in its
arguments, so it is as wanted if it runs with them. Its pid file lies in `<run_dir>/ra/<router id>/`.
"""

import shlex
from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from pathlib import Path

from naru.drivers import daemons, iproute
from naru.drivers.base import Action, Fact, Failure, Step
from naru.drivers.dnsmasq_lines import name_servers6
from naru.drivers.tools import run_actions
from naru.model.hoststate import HostState, RouterInterface, RouterState

_WORDS = {"slaac": "ra-only", "dhcpv6-stateless": "ra-stateless", "dhcpv6-stateful": "static"}  # in the range of a prefix
_VALID_S = 86400


class Advertiser(Fact, frozen=True):
    directory: str
    netns: str  # read: "" if nothing runs, or if it runs in a namespace that has lost its name
    argv: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.key

    def add(self) -> Iterable[Step]:
        start = shlex.join(("nsenter", f"--net={iproute.NETNS_DIR / self.netns}", *self.argv))
        yield Action(self.key, ("sh",), f"mkdir -p {shlex.quote(self.directory)} && {start}")

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        yield self._end()
        yield from self.add()

    def remove(self) -> Iterable[Action]:
        yield self._end()
        yield Action(self.key, ("sh",), f"rm -rf {shlex.quote(self.directory)}")

    def _end(self) -> Action:
        return Action(self.key, ("signal", f"{self.directory}/pid"), "TERM")


class Advertisers:
    """The driver: a RouterState with something to advertise -> an Advertiser."""

    kinds = ("router",)

    def __init__(self, run_dir: Path) -> None:
        self._directory = run_dir / "ra"

    def want(self, desired: HostState) -> tuple[dict[str, Fact], list[Failure]]:
        routers = (value for value in desired.values() if isinstance(value, RouterState))
        facts = [self._want(router) for router in routers if any(interface.advertised for interface in router.interfaces)]
        return {fact.name: fact for fact in facts}, []

    def _want(self, router: RouterState) -> Advertiser:
        directory = self._directory / router.router_id
        return Advertiser(router.key, str(directory), router.netns, _arguments(router, directory))

    def read(self) -> dict[str, Fact]:
        names = {inode: name for name, inode in iproute.netns_inodes().items()}
        facts = []
        for directory in sorted(self._directory.glob("*")):
            daemon = daemons.find(directory / "pid")
            netns, argv = (names.get(daemon.netns, ""), daemon.argv) if daemon is not None else ("", ())
            facts.append(Advertiser(f"router/{directory.name}", str(directory), netns, argv))
        return {fact.name: fact for fact in facts}

    def apply(self, actions: list[Action]) -> list[Failure]:
        return run_actions(actions)

    def pids(self) -> list[int]:
        found = [daemons.find(path) for path in self._directory.glob("*/pid")]
        return [daemon.pid for daemon in found if daemon is not None]


def _arguments(router: RouterState, directory: Path) -> tuple[str, ...]:
    interfaces = [interface for interface in router.interfaces if interface.advertised]
    return (
        *("dnsmasq", "--conf-file=/dev/null", "--user=root", "--group=", "--port=0", "--bind-dynamic", "--except-interface=lo"),
        *(f"--pid-file={directory}/pid", f"--dhcp-leasefile={directory}/leases", f"--log-facility={directory}/log"),
        *("--quiet-dhcp6", "--quiet-ra", "--dhcp-ignore=tag:!known", "--enable-ra"),
        *(word for interface in interfaces for word in _about(interface)),
    )


def _about(interface: RouterInterface) -> Iterator[str]:
    yield f"--interface={interface.device}"
    yield f"--ra-param={interface.device},mtu:{interface.mtu_bytes},0"  # at dnsmasq's own interval
    for number, prefix in enumerate(interface.advertised):
        network, tag = ip_network(prefix.cidr), f"{interface.device}-{number}"
        yield f"--dhcp-range=set:{tag},{network.network_address},{_WORDS[prefix.mode]},{network.prefixlen},{_VALID_S}s"
        if prefix.dns_nameservers:
            yield f"--dhcp-option=tag:{tag},{name_servers6(prefix.dns_nameservers)}"
