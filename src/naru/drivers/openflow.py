"""Security groups and anti-spoofing on Open vSwitch, as flows of br-int: what holds for every port, for one, and for a group. Pure.

    0   where a frame comes from: a filtered port, a port of a VLAN, tunnels; from a port that nobody has told us of it goes nowhere
    70  from a filtered port: does it advertise a neighbour that it is not
    71  are MAC, ARP and address its own                    81  to a filtered port (register 5)
    72  what every port may send, or not                    82  what every port may receive
    73  of which direction of a connection it is            83  the same
    74  the port's groups, one after the other              84  the same
    75  whether one of them let it pass                     85  the same
    60  to whom: filtered ports by 81, others by 62         86  out
    62  the switch itself, by what it has learned

    76  a group's lists of rules: those for anybody, and those for each remote group
    77  the rules of a list
    78  the members of a remote group

A filtered port is in the dead VLAN (see `vlan_words`): no frame goes to or from it but by these flows, and where they are missing, none.
Rules mean what they mean in rules.py, and every packet is held against those of now (ADR 0012).
Sources: ovs-fields(7), ovs-actions(7).
"""

import hashlib
from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from typing import ClassVar

from naru.drivers.base import Action, Fact, Step
from naru.drivers.rules import CHAIN_KINDS
from naru.drivers.sources import allowed_sources
from naru.drivers.switch import COOKIE, DEAD_VLAN, INTEGRATION
from naru.model.hoststate import FilterRule, FilterState

DIGEST_BITS = 48  # of a cookie of 64; before them stands that they are ours
OURS = COOKIE << DIGEST_BITS
# Kinds of rules by number: odd is what leaves a port, so that the remote side is the destination.
KINDS = {"egress": 1, "ingress": 2, "ingress_answers": 3, "egress_answers": 4}
# Registers, by what they hold while a frame is on its way. The next one counts meters (ovs_qos.py).
PASSED, VLAN, KIND, GROUP, REMOTE, TO, FILTERED = (f"NXM_NX_REG{number}[]" for number in range(7))
ZONE = "NXM_NX_REG1[0..15]"  # of connection tracking: the VLAN
UNTAGGED = "vlan_tci=0x0000/0x1000"
NOBODY = 0xFFFF  # OFPP_NONE: the switch does not learn where that is
ND, ROUTER_ADVERTISEMENT = (130, 131, 132, 133, 135, 136, 143), 134  # and multicast listeners: RFC 4861, 2710, 3810
_ICMP, _ICMPV6 = 1, 58
_WITH_PORTS = (6, 17, 132)  # TCP, UDP, SCTP: of no other protocol does Open vSwitch tell the ports


class Flows(Fact, frozen=True):
    """The flows of one owner. Their cookie is the digest of their text: so they are known again, however the switch writes them."""

    cookie: int
    count: int
    bridge: str
    lines: tuple[str, ...] = ()  # read: not told; cookie and count stand for them
    goes_last: ClassVar[bool] = True  # what is still wanted of it has been added anew by then

    @property
    def name(self) -> str:
        return f"flows/{self.cookie:x}"

    def is_met_by(self, have: Fact) -> bool:
        return isinstance(have, Flows) and self.count == have.count

    def add(self) -> Iterable[Step]:
        return (Action(self.key, self._tool(), f"add cookie={self.cookie:#x},{line}") for line in self.lines)

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        return self.add()

    def remove(self) -> Iterable[Action]:
        yield Action(self.key, self._tool(), f"delete cookie={self.cookie:#x}/-1")

    def _tool(self) -> tuple[str, ...]:
        # Flows of br-int number ports. To learn names, ovs-ofctl would first ask about every port: 20 ms where there are 500.
        return ("ovs-ofctl", *(("--no-names",) if self.bridge == INTEGRATION else ()), self.bridge)


class Fragments(Fact, frozen=True):
    """The first fragment of a packet shows its ports to flows, as a whole packet does; by itself, a switch hides those of all fragments."""

    mode: str = "nx-match"
    bridge: str = INTEGRATION

    @property
    def name(self) -> str:
        return f"fragments/{self.bridge}"

    def add(self) -> Iterable[Step]:
        yield Action(self.key, ("sh",), f"ovs-ofctl set-frags {self.bridge} {self.mode}")

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        return self.add()

    def remove(self) -> Iterable[Action]:
        if self.mode == "nx-match":
            yield Action(self.key, ("sh",), f"ovs-ofctl set-frags {self.bridge} normal || ! ovs-vsctl br-exists {self.bridge}")


def flows(key: str, lines: Iterable[str], bridge: str = INTEGRATION) -> Flows:
    """Wanted flows; of one match and priority there must be one, among all facts of a bridge."""
    lines = tuple(dict.fromkeys(lines))
    digest = hashlib.sha256("\n".join((key, *lines)).encode()).digest()
    return Flows(key, OURS | int.from_bytes(digest[: DIGEST_BITS // 8]), len(lines), bridge, lines)


def is_ours(cookie: int) -> bool:
    return cookie >> DIGEST_BITS == COOKIE or cookie == COOKIE  # the second: of br-tun, until 0.1


def base_flows() -> Iterator[str]:
    # A hypervisor plugs a port before anybody tells us whose it is, and until then it is a trunk of all VLANs.
    yield from (_flow(0, 1, "", "drop"), admit_flow("LOCAL"), _flow(0, 20, f"dl_vlan={DEAD_VLAN}", "drop"))
    yield _flow(60, 0, "", _to(62))
    yield _flow(62, 0, "", "NORMAL")
    tagged = "push_vlan:0x8100", "move:NXM_NX_REG1[0..11]->OXM_OF_VLAN_VID[]"
    yield _flow(62, 1, "reg6=1", _load(NOBODY, "NXM_OF_IN_PORT[]"), *tagged, "NORMAL")
    yield from (_flow(70, 0, "", _to(71)), _flow(70, 1, "icmp6,icmp_type=136,icmp_code=0", "drop"))
    answers = ("udp,tp_src=67,tp_dst=68", "udp6,tp_src=547,tp_dst=546", f"icmp6,icmp_type={ROUTER_ADVERTISEMENT}")
    questions = ("udp,tp_src=68,tp_dst=67", "udp6,tp_src=546,tp_dst=547", *(f"icmp6,icmp_type={type_}" for type_ in ND))
    yield from (_flow(72, 5, match, "drop") for match in answers)
    yield from (_flow(72, 4, match, _to(60)) for match in questions)
    yield from (_flow(72, 3, match, "drop") for match in ("ip,nw_src=0.0.0.0", "ipv6,ipv6_src=::"))
    yield from _flow_each_ip(72, 1, "", f"ct(table=73,zone={ZONE})")
    yield from _directions(73, KINDS["egress"], KINDS["ingress_answers"])
    yield from _verdicts(75, _to(60))
    received = ("arp", *answers, *(match for match in questions if match.startswith("icmp6")))
    yield from (_flow(81, 1, match, _to(86)) for match in received)
    yield _flow(81, 0, "", _to(82))
    yield from _flow_each_ip(82, 1, "", f"ct(table=83,zone={ZONE})")
    yield from _directions(83, KINDS["ingress"], KINDS["egress_answers"])
    yield from _verdicts(85, _to(86))
    yield _flow(86, 0, "", f"clone(load:0->NXM_OF_VLAN_TCI[],output:{TO})")


def _directions(table: int, forth: int, back: int) -> Iterator[str]:
    """Which rules speak of a packet: those of its connection's own direction, or those of the other, reversed."""
    nothing = _load(0, PASSED)
    yield _flow(table, 3, "ct_state=+rel+trk", _load(1, PASSED), _to(table + 2))
    yield _flow(table, 2, "ct_state=+inv+trk", "drop")
    yield _flow(table, 1, "ct_state=+rpl+trk", nothing, _load(back, KIND), _to(table + 1))
    yield _flow(table, 1, "ct_state=-rpl+trk", nothing, _load(forth, KIND), _to(table + 1))


def _verdicts(table: int, onward: str) -> Iterator[str]:
    yield _flow(table, 1, "reg0=1", onward)
    yield from _flow_each_ip(table, 2, "reg0=1,ct_state=+new+trk", f"ct(commit,zone={ZONE})", onward)


def vlan_flows(vlan: int, ports: Iterable[int], filtered: Iterable[int]) -> Iterator[str]:
    """Of a network: what its other ports (segments, servers) send, and what goes to all of its filtered ones."""
    yield from (_flow(0, 50, f"in_port={port},{UNTAGGED}", _load(vlan, VLAN), _to(60)) for port in ports)
    everyone = [action for port in filtered for action in (_load(port, TO), _to(81))]
    # Each of them tracks by itself: one after the other they would be too long a way for one packet.
    yield _flow(60, 1, f"reg1={vlan},dl_dst=01:00:00:00:00:00/01:00:00:00:00:00", "ct_clear", *everyone, _to(62))


def admit_flow(port: int | str) -> str:
    """What comes from a port that nothing is filtered for, and whose network has no filtered ones: the switch itself knows what to do."""
    return _flow(0, 10, f"in_port={port}", _to(62))


def trunk_flow(port: int) -> str:
    """What comes by tunnels says its VLAN itself."""
    return _flow(0, 50, f"in_port={port}", "move:NXM_OF_VLAN_TCI[0..11]->NXM_NX_REG1[0..11]", _to(60))


def mac_flow(vlan: int, mac: str, ports: Iterable[int], *, alone: bool) -> str:
    """Frames to a MAC of filtered ports. Not `alone`: others may have it too, as the virtual one of a pair of routers."""
    deliver = [action for port in ports for action in (_load(port, TO), _to(81))]
    return _flow(60, 2, f"reg1={vlan},dl_dst={mac}", *deliver, *([] if alone else [_to(62)]))


def port_flows(value: FilterState, port: int, vlan: int, groups: Iterable[int]) -> Iterator[str]:
    """What a filtered port may send from, and which groups it is in."""
    here = f"in_port={port}"
    yield _flow(0, 100, f"{here},{UNTAGGED}", _load(vlan, VLAN), _load(1, "NXM_NX_REG6[]"), _to(70))
    yield _flow(0, 99, here, "drop")  # with a VLAN tag
    for mac, texts in allowed_sources(value).items():
        for text in (*texts, "0.0.0.0", "::"):  # noqa: S104 - no address yet, which 72 lets pass where it may be
            if ":" not in text:
                yield _flow(71, 1, f"arp,{here},dl_src={mac},arp_sha={mac},arp_spa={text}", _to(60))
                yield _flow(71, 1, f"ip,{here},dl_src={mac},nw_src={text}", _to(72))
            else:
                yield _flow(71, 1, f"ipv6,{here},dl_src={mac},ipv6_src={text}", _to(72))
            if ":" in text and text != "::":
                yield _flow(70, 2, f"icmp6,icmp_type=136,icmp_code=0,{here},nd_target={text}", _to(71))
    ask = [action for group in groups for action in (_load(group, GROUP), _to(76))]
    yield _flow(74, 1, here, *ask, _to(75))
    yield _flow(84, 1, f"reg5={port}", *ask, _to(85))
    if not value.stateful:
        yield from _flow_each_ip(72, 2, here, _load(0, PASSED), _load(KINDS["egress"], KIND), _to(74))
        yield from _flow_each_ip(82, 2, f"reg5={port}", _load(0, PASSED), _load(KINDS["ingress"], KIND), _to(84))


def group_flows(number: int, rules: Iterable[FilterRule], remotes: dict[str, int]) -> Iterator[str]:
    """The lists of a group and their rules. `remotes`: the numbers of the groups that rules name; number 0 is anybody."""
    lists: dict[tuple[int, int], None] = {}
    for kind in CHAIN_KINDS:
        direction, _, answers = kind.partition("_")
        for rule in rules:
            if rule.direction == direction:
                remote = remotes[rule.remote_group] if rule.remote_group is not None else 0
                lists[KINDS[kind], remote] = None
                actions = _to(78) if remote else _load(1, PASSED)
                at = f"reg2={KINDS[kind]},reg3={number},reg4={remote}"
                yield from (_flow(77, 1, f"{match},{at}", actions) for match in rule_matches(rule, answers=bool(answers)))
    for kind_number in KINDS.values():
        ask = [action for of_kind, remote in lists if of_kind == kind_number for action in (_load(remote, REMOTE), _to(77))]
        if ask:
            yield _flow(76, 1, f"reg2={kind_number},reg3={number}", *ask)


def member_flows(number: int, addresses: Iterable[str]) -> Iterator[str]:
    for text in addresses:
        ip, source, destination = ("ipv6", "ipv6_src", "ipv6_dst") if ":" in text else ("ip", "nw_src", "nw_dst")
        yield _flow(78, 1, f"{ip},reg4={number},reg2=1/1,{destination}={text}", _load(1, PASSED))
        yield _flow(78, 1, f"{ip},reg4={number},reg2=0/1,{source}={text}", _load(1, PASSED))


def rule_matches(rule: FilterRule, *, answers: bool) -> Iterator[str]:
    """What a rule matches; several where its ports are no power of two. Nothing of what Open vSwitch cannot tell."""
    version = rule.ethertype[-1]
    words = ["ip" if version == "4" else "ipv6"]
    if rule.remote_prefix is not None and ip_network(rule.remote_prefix).prefixlen:
        # The other side is the source of what comes in, and the destination of the answers to it.
        side = "src" if (rule.direction == "ingress") != answers else "dst"
        words.append(f"{'nw' if version == '4' else 'ipv6'}_{side}={rule.remote_prefix}")
    if rule.protocol:
        words.append(f"nw_proto={rule.protocol}")
    if rule.port_min is None:
        yield ",".join(words)
        return
    numbers = list(_number_words(rule, answers=answers))
    if numbers:
        # A later fragment has no numbers. Where it came without the first, nobody can make anything of it (RFC 1858, section 3.1).
        yield from (",".join((*words, number)) for number in (*numbers, "ip_frag=later"))


def _number_words(rule: FilterRule, *, answers: bool) -> Iterator[str]:
    """Ports; of ICMP, `port_min` is the type and `port_max` the code."""
    first, last = rule.port_min or 0, rule.port_max
    if rule.protocol in (_ICMP, _ICMPV6):
        # An answer has another type: the connection's first packet counts. Without the first two words, ovs-ofctl silently drops the rest.
        known = f"ct_state=-inv+trk,ct_nw_proto={rule.protocol}," if answers else ""
        type_, code = ("ct_tp_src", "ct_tp_dst") if answers else ("icmp_type", "icmp_code")
        yield f"{known}{type_}={first}" + (f",{code}={last}" if last is not None else "")
    elif rule.protocol in _WITH_PORTS:
        yield from (f"{'tp_src' if answers else 'tp_dst'}={masked}" for masked in masks(first, last if last is not None else first))


def masks(first: int, last: int) -> Iterator[str]:
    """The numbers of a range of 16 bits as values with masks, as few as there can be."""
    while first <= last:
        size = (first & -first) or 0x10000
        while first + size - 1 > last:
            size //= 2
        yield f"{first:#x}/{0x10000 - size:#x}" if size < 0x10000 else "0/0"
        first += size


def _flow_each_ip(table: int, priority: int, match: str, *actions: str) -> Iterator[str]:
    """For both versions: connections are tracked of nothing else."""
    return (_flow(table, priority, f"{ip},{match}" if match else ip, *actions) for ip in ("ip", "ipv6"))


def _flow(table: int, priority: int, match: str, *actions: str) -> str:
    return f"table={table},priority={priority},{match + ',' if match else ''}actions={','.join(actions)}"


def _load(value: int, field: str) -> str:
    return f"load:{value:#x}->{field}"


def _to(table: int) -> str:
    return f"resubmit(,{table})"
