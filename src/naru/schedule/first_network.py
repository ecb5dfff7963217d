"""Which network an instance gets when nobody says which: pure, with a reason for every candidate.

Filters refuse with a reason; of what is left the first in order wins: own networks before shared ones, then by name. The choice is
made by free addresses as they are in the planner's view, in which every address chosen a moment ago is already taken; so any
number of concurrent requests fill one network to the last address and go on with the next.
"""

from collections.abc import Callable, Iterable, Mapping

import msgspec


class Candidate(msgspec.Struct, frozen=True):
    """What a pick knows of a network. `usable` and `free` count addresses of one IP version; usable = free + allocated."""

    network_id: str
    name: str
    own: bool
    admin_state_up: bool
    external: bool
    has_subnet: bool
    usable: int
    free: int
    unreachable: str | None = None  # why no host can carry it


class Verdict(msgspec.Struct, frozen=True):
    """What became of a candidate. `reason` is stable for programs, `text` is for people."""

    network_id: str
    name: str
    reason: str
    text: str


class Pick(msgspec.Struct, frozen=True):
    """The chosen network, if any, and a verdict for every candidate that was looked at, in the order of preference."""

    network_id: str | None
    verdicts: tuple[Verdict, ...]

    def explain(self) -> str:
        """`NET2: chosen, 12 of 13 free; NET1: full, 0 of 13 free`: the chosen one first."""
        chosen_first = sorted(self.verdicts, key=lambda verdict: verdict.network_id != self.network_id)
        return "; ".join(f"{verdict.name or verdict.network_id}: {verdict.text}" for verdict in chosen_first)


Filter = Callable[[Candidate], str | None]  # -> why not, in words

FILTERS: Mapping[str, Filter] = {
    "admin_down": lambda candidate: None if candidate.admin_state_up else "administratively down",
    "external": lambda candidate: "external, taken only when named" if candidate.external else None,
    "no_subnet": lambda candidate: None if candidate.has_subnet else "no subnet",
    "unreachable": lambda candidate: candidate.unreachable,
    "full": lambda candidate: None if candidate.free > 0 else f"full, 0 of {candidate.usable} free",
}


def pick_network(candidates: Iterable[Candidate]) -> Pick:
    """The first candidate that passes every filter. Later ones get the verdict "not_needed"."""
    chosen: str | None = None
    verdicts = []
    for candidate in sorted(candidates, key=lambda c: (not c.own, c.name, c.network_id)):
        refused = next(((code, why) for code, check in FILTERS.items() if (why := check(candidate)) is not None), None)
        free = f"{candidate.free} of {candidate.usable} free"
        if refused is not None:
            reason, text = refused
        elif chosen is None:
            chosen, reason, text = candidate.network_id, "chosen", f"chosen, {free}"
        else:
            reason, text = "not_needed", f"not needed, {free}"
        verdicts.append(Verdict(candidate.network_id, candidate.name, reason, text))
    return Pick(chosen, tuple(verdicts))
