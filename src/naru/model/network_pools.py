"""Network pools: ordered sets of networks that picks choose from, by a policy. docs/explanation/choosing-a-network.md"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import field

from naru.model.attributes import (
    TAG_TESTS,
    SharedWith,
    Tags,
    Unconvertible,
    boolean,
    hidden,
    integer,
    list_of,
    name_text,
    number,
    one_of,
    or_empty,
    or_none,
    settable,
    shown,
    struct_of,
    tag_list,
    takes,
    text,
    uuid_text,
)
from naru.model.growth import Bench, bench
from naru.model.resources import Keys, Resource

MOST_MEMBERS = 10_000

POLICIES = ("sequential", "spread", "pack", "balanced", "round_robin", "sticky")
WEIGHERS = (
    "free_count", "free_ratio", "used_ratio", "priority", "least_recently_picked", "sticky", "in_flight", "same_network_as",
    "fragmentation", "days_left",
)  # fmt: skip


class Member(msgspec.Struct, frozen=True, gc=False):
    """A network of a pool. The lowest `priority` comes first; cordoned members get nothing new, `reason` says why."""

    network_id: str
    priority: int | None = None  # None: its place in the list
    weight: float = 1.0
    cordoned: bool = False
    reason: str = ""


_members = list_of(
    struct_of(
        Member,
        network_id=uuid_text,
        priority=or_none(integer(0, 2**31 - 1)),
        weight=number(0.0, 1e6),
        cordoned=boolean,
        reason=text(255),
    )
)


@takes(_members.__dict__["schema"])
def member_list(value: Any) -> tuple[Member, ...]:
    found: tuple[Member, ...] = _members(value)
    ids = [member.network_id for member in found]
    if twice := next((id for id in ids if ids.count(id) > 1), None) if len(set(ids)) < len(ids) else None:
        raise ValueError(f"network {twice} is named twice")
    if len(found) > MOST_MEMBERS:
        raise ValueError(f"{len(found)} members are too many, there may be {MOST_MEMBERS}")
    return found


@takes(
    {
        "type": "object",
        "properties": {word: {"type": "array", "items": {"type": "string"}} for word in TAG_TESTS},
        "additionalProperties": False,
    }
)
def tag_selector(value: Any) -> dict[str, tuple[str, ...]]:
    """Lists of tags by the words that lists are filtered with: {"tags": ["prod"], "not-tags-any": ["old"]}."""
    if not isinstance(value, dict):
        raise Unconvertible(f"{shown(value)} is not an object with {', '.join(TAG_TESTS)}")
    if unknown := [word for word in value if word not in TAG_TESTS]:
        raise ValueError(f"{shown(unknown[0])} is no test of tags; there are {', '.join(TAG_TESTS)}")
    selector = {word: tag_list(tags) for word, tags in value.items()}
    if empty := [word for word, tags in selector.items() if not tags]:
        raise ValueError(f"{shown(empty[0])} names no tag")
    return selector


@takes({"type": "object", "properties": {name: {"type": "number"} for name in WEIGHERS}, "additionalProperties": False})
def multipliers(value: Any) -> dict[str, float]:
    """Weigher -> multiplier; negative ones turn it round."""
    if not isinstance(value, dict):
        raise Unconvertible(f"{shown(value)} is not an object of multipliers")
    if unknown := [name for name in value if name not in WEIGHERS]:
        raise ValueError(f"{shown(unknown[0])} is no weigher; there are {', '.join(WEIGHERS)}")
    return {name: number(-1e6, 1e6)(multiplier) for name, multiplier in value.items()}


def _word(value: Any) -> str:
    word = name_text(64)(value)
    if not word or "," in word:
        raise ValueError(f"{shown(value)} is no word for a purpose: 1 to 64 characters, no comma")
    return word  # type: ignore[no-any-return]


purpose_words = list_of(takes({"type": "string", "minLength": 1, "maxLength": 64})(_word))


class NetworkPool(Resource, frozen=True, kw_only=True):
    """The projects that may use a pool (its owner's, those that it is shared with) reach its members through it.

    A pool made by an administrator opens every member to them; one that a project made only those of its own.
    """

    kind: ClassVar[str] = "NetworkPool"
    singular: ClassVar[str] = "network_pool"
    plural: ClassVar[str] = "network_pools"

    name: Annotated[str, settable(name_text(255))] = ""
    shared: Annotated[bool, settable(boolean, who="admin", sort=False)] = False
    shared_with: SharedWith = ()
    of_operator: Annotated[bool, hidden()] = False  # an administrator made it
    is_default: Annotated[bool, settable(boolean, sort=False)] = False  # of its project; a shared one: of all that have no own
    members: Annotated[tuple[Member, ...], settable(member_list, filter=False, sort=False)] = ()
    # Networks with these tags are members, too, behind the others.
    member_tags: Annotated[dict[str, tuple[str, ...]], settable(or_empty(tag_selector, {}), filter=False, sort=False)] = field(
        default_factory=dict
    )
    policy: Annotated[str, settable(one_of(POLICIES))] = "sequential"
    # Multipliers of weighers, beside or instead of the policy's.
    weights: Annotated[dict[str, float], settable(or_empty(multipliers, {}), filter=False, sort=False)] = field(default_factory=dict)
    purposes: Annotated[tuple[str, ...], settable(or_empty(purpose_words), sort=False)] = ()
    # What a pick leaves free of a network: the larger of the two.
    floor_count: Annotated[int, settable(integer(0, 2**31 - 1), filter=False, sort=False)] = 0
    floor_ratio: Annotated[float, settable(number(0.0, 1.0), filter=False, sort=False)] = 0.0
    # Of the pool's usable addresses one project may have; null: all.
    project_share: Annotated[float | None, settable(or_none(number(0.0, 1.0)), filter=False, sort=False)] = None
    # How long a released address of a member rests; null: as the setting says.
    quarantine_s: Annotated[int | None, settable(or_none(integer(0, 2**31 - 1)), filter=False, sort=False)] = None
    # The networks that it may get when it runs out of room; null: none.
    autogrow: Annotated[Bench | None, settable(or_none(bench), who="admin", see="admin", filter=False, sort=False)] = None
    hidden: Annotated[bool, settable(boolean)] = False  # who reaches members through the pool alone finds them by id, not in lists
    tags: Tags = ()

    indexes: ClassVar[Mapping[str, Keys]] = {
        "project_id": lambda pool: (pool.project_id,),
        "name": lambda pool: (pool.name,),
        "network_id": lambda pool: tuple(member.network_id for member in pool.members),
        "by_tags": lambda pool: ("*",) if pool.member_tags else (),
        "autogrow": lambda pool: ("*",) if pool.autogrow is not None else (),
        "default": lambda pool: (pool.project_id,) if pool.is_default else (),
    }

    def claims(self) -> tuple[str, ...]:
        return (f"default-network-pool/{self.project_id}",) if self.is_default else ()


class PoolTurn(Resource, frozen=True, kw_only=True):
    """Whose turn it was last in a pool that goes round; its id is the pool's."""

    kind: ClassVar[str] = "PoolTurn"

    network_id: Annotated[str, hidden()] = ""
