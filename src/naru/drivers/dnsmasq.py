"""DHCP by dnsmasq(8): one daemon per network, in the network's `qdhcp-…` namespace; it outlives the agent.

All of a network's DHCP is one fact: the arguments of the daemon, the addresses of its port, its files. Files lie in
`<run_dir>/dhcp/<network id>/`. Reservations and options are read again on SIGHUP; other changes need a restart.

A reservation carries no `set:<tag>`: dnsmasq 2.90 of Debian 12 crashes on SIGHUP once a client holds a lease of a
tagged one. Options are tied to the subnet's tag instead, which its `--dhcp-range` sets.
"""

import shlex
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, ip_network
from pathlib import Path

from naru.drivers import daemons, iproute
from naru.drivers.base import Action, Fact, Failure, Step
from naru.drivers.tools import run_actions
from naru.model.hoststate import METADATA_ADDRESS, DhcpState, DhcpSubnet, HostState, LeaseState

_Subnets = list[tuple[DhcpSubnet, IPv4Network]]


class DhcpServer(Fact, frozen=True):
    """The DHCP of one network. Where it was read: what runs, what its files say, and which leases it has given."""

    directory: str
    netns: str  # read: "" if nothing runs, or if it runs in a namespace that has lost its name
    device: str
    argv: tuple[str, ...]
    addresses: tuple[str, ...]  # wanted: "address/prefix"; read: the addresses alone, as the kernel shows them
    options: tuple[str, ...]
    reservations: tuple[str, ...]  # "mac,hostname,address"
    loaded: bool = True  # read: the files have not changed since the daemon was last told to read them
    leases: tuple[str, ...] = ()  # read: lines of dnsmasq's own file, "expiry mac address hostname client-id"

    @property
    def name(self) -> str:
        return self.key

    def is_met_by(self, have: Fact) -> bool:
        return isinstance(have, DhcpServer) and self._runs_in(have) and self._is_addressed_in(have) and self._is_loaded_in(have)

    def _runs_in(self, have: "DhcpServer") -> bool:
        return (self.argv, self.netns) == (have.argv, have.netns) and not self._conflicts(have)

    def _is_addressed_in(self, have: "DhcpServer") -> bool:
        return sorted(address.partition("/")[0] for address in self.addresses) == sorted(have.addresses)

    def _is_loaded_in(self, have: "DhcpServer") -> bool:
        return have.loaded and (self.options, self.reservations) == (have.options, have.reservations)

    def _conflicts(self, have: "DhcpServer") -> set[str]:
        """Leases of an address that is now reserved for another MAC: dnsmasq would refuse it until they expire."""
        reserved_for = {address: mac for mac, *_, address in (line.split(",") for line in self.reservations)}
        return {line for line in have.leases for _, mac, address, *_ in [line.split()] if reserved_for.get(address, mac) != mac}

    def add(self) -> Iterable[Step]:
        yield from self._address()
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
        yield Action(self.key, tool, "link set dev lo up")
        yield Action(self.key, tool, f"link set dev {self.device} up")
        yield Action(self.key, tool, f"addr flush dev {self.device} scope global")
        for address in self.addresses:
            yield Action(self.key, tool, f"addr add {address} dev {self.device}")

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


class Dnsmasq:
    """The driver: DhcpState with the LeaseStates of its network -> a DhcpServer."""

    def __init__(self, run_dir: Path) -> None:
        self._directory = run_dir / "dhcp"

    def want(self, desired: HostState) -> tuple[dict[str, Fact], list[Failure]]:
        reservations: dict[str, list[LeaseState]] = {}
        for value in desired.values():
            if isinstance(value, LeaseState):
                reservations.setdefault(value.network_id, []).append(value)
        servers = [
            self._want_server(value, reservations.get(value.network_id, []))
            for value in desired.values()
            if isinstance(value, DhcpState) and _ipv4_subnets(value)
        ]
        return {server.name: server for server in servers}, []

    def _want_server(self, dhcp: DhcpState, reservations: Iterable[LeaseState]) -> DhcpServer:
        directory = self._directory / dhcp.network_id
        subnets = _ipv4_subnets(dhcp)
        return DhcpServer(
            key=dhcp.key,
            directory=str(directory),
            netns=dhcp.netns,
            device=dhcp.device,
            argv=_arguments(dhcp, subnets, directory),
            addresses=(
                *(f"{subnet.server_address}/{network.prefixlen}" for subnet, network in subnets),
                *([f"{METADATA_ADDRESS}/32"] if dhcp.metadata else []),
            ),
            options=tuple(line for subnet, _ in subnets for line in _options(subnet)),
            reservations=_reservations(reservations, [network for _, network in subnets]),
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


def _arguments(dhcp: DhcpState, subnets: _Subnets, directory: Path) -> tuple[str, ...]:
    ranges = [
        f"--dhcp-range=set:{_tag(subnet)},{network.network_address},static,{network.netmask},{dhcp.lease_s}s" for subnet, network in subnets
    ]
    return (
        "dnsmasq",
        "--conf-file=/dev/null",
        "--user=root",
        "--group=",  # and its group stays: a user namespace without further groups refuses to change it
        "--port=0",  # DHCP alone: names are not its business
        "--bind-dynamic",
        f"--interface={dhcp.device}",
        "--except-interface=lo",
        f"--pid-file={directory}/pid",
        f"--dhcp-hostsfile={directory}/reservations",
        f"--dhcp-optsfile={directory}/options",
        f"--dhcp-leasefile={directory}/leases",
        "--dhcp-lease-max=65536",
        "--dhcp-authoritative",
        "--no-ping",  # the server has already made sure that an address is free; the ping costs a client a second
        f"--domain={dhcp.domain}",
        f"--dhcp-option-force=option:mtu,{dhcp.mtu_bytes}",
        f"--log-facility={directory}/log",
        "--quiet-dhcp",
        *ranges,
    )


def _ipv4_subnets(dhcp: DhcpState) -> _Subnets:
    parsed = [(subnet, ip_network(subnet.cidr)) for subnet in dhcp.subnets]
    return [(subnet, network) for subnet, network in parsed if isinstance(network, IPv4Network)]


def _options(subnet: DhcpSubnet) -> Iterable[str]:
    """Lines of `--dhcp-optsfile`. An option without a value keeps dnsmasq from sending its own address in its place."""
    tag = f"tag:{_tag(subnet)}"
    yield ",".join((tag, "option:dns-server", *subnet.dns_nameservers))
    yield ",".join((tag, "option:router", *([subnet.gateway_ip] if subnet.gateway_ip else [])))
    routes = [(route.destination, route.nexthop) for route in subnet.host_routes]
    if routes:
        # A client that gets routes must ignore the router option (RFC 3442): the default route goes along. 249: older Windows.
        if subnet.gateway_ip and "0.0.0.0/0" not in dict(routes):
            routes.append(("0.0.0.0/0", subnet.gateway_ip))
        flat = [part for route in routes for part in route]
        yield ",".join((tag, "option:classless-static-route", *flat))
        yield ",".join((tag, "249", *flat))


def _reservations(leases: Iterable[LeaseState], networks: list[IPv4Network]) -> tuple[str, ...]:
    in_subnets = {
        ",".join(part for part in (lease.mac_address, lease.hostname, address) if part)
        for lease in leases
        for address in lease.ip_addresses
        if ":" not in address and any(IPv4Address(address) in network for network in networks)
    }
    return tuple(sorted(in_subnets))


def _tag(subnet: DhcpSubnet) -> str:
    return f"subnet-{subnet.subnet_id}"


def _observe(directory: Path, netns_names: Mapping[int, str]) -> DhcpServer:
    daemon = daemons.find(directory / "pid")
    return DhcpServer(
        key=f"dhcp/{directory.name}",
        directory=str(directory),
        netns=netns_names.get(daemon.netns, "") if daemon else "",
        device="",
        argv=daemon.argv if daemon else (),
        addresses=tuple(daemon.addresses) if daemon else (),
        options=_file_lines(directory / "options"),
        reservations=_file_lines(directory / "reservations"),
        loaded=not (directory / "stale").exists(),
        leases=tuple(line for line in _file_lines(directory / "leases") if len(line.split()) >= 4),
    )


def _file_lines(path: Path) -> tuple[str, ...]:
    try:
        return tuple(path.read_text().splitlines())
    except FileNotFoundError:
        return ()
