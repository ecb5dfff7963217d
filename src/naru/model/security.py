"""Who may talk to a port: security groups, their rules, the templates of new rules, and named sets of addresses.

Rules are resources of their own, and stand once more in the document of their group, so that a group is shown without a search.
"""

import ipaddress
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from naru.model.attributes import (
    SharedWith,
    Tags,
    at_create,
    boolean,
    cidr,
    hidden,
    list_of,
    name_text,
    nullable,
    or_empty,
    or_none,
    read_only,
    schema_of,
    settable,
    shown,
    takes,
    text,
)
from naru.model.errors import Invalid
from naru.model.resources import Keys, Resource, attributes

ETHERTYPES = ("IPv4", "IPv6")
PARENT = "PARENT"  # in a template: the group that the rule is made for

# https://www.iana.org/assignments/protocol-numbers, by the names that the API reference lists for `protocol`
PROTOCOLS: Mapping[str, int] = {
    "ah": 51, "any": 0, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "hopopt": 0, "icmp": 1, "icmpv6": 58, "igmp": 2, "ip": 0, "ipip": 4,
    "ipv6-encap": 41, "ipv6-frag": 44, "ipv6-icmp": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "ipv6-route": 43, "ospf": 89, "pgm": 113,
    "rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17, "udplite": 136, "vrrp": 112,
}  # fmt: skip


# -- conversions: where Neutron has an error of its own for a value, they raise that


@takes({"anyOf": [{"enum": [*PROTOCOLS, None]}, {"type": "integer", "minimum": 0, "maximum": 255}]})
def protocol(value: Any) -> str | None:
    """A name in lower case or a number as text; null and "" are any protocol."""
    if value in (None, ""):
        return None
    word = str(value).strip().lower() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if word in PROTOCOLS or (word.isascii() and word.isdecimal() and int(word) <= 255):
        return word if word in PROTOCOLS else str(int(word))
    message = (
        f"Security group rule protocol {shown(value)} not supported. "
        f"Only protocol values {[None, *PROTOCOLS]} and integer representations [0 to 255] are supported."
    )
    raise Invalid(message, "SecurityGroupRuleInvalidProtocol")


@takes({"type": ["integer", "null"], "minimum": 0, "maximum": 65535})
def port_number(value: Any) -> int | None:
    """A port, or the type or code of an ICMP message."""
    if value is None:
        return None
    digits = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not (digits.isascii() and digits.isdecimal() and int(digits) <= 65535):
        raise Invalid(f"Invalid value for port {shown(value)[1:-1]}", "SecurityGroupInvalidPortValue")
    return int(digits)


@takes({"enum": list(ETHERTYPES)})
def ethertype(value: Any) -> str:
    for known in ETHERTYPES:
        if isinstance(value, str) and value.lower() == known.lower():
            return known
    message = f"Security group rule for ethertype {shown(value)} not supported. Allowed values are {list(ETHERTYPES)}."
    raise Invalid(message, "SecurityGroupRuleInvalidEtherType")


@takes(nullable(schema_of(cidr)))
def remote_prefix(value: Any) -> str | None:
    """An address with its length, host bits kept; a lone address is a prefix of its own, "" is none."""
    if value in (None, ""):
        return None
    if isinstance(value, str) and "%" not in value:
        try:
            return str(ipaddress.ip_interface(value))
        except ValueError:
            pass
    raise Invalid(f"Invalid CIDR {shown(value)} given as IP prefix.", "InvalidCIDR")


@takes({"enum": ["ingress", "egress"]})
def direction(value: Any) -> str:
    if value not in ("ingress", "egress"):
        raise ValueError(f"{shown(value)} is not in ['ingress', 'egress']")
    return str(value)


# What a rule and its template share. https://docs.openstack.org/api-ref/network/v2/#security-group-rules-security-group-rules
Direction = Annotated[str, at_create(direction, required=True)]
Ethertype = Annotated[str, at_create(ethertype)]
Protocol = Annotated[str | None, at_create(protocol)]
PortNumber = Annotated[int | None, at_create(port_number)]
RemotePrefix = Annotated[str | None, at_create(remote_prefix)]
RemoteId = Annotated[str | None, at_create(or_none(text(36)))]


class SecurityGroup(Resource, frozen=True, kw_only=True):
    """https://docs.openstack.org/api-ref/network/v2/#security-groups-security-groups

    A project has one with `is_default`: the group of ports that name none.
    """

    kind: ClassVar[str] = "SecurityGroup"
    singular: ClassVar[str] = "security_group"
    plural: ClassVar[str] = "security_groups"

    name: Annotated[str, settable(text(255))] = ""
    stateful: Annotated[bool, settable(boolean, sort=False)] = True
    shared: Annotated[bool, read_only(convert=boolean, sort=False)] = False
    shared_with: SharedWith = ()
    security_group_rules: Annotated[tuple[dict[str, Any], ...], read_only(filter=False, sort=False)] = ()  # oldest first
    is_default: Annotated[bool, hidden()] = False
    tags: Tags = ()

    indexes: ClassVar[Mapping[str, Keys]] = {
        "project_id": lambda group: (group.project_id,),
        "name": lambda group: (group.name,),
        "default": lambda group: (group.project_id,) if group.is_default else (),
    }

    def claims(self) -> tuple[str, ...]:
        return (f"security-group-default/{self.project_id}",) if self.is_default else ()


class SecurityGroupRule(Resource, frozen=True, kw_only=True):
    """https://docs.openstack.org/api-ref/network/v2/#security-group-rules-security-group-rules"""

    kind: ClassVar[str] = "SecurityGroupRule"
    singular: ClassVar[str] = "security_group_rule"
    plural: ClassVar[str] = "security_group_rules"

    security_group_id: Annotated[str, at_create(text(36), required=True)]
    direction: Direction
    ethertype: Ethertype = "IPv4"
    protocol: Protocol = None
    port_range_min: PortNumber = None
    port_range_max: PortNumber = None
    remote_ip_prefix: RemotePrefix = None
    remote_group_id: RemoteId = None
    remote_address_group_id: RemoteId = None
    normalized_cidr: Annotated[str | None, read_only()] = None  # of remote_ip_prefix, without host bits
    belongs_to_default_sg: Annotated[bool, read_only(convert=boolean, sort=False)] = False

    indexes: ClassVar[Mapping[str, Keys]] = {
        "project_id": lambda rule: (rule.project_id,),
        "security_group_id": lambda rule: (rule.security_group_id,),
        "remote_group_id": lambda rule: (rule.remote_group_id,) if rule.remote_group_id else (),
        "remote_address_group_id": lambda rule: (rule.remote_address_group_id,) if rule.remote_address_group_id else (),
        "matches": lambda rule: (f"{rule.security_group_id} {what_matches(rule)}",),
    }


class DefaultSecurityGroupRule(Resource, frozen=True, kw_only=True):
    """A template of the rules of new groups. https://docs.openstack.org/api-ref/network/v2/#security-group-default-rules"""

    kind: ClassVar[str] = "DefaultSecurityGroupRule"
    singular: ClassVar[str] = "default_security_group_rule"
    plural: ClassVar[str] = "default_security_group_rules"

    # Nobody's, without times of change; a project may be named, and is not kept.
    project_id: Annotated[str, at_create(text(255), see="nobody", filter=False, sort=False)] = ""
    description: Annotated[str | None, at_create(text(255), sort=False)] = ""
    created_at: Annotated[str, hidden()] = ""
    updated_at: Annotated[str, hidden()] = ""
    revision_number: Annotated[int, hidden()] = 1

    direction: Direction
    ethertype: Ethertype = "IPv4"
    protocol: Protocol = None
    port_range_min: PortNumber = None
    port_range_max: PortNumber = None
    remote_ip_prefix: RemotePrefix = None
    remote_group_id: RemoteId = None
    remote_address_group_id: RemoteId = None
    used_in_default_sg: Annotated[bool, at_create(boolean, sort=False)] = False
    used_in_non_default_sg: Annotated[bool, at_create(boolean, sort=False)] = True


class DefaultRulesSeeded(Resource, frozen=True, kw_only=True):
    """The mark that the first templates were made, so that those that were deleted do not come back."""

    kind: ClassVar[str] = "DefaultRulesSeeded"


class SecurityGroupDefaultStatefulness(Resource, frozen=True, kw_only=True):
    """What `stateful` is of new groups that do not say: of one project, or (without one) of all that have none of their own.

    https://specs.openstack.org/openstack/neutron-specs/ "Security Groups Default Statefulness per Project"
    """

    kind: ClassVar[str] = "SecurityGroupDefaultStatefulness"
    singular: ClassVar[str] = "security_group_default_statefulness"
    plural: ClassVar[str] = "security_groups_default_statefulness"

    project_id: Annotated[str | None, at_create(or_none(text(255)))] = None  # type: ignore[assignment]
    stateful: Annotated[bool, settable(boolean)] = True
    description: Annotated[str | None, hidden()] = None
    created_at: Annotated[str, hidden()] = ""
    updated_at: Annotated[str, hidden()] = ""
    revision_number: Annotated[int, hidden()] = 1

    indexes: ClassVar[Mapping[str, Keys]] = {"project_id": lambda default: (default.project_id or "",)}

    def claims(self) -> tuple[str, ...]:
        return (f"security-group-statefulness/{self.project_id or ''}",)


class AddressGroup(Resource, frozen=True, kw_only=True):
    """https://docs.openstack.org/api-ref/network/v2/#address-groups"""

    kind: ClassVar[str] = "AddressGroup"
    singular: ClassVar[str] = "address_group"
    plural: ClassVar[str] = "address_groups"

    name: Annotated[str, settable(name_text(255))] = ""
    description: Annotated[str | None, settable(text(1024))] = ""
    addresses: Annotated[tuple[str, ...], at_create(or_empty(list_of(cidr)), filter=False, sort=False)] = ()
    shared: Annotated[bool, hidden()] = False
    shared_with: SharedWith = ()

    indexes: ClassVar[Mapping[str, Keys]] = {
        "project_id": lambda group: (group.project_id,),
        "name": lambda group: (group.name,),
    }


Rule = SecurityGroupRule | DefaultSecurityGroupRule


def protocol_number(name: str | None) -> int:
    """0: any."""
    return 0 if name is None else PROTOCOLS[name] if name in PROTOCOLS else int(name)


def what_matches(rule: Rule) -> str:
    """What two rules have in common that let the same packets through, however they are written."""
    prefix = None if rule.remote_ip_prefix in ("0.0.0.0/0", "::/0") else rule.remote_ip_prefix
    parts = (
        rule.direction, rule.ethertype, protocol_number(rule.protocol), rule.port_range_min, rule.port_range_max, prefix,
        rule.remote_group_id, rule.remote_address_group_id,
    )  # fmt: skip
    return " ".join(map(str, parts))


def embedded(rule: SecurityGroupRule) -> dict[str, Any]:
    """A rule as it stands in its group."""
    return {item.wire: getattr(rule, item.field) for item in attributes(SecurityGroupRule).values() if item.attribute.see == "anyone"}
