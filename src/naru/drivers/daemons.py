"""Daemons that outlive the agent: found again by pid file, never mistaken for another that got the same pid.

The proof that a pid is ours is that its command line names its own pid file. Source: proc(5), pidfd_open(2).
"""

import os
import select
import signal
from ipaddress import IPv6Address
from pathlib import Path
from typing import NamedTuple

from naru.model.hoststate import METADATA_ADDRESS_IPV6

STOP_S = 2.0  # after SIGTERM, before SIGKILL


class Daemon(NamedTuple):
    pid: int
    argv: tuple[str, ...]
    netns: int  # inode of its network namespace
    devices: frozenset[str]  # that are up there
    addresses: frozenset[str]  # that are local there; loopback, and IPv6 addresses of the link but that of metadata, left out


def find(pid_file: Path) -> Daemon | None:
    """The living daemon of a pid file; None if it is gone, a zombie, or the pid is another's by now."""
    try:
        pid = int(pid_file.read_text())
        proc = Path(f"/proc/{pid}")
        argv = proc.joinpath("cmdline").read_text().split("\0")[:-1]
        if not any(str(pid_file) in argument for argument in argv):
            return None
        # /proc/PID/net shows the namespace of the process: no tool needs to be started inside it.
        devices, addresses = _devices(proc.joinpath("net/igmp").read_text()), _addresses(proc.joinpath("net/fib_trie").read_text())
        if (if_inet6 := proc.joinpath("net/if_inet6")).exists():  # not where the kernel is without IPv6
            addresses |= _addresses6(if_inet6.read_text())
        return Daemon(pid, tuple(argv), proc.joinpath("ns/net").stat().st_ino, devices, addresses)
    except (OSError, ValueError):
        return None


def _devices(igmp: str) -> frozenset[str]:
    """A device is listed, "2 eth0 : 1 V3", while it is up: it then listens to the group of all hosts."""
    return frozenset(line.split()[1] for line in igmp.splitlines()[1:] if not line.startswith("\t"))


def _addresses(fib_trie: str) -> frozenset[str]:
    """An address "|-- 10.0.0.2" is followed by "/32 host LOCAL" while its device is up."""
    found, address = set(), ""
    for line in fib_trie.splitlines():
        words = line.split()
        if words[0] == "|--":
            address = words[1]
        elif words[:3] == ["/32", "host", "LOCAL"] and not address.startswith("127."):
            found.add(address)
    return frozenset(found)


def _addresses6(if_inet6: str) -> frozenset[str]:
    """Lines "fd00…0002 02 40 00 80 eth0": address, device number, prefix length, scope (00: global), flags, device."""
    entries = (line.split() for line in if_inet6.splitlines())
    found = ((str(IPv6Address(int(address, 16))), scope) for address, _, _, scope, *_ in entries)
    return frozenset(address for address, scope in found if scope == "00" or address == METADATA_ADDRESS_IPV6)


def send(pid_file: Path, name: str) -> None:
    """Send a signal by name ("HUP"); with "TERM", wait for the end, and force it after `STOP_S`. A dead one is no error."""
    daemon = find(pid_file)
    if daemon is None:
        return
    try:
        pidfd = os.pidfd_open(daemon.pid)
    except ProcessLookupError:
        return
    try:
        if find(pid_file) is None:  # it died before the pidfd held the pid, which may be another's now
            return
        signal.pidfd_send_signal(pidfd, signal.Signals[f"SIG{name}"])
        if name == "TERM" and not select.select([pidfd], [], [], STOP_S)[0]:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            select.select([pidfd], [], [], STOP_S)
    except ProcessLookupError:
        return
    finally:
        os.close(pidfd)
