"""Instances of our own: network namespaces with a real DHCP client in them, one per device.

The client is `busybox udhcpc`; it outlives the agent, renews its leases, and runs udhcpc.sh, which configures the device
and writes what it was given to `<run_dir>/instances/<instance id>/<device>.lease`. Nothing else configures the devices.
The namespaces themselves and the taps are made by the driver of the links.
"""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from naru.agent.machines import Machines
from naru.drivers import daemons, iproute
from naru.drivers.base import Action, Fact, Failure, Step
from naru.drivers.tools import run_actions
from naru.model.hostreport import InstanceReport
from naru.model.hoststate import HostState, InstanceState, TapState

SCRIPT = Path(__file__).with_name("udhcpc.sh")
WAKE = "wake"  # under the run directory: the FIFO into which the script says that there is a new lease


def keep_script(directory: Path) -> Path:
    """Keep udhcpc.sh where it stays when the agent's program moves: clients that are running go on to call it. Raises OSError."""
    kept, text = directory / SCRIPT.name, SCRIPT.read_bytes()
    if not kept.exists() or kept.read_bytes() != text:
        directory.mkdir(parents=True, exist_ok=True)
        new = kept.with_suffix(".new")
        new.write_bytes(text)
        new.chmod(0o755)
        new.replace(kept)
    return kept


class Lease(msgspec.Struct, frozen=True):
    """What the script wrote; it holds more than is needed here."""

    address: str  # "10.0.0.5/28"


class DhcpClient(Fact, frozen=True):
    """The DHCP client of one device of a running instance."""

    directory: str
    device: str
    netns: str  # read: "" if nothing runs, or if it runs in a namespace that has lost its name
    argv: tuple[str, ...]
    wake: str
    deprived: bool = False  # read: the device is not up, or without the leased address, as it is after it was made anew

    @property
    def name(self) -> str:
        return f"{self.key}/{self.device}"

    def add(self) -> Iterable[Step]:
        environment = ("env", f"NARU_INSTANCE={self.directory}", f"NARU_WAKE={self.wake}")
        client = shlex.join(("nsenter", f"--net={iproute.NETNS_DIR / self.netns}", *environment, *self.argv))
        directory, pid_file = shlex.quote(self.directory), shlex.quote(self._file("pid"))
        # The client writes its pid once it is what it is to be; who looks before would take it for dead and start another.
        ended = "{ echo the DHCP client ended as soon as it was started >&2; exit 1; }"
        wait = f"until [ -s {pid_file} ]; do kill -0 $! 2>/dev/null || {ended}; sleep 0.005; done"
        ready = f"mkdir -p {directory} && rm -f {pid_file} && ip -n {self.netns} link set dev {self.device} up"
        line = f"{ready} && {{ {client} >/dev/null 2>&1 & {wait}; }}"
        yield Action(self.key, ("sh",), line)

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        yield self._end()
        yield from self.add()

    def remove(self) -> Iterable[Action]:
        yield self._end()
        if self.netns:
            yield Action(self.key, ("ip", "-n", self.netns), f"link set dev {self.device} down")
            yield Action(self.key, ("ip", "-n", self.netns), f"addr flush dev {self.device} scope global")
        files, directory = shlex.join((self._file("pid"), self._file("lease"))), shlex.quote(self.directory)
        # The directory also holds resolv.conf, which is of all its devices: it goes with the last of them.
        yield Action(self.key, ("sh",), f"rm -f {files} && {{ ls {directory}/*.pid >/dev/null 2>&1 || rm -rf {directory}; }}")

    def _end(self) -> Action:
        return Action(self.key, ("signal", self._file("pid")), "TERM")

    def _file(self, suffix: str) -> str:
        return f"{self.directory}/{self.device}.{suffix}"


class Remains(Fact, frozen=True):
    """The directory of an instance where no client has written its pid: its start was cut short. Never wanted."""

    directory: str

    @property
    def name(self) -> str:
        return f"{self.key}/remains"

    def remove(self) -> Iterable[Action]:
        yield Action(self.key, ("sh",), f"rm -rf {shlex.quote(self.directory)}")


class Instances:
    """The driver: InstanceState -> a DhcpClient per device, or a virtual machine, while the instance is to run."""

    kinds = ("instance",)

    def __init__(self, run_dir: Path, script: Path = SCRIPT, machines: Machines | None = None) -> None:
        self._directory = run_dir / "instances"
        self._script = str(script)
        self._wake = str(run_dir / WAKE)
        self._machines = machines or Machines(run_dir)

    def want(self, desired: HostState) -> tuple[dict[str, Fact], list[Failure]]:
        instances = [value for value in desired.values() if isinstance(value, InstanceState)]
        facts: list[Fact] = [
            self._want_client(instance, device)
            for instance in instances
            if instance.driver == "netns" and instance.running
            for device in instance.devices
        ]
        facts += self._machines.want(instances, (value for value in desired.values() if isinstance(value, TapState)))
        return {fact.name: fact for fact in facts}, []

    def _want_client(self, instance: InstanceState, device: str) -> DhcpClient:
        directory = str(self._directory / instance.instance_id)
        argv = (
            *("busybox", "udhcpc", "-f", "-i", device, "-p", f"{directory}/{device}.pid", "-s", self._script),
            *("-t", "10", "-T", "1", "-A", "1", "-R"),  # ask each second for as long as it takes; give the lease back at the end
            *("-O", "mtu", "-O", "staticroutes", "-O", "dns", "-x", f"hostname:{instance.name}"),
        )
        return DhcpClient(instance.key, directory, device, instance.netns, argv, self._wake)

    def read(self) -> dict[str, Fact]:
        names = {inode: name for name, inode in iproute.netns_inodes().items()}
        facts: list[Fact] = []
        for directory in sorted(self._directory.glob("*")):
            clients = [self._observe(path, names) for path in sorted(directory.glob("*.pid"))]
            facts += clients or [Remains(f"instance/{directory.name}", str(directory))]
        facts += self._machines.read()
        return {fact.name: fact for fact in facts}

    def _observe(self, pid_file: Path, netns_names: Mapping[int, str]) -> DhcpClient:
        daemon = daemons.find(pid_file)
        lease = _read_lease(pid_file.with_suffix(".lease"))
        return DhcpClient(
            key=f"instance/{pid_file.parent.name}",
            directory=str(pid_file.parent),
            device=pid_file.stem,
            netns=netns_names.get(daemon.netns, "") if daemon else "",
            argv=daemon.argv if daemon else (),
            wake=self._wake,
            deprived=daemon is not None
            and (pid_file.stem not in daemon.devices or (lease is not None and lease.address.partition("/")[0] not in daemon.addresses)),
        )

    def apply(self, actions: list[Action]) -> list[Failure]:
        return run_actions(actions)

    def pids(self) -> list[int]:
        found = [daemons.find(path) for path in self._directory.glob("*/*.pid")]
        return [*(daemon.pid for daemon in found if daemon is not None), *self._machines.pids()]

    def reports(self, desired: HostState) -> dict[str, InstanceReport]:
        """What is seen of each instance: running once all its clients run, with the addresses they were given so far."""
        return {value.instance_id: self._report(value) for value in desired.values() if isinstance(value, InstanceState)}

    def _report(self, instance: InstanceState) -> InstanceReport:
        if instance.driver == "qemu":
            return InstanceReport("running" if self._machines.runs(instance) else "stopped")
        directory = self._directory / instance.instance_id
        runs = instance.running and all(daemons.find(directory / f"{device}.pid") for device in instance.devices)
        if not runs:
            return InstanceReport("stopped")
        leases = {device: _read_lease(directory / f"{device}.lease") for device in instance.devices}
        return InstanceReport("running", {device: lease.address for device, lease in leases.items() if lease})


def _read_lease(path: Path) -> Lease | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Lease)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
