"""Subnets: prefix, gateway and pools that fit together; the network's DHCP server follows."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import pairwise
from typing import Any

from msgspec.structs import replace

from naru.allocate.addresses import default_pools
from naru.allocate.prefixes import meet
from naru.model.errors import Conflict, Invalid
from naru.model.identity import Caller
from naru.model.resources import DHCP_OWNER, AllocationPool, Changes, Network, Port, Subnet, new_id, put, remove
from naru.model.routing import INTERFACE_OWNER
from naru.model.view import View
from naru.service.address_scopes import show_scopes
from naru.service.addressing import automatic_addresses, is_automatic
from naru.service.dhcp import ensure_dhcp_servers
from naru.service.holds import let_go
from naru.service.networks import check_mtu
from naru.service.policy import Cloud, check_quota, fetch, fetch_own, owns, reader_of_new, refused
from naru.service.provisioning import follow_dhcp
from naru.service.router_ports import check_gateway_change
from naru.service.segments import MAX_HOST_ROUTES, check_changed_subnet, check_new_subnet, follow_peers
from naru.service.subnetpools import check_affinity, with_prefix
from naru.service.zones import show_zones

Prefix = IPv4Network | IPv6Network

MAX_DNS_NAMESERVERS = 5


def create_subnet(view: View, caller: Caller, given: dict[str, Any], cloud: Cloud) -> Changes[Subnet]:
    """Raises Invalid or Conflict, with Neutron's types, for parts that do not fit together."""
    network = fetch(view, caller, Network, given["network_id"])
    if not caller.may("create_subnet", owns(caller, network), reader_of_new(view, caller, Subnet, given)):
        raise refused(caller, "create_subnet", f"network {network.id} belongs to another project")
    pool, given = with_prefix(view, caller, given)
    prefix = _prefix(given)
    check_affinity(view, network, pool, prefix.version)
    check_new_subnet(view, network.id, given.get("segment_id"))
    check_mtu(network.mtu, network.id, prefix.version)
    check_quota(view, cloud, Subnet, given["project_id"])
    for other in view.find(Subnet, "network_id", network.id):
        if other.ip_version == prefix.version and meet(str(prefix), other.cidr):
            raise _invalid(
                f"Requested subnet with cidr: {prefix} for network: {network.id} overlaps with another subnet: {other.id} ({other.cidr})"
            )
    subnet = Subnet(id=new_id(), shared=network.shared, router_external=network.router_external, **_with_gateway_and_pools(given, prefix))
    _check(subnet, prefix)
    yield put(subnet)
    yield put(replace(network, subnets=(*network.subnets, subnet.id)))
    yield from show_scopes(view, network.id)
    yield from follow_peers(view, network.id)
    for port in list(view.find(Port, "network_id", network.id)) if is_automatic(subnet) else ():
        if port.device_owner not in (DHCP_OWNER, INTERFACE_OWNER):
            yield put(replace(port, fixed_ips=(*port.fixed_ips, *automatic_addresses([subnet], port.mac_address))))
    yield from ensure_dhcp_servers(view, network.id, cloud)
    return subnet


def update_subnet(view: View, caller: Caller, id: str, given: dict[str, Any], cloud: Cloud) -> Changes[Subnet]:
    subnet = fetch_own(view, caller, Subnet, id, "update")
    check_changed_subnet(view, subnet, given.get("segment_id", subnet.segment_id))
    changed = replace(subnet, **given)
    check_gateway_change(view, subnet, changed.gateway_ip)
    _check(changed, ip_network(subnet.cidr))
    if changed.gateway_ip != subnet.gateway_ip:  # an address that instances may have by now, even where the pools shrink with it
        _check_gateway_outside(changed.gateway_ip, subnet.allocation_pools)
    yield put(changed)
    if (changed.gateway_ip, changed.segment_id) != (subnet.gateway_ip, subnet.segment_id):
        yield from follow_peers(view, subnet.network_id, subnet)
    yield from ensure_dhcp_servers(view, subnet.network_id, cloud)
    if changed.leases != subnet.leases:
        yield from follow_dhcp(view, id)
    return changed


def delete_subnet(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    """Raises Conflict (SubnetInUse) while a port other than a DHCP server's has an address of it; automatic ones just go."""
    subnet = fetch_own(view, caller, Subnet, id, "delete")
    ports = list(view.find(Port, "subnet_id", id))
    leave = (DHCP_OWNER,) if not is_automatic(subnet) else {port.device_owner for port in ports} - {INTERFACE_OWNER}
    if in_use := [port.id for port in ports if port.device_owner not in leave]:
        message = (
            f"Unable to complete operation on subnet {id}: One or more ports have an IP allocation from this subnet "
            f"({', '.join(in_use[:20])})."
        )
        raise Conflict(message, "SubnetInUse")
    yield from let_go(view, subnet)
    network = fetch(view, caller, Network, subnet.network_id)
    yield remove(subnet)
    yield put(replace(network, subnets=tuple(other for other in network.subnets if other != id)))
    yield from show_scopes(view, network.id)
    yield from follow_peers(view, network.id, subnet)
    for port in ports:
        rest = tuple(ip for ip in port.fixed_ips if ip.subnet_id != id)
        yield remove(port) if port.device_owner == DHCP_OWNER and not rest else put(replace(port, fixed_ips=rest))
    yield from show_zones(view, network.id)


def _prefix(given: dict[str, Any]) -> Prefix:
    prefix = ip_network(given["cidr"])
    if prefix.version != given["ip_version"]:
        raise _invalid(f"cidr '{prefix}' does not match the ip_version '{given['ip_version']}'")
    if prefix.prefixlen == 0:
        raise _invalid("0 is not allowed as CIDR prefix length")
    return prefix


def _with_gateway_and_pools(given: dict[str, Any], prefix: Prefix) -> dict[str, Any]:
    """Gateway absent: the first host; null: none. Pools absent: everything but the gateway; empty: no address but those asked for."""
    given = dict(given)
    if "gateway_ip" not in given:
        hosts = default_pools(prefix, None)[0]
        given["gateway_ip"] = str(ip_address(hosts[0])) if prefix.version == 4 else str(prefix.network_address + 1)
    if "allocation_pools" not in given:
        gateway = int(ip_address(given["gateway_ip"])) if given["gateway_ip"] is not None else None
        pools = default_pools(prefix, gateway)
        family = ip_address(prefix.network_address).__class__
        given["allocation_pools"] = tuple(AllocationPool(str(family(start)), str(family(end))) for start, end in pools)
    return given


def _check(subnet: Subnet, prefix: Prefix) -> None:
    _check_gateway(subnet, prefix)
    _check_pools(subnet, prefix)
    if len(subnet.dns_nameservers) > MAX_DNS_NAMESERVERS:
        message = f"Unable to complete operation for {subnet.id}. The number of DNS nameservers exceeds the limit {MAX_DNS_NAMESERVERS}."
        raise Invalid(message, "DNSNameServersExhausted")
    if len(subnet.host_routes) > MAX_HOST_ROUTES:
        message = f"Unable to complete operation for {subnet.id}. The number of host routes exceeds the limit {MAX_HOST_ROUTES}."
        raise Invalid(message, "HostRoutesExhausted")
    if subnet.enable_dhcp:
        _check_servable(prefix)
    _check_ipv6_modes(subnet, prefix)
    for route in subnet.host_routes:
        if ip_network(route.destination).version != prefix.version or ip_address(route.nexthop).version != prefix.version:
            raise _invalid(f"host route {route.destination} via {route.nexthop} is not IPv{prefix.version}")
    for server in subnet.dns_nameservers:
        if ip_address(server).version != prefix.version:
            raise _invalid(f"dns_nameservers holds {server}, which is not IPv{prefix.version}")


def _check_servable(prefix: Prefix) -> None:
    """Raises Invalid for a prefix in which no DHCP server can have an address beside those that it gives."""
    if prefix.max_prefixlen - prefix.prefixlen < 2:
        raise _invalid(f"Subnet has a prefix length that is incompatible with DHCP service enabled: {prefix}")
    for word, is_such in (("Multicast", prefix.is_multicast), ("Loopback", prefix.is_loopback)):
        if is_such:
            raise _invalid(f"{word} IP subnet is not supported if enable_dhcp is True: {prefix}")
    if prefix.version == 4 and int(prefix.network_address) == 0:
        raise _invalid(f"First IP '0.0.0.0' of network is not supported if enable_dhcp is True: {prefix}")


def _check_ipv6_modes(subnet: Subnet, prefix: Prefix) -> None:
    modes = {subnet.ipv6_ra_mode, subnet.ipv6_address_mode} - {None}
    if not modes:
        return
    if prefix.version == 4:
        raise _invalid("ipv6_ra_mode and ipv6_address_mode are not valid when ip_version is 4")
    if not subnet.enable_dhcp:
        raise _invalid("ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False")
    if len(modes) > 1:
        asked = f"ipv6_ra_mode set to '{subnet.ipv6_ra_mode}' with ipv6_address_mode set to '{subnet.ipv6_address_mode}'"
        raise _invalid(f"{asked} is not valid. If both attributes are set, they must be the same value")
    if is_automatic(subnet) and prefix.prefixlen != 64:  # RFC 4862: the interface identifier has 64 bits
        raise _invalid(f"Invalid CIDR {prefix} for IPv6 address mode: EUI-64 addresses need a /64 prefix")


def _check_gateway(subnet: Subnet, prefix: Prefix) -> None:
    if subnet.gateway_ip is None:
        return
    gateway = ip_address(subnet.gateway_ip)
    if gateway.version != prefix.version:
        raise _invalid(f"gateway_ip '{gateway}' is not an IPv{prefix.version} address")
    unusable = (prefix.network_address, prefix.broadcast_address) if prefix.version == 4 else ()
    if prefix.prefixlen < 31 and gateway in unusable:
        raise _invalid(f"Gateway is not valid on subnet: {gateway} is the network or broadcast address of {prefix}")


def _check_pools(subnet: Subnet, prefix: Prefix) -> None:
    ordered = []
    for pool in subnet.allocation_pools:
        start, end = ip_address(pool.start), ip_address(pool.end)
        name = f"{pool.start}-{pool.end}"
        if start.version != prefix.version or end.version != prefix.version or int(end) < int(start):
            raise Invalid(f"The allocation pool {name} is not valid.", "InvalidAllocationPool")
        hosts_first, hosts_last = default_pools(prefix, None)[0]
        if int(start) < hosts_first or int(end) > hosts_last:
            raise Invalid(f"The allocation pool {name} spans beyond the subnet cidr {prefix}.", "OutOfBoundsAllocationPool")
        ordered.append((int(start), int(end), name))
    _check_gateway_outside(subnet.gateway_ip, subnet.allocation_pools)
    ordered.sort()
    for (_, end_before, first), (start_after, _, second) in pairwise(ordered):
        if start_after <= end_before:
            message = f"Found overlapping allocation pools: {first} {second} for subnet {prefix}."
            raise Conflict(message, "OverlappingAllocationPools")


def _check_gateway_outside(gateway_ip: str | None, pools: Iterable[AllocationPool]) -> None:
    gateway = ip_address(gateway_ip) if gateway_ip is not None else None
    for pool in pools:
        if gateway is not None and int(ip_address(pool.start)) <= int(gateway) <= int(ip_address(pool.end)):
            message = f"Gateway ip {gateway} conflicts with allocation pool {pool.start}-{pool.end}."
            raise Conflict(message, "GatewayConflictWithAllocationPools")


def _invalid(reason: str) -> Invalid:
    return Invalid(f"Invalid input for operation: {reason}.", "InvalidInput")
