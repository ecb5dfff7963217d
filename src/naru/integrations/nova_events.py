"""What Nova waits for: it is told when a port of a server of its own is wired, changes or goes.

    changes of the store -> events, the last of each kind for a port -> batches to os-server-external-events, until Nova takes them
                                                                                                     -> what it said, kept with the port

https://docs.openstack.org/api-ref/compute/#create-external-events-os-server-external-events
"""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import httpx
import msgspec
import structlog

from naru.model.compute import Server
from naru.model.errors import NaruError, Unavailable
from naru.model.nova_events import NovaEvent
from naru.model.resources import Change, Port
from naru.model.routing import FloatingIp
from naru.model.view import View

_BATCH_S = 0.05  # what comes so soon after another goes with it
_BATCH = 100  # events in one request
_MOST_WAITING = 10_000  # beyond, the oldest go
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
    """What Nova said of an event. `code` is the event's own: 200, 404 (no such server), 422 (it has no host)."""

    http_status: int | None
    code: int | None = None
    status: str | None = None
    reason: str = ""


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
    status: str = "completed"


class _Body(msgspec.Struct):
    events: list[_Told]


# The event's own code -> what it means to an operator.
_REASONS: Mapping[int, str] = {
    404: "Nova knows no such server, or none that the account in [keystone] may see: that takes the role admin",
    422: "the server has no host in Nova",
}


class Identity(Protocol):
    """What is needed of a Keystone; see integrations/keystone.py."""

    async def log_in(self, outdated: str) -> str: ...

    async def endpoints(self, kind: str, region: str) -> list[str]: ...


class NovaEvents:
    """Tells Nova. Lives on the event loop of the store's published view; nobody waits for it.

    `endpoint` is Nova's; "": the one that the region's catalog names. `record` keeps what became of events.
    """

    def __init__(
        self,
        view: View,
        keystone: Identity,
        open_http: Callable[[str], httpx.AsyncClient],
        region: str,
        endpoint: str,
        *,
        record: Callable[[Sequence[NovaEvent]], Awaitable[None]],
        now: Callable[[], datetime],
    ) -> None:
        self._view = view
        self._keystone = keystone
        self._open_http = open_http  # a client for the service at a URL
        self._http: httpx.AsyncClient | None = None
        self._region = region
        self._endpoint = endpoint.rstrip("/")
        self._record = record
        self._now = now
        self._token = ""
        self._waiting: dict[tuple[str, str], Event] = {}
        self._unplaced: dict[tuple[str, str], tuple[Event, int]] = {}  # the last event of each kind, and how often it was answered 422
        self._news = asyncio.Event()

    def on_changes(self, changes: Sequence[Change]) -> None:
        """A listener for the store."""
        for change in changes:
            for event in events_of(self._view, change):
                self._add(event)

    def remember(self) -> None:
        """At the start: what Nova had not taken, and what was wired so lately that the process before this may not have told it."""
        for event in self._view.all(NovaEvent):
            if event.next_try_at is not None:
                self._add(_event_of(event))
        since = _text(self._now() - timedelta(seconds=_WAITED_FOR_S))
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
                await self._take(await self._send(batch))
                wait_s, told = _FIRST_WAIT_S, ""
            except (httpx.HTTPError, httpx.InvalidURL, Unavailable, msgspec.DecodeError) as error:
                if told != (told := str(error) or repr(error)):
                    _log.warning("Nova does not take events; they wait", reason=told, waiting=len(self._waiting))
                await self._leave(batch, Answer(_status_of(error), reason=told), wait_s)
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
            if not self._waiting:
                self._news.clear()

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()

    def _add(self, event: Event) -> None:
        if event.name == "network-vif-deleted":
            for events in (self._waiting, self._unplaced):
                events.pop((event.tag, "network-changed"), None)
        self._waiting.pop(event.replaces, None)  # it takes its place in the order, too
        self._waiting[event.replaces] = event
        if len(self._waiting) > _MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]
        self._news.set()

    async def _send(self, batch: list[Event]) -> dict[Event, Answer]:
        """Raises httpx.HTTPError, Unavailable or DecodeError where Nova has not said."""
        if self._http is None:
            self._endpoint = self._endpoint or await self._find()
            self._http = self._open_http(self._endpoint)
        answer = await self._post(self._http, batch)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            self._token = await self._keystone.log_in(self._token)
            answer = await self._post(self._http, batch)
        if answer.status_code == httpx.codes.BAD_REQUEST:  # one spoils it for all, and would again
            _log.error("Nova does not understand these events; they are dropped", body=answer.text[:500])
            reason = f"Nova does not understand it, or one that was sent with it: {answer.text[:500]}"
            return dict.fromkeys(batch, Answer(answer.status_code, reason=reason))
        answer.raise_for_status()
        told = {(each.server_uuid, each.name, each.tag): each for each in msgspec.json.decode(answer.content, type=_Body).events}
        return {event: _answer_of(answer.status_code, told.get((event.server_uuid, event.name, event.tag))) for event in batch}

    async def _post(self, http: httpx.AsyncClient, batch: list[Event]) -> httpx.Response:
        self._token = self._token or await self._keystone.log_in("")
        url, body = f"{self._endpoint}/os-server-external-events", {"events": [msgspec.structs.asdict(event) for event in batch]}
        return await http.post(url, json=body, headers={"X-Auth-Token": self._token})

    async def _find(self) -> str:
        found = await self._keystone.endpoints("compute", self._region)
        if not found:
            raise Unavailable(f"the catalog has no compute endpoint in {self._region}; set [nova] endpoint, or events = false")
        return found[0].rstrip("/")

    async def _take(self, answers: Mapping[Event, Answer]) -> None:
        """Nova has them. What it could not do yet is sent again, unless there is news of that port by then."""
        told = []
        for event, answer in answers.items():
            if self._waiting.get(event.replaces) == event:
                del self._waiting[event.replaces]
            again_s = self._again_s(event, answer)
            if again_s is not None:
                asyncio.get_running_loop().call_later(again_s, self._try_again, event)
            told.append(self._told(event, answer, again_s))
        await self._keep(told)

    async def _leave(self, batch: Iterable[Event], answer: Answer, again_s: float) -> None:
        """Nova does not have them. They wait behind the others, so that each has its turn, and is seen to wait."""
        for event in batch:
            if self._waiting.get(event.replaces) == event:
                self._waiting[event.replaces] = self._waiting.pop(event.replaces)
        await self._keep([self._told(event, answer, again_s) for event in batch])

    async def _keep(self, told: Sequence[NovaEvent]) -> None:
        with contextlib.suppress(NaruError):  # was logged; Nova is told all the same
            await self._record(told)

    def _told(self, event: Event, answer: Answer, again_s: float | None) -> NovaEvent:
        now, before = self._now(), self._view.get(NovaEvent, event.tag)
        is_again = before is not None and before.next_try_at is not None and _event_of(before) == event
        return NovaEvent(
            id=event.tag,
            server_id=event.server_uuid,
            name=event.name,
            told_status=event.status,
            sent_at=_text(now),
            attempts=before.attempts + 1 if before is not None and is_again else 1,
            next_try_at=None if again_s is None else _text(now + timedelta(seconds=again_s)),
            **msgspec.structs.asdict(answer),
        )

    def _again_s(self, event: Event, answer: Answer) -> float | None:
        """When an event that was answered is to be sent again: not at all, but for a server that may yet get a host."""
        last, tries = self._unplaced.pop(event.replaces, (event, 0))
        tries = tries + 1 if last == event else 1
        if answer.code != httpx.codes.UNPROCESSABLE_ENTITY or tries >= _TRIES_UNPLACED:
            return None
        self._unplaced[event.replaces] = event, tries
        return _FIRST_WAIT_S * (1 << tries)

    def _try_again(self, event: Event) -> None:
        last, _ = self._unplaced.get(event.replaces, (None, 0))
        if last == event and event.replaces not in self._waiting:
            self._add(event)


def _event_of(told: NovaEvent) -> Event:
    return Event(told.server_id, told.name, told.id, told.told_status)


def _answer_of(http_status: int, told: _Told | None) -> Answer:
    """Of an event that it does not name Nova says what it says of all."""
    if told is None:
        return Answer(http_status, http_status)
    reason = "" if told.code == httpx.codes.OK else _REASONS.get(told.code, f"Nova answered {told.code}")
    return Answer(http_status, told.code, told.status, reason)


def _status_of(error: Exception) -> int | None:
    return error.response.status_code if isinstance(error, httpx.HTTPStatusError) else None


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
