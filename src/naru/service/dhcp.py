"""Which host serves DHCP for a network: one DHCP port per network, bound to a live host that reaches it.

Level-triggered: `ensure_dhcp_server` looks at what is and yields what is missing, whatever happened before.
"""

import uuid
from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from naru.model.agents import Agent
from naru.model.resources import DHCP_OWNER, Changes, FixedIp, Network, Port, Subnet, new_id, put, remove
from naru.model.view import View
from naru.service import binding
from naru.service.addressing import choose_address, choose_mac
from naru.service.zones import show_zones


def served_subnets(view: View, network_id: str) -> list[Subnet]:
    """The subnets whose addresses are handed out by DHCP (IPv4; an IPv6 subnet is not served yet)."""
    subnets = view.find(Subnet, "network_id", network_id)
    return [subnet for subnet in subnets if subnet.enable_dhcp and subnet.ip_version == 4]


def dhcp_ports(view: View, network_id: str) -> list[Port]:
    return list(view.find(Port, "dhcp", network_id))


def ensure_dhcp_server(view: View, network_id: str, host: str | None = None) -> Changes[None]:
    """One DHCP port with an address in each served subnet, where a host can run the server; none where nothing is served.

    A new server goes to `host`, if that is named. A subnet that has no address left for its server goes without one, until this is
    asked again.
    """
    network = view.get(Network, network_id)
    if network is None:
        return
    subnets = served_subnets(view, network_id)
    ports = dhcp_ports(view, network_id)
    if not subnets:
        for port in ports:
            yield remove(port)
    elif ports:
        missing = [subnet for subnet in subnets if all(ip.subnet_id != subnet.id for ip in ports[0].fixed_ips)]
        kept = tuple(ip for ip in ports[0].fixed_ips if any(ip.subnet_id == subnet.id for subnet in subnets))
        fixed_ips = kept + _server_addresses(view, missing)
        if fixed_ips != ports[0].fixed_ips:
            yield put(replace(ports[0], fixed_ips=fixed_ips))
    elif (fixed_ips := _server_addresses(view, subnets)) and (host := host or _least_loaded(view, network)):
        yield put(
            Port(
                id=new_id(),
                project_id=network.project_id,
                network_id=network_id,
                mac_address=choose_mac(view, network_id),
                fixed_ips=fixed_ips,
                device_owner=DHCP_OWNER,
                dns_suffix=network.dns_suffix,
                qos_network_policy_id=network.qos_policy_id,
                port_security_enabled=False,
                **served_by(view, network, host),
            )
        )
    yield from show_zones(view, network_id)


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


def _least_loaded(view: View, network: Network) -> str | None:
    """The live host with the fewest DHCP servers among those that may run one for this network, in the zones that it asks for."""
    hosts = [
        agent.host
        for agent in view.all(Agent)
        if agent.alive and agent.admin_state_up and agent.configurations.get("dhcp") and not binding.why_unreachable(agent, network)
        if not network.availability_zone_hints or agent.availability_zone in network.availability_zone_hints
    ]
    servers = {host: sum(port.device_owner == DHCP_OWNER for port in view.find(Port, "binding:host_id", host)) for host in hosts}
    return min(servers, key=lambda host: (servers[host], host), default=None)
