"""Prefixes out of pools: which block of a size is free. Prefixes are texts at the edge, integer ranges inside."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

Prefix = IPv4Network | IPv6Network
Range = tuple[int, int]  # first and last address, both included


@lru_cache(maxsize=65536)
def range_of(cidr: str) -> Range:
    prefix = ip_network(cidr)
    return int(prefix.network_address), int(prefix.broadcast_address)


def compact(cidrs: Iterable[str]) -> tuple[str, ...]:
    """The fewest prefixes that hold the same addresses, in order. All of one IP version."""
    return tuple(str(prefix) for prefix in collapse_addresses(ip_network(cidr) for cidr in cidrs))  # type: ignore[type-var]


def meet(one: str, other: str) -> bool:
    """Is there an address in both prefixes? They are of one IP version."""
    (first, last), (start, end) = range_of(one), range_of(other)
    return first <= end and start <= last


def overlap(some: Iterable[str], others: Iterable[str]) -> bool:
    """Is there an address in both?"""
    marked = sorted([(*range_of(cidr), 0) for cidr in some] + [(*range_of(cidr), 1) for cidr in others])
    ends = [-1, -1]  # how far each side has come
    for first, last, side in marked:
        if first <= ends[1 - side]:
            return True
        ends[side] = max(ends[side], last)
    return False


def contains(cidrs: Iterable[str], cidr: str) -> bool:
    """Does one of the (compacted) prefixes hold all of `cidr`?"""
    first, last = range_of(cidr)
    return any(start <= first and last <= end for start, end in map(range_of, cidrs))


def without(cidrs: Iterable[str], removed: Iterable[str]) -> tuple[str, ...]:
    """The prefixes that are left of `cidrs`, compacted."""
    left: list[Prefix] = [ip_network(cidr) for cidr in cidrs]
    for gone in map(ip_network, removed):
        left = [piece for prefix in left for piece in _exclude(prefix, gone)]
    return compact(map(str, left))


def _exclude(prefix: Prefix, gone: Prefix) -> Iterable[Prefix]:
    if not prefix.overlaps(gone):
        return (prefix,)
    return () if gone.prefixlen <= prefix.prefixlen else prefix.address_exclude(gone)  # type: ignore[arg-type]


class TakenPrefixes:
    """What a pool has given: blocks that do not overlap, kept as sorted runs of addresses; neighbours are one run.

    To take and to give back costs O(log runs), to find a free block O(runs): a pool that gives its blocks in order has one run.
    """

    __slots__ = ("_ends", "_starts", "count")

    def __init__(self, cidrs: Iterable[str] = ()) -> None:
        self._starts: list[int] = []  # of runs; _starts[i] to _ends[i], both included
        self._ends: list[int] = []
        self.count = 0  # blocks
        for cidr in cidrs:
            self.take(cidr)

    def take(self, cidr: str) -> None:
        first, last = range_of(cidr)
        low = high = bisect_left(self._starts, first)
        if low > 0 and self._ends[low - 1] == first - 1:
            low, first = low - 1, self._starts[low - 1]
        if high < len(self._starts) and self._starts[high] == last + 1:
            high, last = high + 1, self._ends[high]
        self._starts[low:high] = [first]
        self._ends[low:high] = [last]
        self.count += 1

    def release(self, cidr: str) -> None:
        """Give back a block that was taken."""
        first, last = range_of(cidr)
        run = bisect_right(self._starts, first) - 1
        left = [(a, b) for a, b in ((self._starts[run], first - 1), (last + 1, self._ends[run])) if a <= b]
        self._starts[run : run + 1] = [a for a, _ in left]
        self._ends[run : run + 1] = [b for _, b in left]
        self.count -= 1

    def is_free(self, cidr: str) -> bool:
        """Nothing of the block is taken."""
        first, last = range_of(cidr)
        run = bisect_right(self._starts, last) - 1
        return run < 0 or self._ends[run] < first

    def first_free(self, cidrs: Iterable[str], prefixlen: int) -> str | None:
        """The lowest block of this length in `cidrs` that overlaps nothing taken; None where there is none."""
        for cidr in cidrs:
            prefix = ip_network(cidr)
            if prefixlen < prefix.prefixlen:
                continue
            size = 1 << (prefix.max_prefixlen - prefixlen)
            candidate, end = range_of(cidr)
            run = bisect_left(self._ends, candidate)
            while run < len(self._starts) and self._starts[run] < candidate + size:
                candidate = (self._ends[run] // size + 1) * size  # the next of its size behind the run
                run = bisect_left(self._ends, candidate, run + 1)
            if candidate + size - 1 <= end:
                return str(prefix.__class__((candidate, prefixlen)))
        return None
