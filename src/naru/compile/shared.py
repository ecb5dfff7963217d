"""What the states of many hosts have in common, and is made once for all of them."""

import msgspec

from naru.model.hoststate import GroupState, PeerState
from naru.model.provider import ProviderSegment

PeersOf = tuple[str, str | None, tuple[ProviderSegment, ...]]  # network, segment; by which of its segments one is reached


class Shared(msgspec.Struct):
    """Of one view. `groups` are kept until they have other members (`changed_groups`), the others until anything has changed."""

    groups: dict[str, GroupState] = {}
    peers: dict[PeersOf, list[tuple[str, PeerState]]] = {}  # with the host of each
    roaming: dict[str, bool] = {}  # of a network
