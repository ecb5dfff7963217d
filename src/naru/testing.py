"""Fakes and waits for tests, ours and those of others who build on Naru. Shipped code never imports this module."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar, get_args
from urllib.parse import parse_qs, urlsplit

import msgspec

from naru.drivers.base import Action, Fact, Failure, ToolError
from naru.model.hostreport import HostDescription, HostReport, Receipt
from naru.model.hoststate import Bookmark, Del, Frame, HostState, Put, Value

T = TypeVar("T")

KINDS = tuple(str(kind.__struct_config__.tag) for kind in get_args(Value))  # of all values, the first parts of their keys


def eventually(check: Callable[[], T], within_s: float = 5.0, every_s: float = 0.02) -> T:
    """What `check()` returns once it is true. It is asked again and again, until `within_s` is over.

    An AssertionError counts as "not yet"; the last one is raised if time runs out.
    """
    deadline = time.monotonic() + within_s
    while True:
        try:
            answer, unmet = check(), None
        except AssertionError as error:
            unmet = error
        else:
            if answer:
                return answer
        if time.monotonic() > deadline:
            raise unmet or AssertionError(f"not true within {within_s} s: {getattr(check, '__name__', check)}")
        time.sleep(every_s)  # noqa: TID251 - the one place where a test may wait


class ManualClock:
    """Seconds that pass when told to: `clock()` reads, `clock.advance(5)` moves on."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


class FakeFact(Fact, frozen=True):
    """One value of the desired state, taken as a fact of a host."""

    value: Value

    @property
    def name(self) -> str:
        return self.key

    def add(self) -> Iterable[Action]:
        yield Action(self.key, ("fake", "put"), msgspec.json.encode(self.value).decode())

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Action]:
        return self.add()

    def remove(self) -> Iterable[Action]:
        yield Action(self.key, ("fake", "del"), self.key)


class FakeDriver:
    """A driver whose host is a dictionary.

    `facts` is the host; take something out and it must come back. `log` holds every action that was applied.
    Switches: `broken[key] = reason` makes the actions of a key fail; `down = reason` makes the whole tool fail.
    """

    def __init__(self, *kinds: str) -> None:
        self.kinds = kinds or KINDS
        self.facts: dict[str, Fact] = {}
        self.log: list[Action] = []
        self.broken: dict[str, str] = {}
        self.down = ""

    def want(self, desired: HostState) -> tuple[dict[str, Fact], list[Failure]]:
        return {key: FakeFact(key, value) for key, value in desired.items() if key.partition("/")[0] in self.kinds}, []

    def read(self) -> dict[str, Fact]:
        if self.down:
            raise ToolError(self.down)
        return dict(self.facts)

    def apply(self, actions: list[Action]) -> list[Failure]:
        failures = []
        for action in actions:
            self.log.append(action)
            if action.key in self.broken:
                failures.append(Failure(action.key, self.broken[action.key]))
            elif action.tool == ("fake", "put"):
                self.facts[action.key] = FakeFact(action.key, msgspec.json.decode(action.line, type=Value))
            else:
                self.facts.pop(action.key, None)
        return failures

    def pids(self) -> list[int]:
        return []


class FakeServer:
    """The server's side of the feed contract, over HTTP, for one host; the desired state is a dictionary.

    `put` and `delete` change it. `descriptions` and `reports` hold what the agent sent, `status` what the reports add up
    to: key -> "" or the reason. `forget()` makes the host unknown, `compact()` makes old revisions unknown,
    `hang_up()` ends the streams, `close()` the server. `ahead_s` is its clock before the real one.
    """

    def __init__(self, listener: socket.socket, token: str = "secret") -> None:  # noqa: S107 - guards nothing
        self.url = "http://{}:{}".format(*listener.getsockname())
        self.token = token
        self.state: dict[str, Value] = {}
        self.revision = 1
        self.oldest_revision = 1
        self.known = False
        self.ahead_s = 0.0
        self.lists = 0  # streams that began with the whole state
        self.descriptions: list[HostDescription] = []
        self.reports: list[HostReport] = []
        self.status: dict[str, str] = {}
        self.changed_at: dict[str, int] = {}
        self.epoch = 0  # grows when the streams have to end
        self.condition = threading.Condition()
        self._http = ThreadingHTTPServer(listener.getsockname(), _FeedRequest, bind_and_activate=False)
        self._http.daemon_threads = True
        self._http.socket.close()
        self._http.socket = listener
        self._http.feed = self  # type: ignore[attr-defined]
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def put(self, *values: Value) -> None:
        self._change({value.key: value for value in values})

    def delete(self, *keys: str) -> None:
        self._change(dict.fromkeys(keys))

    def forget(self) -> None:
        self.known, self.status = False, {}
        self.hang_up()

    def compact(self) -> None:
        self.oldest_revision = self.revision = self.revision + 1
        self.hang_up()

    def hang_up(self) -> None:
        with self.condition:
            self.epoch += 1
            self.condition.notify_all()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self.hang_up()

    def take_report(self, report: HostReport) -> Receipt:
        kept = {} if report.full else {key: reason for key, reason in self.status.items() if key not in report.gone}
        self.status = kept | dict.fromkeys(report.ok, "") | report.failed
        self.reports.append(report)
        return Receipt(report.revision == self.revision)

    def batches(self, since: int | None) -> Iterator[list[Frame]]:
        """First what changed after `since` (None: everything), then each change; empty for a keep-alive."""
        sent, epoch, quiet = since, self.epoch, False
        while True:
            with self.condition:
                if quiet:
                    self.condition.wait(1.0)
                if self.epoch != epoch:
                    return
                keys = list(self.state) if sent is None else [key for key, at in self.changed_at.items() if at > sent]
                frames: list[Frame] = [Put(key, self.state[key]) if key in self.state else Del(key) for key in keys]
                news = not quiet or sent != self.revision
                sent, quiet = self.revision, True
            yield [*frames, Bookmark(sent)] if news else []

    def _change(self, values: Mapping[str, Value | None]) -> None:
        with self.condition:
            self.revision += 1
            self.changed_at |= dict.fromkeys(values, self.revision)
            self.state = {key: value for key, value in {**self.state, **values}.items() if value is not None}
            self.condition.notify_all()


class _FeedRequest(BaseHTTPRequestHandler):
    """One request to a FakeServer, `server.feed`."""

    def do_PUT(self) -> None:
        self._feed.known = True
        self._feed.descriptions.append(msgspec.json.decode(self._body(), type=HostDescription))
        self._answer(200)

    def do_POST(self) -> None:
        if self._is_known():
            receipt = self._feed.take_report(msgspec.json.decode(self._body(), type=HostReport))
            self._answer(200, msgspec.json.encode(receipt))

    def do_GET(self) -> None:
        if not self._is_known():
            return
        given = parse_qs(urlsplit(self.path).query).get("since")
        since = int(given[0]) if given else None
        if since is not None and not self._feed.oldest_revision <= since <= self._feed.revision:
            self._answer(410)
            return
        self._feed.lists += since is None
        self._answer(200)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for batch in self._feed.batches(since):
                self.wfile.write(b"".join(msgspec.json.encode(frame) + b"\n" for frame in batch) or b"\n")

    @property
    def _feed(self) -> FakeServer:
        feed: FakeServer = self.server.feed  # type: ignore[attr-defined]
        return feed

    def _is_known(self) -> bool:
        if not self._feed.known:
            self._answer(404)
        return self._feed.known

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        if self.headers["Authorization"] != f"Bearer {self._feed.token}":
            self._answer(401)
            return False
        return True

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The Date of an answer."""
        return super().date_time_string((time.time() if timestamp is None else timestamp) + self._feed.ahead_s)

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.end_headers()  # HTTP/1.0: the end of the connection is the end of the body
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a test's output is its own."""
