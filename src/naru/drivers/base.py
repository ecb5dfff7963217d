"""The contract of a driver: facts in, actions out.

A *fact* is one thing that is or should be true of a host: a link, a forwarding entry, a namespace, a running
dnsmasq. A driver says which facts the desired state wants (`want`, pure) and which facts of ours the host
has (`read`); `plan` is the same set difference for every driver; `apply` runs the actions. An action is the very line
that runs, so a dry run, a log, a golden test and a bug report show the same text.

What a driver keeps to, and the conformance suite checks for each:
- `read` returns only what carries our proof of ownership; what is not ours is never changed or removed.
- After `apply(plan(want, have))`, `read` equals `want`; planning again gives nothing.
- A driver keeps no memory that it could not read back: a fresh one on a wired host plans nothing.
- Removing the absent and adding the equal succeed. One failing fact does not stop the others: `apply`
  returns a `Failure` for its key. A driver raises only when its tool cannot run at all.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from naru.model.hoststate import HostState


class Fact(msgspec.Struct, frozen=True):
    """One thing that is true of a host. Subclasses add fields and say which lines make and remove it.

    `key` is the HostState key that it serves; facts whose value differs only in `key` are different.
    """

    key: str

    @property
    def name(self) -> str:
        """Unique among the driver's facts: wanted and present facts of one name are compared."""
        raise NotImplementedError

    def add(self) -> Iterable["Action"]:
        """The actions that make it true where nothing of this name exists."""
        raise NotImplementedError

    def change(self, have: "Fact") -> Iterable["Action"]:
        """The actions that turn `have`, of the same name, into this fact. Default: remove, then add."""
        return [*have.remove(), *self.add()]

    def remove(self) -> Iterable["Action"]:
        """The actions that undo it."""
        raise NotImplementedError


class Action(msgspec.Struct, frozen=True):
    """One line for one tool; neighbours with the same tool run in one batch."""

    key: str
    tool: tuple[str, ...]  # ("ip",), ("ip", "-n", "qdhcp-…"), ("bridge",), ("dnsmasq",)
    line: str


class Failure(msgspec.Struct, frozen=True):
    key: str
    reason: str  # for the operator: what, which, why, and what would help


class Driver(Protocol):
    def want(self, desired: HostState) -> tuple[dict[str, Fact], list[Failure]]:
        """The facts that `desired` asks for, by name, in the order in which they can be made.

        What this host cannot do (a physical network that is not mapped) is a Failure, not a fact.
        """

    def read(self) -> dict[str, Fact]:
        """The facts of ours that the host has, by name, in any order."""

    def apply(self, actions: list[Action]) -> list[Failure]:
        """Run the actions in order, batched; return what failed."""


def plan(want: Mapping[str, Fact], have: Mapping[str, Fact], *, prune: bool) -> list[Action]:
    """The actions from `have` to `want`: changes and additions in `want`'s order, after removals in reverse.

    Nothing is removed unless `prune`: an agent that has not heard the whole desired state yet only adds.
    """
    actions: list[Action] = []
    if prune:
        for name, fact in reversed(list(have.items())):
            if name not in want:
                actions.extend(fact.remove())
    for name, fact in want.items():
        present = have.get(name)
        if present is None:
            actions.extend(fact.add())
        elif present != fact:
            actions.extend(fact.change(present))
    return actions
