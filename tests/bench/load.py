"""HTTP load that costs its machine little: one thread, connections kept alive, requests made beforehand, answers only counted."""

import selectors
import socket
import time
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

Address = tuple[str, int]


class Answer(NamedTuple):
    status: int
    body: bytes
    took_s: float


class Load(NamedTuple):
    """What became of a number of requests."""

    took_s: float
    statuses: Counter[int]
    latencies_s: list[float]

    @property
    def per_s(self) -> float:
        return self.statuses.total() / self.took_s


class Connection:
    """One client: asks, then waits for the answer."""

    def __init__(self, address: Address) -> None:
        self.socket = socket.create_connection(address, timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()
        self._length = -1  # bytes of the whole answer, once its head is here
        self._asked_at = 0.0

    def send(self, request: bytes) -> None:
        self._asked_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> Answer | None:
        """Read once. None: there is more to come."""
        piece = self.socket.recv(1 << 20)
        if not piece:
            raise ConnectionError("the server closed the connection before it answered")
        self._received += piece
        if self._length < 0:
            self._length = _length(self._received)
        if not 0 <= self._length <= len(self._received):
            return None
        whole = bytes(self._received)
        self._received.clear()
        self._length = -1
        return Answer(int(whole[9:12]), whole[whole.index(b"\r\n\r\n") + 4 :], time.perf_counter() - self._asked_at)

    def ask(self, request: bytes) -> Answer:
        self.send(request)
        while (answer := self.receive()) is None:
            pass
        return answer

    def close(self) -> None:
        self.socket.close()


def _length(received: bytearray) -> int:
    """Head and body in bytes; -1 while the head is not complete."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return -1
    head = bytes(received[:end]).lower()
    _, named, rest = head.partition(b"\r\ncontent-length:")
    return end + 4 + (int(rest.partition(b"\r\n")[0]) if named else 0)


def request(method: str, path: str, token: str, body: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: naru-bench\r\nAccept: application/json\r\n"
    if token:
        head += f"X-Auth-Token: {token}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n".encode() + body


def drive(address: Address, requests: Iterable[bytes], clients: int) -> Load:
    """Send all requests over `clients` connections, each one at a time."""
    todo = iter(requests)
    statuses: Counter[int] = Counter()
    latencies_s: list[float] = []
    connections = [Connection(address) for _ in range(clients)]
    with selectors.DefaultSelector() as waiting:
        began = time.perf_counter()
        for connection, first in zip(connections, todo, strict=False):
            waiting.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send(first)
        while waiting.get_map():
            for key, _ in waiting.select(timeout=60):
                connection = key.data
                if (answer := connection.receive()) is None:
                    continue
                statuses[answer.status] += 1
                latencies_s.append(answer.took_s)
                if (following := next(todo, None)) is not None:
                    connection.send(following)
                else:
                    waiting.unregister(connection.socket)
        took_s = time.perf_counter() - began
    for connection in connections:
        connection.close()
    return Load(took_s, statuses, latencies_s)
