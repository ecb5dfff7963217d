"""Network pools: what they may hold, and how they follow the networks that they hold."""

from typing import Any

from msgspec.structs import replace

from naru.model.errors import Conflict, Forbidden, Invalid
from naru.model.identity import Caller
from naru.model.network_pools import NetworkPool, PoolTurn
from naru.model.resources import Changes, Network, new_id, put, remove
from naru.model.view import View
from naru.service.benches import check_bench
from naru.service.policy import Cloud, check_quota, fetch, fetch_own
from naru.service.sharing import follow_settings, forget_policies


def create_network_pool(view: View, caller: Caller, given: dict[str, Any], cloud: Cloud) -> Changes[NetworkPool]:
    """Raises NotFound for a network that its maker does not see, Invalid for a member that is none, Conflict for a second default."""
    check_quota(view, cloud, NetworkPool, given["project_id"])
    pool = NetworkPool(id=new_id(), **given, of_operator=caller.is_admin)
    _check_members(view, caller, pool)
    check_bench(view, caller, pool.autogrow, cloud)
    _check_default(view, pool)
    pool = yield from follow_settings(view, None, pool)
    yield put(pool)
    return pool


def update_network_pool(view: View, caller: Caller, id: str, given: dict[str, Any], cloud: Cloud) -> Changes[NetworkPool]:
    """Raises as `create_network_pool`; Forbidden where a project changes the members that an administrator gave its pool."""
    pool = fetch_own(view, caller, NetworkPool, id, "update")
    changed = replace(pool, **given)
    if pool.of_operator and not caller.is_admin and (changed.members, changed.member_tags) != (pool.members, pool.member_tags):
        raise Forbidden(f"(rule:update_network_pool:members) is disallowed by policy: an administrator made network pool {id}")
    _check_members(view, caller, changed, known=pool)
    if changed.autogrow != pool.autogrow:
        check_bench(view, caller, changed.autogrow, cloud)
    _check_default(view, changed)
    changed = yield from follow_settings(view, pool, changed)
    yield put(changed)
    return changed


def delete_network_pool(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    pool = fetch_own(view, caller, NetworkPool, id, "delete")
    turn = view.get(PoolTurn, id)
    if turn is not None:
        yield remove(turn)
    yield remove(pool)
    yield from forget_policies(view, id)


def leave_pools(view: View, network_id: str) -> Changes[None]:
    """A network that is gone is no member."""
    for pool in list(view.find(NetworkPool, "network_id", network_id)):
        yield put(replace(pool, members=tuple(member for member in pool.members if member.network_id != network_id)))


def pass_turn(view: View, pool: NetworkPool, network_id: str) -> Changes[None]:
    """Where a pool goes round: the next pick begins behind this network."""
    if view.get(PoolTurn, pool.id) != (turn := PoolTurn(id=pool.id, project_id=pool.project_id, network_id=network_id)):
        yield put(turn)


def _check_members(view: View, caller: Caller, pool: NetworkPool, known: NetworkPool | None = None) -> None:
    before = {member.network_id for member in known.members} if known is not None else set()
    for member in pool.members:
        id = member.network_id
        if id == pool.id:
            raise Invalid(f"Invalid input for members. Reason: network pool {id} names itself; members are networks.")
        if view.get(NetworkPool, id) is not None:
            raise Invalid(f"Invalid input for members. Reason: {id} is a network pool; members are networks, pools are not nested.")
        if id not in before:
            fetch(view, caller, Network, id)


def _check_default(view: View, pool: NetworkPool) -> None:
    """Raises Conflict (DefaultNetworkPoolExists): a project has one at most."""
    for other in view.find(NetworkPool, "default", pool.project_id):
        if pool.is_default and other.id != pool.id:
            message = f"Project {pool.project_id} has a default network pool already: {other.id}; set its is_default to false first."
            raise Conflict(message, "DefaultNetworkPoolExists")
