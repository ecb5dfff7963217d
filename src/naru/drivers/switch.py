"""The facts of Open vSwitch that Naru makes: bridges, local VLANs, ports; each with its `ovs-vsctl` line. Flows are in openflow.py.

What is ours says so in the database: `external_ids:naru` of a bridge or a port is the key that it serves.
"""

from collections.abc import Iterable

from naru.drivers.base import Action, Fact, Failure, Step
from naru.drivers.links import IP
from naru.model.hoststate import TapState

VSCTL = ("ovs-vsctl",)
INTEGRATION, TUNNELS = "br-int", "br-tun"
COOKIE = 0x6278  # as the group of our links
DEAD_VLAN = 4095  # as Neutron calls it; IEEE 802.1Q reserves it
MARK, ADOPTED = "naru", "naru-adopted"  # made by us; made by a hypervisor and put into its VLAN by us


class SwitchBridge(Fact, frozen=True):
    """A bridge of ours: br-int, br-tun. br-int may also be made by others, who plug into it (a hypervisor does)."""

    bridge: str
    datapath_type: str
    keys: tuple[str, ...] = ()  # of all that need it
    secure: bool = False  # without flows it carries nothing
    may_be_foreign: bool = False  # wanted: made by others, it will do
    ours: bool = True
    shared: bool = False  # read: somebody else's port is in it

    @property
    def name(self) -> str:
        return f"bridge/{self.bridge}"

    def is_met_by(self, have: Fact) -> bool:
        return (
            isinstance(have, SwitchBridge)
            and have.datapath_type == self.datapath_type
            and (have.ours or self.may_be_foreign)
            and (not have.ours or have.secure == self.secure)
        )

    def add(self) -> Iterable[Step]:
        yield Action(self.key, VSCTL, f"--may-exist add-br {self.bridge} -- {self._settings()}")

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        if isinstance(have, SwitchBridge) and have.ours:
            yield Action(self.key, VSCTL, self._settings())
            return
        wrong = "has another datapath_type" if self.may_be_foreign else "is not Naru's"
        help_ = f"ovs-vsctl del-br {self.bridge}, if nothing uses it"
        for key in self.keys:
            yield Failure(key, f"bridge {self.bridge} of Open vSwitch exists and {wrong} (wanted: {self.datapath_type}); {help_}")

    def _settings(self) -> str:
        mode = "fail_mode=secure" if self.secure else "fail_mode=standalone"
        return f"set Bridge {self.bridge} datapath_type={self.datapath_type} {mode} external_ids:{MARK}={self.bridge}"

    def remove(self) -> Iterable[Action]:
        if self.ours and not self.shared:
            yield Action(self.key, VSCTL, f"--if-exists del-br {self.bridge}")


class MappedBridge(Fact, frozen=True):
    """A bridge of the operator's that leads to a physical network: it is there, and on our datapath. Only our ports in it are changed."""

    bridge: str
    datapath_type: str
    keys: tuple[str, ...] = ()  # of all networks that it carries

    @property
    def name(self) -> str:
        return f"mapped/{self.bridge}"

    def is_met_by(self, have: Fact) -> bool:
        return isinstance(have, MappedBridge) and have.datapath_type == self.datapath_type

    def add(self) -> Iterable[Step]:
        reason = (
            f"bridge {self.bridge} does not exist on this host; create it with the physical device in it "
            f"(ovs-vsctl add-br {self.bridge} -- add-port {self.bridge} DEVICE), or correct [agent] bridge_mappings"
        )
        return (Failure(key, reason) for key in self.keys)

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        has = have.datapath_type if isinstance(have, MappedBridge) else "none"
        reason = (
            f"bridge {self.bridge} has datapath_type {has}, and [agent] ovs_datapath_type is {self.datapath_type}: "
            "patch ports do not lead from one to the other; make the two the same"
        )
        return (Failure(key, reason) for key in self.keys)

    def remove(self) -> Iterable[Action]:
        return ()


class LocalVlan(Fact, frozen=True):
    """The VLAN that stands for an L2 domain inside br-int; br-int itself remembers it."""

    bridge: str
    network_id: str
    tag: int

    @property
    def name(self) -> str:
        return f"vlan/{self.network_id}"

    def add(self) -> Iterable[Step]:
        yield Action(self.key, VSCTL, f"set Bridge {self.bridge} external_ids:{MARK}-{self.network_id}={self.tag}")

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        return self.add()

    def remove(self) -> Iterable[Action]:
        yield Action(self.key, VSCTL, f"--if-exists remove Bridge {self.bridge} external_ids {MARK}-{self.network_id}")


class SwitchPort(Fact, frozen=True):
    """A port of ours: a patch port, the tunnels of one type, or the near end of a tap that we made."""

    bridge: str
    device: str
    tag: int | None = None  # an access port of this VLAN; None: a trunk
    protected: bool = False  # exchanges no frames with others that are: see `ISOLATED` in links.py
    type: str = ""
    options: str = ""  # "key=flow remote_ip=flow": in the order of their names
    iface: str = ""  # "attached-mac=… iface-id=…", as hypervisors set them; in the order of their names
    error: str = ""  # read: why Open vSwitch cannot use it
    number: int = 0  # in flows; 0: whichever

    @property
    def name(self) -> str:
        return f"port/{self.device}"

    def add(self) -> Iterable[Step]:
        yield Action(self.key, VSCTL, f"add-port {self.bridge} {self.device} -- {self._settings()}")

    def replaces(self, have: Fact) -> bool:
        return not isinstance(have, SwitchPort) or have.error != "" or (have.bridge, have.type) != (self.bridge, self.type)

    def change(self, have: Fact) -> Iterable[Step]:
        yield Action(self.key, VSCTL, self._settings())

    def _settings(self) -> str:
        port = f"set Port {self.device} {vlan_words(self.tag)} protected={str(self.protected).lower()} external_ids:{MARK}={self.key}"
        kind = f"type={self.type}" if self.type else 'type=""'
        options = [*prefixed("options", self.options), *prefixed("external_ids", self.iface)]
        options += [f"ofport_request={self.number}"] if self.number else []
        return f"{port} -- set Interface {self.device} {' '.join([kind, *options])}"

    def remove(self) -> Iterable[Action]:
        yield Action(self.key, VSCTL, f"--if-exists del-port {self.bridge} {self.device}")


class PluggedPort(Fact, frozen=True):
    """A port that a hypervisor plugged, found by its `iface-id`: in the VLAN of its domain; in the bridge of a trunk, with all tags.

    It is let go into the dead VLAN: only a hypervisor takes it out of there.
    """

    port_id: str
    tag: int | None
    up: bool = True
    mtu_bytes: int = 0
    bridge: str = INTEGRATION
    device: str = ""  # read: how the hypervisor called it
    marked: bool = True
    error: str = ""  # read: why Open vSwitch cannot use it

    @property
    def name(self) -> str:
        return f"plugged/{self.port_id}"

    def is_met_by(self, have: Fact) -> bool:
        return (
            isinstance(have, PluggedPort)
            and have.marked
            and not have.error
            and (have.tag, have.up, have.mtu_bytes, have.bridge) == (self.tag, self.up, self.mtu_bytes, self.bridge)
        )  # fmt: skip

    def add(self) -> Iterable[Step]:
        words = f"no port of {self.bridge} has external_ids:iface-id={self.port_id}; the hypervisor makes it when it starts the instance"
        yield Failure(self.key, f"not plugged yet: {words}")

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        assert isinstance(have, PluggedPort)
        if have.bridge != self.bridge:
            help_ = "stop the instance and start it, and its hypervisor plugs it as the binding of the port says"
            yield Failure(self.key, f"{have.device} is in {have.bridge}, and belongs in {self.bridge}; {help_}")
            return
        # os-vif may have set a vlan_mode, with which the tag of an access port would mean something else.
        vlan = f"{vlan_words(self.tag)} vlan_mode=[]"
        yield Action(self.key, VSCTL, f"set Port {have.device} {vlan} external_ids:{ADOPTED}={self.key}")
        if have.error:  # os-vif may plug a port before libvirt makes its tap
            yield Failure(self.key, f"Open vSwitch cannot use {have.device}: {have.error}")
            return
        yield Action(self.key, IP, f"link set dev {have.device} mtu {self.mtu_bytes} {'up' if self.up else 'down'}")

    def remove(self) -> Iterable[Action]:
        if self.marked:  # its guest may still run: without a VLAN it would be in all of them
            let_go = f"--if-exists set Port {self.device} {vlan_words(DEAD_VLAN)}"
            yield Action(self.key, VSCTL, f"{let_go} -- --if-exists remove Port {self.device} external_ids {ADOPTED}")


def vlan_words(tag: int | None) -> str:
    """An access port of the VLAN; None: a trunk of all. A port in the dead VLAN neither hears nor is heard but by way of flows."""
    if tag == DEAD_VLAN:
        return f"tag=[] trunks={DEAD_VLAN}"  # what has no tag, and that is all that it sends, is in no VLAN of this trunk
    return f"tag={'[]' if tag is None else tag} trunks=[]"


def trunk_ports(tap: TapState) -> tuple[str, str]:
    """The patch ports of a port of a trunk, as Neutron names them: in the trunk's bridge, and in br-int."""
    kind = "t" if tap.parent is None else "s"
    return f"{kind}pt-{tap.port_id[:11]}", f"{kind}pi-{tap.port_id[:11]}"


def prefixed(column: str, words: str) -> list[str]:
    """`a=1 b=2` as `ovs-vsctl` sets them one by one; in quotes, because an address has colons."""
    pairs = (word.split("=", 1) for word in words.split())
    return [f'{column}:{key}="{value}"' for key, value in pairs]


def spelled(pairs: dict[str, str]) -> str:
    """The reverse of `prefixed`."""
    return " ".join(f"{key}={value}" for key, value in sorted(pairs.items()))
