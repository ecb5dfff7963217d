"""IPAM: which addresses of a subnet are free, and which one comes next.

An `AddressSpace` keeps the free addresses of a subnet as sorted runs, so choosing, taking and releasing cost O(log runs)
whatever the fill and whatever the prefix length, IPv6 included. Choosing goes round: the next free address after the last
one taken, so that a released address rests as long as possible.

Addresses are integers inside (`int(ipaddress.ip_address(text))`), all of one IP version.
"""

import ipaddress
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice, takewhile
from typing import Literal

Pool = tuple[int, int]  # first and last address, both included

# What an address is taken for: a port has it, a pick holds it for a port to come, or it rests after a port had it.
Use = Literal["allocated", "held", "quarantined"]


class AddressSpace:
    """The allocation pools of one subnet and what is taken of them: usable = free + allocated + held + quarantined."""

    __slots__ = ("_aside", "_cursor", "_ends", "_pools", "_starts", "free", "held", "outside", "quarantined", "usable")

    def __init__(self, pools: Iterable[Pool], taken: Iterable[int] = ()) -> None:
        self._pools = sorted(pools)
        self._starts = [start for start, _ in self._pools]  # runs of free addresses, sorted:
        self._ends = [end for _, end in self._pools]  # _starts[i] to _ends[i], both included
        self._cursor = 0
        self.usable = sum(end - start + 1 for start, end in self._pools)
        self.free = self.usable
        self.held = self.quarantined = 0
        self.outside: set[int] = set()  # allocated, but in no pool (a gateway's port, an address asked for by name)
        self._aside: dict[int, Use] = {}  # held or quarantined, in a pool or not
        for address in taken:
            self.take(address)

    @property
    def allocated(self) -> int:
        """Addresses of the pools that ports have."""
        return self.usable - self.free - self.held - self.quarantined

    def choose(self) -> int | None:
        """The next free address after the last one taken, going round; None when there is none."""
        if not self._starts:
            return None
        run = bisect_right(self._ends, self._cursor)
        if run == len(self._starts):
            return self._starts[0]
        return max(self._starts[run], self._cursor + 1)

    def choose_many(self, count: int) -> list[int]:
        """What `choose` would give, each taken before the next is asked for; fewer where there are no more."""
        if count == 1:
            return [] if (address := self.choose()) is None else [address]
        start = self._cursor + 1
        found = list(islice(self._free_from(start), count))
        if len(found) < count:
            behind = takewhile(lambda address: address < start, self._free_from(0))
            found += islice(behind, count - len(found))
        return found

    def next_free(self, start: int) -> int | None:
        """The lowest free address that is not below `start`; None when there is none."""
        run = bisect_left(self._ends, start)
        return None if run == len(self._starts) else max(self._starts[run], start)

    def is_free(self, address: int) -> bool:
        """May this address be taken? Also true outside the pools, if nobody has it."""
        if self._in_pools(address):
            return self._run_of(address) is not None
        return address not in self.outside and address not in self._aside

    def take(self, address: int, use: Use = "allocated") -> None:
        """Mark an address as taken. Taking twice is the same as once."""
        if not self.is_free(address):
            return
        if use != "allocated":
            self._aside[address] = use
        run = self._run_of(address)
        if run is None:
            if use == "allocated":
                self.outside.add(address)
            return
        start, end = self._starts[run], self._ends[run]
        pieces = [(a, b) for a, b in ((start, address - 1), (address + 1, end)) if a <= b]
        self._starts[run : run + 1] = [a for a, _ in pieces]
        self._ends[run : run + 1] = [b for _, b in pieces]
        self._cursor = address
        self.free -= 1
        self._count(use, 1)

    def release(self, address: int) -> None:
        """Give an address back, whatever it was taken for. Releasing a free one changes nothing."""
        if self.is_free(address):
            return
        use = self._aside.pop(address, "allocated")
        if not self._in_pools(address):
            self.outside.discard(address)
            return
        run = bisect_right(self._starts, address)
        start = end = address
        first, last = run, run
        if run < len(self._starts) and self._starts[run] == address + 1:
            end, last = self._ends[run], run + 1
        if run > 0 and self._ends[run - 1] == address - 1:
            start, first = self._starts[run - 1], run - 1
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]
        self.free += 1
        self._count(use, -1)

    def _count(self, use: Use, more: int) -> None:
        if use == "held":
            self.held += more
        elif use == "quarantined":
            self.quarantined += more

    def _free_from(self, start: int) -> Iterator[int]:
        for run in range(bisect_left(self._ends, start), len(self._starts)):
            yield from range(max(self._starts[run], start), self._ends[run] + 1)

    def _run_of(self, address: int) -> int | None:
        run = bisect_right(self._starts, address) - 1
        return run if run >= 0 and address <= self._ends[run] else None

    def _in_pools(self, address: int) -> bool:
        return any(start <= address <= end for start, end in self._pools)


def default_pools(network: ipaddress.IPv4Network | ipaddress.IPv6Network, gateway: int | None) -> list[Pool]:
    """The pools of a subnet that names none: all hosts but the gateway.

    Left out are the network address, IPv4's broadcast address (RFC 919) and IPv6's subnet-router anycast address
    (RFC 4291 §2.6.1); a /31, /32, /127 or /128 uses all it has (RFC 3021, RFC 6164).
    """
    first, last = int(network.network_address), int(network.broadcast_address)
    if network.max_prefixlen - network.prefixlen > 1:
        first, last = first + 1, last - (network.version == 4)
    if gateway is None or not first <= gateway <= last:
        return [(first, last)]
    return [(start, end) for start, end in ((first, gateway - 1), (gateway + 1, last)) if start <= end]


def mac_from_bits(bits: int) -> str:
    """A MAC of Neutron's default prefix fa:16:3e and the lowest 24 of `bits`."""
    return f"fa:16:3e:{bits >> 16 & 255:02x}:{bits >> 8 & 255:02x}:{bits & 255:02x}"


def eui64(cidr: str, mac: str) -> str:
    """The IPv6 address that a host with this MAC gives itself in a /64 (RFC 4291 appendix A, RFC 4862 §5.5.3)."""
    octets = [int(part, 16) for part in mac.split(":")]
    octets[0] ^= 2  # the universal/local bit
    identifier = int.from_bytes(bytes([*octets[:3], 0xFF, 0xFE, *octets[3:]]))
    return str(ipaddress.IPv6Network(cidr).network_address + identifier)
