"""From intent to one host's desired state: pure, from scratch every time.

compile_host(view, host) = for each L2 domain with a port on the host: its segments, the host's taps, the peers that only
                           a tunnel reaches (l2), and, where the host serves DHCP, the server and its reservations (dhcp)
                         + the filters of the host's ports (firewall), their limits and marks (qos)
                         + the host's instances and routers (routing)
"""

from collections.abc import Iterator
from typing import Literal

from naru.compile.dhcp import compile_dhcp
from naru.compile.firewall import filters, hosts_filtering
from naru.compile.l2 import compile_domain, domains_on
from naru.compile.qos import hosts_shaping, shaping
from naru.compile.routing import hosts_of_routing, router_ends, routers
from naru.compile.shared import Shared
from naru.model.agents import Agent
from naru.model.compute import Server, find_flavor, find_image
from naru.model.devices import instance_netns, tap_name
from naru.model.hoststate import InstanceState, Value
from naru.model.qos import QosPolicy
from naru.model.resources import DHCP_OWNER, Change, Network, Port, Subnet, place
from naru.model.routing import FloatingIp, PortForwarding, Router
from naru.model.segments import Segment
from naru.model.trunks import Trunk
from naru.model.view import View


def compile_host(view: View, host: str, shared: Shared | None = None) -> dict[str, Value]:
    """Everything that should be true of `host`, by key. What is `shared` with other hosts is not made again."""
    shared = shared or Shared()
    servers = list(view.find(Server, "host", host))
    spaces = [server for server in servers if _driver(server) == "netns"]
    ends = {port.id: (instance_netns(server.id), device) for server in spaces for port, device in _interfaces(view, server)}
    ends |= router_ends(view, host)
    values: list[Value] = []
    domains = list(domains_on(view, host, ends))
    for domain in domains:
        values.extend(compile_domain(view, domain, ends, shared))
        for port in domain.ports:
            if port.device_owner == DHCP_OWNER and domain.network.admin_state_up:
                values.extend(compile_dhcp(view, domain, port))
    values.extend(filters(view, ((domain.id, port) for domain in domains for port in domain.ports), shared))
    values.extend(shaping(view, (port for domain in domains for port in domain.ports)))
    values.extend(_instance(view, server) for server in servers)
    values.extend(routers(view, host))
    return {value.key: value for value in values}


def affected_hosts(view: View, change: Change) -> set[str]:
    """The hosts whose desired state a change may touch, but for members of groups (`changed_groups`); `view` already shows it."""
    hosts = hosts_filtering(view, change) | hosts_shaping(view, change)
    match change.resource:
        case Port() as port:
            versions = [port for port in (change.before, change.after) if isinstance(port, Port)]
            servers = (view.get(Server, port.device_id) for port in versions)
            own = {port.binding_host_id for port in versions} | {server.host for server in servers if server is not None}
            hosts |= _hosts_on(view, port.network_id) | own
        case Network(id=network_id) | Subnet(network_id=network_id) | Segment(network_id=network_id):
            hosts |= _hosts_on(view, network_id)
        case Server() as server:
            hosts |= {server.host}
            if _told(change.before) != _told(change.after):  # as its metadata
                ports = (view.get(Port, id) for id in server.interfaces)
                hosts |= set().union(*(_hosts_on(view, port.network_id) for port in ports if port is not None))
        case Trunk() as trunk:
            ports = (view.get(Port, id) for id in (trunk.port_id, *(sub_port.port_id for sub_port in trunk.sub_ports)))
            hosts |= {port.binding_host_id for port in ports if port is not None}
        case Router() | FloatingIp() | PortForwarding() | QosPolicy():
            hosts |= hosts_of_routing(view, change)
        case Agent() as agent if _configurations(change.before) != _configurations(change.after):
            networks = {port.network_id for port in view.find(Port, "binding:host_id", agent.host)}
            hosts |= {agent.host}.union(*(_hosts_on(view, network_id) for network_id in networks))
    return hosts - {""}


def _told(server: object) -> object:
    if not isinstance(server, Server):
        return None
    return server.name, server.metadata, server.key_name, server.public_key, server.user_data


def _configurations(agent: object) -> object:
    return agent.configurations if isinstance(agent, Agent) else None


def _hosts_on(view: View, network_id: str) -> set[str]:
    """By counting on each host, not by looking at each port: every change asks this, and a network may have very many ports."""
    return {agent.host for agent in view.all(Agent) if view.count(Port, "place", place(network_id, agent.host))}


def _interfaces(view: View, server: Server) -> Iterator[tuple[Port, str]]:
    """-> port and device for each interface of an instance."""
    for number, port_id in enumerate(server.interfaces):
        port = view.get(Port, port_id)
        if port is not None:
            yield port, f"eth{number}"


def _driver(server: Server) -> Literal["netns", "qemu"]:
    image = find_image(server.image_id)
    return "qemu" if image is not None and image.driver == "qemu" else "netns"


def _instance(view: View, server: Server) -> InstanceState:
    """It is launched once all its ports are ACTIVE; from then on each interface of a namespace runs once its own port is.

    One that has had a lease goes on when its port fails: a switch that is started anew takes no address from an instance.
    """
    launched, interfaces = server.launched_at is not None, list(_interfaces(view, server))
    running = launched or all(port.status == "ACTIVE" for port, _ in interfaces)
    if _driver(server) == "qemu":
        flavor, taps = find_flavor(server.flavor_id), tuple(tap_name(port.id) for port, _ in interfaces)
        return InstanceState(server.id, server.name, "qemu", "", taps, running, flavor.ram_mib if flavor is not None else 0)
    devices = tuple(device for port, device in interfaces if port.status == "ACTIVE" or device in server.addresses or not launched)
    return InstanceState(server.id, server.name, "netns", instance_netns(server.id), devices, running)
