"""What Nova is told of ports, and how long: against a stand-in that answers as a real Nova was measured to."""

import asyncio
import uuid
from collections.abc import Callable
from datetime import timedelta

import httpx
import msgspec
import pytest
from msgspec.structs import replace

from naru.integrations.nova_events import Answer, Event, NovaEvents, events_of
from naru.model.resources import Change, FixedIp, Port
from naru.model.routing import FloatingIp
from naru.store.snapshot import Snapshot
from naru.testing import eventually
from planning import NOW

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


def telling(nova: StandIn, *steps: Callable[[NovaEvents], object]) -> NovaEvents:
    """Take each step once what came before has been told (or not), then wait until nothing waits."""
    view = Snapshot()
    view.apply([Change(None, PORT)])
    events = NovaEvents(view, nova, nova.open_http, "RegionOne", "")

    async def run() -> None:
        sending = asyncio.ensure_future(events.run())
        for step in steps:
            posts = nova.posts
            step(events)
            await asyncio.to_thread(eventually, lambda posts=posts: nova.posts > posts)
        await asyncio.to_thread(eventually, lambda: not events._waiting and not events._tries)
        sending.cancel()
        await events.close()

    asyncio.run(run())
    return events


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


def test_events_that_come_together_go_together_and_the_answer_is_kept(nova: StandIn) -> None:
    ports = [replace(PORT, id=str(uuid.uuid4())) for _ in range(10)]
    events = telling(nova, lambda told: told.on_changes([Change(port, replace(port, status="ACTIVE")) for port in ports]))
    assert [len(batch) for batch in nova.batches] == [10]
    assert {events.answers[port.id].code for port in ports} == {200}


def test_an_unknown_server_is_answered_once_and_for_all(nova: StandIn) -> None:
    stray = replace(PORT, device_id=OTHER)
    events = telling(nova, lambda told: told.on_changes([Change(stray, replace(stray, status="ACTIVE"))]))
    assert nova.posts == 1
    assert events.answers[PORT.id].code == 404


def test_a_server_without_a_host_is_told_again_when_it_may_have_one(nova: StandIn) -> None:
    nova.hosts[SERVER] = None
    events = telling(nova, lambda told: told.on_changes([Change(PORT, ACTIVE)]), lambda _: nova.hosts.update({SERVER: "compute01"}))
    assert nova.posts == 2
    assert events.answers[PORT.id].code == 200


@pytest.mark.parametrize("status", [-1, 403, 500, 503])
def test_what_nova_does_not_take_waits_for_it_and_only_the_last_is_told(nova: StandIn, status: int) -> None:
    nova.broken = status

    def recover(told: NovaEvents) -> None:
        nova.broken = 0
        told.on_changes([Change(ACTIVE, PORT)])

    events = telling(nova, lambda told: told.on_changes([Change(PORT, ACTIVE)]), recover)
    assert nova.told() == [("network-vif-unplugged", "completed")]
    assert events.answers[PORT.id] == Answer(Event(SERVER, "network-vif-unplugged", PORT.id), 200)


def test_a_token_that_does_not_hold_any_more_is_replaced(nova: StandIn) -> None:
    def revoke(told: NovaEvents) -> None:
        nova.valid = "token2"
        told.on_changes([Change(ACTIVE, PORT)])

    telling(nova, lambda told: told.on_changes([Change(PORT, ACTIVE)]), revoke)
    assert nova.told() == [("network-vif-plugged", "completed"), ("network-vif-unplugged", "completed")]
    assert nova.posts == 3


def test_what_nova_does_not_understand_is_dropped(nova: StandIn) -> None:
    nova.broken = 400
    events = telling(nova, lambda told: told.on_changes([Change(PORT, ACTIVE)]))
    assert events.answers[PORT.id].code == 400


def test_a_new_process_tells_what_was_wired_lately(nova: StandIn) -> None:
    def put(told: NovaEvents, age_s: int) -> None:
        wired = replace(ACTIVE, updated_at=(NOW - timedelta(seconds=age_s)).strftime("%Y-%m-%dT%H:%M:%SZ"))
        told._view.apply([Change(PORT, wired)])
        told.remember(NOW)

    telling(nova, lambda told: [put(told, age_s=4000), put(told, age_s=20)])
    assert nova.told() == [("network-vif-plugged", "completed")]
