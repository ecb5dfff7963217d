"""The contract of a driver: facts in, actions out.

A *fact* is one thing that is or should be true of a host: a link, a forwarding entry, a namespace, a running
dnsmasq. A driver says which facts the desired state wants (`want`, pure) and which facts the host has (`read`);
`plan` is the same set difference for every driver; `apply` runs the actions. An action is the very line
that runs, so a dry run, a log, a golden test and a bug report show the same text.

What a driver keeps to, and the conformance suite checks for each:
- Only what carries our proof of ownership is ever changed or removed. What is not ours but bears a name that we
  might want is read as `Foreign`: whoever wants that name gets a `Failure`.
- After `apply`, every wanted fact is met by what `read` returns; planning again gives nothing.
- A driver keeps no memory that it could not read back: a fresh one on a wired host plans nothing.
- Removing the absent succeeds. One failing fact does not stop the others: `apply`
  returns a `Failure` for its key. A driver raises (`ToolError`) only when its tool cannot run at all.
"""

from collections.abc import Iterable, Mapping
from typing import ClassVar, Protocol

import msgspec

from naru.model.hoststate import HostState


class ToolError(Exception):
    """A tool that a driver needs is missing or does not work at all; says which and what it answered."""


class Action(msgspec.Struct, frozen=True):
    """One line for one tool; neighbours with the same tool run in one batch."""

    key: str
    tool: tuple[str, ...]  # ("ip",), ("ip", "-n", "qdhcp-…"), ("bridge",), ("sh",): see drivers/tools.py
    line: str

    @property
    def told(self) -> str:
        """The line as a log may show it."""
        return "…" if self.tool[0] == "secret" else self.line


class Failure(msgspec.Struct, frozen=True):
    key: str
    reason: str  # for the operator: what, which, why, and what would help


Step = Action | Failure


class Fact(msgspec.Struct, frozen=True):
    """One thing that is true of a host. Subclasses add fields and say which lines make and remove it.

    `key` is the HostState key that it serves. The kernel does not keep keys of small facts (a forwarding entry):
    read back, such a fact bears its own name as its key, and `is_met_by` looks at everything but the key.
    """

    key: str
    goes_last: ClassVar[bool] = False  # it is removed after additions: what rests on it may first have to change

    @property
    def name(self) -> str:
        """Unique among the driver's facts: wanted and present facts of one name are compared."""
        raise NotImplementedError

    @property
    def needs(self) -> str:
        """Another key that it rests on: what cannot be for that one ends the plan for this fact, too."""
        return ""

    def is_met_by(self, have: "Fact") -> bool:
        """Whether `have`, of the same name, is all that is wanted."""
        return self == have or (type(self) is type(have) and self == msgspec.structs.replace(have, key=self.key))

    def add(self) -> Iterable[Step]:
        """The actions that make it true where nothing of this name exists, or the Failure that says why not."""
        raise NotImplementedError

    def replaces(self, have: "Fact") -> bool:
        """Whether `have`, of the same name, has to be removed before this can be added; else it can be changed."""
        return True

    def change(self, have: "Fact") -> Iterable[Step]:
        """The actions that turn `have`, which need not be replaced, into this fact."""
        raise NotImplementedError

    def remove(self) -> Iterable[Action]:
        """The actions that undo it."""
        raise NotImplementedError


class Foreign(Fact, frozen=True):
    """Something that is not ours, under a name that we may want: never changed, never removed."""

    title: str
    reason: str  # what it is, and what would help

    @property
    def name(self) -> str:
        return self.title

    def remove(self) -> Iterable[Action]:
        return ()


class Driver(Protocol):
    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of values that it alone serves: where its tool does not work, all of them fail."""

    def want(self, desired: HostState) -> tuple[dict[str, Fact], list[Failure]]:
        """The facts that `desired` asks for, by name, in the order in which they can be made.

        What this host cannot do (a physical network that is not mapped) is a Failure, not a fact. Where the host keeps a choice that
        is free (which local VLAN stands for a network), that choice is read and kept.
        """

    def read(self) -> dict[str, Fact]:
        """The facts that the host has, by name, in the order in which they could have been made."""

    def apply(self, actions: list[Action]) -> list[Failure]:
        """Run the actions in order, batched; return what failed."""

    def pids(self) -> list[int]:
        """The daemons that it keeps running now; the agent makes a pass as soon as one of them dies."""


class Plan(msgspec.Struct):
    """What to do, in two parts, because removals of all drivers (in reverse) come before anything is made."""

    removals: list[Action] = []
    additions: list[Action] = []
    failures: list[Failure] = []


def plan(want: Mapping[str, Fact], have: Mapping[str, Fact], *, prune: bool) -> Plan:
    """The actions from `have` to `want`: removals in reverse, then changes and additions in `want`'s order, then late removals.

    Without `prune`, nothing is removed but to be replaced: an agent that has not heard the whole desired state only adds.
    What cannot be for a key (a Failure) ends the plan for it: later facts of the key rest on it, and those that need the key.
    """
    planned = Plan()
    late: list[Action] = []
    for name in reversed(list(have)):
        if _is_replaced(want[name], have[name]) if name in want else prune:
            (late if have[name].goes_last and name not in want else planned.removals).extend(have[name].remove())
    failed: set[str] = set()
    for name, fact in want.items():
        for step in _steps(fact, have.get(name)) if fact.key not in failed and fact.needs not in failed else ():
            if isinstance(step, Action):
                planned.additions.append(step)
            else:
                planned.failures.append(step)
                failed.add(step.key)
    planned.additions += late
    return planned


def by_name(wanted: Iterable[Fact | Failure]) -> tuple[dict[str, Fact], list[Failure]]:
    """What `want` returns, of its parts: of two facts of one name the first is it, and the second a Failure."""
    facts: dict[str, Fact] = {}
    failures: list[Failure] = []
    for part in wanted:
        if isinstance(part, Failure):
            failures.append(part)
        elif (first := facts.setdefault(part.name, part)) != part:
            failures.append(Failure(part.key, f"{part.name} already serves {first.key}; one of the two must go"))
    return facts, failures


def _is_replaced(fact: Fact, present: Fact) -> bool:
    return not isinstance(present, Foreign) and not fact.is_met_by(present) and fact.replaces(present)


def _steps(fact: Fact, present: Fact | None) -> Iterable[Step]:
    if isinstance(present, Foreign):
        return (Failure(fact.key, present.reason),)
    if present is None:
        return fact.add()
    if fact.is_met_by(present):
        return ()
    return fact.add() if fact.replaces(present) else fact.change(present)
