"""From intent to one host's desired state: pure, from scratch every time.

compile_host(view, host) = for each network with a port on the host: its bridge, the host's taps, the peers
                           elsewhere (l2.py), and, where the host serves DHCP, the server and its reservations (dhcp.py)
                         + the host's instances
"""

from collections.abc import Iterator

from naru.compile.dhcp import dhcp_server
from naru.compile.l2 import peers, segment_of, tap, wiring
from naru.model.agents import Agent
from naru.model.compute import Server
from naru.model.hoststate import InstanceState, Value, instance_netns
from naru.model.resources import DHCP_OWNER, Change, Network, Port, Subnet, place
from naru.model.view import View


def compile_host(view: View, host: str) -> dict[str, Value]:
    """Everything that should be true of `host`, by key."""
    servers = list(view.find(Server, "host", host))
    ends = {port.id: end for server in servers for port, *end in _interfaces(view, server)}
    here: dict[str, list[Port]] = {}
    for port in view.find(Port, "binding:host_id", host):
        if port.binding_vif_type not in ("unbound", "binding_failed"):
            here.setdefault(port.network_id, []).append(port)
    values: list[Value] = []
    for network_id, ports in here.items():
        network = view.get(Network, network_id)
        if network is not None:
            values.extend(_network(view, host, network, ports, ends))
    values.extend(_instance(view, server) for server in servers)
    return {value.key: value for value in values}


def affected_hosts(view: View, change: Change) -> set[str]:
    """The hosts whose desired state a change may touch; `view` already shows it."""
    resource = change.resource
    if isinstance(resource, Port):
        versions = [port for port in (change.before, change.after) if isinstance(port, Port)]
        servers = (view.get(Server, port.device_id) for port in versions)
        own = {port.binding_host_id for port in versions} | {server.host for server in servers if server is not None}
        return (_hosts_on(view, resource.network_id) | own) - {""}
    if isinstance(resource, Network):
        return _hosts_on(view, resource.id)
    if isinstance(resource, Subnet):
        return _hosts_on(view, resource.network_id)
    if isinstance(resource, Server):
        return {resource.host} - {""}
    if isinstance(resource, Agent) and _configurations(change.before) != _configurations(change.after):
        networks = {port.network_id for port in view.find(Port, "binding:host_id", resource.host)}
        return {resource.host}.union(*(_hosts_on(view, network_id) for network_id in networks))
    return set()


def _configurations(agent: object) -> object:
    return agent.configurations if isinstance(agent, Agent) else None


def _hosts_on(view: View, network_id: str) -> set[str]:
    """By counting on each host, not by looking at each port: every change asks this, and a network may have very many ports."""
    return {agent.host for agent in view.all(Agent) if view.count(Port, "place", place(network_id, agent.host))}


def _network(view: View, host: str, network: Network, ports: list[Port], ends: dict[str, list[str]]) -> Iterator[Value]:
    segment = segment_of(view, host, network)
    yield wiring(network, segment)
    for port in ports:
        yield tap(network, port, ends)
        if port.device_owner == DHCP_OWNER and network.admin_state_up:
            yield from dhcp_server(view, network, port)
    if segment.network_type == "vxlan":
        yield from peers(view, host, network)


def _interfaces(view: View, server: Server) -> Iterator[tuple[Port, str, str]]:
    """-> port, namespace, device for each interface of an instance."""
    for number, port_id in enumerate(server.interfaces):
        port = view.get(Port, port_id)
        if port is not None:
            yield port, instance_netns(server.id), f"eth{number}"


def _instance(view: View, server: Server) -> InstanceState:
    interfaces = list(_interfaces(view, server))
    return InstanceState(
        instance_id=server.id,
        name=server.name,
        driver="netns",
        netns=instance_netns(server.id),
        devices=tuple(device for _, _, device in interfaces),
        running=all(port.status == "ACTIVE" for port, _, _ in interfaces),
    )
