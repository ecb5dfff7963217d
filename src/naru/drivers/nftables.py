"""nftables: a table as JSON, and batches of lines as one transaction.

Sources: nft(8), libnftables-json(5), linux/netfilter/nf_tables.h. `nft -f -` applies all lines or none, and names those that it
cannot: `/dev/stdin:7:1-20: Error: …`.
"""

import re
import socket
import struct
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from naru.drivers import iproute
from naru.drivers.base import ToolError

ABSENT = ("No such file or directory", "element does not exist")
NETLINK_NETFILTER, GETGEN, NEWGEN, GEN_ID = 12, 10 << 8 | 16, 10 << 8 | 15, 1  # 10: NFNL_SUBSYS_NFTABLES
T = TypeVar("T")

MOST_TRIES = 20  # lines that are left out one after the other, before the rest is given up


class Chain(msgspec.Struct, frozen=True):
    name: str
    prio: int | None = None  # None: a chain that others jump to
    hook: str = ""


class Rule(msgspec.Struct, frozen=True):
    chain: str
    comment: str = ""


class Set(msgspec.Struct, frozen=True):
    """A set or, with a `map`, a map; elements as libnftables writes them."""

    name: str
    elem: list[Any] = []


class Entry(msgspec.Struct, frozen=True):
    chain: Chain | None = None
    rule: Rule | None = None
    set: Set | None = None
    map: Set | None = None


class _Listing(msgspec.Struct, frozen=True):
    nftables: list[Entry]


def generation() -> int:
    """The number of the last transaction in this network namespace, anybody's: while it stays, all tables stay as they are."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
        netlink.settimeout(iproute.COMMAND_S)
        netlink.send(struct.pack("=IHHIIBBH", 20, GETGEN, 1, 0, 0, 0, 0, 0))  # nlmsghdr with NLM_F_REQUEST, nfgenmsg
        answer = netlink.recv(4096)
    kind, attribute = struct.unpack_from("=H", answer, 4)[0], struct.unpack_from("=H", answer, 22)[0]
    if (kind, attribute) != (NEWGEN, GEN_ID):
        raise ToolError("the kernel does not tell nftables' generation; is nf_tables loaded?")
    return int(struct.unpack_from("!I", answer, 24)[0])


class Followed(Generic[T]):
    """What `read` makes of tables, until the next transaction of anybody's. In one network namespace, always the same."""

    def __init__(self, read: Callable[[], T]) -> None:
        self._read = read
        self._seen: tuple[int, T] | None = None

    def now(self) -> T:
        """Raises ToolError."""
        try:
            number = generation()
            if self._seen is None or self._seen[0] != number:
                self._seen = (number, self._read())
        except OSError as error:
            raise ToolError(f"cannot ask the kernel for its filters: {error.strerror}") from error
        return self._seen[1]


def table(family: str, name: str) -> list[Entry] | None:
    """What a table holds; None where there is no such table."""
    ran = iproute.run(("nft", "-j", "list", "table", family, name))
    if ran.returncode and any(text in ran.stderr for text in ABSENT):
        return None
    if ran.returncode:
        raise ToolError(f"nft list table {family} {name}: {ran.stderr.strip()}")
    return msgspec.json.decode(ran.stdout, type=_Listing).nftables


def batch(keys: list[str], lines: list[str]) -> dict[int, str]:
    """Run the lines as one transaction; return the reason of each that failed, by its index.

    Where lines fail, the transaction is repeated without them and without the other lines of their keys.
    """
    failed: dict[int, str] = {}
    left = list(range(len(lines)))
    for _ in range(MOST_TRIES):
        ran = iproute.run(("nft", "-f", "-"), "".join(f"{lines[index]}\n" for index in left))
        if ran.returncode == 0:
            return failed
        found = {left[number]: reason for number, reason in parse_failures(ran.stderr).items() if number < len(left)}
        if not found:
            return failed | dict.fromkeys(left, ran.stderr.strip() or f"nft ended with {ran.returncode}")
        wrong = {index: reason for index, reason in found.items() if not _removes_absent(lines[index], reason)}
        failed |= wrong
        broken = {keys[index] for index in wrong}
        left = [index for index in left if index not in found and keys[index] not in broken]
    return failed | dict.fromkeys(left, "nft refused one line after the other; the first reasons tell why")


def parse_failures(stderr: str) -> dict[int, str]:
    """Index of the line -> reason, from what `nft -f -` wrote."""
    matches = re.findall(r"^/dev/stdin:(\d+):[\d-]+: Error: (.*)$", stderr, re.MULTILINE)
    return {int(number) - 1: reason for number, reason in matches}


def _removes_absent(line: str, reason: str) -> bool:
    return line.startswith(("delete ", "flush ")) and any(text in reason for text in ABSENT)
