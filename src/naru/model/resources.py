"""What every resource shares, and the core ones: networks, subnets, ports, quotas. A resource is described once: its fields, their wire
names and defaults, who may set and see them.

A resource is an immutable value. Where the wire name is not a Python name the field is renamed (`provider:mtu`). The source for
names, defaults and who may do what is the Networking API v2.0 reference; a contract test holds this file against neutron-lib.
"""

import uuid
from collections.abc import Callable, Generator, Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar, get_type_hints

import msgspec
from msgspec import field

from naru.model.attributes import (
    Attribute,
    SharedWith,
    Tags,
    Unconvertible,
    at_create,
    at_update,
    boolean,
    cidr,
    filter_only,
    hidden,
    integer,
    ip_address,
    list_of,
    mac_or_another,
    mapping,
    name_text,
    number,
    one_of,
    or_empty,
    or_none,
    read_only,
    route_destination,
    settable,
    shown,
    struct_of,
    tag_list,
    takes,
    text,
    uuid_text,
    zone_names,
)
from naru.model.growth import Bench, bench
from naru.model.port_options import (
    DEFAULT_DNS_DOMAIN,
    NUMA_POLICIES,
    Binding,
    DhcpOption,
    DnsAssignment,
    dhcp_options,
    dns_assignments,
    domain_name,
    host_name,
)
from naru.model.port_security import AddressPair, address_pairs, group_ids
from naru.model.provider import ProviderSegment, provider_segments

DHCP_OWNER = "network:dhcp"
SUBNET_POLICIES = ("sequential", "spread", "pack", "balanced")  # of those of network pools

Keys = Callable[[Any], tuple[str, ...]]


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """What all resources share. The store fills in times and revision; services choose the id."""

    kind: ClassVar[str] = "resource"  # Neutron's CamelCase word for it, as in "<Kind>NotFound"
    singular: ClassVar[str] = "resource"
    plural: ClassVar[str] = "resources"
    rule_noun: ClassVar[str] = ""  # in the names of its rules, where that is not the singular

    id: Annotated[str, read_only()]
    project_id: Annotated[str, at_create(text(255))] = ""
    description: Annotated[str | None, settable(text(255), sort=False)] = ""
    created_at: Annotated[str, read_only(filter=False, sort=False)] = ""
    updated_at: Annotated[str, read_only(filter=False, sort=False)] = ""
    revision_number: Annotated[int, read_only(sort=False)] = 1

    @property
    def absent(self) -> tuple[str, ...]:
        """Wire names that this resource, unlike others of its kind, does not show."""
        return ()

    # What a resource is looked up by, beside its id: index name -> the keys under which it stands.
    indexes: ClassVar[Mapping[str, Keys]] = {}

    # What follows from the other attributes: wire name, which is a property's, -> description. It is shown, not kept.
    derived: ClassVar[Mapping[str, Attribute]] = {}

    def claims(self) -> tuple[str, ...]:
        """Texts that at most one resource may hold at a time; the database keeps them unique."""
        return ()


def place(id: str, host: str) -> str:
    """Index key of the ports of one network, or of one security group, on one host."""
    return f"{id}@{host}"


def use(project_id: str, network_id: str) -> str:
    """Index key of the ports that one project has on one network."""
    return f"{project_id}@{network_id}"


def new_id() -> str:
    """A random UUID: kernel names are cut from its first characters, so ids must differ there."""
    return str(uuid.uuid4())


class AllocationPool(msgspec.Struct, frozen=True, gc=False):
    start: str
    end: str


class HostRoute(msgspec.Struct, frozen=True, gc=False):
    destination: str
    nexthop: str


class FixedIp(msgspec.Struct, frozen=True, gc=False):
    subnet_id: str
    ip_address: str


class WantedIp(msgspec.Struct, frozen=True, gc=False):
    """What a request asks of a fixed IP: a subnet, an address, or both."""

    subnet_id: str | None = None
    ip_address: str | None = None


class Network(Resource, frozen=True, kw_only=True):
    """https://docs.openstack.org/api-ref/network/v2/#networks"""

    kind: ClassVar[str] = "Network"
    singular: ClassVar[str] = "network"
    plural: ClassVar[str] = "networks"

    name: Annotated[str, settable(name_text(255))] = ""
    admin_state_up: Annotated[bool, settable(boolean)] = True
    status: Annotated[str, read_only()] = "ACTIVE"
    shared: Annotated[bool, settable(boolean, who="admin", sort=False)] = False
    shared_with: SharedWith = ()
    subnets: Annotated[tuple[str, ...], read_only(filter=False, sort=False)] = ()
    tags: Tags = ()
    availability_zone_hints: Annotated[tuple[str, ...], at_create(zone_names, filter=False)] = ()
    availability_zones: Annotated[tuple[str, ...], read_only(filter=False, sort=False)] = ()  # of the hosts that serve it
    mtu: Annotated[int, settable(integer(0))] = 0
    dns_domain: Annotated[str, settable(domain_name, filter=False, sort=False)] = ""  # of the records that an external DNS publishes
    vlan_transparent: Annotated[bool | None, at_create(boolean, sort=False)] = None
    qos_policy_id: Annotated[str | None, settable(or_none(uuid_text), filter=False, sort=False)] = None
    port_security_enabled: Annotated[bool, settable(boolean, filter=False, sort=False)] = True  # what its ports inherit
    router_external: Annotated[bool, settable(boolean, who="admin", sort=False)] = field(name="router:external", default=False)
    is_default: Annotated[bool, settable(boolean, who="admin", sort=False)] = False  # of an external network: projects are routed to it
    external_to: Annotated[tuple[str, ...], hidden()] = ()  # projects, or "*": for whom it is external
    provider_network_type: Annotated[str, settable(text(32), who="admin", see="admin", sort=False)] = field(
        name="provider:network_type", default=""
    )
    provider_physical_network: Annotated[str | None, settable(text(64), who="admin", see="admin", sort=False)] = field(
        name="provider:physical_network", default=None
    )
    provider_segmentation_id: Annotated[int | None, settable(integer(), who="admin", see="admin", sort=False)] = field(
        name="provider:segmentation_id", default=None
    )
    dns_suffix: Annotated[str, hidden()] = DEFAULT_DNS_DOMAIN  # of the names that DHCP hands out here
    # Its segments where it has several; then the three above are hidden, and are those of the first.
    segments: Annotated[tuple[ProviderSegment, ...], settable(provider_segments, who="admin", see="admin", filter=False, sort=False)] = ()
    l2_adjacency: Annotated[bool, read_only(filter=False, sort=False)] = True  # no subnet is tied to a segment
    # Which subnet, and so which segment, a port gets; null, and not shown: as in Neutron.
    subnet_policy: Annotated[str | None, settable(or_none(one_of(SUBNET_POLICIES)), filter=False, sort=False)] = None
    # Its project's ports that name no network get one like this; of a shared one: those of projects that have no own.
    project_default: Annotated[bool, settable(boolean, filter=False, sort=False)] = False
    # What it takes when it runs out of room; null, and not shown: nothing.
    autogrow: Annotated[Bench | None, settable(or_none(bench), who="admin", see="admin", filter=False, sort=False)] = None
    # The scopes that its subnets' pools are in.
    ipv4_address_scope: Annotated[str | None, read_only(filter=False, sort=False)] = None
    ipv6_address_scope: Annotated[str | None, read_only(filter=False, sort=False)] = None

    indexes: ClassVar[Mapping[str, Keys]] = {
        "project_id": lambda network: (network.project_id,),
        "name": lambda network: (network.name,),
        "qos_policy_id": lambda network: (network.qos_policy_id,) if network.qos_policy_id else (),
        "default": lambda network: ("external",) if network.is_default and network.router_external else (),
        "project_default": lambda network: (network.project_id,) if network.project_default else (),
        "shared_default": lambda network: ("*",) if network.project_default and network.shared else (),
        "autogrow": lambda network: ("*",) if network.autogrow is not None else (),
    }

    @property
    def absent(self) -> tuple[str, ...]:
        provider = ("provider:network_type", "provider:physical_network", "provider:segmentation_id") if self.segments else ("segments",)
        unset = tuple(name for name in ("subnet_policy", "autogrow") if getattr(self, name) is None)
        return (*provider, *unset) if self.router_external else (*provider, *unset, "is_default")

    @property
    def on_the_wire(self) -> tuple[ProviderSegment, ...]:
        """All of its segments."""
        only = ProviderSegment(self.provider_network_type, self.provider_physical_network, self.provider_segmentation_id)
        return self.segments or (only,)


def pool_reference(value: Any) -> str:
    """A UUID, or the word for prefixes that come from a router's DHCPv6 client (RFC 8415)."""
    return value if value == "prefix_delegation" else uuid_text(value)


@takes({"type": "string", "maxLength": 255, "pattern": "^(network|compute|manila|neutron|baremetal):"})
def service_type(value: Any) -> str:
    """The device owner of the ports that a subnet is kept for."""
    if not isinstance(value, str):
        raise Unconvertible(f"Subnet service type {shown(value)} is not a string")
    if not value.startswith(("network:", "compute:", "manila:", "neutron:", "baremetal:")) or len(value) > 255:
        raise Unconvertible(f"Subnet service type {shown(value)} does not correspond to a valid device owner")
    return value


class Subnet(Resource, frozen=True, kw_only=True):
    """https://docs.openstack.org/api-ref/network/v2/#subnets"""

    kind: ClassVar[str] = "Subnet"
    singular: ClassVar[str] = "subnet"
    plural: ClassVar[str] = "subnets"

    name: Annotated[str, settable(name_text(255))] = ""
    network_id: Annotated[str, at_create(uuid_text, required=True)]
    ip_version: Annotated[int, at_create(integer(one_of=(4, 6)), required=True)]
    cidr: Annotated[str, at_create(or_none(cidr))]
    gateway_ip: Annotated[str | None, settable(or_none(ip_address))] = None
    allocation_pools: Annotated[
        tuple[AllocationPool, ...],
        settable(or_empty(list_of(struct_of(AllocationPool, start=ip_address, end=ip_address))), filter=False, sort=False),
    ] = ()
    dns_nameservers: Annotated[tuple[str, ...], settable(or_empty(list_of(ip_address)), filter=False, sort=False)] = ()
    host_routes: Annotated[
        tuple[HostRoute, ...],
        settable(or_empty(list_of(struct_of(HostRoute, destination=route_destination, nexthop=ip_address))), filter=False, sort=False),
    ] = ()
    enable_dhcp: Annotated[bool, settable(boolean)] = True
    ipv6_ra_mode: Annotated[str | None, at_create(one_of(("dhcpv6-stateful", "dhcpv6-stateless", "slaac", None)))] = None
    ipv6_address_mode: Annotated[str | None, at_create(one_of(("dhcpv6-stateful", "dhcpv6-stateless", "slaac", None)))] = None
    subnetpool_id: Annotated[str | None, at_create(or_none(pool_reference))] = None
    segment_id: Annotated[str | None, settable(or_none(uuid_text), who="admin")] = None
    service_types: Annotated[tuple[str, ...], settable(or_empty(list_of(service_type, unique=False)), filter=False, sort=False)] = ()
    # Wanted of a subnet pool; not kept.
    prefixlen: Annotated[int | None, at_create(integer(0), see="nobody", filter=False, sort=False)] = None
    use_default_subnetpool: Annotated[bool, at_create(boolean, see="nobody", filter=False, sort=False)] = False
    shared: Annotated[bool, filter_only(boolean)] = False  # as its network is; so the next one
    router_external: Annotated[bool, read_only(convert=boolean, sort=False)] = field(name="router:external", default=False)
    tags: Tags = ()
    dns_publish_fixed_ip: Annotated[bool, settable(boolean, filter=False, sort=False)] = False
    # Among the subnets of its network: the lowest priority comes first (null: its place in the order of creation), room counts so much.
    allocation_priority: Annotated[int | None, settable(or_none(integer(0, 2**31 - 1)), filter=False, sort=False)] = None
    allocation_weight: Annotated[float | None, settable(or_none(number(0.0, 1e6)), filter=False, sort=False)] = None

    @property
    def absent(self) -> tuple[str, ...]:
        return tuple(name for name in ("allocation_priority", "allocation_weight") if getattr(self, name) is None)

    indexes: ClassVar[Mapping[str, Keys]] = {
        "project_id": lambda subnet: (subnet.project_id,),
        "name": lambda subnet: (subnet.name,),
        "network_id": lambda subnet: (subnet.network_id,),
        "subnetpool_id": lambda subnet: (subnet.subnetpool_id,) if subnet.subnetpool_id else (),
        "segment_id": lambda subnet: (subnet.segment_id,) if subnet.segment_id else (),
    }

    @property
    def leases(self) -> bool:
        """Whether DHCP hands out its addresses. Of an IPv6 subnet without modes too: somebody else's router may send clients to it."""
        modes = (self.ipv6_ra_mode, self.ipv6_address_mode)
        return self.enable_dhcp and (self.ip_version == 4 or self.ipv6_address_mode == "dhcpv6-stateful" or modes == (None, None))


# Of these, only "normal" can be bound.
VNIC_TYPES = (
    "normal", "direct", "macvtap", "baremetal", "direct-physical", "virtio-forwarder", "smart-nic", "vdpa", "accelerator-direct",
    "accelerator-direct-physical", "remote-managed",
)  # fmt: skip


class Port(Resource, frozen=True, kw_only=True):
    """https://docs.openstack.org/api-ref/network/v2/#ports

    `provisioned` names the parts that hosts have reported done ("L2", "DHCP@host"); `status` follows from it.
    """

    kind: ClassVar[str] = "Port"
    singular: ClassVar[str] = "port"
    plural: ClassVar[str] = "ports"

    name: Annotated[str, settable(name_text(255))] = ""
    network_id: Annotated[str, at_create(uuid_text, required=True, unless="pick_id")]
    admin_state_up: Annotated[bool, settable(boolean)] = True
    mac_address: Annotated[str, settable(mac_or_another, put="admin")]
    fixed_ips: Annotated[
        tuple[FixedIp, ...],
        settable(list_of(struct_of(WantedIp, subnet_id=uuid_text, ip_address=ip_address), unique=False), sort=False),
    ] = ()
    ip_allocation: Annotated[str, read_only()] = "immediate"  # "deferred": when it is bound; "none": it wants no address
    device_id: Annotated[str, settable(text(255))] = ""
    device_owner: Annotated[str, settable(text(255))] = ""
    status: Annotated[str, read_only()] = "DOWN"
    tags: Annotated[tuple[str, ...], at_create(tag_list, sort=False)] = ()
    binding_host_id: Annotated[str, settable(or_empty(text(255), ""), who="admin", see="admin", sort=False)] = field(
        name="binding:host_id", default=""
    )
    binding_profile: Annotated[dict[str, Any], settable(mapping(4095), who="admin", see="admin", filter=False, sort=False)] = field(
        name="binding:profile", default_factory=dict
    )
    binding_vif_type: Annotated[str, read_only(see="admin", filter=False, sort=False)] = field(name="binding:vif_type", default="unbound")
    binding_vif_details: Annotated[dict[str, Any], read_only(see="admin", filter=False, sort=False)] = field(
        name="binding:vif_details", default_factory=dict
    )
    binding_vnic_type: Annotated[str, settable(one_of(VNIC_TYPES), filter=False, sort=False)] = field(
        name="binding:vnic_type", default="normal"
    )
    port_security_enabled: Annotated[bool, settable(boolean, filter=False, sort=False)] = True
    security_groups: Annotated[tuple[str, ...], settable(group_ids, sort=False)] = ()
    allowed_address_pairs: Annotated[tuple[AddressPair, ...], settable(address_pairs, filter=False, sort=False)] = ()
    extra_dhcp_opts: Annotated[tuple[DhcpOption, ...], settable(dhcp_options, filter=False, sort=False)] = ()
    dns_name: Annotated[str, settable(host_name, filter=False, sort=False)] = ""
    dns_domain: Annotated[str, settable(domain_name, filter=False, sort=False)] = ""
    propagate_uplink_status: Annotated[bool, settable(boolean, filter=False, sort=False)] = True
    data_plane_status: Annotated[str | None, at_update(one_of(("ACTIVE", "DOWN", None)), who="admin", filter=False, sort=False)] = None
    numa_affinity_policy: Annotated[str | None, settable(one_of(NUMA_POLICIES), filter=False, sort=False)] = None
    device_profile: Annotated[str | None, at_create(or_none(text(255)), filter=False, sort=False)] = None
    qos_policy_id: Annotated[str | None, settable(or_none(uuid_text), filter=False, sort=False)] = None
    qos_network_policy_id: Annotated[str | None, read_only(filter=False, sort=False)] = None  # its network's
    trunk_details: Annotated[dict[str, Any] | None, read_only(filter=False, sort=False)] = None  # shown where it is a trunk's parent
    pick_id: Annotated[str | None, at_create(or_none(uuid_text), sort=False)] = None  # the pick that its addresses were held by
    pick_token: Annotated[str | None, at_create(or_none(text(255)), see="nobody", filter=False, sort=False)] = None  # not kept
    dns_suffix: Annotated[str, hidden()] = DEFAULT_DNS_DOMAIN  # as its network has it
    inactive_bindings: Annotated[tuple[Binding, ...], hidden()] = ()
    is_provisional: Annotated[bool, hidden()] = False  # its addresses were chosen of some segment before its host was known
    provisioned: Annotated[tuple[str, ...], hidden()] = ()

    derived: ClassVar[Mapping[str, Attribute]] = {"dns_assignment": read_only(filter=False, sort=False)}

    @property
    def absent(self) -> tuple[str, ...]:
        trunk, pick = ("trunk_details",) if self.trunk_details is None else (), ("pick_id",) if self.pick_id is None else ()
        return trunk + pick  # no loop: a list asks each port

    @property
    def dns_assignment(self) -> tuple[DnsAssignment, ...]:
        return dns_assignments(self.dns_name, self.dns_suffix, self.fixed_ips)

    indexes: ClassVar[Mapping[str, Keys]] = {
        "project_id": lambda port: (port.project_id,),
        "name": lambda port: (port.name,),
        "network_id": lambda port: (port.network_id,),
        "device_id": lambda port: (port.device_id,),
        "dhcp": lambda port: (port.network_id,) if port.device_owner == DHCP_OWNER else (),
        "dhcp_host": lambda port: (port.binding_host_id,) if port.device_owner == DHCP_OWNER else (),
        "qos_policy_id": lambda port: (port.qos_policy_id,) if port.qos_policy_id else (),
        "pick_id": lambda port: (port.pick_id,) if port.pick_id else (),
        "mac_address": lambda port: (port.mac_address,),
        "binding:host_id": lambda port: (port.binding_host_id,),
        "security_groups": lambda port: port.security_groups,
        "use": lambda port: (use(port.project_id, port.network_id),),
        "place": lambda port: (place(port.network_id, port.binding_host_id),) if port.binding_host_id else (),
        "group_place": lambda port: tuple(place(id, port.binding_host_id) for id in port.security_groups) if port.binding_host_id else (),
        "subnet_id": lambda port: tuple({ip.subnet_id for ip in port.fixed_ips}),
        "ip_address": lambda port: tuple(ip.ip_address for ip in port.fixed_ips),
    }

    def claims(self) -> tuple[str, ...]:
        return (f"mac/{self.network_id}/{self.mac_address}", *(f"address/{ip.subnet_id}/{ip.ip_address}" for ip in self.fixed_ips))


class Quota(Resource, frozen=True, kw_only=True):
    """A project's limits, where they differ from the defaults; its id is the project's."""

    kind: ClassVar[str] = "Quota"
    singular: ClassVar[str] = "quota"
    plural: ClassVar[str] = "quotas"

    limits: Annotated[dict[str, int], hidden()] = field(default_factory=dict)


class Described(msgspec.Struct, frozen=True):
    """One attribute of a kind: its wire name, the struct's field, the description."""

    wire: str
    field: str
    attribute: Attribute


@cache
def attributes(kind: type[Resource]) -> Mapping[str, Described]:
    """The attributes of `kind` by wire name. `tenant_id` is the old word for `project_id`."""
    hints = get_type_hints(kind, include_extras=True)
    found = {
        item.encode_name: Described(item.encode_name, item.name, annotation)
        for item in msgspec.structs.fields(kind)
        for annotation in getattr(hints[item.name], "__metadata__", ())
        if isinstance(annotation, Attribute)
    }
    found |= {name: Described(name, name, attribute) for name, attribute in kind.derived.items()}
    return found | {"tenant_id": Described("tenant_id", "project_id", found["project_id"].attribute)}


def rule_name(verb: str, kind: type[Resource], wire: str = "") -> str:
    """Neutron's name of the rule by which something may be done: `create_network`, `get_port:binding:host_id`."""
    return f"{verb}_{kind.rule_noun or kind.singular}{wire and ':'}{wire}"


class Change(msgspec.Struct, frozen=True):
    """A resource put (`after`) or removed (`after` is None). The writer fills in `before`; None for a new one."""

    before: Resource | None
    after: Resource | None

    @property
    def resource(self) -> Resource:
        resource = self.after or self.before
        assert resource is not None
        return resource


def put(resource: Resource) -> Change:
    return Change(None, resource)


def remove(resource: Resource) -> Change:
    return Change(resource, None)


T = TypeVar("T")

# What a service function is: it yields changes, each of which its view shows as soon as it is yielded, and returns
# what was asked for. It raises a domain error to refuse; then the writer takes back what was yielded.
Changes = Generator[Change, None, T]
