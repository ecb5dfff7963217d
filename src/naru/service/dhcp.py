"""Which hosts serve DHCP for a network: so many DHCP ports for each of its L2 domains, bound to live hosts that reach it.

A network is one domain, or one for each segment that subnets are tied to. Level-triggered: `ensure_dhcp_servers` looks at what is and
yields what is missing, whatever happened before.
"""

import uuid
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from msgspec.structs import replace

from naru.model.agents import Agent
from naru.model.resources import DHCP_OWNER, Changes, FixedIp, Network, Port, Subnet, new_id, put, remove
from naru.model.segments import Segment
from naru.model.view import View
from naru.service import binding
from naru.service.addressing import automatic_addresses, choose_address, choose_mac, is_automatic
from naru.service.policy import Cloud
from naru.service.segments import segment_of
from naru.service.zones import show_zones


class ServedDomain(NamedTuple):
    """An L2 domain of a network, with those of its subnets that DHCP serves, and the ports of its servers."""

    network: Network
    segment_id: str | None  # None: all segments of the network are one
    subnets: list[Subnet]
    servers: list[Port]


def dhcp_ports(view: View, network_id: str) -> list[Port]:
    return list(view.find(Port, "dhcp", network_id))


def servers_of(view: View, port: Port) -> list[Port]:
    """The DHCP ports that serve a port: those with an address in a subnet that leases addresses to it."""
    subnets = (view.get(Subnet, ip.subnet_id) for ip in port.fixed_ips)
    leasing = {subnet.id for subnet in subnets if subnet is not None and subnet.leases}
    return [server for server in dhcp_ports(view, port.network_id) if any(ip.subnet_id in leasing for ip in server.fixed_ips)]


def served_domains(view: View, network: Network) -> list[ServedDomain]:
    """Those with a subnet that is served, and those with a server, which may have none any more."""
    domains: dict[str | None, ServedDomain] = {}

    def domain(segment_id: str | None) -> ServedDomain:
        return domains.setdefault(segment_id, ServedDomain(network, segment_id, [], []))

    for subnet in view.find(Subnet, "network_id", network.id):
        if subnet.enable_dhcp:
            domain(subnet.segment_id).subnets.append(subnet)
    for port in dhcp_ports(view, network.id):
        domain(segment_of(view, port)).servers.append(port)
    return list(domains.values())


def ensure_dhcp_servers(view: View, network_id: str, cloud: Cloud) -> Changes[None]:
    """`dhcp_agents_per_network` servers for each domain with a subnet that is served, where so many hosts can; none elsewhere.

    A server stays where it is while that host lives and reaches the domain, else it moves to one that does, if there is one. A subnet
    that has no address left for a server goes without, until this is asked again.
    """
    network = view.get(Network, network_id)
    if network is None:
        return
    for domain in served_domains(view, network):
        kept = yield from _keep_servers(view, domain)
        hosts = {server.binding_host_id for server in kept}
        for _ in range(cloud.dhcp_agents_per_network - len(kept) if domain.subnets else 0):
            if (host := _least_loaded(view, domain, hosts)) is None:
                break
            hosts.add(host)
            yield from add_server(view, domain, host)
    yield from show_zones(view, network_id)


def is_unserved(view: View, network_id: str) -> bool:
    """A domain of the network has no server, and should have one."""
    network = view.get(Network, network_id)
    return network is not None and any(domain.subnets and not domain.servers for domain in served_domains(view, network))


def ensure_all_dhcp_servers(view: View, cloud: Cloud) -> Changes[None]:
    """After hosts came, went or changed: the same for every network."""
    for network in list(view.all(Network)):
        yield from ensure_dhcp_servers(view, network.id, cloud)


def why_not_served(view: View, domain: ServedDomain, agent: Agent) -> str | None:
    """Why a host cannot serve DHCP in a domain, in words; None when it can."""
    if not (agent.alive and agent.configurations.get("dhcp")):
        return f"{agent.host} serves no DHCP, or is not alive"
    return binding.why_unreachable(agent, domain.network, view.get(Segment, domain.segment_id or ""))


def add_server(view: View, domain: ServedDomain, host: str) -> Changes[None]:
    """One more server, on a host that can and does not yet; none where no subnet has an address left for it."""
    network = domain.network
    mac = choose_mac(view, network.id)
    if fixed_ips := tuple(_server_addresses(view, domain.subnets, mac)):
        port = Port(
            id=new_id(),
            project_id=network.project_id,
            network_id=network.id,
            mac_address=mac,
            fixed_ips=fixed_ips,
            device_owner=DHCP_OWNER,
            dns_suffix=network.dns_suffix,
            qos_network_policy_id=network.qos_policy_id,
            port_security_enabled=False,
        )
        yield put(_put_on(view, port, host))


def _keep_servers(view: View, domain: ServedDomain) -> Changes[list[Port]]:
    """-> the servers that remain, each with an address in every subnet that has one left, on a host that can serve."""
    hosts = {server.binding_host_id for server in domain.servers}
    kept: list[Port] = []
    for server in domain.servers:
        own = tuple(ip for ip in server.fixed_ips if any(ip.subnet_id == subnet.id for subnet in domain.subnets))
        missing = [subnet for subnet in domain.subnets if all(ip.subnet_id != subnet.id for ip in own)]
        changed = replace(server, fixed_ips=(*own, *_server_addresses(view, missing, server.mac_address)))
        if not changed.fixed_ips:
            yield remove(server)
            continue
        agent = binding.agent_of(view, server.binding_host_id)
        is_lost = agent is None or why_not_served(view, domain, agent) is not None
        if is_lost and (host := _least_loaded(view, domain, hosts)) is not None:
            hosts.add(host)
            changed = _put_on(view, changed, host)
        if changed != server:
            yield put(changed)
        kept.append(changed)
    return kept


def _put_on(view: View, server: Port, host: str) -> Port:
    """The DHCP port on a host, which has not wired it yet."""
    vif_type, vif_details = binding.bind(view, server, host)
    bound: dict[str, Any] = {
        "device_id": f"dhcp{uuid.uuid5(uuid.NAMESPACE_DNS, host)}-{server.network_id}",
        "binding_host_id": host,
        "binding_vif_type": vif_type,
        "binding_vif_details": vif_details,
        "provisioned": (),
        "status": "DOWN",
    }
    return replace(server, **bound)


def _server_addresses(view: View, subnets: Iterable[Subnet], mac: str) -> Iterator[FixedIp]:
    """One of each subnet that has one left; of an automatic subnet the one that follows from the MAC."""
    for subnet in subnets:
        if is_automatic(subnet):
            yield from automatic_addresses([subnet], mac)
        elif view.addresses(subnet.id).free:
            yield FixedIp(subnet.id, choose_address(view, subnet))


def _least_loaded(view: View, domain: ServedDomain, taken: set[str]) -> str | None:
    """Of the enabled hosts that can serve and are not taken, in the zones that the network asks for: the one with the fewest servers.

    One in a zone where no server of the domain is goes before.
    """
    hints = domain.network.availability_zone_hints
    agents = [
        agent
        for agent in view.all(Agent)
        if agent.admin_state_up and agent.host not in taken and not why_not_served(view, domain, agent)
        if not hints or agent.availability_zone in hints
    ]
    present = (binding.agent_of(view, host) for host in taken)
    zones = {agent.availability_zone for agent in present if agent is not None}
    order = {agent.host: (agent.availability_zone in zones, view.count(Port, "dhcp_host", agent.host), agent.host) for agent in agents}
    return min(order, key=order.__getitem__, default=None)
