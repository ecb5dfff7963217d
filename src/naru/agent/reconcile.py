"""One pass: read what is, plan, apply, and say what was achieved. Level-triggered: a pass needs no memory to be right.

What is remembered only saves work: a plan that failed, or whose effect did not last, waits before it runs again, longer each
time, while a different plan for the same key runs at once. So a failing key (or a daemon that crashes as soon as it is
started) neither spins nor blocks others, and a repaired cause is acted on in the next pass.

A driver whose tool does not work at all holds up its own keys. What could not be looked at may still rest on what other drivers
made before it, filters above all: of that, nothing is taken away meanwhile.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from naru.drivers.base import Action, Driver, Fact, Plan, ToolError, plan
from naru.model.hoststate import (
    DhcpState,
    FilterState,
    HostState,
    LeaseState,
    PeerState,
    QosState,
    RouterState,
    RulesState,
    TapState,
    Value,
)

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0
TOOL_AGAIN_S = 1.0  # after a tool did not work at all
LASTING_S = 10.0  # what held for so long after its wait has lasted
DID_NOT_LAST = "made, but it did not last: it ended by itself, or something else on this host undoes it"


class Pass(msgspec.Struct):
    """What one pass did."""

    actions: list[Action]
    failed: dict[str, str]  # key -> reason, of wanted keys and of leftovers that could not be removed
    achieved: dict[str, str]  # key -> "" if it is as wanted, else the reason; without keys that still wait for others

    def note_failure(self, key: str, reason: str) -> None:
        """Of something beside the desired state; "" for none."""
        if reason:
            self.failed[key] = self.achieved[key] = reason


class Reconciler:
    """Runs passes over `drivers`, given in the order in which things can be made; removals run in reverse."""

    def __init__(self, drivers: Sequence[Driver], clock: Callable[[], float]) -> None:
        self._drivers = [(driver, Backoff(clock)) for driver in drivers]
        self._clock = clock
        self._tools_due_s: float | None = None  # when to try tools again that did not work

    def run_pass(self, desired: HostState, *, prune: bool) -> Pass:
        """Bring the host to `desired`; remove what is not in it only if `prune`."""
        parts = [Part(driver, backoff, desired) for driver, backoff in self._drivers]
        for part in parts:
            part.look()
        done: list[Action] = []
        for part in reversed(parts):
            part.plan(prune=prune)
            part.run(part.runnable.removals, done)
            prune = prune and not part.is_down
        so_far: dict[str, str] = {}
        for part in parts:
            if part.planned.additions:
                part.leave_out(_held_back(desired, so_far))
            part.run(part.runnable.additions, done)
            so_far = part.reasons | so_far  # the first driver's reason is the cause, the rest follow from it
        for part in parts:
            if not part.is_down:
                part.backoff.note(part.planned, part.reasons, desired)
        self._tools_due_s = self._clock() + TOOL_AGAIN_S if any(part.is_down for part in parts) else None
        return Pass(done, so_far, achieved(desired, so_far))

    def next_retry_s(self) -> float | None:
        """When the next plan that failed is due, by the clock; None if there is none."""
        due_s = [due_s for _, backoff in self._drivers for due_s in backoff.due_s()]
        return min(due_s if self._tools_due_s is None else [*due_s, self._tools_due_s], default=None)


class Part:
    """What one driver does in one pass. Once its tool does not work (`is_down`), it does nothing more."""

    def __init__(self, driver: Driver, backoff: "Backoff", desired: HostState) -> None:
        self._driver = driver
        self.backoff = backoff
        self._desired = desired
        self._want: dict[str, Fact] = {}
        self._have: dict[str, Fact] = {}
        self.planned = Plan()
        self.runnable = Plan()  # without what has to wait
        self.reasons: dict[str, str] = {}  # of the keys that failed
        self.is_down = False

    def look(self) -> None:
        try:
            self._want, failures = self._driver.want(self._desired)
            self._have = self._driver.read()
        except ToolError as error:
            self._fail(error, ())
        else:
            self.reasons = {failure.key: failure.reason for failure in failures}

    def plan(self, *, prune: bool) -> None:
        if not self.is_down:
            self.planned = plan(self._want, self._have, prune=prune)
            self.reasons |= {failure.key: failure.reason for failure in self.planned.failures}
            self.runnable = self.backoff.ready(self.planned, self.reasons)

    def leave_out(self, keys: set[str]) -> None:
        for part in (self.planned, self.runnable):
            part.additions = [action for action in part.additions if action.key not in keys]

    def run(self, actions: list[Action], done: list[Action]) -> None:
        if self.is_down or not actions:
            return
        try:
            for failure in self._driver.apply(actions):
                self.reasons.setdefault(failure.key, failure.reason)
        except ToolError as error:
            self._fail(error, actions)
        done += actions

    def _fail(self, error: ToolError, actions: Sequence[Action]) -> None:
        """All that it serves fails; where that is nothing, its first kind bears the reason, so that it is told."""
        self.is_down = True
        keys = {key for key in self._desired if key.partition("/")[0] in self._driver.kinds} | {action.key for action in actions}
        for key in keys or {self._driver.kinds[0]}:
            self.reasons.setdefault(key, str(error))


class Ran(msgspec.Struct):
    """A plan that ran: until `due_s` the same plan does not run again."""

    actions: list[Action]
    reason: str  # "" while it has neither failed nor been undone
    wait_s: float
    due_s: float


class Backoff:
    """Of one driver: which plan last ran for a key, and when the same may run again."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ran: dict[str, Ran] = {}
        self._wanted: set[str] = set()

    def ready(self, planned: Plan, reasons: dict[str, str]) -> Plan:
        """The plan without what has to wait; the reasons of those keys join `reasons`."""
        waiting = {key for key, actions in _by_key(planned).items() if self._is_waiting(key, actions)}
        for key in waiting:
            reasons.setdefault(key, self._ran[key].reason or DID_NOT_LAST)
        return Plan(
            [action for action in planned.removals if action.key not in waiting],
            [action for action in planned.additions if action.key not in waiting],
        )

    def note(self, planned: Plan, reasons: Mapping[str, str], desired: Iterable[str]) -> None:
        """Remember what ran, or could not, in this pass; forget what has lasted, and what was desired and is not any more."""
        wanted = set(desired)
        by_key, now_s, past = _by_key(planned), self._clock(), self._wanted - wanted
        self._wanted = wanted
        lasting = {
            key: ran for key, ran in self._ran.items() if not ran.reason and now_s < ran.due_s + LASTING_S and key not in past
        }  # fmt: skip
        news = {key: self._next(key, by_key.get(key, []), reasons.get(key, "")) for key in by_key.keys() | reasons.keys()}
        self._ran = lasting | news

    def due_s(self) -> list[float]:
        return [ran.due_s for ran in self._ran.values() if ran.reason]

    def _is_waiting(self, key: str, actions: list[Action]) -> bool:
        ran = self._ran.get(key)
        return ran is not None and ran.actions == actions and self._clock() < ran.due_s

    def _next(self, key: str, actions: list[Action], reason: str) -> Ran:
        before = self._ran.get(key)
        if before is None or before.actions != actions:
            return Ran(actions, reason, FIRST_WAIT_S, self._clock() + FIRST_WAIT_S)
        if self._is_waiting(key, actions):
            return Ran(actions, reason, before.wait_s, before.due_s)
        wait_s = min(before.wait_s * 2, LONGEST_WAIT_S)
        return Ran(actions, reason, wait_s, self._clock() + wait_s)


def _by_key(planned: Plan) -> dict[str, list[Action]]:
    by_key: dict[str, list[Action]] = {}
    for action in (*planned.removals, *planned.additions):
        by_key.setdefault(action.key, []).append(action)
    return by_key


def without_routers(desired: HostState) -> HostState:
    """What may be made before the server has confirmed it. A router may run on another host by now, and must not answer from two."""
    inside = {value.netns for value in desired.values() if isinstance(value, RouterState)}
    return {
        key: value
        for key, value in desired.items()
        if not isinstance(value, RouterState) and not (isinstance(value, TapState) and value.netns in inside)
    }


def achieved(desired: HostState, failed: Mapping[str, str]) -> dict[str, str]:
    """What a pass achieved: a key is as wanted if it did not fail and neither did what it rests on; a tap, if its limits are in force."""
    statuses = {key: reason for key, reason in failed.items() if key not in desired}
    for key, value in desired.items():
        reason = _reason(key, desired, failed)
        if reason is not None:
            statuses[key] = reason
            if isinstance(value, RouterState):
                statuses |= dict.fromkeys(value.floating_keys, reason)
    unlimited = {value.port_id: reason for value in desired.values() if isinstance(value, QosState) and (reason := statuses.get(value.key))}
    return statuses | {f"tap/{port_id}": reason for port_id, reason in unlimited.items()}


def _reason(key: str, desired: HostState, failed: Mapping[str, str]) -> str | None:
    """Why a key is not as wanted; "" if it is, None while what it rests on is not known yet."""
    value = desired.get(key)
    if value is None:
        return None
    reasons = [_reason(needed, desired, failed) for needed in _rests_on(value)]
    if None in reasons:
        return None
    return next(filter(None, (*reasons, failed.get(key))), "")  # what it rests on is the cause, where both failed


def _held_back(desired: HostState, failed: Mapping[str, str]) -> set[str]:
    """What cannot be made yet: taps may carry nothing before their filters are in force, and limits are limits of taps."""
    taps = [value for value in desired.values() if isinstance(value, TapState)]
    rests_on = [(tap.key, f"filter/{tap.port_id}") for tap in taps if tap.filtered]
    rests_on += [(tap.key, f"tap/{tap.parent}") for tap in taps if tap.parent is not None]
    rests_on += [(value.key, f"tap/{value.port_id}") for value in desired.values() if isinstance(value, QosState)]
    return {key for key, needed in rests_on if _reason(needed, desired, failed) != ""}


def _rests_on(value: Value) -> tuple[str, ...]:
    """The keys without which a value is of no use: a tap in a bridge that leads nowhere carries nothing."""
    keys: tuple[str, ...] = ()
    match value:
        case LeaseState():
            keys = (f"dhcp/{value.network_id}",)
        case TapState():
            keys = (f"network/{value.network_id}",)
            keys += (f"filter/{value.port_id}",) if value.filtered else ()
            keys += (f"tap/{value.parent}",) if value.parent is not None else ()
        case PeerState() | DhcpState():
            keys = (f"network/{value.network_id}",)
        case QosState():
            keys = (f"tap/{value.port_id}",)
        case FilterState():
            keys = tuple(f"rules/{group_id}" for group_id in value.security_groups)
        case RulesState():
            keys = tuple(f"group/{rule.remote_group}" for rule in value.rules if rule.remote_group is not None)
    return keys
