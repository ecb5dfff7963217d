"""Picks: what is held is nobody else's until it is taken, given back or too old; and then it is free again."""

from datetime import timedelta
from ipaddress import ip_address

import pytest
from msgspec.structs import replace

from naru.model.errors import Conflict, Forbidden, Invalid, NetworkPickRefused, NotFound
from naru.model.identity import Caller
from naru.model.network_pools import NetworkPool
from naru.model.picks import NetworkPick, RestingAddresses
from naru.model.requests import decode_create
from naru.model.resources import AllocationPool, FixedIp, Network, Port, WantedIp
from naru.service.holds import sweep_holds
from naru.service.network_pools import create_network_pool
from naru.service.networks import delete_network
from naru.service.picks import cancel_pick, commit_pick, create_pick, renew_pick
from naru.service.ports import create_port, create_ports, delete_port, update_port
from naru.service.quotas import COUNTED, quota_details
from naru.service.subnets import delete_subnet
from planning import ADMIN, CLOUD, MEMBER, PlainCloud

COLLEAGUE = Caller("bob", "demo", frozenset({"member"}))
STRANGER = Caller("eve", "other", frozenset({"member"}))


class Picking(PlainCloud):
    """Networks with `sizes[name]` free addresses each, and one who picks."""

    def __init__(self, **sizes: int) -> None:
        super().__init__()
        for number, (name, size) in enumerate(sizes.items()):
            pool = AllocationPool(f"10.0.{number}.10", f"10.0.{number}.{9 + size}")
            self.subnet(self.network(name, MEMBER), f"10.0.{number}.0/24", MEMBER, enable_dhcp=False, allocation_pools=(pool,))

    def named(self, name: str) -> Network:
        return next(self.view.find(Network, "name", name))

    def pool(self, *names: str, **given: object) -> NetworkPool:
        body = {"members": [{"network_id": self.named(name).id} for name in names], **given}
        return self.run(create_network_pool(self.view, ADMIN, decode_create(NetworkPool, body, ADMIN), CLOUD))

    def pick(self, caller: Caller = MEMBER, **body: object) -> NetworkPick:
        return self.run(create_pick(self.view, caller, decode_create(NetworkPick, body, caller), CLOUD))

    def take(self, pick: NetworkPick, caller: Caller = MEMBER, **body: object) -> Port:
        given = decode_create(Port, {"pick_id": pick.id, **body}, caller)
        return self.run(create_port(self.view, caller, given, CLOUD))

    def kept(self, pick: NetworkPick) -> NetworkPick:
        found = self.view.get(NetworkPick, pick.id)
        assert found is not None
        return found

    def pass_time(self, seconds: float) -> None:
        self.view.now += timedelta(seconds=seconds)

    def sweep(self) -> None:
        self.run(sweep_holds(self.view))

    def sums(self, name: str) -> tuple[int, int, int, int]:
        """free, allocated, held, quarantined"""
        space = self.view.addresses(self.named(name).subnets[0])
        return space.free, space.allocated, space.held, space.quarantined


def names_of(cloud: Picking, pick: NetworkPick) -> list[str]:
    return [cloud.view.get(Network, place.network_id).name for place in pick.placements]  # type: ignore[union-attr]


# -- holding


def test_a_pick_holds_what_it_chose_and_a_port_takes_it():
    cloud = Picking(a=2, b=3)
    pick = cloud.pick(count=4)
    assert names_of(cloud, pick) == ["a", "a", "b", "b"]
    assert (cloud.sums("a"), cloud.sums("b")) == ((0, 0, 2, 0), (1, 0, 2, 0))

    port = cloud.take(pick)
    assert port.fixed_ips == pick.placements[0].fixed_ips
    assert (port.pick_id, port.network_id) == (pick.id, pick.placements[0].network_id)
    assert cloud.sums("a") == (0, 1, 1, 0)
    other = cloud.take(pick, network_id=cloud.named("b").id)
    assert other.fixed_ips == pick.placements[2].fixed_ips
    cloud.take(pick)
    assert cloud.kept(pick).status == "held"
    cloud.take(pick)
    assert (cloud.kept(pick).status, cloud.kept(pick).held) == ("used", ())
    assert (cloud.sums("a"), cloud.sums("b")) == ((0, 2, 0, 0), (1, 2, 0, 0))


def test_many_ports_of_one_request_write_their_pick_once():
    cloud = Picking(a=3, b=3)
    pick, other = cloud.pick(count=5), cloud.pick()
    asked = [{"pick_id": pick.id}, {"pick_id": pick.id, "network_id": cloud.named("b").id}, {"pick_id": other.id}, {"pick_id": pick.id}]
    before = len(cloud.changes)
    ports = cloud.run(create_ports(cloud.view, MEMBER, [decode_create(Port, body, MEMBER) for body in asked], CLOUD))
    written = [change.after.kind for change in cloud.changes[before:] if change.after is not None]
    assert written.count("NetworkPick") == 2
    a, b = pick.placements[:3], pick.placements[3:]
    assert [port.fixed_ips for port in ports] == [place.fixed_ips for place in (a[0], b[0], other.placements[0], a[1])]
    assert [place.port_id for place in cloud.kept(pick).placements] == [ports[0].id, ports[3].id, None, ports[1].id, None]
    assert (cloud.kept(pick).status, cloud.kept(other).status) == ("held", "used")


def test_of_more_ports_than_a_pick_holds_none_is_made():
    cloud = Picking(a=3)
    pick = cloud.pick(count=2)
    with pytest.raises(Conflict, match="has nothing left: all of it was taken by ports"):
        cloud.run(create_ports(cloud.view, MEMBER, [decode_create(Port, {"pick_id": pick.id}, MEMBER)] * 3, CLOUD))
    assert (cloud.sums("a"), cloud.kept(pick).status) == ((1, 0, 2, 0), "held")


def test_what_is_held_is_given_to_no_other_port():
    cloud = Picking(a=2)
    pick = cloud.pick()
    (held,) = pick.placements[0].fixed_ips
    assert cloud.port(cloud.named("a"), MEMBER).fixed_ips[0] != held
    with pytest.raises(Conflict, match="2 of 2 taken, of these 1 held by picks"):
        cloud.port(cloud.named("a"), MEMBER)
    with pytest.raises(Conflict, match=f"already allocated in subnet .*: network pick {pick.id} holds it"):
        cloud.port(cloud.named("a"), MEMBER, fixed_ips=(WantedIp(ip_address=held.ip_address),))


def test_a_refused_pick_holds_nothing_and_says_why_of_every_network():
    cloud = Picking(a=2, b=3)
    with pytest.raises(NetworkPickRefused) as refusal:
        cloud.pick(count=6)
    told = refusal.value.beside["network_pick"]
    assert {candidate["name"]: candidate["verdict"] for candidate in told["candidates"]} == {"a": "refused", "b": "refused"}
    assert all(candidate["text_en"] and candidate["text_ko"] for candidate in told["candidates"])
    assert (cloud.sums("a"), cloud.sums("b")) == ((2, 0, 0, 0), (3, 0, 0, 0))
    assert list(cloud.view.all(NetworkPick)) == []


def test_a_refusal_says_what_would_help():
    cloud = Picking(a=2)
    cloud.pool("a", quarantine_s=40, is_default=True, shared=True)
    port = cloud.port(cloud.named("a"), MEMBER)
    cloud.run(delete_port(cloud.view, MEMBER, port.id, CLOUD))
    cloud.pass_time(10)
    with pytest.raises(NetworkPickRefused) as refusal:
        cloud.pick(count=2)
    fixes = {fix["code"]: fix for fix in refusal.value.beside["network_pick"]["fixes"]}
    assert fixes["ask_fewer"]["text_en"]
    assert fixes["wait"]["seconds"] == 30


@pytest.mark.parametrize("attribute", ["host", "availability_zone", "physical_network"])
def test_where_the_place_that_is_asked_for_has_none_the_refusal_says_that_others_have(attribute):
    cloud = Picking(a=2)
    with pytest.raises(NetworkPickRefused) as refused:
        cloud.pick(**{attribute: "nowhere"})
    (fix,) = refused.value.beside["network_pick"]["fixes"]
    assert (fix["code"], fix["attribute"]) == ("relax", attribute)
    with pytest.raises(NetworkPickRefused) as refused:
        cloud.pick(count=3, **{attribute: "nowhere"})
    assert refused.value.beside["network_pick"]["fixes"] == []


def test_fewer_than_count_are_given_only_where_that_was_asked_for():
    cloud = Picking(a=2, b=3)
    assert len(cloud.pick(count=9, min_count=4).placements) == 5
    assert cloud.sums("b") == (0, 0, 3, 0)


def test_a_dry_run_answers_the_same_and_holds_nothing():
    cloud = Picking(a=2, b=3)
    dry = cloud.pick(count=4, dry_run=True)
    assert (dry.status, dry.token, list(cloud.view.all(NetworkPick))) == ("dry_run", None, [])
    real = cloud.pick(count=4)
    assert (dry.placements, dry.candidates) == (real.placements, real.candidates)


def test_one_network_means_one():
    cloud = Picking(a=2, b=3)
    assert names_of(cloud, cloud.pick(count=3, mode="one_network")) == ["b"] * 3
    with pytest.raises(NetworkPickRefused):
        cloud.pick(count=3, mode="one_network")


def test_of_a_long_list_the_sentence_tells_the_first_and_counts_the_rest():
    cloud = Picking(**{f"n{number:02}": 1 for number in range(14)})
    with pytest.raises(NetworkPickRefused) as refusal:
        cloud.pick(count=15)
    assert str(refusal.value).count("it fits, but") == 10
    assert str(refusal.value).endswith("; 4 more: no quorum.")
    assert len(refusal.value.beside["network_pick"]["candidates"]) == 14


# -- IPv6


class Dual(Picking):
    """`four` has IPv4, `six` a stateful IPv6 subnet, `both` both, `slaac` IPv4 and an IPv6 subnet whose addresses follow from MACs."""

    def __init__(self) -> None:
        super().__init__(four=4, both=2, slaac=3)
        for number, (name, mode) in enumerate((("six", "dhcpv6-stateful"), ("both", "dhcpv6-stateful"), ("slaac", "slaac"))):
            network = self.network(name, MEMBER) if name == "six" else self.named(name)
            given = {"ipv6_ra_mode": mode, "ipv6_address_mode": mode}
            self.subnet(network, f"2001:db8:{number}::/64", MEMBER, **given)


def versions(port: Port) -> list[int]:
    return [ip_address(ip.ip_address).version for ip in port.fixed_ips]


def test_ipv6_alone_is_held_and_taken():
    cloud = Dual()
    pick = cloud.pick(count=3, ip_version=6, mode="one_network")
    assert all(ip_address(ip.ip_address).version == 6 for ip in pick.held)
    port = cloud.take(pick)
    assert port.fixed_ips[0] == pick.placements[0].fixed_ips[0]
    assert {candidate["name"]: candidate["reason"] for candidate in pick.candidates}["four"] == "ip_version"
    with pytest.raises(Conflict, match=f"network pick {pick.id} holds it"):
        cloud.port(
            cloud.view.get(Network, port.network_id), MEMBER, fixed_ips=(WantedIp(ip_address=pick.placements[1].fixed_ips[0].ip_address),)
        )


def test_dual_takes_networks_that_have_both_and_holds_one_address_of_each():
    cloud = Dual()
    pick = cloud.pick(count=2, ip_version="dual", mode="one_network")
    assert names_of(cloud, pick) == ["both", "both"]
    assert [[ip_address(ip.ip_address).version for ip in place.fixed_ips] for place in pick.placements] == [[4, 6], [4, 6]]
    assert versions(cloud.take(pick)) == [4, 6]
    assert {candidate["name"]: candidate["reason"] for candidate in pick.candidates}["six"] == "ip_version"


def test_of_both_versions_the_one_that_runs_out_first_says_how_many_fit():
    cloud = Dual()
    with pytest.raises(NetworkPickRefused, match="room for 5, and at least 6"):
        cloud.pick(count=6, ip_version="dual")
    pick = cloud.pick(count=5, ip_version="dual")
    assert sorted(names_of(cloud, pick)) == ["both"] * 2 + ["slaac"] * 3
    slaac = next(place for place in pick.placements if place.network_id == cloud.named("slaac").id)
    assert len(slaac.fixed_ips) == 1  # the other follows from a MAC that is not known yet
    port = cloud.take(pick, network_id=slaac.network_id)
    assert (port.fixed_ips[0], versions(port)) == (slaac.fixed_ips[0], [4, 6])


# -- its end


def test_a_hold_that_expired_gives_nothing_and_goes_free():
    cloud = Picking(a=1)
    pick = cloud.pick(hold_s=30)
    cloud.pass_time(29)
    cloud.sweep()
    assert cloud.sums("a") == (0, 0, 1, 0)
    cloud.pass_time(1)
    with pytest.raises(Conflict, match="expired at 2026-01-01T00:00:30") as refusal:
        cloud.take(pick)
    assert refusal.value.type == "NetworkPickExpired"
    cloud.sweep()
    assert (cloud.kept(pick).status, cloud.sums("a")) == ("expired", (1, 0, 0, 0))
    with pytest.raises(Conflict, match="expired at"):
        cloud.run(renew_pick(cloud.view, MEMBER, pick.id, {}, CLOUD))


def test_renewed_it_lasts_from_then_on_and_committed_for_ever():
    cloud = Picking(a=1)
    pick = cloud.pick(hold_s=30)
    cloud.pass_time(20)
    assert cloud.run(renew_pick(cloud.view, MEMBER, pick.id, {"hold_s": 60}, CLOUD)).expires_at == "2026-01-01T00:01:20.000000Z"
    cloud.run(commit_pick(cloud.view, MEMBER, pick.id, {}, CLOUD))
    cloud.pass_time(10**6)
    cloud.sweep()
    assert (cloud.kept(pick).status, cloud.kept(pick).expires_at, cloud.sums("a")) == ("committed", None, (0, 0, 1, 0))
    cloud.take(pick)


@pytest.mark.parametrize(
    "body", [{"hold_s": 0}, {"hold_s": -1}, {"hold_s": "60"}, {"hold_s": True}, {"hold_s": 86401}, {"hold": 1}, [], None]
)
def test_a_renewal_that_makes_no_sense_is_refused(body):
    cloud = Picking(a=1)
    pick = cloud.pick()
    with pytest.raises(Invalid):
        cloud.run(renew_pick(cloud.view, MEMBER, pick.id, body, CLOUD))


def test_cancelled_it_holds_nothing_and_the_ports_made_from_it_stay():
    cloud = Picking(a=3)
    pick = cloud.pick(count=3)
    port = cloud.take(pick)
    for _ in range(2):
        cloud.run(cancel_pick(cloud.view, MEMBER, pick.id, CLOUD))
    assert (cloud.kept(pick).status, cloud.sums("a")) == ("cancelled", (2, 1, 0, 0))
    assert cloud.view.get(Port, port.id) is not None
    with pytest.raises(Conflict, match="nothing left: it was cancelled"):
        cloud.take(pick)


def test_a_used_pick_goes_with_its_last_port_and_one_that_came_to_nothing_after_an_hour():
    cloud = Picking(a=3)
    used, idle = cloud.pick(count=2), cloud.pick()
    ports = [cloud.take(used), cloud.take(used)]
    cloud.run(delete_port(cloud.view, MEMBER, ports[0].id, CLOUD))
    assert cloud.kept(used).status == "used"
    cloud.run(delete_port(cloud.view, MEMBER, ports[1].id, CLOUD))
    assert cloud.view.get(NetworkPick, used.id) is None
    cloud.pass_time(121)
    cloud.sweep()
    assert cloud.kept(idle).status == "expired"
    cloud.pass_time(3600)
    cloud.sweep()
    assert cloud.view.get(NetworkPick, idle.id) is None


@pytest.mark.parametrize("delete", [delete_network, delete_subnet])
def test_a_network_stays_while_addresses_of_it_are_held(delete):
    cloud = Picking(a=2)
    pick = cloud.pick()
    network = cloud.named("a")
    id = network.id if delete is delete_network else network.subnets[0]
    with pytest.raises(Conflict, match=pick.id):
        cloud.run(delete(cloud.view, MEMBER, id, CLOUD))
    cloud.run(cancel_pick(cloud.view, MEMBER, pick.id, CLOUD))
    cloud.run(delete(cloud.view, MEMBER, id, CLOUD))


@pytest.mark.parametrize("delete", [delete_network, delete_subnet])
def test_a_hold_that_is_over_keeps_no_network(delete):
    cloud = Picking(a=2)
    pick = cloud.pick(hold_s=30)
    network = cloud.named("a")
    cloud.pass_time(30)
    cloud.run(delete(cloud.view, MEMBER, network.id if delete is delete_network else network.subnets[0], CLOUD))
    assert cloud.kept(pick).status == "expired"


def test_what_is_over_is_there_for_the_next_who_asks_before_anybody_swept():
    cloud = Picking(a=2)
    cloud.pool("a", quarantine_s=30)
    cloud.pick(count=2, hold_s=30)
    with pytest.raises(NetworkPickRefused):
        cloud.pick(count=2)
    cloud.pass_time(30)
    cloud.run(delete_port(cloud.view, MEMBER, cloud.take(cloud.pick(count=2), network_id=cloud.named("a").id).id, CLOUD))
    cloud.pass_time(150)
    ports = [cloud.run(create_port(cloud.view, MEMBER, {"network_id": cloud.named("a").id, "project_id": "demo"}, CLOUD)) for _ in range(2)]
    assert len(ports) == 2


# -- who may take


def test_who_did_not_make_it_needs_its_token():
    cloud = Picking(a=5)
    pick = cloud.pick(count=4)
    assert pick.token
    assert cloud.kept(pick).token is None
    with pytest.raises(Forbidden, match="send its token"):
        cloud.take(pick, COLLEAGUE)
    with pytest.raises(Forbidden, match="pick_token is not its token"):
        cloud.take(pick, pick_token="guess")
    with pytest.raises(NotFound):
        cloud.take(pick, STRANGER, pick_token="guess")
    port = cloud.take(pick, COLLEAGUE, pick_token=pick.token)
    assert (port.pick_id, port.pick_token) == (pick.id, None)
    cloud.take(pick, ADMIN, network_id=cloud.named("a").id)
    assert cloud.sums("a") == (1, 2, 2, 0)


def test_any_port_of_the_project_takes_from_a_pick_that_is_open_to_it():
    cloud = Picking(a=3, b=3)
    pick = cloud.pick(count=2, consumable_by="project")
    network = cloud.named("a")
    assert cloud.port(network, ADMIN).pick_id is None  # another project's
    port = cloud.port(network, COLLEAGUE)
    assert (port.pick_id, port.fixed_ips) == (pick.id, pick.placements[0].fixed_ips)
    assert cloud.port(cloud.named("b"), COLLEAGUE).pick_id is None
    cloud.port(network, COLLEAGUE)
    assert cloud.kept(pick).status == "used"
    with pytest.raises(Conflict, match="3 of 3 taken"):
        cloud.port(network, COLLEAGUE)


def test_a_pick_open_to_the_project_gives_nothing_after_its_time():
    cloud = Picking(a=2)
    cloud.pick(consumable_by="project", hold_s=10)
    cloud.pass_time(10)
    assert cloud.port(cloud.named("a"), MEMBER).pick_id is None


def test_a_port_on_another_network_or_with_an_address_of_its_own_takes_nothing():
    cloud = Picking(a=2, b=2)
    pick = cloud.pick()
    with pytest.raises(Conflict, match=f"holds nothing on network {cloud.named('b').id}") as refusal:
        cloud.take(pick, network_id=cloud.named("b").id)
    assert refusal.value.type == "NetworkPickMismatch"
    with pytest.raises(Invalid, match="takes the addresses that the pick holds"):
        cloud.take(pick, fixed_ips=[{"ip_address": "10.0.0.11"}])
    with pytest.raises(Invalid, match="there is no pick_id"):
        cloud.run(
            create_port(cloud.view, MEMBER, decode_create(Port, {"network_id": cloud.named("a").id, "pick_token": "x"}, MEMBER), CLOUD)
        )
    assert cloud.kept(pick) == replace(pick, token=None)
    assert cloud.sums("a") == (1, 0, 1, 0)


# -- asked again, and too much


def test_the_same_key_and_request_is_the_same_pick():
    cloud = Picking(a=5)
    first = cloud.pick(count=2, idempotency_key="k1")
    again = cloud.pick(count=2, idempotency_key="k1")
    assert (again.id, again.placements, again.token) == (first.id, first.placements, None)
    assert cloud.sums("a") == (3, 0, 2, 0)
    with pytest.raises(Conflict, match="by another request") as refusal:
        cloud.pick(count=3, idempotency_key="k1")
    assert refusal.value.type == "IdempotencyKeyReused"
    assert cloud.pick(count=2, idempotency_key="k2").id != first.id


def test_holds_count_against_the_quota_of_ports():
    cloud = Picking(a=9)
    small = replace(CLOUD, quotas={**CLOUD.quotas, "port": 4})
    cloud.port(cloud.named("a"), MEMBER)
    given = decode_create(NetworkPick, {"count": 2}, MEMBER)
    cloud.run(create_pick(cloud.view, MEMBER, given, small))
    with pytest.raises(Conflict, match=r"has 1 ports of 4 and holds addresses for 2 more; 2 are wanted.*quota raised by 1") as refusal:
        cloud.run(create_pick(cloud.view, MEMBER, given, small))
    assert refusal.value.type == "OverQuota"
    assert [fix["code"] for fix in refusal.value.beside["network_pick"]["fixes"]] == ["raise_quota"]
    fewer = cloud.run(create_pick(cloud.view, MEMBER, given | {"min_count": 1}, small))
    assert len(fewer.placements) == 1


def test_a_port_of_no_pick_does_not_use_up_what_picks_hold_of_the_quota():
    cloud = Picking(a=9)
    small = replace(CLOUD, quotas=dict.fromkeys(COUNTED, -1) | {"port": 3})
    pick = cloud.run(create_pick(cloud.view, MEMBER, decode_create(NetworkPick, {"count": 2, "hold_s": 60}, MEMBER), small))
    plain = decode_create(Port, {"network_id": cloud.named("a").id}, MEMBER)
    cloud.run(create_port(cloud.view, MEMBER, plain, small))
    with pytest.raises(Conflict, match="has 1 of 3 and holds 2 for picks") as refusal:
        cloud.run(create_port(cloud.view, MEMBER, plain, small))
    assert refusal.value.type == "OverQuota"
    assert quota_details(cloud.view, MEMBER, "demo", small)["port"] == {"limit": 3, "used": 1, "reserved": 2}
    cloud.run(create_port(cloud.view, MEMBER, decode_create(Port, {"pick_id": pick.id}, MEMBER), small))
    cloud.pass_time(60)
    cloud.run(create_port(cloud.view, MEMBER, plain, small))
    assert quota_details(cloud.view, MEMBER, "demo", small)["port"] == {"limit": 3, "used": 3, "reserved": 0}


# -- rest


def pooled(**given: object) -> Picking:
    cloud = Picking(a=2)
    cloud.pool("a", **given)
    return cloud


def test_in_a_pool_a_released_address_rests_and_elsewhere_it_does_not():
    cloud = pooled(quarantine_s=40)
    port = cloud.port(cloud.named("a"), MEMBER)
    cloud.run(delete_port(cloud.view, MEMBER, port.id, CLOUD))
    assert cloud.sums("a") == (1, 0, 0, 1)
    assert cloud.port(cloud.named("a"), MEMBER).fixed_ips != port.fixed_ips
    with pytest.raises(Conflict, match="of these 1 at rest"):
        cloud.port(cloud.named("a"), MEMBER)
    cloud.pass_time(39)
    cloud.sweep()
    assert cloud.sums("a") == (0, 1, 0, 1)
    cloud.pass_time(1)
    cloud.sweep()
    assert cloud.sums("a") == (1, 1, 0, 0)
    assert list(cloud.view.all(RestingAddresses)) == []

    plain = Picking(a=1)
    port = plain.port(plain.named("a"), MEMBER)
    plain.run(delete_port(plain.view, MEMBER, port.id, CLOUD))
    assert plain.sums("a") == (1, 0, 0, 0)


def test_an_address_that_a_port_exchanged_rests_too():
    cloud = pooled()
    port = cloud.port(cloud.named("a"), MEMBER)
    for last in ("11", "10"):
        cloud.run(update_port(cloud.view, MEMBER, port.id, {"fixed_ips": (WantedIp(ip_address=f"10.0.0.{last}"),)}, CLOUD))
        assert cloud.sums("a") == (0, 1, 0, 1)
    (at_rest,) = cloud.view.all(RestingAddresses)
    assert at_rest.fixed_ips == (FixedIp(cloud.named("a").subnets[0], "10.0.0.11"),)


def test_who_names_an_address_may_have_it_while_it_rests():
    cloud = pooled()
    port = cloud.port(cloud.named("a"), MEMBER)
    cloud.run(delete_port(cloud.view, MEMBER, port.id, CLOUD))
    again = cloud.port(cloud.named("a"), MEMBER, fixed_ips=(WantedIp(ip_address=port.fixed_ips[0].ip_address),))
    assert again.fixed_ips == port.fixed_ips
    assert cloud.sums("a") == (1, 1, 0, 0)


def test_the_longest_rest_that_a_pool_asks_for_counts():
    cloud = pooled(quarantine_s=0)
    cloud.pool("a", quarantine_s=300)
    port = cloud.port(cloud.named("a"), MEMBER)
    cloud.run(delete_port(cloud.view, MEMBER, port.id, CLOUD))
    (at_rest,) = cloud.view.all(RestingAddresses)
    assert at_rest.until == "2026-01-01T00:05:00.000000Z"


def test_what_a_project_holds_counts_for_its_share_of_a_pool():
    cloud = Picking(a=13, b=13)
    pool = cloud.pool("a", "b", project_share=0.25, shared=True)  # 6 of 26
    held = cloud.pick(pool_id=pool.id, count=4)
    with pytest.raises(NetworkPickRefused, match="have room for 2"):
        cloud.pick(pool_id=pool.id, count=3)
    cloud.take(held)
    assert len(cloud.pick(pool_id=pool.id, count=2).placements) == 2
    assert len(cloud.pick(STRANGER, pool_id=pool.id, count=6).placements) == 6
