"""What a watcher has put together from the feed equals the state compiled from scratch, whatever happened on the way."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from naru.compile.host import compile_host
from naru.feed.publish import Publisher
from naru.model.errors import NaruError
from naru.model.hoststate import Bookmark, Del, Frame, Put, Value
from naru.model.resources import Network, Port
from naru.service.instances import ServerRequest, create_servers, delete_server
from naru.service.networks import delete_network, update_network
from naru.service.ports import delete_port, update_port
from planning import ADMIN, CLOUD, PlainCloud

HOSTS = ("controller01", "compute01", "compute02")


class Watcher:
    """An agent's side of the feed: the state that the frames add up to."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self.state: dict[str, Value] = {}
        self.revision = -1

    async def run(self) -> None:
        async for chunk in self._chunks:
            for line in chunk.splitlines():
                match msgspec.json.decode(line, type=Frame):
                    case Put(key, value):
                        self.state[key] = value
                    case Del(key):
                        del self.state[key]
                    case Bookmark(revision):
                        self.revision = revision


def act(cloud: PlainCloud, action: str, number: int, place: int) -> None:  # noqa: C901  (a table of what somebody may do)
    """One change by somebody; raises NaruError where it is refused."""
    networks, ports = list(cloud.view.all(Network)), list(cloud.view.all(Port))
    network = networks[number % len(networks)] if networks else None
    port = ports[number % len(ports)] if ports else None
    host = HOSTS[place % 3]
    match action:
        case "network":
            cloud.subnet(cloud.network(f"n{len(networks)}"), f"10.{len(networks)}.0.0/29")
        case "boot":
            cloud.run(create_servers(cloud.view, ADMIN, ServerRequest("i", "1", "netns"), 1, 1, CLOUD))
        case "readdress":
            cloud.host(host, f"172.18.1.{number % 250 + 1}", dhcp=place == 0)
        case "port" if network:
            cloud.port(network, binding_host_id=host)
        case "down" if network:
            cloud.run(update_network(cloud.view, ADMIN, network.id, {"admin_state_up": bool(place % 2)}, CLOUD))
        case "gone" if network:
            cloud.run(delete_network(cloud.view, ADMIN, network.id, CLOUD))
        case "move" if port:
            cloud.run(update_port(cloud.view, ADMIN, port.id, {"binding_host_id": host if place % 2 else None}, CLOUD))
        case "wired" if port:
            cloud.report(port.binding_host_id, ok=(f"tap/{port.id}", f"lease/{port.id}"))
        case "delete" if port:
            cloud.run(delete_port(cloud.view, ADMIN, port.id, CLOUD))
        case "end" if port and port.device_owner.startswith("compute:"):
            cloud.run(delete_server(cloud.view, ADMIN, port.device_id, CLOUD))


ACTIONS = ("network", "boot", "readdress", "port", "down", "gone", "move", "wired", "delete", "end")
STEPS = st.tuples(st.sampled_from(ACTIONS), st.integers(0, 20), st.integers(0, 5))


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, min_size=5, max_size=25))
def test_the_feed_adds_up_to_the_state_compiled_from_scratch(steps):
    async def scenario() -> None:
        cloud = PlainCloud()
        for number, host in enumerate(HOSTS):
            cloud.host(host, f"172.18.0.{30 + number}", dhcp=number == 0)
        act(cloud, "network", 0, 0)
        act(cloud, "network", 0, 0)
        publisher = Publisher(cloud.view)
        watchers = {host: Watcher(publisher.watch(host, None)) for host in HOSTS}
        tasks = [asyncio.create_task(watcher.run()) for watcher in watchers.values()]
        for action, number, place in steps:
            before = len(cloud.changes)
            with contextlib.suppress(NaruError):
                act(cloud, action, number, place)
            publisher.on_changes(cloud.changes[before:])
            if number % 3 == 0:  # some changes come together, some alone
                await drain()
        await drain()
        for host, watcher in watchers.items():
            assert watcher.state == compile_host(cloud.view, host)
            assert publisher.is_current(host, watcher.revision)
        publisher.close()
        await asyncio.gather(*tasks)

    asyncio.run(scenario())


async def drain() -> None:
    """Let the publisher compile, and the watchers read."""
    for _ in range(6):
        await asyncio.sleep(0)
