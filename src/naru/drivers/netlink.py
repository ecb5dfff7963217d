"""What the kernel says of its own changes. Sources: netlink(7), rtnetlink(7)."""

import socket
import time
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

READ_AGAIN_S = 30.0  # what the kernel says nothing of is seen by then

T = TypeVar("T")


def subscribe(groups: int, protocol: int = socket.NETLINK_ROUTE) -> socket.socket:
    """To groups of messages, a bit for each. Raises OSError where the kernel has none such."""
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
    try:
        netlink.bind((0, groups))
    except OSError:
        netlink.close()
        raise
    return netlink


def drain(netlink: socket.socket) -> tuple[list[bytes], bool]:
    """What was said since the last call, and whether some of it was lost."""
    said: list[bytes] = []
    is_lost = False
    while True:
        try:
            said.append(netlink.recv(1 << 17))
        except BlockingIOError:
            return said, is_lost
        except OSError:  # ENOBUFS: more came than fits
            is_lost = True


class Unchanged(Generic[T]):
    """What `read` returned, until the kernel says something to `groups`. To be asked in one network namespace, always the same."""

    def __init__(self, groups: int, read: Callable[[], T]) -> None:
        self._groups = groups
        self._read = read
        self._netlink: socket.socket | None = None
        self._seen: T | None = None
        self._until_s = 0.0

    def read(self) -> T:
        if self._netlink is None:
            self._netlink = subscribe(self._groups)
            weakref.finalize(self, self._netlink.close)
        said, is_lost = drain(self._netlink)
        if self._seen is None or said or is_lost or time.monotonic() >= self._until_s:
            self._seen, self._until_s = self._read(), time.monotonic() + READ_AGAIN_S
        return self._seen

    def doubt(self) -> None:
        """Read again, whatever the kernel says."""
        self._seen = None
