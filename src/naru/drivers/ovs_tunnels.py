"""The flows of br-tun: each frame goes to the one VTEP that it is for, broadcasts to those with a port of the network. ARP is answered."""

from collections.abc import Iterable, Iterator

from naru.drivers.made import Made
from naru.drivers.openflow import Flows, flows
from naru.drivers.switch import TUNNELS
from naru.model.hoststate import NetworkState, PeerState


def tunnel_port(network_type: str) -> str:
    return f"tun-{network_type}"


def want_tunnel_flows(network: NetworkState, peers: Iterable[PeerState], vlan: int, made: Made) -> Iterator[Flows]:
    """`vlan`: the local VLAN of the network. Of what has not changed the flows were `made` before."""
    if any(segment.is_tunnel for segment in network.segments):
        yield made.of(_of_network, network, vlan, tuple(sorted({_send(peer) for peer in peers})))
        yield from (made.of(_to_peer, peer, vlan) for peer in peers)


def _of_network(network: NetworkState, vlan: int, ways: tuple[str, ...]) -> Flows:
    """What comes in, and what goes to everybody."""
    lines = []
    for tunnel in network.segments:
        if tunnel.is_tunnel:
            match = f"tun_id={tunnel.segmentation_id or 0:#x},in_port={tunnel_port(tunnel.network_type)}"
            inbound = f"push_vlan:0x8100,set_field:{4096 + vlan}->vlan_vid,output:patch-int"  # 4096: the bit that says "has a tag"
            lines.append(f"priority=1,{match},actions={inbound}")
    if ways:
        lines.append(f"priority=1,{_outbound(vlan)},actions={','.join(['pop_vlan', *ways])}")
    return flows(network.key, lines, TUNNELS)


def _to_peer(peer: PeerState, vlan: int) -> Flows:
    lines = [f"priority=2,{_outbound(vlan)},dl_dst={peer.mac_address},actions=pop_vlan,{_send(peer)}"]
    for address in peer.ip_addresses:
        if ":" not in address:  # neighbour solicitations go where broadcasts go: to hosts with a port of the network, no others
            match = f"arp,{_outbound(vlan)},arp_tpa={address},arp_op=1"
            lines.append(f"priority=3,{match},actions={_answer_arp(peer.mac_address, address)}")
    return flows(peer.key, lines, TUNNELS)


def _outbound(vlan: int) -> str:
    return f"in_port=patch-int,dl_vlan={vlan}"


def _send(peer: PeerState) -> str:
    tunnel, destination = peer.tunnel, "tun_ipv6_dst" if ":" in peer.vtep else "tun_dst"
    to = f"set_field:{tunnel.segmentation_id or 0:#x}->tun_id,set_field:{peer.vtep}->{destination}"
    return f"{to},output:{tunnel_port(tunnel.network_type)}"


def _answer_arp(mac: str, address: str) -> str:
    return ",".join(
        (
            "set_field:2->arp_op",
            "move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[]",
            "move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[]",
            f"set_field:{mac}->arp_sha",
            f"set_field:{address}->arp_spa",
            "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]",
            f"set_field:{mac}->eth_src",
            "IN_PORT",
        )
    )
