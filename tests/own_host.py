"""A host of the test's own: a thread that has left the machine's network and mounts for new ones; they end with it and its daemons."""

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from naru.drivers.base import Action, Driver, plan
from naru.model.hoststate import HostState, Value

RUN = Path("/run/naru")
CLONE_NEWNS, CLONE_NEWNET, MS_REC, MS_PRIVATE = 0x00020000, 0x40000000, 0x4000, 1 << 18  # sched.h, mount.h

T = TypeVar("T")


@contextlib.contextmanager
def own_host() -> Iterator[ThreadPoolExecutor]:
    """The thread: what is submitted runs on the host."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_leave_machine).result()
        try:
            yield thread
        finally:
            thread.submit(_end_open_vswitch).result()


def in_own_host(work: Callable[[], T]) -> T:
    with own_host() as thread:
        return thread.submit(work).result()


def on_own_host(test: Callable[..., None]) -> Callable[..., None]:
    """Run the test there."""

    @functools.wraps(test)
    def wrapped(*arguments: object, **named: object) -> None:
        in_own_host(lambda: test(*arguments, **named))

    return wrapped


def _leave_machine() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    for failed in (
        libc.unshare(CLONE_NEWNS | CLONE_NEWNET),
        libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None),
        libc.mount(b"tmpfs", b"/run", b"tmpfs", 0, None),
    ):
        assert not failed, ctypes.get_errno()
    run("ip link set lo up")


def start_open_vswitch() -> None:
    Path("/run/openvswitch").mkdir()
    run("ovsdb-tool create /run/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema")
    run("ovsdb-server /run/openvswitch/conf.db --remote=punix:/run/openvswitch/db.sock --pidfile --detach --no-chdir -vconsole:off")
    run("ovs-vsctl --no-wait init")
    run("ovs-vswitchd --pidfile --detach --no-chdir -vconsole:off")


def _end_open_vswitch() -> None:
    for file in Path("/run/openvswitch").glob("ovs*.pid"):
        os.kill(int(file.read_text()), signal.SIGKILL)


def run(line: str) -> None:
    subprocess.run(line.split(), check=True)


def state(*values: Value) -> HostState:
    return {value.key: value for value in values}


def planned(driver: Driver, desired: HostState) -> list[Action]:
    want, failures = driver.want(desired)
    to_do = plan(want, driver.read(), prune=True)
    assert not [*failures, *to_do.failures], [*failures, *to_do.failures]
    return [*to_do.removals, *to_do.additions]


def bring(driver: Driver, desired: HostState) -> None:
    failures = driver.apply(planned(driver, desired))
    assert not failures, failures
