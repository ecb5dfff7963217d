"""The rows of a database as they are now: a replica that the database server itself keeps current, over one connection.

Source: RFC 7047, sections 4.1.5 (monitor), 4.1.6 (update), 4.1.11 (echo). What was committed before an echo was asked for is told before
it is answered, so a replica that has heard its echo is no older than the question.
"""

import codecs
import contextlib
import json
import socket
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from naru.drivers.base import ToolError

DATABASE = "Open_vSwitch"
ANSWER_S = 10.0

Row = dict[str, Any]  # column -> value as section 5.1 writes it
Rows = dict[str, Row]  # by UUID


class Replica:
    """Rows of some tables, and of them some columns."""

    def __init__(self, path: Path, columns: Mapping[str, tuple[str, ...]]) -> None:
        self._path = path
        self._columns = columns
        self._connection: Connection | None = None
        self._tables: dict[str, Rows] = {}

    def tables(self) -> Mapping[str, Rows]:
        """As of now. Raises ToolError where the server does not answer."""
        try:
            if self._connection is not None:
                with contextlib.suppress(OSError):  # it was started anew: ask its successor
                    self._pump(self._connection, "echo", [])
                    return self._tables
            self._connect()
        except (OSError, ValueError) as error:
            self._disconnect()
            raise ToolError(f"the database of Open vSwitch does not answer: {error}; is the service openvswitch-switch running?") from error
        return self._tables

    def _connect(self) -> None:
        self._disconnect()
        self._connection = Connection(self._path)
        asked = {table: {"columns": list(columns)} for table, columns in self._columns.items()}
        self._tables = {table: {} for table in self._columns}
        self._take(self._pump(self._connection, "monitor", [DATABASE, None, asked]))

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _pump(self, connection: "Connection", method: str, params: list[Any]) -> Any:
        """Ask, and take what is told before the answer."""
        connection.send({"method": method, "params": params, "id": method})
        while True:
            message = connection.receive()
            match message:
                case {"method": "update", "params": [_, tables]}:
                    self._take(tables)
                case {"method": "echo", "params": said, "id": id}:
                    connection.send({"result": said, "error": None, "id": id})
                case {"error": None, "result": result, "id": id} if id == method:
                    return result
                case {"error": error} if error is not None:
                    raise ValueError(f"{method}: {error}")

    def _take(self, tables: Mapping[str, Mapping[str, Mapping[str, Row]]]) -> None:
        for table, rows in tables.items():
            for uuid, row in rows.items():
                if "new" in row:
                    self._tables[table][uuid] = row["new"]
                else:
                    self._tables[table].pop(uuid, None)


class Connection:
    """JSON values both ways, one after the other, with nothing between them."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        weakref.finalize(self, self._socket.close)
        self._text = codecs.getincrementaldecoder("utf-8")()
        self._heard = ""
        try:
            self._socket.settimeout(ANSWER_S)
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise

    def send(self, message: object) -> None:
        self._socket.sendall(json.dumps(message).encode())

    def receive(self) -> Any:
        """The next value. Raises OSError where none comes."""
        while True:
            with contextlib.suppress(json.JSONDecodeError):  # it has not come whole yet
                value, end = json.JSONDecoder().raw_decode(self._heard)
                self._heard = self._heard[end:].lstrip()
                return value
            piece = self._socket.recv(1 << 20)
            if not piece:
                raise ConnectionResetError("it hung up")
            self._heard += self._text.decode(piece)

    def close(self) -> None:
        self._socket.close()
