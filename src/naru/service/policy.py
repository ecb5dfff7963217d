"""Who may see and change what: Neutron's default policies for administrators and members, and what the operator's rules make of them.

What a caller may not see does not exist for him: 404, never 403. A default is the second word of `Caller.may`: where the operator's
policy file has a rule of that name, the rule decides, for administrators too.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from naru.allocate.segments import SegmentRanges
from naru.model.errors import Conflict, Forbidden, Invalid, not_found
from naru.model.flavors import ServiceFlavor
from naru.model.identity import Caller, Read
from naru.model.logs import LogResource
from naru.model.metering import MeteringLabel, MeteringLabelRule
from naru.model.nova_events import NovaEvent
from naru.model.port_options import DEFAULT_DNS_DOMAIN
from naru.model.qos import RULE_KINDS, QosPolicy
from naru.model.requests import defaults
from naru.model.resources import Network, Port, Quota, Resource, Subnet, attributes, rule_name
from naru.model.routing import FloatingIp, PortForwarding
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
    dhcp_agents_per_network: int = 1
    auto_network_cidr: str = "10.10.0.0/24"  # of the network that a project without any gets at its first instance
    dns_domain: str = DEFAULT_DNS_DOMAIN  # of the names that DHCP hands out on networks that are made from now on
    max_fixed_ips_per_port: int = 50  # that a request may ask for
    quarantine_s: int = 60  # how long a released address rests, where its pool does not say


def require_writer(caller: Caller, action: str) -> None:
    """Raises Forbidden for who may only read. It says nothing of what there is: it is asked before anything is looked up."""
    if not caller.may_write:
        raise Forbidden(f"{action} is disallowed by policy: it takes the role member, and the token has {sorted(caller.roles)}")


def require_admin(caller: Caller, rule: str, read: Read | None = None) -> None:
    """Raises Forbidden for everybody else."""
    if not caller.may(rule, caller.is_admin, read):
        raise refused(caller, rule, "an administrator may do it")


def require_overview(caller: Caller, rule: str) -> None:
    """The same where other services may know it, too."""
    if not caller.may(rule, caller.reads_all):
        raise refused(caller, rule, "an administrator may see it")


def refused(caller: Caller, rule: str, reason: str) -> Forbidden:
    """Neutron's words, and why: the operator's rule, or `reason`."""
    return Forbidden(f"(rule:{rule}) is disallowed by policy: {'the policy file says so' if caller.is_ruled(rule) else reason}")


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
_OF_ADMINISTRATORS = (NetworkSegmentRange, LogResource, MeteringLabel, MeteringLabelRule, NovaEvent)


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
    if caller.overrides is None or (rule := rule_name("get", type(resource))) not in caller.overrides:
        return _sees(view, caller, resource)
    return caller.overrides.allow(rule, caller, reader(view, caller, resource))


def _sees(view: View, caller: Caller, resource: Resource) -> bool:
    if isinstance(resource, _OF_ADMINISTRATORS):
        return caller.reads_all
    if caller.reads_all or owns(caller, resource) or is_shared_with(caller, resource):
        return True
    seen = _SEEN_BY_OTHERS.get(type(resource))
    return seen is not None and seen(view, caller, resource)


def visible(view: View, caller: Caller, *, by_id: bool = True) -> Callable[[Resource], bool] | None:
    """A filter for lists; None: the caller sees all. Members of hidden pools are found by their ids only."""
    if caller.reads_all and caller.overrides is None:
        return None
    if by_id or caller.reads_all:
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
    rule = action if "_" in action else rule_name(action, kind)
    may_manage = isinstance(resource, Subnet | Port) and owns_network(view, caller, resource.network_id)
    if not caller.may(rule, owns(caller, resource) or may_manage, reader(view, caller, resource)):
        raise refused(caller, rule, f"{kind.kind} {id} belongs to another project")
    return resource


# -- the operator's rules

# What a rule may ask of what a resource is a part of, `%(network:project_id)s`: the word for it -> its kind, and who names it.
_ABOVE: Mapping[str, tuple[type[Resource], str]] = {
    "network": (Network, "network_id"),
    "security_group": (SecurityGroup, "security_group_id"),
    "floatingip": (FloatingIp, "floatingip_id"),
}
_EXT_PARENTS: Mapping[type[Resource], str] = {SecurityGroupRule: "security_group", PortForwarding: "floatingip"}  # of others: the network


def reader(view: View, caller: Caller, resource: Resource) -> Read:
    return _reader(
        view, caller, type(resource), lambda field: is_shared_with(caller, resource) if field == "shared" else getattr(resource, field)
    )


def reader_of_new(view: View, caller: Caller, kind: type[Resource], given: Mapping[str, Any]) -> Read:
    """Of what is yet to be made of `given`, field -> value."""
    return _reader(view, caller, kind, lambda field: given.get(field, defaults(kind).get(field)))


def _reader(view: View, caller: Caller, kind: type[Resource], get: Callable[[str], Any]) -> Read:
    def read(wire: str) -> Any:
        if (item := attributes(kind).get(wire)) is not None:
            return get(item.field)
        word, _, attribute = wire.partition(":")
        above, field = _ABOVE[_EXT_PARENTS.get(kind, "network") if word == "ext_parent" else word]
        parent = view.get(above, get(field)) if field in kind.__struct_fields__ else None
        if parent is None:
            raise KeyError(wire)
        return reader(view, caller, parent)(attribute)

    return read


def check_rules(caller: Caller, kind: type[Resource], action: str, given: Mapping[str, Any], read: Read) -> None:
    """Raises Forbidden where a rule of the operator's keeps the caller from an attribute that he sets, or from creating at all."""
    if caller.overrides is None:
        return
    rule = rule_name(action, kind)
    if action == "create" and not caller.may(rule, True, read):
        raise refused(caller, rule, "")
    for wire in sorted(caller.overrides.names(rule)):
        item = attributes(kind).get(wire)
        if item is not None and item.field in given:
            is_change = action == "update" or given[item.field] != defaults(kind).get(item.field, msgspec.UNSET)
            if is_change and not caller.may(f"{rule}:{wire}", True, read):
                raise refused(caller, f"{rule}:{wire}", "")


def sees_attribute(caller: Caller, kind: type[Resource], wire: str, read: Read) -> bool:
    who = attributes(kind)[wire].attribute.see
    return caller.may(rule_name("get", kind, wire), who == "anyone" or (who == "admin" and caller.reads_all), read)


def shown(view: View, caller: Caller, kind: type[Resource]) -> Callable[[Resource], list[str]] | None:
    """The wire names of what the caller gets of a resource. None: as the kind describes it, no rule of the operator's is about that."""
    if caller.overrides is None or not (ruled := caller.overrides.names(rule_name("get", kind))):
        return None
    others = [wire for wire in attributes(kind) if wire not in ruled and sees_attribute(caller, kind, wire, _of_nothing)]

    def names(resource: Resource) -> list[str]:
        read = reader(view, caller, resource)
        return others + [wire for wire in ruled if sees_attribute(caller, kind, wire, read)]

    return names


def check_asked(caller: Caller, kind: type[Resource], wires: Iterable[str]) -> None:
    """Raises Invalid for filters and sort keys by what the caller may not see of every resource: else they would tell."""
    hidden = [wire for wire in wires if wire in attributes(kind) and not sees_attribute(caller, kind, wire, _of_nothing)]
    if hidden:
        raise Invalid(f"{hidden} is invalid attribute for filtering of {kind.plural}")


def _of_nothing(wire: str) -> Any:
    raise KeyError(wire)


# -- quotas


def quota_limits(view: View, cloud: Cloud, project_id: str) -> dict[str, int]:
    quota = view.get(Quota, project_id)
    return cloud.quotas | (quota.limits if quota is not None else {})


def check_quota(view: View, cloud: Cloud, kind: type[Resource], project_id: str, more: int = 1, held: int = 0) -> None:
    """Raises Conflict (OverQuota) when the project may not have so many more of this kind, beside those that are held for it."""
    limit = quota_limits(view, cloud, project_id).get(kind.singular, -1)
    used = view.count(kind, "project_id", project_id)
    if 0 <= limit < used + held + more:
        holds = f" and holds {held} for picks" if held else ""
        message = (
            f"Quota exceeded for resources: ['{kind.singular}']. Project {project_id} has {used} of {limit}{holds}; "
            "an administrator may raise it."
        )
        raise Conflict(message, "OverQuota")
