"""What a pick costs in the server: the candidates are found, addresses placed, the answer rendered. Processor time, no disk, no HTTP.

1,000 networks of a /22 each, three quarters full, in one pool that spreads; then the same with many more ports on them.
"""

import statistics
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import msgspec
from msgspec.structs import replace

sys.path.append(str(Path(__file__).parents[1]))  # as pytest does
from naru.model.network_pools import Member, NetworkPool
from naru.model.resources import AllocationPool, Change, FixedIp, Network, Port, Subnet, new_id
from naru.schedule.candidates import Wish
from naru.service.candidates import candidates_for
from naru.store.snapshot import Snapshot
from planning import MEMBER

NETWORKS, TAKEN, PORTS = 1_000, 765, 20_000
PICKS = 200


class Networks:
    """A view of many networks in one pool. What is taken is marked in the address spaces; ports are added where that is measured."""

    def __init__(self) -> None:
        self.view = Snapshot()
        self.subnets: list[Subnet] = []
        self.ports: list[Port] = []
        members = []
        for number, prefix in zip(range(NETWORKS), ip_network("10.0.0.0/8").subnets(new_prefix=22), strict=False):
            network = Network(id=new_id(), name=f"net{number:04}", project_id="operator", provider_network_type="vxlan", mtu=1450)
            pool = AllocationPool(str(prefix.network_address + 2), str(prefix.broadcast_address - 1))
            subnet = Subnet(id=new_id(), network_id=network.id, ip_version=4, cidr=str(prefix), allocation_pools=(pool,))
            self.view.apply([Change(None, replace(network, subnets=(subnet.id,))), Change(None, subnet)])
            space = self.view.addresses(subnet.id)
            for address in range(int(prefix.network_address) + 2, int(prefix.network_address) + 2 + TAKEN):
                space.take(address)  # type: ignore[attr-defined]
            self.subnets.append(subnet)
            members.append(Member(network.id))
        self.pool = NetworkPool(id=new_id(), project_id=MEMBER.project_id, members=tuple(members), policy="spread", of_operator=True)
        self.view.apply([Change(None, self.pool)])

    def add_ports(self, number: int) -> None:
        for index in range(number):
            self.take(self.subnets[index % NETWORKS], ip_network(self.subnets[index % NETWORKS].cidr)[2 + index // NETWORKS])

    def take(self, subnet: Subnet, address: object) -> None:
        ip = FixedIp(subnet.id, str(address))
        port = Port(id=new_id(), project_id=MEMBER.project_id, network_id=subnet.network_id, mac_address=ip.ip_address, fixed_ips=(ip,))
        self.view.apply([Change(None, port)])

    def pick(self, count: int) -> tuple[float, int]:
        """-> seconds, and bytes of the answer. The first of the addresses is taken, as by the port that comes of it."""
        began = time.thread_time()
        wish = Wish(count=count, pool_id=self.pool.id)
        found = candidates_for(self.view, MEMBER, wish)
        placement = found.place(wish)
        answer = msgspec.json.encode([verdict.rendered for verdict in placement.verdicts])
        took = time.thread_time() - began
        subnet = next(self.view.find(Subnet, "network_id", placement.assignments[0]))
        self.take(subnet, ip_network(subnet.cidr)[self.view.addresses(subnet.id).choose() % 1024])  # type: ignore[operator]
        return took, len(answer)


def measure() -> Iterator[tuple[str, float]]:
    """Names and milliseconds."""
    networks = Networks()
    for name, count in (("pick 1 ms", 1), ("pick 500 ms", 500)):
        yield name, statistics.median(networks.pick(count)[0] for _ in range(PICKS)) * 1000
    networks.add_ports(PORTS)
    yield "pick 1, ports ms", statistics.median(networks.pick(1)[0] for _ in range(PICKS)) * 1000


if __name__ == "__main__":
    for name, found in measure():
        print(f"{name:20} {found:6.2f}")
