"""What makes the agent look: the feed, the kernel, a daemon's end, a new lease. Each only says "look", never what happened.

Sources: rtnetlink(7), pidfd_open(2), fifo(7).
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Iterable
from enum import Flag, auto
from pathlib import Path

RTMGRP_LINK = 1  # linux/rtnetlink.h: a link came, went or changed
DEBOUNCE_S = 0.05  # links change in bursts
SPACING_S = 0.5  # a host whose links change all the time must not keep the agent busy with nothing else


class Why(Flag):
    """Why the agent looks."""

    NOTHING = 0
    FEED = auto()  # the desired state has changed
    KERNEL = auto()  # a link has changed
    DEATH = auto()  # a daemon has ended
    LEASE = auto()  # an instance has a new lease: only the report changes
    STOP = auto()


class Wake:
    """Collects reasons to look. To be used within the event loop."""

    def __init__(self, fifo: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._reasons = Why.NOTHING
        self._event = asyncio.Event()
        self._pidfds: dict[int, int] = {}  # pid -> pidfd
        self._link_timer: asyncio.TimerHandle | None = None
        self._spaced_until_s = 0.0
        self._links = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        self._links.bind((0, RTMGRP_LINK))
        self._loop.add_reader(self._links, self._on_link)
        with contextlib.suppress(FileExistsError):
            os.mkfifo(fifo, 0o600)
        self._fifo = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        self._loop.add_reader(self._fifo, self._on_fifo)

    def note(self, why: Why) -> None:
        self._reasons |= why
        self._event.set()

    async def wait(self, timeout_s: float) -> Why:
        """The reasons since the last call, as soon as there is one; NOTHING if there was none in time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), max(timeout_s, 0.0))
        reasons, self._reasons = self._reasons, Why.NOTHING
        self._event.clear()
        return reasons

    def ignore_own_links(self) -> bool:
        """Call after a pass: link changes so far were its own. True if there were any, so that another may hide among them."""
        heard = _drain(self._links) or self._link_timer is not None
        if self._link_timer is not None:
            self._link_timer.cancel()
            self._link_timer = None
        self._reasons &= ~Why.KERNEL
        self._spaced_until_s = time.monotonic() + SPACING_S
        return heard

    def watch(self, pids: Iterable[int]) -> None:
        """Wake when one of these processes ends."""
        for pid in pids:
            if pid not in self._pidfds:
                with contextlib.suppress(ProcessLookupError):
                    pidfd = os.pidfd_open(pid)
                    self._pidfds[pid] = pidfd
                    self._loop.add_reader(pidfd, self._on_death, pid, pidfd)

    def close(self) -> None:
        for fd in (*self._pidfds.values(), self._fifo, self._links.fileno()):
            self._loop.remove_reader(fd)
        for fd in (*self._pidfds.values(), self._fifo):
            os.close(fd)
        self._links.close()

    def _on_link(self) -> None:
        _drain(self._links)
        if self._link_timer is None:
            wait_s = max(DEBOUNCE_S, self._spaced_until_s - time.monotonic())
            self._link_timer = self._loop.call_later(wait_s, self._on_links_settled)

    def _on_links_settled(self) -> None:
        self._link_timer = None
        self.note(Why.KERNEL)

    def _on_fifo(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._fifo, 65536)
        self.note(Why.LEASE)

    def _on_death(self, pid: int, pidfd: int) -> None:
        self._loop.remove_reader(pidfd)
        os.close(pidfd)
        del self._pidfds[pid]
        self.note(Why.DEATH)


def _drain(netlink: socket.socket) -> bool:
    heard = False
    while True:
        try:
            netlink.recv(65536)
        except BlockingIOError:
            return heard
        except OSError:  # ENOBUFS: more came than fits, and some of it was dropped
            pass
        heard = True
