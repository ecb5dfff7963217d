"""Clocks that jump, or are not the server's: what an agent says of its own, and what does not go by the server's."""

from dataclasses import dataclass
from datetime import timedelta
from email.utils import format_datetime

import pytest

from naru.agent.clock import HARMLESS, TOLD_S, HostClock
from naru.model.clocks import Clocks, span_text
from naru.model.identity import Token
from naru.model.network_pools import NetworkPool
from naru.model.picks import NetworkPick, RestingAddresses
from naru.model.requests import decode_create
from naru.model.resources import FixedIp, put
from naru.service.holds import sweep_holds
from naru.service.identity import remove_expired, time_text
from naru.service.network_pools import create_network_pool
from naru.service.picks import create_pick
from planning import ADMIN, CLOUD, NOW, PlainCloud


@dataclass
class Day:
    """A time of day that goes with a steady clock until it is set."""

    steady_s: float = 0.0
    set_by_s: float = 0.0

    def __call__(self) -> Clocks:
        return Clocks(self.steady_s, NOW.timestamp() + self.steady_s + self.set_by_s)

    def server(self, ahead_s: float = 0.0) -> str:
        """The Date of its answer, whose clock was never set."""
        return format_datetime(NOW + timedelta(seconds=int(self.steady_s + ahead_s)), usegmt=True)


@pytest.fixture
def day() -> Day:
    return Day()


@pytest.mark.parametrize(
    ("set_by_s", "says"),
    [
        (7200, "this host's clock was set forward by 2 h, to 2026-01-01 02:01 UTC"),
        (-90, "this host's clock was set back by 90 s, to 2025-12-31 23:59 UTC"),
        (86400 * 3, "this host's clock was set forward by 3 days, to 2026-01-04 00:01 UTC"),
        (0.5, ""),
    ],
)
def test_a_clock_that_was_set_is_told_for_an_hour(day, set_by_s, says):
    clock = HostClock(day)
    day.steady_s += 60
    assert clock.fault() == ""
    day.set_by_s += set_by_s
    assert clock.fault() == (f"{says}. {HARMLESS}" if says else "")
    day.steady_s += TOLD_S - 1
    assert clock.fault() == (f"{says}. {HARMLESS}" if says else "")
    day.steady_s += 2
    assert clock.fault() == ""


def test_a_clock_that_is_kept_right_was_not_set(day):
    clock = HostClock(day)
    for _ in range(100):
        day.steady_s += 60
        day.set_by_s += 0.1
        assert clock.fault() == ""


@pytest.mark.parametrize(
    ("set_by_s", "says"),
    [
        (3600, "this host's clock is 60 min ahead of the server's"),
        (-30, "this host's clock is 30 s behind the server's"),
        (4, ""),
        (-4, ""),
    ],
)
def test_a_clock_that_is_not_the_servers_is_told_as_long_as_it_is_not(day, set_by_s, says):
    day.set_by_s = set_by_s
    clock = HostClock(day)
    for _ in range(3):
        asked = day()
        day.steady_s += 0.3
        clock.compare(asked, day.server())
        assert clock.fault() == (f"{says}. {HARMLESS}" if says else "")
        day.steady_s += 30
    day.set_by_s = 0
    clock.compare(day(), day.server())
    assert "the server's" not in clock.fault().partition(".")[0]


def test_what_is_told_of_a_difference_does_not_change_with_each_look(day):
    day.set_by_s = 60
    clock = HostClock(day)
    said = set()
    for part in range(20):
        day.steady_s += 30.1 * part
        clock.compare(day(), day.server())
        said.add(clock.fault())
    assert len(said) == 1


def test_a_slow_server_makes_no_difference(day):
    clock = HostClock(day)
    asked, date = day(), day.server(ahead_s=9)
    day.steady_s += 9.5
    clock.compare(asked, date)
    clock.compare(day(), "")
    clock.compare(day(), "no date")
    assert clock.fault() == ""


@pytest.mark.parametrize(
    ("seconds", "words"), [(5.4, "5 s"), (-119, "119 s"), (120, "2 min"), (7100, "118 min"), (86400, "24 h"), (-(10**7), "116 days")]
)
def test_a_span_is_told_as_exactly_as_people_need_it(seconds, words):
    assert span_text(seconds) == words


# -- the server's


def test_a_hold_lasts_no_longer_for_a_clock_that_is_set_back():
    cloud = PlainCloud()
    cloud.host("compute01", "172.18.0.31")
    network = cloud.network()
    cloud.subnet(network)
    given = {"members": [{"network_id": network.id}], "is_default": True}
    cloud.run(create_network_pool(cloud.view, ADMIN, decode_create(NetworkPool, given, ADMIN), CLOUD))
    pick = cloud.run(create_pick(cloud.view, ADMIN, decode_create(NetworkPick, {"hold_s": 30}, ADMIN), CLOUD))
    cloud.view.now = NOW - timedelta(days=365)
    cloud.run(sweep_holds(cloud.view))
    assert cloud.view.get(NetworkPick, pick.id).expires_at == time_text(cloud.view.now + timedelta(seconds=30))

    cloud.view.now += timedelta(seconds=29)
    cloud.run(sweep_holds(cloud.view))
    assert cloud.view.get(NetworkPick, pick.id).status == "held"
    cloud.view.now += timedelta(seconds=2)
    cloud.run(sweep_holds(cloud.view))
    assert cloud.view.get(NetworkPick, pick.id).status == "expired"


def test_an_address_rests_no_longer_for_a_clock_that_is_set_back():
    cloud = PlainCloud()
    until, since = time_text(NOW + timedelta(seconds=60)), NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
    cloud.run(iter([put(RestingAddresses(id="p1", fixed_ips=(FixedIp("s1", "10.0.0.5"),), until=until, updated_at=since))]))
    cloud.view.now = NOW - timedelta(days=365)
    cloud.run(sweep_holds(cloud.view))
    assert cloud.view.get(RestingAddresses, "p1").until == time_text(cloud.view.now + timedelta(seconds=60))


def test_a_token_opens_no_longer_for_a_clock_that_is_set_back():
    cloud = PlainCloud()
    ends = time_text(NOW + timedelta(hours=1))
    cloud.run(iter([put(Token(id="t1", user_id="alice", issued_at=time_text(NOW), expires_at=ends, audit_id="a"))]))
    cloud.run(remove_expired(cloud.view, NOW))
    assert cloud.view.get(Token, "t1").expires_at == ends

    back = NOW - timedelta(days=365)
    for after_s, lasts in ((0, True), (1800, True), (3599, True), (3600, False)):
        cloud.run(remove_expired(cloud.view, back + timedelta(seconds=after_s)))
        assert (cloud.view.get(Token, "t1") is not None) == lasts
