"""iproute2: JSON dumps in, batches of lines out, and the named network namespaces.

Sources: ip-link(8), ip-netns(8), bridge(8). A batch run with `-force` goes on after a failing line and says
`Command failed -:N` for it, on standard error, after the reason.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from naru.drivers.base import ToolError
from naru.drivers.links import GROUP

NETNS_DIR = Path("/run/netns")
DOOMED, _DELETION = "6279", "link del dev tap"  # the group of taps of ours that are about to be deleted, and how that is said
COMMAND_S = 60.0  # no tool of ours takes so long; a hung one must not hang the agent

T = TypeVar("T")


class Address(msgspec.Struct, frozen=True):
    local: str = ""
    prefixlen: int = 0
    scope: str = ""


class LinkKind(msgspec.Struct, frozen=True):
    """`linkinfo` of a link: its kind with the kind's own attributes, and those of a port of a bridge."""

    info_kind: str = ""
    info_data: dict[str, Any] = {}
    info_slave_kind: str = ""
    info_slave_data: dict[str, Any] = {}


class Link(msgspec.Struct, frozen=True):
    """One entry of `ip -details -json address`; fields that we do not use are left out."""

    ifname: str
    ifindex: int = 0
    link: str = ""  # of a VLAN: the device below
    mtu: int = 0
    flags: list[str] = []
    group: str = ""
    address: str = ""
    ifalias: str = ""
    master: str = ""
    link_netnsid: int | None = None  # of a veth: the namespace of its far end
    link_index: int = 0  # and its number there
    linkinfo: LinkKind = LinkKind()
    addr_info: list[Address] = []

    @property
    def is_up(self) -> bool:
        return "UP" in self.flags


class FdbEntry(msgspec.Struct, frozen=True):
    mac: str
    ifname: str = ""
    dst: str = ""


class NeighEntry(msgspec.Struct, frozen=True):
    dst: str
    dev: str
    lladdr: str = ""


def links() -> list[Link]:
    """A tap whose deletion was begun comes without its alias, so that it is not taken for what anybody wants."""
    return list(map(_without_doom, _dump(("ip", "-details", "-json", "address"), list[Link])))


def links_named(names: list[str]) -> list[Link]:
    """Those of them that are there."""
    ran = run(("ip", "-details", "-json", "-force", "-batch", "-"), "".join(f"address show dev {name}\n" for name in names))
    return [_without_doom(link) for line in ran.stdout.splitlines() for link in msgspec.json.decode(line, type=list[Link])]


def _without_doom(link: Link) -> Link:
    return replace(link, group=GROUP, ifalias="") if link.group == DOOMED else link


def links_of(kind: str) -> list[Link]:
    return _dump(("ip", "-details", "-json", "link", "show", "type", kind), list[Link])


def far_ends() -> dict[str, int]:
    """Name of a veth -> the number of its far end, in the namespace where that is."""
    return {link.ifname: link.link_index for link in links_of("veth")}


def fdb() -> list[FdbEntry]:
    return _dump(("bridge", "-json", "fdb"), list[FdbEntry])


def permanent_neighbours() -> list[NeighEntry]:
    return _dump(("ip", "-json", "neighbour", "show", "nud", "permanent"), list[NeighEntry])


def netns_inodes() -> dict[str, int]:
    """Name -> inode of each named network namespace; 0 for a file left over by an `ip netns add` that was killed.

    `ip netns add` makes a file and mounts the namespace over it: without the mount, the file lies on its directory's device.
    """
    stats = netns_stats()
    device = NETNS_DIR.stat().st_dev if stats else 0
    return {name: 0 if stat.st_dev == device else stat.st_ino for name, stat in stats.items()}


def netns_stats() -> dict[str, os.stat_result]:
    """Of each file there. An inode's number is used again, with another time of birth (st_ctime_ns: of a namespace it never changes)."""
    if not NETNS_DIR.is_dir():
        return {}
    with os.scandir(NETNS_DIR) as entries:
        return {entry.name: os.stat(entry.path) for entry in entries}  # noqa: PTH116 - DirEntry.stat() does not see the mount


def batch(tool: tuple[str, ...], lines: list[str]) -> dict[int, str]:
    """Run the lines in one `tool -force -batch -`; return the reason of each that failed, by its index.

    A device or a namespace that is named and does not exist ends `ip` at once for all its -force, and no line is named. So the
    line is sought, and what comes after it runs in another batch. Deletions of taps that follow each other are done as one.
    """
    together = list(deleted_together(lines))
    failed = {together[index][0]: reason for index, reason in _batch(tool, [line for _, line in together]).items()}
    return {index: reason for index, reason in failed.items() if not _removes_absent(lines[index], reason)}


def deleted_together(lines: list[str]) -> Iterator[tuple[int, str]]:
    """With its index, each line as it runs. The kernel takes 20 ms to let a device go, and no longer for all of a group."""
    for is_deletion, group in groupby(enumerate(lines), lambda numbered: numbered[1].startswith(_DELETION)):
        several = list(group)
        if not is_deletion or len(several) == 1:
            yield from several
            continue
        yield from ((index, f"link set dev tap{line.removeprefix(_DELETION)} group {DOOMED}") for index, line in several)
        yield several[-1][0], f"link del group {DOOMED}"


def _batch(tool: tuple[str, ...], lines: list[str]) -> dict[int, str]:
    failed: dict[int, str] = {}
    start = 0
    while start < len(lines):
        ran = run((*tool, "-force", "-batch", "-"), "".join(f"{line}\n" for line in lines[start:]))
        told, unsaid = parse_failures(ran.stderr)
        failed |= {start + index: reason for index, reason in told.items()}
        if not ran.returncode or (told and not unsaid):
            break
        first = start + max(told, default=-1) + 1
        reason = unsaid or f"{tool[0]} ended with {ran.returncode}"
        ended = first + _count_begun(tool, lines[first:]) - 1
        if ended < first:  # it stopped before the first line: no such namespace, not permitted
            failed |= dict.fromkeys(range(first, len(lines)), reason)
            break
        failed[ended] = reason
        start = ended + 1
    return failed


def _count_begun(tool: tuple[str, ...], lines: list[str]) -> int:
    """How many lines are begun before one ends the tool. Those before it have run already: doing so again changes nothing."""
    ran = run((*tool, "-force", "-batch", "-"), "".join(f"link show dev lo\n{line}\n" for line in lines))
    return len(re.findall(r"^\d+: lo:", ran.stdout, re.MULTILINE))


def parse_failures(stderr: str) -> tuple[dict[int, str], str]:
    """Index of the line -> reason, from what `-force -batch -` wrote; and what it wrote of no line."""
    failed: dict[int, str] = {}
    reason: list[str] = []
    for text in stderr.splitlines():
        if match := re.fullmatch(r"Command failed -:(\d+)", text):
            failed[int(match[1]) - 1] = " ".join(reason).removeprefix("RTNETLINK answers: ") or "failed without a reason"
            reason = []
        elif not text.startswith("Warning: "):  # comes with success, too
            reason.append(text.strip())
    return failed, " ".join(reason)


_ABSENT = (
    *("Cannot find device", "No such file or directory", "No such process", "No such device", "ddress not found"),
    # tc's words
    *("handle of zero", "Invalid handle", "Filter with specified", "specified filter chain", "Parent Qdisc doesn't exist"),
)


def _removes_absent(line: str, reason: str) -> bool:
    return re.match(r"(link|netns|fdb|neigh|addr|route|qdisc|filter) del ", line) is not None and any(text in reason for text in _ABSENT)


def run(argv: tuple[str, ...], stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run one command in a session of its own, so that a Ctrl-C at the agent does not reach what it leaves running."""
    try:
        return subprocess.run(
            argv, input=stdin, capture_output=True, text=True, timeout=COMMAND_S, check=False, start_new_session=True
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"cannot run {argv[0]}: {error}") from error


def _dump(argv: tuple[str, ...], shape: type[T]) -> T:
    ran = run(argv)
    if ran.returncode:
        raise ToolError(f"{' '.join(argv)}: {ran.stderr.strip()}")
    return msgspec.json.decode(ran.stdout or "[]", type=shape)
