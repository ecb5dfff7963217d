"""What planners and compilers may ask of the state: the read side of the store's snapshot, as a protocol."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Protocol, TypeVar

from naru.model.resources import Changes, Resource

R = TypeVar("R", bound=Resource)
T = TypeVar("T")


class Addresses(Protocol):
    """The addresses of one subnet, as integers; usable = free + allocated + held + quarantined. `outside`: allocated, but in no pool."""

    usable: int
    free: int
    held: int
    quarantined: int
    outside: set[int]

    @property
    def allocated(self) -> int: ...

    def choose(self) -> int | None: ...

    def choose_many(self, count: int) -> list[int]: ...

    def is_free(self, address: int) -> bool: ...

    def next_free(self, start: int) -> int | None: ...


class Prefixes(Protocol):
    """What a subnet pool has given."""

    count: int

    def is_free(self, cidr: str) -> bool: ...

    def first_free(self, cidrs: Iterable[str], prefixlen: int) -> str | None: ...


class View(Protocol):
    revision: int
    now: datetime  # the moment of the plan, or of the last change that is published

    def get(self, kind: type[R], id: str) -> R | None: ...

    def all(self, kind: type[R]) -> Iterator[R]: ...

    def find(self, kind: type[R], index: str, key: str) -> Iterator[R]: ...

    def count(self, kind: type[Resource], index: str, key: str) -> int: ...

    def addresses(self, subnet_id: str) -> Addresses: ...

    def given_prefixes(self, subnetpool_id: str) -> Prefixes: ...

    def notes(self, subject: Hashable, note: Callable[[str], T]) -> Mapping[str, T]:
        """Network id -> what `note` makes of it, made when it is first asked for.

        It is kept until the network, or a subnet, a port or an address of it changes. All notes go when a pool changes, or what a host
        can carry. Of a subject the same is made each time, of nothing else.
        """
        ...

    def rehearse(self, steps: Changes[T]) -> T:
        """What a plan returns, or raises; what it changed is taken back. For plans, on the view that they were given."""
        ...

    def segmentation_ids(self, network_type: str, physical_network: str | None) -> Addresses: ...
