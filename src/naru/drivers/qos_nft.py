"""Packet rates and DSCP marks of taps, by two tables `naru_qos` of nftables.

    netdev   to the port: a chain at the tap's end, which drops what is too much
    bridge   from the port: what a tap sends goes through the chain of its mark and through one of its own, before anything looks at it

A rule's comment says its numbers: nft writes the rule itself in other words than it was given. Sources: nft(8), "LIMIT STATEMENT",
"PAYLOAD STATEMENT".
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import ClassVar

import msgspec

from naru.drivers import nftables
from naru.drivers.base import Action, Fact, Step
from naru.model.devices import tap_name
from naru.model.hoststate import PacketRateLimit, QosState
from naru.model.qos import DSCP_MARKS

NFT = ("nft",)
TABLES = {"ingress": "netdev naru_qos", "egress": "bridge naru_qos"}
BRIDGE = TABLES["egress"]
MOST = 2**32 - 1  # of a burst, in nft


class Table(Fact, frozen=True):
    """What taps share of a table. The digest of its text is the name of an empty chain in it."""

    table: str
    digest: str
    goes_last: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return f"table/{self.table}"

    def add(self) -> Iterable[Step]:
        yield Action(self.key, NFT, "; ".join((*_LINES[self.table], f"add chain {self.table} {self.digest}")))

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        yield from self.remove()
        yield from self.add()

    def remove(self) -> Iterable[Action]:
        yield Action(self.key, NFT, f"delete table {self.table}")


class Mark(Fact, frozen=True):
    """What comes in by a tap gets a DSCP mark; `chain` is that of the mark."""

    device: str
    chain: str

    @property
    def name(self) -> str:
        return f"mark/{self.device}"

    def add(self) -> Iterable[Step]:
        yield Action(self.key, NFT, f'add element {BRIDGE} taps {{ "{self.device}" : jump {self.chain} }}')

    def remove(self) -> Iterable[Action]:
        yield Action(self.key, NFT, f'delete element {BRIDGE} taps {{ "{self.device}" }}')


class PacketRate(Fact, frozen=True):
    """No more packets in a second than so many go to a tap (ingress), or come from it; `burst` more at once."""

    device: str
    direction: str
    rate_pps: int
    burst: int

    @property
    def name(self) -> str:
        return f"rate/{self.direction}/{self.device}"

    def add(self) -> Iterable[Step]:
        yield Action(self.key, NFT, f"add chain {self._chain}{self._hook}; {self._rule}{self._lead}")

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        yield Action(self.key, NFT, f"flush chain {self._chain}; {self._rule}")

    def remove(self) -> Iterable[Action]:
        if self.direction == "egress":
            yield Action(self.key, NFT, f'delete element {BRIDGE} limited {{ "{self.device}" }}')
        yield Action(self.key, NFT, f"delete chain {self._chain}")

    @property
    def _chain(self) -> str:
        return f"{TABLES[self.direction]} {self.device}"

    @property
    def _hook(self) -> str:
        hook = f'type filter hook egress device "{self.device}" priority 0; policy accept;'
        return f" {{ {hook} }}" if self.direction == "ingress" else ""

    @property
    def _rule(self) -> str:
        numbers = f"{self.rate_pps}/{self.burst}"
        return f'add rule {self._chain} limit rate over {self.rate_pps}/second burst {self.burst} packets drop comment "{numbers}"'

    @property
    def _lead(self) -> str:
        return f'; add element {BRIDGE} limited {{ "{self.device}" : jump {self.device} }}' if self.direction == "egress" else ""


def _bridge_lines() -> Iterator[str]:
    yield f"add table {BRIDGE}"
    for name in ("taps", "limited"):
        yield f"add map {BRIDGE} {name} {{ type ifname : verdict; }}"
    for mark in DSCP_MARKS:
        yield f"add chain {BRIDGE} dscp_{mark}"
        yield f"add rule {BRIDGE} dscp_{mark} ip dscp set {mark}"
        yield f"add rule {BRIDGE} dscp_{mark} ip6 dscp set {mark}"
    yield f"add chain {BRIDGE} prerouting {{ type filter hook prerouting priority -400; policy accept; }}"
    yield f"add rule {BRIDGE} prerouting iifname vmap @limited"
    yield f"add rule {BRIDGE} prerouting iifname vmap @taps"


_LINES = {BRIDGE: tuple(_bridge_lines()), TABLES["ingress"]: (f"add table {TABLES['ingress']}",)}
DIGESTS = {table: "as_" + hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32] for table, lines in _LINES.items()}


def want_tables(values: list[QosState]) -> Iterator[Fact]:
    facts = [*_rates(values), *(Mark(v.key, tap_name(v.port_id), f"dscp_{v.dscp_mark}") for v in values if v.dscp_mark is not None)]
    used = dict.fromkeys(TABLES[fact.direction] if isinstance(fact, PacketRate) else BRIDGE for fact in facts)
    yield from (Table(table, table, DIGESTS[table]) for table in used)
    yield from facts


def _rates(values: list[QosState]) -> Iterator[PacketRate]:
    for value in values:
        for direction, limit in (("ingress", value.ingress_packets), ("egress", value.egress_packets)):
            if limit is not None:
                yield PacketRate(value.key, tap_name(value.port_id), direction, *packets_of(limit))


def packets_of(limit: PacketRateLimit) -> tuple[int, int]:
    """Rate and burst: none knows a rate of nothing."""
    return min(max(limit.max_pps, 1), MOST), min(max(limit.burst_packets, 1), MOST)


def read_tables() -> list[Fact]:
    """Of a table that is not as ours are now, no more than that."""
    return list(_read_tables())


def _read_tables() -> Iterator[Fact]:
    for direction, table in TABLES.items():
        entries = nftables.table(*table.split())
        if entries is None:
            continue
        digest = next((entry.chain.name for entry in entries if entry.chain is not None and entry.chain.name.startswith("as_")), "")
        yield Table(table, table, digest)
        if digest == DIGESTS[table]:
            yield from _read_entries(entries, direction)


def _read_entries(entries: list[nftables.Entry], direction: str) -> Iterator[Fact]:
    for entry in entries:
        if entry.rule is not None and "/" in entry.rule.comment:
            rate, burst = map(int, entry.rule.comment.split("/"))
            yield PacketRate(f"rate/{direction}/{entry.rule.chain}", entry.rule.chain, direction, rate, burst)
        elif entry.map is not None and entry.map.name == "taps":
            for device, verdict in entry.map.elem:
                yield Mark(f"mark/{device}", device, msgspec.convert(verdict, dict[str, dict[str, str]])["jump"]["target"])
