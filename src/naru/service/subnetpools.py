"""Subnet pools: what they hold, who may take of them, and the prefix that a subnet takes."""

from collections.abc import Iterable
from ipaddress import ip_network
from typing import Any

from msgspec.structs import replace

from naru.allocate.prefixes import compact, contains, overlap, without
from naru.model.attributes import cidr as cidr_text
from naru.model.errors import Conflict, Invalid, NotFound
from naru.model.identity import Caller
from naru.model.pools import AddressScope, SubnetPool
from naru.model.resources import Changes, Network, Subnet, new_id, put, remove
from naru.model.view import View
from naru.service.address_scopes import scope_of, show_scopes
from naru.service.policy import Cloud, can_see, check_quota, fetch, fetch_own, owns
from naru.service.sharing import follow_settings, forget_policies

_BITS = {4: 32, 6: 128}
_LEAST = {4: 8, 6: 64}  # min_prefixlen where none is given
_QUOTA_UNIT = {4: 32, 6: 64}  # default_quota counts prefixes of this length


def create_subnetpool(view: View, caller: Caller, given: dict[str, Any], cloud: Cloud) -> Changes[SubnetPool]:
    """Raises Invalid or Conflict, with Neutron's types, for prefixes, lengths and scopes that do not fit together."""
    check_quota(view, cloud, SubnetPool, given["project_id"])
    version = _ip_version(given["prefixes"])
    least = given.get("min_prefixlen", _LEAST[version])
    bounds = {"min_prefixlen": least, "max_prefixlen": _BITS[version], "default_prefixlen": least}
    pool = SubnetPool(id=new_id(), ip_version=version, **bounds | given | {"prefixes": compact(given["prefixes"])})
    _check_bounds(pool)
    _check_default(view, pool)
    _check_scope(view, caller, pool)
    pool = yield from follow_settings(view, None, pool)
    yield put(pool)
    return pool


def update_subnetpool(view: View, caller: Caller, id: str, given: dict[str, Any], cloud: Cloud) -> Changes[SubnetPool]:
    """Prefixes may be added here; `remove_prefixes` takes them away."""
    return (yield from _change(view, caller, fetch_own(view, caller, SubnetPool, id, "update"), given))


def _change(view: View, caller: Caller, pool: SubnetPool, given: dict[str, Any]) -> Changes[SubnetPool]:
    changed = replace(pool, **given)
    if "prefixes" in given:
        _ip_version((*given["prefixes"], *pool.prefixes))
        prefixes = compact(given["prefixes"])
        if not all(contains(prefixes, cidr) for cidr in pool.prefixes):
            raise _illegal_prefixes("Existing prefixes must be a subset of the new prefixes")
        changed = replace(changed, prefixes=prefixes)
    _check_bounds(changed)
    if not pool.is_default:
        _check_default(view, changed)
    if pool.address_scope_id is not None and not owns(caller, fetch(view, caller, AddressScope, pool.address_scope_id)):
        reason = f"subnetpool {pool.id} cannot be updated when associated with shared address scope {pool.address_scope_id}"
        raise _illegal_update(reason)
    _check_scope(view, caller, changed)
    yield put(changed)
    if changed.address_scope_id != pool.address_scope_id:
        for network_id in sorted({subnet.network_id for subnet in view.find(Subnet, "subnetpool_id", pool.id)}):
            yield from show_scopes(view, network_id)
    return changed


def delete_subnetpool(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    """Raises Invalid (SubnetPoolDeleteError) while a subnet has its prefix from it."""
    pool = fetch_own(view, caller, SubnetPool, id, "delete")
    if view.count(Subnet, "subnetpool_id", id):
        raise Invalid("Unable to delete subnet pool: Subnet pool has existing allocations.", "SubnetPoolDeleteError")
    yield remove(pool)
    yield from forget_policies(view, id)


# -- actions


def add_prefixes(view: View, caller: Caller, id: str, body: object, cloud: Cloud) -> Changes[dict[str, Any]]:
    pool = fetch_own(view, caller, SubnetPool, id, "add_prefixes")
    given = {"prefixes": (*pool.prefixes, *_prefixes_of(body))}
    changed = yield from _change(view, caller, pool, given)
    return {"prefixes": list(changed.prefixes)}


def remove_prefixes(view: View, caller: Caller, id: str, body: object, cloud: Cloud) -> Changes[dict[str, Any]]:
    """Raises Invalid (IllegalSubnetPoolPrefixUpdate) for a prefix of which a subnet has a part."""
    pool = fetch_own(view, caller, SubnetPool, id, "remove_prefixes")
    removed = [cidr for cidr in _prefixes_of(body) if overlap([cidr], pool.prefixes)]
    if overlap(removed, (subnet.cidr for subnet in view.find(Subnet, "subnetpool_id", id))):
        raise _illegal_prefixes("One or more the prefixes to be removed is in use by a subnet")
    left = without(pool.prefixes, removed)
    if left != pool.prefixes:
        yield put(replace(pool, prefixes=left))
    return {"prefixes": list(left)}


def onboard_network_subnets(view: View, caller: Caller, id: str, body: object, cloud: Cloud) -> Changes[list[dict[str, str]]]:
    """The subnets of a network become subnets of the pool, which takes up their prefixes."""
    pool = fetch_own(view, caller, SubnetPool, id, "onboard_network_subnets")
    network_id = body.get("network_id") if isinstance(body, dict) else None
    if not isinstance(network_id, str):
        raise _invalid_input("network_id must be specified.")
    fetch_own(view, caller, Network, network_id, "update")
    subnets = [subnet for subnet in view.find(Subnet, "network_id", network_id) if subnet.ip_version == pool.ip_version]
    given_before = view.given_prefixes(id)
    for subnet in subnets:
        if not given_before.is_free(subnet.cidr):
            raise _illegal_update(f"Onboarding subnet {subnet.id}: {subnet.cidr} conflicts with allocated prefixes in subnet pool {id}")
    prefixes = (*pool.prefixes, *(subnet.cidr for subnet in subnets))
    yield from _change(view, caller, pool, {"prefixes": prefixes})
    for subnet in subnets:
        yield put(replace(subnet, subnetpool_id=id))
    yield from show_scopes(view, network_id)
    return [{"id": subnet.id, "cidr": subnet.cidr} for subnet in subnets]


def _prefixes_of(body: object) -> list[str]:
    prefixes = body.get("prefixes") if isinstance(body, dict) else None
    if not isinstance(prefixes, list):
        raise _invalid_input("Failed to parse request. Required attribute 'prefixes' not specified")
    try:
        return [cidr_text(prefix) for prefix in prefixes]
    except ValueError as error:
        raise _invalid_input(str(error)) from None


# -- a prefix for a subnet


def with_prefix(view: View, caller: Caller, given: dict[str, Any]) -> tuple[SubnetPool | None, dict[str, Any]]:
    """-> the pool that a new subnet takes from (None: from none), and what is given, with the cidr asked for or the lowest that is free.

    Raises Invalid for what the pool does not give, Conflict when it has given all, or too much to the project.
    """
    given = dict(given)
    cidr, prefixlen = given.get("cidr"), given.pop("prefixlen", None)
    if cidr is not None and prefixlen is not None:
        raise _bad_subnets("cidr and prefixlen must not be supplied together")
    pool = _pool_of(view, caller, given, is_default=given.pop("use_default_subnetpool", False))
    if pool is not None:
        cidr = _take(view, pool, given, prefixlen)
    elif cidr is None:
        raise _bad_subnets("a subnetpool must be specified in the absence of a cidr")
    return pool, given | {"cidr": cidr, "subnetpool_id": pool.id if pool is not None else None}


def _take(view: View, pool: SubnetPool, given: dict[str, Any], prefixlen: int | None) -> str:
    cidr = given.get("cidr")
    if given["ip_version"] != pool.ip_version:
        raise _bad_subnets(f"Cannot allocate IPv{given['ip_version']} subnet from IPv{pool.ip_version} subnet pool")
    if cidr is None and given.get("allocation_pools"):
        raise _bad_subnets("allocation_pools allowed only for specific subnet requests")
    length = ip_network(cidr).prefixlen if cidr is not None else pool.default_prefixlen if prefixlen is None else prefixlen
    check_length(pool, length)
    _check_pool_quota(pool, given["project_id"], view.find(Subnet, "subnetpool_id", pool.id), length)
    taken = view.given_prefixes(pool.id)
    if cidr is not None:
        if not contains(pool.prefixes, cidr) or not taken.is_free(cidr):
            raise _not_given(f"Cannot allocate requested subnet from the available set of prefixes: pool {pool.id} has no free {cidr}")
        return str(cidr)
    chosen = taken.first_free(pool.prefixes, length)
    if chosen is None:
        raise _not_given(f"Insufficient prefix space to allocate subnet size /{length}: pool {pool.id} has given {taken.count} prefixes")
    return chosen


def _not_given(reason: str) -> Conflict:
    return Conflict(f"Failed to allocate subnet: {reason}.", "SubnetAllocationError")


def _pool_of(view: View, caller: Caller, given: dict[str, Any], *, is_default: bool) -> SubnetPool | None:
    pool_id = given.get("subnetpool_id")
    if not is_default:
        if pool_id == "prefix_delegation":
            raise NotFound(f"Subnet pool {pool_id} could not be found.", "SubnetPoolNotFound")  # no router here asks for delegated prefixes
        return fetch(view, caller, SubnetPool, pool_id) if pool_id is not None else None
    if pool_id is not None:
        raise _bad_subnets("subnetpool_id and use_default_subnetpool cannot both be specified")
    version = given["ip_version"]
    pool = default_pool(view, caller, version)
    if pool is None:
        raise _bad_subnets(f"No default subnetpool found for IPv{version}")
    return pool


def default_pool(view: View, caller: Caller, ip_version: int) -> SubnetPool | None:
    """The default pool that the caller can see."""
    return next((pool for pool in view.find(SubnetPool, "default", str(ip_version)) if can_see(view, caller, pool)), None)


def check_affinity(view: View, network: Network, pool: SubnetPool | None, ip_version: int) -> None:
    """What a network takes from pools for an IP version is of one address scope, and where there is none of one pool.

    Raises Invalid (NetworkAddressScopeAffinityError, NetworkSubnetPoolAffinityError).
    """
    if pool is None:
        return
    scope_id = network.ipv4_address_scope if ip_version == 4 else network.ipv6_address_scope
    if scope_id is not None:
        if pool.address_scope_id != scope_id:
            raise _scope_affinity()
        return
    subnets = view.find(Subnet, "network_id", network.id)
    if any(subnet.ip_version == ip_version and subnet.subnetpool_id != pool.id for subnet in subnets):
        message = "Subnets hosted on the same network must be allocated from the same subnet pool."
        raise Invalid(message, "NetworkSubnetPoolAffinityError")


def check_length(pool: SubnetPool, length: int) -> None:
    if length > pool.max_prefixlen:
        message = f"Unable to allocate subnet with prefix length {length}, maximum allowed prefix is {pool.max_prefixlen}."
        raise Invalid(message, "MaxPrefixSubnetAllocationError")
    if length < pool.min_prefixlen:
        message = f"Unable to allocate subnet with prefix length {length}, minimum allowed prefix is {pool.min_prefixlen}."
        raise Invalid(message, "MinPrefixSubnetAllocationError")


def _check_pool_quota(pool: SubnetPool, project_id: str, subnets: Iterable[Subnet], length: int) -> None:
    if not pool.default_quota:
        return
    unit = _QUOTA_UNIT[pool.ip_version]
    lengths = [ip_network(subnet.cidr).prefixlen for subnet in subnets if subnet.project_id == project_id]
    if sum(2.0 ** (unit - each) for each in (*lengths, length)) > pool.default_quota:
        raise Conflict("Per-project subnet pool prefix quota exceeded.", "SubnetPoolQuotaExceeded")


# -- what a pool may be


def _ip_version(prefixes: Iterable[str]) -> int:
    versions = {ip_network(cidr).version for cidr in prefixes}
    if not versions:
        raise Invalid("Empty subnet pool prefix list.", "EmptySubnetPoolPrefixList")
    if len(versions) > 1:
        raise Invalid("Cannot mix IPv4 and IPv6 prefixes in a subnet pool.", "PrefixVersionMismatch")
    return versions.pop()


def _check_bounds(pool: SubnetPool) -> None:
    for name, length, base, bound, is_wrong in (
        ("min_prefixlen", pool.min_prefixlen, "max_prefixlen", pool.max_prefixlen, pool.min_prefixlen > pool.max_prefixlen),
        ("max_prefixlen", pool.max_prefixlen, "ip_version_max", _BITS[pool.ip_version], pool.max_prefixlen > _BITS[pool.ip_version]),
        ("default_prefixlen", pool.default_prefixlen, "min_prefixlen", pool.min_prefixlen, pool.default_prefixlen < pool.min_prefixlen),
        ("default_prefixlen", pool.default_prefixlen, "max_prefixlen", pool.max_prefixlen, pool.default_prefixlen > pool.max_prefixlen),
    ):
        if is_wrong:
            raise Invalid(f"Illegal prefix bounds: {name}={length}, {base}={bound}.", "IllegalSubnetPoolPrefixBounds")


def _check_default(view: View, pool: SubnetPool) -> None:
    if pool.is_default and view.count(SubnetPool, "default", str(pool.ip_version)):
        raise _invalid_input("A default subnetpool for this IP family has already been set. Only one default may exist per IP family.")


def _check_scope(view: View, caller: Caller, pool: SubnetPool) -> None:
    """The scope can be seen and is of the pool's IP version, no other pool of it has the same addresses, and no network would be torn."""
    if pool.address_scope_id is None:
        return
    scope = fetch(view, caller, AddressScope, pool.address_scope_id)
    if scope.ip_version != pool.ip_version:
        message = (
            f"Illegal subnetpool association: subnetpool {pool.id} cannot associate with address scope {scope.id} "
            f"because subnetpool ip_version is not {scope.ip_version}."
        )
        raise Invalid(message, "IllegalSubnetPoolIpVersionAssociationToAddressScope")
    for network_id in {subnet.network_id for subnet in view.find(Subnet, "subnetpool_id", pool.id)}:
        for subnet in view.find(Subnet, "network_id", network_id):
            if subnet.ip_version == pool.ip_version and subnet.subnetpool_id != pool.id and scope_of(view, subnet) != scope.id:
                raise _scope_affinity()
    for other in view.find(SubnetPool, "address_scope_id", scope.id):
        if other.id != pool.id and overlap(pool.prefixes, other.prefixes):
            message = "Failed to associate address scope: subnetpools within an address scope must have unique prefixes."
            raise Conflict(message, "AddressScopePrefixConflict")


def _scope_affinity() -> Invalid:
    message = "Subnets of the same address family hosted on the same network must all participate in the same address scope."
    return Invalid(message, "NetworkAddressScopeAffinityError")


def _illegal_update(reason: str) -> Invalid:
    return Invalid(f"Illegal subnetpool update : {reason}.", "IllegalSubnetPoolUpdate")


def _illegal_prefixes(reason: str) -> Invalid:
    return Invalid(f"Illegal update to prefixes: {reason}.", "IllegalSubnetPoolPrefixUpdate")


def _bad_subnets(reason: str) -> Invalid:
    return Invalid(f"Bad subnets request: {reason}.", "BadRequest")


def _invalid_input(reason: str) -> Invalid:
    return Invalid(f"Invalid input for operation: {reason}", "InvalidInput")
