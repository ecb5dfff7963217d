"""What one port more costs the server where very many hosts must hear of it: the part `feeds` of dataplane.py.

In one process, without HTTP: from the published change to the last frame in the last host's queue.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

sys.path.append(str(Path(__file__).parents[1]))  # as pytest does
from naru.feed.publish import Publisher
from naru.model.resources import Network
from planning import PlainCloud

CHANGES = 10


class Shape(NamedTuple):
    """All ports are in one group, which lets its members in. Networks lie on hosts side by side, each on as many."""

    hosts: int
    networks: int
    hosts_of_a_network: int
    ports_of_a_network: int


SHAPES = (Shape(1000, 500, 10, 10), Shape(100, 1, 100, 1000))


def populate(shape: Shape) -> tuple[PlainCloud, list[Network]]:
    cloud, networks = PlainCloud(), []
    for number in range(shape.hosts):
        cloud.host(f"h{number:04}", f"172.16.{number >> 8}.{number & 255}")
    for number in range(shape.networks):
        networks.append(cloud.network(f"n{number}"))
        cloud.subnet(networks[-1], f"10.{number // 16}.{number % 16 * 16}.0/20", enable_dhcp=False)
        for place in range(shape.ports_of_a_network):
            host = (number * shape.hosts_of_a_network + place % shape.hosts_of_a_network) % shape.hosts
            cloud.port(networks[-1], binding_host_id=f"h{host:04}")
    return cloud, networks


class Crowd:
    """Who watches the feeds of all hosts, and how much they hear."""

    def __init__(self, publisher: Publisher, hosts: int) -> None:
        self._hosts = hosts
        self._heard = asyncio.Event()
        self.forget()
        self._watchers = [asyncio.ensure_future(self._drink(publisher.watch(f"h{number:04}", None))) for number in range(hosts)]

    def forget(self) -> None:
        self.bytes, self._chunks = 0, 0
        self._heard.clear()

    async def all_heard(self) -> None:
        await asyncio.wait_for(self._heard.wait(), 60)

    async def _drink(self, chunks: AsyncIterator[bytes]) -> None:
        async for chunk in chunks:
            self.bytes += len(chunk)
            self._chunks += 1
            if self._chunks == self._hosts:
                self._heard.set()

    def leave(self) -> None:
        for watcher in self._watchers:
            watcher.cancel()


async def measure(shape: Shape) -> str:
    cloud, networks = populate(shape)
    publisher = Publisher(cloud.view)
    crowd = Crowd(publisher, shape.hosts)
    await crowd.all_heard()
    took_ms = []
    for _ in range(CHANGES):
        before = len(cloud.changes)
        cloud.port(networks[0], binding_host_id="h0000")
        crowd.forget()
        began_s = time.process_time()
        publisher.on_changes(cloud.changes[before:])
        await crowd.all_heard()
        took_ms.append((time.process_time() - began_s) * 1000)
    crowd.leave()
    ports = shape.networks * shape.ports_of_a_network
    return (
        f"feeds: {shape.hosts} hosts, {ports} ports of one group, each network on {shape.hosts_of_a_network} hosts: one port more costs "
        f"the server {statistics.median(took_ms):.0f} ms of processor time, until {crowd.bytes / 1e6:.1f} MB are ready for all hosts"
    )


def measure_feeds() -> None:
    for shape in SHAPES:
        print(asyncio.run(measure(shape)), flush=True)


if __name__ == "__main__":
    measure_feeds()
