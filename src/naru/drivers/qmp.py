"""qemu's monitor: the network cards of a running machine, and cards that come and go.

A card and its backend are called after the tap: `tap…` and `to-tap…`. Sources: qemu-qmp-ref(7) (netdev_add, netdev_del, device_add,
device_del, DEVICE_DELETED, qom-list, qom-get), qmp-spec of qemu's documentation.
"""

import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

ANSWER_S = 2.0  # a machine that is stopped, or whose host is very busy, must not hang the agent
LET_GO_S = 3.0  # so long a guest has to let go of a card
KIND = "virtio-net-pci"


class Card(NamedTuple):
    device: str  # the tap
    mac: str
    sums: bool = False  # the guest computes the checksums of what it sends: a switch in user space gets frames as they are


class MonitorError(Exception):
    """What qemu refused, or that it does not answer."""


class Monitor:
    """A conversation with one qemu. Raises MonitorError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._gone: set[str] = set()

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.settimeout(ANSWER_S)
            self._socket.connect(str(self._path))
            self._lines = self._socket.makefile("rb")
            self._read()  # its greeting
            self.ask("qmp_capabilities")
        except (OSError, MonitorError) as error:
            self._socket.close()
            raise MonitorError(f"qemu does not answer at {self._path}: {error}") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lines.close()
        self._socket.close()

    def ask(self, command: str, **arguments: Any) -> Any:
        """-> what it returns; on the way it may say what happened meanwhile."""
        self._socket.sendall(msgspec.json.encode({"execute": command, "arguments": arguments}) + b"\n")
        while True:
            said = self._read()
            if "error" in said:
                raise MonitorError(f"{command}: {said['error']['desc']}")
            if "return" in said:
                return said["return"]
            self._note(said)

    def await_end(self, device: str) -> bool:
        """Whether a device that was there a moment ago is gone in time."""
        end_s = time.monotonic() + LET_GO_S
        while device not in self._gone and (left_s := end_s - time.monotonic()) > 0:
            self._socket.settimeout(left_s)
            try:
                self._note(self._read())
            except MonitorError:
                break
        return device in self._gone

    def _note(self, said: dict[str, Any]) -> None:
        if said.get("event") == "DEVICE_DELETED":
            self._gone.add(said["data"].get("device", ""))

    def _read(self) -> dict[str, Any]:
        try:
            line = self._lines.readline()
        except OSError as error:
            raise MonitorError(str(error)) from error
        if not line:
            raise MonitorError("it has ended")
        said: dict[str, Any] = msgspec.json.decode(line)
        return said


def read_cards(path: Path) -> tuple[Card, ...]:
    """In no order. Raises MonitorError."""
    with Monitor(path) as monitor:
        return tuple(_read_card(monitor, device) for device in _devices(monitor))


def _devices(monitor: Monitor) -> list[str]:
    return [item["name"] for item in monitor.ask("qom-list", path="/machine/peripheral") if item["type"] == f"child<{KIND}>"]


def _read_card(monitor: Monitor, device: str) -> Card:
    mac, sums = (monitor.ask("qom-get", path=f"/machine/peripheral/{device}", property=name) for name in ("mac", "csum"))
    return Card(device, mac, not sums)


def words(card: Card) -> tuple[str, ...]:
    """The card on the command line of a machine that is started with it."""
    options = f"id={card.device},netdev=to-{card.device},mac={card.mac},romfile={',csum=off' if card.sums else ''}"
    return ("-netdev", f"tap,id=to-{card.device},ifname={card.device},script=no,downscript=no", "-device", f"{KIND},{options}")


def line(verb: str, card: Card) -> str:
    """An action's line: "plug" or "unplug"."""
    return f"{verb} {card.device} {card.mac}{' csum=off' if card.sums else ''}"


def exchange(path: Path, lines: list[str]) -> dict[int, str]:
    """Run lines. -> the reason of each that failed, by its index."""
    failed: dict[int, str] = {}
    for index, text in enumerate(lines):
        verb, device, mac, *options = text.split()
        try:
            with Monitor(path) as monitor:
                (_plug if verb == "plug" else _unplug)(monitor, Card(device, mac, bool(options)))
        except (MonitorError, OSError) as error:
            failed[index] = str(error)
    return failed


def _plug(monitor: Monitor, card: Card) -> None:
    _cut(monitor, card)  # the backend of an agent that ended before it came to the card
    monitor.ask("netdev_add", type="tap", id=f"to-{card.device}", ifname=card.device, script="no", downscript="no")
    options = {"netdev": f"to-{card.device}", "mac": card.mac, "romfile": "", "csum": not card.sums}
    try:
        monitor.ask("device_add", driver=KIND, id=card.device, **options)
    except MonitorError:
        _cut(monitor, card)
        raise


def _unplug(monitor: Monitor, card: Card) -> None:
    """Its wire is cut at once; the card is gone when the guest has let go of it."""
    refusal = ""
    try:
        monitor.ask("device_del", id=card.device)
    except MonitorError as error:  # perhaps it has been told before
        refusal = f" ({error})"
    _cut(monitor, card)
    if card.device in _devices(monitor) and not monitor.await_end(card.device):
        raise MonitorError(f"the guest does not let go of the card {card.device}, whose wire is cut{refusal}")


def _cut(monitor: Monitor, card: Card) -> None:
    try:
        monitor.ask("netdev_del", id=f"to-{card.device}")
    except MonitorError:
        return  # there is none
