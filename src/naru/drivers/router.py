"""Routers: what is true inside a `qrouter-…` namespace: it forwards, has its addresses and routes, translates (translation.py), and is
silent once another host runs it (fence.py).

The namespace and the devices in it are made by the driver of the links. All in a namespace of ours is ours; the proof is the
namespace's mark. Sources: ip-address(8), ip-route(8), Documentation/networking/ip-sysctl.rst of the kernel.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import ClassVar

import msgspec

from naru.drivers import iproute
from naru.drivers.base import Action, Fact, Failure, Step, ToolError
from naru.drivers.fence import fence, fenced, unfence
from naru.drivers.tools import SIDE_BY_SIDE, run_actions
from naru.drivers.translation import DIGEST_PREFIX, TABLE, translation
from naru.model.devices import router_netns
from naru.model.hoststate import METADATA_ADDRESS, METADATA_ADDRESS_IPV6, HostState, RouterInterface, RouterState, TapState

SETTINGS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.all.promote_secondaries": "1",  # an address that goes takes no other of its subnet along
    "net.ipv6.conf.all.forwarding": "1",
}
DEFAULT = {4: "0.0.0.0/0", 6: "::/0"}
_SEE = (
    "ip -json address && ip -json route && ip -6 -json route"
    f" && cat {' '.join('/proc/sys/' + name.replace('.', '/') for name in SETTINGS)}"
    " && { nft -t list ruleset 2>/dev/null || true; }"
)


class Inside(Fact, frozen=True):
    """A fact of one namespace."""

    netns: str

    @property
    def ip(self) -> tuple[str, ...]:
        return ("ip", "-n", self.netns)

    @property
    def nft(self) -> tuple[str, ...]:
        return ("netns", self.netns, "nft", "-f", "-")

    @property
    def sysctl(self) -> tuple[str, ...]:
        return ("netns", self.netns, "sysctl", "-q", "-p", "-")

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        return self.add()

    def remove(self) -> Iterable[Action]:
        return ()  # it goes with the namespace


class Forwarding(Inside, frozen=True):
    @property
    def name(self) -> str:
        return f"forwarding/{self.netns}"

    def add(self) -> Iterable[Step]:
        for name, value in SETTINGS.items():
            yield Action(self.key, self.sysctl, f"{name}={value}")


class Up(Inside, frozen=True):
    device: str

    @property
    def name(self) -> str:
        return f"up/{self.netns}/{self.device}"

    def add(self) -> Iterable[Step]:
        if self.device != "lo":
            # Else it has no address of the link for a second, and advertises itself under one that nobody may believe (RFC 4861 §6.1.2).
            yield Action(self.key, self.sysctl, f"net.ipv6.conf.{self.device}.accept_dad=0")
        yield Action(self.key, self.ip, f"link set dev {self.device} up")


class Address(Inside, frozen=True):
    device: str
    address: str  # with its prefix length
    goes_last: ClassVar[bool] = True  # a device that loses its only address loses its routes too

    @property
    def name(self) -> str:
        return f"address/{self.netns}/{self.device}/{self.address}"

    @property
    def announcement(self) -> str:
        return f"{self.device} {self.address.partition('/')[0]}"

    def add(self) -> Iterable[Step]:
        # That nobody else has it the server has made sure: there is nothing to detect, and no second to wait.
        nodad = " nodad" if ":" in self.address else ""
        yield Action(self.key, self.ip, f"addr replace {self.address} dev {self.device}{nodad}")
        if self.device != "lo":
            yield Action(self.key, ("announce", self.netns), self.announcement)

    def remove(self) -> Iterable[Action]:
        yield Action(self.key, self.ip, f"addr del {self.address} dev {self.device}")


class Via(Inside, frozen=True):
    """A route; wanted with a `device`, its next hop is on no subnet of the router, and is looked for there all the same."""

    destination: str
    nexthop: str
    device: str

    @property
    def name(self) -> str:
        return f"route/{self.netns}/{self.destination}"

    def is_met_by(self, have: Fact) -> bool:
        return isinstance(have, Via) and have.nexthop == self.nexthop and self.device in ("", have.device)

    def add(self) -> Iterable[Step]:
        onlink = f" dev {self.device} onlink" if self.device else ""
        yield Action(self.key, self.ip, f"route replace {self.destination} via {self.nexthop}{onlink}")

    def remove(self) -> Iterable[Action]:
        yield Action(self.key, self.ip, f"route del {self.destination} via {self.nexthop}")


class Translation(Inside, frozen=True):
    digest: str
    lines: tuple[str, ...] = ()  # wanted; they are not read back, the digest stands for them

    @property
    def name(self) -> str:
        return f"translation/{self.netns}"

    def is_met_by(self, have: Fact) -> bool:
        return isinstance(have, Translation) and have.digest == self.digest

    def add(self) -> Iterable[Step]:
        yield Action(self.key, self.nft, "; ".join(self.lines))

    def remove(self) -> Iterable[Action]:
        yield Action(self.key, self.nft, f"delete table {TABLE}")


class Fence(Inside, frozen=True):
    device: str
    digest: str
    lines: tuple[str, ...] = ()  # wanted

    @property
    def name(self) -> str:
        return f"fence/{self.netns}/{self.device}"

    def is_met_by(self, have: Fact) -> bool:
        return isinstance(have, Fence) and have.digest == self.digest

    def add(self) -> Iterable[Step]:
        yield Action(self.key, self.nft, "; ".join(self.lines))

    def change(self, have: Fact) -> Iterable[Step]:
        before = unfence(have.digest) if isinstance(have, Fence) else ()
        yield Action(self.key, self.nft, "; ".join((*before, *self.lines)))


class Routers:
    """The driver: RouterState -> the facts of its namespace. `alive_s`: what an announcement counts in fences; None: there are none."""

    kinds = ("router",)

    def __init__(self, run_dir: Path, alive_s: float | None) -> None:
        self._marks = run_dir / "netns"
        self._alive_s = alive_s

    def want(self, desired: HostState) -> tuple[dict[str, Fact], list[Failure]]:
        routers = [value for value in desired.values() if isinstance(value, RouterState)]
        facts = [fact for router in routers for fact in (*_want(router), *self._want_fences(router, desired))]
        return {fact.name: fact for fact in facts}, []

    def _want_fences(self, router: RouterState, desired: HostState) -> Iterator[Fence]:
        for interface in router.ends:
            tap = desired.get(f"tap/{interface.port_id}")
            if self._alive_s is not None and isinstance(tap, TapState):
                yield Fence(router.key, router.netns, interface.device, *fence(interface.device, tap.mac_address, self._alive_s))

    def read(self) -> dict[str, Fact]:
        prefix = router_netns("")
        named = (name for name, inode in iproute.netns_inodes().items() if inode and name.startswith(prefix))
        ours = sorted(name for name in named if (self._marks / name).exists())
        with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
            return {fact.name: fact for facts in threads.map(_observe, ours) for fact in facts}

    def apply(self, actions: list[Action]) -> list[Failure]:
        return run_actions(actions)

    def pids(self) -> list[int]:
        return []


def _want(router: RouterState) -> Iterator[Fact]:
    key, netns = router.key, router.netns
    yield Translation(key, netns, *translation(router))  # before addresses: what came to them untranslated would be refused
    yield Forwarding(key, netns)
    for device in ("lo", *(interface.device for interface in router.ends)):
        yield Up(key, netns, device)
    if router.metadata:
        yield Address(key, netns, "lo", f"{METADATA_ADDRESS}/32")
    yield from _addresses(router)
    for route in router.routes:
        beyond = router.gateway.device if router.gateway is not None and not _is_near(route.nexthop, router.ends) else ""
        yield Via(key, netns, route.destination, route.nexthop, beyond)


def _addresses(router: RouterState) -> Iterator[Address]:
    for interface in router.ends:
        for address in interface.addresses:
            yield Address(router.key, router.netns, interface.device, address)
    if router.gateway is not None:
        for external in dict.fromkeys(external for external, _ in router.led):
            yield Address(router.key, router.netns, router.gateway.device, f"{external}/32")


def announcements(router: RouterState) -> Mapping[str, list[str]]:
    """Device -> the lines for announce.py that say all of its addresses."""
    lines: dict[str, list[str]] = {}
    for address in _addresses(router):
        lines.setdefault(address.device, []).append(address.announcement)
    return lines


def _is_near(nexthop: str, interfaces: Iterable[RouterInterface]) -> bool:
    networks = (ip_interface(address).network for interface in interfaces for address in interface.addresses)
    return any(ip_interface(nexthop).ip in network for network in networks)


class _Route(msgspec.Struct, frozen=True):
    """One entry of `ip -json route`."""

    dst: str
    gateway: str = ""
    dev: str = ""
    protocol: str = ""


def _observe(netns: str) -> list[Fact]:
    ran = iproute.run(("nsenter", f"--net={iproute.NETNS_DIR / netns}", "sh", "-c", _SEE))
    if ran.returncode:
        if not iproute.netns_inodes().get(netns):  # it is gone by now
            return []
        raise ToolError(f"what is in network namespace {netns} cannot be seen: {ran.stderr.strip()}")
    links, routes, routes6, *rest = ran.stdout.splitlines()
    settings, tables = rest[: len(SETTINGS)], "\n".join(rest[len(SETTINGS) :])
    key = f"router/{netns.partition('-')[2]}"
    facts: list[Fact] = [Forwarding(key, netns)] if settings == list(SETTINGS.values()) else []
    decoded = msgspec.json.decode(links, type=list[iproute.Link])
    facts += [Up(key, netns, link.ifname) for link in decoded if link.is_up]
    facts += [
        Address(key, netns, link.ifname, f"{address.local}/{address.prefixlen}")
        for link in decoded
        for address in link.addr_info
        if address.scope == "global" or address.local == METADATA_ADDRESS_IPV6
    ]
    for version, listed in ((4, routes), (6, routes6)):
        for route in msgspec.json.decode(listed, type=list[_Route]):
            if route.gateway and route.protocol != "ra":
                destination = DEFAULT[version] if route.dst == "default" else str(ip_network(route.dst))
                facts.append(Via(key, netns, destination, route.gateway, route.dev))
    if digest := re.search(rf"chain ({DIGEST_PREFIX}[0-9a-f]+) ", tables):
        facts.append(Translation(key, netns, digest[1]))
    elif f"table {TABLE} " in tables:
        facts.append(Translation(key, netns, ""))
    return [*facts, *(Fence(key, netns, device, digest) for device, digest in fenced(tables))]
