"""Linux bridges: a bridge per L2 domain, a veth pair per port, and an uplink per segment: the physical device itself (flat), a VLAN of it,
or VXLAN with a forwarding table that the server fills. A sub-port of a trunk is a VLAN of its parent's tap.

Names are those of the field (`brq…`, `tap…`, `vxlan-…`, `<device>.<vlan>`). The proof that a link is ours is its group, set in the very
message that creates it; its alias `naru:<network id>` or `naru:<port id>/…` says whose it is. Namespaces and devices that
we adopt can carry neither: for them a file under the run directory, written first, is the proof. See links.py.

A bridge that os-vif made before us bears our name and not our group. It is taken over where it could serve nothing else: the server wants
a port of this network here that a hypervisor plugs, the bridge has no address, and nothing is in it but taps of such ports (none yet, where
libvirt has not come so far). With a device of anyone else's in it, or where no hypervisor would make it, it is left alone.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from msgspec.structs import replace

from naru.drivers import iproute
from naru.drivers.base import Action, Fact, Failure, Foreign, by_name
from naru.drivers.link_table import LinkTable
from naru.drivers.links import (
    ALONE,
    FLOOD_MAC,
    GROUP,
    ISOLATED,
    PHYSICAL_PORT,
    ROAMING_PORT,
    TUNNEL_PORT,
    Bridge,
    Forward,
    Namespace,
    Neighbour,
    Port,
    SubTap,
    Tap,
    Trunk,
    Uplink,
    link_local,
)
from naru.drivers.netlink import Unchanged
from naru.drivers.observe import file_names, read_links, read_namespaces, vlan_options, vxlan_options, want_namespaces
from naru.drivers.tools import run_actions
from naru.model.devices import bridge_name, tap_name, vlan_name, vxlan_name
from naru.model.hoststate import HostState, NetworkState, PeerState, SegmentState, TapState, Value

MAKING_ORDER = (Foreign, Namespace, Trunk, Bridge, Uplink, Port, Tap, SubTap)

RTMGRP_NEIGH = 0x4  # linux/rtnetlink.h: of neighbours, and of what forwarding tables hold


class LinuxBridge:
    """The driver. `interfaces`: physical network -> device; `tunnel_address`: this host's VTEP, None for no VXLAN."""

    kinds = ("network", "tap", "peer")

    def __init__(self, run_dir: Path, interfaces: Mapping[str, str], tunnel_address: str | None) -> None:
        self._netns_marks = run_dir / "netns"
        self._port_marks = run_dir / "adopted"
        self._interfaces = interfaces
        self._tunnel_address = tunnel_address
        self._uplinks: dict[str, Uplink] = {}  # as wanted last
        self._links = LinkTable()
        self._entries = Unchanged(RTMGRP_NEIGH, lambda: (iproute.permanent_neighbours(), iproute.fdb()))

    def want(self, desired: HostState) -> tuple[dict[str, Fact], list[Failure]]:
        facts, failures = by_name(self._want(desired))
        self._uplinks = {fact.device: fact for fact in facts.values() if isinstance(fact, Uplink)}
        return facts, failures

    def _want(self, desired: HostState) -> Iterator[Fact | Failure]:
        values = desired.values()
        networks = {value.network_id: value for value in values if isinstance(value, NetworkState)}
        yield from want_namespaces(values, self._netns_marks)
        yield from self._want_trunks(networks.values())
        plugged, made = _ports_by_network(values, plugged=True), _ports_by_network(values, plugged=False)
        for network in networks.values():
            id = network.network_id
            ports, own = plugged.get(id, ()), made.get(id, ())
            yield Bridge(network.key, bridge_name(id), _alias(network), network.mtu_bytes, ports=ports, made=own)
            for segment in network.segments:
                yield self._want_uplink(network, segment)
        taps = {value.port_id: value for value in values if isinstance(value, TapState)}
        for tap in taps.values():
            if tap.parent is None:
                yield self._want_tap(tap)
        for tap in taps.values():
            if tap.parent in taps:
                yield self._want_sub_tap(tap, taps[tap.parent])
        peers = [
            value
            for value in values
            if isinstance(value, PeerState) and value.network_id in networks and value.tunnel in networks[value.network_id].segments
        ]
        for peer in peers:
            if not networks[peer.network_id].roaming:
                yield from _want_neighbours(peer)
        for peer in peers:  # apart from the neighbours: another tool, another batch
            yield from _want_forwards(peer)

    def _want_trunks(self, networks: Iterable[NetworkState]) -> Iterator[Trunk]:
        keys: dict[str, dict[str, None]] = {}
        for network in networks:
            for segment in network.segments:
                device = self._interfaces.get(segment.physical_network or "")
                if segment.network_type == "vlan" and device is not None:
                    keys.setdefault(device, {})[network.key] = None
        physical_network_of = {device: physical_network for physical_network, device in self._interfaces.items()}
        for device, of_networks in keys.items():
            yield Trunk(next(iter(of_networks)), device, tuple(of_networks), _missing(device, physical_network_of[device]))

    def _want_uplink(self, network: NetworkState, segment: SegmentState) -> Fact | Failure:
        bridge, number = bridge_name(network.network_id), segment.segmentation_id or 0
        alone = ALONE if len(network.segments) == 1 else ISOLATED
        match segment.network_type:
            case "vxlan":
                if self._tunnel_address is None:
                    return Failure(network.key, "this host has no tunnel address, hence no VXLAN; set [agent] local_ip")
                options = vxlan_options(number, self._tunnel_address, answers=not network.roaming)
                port = f"{ROAMING_PORT if network.roaming else TUNNEL_PORT} {alone}"
                return Uplink(network.key, vxlan_name(number), _alias(network), bridge, network.mtu_bytes, options, port)
            case "flat" | "vlan":
                device = self._interfaces.get(segment.physical_network or "")
                if device is None:
                    return Failure(network.key, self._not_mapped(segment))
                if segment.network_type == "flat":
                    mark, isolated = str(self._port_marks / device), alone == ISOLATED
                    return Port(network.key, device, bridge, mark, missing=_missing(device, segment.physical_network), isolated=isolated)
                options, port = vlan_options(device, number), f"{PHYSICAL_PORT} {alone}"
                return Uplink(network.key, vlan_name(device, number), _alias(network), bridge, network.mtu_bytes, options, port)
        return Failure(network.key, f"a Linux bridge carries flat, VLAN and VXLAN networks, and none of type {segment.network_type}")

    def _not_mapped(self, segment: SegmentState) -> str:
        mapped = ", ".join(sorted(self._interfaces)) or "none"
        return (
            f"physical network {segment.physical_network} is not mapped to a device of this host (mapped: {mapped}); "
            "add it to [agent] physical_interface_mappings"
        )

    def _want_tap(self, tap: TapState) -> Fact:
        device, bridge = tap_name(tap.port_id), bridge_name(tap.network_id)
        if tap.netns is None:
            mark = str(self._port_marks / device)
            missing = f"not plugged yet: {device} does not exist; the hypervisor makes it when it starts the instance"
            return Port(tap.key, device, bridge, mark, up=tap.admin_state_up, mtu_bytes=tap.mtu_bytes, missing=missing)
        far = tap.device or "eth0"
        return Tap(tap.key, device, tap.port_id, far, tap.mac_address, tap.netns, bridge, tap.mtu_bytes, up=tap.admin_state_up)

    def _want_sub_tap(self, tap: TapState, parent: TapState) -> Fact | Failure:
        if tap.mtu_bytes > parent.mtu_bytes:
            wide = f"the sub-port's network has MTU {tap.mtu_bytes}, and its parent {parent.port_id} is on one with {parent.mtu_bytes}"
            return Failure(tap.key, f"{wide}: what is behind a tap can be no wider; lower the MTU of the first")
        below = self._want_tap(parent)
        ends = (tap_name(tap.port_id), tap.port_id, tap_name(parent.port_id), tap.vlan, tap.mac_address, bridge_name(tap.network_id))
        pair = below.pair if isinstance(below, Tap) else ()
        return SubTap(tap.key, *ends, tap.mtu_bytes, up=tap.admin_state_up, parent_id=parent.port_id, pair=pair)

    def read(self) -> dict[str, Fact]:
        links = self._links.read()
        facts = [*read_namespaces(self._netns_marks), *_paired(list(self._read_links(links)))]
        facts.sort(key=lambda fact: MAKING_ORDER.index(type(fact)))
        facts += self._read_tunnels({fact.device for fact in facts if isinstance(fact, Uplink) and self._will_last(fact)})
        return {fact.name: fact for fact in facts}

    def _will_last(self, uplink: Uplink) -> bool:
        """One that is made anew has lost its entries."""
        wanted = self._uplinks.get(uplink.device)
        return wanted is None or not wanted.replaces(uplink)

    def _read_links(self, links: list[iproute.Link]) -> Iterator[Fact]:
        ours = {link.ifname for link in links if link.group == GROUP}
        marked = file_names(self._port_marks)
        for link, fact in read_links(links, self._links.netns_names()):
            is_strange_bridge = isinstance(fact, Foreign) and link.linkinfo.info_kind == "bridge" and link.ifname.startswith("brq")
            yield _observe_strange_bridge(link, links) if is_strange_bridge else fact
            if isinstance(fact, Foreign):
                yield Trunk("", link.ifname, up=link.is_up, foreign_master="" if link.master in ours else link.master)
                yield self._observe_port(link, ours, marked)
        for device in marked - {link.ifname for link in links}:
            yield Port(f"port/{device}", device, "", str(self._port_marks / device), exists=False)

    def _observe_port(self, link: iproute.Link, ours: set[str], marked: set[str]) -> Port:
        in_ours = link.master in ours
        return Port(
            f"port/{link.ifname}",
            link.ifname,
            link.master if in_ours else "",
            str(self._port_marks / link.ifname),
            up=link.is_up,
            mtu_bytes=link.mtu,
            marked=link.ifname in marked,
            isolated=link.linkinfo.info_slave_data.get("isolated", False),
            foreign_bridge="" if in_ours else link.master,
            addresses=_addresses(link),
        )

    def _read_tunnels(self, vxlans: set[str]) -> Iterator[Fact]:
        if vxlans:
            neighbours, forwards = self._entries.read()
            for entry in neighbours:
                if entry.dev in vxlans:
                    yield Neighbour(f"neigh/{entry.dev}/{entry.dst}", entry.dev, entry.dst, entry.lladdr)
            for forward in forwards:
                if forward.ifname in vxlans and forward.dst:
                    yield Forward(f"fdb/{forward.ifname}/{forward.mac}/{forward.dst}", forward.ifname, forward.mac, forward.dst)

    def apply(self, actions: list[Action]) -> list[Failure]:
        self._links.doubt(actions)
        self._entries.doubt()
        return run_actions(actions)

    def pids(self) -> list[int]:
        return []


def _paired(facts: list[Fact]) -> Iterator[Fact]:
    """Sub-ports' taps with the pairs that they are on."""
    pairs = {fact.device: fact.pair for fact in facts if isinstance(fact, Tap)}
    for fact in facts:
        yield replace(fact, pair=pairs.get(fact.parent, ())) if isinstance(fact, SubTap) else fact


def _ports_by_network(values: Iterable[Value], *, plugged: bool) -> Mapping[str, tuple[str, ...]]:
    """Network id -> ids of the ports whose taps hypervisors plug, or of those whose taps we make."""
    found: dict[str, list[str]] = {}
    for value in values:
        if isinstance(value, TapState) and (value.netns is None and value.parent is None) == plugged:
            found.setdefault(value.network_id, []).append(value.port_id)
    return {network_id: tuple(ids) for network_id, ids in found.items()}


def _observe_strange_bridge(link: iproute.Link, links: list[iproute.Link]) -> Bridge:
    # What is ours may be in it too: a hypervisor that makes it in the very moment in which we do comes first, and what follows is done.
    devices = (each.ifname for each in links if each.master == link.ifname and each.group != GROUP)
    return Bridge("", link.ifname, link.ifalias, link.mtu, strange=(*devices, *_addresses(link)))


def _addresses(link: iproute.Link) -> tuple[str, ...]:
    return tuple(f"{address.local}/{address.prefixlen}" for address in link.addr_info if address.scope == "global")


def _want_neighbours(peer: PeerState) -> Iterator[Fact]:
    # With IPv6 also the address on the link, by which routers and DHCPv6 servers speak: what is asked for here and not known is dropped.
    own = [str(link_local(peer.mac_address))] if any(":" in address for address in peer.ip_addresses) else []
    for address in (*peer.ip_addresses, *own):
        yield Neighbour(peer.key, vxlan_name(peer.tunnel.segmentation_id or 0), address, peer.mac_address)


def _want_forwards(peer: PeerState) -> Iterator[Fact]:
    device = vxlan_name(peer.tunnel.segmentation_id or 0)
    yield Forward(f"network/{peer.network_id}", device, FLOOD_MAC, peer.vtep)
    yield Forward(peer.key, device, peer.mac_address, peer.vtep)


def _alias(network: NetworkState) -> str:
    return f"naru:{network.network_id}"


def _missing(device: str, physical_network: str | None) -> str:
    where = f"device {device} of physical network {physical_network}"
    return f"{where} does not exist on this host; create it, or correct [agent] physical_interface_mappings"
