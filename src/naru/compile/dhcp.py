"""DHCP: the server that a host runs for a domain, and its reservations."""

from collections.abc import Iterator

from naru.compile.l2 import Domain
from naru.compile.metadata import askers, ipv6_speaker, metadata_routes, serves_metadata
from naru.model.devices import dhcp_device, dhcp_netns
from naru.model.hoststate import ClientOption, DhcpState, DhcpSubnet, LeaseState, Route, Value
from naru.model.port_options import automatic_hostname
from naru.model.resources import FixedIp, Port, Subnet
from naru.model.routing import INTERFACE_OWNER
from naru.model.view import View


def compile_dhcp(view: View, domain: Domain, server: Port) -> Iterator[Value]:
    """The server behind the port `server`, for the subnets of the domain that it has an address in."""
    has_metadata = serves_metadata(view, domain.host)
    found = ((view.get(Subnet, ip.subnet_id), ip) for ip in server.fixed_ips)
    served = {
        subnet.id: (subnet, ip)
        for subnet, ip in found
        if subnet is not None and subnet.enable_dhcp and subnet.segment_id == domain.segment_id
    }
    if not served:
        return
    network, device = domain.network, dhcp_device(server.id)
    speaks_ipv6 = has_metadata and ipv6_speaker(view, network.id, domain.segment_id) == server.id
    yield DhcpState(
        network_id=domain.id,
        port_id=server.id,
        netns=dhcp_netns(domain.id),
        device=device,
        mtu_bytes=network.mtu,
        subnets=tuple(_subnet(view, subnet, ip, has_metadata=has_metadata) for subnet, ip in served.values()),
        domain=network.dns_suffix.removesuffix("."),
        metadata=has_metadata,
        metadata_ipv6=speaks_ipv6,
    )
    if has_metadata:
        yield from askers(view, dhcp_netns(domain.id), {network.id: (device,) if speaks_ipv6 else ()})
    for port in view.find(Port, "network_id", network.id):
        fixed_ips = [ip for ip in port.fixed_ips if ip.subnet_id in served]
        if fixed_ips and not port.device_owner.startswith("network:"):
            hostname = (port.dns_name or automatic_hostname(fixed_ips[0].ip_address)).partition(".")[0]
            addresses = tuple(ip.ip_address for ip in fixed_ips if served[ip.subnet_id][0].leases)
            options = tuple(ClientOption(option.opt_name, option.opt_value or "", option.ip_version) for option in port.extra_dhcp_opts)
            yield LeaseState(port.id, domain.id, port.mac_address, hostname, addresses, options)


def _subnet(view: View, subnet: Subnet, server: FixedIp, *, has_metadata: bool) -> DhcpSubnet:
    with_metadata = has_metadata and subnet.ip_version == 4
    return DhcpSubnet(
        subnet_id=subnet.id,
        cidr=subnet.cidr,
        server_address=server.ip_address,
        gateway_ip=subnet.gateway_ip,
        dns_nameservers=subnet.dns_nameservers,
        host_routes=tuple(Route(route.destination, route.nexthop) for route in subnet.host_routes)
        + (metadata_routes(view, subnet, server.ip_address) if with_metadata else ()),
        mode=subnet.ipv6_address_mode or subnet.ipv6_ra_mode or "dhcpv6-stateful",
        advertised=subnet.ipv6_ra_mode is not None and not _has_router(view, subnet),
    )


def _has_router(view: View, subnet: Subnet) -> bool:
    """Then that router advertises it: who hears an advertisement takes its sender for the way out."""
    return any(port.device_owner == INTERFACE_OWNER for port in view.find(Port, "subnet_id", subnet.id))
