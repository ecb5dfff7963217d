"""Security groups and anti-spoofing on Linux bridges, by nftables: which facts filters ask for, and which a host has.

    bridge prerouting   the frame gets its port's mark; MAC, ARP, address and advertised neighbour must be the port's own
    inet prerouting     the network's conntrack zone; what the port may send (by way of br_netfilter: a bridge asks inet's hooks too)
    bridge forward      the mark of the port that the frame goes to; nothing to and from devices that nobody has told us of
    inet forward        what that port may receive

Everything is in tables named `naru`. A port is a few elements of maps and sets, a group four chains and perhaps two sets of members,
however many ports have it. What a port is not listed in lets nothing through: it is filtered from its mark on. See rules.py for the text.
The tables are there before the first bridge is, and what is in a bridge of ours is listed before it comes there: filtered, or `open`.
"""

import hashlib
from collections.abc import Iterator, Mapping
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

from naru.drivers import nftables
from naru.drivers.base import Action, Fact, Failure
from naru.drivers.filters import Chain, Element, Elements, Members, Tables, chain
from naru.drivers.made import Made
from naru.drivers.rules import (
    BASE_CHAINS,
    CHAIN_KINDS,
    FROM_PORT,
    NUMBERS,
    SETS,
    TO_PORT,
    group_chain,
    group_rules,
    members_set,
)
from naru.drivers.sources import allowed_sources, numbered, widest
from naru.model.devices import bridge_name, tap_name, vlan_name, vxlan_name
from naru.model.hoststate import FilterState, GroupState, HostState, NetworkState, RulesState, SegmentState, TapState

KEY = "firewall"  # of what all filters share
BRIDGE_SYSCTL = Path("/proc/sys/net/bridge")  # there once br_netfilter is
NO_BR_NETFILTER = (
    "this host's kernel has no br_netfilter, without which bridged packets are not filtered: modprobe br_netfilter, "
    'or set [agent] firewall = "none"'
)
FAMILIES = ("bridge", "inet")
FIRST_ZONE, ZONES = 4097, 61438  # lower ones are for who numbers VLANs by them, as Open vSwitch agents do
MEMBER_TYPES = {"IPv4": "ipv4_addr", "IPv6": "ipv6_addr"}


class Nft:
    """The driver: FilterState, RulesState and GroupState -> chains, sets and their elements. `interfaces`: physical network -> device."""

    kinds = ("filter", "rules", "group")

    def __init__(self, interfaces: Mapping[str, str], bridge_sysctl: Path = BRIDGE_SYSCTL) -> None:
        self._interfaces = interfaces
        self._bridge_sysctl = bridge_sysctl
        self._followed = nftables.Followed(self._read)
        self._made = Made()

    def want(self, desired: HostState) -> tuple[dict[str, Fact], list[Failure]]:
        filters = [value for value in desired.values() if isinstance(value, FilterState)]
        if not self._bridge_sysctl.is_dir():
            return {}, [Failure(value.key, NO_BR_NETFILTER) for value in filters]
        self._made.begin_pass()
        devices = dict(_open_devices(desired, self._interfaces))
        facts = list(_want(filters, devices, desired, self._made)) if filters or devices else []
        return {fact.name: fact for fact in facts}, []

    def read(self) -> dict[str, Fact]:
        return dict(self._followed.now())

    def _read(self) -> dict[str, Fact]:
        tables = {family: nftables.table(family, "naru") for family in FAMILIES}
        facts = list(_observe({family: entries for family, entries in tables.items() if entries is not None}))
        return {fact.name: fact for fact in facts}

    def apply(self, actions: list[Action]) -> list[Failure]:
        """All in one transaction; where a line is refused, all but what has that line's key."""
        keys = [action.key for action in actions]
        reasons = nftables.batch(keys, [action.line for action in actions])
        failures: dict[str, str] = {}
        for index, reason in sorted(reasons.items()):
            failures.setdefault(keys[index], reason)
        if KEY in failures:  # nothing stands without what all share
            return [Failure(key, failures[KEY]) for key in dict.fromkeys(keys)]
        return [Failure(key, reason) for key, reason in failures.items()]

    def pids(self) -> list[int]:
        return []


def _open_devices(desired: HostState, interfaces: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Device -> key, of what is in bridges of ours and not filtered: ways to other hosts, and taps."""
    for value in desired.values():
        if isinstance(value, NetworkState):
            yield from ((name, value.key) for segment in value.segments if (name := _uplink_name(segment, interfaces)))
        elif isinstance(value, TapState) and not value.filtered:
            yield tap_name(value.port_id), value.key


def _uplink_name(segment: SegmentState, interfaces: Mapping[str, str]) -> str:
    """As linuxbridge.py calls it; "" where there is none."""
    device, number = interfaces.get(segment.physical_network or "", ""), segment.segmentation_id or 0
    match segment.network_type:
        case "vxlan":
            return vxlan_name(number)
        case "vlan" if device:
            return vlan_name(device, number)
    return device


def _want(filters: list[FilterState], devices: Mapping[str, str], desired: HostState, made: Made) -> Iterator[Fact]:
    yield Tables(KEY, dict(SETS), FAMILIES)
    groups = {value.group_id: value for value in desired.values() if isinstance(value, GroupState)}
    for group in groups.values():
        yield from made.of(_members, group)
    for family, title, hook, rules in BASE_CHAINS:
        yield chain(KEY, family, title, rules, hook)
    for value in desired.values():
        if isinstance(value, RulesState) and all(rule.remote_group in (None, *groups) for rule in value.rules):
            yield from made.of(_chains, value)
    for value in filters:
        for kind in CHAIN_KINDS if len(value.security_groups) > 1 else ():
            jumps = [f"jump {group_chain(id, kind)}" for id in sorted(value.security_groups)]
            yield chain(value.key, "inet", _leading_chain(value.security_groups, kind), jumps)
    zones = numbered((value.network_id for value in filters), ZONES)
    for network_id, number in zones.items():
        yield _listed("zones", bridge_name(network_id), f"network/{network_id}", str(FIRST_ZONE + number))
    yield from (_listed("open", device, key) for device, key in devices.items())
    numbers = numbered((value.port_id for value in filters), NUMBERS + 1)
    for value in filters:
        yield made.of(_port, value, numbers[value.port_id])


def _listed(set_name: str, device: str, key: str, value: str = "") -> Elements:
    """A device in one of the sets that speak of devices."""
    family = "inet" if set_name == "zones" else "bridge"
    return Elements(key, f"{set_name}/{device}", frozenset((Element(family, set_name, f'"{device}"', value),)))


def _members(group: GroupState) -> list[Members]:
    found = []
    for ethertype, type_ in MEMBER_TYPES.items():
        networks = [text for text in group.addresses if (":" in text) == (ethertype == "IPv6")]
        found.append(Members(group.key, members_set(group.group_id, ethertype), type_, frozenset(widest(networks))))
    return found


def _chains(value: RulesState) -> list[Chain]:
    return [chain(value.key, "inet", group_chain(value.group_id, kind), group_rules(value.rules, kind)) for kind in CHAIN_KINDS]


def _port(value: FilterState, number: int) -> Elements:
    return Elements(value.key, _port_title(number), frozenset(_port_elements(value, number)))


def _port_elements(value: FilterState, number: int) -> Iterator[Element]:
    device, from_port, to_port = f'"{tap_name(value.port_id)}"', _mark(FROM_PORT | number), _mark(TO_PORT | number)
    yield Element("bridge", "inports", device, from_port)
    yield Element("bridge", "outports", device, to_port)
    for mac, texts in allowed_sources(value).items():
        yield Element("bridge", "macs", f"{from_port} . {mac}")
        for text in texts:
            version = 6 if ":" in text else 4
            yield Element("bridge", f"{'prefixes' if '/' in text else 'sources'}{version}", f"{from_port} . {mac} . {text}")
            if version == 6 and "/" in text:
                yield Element("bridge", "any_target", from_port)
            elif version == 6:
                yield Element("bridge", "targets6", f"{from_port} . {int(IPv6Address(text)):#034x}")
    if not value.stateful:
        yield Element("inet", "stateless", from_port)
        yield Element("inet", "stateless", to_port)
    for kind in CHAIN_KINDS if value.security_groups else ():
        # What a port sends is of its egress, or answers what came in by its ingress.
        mark = from_port if kind in ("egress", "ingress_answers") else to_port
        yield Element("inet", kind, mark, f"jump {_leading_chain(value.security_groups, kind)}")


def _leading_chain(groups: tuple[str, ...], kind: str) -> str:
    """The chain that leads to the rules of all these groups: of one group, its own."""
    if len(groups) == 1:
        return group_chain(groups[0], kind)
    return f"s-{hashlib.sha256(' '.join(sorted(groups)).encode()).hexdigest()[:16]}-{kind}"


def _mark(value: int) -> str:
    return f"{value:#010x}"


def _port_title(number: int) -> str:
    return f"port/{number:07x}"


# -- reading


def _observe(tables: Mapping[str, list[nftables.Entry]]) -> Iterator[Fact]:
    if not tables:
        return
    owned: dict[str, set[Element]] = {}
    sets = [(family, entry.set or entry.map) for family, entries in tables.items() for entry in entries]
    yield Tables(KEY, {f"{family} {item.name}": "" for family, item in sets if item}, tuple(tables))
    for family, item in sets:
        if item is None:
            continue
        if f"{family} {item.name}" in SETS:
            for element in _elements(family, item):
                owned.setdefault(_owner(element), set()).add(element)
        else:
            kind = MEMBER_TYPES["IPv6" if item.name.startswith("m6") else "IPv4"]
            yield Members(f"group/{item.name[3:]}", item.name, kind, frozenset(_element_text("", key) for key in item.elem))
    for family, entries in tables.items():
        yield from _observe_chains(family, entries)
    for title, elements in owned.items():
        yield Elements(f"elements/{title}", title, frozenset(elements))


def _observe_chains(family: str, entries: list[nftables.Entry]) -> Iterator[Chain]:
    comments: dict[str, list[str]] = {}
    for entry in entries:
        if entry.rule is not None:
            comments.setdefault(entry.rule.chain, []).append(entry.rule.comment)
    names = [entry.chain.name for entry in entries if entry.chain is not None]
    # What jumps comes after what is jumped to, so that it can go before: the hooks last, and before them what leads to groups.
    for name in sorted(names, key=lambda name: (name in _HOOKED, name.startswith("s-"), not name.startswith("g-"))):
        rules = comments.get(name, [])
        yield Chain(f"rules/{name}", family, name, digest=rules[0] if rules else "", count=len(rules))


_HOOKED = {title for _, title, hook, _ in BASE_CHAINS if hook}


def _elements(family: str, item: nftables.Set) -> Iterator[Element]:
    is_map = " : " in SETS[f"{family} {item.name}"]
    for raw in item.elem:
        key, value = raw if is_map else (raw, None)
        yield Element(family, item.name, _element_text(item.name, key), "" if value is None else _value_text(item.name, value))


def _element_text(set_name: str, raw: Any) -> str:
    """A key as we write it, from what libnftables makes of it."""
    match raw:
        case {"concat": [first, *rest]}:
            return " . ".join((_element_text("", first), *(_element_text(set_name, part) for part in rest)))
        case {"prefix": {"addr": address, "len": length}}:
            return f"{address}/{length}"
        case {"range": [low, high]}:
            return f"{low}-{high}"
        case int():
            return _mark(raw)
    if set_name in ("inports", "outports", "open", "zones"):
        return f'"{raw}"'
    return f"{int(raw, 16):#034x}" if raw.startswith("0x") else str(raw)


def _value_text(set_name: str, raw: Any) -> str:
    match raw:
        case {"jump": {"target": target}}:
            return f"jump {target}"
        case int():
            return str(raw) if set_name == "zones" else _mark(raw)
    return str(raw)


def _owner(element: Element) -> str:
    """The title of the Elements that it is one of: a port, by the number in its mark, or a device."""
    if element.set in ("open", "zones"):
        return f"{element.set}/{element.key.strip(chr(34))}"
    mark = element.value if element.set in ("inports", "outports") else element.key.partition(" ")[0]
    return _port_title(int(mark, 16) & NUMBERS) if mark.startswith("0x") else f"unknown/{element.key}"
