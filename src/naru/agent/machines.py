"""Instances that are virtual machines: a qemu each, whose network cards are taps that the host's switch adopts as it does any hypervisor's.

A machine boots the kernel and the initramfs that `naru lab guest` makes; nothing of it is kept. It outlives the agent. What its
console says first is in `<run_dir>/machines/<instance id>/console.log`. Taps are made before it, so that its ports are wired when it boots.
Cards that come and go while it runs are plugged by its monitor, `qmp` beside the log. With Open vSwitch, a tap is put into its bridge here,
as libvirt does it. Sources: qemu(1), ip-tuntap of ip(8).
"""

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from naru.drivers import daemons, iproute, ovsdb
from naru.drivers.base import Action, Fact, Failure, Step, ToolError
from naru.drivers.observe import file_names
from naru.drivers.qmp import Card, MonitorError, line, read_cards, words
from naru.drivers.switch import INTEGRATION
from naru.model.devices import tap_name, trunk_bridge
from naru.model.hoststate import InstanceState, TapState

CONSOLE_BLOCKS = 2000  # of 512 bytes: a guest may write more to its console; that is not kept
LEAST_MEMORY_MIB = 96  # with less, Debian's kernel does not come as far as its console
QEMU = "qemu-system-x86_64"
GUEST_DIR = Path("/var/lib/naru/guest")


class Device(Fact, frozen=True):
    """A tap for a machine; `mark`, written first, is the proof that it is ours. It goes when its machine has let go of it."""

    device: str
    mark: str
    exists: bool = True
    wire: tuple[str, ...] | None = ()  # with Open vSwitch: bridge, port id, MAC; read None: nobody knows, as Open vSwitch does not answer
    goes_last: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return f"device/{self.device}"

    def is_met_by(self, have: Fact) -> bool:
        return isinstance(have, Device) and have.exists and have.wire in (self.wire, None)

    def add(self) -> Iterable[Step]:
        yield Action(self.key, ("write", self.mark), self.device)
        yield Action(self.key, ("ip",), f"tuntap add dev {self.device} mode tap")
        yield from self._plug()

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        return self._plug() if isinstance(have, Device) and have.exists else self.add()

    def _plug(self) -> Iterable[Step]:
        if self.wire:
            bridge, port_id, mac = self.wire
            ids = f'external_ids:iface-id="{port_id}" external_ids:attached-mac="{mac}" external_ids:iface-status="active"'
            port = f"--if-exists del-port {self.device} -- add-port {bridge} {self.device}"
            yield Action(self.key, ("ovs-vsctl",), f"{port} -- set Interface {self.device} {ids}")

    def remove(self) -> Iterable[Action]:
        if self.wire:
            yield Action(self.key, ("ovs-vsctl",), f"--if-exists del-port {self.device}")
        if self.exists:
            yield Action(self.key, ("ip",), f"link del dev {self.device}")
        yield Action(self.key, ("unlink",), self.mark)


class Machine(Fact, frozen=True):
    """A qemu. It is started with its cards; those that come and go later are plugged and unplugged."""

    directory: str
    argv: tuple[str, ...]  # without the cards
    cards: tuple[Card, ...] | None = ()  # read None: it does not say

    @property
    def name(self) -> str:
        return f"machine/{self.directory}"

    def is_met_by(self, have: Fact) -> bool:
        return isinstance(have, Machine) and self.argv == have.argv and have.cards is not None and set(self.cards or ()) == set(have.cards)

    def add(self) -> Iterable[Step]:
        directory, pid_file, said = (shlex.quote(f"{self.directory}{name}") for name in ("", "/pid", "/said"))
        cards = (word for card in self.cards or () for word in words(card))
        limited = f"trap '' XFSZ; ulimit -f {CONSOLE_BLOCKS}; exec {shlex.join((*self.argv, *cards))}"
        ended = f"{{ echo qemu ended as soon as it was started: $(head -c 300 {said}) >&2; exit 1; }}"
        ready = f"mkdir -p {directory} && rm -f {pid_file} {directory}/qmp"
        wait = f"until [ -s {pid_file} ] && [ -S {directory}/qmp ]; do kill -0 $! 2>/dev/null || {ended}; sleep 0.01; done"
        yield Action(self.key, ("sh",), f"{ready} && {{ ({limited}) </dev/null >{said} 2>&1 & {wait}; }}")

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        if isinstance(have, Machine) and have.argv == self.argv:
            yield from self._exchange(have.cards)
            return
        yield self._end()
        yield from self.add()

    def _exchange(self, have: tuple[Card, ...] | None) -> Iterable[Step]:
        """Under keys of their own: a card that a guest does not take is no fault of its machine."""
        if have is None:
            yield Failure(f"monitor/{self.key.partition('/')[2]}", f"qemu does not answer at {self.directory}/qmp: its cards are not known")
            return
        wanted, monitor = self.cards or (), ("qmp", f"{self.directory}/qmp")
        yield from (Action(f"card/{card.device}", monitor, line("unplug", card)) for card in have if card not in wanted)
        yield from (Action(f"card/{card.device}", monitor, line("plug", card)) for card in wanted if card not in have)

    def remove(self) -> Iterable[Action]:
        yield self._end()
        yield Action(self.key, ("sh",), f"rm -rf {shlex.quote(self.directory)}")

    def _end(self) -> Action:
        return Action(self.key, ("signal", f"{self.directory}/pid"), "TERM")


class Machines:
    """What instances of the driver qemu want of a host, and what it has of them. `datapath_type`: of its Open vSwitch; "": it has none."""

    def __init__(self, run_dir: Path, guest_dir: Path = GUEST_DIR, accelerator: str = "tcg", datapath_type: str = "") -> None:
        self._directory = run_dir / "machines"
        self._marks = run_dir / "machine-taps"
        self._guest = guest_dir
        self._accelerator = accelerator
        self._datapath_type = datapath_type
        self._database = ovsdb.Database()

    def want(self, instances: Iterable[InstanceState], taps: Iterable[TapState]) -> Iterator[Fact]:
        tap_of = {tap_name(tap.port_id): tap for tap in taps}
        wanted = [instance for instance in instances if instance.driver == "qemu"]
        for instance in wanted:
            for device in instance.devices:
                yield Device(instance.key, device, str(self._marks / device), wire=self._wire(tap_of.get(device)))
        for instance in wanted:
            if instance.running:
                plugged = [tap_of[device] for device in instance.devices if device in tap_of]
                cards = tuple(Card(tap_name(tap.port_id), tap.mac_address, self._datapath_type == "netdev") for tap in plugged)
                yield Machine(instance.key, str(self._directory / instance.instance_id), self._argv(instance), cards)

    def _wire(self, tap: TapState | None) -> tuple[str, ...]:
        if tap is None or not self._datapath_type:
            return ()
        return (trunk_bridge(tap.port_id) if tap.trunk else INTEGRATION, tap.port_id, tap.mac_address)

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
            *("-qmp", f"unix:{self._directory / instance.instance_id / 'qmp'},server=on,wait=off"),
        )

    def read(self) -> Iterator[Fact]:
        marked = file_names(self._marks)
        present = {link.ifname for link in iproute.links_of("tun")} if marked else set()
        wires = self._read_wires() if marked else {}
        for device in sorted(marked):
            wire = wires.get(device, ()) if wires is not None else None
            yield Device(f"device/{device}", device, str(self._marks / device), device in present, wire)
        for directory in sorted(self._directory.glob("*")):
            daemon = daemons.find(directory / "pid")
            argv = daemon.argv if daemon is not None else ()
            cut = argv.index("-netdev") if "-netdev" in argv else len(argv)
            cards = _read_cards(directory / "qmp") if daemon is not None else ()
            yield Machine(f"instance/{directory.name}", str(directory), argv[:cut], cards)

    def _read_wires(self) -> dict[str, tuple[str, ...]] | None:
        """Device -> its wire; None where Open vSwitch does not answer: machines go on."""
        if not self._datapath_type:
            return {}
        try:
            ports = self._database.read().ports
        except ToolError:
            return None
        return {port.name: (port.bridge, *(port.interface_ids.get(id, "") for id in ("iface-id", "attached-mac"))) for port in ports}

    def pids(self) -> list[int]:
        found = [daemons.find(path) for path in self._directory.glob("*/pid")]
        return [daemon.pid for daemon in found if daemon is not None]

    def runs(self, instance: InstanceState) -> bool:
        return instance.running and daemons.find(self._directory / instance.instance_id / "pid") is not None


def _read_cards(monitor: Path) -> tuple[Card, ...] | None:
    try:
        return read_cards(monitor)
    except (MonitorError, OSError):
        return None
