"""Our resources, attribute by attribute, against neutron-lib's definitions of the extensions that we advertise.

neutron-lib is what Neutron itself validates with. Where we differ on purpose, a table here says so, with the reason; a
difference that is in no table fails, and so does a row that is no difference any more.
"""

import copy
import importlib
import pkgutil

import msgspec
import pytest
from neutron_lib import constants
from neutron_lib.api import definitions, validators
from neutron_lib.api.definitions import network, port, subnet, subnetpool
from neutron_lib.exceptions import NeutronException
from oslo_config import cfg
from webob.exc import HTTPException

from naru.api.extensions import EXTENSIONS
from naru.model.agents import Agent
from naru.model.availability import NetworkIpAvailability
from naru.model.bindings import PortBinding
from naru.model.errors import NaruError
from naru.model.flavors import ServiceFlavor, ServiceProfile, ServiceProvider
from naru.model.logs import LoggableResource, LogResource
from naru.model.metering import MeteringLabel, MeteringLabelRule
from naru.model.pools import AddressScope, SubnetPool
from naru.model.qos import RULE_KINDS, QosPolicy
from naru.model.resources import Network, Port, Subnet, attributes
from naru.model.routing import FloatingIp, FloatingIpPool, PortForwarding, Router
from naru.model.security import (
    AddressGroup,
    DefaultSecurityGroupRule,
    SecurityGroup,
    SecurityGroupDefaultStatefulness,
    SecurityGroupRule,
)
from naru.model.segment_ranges import NetworkSegmentRange
from naru.model.segments import Segment
from naru.model.sharing import RbacPolicy
from naru.model.trunks import Trunk
from naru.model.zones import AvailabilityZone
from neutron_extensions import L3_AGENT_SCHEDULER, RBAC_POLICIES, SECURITY_GROUP, SECURITY_GROUPS_DEFAULT_RULES

KINDS = (Network, Subnet, Port, Agent, NetworkIpAvailability, SubnetPool, AddressScope, Segment)
KINDS += (Router, FloatingIp, PortForwarding, FloatingIpPool)
KINDS += (ServiceFlavor, ServiceProfile, ServiceProvider)
KINDS += (SecurityGroup, SecurityGroupRule, DefaultSecurityGroupRule, AddressGroup, SecurityGroupDefaultStatefulness)
KINDS += (RbacPolicy, AvailabilityZone, NetworkSegmentRange, LogResource, LoggableResource)
KINDS += (MeteringLabel, MeteringLabelRule)
cfg.CONF.register_opt(cfg.IntOpt("max_allowed_address_pair", default=10))  # as Neutron does; a validator asks for it
cfg.CONF.register_opts([cfg.StrOpt("dns_domain", default="openstacklocal."), cfg.StrOpt("base_mac", default="fa:16:3e:00:00:00")])
KINDS += (QosPolicy, *RULE_KINDS, PortBinding, Trunk)
NOT_GIVEN = constants.ATTR_NOT_SPECIFIED

# What neutron-lib does not define because Neutron keeps it for itself (neutron/extensions): alias -> name, description, date.
OWN_EXTENSIONS = {"agent-failures", "elastic-networks", "network-ip-forecast", "network-pools", "nova-events"}
OWN_ATTRIBUTES = {
    Agent: {"failures"},
    Network: {"autogrow", "subnet_policy"},
    Subnet: {"allocation_priority", "allocation_weight"},
    Port: {"pick_id", "pick_token"},
}
IN_NEUTRON_ONLY = {
    "quotas": ("Quota management support", "Expose functions for quotas management per project", "2012-07-29T10:00:00-00:00"),
    "quota_details": (
        "Quota details management support",
        "Expose functions for quotas usage statistics per project",
        "2017-02-10T10:00:00-00:00",
    ),
    "subnet_allocation": ("Subnet Allocation", "Enables allocation of subnets from a subnet pool", "2015-03-30T10:00:00-00:00"),
    "standard-attr-description": (
        "standard-attr-description",
        "Extension to add descriptions to standard attributes",
        "2016-02-10T10:00:00-00:00",
    ),
    "standard-attr-revisions": (
        "Resource revision numbers",
        "This extension will display the revision number of neutron resources.",
        "2016-04-11T10:00:00-00:00",
    ),
    "standard-attr-tag": (
        "Tag support for resources with standard attribute",
        "Enables to set tag on resources with standard attribute.",
        "2017-01-01T00:00:00-00:00",
    ),
    "standard-attr-timestamp": (
        "Resource timestamps",
        "Adds created_at and updated_at fields to all Neutron resources that have Neutron standard attributes.",
        "2016-09-12T10:00:00-00:00",
    ),
}
READ_ONLY = {"allow_post": False, "allow_put": False, "is_visible": True}
STANDARD_ATTRIBUTES = {
    "description": {
        "allow_post": True, "allow_put": True, "is_visible": True, "is_filter": True, "default": "", "validate": {"type:string": 255},
    },
    "created_at": READ_ONLY,
    "updated_at": READ_ONLY,
    "revision_number": READ_ONLY | {"is_filter": True},  # the API reference lists it among the filters
}  # fmt: skip


TAGGED = (
    *("networks", "subnets", "ports", "subnetpools", "routers", "floatingips", "security_groups"),
    *("policies", "trunks", "network_segment_ranges"),
)
TAGS = READ_ONLY | {"is_filter": True}
TAGS_AT_CREATE = {"allow_post": True, "default": (), "validate": {"type:list_of_unique_strings": 255}}  # tag-ports-during-bulk-creation


def _definitions():
    modules = (importlib.import_module(f"{definitions.__name__}.{module.name}") for module in pkgutil.iter_modules(definitions.__path__))
    return {module.ALIAS: module for module in modules if hasattr(module, "ALIAS")}


IN_NEUTRON = (L3_AGENT_SCHEDULER, RBAC_POLICIES, SECURITY_GROUP, SECURITY_GROUPS_DEFAULT_RULES)
DEFINITIONS = _definitions() | {definition.ALIAS: definition for definition in IN_NEUTRON}
ADVERTISED = [DEFINITIONS[extension.alias] for extension in EXTENSIONS if extension.alias in DEFINITIONS]


def _expected(kind):
    """neutron-lib's attributes of a kind: the core definition, then every extension in the order of the aliases."""
    found = {}
    for definition in (network, subnet, subnetpool, port, *sorted(ADVERTISED, key=lambda definition: definition.ALIAS)):
        below = ((getattr(definition, "SUB_RESOURCE_ATTRIBUTE_MAP", None) or {}).get(kind.plural) or {}).get("parameters", {})
        for name, rules in ((definition.RESOURCE_ATTRIBUTE_MAP or {}).get(kind.plural) or below).items():
            found[name] = {"allow_post": False, "allow_put": False} | found.get(name, {}) | rules
    if kind in (Network, Subnet, Port, Segment, SubnetPool, Router, FloatingIp, NetworkSegmentRange, LogResource):
        found |= STANDARD_ATTRIBUTES
    if kind.plural in TAGGED:
        found["tags"] = TAGS | TAGS_AT_CREATE if kind is Port else TAGS
    if kind in (SecurityGroup, SecurityGroupRule, AddressGroup, QosPolicy, Trunk):
        found = STANDARD_ATTRIBUTES | found
    if kind in (
        AddressGroup,
        SecurityGroupDefaultStatefulness,
        PortForwarding,
        FloatingIpPool,
        PortBinding,
        NetworkSegmentRange,
        LogResource,
    ):
        found["tenant_id"] = found["project_id"]  # both words, by the extension project-id
    return found | {"project_id": found["tenant_id"]} if "tenant_id" in found else found


CASES = [pytest.param(kind, name, rules, id=f"{kind.singular}-{name}") for kind in KINDS for name, rules in _expected(kind).items()]


# -- names and rights

RIGHTS = ("allow_post", "allow_put", "is_visible", "is_filter", "is_sort_key")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.singular)
def test_attributes_are_those_of_neutron(kind):
    ours = {name for name, item in attributes(kind).items() if not item.attribute.is_hidden}
    neutrons = {name for name, rules in _expected(kind).items() if any(rules.get(right) for right in RIGHTS)}
    assert ours == neutrons | OWN_ATTRIBUTES.get(kind, set())


@pytest.mark.parametrize(("kind", "name", "rules"), CASES)
def test_who_may_do_what(kind, name, rules):
    attribute = attributes(kind)[name].attribute
    ours = {
        "allow_post": attribute.post != "nobody",
        "allow_put": attribute.put != "nobody",
        "is_visible": attribute.see != "nobody",
        "is_filter": attribute.filter,
        "is_sort_key": attribute.sort,
    }
    assert ours == {right: rules.get(right, False) for right in ours}


@pytest.mark.parametrize(("kind", "name", "rules"), CASES)
def test_what_a_request_may_leave_out(kind, name, rules):
    """Neutron takes the project from the token, so it demands none."""
    item = attributes(kind)[name]
    demanded = rules["allow_post"] and "default" not in rules and item.field != "project_id"
    assert item.attribute.required == demanded
    if rules["allow_post"] and rules.get("default", NOT_GIVEN) is not NOT_GIVEN:
        field = next(field for field in msgspec.structs.fields(kind) if field.name == item.field)
        default = () if rules["default"] in (None, []) and isinstance(field.default, tuple) else rules["default"]
        assert field.default == default


# -- values

SUBNET_ID = "11111111-2222-4333-8444-555555555555"
POOL = {"start": "10.0.0.2", "end": "10.0.0.9"}
OPTION = {"opt_name": "bootfile-name", "opt_value": "pxelinux.0", "ip_version": 4}
ROUTE = {"destination": "10.1.0.0/16", "nexthop": "10.0.0.9"}
SAMPLES = (
    None, True, False, 0, 1, -1, 4, 6, 1450, 1450.0, 1450.5, 2**40,
    "", " ", "x", " x", "x ", "a\tb", "a\nb", "a\x00b", "é", "💧", "x" * 255, "x" * 256,
    "True", "FALSE", "yes", "off", "maybe", "4", "6", "1450", "-1", "1e3", "flat", "vxlan", "normal", "direct", "slaac", "dhcpv6-stateful",
    SUBNET_ID, SUBNET_ID.upper(), SUBNET_ID.replace("-", ""), "prefix_delegation",
    "10.0.0.1", "10.0.0.01", "10.0.0", "10.0.0.1 ", "256.0.0.1", "fd00::1", "FD00:0::0001", "fd00::1%eth0",
    "10.0.0.0/24", "10.0.0.1/24", "10.0.0.0/33", "10.0.0.0", "10/8", "10.0.0.0/255.255.255.0", "0.0.0.0/0",
    "fd00::/64", "FD00::0/64", "fd00::1/64",
    "fa:16:3e:00:00:01", "FA-16-3E-00-00-01", "fa16.3e00.0001", "fa163e000001", "fa:16:3e:00:00", "fa:16:3e:00:00:zz", "a:b:c:d:e:f",
    "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01",
    [], {}, [None], ["x"], [1], {"a": 1}, {"a": {"b": []}},
    ["8.8.8.8"], ["8.8.8.8", "8.8.4.4"], ["8.8.8.8", "8.8.8.8"], ["FD00::1"],
    ["10.0.0.0/24"], ["10.0.0.0/24", "fd00::/64"], ["10.0.0.0/24"] * 2, ["10.0.0.0"],
    [POOL], [{"start": "10.0.0.2"}], [POOL | {"end": "x"}], [POOL | {"x": 1}],
    [ROUTE], [ROUTE, ROUTE], [ROUTE | {"destination": "10.1.0.1/16"}], [ROUTE | {"destination": "127.0.0.0/8"}], [{"nexthop": "10.0.0.9"}],
    [{"subnet_id": SUBNET_ID}], [{"subnet_id": SUBNET_ID}] * 2, [{"subnet_id": SUBNET_ID, "ip_address": "10.0.0.5"}],
    [{"subnet_id": "x"}], [{}],
    {"network_id": SUBNET_ID}, {"network_id": "x"}, {"enable_snat": True}, {"network_id": SUBNET_ID, "enable_snat": "no"},
    {"network_id": SUBNET_ID, "external_fixed_ips": [{"subnet_id": SUBNET_ID, "ip_address": "10.0.0.5"}]},
    {"network_id": SUBNET_ID, "x": 1},
    "tcp", "TCP", "80:89", "89:80", "0:80", "80:", ":80", "80:89:90",
    "web", "Web.Example.org.", "<project_id>.example.org.", "-web", "a..b", "host.1", f"{'a' * 64}.org.", "ACTIVE", "socket",
    [OPTION], [OPTION, OPTION], [OPTION | {"opt_value": None, "ip_version": "6"}], [OPTION | {"opt_value": ""}],
    [OPTION | {"opt_name": ""}], [OPTION | {"ip_version": 5}],
    [OPTION | {"x": 1}], [{"opt_name": "router", "opt_value": ""}], [{"opt_name": "router"}],
    [OPTION | {"opt_name": "x" * 65}], [OPTION | {"opt_value": "a\nb"}],
    [{"ip_address": "10.0.0.5"}], [{"ip_address": "10.0.0.5"}] * 2, [{"ip_address": "10.0.0.5", "x": 1}],
)  # fmt: skip

TEXTS = (
    *(
        "description",
        "resource_type",
        "device_id",
        "device_owner",
        "device_profile",
        "host",
        "tenant_id",
        "project_id",
        "driver",
        "metainfo",
    ),
    *("provider:network_type", "provider:physical_network", "network_type", "physical_network"),
)
RATES = ("max_kbps", "max_burst_kbps", "min_kbps", "dscp_mark", "max_kpps", "max_burst_kpps", "min_kpps")
LENGTHS = ("segmentation_id", "minimum", "maximum", "min_prefixlen", "max_prefixlen", "default_prefixlen", "default_quota")
POOL_MEMBERS = {"ip_address", "subnet_id"}

# Why a value has another outcome here than there -> of which attributes, and which values.
TAKEN_THERE_ONLY = {
    "a flavor is named by its id: Neutron looks for whatever it is given": (("flavor_id",), lambda value: value is not None),
    "null is no truth: Neutron keeps it": (("enabled",), lambda value: value is None),
    "an integer is no boolean and has no fraction: Neutron rounds 1450.5 to 1450 and reads true as 1": (
        ("external_port", "internal_port", "mtu", "ip_version", "prefixlen", "provider:segmentation_id", *LENGTHS, *RATES),
        lambda value: isinstance(value, bool | float),
    ),
    "not every database keeps NUL: Neutron fails on it later": ((*TEXTS, "binding:host_id"), lambda value: value == "a\x00b"),
    "a host is a text of at most 255 characters: Neutron takes whatever it is": (
        ("binding:host_id", "host"),
        lambda value: not isinstance(value, str) or len(value) > 255,
    ),
    "a MAC with the group bit cannot be the address of a port (IEEE 802)": (("mac_address",), lambda value: value == "01:00:5e:00:00:01"),
    "a MAC has two digits a byte: Neutron takes 4 as 00:00:00:00:00:04, and a:b:c:d:e:f": (
        ("mac_address",),
        lambda value: len(str(value)) < 17,
    ),
    "a prefix says its length: Neutron takes 10.0.0.0 as 10.0.0.0/32": (("cidr", "remote_ip_prefix"), lambda value: "/" not in str(value)),
    "an address is a text: Neutron takes an integer beyond 32 bits as an IPv6 address": (("gateway_ip",), lambda value: value == 2**40),
    "a name fits into 255 characters: Neutron's database refuses a longer one of a pool with status 500": (
        ("name",),
        lambda value: value == "x" * 256,
    ),
    "an id is a text of at most 36 characters: Neutron takes whatever it is, and finds nothing": (
        ("remote_address_group_id",),
        lambda value: not isinstance(value, str) or len(value) > 36 or "\x00" in value,
    ),
    "an empty text or object is no list": (
        ("allocation_pools", "dns_nameservers", "service_types", "segments"),
        lambda value: value in ("", {}, False),
    ),
    "a member that is not known is refused: Neutron ignores it": (
        ("fixed_ips",),
        lambda value: isinstance(value, list) and any(set(item) - POOL_MEMBERS for item in value if isinstance(item, dict)),
    ),
    "no gateway is said by null or {}: Neutron takes whatever is empty": (
        ("external_gateway_info",),
        lambda value: value in (False, "", []),
    ),
}  # fmt: skip
TAKEN_HERE_ONLY = {
    "a word for a truth is one here too: old clients send strings": (
        ("external_gateway_info",),
        lambda value: isinstance(value, dict) and value.get("enable_snat") == "no",
    ),
    "null says that a number is not given, as leaving it out does": (("external_port", "internal_port"), lambda value: value is None),
    "a length may be a netmask, as that of a subnet in Neutron may": (
        ("remote_ip_prefix",),
        lambda value: value == "10.0.0.0/255.255.255.0",
    ),
    "a name may hold any printable character: Neutron's pattern ends at the basic plane": (("name",), lambda value: value == "💧"),
    "null says that there is no prefix, as leaving it out does: Neutron fails on it with status 500": (
        ("cidr",),
        lambda value: value is None,
    ),
    "an address named twice is refused when addresses are chosen": (
        ("fixed_ips",),
        lambda value: value == [{"ip_address": "10.0.0.5"}] * 2,
    ),
}
KEPT_OTHERWISE = {
    "metainfo is a text, what is none is kept as JSON": (("metainfo",), lambda value: not isinstance(value, str)),
    "null asks for another MAC, which the service chooses: Neutron draws one at once": (("mac_address",), lambda value: value is None),
    "a port without DHCP options has an empty list": (("extra_dhcp_opts",), lambda value: value is None),
    "a DHCP option is one of IPv4 where it does not say: Neutron fills that in later": (
        ("extra_dhcp_opts",),
        lambda value: any("ip_version" not in option for option in value),
    ),
    "an id is kept in its canonical form, so that it finds what it names": (
        (
            "network_id",
            "qos_policy_id",
            "subnetpool_id",
            "segment_id",
            "address_scope_id",
            "floating_network_id",
            "subnet_id",
            "port_id",
            "internal_port_id",
            "flavor_id",
            "service_type_id",
            "resource_id",
            "target_id",
            "metering_label_id",
        ),
        lambda value: value in (SUBNET_ID.upper(), SUBNET_ID.replace("-", "")),
    ),
    "the host bits of a prefix are zeroed: Neutron does it later": (
        ("cidr", "remote_ip_prefix"),
        lambda value: value in ("10.0.0.1/24", "fd00::1/64"),
    ),
    "a prefix is kept in its canonical form, as that of a subnet": (("remote_ip_prefix",), lambda value: value == "FD00::0/64"),
    "an address is kept in its canonical form": (
        ("dns_nameservers", "floating_ip_address", "fixed_ip_address", "internal_ip_address"),
        lambda value: value in (["FD00::1"], "FD00:0::0001"),
    ),
    "no gateway is null: Neutron keeps {}": (("external_gateway_info",), lambda value: value == {}),
    "null says that a router is not highly available, as leaving it out does": (("ha",), lambda value: value is None),
    "a single port number is a range of one": (("external_port_range", "internal_port_range"), lambda value: ":" not in str(value)),
    "no host is an empty name": (("binding:host_id",), lambda value: value is None),
    "null is no list: Neutron keeps it and shows []": (("service_types",), lambda value: value is None),
    "what a segment leaves open is null inside": (("segments",), lambda value: value == [{}]),
    "no profile is an empty one: Neutron keeps null and shows {}": (("binding:profile", "profile"), lambda value: value is None),
}


def _reason(table, name, value):
    return next((reason for reason, (names, is_such) in table.items() if name in names and is_such(value)), None)


def _neutron_keeps(rules, value):
    """The value as Neutron keeps it. Raises ValueError where it refuses, or fails."""
    value = copy.deepcopy(value)  # some validators complete what they check
    try:
        kept = rules["convert_to"](value) if "convert_to" in rules else value
    except Exception as error:
        raise ValueError(str(error)) from error
    for rule, limit in rules.get("validate", {}).items():
        try:
            reason = validators.get_validator(rule)(kept, limit)
        except (NeutronException, HTTPException, TypeError, AttributeError) as error:
            reason = str(error)
        if reason:
            raise ValueError(reason)
    return kept


def _naru_keeps(kind, name, value):
    """The value as it would stand on the wire."""
    kept = msgspec.json.decode(msgspec.json.encode(attributes(kind)[name].attribute.convert(value)))
    if name in ("fixed_ips", "allowed_address_pairs"):  # members that were left out are null inside
        return [{member: value for member, value in ip.items() if value is not None} for ip in kept]
    return kept


def _outcome(keep, *given):
    try:
        return "takes", keep(*given)
    except (ValueError, NaruError):
        return "refuses", None


def _differences(kind, name, rules):
    """-> for each sample with another outcome: the reason in our tables (None: there is none), and what happened."""
    for value in SAMPLES:
        theirs, ours = _outcome(_neutron_keeps, rules, value), _outcome(_naru_keeps, kind, name, value)
        if ours[0] != theirs[0]:
            table = TAKEN_HERE_ONLY if ours[0] == "takes" else TAKEN_THERE_ONLY
        elif ours[1] != theirs[1] or type(ours[1]) is not type(theirs[1]):
            table = KEPT_OTHERWISE
        else:
            continue
        yield _reason(table, name, value), (value, "Neutron", *theirs, "Naru", *ours)


SETTABLE = [case for case in CASES if (case.values[2]["allow_post"] or case.values[2]["allow_put"]) and "values" not in case.values[2]]


@pytest.mark.parametrize(("kind", "name", "rules"), SETTABLE)
def test_values_are_taken_refused_and_kept_as_in_neutron(kind, name, rules):
    assert [found for reason, found in _differences(kind, name, rules) if reason is None] == []


def test_every_reason_is_still_needed():
    needed = {reason for case in SETTABLE for reason, _ in _differences(*case.values)}
    assert {*TAKEN_THERE_ONLY, *TAKEN_HERE_ONLY, *KEPT_OTHERWISE} <= needed


@pytest.mark.parametrize(("kind", "name", "rules"), [case for case in SETTABLE if case.values[1] not in ("fixed_ips", "cidr")])
def test_what_is_taken_can_be_kept(kind, name, rules):
    """What is stored must be read again when the server starts. (Addresses and prefixes that are asked for are kept as those chosen.)"""
    item = attributes(kind)[name]
    field = next(field for field in msgspec.structs.fields(kind) if field.name == item.field)
    for value in SAMPLES:
        outcome, kept = _outcome(item.attribute.convert, value)
        if outcome == "takes":
            msgspec.json.decode(msgspec.json.encode(kept), type=field.type)


# -- extensions


NEUTRONS = [extension for extension in EXTENSIONS if extension.alias not in OWN_EXTENSIONS]


@pytest.mark.parametrize("extension", NEUTRONS, ids=lambda extension: extension.alias)
def test_extensions_are_described_in_neutrons_words(extension):
    definition = DEFINITIONS.get(extension.alias)
    expected = (
        IN_NEUTRON_ONLY[extension.alias] if definition is None else (definition.NAME, definition.DESCRIPTION, definition.UPDATED_TIMESTAMP)
    )
    assert (extension.name, extension.description, extension.updated) == expected


def test_an_extension_of_our_own_has_no_name_of_neutrons():
    assert {extension.alias for extension in EXTENSIONS} >= OWN_EXTENSIONS
    assert not OWN_EXTENSIONS & {*DEFINITIONS, *IN_NEUTRON_ONLY}


def test_what_an_extension_requires_is_advertised_too():
    advertised = {extension.alias for extension in EXTENSIONS}
    assert {alias for definition in ADVERTISED for alias in definition.REQUIRED_EXTENSIONS or ()} <= advertised
