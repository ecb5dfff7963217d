"""An alarm is raised once for each crossing, and again only after it had come back; only what is watched has any."""

import msgspec
import pytest

from naru.model.alarms import CapacityAlarm
from naru.model.network_pools import NetworkPool
from naru.model.resources import put
from naru.model.usage import Days, NetworkIpForecast
from naru.service.alarms import Limits, alarms_to_tell, notice, record_told, watch_capacity, watched_subjects
from planning import NOW, PlainCloud

LIMITS = Limits(floor=0.1, horizon_days=14)


@pytest.fixture
def cloud():
    return PlainCloud()


def row(free, p50=None, *, id="p", usable=100, floor=0, status="forecast"):
    days = Days(None, p50, None) if status == "forecast" else None
    return NetworkIpForecast(id=id, of="network_pool", usable=usable, free=free, floor=floor, status=status, days_to_exhaustion=days)


def raised(cloud, *rows):
    """-> which alarms there are after a look."""
    cloud.run(watch_capacity(cloud.view, rows, LIMITS))
    return {alarm.id for alarm in cloud.view.all(CapacityAlarm)}


def test_a_floor_is_crossed_at_its_share_of_the_addresses_or_at_the_pools_own_floor(cloud):
    assert raised(cloud, row(11)) == set()
    assert raised(cloud, row(10)) == {"p:floor"}
    assert raised(cloud, row(30, id="q", floor=30)) == {"q:floor"}


def test_a_horizon_is_crossed_by_the_forecast_that_is_as_likely_as_not(cloud):
    assert raised(cloud, row(50, 15)) == set()
    assert raised(cloud, row(50, 14)) == {"p:horizon"}
    assert raised(cloud, row(50, None)) == set()


def test_both_may_be_crossed_at_once(cloud):
    assert raised(cloud, row(3, 2)) == {"p:floor", "p:horizon"}


def test_what_wavers_at_the_limit_is_one_crossing(cloud):
    raised(cloud, row(10))
    (alarm,) = alarms_to_tell(cloud.view)
    cloud.run(record_told(cloud.view, alarm.delivery))
    for free in (11, 9, 17, 10, 12):
        assert raised(cloud, row(free)) == {"p:floor"}
        assert alarms_to_tell(cloud.view) == []


def test_after_it_came_back_the_next_crossing_is_another_one(cloud):
    raised(cloud, row(10))
    (first,) = alarms_to_tell(cloud.view)
    assert raised(cloud, row(18)) == set()
    raised(cloud, row(10))
    (second,) = alarms_to_tell(cloud.view)
    assert first.delivery != second.delivery


def test_what_is_not_known_any_more_changes_nothing(cloud):
    raised(cloud, row(50, 3))
    assert raised(cloud, row(50, status="not_enough_history")) == {"p:horizon"}


def test_a_network_without_addresses_or_with_too_many_raises_none(cloud):
    assert raised(cloud, row(0, usable=0, status="no_addresses"), row(0, id="q", status="boundless")) == set()


def test_the_alarms_of_what_is_gone_are_withdrawn(cloud):
    raised(cloud, row(1), row(1, id="q"))
    assert raised(cloud, row(1, id="q")) == {"q:floor"}


def test_an_alarm_is_to_be_told_until_it_was(cloud):
    raised(cloud, row(1), row(1, id="q"))
    first, second = alarms_to_tell(cloud.view)
    cloud.run(record_told(cloud.view, first.delivery))
    assert alarms_to_tell(cloud.view) == [second]
    cloud.run(record_told(cloud.view, "none of ours"))
    assert alarms_to_tell(cloud.view) == [second]


def test_the_notice_says_what_was_crossed_and_what_is_known_of_it(cloud):
    raised(cloud, row(10))
    (alarm,) = alarms_to_tell(cloud.view)
    told = msgspec.json.decode(notice(alarm, [row(9)]))
    assert (told["event"], told["delivery"]) == ("floor_crossed", alarm.delivery)
    assert (told["network_ip_forecast"]["id"], told["network_ip_forecast"]["free"]) == ("p", 9)
    assert "revision_number" not in told["network_ip_forecast"]


@pytest.mark.parametrize(("of", "names"), [("operator_pools", ["ours"]), ("pools", ["ours", "theirs"]), ("all", ["ours", "theirs", "net"])])
def test_pools_of_the_operator_are_watched_and_others_if_it_is_wanted(cloud, of, names):
    cloud.run(iter([put(NetworkPool(id="1", name="ours", of_operator=True)), put(NetworkPool(id="2", name="theirs"))]))
    cloud.network()
    assert [subject.of.name for subject in watched_subjects(cloud.view, of, NOW)] == names
