"""A filter in nova-api's pipeline: servers that name no network get the one that Naru picks. docs/how-to/choose-networks-in-nova.md

It runs in Nova's processes: nothing of Naru's own is imported, nor anything that Nova's environment may lack. Whatever goes wrong here is
logged, and the request goes on as the client sent it.
https://docs.pylonsproject.org/projects/pastedeploy/en/latest/#paste-filter-factory
https://docs.openstack.org/api-ref/compute/#create-server
"""

import json
import logging
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from io import BytesIO
from typing import Any, NamedTuple
from urllib.parse import urlsplit

_log = logging.getLogger("nova.naru")  # below "nova", where Nova's log listens

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

_SERVERS = re.compile(r"(/[^/]+)?/(servers|os-volumes_boot)/?")  # the project's id may stand before it
_AUTO = (2, 37)  # from this microversion on `networks` must be there, and may be a word
_LATEST = (2, 1 << 31)
_MOST_BYTES = 1 << 20  # Nova takes less: a larger body is its to refuse


class Settings(NamedTuple):
    """What may stand in the filter's section of the paste file."""

    naru_url: str
    timeout_s: float = 3.0  # for the connection, and for each read
    breaker_s: float = 30.0  # so long nobody is asked after Naru did not answer
    hold_s: int = 120  # until the compute node makes the port
    pool: str = ""  # id of the network pool to pick from; "": what Naru finds for the project
    on_full: str = "refuse"  # or "pass": where no network has room, the request goes on as it came
    cafile: str = ""  # authorities to trust, PEM; "": those of the system


def filter_factory(global_settings: Mapping[str, str], **given: str) -> Callable[[App], App]:
    """Raises ValueError for a section that is wrong: then nova-api does not start."""
    settings = read_settings(given)
    picks = Picks(settings)
    return lambda app: Filter(app, picks, settings)


def read_settings(given: Mapping[str, str]) -> Settings:
    if unknown := given.keys() - set(Settings._fields):
        raise ValueError(f"[filter:naru] {min(unknown)}: no such setting; there are {', '.join(Settings._fields)}")
    if not given.get("naru_url", "").startswith(("http://", "https://")):
        raise ValueError("[filter:naru] naru_url: the URL of Naru's network API is missing, as in http://controller01:9696")
    settings = Settings(**given)  # type: ignore[arg-type]  # numbers are text until here
    try:
        timeout_s, breaker_s, hold_s = float(settings.timeout_s), float(settings.breaker_s), int(settings.hold_s)
    except ValueError as error:
        raise ValueError(f"[filter:naru] timeout_s, breaker_s, hold_s: {error}") from None
    if timeout_s <= 0 or breaker_s < 0 or hold_s < 1:
        raise ValueError("[filter:naru] timeout_s and hold_s must be above 0, breaker_s not below")
    if settings.on_full not in ("refuse", "pass"):
        raise ValueError(f"[filter:naru] on_full: {settings.on_full} is neither refuse nor pass")
    return settings._replace(timeout_s=timeout_s, breaker_s=breaker_s, hold_s=hold_s)


class Refusal(NamedTuple):
    """What a client is told instead of what Nova would find out later."""

    status: str
    name: str
    message: str


class Pick(NamedTuple):
    id: str
    network_id: str
    addresses: int


class Filter:
    """Asks Naru for one network with as many addresses as servers are wanted, holds them, and writes the network into the request.

    A port would do for one server, but Nova keeps ports that it did not make when it deletes the server.
    """

    def __init__(self, app: App, picks: "Picks", settings: Settings) -> None:
        self._app = app
        self._picks = picks
        self._settings = settings

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        body = _body(environ)
        chosen: Pick | Refusal | None = None
        if body is not None:
            try:
                chosen = self._choose(environ, body)
            except Exception:  # noqa: BLE001 - Nova's own answer is better than none
                _log.exception("the network was not chosen, Nova goes on alone")
        if isinstance(chosen, Refusal):
            return _refuse(chosen, start_response)
        if chosen is None:
            return self._app(environ, start_response)
        return self._go_on(environ, start_response, chosen)

    def _choose(self, environ: Environ, body: bytes) -> "Pick | Refusal | None":
        """And rewrite the body. None: it stays as it was."""
        asked = json.loads(body)
        server = asked.get("server") if isinstance(asked, dict) else None
        if not isinstance(server, dict) or not leaves_network_open(server, microversion(environ)):
            return None
        counts = wanted_counts(server)
        if counts is None:
            return None
        chosen = self._picks.make(environ, *counts)
        if isinstance(chosen, Refusal) and self._settings.on_full == "pass":
            return None
        if isinstance(chosen, Pick):
            server["networks"] = [{"uuid": chosen.network_id}]
            if chosen.addresses < counts[1]:
                server["max_count"] = chosen.addresses
            _set_body(environ, json.dumps(asked).encode())
            _log.info("network %s picked for %d servers, pick %s", chosen.network_id, chosen.addresses, chosen.id)
        return chosen

    def _go_on(self, environ: Environ, start_response: StartResponse, pick: Pick) -> Iterable[bytes]:
        """What Nova does not accept holds no addresses."""
        answers: list[str] = []

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            answers.append(status)
            return start_response(status, headers, *error)

        try:
            answer = self._app(environ, start)
        except BaseException:
            self._picks.cancel(environ, pick)
            raise
        if any(not status.startswith("2") for status in answers):
            self._picks.cancel(environ, pick)
        return answer


class Picks:
    """Naru's picks, asked for with the token of the client. After it did not answer nobody is asked for `breaker_s`, then one."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._url = urlsplit(settings.naru_url)
        self._trusted = ssl.create_default_context(cafile=settings.cafile or None) if self._url.scheme == "https" else None
        self._lock = threading.Lock()
        self._quiet_until = 0.0

    def make(self, environ: Environ, at_least: int, at_most: int) -> Pick | Refusal | None:
        """None: there is none, and Nova goes on alone."""
        if not self._may_ask():
            return None
        wish = {
            "count": at_most,
            "min_count": at_least,
            "mode": "one_network",  # a request names one network for all of its servers
            "consumable_by": "project",  # the compute node makes the ports, and knows of no pick
            "hold_s": self._settings.hold_s,
        }
        if self._settings.pool:
            wish["pool_id"] = self._settings.pool
        try:
            status, body = self._ask(environ, "POST", "/v2.0/network-picks", {"network_pick": wish})
            pick = _pick_of(body["network_pick"]) if status == 201 else None
        except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
            self._rest(f"{type(error).__name__}: {error}")
            return None
        if status >= 500:
            self._rest(f"status {status}")
            return None
        self._quiet_until = 0.0
        return pick or _refusal_of(status, body)

    def cancel(self, environ: Environ, pick: Pick) -> None:
        """Where that fails, the hold ends by itself."""
        with suppress(OSError, HTTPException, ValueError):
            self._ask(environ, "DELETE", f"/v2.0/network-picks/{pick.id}")

    def _may_ask(self) -> bool:
        with self._lock:
            now = self._clock()
            if now < self._quiet_until:
                return False
            if self._quiet_until:
                self._quiet_until = now + self._settings.breaker_s  # one tries, the others go on without
            return True

    def _rest(self, reason: str) -> None:
        _log.warning("%s: %s; Nova goes on alone, for %g s", self._settings.naru_url, reason, self._settings.breaker_s)
        self._quiet_until = self._clock() + self._settings.breaker_s

    def _ask(self, environ: Environ, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Raises OSError, HTTPException, or ValueError for an answer that is no JSON."""
        headers = {"Content-Type": "application/json", "X-Auth-Token": environ.get("HTTP_X_AUTH_TOKEN", "")}
        if language := environ.get("HTTP_ACCEPT_LANGUAGE"):
            headers["Accept-Language"] = language
        host, timeout_s = self._url.netloc, self._settings.timeout_s
        if self._trusted is None:
            connection = HTTPConnection(host, timeout=timeout_s)
        else:
            connection = HTTPSConnection(host, timeout=timeout_s, context=self._trusted)
        try:
            connection.request(method, f"{self._url.path.rstrip('/')}{path}", json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(content) if content else None


# -- what a client asks Nova for


def microversion(environ: Environ) -> tuple[int, int]:
    """As Nova reads it: the service's own header, then the older one. (0, 0): one that Nova refuses."""
    if environ.get("SCRIPT_NAME", "").endswith("/v2"):
        return 2, 0  # has none
    asked = environ.get("HTTP_X_OPENSTACK_NOVA_API_VERSION", "2.1")
    for service, _, version in (part.strip().partition(" ") for part in environ.get("HTTP_OPENSTACK_API_VERSION", "").split(",")):
        if service == "compute":
            asked = version
    if asked.strip() == "latest":
        return _LATEST
    found = re.fullmatch(r"(\d+)\.(\d+)", asked.strip())
    return (int(found[1]), int(found[2])) if found else (0, 0)


def leaves_network_open(server: Mapping[str, Any], version: tuple[int, int]) -> bool:
    """May Nova choose? Where it has to refuse the request (`auto` too early, nothing too late) it is left to do so."""
    networks = server.get("networks", [])
    if networks == "auto":
        return version >= _AUTO
    return networks == [] and ("networks" in server or (0, 0) < version < _AUTO)


def wanted_counts(server: Mapping[str, Any]) -> tuple[int, int] | None:
    """min_count and max_count with Nova's defaults. None: what Nova refuses."""
    try:
        at_least = int(server.get("min_count", 1))
        at_most = int(server.get("max_count", at_least))
    except (TypeError, ValueError):
        return None
    return (at_least, at_most) if 1 <= at_least <= at_most else None


def _body(environ: Environ) -> bytes | None:
    """Of POST …/servers, and still there for whoever reads it next. None for other requests. Fails as it would in Nova."""
    length = environ.get("CONTENT_LENGTH") or ""
    is_creation = environ["REQUEST_METHOD"] == "POST" and _SERVERS.fullmatch(environ.get("PATH_INFO", "")) is not None
    if not is_creation or not length.isascii() or not length.isdigit() or int(length) > _MOST_BYTES:
        return None
    body: bytes = environ["wsgi.input"].read(int(length))
    _set_body(environ, body)
    return body


def _set_body(environ: Environ, body: bytes) -> None:
    environ["wsgi.input"] = BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))


# -- what Naru answers


def _pick_of(pick: Mapping[str, Any]) -> Pick:
    """Raises LookupError or TypeError for an answer that is no pick."""
    placements = pick["placements"]
    return Pick(str(pick["id"]), str(placements[0]["network_id"]), len(placements))


def _refusal_of(status: int, body: Any) -> Refusal | None:
    """A refusal of the scheduler, or of the quota. Anything else is not for the client."""
    error = body.get("NeutronError") if isinstance(body, dict) else None
    kind, message = (error.get("type"), str(error.get("message"))) if isinstance(error, dict) else (None, "")
    if status == 409 and kind == "NetworkPickRefused":
        return Refusal("409 Conflict", "conflictingRequest", message)
    if status == 409 and kind == "OverQuota":
        return Refusal("403 Forbidden", "forbidden", f"Maximum number of ports exceeded. {message}")
    _log.warning("no pick: status %d, %s %s; Nova goes on alone", status, kind, message)
    return None


def _refuse(refusal: Refusal, start_response: StartResponse) -> Iterable[bytes]:
    _log.info("refused: %s", refusal.message)
    code = int(refusal.status.split(" ", 1)[0])
    body = json.dumps({refusal.name: {"code": code, "message": refusal.message}}).encode()
    start_response(refusal.status, [("Content-Type", "application/json; charset=UTF-8"), ("Content-Length", str(len(body)))])
    return [body]
