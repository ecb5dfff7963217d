"""What must be so before the agent touches anything: rights, tools, no second agent; and which address is this host's."""

import contextlib
import fcntl
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from naru import __version__
from naru.agent.machines import QEMU
from naru.drivers.base import Driver
from naru.drivers.leftovers import Leftovers
from naru.drivers.linuxbridge import LinuxBridge
from naru.drivers.nft import Nft
from naru.drivers.ovs import OpenVswitch, left_behind
from naru.drivers.qos import probe_rule_types
from naru.drivers.switch import INTEGRATION
from naru.drivers.tools import run_actions
from naru.model.hostreport import HostDescription
from naru.model.hoststate import TUNNEL_TYPES
from naru.settings import Agent

CAPABILITIES = {12: "CAP_NET_ADMIN", 21: "CAP_SYS_ADMIN"}  # linux/capability.h; the second: named network namespaces are mounts


class StartError(Exception):
    """Why the agent cannot start; nothing has been changed."""


def check_host(settings: Agent) -> None:
    """Raise StartError with one line that names all that is missing and how to get it."""
    mapped = {"linuxbridge": settings.bridge_mappings, "openvswitch": settings.physical_interface_mappings}
    if ignored := mapped[settings.mechanism]:
        theirs, ours = "bridge_mappings", "physical_interface_mappings"
        if settings.mechanism == "openvswitch":
            theirs, ours = ours, theirs
        raise StartError(f"[agent] {theirs} ({', '.join(ignored)}) says nothing to mechanism {settings.mechanism}; write {ours}")
    _check_guest(settings)
    needed = _needed_tools(settings)
    missing = {tool: package for tool, package in needed.items() if shutil.which(tool) is None}
    if missing:
        packages = " ".join(sorted(set(missing.values())))
        raise StartError(f"this host lacks {', '.join(missing)}; on Debian: apt-get install {packages}")
    effective = _effective_capabilities()
    absent = [name for bit, name in CAPABILITIES.items() if not effective >> bit & 1]
    if absent:
        raise StartError(f"wiring a host needs {' and '.join(absent)}; run the agent as root")


def _check_guest(settings: Agent) -> None:
    if "qemu" not in settings.instance_drivers:
        return
    absent = [name for name in ("kernel", "initramfs") if not (Path(settings.guest_dir) / name).exists()]
    if absent:
        wanted = " and ".join(absent)
        raise StartError(f"virtual machines need {wanted} in {settings.guest_dir}; naru lab guest {settings.guest_dir} makes them")


def _needed_tools(settings: Agent) -> dict[str, str]:
    """Program -> its Debian package."""
    needed = {"ip": "iproute2", "bridge": "iproute2", "nsenter": "util-linux", "unshare": "util-linux"}
    if filters_packets(settings) and settings.mechanism == "linuxbridge":
        needed["nft"] = "nftables"
    if settings.mechanism == "openvswitch":
        needed |= dict.fromkeys(("ovs-vsctl", "ovs-ofctl"), "openvswitch-switch")
    if settings.l3:
        needed["nft"] = "nftables"
    if settings.l3 or settings.dhcp:
        needed |= {"dnsmasq": "dnsmasq-base", "sysctl": "procps"}
    if "netns" in settings.instance_drivers:
        needed["busybox"] = "busybox"
    if "qemu" in settings.instance_drivers:
        needed[QEMU] = "qemu-system-x86"
    return needed


def _effective_capabilities() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), 16)


def filters_packets(settings: Agent) -> bool:
    """Whether what is bound here is filtered."""
    return settings.firewall != "none"


def describe_host(settings: Agent, tunnel_address: str | None) -> HostDescription:
    """What the agent says of its host when it registers."""
    if settings.mechanism == "openvswitch":
        details = {"bridge_name": INTEGRATION, "datapath_type": settings.ovs_datapath_type, "ovs_hybrid_plug": False}
        own: dict[str, Any] = {"tunnel_types": TUNNEL_TYPES, "vif_type": "ovs", "vif_details": details}
    else:
        own = {"vlan": _has_vlan_devices(), "vif_type": settings.vif_type}
    return HostDescription(
        mechanism=settings.mechanism,
        physical_networks=tuple(settings.physical_interface_mappings or settings.bridge_mappings),
        tunnel_address=tunnel_address,
        dhcp=settings.dhcp,
        port_filter=filters_packets(settings),
        instance_drivers=settings.instance_drivers,
        version=__version__,
        availability_zone=settings.availability_zone,
        l3=settings.l3,
        metadata=settings.metadata,
        qos_rule_types=probe_rule_types(settings.mechanism),
        **own,
    )


def make_switch(settings: Agent, run_dir: Path, tunnel_address: str | None) -> Driver:
    """The driver of the host's mechanism."""
    if settings.mechanism == "openvswitch":
        filters, datapath_type = filters_packets(settings), settings.ovs_datapath_type
        return OpenVswitch(run_dir, settings.bridge_mappings, tunnel_address, datapath_type, filters=filters)
    return LinuxBridge(run_dir, settings.physical_interface_mappings, tunnel_address)


def find_leftovers(settings: Agent) -> list[Driver]:
    """For what this host had before its settings changed."""
    nft, is_switch = Nft({}), settings.mechanism == "openvswitch"
    found: list[Driver] = []
    if is_switch or not filters_packets(settings):
        found.append(Leftovers("nftables", nft.read, nft.apply))
    if not is_switch:
        found.append(Leftovers("openvswitch", left_behind, run_actions))
    return found


def _has_vlan_devices() -> bool:
    """Whether the kernel makes VLAN devices (module 8021q), tried in a namespace that is gone afterwards."""
    probe = "ip link add probe type veth peer name wire && ip link add link probe name probe.1 type vlan id 1"
    return subprocess.run(["unshare", "--net", "sh", "-ec", probe], capture_output=True, check=False).returncode == 0


def find_local_address(server: str) -> str | None:
    """The address from which this host reaches the server, hence other hosts too; None if there is no way there yet."""
    url = urlsplit(server)
    port = url.port or (443 if url.scheme == "https" else 80)
    with contextlib.suppress(OSError):
        for family, kind, protocol, _, address in socket.getaddrinfo(url.hostname, port, type=socket.SOCK_DGRAM):
            with socket.socket(family, kind, protocol) as probe:
                probe.connect(address)  # of a datagram socket: asks the routing table, sends nothing
                return str(probe.getsockname()[0])
    return None


@contextlib.contextmanager
def only_agent(run_dir: Path) -> Iterator[None]:
    """Hold the run directory for this agent alone. Raises StartError if another has it, or if it cannot be made."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = (run_dir / "lock").open("w")
    except OSError as error:
        raise StartError(f"cannot use run_dir {run_dir}: {error.strerror}; set [agent] run_dir") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(f"another agent is running with run_dir {run_dir}") from None
        yield
