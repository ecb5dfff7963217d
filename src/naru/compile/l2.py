"""Switching: the L2 domains of a host, its taps in them, and the ports on other hosts that only a tunnel reaches.

A network is one domain, unless its subnets are tied to segments: then each of its segments is one, and a port is in that of its addresses.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from naru.compile.firewall import is_filtered
from naru.compile.metadata import ipv6_speaker
from naru.compile.shared import Shared
from naru.model.agents import Agent
from naru.model.devices import dhcp_device, dhcp_netns
from naru.model.hoststate import METADATA_ADDRESS_IPV6, NetworkState, PeerState, SegmentState, TapState, Value
from naru.model.provider import ProviderSegment, carried
from naru.model.resources import DHCP_OWNER, Network, Port, Subnet
from naru.model.routing import FLOATING_IP_OWNER, ROUTER_OWNERS
from naru.model.segments import Segment
from naru.model.trunks import SUB_PORT_OWNER, Trunk
from naru.model.view import View

Ends = Mapping[str, tuple[str, str]]  # port id -> namespace and device at the far end of its tap


class Domain(msgspec.Struct, frozen=True):
    """An L2 domain as one host has it."""

    id: str  # of the network, or of a segment of it
    network: Network
    segment_id: str | None  # None: of all segments of the network
    segments: tuple[ProviderSegment, ...]
    host: str
    ports: list[Port]  # on this host


def domains_on(view: View, host: str, ends: Ends) -> Iterator[Domain]:
    """Each domain with a port on the host; a port of a router only where the router has an end for it."""
    ports: dict[tuple[str, str | None], list[Port]] = {}
    for port in view.find(Port, "binding:host_id", host):
        network = view.get(Network, port.network_id)
        is_idle = port.device_owner in ROUTER_OWNERS and port.id not in ends
        if network is not None and _is_bound(port) and not is_idle:
            ports.setdefault((network.id, _segment_of(view, network, port)), []).append(port)
    for (network_id, segment_id), here in ports.items():
        network, segment = view.get(Network, network_id), view.get(Segment, segment_id or "")
        if segment is not None and network is not None:
            yield Domain(segment.id, network, segment.id, (segment.on_the_wire,), host, here)
        elif network is not None and network.l2_adjacency:
            yield Domain(network.id, network, None, network.on_the_wire, host, here)


def _is_bound(port: Port) -> bool:
    return port.binding_vif_type not in ("unbound", "binding_failed")


def _segment_of(view: View, network: Network, port: Port) -> str | None:
    """Where subnets are tied to segments: that of the port's addresses; `check_host` in service/segments.py sees to it that it is one."""
    if network.l2_adjacency:
        return None
    subnets = (view.get(Subnet, ip.subnet_id) for ip in port.fixed_ips)
    return next((subnet.segment_id for subnet in subnets if subnet is not None and subnet.segment_id), None)


def compile_domain(view: View, domain: Domain, ends: Ends, shared: Shared) -> Iterator[Value]:
    """The domain with all its segments that this host carries; where it carries none, all, so that its agent says why not."""
    here = carried(domain.segments, domain.host, _configurations(view, domain.host))
    segments = tuple(_state(segment) for segment in here or domain.segments)
    is_tunnelled = any(_state(segment).is_tunnel for segment in here)
    if is_tunnelled and domain.network.id not in shared.roaming:
        shared.roaming[domain.network.id] = any(map(_may_roam, view.find(Port, "network_id", domain.network.id)))
    yield NetworkState(domain.id, domain.network.mtu, segments, is_tunnelled and shared.roaming[domain.network.id])
    for port in domain.ports:
        yield _tap(view, domain, port, ends)
    if is_tunnelled:
        of = (domain.network.id, domain.segment_id, here)
        if of not in shared.peers:
            shared.peers[of] = list(_peers(view, domain, here))
        yield from (peer for host, peer in shared.peers[of] if host != domain.host)


def _may_roam(port: Port) -> bool:
    """Whether a port has addresses that may be elsewhere too: those of pairs, any without port security, floating ones of routers."""
    is_open = not port.port_security_enabled and not port.device_owner.startswith("network:")
    return is_open or bool(port.allowed_address_pairs) or port.device_owner == FLOATING_IP_OWNER


def _tap(view: View, domain: Domain, port: Port, ends: Ends) -> TapState:
    netns, device = ends.get(port.id, (None, None))
    if port.device_owner == DHCP_OWNER:
        netns, device = dhcp_netns(domain.id), dhcp_device(port.id)
    trunk = next(view.find(Trunk, "sub_port_id", port.id), None) if port.device_owner == SUB_PORT_OWNER else None
    tag = next((one.segmentation_id for one in trunk.sub_ports if one.port_id == port.id), 0) if trunk is not None else 0
    return TapState(
        port_id=port.id,
        network_id=domain.id,
        mac_address=port.mac_address,
        mtu_bytes=domain.network.mtu,
        admin_state_up=port.admin_state_up and domain.network.admin_state_up,
        netns=netns,
        device=device,
        filtered=is_filtered(view, port),
        parent=trunk.port_id if trunk is not None else None,
        vlan=tag,
        trunk=view.count(Trunk, "port_id", port.id) > 0,
    )


def _peers(view: View, domain: Domain, here: tuple[ProviderSegment, ...]) -> Iterator[tuple[str, PeerState]]:
    """The domain's ports, each with its host, but for hosts that share a physical segment with `here`: those hear its frames there."""
    ways: dict[str, tuple[str, SegmentState] | None] = {}
    speaker = ipv6_speaker(view, domain.network.id, domain.segment_id)
    for port in view.find(Port, "network_id", domain.network.id):
        host = port.binding_host_id
        if not _is_bound(port) or _segment_of(view, domain.network, port) != domain.segment_id:
            continue
        if host not in ways:
            ways[host] = _tunnel_to(host, _configurations(view, host), here)
        if (way := ways[host]) is not None:
            addresses = tuple(ip.ip_address for ip in port.fixed_ips)
            if port.id == speaker:
                addresses += (METADATA_ADDRESS_IPV6,)
            yield host, PeerState(port.id, domain.id, port.mac_address, addresses, *way)


def _tunnel_to(other: str, configurations: Mapping[str, Any], here: tuple[ProviderSegment, ...]) -> tuple[str, SegmentState] | None:
    """-> the VTEP of the other host and the first segment by which a tunnel leads there; None where none does, or none is wanted."""
    common = [_state(segment) for segment in carried(here, other, configurations)]
    if not common or not all(segment.is_tunnel for segment in common):
        return None
    return configurations["tunneling_ip"], common[0]


def _configurations(view: View, host: str) -> Mapping[str, Any]:
    return next((agent.configurations for agent in view.find(Agent, "host", host)), {})


def _state(segment: ProviderSegment) -> SegmentState:
    return SegmentState(segment.network_type, segment.physical_network, segment.segmentation_id)
