"""Hosts as namespaces: one network, mount and UTS namespace each, joined by three wires.

    lab's own network namespace     management 10.0.0.1/24      tunnel          physnet2     (bridges)
                                        |                         |                |
    controller01                    eth0 10.0.0.30            eth1 172.18.0.30   eth2
    compute01                       eth0 10.0.0.31            eth1 172.18.0.31   eth2
    ...

A host has a /run and /sys of its own, so namespaces with the same name on two hosts are two namespaces.
"""

import subprocess
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface

import msgspec

from naru.lab import LabError

LAB_ADDRESS = IPv4Interface("10.0.0.1/24")
_FIRST_MANAGEMENT = IPv4Interface("10.0.0.30/24")
_FIRST_TUNNEL = IPv4Interface("172.18.0.30/24")
_WIRES = {"eth0": "management", "eth1": "tunnel", "eth2": "physnet2"}
MOST_HOSTS = 100

# The shell waits for nothing: when it has become `sleep`, the host stands.
_BE_HOST = """
hostname "$1"
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/netns
mount -t sysfs sysfs /sys
ip link set lo up
echo ready
exec sleep infinity
"""


class Host(msgspec.Struct, frozen=True):
    name: str
    pid: int  # of the process that keeps the namespaces, as seen inside the lab
    management: IPv4Address
    tunnel: IPv4Address

    def enter(self, *command: str) -> list[str]:
        """The command line that runs `command` on this host."""
        return ["nsenter", "-t", str(self.pid), "-n", "-m", "-u", "--", *command]


def host_names(count: int) -> list[str]:
    """controller01, compute01, compute02 … `count` in all. Raises LabError where that is no lab."""
    if not 2 <= count <= MOST_HOSTS:
        raise LabError(f"a lab of {count} hosts: it takes a controller and at least one compute host, {MOST_HOSTS} hosts at most")
    return ["controller01", *(f"compute{number:02}" for number in range(1, count))]


def create_hosts(names: Sequence[str]) -> dict[str, Host]:
    """Make the hosts and wire them; they last as long as the lab."""
    keepers = [
        subprocess.Popen(
            ["unshare", "--net", "--mount", "--uts", "--propagation", "private", "sh", "-ec", _BE_HOST, "sh", name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in names
    ]
    hosts = {}
    for number, (name, keeper) in enumerate(zip(names, keepers, strict=True)):
        assert keeper.stdout is not None
        said = keeper.stdout.readline().strip()
        if said != "ready":
            raise LabError(f"host {name} cannot be made: {said}")
        hosts[name] = Host(name, keeper.pid, (_FIRST_MANAGEMENT + number).ip, (_FIRST_TUNNEL + number).ip)
    _run(["ip", "-batch", "-"], "\n".join(underlay(hosts)))
    for host in hosts.values():
        _run(host.enter("ip", "-batch", "-"), "\n".join(addressing(host)))
    return hosts


def underlay(hosts: Mapping[str, Host]) -> list[str]:
    """The `ip` lines, run in the lab's own network namespace, that lay the wires."""
    lines = [f"link add name {wire} up type bridge forward_delay 0" for wire in _WIRES.values()]
    lines.append(f"address add {LAB_ADDRESS} dev {_WIRES['eth0']}")
    for host in hosts.values():
        for device, wire in _WIRES.items():
            lines.append(f"link add name {wire[0]}-{host.name} master {wire} up type veth peer name {device} netns {host.pid}")
    return lines


def addressing(host: Host) -> list[str]:
    """The `ip` lines, run on the host, that give its interfaces their addresses; eth2 belongs to physnet2 and has none."""
    return [
        f"address add {host.management}/{_FIRST_MANAGEMENT.network.prefixlen} dev eth0",
        f"address add {host.tunnel}/{_FIRST_TUNNEL.network.prefixlen} dev eth1",
        *(f"link set dev {device} up" for device in _WIRES),
    ]


def _run(command: list[str], lines: str) -> None:
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"the hosts cannot be wired: {' '.join(command)}: {done.stderr.strip()}")
