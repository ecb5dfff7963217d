"""Limits and marks on Open vSwitch: meters, and flows of table 0 that lead frames through them. Pure.

    from the port   in br-int, before anything else looks at the frame: the mark, and meters one after the other, which register 7 counts
    to the port     of a trunk, which has no tap to itself: in the trunk's bridge, where the frame comes from br-int; all others: qos.py

A meter drops what is too much, and with it all that the frame would still have come to: so a frame meets one before it is copied.
Meters have no mark of their own. Ours in br-int are those from 0x10000 on, where the rest of the number is the port's.
Sources: ovs-actions(7), ovs-ofctl(8) "Meter Table Commands".
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

from naru.drivers import ovsdb
from naru.drivers.base import Action, Fact, Step
from naru.drivers.flow_monitor import BridgeMeter
from naru.drivers.openflow import flows
from naru.drivers.qos import LEAST_BURST_BYTES, trunked
from naru.drivers.qos_nft import packets_of
from naru.drivers.switch import trunk_ports
from naru.model.devices import trunk_bridge
from naru.model.hoststate import BandwidthLimit, HostState, PacketRateLimit, QosState, TapState

UNITS = {"kbps": 0x10000, "pktps": 0x20000}  # and where the numbers of their meters begin
LEAST_BURST_KBIT = LEAST_BURST_BYTES // 125
MOST = 2**32 - 1
FIRST, SECOND = 200, 201  # priorities: before all that says where a frame comes from


class Meter(Fact, frozen=True):
    """It lets `rate` pass, and `burst` at once; both in its unit."""

    bridge: str
    number: int
    unit: str
    rate: int
    burst: int
    goes_last: ClassVar[bool] = True  # with it, the switch removes all flows that lead through it

    @property
    def name(self) -> str:
        return f"meter/{self.bridge}/{self.number}"

    def add(self) -> Iterable[Step]:
        return self._set("add-meter")

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        return self._set("mod-meter")

    def _set(self, verb: str) -> Iterable[Step]:
        band = f"band=type=drop,rate={self.rate},burst_size={self.burst}"
        yield Action(self.key, ("sh",), f"{' '.join(ovsdb.OPENFLOW)} {verb} {self.bridge} meter={self.number},{self.unit},burst,{band}")

    def remove(self) -> Iterable[Action]:
        delete = f"{' '.join(ovsdb.OPENFLOW)} del-meter {self.bridge} meter={self.number}"
        yield Action(self.key, ("sh",), f"{delete} || ! ovs-vsctl br-exists {self.bridge}")


def want_limits(desired: HostState, bridge: str, numbers: Mapping[str, int]) -> Iterator[Fact]:
    """`numbers`: port id -> how flows of `bridge`, br-int, call it."""
    behind = trunked(desired)
    for value in desired.values():
        if not isinstance(value, QosState) or value.port_id not in numbers:
            continue
        number = numbers[value.port_id]
        meters = list(_meters(value.key, bridge, number, value.egress, value.egress_packets))
        yield from meters
        if meters or value.dscp_mark is not None:
            yield flows(value.key, _sending(number, meters, value.dscp_mark))
        tap = desired.get(f"tap/{value.port_id}")
        if value.port_id in behind and isinstance(tap, TapState):
            yield from _receiving(value, tap)


def _meters(
    key: str, bridge: str, number: int, bandwidth: BandwidthLimit | None, packets: PacketRateLimit | None
) -> Iterator[Meter]:  # fmt: skip
    if bandwidth is not None:
        rate, burst = max(bandwidth.max_kbps, 1), max(bandwidth.burst_kbit, LEAST_BURST_KBIT)
        yield Meter(key, bridge, UNITS["kbps"] + number, "kbps", min(rate, MOST), min(burst, MOST))
    if packets is not None:
        yield Meter(key, bridge, UNITS["pktps"] + number, "pktps", *packets_of(packets))


def _sending(number: int, meters: list[Meter], mark: int | None) -> Iterator[str]:
    """What a port sends comes back to table 0 after each meter; the mark is of IP packets."""
    if mark is not None:
        marked = f"set_field:{mark}->ip_dscp"
        yield from (_led(SECOND, f"{ip},in_port={number}", 0, *meters[:1], then=(marked, _back(1))) for ip in ("ip", "ipv6"))
    for index, meter in enumerate(meters):
        yield _led(FIRST, f"in_port={number}", index, meter, then=(_back(index + 1),))


def _receiving(value: QosState, tap: TapState) -> Iterator[Fact]:
    """NORMAL knows where what comes from br-int goes on: to the trunk's tap, with the tag of the port."""
    bridge, device = trunk_bridge(tap.parent or tap.port_id), trunk_ports(tap)[0]
    meters = list(_meters(value.key, bridge, tap.vlan, value.ingress, value.ingress_packets))
    ends = [*(_back(index) for index in range(1, len(meters))), "NORMAL"]
    lines = [
        _led(FIRST, f"in_port={device}", index, meter, then=(end,)) for index, (meter, end) in enumerate(zip(meters, ends, strict=False))
    ]
    if meters:
        yield from meters
        yield flows(value.key, lines, bridge)


def _led(priority: int, match: str, count: int, *meters: Meter, then: tuple[str, ...]) -> str:
    actions = (*(f"meter:{meter.number}" for meter in meters), *then)
    return f"table=0,priority={priority},{match},reg7={count},actions={','.join(actions)}"


def _back(count: int) -> str:
    """To the beginning, after so many meters."""
    return f"load:{count:#x}->NXM_NX_REG7[],resubmit(,0)"


def read_meters(bridge: str, meters: Iterable[BridgeMeter]) -> Iterator[Meter]:
    """Those in the range of ours."""
    for meter in meters:
        if meter.unit in UNITS and UNITS[meter.unit] <= meter.number < UNITS[meter.unit] + 0x10000:
            yield Meter(f"meter/{bridge}/{meter.number}", bridge, meter.number, meter.unit, meter.rate, meter.burst)
