"""Open vSwitch: one switch for all L2 domains of a host, each in a local VLAN of br-int.

    instance --veth-- tap [tag 7]  br-int  int-br-ex.200 [tag 7] ==patch== phy-br-ex.200 [tag 200]  br-ex -- device
                                           patch-tun [trunk]     ==patch== patch-int  br-tun  tun-vxlan, tun-geneve

A trunk has a bridge of its own, `tbr-<parent>`: the parent's tap carries tags there, and each port of the trunk is a pair of patch ports
to br-int. Hypervisors plug the tap there because the port's binding says so; who comes first makes the bridge, and it goes with the port.

A segment is a pair of patch ports between br-int and the operator's bridge of `bridge_mappings`: access ports on both sides, so that the
switch itself changes the tags, each of the segments of a network has its own, and no flow is needed. All that lead elsewhere are
`protected`: what comes in by one segment or tunnel never leaves by another. Flows of br-int only filter (openflow.py); without them it
carries nothing.
br-tun is ours alone; its flows send each frame to the one VTEP that it is for, broadcasts to those with a port of the network, and answer
ARP here.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeGuard

from msgspec.structs import replace

from naru.drivers import iproute, ovsdb
from naru.drivers.base import Action, Fact, Failure, Foreign, ToolError, by_name
from naru.drivers.flow_monitor import FlowTable
from naru.drivers.link_table import LinkTable
from naru.drivers.links import Namespace, Tap
from naru.drivers.made import Made
from naru.drivers.observe import read_links, read_namespaces, want_namespaces
from naru.drivers.openflow import Flows, Fragments, is_ours
from naru.drivers.ovs_filters import KEY, Place, want_filters
from naru.drivers.ovs_qos import Meter, read_meters, want_limits
from naru.drivers.ovs_tunnels import tunnel_port, want_tunnel_flows
from naru.drivers.switch import (
    ADOPTED,
    DEAD_VLAN,
    INTEGRATION,
    MARK,
    TUNNELS,
    LocalVlan,
    MappedBridge,
    PluggedPort,
    SwitchBridge,
    SwitchPort,
    spelled,
    trunk_ports,
)
from naru.drivers.tools import run_actions
from naru.model.devices import tap_name, trunk_bridge
from naru.model.hoststate import HostState, NetworkState, PeerState, SegmentState, TapState

VLANS = range(1, 4095)  # IEEE 802.1Q reserves 0 and 4095
NUMBERS = range(0x4000, 0xC000)  # of our ports in flows; Open vSwitch itself counts up from 1
MAKING_ORDER = (Foreign, MappedBridge, Namespace, Tap, SwitchBridge, LocalVlan, SwitchPort, PluggedPort, Fragments, Meter, Flows)

Vlans = Mapping[str, int]  # network id -> local VLAN


class LiveSwitch:
    """What the switch says of itself, by connections that stay open: its configuration, and its flows and meters."""

    def __init__(self) -> None:
        self.database = ovsdb.Database()
        self._tables: dict[str, FlowTable] = {}  # by bridge

    def read_flows(self, switch: ovsdb.Switch, datapath_type: str = "") -> Iterator[Fact]:
        """Of bridges with another datapath than that, if one is given, none: the switch may not even have made them."""
        alike = {name: bridge for name, bridge in switch.bridges.items() if datapath_type in ("", bridge.datapath_type or "system")}
        bridges = [name for name, bridge in alike.items() if name in (INTEGRATION, TUNNELS) or _is_trunk(bridge)]
        self._tables = {name: self._tables.get(name) or FlowTable(name) for name in bridges}
        for name, table in self._tables.items():
            reading = table.read()
            yield from (Flows(f"flows/{cookie:x}", cookie, count, name) for cookie, count in reading.flows.items() if is_ours(cookie))
            yield from read_meters(name, reading.meters)
            if name == INTEGRATION:
                yield Fragments(KEY, reading.fragments)


class OpenVswitch:
    """The driver. `bridges`: physical network -> bridge; `tunnel_address`: this host's VTEP, None: no tunnels; `filters`: are there any."""

    kinds = ("network", "tap", "peer", "filter", "rules", "group")

    def __init__(
        self, run_dir: Path, bridges: Mapping[str, str], tunnel_address: str | None, datapath_type: str, *, filters: bool
    ) -> None:  # fmt: skip
        self._netns_marks = run_dir / "netns"
        self._bridges = bridges
        self._tunnel_address = tunnel_address
        self._datapath_type = datapath_type
        self._filters = filters
        self._switch = LiveSwitch()
        self._links = LinkTable()
        self._made = Made()

    def want(self, desired: HostState) -> tuple[dict[str, Fact], list[Failure]]:
        return self.want_with(desired, self._switch.database.read())

    def want_with(self, desired: HostState, switch: ovsdb.Switch) -> tuple[dict[str, Fact], list[Failure]]:
        """`want`, where the local VLANs and the numbers of ports in `switch` are taken."""
        self._made.begin_pass()
        facts, failures = by_name(self._want(desired, switch))
        numbers = choose_numbers([fact.device for fact in facts.values() if _is_integrated(fact)], switch)
        facts = {name: replace(fact, number=numbers[fact.device]) if _is_integrated(fact) else fact for name, fact in facts.items()}
        places = list(_places(facts.values(), switch))
        if self._filters:
            vlans = {fact.network_id: fact.tag for fact in facts.values() if isinstance(fact, LocalVlan)}
            facts |= {fact.name: fact for fact in want_filters(desired, places, vlans, tuple(sorted(_strangers(switch))), self._made)}
        numbers = {place.key.removeprefix("tap/"): place.number for place in places}
        facts |= {fact.name: fact for fact in want_limits(desired, INTEGRATION, numbers)}
        return facts, failures

    def _want(self, desired: HostState, switch: ovsdb.Switch) -> Iterator[Fact | Failure]:
        networks = {value.network_id: value for value in desired.values() if isinstance(value, NetworkState)}
        peers: dict[str, list[PeerState]] = {}
        for value in desired.values():
            if isinstance(value, PeerState) and value.network_id in networks and value.tunnel in networks[value.network_id].segments:
                peers.setdefault(value.network_id, []).append(value)
        taps = [value for value in desired.values() if isinstance(value, TapState)]
        vlans = choose_vlans(networks, switch)
        yield from self._want_mapped_bridges(networks.values())
        yield from want_namespaces(desired.values(), self._netns_marks)
        for tap in taps:
            yield from self._want_veth(tap)
        yield from self._want_bridges(list(networks.values()))
        for network in networks.values():
            if network.network_id not in vlans:
                yield Failure(network.key, "no local VLAN is free on this host: it has 4094 networks")
                continue
            yield LocalVlan(network.key, INTEGRATION, network.network_id, vlans[network.network_id])
            for segment in network.segments:
                yield from self._want_segment(network, segment, vlans[network.network_id])
        for tap in sorted(taps, key=lambda tap: tap.parent is not None):  # parents first: their bridges
            yield from self._want_ports(tap, vlans.get(tap.network_id))
        for network in networks.values():
            if (vlan := vlans.get(network.network_id)) is not None:
                yield from want_tunnel_flows(network, peers.get(network.network_id, []), vlan, self._made)

    def _want_mapped_bridges(self, networks: Iterable[NetworkState]) -> Iterator[MappedBridge]:
        keys: dict[str, dict[str, None]] = {}
        for network in networks:
            for segment in network.segments:
                if bridge := self._bridges.get(segment.physical_network or ""):
                    keys.setdefault(bridge, {})[network.key] = None
        for bridge, of_networks in keys.items():
            yield MappedBridge(next(iter(of_networks)), bridge, self._datapath_type, tuple(of_networks))

    def _want_veth(self, tap: TapState) -> Iterator[Tap]:
        if tap.netns is not None:
            far, sums = tap.device or "eth0", self._datapath_type == "netdev"
            ends = (tap_name(tap.port_id), tap.port_id, far, tap.mac_address, tap.netns)
            yield Tap(tap.key, *ends, bridge="", mtu_bytes=tap.mtu_bytes, up=tap.admin_state_up, sums=sums)

    def _want_bridges(self, networks: list[NetworkState]) -> Iterator[Fact]:
        if not networks:
            return
        keys = tuple(network.key for network in networks)
        yield SwitchBridge(keys[0], INTEGRATION, self._datapath_type, keys, secure=self._filters, may_be_foreign=True)
        tunnels = {segment.network_type: network for network in networks for segment in network.segments if segment.is_tunnel}
        if not tunnels or self._tunnel_address is None:
            return
        keys = tuple(network.key for network in networks if any(segment.is_tunnel for segment in network.segments))
        yield SwitchBridge(keys[0], TUNNELS, self._datapath_type, keys, secure=True)
        yield SwitchPort(keys[0], INTEGRATION, "patch-tun", protected=True, type="patch", options="peer=patch-int")
        yield SwitchPort(keys[0], TUNNELS, "patch-int", type="patch", options="peer=patch-tun")
        for kind, network in tunnels.items():
            options = f"key=flow local_ip={self._tunnel_address} remote_ip=flow"
            yield SwitchPort(network.key, TUNNELS, tunnel_port(kind), type=kind, options=options)

    def _want_segment(self, network: NetworkState, segment: SegmentState, vlan: int) -> Iterator[Fact | Failure]:
        if segment.is_tunnel:
            if self._tunnel_address is None:
                yield Failure(network.key, "this host has no tunnel address, hence no tunnels; set [agent] local_ip")
            return
        if segment.network_type not in ("flat", "vlan"):
            yield Failure(
                network.key, f"Open vSwitch carries flat, VLAN, VXLAN and Geneve networks, and none of type {segment.network_type}"
            )
            return
        bridge = self._bridges.get(segment.physical_network or "")
        if bridge is None:
            mapped = ", ".join(sorted(self._bridges)) or "none"
            reason = f"physical network {segment.physical_network} is not mapped to a bridge of this host (mapped: {mapped})"
            yield Failure(network.key, f"{reason}; add it to [agent] bridge_mappings")
            return
        here, there = patch_names(bridge, segment.segmentation_id)
        yield SwitchPort(network.key, INTEGRATION, here, tag=vlan, protected=True, type="patch", options=f"peer={there}")
        yield SwitchPort(network.key, bridge, there, tag=segment.segmentation_id, type="patch", options=f"peer={here}")

    def _want_ports(self, tap: TapState, vlan: int | None) -> Iterator[Fact]:
        tag = DEAD_VLAN if tap.filtered and self._filters else vlan
        ids = spelled({"attached-mac": tap.mac_address, "iface-id": tap.port_id, "iface-status": "active"})
        if tap.parent is not None:
            if tap.admin_state_up:
                yield from _want_patch(tap, trunk_bridge(tap.parent), tap.vlan, tag)
            return
        bridge = INTEGRATION
        if tap.trunk:
            bridge = trunk_bridge(tap.port_id)
            yield SwitchBridge(tap.key, bridge, self._datapath_type, (tap.key,))
            yield from _want_patch(tap, bridge, 0, tag)
            tag = None
        if tap.netns is None:
            yield PluggedPort(tap.key, tap.port_id, tag, tap.admin_state_up, tap.mtu_bytes, bridge)
        else:
            yield SwitchPort(tap.key, bridge, tap_name(tap.port_id), tag=tag, iface=ids)

    def read(self) -> dict[str, Fact]:
        switch, links = self._switch.database.read(), self._links.read()
        taps = _read_links(links, self._links.netns_names())
        flows = (fact for fact in self._switch.read_flows(switch, self._datapath_type) if self._will_last(fact, switch))
        facts = [*read_namespaces(self._netns_marks), *taps, *_read_switch(switch, links), *flows]
        facts.sort(key=lambda fact: MAKING_ORDER.index(type(fact)) if type(fact) in MAKING_ORDER else 0)  # others: of Linux bridges, before
        return {fact.name: fact for fact in facts}

    def _will_last(self, fact: Fact, switch: ovsdb.Switch) -> bool:
        """A bridge loses its flows when its `fail_mode` changes."""
        integration = switch.bridges.get(INTEGRATION)
        stays = integration is None or MARK not in integration.external_ids or (integration.fail_mode == "secure") == self._filters
        return stays or not (isinstance(fact, Flows) and fact.bridge == INTEGRATION)

    def apply(self, actions: list[Action]) -> list[Failure]:
        self._links.doubt(actions)
        return run_actions(actions)

    def pids(self) -> list[int]:
        """Those of Open vSwitch itself: where it is started anew, its flows are gone."""
        return ovsdb.pids()


def left_behind() -> dict[str, Fact]:
    """What is ours in a switch that this host no longer uses. Raises ToolError where nobody answers."""
    if not ovsdb.is_there():
        raise ToolError("no Open vSwitch runs here")
    live = LiveSwitch()
    switch = live.database.read()
    marks = [mark for ids in switch.external_ids for mark in ids if mark in (MARK, ADOPTED)]
    if not marks and not _remembered(switch):
        return {}
    facts = sorted([*_read_switch(switch, []), *live.read_flows(switch)], key=lambda fact: MAKING_ORDER.index(type(fact)))
    return {fact.name: fact for fact in facts}


def choose_vlans(networks: Iterable[str], switch: ovsdb.Switch) -> dict[str, int]:
    """A local VLAN for each network: the one that br-int remembers, else the lowest that nobody in br-int uses."""
    remembered = _remembered(switch)
    ports = (port for port in switch.ports if port.bridge == INTEGRATION)
    taken = set(remembered.values()) | {port.tag for port in ports if MARK not in port.external_ids}
    free = (vlan for vlan in VLANS if vlan not in taken)
    chosen = {network: remembered.get(network) or next(free, None) for network in networks}
    return {network: vlan for network, vlan in chosen.items() if vlan is not None}


def choose_numbers(devices: Iterable[str], switch: ovsdb.Switch) -> dict[str, int]:
    """A number for each port of ours in br-int: the one that it has, else the lowest of `NUMBERS` that is free."""
    present = {port.name: port.number for port in switch.ports if port.bridge == INTEGRATION}
    taken = set(present.values())
    free = (number for number in NUMBERS if number not in taken)
    return {device: present.get(device) or next(free) for device in devices}


def _is_integrated(fact: Fact) -> TypeGuard[SwitchPort]:
    return isinstance(fact, SwitchPort) and fact.bridge == INTEGRATION


def _places(facts: Iterable[Fact], switch: ovsdb.Switch) -> Iterator[Place]:
    """The ports of br-int that are ours or that a hypervisor has plugged for one of ours."""
    plugged = {
        port.interface_ids.get("iface-id", ""): port.number
        for port in switch.ports
        if port.bridge == INTEGRATION and MARK not in port.external_ids
    }
    for fact in facts:
        if _is_integrated(fact):
            yield Place(fact.key, fact.number, fact.tag)
        elif isinstance(fact, PluggedPort) and (number := plugged.get(fact.port_id)):
            yield Place(fact.key, number, fact.tag)


def _strangers(switch: ovsdb.Switch) -> Iterator[int]:
    """The ports of br-int that are neither ours nor of a hypervisor's."""
    for port in switch.ports:
        if port.bridge == INTEGRATION and MARK not in port.external_ids and "iface-id" not in port.interface_ids:
            yield from (number for number in (port.number, *port.members) if number)


def patch_names(bridge: str, vlan: int | None) -> tuple[str, str]:
    """The ends of a segment in br-int and in the mapped bridge: `int-br-ex.200` and `phy-br-ex.200`; of a flat one, without a number."""
    end = bridge if vlan is None else f"{bridge}.{vlan}"
    return f"int-{end}", f"phy-{end}"


def _want_patch(tap: TapState, bridge: str, outer: int, inner: int | None) -> Iterator[Fact]:
    """A port of a trunk: from its tag in the trunk's bridge to its network's VLAN in br-int."""
    there, here = trunk_ports(tap)
    yield SwitchPort(tap.key, bridge, there, tag=outer, type="patch", options=f"peer={here}")
    yield SwitchPort(tap.key, INTEGRATION, here, tag=inner, type="patch", options=f"peer={there}")


def _remembered(switch: ovsdb.Switch) -> dict[str, int]:
    ids = switch.bridges[INTEGRATION].external_ids if INTEGRATION in switch.bridges else {}
    return {key.removeprefix(f"{MARK}-"): int(value) for key, value in ids.items() if key.startswith(f"{MARK}-") and value.isdecimal()}


def _read_links(links: list[iproute.Link], names: Mapping[int, str]) -> Iterator[Fact]:
    """A device that is in a switch of the kernel's has the switch's datapath as its master."""
    for link, fact in read_links(links, names):
        yield replace(fact, bridge="") if isinstance(fact, Tap) and link.master == "ovs-system" else fact


def _read_switch(switch: ovsdb.Switch, links: list[iproute.Link]) -> Iterator[Fact]:
    link_of = {link.ifname: link for link in links}
    for bridge in switch.bridges.values():
        datapath_type = bridge.datapath_type or "system"
        yield MappedBridge("", bridge.name, datapath_type)
        if bridge.name in (INTEGRATION, TUNNELS) or _is_trunk(bridge):
            ours, secure = MARK in bridge.external_ids, bridge.fail_mode == "secure"
            shared = any(port.bridge == bridge.name and MARK not in port.external_ids for port in switch.ports)
            yield SwitchBridge(f"bridge/{bridge.name}", bridge.name, datapath_type, secure=secure, ours=ours, shared=shared)
    for network_id, vlan in _remembered(switch).items():
        yield LocalVlan(f"network/{network_id}", INTEGRATION, network_id, vlan)
    for port in switch.ports:
        yield from _read_port(port, link_of)


def _read_port(port: ovsdb.Port, link_of: Mapping[str, iproute.Link]) -> Iterator[Fact]:
    ids = port.interface_ids
    if MARK in port.external_ids:
        iface = spelled({name: ids[name] for name in ("attached-mac", "iface-id", "iface-status") if name in ids})
        shape = (_tag(port), port.protected, port.type, spelled(port.options))
        number = port.number if port.bridge == INTEGRATION else 0
        yield SwitchPort(port.external_ids[MARK], port.bridge, port.name, *shape, iface, port.error, number)
        return
    reason = f"port {port.name} of bridge {port.bridge} exists and is not Naru's; ovs-vsctl del-port {port.name}, if nothing uses it"
    yield Foreign("", f"port/{port.name}", reason)
    if "iface-id" in ids and (port.bridge == INTEGRATION or port.bridge.startswith(trunk_bridge(""))):
        link, port_id = link_of.get(port.name, iproute.Link(port.name)), ids["iface-id"]
        marked, error = ADOPTED in port.external_ids, "" if port.number else port.error or "it has not taken it yet"
        yield PluggedPort(f"tap/{port_id}", port_id, _tag(port), link.is_up, link.mtu, port.bridge, port.name, marked, error)


def _tag(port: ovsdb.Port) -> int | None:
    return DEAD_VLAN if port.trunks == (DEAD_VLAN,) else port.tag


def _is_trunk(bridge: ovsdb.Bridge) -> bool:
    return bridge.name.startswith(trunk_bridge("")) and MARK in bridge.external_ids
