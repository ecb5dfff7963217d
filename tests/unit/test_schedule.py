"""Which host an instance gets, and the reasons."""

import pytest

from naru.schedule.hosts import HostCandidate, choose_host


def host(name: str, **given: object) -> HostCandidate:
    fit = {"alive": True, "admin_state_up": True, "has_driver": True, "unreachable": (), "instances": 0, "instances_on_network": 0}
    return HostCandidate(name, **{**fit, **given})  # type: ignore[arg-type]


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
