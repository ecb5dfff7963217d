"""The flows of a bridge as they are now: a table that the switch itself keeps current, over one connection.

Of each flow only its cookie is kept, for by that we know whose it is. What was changed before the configuration was asked for is told
before it is answered; where it is more than the switch keeps for us, it pauses, and tells the rest until it resumes. Of meters nothing is
told: they are asked for. Sources: OpenFlow 1.4.1, sections 7.1 (header), 7.3.2 (configuration), 7.3.4.2 and 7.3.5.14 (meters), 7.3.5.17
(flow monitors).
"""

import contextlib
import socket
import struct
import weakref
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from naru.drivers.base import ToolError
from naru.drivers.ovsdb import RUN_DIR

VERSION, ANSWER_S = 5, 10.0  # OpenFlow 1.4: the first version that has flow monitors
HELLO, ERROR, ECHO_REQUEST, ECHO_REPLY, CONFIG_REQUEST, CONFIG_REPLY, MULTIPART_REQUEST, MULTIPART_REPLY = 0, 1, 2, 3, 7, 8, 18, 19
METERS, FLOW_MONITOR = 10, 16  # kinds of multipart messages
ANY, ALL_TABLES = 0xFFFFFFFF, 0xFF
INITIAL, ADDED, REMOVED, MODIFIED, PAUSED, RESUMED = 0, 1, 2, 3, 5, 6  # events
TELL = 0b1111  # what is there, comes, goes and changes
FRAGMENTS = ("normal", "drop", "reassemble", "nx-match")  # the last is Open vSwitch's own
UNITS = {1: "kbps", 2: "pktps"}  # flags of a meter

_HEADER = struct.Struct("!BBHI")  # version, type, length, number of the message
_UPDATE = struct.Struct("!HHB5xH4xQ")  # length, event, table, (reason, timeouts,) priority, (zeros,) cookie
_EVERYTHING = struct.pack("!HH4xIIIHBBHH4x", FLOW_MONITOR, 0, 0, ANY, ANY, TELL, ALL_TABLES, 0, 1, 4)  # with a match of nothing
_ALL_METERS = struct.pack("!HH4xI4x", METERS, 0, ANY)
_METER = struct.Struct("!HHI")  # length, flags, number; then bands
_BAND = struct.Struct("!HHII4x")  # type, length, rate, burst


class BridgeMeter(NamedTuple):
    """A meter of one band."""

    number: int
    unit: str  # "" for one that is none of UNITS
    rate: int
    burst: int


class Reading(NamedTuple):
    flows: Counter[int]  # how many have which cookie
    meters: list[BridgeMeter]
    fragments: str  # how flows see them


class FlowTable:
    """The flows of one bridge."""

    def __init__(self, bridge: str) -> None:
        self._bridge = bridge
        self._connection: Connection | None = None
        self._cookie_of: dict[bytes, int] = {}  # by table, priority and match, as they are written
        self._counts: Counter[int] = Counter()  # cookie -> how many flows have it
        self._is_paused = False

    def read(self) -> Reading:
        """As of now. Raises ToolError where the switch does not answer."""
        try:
            if self._connection is not None:
                with contextlib.suppress(OSError):  # it was started anew: ask its successor
                    return self._pump(self._connection)
            return self._pump(self._connect())
        except OSError as error:
            self._disconnect()
            raise ToolError(f"ovs-vswitchd does not answer: {error}; is the service openvswitch-switch running?") from error

    def _connect(self) -> "Connection":
        self._disconnect()
        self._connection = Connection(RUN_DIR / f"{self._bridge}.mgmt")
        self._cookie_of, self._counts, self._is_paused = {}, Counter(), False
        self._connection.send(MULTIPART_REQUEST, _EVERYTHING)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _pump(self, connection: "Connection") -> Reading:
        connection.send(MULTIPART_REQUEST, _ALL_METERS)
        connection.send(CONFIG_REQUEST)
        meters: list[BridgeMeter] = []
        fragments = ""
        while not fragments or self._is_paused:
            kind, body = connection.receive()
            if kind == MULTIPART_REPLY and body[1] == METERS:
                meters += _meters(body)
            elif kind == MULTIPART_REPLY:
                for event, place, cookie in _updates(body):
                    self._take(event, place, cookie)
            elif kind == CONFIG_REPLY:
                fragments = FRAGMENTS[body[1] & 3]
            elif kind == ECHO_REQUEST:
                connection.send(ECHO_REPLY, body)
            elif kind == ERROR:
                raise ConnectionError(f"it has no flow monitors for OpenFlow 1.4, or refuses them (error {body[:12].hex()})")
        return Reading(+self._counts, meters, fragments)

    def _take(self, event: int, place: bytes, cookie: int) -> None:
        if event in (PAUSED, RESUMED):
            self._is_paused = event == PAUSED
            return
        before = self._cookie_of.pop(place, None)
        if before is not None:
            self._counts[before] -= 1
        if event != REMOVED:
            self._cookie_of[place] = cookie
            self._counts[cookie] += 1


def _updates(body: bytes) -> Iterator[tuple[int, bytes, int]]:
    """-> event, place and cookie of each change that a reply tells of."""
    at = 8  # after the kind of the reply
    while at < len(body):
        length, event = struct.unpack_from("!HH", body, at)
        if event in (PAUSED, RESUMED):
            yield event, b"", 0
        else:
            _, _, table, priority, cookie = _UPDATE.unpack_from(body, at)
            yield event, struct.pack("!BH", table, priority) + body[at + _UPDATE.size : at + length], cookie
        at += length


def _meters(body: bytes) -> Iterator[BridgeMeter]:
    at = 8
    while at < len(body):
        length, flags, number = _METER.unpack_from(body, at)
        _, _, rate, burst = _BAND.unpack_from(body, at + _METER.size)
        yield BridgeMeter(number, UNITS.get(flags & 3, ""), rate, burst)
        at += length


class Connection:
    """Messages of OpenFlow both ways."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        weakref.finalize(self, self._socket.close)
        self._heard = b""
        try:
            self._socket.settimeout(ANSWER_S)
            self._socket.connect(str(path))
            self.send(HELLO)
        except OSError:
            self._socket.close()
            raise

    def send(self, kind: int, body: bytes = b"") -> None:
        self._socket.sendall(_HEADER.pack(VERSION, kind, _HEADER.size + len(body), 0) + body)

    def receive(self) -> tuple[int, bytes]:
        """-> type and body of the next message. Raises OSError where none comes."""
        while len(self._heard) < _HEADER.size or len(self._heard) < _HEADER.unpack_from(self._heard)[2]:
            piece = self._socket.recv(1 << 20)
            if not piece:
                raise ConnectionResetError("it hung up")
            self._heard += piece
        _, kind, length, _ = _HEADER.unpack_from(self._heard)
        body, self._heard = self._heard[_HEADER.size : length], self._heard[length:]
        return kind, body

    def close(self) -> None:
        self._socket.close()
