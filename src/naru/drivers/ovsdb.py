"""Open vSwitch's own tools: the configuration database as values, `ovs-vsctl` in transactions, `ovs-ofctl` in bundles.

Sources: ovs-vsctl(8), ovs-ofctl(8), ovs-vswitchd.conf.db(5), ovsdb-server(7) for the JSON of values (RFC 7047, section 5.1).
"""

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from naru.drivers import iproute
from naru.drivers.base import ToolError
from naru.drivers.ovsdb_monitor import Replica, Row, Rows

RUN_DIR = Path("/run/openvswitch")
SOCKET = RUN_DIR / "db.sock"
COLUMNS = {
    "Bridge": ("name", "datapath_type", "fail_mode", "external_ids", "ports"),
    "Port": ("name", "tag", "trunks", "protected", "external_ids", "interfaces"),
    "Interface": ("type", "options", "external_ids", "error", "ofport"),
}
ANSWER_S = 10  # so long ovs-vsctl waits for ovs-vswitchd to have done what it was told
LINES_AT_ONCE = 1000  # a command line has an end
OPENFLOW = ("ovs-ofctl", "--protocols=OpenFlow14")  # the first version with bundles


class Bridge(msgspec.Struct, frozen=True):
    name: str
    datapath_type: str  # "" is the default, the kernel's
    fail_mode: str  # "" is the default, standalone
    external_ids: dict[str, str]


class Port(msgspec.Struct, frozen=True):
    """A port of a bridge, with its interface; of a bond, the first one."""

    bridge: str
    name: str
    tag: int | None  # VLAN of an access port; None: a trunk
    protected: bool
    external_ids: dict[str, str]
    type: str  # "" for a device of the kernel
    options: dict[str, str]
    interface_ids: dict[str, str]  # external_ids of the interface, where hypervisors say whose it is
    error: str  # why Open vSwitch cannot use it
    trunks: tuple[int, ...] = ()  # the VLANs of a trunk; none: all
    number: int = 0  # in flows; 0: it has none
    members: tuple[int, ...] = ()  # of a bond: the numbers of its other interfaces


class Switch(msgspec.Struct, frozen=True):
    """What the database says."""

    bridges: dict[str, Bridge]
    ports: list[Port]

    @property
    def external_ids(self) -> list[dict[str, str]]:
        """Of all bridges and ports."""
        return [*(bridge.external_ids for bridge in self.bridges.values()), *(port.external_ids for port in self.ports)]


class Database:
    """The configuration, as of now whenever it is asked."""

    def __init__(self) -> None:
        self._replica = Replica(SOCKET, COLUMNS)
        self._ports: dict[str, tuple[str, list[Row], Port]] = {}  # by UUID: what it was read from, and as what

    def read(self) -> Switch:
        """Raises ToolError where there is no database."""
        tables = self._replica.tables()
        bridges = [{column: _plain(value) for column, value in row.items()} for row in tables["Bridge"].values()]
        bridge_of = {uuid: row["name"] for row in bridges for uuid in _several(row["ports"])}
        read = {uuid: self._read_port(bridge_of[uuid], uuid, tables) for uuid in tables["Port"] if uuid in bridge_of}
        self._ports = read
        ports = [port for *_, port in read.values() if port.name != port.bridge]  # the port of its own name is the bridge itself
        shapes = ((row["name"], row["datapath_type"], _optional(row["fail_mode"]), row["external_ids"]) for row in bridges)
        return Switch({name: Bridge(name, *rest) for name, *rest in shapes}, ports)

    def _read_port(self, bridge: str, uuid: str, tables: Mapping[str, Rows]) -> tuple[str, list[Row], Port]:
        row = tables["Port"][uuid]
        rows = [row, *(tables["Interface"][interface] for interface in _several(_plain(row["interfaces"])))]
        before = self._ports.get(uuid)
        if before is not None and before[0] == bridge and list(map(id, before[1])) == list(map(id, rows)):
            return before
        own, *interfaces = ({column: _plain(value) for column, value in each.items()} for each in rows)
        return bridge, rows, _port(bridge, own, interfaces)


def _port(bridge: str, row: dict[str, Any], interfaces: list[dict[str, Any]]) -> Port:
    interface, *others = interfaces
    tag = row["tag"] if isinstance(row["tag"], int) else None
    own, of_interface = (row["protected"], row["external_ids"]), (interface["type"], interface["options"], interface["external_ids"])
    trunks, members = tuple(_several(row["trunks"])), tuple(_number(other) for other in others)
    return Port(bridge, row["name"], tag, *own, *of_interface, _optional(interface["error"]), trunks, _number(interface), members)


def _number(interface: dict[str, Any]) -> int:
    return max(interface["ofport"], 0) if isinstance(interface["ofport"], int) else 0


def _plain(value: Any) -> Any:
    """A value of RFC 7047 as Python has it; a set of one is written as its member."""
    match value:
        case ["uuid", uuid]:
            return uuid
        case ["set", members]:
            return [_plain(member) for member in members]
        case ["map", pairs]:
            return dict(pairs)
    return value


def _optional(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def is_there() -> bool:
    """Whether the database runs, or did until it was killed."""
    return SOCKET.exists()


def pids() -> list[int]:
    """Those of ovs-vswitchd and ovsdb-server; of one that is just starting or ending, perhaps none."""
    found = []
    for file in RUN_DIR.glob("ovs*.pid"):
        with contextlib.suppress(OSError, ValueError):
            found.append(int(file.read_text()))
    return found


def transact(lines: list[str]) -> dict[int, str]:
    """Run `ovs-vsctl` commands in one transaction; where it is refused, one by one. Return the reason of each that failed, by its index."""
    failed: dict[int, str] = {}
    for start in range(0, len(lines), LINES_AT_ONCE):
        part = lines[start : start + LINES_AT_ONCE]
        failed |= {start + index: reason for index, reason in _transact(part).items()}
    return failed


def _transact(lines: list[str]) -> dict[int, str]:
    words = " -- ".join(lines).split()
    ran = iproute.run(("ovs-vsctl", f"--timeout={ANSWER_S}", "--", *words))
    if ran.returncode and "Alarm clock" in ran.stderr:
        raise ToolError("ovs-vswitchd does not answer; is the service openvswitch-switch running?")
    if ran.returncode and len(lines) > 1:
        return {index: reason for index, line in enumerate(lines) for reason in _transact([line]).values()}
    if ran.returncode:
        return {0: ran.stderr.strip().removeprefix("ovs-vsctl: ")}
    refused = re.findall(r"Error detected while setting up '(\S+?)': (.*?)\.?\s+See ovs-vswitchd log", ran.stderr)
    return {index: reason for port, reason in refused for index, line in enumerate(lines) if f" {port} " in f"{line} "}


def bundle(bridge: tuple[str, ...], lines: list[str]) -> dict[int, str]:
    """Change flows all at once; where one is refused, each half by itself. Return the reason of each that failed, by its index.

    `bridge`: its name, after options.
    """
    ran = iproute.run((*OPENFLOW, "--bundle", "add-flows", *bridge, "-"), "".join(f"{line}\n" for line in lines))
    if not ran.returncode or ("is not a bridge" in ran.stderr and all(line.startswith("delete") for line in lines)):
        return {}
    if len(lines) == 1 or "is not a bridge" in ran.stderr:
        return dict.fromkeys(range(len(lines)), ran.stderr.strip().removeprefix("ovs-ofctl: "))
    half = len(lines) // 2
    return bundle(bridge, lines[:half]) | {half + index: reason for index, reason in bundle(bridge, lines[half:]).items()}
