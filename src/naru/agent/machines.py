"""Instances that are virtual machines: a qemu each, whose network cards are taps that the host's switch adopts as it does any hypervisor's.

A machine boots the kernel and the initramfs that `naru lab guest` makes; nothing of it is kept. It outlives the agent. What its
console says first is in `<run_dir>/machines/<instance id>/console.log`. Taps are made before it, so that its ports are wired when it boots.
Sources: qemu(1), ip-tuntap of ip(8).
"""

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from naru.drivers import daemons, iproute
from naru.drivers.base import Action, Fact, Step
from naru.drivers.observe import file_names
from naru.model.devices import tap_name
from naru.model.hoststate import InstanceState, TapState

CONSOLE_BLOCKS = 2000  # of 512 bytes: a guest may write more to its console; that is not kept
LEAST_MEMORY_MIB = 96  # with less, Debian's kernel does not come as far as its console
QEMU = "qemu-system-x86_64"
GUEST_DIR = Path("/var/lib/naru/guest")


class Device(Fact, frozen=True):
    """A tap for a machine; `mark`, written first, is the proof that it is ours."""

    device: str
    mark: str
    exists: bool = True

    @property
    def name(self) -> str:
        return f"device/{self.device}"

    def add(self) -> Iterable[Step]:
        yield Action(self.key, ("write", self.mark), self.device)
        yield Action(self.key, ("ip",), f"tuntap add dev {self.device} mode tap")

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        return self.add()

    def remove(self) -> Iterable[Action]:
        if self.exists:
            yield Action(self.key, ("ip",), f"link del dev {self.device}")
        yield Action(self.key, ("unlink",), self.mark)


class Machine(Fact, frozen=True):
    """A qemu. A running one keeps the cards that it was started with."""

    directory: str
    argv: tuple[str, ...]  # without the cards
    cards: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"machine/{self.directory}"

    def is_met_by(self, have: Fact) -> bool:
        return isinstance(have, Machine) and self.argv == have.argv

    def add(self) -> Iterable[Step]:
        directory, pid_file, said = (shlex.quote(f"{self.directory}{name}") for name in ("", "/pid", "/said"))
        limited = f"trap '' XFSZ; ulimit -f {CONSOLE_BLOCKS}; exec {shlex.join((*self.argv, *self.cards))}"
        ended = f"{{ echo qemu ended as soon as it was started: $(head -c 300 {said}) >&2; exit 1; }}"
        wait = f"until [ -s {pid_file} ]; do kill -0 $! 2>/dev/null || {ended}; sleep 0.01; done"
        yield Action(self.key, ("sh",), f"mkdir -p {directory} && rm -f {pid_file} && {{ ({limited}) </dev/null >{said} 2>&1 & {wait}; }}")

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        yield self._end()
        yield from self.add()

    def remove(self) -> Iterable[Action]:
        yield self._end()
        yield Action(self.key, ("sh",), f"rm -rf {shlex.quote(self.directory)}")

    def _end(self) -> Action:
        return Action(self.key, ("signal", f"{self.directory}/pid"), "TERM")


class Machines:
    """What instances of the driver qemu want of a host, and what it has of them."""

    def __init__(self, run_dir: Path, guest_dir: Path = GUEST_DIR, accelerator: str = "tcg") -> None:
        self._directory = run_dir / "machines"
        self._marks = run_dir / "machine-taps"
        self._guest = guest_dir
        self._accelerator = accelerator

    def want(self, instances: Iterable[InstanceState], taps: Iterable[TapState]) -> Iterator[Fact]:
        macs = {tap_name(tap.port_id): tap.mac_address for tap in taps}
        wanted = [instance for instance in instances if instance.driver == "qemu"]
        for instance in wanted:
            yield from (Device(instance.key, device, str(self._marks / device)) for device in instance.devices)
        for instance in wanted:
            if instance.running:
                plugged = [device for device in instance.devices if device in macs]
                cards = [word for number, device in enumerate(plugged) for word in _card(number, device, macs[device])]
                yield Machine(instance.key, str(self._directory / instance.instance_id), self._argv(instance), tuple(cards))

    def _argv(self, instance: InstanceState) -> tuple[str, ...]:
        host_name = re.sub(r"[^A-Za-z0-9.-]", "-", instance.name)
        return (
            *(QEMU, "-name", instance.instance_id, "-accel", self._accelerator),
            *("-m", str(max(instance.memory_mib, LEAST_MEMORY_MIB)), "-sandbox", "on"),
            *("-no-user-config", "-nodefaults", "-nographic"),
            *("-kernel", str(self._guest / "kernel"), "-initrd", str(self._guest / "initramfs")),
            *("-append", f"console=ttyS0 quiet panic=-1 naru.hostname={host_name}"),
            *("-serial", f"file:{self._directory / instance.instance_id / 'console.log'}"),
            *("-pidfile", str(self._directory / instance.instance_id / "pid")),
        )

    def read(self) -> Iterator[Fact]:
        marked = file_names(self._marks)
        present = {link.ifname for link in iproute.links_of("tun")} if marked else set()
        for device in sorted(marked):
            yield Device(f"device/{device}", device, str(self._marks / device), exists=device in present)
        for directory in sorted(self._directory.glob("*")):
            daemon = daemons.find(directory / "pid")
            argv = daemon.argv if daemon is not None else ()
            cut = argv.index("-netdev") if "-netdev" in argv else len(argv)
            yield Machine(f"instance/{directory.name}", str(directory), argv[:cut], argv[cut:])

    def pids(self) -> list[int]:
        found = [daemons.find(path) for path in self._directory.glob("*/pid")]
        return [daemon.pid for daemon in found if daemon is not None]

    def runs(self, instance: InstanceState) -> bool:
        return instance.running and daemons.find(self._directory / instance.instance_id / "pid") is not None


def _card(number: int, device: str, mac: str) -> tuple[str, ...]:
    backend = f"tap,id=n{number},ifname={device},script=no,downscript=no"
    return ("-netdev", backend, "-device", f"virtio-net-pci,netdev=n{number},mac={mac},romfile=")
