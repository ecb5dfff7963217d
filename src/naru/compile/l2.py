"""The links of one network on one host: its bridge, its taps, its peers elsewhere."""

from collections.abc import Iterator

from naru.model.agents import Agent
from naru.model.hoststate import NetworkState, PeerState, TapState, dhcp_device, dhcp_netns
from naru.model.provider import ProviderSegment, carried
from naru.model.resources import DHCP_OWNER, Network, Port
from naru.model.view import View


def segment_of(view: View, host: str, network: Network) -> ProviderSegment:
    """The segment by which the host joins the network."""
    configurations = next((agent.configurations for agent in view.find(Agent, "host", host)), {})
    return carried(network.on_the_wire, host, configurations) or network.on_the_wire[0]


def wiring(network: Network, segment: ProviderSegment) -> NetworkState:
    is_vxlan = segment.network_type == "vxlan"
    return NetworkState(
        network_id=network.id,
        network_type="vxlan" if is_vxlan else "flat",
        mtu_bytes=network.mtu,
        physical_network=segment.physical_network,
        vni=segment.segmentation_id if is_vxlan else None,
    )


def tap(network: Network, port: Port, ends: dict[str, list[str]]) -> TapState:
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


def peers(view: View, host: str, network: Network) -> Iterator[PeerState]:
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
