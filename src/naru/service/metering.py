"""Metering labels and their rules; administrators alone have any.

Reference: https://docs.openstack.org/api-ref/network/v2/#metering-labels-and-rules
"""

from ipaddress import ip_network
from typing import Any

from naru.model.errors import Conflict
from naru.model.identity import Caller
from naru.model.metering import MeteringLabel, MeteringLabelRule
from naru.model.resources import Changes, new_id, put, remove
from naru.model.view import View
from naru.service.policy import Cloud, fetch, fetch_own, require_admin


def create_label(view: View, caller: Caller, given: dict[str, Any], cloud: Cloud) -> Changes[MeteringLabel]:
    require_admin(caller, "create_metering_label")
    label = MeteringLabel(id=new_id(), **given)
    yield put(label)
    return label


def delete_label(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    """Its rules go with it."""
    label = fetch_own(view, caller, MeteringLabel, id, "delete")
    for rule in list(view.find(MeteringLabelRule, "metering_label_id", id)):
        yield remove(rule)
    yield remove(label)


def create_rule(view: View, caller: Caller, given: dict[str, Any], cloud: Cloud) -> Changes[MeteringLabelRule]:
    """Raises NotFound for a label that is none, Conflict (MeteringLabelRuleOverlaps) where a rule of it counts the same already."""
    require_admin(caller, "create_metering_label_rule")
    rule = MeteringLabelRule(id=new_id(), **given)
    fetch(view, caller, MeteringLabel, rule.metering_label_id)
    prefix = ip_network(rule.remote_ip_prefix)
    for other in view.find(MeteringLabelRule, "metering_label_id", rule.metering_label_id):
        says_the_same = (other.direction, other.excluded) == (rule.direction, rule.excluded)
        if says_the_same and prefix.overlaps(ip_network(other.remote_ip_prefix)):
            message = f"Metering label rule with remote_ip_prefix '{prefix}' overlaps another: {other.id} has {other.remote_ip_prefix}."
            raise Conflict(message, "MeteringLabelRuleOverlaps")
    yield put(rule)
    return rule


def delete_rule(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    yield remove(fetch_own(view, caller, MeteringLabelRule, id, "delete"))
