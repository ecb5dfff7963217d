"""What a pick asks for, and what it knows of each network that it might be given: values, nothing is decided here."""

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any, Literal

import msgspec

_encode = msgspec.json.Encoder().encode

Mode = Literal["per_instance", "one_network"]


class Wish(msgspec.Struct, frozen=True):
    """A request for addresses. Without pool and purposes: the project's default pool, or all that is kept for no purpose."""

    count: int = 1
    min_count: int | None = None  # fewer than this are none; None: all of `count`
    mode: Mode = "per_instance"  # each address on the network that is best for it, or all on one
    max_skew: int | None = None  # of the addresses placed: the most by which two networks with room may differ
    pool_id: str | None = None
    network_id: str | None = None  # this one alone
    purposes_any: tuple[str, ...] = ()
    purposes_all: tuple[str, ...] = ()
    purposes_not: tuple[str, ...] = ()
    ip_version: Literal[4, 6, "dual"] | None = None  # None: what the network has
    host: str | None = None  # these three: where it must be reachable
    availability_zone: str | None = None
    physical_network: str | None = None
    instance_driver: str | None = None  # hosts that have it
    mtu: int | None = None  # at least
    port_security_enabled: bool | None = None
    qos_policy_id: str | None = None
    dhcp: bool | None = None  # True: its subnets are served by DHCP
    affinity: tuple[str, ...] = ()  # ports: on the network of one of them
    anti_affinity: tuple[str, ...] = ()  # ports: on the network of none of them
    same_network_as: tuple[str, ...] = ()  # ports: rather near them, where the weigher `same_network_as` counts

    @property
    def least(self) -> int:
        return self.count if self.min_count is None else min(self.min_count, self.count)

    @property
    def needed(self) -> int:
        """Of one network, to be worth a look."""
        return self.least if self.mode == "one_network" else 1

    @property
    def purposes(self) -> str:
        """What is said of them, in words; "": nothing."""
        asked = {"any": self.purposes_any, "all": self.purposes_all, "not": self.purposes_not}
        return "; ".join(f"{word}: {', '.join(purposes)}" for word, purposes in asked.items() if purposes)

    def takes_purposes(self, purposes: Collection[str]) -> bool:
        has = frozenset(purposes)
        wants_any = not self.purposes_any or bool(has.intersection(self.purposes_any))
        return wants_any and has.issuperset(self.purposes_all) and has.isdisjoint(self.purposes_not)


class Counts(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """Addresses: free = usable - allocated - held - quarantined."""

    usable: int
    allocated: int
    held: int
    quarantined: int
    free: int


NO_ADDRESSES = Counts(0, 0, 0, 0, 0)


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What is so of a network, whoever asks. `ipv4` and `ipv6`: None where it has no such subnet for instances."""

    network_id: str
    name: str
    project_id: str = ""
    admin_state_up: bool = True
    external: bool = False
    mtu: int = 1500
    port_security_enabled: bool = True
    qos_policy_id: str | None = None
    dhcp: bool = True
    dhcp_hosts: tuple[str, ...] = ()  # where its DHCP servers are
    wire: tuple[tuple[str, str | None], ...] = ()  # network type and physical network of each segment
    ipv4: Counts | None = None
    ipv6: Counts | None = None

    def counts(self, ip_version: int | str | None) -> Counts:
        """Of the version that is asked for; of several the one that runs out first."""
        if ip_version == 4:
            return self.ipv4 or NO_ADDRESSES
        if ip_version == 6:
            return self.ipv6 or NO_ADDRESSES
        if self.ipv4 is None or self.ipv6 is None:
            return NO_ADDRESSES if ip_version == "dual" else self.ipv4 or self.ipv6 or NO_ADDRESSES
        return self.ipv4 if self.ipv4.free <= self.ipv6.free else self.ipv6


class Share(msgspec.Struct, frozen=True, gc=False):
    """How many addresses of a pool one project may have, and has."""

    pool_id: str
    limit: int
    used: int


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A network and what it is to this pick. `counts` are those of the IP version that is asked for."""

    facts: Facts
    counts: Counts
    own: bool = True  # of the project that the pick is for
    allowed: bool = True  # that project may use it
    pool: str = ""  # the name, or the id, of the pool that it is looked at as a member of
    pool_id: str | None = None
    priority: int = 0  # the lowest comes first
    weight: float = 1.0
    cordoned: str | None = None  # the reason given, perhaps ""; None: it is not
    kept_for: str | None = None  # the purposes of its pool, where the pick does not ask for these
    unreachable: str | None = None  # why no host can carry it
    silent_host: str | None = None  # where its DHCP server is, and no live agent; of several servers the first, where that goes for all
    near: bool = True  # one of the ports of `affinity` is on it, or there are none
    avoided: int = 0  # ports of `anti_affinity` on it
    peers: int = 0  # ports of `same_network_as` on it
    floor: int = 0  # free addresses that a pick leaves
    floor_ratio: float = 0.0  # of the usable ones; already in `floor`
    share: Share | None = None
    turn: int = 0  # how many others are before it, going round the pool
    project_ports: int = 0  # that the project has on it
    days_left: float | None = None  # until it is full, where there is a forecast

    @property
    def room(self) -> int:
        """How many addresses a pick may take of it."""
        free = self.counts.free - self.floor
        return max(0, free if self.share is None else min(free, self.share.limit - self.share.used))


class Weight(msgspec.Struct, frozen=True, gc=False):
    """What a weigher said of a candidate; it adds normalised * multiplier to the score."""

    raw: float
    normalised: float  # between 0, the least, and 1, the most of all candidates; 0 where all are the same
    multiplier: float


NO_WEIGHTS: Mapping[str, Weight] = {}

Became = Literal["chosen", "passed", "refused"]


class Verdict(msgspec.Struct, frozen=True, dict=True):
    """What became of a candidate, as the API shows it. `reason` is a code of `reasons.REASONS`, `values` complete its words."""

    network_id: str
    name: str
    verdict: Became
    reason: str
    text_en: str
    text_ko: str
    values: dict[str, Any]
    sum: Counts
    weights: Mapping[str, Weight]
    score: float

    @cached_property
    def rendered(self) -> msgspec.Raw:
        """As JSON. Of a large pool most verdicts stay what they are for one pick after the other, and so does this."""
        return msgspec.Raw(_encode(self))
