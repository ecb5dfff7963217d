"""Growth: a network or a pool that runs out of room takes the next prefix, and the next segment, of its bench. Nothing is taken away again.

It grows ahead, when a chore finds few addresses left or a forecast short, and at the last moment, in the plan of the port or pick
that would else be refused. Level-triggered: what counts is how much room there is now.
"""

from collections.abc import Collection, Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from msgspec.structs import replace

from naru.model.errors import Conflict, NaruError
from naru.model.growth import Bench
from naru.model.identity import Caller
from naru.model.network_pools import Member, NetworkPool
from naru.model.pools import SubnetPool
from naru.model.resources import Changes, FixedIp, Network, Subnet, put
from naru.model.segments import Segment
from naru.model.view import View
from naru.schedule.candidates import Verdict
from naru.service.addressing import choose_addresses
from naru.service.candidates import WhyNot, facts_of
from naru.service.forecasts import Subject, find_subject, forecast
from naru.service.holds import free_addresses
from naru.service.networks import create_network, delete_network
from naru.service.policy import Cloud
from naru.service.pool_reach import member_networks
from naru.service.segments import create_segment, delete_segment
from naru.service.subnets import create_subnet

HUNGRY = ("full", "floor", "no_quorum", "no_subnet")  # reasons of refusals that more addresses would mend


# -- one step


def grow(view: View, of: Network | NetworkPool, cloud: Cloud) -> Changes[Subnet]:
    """The next subnet of a network, or the next network of a pool with one. Raises Conflict (GrowthExhausted), and has changed nothing."""
    assert of.autogrow is not None
    operator = Caller("", of.project_id, frozenset({"admin"}))  # who approved the bench
    try:
        if isinstance(of, NetworkPool):
            return (yield from _grow_pool(view, operator, of, of.autogrow, cloud))
        return (yield from _grow_network(view, operator, of, of.autogrow, cloud))
    except NaruError as stuck:
        raise Conflict(f"{of.kind} {of.name or of.id} cannot grow: {stuck}", "GrowthExhausted") from None


def _grow_network(view: View, operator: Caller, network: Network, bench: Bench, cloud: Cloud) -> Changes[Subnet]:
    _check_limit(bench, _present(view, network, bench), "subnets")
    segment_id, made = None, None
    if bench.network_type is not None:
        bare = (segment for segment in view.find(Segment, "network_id", network.id) if not view.count(Subnet, "segment_id", segment.id))
        segment = next(bare, None)
        if segment is None:
            segment = made = yield from create_segment(view, operator, {"network_id": network.id, **_wire(view, bench)}, cloud)
        segment_id = segment.id
    try:
        return (yield from _make_subnet(view, operator, network, bench, cloud, segment_id))
    except NaruError:
        if made is not None:
            yield from delete_segment(view, operator, made.id, cloud)
        raise


def _grow_pool(view: View, operator: Caller, pool: NetworkPool, bench: Bench, cloud: Cloud) -> Changes[Subnet]:
    _check_limit(bench, _present(view, pool, bench), "members")
    wire = {f"provider_{name}": value for name, value in _wire(view, bench).items()}
    name = f"{pool.name or pool.id}-{len(pool.members) + 1}"
    network = yield from create_network(view, operator, {"project_id": pool.project_id, "name": name, **wire}, cloud)
    try:
        subnet = yield from _make_subnet(view, operator, network, bench, cloud)
    except NaruError:
        yield from delete_network(view, operator, network.id, cloud)
        raise
    yield put(replace(pool, members=(*pool.members, Member(network.id))))
    return subnet


def raised(view: View, of: Network | NetworkPool, more: int) -> Network | NetworkPool | None:
    """With a bench that lets it grow by so many more than it has; None: it has none, or its limit is not what holds it back."""
    bench = of.autogrow
    if bench is None:
        return None
    present = _present(view, of, bench)
    return replace(of, autogrow=replace(bench, limit=present + more)) if present >= bench.limit else None


def _present(view: View, of: Network | NetworkPool, bench: Bench) -> int:
    """What its limit counts."""
    if isinstance(of, NetworkPool):
        return len(of.members)
    return sum(subnet.subnetpool_id == bench.subnetpool_id for subnet in view.find(Subnet, "network_id", of.id))


def _check_limit(bench: Bench, present: int, what: str) -> None:
    if present >= bench.limit:
        raise Conflict(f"it has {present} {what}, and its limit is {bench.limit}.", "GrowthExhausted")


def _wire(view: View, bench: Bench) -> dict[str, Any]:
    """Of the next segment, as it is asked for; {} where the bench says nothing of it."""
    if bench.network_type is None:
        return {}
    wire = {"network_type": bench.network_type, "physical_network": bench.physical_network}
    if bench.minimum is None or bench.maximum is None:
        return wire
    free = view.segmentation_ids(bench.network_type, bench.physical_network).next_free(bench.minimum)
    if free is None or free > bench.maximum:
        raise Conflict(f"no segmentation id of {bench.minimum}:{bench.maximum} is free.", "GrowthExhausted")
    return wire | {"segmentation_id": free}


def _make_subnet(
    view: View, operator: Caller, network: Network, bench: Bench, cloud: Cloud, segment_id: str | None = None
) -> Changes[Subnet]:
    pool = view.get(SubnetPool, bench.subnetpool_id)
    if pool is None:
        raise Conflict(f"subnet pool {bench.subnetpool_id} is gone.", "GrowthExhausted")
    wanted = {
        "network_id": network.id,
        "project_id": network.project_id,
        "name": f"{network.name or network.id}-{len(network.subnets) + 1}",
        "ip_version": pool.ip_version,
        "subnetpool_id": pool.id,
        "prefixlen": bench.prefixlen,
        "segment_id": segment_id,
    }
    return (yield from create_subnet(view, operator, wanted, cloud))


# -- at the last moment


def choose_or_grow(
    view: View, network: Network, mac: str, device_owner: str, host: str | None, cloud: Cloud
) -> Changes[tuple[FixedIp, ...]]:
    """`choose_addresses`. Where there is no room, what is held too long goes free, then the network grows. Raises as that does, and why."""
    if network.autogrow is not None and not view.count(Subnet, "network_id", network.id):  # else it would be a port without an address
        yield from grow(view, network, cloud)
    while True:
        try:
            return choose_addresses(view, network.id, mac, device_owner, host)
        except Conflict as full:
            current = view.get(Network, network.id)
            if full.type == "IpAddressGenerationFailure" and (yield from free_addresses(view)):
                continue
            if full.type != "IpAddressGenerationFailure" or current is None or current.autogrow is None:
                raise
            try:
                yield from grow(view, current, cloud)
            except Conflict as stuck:
                raise Conflict(f"{full} {stuck}", full.type) from None


class Hungry(NamedTuple):
    """A pick that was refused, and what it looked at."""

    verdicts: Iterable[Verdict]
    pool: NetworkPool | None
    why_not: WhyNot


def grow_for(view: View, refused: Hungry, stuck: dict[str, str], cloud: Cloud) -> Changes[Subnet | None]:
    """One step for the first network that may grow and could serve the pick, else for the pool. None: nothing grew.

    `stuck` gains why, of each that could not.
    """
    networks = [view.get(Network, verdict.network_id) for verdict in refused.verdicts if verdict.reason in HUNGRY]
    pool = view.get(NetworkPool, refused.pool.id) if refused.pool is not None else None
    for of in (*networks, pool):
        if of is None or of.autogrow is None or of.id in stuck:
            continue
        kind = (of.autogrow.network_type, of.autogrow.physical_network)
        if kind[0] is not None and (why := refused.why_not(((kind[0], kind[1]),))) is not None:
            stuck[of.id] = f"{of.name or of.id} does not grow: {why}"
            continue
        try:
            return (yield from grow(view, of, cloud))
        except Conflict as refusal:
            stuck[of.id] = str(refusal).removesuffix(".")
    return None


# -- ahead


def grow_ahead(view: View, cloud: Cloud, soon: Collection[str] = ()) -> Changes[None]:
    """One step for each that has no more free addresses than its floor, or is among `soon`: full within its horizon, by a forecast."""
    for of in _growing(view):
        if of.id in soon or _free(view, of) <= (of.autogrow.floor if of.autogrow is not None else -1):
            with suppress(Conflict):  # whoever is refused because of it is told why
                yield from grow(view, of, cloud)


def with_horizon(view: View, now: datetime) -> list[tuple[Subject, float]]:
    """What has to be forecast, and how many days it must last."""
    operator = Caller("", "", frozenset({"admin"}))
    horizons = ((of.id, of.autogrow.horizon_days) for of in _growing(view) if of.autogrow is not None)
    return [(find_subject(view, operator, id, now), days) for id, days in horizons if days is not None]


def full_soon(subjects: Iterable[tuple[Subject, float]]) -> frozenset[str]:
    """Pure, and some milliseconds of work for each."""
    found = []
    for subject, days in subjects:
        until = forecast(subject).days_to_exhaustion
        if until is not None and until.p50 is not None and until.p50 < days:
            found.append(subject.of.id)
    return frozenset(found)


def _growing(view: View) -> list[Network | NetworkPool]:
    return [*view.find(Network, "autogrow", "*"), *view.find(NetworkPool, "autogrow", "*")]


def _free(view: View, of: Network | NetworkPool) -> int:
    networks = [of] if isinstance(of, Network) else member_networks(view, of)
    return sum(facts_of(view, network).counts(None).free for network in networks)
