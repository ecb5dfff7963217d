"""Security groups as flows of Open vSwitch: their very text. No switch is asked, but `ovs-ofctl` reads the text, where there is one."""

import re
import subprocess

import pytest

from naru.drivers.base import plan
from naru.drivers.made import Made
from naru.drivers.openflow import Flows, base_flows, group_flows, masks, member_flows, port_flows, rule_matches, vlan_flows
from naru.drivers.ovs_filters import Place, want_filters
from naru.drivers.ovsdb import OPENFLOW
from naru.model.hoststate import FilterRule, FilterState, GroupState, RulesState, Source

MAC, VIRTUAL = "fa:16:3e:00:00:05", "fa:16:3e:00:00:ff"
WEB = RulesState("web", (FilterRule("egress", "IPv4"), FilterRule("ingress", "IPv6", 6, 80, 88, remote_group="web")))
MEMBERS = GroupState("web", ("10.0.0.5", "fd00::5", "10.9.0.0/16"))
PLACES = [
    Place("tap/p1", 11, 4095),
    Place("tap/p2", 12, 4095),
    Place("network/n", 13, 7),
    Place("tap/dhcp", 14, 7),
    Place("network/n", 15, None),
]
RULES = [
    FilterRule(direction, ethertype, protocol, low, high, prefix)
    for direction in ("ingress", "egress")
    for ethertype, icmp, prefix in (("IPv4", 1, "10.0.0.0/8"), ("IPv6", 58, "fd00::/8"))
    for protocol, low, high in (
        (0, None, None),
        (6, 80, 88),
        (17, 53, None),
        (132, 1, 65535),
        (icmp, 8, 0),
        (icmp, 8, None),
        (47, None, None),
    )
]


def filtered(port, *sources, **changes):
    fields = {"port_id": port, "network_id": "n", "mac_address": MAC, "sources": sources, "security_groups": ("web",)}
    return FilterState(**fields | changes)


def want(*values, vlans=None, strangers=()):
    facts = want_filters({value.key: value for value in values}, PLACES, {"n": 7} if vlans is None else vlans, strangers, Made())
    return {fact.name: fact for fact in facts}


def lines(facts):
    return [line for fact in facts.values() if isinstance(fact, Flows) for line in fact.lines]


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (80, 80, ["0x50/0xffff"]),
        (80, 88, ["0x50/0xfff8", "0x58/0xffff"]),
        (7010, 7012, ["0x1b62/0xfffe", "0x1b64/0xffff"]),
        (0, 65535, ["0/0"]),
    ],
)
def test_a_range_of_ports_is_a_few_values_with_masks(first, last, expected):
    assert list(masks(first, last)) == expected


def test_masks_cover_their_range_and_nothing_else():
    for first, last in ((1, 65535), (1023, 1025), (5, 5), (0, 7), (32767, 32769)):
        pairs = [[int(part, 0) for part in text.split("/")] for text in masks(first, last)]
        covered = [number for number in range(65536) if any(number & mask == value for value, mask in pairs)]
        assert covered == list(range(first, last + 1))


def test_an_answer_is_matched_by_what_its_connection_began_with():
    assert list(rule_matches(FilterRule("ingress", "IPv4", 6, 22, 22, "10.0.0.0/8"), answers=True)) == [
        "ip,nw_dst=10.0.0.0/8,nw_proto=6,tp_src=0x16/0xffff",
        "ip,nw_dst=10.0.0.0/8,nw_proto=6,ip_frag=later",
    ]
    ping, _ = rule_matches(FilterRule("egress", "IPv6", 58, 128, 0), answers=True)
    assert ping == "ipv6,nw_proto=58,ct_state=-inv+trk,ct_nw_proto=58,ct_tp_src=128,ct_tp_dst=0"


def test_ports_of_a_protocol_that_open_vswitch_cannot_tell_let_nothing_in():
    assert list(rule_matches(FilterRule("ingress", "IPv4", 136, 80, 80), answers=False)) == []


def test_a_rule_for_a_remote_group_leads_to_its_members_and_one_for_anybody_does_not():
    made = list(group_flows(5, WEB.rules, {"web": 9}))
    anybody = [line for line in made if line.startswith("table=77") and "reg4=0" in line]
    assert {line.partition("actions=")[2] for line in anybody} == {"load:0x1->NXM_NX_REG0[]"}
    members = [line for line in made if line.startswith("table=77") and "reg4=9" in line]
    assert {line.partition("actions=")[2] for line in members} == {"resubmit(,78)"}
    assert "table=78,priority=1,ipv6,reg4=9,reg2=0/1,ipv6_src=fd00::5,actions=load:0x1->NXM_NX_REG0[]" in list(
        member_flows(9, MEMBERS.addresses)
    )


def test_no_two_facts_have_a_flow_of_the_same_match():
    """The second would take the place of the first, in every pass anew."""
    same_mac = filtered("p2", Source(VIRTUAL, "10.0.0.9"), Source(MAC, "10.0.0.5"))
    made = lines(want(filtered("p1", Source(MAC, "10.0.0.5"), Source(VIRTUAL, "10.0.0.9")), same_mac, WEB, MEMBERS))
    matches = [line.partition("actions=")[0] for line in made]
    assert len(matches) == len(set(matches))
    (virtual,) = [line for line in made if f"reg1=7,dl_dst={VIRTUAL}" in line]
    assert virtual.endswith("actions=load:0xb->NXM_NX_REG5[],resubmit(,81),load:0xc->NXM_NX_REG5[],resubmit(,81),resubmit(,62)")


def test_another_address_of_a_port_changes_the_flows_of_that_port_alone():
    others = filtered("p2", Source(MAC, "10.0.0.6")), WEB, MEMBERS
    before, after = (want(filtered("p1", Source(MAC, address)), *others) for address in ("10.0.0.5", "10.0.0.7"))
    planned = plan(after, before, prune=True)
    assert {action.key for action in planned.additions} == {"filter/p1"}
    assert planned.removals == []
    assert planned.additions[-1].line.startswith("delete cookie=0x6278")  # of what is not wanted any more, after all else


def test_without_a_network_there_are_no_flows():
    assert want(filtered("elsewhere"), WEB, MEMBERS, vlans={}) == {}


def test_what_comes_from_a_port_that_nobody_knows_goes_nowhere():
    first = [line for line in lines(want(strangers=(3,))) if line.startswith("table=0,") and "drop" not in line]
    assert {source for line in first for source in re.findall(r"in_port=(\w+)", line)} == {"13", "14", "15", "3", "LOCAL"}
    assert "table=0,priority=1,actions=drop" in lines(want())


def test_one_member_more_of_thousands_changes_a_small_part_of_their_flows():
    many = [f"10.{number >> 8}.{number & 255}.5" for number in range(5000)]
    some, more = (want(filtered("p1"), WEB, GroupState("web", tuple(sorted(addresses)))) for addresses in (many, [*many, "10.99.0.5"]))
    planned = plan(more, some, prune=True)
    assert sum("table=78" in action.line for action in planned.additions) < 2 * 5000 / 25
    assert sum("table=78" in line for line in lines(more)) == 2 * 5001


@pytest.mark.needs("ovs-ofctl")
def test_ovs_ofctl_takes_every_word_of_a_match():
    """It drops a field without a word where another is missing, and what is left matches more."""
    made = [
        *base_flows(),
        *vlan_flows(7, [13], [11, 12]),
        *port_flows(filtered("p1", Source(MAC, "10.0.0.5"), Source(MAC, "fd00::/64")), 11, 7, [5]),
        *port_flows(filtered("p2", stateful=False), 12, 7, [5]),
        *group_flows(5, [*RULES, *WEB.rules], {"web": 9}),
        *member_flows(9, MEMBERS.addresses),
    ]
    done = subprocess.run([*OPENFLOW, "parse-flows", "-"], input="\n".join(made), capture_output=True, text=True, check=True, timeout=20)
    parsed = [line.partition("ADD ")[2] for line in done.stdout.splitlines() if "ADD " in line]
    assert len(parsed) == len(made)
    for line, read in zip(made, parsed, strict=True):
        fields = set(re.findall(r"(\w+)=(?!0/0,)", line.partition("actions=")[0])) - {"table", "priority", "nw_proto", "ip_frag"}
        assert not fields - set(re.findall(r"(\w+)=", read)), (line, read)
