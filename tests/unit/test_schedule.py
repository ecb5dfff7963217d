"""The deciders: which host, which network, and the reasons."""

import pytest

from naru.schedule.first_network import FILTERS, Candidate, pick_network
from naru.schedule.hosts import HostCandidate, choose_host


def host(name: str, **given: object) -> HostCandidate:
    fit = {"alive": True, "admin_state_up": True, "has_driver": True, "unreachable": (), "instances": 0, "instances_on_network": 0}
    return HostCandidate(name, **{**fit, **given})  # type: ignore[arg-type]


def network(name: str, **given: object) -> Candidate:
    fit = {"own": True, "admin_state_up": True, "external": False, "has_subnet": True, "usable": 13, "free": 13}
    return Candidate(f"id-of-{name}", name, **{**fit, **given})  # type: ignore[arg-type]


def test_neighbours_are_spread_before_load_and_load_before_names():
    assert choose_host([host("b"), host("a")]).host == "a"
    assert choose_host([host("a", instances=1), host("b")]).host == "b"
    assert choose_host([host("a", instances=5), host("b", instances=1, instances_on_network=1)]).host == "a"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"alive": False}, "its agent is not alive"),
        ({"admin_state_up": False}, "it is administratively down"),
        ({"has_driver": False}, "it has no driver for this image"),
        ({"unreachable": ("no tunnel address", "no device")}, "no tunnel address"),
    ],
    ids=str,
)
def test_a_host_is_refused_with_its_reason(given, reason):
    choice = choose_host([host("a", **given)])
    assert (choice.host, choice.refused) == (None, {"a": reason})
    assert choose_host([host("a", **given), host("b", instances=9)]).host == "b"


def test_no_host_at_all_is_no_choice():
    assert choose_host([]).host is None


@pytest.mark.parametrize(
    ("given", "reason", "text"),
    [
        ({"admin_state_up": False}, "admin_down", "administratively down"),
        ({"external": True}, "external", "external, taken only when named"),
        ({"has_subnet": False}, "no_subnet", "no subnet"),
        ({"unreachable": "no live host"}, "unreachable", "no live host"),
        ({"free": 0}, "full", "full, 0 of 13 free"),
    ],
    ids=str,
)
def test_each_filter_refuses_with_its_reason(given, reason, text):
    pick = pick_network([network("A", **given), network("B")])
    assert pick.network_id == "id-of-B"
    assert (pick.verdicts[0].reason, pick.verdicts[0].text) == (reason, text)
    assert pick.explain() == f"B: chosen, 13 of 13 free; A: {text}"


def test_every_filter_is_tried_above():
    assert set(FILTERS) == {"admin_down", "external", "no_subnet", "unreachable", "full"}


def test_own_networks_come_first_then_names_whatever_the_order_of_the_candidates():
    candidates = [network("a-shared", own=False), network("z"), network("m", free=1)]
    for order in (candidates, candidates[::-1]):
        assert pick_network(order).explain() == "m: chosen, 1 of 13 free; z: not needed, 13 of 13 free; a-shared: not needed, 13 of 13 free"


def test_where_nothing_fits_every_candidate_has_a_verdict():
    pick = pick_network([network("b", free=0), network("", has_subnet=False)])
    assert pick.network_id is None
    assert pick.explain() == "id-of-: no subnet; b: full, 0 of 13 free"
    assert pick_network([]).explain() == ""
