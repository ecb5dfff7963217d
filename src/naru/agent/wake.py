"""What makes the agent look: the feed, the kernel, a daemon's end, a new lease. Each only says "look", never what happened.

Sources: rtnetlink(7), linux/netfilter/nf_tables.h, pidfd_open(2), fifo(7).
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Iterable
from enum import Flag, auto
from pathlib import Path

from naru.drivers.netlink import drain, subscribe

RTMGRP_LINK = 1  # linux/rtnetlink.h: a link came, went or changed
NETLINK_NETFILTER, NFTABLES = 12, 1 << 6  # linux/netlink.h; the bit of NFNLGRP_NFTABLES in linux/netfilter/nfnetlink.h
# What all messages about a table of ours hold: attribute 1 (NFTA_TABLE_NAME, NFTA_CHAIN_TABLE and so on), which is its name.
OUR_TABLE = b"\x09\0\x01\0naru\0"
DEBOUNCE_S = 0.05  # the kernel changes in bursts
SPACING_S = 0.5  # a host whose links change all the time must not keep the agent busy with nothing else


class Why(Flag):
    """Why the agent looks."""

    NOTHING = 0
    FEED = auto()  # the desired state has changed
    KERNEL = auto()  # a link or a filter of ours has changed
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
        self._kernel_timer: asyncio.TimerHandle | None = None
        self._spaced_until_s = 0.0
        self._kernel = [(subscribe(RTMGRP_LINK), b"")]
        with contextlib.suppress(OSError):  # a kernel without nftables filters nothing
            self._kernel.append((subscribe(NFTABLES, NETLINK_NETFILTER), OUR_TABLE))
        for netlink, about in self._kernel:
            self._loop.add_reader(netlink, self._on_kernel, netlink, about)
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

    def ignore_own_changes(self) -> bool:
        """Call after a pass: changes of the kernel so far were its own. True if there were any, so that another may hide among them."""
        heard = self._kernel_timer is not None or Why.KERNEL in self._reasons
        for netlink, about in self._kernel:
            heard = _drain(netlink, about) or heard
        if self._kernel_timer is not None:
            self._kernel_timer.cancel()
            self._kernel_timer = None
        self._reasons &= ~Why.KERNEL
        if not self._reasons:
            self._event.clear()  # else nothing at all would be a reason to look again at once
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
        for fd in (*self._pidfds.values(), self._fifo, *(netlink.fileno() for netlink, _ in self._kernel)):
            self._loop.remove_reader(fd)
        for fd in (*self._pidfds.values(), self._fifo):
            os.close(fd)
        for netlink, _ in self._kernel:
            netlink.close()

    def _on_kernel(self, netlink: socket.socket, about: bytes) -> None:
        if _drain(netlink, about) and self._kernel_timer is None:
            wait_s = max(DEBOUNCE_S, self._spaced_until_s - time.monotonic())
            self._kernel_timer = self._loop.call_later(wait_s, self._on_kernel_settled)

    def _on_kernel_settled(self) -> None:
        self._kernel_timer = None
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


def _drain(netlink: socket.socket, about: bytes) -> bool:
    """Whether anything was said about it."""
    said, is_lost = drain(netlink)
    return is_lost or any(about in message for message in said)
