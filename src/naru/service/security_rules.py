"""What a security group rule, or a template of one, may say. Pure."""

import ipaddress
from typing import Any, TypeVar

from msgspec.structs import replace

from naru.model.errors import Invalid
from naru.model.resources import new_id
from naru.model.security import DefaultSecurityGroupRule, Rule, SecurityGroup, SecurityGroupRule, protocol_number

R = TypeVar("R", SecurityGroupRule, DefaultSecurityGroupRule)

_WITH_PORTS = {"dccp": 33, "sctp": 132, "tcp": 6, "udp": 17, "udplite": 136}
_ICMP, _ICMPV6 = 1, 58
_IPV6_ONLY = frozenset((41, 43, 44, 58, 59, 60))  # extension headers (RFC 8200 §4), IPv6 in IP, ICMPv6


def normalized(rule: R) -> R:
    """The rule as it is kept: ICMP for IPv6 is ICMPv6, whatever old clients call it."""
    if rule.ethertype == "IPv6" and rule.protocol in ("icmp", "icmpv6"):
        rule = replace(rule, protocol="ipv6-icmp")
    elif rule.ethertype == "IPv6" and rule.protocol == str(_ICMP):
        rule = replace(rule, protocol=str(_ICMPV6))
    return rule


def make_rule(group: SecurityGroup, given: dict[str, Any]) -> SecurityGroupRule:
    """A rule of the group, not yet checked."""
    of_group = {"security_group_id": group.id, "belongs_to_default_sg": group.is_default}
    rule = normalized(SecurityGroupRule(id=new_id(), **given | of_group))
    if rule.remote_ip_prefix is not None:
        rule = replace(rule, normalized_cidr=str(ipaddress.ip_network(rule.remote_ip_prefix, strict=False)))
    return rule


def check_rule(rule: Rule) -> None:
    """Raises Invalid, with Neutron's type for the case, for parts that do not fit together."""
    _check_ports(rule)
    if rule.remote_ip_prefix is not None and ipaddress.ip_interface(rule.remote_ip_prefix).version != int(rule.ethertype[-1]):
        message = f"Conflicting value ethertype {rule.ethertype} for CIDR {rule.remote_ip_prefix}"
        raise Invalid(message, "SecurityGroupRuleParameterConflict")
    if rule.ethertype == "IPv4" and protocol_number(rule.protocol) in _IPV6_ONLY:
        message = f"Invalid ethertype {rule.ethertype} for protocol {rule.protocol}."
        raise Invalid(message, "SecurityGroupEthertypeConflictWithProtocol")
    remotes = (rule.remote_ip_prefix, rule.remote_group_id, rule.remote_address_group_id)
    if sum(remote is not None for remote in remotes) > 1:
        message = "Only one of remote_ip_prefix, remote_group_id and remote_address_group_id may be provided."
        raise Invalid(message, "SecurityGroupRemoteGroupAndRemoteIpPrefix")


def _check_ports(rule: Rule) -> None:
    low, high = rule.port_range_min, rule.port_range_max
    if low is None and high is None:
        return
    number = protocol_number(rule.protocol)
    if number == 0:
        raise Invalid("Must also specify protocol if port range is given.", "SecurityGroupProtocolRequiredWithPorts")
    if number in _WITH_PORTS.values():
        if 0 in (low, high):
            raise Invalid("Invalid value for port 0", "SecurityGroupInvalidPortValue")
        if low is None or high is None or low > high:
            raise Invalid("For TCP/UDP protocols, port_range_min must be <= port_range_max", "SecurityGroupInvalidPortRange")
    elif number in (_ICMP, _ICMPV6):
        _check_icmp(low, high)
    else:
        message = f"Invalid protocol {rule.protocol} for port range, only supported for {', '.join(_WITH_PORTS).upper()}."
        raise Invalid(message, "SecurityGroupInvalidProtocolForPort")


def _check_icmp(type_: int | None, code: int | None) -> None:
    for value, word, attribute in ((type_, "type", "port_range_min"), (code, "code", "port_range_max")):
        if value is not None and value > 255:
            message = f"Invalid value for ICMP {word} ({attribute}) {value}. It must be 0 to 255."
            raise Invalid(message, "SecurityGroupInvalidIcmpValue")
    if type_ is None:
        message = f"ICMP code (port-range-max) {code} is provided but ICMP type (port-range-min) is missing."
        raise Invalid(message, "SecurityGroupMissingIcmpType")
