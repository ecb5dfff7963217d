"""Picks: the scheduler chooses networks, and the addresses there are held until ports take them. Choosing and holding are one plan."""

import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from naru.model.agents import Agent
from naru.model.errors import Conflict, Invalid, NetworkPickRefused, invalid_value
from naru.model.identity import Caller
from naru.model.network_pools import NetworkPool
from naru.model.picks import LONGEST_HOLD_S, OPEN, NetworkPick, Placement, Purposes, RestingAddresses, repeatable
from naru.model.resources import Changes, FixedIp, Network, Port, Subnet, new_id, put
from naru.model.view import View
from naru.schedule.candidates import Verdict, Wish
from naru.schedule.fixes import Fix
from naru.schedule.reasons import words
from naru.service.addressing import choose_ahead
from naru.service.candidates import Shortlist, WhyNot, candidates_for, goes_round, reachability, subnets_for
from naru.service.fixes import fixes_for
from naru.service.growth import HUNGRY, Hungry, grow_for, raised
from naru.service.holds import check_open, count_held, digest, free_addresses, seconds_left
from naru.service.identity import expiry, time_text
from naru.service.network_pools import pass_turn
from naru.service.policy import Cloud, fetch_own, quota_limits

_KEPT_CANDIDATES = 20
_TOLD = 10  # candidates that a sentence goes through
_GROWTH_TRIED = 3  # networks, of those that have grown as far as they may
_PLACES = ("host", "availability_zone", "physical_network")
_STEPS = (1, 2, 4, 8)  # by so many steps more
_COUNTED = ("chosen", "not_needed", "full")  # of these the numbers say all

_encode = msgspec.json.Encoder(order="sorted").encode

# What a pick asks for in the words of the API, that the scheduler has the same words for.
_WISHES = (
    *("pool_id", "count", "min_count", "mode", "max_skew", "ip_version", "host", "availability_zone", "physical_network"),
    *("mtu", "port_security_enabled", "qos_policy_id", "affinity", "anti_affinity"),
)


class Choice(NamedTuple):
    """What a pick would give: for each port its addresses; and a verdict on every network that was looked at."""

    found: Shortlist
    placements: tuple[Placement, ...]
    verdicts: tuple[Verdict, ...]
    stuck: tuple[str, ...] = ()  # what might have grown, and why it could not

    @property
    def pool(self) -> NetworkPool | None:
        return self.found.pool

    def explain(self) -> str:
        """`NET2: chosen, 12 of 13 free; NET1: full, 0 of 13 free`: the chosen ones first, and of many the first."""
        told = [f"{verdict.name or verdict.network_id}: {_short(verdict)}" for verdict in self.verdicts[:_TOLD]]
        rest = Counter(verdict.reason.replace("_", " ") for verdict in self.verdicts[_TOLD:])
        return "; ".join((*told, *(f"{number} more: {reason}" for reason, number in rest.most_common()), *self.stuck[:_TOLD]))

    def answer(self) -> tuple[Any, ...]:
        """The verdicts, to be encoded. Where the pool goes round each is another with each pick, else few are."""
        if self.pool is not None and goes_round(self.pool):
            return self.verdicts
        return tuple(verdict.rendered for verdict in self.verdicts)

    def pass_turn(self, view: View) -> Changes[None]:
        """Where the pool goes round, the next pick goes on from here."""
        if self.pool is not None and self.pool.policy == "round_robin":
            yield from pass_turn(view, self.pool, self.placements[-1].network_id)


def _short(verdict: Verdict) -> str:
    counted = f"{verdict.sum.free} of {verdict.sum.usable} free"
    if verdict.reason == "grown":
        return f"grew by {verdict.values['subnets']}, {counted}"
    if verdict.reason == "chosen" and verdict.values["count"] > 1:
        return f"chosen for {verdict.values['taken']} of {verdict.values['count']}, {counted}"
    return f"{verdict.reason.replace('_', ' ')}, {counted}" if verdict.reason in _COUNTED else words(verdict.reason, verdict.values)


def create_pick(view: View, caller: Caller, given: dict[str, Any], cloud: Cloud) -> Changes[NetworkPick]:
    """Raises NetworkPickRefused where there is no room, with a verdict on every network; Conflict over quota, or for a key used twice.

    With `dry_run` all is the same, but nothing is held or kept. The answer has the token, and all candidates.
    """
    if (given.get("min_count") or 1) > given.get("count", 1):
        raise invalid_value("min_count", f"{given['min_count']} are more than count, {given.get('count', 1)}")
    request = digest(_encode({name: value for name, value in given.items() if name != "idempotency_key"}).decode())
    if (earlier := _asked_before(view, given, request)) is not None:
        return earlier
    wish = within_quota(view, cloud, given["project_id"], wish_of(given))
    steps = choose_networks(view, caller, given["project_id"], wish, cloud)
    choice = view.rehearse(steps) if given.get("dry_run") else (yield from steps)
    if not choice.placements:
        raise refusal(view, caller, given["project_id"], wish, choice, cloud)
    pick, token = pick_of(caller, given, choice), secrets.token_urlsafe(32)
    candidates = choice.answer() if pick.considered > _KEPT_CANDIDATES else pick.candidates
    if pick.dry_run:
        return replace(pick, status="dry_run", candidates=candidates)
    yield put(replace(pick, expires_at=expiry(view.now, pick.hold_s), token_digest=digest(token), request_digest=request))
    yield from choice.pass_turn(view)
    return replace(view.get(NetworkPick, pick.id) or pick, token=token, candidates=candidates)


def pick_of(caller: Caller, given: Mapping[str, Any], choice: Choice) -> NetworkPick:
    """What a choice is to be kept as; whoever keeps it says for how long it holds what is not taken."""
    return NetworkPick(
        id=new_id(),
        **dict(given)
        | {
            "pool_id": choice.pool.id if choice.pool is not None else None,
            "placements": choice.placements,
            "candidates": tuple(msgspec.to_builtins(choice.verdicts[:_KEPT_CANDIDATES])),  # as a restart reads them
            "considered": len(choice.verdicts),
            "user_id": caller.user_id,
        },
    )


def renew_pick(view: View, caller: Caller, id: str, body: Any, cloud: Cloud) -> Changes[NetworkPick]:
    """It is held for `hold_s` from now; where that is not given, for as long as at first. Raises Conflict for one that is over."""
    pick = _open_pick(view, caller, id)
    if not isinstance(body, dict) or body.keys() - {"hold_s"}:
        raise Invalid("The body of a renewal is an object that may have hold_s, and nothing else")
    hold_s = body.get("hold_s", pick.hold_s)
    if isinstance(hold_s, bool) or not isinstance(hold_s, int) or not 1 <= hold_s <= LONGEST_HOLD_S:
        raise invalid_value("hold_s", f"'{hold_s}' is not a number of seconds from 1 to {LONGEST_HOLD_S}")
    renewed = replace(pick, status="held", hold_s=hold_s, expires_at=expiry(view.now, hold_s))
    yield put(renewed)
    return renewed


def commit_pick(view: View, caller: Caller, id: str, body: Any, cloud: Cloud) -> Changes[NetworkPick]:
    """It is held without a limit of time, until ports took it or it is cancelled. Raises Conflict for one that is over."""
    if body != {}:
        raise Invalid("The body of a commit is an empty object")
    committed = replace(_open_pick(view, caller, id), status="committed", expires_at=None)
    yield put(committed)
    return committed


def cancel_pick(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    """What is held goes free; ports that were made from it stay. Of a pick that is over nothing is left to cancel."""
    pick = fetch_own(view, caller, NetworkPick, id, "delete")
    if pick.status in OPEN:
        yield put(replace(pick, status="cancelled", expires_at=time_text(view.now)))


def _open_pick(view: View, caller: Caller, id: str) -> NetworkPick:
    pick = fetch_own(view, caller, NetworkPick, id, "update")
    check_open(view, pick)
    return pick


def _asked_before(view: View, given: Mapping[str, Any], request: str) -> NetworkPick | None:
    """The pick that came of the same request with the same key. Raises Conflict where the request is another one."""
    key = given.get("idempotency_key")
    earlier = next(view.find(NetworkPick, "request", repeatable(given["project_id"], key)), None) if key is not None else None
    if earlier is not None and earlier.request_digest != request:
        message = f"Network pick {earlier.id} was made with idempotency_key '{key}' by another request. Use another key."
        raise Conflict(message, "IdempotencyKeyReused")
    return earlier


# -- choosing


def wish_of(given: Mapping[str, Any]) -> Wish:
    asked = given.get("purposes") or Purposes()
    named = {name: given[name] for name in _WISHES if name in given}
    return Wish(purposes_any=asked.any, purposes_all=asked.all, purposes_not=asked.without, **named)


def within_quota(view: View, cloud: Cloud, project_id: str, wish: Wish) -> Wish:
    """For no more ports than the project may have. Raises NetworkPickRefused (OverQuota) where the least that is wanted is more."""
    limit = quota_limits(view, cloud, project_id).get(Port.singular, -1)
    if limit < 0:
        return wish
    used = view.count(Port, "project_id", project_id)
    held = count_held(view, project_id)
    if (room := limit - used - held) < wish.least:
        lack = wish.least - room
        message = (
            f"Quota exceeded for resources: ['port']. Project {project_id} has {used} ports of {limit} and holds addresses for "
            f"{held} more; {wish.least} are wanted. Delete ports, cancel picks, or have the quota raised by {lack}."
        )
        network_pick = {"candidates": [], "fixes": [Fix("raise_quota", {"ports": lack}).described()]}
        raise NetworkPickRefused(message, network_pick, "OverQuota")
    return replace(wish, count=min(wish.count, room), min_count=wish.least)


def choose_networks(view: View, caller: Caller, project_id: str, wish: Wish, cloud: Cloud) -> Changes[Choice]:
    """The networks that the scheduler chooses now, and their next free addresses. Without placements where there is no room.

    Before that, holds that are over have gone free, and what may grow has grown, step by step, as long as it helps.
    """
    grown: dict[str, list[str]] = {}  # network -> its new prefixes
    stuck: dict[str, str] = {}
    why_not = reachability(list(view.all(Agent)), wish)
    choice = _choose(view, caller, project_id, wish, why_not)
    if not choice.placements and (yield from free_addresses(view)):
        choice = _choose(view, caller, project_id, wish, why_not)
    while not choice.placements:
        subnet = yield from grow_for(view, Hungry(choice.verdicts, choice.pool, why_not), stuck, cloud)
        if subnet is None:
            break
        grown.setdefault(subnet.network_id, []).append(subnet.cidr)
        choice = _choose(view, caller, project_id, wish, why_not)
        if any(verdict.network_id == subnet.network_id and verdict.reason not in (*HUNGRY, "chosen") for verdict in choice.verdicts):
            break
    if grown:
        choice = choice._replace(verdicts=tuple(_with_growth(verdict, grown.get(verdict.network_id)) for verdict in choice.verdicts))
    return choice._replace(stuck=tuple(stuck.values()))


def _with_growth(verdict: Verdict, prefixes: list[str] | None) -> Verdict:
    if prefixes is None or verdict.verdict != "chosen":
        return verdict
    values = verdict.values | {"subnets": ", ".join(prefixes)}
    return replace(verdict, reason="grown", values=values, text_en=words("grown", values), text_ko=words("grown", values, "ko"))


def _choose(view: View, caller: Caller, project_id: str, wish: Wish, why_not: WhyNot) -> Choice:
    found = candidates_for(view, caller, wish, project_id)
    decision = found.place(wish)
    wanted = Counter(decision.assignments)
    addresses = {id: iter(_addresses(view, id, count, wish, why_not)) for id, count in wanted.items()}
    placements = tuple(_placement(view, index, id, addresses) for index, id in enumerate(decision.assignments))
    return Choice(found, placements, decision.verdicts)


def _addresses(view: View, network_id: str, count: int, wish: Wish, why_not: WhyNot) -> list[tuple[FixedIp, ...]]:
    network = view.get(Network, network_id)
    assert network is not None
    subnets = subnets_for(view, network, why_not)
    return choose_ahead(view, network_id, [subnet for subnet in subnets if wish.ip_version in (None, "dual", subnet.ip_version)], count)


def _placement(view: View, index: int, network_id: str, addresses: Mapping[str, Iterator[Any]]) -> Placement:
    fixed_ips = next(addresses[network_id])
    subnet = view.get(Subnet, fixed_ips[0].subnet_id) if fixed_ips else None
    if subnet is None:
        return Placement(index, network_id, None, None, fixed_ips)
    return Placement(index, network_id, subnet.id, subnet.segment_id, fixed_ips)


def refusal(view: View, caller: Caller, project_id: str, wish: Wish, choice: Choice, cloud: Cloud) -> NetworkPickRefused:
    named = f"pool {choice.pool.name or choice.pool.id}" if choice.pool is not None else "any network"
    why = choice.explain() or "there is no network that the project may use"
    fixes = fixes_for(view, caller, wish, choice.found, cloud, _rests_s(view, choice.verdicts))
    unreachable = any(verdict.reason == "unreachable" for verdict in choice.verdicts)
    for attribute in _PLACES if unreachable else ():
        elsewhere = replace(wish, **{attribute: None})
        if elsewhere != wish and view.rehearse(choose_networks(view, caller, project_id, elsewhere, cloud)).placements:
            fixes.insert(0, Fix("relax", {"attribute": attribute}))
            break
    for changed in _larger(view, choice):
        if view.rehearse(_choose_with(changed, choose_networks(view, caller, project_id, wish, cloud))).placements:
            fixes.append(_raise_limit(changed))
            break
    network_pick = {"candidates": msgspec.to_builtins(choice.verdicts), "fixes": [fix.described() for fix in fixes]}
    return NetworkPickRefused(f"No room for {wish.least} in {named}: {why}.", network_pick)


def _larger(view: View, choice: Choice) -> Iterator[Network | NetworkPool]:
    """What has grown as far as its bench lets it, and was looked at: with a bench that lets it grow further."""
    networks = [view.get(Network, verdict.network_id) for verdict in choice.verdicts if verdict.reason in HUNGRY]
    ended = [of for of in (*networks, choice.pool) if of is not None and raised(view, of, 1) is not None]
    for of in ended[:_GROWTH_TRIED]:
        yield from (changed for more in _STEPS if (changed := raised(view, of, more)) is not None)


def _choose_with(changed: Network | NetworkPool, steps: Changes[Choice]) -> Changes[Choice]:
    yield put(changed)
    return (yield from steps)


def _raise_limit(changed: Network | NetworkPool) -> Fix:
    limit = changed.autogrow.limit if changed.autogrow is not None else 0
    return Fix("raise_limit", {"of": changed.name or changed.id, "of_id": changed.id, "limit": limit})


def _rests_s(view: View, verdicts: Iterable[Verdict]) -> dict[str, tuple[int, ...]]:
    """network -> how long each of its addresses rests on."""
    found = {}
    for verdict in verdicts:
        if verdict.sum.quarantined:
            subnets = {subnet.id for subnet in view.find(Subnet, "network_id", verdict.network_id)}
            at_rest = {rest.id: rest for id in subnets for rest in view.find(RestingAddresses, "subnet_id", id)}.values()
            found[verdict.network_id] = tuple(
                seconds_left(view, rest) for rest in at_rest for ip in rest.fixed_ips if ip.subnet_id in subnets
            )
    return found
