"""Which host serves DHCP for a network, as administrators see and decide it.

https://docs.openstack.org/api-ref/network/v2/#dhcp-agent-scheduler
"""

from naru.model.agents import Agent
from naru.model.errors import Conflict, Invalid, NotFound
from naru.model.identity import Caller
from naru.model.resources import Changes, Network, Port, remove
from naru.model.view import View
from naru.service.binding import agent_of
from naru.service.dhcp import add_server, dhcp_ports, served_domains, why_not_served
from naru.service.policy import fetch, require_admin, require_overview
from naru.service.zones import show_zones


def agents_of_network(view: View, caller: Caller, network_id: str) -> list[Agent]:
    """Those that serve it."""
    require_overview(caller, "get_dhcp-agents")
    fetch(view, caller, Network, network_id)
    hosts = dict.fromkeys(port.binding_host_id for port in dhcp_ports(view, network_id))
    return [agent for agent in (agent_of(view, host) for host in hosts) if agent is not None]


def networks_of_agent(view: View, caller: Caller, agent_id: str) -> list[Network]:
    """Those that it serves."""
    require_overview(caller, "get_dhcp-networks")
    agent = fetch(view, caller, Agent, agent_id)
    served = {port.network_id for port in view.find(Port, "dhcp_host", agent.host)}
    return [network for network in (view.get(Network, id) for id in sorted(served)) if network is not None]


def give_network(view: View, caller: Caller, agent_id: str, network_id: str) -> Changes[None]:
    """One more DHCP server for a network, on this host: for each of its segments that it reaches, where subnets are tied to segments.

    Raises NotFound, Conflict or Invalid where that cannot be.
    """
    require_admin(caller, "create_dhcp-network")
    agent = fetch(view, caller, Agent, agent_id)
    network = fetch(view, caller, Network, network_id)
    if not (agent.configurations.get("dhcp") and agent.admin_state_up and agent.alive):
        raise NotFound(f"Agent {agent_id} is not a valid DHCP Agent or has been disabled.", "InvalidDHCPAgent")
    before = dhcp_ports(view, network_id)
    if any(port.binding_host_id == agent.host for port in before):
        message = f"The network {network_id} has been already hosted by the DHCP Agent {agent_id}."
        raise Conflict(message, "NetworkHostedByDHCPAgent")
    reasons = ["it has no subnet that DHCP serves"]
    for domain in served_domains(view, network):
        if reason := why_not_served(view, domain, agent):
            reasons.append(reason)
        elif domain.subnets:
            reasons.append("its subnets have no address left for a server")
            yield from add_server(view, domain, agent.host)
    if len(dhcp_ports(view, network_id)) == len(before):
        raise Invalid(f"Invalid input for operation: network {network_id} cannot be served there: {reasons[-1]}.", "InvalidInput")
    yield from show_zones(view, network_id)


def take_network(view: View, caller: Caller, agent_id: str, network_id: str) -> Changes[None]:
    """Stop the DHCP server of a network on a host. Where too few remain, it gets another when a host registers or its subnets change."""
    require_admin(caller, "delete_dhcp-network")
    agent = fetch(view, caller, Agent, agent_id)
    fetch(view, caller, Network, network_id)
    ports = [port for port in dhcp_ports(view, network_id) if port.binding_host_id == agent.host]
    if not ports:
        raise Conflict(f"The network {network_id} is not hosted by the DHCP Agent {agent_id}.", "NetworkNotHostedByDhcpAgent")
    for port in ports:
        yield remove(port)
    yield from show_zones(view, network_id)
