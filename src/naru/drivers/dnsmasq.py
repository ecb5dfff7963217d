"""DHCP by dnsmasq(8): one daemon per L2 domain, in the domain's `qdhcp-…` namespace; it outlives the agent. It also sends router
advertisements, where no router does.

All of a domain's DHCP is one fact: the arguments of the daemon, the addresses of its port, its files. Files lie in
`<run_dir>/dhcp/<network or segment id>/`. Reservations and options are read again on SIGHUP; other changes need a restart. See
dnsmasq_lines.py for the text.
"""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from naru.drivers import daemons, iproute
from naru.drivers.base import Action, Fact, Failure, Step
from naru.drivers.dnsmasq_lines import arguments, options, reservations, server_addresses, tags
from naru.drivers.tools import run_actions
from naru.model.hoststate import METADATA_ADDRESS_IPV6, DhcpState, HostState, LeaseState

# Of the server's device: it takes no addresses from routers, and need not ask first whether somebody has its own.
_SETTINGS = ("accept_ra=0", "accept_dad=0")


class DhcpServer(Fact, frozen=True):
    """The DHCP of one domain. Where it was read: what runs, what its files say, and which leases it has given."""

    directory: str
    netns: str  # read: "" if nothing runs, or if it runs in a namespace that has lost its name
    device: str
    argv: tuple[str, ...]
    addresses: tuple[str, ...]  # wanted: "address/prefix"; read: the addresses alone, as the kernel shows them
    tags: tuple[str, ...]  # which clients have options of their own
    options: tuple[str, ...]
    reservations: tuple[str, ...]  # "mac,hostname,address", "mac,hostname,[IPv6 address]"
    loaded: bool = True  # read: the files have not changed since the daemon was last told to read them
    # Read: lines of dnsmasq's own file, "expiry mac address hostname client-id", of IPv6 "expiry iaid address hostname duid".
    leases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.key

    def is_met_by(self, have: Fact) -> bool:
        return isinstance(have, DhcpServer) and self._runs_in(have) and self._is_addressed_in(have) and self._is_loaded_in(have)

    def _runs_in(self, have: "DhcpServer") -> bool:
        return (self.argv, self.netns, self.tags) == (have.argv, have.netns, have.tags) and not self._conflicts(have)

    def _is_addressed_in(self, have: "DhcpServer") -> bool:
        return sorted(address.partition("/")[0] for address in self.addresses) == sorted(have.addresses)

    def _is_loaded_in(self, have: "DhcpServer") -> bool:
        return have.loaded and (self.options, self.reservations) == (have.options, have.reservations)

    def _conflicts(self, have: "DhcpServer") -> set[str]:
        """Leases of an address that is now reserved for another client: dnsmasq would refuse it until they expire."""
        reserved = {line.rpartition(",")[2].strip("[]"): line for line in self.reservations}
        leases = ((line, line.split()) for line in have.leases if line.count(" ") > 2)  # not the line "duid …": the server's own
        held = ((line, words, reserved[words[2]]) for line, words in leases if words[2] in reserved)
        return {line for line, words, reservation in held if _is_anothers(words, reservation, is_new=reservation not in have.reservations)}

    def add(self) -> Iterable[Step]:
        yield from self._address()
        yield from self._lines("tags", self.tags)
        yield from self._write()
        yield Action(self.key, ("sh",), shlex.join(("nsenter", f"--net={iproute.NETNS_DIR / self.netns}", *self.argv)))
        yield self._settle()

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        assert isinstance(have, DhcpServer)
        if not self._runs_in(have):
            yield self._signal("TERM")
            if conflicts := self._conflicts(have):
                kept = [line for line in have.leases if line not in conflicts]
                yield from self._lines("leases", kept)
            yield from self.add()
            return
        if not self._is_addressed_in(have):
            yield from self._address()
        if not self._is_loaded_in(have):
            yield from self._lines("stale", [])  # if we die before the daemon has read them, the next pass tells it
            yield from self._write()
            yield self._signal("HUP")
            yield self._settle()

    def remove(self) -> Iterable[Action]:
        yield self._signal("TERM")
        yield Action(self.key, ("sh",), f"rm -rf {shlex.quote(self.directory)}")

    def _address(self) -> Iterable[Action]:
        tool = ("ip", "-n", self.netns)
        for setting in _SETTINGS:
            yield Action(self.key, ("netns", self.netns, "sysctl", "-q", "-e", "-p", "-"), f"net.ipv6.conf.{self.device}.{setting}")
        yield Action(self.key, tool, "link set dev lo up")
        yield Action(self.key, tool, f"link set dev {self.device} up")
        yield Action(self.key, tool, f"addr flush dev {self.device} scope global")
        yield Action(self.key, tool, f"addr flush dev {self.device} to {METADATA_ADDRESS_IPV6}")
        for address in self.addresses:
            yield Action(self.key, tool, f"addr add {address} dev {self.device}")
        for address in self.addresses:
            if ":" not in address:  # who knew the server on another host hears where it is now
                yield Action(self.key, ("announce", self.netns), f"{self.device} {address.partition('/')[0]}")

    def _write(self) -> Iterable[Action]:
        yield from self._lines("options", self.options)
        yield from self._lines("reservations", self.reservations)

    def _lines(self, file: str, lines: Iterable[str]) -> Iterable[Action]:
        for line in tuple(lines) or ("",):
            yield Action(self.key, ("write", f"{self.directory}/{file}"), line)

    def _signal(self, name: str) -> Action:
        return Action(self.key, ("signal", f"{self.directory}/pid"), name)

    def _settle(self) -> Action:
        return Action(self.key, ("unlink",), f"{self.directory}/stale")


def _is_anothers(lease: list[str], reservation: str, *, is_new: bool) -> bool:
    """Whether the words of a lease are of another client than the reservation of its address."""
    _, mac, address, *_, client = lease
    if ":" not in address:
        return not reservation.startswith(mac)
    # A DUID need not say the MAC (RFC 8415 §11): then the lease is taken for the client's own until its reservation changes.
    return is_new and not client.endswith(reservation.partition(",")[0])


class Dnsmasq:
    """The driver: DhcpState with the LeaseStates of its network -> a DhcpServer."""

    kinds = ("dhcp", "lease")

    def __init__(self, run_dir: Path) -> None:
        self._directory = run_dir / "dhcp"

    def want(self, desired: HostState) -> tuple[dict[str, Fact], list[Failure]]:
        leases: dict[str, list[LeaseState]] = {}
        for value in desired.values():
            if isinstance(value, LeaseState):
                leases.setdefault(value.network_id, []).append(value)
        servers = [self._want_server(value, leases.get(value.network_id, [])) for value in desired.values() if isinstance(value, DhcpState)]
        return {server.name: server for server in servers}, []

    def _want_server(self, dhcp: DhcpState, leases: list[LeaseState]) -> DhcpServer:
        directory = self._directory / dhcp.network_id
        return DhcpServer(
            key=dhcp.key,
            directory=str(directory),
            netns=dhcp.netns,
            device=dhcp.device,
            argv=arguments(dhcp, directory),
            addresses=server_addresses(dhcp),
            tags=tags(leases),
            options=options(dhcp, leases),
            reservations=reservations(dhcp, leases),
        )

    def read(self) -> dict[str, Fact]:
        if not self._directory.is_dir():
            return {}
        names = {inode: name for name, inode in iproute.netns_inodes().items()}
        servers = [_observe(directory, names) for directory in sorted(self._directory.iterdir())]
        return {server.name: server for server in servers}

    def apply(self, actions: list[Action]) -> list[Failure]:
        return run_actions(actions)

    def pids(self) -> list[int]:
        found = [daemons.find(path) for path in self._directory.glob("*/pid")]
        return [daemon.pid for daemon in found if daemon is not None]


def _observe(directory: Path, netns_names: Mapping[int, str]) -> DhcpServer:
    daemon = daemons.find(directory / "pid")
    return DhcpServer(
        key=f"dhcp/{directory.name}",
        directory=str(directory),
        netns=netns_names.get(daemon.netns, "") if daemon else "",
        device="",
        argv=daemon.argv if daemon else (),
        addresses=tuple(daemon.addresses) if daemon else (),
        tags=_file_lines(directory / "tags"),
        options=_file_lines(directory / "options"),
        reservations=_file_lines(directory / "reservations"),
        loaded=not (directory / "stale").exists(),
        leases=_file_lines(directory / "leases"),
    )


def _file_lines(path: Path) -> tuple[str, ...]:
    try:
        return tuple(path.read_text().splitlines())
    except FileNotFoundError:
        return ()
