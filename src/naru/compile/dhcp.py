"""DHCP: the server that a host runs for a domain, and its reservations."""

from collections.abc import Iterator

from naru.compile.l2 import Domain
from naru.compile.metadata import askers, metadata_routes, serves_metadata
from naru.model.hoststate import DhcpState, DhcpSubnet, LeaseState, Route, Value, dhcp_device, dhcp_netns
from naru.model.port_options import automatic_hostname
from naru.model.resources import Port, Subnet
from naru.model.view import View


def compile_dhcp(view: View, domain: Domain, server: Port) -> Iterator[Value]:
    """The server behind the port `server`, for the subnets of the domain that it has an address in."""
    has_metadata = serves_metadata(view, domain.host)
    subnets: dict[str, DhcpSubnet] = {}
    for ip in server.fixed_ips:
        subnet = view.get(Subnet, ip.subnet_id)
        if subnet is not None and subnet.enable_dhcp and subnet.ip_version == 4 and subnet.segment_id == domain.segment_id:
            subnets[subnet.id] = DhcpSubnet(
                subnet_id=subnet.id,
                cidr=subnet.cidr,
                server_address=ip.ip_address,
                gateway_ip=subnet.gateway_ip,
                dns_nameservers=subnet.dns_nameservers,
                host_routes=tuple(Route(route.destination, route.nexthop) for route in subnet.host_routes)
                + (metadata_routes(view, subnet, ip.ip_address) if has_metadata else ()),
            )
    if not subnets:
        return
    network = domain.network
    yield DhcpState(
        network_id=domain.id,
        port_id=server.id,
        netns=dhcp_netns(domain.id),
        device=dhcp_device(server.id),
        mtu_bytes=network.mtu,
        subnets=tuple(subnets.values()),
        domain=network.dns_suffix.removesuffix("."),
        metadata=has_metadata,
    )
    if has_metadata:
        yield from askers(view, dhcp_netns(domain.id), [network.id])
    for port in view.find(Port, "network_id", network.id):
        addresses = tuple(ip.ip_address for ip in port.fixed_ips if ip.subnet_id in subnets)
        if addresses and not port.device_owner.startswith("network:"):
            hostname = (port.dns_name or automatic_hostname(addresses[0])).partition(".")[0]
            yield LeaseState(port.id, domain.id, port.mac_address, hostname, addresses)
