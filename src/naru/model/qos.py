"""Quality of service: policies, and their rules of five types.

Rules are resources of their own, and stand once more in the document of their policy, as the API shows them there.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from naru.model.attributes import SharedWith, Tags, at_create, boolean, hidden, integer, name_text, one_of, read_only, settable, text
from naru.model.resources import Keys, Port, Resource, attributes

DSCP_MARKS = (0, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 44, 46, 48, 56)  # RFC 2474, 2597, 3246
DIRECTIONS = ("ingress", "egress")

_BY_POLICY: Mapping[str, Keys] = {"qos_policy_id": lambda rule: (rule.qos_policy_id,)}
MOST = 2**31 - 1
_amount = integer(0, MOST)

# What all rules share: nobody's, without times of change.
Hidden = Annotated[str, hidden()]
HiddenText = Annotated[str | None, hidden()]
HiddenNumber = Annotated[int, hidden()]
Wanted = Annotated[int, settable(_amount, required=True)]
Burst = Annotated[int, settable(_amount)]
Direction = Annotated[str, settable(one_of(DIRECTIONS))]


class QosPolicy(Resource, frozen=True, kw_only=True):
    """https://docs.openstack.org/api-ref/network/v2/#qos-policies-qos; a project has at most one with `is_default`."""

    kind: ClassVar[str] = "QosPolicy"
    singular: ClassVar[str] = "policy"
    plural: ClassVar[str] = "policies"

    project_id: Annotated[str, at_create(text(255))] = ""
    name: Annotated[str, settable(name_text(255))] = ""
    shared: Annotated[bool, settable(boolean, sort=False)] = False
    is_default: Annotated[bool, settable(boolean, sort=False)] = False
    rules: Annotated[tuple[dict[str, Any], ...], read_only(filter=False, sort=False)] = ()  # oldest first
    shared_with: SharedWith = ()
    tags: Tags = ()

    indexes: ClassVar[Mapping[str, Keys]] = {
        "project_id": lambda policy: (policy.project_id,),
        "name": lambda policy: (policy.name,),
        "default": lambda policy: (policy.project_id,) if policy.is_default else (),
    }

    def claims(self) -> tuple[str, ...]:
        return (f"qos-default/{self.project_id}",) if self.is_default else ()


class BandwidthLimitRule(Resource, frozen=True, kw_only=True):
    """https://docs.openstack.org/api-ref/network/v2/#qos-bandwidth-limit-rules"""

    kind: ClassVar[str] = "QosBandwidthLimitRule"
    singular: ClassVar[str] = "bandwidth_limit_rule"
    plural: ClassVar[str] = "bandwidth_limit_rules"
    rule_noun: ClassVar[str] = "policy_bandwidth_limit_rule"
    indexes: ClassVar[Mapping[str, Keys]] = _BY_POLICY

    project_id: Hidden = ""
    description: HiddenText = ""
    created_at: Hidden = ""
    updated_at: Hidden = ""
    revision_number: HiddenNumber = 1
    qos_policy_id: Hidden
    max_kbps: Wanted
    max_burst_kbps: Burst = 0
    direction: Direction = "egress"


class DscpMarkingRule(Resource, frozen=True, kw_only=True):
    """https://docs.openstack.org/api-ref/network/v2/#qos-dscp-marking-rules"""

    kind: ClassVar[str] = "QosDscpMarkingRule"
    singular: ClassVar[str] = "dscp_marking_rule"
    plural: ClassVar[str] = "dscp_marking_rules"
    rule_noun: ClassVar[str] = "policy_dscp_marking_rule"
    indexes: ClassVar[Mapping[str, Keys]] = _BY_POLICY

    project_id: Hidden = ""
    description: HiddenText = ""
    created_at: Hidden = ""
    updated_at: Hidden = ""
    revision_number: HiddenNumber = 1
    qos_policy_id: Hidden
    dscp_mark: Annotated[int, settable(integer(one_of=DSCP_MARKS), required=True)]


class MinimumBandwidthRule(Resource, frozen=True, kw_only=True):
    """https://docs.openstack.org/api-ref/network/v2/#qos-minimum-bandwidth-rules"""

    kind: ClassVar[str] = "QosMinimumBandwidthRule"
    singular: ClassVar[str] = "minimum_bandwidth_rule"
    plural: ClassVar[str] = "minimum_bandwidth_rules"
    rule_noun: ClassVar[str] = "policy_minimum_bandwidth_rule"
    indexes: ClassVar[Mapping[str, Keys]] = _BY_POLICY

    project_id: Hidden = ""
    description: HiddenText = ""
    created_at: Hidden = ""
    updated_at: Hidden = ""
    revision_number: HiddenNumber = 1
    qos_policy_id: Hidden
    min_kbps: Wanted
    direction: Direction = "egress"


class PacketRateLimitRule(Resource, frozen=True, kw_only=True):
    """https://docs.openstack.org/api-ref/network/v2/#qos-packet-rate-limit-rules"""

    kind: ClassVar[str] = "QosPacketRateLimitRule"
    singular: ClassVar[str] = "packet_rate_limit_rule"
    plural: ClassVar[str] = "packet_rate_limit_rules"
    rule_noun: ClassVar[str] = "policy_packet_rate_limit_rule"
    indexes: ClassVar[Mapping[str, Keys]] = _BY_POLICY

    project_id: Hidden = ""
    description: HiddenText = ""
    created_at: Hidden = ""
    updated_at: Hidden = ""
    revision_number: HiddenNumber = 1
    qos_policy_id: Hidden
    max_kpps: Wanted
    max_burst_kpps: Burst = 0
    direction: Direction = "egress"


class MinimumPacketRateRule(Resource, frozen=True, kw_only=True):
    """https://docs.openstack.org/api-ref/network/v2/#qos-minimum-packet-rate-rules; "any" is both directions together."""

    kind: ClassVar[str] = "QosMinimumPacketRateRule"
    singular: ClassVar[str] = "minimum_packet_rate_rule"
    plural: ClassVar[str] = "minimum_packet_rate_rules"
    rule_noun: ClassVar[str] = "policy_minimum_packet_rate_rule"
    indexes: ClassVar[Mapping[str, Keys]] = _BY_POLICY

    project_id: Hidden = ""
    description: HiddenText = ""
    created_at: Hidden = ""
    updated_at: Hidden = ""
    revision_number: HiddenNumber = 1
    qos_policy_id: Hidden
    min_kpps: Wanted
    direction: Annotated[str, settable(one_of(("any", *DIRECTIONS)))] = "egress"


Rule = BandwidthLimitRule | DscpMarkingRule | MinimumBandwidthRule | PacketRateLimitRule | MinimumPacketRateRule
RULE_KINDS: tuple[type[Rule], ...] = (
    BandwidthLimitRule,
    DscpMarkingRule,
    MinimumBandwidthRule,
    PacketRateLimitRule,
    MinimumPacketRateRule,
)

# A limit and the guarantee that it bounds: the attribute of the rule, the other kind of rule, its attribute.
LIMITS: Mapping[type[Rule], tuple[str, type[Rule], str]] = {
    BandwidthLimitRule: ("max_kbps", MinimumBandwidthRule, "min_kbps"),
    PacketRateLimitRule: ("max_kpps", MinimumPacketRateRule, "min_kpps"),
}


def rule_type(kind: type[Rule]) -> str:
    return kind.singular.removesuffix("_rule")


def embedded(rule: Rule) -> dict[str, Any]:
    """A rule as it stands in its policy."""
    shown = {item.wire: getattr(rule, item.field) for item in attributes(type(rule)).values() if item.attribute.see == "anyone"}
    return shown | {"type": rule_type(type(rule)), "qos_policy_id": rule.qos_policy_id}


def effective_policy(port: Port) -> str | None:
    """Its own, else its network's; the network's own ports (of routers and DHCP servers) take none from it."""
    inherited = None if port.device_owner.startswith("network:") else port.qos_network_policy_id
    return port.qos_policy_id or inherited
