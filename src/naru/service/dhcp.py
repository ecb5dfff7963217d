"""Which host serves DHCP for a network: one DHCP port per network, bound to a live host that reaches it; where subnets are tied to
segments, one per segment.

Level-triggered: `ensure_dhcp_server` looks at what is and yields what is missing, whatever happened before.
"""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from naru.model.agents import Agent
from naru.model.resources import DHCP_OWNER, Changes, FixedIp, Network, Port, Subnet, new_id, put, remove
from naru.model.segments import Segment
from naru.model.view import View
from naru.service import binding
from naru.service.addressing import choose_address, choose_mac
from naru.service.segments import segment_of
from naru.service.subnet_choice import links_of
from naru.service.zones import show_zones


def served_subnets(view: View, network_id: str) -> list[Subnet]:
    """The subnets whose addresses are handed out by DHCP (IPv4; an IPv6 subnet is not served yet)."""
    subnets = view.find(Subnet, "network_id", network_id)
    return [subnet for subnet in subnets if subnet.enable_dhcp and subnet.ip_version == 4]


def dhcp_ports(view: View, network_id: str) -> list[Port]:
    return list(view.find(Port, "dhcp", network_id))


def ensure_dhcp_server(view: View, network_id: str, host: str | None = None) -> Changes[None]:
    """One DHCP port with an address in each served subnet of a link, where a host can run the server; none where nothing is served.

    A new server goes to `host`, if that is named. A subnet that has no address left for its server goes without one, until this is
    asked again.
    """
    network = view.get(Network, network_id)
    if network is None:
        return
    links = links_of(served_subnets(view, network_id))
    servers = {segment_of(view, port) or "": port for port in dhcp_ports(view, network_id)}
    for link, port in servers.items():
        if link not in links:
            yield remove(port)
    for link, subnets in links.items():
        yield from _ensure_on_link(view, network, view.get(Segment, link), subnets, servers.get(link), host)
    yield from show_zones(view, network_id)


def is_unserved(view: View, network_id: str) -> bool:
    """A link of the network has no DHCP server, and should have one."""
    return len(dhcp_ports(view, network_id)) < len(links_of(served_subnets(view, network_id)))


def _ensure_on_link(
    view: View, network: Network, segment: Segment | None, subnets: Sequence[Subnet], server: Port | None, named: str | None
) -> Changes[None]:
    if server is not None:
        missing = [subnet for subnet in subnets if all(ip.subnet_id != subnet.id for ip in server.fixed_ips)]
        kept = tuple(ip for ip in server.fixed_ips if any(ip.subnet_id == subnet.id for subnet in subnets))
        fixed_ips = kept + _server_addresses(view, missing)
        if fixed_ips != server.fixed_ips:
            yield put(replace(server, fixed_ips=fixed_ips))
    elif (fixed_ips := _server_addresses(view, subnets)) and (host := _host_for(view, network, segment, named)):
        yield put(
            Port(
                id=new_id(),
                project_id=network.project_id,
                network_id=network.id,
                mac_address=choose_mac(view, network.id),
                fixed_ips=fixed_ips,
                device_owner=DHCP_OWNER,
                dns_suffix=network.dns_suffix,
                qos_network_policy_id=network.qos_policy_id,
                port_security_enabled=False,
                **served_by(view, network, host),
            )
        )


def served_by(view: View, network: Network, host: str) -> dict[str, Any]:
    """Where a DHCP port is, as attributes of it."""
    vif_type, vif_details = binding.bind(view, network, host)
    return {
        "device_id": f"dhcp{uuid.uuid5(uuid.NAMESPACE_DNS, host)}-{network.id}",
        "binding_host_id": host,
        "binding_vif_type": vif_type,
        "binding_vif_details": vif_details,
    }


def _server_addresses(view: View, subnets: Iterable[Subnet]) -> tuple[FixedIp, ...]:
    return tuple(FixedIp(subnet.id, choose_address(view, subnet)) for subnet in subnets if view.addresses(subnet.id).free)


def _host_for(view: View, network: Network, segment: Segment | None, named: str | None) -> str | None:
    """Of the live hosts that may run a server on this link the one with the fewest, in the zones that the network asks for or `named`."""
    zones = network.availability_zone_hints
    hosts = [
        agent.host
        for agent in view.all(Agent)
        if agent.alive and agent.admin_state_up and agent.configurations.get("dhcp")
        if not binding.why_unreachable(agent, network, segment)
        if (agent.host == named if named else not zones or agent.availability_zone in zones)
    ]
    servers = {host: sum(port.device_owner == DHCP_OWNER for port in view.find(Port, "binding:host_id", host)) for host in hosts}
    return min(servers, key=lambda host: (servers[host], host), default=None)
