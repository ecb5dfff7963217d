"""Which host runs an instance: those that can, the least loaded first; with a reason for every host that cannot."""

from collections.abc import Iterable

import msgspec


class HostCandidate(msgspec.Struct, frozen=True):
    host: str
    alive: bool
    admin_state_up: bool
    has_driver: bool
    unreachable: tuple[str, ...]  # why it cannot carry the networks asked for
    instances: int
    instances_on_network: int  # of the networks asked for: neighbours are spread


class HostChoice(msgspec.Struct, frozen=True):
    host: str | None
    refused: dict[str, str]  # host -> why not


def choose_host(candidates: Iterable[HostCandidate]) -> HostChoice:
    """The live, enabled host with the fewest neighbours on the same networks, then the fewest instances, then by name."""
    refused: dict[str, str] = {}
    fit = []
    for candidate in candidates:
        reason = _why_not(candidate)
        if reason is None:
            fit.append(candidate)
        else:
            refused[candidate.host] = reason
    best = min(fit, key=lambda c: (c.instances_on_network, c.instances, c.host), default=None)
    return HostChoice(best.host if best is not None else None, refused)


def _why_not(candidate: HostCandidate) -> str | None:
    if not candidate.alive:
        return "its agent is not alive"
    if not candidate.admin_state_up:
        return "it is administratively down"
    if not candidate.has_driver:
        return "it has no driver for this image"
    return candidate.unreachable[0] if candidate.unreachable else None
