"""A host of the test's own with a real agent in it, and a small network to wire there; for test_agent.py.

The host is a set of namespaces (network, mounts, pids) with a /run of its own; all in it ends with it. Only the server is a stand-in.
"""

import os
import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path

from naru.model.devices import dhcp_device, dhcp_netns, instance_netns
from naru.model.hoststate import DhcpState, DhcpSubnet, InstanceState, LeaseState, NetworkState, Route, SegmentState, TapState, Value
from naru.testing import FakeServer, eventually

LISTEN = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
socket.send_fds(socket.socket(fileno=int(sys.argv[1])), [b"x"], [listener.fileno()])
"""


class Host:
    """A host made of namespaces, an agent in it, and the stand-in server that the agent listens to."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
        setup = "mount -t tmpfs tmpfs /run; mkdir /run/netns; mount -t sysfs sysfs /sys; ip link set lo up; echo; exec sleep 3600"
        self.holder = subprocess.Popen(
            ["unshare", *user, "-n", "-m", "-u", "-p", "--fork", "--kill-child", "--mount-proc", "sh", "-ec", setup],
            stdout=subprocess.PIPE,
        )
        assert self.holder.stdout is not None
        self.holder.stdout.readline()
        self.holder.stdout.close()
        self.enter = ("nsenter", "-t", str(child_of(self.holder.pid)), *(("-U",) if user else ()), "-n", "-m", "-u", "-p")
        self.server = FakeServer(self.listen())
        self.agent: subprocess.Popen[bytes] | None = None
        self.configure()

    def listen(self) -> socket.socket:
        """A socket that listens on the host's own loopback, for this very process to serve."""
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with here, there:
            subprocess.run([*self.enter, sys.executable, "-c", LISTEN, str(there.fileno())], pass_fds=[there.fileno()], check=True)
            _, descriptors, _, _ = socket.recv_fds(here, 1, 1)
        return socket.socket(fileno=descriptors[0])

    def run(self, *argv: str, check: bool = True) -> str:
        return subprocess.run([*self.enter, *argv], check=check, capture_output=True, text=True, timeout=20).stdout

    def configure(self, local_ip: str = "10.9.0.1", **settings: str) -> None:
        table = [f"{key} = {value}" for key, value in {"local_ip": f'"{local_ip}"', **settings}.items()]
        (self.directory / "naru.toml").write_text("\n".join([f'state_dir = "{self.directory}/state"', "[agent]", *table]))
        (self.directory / "token").write_text("secret\n")

    def start(self, *through: str) -> None:
        """Run the agent, through a command that runs a command if one is given."""
        options = [
            "--host",
            "h1",
            "--server",
            self.server.url,
            "--token-file",
            f"{self.directory}/token",
            "--config",
            f"{self.directory}/naru.toml",
            "-v",
        ]
        with (self.directory / "agent.log").open("a") as log:
            self.agent = subprocess.Popen([*self.enter, *through, sys.executable, "-m", "naru.cli.main", "agent", *options], stderr=log)

    def end(self, number: signal.Signals) -> None:
        """End the agent by a signal; nsenter -p waits for it as its child."""
        assert self.agent is not None
        os.kill(child_of(self.agent.pid), number)
        self.agent.wait(10)
        self.agent = None

    def log(self) -> str:
        path = self.directory / "agent.log"
        return path.read_text() if path.exists() else ""

    def actions(self) -> int:
        """How many actions the agents of this host have run so far."""
        return self.log().count(" action ")

    def close(self) -> None:
        self.holder.kill()
        self.holder.wait()
        if self.agent is not None:
            self.agent.wait(10)
        self.server.close()


def child_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return int(eventually(lambda: children.read_text().split())[0])


class Cloud:
    """One VXLAN network with a DHCP server, and instances on it, all on the one host."""

    def __init__(self) -> None:
        self.network = NetworkState(str(uuid.uuid4()), 1450, (SegmentState("vxlan", None, 77),))
        self.id = self.network.network_id
        self.dhcp_port = str(uuid.uuid4())
        self.device, self.netns = dhcp_device(self.dhcp_port), dhcp_netns(self.id)
        self.subnet = DhcpSubnet("s1", "10.7.0.0/24", "10.7.0.2", "10.7.0.1", ("9.9.9.9",), (Route("10.8.0.0/16", "10.7.0.254"),))

    def dhcp(self, **changes: object) -> list[Value]:
        fields = {"network_id": self.id, "port_id": self.dhcp_port, "netns": self.netns, "device": self.device, "mtu_bytes": 1450}
        return [
            self.network,
            TapState(self.dhcp_port, self.id, "fa:16:3e:00:00:02", 1450, netns=self.netns, device=self.device),
            DhcpState(**fields | {"subnets": (self.subnet,)} | changes),
        ]

    def instance(self, number: int, **changes: object) -> list[Value]:
        instance, port, mac = f"{number:08}-{uuid.uuid4()}"[:36], f"{number:08}{str(uuid.uuid4())[8:]}", f"fa:16:3e:00:01:{number:02x}"
        netns = instance_netns(instance)
        fields = {"instance_id": instance, "name": f"web{number}", "driver": "netns", "netns": netns, "devices": ("eth0",), "running": True}
        return [
            InstanceState(**fields | changes),
            TapState(port, self.id, mac, 1450, netns=netns, device="eth0"),
            LeaseState(port, self.id, mac, f"host-{number}", (f"10.7.0.{number + 10}",)),
        ]


def settled(host: Host) -> bool:
    """Everything that is desired has been reported as achieved."""
    assert {key: host.server.status.get(key) for key in host.server.state} == dict.fromkeys(host.server.state, "")
    return True


def leased(host: Host, *values: Value) -> bool:
    seen = {id: report for report in host.server.reports for id, report in report.instances.items()}
    wanted = {value.instance_id for value in values if isinstance(value, InstanceState)}
    assert {id for id, report in seen.items() if report.addresses} >= wanted
    return True
