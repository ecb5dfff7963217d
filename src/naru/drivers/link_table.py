"""The links of this network namespace as they are now: a dump, and then what the kernel says has changed since.

A message only says which link to look at again. What the kernel says nothing of (another alias, group, address or option of a link that is
down; that the far end of a veth pair was moved) is seen at the latest with the next whole dump, and what a driver did it says itself.
Sources: rtnetlink(7), linux/if_link.h, linux/net_namespace.h, ip-link(8).
"""

import os
import socket
import struct
import time
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

from naru.drivers import iproute
from naru.drivers.base import Action
from naru.drivers.iproute import Link
from naru.drivers.netlink import READ_AGAIN_S, drain, subscribe

GROUPS = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
LINK_MESSAGES, ADDRESS_MESSAGES = (16, 17), (20, 21)  # RTM_NEWLINK and so on
IFLA_IFNAME = 3
RTM_GETNSID, NLM_F_REQUEST, NETNSA_NSID, NETNSA_FD = 90, 1, 1, 3
ONE_BY_ONE = 50  # if more have changed, a dump is faster

_MESSAGE = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, number, port
_LINK = struct.Struct("=BBHiII")  # ifinfomsg; the index of the link is its fourth
_ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg; the index is its last
_ATTRIBUTE = struct.Struct("=HH")  # length, type


class LinkTable:
    """To be read in one network namespace, always the same."""

    def __init__(self) -> None:
        self._links: dict[int, Link] = {}  # by index
        self._changes: socket.socket | None = None
        self._whole_until_s = 0.0
        self._doubted: set[str] = set()
        self._netns_ids: dict[tuple[str, int, int], int] = {}  # name, inode and birth of a namespace -> what this one calls it

    def read(self) -> list[Link]:
        """With their addresses, oldest first."""
        if self._changes is None:
            self._changes = subscribe(GROUPS)
            weakref.finalize(self, self._changes.close)
        changed = _changed(self._changes)
        if changed is not None and self._doubted:
            changed |= {link.ifindex: link.ifname for link in self._links.values() if link.ifname in self._doubted}
        self._doubted = set()
        if changed is None or len(changed) > ONE_BY_ONE or time.monotonic() >= self._whole_until_s:
            self._links = {link.ifindex: link for link in iproute.links()}
            self._whole_until_s = time.monotonic() + READ_AGAIN_S
        elif changed:
            known = {index: self._links.pop(index).ifname for index in changed if index in self._links}
            names = {name or known.get(index, "") for index, name in changed.items()} - {""}
            self._links |= {link.ifindex: link for link in iproute.links_named(sorted(names))}
        return [link for _, link in sorted(self._links.items())]

    def doubt(self, actions: Iterable[Action]) -> None:
        """Look again at the links that lines which were run speak of, whatever the kernel says."""
        self._doubted |= {word for action in actions for word in action.line.split()}

    def netns_names(self) -> dict[int, str]:
        """`link_netnsid` -> name, of the named namespaces that a link of this one leads to. An id is given once, and stays."""
        spaces = [(name, stat.st_ino, stat.st_ctime_ns) for name, stat in iproute.netns_stats().items()]
        self._netns_ids = {space: self._netns_ids[space] for space in spaces if space in self._netns_ids}
        unknown = [space for space in spaces if space not in self._netns_ids]
        if unknown:
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
                netlink.settimeout(iproute.COMMAND_S)
                found = ((space, _netns_id(netlink, iproute.NETNS_DIR / space[0])) for space in unknown)
                self._netns_ids |= {space: id for space, id in found if id >= 0}
        return {id: name for (name, *_), id in self._netns_ids.items()}


def _changed(netlink: socket.socket) -> dict[int, str] | None:
    """The links that something was said of: index -> name, "" where only an address changed. None where some of it was lost."""
    said, is_lost = drain(netlink)
    changed: dict[int, str] = {}
    for index, name in (about for message in said for about in _about(message)):
        changed[index] = name or changed.get(index, "")
    return None if is_lost else changed


def _about(told: bytes) -> Iterator[tuple[int, str]]:
    at = 0
    while at + _MESSAGE.size <= len(told):
        length, kind, *_ = _MESSAGE.unpack_from(told, at)
        body = at + _MESSAGE.size
        if kind in LINK_MESSAGES:
            yield _LINK.unpack_from(told, body)[3], _attributes(told[body + _LINK.size : at + length]).get(IFLA_IFNAME, b"\0")[:-1].decode()
        elif kind in ADDRESS_MESSAGES:
            yield _ADDRESS.unpack_from(told, body)[4], ""
        at += length + 3 & ~3


def _attributes(body: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        found[kind] = body[at + _ATTRIBUTE.size : at + length]
        at += max(length, _ATTRIBUTE.size) + 3 & ~3
    return found


def _netns_id(netlink: socket.socket, path: Path) -> int:
    """-1 where no link leads there, or it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return -1
    try:
        netlink.send(
            _MESSAGE.pack(28, RTM_GETNSID, NLM_F_REQUEST, 0, 0) + bytes(4) + _ATTRIBUTE.pack(8, NETNSA_FD) + struct.pack("=I", descriptor)
        )
        answer = netlink.recv(4096)
    finally:
        os.close(descriptor)
    found = _attributes(answer[_MESSAGE.size + 4 :]).get(NETNSA_NSID, b"")
    return int(struct.unpack("=i", found)[0]) if len(found) == 4 else -1
