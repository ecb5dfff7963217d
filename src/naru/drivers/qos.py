"""Limits and marks of taps, by tc and nftables (qos_nft.py).

    to the port     a token bucket at the tap's end, handle 6278: ("naru" on a telephone's keys): the proof that it is ours
    from the port   a filter of preference 0x6278 leads what comes out of the tap through an `ifb` device of ours, which has such a bucket,
                    and back: so it is slowed down there, and not dropped

Open vSwitch takes what comes out of a tap before all of that: it limits and marks it itself (ovs_qos.py), and here is only what goes in.
An empty clsact stays on a tap that has had a filter: it does nothing, and others may have come to use it. Sources: tc-tbf(8), ifb of
linux/drivers/net.
"""

from collections.abc import Iterable, Iterator, Mapping

from naru.drivers import iproute, nftables, tc
from naru.drivers.base import Action, Fact, Failure, Foreign, Step
from naru.drivers.links import GROUP
from naru.drivers.qos_nft import read_tables, want_tables
from naru.drivers.tools import run_actions
from naru.model.devices import ifb_name, tap_name
from naru.model.hoststate import BandwidthLimit, HostState, QosState, TapState

IP, TC = ("ip",), ("tc",)
HANDLE, PREFERENCE = f"{GROUP}:", int(GROUP, 16)
QUEUE_S = 0.05  # what is sent above the limit waits for so long before it is dropped
LEAST_BURST_BYTES = 10_000  # a bucket that is smaller than a frame lets none through
MOST_BYTES = 2**30
READ_ERROR_S = 3e-6  # tc counts the size of a bucket in microseconds of its rate


class Ifb(Fact, frozen=True):
    """The device through which what a port sends is led."""

    device: str
    alias: str
    up: bool = True

    @property
    def name(self) -> str:
        return f"link/{self.device}"

    def add(self) -> Iterable[Step]:
        yield Action(self.key, IP, f"link add name {self.device} group {GROUP} type ifb")
        yield from self.change(self)

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        yield Action(self.key, IP, f"link set dev {self.device} alias {self.alias} addrgenmode none")
        yield Action(self.key, IP, f"link set dev {self.device} up")

    def remove(self) -> Iterable[Action]:
        yield Action(self.key, IP, f"link del dev {self.device}")


class Bucket(Fact, frozen=True):
    """A token bucket at the end of a device; no other discipline of somebody's stands there."""

    device: str
    rate_bytes_s: int
    burst_bytes: int

    @property
    def name(self) -> str:
        return f"root/{self.device}"

    def is_met_by(self, have: Fact) -> bool:
        if not isinstance(have, Bucket):
            return False
        off = abs(have.burst_bytes - self.burst_bytes)
        return have.rate_bytes_s == self.rate_bytes_s and off <= 2 + self.rate_bytes_s * READ_ERROR_S

    def add(self) -> Iterable[Step]:
        return self._set("add")

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        return self._set("replace")

    def _set(self, verb: str) -> Iterable[Step]:
        queued = min(self.burst_bytes + int(self.rate_bytes_s * QUEUE_S), 2 * MOST_BYTES - 1)
        bucket = f"tbf rate {self.rate_bytes_s * 8}bit burst {self.burst_bytes} limit {queued}"
        yield Action(self.key, TC, f"qdisc {verb} dev {self.device} root handle {HANDLE} {bucket}")

    def remove(self) -> Iterable[Action]:
        yield Action(self.key, TC, f"qdisc del dev {self.device} root handle {HANDLE}")


class Entrance(Fact, frozen=True):
    """Where a tap can have filters on what comes in; whoever made it."""

    device: str

    @property
    def name(self) -> str:
        return f"entrance/{self.device}"

    def add(self) -> Iterable[Step]:
        yield Action(self.key, TC, f"qdisc add dev {self.device} clsact")

    def remove(self) -> Iterable[Action]:
        return ()


class Detour(Fact, frozen=True):
    """What comes in by a tap is led through an ifb device."""

    device: str
    through: tuple[str, ...]  # read: by each of our filters there

    @property
    def name(self) -> str:
        return f"detour/{self.device}"

    def add(self) -> Iterable[Step]:
        target = f"action mirred egress redirect dev {self.through[0]}"
        yield Action(self.key, TC, f"filter add dev {self.device} ingress protocol all pref {PREFERENCE} u32 match u32 0 0 {target}")

    def remove(self) -> Iterable[Action]:
        yield Action(self.key, TC, f"filter del dev {self.device} ingress pref {PREFERENCE}")


class Qos:
    """The driver: QosState -> token buckets, detours, packet rates and marks. `rule_types`: those that this host enforces."""

    kinds = ("qos",)

    def __init__(self, mechanism: str, rule_types: tuple[str, ...]) -> None:
        self._mechanism = mechanism
        self._is_idle = False  # nothing was wanted, and nothing was there that is ours, which only we make
        self._is_wanted = True
        has_nft = any("nft" in _PROBES[mechanism][type] for type in rule_types)
        self._tables = nftables.Followed[list[Fact]](read_tables) if has_nft else None

    def want(self, desired: HostState) -> tuple[dict[str, Fact], list[Failure]]:
        values = [value for value in desired.values() if isinstance(value, QosState)]
        if self._mechanism == "openvswitch":
            behind = trunked(desired)
            values = [QosState(v.port_id, v.ingress, ingress_packets=v.ingress_packets) for v in values if v.port_id not in behind]
        facts = [*_want(values), *want_tables(values)]
        self._is_wanted = bool(facts)
        return {fact.name: fact for fact in facts}, []

    def read(self) -> dict[str, Fact]:
        if self._is_idle and not self._is_wanted:
            return {}
        facts = [*_read_ifbs(), *read_disciplines(tc.disciplines()), *(self._tables.now() if self._tables is not None else ())]
        self._is_idle = not self._is_wanted and all(isinstance(fact, Foreign | Entrance) for fact in facts)
        return {fact.name: fact for fact in facts}

    def apply(self, actions: list[Action]) -> list[Failure]:
        return run_actions(actions)

    def pids(self) -> list[int]:
        return []


def trunked(desired: HostState) -> set[str]:
    """The ports of trunks, which have no tap to themselves: parents and sub-ports."""
    taps = (value for value in desired.values() if isinstance(value, TapState))
    return {tap.port_id for tap in taps if tap.trunk or tap.parent is not None}


def _want(values: list[QosState]) -> Iterator[Fact]:
    """By kind, so that each is one batch."""
    leaving = [(value, value.egress) for value in values if value.egress is not None]
    for value, _ in leaving:
        yield Ifb(value.key, ifb_name(value.port_id), f"naru:{value.port_id}")
    for value, limit in leaving:
        yield _bucket(value.key, ifb_name(value.port_id), limit)
    for value, _ in leaving:
        yield Entrance(value.key, tap_name(value.port_id))
        yield Detour(value.key, tap_name(value.port_id), (ifb_name(value.port_id),))
    for value in values:
        if value.ingress is not None:
            yield _bucket(value.key, tap_name(value.port_id), value.ingress)


def _bucket(key: str, device: str, limit: BandwidthLimit) -> Bucket:
    rate = max(limit.max_kbps, 1) * 125  # tc knows no rate of nothing
    return Bucket(key, device, rate, min(max(limit.burst_kbit * 125, LEAST_BURST_BYTES), MOST_BYTES, max(60 * rate, LEAST_BURST_BYTES)))


def _read_ifbs() -> Iterator[Ifb]:
    for link in iproute.links_of("ifb"):
        if link.group == GROUP:
            owner = link.ifalias.removeprefix("naru:")
            yield Ifb(f"qos/{owner}", link.ifname, link.ifalias, link.is_up)


def read_disciplines(found: list[tc.Discipline]) -> Iterator[Fact]:
    entrances = [one.dev for one in found if one.kind in tc.INGRESS_KINDS]
    for one in found:
        if one.root and one.handle == HANDLE:
            rate, burst = (one.options.get(name, 0) for name in ("rate", "burst"))
            yield Bucket(f"root/{one.dev}", one.dev, rate if one.kind == "tbf" else 0, burst)
        elif one.root and one.handle != "0:":
            remedy = f"remove it (tc qdisc del dev {one.dev} root)"
            reason = f"{one.dev} has a queueing discipline, {one.kind} {one.handle}, that is not Naru's; {remedy}"
            yield Foreign("", f"root/{one.dev}", reason)
    yield from (Entrance(f"entrance/{device}", device) for device in entrances)
    for device, through in tc.redirects(entrances, PREFERENCE).items():
        yield Detour(f"detour/{device}", device, tuple(through))


_VETH = "ip link add probe type veth peer name wire && "
_BUCKET = "tc qdisc add dev wire root tbf rate 1mbit burst 10kb limit 20kb"
_RATE = """add table netdev probe
add chain netdev probe c { type filter hook egress device "probe" priority 0; }
add rule netdev probe c limit rate over 1/second burst 1 packets drop"""
_PROBES: Mapping[str, Mapping[str, str]] = {
    "linuxbridge": {
        "bandwidth_limit": f"{_VETH}{_BUCKET} && ip link add through type ifb && ip link set through up && "
        "tc qdisc add dev probe clsact && "
        "tc filter add dev probe ingress protocol all pref 1 u32 match u32 0 0 action mirred egress redirect dev through",
        "dscp_marking": "nft 'add table bridge probe; add chain bridge probe c; add rule bridge probe c ip dscp set 8'",
        "packet_rate_limit": f"{_VETH}nft '{_RATE}' && nft 'add table bridge probe'",
    },
    "openvswitch": {
        "bandwidth_limit": _VETH + _BUCKET,
        "dscp_marking": "true",  # any switch does
        "packet_rate_limit": f"{_VETH}nft '{_RATE}'",
    },
}


def probe_rule_types(mechanism: str) -> tuple[str, ...]:
    """What this kernel and its tools can enforce, tried in namespaces that are gone afterwards."""
    probes = _PROBES[mechanism].items()
    return tuple(type for type, probe in probes if iproute.run(("unshare", "--net", "sh", "-ec", probe)).returncode == 0)
