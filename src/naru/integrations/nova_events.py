"""What Nova waits for: it is told when a port of a server of its own is wired, changes or goes.

    changes of the store -> events, the last of each kind for a port -> batches to os-server-external-events, until Nova takes them

https://docs.openstack.org/api-ref/compute/#create-external-events-os-server-external-events
"""

import asyncio
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import httpx
import msgspec
import structlog

from naru.model.compute import Server
from naru.model.errors import Unavailable
from naru.model.resources import Change, Port
from naru.model.routing import FloatingIp
from naru.model.view import View

_BATCH_S = 0.05  # what comes so soon after another goes with it
_BATCH = 100  # events in one request
_MOST_WAITING = 10_000  # beyond, the oldest go
_MOST_ANSWERS = 10_000
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_WAITED_FOR_S = 300.0  # so long Nova waits for a port that is being plugged (vif_plugging_timeout)
_TRIES_UNPLACED = 5  # 422: the server has no host (yet)

# What Nova keeps of a port. It changes them itself when it plugs one, together with the server or the host that the port has.
_KEPT = ("mac_address", "fixed_ips", "binding_vif_type", "binding_vif_details", "binding_vnic_type", "admin_state_up")
_PLACE = ("device_id", "binding_host_id")

_log = structlog.get_logger("naru.nova")


class Event(msgspec.Struct, frozen=True):
    server_uuid: str
    name: str
    tag: str  # the port's id
    status: str = "completed"

    @property
    def replaces(self) -> tuple[str, str]:
        """Of events that are equal in this, the last one says all."""
        return self.tag, "network-changed" if self.name == "network-changed" else "network-vif"


class Answer(msgspec.Struct, frozen=True):
    """What Nova said of the last event of a port. `code` is the event's own: 200, 404 (no such server), 422 (it has no host)."""

    event: Event
    code: int


def events_of(view: View, change: Change) -> Iterator[Event]:
    """What a change that is in the view by now means to Nova; nothing for servers of our own."""
    for event in _events_of(view, change):
        if view.get(Server, event.server_uuid) is None:
            yield event


def _events_of(view: View, change: Change) -> Iterator[Event]:
    match change:
        case Change(before=Port() as before, after=None) if _is_plugged(before):
            yield Event(before.device_id, "network-vif-deleted", before.id)
        case Change(before=None, after=Port() as after) if _is_plugged(after):
            yield from _told_of_status("", after)
        case Change(before=Port() as before, after=Port() as after) if _is_plugged(after):
            yield from _told_of_status(before.status, after)
            if _differ(before, after, _KEPT) and not _differ(before, after, _PLACE):
                yield Event(after.device_id, "network-changed", after.id)
        case Change(before=FloatingIp() | None as before, after=FloatingIp() | None as after) if before or after:
            ways = [(each.port_id, each.fixed_ip_address) if each is not None else (None, None) for each in (before, after)]
            ports = [view.get(Port, port_id) for port_id, _ in ways if port_id] if ways[0] != ways[1] else []
            yield from (Event(port.device_id, "network-changed", port.id) for port in ports if port is not None and _is_plugged(port))


def _told_of_status(before: str, port: Port) -> Iterator[Event]:
    if before == port.status:
        return
    match port.status:
        case "ACTIVE":
            yield Event(port.device_id, "network-vif-plugged", port.id)
        case "ERROR":
            yield Event(port.device_id, "network-vif-plugged", port.id, "failed")
        case _ if before == "ACTIVE":
            yield Event(port.device_id, "network-vif-unplugged", port.id)


def _is_plugged(port: Port) -> bool:
    """Whether it is of a server. Nova takes no other id than a UUID."""
    try:
        return port.device_owner.startswith("compute:") and bool(uuid.UUID(port.device_id))
    except ValueError:
        return False


def _differ(before: Port, after: Port, attributes: Iterable[str]) -> bool:
    return any(getattr(before, name) != getattr(after, name) for name in attributes)


class _Told(msgspec.Struct):
    server_uuid: str
    name: str
    tag: str
    code: int = 200


class _Body(msgspec.Struct):
    events: list[_Told]


class Identity(Protocol):
    """What is needed of a Keystone; see integrations/keystone.py."""

    async def log_in(self, outdated: str) -> str: ...

    async def endpoints(self, kind: str, region: str) -> list[str]: ...


class NovaEvents:
    """Tells Nova. Lives on the event loop of the store's published view; nobody waits for it.

    `answers` has the last answer for each port. `endpoint` is Nova's; "": the one that the region's catalog names.
    """

    def __init__(self, view: View, keystone: Identity, open_http: Callable[[str], httpx.AsyncClient], region: str, endpoint: str) -> None:
        self.answers: dict[str, Answer] = {}
        self._view = view
        self._keystone = keystone
        self._open_http = open_http  # a client for the service at a URL
        self._http: httpx.AsyncClient | None = None
        self._region = region
        self._endpoint = endpoint.rstrip("/")
        self._token = ""
        self._waiting: dict[tuple[str, str], Event] = {}
        self._tries: dict[Event, int] = {}
        self._news = asyncio.Event()

    def on_changes(self, changes: Sequence[Change]) -> None:
        """A listener for the store."""
        for change in changes:
            for event in events_of(self._view, change):
                self._add(event)

    def remember(self, now: datetime) -> None:
        """At the start: what was wired so lately that Nova may still wait for it, for the process before this may not have told it."""
        since = (now - timedelta(seconds=_WAITED_FOR_S)).strftime("%Y-%m-%dT%H:%M:%SZ")
        for port in self._view.all(Port):
            if port.updated_at >= since and port.status == "ACTIVE":
                self.on_changes([Change(None, port)])

    async def run(self) -> None:
        """Send until cancelled, whatever Nova does."""
        wait_s, told = _FIRST_WAIT_S, ""
        while True:
            await self._news.wait()
            await asyncio.sleep(_BATCH_S)
            batch = list(self._waiting.values())[:_BATCH]
            try:
                self._take(await self._send(batch))
                wait_s, told = _FIRST_WAIT_S, ""
            except (httpx.HTTPError, httpx.InvalidURL, Unavailable, msgspec.DecodeError) as error:
                if told != (told := str(error) or repr(error)):
                    _log.warning("Nova does not take events; they wait", reason=told, waiting=len(self._waiting))
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
            if not self._waiting:
                self._news.clear()

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()

    def _add(self, event: Event) -> None:
        if event.name == "network-vif-deleted":
            self._waiting.pop((event.tag, "network-changed"), None)
        self._waiting.pop(event.replaces, None)  # it takes its place in the order, too
        self._waiting[event.replaces] = event
        if len(self._waiting) > _MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]
        self._news.set()

    async def _send(self, batch: list[Event]) -> dict[Event, int]:
        """-> the code of each event. Raises httpx.HTTPError, Unavailable or DecodeError where Nova has not said."""
        if self._http is None:
            self._endpoint = self._endpoint or await self._find()
            self._http = self._open_http(self._endpoint)
        answer = await self._post(self._http, batch)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            self._token = await self._keystone.log_in(self._token)
            answer = await self._post(self._http, batch)
        if answer.status_code == httpx.codes.BAD_REQUEST:  # one spoils it for all, and would again
            _log.error("Nova does not understand these events; they are dropped", body=answer.text[:500])
            return dict.fromkeys(batch, answer.status_code)
        answer.raise_for_status()
        codes = {(each.server_uuid, each.name, each.tag): each.code for each in msgspec.json.decode(answer.content, type=_Body).events}
        return {event: codes.get((event.server_uuid, event.name, event.tag), answer.status_code) for event in batch}

    async def _post(self, http: httpx.AsyncClient, batch: list[Event]) -> httpx.Response:
        self._token = self._token or await self._keystone.log_in("")
        url, body = f"{self._endpoint}/os-server-external-events", {"events": [msgspec.structs.asdict(event) for event in batch]}
        return await http.post(url, json=body, headers={"X-Auth-Token": self._token})

    async def _find(self) -> str:
        found = await self._keystone.endpoints("compute", self._region)
        if not found:
            raise Unavailable(f"the catalog has no compute endpoint in {self._region}; set [nova] endpoint, or events = false")
        return found[0].rstrip("/")

    def _take(self, codes: Mapping[Event, int]) -> None:
        """Nova has them. What it could not do yet is sent again, unless there is news of that port by then."""
        for event, code in codes.items():
            if self._waiting.get(event.replaces) == event:
                del self._waiting[event.replaces]
            self.answers.pop(event.tag, None)
            self.answers[event.tag] = Answer(event, code)
            if len(self.answers) > _MOST_ANSWERS:
                del self.answers[next(iter(self.answers))]
            tries = self._tries.pop(event, 0) + 1
            if code == httpx.codes.UNPROCESSABLE_ENTITY and tries < _TRIES_UNPLACED:
                self._tries[event] = tries
                asyncio.get_running_loop().call_later(_FIRST_WAIT_S * 2**tries, self._try_again, event)

    def _try_again(self, event: Event) -> None:
        if (answer := self.answers.get(event.tag)) is not None and answer.event == event and event.replaces not in self._waiting:
            self._add(event)
        else:
            self._tries.pop(event, None)
