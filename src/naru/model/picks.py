"""Picks: networks that the scheduler chose, and addresses held there until ports take them. And addresses at rest after a port had them."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import field

from naru.model.attributes import (
    at_create,
    boolean,
    hidden,
    integer,
    list_of,
    name_text,
    one_of,
    or_none,
    read_only,
    schema_of,
    shown,
    takes,
    text,
    uuid_text,
)
from naru.model.network_pools import purpose_words
from naru.model.resources import FixedIp, Keys, Resource

MOST_AT_ONCE = 1000  # placements of one pick: whoever waits behind it in the writer waits no longer than that takes
LONGEST_HOLD_S = 86_400

OPEN = ("held", "committed")  # the states of a pick that still has something for a port


class Purposes(msgspec.Struct, frozen=True):
    """Words of pools: one of `any`, every one of `all`, none of `without` (on the wire: `not`)."""

    any: tuple[str, ...] = ()
    all: tuple[str, ...] = ()
    without: tuple[str, ...] = field(name="not", default=())


@takes({"type": "object", "properties": dict.fromkeys(("any", "all", "not"), schema_of(purpose_words)), "additionalProperties": False})
def wanted_purposes(value: Any) -> Purposes:
    if not isinstance(value, dict):
        raise ValueError(f"{shown(value)} is not an object with any, all and not")
    if unknown := [key for key in value if key not in ("any", "all", "not")]:
        raise ValueError(f"{shown(unknown[0])} is no word for which purposes are meant; there are any, all and not")
    return msgspec.convert({key: purpose_words(words) for key, words in value.items()}, Purposes)


@takes({"enum": [4, 6, "dual"]})
def ip_versions(value: Any) -> int | str:
    for version in (4, 6, "dual"):
        if not isinstance(value, bool) and value in (version, str(version)):
            return version
    raise ValueError(f"{shown(value)} is not in [4, 6, 'dual']")


class Placement(msgspec.Struct, frozen=True):
    """What one port gets. `port_id`: the port that took it."""

    index: int
    network_id: str
    subnet_id: str | None  # of the first address; an IPv6 address that follows from the MAC is not known before the port is
    segment_id: str | None
    fixed_ips: tuple[FixedIp, ...]
    port_id: str | None = None


class NetworkPick(Resource, frozen=True, kw_only=True):
    """A request for networks, what came of it, and the addresses that it holds.

    The addresses of placements without a port are claims of the pick, as those of a port are the port's: nobody else can have them.
    """

    kind: ClassVar[str] = "NetworkPick"
    singular: ClassVar[str] = "network_pick"
    plural: ClassVar[str] = "network_picks"

    # What was asked for.
    pool_id: Annotated[str | None, at_create(or_none(uuid_text))] = None
    purposes: Annotated[Purposes | None, at_create(or_none(wanted_purposes), filter=False, sort=False)] = None
    count: Annotated[int, at_create(integer(1, MOST_AT_ONCE), filter=False)] = 1
    min_count: Annotated[int | None, at_create(or_none(integer(1, MOST_AT_ONCE)), filter=False, sort=False)] = None
    mode: Annotated[str, at_create(one_of(("per_instance", "one_network")), sort=False)] = "per_instance"
    max_skew: Annotated[int | None, at_create(or_none(integer(1)), filter=False, sort=False)] = None
    ip_version: Annotated[int | str | None, at_create(or_none(ip_versions), filter=False, sort=False)] = None
    host: Annotated[str | None, at_create(or_none(text(255)), sort=False)] = None
    availability_zone: Annotated[str | None, at_create(or_none(text(255)), filter=False, sort=False)] = None
    physical_network: Annotated[str | None, at_create(or_none(text(64)), filter=False, sort=False)] = None
    mtu: Annotated[int | None, at_create(or_none(integer(0)), filter=False, sort=False)] = None
    port_security_enabled: Annotated[bool | None, at_create(or_none(boolean), filter=False, sort=False)] = None
    qos_policy_id: Annotated[str | None, at_create(or_none(uuid_text), filter=False, sort=False)] = None
    affinity: Annotated[tuple[str, ...], at_create(list_of(uuid_text), filter=False, sort=False)] = ()
    anti_affinity: Annotated[tuple[str, ...], at_create(list_of(uuid_text), filter=False, sort=False)] = ()
    hold_s: Annotated[int, at_create(integer(1, LONGEST_HOLD_S), filter=False, sort=False)] = 120
    idempotency_key: Annotated[str | None, at_create(or_none(name_text(255)), sort=False)] = None
    consumable_by: Annotated[str, at_create(one_of(("token", "project")), sort=False)] = "token"
    dry_run: Annotated[bool, at_create(boolean, filter=False, sort=False)] = False  # such a pick is not kept

    # What came of it.
    status: Annotated[str, read_only()] = "held"  # committed; used, expired, cancelled: it holds nothing any more
    expires_at: Annotated[str | None, read_only(filter=False)] = None  # or did expire, or was cancelled; null: no limit
    token: Annotated[str | None, read_only(filter=False, sort=False)] = None  # shown to who made it, once; kept as `token_digest`
    placements: Annotated[tuple[Placement, ...], read_only(filter=False, sort=False)] = ()
    # Of a long list the first are kept; the answer to the request has all. `considered` counts them.
    candidates: Annotated[tuple[Mapping[str, Any], ...], read_only(filter=False, sort=False)] = ()
    considered: Annotated[int, read_only(filter=False, sort=False)] = 0

    user_id: Annotated[str, hidden()] = ""
    token_digest: Annotated[str, hidden()] = ""
    request_digest: Annotated[str, hidden()] = ""

    indexes: ClassVar[Mapping[str, Keys]] = {
        "project_id": lambda pick: (pick.project_id,),
        "status": lambda pick: (pick.status,),
        "request": lambda pick: (repeatable(pick.project_id, pick.idempotency_key),) if pick.idempotency_key else (),
        "holder": lambda pick: (pick.project_id,) if pick.status in OPEN else (),
        "subnet_id": lambda pick: tuple({ip.subnet_id for ip in pick.held}),
        # Whose ports may take from it without naming it, and where.
        "open_to": lambda pick: tuple(
            {open_to(pick.project_id, place.network_id) for place in pick.waiting} if pick.consumable_by == "project" else ()
        ),
    }

    @property
    def absent(self) -> tuple[str, ...]:
        return ("token",) if self.token is None else ()

    @property
    def waiting(self) -> tuple[Placement, ...]:
        """The placements that are held for a port to come."""
        return tuple(place for place in self.placements if place.port_id is None) if self.status in OPEN else ()

    @property
    def held(self) -> tuple[FixedIp, ...]:
        return tuple(ip for place in self.waiting for ip in place.fixed_ips)

    def claims(self) -> tuple[str, ...]:
        return tuple(f"address/{ip.subnet_id}/{ip.ip_address}" for ip in self.held)


def repeatable(project_id: str, idempotency_key: str) -> str:
    """Index key of a request that may be sent again."""
    return f"{project_id}/{idempotency_key}"


def open_to(project_id: str, network_id: str) -> str:
    """Index key of the picks that any port of a project on a network may take from."""
    return f"{project_id}/{network_id}"


class RestingAddresses(Resource, frozen=True, kw_only=True):
    """Addresses that a port had, kept from others until nobody remembers the port by them. The id is the port's.

    Neighbours keep an address's MAC in their caches: RFC 826, and RFC 4861 §7.3 for IPv6.
    """

    kind: ClassVar[str] = "RestingAddresses"
    singular: ClassVar[str] = "resting_addresses"
    plural: ClassVar[str] = "resting_addresses"

    fixed_ips: Annotated[tuple[FixedIp, ...], hidden()]
    until: Annotated[str, hidden()]

    indexes: ClassVar[Mapping[str, Keys]] = {
        "subnet_id": lambda resting: tuple({ip.subnet_id for ip in resting.fixed_ips}),
        "ip_address": lambda resting: tuple(ip.ip_address for ip in resting.fixed_ips),
    }
