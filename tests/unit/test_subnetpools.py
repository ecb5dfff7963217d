"""Prefixes: which block is free, which subnet gets it, and what a pool refuses."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.allocate.prefixes import TakenPrefixes, compact, contains, overlap, range_of, without
from naru.model.errors import Conflict, Invalid, NaruError, NotFound
from naru.model.resources import Network, Subnet
from naru.service import subnetpools
from naru.service.address_scopes import create_address_scope, delete_address_scope, update_address_scope
from naru.service.subnets import create_subnet, delete_subnet
from planning import ADMIN, CLOUD, MEMBER, PlainCloud

# -- which block is free


@pytest.mark.parametrize(
    ("prefixes", "taken", "prefixlen", "expected"),
    [
        (["10.0.0.0/24"], [], 26, "10.0.0.0/26"),
        (["10.0.0.0/24"], ["10.0.0.0/26"], 26, "10.0.0.64/26"),
        (["10.0.0.0/24"], ["10.0.0.0/27"], 26, "10.0.0.64/26"),
        (["10.0.0.0/24"], ["10.0.0.64/26"], 25, "10.0.0.128/25"),
        (["10.0.0.0/24"], ["10.0.0.128/26", "10.0.0.0/27"], 27, "10.0.0.32/27"),
        (["10.0.0.0/24", "10.9.0.0/16"], ["10.0.0.0/25"], 24, "10.9.0.0/24"),
        (["10.0.0.0/24"], ["10.0.0.0/24"], 32, None),
        (["10.0.0.0/24"], [], 23, None),
        (["fd00::/48"], ["fd00::/64", "fd00:0:0:1::/64"], 64, "fd00:0:0:2::/64"),
        (["0.0.0.0/0"], ["0.0.0.0/1"], 1, "128.0.0.0/1"),
    ],
)
def test_the_lowest_free_block(prefixes, taken, prefixlen, expected):
    assert TakenPrefixes(taken).first_free(prefixes, prefixlen) == expected


@given(st.lists(st.integers(24, 30), max_size=40))
def test_blocks_never_overlap_and_are_refused_only_when_none_is_left(lengths):
    """Against a search that looks at each block there is."""
    taken = []
    for length in lengths:
        size = 2 ** (32 - length)
        blocks = [f"10.0.{i * size // 256}.{i * size % 256}/{length}" for i in range(512 // size)]
        expected = next((block for block in blocks if not overlap([block], taken)), None)
        chosen = TakenPrefixes(taken).first_free(["10.0.0.0/23"], length)
        assert chosen == expected
        taken += [chosen] if chosen else []
    assert all(last < first for (_, last), (first, _) in pairwise(sorted(map(range_of, taken))))


@given(st.lists(st.integers(0, 31), max_size=60))
def test_what_is_given_back_is_free_again(numbers):
    """A number names a block: taken if it was free, else given back."""
    kept, space = set(), TakenPrefixes()
    for number in numbers:
        block = f"10.0.{number}.0/24"
        assert space.is_free(block) == (block not in kept)
        (space.take if space.is_free(block) else space.release)(block)
        kept ^= {block}
        again = TakenPrefixes(kept)
        assert (space._starts, space._ends, space.count) == (again._starts, again._ends, again.count)


def test_sets_of_prefixes():
    assert compact(["10.0.1.0/24", "10.0.0.0/24", "10.0.0.0/25"]) == ("10.0.0.0/23",)
    assert without(["10.0.0.0/24"], ["10.0.0.64/26"]) == ("10.0.0.0/26", "10.0.0.128/25")
    assert without(["10.0.0.0/24"], ["10.0.0.0/8"]) == ()
    assert contains(["10.0.0.0/24"], "10.0.0.128/25")
    assert not contains(["10.0.0.0/24"], "10.0.0.0/23")
    assert overlap(["10.0.0.0/8"], ["10.200.0.0/16"])
    assert not overlap(["10.0.0.0/24", "10.0.2.0/24"], ["10.0.1.0/24", "10.0.3.0/24"])


# -- a pool gives prefixes


class Pools(PlainCloud):
    def pool(self, *prefixes, caller=ADMIN, **given):
        wanted = {"name": "pool", "prefixes": prefixes or ("10.0.0.0/16",), "project_id": caller.project_id} | given
        return self.run(subnetpools.create_subnetpool(self.view, caller, wanted, CLOUD))

    def update(self, pool, caller=ADMIN, **given):
        return self.run(subnetpools.update_subnetpool(self.view, caller, pool.id, given, CLOUD))

    def act(self, action, pool, caller=ADMIN, **body):
        return self.run(getattr(subnetpools, action)(self.view, caller, pool.id, body, CLOUD))

    def take(self, network=None, caller=ADMIN, **given):
        network = network or self.network(caller=caller)
        wanted = {"network_id": network.id, "ip_version": 4, "project_id": caller.project_id} | given
        return self.run(create_subnet(self.view, caller, wanted, CLOUD))

    def scope(self, caller=ADMIN, **given):
        wanted = {"name": "scope", "ip_version": 4, "project_id": caller.project_id} | given
        return self.run(create_address_scope(self.view, caller, wanted, CLOUD))


@pytest.fixture
def cloud():
    return Pools()


def test_a_pool_works_out_what_it_was_not_told(cloud):
    pool = cloud.pool("10.1.0.0/16", "10.0.0.0/16")
    assert (pool.ip_version, pool.prefixes) == (4, ("10.0.0.0/15",))
    assert (pool.min_prefixlen, pool.default_prefixlen, pool.max_prefixlen) == (8, 8, 32)
    six = cloud.pool("fd00::/48", min_prefixlen=56)
    assert (six.ip_version, six.min_prefixlen, six.default_prefixlen, six.max_prefixlen) == (6, 56, 56, 128)


def test_subnets_take_prefixes_that_do_not_overlap(cloud):
    pool = cloud.pool("10.0.0.0/16", default_prefixlen=24)
    subnets = [cloud.take(subnetpool_id=pool.id, **wish) for wish in ({}, {"prefixlen": 26}, {"cidr": "10.0.9.0/24"}, {})]
    assert [subnet.cidr for subnet in subnets] == ["10.0.0.0/24", "10.0.1.0/26", "10.0.9.0/24", "10.0.2.0/24"]
    assert all(subnet.subnetpool_id == pool.id and subnet.prefixlen is None for subnet in subnets)
    assert not any(overlap([a.cidr], [b.cidr]) for a, b in combinations(subnets, 2))
    assert subnets[1].gateway_ip == "10.0.1.1"
    cloud.run(delete_subnet(cloud.view, ADMIN, subnets[0].id, CLOUD))
    assert cloud.take(subnetpool_id=pool.id).cidr == "10.0.0.0/24"


@pytest.mark.parametrize(
    ("wish", "type"),
    [
        ({"prefixlen": 20}, "MinPrefixSubnetAllocationError"),
        ({"prefixlen": 29}, "MaxPrefixSubnetAllocationError"),
        ({"cidr": "10.9.0.0/24"}, "SubnetAllocationError"),
        ({"cidr": "10.0.0.128/25"}, "SubnetAllocationError"),
        ({"cidr": "10.0.1.0/24", "prefixlen": 24}, "BadRequest"),
        ({"ip_version": 6}, "BadRequest"),
        ({"allocation_pools": ("10.0.0.2",)}, "BadRequest"),
        ({"use_default_subnetpool": True}, "BadRequest"),
        ({"subnetpool_id": None, "use_default_subnetpool": True}, "BadRequest"),
        ({"subnetpool_id": None}, "BadRequest"),
        ({"subnetpool_id": "prefix_delegation"}, "SubnetPoolNotFound"),
        ({"subnetpool_id": "11111111-2222-4333-8444-555555555555"}, "SubnetPoolNotFound"),
    ],
)
def test_what_a_pool_does_not_give(cloud, wish, type):
    pool = cloud.pool("10.0.0.0/23", min_prefixlen=24, max_prefixlen=28)
    cloud.take(subnetpool_id=pool.id)
    with pytest.raises(NaruError) as refused:
        cloud.take(**{"subnetpool_id": pool.id} | wish)
    assert refused.value.type == type


def test_an_exhausted_pool_says_so(cloud):
    pool = cloud.pool("10.0.0.0/24", default_prefixlen=25)
    cloud.take(subnetpool_id=pool.id)
    cloud.take(subnetpool_id=pool.id)
    with pytest.raises(Conflict, match=r"Insufficient prefix space to allocate subnet size /25.* has given 2 prefixes"):
        cloud.take(subnetpool_id=pool.id)


def test_a_pools_quota_counts_addresses_for_each_project(cloud):
    pool = cloud.pool("10.0.0.0/16", default_prefixlen=25, default_quota=300, shared=True)
    cloud.take(subnetpool_id=pool.id)
    cloud.take(subnetpool_id=pool.id)
    cloud.take(subnetpool_id=pool.id, caller=MEMBER)
    with pytest.raises(Conflict) as refused:
        cloud.take(subnetpool_id=pool.id)
    assert refused.value.type == "SubnetPoolQuotaExceeded"
    assert cloud.take(subnetpool_id=pool.id, prefixlen=27).cidr == "10.0.1.128/27"


def test_the_default_pool_is_one_for_each_ip_version(cloud):
    four, six = (
        cloud.pool(prefix, is_default=True, default_prefixlen=length) for prefix, length in (("10.0.0.0/8", 24), ("fd00::/48", 64))
    )
    assert cloud.take(use_default_subnetpool=True).subnetpool_id == four.id
    assert cloud.take(use_default_subnetpool=True, ip_version=6).subnetpool_id == six.id
    with pytest.raises(Invalid, match="Only one default may exist per IP family"):
        cloud.pool("192.168.0.0/16", is_default=True)
    with pytest.raises(Invalid, match="No default subnetpool found for IPv4"):  # it is not shared
        cloud.take(use_default_subnetpool=True, caller=MEMBER)
    cloud.update(four, is_default=False)
    cloud.update(cloud.pool("192.168.0.0/16"), is_default=True)


def test_subnets_of_a_network_share_a_pool(cloud):
    one, two = cloud.pool("10.0.0.0/16", default_prefixlen=24), cloud.pool("10.9.0.0/16", default_prefixlen=24)
    network = cloud.network()
    cloud.take(network, subnetpool_id=one.id)
    with pytest.raises(Invalid) as refused:
        cloud.take(network, subnetpool_id=two.id)
    assert refused.value.type == "NetworkSubnetPoolAffinityError"
    cloud.take(network, subnetpool_id=one.id)


# -- pools change


@pytest.mark.parametrize(
    ("given", "type"),
    [
        ({"prefixes": ()}, "EmptySubnetPoolPrefixList"),
        ({"prefixes": ("10.0.0.0/8", "fd00::/48")}, "PrefixVersionMismatch"),
        ({"min_prefixlen": 28, "max_prefixlen": 24}, "IllegalSubnetPoolPrefixBounds"),
        ({"max_prefixlen": 33}, "IllegalSubnetPoolPrefixBounds"),
        ({"min_prefixlen": 24, "default_prefixlen": 20}, "IllegalSubnetPoolPrefixBounds"),
        ({"max_prefixlen": 24, "default_prefixlen": 26}, "IllegalSubnetPoolPrefixBounds"),
    ],
)
def test_a_pool_that_cannot_be(cloud, given, type):
    with pytest.raises(Invalid) as refused:
        cloud.pool(**given)
    assert refused.value.type == type


def test_prefixes_are_added_and_removed(cloud):
    pool = cloud.pool("10.0.0.0/24", default_prefixlen=26)
    assert cloud.update(pool, prefixes=("10.0.0.0/23",)).prefixes == ("10.0.0.0/23",)
    with pytest.raises(Invalid) as refused:
        cloud.update(pool, prefixes=("10.0.0.0/24",))
    assert refused.value.type == "IllegalSubnetPoolPrefixUpdate"
    assert cloud.act("add_prefixes", pool, prefixes=["10.0.2.0/23"]) == {"prefixes": ["10.0.0.0/22"]}
    assert cloud.act("remove_prefixes", pool, prefixes=["10.0.3.0/24", "192.168.0.0/16", "fd00::/64"]) == {
        "prefixes": ["10.0.0.0/23", "10.0.2.0/24"]
    }
    cloud.take(subnetpool_id=pool.id)
    with pytest.raises(Invalid, match="in use by a subnet"):
        cloud.act("remove_prefixes", pool, prefixes=["10.0.0.0/27"])
    for wrong in ({}, {"prefixes": "10.0.0.0/8"}, {"prefixes": ["x"]}, {"prefixes": [None]}):
        with pytest.raises(Invalid):
            cloud.act("add_prefixes", pool, **wrong)


def test_a_networks_subnets_come_on_board(cloud):
    pool, network = cloud.pool("10.0.0.0/24"), cloud.network()
    subnet = cloud.subnet(network, "192.168.0.0/24")
    cloud.subnet(network, "fd00::/64")
    assert cloud.act("onboard_network_subnets", pool, network_id=network.id) == [{"id": subnet.id, "cidr": "192.168.0.0/24"}]
    assert cloud.view.get(Subnet, subnet.id).subnetpool_id == pool.id
    with pytest.raises(Invalid, match="conflicts with allocated prefixes"):
        cloud.act("onboard_network_subnets", pool, network_id=network.id)
    with pytest.raises(NotFound):
        cloud.act("onboard_network_subnets", pool, network_id="gone")
    with pytest.raises(Invalid):
        cloud.act("onboard_network_subnets", pool)


def test_a_pool_in_use_stays(cloud):
    pool = cloud.pool(default_prefixlen=24)
    subnet = cloud.take(subnetpool_id=pool.id)
    with pytest.raises(Invalid) as refused:
        cloud.run(subnetpools.delete_subnetpool(cloud.view, ADMIN, pool.id, CLOUD))
    assert refused.value.type == "SubnetPoolDeleteError"
    cloud.run(delete_subnet(cloud.view, ADMIN, subnet.id, CLOUD))
    cloud.run(subnetpools.delete_subnetpool(cloud.view, ADMIN, pool.id, CLOUD))


# -- address scopes


def test_a_network_shows_the_scopes_of_its_subnets(cloud):
    scope, network = cloud.scope(), cloud.network()
    pool = cloud.pool("10.0.0.0/16", default_prefixlen=24, address_scope_id=scope.id)
    subnet = cloud.take(network, subnetpool_id=pool.id)
    assert cloud.view.get(Network, network.id).ipv4_address_scope == scope.id
    cloud.update(pool, address_scope_id=None)
    assert cloud.view.get(Network, network.id).ipv4_address_scope is None
    cloud.update(pool, address_scope_id=scope.id)
    assert cloud.view.get(Network, network.id).ipv4_address_scope == scope.id
    cloud.run(delete_subnet(cloud.view, ADMIN, subnet.id, CLOUD))
    assert cloud.view.get(Network, network.id).ipv4_address_scope is None


def test_prefixes_are_unique_in_a_scope(cloud):
    scope = cloud.scope()
    cloud.pool("10.0.0.0/16", address_scope_id=scope.id)
    with pytest.raises(Conflict) as refused:
        cloud.pool("10.0.0.0/8", address_scope_id=scope.id)
    assert refused.value.type == "AddressScopePrefixConflict"
    with pytest.raises(Invalid) as refused:
        cloud.pool("fd00::/48", address_scope_id=scope.id)
    assert refused.value.type == "IllegalSubnetPoolIpVersionAssociationToAddressScope"
    with pytest.raises(NotFound):
        cloud.pool("10.1.0.0/16", address_scope_id=scope.id, caller=MEMBER)
    with pytest.raises(Conflict) as refused:
        cloud.run(delete_address_scope(cloud.view, ADMIN, scope.id, CLOUD))
    assert refused.value.type == "AddressScopeInUse"


def test_subnets_of_a_network_share_a_scope(cloud):
    scope, network = cloud.scope(), cloud.network()
    one, two = (cloud.pool(prefix, default_prefixlen=24, address_scope_id=scope.id) for prefix in ("10.0.0.0/16", "10.1.0.0/16"))
    cloud.take(network, subnetpool_id=one.id)
    cloud.take(network, subnetpool_id=two.id)
    with pytest.raises(Invalid) as refused:
        cloud.take(network, subnetpool_id=cloud.pool("10.2.0.0/16", default_prefixlen=24).id)
    assert refused.value.type == "NetworkAddressScopeAffinityError"
    with pytest.raises(Invalid) as refused:
        cloud.update(one, address_scope_id=cloud.scope().id)
    assert refused.value.type == "NetworkAddressScopeAffinityError"


def test_sharing_a_scope_is_not_taken_back(cloud):
    scope = cloud.scope(shared=True)
    pool = cloud.pool("10.0.0.0/16", address_scope_id=scope.id, caller=MEMBER)
    with pytest.raises(Invalid) as refused:
        cloud.run(update_address_scope(cloud.view, ADMIN, scope.id, {"shared": False}, CLOUD))
    assert refused.value.type == "AddressScopeUpdateError"
    with pytest.raises(Invalid) as refused:
        cloud.update(pool, caller=MEMBER, name="mine")
    assert refused.value.type == "IllegalSubnetPoolUpdate"
