"""Everything there is, in memory, with the indexes that planners and readers look things up by.

A snapshot belongs to one thread. The writer plans on its own (the draft), the event loop reads another (the published one);
both apply the same changes in the same order and share the immutable resources. So there is no lock and no dirty read, and
a batch that could not be committed is undone on the draft by applying its changes backwards.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, TypeVar

from naru.allocate.addresses import AddressSpace, Use
from naru.allocate.prefixes import TakenPrefixes
from naru.model.agents import Agent
from naru.model.network_pools import NetworkPool
from naru.model.picks import NetworkPick, RestingAddresses
from naru.model.resources import Change, Changes, FixedIp, Network, Port, Resource, Subnet
from naru.model.segments import Segment
from naru.model.usage import NetworkUsage

R = TypeVar("R", bound=Resource)
T = TypeVar("T")

AddressesOf = Callable[[Any], tuple[FixedIp, ...]]

# What takes addresses from subnets: the use that it makes of them, and which they are.
_TAKERS: Mapping[type[Resource], tuple[Use, AddressesOf]] = {
    Port: ("allocated", lambda port: port.fixed_ips),
    NetworkPick: ("held", lambda pick: pick.held),
    RestingAddresses: ("quarantined", lambda resting: resting.fixed_ips),
}

_MAX_SEGMENTATION_ID = 2**32 - 1  # of GRE; all others have fewer bits


class _Index:
    """key -> ids. A key held by one resource keeps the bare id: most keys of a port are its own."""

    __slots__ = ("_ids",)

    def __init__(self) -> None:
        self._ids: dict[str, str | dict[str, None]] = {}

    def add(self, key: str, id: str) -> None:
        present = self._ids.setdefault(key, id)
        if isinstance(present, dict):
            present[id] = None
        elif present != id:
            self._ids[key] = {present: None, id: None}

    def remove(self, key: str, id: str) -> None:
        present = self._ids.get(key)
        if isinstance(present, dict):
            present.pop(id, None)
            if not present:
                del self._ids[key]
        elif present == id:
            del self._ids[key]

    def ids(self, key: str) -> tuple[str, ...] | dict[str, None]:
        present = self._ids.get(key)
        return () if present is None else (present,) if isinstance(present, str) else present


_MOST_SUBJECTS = 32  # that notes are kept of

# The networks that such a resource is on: when it changes, notes of these are worthless.
_NOTED: Mapping[type[Resource], Callable[["Snapshot", Any], Iterable[str]]] = {
    Network: lambda _, network: (network.id,),
    Subnet: lambda _, subnet: (subnet.network_id,),
    Port: lambda _, port: (port.network_id,),
    NetworkPick: lambda _, pick: {place.network_id for place in pick.placements},
    NetworkUsage: lambda _, usage: (usage.id,),
    RestingAddresses: lambda view, resting: {
        subnet.network_id for ip in resting.fixed_ips if (subnet := view.get(Subnet, ip.subnet_id)) is not None
    },
}


class _Notes(dict[str, Any]):
    def __init__(self, note: Callable[[str], Any]) -> None:
        super().__init__()
        self.note = note

    def __missing__(self, network_id: str) -> Any:
        made = self[network_id] = self.note(network_id)
        return made


class Snapshot:
    """The resources by kind and id, their indexes, the address space of each subnet, and what each subnet pool has given."""

    def __init__(self) -> None:
        self.revision = 0
        self.now = datetime.min.replace(tzinfo=UTC)
        self._resources: dict[type[Resource], dict[str, Resource]] = {}
        self._indexes: dict[type[Resource], dict[str, _Index]] = {}
        self._spaces: dict[str, AddressSpace] = {}
        self._given_prefixes: dict[str, TakenPrefixes] = {}
        self._segmentation_ids: dict[tuple[str, str | None], AddressSpace] = {}
        self._notes: dict[Hashable, _Notes] = {}

    # -- reading

    def get(self, kind: type[R], id: str) -> R | None:
        return self._resources.get(kind, {}).get(id)  # type: ignore[return-value]

    def all(self, kind: type[R]) -> Iterator[R]:
        """All resources of a kind, oldest first."""
        return iter(self._resources.get(kind, {}).values())  # type: ignore[arg-type]

    def find(self, kind: type[R], index: str, key: str) -> Iterator[R]:
        """The resources that stand under `key` in one of the kind's indexes."""
        of_kind = self._resources.get(kind, {})
        return (of_kind[id] for id in self._index(kind, index).ids(key))  # type: ignore[misc]

    def count(self, kind: type[Resource], index: str, key: str) -> int:
        return len(self._index(kind, index).ids(key))

    def size(self, kind: type[Resource]) -> int:
        return len(self._resources.get(kind, {}))

    def addresses(self, subnet_id: str) -> AddressSpace:
        return self._spaces[subnet_id]

    def given_prefixes(self, subnetpool_id: str) -> TakenPrefixes:
        return self._given_prefixes.setdefault(subnetpool_id, TakenPrefixes())

    def notes(self, subject: Hashable, note: Callable[[str], T]) -> Mapping[str, T]:
        found = self._notes.pop(subject, None) or _Notes(note)
        found.note = note
        self._notes[subject] = found  # the one that was asked for last is the last
        if len(self._notes) > _MOST_SUBJECTS:
            del self._notes[next(iter(self._notes))]
        return found

    def segmentation_ids(self, network_type: str, physical_network: str | None) -> AddressSpace:
        """Those of a type on a physical network, whatever range they may be chosen from; 0 stands for having none."""
        return self._segmentation_ids.setdefault((network_type, physical_network), AddressSpace([(0, _MAX_SEGMENTATION_ID)]))

    # -- writing

    def rehearse(self, steps: Changes[T]) -> T:
        done: list[Change] = []
        try:
            while True:
                step = next(steps)
                done.append(Change(self.get(type(step.resource), step.resource.id), step.after))
                self.apply(done[-1:])
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        finally:
            self.undo(done)

    def apply(self, changes: Iterable[Change]) -> None:
        for change in changes:
            self._replace(change.before, change.after)

    def undo(self, changes: Iterable[Change]) -> None:
        """Take back changes that were applied last, newest first."""
        for change in reversed(list(changes)):
            self._replace(change.after, change.before)

    def _replace(self, before: Resource | None, after: Resource | None) -> None:
        resource = after or before
        assert resource is not None
        kind = type(resource)
        of_kind = self._resources.setdefault(kind, {})
        for keys, entries in zip(kind.indexes.values(), self._indexes_of(kind).values(), strict=True):
            old = keys(before) if before is not None else ()
            new = keys(after) if after is not None else ()
            if old != new:
                for key in old:
                    entries.remove(key, resource.id)
                for key in new:
                    entries.add(key, resource.id)
        if after is None:
            of_kind.pop(resource.id, None)
        else:
            of_kind[resource.id] = after
        if kind is Subnet:
            self._respace(before, after)  # type: ignore[arg-type]
            self._account_prefix(before, after)  # type: ignore[arg-type]
        elif kind in _TAKERS:
            self._account(before, after, *_TAKERS[kind])
        elif kind is Segment:
            self._account_segment(before, after)  # type: ignore[arg-type]
        self._forget(kind, before, after)

    def _forget(self, kind: type[Resource], before: Resource | None, after: Resource | None) -> None:
        """Notes that were made of what was before."""
        if kind is NetworkPool or (kind is Agent and _abilities(before) != _abilities(after)):
            self._notes.clear()
        elif kind in _NOTED:
            ids = {id for resource in (before, after) if resource is not None for id in _NOTED[kind](self, resource)}
            for notes in self._notes.values():
                for id in ids:
                    notes.pop(id, None)

    def _index(self, kind: type[Resource], index: str) -> _Index:
        try:
            return self._indexes_of(kind)[index]
        except KeyError:
            raise LookupError(f"{kind.__name__} has no index '{index}'") from None

    def _indexes_of(self, kind: type[Resource]) -> dict[str, _Index]:
        """By name, in the order of the kind's description."""
        found = self._indexes.get(kind)
        if found is None:
            found = self._indexes[kind] = {name: _Index() for name in kind.indexes}
        return found

    def _respace(self, before: Subnet | None, after: Subnet | None) -> None:
        """A subnet came, went or changed its pools: lay out its address space again."""
        if after is None:
            if before is not None:
                self._spaces.pop(before.id, None)
        elif before is None or before.allocation_pools != after.allocation_pools or after.id not in self._spaces:
            space = AddressSpace((_number(pool.start), _number(pool.end)) for pool in after.allocation_pools)
            for kind, (use, addresses_of) in _TAKERS.items():
                for taker in self.find(kind, "subnet_id", after.id):
                    for ip in addresses_of(taker):
                        if ip.subnet_id == after.id:
                            space.take(_number(ip.ip_address), use)
            self._spaces[after.id] = space

    def _account_prefix(self, before: Subnet | None, after: Subnet | None) -> None:
        old, new = ((subnet.subnetpool_id, subnet.cidr) if subnet is not None else (None, "") for subnet in (before, after))
        if old == new:
            return
        if old[0] is not None:
            self._given_prefixes[old[0]].release(old[1])
        if new[0] is not None:
            self.given_prefixes(new[0]).take(new[1])

    def _account(
        self, before: Resource | None, after: Resource | None, use: Use, addresses_of: Callable[[Any], tuple[FixedIp, ...]]
    ) -> None:
        old = addresses_of(before) if before is not None else ()
        new = addresses_of(after) if after is not None else ()
        if old == new:
            return
        kept = set(old).intersection(new)
        for ip in old:
            if ip not in kept and ip.subnet_id in self._spaces:
                self._spaces[ip.subnet_id].release(_number(ip.ip_address))
        for ip in new:
            if ip not in kept and ip.subnet_id in self._spaces:
                self._spaces[ip.subnet_id].take(_number(ip.ip_address), use)

    def _account_segment(self, before: Segment | None, after: Segment | None) -> None:
        for segment, is_taken in ((before, False), (after, True)):
            if segment is not None and segment.claims():
                ids = self.segmentation_ids(segment.network_type, segment.physical_network)
                (ids.take if is_taken else ids.release)(segment.segmentation_id or 0)


def _abilities(agent: Any) -> object:
    """What an agent's heartbeat does not change."""
    return agent and (agent.host, agent.alive, agent.admin_state_up, agent.availability_zone, agent.configurations)


def _number(address: str) -> int:
    return int.from_bytes(inet_pton(AF_INET6 if ":" in address else AF_INET, address))
