"""What a change of one member costs the server, of a group that very many hosts filter by: the part `groups` of dataplane.py.

In one process, without HTTP: from the published change to the last frame in the last host's queue.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # as pytest does
from naru.feed.publish import Publisher
from naru.model.resources import Network
from planning import PlainCloud

HOSTS, PORTS_OF_A_HOST, HOSTS_OF_A_NETWORK, CHANGES = 1000, 5, 10, 10


def populate(hosts: int) -> tuple[PlainCloud, list[Network]]:
    """Networks on ten hosts each; all ports in the project's default group, which lets its members in."""
    cloud = PlainCloud()
    for number in range(hosts):
        cloud.host(f"h{number:04}", f"172.16.{number >> 8}.{number & 255}")
    networks = []
    for number in range(hosts * PORTS_OF_A_HOST // HOSTS_OF_A_NETWORK):
        network = cloud.network(f"n{number}")
        cloud.subnet(network, f"10.{number >> 8}.{number & 255}.0/24", enable_dhcp=False)
        networks.append(network)
        for place in range(HOSTS_OF_A_NETWORK):
            host = (number * HOSTS_OF_A_NETWORK + place) % hosts
            add(cloud, network, f"h{host:04}")
    return cloud, networks


def add(cloud: PlainCloud, network: Network, host: str) -> None:
    cloud.port(network, binding_host_id=host)


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


async def measure(hosts: int) -> str:
    cloud, networks = populate(hosts)
    publisher = Publisher(cloud.view)
    crowd = Crowd(publisher, hosts)
    await crowd.all_heard()
    took_ms = []
    for _ in range(CHANGES):
        before = len(cloud.changes)
        add(cloud, networks[0], "h0000")
        crowd.forget()
        began_s = time.process_time()
        publisher.on_changes(cloud.changes[before:])
        await crowd.all_heard()
        took_ms.append((time.process_time() - began_s) * 1000)
    crowd.leave()
    return (
        f"groups: {hosts * PORTS_OF_A_HOST} members, {hosts} hosts: one member more costs the server "
        f"{statistics.median(took_ms):.0f} ms of processor time, until it has {crowd.bytes / 1e6:.1f} MB ready for all hosts"
    )


def measure_groups() -> None:
    print(asyncio.run(measure(HOSTS)), flush=True)


if __name__ == "__main__":
    measure_groups()
