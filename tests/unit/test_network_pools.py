"""Pools over a plain snapshot: which networks a pick looks at, whose they are, and what would help where it is refused."""

from datetime import timedelta
from ipaddress import ip_address, ip_network

import pytest
from msgspec.structs import replace

from naru.model.errors import Conflict, Forbidden, Invalid, NotFound
from naru.model.identity import Caller
from naru.model.kinds import KINDS
from naru.model.network_pools import Member, NetworkPool, PoolTurn
from naru.model.picks import RestingAddresses
from naru.model.resources import AllocationPool, Change, Network, Port, Subnet, new_id
from naru.model.sharing import RbacPolicy
from naru.schedule.candidates import Wish
from naru.schedule.fixes import PROPOSALS, Means, nearest_fixes
from naru.schedule.networks import Placement, place
from naru.schedule.reasons import FIXES
from naru.service.candidates import candidates_for
from naru.service.fixes import fixes_for
from naru.service.hosts import mark_silent_hosts
from naru.service.network_pools import create_network_pool, delete_network_pool, pass_turn, update_network_pool
from naru.service.networks import delete_network, update_network
from naru.service.policy import can_see, visible
from naru.service.ports import delete_port, update_port
from naru.service.sharing import create_policy, delete_policy
from naru.service.subnets import update_subnet
from placing import candidate
from planning import ADMIN, CLOUD, MEMBER, NOW, PlainCloud

BOB = Caller("bob", "other", frozenset({"member"}))


class Pooled(PlainCloud):
    """Networks of 13 usable addresses each, by name; pools of them."""

    def __init__(self) -> None:
        super().__init__()
        self.host("compute01", "172.18.0.31")

    def net(self, name: str, taken: int = 0, caller: Caller = ADMIN, cidr: str = "10.0.0.0/28", **given: object) -> Network:
        network = self.network(name, caller, **given)
        self.subnet(network, cidr, caller, enable_dhcp=False)
        for _ in range(taken):
            self.port(network, caller)
        return self.view.get(Network, network.id) or network

    def pool(self, *networks: Network | Member, caller: Caller = ADMIN, **given: object) -> NetworkPool:
        members = tuple(item if isinstance(item, Member) else Member(item.id) for item in networks)
        return self.run(create_network_pool(self.view, caller, {"project_id": caller.project_id, "members": members, **given}, CLOUD))

    def pick(self, caller: Caller = MEMBER, **asked: object) -> Placement:
        wish = Wish(**asked)  # type: ignore[arg-type]
        found = candidates_for(self.view, caller, wish)
        return place(found.candidates, wish, found.policy, found.weights)

    def names(self, placement: Placement) -> list[str]:
        return [network.name for id in placement.assignments if (network := self.view.get(Network, id)) is not None]


@pytest.fixture
def cloud() -> Pooled:
    return Pooled()


def reasons(placement: Placement) -> dict[str, str]:
    return {verdict.name: verdict.reason for verdict in placement.verdicts}


# -- what a pool may hold


def test_members_are_networks_that_the_maker_sees_and_no_pools(cloud):
    foreign, pool = cloud.net("foreign", caller=BOB), cloud.pool(cloud.net("a"))
    with pytest.raises(NotFound, match=foreign.id):
        cloud.pool(foreign, caller=MEMBER)
    with pytest.raises(Invalid, match="not nested"):
        cloud.pool(Member(pool.id))
    with pytest.raises(Invalid, match="names itself"):
        cloud.run(update_network_pool(cloud.view, ADMIN, pool.id, {"members": (Member(pool.id),)}, CLOUD))
    with pytest.raises(NotFound, match="could not be found"):
        cloud.run(update_network_pool(cloud.view, ADMIN, pool.id, {"members": (Member(new_id()),)}, CLOUD))
    assert cloud.view.get(NetworkPool, pool.id) == pool


def test_a_project_does_not_change_the_members_that_an_administrator_gave_its_pool(cloud):
    pool = cloud.pool(cloud.net("a"), project_id=MEMBER.project_id)
    with pytest.raises(Forbidden, match="an administrator made"):
        cloud.run(update_network_pool(cloud.view, MEMBER, pool.id, {"members": ()}, CLOUD))
    assert cloud.run(update_network_pool(cloud.view, MEMBER, pool.id, {"policy": "spread"}, CLOUD)).policy == "spread"


def test_a_project_has_one_default_pool_at_most(cloud):
    first = cloud.pool(is_default=True)
    with pytest.raises(Conflict, match=first.id):
        cloud.pool(is_default=True)
    cloud.pool(is_default=True, project_id="demo")
    cloud.run(update_network_pool(cloud.view, ADMIN, first.id, {"is_default": False}, CLOUD))
    cloud.pool(is_default=True)


def test_a_network_that_goes_leaves_its_pools_and_a_pool_that_goes_takes_all_that_is_its(cloud):
    a, b = cloud.net("a"), cloud.net("b")
    pool = cloud.pool(a, b, shared=True, policy="round_robin")
    cloud.run(pass_turn(cloud.view, pool, a.id))
    cloud.run(delete_network(cloud.view, ADMIN, a.id, CLOUD))
    assert cloud.view.get(NetworkPool, pool.id).members == (Member(b.id),)
    cloud.run(delete_network_pool(cloud.view, ADMIN, pool.id, CLOUD))
    assert [list(cloud.view.all(kind)) for kind in (NetworkPool, PoolTurn, RbacPolicy)] == [[], [], []]


# -- who reaches what


def test_who_may_use_a_pool_reaches_its_members(cloud):
    network = cloud.net("a")
    assert not can_see(cloud.view, MEMBER, network)
    pool = cloud.pool(network)
    assert not can_see(cloud.view, MEMBER, network)
    given = {
        "object_type": "network_pool",
        "object_id": pool.id,
        "action": "access_as_shared",
        "target_tenant": "demo",
        "project_id": "admin",
    }
    policy = cloud.run(create_policy(cloud.view, ADMIN, given, CLOUD))
    assert can_see(cloud.view, MEMBER, network)
    assert can_see(cloud.view, MEMBER, next(cloud.view.all(Subnet)))
    assert not can_see(cloud.view, BOB, network)
    assert not can_see(cloud.view, Caller("nobody", ""), network)
    assert cloud.names(cloud.pick(pool_id=pool.id)) == ["a"]
    assert cloud.port(network, MEMBER).fixed_ips
    cloud.run(delete_policy(cloud.view, ADMIN, policy.id, CLOUD))
    assert not can_see(cloud.view, MEMBER, network)
    with pytest.raises(NotFound, match=pool.id):
        cloud.pick(pool_id=pool.id)


def test_nobody_hands_on_what_was_only_shared_with_him(cloud):
    lent, own = cloud.net("lent"), cloud.net("own", caller=MEMBER)
    given = {"object_type": "network", "object_id": lent.id, "action": "access_as_shared", "target_tenant": "demo", "project_id": "admin"}
    cloud.run(create_policy(cloud.view, ADMIN, given, CLOUD))
    pool = cloud.pool(cloud.view.get(Network, lent.id), own, caller=MEMBER)
    given = {
        "object_type": "network_pool",
        "object_id": pool.id,
        "action": "access_as_shared",
        "target_tenant": "other",
        "project_id": "demo",
    }
    cloud.run(create_policy(cloud.view, MEMBER, given, CLOUD))
    assert not can_see(cloud.view, BOB, cloud.view.get(Network, lent.id))
    assert can_see(cloud.view, BOB, own)
    assert reasons(cloud.pick(BOB, pool_id=pool.id)) == {"lent": "not_allowed", "own": "chosen"}
    assert reasons(cloud.pick(MEMBER, pool_id=pool.id)) == {"lent": "chosen", "own": "not_needed"}


def test_members_of_a_hidden_pool_are_found_by_id_only_unless_they_are_seen_otherwise(cloud):
    network, own = cloud.net("a"), cloud.net("own", caller=MEMBER)
    pool = cloud.pool(network, own, shared=True, hidden=True)
    by_list, by_id = (visible(cloud.view, MEMBER, by_id=by_id) for by_id in (False, True))
    assert [network.name for network in cloud.view.all(Network) if by_list(network)] == ["own"]
    assert [network.name for network in cloud.view.all(Network) if by_id(network)] == ["a", "own"]
    cloud.run(update_network_pool(cloud.view, ADMIN, pool.id, {"hidden": False}, CLOUD))
    assert [network.name for network in cloud.view.all(Network) if by_list(network)] == ["a", "own"]


# -- which networks a pick looks at


def test_a_tag_selector_follows_tags(cloud):
    a, b = cloud.net("a"), cloud.net("b")
    pool = cloud.pool(b, member_tags={"tags": ("lab",), "not-tags-any": ("old",)}, shared=True)
    assert reasons(cloud.pick(pool_id=pool.id)) == {"b": "chosen"}
    cloud.run(tagged(cloud, a, ("lab", "x")))
    assert reasons(cloud.pick(pool_id=pool.id, count=20)) == {"b": "chosen", "a": "chosen"}
    assert can_see(cloud.view, MEMBER, cloud.view.get(Network, a.id))
    cloud.run(tagged(cloud, a, ("lab", "old")))
    assert reasons(cloud.pick(pool_id=pool.id)) == {"b": "chosen"}


def tagged(cloud, network, tags):
    return update_network(cloud.view, ADMIN, network.id, {"tags": tags}, CLOUD)


def test_development_and_production_never_mix_unless_asked(cloud):
    dev = cloud.pool(cloud.net("dev1", 13), name="dev", purposes=("dev",), shared=True)
    prod = cloud.pool(cloud.net("prod1"), name="prod", purposes=("prod", "eu"), shared=True)
    plain = cloud.net("plain", shared=True)
    assert reasons(cloud.pick()) == {"plain": "chosen", "dev1": "purpose", "prod1": "purpose"}
    assert reasons(cloud.pick(purposes_any=("dev",))) == {"dev1": "full", "prod1": "purpose"}
    assert cloud.names(cloud.pick(purposes_all=("prod", "eu"))) == ["prod1"]
    assert cloud.pick(purposes_all=("prod", "us")).is_refused
    assert cloud.names(cloud.pick(purposes_not=("dev",), count=14)) == ["plain"] * 13 + ["prod1"]
    assert cloud.names(cloud.pick(pool_id=prod.id)) == ["prod1"]
    assert cloud.pick(pool_id=dev.id).is_refused
    assert cloud.names(cloud.pick(network_id=plain.id)) == ["plain"]
    mine = cloud.pool(cloud.net("own", caller=MEMBER), caller=MEMBER, purposes=("prod",), is_default=True)
    assert mine.is_default
    assert reasons(cloud.pick()) == {"own": "chosen"}


def test_a_projects_own_default_pool_comes_before_a_shared_one(cloud):
    cloud.pool(cloud.net("shared"), shared=True, is_default=True)
    assert cloud.names(cloud.pick()) == ["shared"]
    assert cloud.names(cloud.pick(BOB)) == ["shared"]
    cloud.pool(cloud.net("own", caller=MEMBER), caller=MEMBER, is_default=True)
    assert cloud.names(cloud.pick()) == ["own"]
    assert cloud.names(cloud.pick(BOB)) == ["shared"]


def test_without_pools_a_project_gets_its_own_networks_then_shared_ones_by_name(cloud):
    cloud.net("a", shared=True)
    cloud.net("foreign", caller=BOB)
    cloud.net("NET2", caller=MEMBER)
    cloud.net("NET1", 12, caller=MEMBER)
    assert cloud.names(cloud.pick(count=15)) == ["NET1", *["NET2"] * 13, "a"]
    assert "foreign" not in reasons(cloud.pick(ADMIN))


def test_the_pools_rows_count_for_its_members(cloud):
    full, cordoned, floored = cloud.net("a", 13), cloud.net("b"), cloud.net("c", 10)
    pool = cloud.pool(full, Member(cordoned.id, cordoned=True, reason="moving"), floored, floor_count=1, floor_ratio=0.25, shared=True)
    assert reasons(cloud.pick(pool_id=pool.id)) == {"a": "full", "b": "cordoned", "c": "floor"}
    cloud.run(update_network_pool(cloud.view, ADMIN, pool.id, {"floor_ratio": 0.0}, CLOUD))
    assert reasons(cloud.pick(pool_id=pool.id, count=2)) == {"a": "full", "b": "cordoned", "c": "chosen"}


def test_a_project_has_no_more_of_a_pool_than_its_share(cloud):
    a, b = cloud.net("a"), cloud.net("b")
    pool = cloud.pool(a, b, project_share=0.25, policy="spread", shared=True)  # 6 of 26
    for _ in range(4):
        cloud.port(a, MEMBER)
    assert len(cloud.pick(pool_id=pool.id, count=9, min_count=1).assignments) == 2
    assert len(cloud.pick(BOB, pool_id=pool.id, count=9, min_count=1).assignments) == 6


def test_round_robin_goes_on_behind_the_network_that_was_picked_last(cloud):
    nets = [cloud.net(name) for name in "abc"]
    pool = cloud.pool(*nets, policy="round_robin", shared=True)
    taken = []
    for count in (1, 1, 3, 1):
        placement = cloud.pick(pool_id=pool.id, count=count)
        cloud.run(pass_turn(cloud.view, pool, placement.assignments[-1]))
        taken += cloud.names(placement)
    assert "".join(taken) == "abcabc"


def test_a_network_must_be_reachable_where_it_is_asked_for(cloud):
    provider = {"provider_network_type": "flat", "provider_physical_network": "physnet2"}
    cloud.net("vxlan", caller=MEMBER)
    cloud.net("flat", shared=True, **provider)
    cloud.net("elsewhere", shared=True, provider_network_type="flat", provider_physical_network="physnet9")
    all_of = {"vxlan": "chosen", "flat": "not_needed", "elsewhere": "unreachable"}
    assert reasons(cloud.pick()) == reasons(cloud.pick(host="compute01")) == reasons(cloud.pick(instance_driver="netns")) == all_of
    assert reasons(cloud.pick(physical_network="physnet2")) == {"vxlan": "unreachable", "flat": "chosen", "elsewhere": "unreachable"}
    for nowhere in ({"host": "compute09"}, {"availability_zone": "moon"}, {"instance_driver": "qemu"}):
        assert set(reasons(cloud.pick(**nowhere)).values()) == {"unreachable"}


def test_affinity_is_to_the_networks_of_named_ports(cloud):
    cloud.net("a", caller=MEMBER)
    port = cloud.port(cloud.net("b", caller=MEMBER), MEMBER)
    assert reasons(cloud.pick(affinity=(port.id,))) == {"a": "affinity", "b": "chosen"}
    assert reasons(cloud.pick(anti_affinity=(port.id,))) == {"a": "chosen", "b": "anti_affinity"}
    with pytest.raises(NotFound, match=port.id):
        cloud.pick(BOB, affinity=(port.id,))


# -- what would help; it is done, and then the pick is a yes


def fixes(cloud: Pooled, **asked: object) -> dict[str, dict]:
    wish = Wish(**asked)  # type: ignore[arg-type]
    found = candidates_for(cloud.view, MEMBER, wish)
    assert place(found.candidates, wish).is_refused
    return {fix.code: fix.values for fix in fixes_for(cloud.view, MEMBER, wish, found, CLOUD)}


def test_a_full_network_is_extended_by_what_is_missing_or_idle_ports_go(cloud):
    network = cloud.network("a", MEMBER)
    subnet = cloud.subnet(network, caller=MEMBER, enable_dhcp=False, allocation_pools=(AllocationPool("10.0.0.2", "10.0.0.5"),))
    ports = [cloud.port(network, MEMBER) for _ in range(4)]
    busy = cloud.run(update_port(cloud.view, MEMBER, ports[0].id, {"device_id": "vm"}, CLOUD))
    found = fixes(cloud, count=2)
    assert found["extend"] == {"network": "a", "network_id": network.id, "subnet": subnet.id, "addresses": 2}
    assert (len(found["free_ports"]["port_ids"]), found["free_ports"]["seconds"]) == (2, 0)
    assert busy.id not in found["free_ports"]["port_ids"]
    extended = {"allocation_pools": (AllocationPool("10.0.0.2", "10.0.0.7"),)}
    undone = len(cloud.changes)
    cloud.run(update_subnet(cloud.view, MEMBER, subnet.id, extended, CLOUD))
    assert len(cloud.pick(count=2).assignments) == 2
    cloud.view.undo(cloud.changes[undone:])
    for id in found["free_ports"]["port_ids"]:
        cloud.run(delete_port(cloud.view, MEMBER, id, CLOUD))
    assert len(cloud.pick(count=2).assignments) == 2
    assert "extend" not in fixes(cloud, count=12)


def test_no_more_is_offered_than_the_prefix_has(cloud):
    network = cloud.net("a", 13, caller=MEMBER)
    hosts = ip_network("10.0.0.0/28").num_addresses - 3
    assert sum(1 for port in cloud.view.all(Port) if port.network_id == network.id) == hosts
    assert "extend" not in fixes(cloud)
    assert ip_address("10.0.0.1") not in [ip_address(ip.ip_address) for port in cloud.view.all(Port) for ip in port.fixed_ips]


def test_a_projects_fixes_name_no_ports_of_others(cloud):
    cloud.net("a", 13, shared=True)
    assert "free_ports" not in fixes(cloud)


def test_cordons_floors_and_purposes_are_lifted(cloud):
    cordoned, floored = cloud.net("cordoned"), cloud.net("floored", 10)
    pool = cloud.pool(Member(cordoned.id, cordoned=True), floored, floor_count=3, name="p", shared=True, purposes=("lab",))
    found = fixes(cloud, pool_id=pool.id)
    assert (found["uncordon"]["network"], found["lower_floor"]["floor"]) == ("cordoned", 2)
    undone = len(cloud.changes)
    cloud.run(update_network_pool(cloud.view, ADMIN, pool.id, {"floor_count": found["lower_floor"]["floor"]}, CLOUD))
    assert cloud.names(cloud.pick(pool_id=pool.id)) == ["floored"]
    cloud.view.undo(cloud.changes[undone:])
    cloud.run(update_network_pool(cloud.view, ADMIN, pool.id, {"members": (Member(cordoned.id),)}, CLOUD))
    assert fixes(cloud)["ask_pool"]["pool_id"] == pool.id
    assert cloud.names(cloud.pick(pool_id=pool.id)) == ["cordoned"]


def test_the_asker_may_ask_for_less(cloud):
    cloud.net("a", 10, caller=MEMBER, mtu=1400)
    assert fixes(cloud, count=5)["ask_fewer"] == {"count": 3}
    assert len(cloud.pick(count=3).assignments) == 3
    assert fixes(cloud, mtu=1450)["relax"] == {"attribute": "mtu"}
    assert fixes(cloud, ip_version="dual")["relax"] == {"attribute": "ip_version"}
    assert "relax" not in fixes(cloud, mtu=1450, ip_version=6), "one of them alone does not do it"


def test_a_share_is_raised_and_a_network_brought_up(cloud):
    network = cloud.net("a", admin_state_up=False, caller=MEMBER)
    assert fixes(cloud)["admin_up"]["network_id"] == network.id
    cloud.run(update_network(cloud.view, MEMBER, network.id, {"admin_state_up": True}, CLOUD))
    assert cloud.names(cloud.pick()) == ["a"]
    cloud.run(update_network(cloud.view, MEMBER, network.id, {"shared": False}, CLOUD))
    pool = cloud.pool(network, project_share=0.0, shared=True)
    assert fixes(cloud, pool_id=pool.id, count=2)["raise_share"]["addresses"] == 2


def test_waiting_is_as_short_as_it_can_be():
    resting = candidate("a", 0)
    resting = replace(resting, counts=replace(resting.counts, allocated=10, quarantined=3))
    (fix,) = nearest_fixes([resting], Wish(count=2), {"id-of-a": Means(rests_s=(5, 20, 40))})
    assert (fix.code, fix.values) == ("wait", {"seconds": 20, "addresses": 2})
    assert nearest_fixes([resting], Wish(count=4), {"id-of-a": Means(rests_s=(5, 20, 40))}) == []


def test_every_fix_has_words_in_both_languages():
    assert set(FIXES) == {*PROPOSALS, "raise_limit", "raise_quota"}
    described = nearest_fixes([candidate("a", cordoned="", pool="p")], Wish(), {})[0].described()
    assert described["text_en"] == "uncordon network a in pool p"
    assert described["text_ko"] == "풀 p에서 네트워크 a의 배정 차단을 풀면 됩니다"


# -- what is noted between picks


def test_no_change_is_overlooked_though_candidates_are_noted(cloud):
    """After each step every wish is asked for once more, and with a view that never noted anything."""
    a, b = cloud.net("a", 10), cloud.net("b", shared=True)
    pool, *others = (
        cloud.pool(a, b, shared=True, **given) for given in ({"floor_count": 1}, {"project_share": 0.5}, {"policy": "round_robin"})
    )
    port = cloud.port(a, MEMBER)
    wishes = [Wish(pool_id=pool.id), *(Wish(pool_id=other.id) for other in others), Wish()]
    wishes += [Wish(pool_id=pool.id, **{word: (port.id,)}) for word in ("affinity", "anti_affinity")]
    steps = [
        lambda: cloud.port(a, MEMBER),
        lambda: cloud.run(pass_turn(cloud.view, others[1], a.id)),
        lambda: cloud.run(update_network(cloud.view, ADMIN, b.id, {"admin_state_up": False}, CLOUD)),
        lambda: cloud.run(update_network_pool(cloud.view, ADMIN, pool.id, {"floor_count": 0}, CLOUD)),
        lambda: cloud.run(update_network(cloud.view, ADMIN, b.id, {"admin_state_up": True}, CLOUD)),
        lambda: cloud.run(mark_silent_hosts(cloud.view, CLOUD, NOW + timedelta(hours=1))),
        lambda: cloud.host("compute02", "172.18.0.32"),
        lambda: cloud.run(tagged(cloud, a, ("x",))),
        lambda: cloud.run(update_network_pool(cloud.view, ADMIN, pool.id, {"members": (), "member_tags": {"tags": ("x",)}}, CLOUD)),
        lambda: cloud.run(tagged(cloud, b, ("x",))),
        lambda: cloud.run(delete_network(cloud.view, ADMIN, b.id, CLOUD)),
    ]
    answers = []
    for step in steps:
        step()
        again = PlainCloud()
        again.view.apply(Change(None, resource) for kind in KINDS.values() for resource in cloud.view.all(kind))
        for wish in wishes:
            told = candidates_for(cloud.view, MEMBER, wish).place(wish)
            assert told == candidates_for(again.view, MEMBER, wish).place(wish)
            answers.append((wish, *reasons(told).items()))
    told = [len({answer for answer in answers if answer[0] == wish}) for wish in wishes]
    assert min(told) >= 3, told
    assert max(told) >= 6, told


def test_an_address_that_follows_from_a_mac_does_not_rest(cloud):
    network = cloud.net("a", caller=MEMBER)
    cloud.subnet(network, "fd00::/64", MEMBER, ipv6_address_mode="slaac", ipv6_ra_mode="slaac")
    cloud.pool(network, quarantine_s=60)
    first = cloud.port(network, MEMBER, mac_address="fa:16:3e:00:00:01")
    cloud.run(delete_port(cloud.view, MEMBER, first.id, CLOUD))
    again = cloud.port(network, MEMBER, mac_address="fa:16:3e:00:00:01")
    assert again.fixed_ips[1] == first.fixed_ips[1]
    assert [ip for rest in cloud.view.all(RestingAddresses) for ip in rest.fixed_ips] == [first.fixed_ips[0]]


# -- default networks of a project


def test_a_project_that_asks_for_nothing_gets_its_default_networks_and_no_other(cloud):
    cloud.net("a", shared=True)
    cloud.net("b", 11, shared=True, project_default=True)
    assert cloud.names(cloud.pick(count=2)) == ["b", "b"]
    own = [cloud.net(name, caller=MEMBER, project_default=True) for name in ("y", "z")]
    assert cloud.names(cloud.pick(count=14)) == ["y"] * 13 + ["z"]
    assert cloud.names(cloud.pick(BOB)) == ["b"]
    assert cloud.pick(BOB, count=3).is_refused
    for network in own:
        cloud.run(update_network(cloud.view, MEMBER, network.id, {"project_default": False}, CLOUD))
    assert cloud.names(cloud.pick()) == ["b"]


def test_pools_come_before_networks_and_what_is_own_before_what_is_shared(cloud):
    cloud.net("shared-net", shared=True, project_default=True)
    pool = cloud.pool(cloud.net("in-shared-pool"), shared=True, is_default=True)
    assert cloud.names(cloud.pick()) == ["in-shared-pool"]
    cloud.net("own-net", caller=MEMBER, project_default=True)
    assert cloud.names(cloud.pick()) == ["own-net"]
    assert cloud.names(cloud.pick(BOB)) == ["in-shared-pool"]
    cloud.pool(cloud.net("in-own-pool", caller=MEMBER), caller=MEMBER, is_default=True)
    assert cloud.names(cloud.pick()) == ["in-own-pool"]
    cloud.run(delete_network_pool(cloud.view, ADMIN, pool.id, CLOUD))
    assert cloud.names(cloud.pick(BOB)) == ["shared-net"]


def test_who_asks_for_a_pool_or_a_purpose_does_not_get_the_default(cloud):
    cloud.net("default", caller=MEMBER, project_default=True)
    pool = cloud.pool(cloud.net("prod1"), purposes=("prod",), shared=True)
    assert cloud.names(cloud.pick(pool_id=pool.id)) == ["prod1"]
    assert cloud.names(cloud.pick(purposes_any=("prod",))) == ["prod1"]


def test_nobody_lures_the_ports_of_others_onto_his_network(cloud):
    bait = cloud.net("bait", caller=BOB, project_default=True)
    given = {"object_type": "network", "object_id": bait.id, "action": "access_as_shared", "target_tenant": "demo", "project_id": "other"}
    cloud.run(create_policy(cloud.view, BOB, given, CLOUD))
    cloud.net("home", caller=MEMBER)
    assert cloud.names(cloud.pick()) == ["home"]
    lent = cloud.net("lent", caller=BOB)
    cloud.run(update_network(cloud.view, ADMIN, lent.id, {"shared": True}, CLOUD))
    with pytest.raises(Forbidden):
        cloud.run(update_network(cloud.view, BOB, lent.id, {"project_default": True}, CLOUD))
    cloud.run(update_network(cloud.view, BOB, lent.id, {"name": "renamed"}, CLOUD))
