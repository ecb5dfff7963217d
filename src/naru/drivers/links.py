"""The facts of the kernel's network that Naru makes: namespaces, links, forwarding entries; each with its `ip` lines.

Two lines bring a link to its settled state, whatever it was: the first sets everything, the second sets it up or down.
They stay apart because the kernel acts on "up" before it reads `addrgenmode none`, without which a bridge gives itself
an IPv6 address and talks on the tenant's network. Sources: ip-link(8), ip-netns(8), bridge(8), ip-neighbour(8).
"""

from collections.abc import Iterable
from ipaddress import IPv6Address

import msgspec

from naru.drivers.base import Action, Fact, Failure, Step
from naru.model.devices import tap_name

GROUP = "6278"  # the group of every link of ours ("naru" on a telephone's keys): the proof that it is ours

IP = ("ip",)
BRIDGE_TOOL = ("bridge",)
UNLINK = ("unlink",)
# Forward from the first frame on; no querier is here to snoop for; filters see what is bridged, on this bridge at least.
BRIDGE_OPTIONS = "forward_delay 0 stp_state 0 mcast_snooping 0 nf_call_iptables 1 nf_call_ip6tables 1"
# Ports of a bridge that lead to the same domain elsewhere. Isolated ones exchange no frames: where two hosts bridged the same two segments,
# frames would go in circles. Tunnels: the server says where MACs are, and ARP for peers is answered here.
ALONE, ISOLATED = "isolated off", "isolated on"
PHYSICAL_PORT, TUNNEL_PORT = "learning on neigh_suppress off", "learning off neigh_suppress on"
ROAMING_PORT = "learning on neigh_suppress off"  # who has an address, and where a MAC went, others may know better
LEAST_IPV6_MTU = 1280  # bytes: RFC 8200, section 5. With less, the kernel has no IPv6 on a device, and refuses to be told anything of it
SUMS = "/sums"  # ends the alias of a tap whose far end computes the checksums of what it sends
FLOOD_MAC = "00:00:00:00:00:00"  # the entries that broadcasts and unknown addresses follow, one per VTEP


class Namespace(Fact, frozen=True):
    """A named network namespace; `mark` is the file that says it is ours, written before it is made."""

    netns: str
    mark: str
    exists: bool = True

    @property
    def name(self) -> str:
        return f"netns/{self.netns}"

    def add(self) -> Iterable[Step]:
        yield Action(self.key, ("write", self.mark), self.key)
        yield Action(self.key, IP, f"netns add {self.netns}")

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        # Marked but not there: it was never made, was deleted, or `ip` was killed between the file and the mount.
        yield Action(self.key, IP, f"netns del {self.netns}")
        yield Action(self.key, IP, f"netns add {self.netns}")

    def remove(self) -> Iterable[Action]:
        yield Action(self.key, IP, f"netns del {self.netns}")
        yield Action(self.key, UNLINK, self.mark)


class Bridge(Fact, frozen=True):
    """A bridge of ours. One that a hypervisor made first is taken over, if there are `ports` and nothing is in it but taps of theirs."""

    device: str
    alias: str
    mtu_bytes: int
    tuned: bool = True  # BRIDGE_OPTIONS are in force
    up: bool = True
    ports: tuple[str, ...] = ()  # wanted: ids of the network's ports whose taps hypervisors make here
    made: tuple[str, ...] = ()  # wanted: of those whose taps we make
    strange: tuple[str, ...] | None = None  # read, of one that is not ours: the devices in it, and its addresses

    @property
    def name(self) -> str:
        return f"link/{self.device}"

    def add(self) -> Iterable[Step]:
        # Made with another MTU: only one that is changed counts as chosen, else the bridge follows the least of its ports.
        yield Action(self.key, IP, f"link add name {self.device} mtu {self.mtu_bytes + 1} group {GROUP} type bridge {BRIDGE_OPTIONS}")
        yield from self._settle()

    def is_met_by(self, have: Fact) -> bool:
        known = msgspec.structs.replace(have, ports=self.ports, made=self.made) if isinstance(have, Bridge) else have
        return super().is_met_by(known)

    def replaces(self, have: Fact) -> bool:
        return not isinstance(have, Bridge)

    def change(self, have: Fact) -> Iterable[Step]:
        if isinstance(have, Bridge) and have.strange is not None:
            taps = {tap_name(port_id) for port_id in self.ports}
            if not taps or not taps.issuperset(have.strange):
                yield from self._refuse(", ".join(sorted(set(have.strange) - taps)))
                return
            yield Action(self.key, IP, f"link set dev {self.device} group {GROUP} mtu {self.mtu_bytes + 1}")  # see add()
        elif isinstance(have, Bridge):
            yield from _widen(self.key, self.device, have.mtu_bytes, self.mtu_bytes)
        yield from self._settle()

    def _refuse(self, found: str) -> Iterable[Step]:
        """Its taps fail too: those in it are not touched while it is somebody's, and none of ours is put there."""
        why = f"it has {found} in it, and is taken over only with nothing but taps of this network" if found else "no hypervisor needs it"
        reason = f"bridge {self.device} exists and is not Naru's: {why}; delete it (ip link del {self.device}) if nothing uses it"
        return (Failure(key, reason) for key in (self.key, *(f"tap/{port_id}" for port_id in (*self.ports, *self.made))))

    def _settle(self) -> Iterable[Step]:
        settings = f"alias {self.alias} mtu {self.mtu_bytes}{_quiet(self.mtu_bytes)} type bridge {BRIDGE_OPTIONS}"
        yield Action(self.key, IP, f"link set dev {self.device} {settings}")
        yield Action(self.key, IP, f"link set dev {self.device} up")

    def remove(self) -> Iterable[Action]:
        if self.strange is None:
            yield _delete_link(self.key, self.device)


class Uplink(Fact, frozen=True):
    """A device of ours that joins a bridge to a segment: a VXLAN device, or a VLAN of a physical device."""

    device: str
    alias: str
    bridge: str
    mtu_bytes: int
    options: str  # as on the line that makes it; they cannot be changed later
    port_options: str  # of the port of the bridge that it is
    up: bool = True

    @property
    def name(self) -> str:
        return f"link/{self.device}"

    def add(self) -> Iterable[Step]:
        yield Action(self.key, IP, f"link add name {self.device} mtu {self.mtu_bytes} group {GROUP} {self.options}")
        yield from self._settle()

    def replaces(self, have: Fact) -> bool:
        return not isinstance(have, Uplink) or have.options != self.options

    def change(self, have: Fact) -> Iterable[Step]:
        if isinstance(have, Uplink):
            yield from _widen(self.key, self.device, have.mtu_bytes, self.mtu_bytes)
        yield from self._settle()

    def _settle(self) -> Iterable[Step]:
        yield Action(
            self.key,
            IP,
            f"link set dev {self.device} alias {self.alias} mtu {self.mtu_bytes}{_quiet(self.mtu_bytes)} master {self.bridge}",
        )
        yield Action(self.key, IP, f"link set dev {self.device} type bridge_slave {self.port_options}")
        yield Action(self.key, IP, f"link set dev {self.device} up")

    def remove(self) -> Iterable[Action]:
        yield _delete_link(self.key, self.device)


class Tap(Fact, frozen=True):
    """A veth pair: this end in the bridge, the far end under the port's MAC in the namespace where the port lives.

    What cannot be seen of the far end from here (its name, its MAC, that it sums up) this end's alias says.
    """

    device: str
    port_id: str
    far: str
    mac: str  # of the far end
    netns: str  # of the far end
    bridge: str  # "" where the switch is none of the kernel's
    mtu_bytes: int  # of both ends
    up: bool = True
    sums: bool = False  # the far end sums up what it sends: a switch in user space gets frames as they are

    @property
    def name(self) -> str:
        return f"link/{self.device}"

    def add(self) -> Iterable[Step]:
        near = f"name {self.device} group {GROUP} address {near_address(self.mac)} mtu {self.mtu_bytes}"
        far = f"name {self.far} address {self.mac} mtu {self.mtu_bytes} netns {self.netns}"
        yield Action(self.key, IP, f"link add {near} type veth peer {far}")
        if self.sums:
            yield Action(self.key, ("checksums",), f"{self.netns} {self.far}")
        yield from self._settle()

    @property
    def pair(self) -> tuple[str, ...]:
        """What cannot be changed of a pair."""
        return (self.far, self.mac, self.netns, SUMS if self.sums else "")

    def replaces(self, have: Fact) -> bool:
        return not isinstance(have, Tap) or have.pair != self.pair or bool(have.bridge and not self.bridge)

    def change(self, have: Fact) -> Iterable[Step]:
        if isinstance(have, Tap):
            yield from _widen(self.key, self.device, have.mtu_bytes, self.mtu_bytes)
        yield from self._settle()
        if isinstance(have, Tap) and have.mtu_bytes != self.mtu_bytes:
            yield Action(self.key, ("ip", "-n", self.netns), f"link set dev {self.far} mtu {self.mtu_bytes}")

    def _settle(self) -> Iterable[Step]:
        alias = f"naru:{self.port_id}/{self.far}/{self.mac}{SUMS if self.sums else ''}"
        master = f" master {self.bridge}" if self.bridge else ""
        yield Action(self.key, IP, f"link set dev {self.device} alias {alias} mtu {self.mtu_bytes}{_quiet(self.mtu_bytes)}{master}")
        yield Action(self.key, IP, f"link set dev {self.device} {'up' if self.up else 'down'}")

    def remove(self) -> Iterable[Action]:
        yield _delete_link(self.key, self.device)


class SubTap(Fact, frozen=True):
    """The tap of a trunk's sub-port: a VLAN of its parent's tap, named as ML2's agent named it. It goes with that one.

    It is up or down by itself (`loose_binding`): with its parent, the kernel would also bring up what is to be down.
    """

    device: str
    port_id: str
    parent: str  # device
    vlan: int
    mac: str  # of the far end, whoever that is
    bridge: str
    mtu_bytes: int
    up: bool = True
    parent_id: str = ""  # wanted: the port
    pair: tuple[str, ...] = ()  # of the parent, where that is a `Tap`: another one is to be made with it

    @property
    def name(self) -> str:
        return f"link/{self.device}"

    @property
    def needs(self) -> str:
        return f"tap/{self.parent_id}"

    def is_met_by(self, have: Fact) -> bool:
        return super().is_met_by(msgspec.structs.replace(have, parent_id=self.parent_id) if isinstance(have, SubTap) else have)

    def add(self) -> Iterable[Step]:
        near = f"name {self.device} group {GROUP} address {near_address(self.mac)} mtu {self.mtu_bytes}"
        yield Action(self.key, IP, f"link add link {self.parent} {near} type vlan id {self.vlan} loose_binding on")
        yield from self._settle()

    def replaces(self, have: Fact) -> bool:
        own = (self.parent, self.vlan, self.mac, self.pair)
        return not isinstance(have, SubTap) or (have.parent, have.vlan, have.mac, have.pair) != own

    def change(self, have: Fact) -> Iterable[Step]:
        if isinstance(have, SubTap):
            yield from _widen(self.key, self.device, have.mtu_bytes, self.mtu_bytes)
        yield from self._settle()

    def _settle(self) -> Iterable[Step]:
        settings = f"alias naru:{self.port_id}/{self.mac} mtu {self.mtu_bytes}{_quiet(self.mtu_bytes)} master {self.bridge}"
        yield Action(self.key, IP, f"link set dev {self.device} {settings}")
        yield Action(self.key, IP, f"link set dev {self.device} {'up' if self.up else 'down'}")

    def remove(self) -> Iterable[Action]:
        yield _delete_link(self.key, self.device)


class Port(Fact, frozen=True):
    """A device that we did not make, in a bridge of ours: the uplink of a flat network, or a hypervisor's tap.

    `mark` is the file that says we put it there. Every device that is not ours is read as a Port without a mark.
    """

    device: str
    bridge: str  # of ours; "" for none
    mark: str
    up: bool = True
    mtu_bytes: int | None = None  # None: leave it
    isolated: bool = False  # from the domain's other uplinks
    missing: str = ""  # wanted: what to say where the device does not exist
    exists: bool = True  # read: the rest of it
    marked: bool = True
    foreign_bridge: str = ""
    addresses: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"port/{self.device}"

    def is_met_by(self, have: Fact) -> bool:
        return (
            isinstance(have, Port)
            and (have.bridge, have.up, have.isolated, have.marked, have.exists) == (self.bridge, self.up, self.isolated, True, True)
            and self.mtu_bytes in (None, have.mtu_bytes)
        )

    def add(self) -> Iterable[Step]:
        yield Failure(self.key, self.missing)

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        if obstacle := self._obstacle(have):
            yield Failure(self.key, obstacle)
            return
        mtu = f" mtu {self.mtu_bytes}" if self.mtu_bytes else ""
        yield Action(self.key, ("write", self.mark), self.key)
        yield Action(self.key, IP, f"link set dev {self.device}{mtu} master {self.bridge}")
        if isinstance(have, Port) and have.isolated != self.isolated:
            yield Action(self.key, IP, f"link set dev {self.device} type bridge_slave {ISOLATED if self.isolated else ALONE}")
        yield Action(self.key, IP, f"link set dev {self.device} {'up' if self.up else 'down'}")

    def _obstacle(self, have: Fact) -> str:
        if not isinstance(have, Port) or not have.exists:
            return self.missing
        if have.foreign_bridge not in ("", self.bridge):  # ours is taken over first, or refused, and this with it
            return (
                f"{self.device} is in bridge {have.foreign_bridge}, which is not Naru's; take it out (ip link set {self.device} nomaster)"
            )
        if have.addresses and have.bridge != self.bridge:
            addresses = ", ".join(have.addresses)
            return (
                f"{self.device} carries {addresses}: in a bridge it would cut this host off; "
                "move the address elsewhere, or map the physical network to another device"
            )
        return ""

    def remove(self) -> Iterable[Action]:
        if self.marked and self.bridge:
            yield Action(self.key, IP, f"link set dev {self.device} nomaster")
        if self.marked:
            yield Action(self.key, UNLINK, self.mark)


class Trunk(Fact, frozen=True):
    """A physical device that carries VLANs of ours: it is there, free, and up. `key`s are those of all networks on it."""

    device: str
    keys: tuple[str, ...] = ()
    missing: str = ""  # wanted: what to say where the device does not exist
    up: bool = True
    foreign_master: str = ""

    @property
    def name(self) -> str:
        return f"trunk/{self.device}"

    def is_met_by(self, have: Fact) -> bool:
        return isinstance(have, Trunk) and have.up and not have.foreign_master

    def add(self) -> Iterable[Step]:
        return (Failure(key, self.missing) for key in self.keys)

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        if isinstance(have, Trunk) and have.foreign_master:
            reason = (
                f"{self.device} is in {have.foreign_master}, which is not Naru's; "
                f"map the physical network to {have.foreign_master}, or take {self.device} out (ip link set {self.device} nomaster)"
            )
            return (Failure(key, reason) for key in self.keys)
        return (Action(self.key, IP, f"link set dev {self.device} up"),)

    def remove(self) -> Iterable[Action]:
        return ()  # it was here before us; others may use it


class Neighbour(Fact, frozen=True):
    """The answer to ARP and neighbour solicitations for a port elsewhere, given by the VXLAN device."""

    device: str
    address: str
    mac: str

    @property
    def name(self) -> str:
        return f"neigh/{self.device}/{self.address}"

    def add(self) -> Iterable[Step]:
        yield Action(self.key, IP, f"neigh replace {self.address} lladdr {self.mac} dev {self.device} nud permanent")

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        return self.add()

    def remove(self) -> Iterable[Action]:
        yield Action(self.key, IP, f"neigh del {self.address} dev {self.device}")


class Forward(Fact, frozen=True):
    """Where the VXLAN device sends frames for a MAC. A MAC has one VTEP; the flood entry has one fact per VTEP."""

    device: str
    mac: str
    vtep: str

    @property
    def name(self) -> str:
        return f"fdb/{self.device}/{self.mac}" + (f"/{self.vtep}" if self.mac == FLOOD_MAC else "")

    def add(self) -> Iterable[Step]:
        verb = "append" if self.mac == FLOOD_MAC else "replace"
        yield Action(self.key, BRIDGE_TOOL, f"fdb {verb} {self.mac} dev {self.device} dst {self.vtep}")

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        return self.add()

    def remove(self) -> Iterable[Action]:
        yield Action(self.key, BRIDGE_TOOL, f"fdb del {self.mac} dev {self.device} dst {self.vtep}")


def near_address(mac_address: str) -> str:
    """The MAC of a tap whose far end has `mac_address`: the same but for the first byte, as libvirt does it.

    Two devices of one pair must differ: a bridge takes frames for a port's own MAC as its own. fe is high, so that the
    bridge, which takes the lowest MAC of its ports, does not change its own with every tap.
    """
    return f"{'fa' if mac_address.startswith('fe') else 'fe'}{mac_address[2:]}"


def link_local(mac_address: str) -> IPv6Address:
    """The address that a device with this MAC gives itself: RFC 4291, appendix A."""
    octets = bytes.fromhex(mac_address.replace(":", ""))
    return IPv6Address(b"\xfe\x80" + bytes(6) + bytes((octets[0] ^ 2,)) + octets[1:3] + b"\xff\xfe" + octets[3:])


def _quiet(mtu_bytes: int) -> str:
    return " addrgenmode none" if mtu_bytes >= LEAST_IPV6_MTU else ""


def _widen(key: str, device: str, before_bytes: int, after_bytes: int) -> Iterable[Action]:
    """Before a device may be told to be quiet it must have IPv6, and it gets that with its MTU: down, as it would speak at once."""
    if before_bytes < LEAST_IPV6_MTU <= after_bytes:
        yield Action(key, IP, f"link set dev {device} down mtu {after_bytes}")


def _delete_link(key: str, device: str) -> Action:
    return Action(key, IP, f"link del dev {device}")
