"""Everything of a lab lives in namespaces of its own, so that the kernel removes it, however it ends.

The first process inside is PID 1 of a PID namespace and dies with the process outside that made it (PR_SET_PDEATHSIG).
When PID 1 dies, the kernel kills every other process of that namespace, and with the last process the network namespaces
with their interfaces and the mount namespaces with their mounts are gone. No clean-up code takes part in this:
Ctrl-C, `kill -9` and a crash all end alike. See pid_namespaces(7), user_namespaces(7), PR_SET_PDEATHSIG in prctl(2).
"""

import ctypes
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from naru.lab import LabError

SCRATCH = Path("/dev/shm")  # noqa: S108 - a tmpfs of the lab's own: what is written here dies with the lab

INTERRUPTED = 130  # the exit code, as shells have it for Ctrl-C

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)  # Python has os.unshare from 3.12 on

NO_NAMESPACES = (
    "the kernel does not let this user make namespaces ({reason}). Run as root, or allow it: sysctl kernel.unprivileged_userns_clone=1 "
    "(Debian), sysctl kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu), --privileged (in a container)"
)


def run_enclosed(body: Callable[[int], int]) -> int:
    """Run `body` in a lab of its own and return its exit code, or INTERRUPTED if a signal ended it; then nothing of it is left.

    `body` gets the PID of the lab's first process as the machine sees it. The calling process must have one thread only;
    without root it ends up in a user namespace where it is root. Raises LabError if namespaces cannot be had.
    """
    try:
        _unshare_pid()
    except OSError as error:
        raise LabError(NO_NAMESPACES.format(reason=error.strerror)) from error
    outside_pid, write_outside_pid = os.pipe()
    first = os.fork()
    if first == 0:
        os.close(write_outside_pid)
        _be_first(outside_pid, body)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os.kill(first, signal.SIGKILL))
    os.write(write_outside_pid, str(first).encode())
    _, status = os.waitpid(first, 0)  # returns only when every process of the PID namespace is gone
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else INTERRUPTED


def _unshare(flags: int) -> None:
    if _libc.unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _unshare_pid() -> None:
    try:
        _unshare(_CLONE_NEWPID)
    except PermissionError:
        _become_root()
        _unshare(_CLONE_NEWPID)


def _become_root() -> None:
    """Root of a user namespace, which is this user to the rest of the machine."""
    uid, gid = os.geteuid(), os.getegid()
    _unshare(_CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def _be_first(outside_pid: int, body: Callable[[int], int]) -> NoReturn:
    """PID 1: dies with its maker, makes the other namespaces, then adopts and reaps whatever daemonises in the lab."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    told = os.read(outside_pid, 16)  # nothing: the maker died before PR_SET_PDEATHSIG was set
    if not told:
        os._exit(1)
    os.setsid()  # Ctrl-C is for the process outside, which takes everything with it
    try:
        _unshare(_CLONE_NEWNS | _CLONE_NEWNET)
        _mount_own()
    except (OSError, subprocess.CalledProcessError) as error:
        reason = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else error.strerror
        sys.stderr.write(f"naru: {NO_NAMESPACES.format(reason=reason)}\n")
        sys.stderr.flush()
        os._exit(1)
    worker = os.fork()
    if worker == 0:
        _work(lambda: body(int(told)))
    while True:
        pid, status = os.wait()
        if pid == worker:
            os._exit(abs(os.waitstatus_to_exitcode(status)))


def _mount_own() -> None:
    for command in (
        "mount --make-rprivate /",
        "mount -t proc proc /proc",
        "mount -t sysfs sysfs /sys",
        "mount -t tmpfs -o mode=755 tmpfs /run",
        f"mount -t tmpfs -o mode=755 tmpfs {SCRATCH}",
        "ip link set lo up",
    ):
        subprocess.run(command.split(), capture_output=True, text=True, check=True)


def _work(body: Callable[[], int]) -> NoReturn:
    code = 1
    try:
        code = body()
    except LabError as error:
        sys.stderr.write(f"naru: {error}\n")
    except BaseException:  # noqa: BLE001 - the boundary of this process: nothing above it would print the traceback
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
