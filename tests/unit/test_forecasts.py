"""Usage is kept compactly by the hour and by the day, and days to exhaustion follow from it; what is not known is not guessed."""

from datetime import timedelta

import msgspec
import pytest

from naru.model.errors import NotFound
from naru.model.identity import Caller
from naru.model.network_pools import Member, NetworkPool
from naru.model.resources import Network, put
from naru.model.usage import Days, NetworkUsage
from naru.schedule.candidates import Wish
from naru.schedule.forecast import HORIZON_DAYS, days_until
from naru.service.candidates import candidates_for
from naru.service.forecasts import (
    find_subject,
    forecast,
    hour_of,
    list_subjects,
    observe_usage,
    record_days_left,
    record_usage,
    subjects_of,
)
from naru.service.networks import delete_network
from naru.service.ports import delete_port
from naru.store.documents import render
from planning import ADMIN, CLOUD, MEMBER, NOW, PlainCloud

MIDNIGHT = hour_of(NOW)


@pytest.fixture
def cloud():
    return PlainCloud()


def usage(*by_day, until=MIDNIGHT):
    """A history that ends before `until`, with the same use in all hours of a day."""
    history = NetworkUsage(id="n")
    for day, used in enumerate(by_day):
        for hour in range(24):
            history = history.recorded(until - 24 * (len(by_day) - day) + hour, used)
    return history


# -- what is kept


def test_a_day_counts_with_the_most_that_was_in_use():
    history = NetworkUsage(id="n").recorded(MIDNIGHT, 3).recorded(MIDNIGHT + 5, 9).recorded(MIDNIGHT + 23, 4)
    assert history.daily(MIDNIGHT + 24) == (9,)


def test_hours_without_a_record_were_like_the_one_before():
    history = NetworkUsage(id="n").recorded(MIDNIGHT, 3).recorded(MIDNIGHT + 50, 7)
    assert history.daily(MIDNIGHT + 96) == (3, 3, 7, 7)
    assert len(history.hours) == 51


def test_an_hour_that_is_recorded_twice_keeps_the_most():
    assert NetworkUsage(id="n").recorded(MIDNIGHT, 3).recorded(MIDNIGHT, 8).recorded(MIDNIGHT, 5).hours == (8,)


def test_a_day_counts_when_it_is_over_and_was_seen_from_its_beginning():
    history = NetworkUsage(id="n").recorded(MIDNIGHT + 13, 3)
    assert history.daily(MIDNIGHT + 24) == ()
    assert history.daily(MIDNIGHT + 47) == ()
    assert history.daily(MIDNIGHT + 48) == (3,)


def test_old_hours_become_days_and_no_day_is_lost_or_changed():
    history = usage(*range(100, 160))
    assert history.daily(MIDNIGHT) == tuple(range(100, 160))
    assert len(history.hours) < 15 * 24
    assert history.days == tuple(range(100, 160 - len(history.hours) // 24))


def test_a_network_with_a_year_of_history_takes_less_than_four_kilobytes():
    history = NetworkUsage(id="0" * 36)
    for hour in range(500 * 24):
        history = history.recorded(hour, 1000 + hour % 24)
    assert len(history.daily(500 * 24)) == 400
    assert len(render(history)[1]) < 4096


def test_what_stood_still_for_years_is_kept_in_bounds():
    history = NetworkUsage(id="n").recorded(0, 5).recorded(3_000_000, 6)
    assert set(history.days) == {5}
    assert len(history.days) + len(history.hours) // 24 <= 415


def test_only_networks_whose_use_changed_are_written(cloud):
    network, peaks = cloud.network(), {}
    cloud.subnet(network)
    cloud.network("empty")
    observe_usage(cloud.view, peaks)
    assert set(peaks) == {network.id}
    before = peaks[network.id]
    cloud.run(record_usage(cloud.view, MIDNIGHT, peaks))
    written = len(cloud.changes)
    cloud.run(record_usage(cloud.view, MIDNIGHT + 1, peaks))
    assert len(cloud.changes) == written
    cloud.port(network)
    observe_usage(cloud.view, peaks)
    cloud.run(record_usage(cloud.view, MIDNIGHT + 2, peaks))
    assert cloud.view.get(NetworkUsage, network.id).hours == (before, before, before + 1)


def test_a_burst_between_two_records_counts(cloud):
    network, peaks = cloud.network(), {}
    cloud.subnet(network, enable_dhcp=False)
    port = cloud.port(network)
    observe_usage(cloud.view, peaks)
    cloud.run(delete_port(cloud.view, ADMIN, port.id, CLOUD))
    observe_usage(cloud.view, peaks)
    assert peaks == {network.id: 1}


def test_a_network_that_is_gone_leaves_no_history(cloud):
    network, peaks = cloud.network(), {}
    cloud.subnet(network, enable_dhcp=False)
    observe_usage(cloud.view, peaks)
    cloud.run(record_usage(cloud.view, MIDNIGHT, peaks))
    cloud.run(delete_network(cloud.view, ADMIN, network.id, CLOUD))
    cloud.run(record_usage(cloud.view, MIDNIGHT + 1, peaks))
    assert list(cloud.view.all(NetworkUsage)) == []


# -- what is forecast


def weekly(day):
    """Less on weekends."""
    return -20 if day % 7 in (5, 6) else 0


def test_a_steady_growth_is_carried_on():
    assert days_until(tuple(range(100, 156)), (175, 255)) == (Days(20, 20, 20), Days(100, 100, 100))


def test_weekends_do_not_bend_the_trend_and_a_weekday_is_expected_to_reach_the_level():
    (days,) = days_until(tuple(100 + day + weekly(day) for day in range(56)), (200,))
    assert days.p50 is not None
    assert abs(days.p50 - 45) <= 3


def test_what_goes_up_and_down_and_does_not_grow_never_fills_what_it_never_filled():
    assert days_until(tuple(50 + (day * 37 % 11) for day in range(56)), (80,)) == (Days(None, None, None),)


def test_a_single_burst_may_come_again_and_does_not_bend_the_trend():
    steady = [100 + day for day in range(56)]
    burst = steady[30] + 300
    (days,) = days_until((*steady[:30], burst, *steady[31:]), (600,))
    assert 600 - 155 - 300 <= days.p10 <= days.p50 <= 600 - 155


def test_the_unsteadier_the_past_the_wider_the_forecast():
    calm, wild = (tuple(100 + day + swing * (day * 7919 % 13 - 6) for day in range(56)) for swing in (1, 6))
    (narrow,), (wide,) = days_until(calm, (260,)), days_until(wild, (260,))
    assert wide.p10 < narrow.p10 <= narrow.p50 <= narrow.p90
    assert wide.p90 - wide.p10 > narrow.p90 - narrow.p10


def test_the_same_past_gives_the_same_forecast():
    past = tuple(100 + day * 3 % 17 + day for day in range(40))
    assert days_until.__wrapped__(past, (300,)) == days_until.__wrapped__(past, (300,))


def test_what_is_further_than_a_year_is_not_told():
    assert days_until(tuple(range(100, 156)), (155 + HORIZON_DAYS, 156 + HORIZON_DAYS))[0].p50 == HORIZON_DAYS
    assert days_until(tuple(range(100, 156)), (156 + HORIZON_DAYS,)) == (Days(None, None, None),)


# -- what is shown


def of(cloud, id, caller=ADMIN, now=NOW):
    return forecast(find_subject(cloud.view, caller, id, now))


@pytest.fixture
def growing(cloud):
    """A network with 253 addresses of which a few more are in use each day: 30 today."""
    network = cloud.network("growing")
    cloud.subnet(network, "10.0.0.0/24", enable_dhcp=False)
    for _ in range(30):
        cloud.port(network)
    history = usage(*range(2, 30))
    cloud.run(iter([put(msgspec.structs.replace(history, id=network.id))]))
    return network


def test_a_forecast_says_what_is_free_by_what_it_goes_and_in_words(cloud, growing):
    found = of(cloud, growing.id)
    assert (found.usable, found.used, found.free, found.status, found.of) == (253, 30, 223, "forecast", "network")
    assert (found.days_known, found.days_used, found.method) == (28, 28, "theil-sen, residuals by the week")
    assert found.days_to_exhaustion == Days(223, 223, 223)
    assert found.days_to_floor is None
    assert found.text_en == (
        "223 of 253 addresses are free; the last one is taken in 223 days, in 1 of 10 cases within 223 days, in 9 of 10 within 223 days"
    )
    assert "253개 중 223개" in found.text_ko


def test_a_floor_is_crossed_earlier_and_a_pool_is_the_sum_of_its_members(cloud, growing):
    other = cloud.network("other")
    cloud.subnet(other, "10.1.0.0/24", enable_dhcp=False)
    cloud.run(iter([put(NetworkPool(id="p", name="pool", members=(Member(growing.id), Member(other.id)), floor_count=10))]))
    cloud.run(iter([put(msgspec.structs.replace(usage(*[5] * 28), id=other.id))]))
    network, pool = of(cloud, growing.id), of(cloud, "p")
    assert (network.floor, network.days_to_floor.p50, network.days_to_exhaustion.p50) == (10, 213, 223)
    assert (pool.of, pool.usable, pool.floor) == ("network_pool", 506, 20)
    assert pool.days_to_exhaustion == Days(None, None, None)
    assert [row.of.name for row in list_subjects(cloud.view, ADMIN, NOW)] == ["pool", "growing", "other"]


def test_too_little_history_is_said_and_nothing_is_guessed(cloud):
    network = cloud.network()
    cloud.subnet(network, enable_dhcp=False)
    cloud.run(iter([put(msgspec.structs.replace(usage(*range(13)), id=network.id))]))
    found = of(cloud, network.id)
    assert (found.status, found.days_known, found.days_to_exhaustion, found.method) == ("not_enough_history", 13, None, None)
    assert "13 whole days of history, and a forecast needs 14" in found.text_en
    assert of(cloud, network.id, now=NOW + timedelta(days=1)).status == "forecast"


def test_a_network_without_addresses_and_one_with_too_many_have_none(cloud):
    empty, wide = cloud.network("empty"), cloud.network("wide")
    cloud.subnet(wide, "2001:db8::/64", enable_dhcp=False)
    assert [of(cloud, network.id).status for network in (empty, wide)] == ["no_addresses", "boundless"]


def test_what_is_full_now_is_full_in_no_days(cloud):
    network = cloud.network()
    cloud.subnet(network, "10.0.0.0/30", enable_dhcp=False)
    while of(cloud, network.id).free:
        cloud.port(network)
    cloud.run(iter([put(msgspec.structs.replace(usage(*[1] * 20), id=network.id))]))
    assert of(cloud, network.id).days_to_exhaustion == Days(0, 0, 0)


def test_owners_and_those_who_read_all_see_a_forecast_and_nobody_else(cloud, growing):
    own = cloud.network("own", MEMBER)
    assert [subject.of.name for subject in list_subjects(cloud.view, MEMBER, NOW)] == ["own"]
    assert of(cloud, own.id, MEMBER).name == "own"
    shared = msgspec.structs.replace(cloud.view.get(Network, growing.id), shared=True)
    cloud.run(iter([put(shared)]))
    for id in (growing.id, "nothing"):
        with pytest.raises(NotFound):
            of(cloud, id, MEMBER)
    assert len(list_subjects(cloud.view, Caller("r", "x", frozenset({"admin"})), NOW)) == 2


# -- what picks make of it


def test_a_pick_by_days_left_prefers_the_network_that_lasts_longer_and_follows_each_new_forecast(cloud, growing):
    steady = cloud.network("steady")
    cloud.subnet(steady, "10.1.0.0/24", enable_dhcp=False)
    for _ in range(30):
        cloud.port(steady)
    members = (Member(growing.id), Member(steady.id))
    cloud.run(iter([put(NetworkPool(id="p", members=members, weights={"days_left": 1.0, "priority": 0.0}, of_operator=True))]))

    def chosen():
        return candidates_for(cloud.view, ADMIN, Wish(pool_id="p")).place(Wish(pool_id="p")).assignments

    assert chosen() == (growing.id,)
    cloud.run(iter([put(msgspec.structs.replace(usage(*[30] * 28), id=steady.id))]))
    cloud.run(record_days_left(cloud.view, map(forecast, subjects_of(cloud.view, cloud.view.all(Network), NOW))))
    assert [cloud.view.get(NetworkUsage, network.id).days_left for network in (growing, steady)] == [223, None]
    assert chosen() == (steady.id,)
    for network in (growing, steady):
        history = usage(*([30] * 28 if network is growing else range(2, 30)))
        cloud.run(iter([put(msgspec.structs.replace(history, id=network.id))]))
    cloud.run(record_days_left(cloud.view, map(forecast, subjects_of(cloud.view, cloud.view.all(Network), NOW))))
    assert chosen() == (growing.id,)


def test_a_forecast_that_says_the_same_is_not_written_again(cloud, growing):
    forecasts = [forecast(find_subject(cloud.view, ADMIN, growing.id, NOW))]
    cloud.run(record_days_left(cloud.view, forecasts))
    written = len(cloud.changes)
    cloud.run(record_days_left(cloud.view, forecasts))
    assert len(cloud.changes) == written
