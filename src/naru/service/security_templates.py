"""The templates from which each new security group gets its first rules; administrators change them.

Reference: https://docs.openstack.org/api-ref/network/v2/#security-group-default-rules
"""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from naru.model.errors import Conflict
from naru.model.identity import Caller
from naru.model.resources import Changes, new_id, put, remove
from naru.model.security import (
    ETHERTYPES,
    PARENT,
    AddressGroup,
    DefaultRulesSeeded,
    DefaultSecurityGroupRule,
    SecurityGroup,
    SecurityGroupRule,
    what_matches,
)
from naru.model.view import View
from naru.service.policy import Cloud, fetch, require_admin
from naru.service.security_rules import check_rule, make_rule, normalized

_SEEDED = "default-security-group-rules"
_COPIED = (
    "description", "direction", "ethertype", "protocol", "port_range_min", "port_range_max", "remote_ip_prefix", "remote_address_group_id",
)  # fmt: skip


def rules_of_new_group(view: View, group: SecurityGroup) -> Changes[list[SecurityGroupRule]]:
    """The rules that the templates give a group that is about to be made."""
    yield from seed_templates(view)
    rules = []
    for template in view.all(DefaultSecurityGroupRule):
        if template.used_in_default_sg if group.is_default else template.used_in_non_default_sg:
            copied = {name: getattr(template, name) for name in _COPIED}
            remote = group.id if template.remote_group_id == PARENT else template.remote_group_id
            rules.append(make_rule(group, copied | {"project_id": group.project_id, "remote_group_id": remote}))
    return rules


def seed_templates(view: View) -> Changes[None]:
    """The first templates, once: all may go out; into a default group may come what its own ports send."""
    if view.get(DefaultRulesSeeded, _SEEDED) is not None:
        return
    yield put(DefaultRulesSeeded(id=_SEEDED))
    for ethertype in ETHERTYPES:
        yield put(DefaultSecurityGroupRule(id=new_id(), direction="egress", ethertype=ethertype, used_in_default_sg=True))
    for ethertype in ETHERTYPES:
        from_itself = DefaultSecurityGroupRule(id=new_id(), direction="ingress", ethertype=ethertype, remote_group_id=PARENT)
        yield put(replace(from_itself, used_in_default_sg=True, used_in_non_default_sg=False))


def missing_templates(view: View, caller: Caller, filters: Mapping[str, tuple[str, ...]]) -> Callable[[View], Changes[Any]] | None:
    """What a list of templates must make first, if anything."""
    return seed_templates if view.get(DefaultRulesSeeded, _SEEDED) is None else None


def create_template(view: View, caller: Caller, given: dict[str, Any], cloud: Cloud) -> Changes[DefaultSecurityGroupRule]:
    """Administrators only. Raises Conflict for a template that says the same for the same groups."""
    require_admin(caller, "create_default_security_group_rule")
    yield from seed_templates(view)
    template = normalized(DefaultSecurityGroupRule(id=new_id(), **given | {"project_id": ""}))
    check_rule(template)
    if template.remote_group_id not in (None, PARENT):
        fetch(view, caller, SecurityGroup, template.remote_group_id)
    if template.remote_address_group_id is not None:
        fetch(view, caller, AddressGroup, template.remote_address_group_id)
    for other in view.all(DefaultSecurityGroupRule):
        overlaps = (template.used_in_default_sg and other.used_in_default_sg) or (
            template.used_in_non_default_sg and other.used_in_non_default_sg
        )
        if overlaps and what_matches(other) == what_matches(template):
            message = f"Default Security group rule already exists. Rule id is {other.id}."
            raise Conflict(message, "DefaultSecurityGroupRuleExists")
    yield put(template)
    return template


def delete_template(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    """Groups keep the rules that they got from it."""
    require_admin(caller, "delete_default_security_group_rule")
    yield remove(fetch(view, caller, DefaultSecurityGroupRule, id))
