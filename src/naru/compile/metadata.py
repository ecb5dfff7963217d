"""Who may ask a host's metadata service what: the instances on a network that it serves with DHCP, or behind a router that it runs."""

from collections.abc import Iterator, Mapping

from naru.model.agents import Agent
from naru.model.compute import Server
from naru.model.hoststate import METADATA_ADDRESS, InstanceDocument, MetadataState, Route
from naru.model.resources import Port, Subnet
from naru.model.routing import INTERFACE_OWNER
from naru.model.view import View

AVAILABILITY_ZONE = "nova"  # of all instances


def serves_metadata(view: View, host: str) -> bool:
    return any(agent.configurations.get("metadata") for agent in view.find(Agent, "host", host))


def ipv6_speaker(view: View, network_id: str, segment_id: str | None) -> str:
    """The port at which an L2 domain finds its metadata service by IPv6: the first DHCP server's, else a router's that is the gateway.

    One alone, for an address of the link is in one place; "" where the domain has no IPv6, or nobody to answer. Neutron puts the address
    into every such namespace, and leaves it to duplicate address detection which of them keeps it.
    """
    found = (subnet for subnet in view.find(Subnet, "network_id", network_id) if subnet.segment_id == segment_id)
    subnets = {subnet.id: subnet for subnet in found if subnet.ip_version == 6}
    leased = {id for id, subnet in subnets.items() if subnet.enable_dhcp}
    servers = [port for port in view.find(Port, "dhcp", network_id) if any(ip.subnet_id in leased for ip in port.fixed_ips)]
    at_gateway = (port for subnet in subnets.values() for port in view.find(Port, "ip_address", subnet.gateway_ip or ""))
    gateways = [
        port for port in at_gateway if port.device_owner == INTERFACE_OWNER and any(ip.subnet_id in subnets for ip in port.fixed_ips)
    ]
    able = [port.id for ports in (servers, gateways) for port in sorted(ports, key=_id) if serves_metadata(view, port.binding_host_id)]
    return next(iter(able), "")


def _id(port: Port) -> str:
    return port.id


def askers(view: View, netns: str, heard: Mapping[str, tuple[str, ...]]) -> Iterator[MetadataState]:
    """The instances that are heard in a namespace; `heard`: network id -> the devices at which it is heard by IPv6."""
    for network_id, devices in heard.items():
        for port in view.find(Port, "network_id", network_id):
            if port.device_owner.startswith("compute:") and port.device_id:
                addresses = tuple(ip.ip_address for ip in port.fixed_ips)
                server = view.get(Server, port.device_id)
                document = _document(server, port) if server is not None else None
                yield MetadataState(port.id, netns, addresses, port.device_id, port.project_id, document, port.mac_address, devices)


def _document(server: Server, port: Port) -> InstanceDocument:
    return InstanceDocument(
        hostname=port.dns_name or server.hostname,
        name=server.name,
        availability_zone=AVAILABILITY_ZONE,
        meta=server.metadata,
        key_name=server.key_name,
        public_key=server.public_key,
        user_data=server.user_data,
    )


def metadata_routes(view: View, subnet: Subnet, server_address: str) -> tuple[Route, ...]:
    """The way to the metadata service: through the router, and where none is the subnet's gateway, through the DHCP server (RFC 3442)."""
    gateways = view.find(Port, "ip_address", subnet.gateway_ip or "")
    is_routed = any(p.device_owner == INTERFACE_OWNER and any(ip.subnet_id == subnet.id for ip in p.fixed_ips) for p in gateways)
    return () if is_routed else (Route(f"{METADATA_ADDRESS}/32", server_address),)
