"""What Nova is told of ports, and how long: against a stand-in that answers as a real Nova was measured to."""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta

import httpx
import msgspec
import pytest
from msgspec.structs import replace

from naru.integrations.nova_events import NovaEvents, events_of
from naru.model.errors import Unavailable
from naru.model.nova_events import NovaEvent
from naru.model.resources import Change, FixedIp, Port
from naru.model.routing import FloatingIp
from naru.service.nova_events import record_nova_events
from naru.service.ports import remove_port
from naru.store.snapshot import Snapshot
from naru.testing import eventually
from planning import CLOUD, NOW, PlainCloud

SERVER, OTHER = str(uuid.uuid4()), str(uuid.uuid4())
PORT = Port(
    id=str(uuid.uuid4()),
    network_id=str(uuid.uuid4()),
    mac_address="fa:16:3e:00:00:01",
    device_id=SERVER,
    device_owner="compute:nova",
    binding_host_id="compute01",
    updated_at="2026-01-01T00:00:00Z",
)
ACTIVE = replace(PORT, status="ACTIVE")
FLOATING = FloatingIp(id=str(uuid.uuid4()), floating_network_id=str(uuid.uuid4()))


class StandIn:
    """Nova's os-server-external-events and a Keystone: `hosts` has the servers and where they run, None where nowhere yet.

    `broken` answers with this status instead; -1: not at all.
    """

    def __init__(self) -> None:
        self.hosts: dict[str, str | None] = {SERVER: "compute01"}
        self.broken = 0
        self.valid = "token1"
        self.batches: list[list[dict[str, str]]] = []
        self.posts = 0

    async def log_in(self, outdated: str) -> str:
        return self.valid

    async def endpoints(self, kind: str, region: str) -> list[str]:
        return ["http://nova/v2.1"] if kind == "compute" else []

    def open_http(self, url: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self._answer))

    def told(self) -> list[tuple[str, str]]:
        return [(event["name"], event["status"]) for batch in self.batches for event in batch]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        assert (request.method, str(request.url)) == ("POST", "http://nova/v2.1/os-server-external-events")
        self.posts += 1
        if self.broken < 0:
            raise httpx.ConnectError("refused")
        if self.broken or request.headers["X-Auth-Token"] != self.valid:
            return httpx.Response(self.broken or 401)
        events = msgspec.json.decode(request.content)["events"]
        self.batches.append(events)
        said = [event | self._outcome(event["server_uuid"]) for event in events]
        return httpx.Response(200 if all(each["code"] == 200 for each in said) else 207, json={"events": said})

    def _outcome(self, server: str) -> dict[str, object]:
        if server not in self.hosts:
            return {"status": "failed", "code": 404}
        return {"code": 200} if self.hosts[server] else {"status": "failed", "code": 422}


@pytest.fixture
def nova() -> StandIn:
    return StandIn()


class Telling:
    """A server's view with the ports, and `events` that tells the stand-in of changes; `writes` are the batches that were recorded.

    While `full`, nothing can be written.
    """

    def __init__(self, nova: StandIn, *ports: Port) -> None:
        self.nova = nova
        self.cloud = PlainCloud()
        self.view = self.cloud.view
        self.view.apply([Change(None, port) for port in ports or (PORT,)])
        self.writes: list[list[NovaEvent]] = []
        self.full = False
        self.events = NovaEvents(self.view, nova, nova.open_http, "RegionOne", "", record=self._record, now=lambda: NOW)

    def run(self, *steps: Callable[[NovaEvents], object]) -> None:
        """Take each step once what came before has been told (or not), then wait until nothing waits."""
        asyncio.run(self._run(steps))

    def kept(self, port: Port = PORT) -> NovaEvent | None:
        return self.view.get(NovaEvent, port.id)

    async def _run(self, steps: Sequence[Callable[[NovaEvents], object]]) -> None:
        sending = asyncio.ensure_future(self.events.run())
        for step in steps:
            posts = self.nova.posts
            step(self.events)
            await asyncio.to_thread(eventually, lambda posts=posts: self.nova.posts > posts)
        await asyncio.to_thread(eventually, lambda: not self.events._waiting and not self.events._unplaced)
        sending.cancel()
        await self.events.close()

    async def _record(self, told: Sequence[NovaEvent]) -> None:
        self.writes.append(list(told))
        if self.full:
            raise Unavailable("disk full")
        self.cloud.run(record_nova_events(self.view, told))


@pytest.fixture
def telling(nova: StandIn) -> Telling:
    return Telling(nova)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (PORT, ACTIVE, [("network-vif-plugged", "completed")]),
        (PORT, replace(PORT, status="ERROR"), [("network-vif-plugged", "failed")]),
        (ACTIVE, PORT, [("network-vif-unplugged", "completed")]),
        (ACTIVE, None, [("network-vif-deleted", "completed")]),
        (ACTIVE, replace(ACTIVE, fixed_ips=(FixedIp("s1", "10.0.0.9"),)), [("network-changed", "completed")]),
        (ACTIVE, replace(ACTIVE, name="web"), []),
        (replace(PORT, device_id="", binding_host_id=""), replace(PORT, binding_vif_type="tap"), []),
        (PORT, replace(ACTIVE, device_owner="network:dhcp"), []),
        (PORT, replace(ACTIVE, device_id="no-uuid"), []),
        (ACTIVE, replace(PORT, device_id=""), []),
    ],
)
def test_a_change_of_a_port_means_to_nova(before, after, expected) -> None:
    assert [(event.name, event.status) for event in events_of(Snapshot(), Change(before, after))] == expected


def test_a_floating_ip_changes_the_port_that_it_leaves_and_the_one_that_it_gets() -> None:
    view = Snapshot()
    other = replace(PORT, id=str(uuid.uuid4()), device_id=OTHER)
    view.apply([Change(None, PORT), Change(None, other)])
    moved = Change(replace(FLOATING, port_id=PORT.id), replace(FLOATING, port_id=other.id))
    assert [(event.name, event.server_uuid) for event in events_of(view, moved)] == [
        ("network-changed", SERVER),
        ("network-changed", OTHER),
    ]
    assert list(events_of(view, Change(None, FLOATING))) == []


def become(before: Port, after: Port | None) -> Callable[[NovaEvents], object]:
    return lambda events: events.on_changes([Change(before, after)])


def test_events_that_come_together_go_together_and_what_nova_said_is_kept_by_one_write(nova: StandIn) -> None:
    ports = [replace(PORT, id=str(uuid.uuid4())) for _ in range(10)]
    telling = Telling(nova, *ports)
    telling.run(lambda events: events.on_changes([Change(port, replace(port, status="ACTIVE")) for port in ports]))
    assert [len(batch) for batch in nova.batches] == [len(batch) for batch in telling.writes] == [10]
    kept = telling.kept(ports[7])
    assert (kept.server_id, kept.name, kept.told_status, kept.sent_at) == (
        SERVER,
        "network-vif-plugged",
        "completed",
        "2026-01-01T00:00:00Z",
    )
    assert (kept.attempts, kept.http_status, kept.code, kept.status, kept.reason, kept.next_try_at) == (1, 200, 200, "completed", "", None)


def test_an_unknown_server_is_answered_once_and_for_all(nova: StandIn) -> None:
    stray = replace(PORT, device_id=OTHER)
    telling = Telling(nova, stray)
    telling.run(become(stray, replace(stray, status="ACTIVE")))
    assert nova.posts == 1
    kept = telling.kept()
    assert (kept.http_status, kept.code, kept.status, kept.next_try_at) == (207, 404, "failed", None)
    assert "role admin" in kept.reason


def test_a_server_without_a_host_is_told_again_when_it_may_have_one(nova: StandIn, telling: Telling) -> None:
    nova.hosts[SERVER] = None
    telling.run(become(PORT, ACTIVE), lambda _: nova.hosts.update({SERVER: "compute01"}))
    assert nova.posts == 2
    first, second = (write[0] for write in telling.writes)
    assert (first.code, first.attempts, first.reason) == (422, 1, "the server has no host in Nova")
    assert first.next_try_at == "2026-01-01T00:00:01Z"
    assert (second.code, second.attempts, second.reason, second.next_try_at) == (200, 2, "", None)


def test_news_of_another_kind_do_not_keep_a_port_from_being_told_again(nova: StandIn, telling: Telling) -> None:
    nova.hosts[SERVER] = None
    moved = replace(ACTIVE, fixed_ips=(FixedIp("s1", "10.0.0.9"),))

    def place(events: NovaEvents) -> None:
        nova.hosts[SERVER] = "compute01"
        events.on_changes([Change(ACTIVE, moved)])

    telling.run(become(PORT, ACTIVE), place)
    assert nova.told() == [("network-vif-plugged", "completed"), ("network-changed", "completed"), ("network-vif-plugged", "completed")]


@pytest.mark.parametrize("status", [-1, 403, 500, 503])
def test_what_nova_does_not_take_waits_for_it_and_only_the_last_is_told(nova: StandIn, telling: Telling, status: int) -> None:
    nova.broken = status

    def recover(events: NovaEvents) -> None:
        nova.broken = 0
        events.on_changes([Change(ACTIVE, PORT)])

    telling.run(become(PORT, ACTIVE), recover)
    assert nova.told() == [("network-vif-unplugged", "completed")]
    refused = telling.writes[0][0]
    assert (refused.http_status, refused.code, refused.next_try_at) == (None if status < 0 else status, None, "2026-01-01T00:00:00Z")
    assert ("refused" if status < 0 else str(status)) in refused.reason
    assert (telling.kept().name, telling.kept().code, telling.kept().attempts) == ("network-vif-unplugged", 200, 1)


def test_while_nova_takes_nothing_each_event_has_its_turn_and_is_seen_to_wait(nova: StandIn) -> None:
    ports = [replace(PORT, id=str(uuid.uuid4())) for _ in range(150)]
    telling = Telling(nova, *ports)
    nova.broken = 503
    wire = [Change(port, replace(port, status="ACTIVE")) for port in ports]
    telling.run(lambda events: events.on_changes(wire), lambda _: None, lambda _: setattr(nova, "broken", 0))
    assert {event.id for write in telling.writes[:2] for event in write} == {port.id for port in ports}
    assert len(nova.told()) == 150


def test_a_disk_that_is_full_keeps_nova_from_nothing(nova: StandIn, telling: Telling) -> None:
    telling.full = True
    telling.run(become(PORT, ACTIVE))
    assert nova.told() == [("network-vif-plugged", "completed")]
    assert telling.kept() is None


def test_a_token_that_does_not_hold_any_more_is_replaced(nova: StandIn, telling: Telling) -> None:
    def revoke(events: NovaEvents) -> None:
        nova.valid = "token2"
        events.on_changes([Change(ACTIVE, PORT)])

    telling.run(become(PORT, ACTIVE), revoke)
    assert nova.told() == [("network-vif-plugged", "completed"), ("network-vif-unplugged", "completed")]
    assert nova.posts == 3


def test_what_nova_does_not_understand_is_dropped(nova: StandIn, telling: Telling) -> None:
    nova.broken = 400
    telling.run(become(PORT, ACTIVE))
    kept = telling.kept()
    assert (kept.http_status, kept.code, kept.next_try_at) == (400, None, None)
    assert "does not understand" in kept.reason


def test_a_new_process_tells_what_was_wired_lately(nova: StandIn, telling: Telling) -> None:
    def put(events: NovaEvents, age_s: int) -> None:
        wired = replace(ACTIVE, updated_at=(NOW - timedelta(seconds=age_s)).strftime("%Y-%m-%dT%H:%M:%SZ"))
        telling.view.apply([Change(PORT, wired)])
        events.remember()

    telling.run(lambda events: [put(events, age_s=4000), put(events, age_s=20)])
    assert nova.told() == [("network-vif-plugged", "completed")]


def test_a_new_process_tells_what_nova_had_not_taken_however_long_ago(nova: StandIn, telling: Telling) -> None:
    waiting = NovaEvent(id=PORT.id, server_id=SERVER, name="network-vif-unplugged", attempts=7, next_try_at="2020-01-01T00:00:00Z")
    telling.cloud.run(record_nova_events(telling.view, [waiting]))
    telling.run(lambda events: events.remember())
    assert nova.told() == [("network-vif-unplugged", "completed")]
    assert (telling.kept().code, telling.kept().attempts, telling.kept().next_try_at) == (200, 8, None)


def test_what_nova_was_told_goes_with_the_port(nova: StandIn) -> None:
    telling = Telling(nova, ACTIVE)
    telling.cloud.run(record_nova_events(telling.view, [NovaEvent(id=PORT.id, server_id=SERVER, name="network-vif-plugged")]))
    telling.cloud.run(remove_port(telling.view, ACTIVE, CLOUD))
    assert telling.kept() is None
    telling.run(become(ACTIVE, None))
    assert nova.told() == [("network-vif-deleted", "completed")]
    assert telling.kept() is None
