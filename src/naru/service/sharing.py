"""Sharing: who else than its owner may use a resource.

The policies are what is decided. What follows from them is kept with the resource they are about: `shared` (with everyone),
`shared_with` (these projects), and for networks `router:external` and `external_to`. Setting `shared` on a resource is the same
as a policy for everyone.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from msgspec.structs import replace

from naru.model.errors import Conflict, Invalid
from naru.model.identity import Caller
from naru.model.network_pools import NetworkPool
from naru.model.pools import AddressScope, SubnetPool
from naru.model.qos import QosPolicy
from naru.model.resources import Changes, Network, Port, Resource, Subnet, new_id, put, remove, rule_name
from naru.model.routing import Router
from naru.model.security import AddressGroup, SecurityGroup, SecurityGroupRule
from naru.model.sharing import AS_EXTERNAL, AS_SHARED, EVERYONE, RbacPolicy
from naru.model.view import View
from naru.service.policy import Cloud, check_quota, fetch, fetch_own, reader, require_admin

R = TypeVar("R", bound=Resource)

# What can be shared, by the words of the API.
_TYPES: Mapping[str, type[Resource]] = {
    "network": Network,
    "subnetpool": SubnetPool,
    "address_scope": AddressScope,
    "security_group": SecurityGroup,
    "address_group": AddressGroup,
    "qos_policy": QosPolicy,
    "network_pool": NetworkPool,
}
_OBJECT_TYPES = {kind: object_type for object_type, kind in _TYPES.items()}

# Which kinds depend on it, through which attribute.
_DEPENDANTS: Mapping[type[Resource], Mapping[type[Resource], str]] = {
    Network: {Port: "network_id"},
    SubnetPool: {Subnet: "subnetpool_id"},
    AddressScope: {SubnetPool: "address_scope_id"},
    SecurityGroup: {Port: "security_groups"},
    AddressGroup: {SecurityGroupRule: "remote_address_group_id"},
    QosPolicy: {Network: "qos_policy_id", Port: "qos_policy_id"},
    NetworkPool: {},  # ports stay where they are
}


# -- policies


def create_policy(view: View, caller: Caller, given: dict[str, Any], cloud: Cloud) -> Changes[RbacPolicy]:
    """Raises Invalid for a type or action that is none, Conflict for a policy that is there already."""
    policy = RbacPolicy(id=new_id(), **given)
    kind = _TYPES.get(policy.object_type)
    if kind is None:
        raise _invalid(f"'{policy.object_type}' is not a valid RBAC object type")
    actions = (AS_SHARED, AS_EXTERNAL) if kind is Network else (AS_SHARED,)
    if policy.action not in actions:
        message = f"Invalid action '{policy.action}' for object type '{policy.object_type}'. Valid actions: {', '.join(actions)}."
        raise Invalid(message, "InvalidActionForType")
    resource = fetch(view, caller, kind, policy.object_id)
    if not caller.is_admin and resource.project_id != caller.project_id:
        raise _invalid("Only admins can manipulate policies on objects they do not own")
    _check_target(view, caller, policy, "create")
    _check_new(view, policy)
    check_quota(view, cloud, RbacPolicy, policy.project_id)
    yield put(policy)
    yield from _follow(view, policy)
    return policy


def update_policy(view: View, caller: Caller, id: str, given: dict[str, Any], cloud: Cloud) -> Changes[RbacPolicy]:
    """Another target. Raises Conflict (RbacPolicyInUse) while the one before depends on it."""
    policy = fetch_own(view, caller, RbacPolicy, id, "update")
    changed = replace(policy, **given)
    if changed.target_tenant == policy.target_tenant:
        return policy
    _check_target(view, caller, changed, "update")
    _check_new(view, changed)
    _check_unused(view, policy, changed.target_tenant)
    yield put(changed)
    yield from _follow(view, changed)
    return changed


def delete_policy(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    """Raises Conflict (RbacPolicyInUse) while a project that has no other access uses the object."""
    policy = fetch_own(view, caller, RbacPolicy, id, "delete")
    _check_unused(view, policy)
    yield remove(policy)
    yield from _follow(view, policy)


def _check_target(view: View, caller: Caller, policy: RbacPolicy, action: str) -> None:
    if policy.target_tenant == EVERYONE:
        require_admin(caller, rule_name(action, RbacPolicy, "target_tenant"), reader(view, caller, policy))


def _check_new(view: View, policy: RbacPolicy) -> None:
    if policy.target_tenant in _targets(view, policy.object_id, policy.action):
        raise Conflict("An RBAC policy already exists with those values.", "DuplicateRbacPolicy")


def _check_unused(view: View, policy: RbacPolicy, *instead: str) -> None:
    resource = view.get(_TYPES[policy.object_type], policy.object_id)
    if resource is None:
        return
    if isinstance(resource, Network) and resource.is_default and (policy.action, policy.target_tenant) == (AS_EXTERNAL, EVERYONE):
        raise _in_use(resource.id, "Default external networks must be shared to everyone.")
    left = {*(_targets(view, resource.id, policy.action) - {policy.target_tenant}), *instead}
    losing = _projects_in_need(view, resource, policy.action, left)
    if policy.target_tenant != EVERYONE:
        losing &= {policy.target_tenant}
    if losing:
        raise _in_use(resource.id, f"it is in use by {', '.join(sorted(losing))}")


def _in_use(id: str, details: str) -> Conflict:
    message = f"RBAC policy on object {id} cannot be removed because other objects depend on it.\nDetails: {details}"
    return Conflict(message, "RbacPolicyInUse")


def _follow(view: View, policy: RbacPolicy) -> Changes[None]:
    """The object takes over what its policies now say."""
    resource = view.get(_TYPES[policy.object_type], policy.object_id)
    if resource is not None:
        yield put(_as_policies_say(view, resource))
        if isinstance(resource, Network):
            yield from share_subnets(view, resource)


# -- the other side: resources


def follow_settings(view: View, before: R | None, after: R) -> Changes[R]:
    """What was set on a resource is kept as policies for everyone. -> `after`, to be put. Raises Conflict for what is in use."""
    for action, setting in ((AS_SHARED, "shared"), (AS_EXTERNAL, "router_external")):
        was, is_set = getattr(before, setting, False), getattr(after, setting, False)
        if is_set and not was:
            yield put(
                RbacPolicy(
                    id=new_id(),
                    project_id=after.project_id,
                    object_type=_OBJECT_TYPES[type(after)],
                    object_id=after.id,
                    action=action,
                    target_tenant=EVERYONE,
                )
            )
        elif was and not is_set:
            # No network is external to some and not to others: with the setting go all of them.
            gone = [policy for policy in _policies(view, after.id, action) if action == AS_EXTERNAL or policy.target_tenant == EVERYONE]
            left = _targets(view, after.id, action) - {policy.target_tenant for policy in gone}
            if action == AS_SHARED and _projects_in_need(view, after, action, left):
                message = f"Unable to reconfigure sharing settings for {after.singular} {after.id}. Multiple projects are using it."
                raise Conflict(message, "InvalidSharedSetting")
            for policy in gone:
                yield remove(policy)
    return _as_policies_say(view, after)


def share_subnets(view: View, network: Network) -> Changes[None]:
    """Subnets are shared, and external, as their network is."""
    shared = EVERYONE in _targets(view, network.id, AS_SHARED)
    kept = view.get(Network, network.id)
    external = kept is not None and kept.router_external
    for subnet in list(view.find(Subnet, "network_id", network.id)):
        if (subnet.shared, subnet.router_external) != (shared, external):
            yield put(replace(subnet, shared=shared, router_external=external))


def forget_policies(view: View, id: str) -> Changes[None]:
    """With a resource go the policies on it."""
    for policy in list(view.find(RbacPolicy, "object_id", id)):
        yield remove(policy)


def _as_policies_say(view: View, resource: R) -> R:
    shared_with = _targets(view, resource.id, AS_SHARED)
    told: dict[str, Any] = {"shared": EVERYONE in shared_with, "shared_with": tuple(sorted(shared_with - {EVERYONE}))}
    if isinstance(resource, Network):
        external_to = _targets(view, resource.id, AS_EXTERNAL)
        told |= {"router_external": resource.router_external or bool(external_to), "external_to": tuple(sorted(external_to))}
    return replace(resource, **told)


def _policies(view: View, id: str, action: str) -> list[RbacPolicy]:
    return [policy for policy in view.find(RbacPolicy, "object_id", id) if policy.action == action]


def _targets(view: View, id: str, action: str) -> set[str]:
    return {policy.target_tenant for policy in _policies(view, id, action)}


def _projects_in_need(view: View, resource: Resource, action: str, targets: set[str]) -> set[str]:
    """The projects that use a resource, and may not if it is shared with these targets alone."""
    if EVERYONE in targets:
        return set()
    users = _gateway_users(view, resource.id) if action == AS_EXTERNAL else _users(view, resource)
    return set(users) - targets - {resource.project_id, ""}


def _users(view: View, resource: Resource) -> Iterator[str]:
    for kind, attribute in _DEPENDANTS[type(resource)].items():
        for user in _dependants(view, kind, attribute, resource.id):
            if not getattr(user, "device_owner", "").startswith("network:"):
                yield user.project_id


def _gateway_users(view: View, network_id: str) -> Iterator[str]:
    """The projects whose routers have their gateway there."""
    for router in view.all(Router):
        if router.external_gateway_info is not None and router.external_gateway_info.network_id == network_id:
            yield router.project_id


def _dependants(view: View, kind: type[Resource], attribute: str, id: str) -> Iterator[Resource]:
    if attribute in kind.indexes:
        return view.find(kind, attribute, id)
    return (resource for resource in view.all(kind) if getattr(resource, attribute, None) == id)


def _invalid(reason: str) -> Invalid:
    return Invalid(f"Invalid input for operation: {reason}.", "InvalidInput")
