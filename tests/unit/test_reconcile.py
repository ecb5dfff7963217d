"""The reconciler over a fake host: what it does once, again, later, and never."""

import pytest

from naru.agent.reconcile import DID_NOT_LAST, LASTING_S, Reconciler, achieved, without_routers
from naru.agent.report import Ledger
from naru.drivers.base import ToolError
from naru.model.hostreport import InstanceReport
from naru.model.hoststate import (
    DhcpState,
    FilterRule,
    FilterState,
    FloatingAddress,
    GroupState,
    LeaseState,
    NetworkState,
    QosState,
    RouterState,
    RulesState,
    SegmentState,
    TapState,
)
from naru.testing import FakeDriver, ManualClock

NETWORK = NetworkState("n1", 1450, (SegmentState("vxlan", None, 7),))
TAP = TapState("p1", "n1", "fa:16:3e:00:00:01", 1450)
OTHER = TapState("p2", "n1", "fa:16:3e:00:00:02", 1450)
DHCP = DhcpState("n1", "p9", "qdhcp-n1", "ns-p9", 1450, ())
LEASE = LeaseState("p1", "n1", TAP.mac_address, "host-1", ("10.0.0.5",))


def state(*values):
    return {value.key: value for value in values}


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def host():
    return FakeDriver()


@pytest.fixture
def reconciler(host, clock):
    return Reconciler([host], clock)


def test_pass_makes_what_is_desired_and_the_next_does_nothing(reconciler, host):
    done = reconciler.run_pass(state(NETWORK, TAP), prune=True)
    assert done.achieved == {"network/n1": "", "tap/p1": ""}
    assert set(host.facts) == {"network/n1", "tap/p1"}
    assert reconciler.run_pass(state(NETWORK, TAP), prune=True).actions == []


def test_fresh_reconciler_on_a_wired_host_does_nothing(host, clock):
    Reconciler([host], clock).run_pass(state(NETWORK, TAP), prune=True)
    assert Reconciler([host], clock).run_pass(state(NETWORK, TAP), prune=True).actions == []


def test_nothing_is_removed_before_the_agent_is_in_sync(reconciler, host):
    reconciler.run_pass(state(NETWORK, TAP), prune=True)
    assert reconciler.run_pass(state(NETWORK), prune=False).actions == []
    assert set(host.facts) == {"network/n1", "tap/p1"}
    reconciler.run_pass(state(NETWORK), prune=True)
    assert set(host.facts) == {"network/n1"}


def test_what_others_removed_comes_back(reconciler, host, clock):
    reconciler.run_pass(state(NETWORK, TAP), prune=True)
    clock.advance(60)
    del host.facts["tap/p1"]
    reconciler.run_pass(state(NETWORK, TAP), prune=True)
    assert "tap/p1" in host.facts


def test_failing_key_does_not_stop_the_others_and_waits_longer_each_time(reconciler, host, clock):
    host.broken["tap/p1"] = "no"
    desired = state(NETWORK, TAP, OTHER)
    done = reconciler.run_pass(desired, prune=True)
    assert done.achieved == {"network/n1": "", "tap/p1": "no", "tap/p2": ""}
    tries = []
    for _ in range(200):
        clock.advance(0.5)
        done = reconciler.run_pass(desired, prune=True)
        assert done.achieved["tap/p1"] == "no"
        tries += [clock()] if done.actions else []
    assert tries == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5, 63.5]


def test_repaired_key_recovers_when_it_is_due(reconciler, host, clock):
    host.broken["tap/p1"] = "no"
    reconciler.run_pass(state(NETWORK, TAP), prune=True)
    assert reconciler.next_retry_s() == 0.5
    host.broken.clear()
    clock.advance(0.5)
    assert reconciler.run_pass(state(NETWORK, TAP), prune=True).achieved["tap/p1"] == ""
    assert reconciler.next_retry_s() is None


def test_changed_value_of_a_failing_key_is_tried_at_once(reconciler, host):
    host.broken["tap/p1"] = "no"
    reconciler.run_pass(state(NETWORK, TAP), prune=True)
    assert reconciler.run_pass(state(NETWORK, TAP), prune=True).actions == []
    changed = TapState("p1", "n1", "fa:16:3e:00:00:01", 1400)
    assert len(reconciler.run_pass(state(NETWORK, changed), prune=True).actions) == 1


def test_what_does_not_last_is_made_more_and_more_rarely_and_is_said_to_fail(reconciler, host, clock):
    desired = state(NETWORK, TAP)
    made, reasons = [], set()
    for _ in range(40):
        host.facts.pop("tap/p1", None)
        done = reconciler.run_pass(desired, prune=True)
        made += [clock()] if done.actions else []
        reasons.add(done.achieved["tap/p1"])
        clock.advance(0.25)
    assert made == [0, 0.5, 1.5, 3.5, 7.5]
    assert reasons == {"", DID_NOT_LAST}
    clock.advance(60 + LASTING_S)
    assert reconciler.run_pass(desired, prune=True).achieved["tap/p1"] == ""


def test_what_goes_because_it_is_wanted_no_more_is_made_at_once_when_it_is_wanted_again(reconciler, host):
    reconciler.run_pass(state(NETWORK, TAP), prune=True)
    host.facts.pop("tap/p1")  # what is read back of some facts has another key: their removal is none of this one's plans
    reconciler.run_pass(state(NETWORK), prune=True)
    assert reconciler.run_pass(state(NETWORK, TAP), prune=True).achieved["tap/p1"] == ""
    assert "tap/p1" in host.facts


def test_leftover_that_cannot_be_removed_is_reported_until_it_is_gone(reconciler, host, clock):
    reconciler.run_pass(state(NETWORK, TAP), prune=True)
    host.broken["tap/p1"] = "busy"
    assert reconciler.run_pass(state(NETWORK), prune=True).achieved["tap/p1"] == "busy"
    host.broken.clear()
    clock.advance(1)
    assert "tap/p1" not in reconciler.run_pass(state(NETWORK), prune=True).achieved


def test_removals_run_in_reverse_before_anything_is_made(clock):
    first, second = FakeDriver(), FakeDriver()
    second.log = first.log  # one log for both
    reconciler = Reconciler([first, second], clock)
    reconciler.run_pass(state(NETWORK, TAP), prune=True)
    first.log.clear()
    reconciler.run_pass(state(OTHER), prune=True)
    assert [(action.tool[1], action.key) for action in first.log] == [
        *[("del", "tap/p1"), ("del", "network/n1")] * 2,
        *[("put", "tap/p2")] * 2,
    ]


def test_a_tool_that_does_not_work_holds_up_the_keys_of_its_driver_alone(clock):
    switch, dhcp = FakeDriver("network", "tap"), FakeDriver("dhcp", "lease")
    reconciler = Reconciler([switch, dhcp], clock)
    reconciler.run_pass(state(NETWORK, TAP, DHCP), prune=True)
    switch.down = "ovs-vswitchd does not answer"
    done = reconciler.run_pass(state(NETWORK, TAP, OTHER, DHCP, LEASE), prune=True)
    assert set(dhcp.facts) == {"dhcp/n1", "lease/p1"}
    assert set(switch.facts) == {"network/n1", "tap/p1"}
    assert done.failed == dict.fromkeys(("network/n1", "tap/p1", "tap/p2"), "ovs-vswitchd does not answer")
    assert done.achieved["tap/p2"] == "ovs-vswitchd does not answer"
    assert reconciler.next_retry_s() == clock() + 1
    switch.down = ""
    done = reconciler.run_pass(state(NETWORK, TAP, OTHER, DHCP, LEASE), prune=True)
    assert set(done.achieved.values()) == {""}
    assert reconciler.next_retry_s() is None


def test_a_tool_that_breaks_under_its_work_is_found_out_as_well(clock):
    switch, dhcp = Breaking("network", "tap"), FakeDriver("dhcp")
    done = Reconciler([switch, dhcp], clock).run_pass(state(NETWORK, TAP, DHCP), prune=True)
    assert done.failed == {"network/n1": "it hangs", "tap/p1": "it hangs"}
    assert set(dhcp.facts) == {"dhcp/n1"}


def test_a_tool_that_does_not_work_is_told_of_where_nothing_is_wanted_of_it(clock):
    switch = FakeDriver("network", "tap")
    switch.down = "no ovs"
    assert Reconciler([switch], clock).run_pass({}, prune=True).achieved == {"network": "no ovs"}


def test_no_tap_is_made_while_the_tool_of_the_filters_does_not_work(clock):
    firewall, switch = FakeDriver("filter", "rules", "group"), FakeDriver("network", "tap")
    firewall.down = "no nft"
    filtered = state(NETWORK, TapState("p1", "n1", TAP.mac_address, 1450, filtered=True), FilterState("p1", "n1", TAP.mac_address, ()))
    done = Reconciler([firewall, switch], clock).run_pass(filtered, prune=True)
    assert set(switch.facts) == {"network/n1"}
    assert done.achieved["tap/p1"] == "no nft"


@pytest.mark.parametrize("kind", [FakeDriver, lambda *kinds: Breaking(*kinds, after=1)], ids=["cannot be read", "cannot remove"])
def test_a_filter_stays_while_the_tap_that_it_guards_cannot_be_removed(clock, kind):
    firewall, switch = FakeDriver("filter"), kind("network", "tap")
    reconciler = Reconciler([firewall, switch], clock)
    of_tap = FilterState("p1", "n1", TAP.mac_address, ())
    reconciler.run_pass(state(NETWORK, TapState("p1", "n1", TAP.mac_address, 1450, filtered=True), of_tap), prune=True)
    if kind is FakeDriver:
        switch.down = "ovs-vswitchd does not answer"
    reconciler.run_pass(state(NETWORK), prune=True)
    assert set(firewall.facts) == {"filter/p1"}
    assert "tap/p1" in switch.facts
    switch.down, switch.after = "", None
    reconciler.run_pass(state(NETWORK), prune=True)
    assert firewall.facts == {}
    assert set(switch.facts) == {"network/n1"}


class Breaking(FakeDriver):
    """The fake, whose tool works `after` times; None: always."""

    def __init__(self, *kinds, after=0):
        super().__init__(*kinds)
        self.after = after

    def apply(self, actions):
        if self.after == 0:
            raise ToolError("it hangs")
        self.after = None if self.after is None else self.after - 1
        return super().apply(actions)


def test_key_is_achieved_only_with_what_it_rests_on():
    desired = state(NETWORK, TAP, DHCP, LEASE)
    assert set(achieved(desired, {}).values()) == {""}
    assert achieved(desired, {"dhcp/n1": "dead"})["lease/p1"] == "dead"
    assert achieved(desired, {"network/n1": "not mapped"})["tap/p1"] == "not mapped"
    assert "lease/p1" not in achieved(state(NETWORK, TAP, LEASE), {})


def test_first_report_is_full_and_later_ones_say_what_changed():
    ledger = Ledger(current={"tap/p1": "", "tap/p2": "no"}, revision=5)
    first = ledger.next_report()
    assert (first.full, first.ok, first.failed, first.revision) == (True, ("tap/p1",), {"tap/p2": "no"}, 5)
    ledger.accept(first)
    assert not ledger.has_news()
    ledger.current = {"tap/p2": "", "tap/p3": ""}
    second = ledger.next_report()
    assert (second.full, second.ok, second.failed, second.gone) == (False, ("tap/p2", "tap/p3"), {}, ("tap/p1",))


def test_report_that_was_not_taken_is_said_again_with_what_came_since():
    ledger = Ledger(current={"tap/p1": ""})
    ledger.next_report()
    ledger.current = {"tap/p1": "", "tap/p2": ""}
    assert ledger.next_report().ok == ("tap/p1", "tap/p2")


def test_what_changes_while_a_report_is_under_way_is_in_the_next():
    ledger = Ledger(current={"tap/p1": ""}, full=False)
    report = ledger.next_report()
    ledger.current = {"tap/p1": "no"}
    ledger.accept(report)
    assert ledger.next_report().failed == {"tap/p1": "no"}


def test_restart_while_a_report_is_under_way_makes_the_next_one_full():
    ledger = Ledger(current={"tap/p1": ""}, full=False)
    report = ledger.next_report()
    ledger.restart()
    ledger.accept(report)
    assert ledger.next_report().full


def test_instances_are_reported_when_they_change():
    ledger = Ledger(instances={"i1": InstanceReport("running")})
    ledger.accept(ledger.next_report())
    assert ledger.next_report().instances == {}
    ledger.instances = {"i1": InstanceReport("running", {"eth0": "10.0.0.5/24"})}
    assert ledger.next_report().instances == ledger.instances


def test_a_tap_waits_for_its_filter_and_is_made_in_the_pass_that_brings_it(clock):
    firewall, links = FakeDriver("filter"), FakeDriver("tap", "network")
    reconciler = Reconciler([firewall, links], clock)
    tap, other = TapState("p1", "n1", TAP.mac_address, 1450, filtered=True), TapState("p2", "n1", OTHER.mac_address, 1450, filtered=True)
    of_tap, of_other = (FilterState(port, "n1", TAP.mac_address, ()) for port in ("p1", "p2"))

    done = reconciler.run_pass(state(NETWORK, tap, other, of_other), prune=True)
    assert set(links.facts) == {"network/n1", "tap/p2"}
    assert "tap/p1" not in done.achieved

    done = reconciler.run_pass(state(NETWORK, tap, other, of_tap, of_other), prune=True)
    assert set(links.facts) == {"network/n1", "tap/p1", "tap/p2"}
    assert done.achieved["tap/p1"] == ""


def test_a_tap_whose_filter_failed_is_not_made_and_says_why(clock):
    firewall, links = FakeDriver("filter"), FakeDriver("tap", "network")
    reconciler = Reconciler([firewall, links], clock)
    firewall.broken["filter/p1"] = "nft says no"
    desired = state(NETWORK, TapState("p1", "n1", TAP.mac_address, 1450, filtered=True), FilterState("p1", "n1", TAP.mac_address, ()))

    done = reconciler.run_pass(desired, prune=True)
    assert set(links.facts) == {"network/n1"}
    assert done.achieved["tap/p1"] == "nft says no"

    firewall.broken.clear()
    clock.advance(1)
    assert reconciler.run_pass(desired, prune=True).achieved["tap/p1"] == ""
    assert "tap/p1" in links.facts


def test_a_tap_is_as_wanted_when_its_limits_are_in_force():
    desired = state(NETWORK, TAP, QosState(TAP.port_id, dscp_mark=26))
    assert set(achieved(desired, {}).values()) == {""}
    assert achieved(desired, {"qos/p1": "no room"})["tap/p1"] == "no room"


def test_a_filter_rests_on_the_rules_of_its_groups_and_on_the_members_that_they_name():
    rules = RulesState("g1", (FilterRule("ingress", "IPv4", remote_group="g2"),))
    desired = state(FilterState("p1", "n1", TAP.mac_address, (), ("g1",)), rules)
    assert achieved(desired, {}) == {}
    desired |= state(GroupState("g2", ()))
    assert achieved(desired, {"group/g2": "no"})["filter/p1"] == "no"
    assert achieved(desired, {})["filter/p1"] == ""


ROUTER = RouterState("r1", "qrouter-r1", (), floating=(FloatingAddress("f1", "203.0.113.50", "10.0.0.5"),))


def test_a_router_achieves_its_floating_ips_with_itself():
    assert achieved({ROUTER.key: ROUTER}, {}) == {"router/r1": "", "floatingip/f1": ""}
    assert achieved({ROUTER.key: ROUTER}, {"router/r1": "no nft"}) == {"router/r1": "no nft", "floatingip/f1": "no nft"}


def test_before_the_server_has_confirmed_it_no_router_is_made():
    inner, other = (
        TapState(port, "n1", "fa:16:3e:00:00:01", 1450, netns=netns, device="d") for port, netns in (("p1", "qrouter-r1"), ("p2", "x"))
    )
    state = {value.key: value for value in (ROUTER, inner, other)}
    assert without_routers(state) == {other.key: other}
