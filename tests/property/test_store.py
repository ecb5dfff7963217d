"""For any sequence of requests: no address twice, nothing left of what was taken back, nothing lost by a restart."""

import asyncio
import contextlib
from collections import Counter
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from databases import ENGINES, Databases
from naru.allocate.addresses import AddressSpace
from naru.model.errors import NaruError
from naru.model.kinds import KINDS
from naru.model.network_pools import POLICIES, Member
from naru.model.picks import NetworkPick, RestingAddresses
from naru.model.resources import AllocationPool, Change, Changes, Network, Port, Resource, Subnet, WantedIp
from naru.model.view import View
from naru.service.candidates import facts_of
from naru.service.holds import sweep_holds
from naru.service.network_pools import create_network_pool
from naru.service.networks import create_network, delete_network, update_network
from naru.service.picks import cancel_pick, create_pick
from naru.service.ports import create_port, delete_port, update_port
from naru.service.quotas import update_quota
from naru.service.subnets import create_subnet, delete_subnet, update_subnet
from naru.store.check import check_database
from naru.store.database import open_database, upgrade
from naru.store.snapshot import Snapshot
from naru.store.store import Store
from naru.store.tables import changes, claims, resources
from planning import ADMIN, CLOUD, PlainCloud

# -- one subnet's addresses against a set

POOLS = st.sampled_from([[(1, 6)], [(1, 3), (5, 9)], [(5, 9), (1, 4)], [(2, 2)], [(1, 3), (4, 4), (20, 24)], []])
DEEDS = st.tuples(st.sampled_from(["choose", "choose", "take", "hold", "rest", "release"]), st.integers(0, 26))
USES = {"choose": "allocated", "take": "allocated", "hold": "held", "rest": "quarantined"}


@given(POOLS, st.lists(DEEDS, max_size=40))
def test_an_address_space_is_a_set_of_taken_addresses(pools, deeds):
    usable = {address for start, end in pools for address in range(start, end + 1)}
    space, taken, last = AddressSpace(pools), dict[int, str](), 0
    for deed, address in deeds:
        free = sorted(usable - taken.keys())
        in_turn = [*(number for number in free if number > last), *(number for number in free if number <= last)]
        assert space.choose_many(address) == in_turn[:address]
        assert space.choose() == next(iter(in_turn), None)
        if deed == "choose":
            address = next(iter(in_turn), None)  # noqa: PLW2901
        if address is None:
            continue
        if deed == "release":
            space.release(address)
            taken.pop(address, None)
        else:
            if address in usable - taken.keys():
                last = address
            space.take(address, USES[deed])
            taken.setdefault(address, USES[deed])
        uses = Counter(use for address, use in taken.items() if address in usable)
        assert {number for number in range(27) if not space.is_free(number)} == taken.keys()
        assert (space.allocated, space.held, space.quarantined) == (uses["allocated"], uses["held"], uses["quarantined"])
        assert space.free == space.usable - uses.total() == len(usable - taken.keys())
        assert space.outside == {address for address, use in taken.items() if use == "allocated"} - usable


# -- requests, as many people might send them

HOSTS = (None, "compute01", "compute02")
MODES: tuple[dict[str, Any], ...] = (
    {"cidr": "10.0.{}.0/29"},
    {"cidr": "10.0.{}.0/30", "gateway_ip": None},
    {"cidr": "fd00:0:0:{}::/64"},
    {"cidr": "fd00:0:0:{}::/64", "ipv6_address_mode": "slaac", "ipv6_ra_mode": "slaac"},
)
ACTIONS = (
    "network",
    "share",
    "subnet",
    "subnet",
    "pools",
    "port",
    "port",
    "port",
    "named port",
    "two",
    "pair",
    "move",
    "rename",
    "quota",
    "drop port",
    "drop port",
    "pool",
    "pick",
    "pick",
    "take",
    "take",
    "drop pick",
    "sweep",
    "drop subnet",
    "drop network",
)
STEPS = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 30), st.integers(0, 9)), min_size=1, max_size=40)
Step = tuple[str, int, int]

# Two networks, one with IPv4 alone, one with both: what most requests need to get anywhere.
BEGINNING: list[Step] = [
    ("network", 0, 9),
    ("network", 0, 9),
    ("subnet", 0, 0),
    ("subnet", 1, 0),
    ("subnet", 1, 3),
    ("port", 0, 0),
    ("port", 1, 0),
]


def plan(view: View, step: Step) -> Changes[Any]:  # noqa: C901, PLR0911, PLR0912  (a table of what somebody may ask)
    """What one request does; it raises NaruError where that is refused. `number` chooses the resource, `detail` what it becomes."""
    action, number, detail = step
    network, subnet, port, pick = (_pick(view, kind, number) for kind in (Network, Subnet, Port, NetworkPick))
    own = {"project_id": ADMIN.project_id}
    match action:
        case "network":
            vni = {"provider_network_type": "vxlan", "provider_segmentation_id": detail + 1} if detail < 4 else {}
            return create_network(view, ADMIN, own | vni, CLOUD)
        case "share" if network:
            return update_network(view, ADMIN, network.id, {"shared": bool(detail % 2)}, CLOUD)
        case "subnet" if network:
            mode = MODES[detail % len(MODES)]
            given = own | mode | {"network_id": network.id, "cidr": mode["cidr"].format(number % 4)}
            return create_subnet(view, ADMIN, given | {"ip_version": 6 if ":" in given["cidr"] else 4}, CLOUD)
        case "pools" if subnet:
            first = subnet.cidr.partition("/")[0].rstrip("0123456789")
            return update_subnet(
                view, ADMIN, subnet.id, {"allocation_pools": (AllocationPool(f"{first}3", f"{first}{3 + detail % 4}"),)}, CLOUD
            )
        case "port" if network:
            return create_port(view, ADMIN, own | {"network_id": network.id, "binding_host_id": HOSTS[detail % 3]}, CLOUD)
        case "named port" if subnet:
            given = own | {"network_id": subnet.network_id, "fixed_ips": _wanted(subnet, detail)}
            return create_port(view, ADMIN, given | {"mac_address": f"fa:16:3e:00:00:0{detail}"}, CLOUD)
        case "two" if subnet:
            return create_port(view, ADMIN, own | {"network_id": subnet.network_id, "fixed_ips": (WantedIp(subnet.id),) * 2}, CLOUD)
        case "move" if port and subnet:
            return update_port(view, ADMIN, port.id, {"fixed_ips": _wanted(subnet, detail)}, CLOUD)
        case "pair" if subnet:
            return _both(plan(view, ("port", number, detail)), plan(view, ("named port", number, detail)))
        case "rename" if port:
            return update_port(view, ADMIN, port.id, {"name": f"p{detail}", "device_id": f"d{detail % 3}"}, CLOUD)
        case "quota":
            return update_quota(view, ADMIN, f"project{detail % 3}", {"port": number}, CLOUD)
        case "pool" if network:
            members = (Member(network.id),)
            return create_network_pool(view, ADMIN, own | {"members": members, "policy": POLICIES[detail % len(POLICIES)]}, CLOUD)
        case "pick":
            openness = {"consumable_by": ("token", "project")[detail % 2], "min_count": 1}
            return create_pick(view, ADMIN, own | openness | {"count": 1 + number % 4}, CLOUD)
        case "take" if pick:
            return create_port(view, ADMIN, own | {"pick_id": pick.id}, CLOUD)
        case "drop pick" if pick:
            return cancel_pick(view, ADMIN, pick.id, CLOUD)
        case "sweep":
            return _sweep(view, timedelta(seconds=detail * 40))
        case "drop port" if port:
            return delete_port(view, ADMIN, port.id, CLOUD)
        case "drop subnet" if subnet:
            return delete_subnet(view, ADMIN, subnet.id, CLOUD)
        case "drop network" if network:
            return delete_network(view, ADMIN, network.id, CLOUD)
    return _nothing()


def _nothing() -> Changes[None]:
    yield from ()


def _sweep(view: View, later: timedelta) -> Changes[None]:
    view.now += later
    yield from sweep_holds(view)


def _both(first: Changes[Any], second: Changes[Any]) -> Changes[Any]:
    """As a bulk request: all of it or nothing."""
    yield from first
    return (yield from second)


def _pick(view: View, kind: type[Any], number: int) -> Any:
    resources = list(view.all(kind))
    return resources[number % len(resources)] if resources else None


def _address(subnet: Subnet, number: int) -> str:
    return str(ip_network(subnet.cidr).network_address + number)


def _wanted(subnet: Subnet, number: int) -> tuple[WantedIp, ...]:
    return (WantedIp(subnet.id, _address(subnet, number)),)


# -- what a snapshot holds, in a form that can be compared


def content(view: Snapshot) -> dict[str, Any]:
    resources = {kind.kind: {resource.id: resource for resource in view.all(kind)} for kind in KINDS.values()}
    found = {
        (kind.kind, index, key): {resource.id for resource in view.find(kind, index, key)}
        for kind in KINDS.values()
        for index in kind.indexes
        for key in view._index(kind, index)._ids
    }
    spaces = {subnet.id: _space(view, subnet) for subnet in view.all(Subnet)}
    assert len(view._spaces) == len(spaces)
    return {"resources": resources, "indexes": found, "spaces": spaces}


def _space(view: Snapshot, subnet: Subnet) -> object:
    """Sums, and which of the first addresses are free: the pools of these tests begin there."""
    space = view.addresses(subnet.id)
    first = int(ip_network(subnet.cidr).network_address)
    sums = space.usable, space.free, space.held, space.quarantined
    return sums, set(space.outside), [space.is_free(first + number) for number in range(16)]


def rebuilt(view: Snapshot) -> Snapshot:
    fresh = Snapshot()
    fresh.apply(Change(None, resource) for kind in KINDS.values() for resource in view.all(kind))
    return fresh


def assert_notes_are_true(view: View) -> None:
    """What was noted of a network before it changed is not believed after."""
    notes = view.notes("facts", lambda network_id: facts_of(view, view.get(Network, network_id)))
    for network in view.all(Network):
        assert notes[network.id] == facts_of(view, network)


def assert_no_address_twice(view: View) -> None:
    takers = [port.fixed_ips for port in view.all(Port)] + [pick.held for pick in view.all(NetworkPick)]
    takers += [at_rest.fixed_ips for at_rest in view.all(RestingAddresses)]
    given = [(ip.subnet_id, ip.ip_address) for addresses in takers for ip in addresses]
    assert len(given) == len(set(given))


# -- properties


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(STEPS, st.booleans()), max_size=4))
def test_a_batch_taken_back_leaves_what_was_there(batches):
    cloud = PlainCloud()
    for steps, is_taken_back in [(BEGINNING, False), *batches]:
        before, done = content(cloud.view), len(cloud.changes)
        for step in steps:
            with contextlib.suppress(NaruError):
                cloud.run(plan(cloud.view, step))
            assert_no_address_twice(cloud.view)
            assert_notes_are_true(cloud.view)
        if is_taken_back:
            cloud.view.undo(cloud.changes[done:])
            del cloud.changes[done:]
            assert content(cloud.view) == before
            assert_notes_are_true(cloud.view)
        assert content(cloud.view) == content(rebuilt(cloud.view))


@pytest.fixture(scope="module", params=ENGINES)
def database(request: pytest.FixtureRequest, databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> str:
    return databases.new(request.param, tmp_path_factory.mktemp("store"))


def empty(url: str) -> None:
    """With the schema in it: migrations take longer than all the rest."""
    engine = open_database(url)
    upgrade(engine)
    with engine.begin() as connection:
        for table in (resources, claims, changes):
            connection.execute(delete(table))
    engine.dispose()


@settings(max_examples=12, deadline=None)
@given(runs=st.lists(STEPS, max_size=3))
def test_a_restart_reads_what_was_there(database, runs):
    empty(database)
    before = None
    for steps in [BEGINNING, *runs, []]:
        store = Store(database)
        held = content(store.view), store.documents, store.view.revision
        assert before in (None, held)
        asyncio.run(send(store, steps))
        assert content(store._writer._draft) == content(store.view)
        before = content(store.view), store.documents, store.view.revision
    assert check_database(database)[1] == []


async def send(store: Store, steps: list[Step]) -> None:
    """Ask for everything at once, as many clients would: requests share batches as they come."""
    store.start()
    answers = await asyncio.gather(*(store.write(lambda view, step=step: plan(view, step)) for step in steps), return_exceptions=True)
    store.stop()
    for answer in answers:
        assert answer is None or isinstance(answer, Resource) or (isinstance(answer, NaruError) and answer.status < 500), answer
