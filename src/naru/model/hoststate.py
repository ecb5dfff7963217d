"""The contract between server and agent, downwards: what a host is to be like. What it answers is in hostreport.py.

A host's desired state is a flat map from key to value. A key says what kind of thing it is and whose:
`tap/<port id>`. Values are complete: an agent that knows only the newest value of every key
can wire its host. Order, repetition and loss of frames do not matter, the next list repairs them.

    GET  /agent/v1/hosts/{host}/state?since=R   -> NDJSON frames (Put, Del, then Bookmark)

Addresses are strings in their canonical text form, MACs lower case with colons, MTUs in bytes.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

ONCE = "once-"  # begins a one-time token, so that an agent knows it from a token to show
TUNNEL_TYPES = ("vxlan", "geneve")


class _Value(msgspec.Struct, frozen=True, gc=False, tag_field="kind"):
    """A value of the desired state; `kind` on the wire is the first part of its key."""


class SegmentState(msgspec.Struct, frozen=True, gc=False):
    """One way through the underlay, in ML2's words: flat, vlan (VLAN id), vxlan or geneve (VNI)."""

    network_type: str
    physical_network: str | None = None  # flat, vlan: the agent maps it to a device or a bridge
    segmentation_id: int | None = None

    @property
    def is_tunnel(self) -> bool:
        return self.network_type in TUNNEL_TYPES


class NetworkState(_Value, frozen=True, tag="network"):
    """An L2 domain with at least one port on this host: all of its taps hear each other.

    It is a network, or a segment of one whose subnets are tied to segments; `network_id` is the id of which it is. `segments` are all
    that the host carries. What comes in by one never leaves by another: hosts that all bridged the same two would send frames in circles.
    """

    network_id: str
    mtu_bytes: int
    segments: tuple[SegmentState, ...]
    roaming: bool = False  # addresses may be where no `PeerState` says, or move: who has one is asked of all hosts with a port

    @property
    def key(self) -> str:
        return f"network/{self.network_id}"


class TapState(_Value, frozen=True, tag="tap"):
    """A port on this host: the tap device in the network's bridge, and where its other end lives.

    With `netns`, the agent makes a veth pair whose far end `device` lives in that namespace.
    Without, a hypervisor plugs the tap and the agent adopts it. With `filtered`, it carries nothing before its `FilterState` is in force.
    """

    port_id: str
    network_id: str
    mac_address: str
    mtu_bytes: int
    admin_state_up: bool = True
    netns: str | None = None
    device: str | None = None
    filtered: bool = False
    parent: str | None = None  # of a sub-port of a trunk: nobody plugs it, its frames have the tag `vlan` at that port's tap
    vlan: int = 0
    trunk: bool = False  # it is the parent of one, perhaps without sub-ports

    @property
    def key(self) -> str:
        return f"tap/{self.port_id}"


class Source(msgspec.Struct, frozen=True, gc=False):
    """What a port may send from: a MAC with an address or a prefix."""

    mac_address: str
    ip_address: str


class FilterState(_Value, frozen=True, tag="filter"):
    """Who may talk to a port with port security, and as whom it may talk: its sources, and the rules of its groups.

    Without a group nothing passes but what every port needs (DHCP, ARP, neighbour discovery). A port that is not `stateful`
    gets its answers only where a rule lets them in.
    """

    port_id: str
    network_id: str
    mac_address: str
    sources: tuple[Source, ...]
    security_groups: tuple[str, ...] = ()
    stateful: bool = True

    @property
    def key(self) -> str:
        return f"filter/{self.port_id}"


class FilterRule(msgspec.Struct, frozen=True, gc=False):
    """What a security group lets through. None and protocol 0: any. `remote_group` is the id of a `GroupState`."""

    direction: str  # "ingress": to the port; "egress"
    ethertype: str  # "IPv4", "IPv6"
    protocol: int = 0
    port_min: int | None = None  # of ICMP: the type
    port_max: int | None = None  # of ICMP: the code
    remote_prefix: str | None = None
    remote_group: str | None = None


class RulesState(_Value, frozen=True, tag="rules"):
    """The rules of a security group that ports of this host have, once for all of them."""

    group_id: str
    rules: tuple[FilterRule, ...]

    @property
    def key(self) -> str:
        return f"rules/{self.group_id}"


class GroupState(_Value, frozen=True, tag="group"):
    """The addresses and prefixes behind a security group or an address group that rules of this host name."""

    group_id: str
    addresses: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"group/{self.group_id}"


class BandwidthLimit(msgspec.Struct, frozen=True, gc=False):
    max_kbps: int
    burst_kbit: int


class PacketRateLimit(msgspec.Struct, frozen=True, gc=False):
    max_pps: int
    burst_packets: int


class QosState(_Value, frozen=True, tag="qos"):
    """How fast a port may receive (ingress) and send (egress), and with which DSCP mark what it sends goes on."""

    port_id: str
    ingress: BandwidthLimit | None = None
    egress: BandwidthLimit | None = None
    dscp_mark: int | None = None
    ingress_packets: PacketRateLimit | None = None
    egress_packets: PacketRateLimit | None = None

    @property
    def key(self) -> str:
        return f"qos/{self.port_id}"


class PeerState(_Value, frozen=True, tag="peer"):
    """A port on another host that only a tunnel reaches: its frames go to that host's VTEP, its ARP is answered here."""

    port_id: str
    network_id: str
    mac_address: str
    ip_addresses: tuple[str, ...]
    vtep: str
    tunnel: SegmentState  # which of the domain's segments leads there

    @property
    def key(self) -> str:
        return f"peer/{self.port_id}"


class Route(msgspec.Struct, frozen=True, gc=False):
    destination: str
    nexthop: str


class DhcpSubnet(msgspec.Struct, frozen=True, gc=False):
    """`mode` in Neutron's words. An IPv6 subnet may be without addresses (`slaac`), or with options only (`dhcpv6-stateless`)."""

    subnet_id: str
    cidr: str
    server_address: str  # of the DHCP port, in `cidr`
    gateway_ip: str | None
    dns_nameservers: tuple[str, ...] = ()
    host_routes: tuple[Route, ...] = ()
    mode: str = "dhcpv6-stateful"  # of IPv6
    advertised: bool = False  # IPv6: the server sends router advertisements, as there is no router that does


class DhcpState(_Value, frozen=True, tag="dhcp"):
    """The DHCP server of an L2 domain: dnsmasq in `netns`, listening on `device` (its tap is a `TapState`)."""

    network_id: str
    port_id: str
    netns: str
    device: str
    mtu_bytes: int
    subnets: tuple[DhcpSubnet, ...]
    domain: str = "openstacklocal"
    lease_s: int = 86400
    metadata: bool = False  # instances find their metadata in `netns`
    metadata_ipv6: bool = False  # by IPv6 too

    @property
    def key(self) -> str:
        return f"dhcp/{self.network_id}"


class ClientOption(msgspec.Struct, frozen=True, gc=False):
    """A DHCP option for one client: a number, or a name as dnsmasq knows it, perhaps after `tag:NAME,`."""

    name: str
    value: str
    ip_version: int = 4


class LeaseState(_Value, frozen=True, tag="lease"):
    """What the domain's DHCP server hands to one MAC: reserved addresses, and options of its own."""

    port_id: str
    network_id: str
    mac_address: str
    hostname: str
    ip_addresses: tuple[str, ...]
    options: tuple[ClientOption, ...] = ()

    @property
    def key(self) -> str:
        return f"lease/{self.port_id}"


class InstanceState(_Value, frozen=True, tag="instance"):
    """An instance of our own on this host.

    `running` turns true when every port of it is ACTIVE, so the first DISCOVER already finds a server; an interface that is attached
    later is named when its own port is. `devices` are the interfaces inside `netns`, in order; the taps behind them are `TapState`s.
    """

    instance_id: str
    name: str
    driver: Literal["netns", "qemu"]
    netns: str  # of qemu: ""; `devices` are the taps that it plugs
    devices: tuple[str, ...]
    running: bool
    memory_mib: int = 0  # of qemu

    @property
    def key(self) -> str:
        return f"instance/{self.instance_id}"


METADATA_ADDRESS = "169.254.169.254"
METADATA_ADDRESS_IPV6 = "fe80::a9fe:a9fe"  # at one port of an L2 domain


class InstanceDocument(msgspec.Struct, frozen=True, gc=False):
    """What an instance of our own may read about itself, beside its ids and addresses."""

    hostname: str
    name: str
    availability_zone: str
    meta: dict[str, str] = {}
    key_name: str = ""
    public_key: str = ""
    user_data: str = ""  # base64


class MetadataState(_Value, frozen=True, tag="metadata"):
    """Who asks for metadata when a request comes from one of these addresses in `netns`. `document` None: an instance of Nova's."""

    port_id: str
    netns: str
    ip_addresses: tuple[str, ...]
    instance_id: str
    project_id: str
    document: InstanceDocument | None = None
    mac_address: str = ""
    devices: tuple[str, ...] = ()  # of `netns`, at which it is heard by IPv6, with the address of its link that follows from its MAC

    @property
    def key(self) -> str:
        return f"metadata/{self.netns}/{self.port_id}"


class AdvertisedPrefix(msgspec.Struct, frozen=True, gc=False):
    """An IPv6 subnet that a router tells its neighbours of. `mode` in Neutron's words: how they get an address."""

    cidr: str
    mode: str
    dns_nameservers: tuple[str, ...] = ()


class RouterInterface(msgspec.Struct, frozen=True, gc=False):
    """A port of a router inside its namespace; the tap behind it is a `TapState`."""

    port_id: str
    network_id: str
    device: str
    addresses: tuple[str, ...]  # "address/prefix"
    mtu_bytes: int = 1500
    advertised: tuple[AdvertisedPrefix, ...] = ()

    @property
    def speaks_ipv6(self) -> bool:
        """Of metadata."""
        return f"{METADATA_ADDRESS_IPV6}/64" in self.addresses


class FloatingAddress(msgspec.Struct, frozen=True, gc=False):
    """An external address that leads to one inside as a whole."""

    floatingip_id: str
    external: str
    fixed: str


class ForwardedPorts(msgspec.Struct, frozen=True, gc=False):
    """Port numbers of an external address that lead inside; both ranges `first:last`, the inner one as long or of one port."""

    floatingip_id: str
    external: str
    protocol: str
    external_ports: str
    fixed: str
    fixed_ports: str


class AddressLimit(msgspec.Struct, frozen=True, gc=False):
    """How fast is what comes for an external address (ingress), and what leaves with it (egress)."""

    external: str
    ingress: BandwidthLimit | None = None
    egress: BandwidthLimit | None = None


class RouterState(_Value, frozen=True, tag="router"):
    """A router on this host: the namespace `netns` with an interface per subnet, routes, and address translation (IPv4 only)."""

    router_id: str
    netns: str
    interfaces: tuple[RouterInterface, ...]
    gateway: RouterInterface | None = None  # the interface on the external network
    snat_address: str | None = None  # with which leaves what has no floating address; None: with its own
    routes: tuple[Route, ...] = ()  # the default routes among them
    floating: tuple[FloatingAddress, ...] = ()
    forwarded: tuple[ForwardedPorts, ...] = ()
    metadata: bool = False  # instances find their metadata in `netns`
    limits: tuple[AddressLimit, ...] = ()

    @property
    def key(self) -> str:
        return f"router/{self.router_id}"

    @property
    def ends(self) -> tuple[RouterInterface, ...]:
        """Its interfaces and its gateway."""
        return (*self.interfaces, self.gateway) if self.gateway is not None else self.interfaces

    @property
    def led(self) -> tuple[tuple[str, str], ...]:
        """External and inner address of whatever leads inside."""
        pairs = [(floating.external, floating.fixed) for floating in self.floating]
        return tuple(dict.fromkeys([*pairs, *((ports.external, ports.fixed) for ports in self.forwarded)]))

    @property
    def floating_keys(self) -> set[str]:
        """What it achieves for others: its floating IPs, reported under keys of their own."""
        ids = {floating.floatingip_id for floating in self.floating} | {ports.floatingip_id for ports in self.forwarded}
        return {f"floatingip/{id}" for id in ids}


Value = (
    NetworkState
    | TapState
    | FilterState
    | RulesState
    | GroupState
    | QosState
    | PeerState
    | DhcpState
    | LeaseState
    | InstanceState
    | RouterState
    | MetadataState
)
HostState = Mapping[str, Value]


class Put(msgspec.Struct, frozen=True, tag_field="frame", tag="put"):
    key: str
    value: Value


class Del(msgspec.Struct, frozen=True, tag_field="frame", tag="del"):
    key: str


class Bookmark(msgspec.Struct, frozen=True, tag_field="frame", tag="bookmark"):
    """Everything up to `revision` has been sent: the agent is in sync and may prune.

    An agent that reconnects with `since=revision` is told only what changed, or 410: list again.
    """

    revision: int


Frame = Put | Del | Bookmark
