"""The metadata service of a host: one process that listens at 169.254.169.254 in each `qdhcp-…` and `qrouter-…` namespace, and at
fe80::a9fe:a9fe of those of their devices that have it.

It outlives the agent. Files lie in `<run_dir>/metadata/`: `config` is what it is to answer, `loaded` what it does answer, `listening`
in which namespaces (by inode: one that was made anew is another) and at which devices (by number, likewise). See metadata_proxy.py.
"""

import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from naru.drivers import daemons, iproute
from naru.drivers.base import Action, Fact, Failure, Step
from naru.drivers.links import link_local
from naru.drivers.tools import run_actions
from naru.model.devices import tap_name
from naru.model.hoststate import DhcpState, HostState, InstanceDocument, MetadataState, RouterState

KEY = "metadata"  # of what all namespaces share


class Listener(msgspec.Struct, frozen=True):
    """A place to listen at: of a namespace, or by IPv6 of a device in it."""

    netns: str
    device: str = ""
    tap: str = ""  # the device's other end, by which it is known outside

    @property
    def name(self) -> str:
        return f"{self.netns}%{self.device}" if self.device else self.netns


class Asker(msgspec.Struct, frozen=True):
    netns: str
    addresses: tuple[str, ...]  # those of a link with their device: "fe80::1%ns-55555555-55"
    instance_id: str
    project_id: str
    document: InstanceDocument | None


class Config(msgspec.Struct, frozen=True):
    """The file `config`."""

    nova_metadata_url: str = ""
    shared_secret: str = ""
    listeners: tuple[Listener, ...] = ()
    askers: tuple[Asker, ...] = ()


class MetadataService(Fact, frozen=True):
    directory: str
    argv: tuple[str, ...]
    config: str
    listeners: tuple[str, ...]  # names; read: of those whose namespaces and devices are there
    loaded: bool = True

    @property
    def name(self) -> str:
        return KEY

    def add(self) -> Iterable[Step]:
        yield Action(self.key, ("secret", f"{self.directory}/config"), self.config)
        yield Action(self.key, ("sh",), f"{{ {shlex.join(self.argv)} >>{self.directory}/log 2>&1 & }}; {self._wait()}")

    def replaces(self, have: Fact) -> bool:
        return False

    def change(self, have: Fact) -> Iterable[Step]:
        assert isinstance(have, MetadataService)
        if have.argv != self.argv:
            yield Action(self.key, ("signal", f"{self.directory}/pid"), "TERM")
            yield from self.add()
            return
        yield Action(self.key, ("sh",), f"rm -f {self.directory}/loaded")
        yield Action(self.key, ("secret", f"{self.directory}/config"), self.config)
        yield Action(self.key, ("signal", f"{self.directory}/pid"), "HUP")
        yield Action(self.key, ("sh",), self._wait())

    def remove(self) -> Iterable[Action]:
        yield Action(self.key, ("signal", f"{self.directory}/pid"), "TERM")
        yield Action(self.key, ("sh",), f"rm -rf {shlex.quote(self.directory)}")

    def _wait(self) -> str:
        """Until it answers as it should; after 10 s it is said that it does not."""
        loaded = f"cmp -s {self.directory}/config {self.directory}/loaded"
        late = f"{{ tail -n 1 {self.directory}/log >&2; exit 1; }}"
        return f"n=0; until {loaded}; do n=$((n+1)); [ $n -lt 1000 ] || {late}; sleep 0.01; done"


class Metadata:
    """The driver: DhcpState and RouterState say where, MetadataState who may ask."""

    kinds = ("metadata",)

    def __init__(self, run_dir: Path, nova_metadata_url: str = "", shared_secret: str = "") -> None:
        self._directory = run_dir / "metadata"
        self._nova = (nova_metadata_url, shared_secret)

    def want(self, desired: HostState) -> tuple[dict[str, Fact], list[Failure]]:
        values = desired.values()
        places = [value for value in values if isinstance(value, DhcpState | RouterState) and value.metadata]
        if not places:
            return {}, []
        listeners = tuple(sorted((listener for place in places for listener in _listeners(place)), key=lambda listener: listener.name))
        asking = sorted((value for value in values if isinstance(value, MetadataState)), key=lambda value: value.key)
        askers = tuple(Asker(value.netns, _addresses(value), value.instance_id, value.project_id, value.document) for value in asking)
        config = msgspec.json.encode(Config(*self._nova, listeners, askers)).decode()
        argv = (sys.executable, "-m", "naru.drivers.metadata_proxy", f"{self._directory}/pid")
        return {KEY: MetadataService(KEY, str(self._directory), argv, config, tuple(listener.name for listener in listeners))}, []

    def read(self) -> dict[str, Fact]:
        if not self._directory.is_dir():
            return {}
        daemon = daemons.find(self._directory / "pid")
        listening = msgspec.json.decode(_read(self._directory / "listening") or "[]", type=list[Listening])
        there = sorted(at.listener.name for at in still_there(listening))
        config = _read(self._directory / "config")
        is_loaded = config == _read(self._directory / "loaded")
        argv = daemon.argv if daemon is not None else ()
        return {KEY: MetadataService(KEY, str(self._directory), argv, config.rstrip("\n"), tuple(there), is_loaded)}

    def apply(self, actions: list[Action]) -> list[Failure]:
        return run_actions(actions)

    def pids(self) -> list[int]:
        daemon = daemons.find(self._directory / "pid")
        return [daemon.pid] if daemon is not None else []


class Listening(msgspec.Struct, frozen=True):
    """Where the process listens: one entry of the file `listening`."""

    listener: Listener
    inode: int  # of the namespace
    device: int = 0  # its number


def still_there(listening: Iterable[Listening]) -> list[Listening]:
    """Without those whose namespace or device was removed or made anew since."""
    inodes = iproute.netns_inodes()
    in_place = [at for at in listening if inodes.get(at.listener.netns) == at.inode]
    far_ends = iproute.far_ends() if any(at.device for at in in_place) else {}
    return [at for at in in_place if at.device == far_ends.get(at.listener.tap, 0)]


def _listeners(place: DhcpState | RouterState) -> Iterator[Listener]:
    yield Listener(place.netns)
    if isinstance(place, RouterState):
        for interface in place.interfaces:
            if interface.speaks_ipv6:
                yield Listener(place.netns, interface.device, tap_name(interface.port_id))
    elif place.metadata_ipv6:
        yield Listener(place.netns, place.device, tap_name(place.port_id))


def _addresses(asker: MetadataState) -> tuple[str, ...]:
    return (*asker.ip_addresses, *(f"{link_local(asker.mac_address)}%{device}" for device in asker.devices))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
