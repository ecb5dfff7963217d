"""Who may ask a host's metadata service what: the instances on a network that it serves with DHCP, or behind a router that it runs."""

from collections.abc import Iterable, Iterator

from naru.model.agents import Agent
from naru.model.compute import Server
from naru.model.hoststate import METADATA_ADDRESS, InstanceDocument, MetadataState, Route
from naru.model.resources import Port, Subnet
from naru.model.routing import INTERFACE_OWNER
from naru.model.view import View

AVAILABILITY_ZONE = "nova"  # of all instances


def serves_metadata(view: View, host: str) -> bool:
    return any(agent.configurations.get("metadata") for agent in view.find(Agent, "host", host))


def askers(view: View, netns: str, network_ids: Iterable[str]) -> Iterator[MetadataState]:
    """The instances that are heard in a namespace."""
    for network_id in dict.fromkeys(network_ids):
        for port in view.find(Port, "network_id", network_id):
            if port.device_owner.startswith("compute:") and port.device_id:
                addresses = tuple(ip.ip_address for ip in port.fixed_ips)
                server = view.get(Server, port.device_id)
                document = _document(server, port) if server is not None else None
                yield MetadataState(port.id, netns, addresses, port.device_id, port.project_id, document)


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
