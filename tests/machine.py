"""What a lab might leave on the machine that it ran on."""

import os
import select
import subprocess
from collections.abc import Iterable
from pathlib import Path

# Root without capabilities is what another user is to the kernel, and can read this folder wherever it lies.
WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-all,+setfcap"] if os.geteuid() == 0 else []


def traces() -> list[str]:
    """Interfaces, routes, named namespaces, mounts: the same before and after a lab."""
    commands = (["ip", "-br", "link"], ["ip", "route"], ["ip", "netns"])
    shown = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for command in commands]
    return [*shown, Path("/proc/self/mounts").read_text()]


def hold(pids: Iterable[int]) -> list[int]:
    """A handle for each process that stays its own when its number is given to another."""
    return [os.pidfd_open(pid) for pid in pids]


def have_ended(processes: Iterable[int], within_s: float = 10) -> bool:
    """Whether all have ended in time. Lets go of the handles."""
    ended = True
    for process in processes:
        ended = ended and bool(select.select([process], [], [], within_s)[0])
        os.close(process)
    return ended
