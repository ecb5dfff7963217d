"""Which flows filters ask for on a switch. The text of the flows is in openflow.py."""

import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from naru.drivers.base import Fact
from naru.drivers.made import Made
from naru.drivers.openflow import (
    Flows,
    Fragments,
    admit_flow,
    base_flows,
    flows,
    group_flows,
    mac_flow,
    member_flows,
    port_flows,
    trunk_flow,
    vlan_flows,
)
from naru.drivers.sources import allowed_sources, numbered
from naru.drivers.switch import DEAD_VLAN
from naru.model.hoststate import FilterState, GroupState, HostState, RulesState

KEY = "firewall"  # of what all filters share
GROUP_NUMBERS = 1 << 31
MEMBER_PARTS = 64


class Place(NamedTuple):
    """A port of br-int: which key it serves, and how flows call it."""

    key: str
    number: int
    tag: int | None  # None: it carries all VLANs


def want_filters(
    desired: HostState, places: list[Place], vlans: Mapping[str, int], strangers: tuple[int, ...], made: Made
) -> Iterator[Fact]:  # fmt: skip
    """`vlans`: network id -> local VLAN. `strangers`: ports of others, who mind their own business.

    Of what has not changed the flows were `made` before.
    """
    numbers = {place.key.removeprefix("tap/"): place.number for place in places}
    filters = [
        value
        for value in desired.values()
        if isinstance(value, FilterState) and value.port_id in numbers and value.network_id in vlans
    ]  # fmt: skip
    if not vlans:
        return
    yield Fragments(KEY)
    yield made.of(_base, strangers)
    yield from (made.of(_entrance, place) for place in places if place.tag != DEAD_VLAN)
    groups = {value.group_id: value for value in desired.values() if isinstance(value, GroupState)}
    rules = {value.group_id: value for value in desired.values() if isinstance(value, RulesState)}
    group_numbers = {id: number + 1 for id, number in numbered([*groups, *rules], GROUP_NUMBERS).items()}
    for group in groups.values():
        for part in made.of(_parts, group.addresses):
            yield made.of(_members, group.key, group_numbers[group.group_id], part)
    for value in rules.values():
        if all(rule.remote_group in (None, *groups) for rule in value.rules):
            remotes = {rule.remote_group for rule in value.rules if rule.remote_group is not None}
            yield made.of(_rules, value, group_numbers[value.group_id], tuple((id, group_numbers[id]) for id in sorted(remotes)))
    for filtered in filters:
        of_port = tuple(group_numbers[id] for id in filtered.security_groups if id in group_numbers)
        yield made.of(_port, filtered, numbers[filtered.port_id], vlans[filtered.network_id], of_port)
    yield from _want_deliveries(filters, places, vlans, numbers, made)


def _base(strangers: tuple[int, ...]) -> Flows:
    return flows(KEY, [*base_flows(), *map(admit_flow, strangers)])


def _entrance(place: Place) -> Flows:
    return flows(place.key, [trunk_flow(place.number) if place.tag is None else admit_flow(place.number)])


def _parts(addresses: tuple[str, ...]) -> list[tuple[str, ...]]:
    """An address is always in the same part: one member more is the flows of one part, and not of thousands of members."""
    parts: dict[int, list[str]] = {}
    for address in addresses:
        parts.setdefault(zlib.crc32(address.encode()) % MEMBER_PARTS, []).append(address)
    return [tuple(part) for _, part in sorted(parts.items())]


def _members(key: str, number: int, addresses: tuple[str, ...]) -> Flows:
    return flows(key, member_flows(number, addresses))


def _rules(value: RulesState, number: int, remotes: tuple[tuple[str, int], ...]) -> Flows:
    return flows(value.key, group_flows(number, value.rules, dict(remotes)))


def _port(value: FilterState, port: int, vlan: int, groups: tuple[int, ...]) -> Flows:
    return flows(value.key, port_flows(value, port, vlan, groups))


def _delivery(key: str, vlan: int, mac: str, ports: tuple[int, ...], *, alone: bool) -> Flows:
    return flows(key, [mac_flow(vlan, mac, ports, alone=alone)])


def _want_deliveries(
    filters: list[FilterState], places: list[Place], vlans: Mapping[str, int], numbers: Mapping[str, int], made: Made
) -> Iterator[Flows]:  # fmt: skip
    by_network: dict[str, list[FilterState]] = {}
    for value in filters:
        by_network.setdefault(value.network_id, []).append(value)
    others: dict[int, list[int]] = {}
    for place in places:
        if place.tag is not None and place.tag != DEAD_VLAN:
            others.setdefault(place.tag, []).append(place.number)
    for network_id, values in by_network.items():
        vlan, filtered = vlans[network_id], sorted(numbers[value.port_id] for value in values)
        yield flows(f"network/{network_id}", vlan_flows(vlan, others.get(vlan, []), filtered))
        owners: dict[str, list[FilterState]] = {}
        for value in values:
            for mac in made.of(allowed_sources, value):
                owners.setdefault(mac, []).append(value)
        for mac, of_mac in owners.items():
            alone = any(value.mac_address == mac for value in of_mac)
            ports = tuple(numbers[value.port_id] for value in of_mac)
            yield made.of(_delivery, of_mac[0].key, vlan, mac, ports, alone=alone)
