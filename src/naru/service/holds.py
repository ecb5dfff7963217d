"""What a port takes: addresses that a pick held for it. What it leaves: addresses at rest, and a pick that nobody needs any more."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from math import ceil
from typing import Any, NamedTuple

from msgspec.structs import replace

from naru.model.errors import Conflict, Forbidden, Invalid, not_found
from naru.model.identity import Caller
from naru.model.picks import OPEN, NetworkPick, Placement, RestingAddresses, open_to
from naru.model.resources import Changes, FixedIp, Network, Port, Subnet, WantedIp, new_id, put, remove
from naru.model.view import View
from naru.service.addressing import is_automatic
from naru.service.identity import expiry, time_text
from naru.service.policy import Cloud, can_see
from naru.service.pool_reach import pools_with


class Taken(NamedTuple):
    """What a port takes of a pick."""

    pick_id: str
    place: Placement


class _Taking:
    """A pick while ports of one request take from it."""

    def __init__(self, pick: NetworkPick) -> None:
        self.pick = pick
        self.waiting = {place.index: place for place in pick.waiting}
        self.taken: dict[int, Placement] = {}

    def take(self, network_id: str | None, port_id: str) -> Taken | None:
        place = next((place for place in self.waiting.values() if network_id in (None, place.network_id)), None)
        if place is None:
            return None
        del self.waiting[place.index]
        taken = self.taken[place.index] = replace(place, port_id=port_id)
        return Taken(self.pick.id, taken)

    def outcome(self) -> NetworkPick:
        placements = tuple(self.taken.get(place.index, place) for place in self.pick.placements)
        return replace(self.pick, placements=placements, status=self.pick.status if self.waiting else "used")


_REMEMBERED = timedelta(hours=1)  # so long is a pick shown that no port came of


def take_placements(view: View, caller: Caller, wanted: Sequence[dict[str, Any]]) -> Changes[list[Taken | None]]:
    """For each port that a request asks for the pick that it takes addresses of, and which; None where it takes from none.

    It is the pick that the port names, or else one that any port of the project on this network may take from. Raises NotFound for
    a pick that the caller may not know of, Forbidden without its token, Conflict where it has nothing (any more) for this port.
    However many ports take from a pick, it is written once: its document has all of its placements.
    """
    takings: dict[str, _Taking] = {}
    taken = [_take(view, caller, given, takings) for given in wanted]
    for taking in takings.values():
        if taking.taken:
            yield put(taking.outcome())
    return taken


def _take(view: View, caller: Caller, given: dict[str, Any], takings: dict[str, _Taking]) -> Taken | None:
    network_id = given.get("network_id")
    if given.get("pick_id") is None:
        if given.get("pick_token") is not None:
            raise Invalid("Invalid input for pick_token. Reason: it is the token of a pick, and there is no pick_id.")
        picks = _open_picks(view, given) if given.get("fixed_ips") is None else []
        taken = (_taking(takings, pick).take(network_id, new_id()) for pick in picks)
        return next((place for place in taken if place is not None), None)
    if given.get("fixed_ips") is not None:
        raise Invalid("Invalid input for fixed_ips. Reason: a port that is made from a pick takes the addresses that the pick holds.")
    taking = _taking(takings, _named_pick(view, caller, given["pick_id"], given.get("pick_token")))
    if not taking.waiting:
        check_open(view, taking.outcome())
    place = taking.take(network_id, new_id())
    if place is None:
        held_on = ", ".join(sorted({place.network_id for place in taking.waiting.values()}))
        message = f"Network pick {given['pick_id']} holds nothing on network {network_id}. Name one where it does ({held_on}), or none."
        raise Conflict(message, "NetworkPickMismatch")
    return place


def _taking(takings: dict[str, _Taking], pick: NetworkPick) -> _Taking:
    return takings.get(pick.id) or takings.setdefault(pick.id, _Taking(pick))


def _open_picks(view: View, given: dict[str, Any]) -> list[NetworkPick]:
    picks = view.find(NetworkPick, "open_to", open_to(given["project_id"], given["network_id"]))
    return [pick for pick in picks if not is_expired(view, pick)]


def _named_pick(view: View, caller: Caller, id: str, token: str | None) -> NetworkPick:
    pick = view.get(NetworkPick, id)
    holds_token = pick is not None and token is not None and digest(token) == pick.token_digest
    if pick is None or not (holds_token or can_see(view, caller, pick)):
        raise not_found("NetworkPick", id)
    is_maker = caller.is_admin or (caller.user_id, caller.project_id) == (pick.user_id, pick.project_id)
    may_take = holds_token or (token is None and (is_maker or pick.consumable_by == "project"))
    if not may_take:
        wrong = "pick_token is not its token" if token is not None else "another user made it: send its token as pick_token"
        raise Forbidden(f"(rule:create_port:pick_id) is disallowed by policy: network pick {id}: {wrong}")
    check_open(view, pick)
    return pick


def check_open(view: View, pick: NetworkPick) -> None:
    """Raises Conflict for a pick that holds nothing any more, saying why."""
    if is_expired(view, pick) or pick.status == "expired":
        message = f"Network pick {pick.id} expired at {pick.expires_at}, and what it held is free again. Ask for another."
        raise Conflict(message, "NetworkPickExpired")
    if pick.status not in OPEN:
        why = {"used": "all of it was taken by ports", "cancelled": "it was cancelled"}[pick.status]
        raise Conflict(f"Network pick {pick.id} has nothing left: {why}. Ask for another.", "NetworkPickUsed")


def is_expired(view: View, pick: NetworkPick) -> bool:
    return pick.status == "held" and pick.expires_at is not None and pick.expires_at <= time_text(view.now)


def count_held(view: View, project_id: str) -> int:
    """Ports that a project's picks hold addresses for: they count against its quota as if they were there."""
    return sum(len(pick.waiting) for pick in view.find(NetworkPick, "holder", project_id) if not is_expired(view, pick))


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def release_addresses(view: View, port: Port, released: tuple[FixedIp, ...], cloud: Cloud) -> Changes[None]:
    """After a port let go of addresses: in a pool they rest, for as long as the slowest of the network's pools says.

    To be run when the port has them no more. What follows from a MAC does not rest: only a port with this MAC gets it again.
    """
    released = tuple(ip for ip in released if (subnet := view.get(Subnet, ip.subnet_id)) is None or not is_automatic(subnet))
    seconds = quarantine_s(view, port.network_id, cloud) if released else 0
    if not seconds:
        return
    at_rest = view.get(RestingAddresses, port.id)
    earlier = at_rest.fixed_ips if at_rest is not None else ()
    yield put(RestingAddresses(id=port.id, fixed_ips=(*earlier, *released), until=expiry(view.now, seconds)))


def quarantine_s(view: View, network_id: str, cloud: Cloud) -> int:
    """How long an address rests there: as the slowest of the network's pools says."""
    network = view.get(Network, network_id)
    pools = pools_with(view, network) if network is not None else ()
    return max((cloud.quarantine_s if pool.quarantine_s is None else pool.quarantine_s for pool in pools), default=0)


def seconds_left(view: View, at_rest: RestingAddresses) -> int:
    return max(0, ceil((datetime.fromisoformat(at_rest.until) - view.now).total_seconds()))


def wake_addresses(view: View, network_id: str, wanted: tuple[WantedIp, ...]) -> Changes[None]:
    """Addresses that a request asks for by name rest no longer: who names one knows what he does."""
    for ask in wanted:
        for at_rest in list(view.find(RestingAddresses, "ip_address", ask.ip_address or "")):
            left = tuple(ip for ip in at_rest.fixed_ips if ip.ip_address != ask.ip_address or not _is_on(view, ip, network_id))
            yield put(replace(at_rest, fixed_ips=left)) if left else remove(at_rest)


def _is_on(view: View, ip: FixedIp, network_id: str) -> bool:
    subnet = view.get(Subnet, ip.subnet_id)
    return subnet is not None and subnet.network_id == network_id


def forget_pick(view: View, port: Port) -> Changes[None]:
    """After a port went: a pick that is over goes with the last port that came of it."""
    pick = view.get(NetworkPick, port.pick_id or "")
    if pick is not None and pick.status not in OPEN and not view.count(Port, "pick_id", pick.id):
        yield remove(pick)


def free_addresses(view: View) -> Changes[bool]:
    """Holds whose time is over go free, and addresses that rested. -> whether there were any."""
    now = time_text(view.now)
    rested = [at_rest for at_rest in view.all(RestingAddresses) if at_rest.until <= now]
    for at_rest in rested:
        yield remove(at_rest)
    expired = [pick for pick in view.find(NetworkPick, "status", "held") if is_expired(view, pick)]
    for pick in expired:
        yield put(replace(pick, status="expired"))
    return bool(rested or expired)


def let_go(view: View, subnet: Subnet) -> Changes[None]:
    """Before a subnet goes. Raises Conflict (SubnetInUse) while a pick holds addresses of it for ports to come."""
    picks = list(view.find(NetworkPick, "subnet_id", subnet.id))
    if held := [pick.id for pick in picks if not is_expired(view, pick)]:
        message = f"Unable to complete operation on subnet {subnet.id}: network picks hold addresses of it ({', '.join(held[:20])})."
        raise Conflict(f"{message} Cancel them, or wait until they expire.", "SubnetInUse")
    for pick in picks:
        yield put(replace(pick, status="expired"))


def sweep_holds(view: View) -> Changes[None]:
    """What is over goes free, also where nobody asks for it; what came to nothing is forgotten."""
    yield from free_addresses(view)
    yield from _shorten(view)
    stale = time_text(view.now - _REMEMBERED)
    over = [pick for status in ("expired", "cancelled") for pick in view.find(NetworkPick, "status", status)]
    for pick in over:
        if (pick.expires_at or "") <= stale and not view.count(Port, "pick_id", pick.id):
            yield remove(pick)


def _shorten(view: View) -> Changes[None]:
    """After the clock was set back nothing is held, or rests, longer than it would from now on."""
    for pick in list(view.find(NetworkPick, "status", "held")):
        if pick.expires_at is not None and pick.expires_at > (latest := expiry(view.now, pick.hold_s)):
            yield put(replace(pick, expires_at=latest))
    now = view.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    for at_rest in [at_rest for at_rest in view.all(RestingAddresses) if at_rest.updated_at > now]:
        rests = datetime.fromisoformat(at_rest.until) - datetime.fromisoformat(at_rest.updated_at)
        yield put(replace(at_rest, until=time_text(view.now + rests)))
