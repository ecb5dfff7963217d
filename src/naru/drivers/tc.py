"""Traffic control: the queueing disciplines and redirecting filters of a host, as tc(8) tells them.

Sources: tc(8), tc-tbf(8), tc-u32(8), tc-mirred(8). `tc -batch` writes one JSON array for each line that shows something.
"""

from typing import Any

import msgspec

from naru.drivers import iproute
from naru.drivers.base import ToolError

INGRESS_KINDS = ("clsact", "ingress")


class Discipline(msgspec.Struct, frozen=True):
    """A queueing discipline; `handle` "0:" is one that the kernel gave the device by itself."""

    kind: str
    handle: str
    dev: str = ""
    root: bool = False
    options: dict[str, Any] = {}


class _Act(msgspec.Struct, frozen=True):
    to_dev: str = ""


class _FilterOptions(msgspec.Struct, frozen=True):
    actions: list[_Act] = []


class _Filter(msgspec.Struct, frozen=True):
    pref: int = 0
    options: _FilterOptions = _FilterOptions()


def disciplines() -> list[Discipline]:
    return msgspec.json.decode(_show(("tc", "-json", "qdisc", "show")) or "[]", type=list[Discipline])


def redirects(devices: list[str], pref: int) -> dict[str, list[str]]:
    """Device -> where its filters of this preference, on what comes in, redirect to; only devices that have some."""
    if not devices:
        return {}
    lines = "".join(f"filter show dev {device} ingress\n" for device in devices)  # asked for one preference, tc would not tell it
    ran = iproute.run(("tc", "-json", "-force", "-batch", "-"), lines)
    arrays = [msgspec.json.decode(line, type=list[_Filter]) for line in ran.stdout.splitlines() if line.startswith("[")]
    if len(arrays) != len(devices):  # one of them went while they were shown
        return {}
    found = {
        device: [act.to_dev for one in filters for act in one.options.actions if one.pref == pref]
        for device, filters in zip(devices, arrays, strict=True)
    }
    return {device: targets for device, targets in found.items() if targets}


def _show(argv: tuple[str, ...]) -> str:
    ran = iproute.run(argv)
    if ran.returncode:
        raise ToolError(f"{' '.join(argv)}: {ran.stderr.strip()}")
    return ran.stdout
