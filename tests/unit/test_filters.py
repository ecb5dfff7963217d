"""Security groups from intent to nft's words: what hosts are told, and the very text that filters."""

from pathlib import Path

import pytest

from naru.compile.firewall import changed_groups
from naru.compile.host import affected_hosts, compile_host
from naru.drivers.base import Action, plan
from naru.drivers.nft import NO_BR_NETFILTER, Nft
from naru.drivers.nftables import parse_failures
from naru.drivers.rules import CHAIN_KINDS, group_rules
from naru.drivers.sources import numbered
from naru.model.hoststate import FilterRule, FilterState, GroupState, NetworkState, RulesState, SegmentState, Source, TapState
from naru.model.port_security import AddressPair
from naru.model.resources import Port
from naru.service.address_groups import add_addresses, create_address_group
from naru.service.ports import update_port
from naru.service.security import create_group, create_rule, delete_rule
from planning import ADMIN, CLOUD, PlainCloud

HERE = Path(__file__).parent  # a folder that is there: stands for that of br_netfilter's settings
MAPPED = {"physnet1": "eth1"}
PORT = "44444444-aaaa-4bbb-8ccc-444444444444"
MAC, VIRTUAL = "fa:16:3e:00:00:05", "fa:16:3e:00:00:ff"


@pytest.fixture
def cloud():
    cloud = PlainCloud()
    for number, host in enumerate(("controller01", "compute01", "compute02")):
        cloud.host(host, f"172.18.0.{30 + number}", dhcp=number == 0)
    return cloud


@pytest.fixture
def network(cloud):
    network = cloud.network("net")
    cloud.subnet(network, "10.0.0.0/24")
    return network


def group(cloud, name="web", **given):
    return cloud.run(create_group(cloud.view, ADMIN, {"name": name, "project_id": "admin", **given}, CLOUD))


def rule(cloud, group, **given):
    wanted = {"security_group_id": group.id, "project_id": "admin", "direction": "ingress", **given}
    return cloud.run(create_rule(cloud.view, ADMIN, wanted, CLOUD))


def told(cloud, host, kind):
    return [value for value in compile_host(cloud.view, host).values() if isinstance(value, kind)]


# -- compile


def test_many_ports_of_a_group_share_its_rules_and_its_members(cloud, network):
    ports = [cloud.port(network, binding_host_id="compute01") for _ in range(5)]

    assert {value.port_id for value in told(cloud, "compute01", FilterState)} == {port.id for port in ports}
    (rules,) = told(cloud, "compute01", RulesState)
    assert rules.group_id == ports[0].security_groups[0]
    assert [(one.direction, one.ethertype, one.remote_group) for one in rules.rules] == [
        ("egress", "IPv4", None),
        ("egress", "IPv6", None),
        ("ingress", "IPv4", rules.group_id),
        ("ingress", "IPv6", rules.group_id),
    ]
    (members,) = told(cloud, "compute01", GroupState)
    assert set(members.addresses) == {ip.ip_address for port in ports for ip in port.fixed_ips}


def test_a_port_without_port_security_and_a_host_without_filters_have_none(cloud, network):
    cloud.port(network, binding_host_id="compute01", port_security_enabled=False)
    cloud.port(network, binding_host_id="compute02")
    assert [tap.filtered for tap in told(cloud, "compute02", TapState)] == [True]
    cloud.host("compute02", "172.18.0.32", port_filter=False)

    for host in ("controller01", "compute01", "compute02"):  # the first has the DHCP server's port, which is the service's own
        assert [tap.filtered for tap in told(cloud, host, TapState)] == [False]
        assert not told(cloud, host, FilterState | RulesState | GroupState)


def test_allowed_address_pairs_are_sources_and_members(cloud, network):
    pairs = (AddressPair("10.0.0.99"), AddressPair("10.0.1.0/24", "fa:16:3e:00:00:99"))
    port = cloud.port(network, binding_host_id="compute01", allowed_address_pairs=pairs)

    (value,) = told(cloud, "compute01", FilterState)
    assert value.sources == (
        Source(port.mac_address, port.fixed_ips[0].ip_address),
        Source(port.mac_address, "10.0.0.99"),
        Source("fa:16:3e:00:00:99", "10.0.1.0/24"),
    )
    (members,) = told(cloud, "compute01", GroupState)
    assert {"10.0.0.99", "10.0.1.0/24"} <= set(members.addresses)


def test_a_member_that_joins_changes_its_group_and_compiles_only_hosts_of_its_network(cloud, network):
    web, clients = group(cloud, "web"), group(cloud, "clients")
    rule(cloud, web, remote_group_id=clients.id)
    cloud.port(network, binding_host_id="compute01", security_groups=(web.id,))
    elsewhere = cloud.network("elsewhere")
    cloud.subnet(elsewhere, "10.1.0.0/24", enable_dhcp=False)
    cloud.port(elsewhere, binding_host_id="compute02", security_groups=(group(cloud, "other").id,))
    before = len(cloud.changes)

    joined = cloud.port(elsewhere, security_groups=(clients.id,))

    touched = set().union(*(affected_hosts(cloud.view, change) for change in cloud.changes[before:]))
    assert touched == {"compute02"}
    assert set().union(*map(changed_groups, cloud.changes[before:])) == {clients.id}
    assert told(cloud, "compute01", GroupState) == [GroupState(clients.id, (joined.fixed_ips[0].ip_address,))]
    renamed = next(change for change in cloud.changes[before:] if isinstance(change.after, Port))
    port = cloud.view.get(Port, renamed.after.id)
    cloud.run(update_port(cloud.view, ADMIN, port.id, {"name": "x"}, CLOUD))
    assert changed_groups(cloud.changes[-1]) == set()


def test_a_rule_and_an_address_group_concern_the_hosts_with_ports_of_the_group(cloud, network):
    web = group(cloud)
    cloud.port(network, binding_host_id="compute02", security_groups=(web.id,))
    named = cloud.run(create_address_group(cloud.view, ADMIN, {"name": "a", "project_id": "admin", "addresses": ("10.9.0.0/24",)}, CLOUD))
    made = rule(cloud, web, remote_address_group_id=named.id)
    cloud.run(add_addresses(cloud.view, ADMIN, named.id, {"addresses": ["10.8.0.0/24"]}, CLOUD))

    assert changed_groups(cloud.changes[-1]) == {named.id}
    assert told(cloud, "compute02", GroupState) == [GroupState(named.id, ("10.8.0.0/24", "10.9.0.0/24"))]
    cloud.run(delete_rule(cloud.view, ADMIN, made.id, CLOUD))
    assert affected_hosts(cloud.view, cloud.changes[-1]) == {"compute02"}
    assert told(cloud, "compute02", GroupState) == []


def test_a_port_is_stateless_when_all_its_groups_are(cloud, network):
    stateless, stateful = group(cloud, "a", stateful=False), group(cloud, "b")
    ids = ((stateless.id,), (stateless.id, stateful.id), ())
    for groups in ids:
        cloud.port(network, binding_host_id="compute01", security_groups=groups)
    assert {value.security_groups: value.stateful for value in told(cloud, "compute01", FilterState)} == dict(
        zip(ids, (False, True, True), strict=True)
    )


# -- text


@pytest.mark.parametrize(
    ("rule", "as_written", "answers"),
    [
        (FilterRule("ingress", "IPv4"), "meta nfproto ipv4 accept", "meta nfproto ipv4 accept"),
        (FilterRule("ingress", "IPv6", remote_prefix="::/0"), "meta nfproto ipv6 accept", "meta nfproto ipv6 accept"),
        (
            FilterRule("ingress", "IPv4", 6, 22, 22, remote_prefix="10.0.0.0/8"),
            "meta nfproto ipv4 meta l4proto 6 th dport 22 ip saddr 10.0.0.0/8 accept",
            "meta nfproto ipv4 meta l4proto 6 th sport 22 ip daddr 10.0.0.0/8 accept",
        ),
        (
            FilterRule("egress", "IPv6", 17, 1, 100, remote_group="g"),
            "meta nfproto ipv6 meta l4proto 17 th dport 1-100 ip6 daddr @m6-g accept",
            "meta nfproto ipv6 meta l4proto 17 th sport 1-100 ip6 saddr @m6-g accept",
        ),
        (
            FilterRule("ingress", "IPv4", 1, 8, None),
            "meta nfproto ipv4 meta l4proto 1 icmp type 8 accept",
            "meta nfproto ipv4 meta l4proto 1 ct original proto-dst 2048-2303 accept",
        ),
        (
            FilterRule("egress", "IPv6", 58, 128, 0),
            "meta nfproto ipv6 meta l4proto 58 icmpv6 type 128 icmpv6 code 0 accept",
            "meta nfproto ipv6 meta l4proto 58 ct original proto-dst 32768 accept",
        ),
        (FilterRule("ingress", "IPv4", 112), "meta nfproto ipv4 meta l4proto 112 accept", "meta nfproto ipv4 meta l4proto 112 accept"),
    ],
)
def test_a_rule_in_nfts_words(rule, as_written, answers):
    assert group_rules([rule], rule.direction) == [as_written]
    assert group_rules([rule], f"{rule.direction}_answers") == [answers]
    assert group_rules([rule], "egress" if rule.direction == "ingress" else "ingress") == []


def state(*values):
    return {value.key: value for value in values}


def lines(*values, have=()):
    want, failures = Nft(MAPPED, HERE).want(state(*values))
    assert failures == []
    planned = plan(want, {fact.name: fact for fact in have}, prune=True)
    return [action.line for action in (*planned.removals, *planned.additions)]


def made(*values):
    return Nft(MAPPED, HERE).want(state(*values))[0].values()


FILTER = FilterState(PORT, "net", MAC, (Source(MAC, "10.0.0.5"), Source(VIRTUAL, "10.9.0.0/24")), ("g1",))
RULES = RulesState("g1", (FilterRule("ingress", "IPv4", remote_group="g1"),))
MEMBERS = GroupState("g1", ("10.0.0.5", "10.0.0.6"))


def test_a_port_is_a_few_elements():
    number = numbered([PORT], 1 << 28)[PORT]
    into, out = f"0x{0xB0000000 + number:08x}", f"0x{0xA0000000 + number:08x}"
    assert lines(FILTER, RULES, MEMBERS, have=[fact for fact in made(FILTER, RULES, MEMBERS) if fact.key != FILTER.key]) == [
        f'add element bridge naru inports {{ "tap44444444-aa" : {out} }}',
        f"add element bridge naru macs {{ {out} . {MAC}, {out} . {VIRTUAL} }}",
        f'add element bridge naru outports {{ "tap44444444-aa" : {into} }}',
        f"add element bridge naru prefixes4 {{ {out} . {VIRTUAL} . 10.9.0.0/24 }}",
        f"add element bridge naru sources4 {{ {out} . {MAC} . 10.0.0.5 }}",
        f"add element bridge naru sources6 {{ {out} . {MAC} . fe80::f816:3eff:fe00:5, {out} . {VIRTUAL} . fe80::f816:3eff:fe00:ff }}",
        f"add element bridge naru targets6 {{ {out} . 0xfe80000000000000f8163efffe000005, {out} . 0xfe80000000000000f8163efffe0000ff }}",
        f"add element inet naru egress {{ {out} : jump g-g1-egress }}",
        f"add element inet naru egress_answers {{ {into} : jump g-g1-egress_answers }}",
        f"add element inet naru ingress {{ {into} : jump g-g1-ingress }}",
        f"add element inet naru ingress_answers {{ {out} : jump g-g1-ingress_answers }}",
    ]


def test_what_is_in_a_bridge_and_not_filtered_is_listed_and_with_a_network_alone_strangers_are_shut_out():
    segments = (SegmentState("flat", "physnet1"), SegmentState("vlan", "physnet1", 200), SegmentState("vxlan", None, 77))
    network = NetworkState("net", 1450, (*segments, SegmentState("vlan", "physnet9", 7)))
    open_tap, filtered = TapState("55555555-aaaa", "net", MAC, 1450), TapState(PORT, "net", MAC, 1450, filtered=True)
    added = lines(network, open_tap, filtered)
    listed = [line for line in added if line.startswith("add element")]
    assert listed == [f'add element bridge naru open {{ "{name}" }}' for name in ("eth1", "eth1.200", "vxlan-77", "tap55555555-aa")]
    assert any(line.startswith("add chain bridge naru forward") for line in added)


def test_a_member_more_is_one_line():
    joined = GroupState("g1", (*MEMBERS.addresses, "10.0.0.7"))
    assert lines(FILTER, RULES, joined, have=made(FILTER, RULES, MEMBERS)) == ["add element inet naru m4-g1 { 10.0.0.7 }"]


def test_another_rule_is_another_text_of_the_chains_that_have_it_and_of_no_other():
    more = RulesState("g1", (*RULES.rules, FilterRule("ingress", "IPv4", 6, 22, 22)))
    changed = lines(FILTER, more, MEMBERS, have=made(FILTER, RULES, MEMBERS))
    assert [line.partition(";")[0] for line in changed] == [
        "add chain inet naru g-g1-ingress",
        "add chain inet naru g-g1-ingress_answers",
    ]


def test_what_rests_on_a_chain_changes_before_the_chain_goes():
    other = RulesState("g2", ())
    moved = FilterState(PORT, "net", MAC, FILTER.sources, ("g2",))
    changed = lines(moved, other, have=made(FILTER, RULES, MEMBERS))
    led = [number for number, line in enumerate(changed) if "jump g-g2-" in line and line.startswith("add element")]
    gone = [number for number, line in enumerate(changed) if "delete chain" in line or "delete set" in line]
    assert len(led) == len(CHAIN_KINDS)
    assert max(led) < min(gone)


def test_a_port_of_several_groups_has_chains_that_lead_to_each_shared_with_others_like_it():
    groups = (RulesState("g1", ()), RulesState("g2", ()))
    ports = [FilterState(f"{n:08}", "net", MAC, (), order) for n, order in enumerate((("g1", "g2"), ("g2", "g1")))]
    wanted = Nft(MAPPED, HERE).want(state(*groups, *ports))[0]
    assert len([name for name in wanted if name.startswith("chain/inet/s-")]) == len(CHAIN_KINDS)


def test_500_ports_of_one_group_do_not_repeat_its_rules():
    ports = [FilterState(f"{n:08}-aaaa", "net", MAC, (Source(MAC, "10.0.0.5"),), ("g1",)) for n in range(500)]
    text = "\n".join(lines(*ports, RULES, MEMBERS))
    assert text.count("@m4-g1 accept") == 2


def test_two_ports_never_have_the_same_number():
    numbers = numbered((f"port{n}" for n in range(200)), 256)
    assert len(set(numbers.values())) == 200
    assert numbers == numbered((f"port{n}" for n in reversed(range(200))), 256)


def test_a_rule_whose_members_are_not_known_yet_leaves_the_chain_as_it_is():
    wanted = Nft(MAPPED, HERE).want(state(FILTER, RULES))[0]
    assert "chain/inet/g-g1-ingress" not in wanted


def test_without_br_netfilter_every_filter_fails_in_words(tmp_path):
    want, failures = Nft(MAPPED, tmp_path / "missing").want(state(FILTER, RULES, MEMBERS))
    assert want == {}
    assert [(failure.key, failure.reason) for failure in failures] == [(FILTER.key, NO_BR_NETFILTER)]


def test_nft_names_the_lines_that_it_refuses():
    said = """/dev/stdin:2:17-17: Error: Could not process rule: No such file or directory
add rule inet x y accept
                ^
/dev/stdin:7:1-9: Error: syntax error, unexpected newline
"""
    assert parse_failures(said) == {1: "Could not process rule: No such file or directory", 6: "syntax error, unexpected newline"}


def test_actions_are_lines_of_nft():
    assert {action.tool for fact in made(FILTER, RULES, MEMBERS) for action in fact.add() if isinstance(action, Action)} == {("nft",)}
