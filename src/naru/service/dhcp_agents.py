"""Which host serves DHCP for a network, as administrators see and decide it.

https://docs.openstack.org/api-ref/network/v2/#dhcp-agent-scheduler . A network has one DHCP server here, or one on each
segment that subnets are tied to: to give it to another agent is to take it from the one that has it.
"""

from msgspec.structs import replace

from naru.model.agents import Agent
from naru.model.errors import Conflict, Invalid, NotFound
from naru.model.identity import Caller
from naru.model.resources import DHCP_OWNER, Changes, Network, Port, put, remove
from naru.model.view import View
from naru.service.binding import agent_of, why_unreachable
from naru.service.dhcp import dhcp_ports, ensure_dhcp_server, served_by
from naru.service.policy import fetch, require_admin, require_overview
from naru.service.segments import is_carried
from naru.service.zones import show_zones


def agents_of_network(view: View, caller: Caller, network_id: str) -> list[Agent]:
    """Those that serve it."""
    require_overview(caller, "get_dhcp-agents")
    fetch(view, caller, Network, network_id)
    agents = (agent_of(view, port.binding_host_id) for port in dhcp_ports(view, network_id))
    return [agent for agent in agents if agent is not None]


def networks_of_agent(view: View, caller: Caller, agent_id: str) -> list[Network]:
    """Those that it serves."""
    require_overview(caller, "get_dhcp-networks")
    agent = fetch(view, caller, Agent, agent_id)
    served = {port.network_id for port in view.find(Port, "binding:host_id", agent.host) if port.device_owner == DHCP_OWNER}
    return [network for network in (view.get(Network, id) for id in sorted(served)) if network is not None]


def give_network(view: View, caller: Caller, agent_id: str, network_id: str) -> Changes[None]:
    """Move the DHCP server of a network to a host. Raises NotFound, Conflict or Invalid where that cannot be."""
    require_admin(caller, "create_dhcp-network")
    agent = fetch(view, caller, Agent, agent_id)
    network = fetch(view, caller, Network, network_id)
    if not (agent.configurations.get("dhcp") and agent.admin_state_up and agent.alive):
        raise NotFound(f"Agent {agent_id} is not a valid DHCP Agent or has been disabled.", "InvalidDHCPAgent")
    if reason := why_unreachable(agent, network):
        raise Invalid(f"Invalid input for operation: {reason}.", "InvalidInput")
    ports = [port for port in dhcp_ports(view, network_id) if is_carried(view, network_id, port.fixed_ips, agent.host)]
    if ports and all(port.binding_host_id == agent.host for port in ports):
        message = f"The network {network_id} has been already hosted by the DHCP Agent {agent_id}."
        raise Conflict(message, "NetworkHostedByDHCPAgent")
    for port in ports:
        if port.binding_host_id != agent.host:
            yield put(replace(port, **served_by(view, network, agent.host), provisioned=(), status="DOWN"))
    if not ports:
        yield from ensure_dhcp_server(view, network_id, host=agent.host)
        if not dhcp_ports(view, network_id):
            raise Invalid(f"Invalid input for operation: network {network_id} has no subnet that DHCP serves.", "InvalidInput")
    yield from show_zones(view, network_id)


def take_network(view: View, caller: Caller, agent_id: str, network_id: str) -> Changes[None]:
    """Stop the DHCP server of a network on a host. It gets another when a host registers or its subnets change."""
    require_admin(caller, "delete_dhcp-network")
    agent = fetch(view, caller, Agent, agent_id)
    fetch(view, caller, Network, network_id)
    ports = [port for port in dhcp_ports(view, network_id) if port.binding_host_id == agent.host]
    if not ports:
        raise Conflict(f"The network {network_id} is not hosted by the DHCP Agent {agent_id}.", "NetworkNotHostedByDhcpAgent")
    for port in ports:
        yield remove(port)
    yield from show_zones(view, network_id)
