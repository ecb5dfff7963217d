"""nftables: a table as JSON, and batches of lines as one transaction.

Sources: nft(8), libnftables-json(5). `nft -f -` applies all lines or none, and names those that it cannot: `/dev/stdin:7:1-20: Error: …`.
"""

import re
from typing import Any

import msgspec

from naru.drivers import iproute
from naru.drivers.base import ToolError

ABSENT = ("No such file or directory", "element does not exist")
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
