"""Placing addresses on networks: filters, weighers, counts; what holds for any candidates."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from naru.model import network_pools
from naru.schedule.candidates import Candidate, Share, Wish
from naru.schedule.filters import FILTERS
from naru.schedule.networks import place
from naru.schedule.reasons import REASONS, words
from naru.schedule.weighers import POLICIES, WEIGHERS
from placing import candidate, counts


def names(placement) -> list[str]:
    return [id.removeprefix("id-of-") for id in placement.assignments]


REFUSED = [
    ("not_allowed", {"allowed": False}, Wish()),
    ("purpose", {"kept_for": "prod", "pool": "p"}, Wish()),
    ("cordoned", {"cordoned": "moving", "pool": "p"}, Wish()),
    ("external", {"external": True}, Wish()),
    ("admin_down", {"admin_state_up": False}, Wish()),
    ("no_subnet", {"ipv4": None}, Wish()),
    ("ip_version", {}, Wish(ip_version=6)),
    ("ip_version", {}, Wish(ip_version="dual")),
    ("unreachable", {"unreachable": "no live host"}, Wish()),
    ("unhealthy", {"silent_host": "network01"}, Wish()),
    ("dhcp_off", {"dhcp": False}, Wish(dhcp=True)),
    ("mtu", {"mtu": 1450}, Wish(mtu=1500)),
    ("port_security", {"port_security_enabled": False}, Wish(port_security_enabled=True)),
    ("qos", {}, Wish(qos_policy_id="gold")),
    ("affinity", {"near": False}, Wish(affinity=("p1",))),
    ("anti_affinity", {"avoided": 1}, Wish(anti_affinity=("p1",))),
    ("full", {"free": 0}, Wish()),
    ("full", {"free": 3}, Wish(count=4, mode="one_network")),
    ("floor", {"floor": 13, "pool": "p"}, Wish()),
    ("project_share", {"share": Share("p", 5, 5), "pool": "p"}, Wish()),
]


@pytest.mark.parametrize(("code", "given", "wish"), REFUSED, ids=[f"{code}-{number}" for number, (code, _, _) in enumerate(REFUSED)])
def test_each_filter_refuses_with_its_code_and_words_in_both_languages(code, given, wish):
    placement = place([candidate("A", **given)], wish)
    (verdict,) = placement.verdicts
    assert (placement.is_refused, verdict.verdict, verdict.reason) == (True, "refused", code)
    english, korean = words(code, verdict.values), words(code, verdict.values, "ko")
    assert english.isascii()
    assert any("가" <= character <= "힣" for character in korean)
    assert "None" not in english + korean


def test_every_filter_is_tried_above_and_has_words():
    assert {row.code for row in FILTERS} == {code for code, _, _ in REFUSED}
    assert set(REASONS) == {row.code for row in FILTERS} | {"chosen", "grown", "not_needed", "no_quorum"}


def test_what_is_not_asked_for_refuses_nobody():
    plain = candidate("A", mtu=1280, port_security_enabled=False, dhcp=False, avoided=3, near=False)
    assert names(place([plain], Wish())) == ["A"]


def test_policies_and_weighers_are_those_that_a_pool_may_name():
    assert tuple(POLICIES) == network_pools.POLICIES
    assert tuple(WEIGHERS) == network_pools.WEIGHERS


CANDIDATES = [
    candidate("big", free=200, usable=250, priority=2, turn=1),
    candidate("small", free=5, usable=13, priority=1, turn=2, project_ports=3),
    candidate("middle", free=60, usable=61, priority=3, turn=0),
]


@pytest.mark.parametrize(
    ("policy", "weights", "expected"),
    [
        ("sequential", {}, "small"),
        ("spread", {}, "big"),
        ("pack", {}, "small"),
        ("balanced", {}, "middle"),
        ("round_robin", {}, "middle"),
        ("sticky", {}, "small"),
        ("sequential", {"priority": -1.0}, "middle"),
        ("sequential", {"priority": 0.0, "fragmentation": -1.0}, "big"),
        ("spread", {"sticky": 2.0}, "small"),
    ],
)
def test_a_policy_is_a_preset_of_multipliers_that_a_pool_may_override(policy, weights, expected):
    assert names(place(CANDIDATES, Wish(), policy, weights)) == [expected]


def test_the_blogs_wish_is_the_first_by_name_and_the_next_when_that_is_full():
    nets = [candidate(name, free=free) for name, free in (("NET2", 13), ("NET1", 2), ("NET3", 13))]
    assert names(place(nets, Wish(count=4))) == ["NET1", "NET1", "NET2", "NET2"]


def test_a_members_weight_gives_it_that_share_of_the_addresses():
    placed = names(place([candidate("A", 100, 100, weight=2.0), candidate("B", 100, 100)], Wish(count=60), "spread"))
    assert Counter(placed)["A"] > 50


def test_verdicts_tell_what_was_weighed_and_the_chosen_ones_come_first():
    placement = place([candidate("A", 3), candidate("B", 13), candidate("C", 0)], Wish(), "spread")
    chosen, passed, refused = placement.verdicts
    assert [(v.name, v.verdict, v.reason) for v in placement.verdicts] == [
        ("B", "chosen", "chosen"), ("A", "passed", "not_needed"), ("C", "refused", "full"),
    ]  # fmt: skip
    assert (chosen.weights["free_count"].raw, chosen.weights["free_count"].normalised, chosen.score) == (13, 1.0, 1.0)
    assert (passed.weights["free_count"].raw, passed.score) == (3, 0.0)
    assert words(refused.reason, refused.values) == "1 needed, 0 free = 13 usable - 13 allocated - 0 held - 0 quarantined"


def test_all_of_one_network_or_none():
    nets = [candidate("A", 3), candidate("B", 5), candidate("C", 9)]
    assert names(place(nets, Wish(count=5, mode="one_network"))) == ["B"] * 5
    assert place(nets, Wish(count=10, mode="one_network")).is_refused
    assert names(place(nets, Wish(count=10, min_count=4, mode="one_network"))) == ["C"] * 9


def test_all_or_nothing_unless_fewer_are_asked_for():
    nets = [candidate("A", 3), candidate("B", 5)]
    assert len(place(nets, Wish(count=8)).assignments) == 8
    refused = place(nets, Wish(count=9))
    assert (refused.assignments, {verdict.reason for verdict in refused.verdicts}) == ((), {"no_quorum"})
    assert (
        words("no_quorum", refused.verdicts[0].values) == "it fits, but all candidates together have room for 8, and at least 9 are wanted"
    )
    assert len(place(nets, Wish(count=9, min_count=2)).assignments) == 8


def test_a_projects_share_is_counted_over_the_whole_pool():
    share = Share("p", limit=6, used=2)
    nets = [candidate("A", 3, share=share), candidate("B", 9, share=share), candidate("C", 9)]
    placed = Counter(names(place(nets, Wish(count=20, min_count=1), "spread")))
    assert (placed["A"] + placed["B"], placed["C"]) == (4, 9)


# -- what holds for any candidates

SHARE = Share("pool", limit=7, used=2)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "free": st.integers(0, 9),
            "priority": st.integers(0, 2),
            "own": st.booleans(),
            "floor": st.integers(0, 3),
            "share": st.sampled_from([None, SHARE]),
            "cordoned": st.sampled_from([None, None, ""]),
        }
    ),
    max_size=6,
)
WISHES = st.builds(
    Wish,
    count=st.integers(1, 25),
    min_count=st.none() | st.integers(1, 25),
    mode=st.sampled_from(["per_instance", "one_network"]),
    max_skew=st.none() | st.integers(1, 3),
)


def candidates_of(rows) -> list[Candidate]:
    return [candidate(f"n{number}", usable=9, **row) for number, row in enumerate(rows)]


@given(ROWS, WISHES, st.sampled_from(network_pools.POLICIES), st.randoms(use_true_random=False))
def test_no_placement_takes_more_than_there_is_whatever_the_order_of_the_candidates(rows, wish, policy, random):
    nets = candidates_of(rows)
    placement = place(nets, wish, policy)
    taken = Counter(placement.assignments)
    by_id = {net.facts.network_id: net for net in nets}
    assert all(count <= by_id[id].counts.free - by_id[id].floor and by_id[id].cordoned is None for id, count in taken.items())
    assert sum(count for id, count in taken.items() if by_id[id].share is not None) <= SHARE.limit - SHARE.used
    assert len(placement.assignments) <= wish.count
    assert placement.is_refused or len(placement.assignments) >= wish.least
    assert wish.mode == "per_instance" or len(taken) <= 1
    assert {verdict.network_id for verdict in placement.verdicts} == set(by_id)
    assert {verdict.network_id for verdict in placement.verdicts if verdict.verdict == "chosen"} == set(taken)
    random.shuffle(nets)
    assert place(nets, wish, policy) == placement


@given(ROWS, WISHES)
def test_a_refusal_is_never_a_lie(rows, wish):
    """What is refused has too little room in all networks together, or in each one."""
    nets = [net for net in candidates_of(rows) if net.cordoned is None]
    rooms = [max(0, net.counts.free - net.floor) for net in nets]
    shared = sum(room for room, net in zip(rooms, nets, strict=True) if net.share is not None)
    loose = sum(room for room, net in zip(rooms, nets, strict=True) if net.share is None)
    most = max((net.room for net in nets), default=0) if wish.mode == "one_network" else loose + min(shared, SHARE.limit - SHARE.used)
    placement = place(nets, wish, "spread")
    assert len(placement.assignments) == (min(most, wish.count) if most >= wish.least else 0)


@settings(deadline=None)
@given(st.integers(1, 8), st.integers(1, 60), st.integers(1, 3))
def test_spreading_keeps_equal_networks_level_in_one_pick_or_in_many(networks, count, skew):
    nets = [candidate(f"n{number}", 90, 100) for number in range(networks)]
    at_once = place(nets, Wish(count=count), "spread").assignments
    one_by_one = []
    for _ in range(count):
        (id,) = place(nets, Wish(), "spread").assignments
        one_by_one.append(id)
        nets = [
            replace(net, counts=counts(net.counts.free - 1, 100)) if net.facts.network_id == id else net for net in nets
        ]  # fmt: skip
    assert tuple(one_by_one) == at_once
    taken = Counter(at_once)
    assert max(taken.values()) - min(taken.get(f"id-of-n{number}", 0) for number in range(networks)) <= 1


@given(ROWS, st.integers(1, 25), st.integers(1, 3), st.sampled_from(network_pools.POLICIES))
def test_max_skew_bounds_the_difference_between_networks_that_have_room(rows, count, skew, policy):
    nets = [replace(net, share=None) for net in candidates_of(rows)]
    taken = Counter(place(nets, Wish(count=count, min_count=1, max_skew=skew), policy).assignments)
    fit = [net for net in nets if net.cordoned is None and net.room > 0]
    least = min((taken[net.facts.network_id] for net in fit if taken[net.facts.network_id] < net.room), default=None)
    if least is not None:
        assert all(taken[net.facts.network_id] - least <= skew for net in fit)
