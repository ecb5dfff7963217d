"""When routers announce themselves: new or changed ones at once and in full, others now and then by one address of each device."""

from msgspec.structs import replace

from naru.agent.presence import Presence
from naru.model.hoststate import FloatingAddress, RouterInterface, RouterState
from naru.testing import ManualClock

INSIDE = RouterInterface("p1", "n1", "qr-1", ("10.7.0.1/24", "fd00::1/64"))
OUTSIDE = RouterInterface("p2", "n2", "qg-2", ("203.0.113.5/24",))
ROUTER = RouterState("r1", "qrouter-r1", (INSIDE,), OUTSIDE, floating=(FloatingAddress("f1", "203.0.113.50", "10.7.0.11"),))
ALL = ["qr-1 10.7.0.1", "qr-1 fd00::1", "qg-2 203.0.113.5", "qg-2 203.0.113.50"]
FIRST = ["qr-1 10.7.0.1", "qg-2 203.0.113.5"]


def said(presence, *routers, again=True):
    return [lines for _, lines in presence.choose({router.key: router for router in routers}, again=again)]


def test_a_router_says_all_of_its_addresses_when_it_is_new_and_then_one_of_each_device_now_and_then():
    clock = ManualClock()
    presence = Presence(30.0, clock)
    assert said(presence, ROUTER) == [ALL]
    clock.advance(14)
    assert said(presence, ROUTER) == []
    clock.advance(1)
    assert said(presence, ROUTER, again=False) == []
    assert said(presence, ROUTER) == [FIRST]
    assert said(presence, ROUTER) == []


def test_a_router_that_changed_or_came_back_says_all_of_its_addresses():
    presence = Presence(30.0, ManualClock())
    assert said(presence, ROUTER) == [ALL]
    assert said(presence, replace(ROUTER, floating=())) == [ALL[:3]]
    assert said(presence) == []
    assert said(presence, ROUTER) == [ALL]


def test_a_router_that_could_not_be_announced_says_all_of_its_addresses_the_next_time():
    presence = Presence(30.0, ManualClock())
    presence.announce({ROUTER.key: ROUTER}, again=True)  # there is no such namespace
    assert said(presence, ROUTER) == [ALL]
