"""Prefixes out of pools: which block of a size is free. Prefixes are texts at the edge, integer ranges inside."""

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


def first_free(cidrs: Iterable[str], taken: Iterable[str], prefixlen: int) -> str | None:
    """The lowest block of this length in `cidrs` that overlaps nothing taken; None where there is none.

    One sweep over what is taken, in order of address: the candidate moves behind each block that it would touch.
    """
    ordered = sorted(map(range_of, taken))
    for cidr in cidrs:
        prefix = ip_network(cidr)
        size = 1 << (prefix.max_prefixlen - prefixlen)
        candidate, end = range_of(cidr)
        if prefixlen < prefix.prefixlen:
            continue
        for first, last in ordered:
            if first >= candidate + size:
                break
            if last >= candidate:
                candidate = (last // size + 1) * size
        if candidate + size - 1 <= end:
            return str(prefix.__class__((candidate, prefixlen)))
    return None
