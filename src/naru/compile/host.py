"""From intent to one host's desired state: pure, from scratch every time.

compile_host(view, host) = for each network with a port on the host: its bridge, the host's taps, the peers
                           elsewhere, and, where the host serves DHCP, the server and its reservations
                         + the host's instances
"""

from collections.abc import Iterator

from naru.model.agents import Agent
from naru.model.compute import Server
from naru.model.hoststate import (
    DhcpState,
    DhcpSubnet,
    InstanceState,
    LeaseState,
    NetworkState,
    PeerState,
    Route,
    TapState,
    Value,
    dhcp_device,
    dhcp_netns,
    instance_netns,
)
from naru.model.port_options import automatic_hostname
from naru.model.provider import carried
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
    configurations = next((agent.configurations for agent in view.find(Agent, "host", host)), {})
    segment = carried(network.on_the_wire, host, configurations) or network.on_the_wire[0]
    is_vxlan = segment.network_type == "vxlan"
    yield NetworkState(
        network_id=network.id,
        network_type="vxlan" if is_vxlan else "flat",
        mtu_bytes=network.mtu,
        physical_network=segment.physical_network,
        vni=segment.segmentation_id if is_vxlan else None,
    )
    for port in ports:
        yield _tap(network, port, ends)
        if port.device_owner == DHCP_OWNER and network.admin_state_up:
            yield from _dhcp_server(view, network, port)
    if is_vxlan:
        yield from _peers(view, host, network)


def _tap(network: Network, port: Port, ends: dict[str, list[str]]) -> TapState:
    netns: str | None = None
    device: str | None = None
    if port.device_owner == DHCP_OWNER:
        netns, device = dhcp_netns(network.id), dhcp_device(port.id)
    elif port.id in ends:
        netns, device = ends[port.id]
    return TapState(
        port_id=port.id,
        network_id=network.id,
        mac_address=port.mac_address,
        mtu_bytes=network.mtu,
        admin_state_up=port.admin_state_up and network.admin_state_up,
        netns=netns,
        device=device,
    )


def _peers(view: View, host: str, network: Network) -> Iterator[Value]:
    vteps: dict[str, str | None] = {}
    for port in view.find(Port, "network_id", network.id):
        other = port.binding_host_id
        if other in ("", host):
            continue
        if other not in vteps:
            agent = next(view.find(Agent, "host", other), None)
            vteps[other] = agent.configurations.get("tunneling_ip") if agent is not None else None
        vtep = vteps[other]
        if vtep:
            addresses = tuple(ip.ip_address for ip in port.fixed_ips)
            yield PeerState(port.id, network.id, port.mac_address, addresses, vtep)


def _dhcp_server(view: View, network: Network, server: Port) -> Iterator[Value]:
    subnets: dict[str, DhcpSubnet] = {}
    for ip in server.fixed_ips:
        subnet = view.get(Subnet, ip.subnet_id)
        if subnet is not None and subnet.enable_dhcp and subnet.ip_version == 4:
            subnets[subnet.id] = DhcpSubnet(
                subnet_id=subnet.id,
                cidr=subnet.cidr,
                server_address=ip.ip_address,
                gateway_ip=subnet.gateway_ip,
                dns_nameservers=subnet.dns_nameservers,
                host_routes=tuple(Route(route.destination, route.nexthop) for route in subnet.host_routes),
            )
    if not subnets:
        return
    yield DhcpState(
        network_id=network.id,
        port_id=server.id,
        netns=dhcp_netns(network.id),
        device=dhcp_device(server.id),
        mtu_bytes=network.mtu,
        subnets=tuple(subnets.values()),
        domain=network.dns_suffix.removesuffix("."),
    )
    for port in view.find(Port, "network_id", network.id):
        addresses = tuple(ip.ip_address for ip in port.fixed_ips if ip.subnet_id in subnets)
        if addresses and port.device_owner != DHCP_OWNER:
            hostname = (port.dns_name or automatic_hostname(addresses[0])).partition(".")[0]
            yield LeaseState(port.id, network.id, port.mac_address, hostname, addresses)


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
