"""A proxy that a test can shut: to see what a client does when the server behind is away, silent or broken."""

import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self

import httpx

State = Literal["open", "shut", "silent", "broken", "garbled"]


class SideDoor:
    """`asked` lists what came through or did not: `POST /v2.0/ports`. A silent one answers when its state changes."""

    def __init__(self, behind: str) -> None:
        self.asked: list[str] = []
        self._state: State = "open"
        self._changed = threading.Event()
        self._behind = httpx.Client(base_url=behind, trust_env=False, timeout=30)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._request_class())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._worker = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._worker.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.turn("shut")
        self._server.shutdown()
        self._worker.join()
        self._server.server_close()
        self._behind.close()

    def turn(self, state: State) -> None:
        self._state = state
        self.asked.clear()
        self._changed.set()
        self._changed = threading.Event()

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes] | None:
        """None: the connection is closed without a word."""
        self.asked.append(f"{method} {path}")
        if self._state == "silent":
            self._changed.wait(30)
        if self._state == "broken":
            return 500, b"{}"
        if self._state == "garbled":
            return 201, b'{"network_pick": ['
        if self._state != "open":
            return None
        given = self._behind.request(method, path, headers=headers, content=body)
        return given.status_code, given.content

    def _request_class(self) -> type[BaseHTTPRequestHandler]:
        door = self

        class Request(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name: value for name, value in self.headers.items() if name not in ("Host", "Content-Length")}
                answer = door.answer(self.command, self.path, headers, body)
                if answer is None:
                    self.close_connection = True
                    return
                status, content = answer
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                with suppress(BrokenPipeError):  # who asked waits no longer
                    self.end_headers()
                    self.wfile.write(content)

            do_DELETE = do_POST  # noqa: N815 - http.server's word

            def log_message(self, *words: Any) -> None:
                """The test asks `asked`."""

        return Request
