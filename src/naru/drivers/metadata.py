"""The metadata service of a host: one process that listens at 169.254.169.254 in each `qdhcp-…` and `qrouter-…` namespace.

It outlives the agent. Files lie in `<run_dir>/metadata/`: `config` is what it is to answer, `loaded` what it does answer, `listening`
in which namespaces (by inode: one that was made anew is another). See metadata_proxy.py.
"""

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from naru.drivers import daemons, iproute
from naru.drivers.base import Action, Fact, Failure, Step
from naru.drivers.tools import run_actions
from naru.model.hoststate import DhcpState, HostState, InstanceDocument, MetadataState, RouterState

KEY = "metadata"  # of what all namespaces share


class Asker(msgspec.Struct, frozen=True):
    netns: str
    addresses: tuple[str, ...]
    instance_id: str
    project_id: str
    document: InstanceDocument | None


class Config(msgspec.Struct, frozen=True):
    """The file `config`."""

    nova_metadata_url: str = ""
    shared_secret: str = ""
    namespaces: tuple[str, ...] = ()
    askers: tuple[Asker, ...] = ()


class MetadataService(Fact, frozen=True):
    directory: str
    argv: tuple[str, ...]
    config: str
    namespaces: tuple[str, ...]  # read: where it listens, of those that are there
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
        namespaces = tuple(sorted(value.netns for value in values if isinstance(value, DhcpState | RouterState) and value.metadata))
        if not namespaces:
            return {}, []
        asking = sorted((value for value in values if isinstance(value, MetadataState)), key=lambda value: value.key)
        askers = tuple(Asker(value.netns, value.ip_addresses, value.instance_id, value.project_id, value.document) for value in asking)
        config = msgspec.json.encode(Config(*self._nova, namespaces, askers)).decode()
        argv = (sys.executable, "-m", "naru.drivers.metadata_proxy", f"{self._directory}/pid")
        return {KEY: MetadataService(KEY, str(self._directory), argv, config, namespaces)}, []

    def read(self) -> dict[str, Fact]:
        if not self._directory.is_dir():
            return {}
        daemon = daemons.find(self._directory / "pid")
        inodes = iproute.netns_inodes()
        lines = (line.split() for line in _read(self._directory / "listening").splitlines())
        listening = tuple(sorted(netns for netns, inode in lines if str(inodes.get(netns)) == inode))
        config = _read(self._directory / "config")
        is_loaded = config == _read(self._directory / "loaded")
        argv = daemon.argv if daemon is not None else ()
        return {KEY: MetadataService(KEY, str(self._directory), argv, config.rstrip("\n"), listening, is_loaded)}

    def apply(self, actions: list[Action]) -> list[Failure]:
        return run_actions(actions)

    def pids(self) -> list[int]:
        daemon = daemons.find(self._directory / "pid")
        return [daemon.pid] if daemon is not None else []


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
