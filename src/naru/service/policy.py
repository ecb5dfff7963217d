"""Who may see and change what: Neutron's default policies for administrators and members.

What a caller may not see does not exist for him: 404, never 403.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from naru.allocate.segments import SegmentRanges
from naru.model.errors import Conflict, Forbidden, not_found
from naru.model.flavors import ServiceFlavor
from naru.model.identity import Caller
from naru.model.logs import LogResource
from naru.model.metering import MeteringLabel, MeteringLabelRule
from naru.model.port_options import DEFAULT_DNS_DOMAIN
from naru.model.qos import RULE_KINDS, QosPolicy
from naru.model.resources import Network, Port, Quota, Resource, Subnet
from naru.model.security import DefaultSecurityGroupRule, SecurityGroup, SecurityGroupRule
from naru.model.segment_ranges import NetworkSegmentRange
from naru.model.sharing import EVERYONE
from naru.model.view import View
from naru.service.pool_reach import is_reached, is_reached_in_hiding

R = TypeVar("R", bound=Resource)


class Cloud(msgspec.Struct, frozen=True):
    """What the operator decided: the ranges to allocate from and the default quotas (-1: unlimited)."""

    ranges: SegmentRanges
    quotas: dict[str, int]
    agent_down_time_s: float = 75.0
    auto_network_cidr: str = "10.10.0.0/24"  # of the network that a project without any gets at its first instance
    dns_domain: str = DEFAULT_DNS_DOMAIN  # of the names that DHCP hands out on networks that are made from now on


def require_writer(caller: Caller, action: str) -> None:
    """Raises Forbidden for who may only read. It says nothing of what there is: it is asked before anything is looked up."""
    if not caller.may_write:
        raise Forbidden(f"{action} is disallowed by policy: it takes the role member, and the token has {sorted(caller.roles)}")


def require_admin(caller: Caller, rule: str) -> None:
    """Raises Forbidden for everybody else."""
    if not caller.is_admin:
        raise Forbidden(f"(rule:{rule}) is disallowed by policy: an administrator may do it")


def owns(caller: Caller, resource: Resource) -> bool:
    return caller.is_admin or (bool(caller.project_id) and resource.project_id == caller.project_id)


def owns_network(view: View, caller: Caller, network_id: str) -> bool:
    network = view.get(Network, network_id)
    return network is not None and owns(caller, network)


# Who else sees a resource than its owner and those it is shared with.
_SEEN_BY_OTHERS: dict[type[Resource], Callable[[View, Caller, Any], bool]] = {
    Network: lambda view, caller, network: _is_external_to(caller, network) or is_reached(view, caller.project_id, network),
    Subnet: lambda view, caller, subnet: _sees_network(view, caller, subnet.network_id),
    Port: lambda view, caller, port: owns_network(view, caller, port.network_id),
    SecurityGroupRule: lambda view, caller, rule: _owns_group(view, caller, rule.security_group_id),
    ServiceFlavor: lambda *_: True,
    DefaultSecurityGroupRule: lambda *_: True,
    **dict.fromkeys(RULE_KINDS, lambda view, caller, rule: _sees_policy(view, caller, rule.qos_policy_id)),
}


# Kinds that projects do not see, though they are for one of them or for all.
_OF_ADMINISTRATORS = (NetworkSegmentRange, LogResource, MeteringLabel, MeteringLabelRule)


def is_shared_with(caller: Caller, resource: Resource | None) -> bool:
    """With everyone, or with the caller's project."""
    return getattr(resource, "shared", False) or caller.project_id in getattr(resource, "shared_with", ())


def _is_external_to(caller: Caller, network: Network) -> bool:
    return EVERYONE in network.external_to or caller.project_id in network.external_to


def _sees_network(view: View, caller: Caller, network_id: str) -> bool:
    network = view.get(Network, network_id)
    return network is not None and can_see(view, caller, network)


def _sees_policy(view: View, caller: Caller, policy_id: str) -> bool:
    policy = view.get(QosPolicy, policy_id)
    return policy is not None and can_see(view, caller, policy)


def _owns_group(view: View, caller: Caller, group_id: str) -> bool:
    group = view.get(SecurityGroup, group_id)
    return group is not None and owns(caller, group)


def can_see(view: View, caller: Caller, resource: Resource) -> bool:
    if isinstance(resource, _OF_ADMINISTRATORS):
        return caller.reads_all
    if caller.reads_all or owns(caller, resource) or is_shared_with(caller, resource):
        return True
    seen = _SEEN_BY_OTHERS.get(type(resource))
    return seen is not None and seen(view, caller, resource)


def visible(view: View, caller: Caller, *, by_id: bool = True) -> Callable[[Resource], bool] | None:
    """A filter for lists; None: the caller sees all. Members of hidden pools are found by their ids only."""
    if caller.reads_all:
        return None
    if by_id:
        return lambda resource: can_see(view, caller, resource)
    return lambda resource: can_see(view, caller, resource) and not _is_hidden(view, caller, resource)


def _is_hidden(view: View, caller: Caller, resource: Resource) -> bool:
    if not isinstance(resource, Network) or owns(caller, resource) or is_shared_with(caller, resource) or _is_external_to(caller, resource):
        return False
    return is_reached_in_hiding(view, caller.project_id, resource)


def appearance(caller: Caller, kind: type[R]) -> Callable[[R], R] | None:
    """What resources look like to the caller: to a project that one is shared with it is `shared`. None: as they are kept."""
    if "shared_with" not in kind.__struct_fields__:
        return None
    project_id = caller.project_id
    return lambda resource: (
        msgspec.structs.replace(resource, shared=True) if project_id in resource.shared_with else resource  # type: ignore[attr-defined]
    )


def fetch(view: View, caller: Caller, kind: type[R], id: str) -> R:
    """A resource to look at. Raises NotFound, also for what the caller may not see."""
    resource = view.get(kind, id)
    if resource is None or not can_see(view, caller, resource):
        raise not_found(kind.kind, id)
    return resource


def fetch_own(view: View, caller: Caller, kind: type[R], id: str, action: str) -> R:
    """A resource to change. Raises NotFound, and Forbidden for what may be seen but not changed."""
    resource = fetch(view, caller, kind, id)
    may_manage = isinstance(resource, Subnet | Port) and owns_network(view, caller, resource.network_id)
    if not (owns(caller, resource) or may_manage):
        raise Forbidden(f"(rule:{action}_{kind.singular}) is disallowed by policy: {kind.kind} {id} belongs to another project")
    return resource


def quota_limits(view: View, cloud: Cloud, project_id: str) -> dict[str, int]:
    quota = view.get(Quota, project_id)
    return cloud.quotas | (quota.limits if quota is not None else {})


def check_quota(view: View, cloud: Cloud, kind: type[Resource], project_id: str, more: int = 1) -> None:
    """Raises Conflict (OverQuota) when the project may not have so many more of this kind."""
    limit = quota_limits(view, cloud, project_id).get(kind.singular, -1)
    used = view.count(kind, "project_id", project_id)
    if 0 <= limit < used + more:
        message = (
            f"Quota exceeded for resources: ['{kind.singular}']. Project {project_id} has {used} of {limit}; an administrator may raise it."
        )
        raise Conflict(message, "OverQuota")
