"""The filter in nova-api's pipeline, before a Nova that repeats what it was sent. With the real ones: tests/nova."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from naru.integrations.nova import Picks, filter_factory, read_settings
from naru.testing import ManualClock

NETWORK = "5a4ba4e5-6a3c-4a4b-8e0b-4f1c7a8d9b10"
REFUSED = {"NeutronError": {"type": "NetworkPickRefused", "message": "No room for 1 in pool p: net1 is full.", "detail": ""}}
OVER_QUOTA = {"NeutronError": {"type": "OverQuota", "message": "Quota exceeded for resources: ['port'].", "detail": ""}}
OLD = {"HTTP_OPENSTACK_API_VERSION": "compute 2.36"}
NEW = {"HTTP_OPENSTACK_API_VERSION": "compute 2.37"}


class PlainNaru:
    """Answers a pick of `has` addresses, or what `answer` says; `asked` has what it was asked for."""

    def __init__(self, port: int = 0) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.has = 1000
        self.answer: Callable[[], tuple[str, bytes]] | None = None
        naru = self

        class Silent(WSGIRequestHandler):
            def log_message(self, *words: Any) -> None:
                """`asked` tells."""

        def app(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
            status, body = naru.respond(environ)
            start(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
            return [body]

        self.server = make_server("127.0.0.1", port, app, handler_class=Silent)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.worker = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.worker.start()

    def respond(self, environ: dict[str, Any]) -> tuple[str, bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        wish = json.loads(body)["network_pick"] if body else None
        self.asked.append((f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}", wish))
        if environ["REQUEST_METHOD"] == "DELETE":
            return "204 No Content", b""
        if self.answer is not None:
            return self.answer()
        places = [{"index": index, "network_id": NETWORK} for index in range(min(self.has, wish["count"]))]
        return "201 Created", json.dumps({"network_pick": {"id": "pick-1", "placements": places}}).encode()

    def stop(self) -> None:
        self.server.shutdown()
        self.worker.join()
        self.server.server_close()


@pytest.fixture
def naru() -> Iterator[PlainNaru]:
    plain = PlainNaru()
    yield plain
    plain.stop()


class PlainNova:
    """`got` is the server that the last request described, `status` what it is answered with."""

    def __init__(self, naru_url: str, **settings: str) -> None:
        self.got: Any = None
        self.status = "202 Accepted"
        self.told: tuple[str, bytes] = ("", b"")
        self.app = filter_factory({}, naru_url=naru_url, timeout_s="0.3", **settings)(self._serve)

    def _serve(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        self.got = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0))
        start(self.status, [])
        return [b"Nova's own"]

    def post(self, server: Any, path: str = "/servers", **environ: str) -> Any:
        """-> what came to Nova; None where nothing came."""
        self.got = None
        body = server if isinstance(server, bytes) else json.dumps({"server": server}).encode()
        asked: dict[str, Any] = {"REQUEST_METHOD": "POST", "SCRIPT_NAME": "/v2.1", "PATH_INFO": path, "HTTP_X_AUTH_TOKEN": "t"}
        asked |= {"CONTENT_LENGTH": str(len(body)), "wsgi.input": BytesIO(body)} | environ
        statuses: list[str] = []
        answer = self.app(asked, lambda *status_and_headers: statuses.append(status_and_headers[0]))
        self.told = statuses[0], b"".join(answer)
        if self.got is None or isinstance(server, bytes):
            return self.got
        return json.loads(self.got)["server"]


@pytest.mark.parametrize(
    ("networks", "environ"),
    [
        ({}, {}),
        ({}, OLD),
        ({}, {"HTTP_X_OPENSTACK_NOVA_API_VERSION": "2.36"}),
        ({}, {"SCRIPT_NAME": "/v2"} | NEW),
        ({"networks": []}, {}),
        ({"networks": []}, NEW),
        ({"networks": "auto"}, NEW),
        ({"networks": "auto"}, {"HTTP_OPENSTACK_API_VERSION": "volume 3.1, compute latest"}),
        ({"networks": "auto"}, {"HTTP_X_OPENSTACK_NOVA_API_VERSION": "2.96"}),
        ({"networks": "auto"}, {"PATH_INFO": "/8b3f/servers"} | NEW),
    ],
)
def test_a_server_that_names_no_network_gets_the_one_that_naru_picks(naru, networks, environ):
    nova = PlainNova(naru.url, hold_s="77", pool="p1")
    assert nova.post({"name": "é"} | networks, **environ) == {"name": "é", "networks": [{"uuid": NETWORK}]}
    wish = {"count": 1, "min_count": 1, "mode": "one_network", "consumable_by": "project", "hold_s": 77, "pool_id": "p1"}
    assert naru.asked == [("POST /v2.0/network-picks", wish)]
    assert nova.told == ("202 Accepted", b"Nova's own")


@pytest.mark.parametrize(
    ("networks", "environ"),
    [
        ({"networks": "none"}, NEW),
        ({"networks": [{"uuid": "n"}]}, {}),
        ({"networks": [{"port": "p"}]}, NEW),
        ({"networks": "auto"}, OLD),  # Nova refuses it before 2.37
        ({"networks": "auto"}, {}),
        ({}, NEW),  # and nothing at all from then on
        ({}, {"HTTP_OPENSTACK_API_VERSION": "compute nonsense"}),
        ({"networks": None}, {}),
        ({"networks": "auto", "min_count": 3, "max_count": 2}, NEW),
        ({"networks": "auto", "min_count": "many"}, NEW),
        ({"networks": "auto"}, {"PATH_INFO": "/servers/id/action"} | NEW),
        ({"networks": "auto"}, {"REQUEST_METHOD": "PUT"} | NEW),
    ],
)
def test_anything_else_comes_to_nova_as_it_was_sent(naru, networks, environ):
    assert PlainNova(naru.url).post(networks, **environ) == networks
    assert naru.asked == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"server"', b'{"server": []}', b"\xff" * 20, b"[" * 100_000])
def test_what_is_no_server_is_novas_to_refuse(naru, body):
    assert PlainNova(naru.url).post(body, **NEW) == body
    assert naru.asked == []


def test_several_servers_get_a_network_with_room_for_all(naru):
    got = PlainNova(naru.url).post({"networks": "auto", "min_count": "2", "max_count": 3}, **NEW)
    assert got == {"networks": [{"uuid": NETWORK}], "min_count": "2", "max_count": 3}
    assert (naru.asked[0][1]["min_count"], naru.asked[0][1]["count"]) == (2, 3)


def test_no_more_servers_are_made_than_addresses_are_held(naru):
    naru.has = 2
    got = PlainNova(naru.url).post({"networks": "auto", "min_count": 1, "max_count": 3}, **NEW)
    assert got["max_count"] == 2


@pytest.mark.parametrize(
    ("answer", "status", "told"),
    [
        (REFUSED, "409 Conflict", {"conflictingRequest": {"code": 409, "message": "No room for 1 in pool p: net1 is full."}}),
        (
            OVER_QUOTA,
            "403 Forbidden",
            {"forbidden": {"code": 403, "message": "Maximum number of ports exceeded. Quota exceeded for resources: ['port']."}},
        ),
    ],
)
def test_a_refusal_is_told_at_once_with_its_reasons(naru, answer, status, told):
    naru.answer = lambda: ("409 Conflict", json.dumps(answer).encode())
    nova = PlainNova(naru.url)
    assert nova.post({"networks": "auto"}, **NEW) is None
    assert (nova.told[0], json.loads(nova.told[1])) == (status, told)


def test_an_operator_may_leave_refusals_to_nova(naru):
    naru.answer = lambda: ("409 Conflict", json.dumps(REFUSED).encode())
    assert PlainNova(naru.url, on_full="pass").post({"networks": "auto"}, **NEW) == {"networks": "auto"}


@pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "403 Forbidden", "404 Not Found", "409 Conflict"])
def test_what_naru_refuses_for_another_reason_is_not_the_clients_business(naru, status):
    naru.answer = lambda: (status, b'{"NeutronError": {"type": "Other", "message": "m", "detail": ""}}')
    nova = PlainNova(naru.url)
    for _ in range(2):
        assert nova.post({"networks": "auto"}, **NEW) == {"networks": "auto"}
    assert len(naru.asked) == 2  # it answers: no reason to leave it alone


@pytest.mark.parametrize(
    "answer",
    [
        ("500 Internal Server Error", b"{}"),
        ("503 Service Unavailable", b""),
        ("201 Created", b'{"network'),
        ("201 Created", b"{}"),
        ("201 Created", b'{"network_pick": null}'),
    ],
    ids=["error", "away", "half an answer", "no pick", "null"],
)
def test_a_broken_naru_is_left_alone_and_nova_goes_on(naru, answer):
    naru.answer = lambda: answer
    nova = PlainNova(naru.url)
    for _ in range(2):
        assert nova.post({"networks": "auto"}, **NEW) == {"networks": "auto"}
        assert nova.told == ("202 Accepted", b"Nova's own")
    assert len(naru.asked) == 1


def test_a_silent_naru_costs_its_time_once(naru):
    answered = threading.Event()
    naru.answer = lambda: ("201 Created", b"{}" if answered.wait(10) else b"")
    nova = PlainNova(naru.url)
    for _ in range(2):
        assert nova.post({"networks": "auto"}, **NEW) == {"networks": "auto"}
    answered.set()
    assert len(naru.asked) == 1


def test_after_the_breaks_end_one_request_tries_and_a_good_answer_ends_it():
    clock, naru = ManualClock(), PlainNaru()
    picks = Picks(read_settings({"naru_url": naru.url, "breaker_s": "30"}), clock)
    naru.stop()  # nobody listens any more
    assert picks.make({}, 1, 1) is None
    clock.advance(29)
    back = PlainNaru(naru.server.server_port)
    try:
        assert picks.make({}, 1, 1) is None
        assert back.asked == []
        clock.advance(2)
        assert [picks.make({}, 1, 1) for _ in range(2)] == [("pick-1", NETWORK, 1)] * 2
    finally:
        back.stop()


def test_what_nova_refuses_holds_nothing(naru):
    nova = PlainNova(naru.url)
    nova.status = "400 Bad Request"
    nova.post({"networks": "auto"}, **NEW)
    assert naru.asked[1:] == [("DELETE /v2.0/network-picks/pick-1", None)]


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ({}, "naru_url"),
        ({"naru_url": "controller01:9696"}, "naru_url"),
        ({"naru_url": "http://c", "timeout_s": "soon"}, "soon"),
        ({"naru_url": "http://c", "timeout_s": "0"}, "timeout_s"),
        ({"naru_url": "http://c", "on_full": "maybe"}, "maybe is neither"),
        ({"naru_url": "http://c", "poool": "p"}, "poool: no such setting"),
    ],
)
def test_a_wrong_section_says_what_is_wrong_with_it(section, complaint):
    with pytest.raises(ValueError, match=complaint):
        filter_factory({}, **section)


def test_it_needs_nothing_but_python():
    source = Path(__file__).parents[2] / "src"
    script = (
        f"import sys; sys.path.insert(0, {str(source)!r}); import naru.integrations.nova; print(*{{n.split('.')[0] for n in sys.modules}})"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert set(done.stdout.split()) - sys.stdlib_module_names == {"naru", "__main__"}
