"""Quality of service: who has which policy, which rules go together, and which of them hosts enforce.

Where a host does not enforce all rules of a port's policy, the port is not bound there; and while it is, it gets no such policy or rule.
"""

from collections.abc import Collection, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

from msgspec.structs import replace

from naru.model.agents import Agent
from naru.model.errors import Conflict, Forbidden, Invalid, NotFound
from naru.model.identity import Caller
from naru.model.qos import (
    DIRECTIONS,
    DSCP_MARKS,
    LIMITS,
    MOST,
    RULE_KINDS,
    BandwidthLimitRule,
    QosPolicy,
    Rule,
    embedded,
    rule_type,
)
from naru.model.resources import Changes, Network, Port, Resource, new_id, put, remove, rule_name
from naru.model.routing import FloatingIp, Router
from naru.model.view import View
from naru.service.policy import Cloud, can_see, fetch, require_admin
from naru.service.rebinding import follow_policy
from naru.service.sharing import follow_settings, forget_policies

# -- policies


def create_policy(view: View, caller: Caller, given: dict[str, Any], cloud: Cloud) -> Changes[QosPolicy]:
    """Raises Conflict (QoSPolicyDefaultAlreadyExists)."""
    require_admin(caller, "create_policy")
    policy = QosPolicy(id=new_id(), **given)
    _check_default(view, policy)
    policy = yield from follow_settings(view, None, policy)
    yield put(policy)
    return policy


def update_policy(view: View, caller: Caller, id: str, given: dict[str, Any], cloud: Cloud) -> Changes[QosPolicy]:
    """Raises Conflict (QoSPolicyDefaultAlreadyExists)."""
    policy = fetch(view, caller, QosPolicy, id)
    require_admin(caller, "update_policy")
    changed = replace(policy, **given)
    _check_default(view, changed)
    changed = yield from follow_settings(view, policy, changed)
    yield put(changed)
    return changed


def delete_policy(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    """Its rules go with it. Raises Conflict (QosPolicyInUse)."""
    policy = fetch(view, caller, QosPolicy, id)
    require_admin(caller, "delete_policy")
    user = next(_users(view, id), None)
    if user is not None:
        raise Conflict(f"QoS Policy {id} is used by {user.singular} {user.id}.", "QosPolicyInUse")
    for rule in list(_rules(view, id)):
        yield remove(rule)
    yield remove(policy)
    yield from forget_policies(view, id)


_OUTSIDE = (FloatingIp, Router)  # by external addresses, bandwidth alone is limited


def _users(view: View, policy_id: str) -> Iterator[Resource]:
    for kind in (Network, Port, *_OUTSIDE):
        yield from view.find(kind, "qos_policy_id", policy_id)


def _check_default(view: View, policy: QosPolicy) -> None:
    present = default_policy(view, policy.project_id)
    if policy.is_default and present not in (None, policy.id):
        raise Conflict(f"A default QoS policy exists for project {policy.project_id}.", "QoSPolicyDefaultAlreadyExists")


def default_policy(view: View, project_id: str) -> str | None:
    """The policy that a project's new networks get."""
    return next((policy.id for policy in view.find(QosPolicy, "default", project_id)), None)


# -- rules


class RulePlans(NamedTuple):
    """What may be done with rules of one kind."""

    create: Any
    update: Any
    delete: Any


def plans_of(kind: type[Rule]) -> RulePlans:
    return RulePlans(partial(_create_rule, kind), partial(_update_rule, kind), partial(_delete_rule, kind))


def _create_rule(kind: type[Rule], view: View, caller: Caller, given: dict[str, Any], cloud: Cloud) -> Changes[Rule]:
    """Raises NotFound for the policy, Conflict for a rule that does not go with one that is there, or that a host does not enforce."""
    policy = fetch(view, caller, QosPolicy, given["qos_policy_id"])
    require_admin(caller, rule_name("create", kind))
    rule = kind(id=new_id(), **given | {"project_id": policy.project_id})
    _check_rule(view, rule)
    for user in (user for each in _OUTSIDE for user in view.find(each, "qos_policy_id", policy.id)):
        _check_limits_alone(user, policy.id, [rule_type(kind)])
    yield put(rule)
    yield put(replace(policy, rules=(*policy.rules, embedded(rule))))
    yield from _follow_rules(view, policy.id)
    return rule


def _update_rule(kind: type[Rule], view: View, caller: Caller, id: str, given: dict[str, Any], cloud: Cloud) -> Changes[Rule]:
    rule = fetch(view, caller, kind, id)
    require_admin(caller, rule_name("update", kind))
    changed: Rule = replace(rule, **given)
    _check_rule(view, changed)
    yield put(changed)
    policy = fetch(view, caller, QosPolicy, rule.qos_policy_id)
    yield put(replace(policy, rules=tuple(embedded(changed) if one["id"] == id else one for one in policy.rules)))
    return changed


def _delete_rule(kind: type[Rule], view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    rule = fetch(view, caller, kind, id)
    require_admin(caller, rule_name("delete", kind))
    policy = fetch(view, caller, QosPolicy, rule.qos_policy_id)
    yield remove(rule)
    yield put(replace(policy, rules=tuple(one for one in policy.rules if one["id"] != id)))
    yield from _follow_rules(view, policy.id)


def _follow_rules(view: View, policy_id: str) -> Changes[None]:
    """The ports that have the policy. Raises as `follow_policy`."""
    networks = list(view.find(Network, "qos_policy_id", policy_id))
    inherited = [port for network in networks for port in view.find(Port, "network_id", network.id)]
    yield from follow_policy(view, {port.id: port for port in (*view.find(Port, "qos_policy_id", policy_id), *inherited)}.values())


def _rules(view: View, policy_id: str) -> Iterator[Rule]:
    for kind in RULE_KINDS:
        yield from view.find(kind, "qos_policy_id", policy_id)


def _check_rule(view: View, rule: Rule) -> None:
    """Raises Conflict: one rule of a type for a direction (QoSRulesConflict), no guarantee above a limit (QoSRuleParameterConflict)."""
    for other in _rules(view, rule.qos_policy_id):
        if other.id == rule.id:
            continue
        if type(other) is type(rule) and _overlap(rule, other):
            message = (
                f"Rule {rule_type(type(rule))} conflicts with rule {other.id} which already exists in QoS Policy {rule.qos_policy_id}."
            )
            raise Conflict(message, "QoSRulesConflict")
        for limit, guarantee in ((rule, other), (other, rule)):
            _check_bound(limit, guarantee, rule)


def _check_bound(limit: Rule, guarantee: Rule, new: Rule) -> None:
    most, kind, least = LIMITS.get(type(limit), ("", BandwidthLimitRule, ""))
    if not most or type(guarantee) is not kind or not _overlap(limit, guarantee):
        return
    if getattr(guarantee, least) > getattr(limit, most):
        old, (new_value, old_value) = (limit, (least, most)) if new is guarantee else (guarantee, (most, least))
        message = (
            f"Unable to add the rule with value {getattr(new, new_value)} to the policy {new.qos_policy_id} as the existing rule of type "
            f"{rule_type(type(old))} has value {getattr(old, old_value)}."
        )
        raise Conflict(message, "QoSRuleParameterConflict")


def _overlap(one: Rule, other: Rule) -> bool:
    """Rules without a direction meet in both."""
    directions = {getattr(one, "direction", "any"), getattr(other, "direction", "any")}
    return len(directions) == 1 or "any" in directions


# -- rule types: https://docs.openstack.org/api-ref/network/v2/#qos-rule-types


def rule_types(view: View, all_supported: bool, all_rules: bool) -> list[dict[str, Any]]:  # noqa: FBT001
    """Those that every host enforces; `all_supported`: those that some host does. Raises Invalid for both filters at once."""
    if all_supported and all_rules:
        raise Invalid("Invalid input for operation: all_supported and all_rules exclude each other.", "InvalidInput")
    agents = list(view.all(Agent))
    types = [(rule_type(kind), [agent for agent in agents if rule_type(kind) in _enforced(agent)]) for kind in RULE_KINDS]
    least = 0 if all_rules else 1 if all_supported else max(len(agents), 1)
    return [{"type": type, "drivers": _drivers(type, enforcing)} for type, enforcing in types if len(enforcing) >= least]


def _enforced(agent: Agent) -> Collection[str]:
    types: Collection[str] = agent.configurations.get("qos_rule_types", ())
    return types


def _drivers(type: str, enforcing: list[Agent]) -> list[dict[str, Any]]:
    """The mechanisms of the hosts that enforce a type."""
    mechanisms = sorted({agent.configurations["mechanism"] for agent in enforcing})
    return [{"name": mechanism, "supported_parameters": list(_SUPPORTED[type])} for mechanism in mechanisms]


_AMOUNT = {"parameter_type": "range", "parameter_range": {"start": 0, "end": MOST}}
_DIRECTION = {"parameter_name": "direction", "parameter_type": "choices", "parameter_values": DIRECTIONS}
_SUPPORTED = {
    "bandwidth_limit": ({"parameter_name": "max_kbps"} | _AMOUNT, {"parameter_name": "max_burst_kbps"} | _AMOUNT, _DIRECTION),
    "packet_rate_limit": ({"parameter_name": "max_kpps"} | _AMOUNT, {"parameter_name": "max_burst_kpps"} | _AMOUNT, _DIRECTION),
    "dscp_marking": ({"parameter_name": "dscp_mark", "parameter_type": "choices", "parameter_values": DSCP_MARKS},),
}


def show_rule_type(view: View, name: str) -> dict[str, Any]:
    found = next((one for one in rule_types(view, all_supported=False, all_rules=True) if one["type"] == name), None)
    if found is None:
        raise NotFound(f"QoS rule type {name} could not be found.", "QosRuleTypeNotFound")
    return found


# -- what has a policy


def check_policy(view: View, caller: Caller, before: str | None, after: str | None) -> None:
    """Raises NotFound for a policy that the caller may not see, Forbidden where he takes one away that he may not see."""
    if after == before:
        return
    if after is not None:
        fetch(view, caller, QosPolicy, after)
    present = view.get(QosPolicy, before) if before is not None else None
    if present is not None and not can_see(view, caller, present):
        message = f"Failed to remove provided policy {before} because you are not authorized."
        raise Forbidden(message, "PolicyRemoveAuthorizationError")


def check_outer_policy(view: View, caller: Caller, user: Resource, before: str | None, after: str | None) -> None:
    """Of a floating IP, or of the gateway of a router. Raises as `check_policy`, and Conflict (QosRuleNotSupported)."""
    check_policy(view, caller, before, after)
    policy = view.get(QosPolicy, after or "")
    if policy is not None and after != before:
        _check_limits_alone(user, policy.id, [rule["type"] for rule in policy.rules])


def _check_limits_alone(user: Resource, policy_id: str, types: Iterable[str]) -> None:
    if others := sorted(set(types) - {"bandwidth_limit"}):
        kind, reason = (
            user.singular,
            f"rules of type {', '.join(others)} are enforced at ports alone, and here those of type bandwidth_limit",
        )
        raise Conflict(f"QoS policy {policy_id} is not supported by {kind} {user.id}: {reason}.", "QosRuleNotSupported")


def policy_of_new_network(view: View, caller: Caller, given: dict[str, Any]) -> str | None:
    """What was asked for, else the project's default."""
    asked = given.get("qos_policy_id")
    check_policy(view, caller, None, asked)
    return asked or default_policy(view, given["project_id"])


def policy_of_new_port(view: View, caller: Caller, network: Network, given: dict[str, Any]) -> dict[str, Any]:
    check_policy(view, caller, None, given.get("qos_policy_id"))
    return {"qos_network_policy_id": network.qos_policy_id}


def follow_network_policy(view: View, network: Network) -> Changes[None]:
    """The ports of a network have the policy that the network has now. Raises as `follow_policy`."""
    for port in list(view.find(Port, "network_id", network.id)):
        changed = replace(port, qos_network_policy_id=network.qos_policy_id)
        yield put(changed)
        yield from follow_policy(view, [changed])
