"""Security groups and their rules: each project has a default group from its first network, port or list on.

Reference: https://docs.openstack.org/api-ref/network/v2/#security-groups-security-groups
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from naru.model.errors import Conflict, Invalid, not_found
from naru.model.identity import Caller
from naru.model.resources import Changes, Port, new_id, put, remove
from naru.model.security import AddressGroup, DefaultSecurityGroupRule, SecurityGroup, SecurityGroupRule, embedded, what_matches
from naru.model.view import View
from naru.service.logs import forget_logs
from naru.service.policy import Cloud, can_see, check_quota, fetch, fetch_own, owns
from naru.service.security_rules import check_rule, make_rule
from naru.service.security_statefulness import is_stateful_by_default
from naru.service.security_templates import rules_of_new_group
from naru.service.sharing import forget_policies


def find_default_group(view: View, project_id: str) -> SecurityGroup | None:
    return next(view.find(SecurityGroup, "default", project_id), None)


def ensure_default_group(view: View, project_id: str) -> Changes[SecurityGroup | None]:
    """The project's default group, made where it is missing; None where there is no project."""
    if not project_id:
        return None
    group = find_default_group(view, project_id)
    if group is None:
        given = {"project_id": project_id, "name": "default", "description": "Default security group", "is_default": True}
        group = yield from _put_new_group(view, given)
    return group


def groups_named(view: View, caller: Caller, names: Iterable[str]) -> tuple[str, ...] | None:
    """The ids of groups named by id or by name, as Nova asks. None: just the default group, which a port gets by itself.

    Raises Invalid for a group that is not there, Conflict for a name that several groups of the project have.
    """
    ids = dict.fromkeys(_group_named(view, caller, name) for name in names if name != "default")
    if not ids:
        return None
    default = find_default_group(view, caller.project_id) if "default" in names else None
    return (*ids, *((default.id,) if default is not None else ()))


def _group_named(view: View, caller: Caller, name: str) -> str:
    own = [group.id for group in view.find(SecurityGroup, "name", name) if group.project_id == caller.project_id]
    if len(own) > 1:
        raise Conflict(f"Multiple security groups found matching '{name}'. Use an ID to be more specific.", "NoUniqueMatch")
    group = view.get(SecurityGroup, own[0] if own else name)
    if group is None or not can_see(view, caller, group):
        raise Invalid(f"Security group {name} not found for project {caller.project_id}.")
    return group.id


def missing_default_group(view: View, caller: Caller, filters: Mapping[str, tuple[str, ...]]) -> Callable[[View], Changes[Any]] | None:
    """What a list of groups or rules must make first, if anything: the default group of the project whose groups are asked for."""
    project_id = (filters.get("project_id") or filters.get("tenant_id") or (caller.project_id,))[0]
    if not project_id or not (caller.is_admin or project_id == caller.project_id) or find_default_group(view, project_id):
        return None
    return lambda view: ensure_default_group(view, project_id)


# -- groups


def create_group(view: View, caller: Caller, given: dict[str, Any], cloud: Cloud) -> Changes[SecurityGroup]:
    """Raises Conflict for the name "default" and for a full quota of groups or rules."""
    check_quota(view, cloud, SecurityGroup, given["project_id"])
    _check_name(given)
    yield from ensure_default_group(view, given["project_id"])
    group = yield from _put_new_group(view, given)
    check_quota(view, cloud, SecurityGroupRule, given["project_id"], more=0)
    return group


def update_group(view: View, caller: Caller, id: str, given: dict[str, Any], cloud: Cloud) -> Changes[SecurityGroup]:
    """Raises Conflict for another name of the default group, and for another `stateful` while ports have the group."""
    group = fetch_own(view, caller, SecurityGroup, id, "update")
    _check_name(given)
    if group.is_default and "name" in given:
        raise Conflict("Updating default security group not allowed.", "SecurityGroupCannotUpdateDefault")
    if given.get("stateful", group.stateful) != group.stateful:
        _check_unused(view, id)
    changed = replace(group, **given)
    yield put(changed)
    return changed


def delete_group(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    """Rules of other groups and templates that name it go with it. Raises Conflict for the default group and one that a port has."""
    group = fetch_own(view, caller, SecurityGroup, id, "delete")
    _check_unused(view, id)
    if group.is_default and not caller.is_admin:
        raise Conflict("Insufficient rights for removing default security group.", "SecurityGroupCannotRemoveDefault")
    for template in [template for template in view.all(DefaultSecurityGroupRule) if template.remote_group_id == id]:
        yield remove(template)
    naming = [rule for rule in view.find(SecurityGroupRule, "remote_group_id", id) if rule.security_group_id != id]
    for rule in naming:
        yield from _remove_rule(view, rule)
    for rule in list(view.find(SecurityGroupRule, "security_group_id", id)):
        yield remove(rule)
    yield remove(group)
    yield from forget_policies(view, id)
    yield from forget_logs(view, id)


def _put_new_group(view: View, given: dict[str, Any]) -> Changes[SecurityGroup]:
    """The group and the rules that the templates give it."""
    group = SecurityGroup(id=new_id(), **{"stateful": is_stateful_by_default(view, given["project_id"])} | given)
    rules = yield from rules_of_new_group(view, group)
    for rule in rules:
        yield put(rule)
    group = replace(group, security_group_rules=_as_kept(view, rules))
    yield put(group)
    return group


def _as_kept(view: View, rules: Iterable[SecurityGroupRule]) -> tuple[dict[str, Any], ...]:
    """The rules with the times that the store gave them."""
    return tuple(embedded(view.get(SecurityGroupRule, rule.id) or rule) for rule in rules)


def _check_name(given: dict[str, Any]) -> None:
    if given.get("name", "").lower() == "default":
        raise Conflict("Default security group already exists.", "SecurityGroupDefaultAlreadyExists")


def _check_unused(view: View, id: str) -> None:
    if view.count(Port, "security_groups", id):
        raise Conflict(f"Security Group {id} in use.", "SecurityGroupInUse")


# -- rules


def create_rule(view: View, caller: Caller, given: dict[str, Any], cloud: Cloud) -> Changes[SecurityGroupRule]:
    (rule,) = yield from create_rules(view, caller, [given], cloud)
    return rule


def create_rules(view: View, caller: Caller, wanted: Sequence[dict[str, Any]], cloud: Cloud) -> Changes[list[SecurityGroupRule]]:
    """Rules of one group, all or none.

    Raises NotFound for a group that the caller may not see, Conflict for a rule that is there already, Invalid for what does not fit.
    """
    group = _group_of(view, caller, wanted)
    check_quota(view, cloud, SecurityGroupRule, wanted[0]["project_id"], more=len(wanted))
    rules: list[SecurityGroupRule] = []
    for given in wanted:
        rule = make_rule(group, given)
        check_rule(rule)
        if rule.remote_group_id is not None:
            fetch(view, caller, SecurityGroup, rule.remote_group_id)
        if rule.remote_address_group_id is not None:
            fetch(view, caller, AddressGroup, rule.remote_address_group_id)
        _check_new(view, rule, rules)
        yield put(rule)
        rules.append(rule)
    yield put(replace(group, security_group_rules=(*group.security_group_rules, *_as_kept(view, rules))))
    return rules


def delete_rule(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    yield from _remove_rule(view, fetch_own(view, caller, SecurityGroupRule, id, "delete"))


def _remove_rule(view: View, rule: SecurityGroupRule) -> Changes[None]:
    yield remove(rule)
    group = view.get(SecurityGroup, rule.security_group_id)
    if group is not None:
        yield put(replace(group, security_group_rules=tuple(kept for kept in group.security_group_rules if kept["id"] != rule.id)))


def _group_of(view: View, caller: Caller, wanted: Sequence[dict[str, Any]]) -> SecurityGroup:
    """The one group whose rules are wanted."""
    if len({given["security_group_id"] for given in wanted}) > 1:
        raise Invalid("Only allowed to update rules for one security profile at a time", "SecurityGroupNotSingleGroupRules")
    if len({given["project_id"] for given in wanted}) > 1:
        message = "Multiple tenant_ids in bulk security group rule create not allowed"
        raise Invalid(message, "SecurityGroupRulesNotSingleTenant")
    group = fetch(view, caller, SecurityGroup, wanted[0]["security_group_id"])
    if not owns(caller, group):  # a shared group is there to be used, not to be changed
        raise not_found(SecurityGroup.kind, group.id)
    return group


def _check_new(view: View, rule: SecurityGroupRule, together: Sequence[SecurityGroupRule]) -> None:
    for same in view.find(SecurityGroupRule, "matches", f"{rule.security_group_id} {what_matches(rule)}"):
        if any(same.id == other.id for other in together):
            raise Conflict("Duplicate Security Group Rule in POST.", "DuplicateSecurityGroupRuleInPost")
        raise Conflict(f"Security group rule already exists. Rule id is {same.id}.", "SecurityGroupRuleExists")
