"""Routers announce themselves, as long as the server says that they are here.

That renews their fences (drivers/fence.py), and tells the fence on a host that lost a router where it is now. A router that is new here,
or has changed, says all of its addresses once more, since an announcement may be lost; then one of each device, at most twice in
`report_interval_s`. Nothing is written to the kernel, and no program runs.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import structlog

from naru.drivers.announce import announce
from naru.drivers.router import announcements
from naru.drivers.tools import SIDE_BY_SIDE
from naru.model.hoststate import HostState, RouterState

ALIVE_REPORTS = 2  # a router is alive for so many intervals of reports: agents count as down only after more (several-hosts.md)

log = structlog.get_logger()


class Said(NamedTuple):
    router: RouterState
    at_s: float


class Presence:
    def __init__(self, report_interval_s: float, clock: Callable[[], float]) -> None:
        self._pause_s = report_interval_s / 2
        self._clock = clock
        self._said: dict[str, Said] = {}  # by key

    def announce(self, desired: HostState, *, again: bool) -> None:
        """Call when the server has just said that this is what it asks of the host; `again`: for those, too, that did not change."""
        with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
            turns = [(router, threads.submit(announce, router.netns, lines)) for router, lines in self.choose(desired, again=again)]
        for router, turn in turns:
            if failed := turn.result():
                self._said.pop(router.key, None)  # is not made yet, perhaps; else its own key fails
                log.debug("not announced", key=router.key, reason=next(iter(failed.values())))

    def choose(self, desired: HostState, *, again: bool) -> list[tuple[RouterState, list[str]]]:
        """The routers whose turn it is, and the lines for announce.py."""
        routers = {key: value for key, value in desired.items() if isinstance(value, RouterState)}
        before, now_s = {key: said for key, said in self._said.items() if key in routers}, self._clock()
        chosen = []
        for key, router in routers.items():
            said = before.get(key)
            if said is None or said.router != router:
                chosen.append((router, [line for lines in announcements(router).values() for line in lines]))
            elif again and now_s - said.at_s >= self._pause_s:
                chosen.append((router, [lines[0] for lines in announcements(router).values()]))
        self._said = before | {router.key: Said(router, now_s) for router, _ in chosen}
        return chosen
