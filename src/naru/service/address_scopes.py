"""Address scopes: within one, no two subnet pools hold the same prefix, so its networks can be routed without translation."""

from typing import Any

from msgspec.structs import replace

from naru.model.errors import Conflict, Invalid
from naru.model.identity import Caller
from naru.model.pools import AddressScope, SubnetPool
from naru.model.resources import Changes, Network, Subnet, new_id, put, remove
from naru.model.view import View
from naru.service.policy import Cloud, fetch_own
from naru.service.sharing import follow_settings, forget_policies


def create_address_scope(view: View, caller: Caller, given: dict[str, Any], cloud: Cloud) -> Changes[AddressScope]:
    scope = yield from follow_settings(view, None, AddressScope(id=new_id(), **given))
    yield put(scope)
    return scope


def update_address_scope(view: View, caller: Caller, id: str, given: dict[str, Any], cloud: Cloud) -> Changes[AddressScope]:
    """Raises Invalid (AddressScopeUpdateError) for sharing taken back."""
    scope = fetch_own(view, caller, AddressScope, id, "update")
    if scope.shared and given.get("shared") is False:
        raise Invalid(f"Unable to update address scope {id} : Shared address scope can't be unshared.", "AddressScopeUpdateError")
    changed = yield from follow_settings(view, scope, replace(scope, **given))
    yield put(changed)
    return changed


def delete_address_scope(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    """Raises Conflict (AddressScopeInUse) while a subnet pool is in it."""
    scope = fetch_own(view, caller, AddressScope, id, "delete")
    if view.count(SubnetPool, "address_scope_id", id):
        message = f"Unable to complete operation on address scope {id}. There are one or more subnet pools in use on the address scope."
        raise Conflict(message, "AddressScopeInUse")
    yield remove(scope)
    yield from forget_policies(view, id)


def scope_of(view: View, subnet: Subnet) -> str | None:
    """The address scope that a subnet is in by its pool."""
    pool = view.get(SubnetPool, subnet.subnetpool_id) if subnet.subnetpool_id else None
    return pool.address_scope_id if pool is not None else None


def show_scopes(view: View, network_id: str) -> Changes[None]:
    """A network shows the scopes of its subnets: those from pools are all in the same one, for each IP version."""
    network = view.get(Network, network_id)
    if network is None:
        return
    subnets = view.find(Subnet, "network_id", network_id)
    scopes = {subnet.ip_version: scope_id for subnet in subnets if (scope_id := scope_of(view, subnet)) is not None}
    changed = replace(network, ipv4_address_scope=scopes.get(4), ipv6_address_scope=scopes.get(6))
    if changed != network:
        yield put(changed)
