"""What Nova asks for an instance of a project that sees no network: with a hidden pool every answer is a pick."""

import pytest

from naru.model.errors import Conflict, Forbidden, NetworkPickRefused
from naru.model.identity import Caller
from naru.model.network_pools import NetworkPool
from naru.model.picks import NetworkPick
from naru.model.requests import decode_create
from naru.model.resources import AllocationPool, Network
from naru.service.network_pools import create_network_pool
from naru.service.ports import create_port
from naru.service.topology import show_topology
from planning import ADMIN, CLOUD, MEMBER, PlainCloud

STRANGER = Caller("eve", "other", frozenset({"member"}))


class Pooled(PlainCloud):
    """Networks of an administrator with `sizes[name]` free addresses each, in a pool that goes round and that all may use."""

    def __init__(self, sizes: dict[str, int], **given: object) -> None:
        super().__init__()
        networks = [self.network(name, ADMIN) for name in sizes]
        for number, (network, size) in enumerate(zip(networks, sizes.values(), strict=True)):
            pool = AllocationPool(f"10.0.{number}.10", f"10.0.{number}.{9 + size}")
            self.subnet(network, f"10.0.{number}.0/24", ADMIN, enable_dhcp=False, allocation_pools=(pool,))
        members = [{"network_id": network.id} for network in networks]
        body = {"members": members, "shared": True, "hidden": True, "policy": "round_robin", **given}
        self.run(create_network_pool(self.view, ADMIN, decode_create(NetworkPool, body, ADMIN), CLOUD))

    def ask(self, caller: Caller = MEMBER, project_id: str = MEMBER.project_id, *, dry_run: bool = False) -> str:
        fields = ("dry-run",) if dry_run else ()
        return str(self.run(show_topology(self.view, caller, project_id, fields, CLOUD))["id"])

    def name(self, id: str) -> str:
        network = self.view.get(Network, id)
        assert network is not None
        return network.name


def test_each_answer_is_the_network_whose_turn_it_is_and_holds_an_address_there():
    cloud = Pooled({"net1": 5, "net2": 5})
    assert [cloud.name(cloud.ask()) for _ in range(3)] == ["net1", "net2", "net1"]
    picks = list(cloud.view.all(NetworkPick))
    assert {(pick.project_id, pick.consumable_by, len(pick.waiting)) for pick in picks} == {("demo", "project", 1)}


def test_the_next_port_of_the_project_on_that_network_takes_the_address():
    cloud = Pooled({"net1": 1})
    id = cloud.ask()
    with pytest.raises(NetworkPickRefused, match="net1"):
        cloud.ask(STRANGER, STRANGER.project_id)
    port = cloud.run(create_port(cloud.view, MEMBER, {"project_id": MEMBER.project_id, "network_id": id}, CLOUD))
    (pick,) = cloud.view.all(NetworkPick)
    assert (pick.status, pick.placements[0].port_id) == ("used", port.id)


def test_a_dry_run_holds_nothing_and_says_where_there_is_no_room():
    cloud = Pooled({"net1": 1})
    assert cloud.ask(dry_run=True) == "dry-run=pass"
    assert list(cloud.view.all(NetworkPick)) == []
    cloud.ask()
    with pytest.raises(NetworkPickRefused, match="net1"):
        cloud.ask(dry_run=True)


@pytest.mark.parametrize("given", [{"hidden": False}, {"shared": False}, {"purposes": ["production"]}], ids=str)
def test_where_no_hidden_pool_is_for_the_project_it_is_its_own_network(given):
    cloud = Pooled({"net1": 1}, **given)
    with pytest.raises(Conflict, match="No default router:external network"):
        cloud.ask()


def test_nobody_picks_for_another_project_but_an_administrator():
    cloud = Pooled({"net1": 1})
    with pytest.raises(Forbidden):
        cloud.ask(STRANGER)
    cloud.ask(ADMIN)
    assert [pick.project_id for pick in cloud.view.all(NetworkPick)] == ["demo"]
