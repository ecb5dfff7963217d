"""A small cloud in a plain snapshot: plans run on it without a database."""

from datetime import UTC, datetime
from typing import TypeVar

from naru.allocate.segments import SegmentRanges
from naru.model.errors import NaruError
from naru.model.hostreport import HostDescription, HostReport
from naru.model.identity import Caller
from naru.model.resources import Change, Changes, Network, Port, Subnet
from naru.service.hosts import record_report, register_host
from naru.service.networks import create_network
from naru.service.policy import Cloud
from naru.service.ports import create_port
from naru.service.subnets import create_subnet
from naru.store.snapshot import Snapshot

T = TypeVar("T")

CLOUD = Cloud(SegmentRanges(), {"network": -1, "subnet": -1, "port": -1})
ADMIN = Caller("admin", "admin", frozenset({"admin"}))
MEMBER = Caller("alice", "demo", frozenset({"member"}))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
COMPUTE = HostDescription(physical_networks=("physnet2",), tunnel_address="172.18.0.31", instance_drivers=("netns",))


class PlainCloud:
    """Runs plans the way the writer does, and remembers their changes."""

    def __init__(self) -> None:
        self.view = Snapshot()
        self.view.now = NOW
        self.changes: list[Change] = []

    def run(self, steps: Changes[T]) -> T:
        """What the plan returned. A plan that raises leaves nothing behind."""
        done: list[Change] = []
        try:
            while True:
                step = next(steps)
                change = Change(self.view.get(type(step.resource), step.resource.id), step.after)
                self.view.apply([change])
                done.append(change)
        except StopIteration as end:
            self.changes += done
            self.view.revision += len(done)
            return end.value  # type: ignore[no-any-return]
        except NaruError:
            self.view.undo(done)
            raise

    def host(self, name: str, tunnel_address: str, *, dhcp: bool = False, l3: bool = False, **given: object) -> None:
        drivers = () if dhcp else ("netns",)
        given = {"physical_networks": ("physnet2",), "l3": l3, "port_filter": True, "instance_drivers": drivers} | given
        given |= {"tunnel_address": tunnel_address, "dhcp": dhcp}
        description = HostDescription("linuxbridge", **given)  # type: ignore[arg-type]
        self.run(register_host(self.view, name, description, NOW, CLOUD))

    def network(self, name: str = "net", caller: Caller = ADMIN, **given: object) -> Network:
        return self.run(create_network(self.view, caller, {"name": name, "project_id": caller.project_id, **given}, CLOUD))

    def subnet(self, network: Network, cidr: str = "10.0.0.0/28", caller: Caller = ADMIN, **given: object) -> Subnet:
        wanted = {"network_id": network.id, "cidr": cidr, "ip_version": 6 if ":" in cidr else 4, "project_id": caller.project_id}
        return self.run(create_subnet(self.view, caller, {**wanted, **given}, CLOUD))

    def port(self, network: Network, caller: Caller = ADMIN, **given: object) -> Port:
        return self.run(create_port(self.view, caller, {"network_id": network.id, "project_id": caller.project_id, **given}, CLOUD))

    def report(self, host: str, **parts: object) -> None:
        report = HostReport(**{"revision": self.view.revision, **parts})  # type: ignore[arg-type]
        self.run(record_report(self.view, host, report, NOW, CLOUD))
