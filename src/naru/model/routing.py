"""Routing, described as resources.py describes the rest: routers, floating IPs and the port forwardings below them."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from naru.model.attributes import (
    Attribute,
    Tags,
    at_create,
    at_update,
    boolean,
    hidden,
    integer,
    ip_address,
    list_of,
    name_text,
    nullable,
    one_of,
    or_empty,
    or_none,
    read_only,
    route_destination,
    schema_of,
    settable,
    shown,
    struct_of,
    takes,
    text,
    uuid_text,
    zone_names,
)
from naru.model.port_options import domain_name, relative_dns_name
from naru.model.resources import FixedIp, HostRoute, Keys, Resource, WantedIp

INTERFACE_OWNER = "network:router_interface"
GATEWAY_OWNER = "network:router_gateway"
FLOATING_IP_OWNER = "network:floatingip"
ROUTER_OWNERS = (INTERFACE_OWNER, GATEWAY_OWNER)


class Gateway(msgspec.Struct, frozen=True):
    """A router's way out. `enable_snat`: what has no floating IP leaves with the gateway's address."""

    network_id: str
    enable_snat: bool = True
    external_fixed_ips: tuple[FixedIp, ...] = ()
    qos_policy_id: str | None = None


class WantedGateway(msgspec.Struct, frozen=True):
    """What a request asks of a gateway."""

    network_id: str
    enable_snat: bool | UnsetType = UNSET
    external_fixed_ips: tuple[WantedIp, ...] | UnsetType = UNSET
    qos_policy_id: str | UnsetType | None = UNSET


_gateway = struct_of(
    WantedGateway,
    network_id=uuid_text,
    enable_snat=boolean,
    external_fixed_ips=list_of(struct_of(WantedIp, subnet_id=uuid_text, ip_address=ip_address), unique=False),
    qos_policy_id=or_none(uuid_text),
)


@takes(nullable(schema_of(_gateway)))
def gateway_or_none(value: Any) -> WantedGateway | None:
    """null and {} both say that there is no gateway."""
    return None if value is None or value == {} else _gateway(value)


def boolean_or_false(value: Any) -> bool:
    return value is not None and boolean(value)


routes_list = or_empty(list_of(struct_of(HostRoute, destination=route_destination, nexthop=ip_address)))


class Router(Resource, frozen=True, kw_only=True):
    """https://docs.openstack.org/api-ref/network/v2/#routers-routers"""

    kind: ClassVar[str] = "Router"
    singular: ClassVar[str] = "router"
    plural: ClassVar[str] = "routers"

    name: Annotated[str, settable(name_text(255))] = ""
    admin_state_up: Annotated[bool, settable(boolean)] = True
    status: Annotated[str, read_only(filter=False)] = "ACTIVE"
    external_gateway_info: Annotated[Gateway | None, settable(gateway_or_none, filter=False, sort=False)] = None
    routes: Annotated[tuple[HostRoute, ...], at_update(routes_list, filter=False, sort=False)] = ()
    enable_snat: Annotated[bool, read_only(convert=boolean)] = True
    flavor_id: Annotated[str | None, at_create(or_none(uuid_text), filter=False)] = None
    service_type_id: Annotated[str | None, at_create(or_none(uuid_text), filter=False, sort=False)] = None  # a label of the operator's
    ha: Annotated[bool, settable(boolean_or_false, who="admin", see="admin", filter=False, sort=False)] = False
    availability_zone_hints: Annotated[tuple[str, ...], at_create(zone_names, filter=False, sort=False)] = ()
    availability_zones: Annotated[tuple[str, ...], read_only(filter=False, sort=False)] = ()  # of the host that runs it
    host: Annotated[str, hidden()] = ""  # that runs it
    tags: Tags = ()

    indexes: ClassVar[Mapping[str, Keys]] = {
        "project_id": lambda router: (router.project_id,),
        "name": lambda router: (router.name,),
        "flavor_id": lambda router: (router.flavor_id or "",),
        "host": lambda router: (router.host,) if router.host else (),
        "qos_policy_id": lambda router: (router.policy_id,) if router.policy_id else (),
    }

    @property
    def policy_id(self) -> str | None:
        """The QoS policy of its gateway."""
        return self.external_gateway_info.qos_policy_id if self.external_gateway_info is not None else None


class PortDetails(msgspec.Struct, frozen=True):
    """What a floating IP shows of the port behind it."""

    name: str
    network_id: str
    mac_address: str
    admin_state_up: bool
    status: str
    device_id: str
    device_owner: str


class FloatingIp(Resource, frozen=True, kw_only=True):
    """https://docs.openstack.org/api-ref/network/v2/#floating-ips-floatingips

    `port_details` and `port_forwardings` are other resources' affairs: they are filled in when a floating IP is shown.
    """

    kind: ClassVar[str] = "FloatingIP"
    singular: ClassVar[str] = "floatingip"
    plural: ClassVar[str] = "floatingips"

    floating_ip_address: Annotated[str | None, at_create(or_none(ip_address), who="admin")] = None
    subnet_id: Annotated[str | None, at_create(or_none(uuid_text), see="nobody", filter=False, sort=False)] = None
    floating_network_id: Annotated[str, at_create(uuid_text, required=True)]
    router_id: Annotated[str | None, read_only()] = None
    port_id: Annotated[str | None, settable(or_none(uuid_text), sort=False)] = None
    fixed_ip_address: Annotated[str | None, settable(or_none(ip_address))] = None
    reported: Annotated[str, hidden()] = "DOWN"  # by the host of its router: "ACTIVE", "ERROR", or nothing yet
    dns_name: Annotated[str, at_create(relative_dns_name, filter=False, sort=False)] = ""
    dns_domain: Annotated[str, at_create(domain_name, filter=False, sort=False)] = ""
    qos_policy_id: Annotated[str | None, settable(or_none(uuid_text), filter=False, sort=False)] = None
    qos_network_policy_id: Annotated[str | None, read_only(filter=False, sort=False)] = None  # of the external network
    port_details: Annotated[PortDetails | None, read_only(filter=False, sort=False)] = None
    port_forwardings: Annotated[tuple[dict[str, Any], ...], read_only(filter=False, sort=False)] = ()
    floating_port_id: Annotated[str, hidden()] = ""  # its port on the external network
    tags: Tags = ()

    indexes: ClassVar[Mapping[str, Keys]] = {
        "project_id": lambda floating: (floating.project_id,),
        "port_id": lambda floating: (floating.port_id or "",),
        "router_id": lambda floating: (floating.router_id or "",),
        "qos_policy_id": lambda floating: (floating.qos_policy_id,) if floating.qos_policy_id else (),
        "floating_ip_address": lambda floating: (floating.floating_ip_address or "",),
        "floating_network_id": lambda floating: (floating.floating_network_id,),
    }

    derived: ClassVar[Mapping[str, Attribute]] = {"status": read_only()}

    @property
    def status(self) -> str:
        return self.reported if self.router_id else "DOWN"

    def claims(self) -> tuple[str, ...]:
        return (f"floatingip/{self.floating_network_id}/{self.port_id}/{self.fixed_ip_address}",) if self.port_id else ()


PROTOCOLS = ("tcp", "udp", "sctp", "dccp", "icmp", "ipv6-icmp")


def port_range(value: Any) -> str:
    """`8000:8010`, the first not above the last; a single number is a range of one."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{shown(value)} is not a range of port numbers")
    first, colon, last = str(value).partition(":")
    bounds = [integer(1, 65535)(bound) for bound in (first, last if colon else first)]
    if bounds[0] > bounds[1]:
        raise ValueError(f"{shown(value)} begins above its end")
    return f"{bounds[0]}:{bounds[1]}"


_port_number = or_none(integer(1, 65535))


class PortForwarding(Resource, frozen=True, kw_only=True):
    """https://docs.openstack.org/api-ref/network/v2/#floating-ips-port-forwarding

    The port numbers are kept as ranges; a range of one is shown as a number too.
    """

    kind: ClassVar[str] = "PortForwarding"
    singular: ClassVar[str] = "port_forwarding"
    plural: ClassVar[str] = "port_forwardings"
    rule_noun: ClassVar[str] = "floatingip_port_forwarding"

    project_id: Annotated[str, Attribute(text(255), post="anyone", see="nobody", filter=False, sort=False)] = ""
    description: Annotated[str | None, settable(text(1024), sort=False)] = ""
    created_at: Annotated[str, hidden()] = ""
    updated_at: Annotated[str, hidden()] = ""
    revision_number: Annotated[int, hidden()] = 1

    floatingip_id: Annotated[str, hidden()] = ""
    protocol: Annotated[str, settable(one_of(PROTOCOLS), required=True)]
    external_port: Annotated[int | None, settable(_port_number)] = None
    external_port_range: Annotated[str | None, settable(or_none(port_range))] = None
    internal_port_id: Annotated[str, settable(uuid_text, required=True)]
    internal_ip_address: Annotated[str, settable(ip_address, required=True, filter=False, sort=False)]
    internal_port: Annotated[int | None, settable(_port_number, filter=False, sort=False)] = None
    internal_port_range: Annotated[str | None, settable(or_none(port_range), filter=False, sort=False)] = None

    indexes: ClassVar[Mapping[str, Keys]] = {
        "floatingip_id": lambda forwarding: (forwarding.floatingip_id,),
        "internal_port_id": lambda forwarding: (forwarding.internal_port_id,),
    }


class FloatingIpPool(Resource, frozen=True, kw_only=True):
    """A subnet that floating IPs come from; made when asked for, never kept.

    https://docs.openstack.org/api-ref/network/v2/#floating-ip-pools
    """

    kind: ClassVar[str] = "FloatingIPPool"
    singular: ClassVar[str] = "floatingip_pool"
    plural: ClassVar[str] = "floatingip_pools"

    id: Annotated[str, hidden()]
    description: Annotated[str | None, hidden()] = None
    created_at: Annotated[str, hidden()] = ""
    updated_at: Annotated[str, hidden()] = ""
    revision_number: Annotated[int, hidden()] = 1

    project_id: Annotated[str, read_only(filter=False, sort=False)] = ""
    network_id: Annotated[str, read_only(filter=False, sort=False)]
    subnet_id: Annotated[str, read_only(filter=False, sort=False)]
    subnet_name: Annotated[str, read_only(filter=False, sort=False)] = ""
    cidr: Annotated[str, read_only(filter=False, sort=False)] = ""
