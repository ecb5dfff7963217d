"""Growth: networks and pools that take the next prefix and segment of their bench when they run out of room, and only then."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from naru.model.errors import Conflict, Invalid, NetworkPickRefused, NotFound
from naru.model.network_pools import NetworkPool
from naru.model.picks import NetworkPick
from naru.model.requests import decode_create, decode_update
from naru.model.resources import Change, Network, Subnet
from naru.model.segments import Segment
from naru.model.usage import NetworkUsage
from naru.service.forecasts import hour_of
from naru.service.growth import full_soon, grow_ahead, with_horizon
from naru.service.instances import ServerRequest, WantedNic, create_servers
from naru.service.network_pools import create_network_pool
from naru.service.networks import update_network
from naru.service.picks import create_pick
from naru.service.segments import create_segment
from naru.service.subnetpools import create_subnetpool
from naru.service.subnets import create_subnet
from planning import ADMIN, CLOUD, MEMBER, NOW, PlainCloud

VLANS = {"network_type": "vlan", "physical_network": "physnet2", "minimum": 210, "maximum": 211}


class Growing(PlainCloud):
    """Prefixes of 5 usable addresses each, of 10.20.0.0/16."""

    def __init__(self) -> None:
        super().__init__()
        self.host("compute01", "172.18.0.31", vlan=True)
        given = {"name": "spare", "project_id": "admin", "prefixes": ("10.20.0.0/16",), "shared": True}
        self.prefixes = self.run(create_subnetpool(self.view, ADMIN, given, CLOUD))

    def bench(self, **given: object) -> dict[str, object]:
        return {"subnetpool_id": self.prefixes.id, "prefixlen": 29, "limit": 4, **given}

    def growing(self, **given: object) -> Network:
        """A network of one VLAN with the first prefix of it, and this bench."""
        wire = {"provider:network_type": "vlan", "provider:physical_network": "physnet2", "provider:segmentation_id": 201}
        body = {"name": "prod", "shared": True, "subnet_policy": "sequential", "autogrow": self.bench(**VLANS | given), **wire}
        network = self.network(**decode_create(Network, body, ADMIN))
        (segment,) = self.view.find(Segment, "network_id", network.id)
        self.spare(network, segment_id=segment.id)
        return self.fresh(network)

    def spare(self, network: Network, **given: object) -> Subnet:
        """A subnet by hand, of the subnet pool."""
        wanted = {"network_id": network.id, "project_id": "admin", "ip_version": 4, "subnetpool_id": self.prefixes.id, "prefixlen": 29}
        return self.run(create_subnet(self.view, ADMIN, wanted | {"enable_dhcp": False} | given, CLOUD))

    def fill(self, network: Network) -> None:
        while any(self.view.addresses(id).free for id in self.fresh(network).subnets):
            self.port(network)

    def use_up(self, network: Network) -> str:
        """Make ports until that is refused. -> why"""
        with pytest.raises(Conflict) as refused:
            any(self.port(network) is None for _ in range(99))
        assert refused.value.type == "IpAddressGenerationFailure"
        return str(refused.value)

    def fresh(self, network: Network) -> Network:
        found = self.view.get(Network, network.id)
        assert found is not None
        return found

    def tags(self, network: Network) -> list[int | None]:
        return [segment.segmentation_id for segment in self.view.find(Segment, "network_id", network.id)]

    def pick(self, **body: object) -> NetworkPick:
        return self.run(create_pick(self.view, MEMBER, decode_create(NetworkPick, body, MEMBER), CLOUD))

    def sweep(self) -> None:
        self.run(grow_ahead(self.view, CLOUD))

    def pool(self, *networks: Network, **given: object) -> NetworkPool:
        members = [{"network_id": network.id} for network in networks]
        body = {"name": "pool", "members": members, "is_default": True, "shared": True, **given}
        return self.run(create_network_pool(self.view, ADMIN, decode_create(NetworkPool, body, ADMIN), CLOUD))


@pytest.fixture
def cloud() -> Growing:
    return Growing()


# -- at the last moment


def test_a_port_on_a_full_network_gets_an_address_of_a_new_subnet_on_a_new_segment(cloud):
    network = cloud.growing()
    cloud.fill(network)
    port = cloud.port(network, MEMBER)
    assert cloud.tags(network) == [201, 210]
    subnet = cloud.view.get(Subnet, port.fixed_ips[0].subnet_id)
    assert (subnet.cidr, cloud.view.get(Segment, subnet.segment_id).segmentation_id) == ("10.20.0.8/29", 210)
    assert (subnet.subnetpool_id, subnet.project_id) == (cloud.prefixes.id, network.project_id)
    assert len(cloud.fresh(network).segments) == 2
    assert cloud.port(network, MEMBER).fixed_ips[0].subnet_id == subnet.id


def test_growth_ends_where_the_bench_does_and_the_refusal_says_so(cloud):
    network = cloud.growing()
    assert "cannot grow: no segmentation id of 210:211 is free" in cloud.use_up(network)
    assert cloud.tags(network) == [201, 210, 211]

    limited = cloud.network("limited")
    cloud.spare(limited)
    body = decode_update(Network, {"autogrow": cloud.bench(limit=2)}, ADMIN)
    cloud.run(update_network(cloud.view, ADMIN, limited.id, body, CLOUD))
    assert "it has 2 subnets, and its limit is 2" in cloud.use_up(limited)
    assert len(cloud.fresh(limited).subnets) == 2


@pytest.mark.parametrize("kind", [Network, NetworkPool])
def test_where_growth_ended_at_its_limit_the_refusal_says_which_would_do(cloud, kind):
    if kind is Network:
        limited = cloud.network(**decode_create(Network, {"shared": True, "name": "it", "autogrow": cloud.bench(limit=1)}, ADMIN))
        pool = cloud.pool(limited)
    else:
        limited = pool = cloud.pool(name="it", autogrow=cloud.bench(limit=1))
    cloud.pick(pool_id=pool.id, count=5)
    undone = len(cloud.changes)
    with pytest.raises(NetworkPickRefused) as refused:
        cloud.pick(pool_id=pool.id, count=9)
    (fix,) = [fix for fix in refused.value.beside["network_pick"]["fixes"] if fix["code"] == "raise_limit"]
    assert (fix["of"], fix["of_id"], fix["limit"]) == ("it", limited.id, 3)
    assert len(cloud.changes) == undone
    now = cloud.view.get(kind, limited.id)
    cloud.view.apply([Change(now, replace(now, autogrow=replace(now.autogrow, limit=3)))])
    assert len(cloud.pick(pool_id=pool.id, count=9).placements) == 9


def test_a_refused_growth_leaves_nothing_behind(cloud):
    network = cloud.growing()
    cloud.fill(network)
    cloud.view.apply([Change(cloud.prefixes, replace(cloud.prefixes, prefixes=("10.20.0.0/29",)))])
    segments = cloud.tags(network)
    with pytest.raises(Conflict, match=r"cannot grow: .*Insufficient prefix space"):
        cloud.port(network)
    cloud.sweep()
    assert cloud.tags(network) == segments
    assert cloud.view.segmentation_ids("vlan", "physnet2").is_free(210)


def test_without_a_network_type_the_segment_stays_and_a_subnet_comes(cloud):
    network = cloud.network(**decode_create(Network, {"autogrow": cloud.bench()}, ADMIN))
    cloud.sweep()
    cloud.fill(network)
    assert cloud.port(network).ip_allocation == "immediate"
    assert len(cloud.tags(network)) == 1
    assert [cloud.view.get(Subnet, id).segment_id for id in cloud.fresh(network).subnets] == [None, None]


# -- picks


def test_a_pick_that_finds_no_room_lets_it_grow_and_says_so(cloud):
    network = cloud.growing()
    pick = cloud.pick(count=12)
    assert len({place.segment_id for place in pick.placements}) == 3
    (verdict,) = pick.candidates
    assert (verdict["verdict"], verdict["reason"]) == ("chosen", "grown")
    assert verdict["text_en"].startswith("it grew by 10.20.0.8/29, 10.20.0.16/29, and was chosen for 12 of 12")
    assert "10.20.0.16/29" in verdict["text_ko"]
    assert cloud.tags(network) == [201, 210, 211]


def test_a_pick_that_is_refused_all_the_same_lets_nothing_grow(cloud):
    network = cloud.growing()
    with pytest.raises(NetworkPickRefused, match="cannot grow: no segmentation id of 210:211 is free"):
        cloud.pick(count=16)
    assert cloud.tags(network) == [201]
    assert len(cloud.fresh(network).subnets) == 1


def test_a_dry_run_grows_and_takes_it_back(cloud):
    network, changes = cloud.growing(), len(cloud.changes)
    pick = cloud.pick(count=8, dry_run=True)
    assert (pick.status, pick.candidates[0]["reason"], len(pick.placements)) == ("dry_run", "grown", 8)
    assert cloud.tags(network) == [201]
    assert (list(cloud.view.all(NetworkPick)), len(cloud.changes)) == ([], changes)


def test_nothing_grows_where_the_pick_could_not_go(cloud):
    cloud.host("compute02", "", physical_networks=("physnet9",), vlan=True)
    network = cloud.growing()
    cloud.fill(network)
    with pytest.raises(NetworkPickRefused, match="no device for physical network"):
        cloud.pick(host="compute02")
    assert cloud.tags(network) == [201]


def test_a_pool_grows_by_a_network(cloud):
    pool = cloud.pool(autogrow=cloud.bench(limit=2))
    first = cloud.pick(count=3)
    second = cloud.pick(count=5)
    grown = cloud.view.get(NetworkPool, pool.id)
    names = [cloud.view.get(Network, member.network_id).name for member in grown.members]
    assert names == ["pool-1", "pool-2"]
    assert {place.network_id for pick in (first, second) for place in pick.placements} == {member.network_id for member in grown.members}
    assert {candidate["reason"] for candidate in first.candidates} == {"grown"}
    with pytest.raises(NetworkPickRefused, match="it has 2 members, and its limit is 2"):
        cloud.pick(count=9)


# -- servers


def test_a_server_goes_where_there_is_room_before_a_network_grows_for_it(cloud):
    network = cloud.growing()
    cloud.fill(network)
    cloud.host("compute02", "", physical_networks=("physnet9",), vlan=True)
    wire = {"network_type": "vlan", "physical_network": "physnet9", "segmentation_id": 900}
    beyond = cloud.run(create_segment(cloud.view, ADMIN, {"network_id": network.id, **wire}, CLOUD))
    cloud.spare(network, segment_id=beyond.id)

    request = ServerRequest("web", "1", "netns", nics=(WantedNic(network_id=network.id),))
    servers = [cloud.run(create_servers(cloud.view, MEMBER, request, 1, 1, CLOUD))[0] for _ in range(6)]
    assert [server.host for server in servers] == ["compute02"] * 5 + ["compute01"]
    assert cloud.tags(network) == [201, 900, 210]


# -- ahead


def test_room_is_added_before_it_is_needed(cloud):
    network = cloud.growing(floor=3)
    cloud.port(network)
    cloud.sweep()
    assert cloud.tags(network) == [201]
    cloud.port(network)
    cloud.sweep()
    assert cloud.tags(network) == [201, 210]
    cloud.sweep()
    assert cloud.tags(network) == [201, 210]


def test_a_network_without_a_subnet_gets_its_first_on_the_segment_that_it_has(cloud):
    body = {"autogrow": cloud.bench(network_type="vxlan"), "subnet_policy": "spread"}
    network = cloud.network(**decode_create(Network, body, ADMIN))
    cloud.sweep()
    (subnet,) = cloud.view.find(Subnet, "network_id", network.id)
    (segment,) = cloud.view.find(Segment, "network_id", network.id)
    assert subnet.segment_id == segment.id


def test_a_port_on_a_network_whose_first_subnet_is_still_to_come_brings_it(cloud):
    network = cloud.network(**decode_create(Network, {"autogrow": cloud.bench(limit=1)}, ADMIN))
    assert [cloud.port(network).fixed_ips[0].ip_address for _ in range(5)]
    with pytest.raises(Conflict, match="its limit is 1"):
        cloud.port(network)


def test_a_server_on_a_network_whose_first_subnet_is_still_to_come_brings_it_too(cloud):
    network = cloud.network(**decode_create(Network, {"shared": True, "autogrow": cloud.bench(limit=2, network_type="vxlan")}, ADMIN))
    assert network.subnet_policy == "sequential"
    request = ServerRequest("web", "1", "netns", nics=(WantedNic(network_id=network.id),))
    for _ in range(2):
        cloud.run(create_servers(cloud.view, MEMBER, request, 3, 3, CLOUD))
    assert len(cloud.fresh(network).subnets) == 2


def test_what_will_be_full_before_its_horizon_grows_now(cloud):
    network = cloud.growing(horizon_days=30.0)
    hour = hour_of(NOW)
    daily = [[hour - 24 * (60 - day), min(4, day // 12)] for day in range(60)]
    usage = NetworkUsage(id=network.id)
    for at, used in daily:
        usage = usage.recorded(at, used)
    cloud.view.apply([Change(None, usage)])
    for _ in range(4):
        cloud.port(network)
    soon = full_soon(with_horizon(cloud.view, NOW))
    assert soon == {network.id}
    cloud.run(grow_ahead(cloud.view, CLOUD, soon))
    assert cloud.tags(network) == [201, 210]
    assert full_soon(with_horizon(cloud.view, NOW + timedelta(minutes=1))) == frozenset()


# -- what may be said


@pytest.mark.parametrize(
    ("bench", "why"),
    [
        ({"minimum": None}, "is no range"),
        ({"minimum": 5, "maximum": 4}, "is no range"),
        ({"maximum": 4095}, "up to 4094"),
        ({"physical_network": None}, "need physical_network"),
        ({"network_type": "vxlan"}, "goes with vlan"),
        ({"network_type": None, "physical_network": None}, "go with a network_type"),
        ({"network_type": None, "physical_network": None, "minimum": None, "maximum": None}, "name a network_type"),
    ],
)
def test_a_bench_that_does_not_fit_is_refused(cloud, bench, why):
    network = cloud.growing()
    body = decode_update(Network, {"autogrow": cloud.bench(**VLANS | bench)}, ADMIN)
    with pytest.raises(Invalid, match=why):
        cloud.run(update_network(cloud.view, ADMIN, network.id, body, CLOUD))


def test_a_bench_of_another_subnet_pool_or_for_a_larger_mtu_is_refused(cloud):
    by_hand = cloud.network(provider_network_type="flat", provider_physical_network="physnet2")
    body = decode_update(Network, {"autogrow": cloud.bench(network_type="vxlan")}, ADMIN)
    with pytest.raises(Invalid, match="MTU of 1500"):
        cloud.run(update_network(cloud.view, ADMIN, by_hand.id, body, CLOUD))
    cloud.subnet(by_hand, "10.9.0.0/29")
    with pytest.raises(Invalid, match="onboard_network_subnets"):
        cloud.run(update_network(cloud.view, ADMIN, by_hand.id, body, CLOUD))
    unknown = decode_update(Network, {"autogrow": cloud.bench(subnetpool_id=by_hand.id)}, ADMIN)
    with pytest.raises(NotFound):
        cloud.run(update_network(cloud.view, ADMIN, by_hand.id, unknown, CLOUD))
    with pytest.raises(Invalid, match="maximum allowed prefix"):
        cloud.pool(autogrow=cloud.bench(prefixlen=33))
