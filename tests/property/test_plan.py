"""Whatever a host looks like and whatever is desired: a pass gets there, a second one does nothing, no failure is for ever."""

from hypothesis import given
from hypothesis import strategies as st

from naru.agent.reconcile import LONGEST_WAIT_S, Reconciler
from naru.drivers.base import plan
from naru.model.hoststate import NetworkState, SegmentState, TapState
from naru.testing import FakeDriver, ManualClock

ids = st.sampled_from("abcdef")
segments = st.builds(SegmentState, st.just("vxlan"), st.none(), st.integers(1, 2))
networks = st.builds(NetworkState, ids, st.integers(1400, 1402), st.tuples(segments))
taps = st.builds(TapState, ids, ids, st.just("fa:16:3e:00:00:01"), st.integers(1400, 1402))
states = st.lists(networks | taps).map(lambda values: {value.key: value for value in values})


def host_with(state):
    host = FakeDriver()
    host.facts, _ = host.want(state)
    return host


@given(states, states)
def test_apply_of_a_plan_makes_the_host_what_is_desired(actual, desired):
    host = host_with(actual)
    want, _ = host.want(desired)
    planned = plan(want, host.read(), prune=True)
    assert host.apply([*planned.removals, *planned.additions]) == []
    assert host.facts == want
    again = plan(want, host.read(), prune=True)
    assert (again.removals, again.additions) == ([], [])


@given(states, states)
def test_without_prune_nothing_is_taken_away(actual, desired):
    host = host_with(actual)
    Reconciler([host], ManualClock()).run_pass(desired, prune=False)
    assert host.facts.keys() == actual.keys() | desired.keys()


@given(states, states, st.data())
def test_plan_that_is_cut_anywhere_is_completed_by_the_next_agent(actual, desired, data):
    host = host_with(actual)
    want, _ = host.want(desired)
    planned = plan(want, host.read(), prune=True)
    actions = [*planned.removals, *planned.additions]
    host.apply(actions[: data.draw(st.integers(0, len(actions)))])
    Reconciler([host], ManualClock()).run_pass(desired, prune=True)
    assert host.facts == want


@given(st.lists(states, min_size=1), st.data())
def test_whatever_happened_on_the_way_only_the_last_desired_state_counts(history, data):
    host, clock = FakeDriver(), ManualClock()
    reconciler = Reconciler([host], clock)
    for desired in history:
        host.broken = dict.fromkeys(data.draw(st.sets(st.sampled_from(sorted(desired) or ["none"]))), "broken")
        done = reconciler.run_pass(desired, prune=data.draw(st.booleans()))
        assert done.failed.keys() >= {key for key in host.broken if key in desired and key not in host.facts}
        clock.advance(data.draw(st.floats(0, 10)))
    host.broken = {}
    for _ in range(3):
        clock.advance(LONGEST_WAIT_S)
        reconciler.run_pass(history[-1], prune=True)
    assert host.facts == host.want(history[-1])[0]
