"""Benches: what administrators approved that a network or a pool may take when it runs out of room."""

import msgspec

from naru.model.attributes import integer, number, one_of, or_none, struct_of, text, uuid_text


class Bench(msgspec.Struct, frozen=True):
    """A network grows by subnets, each on a new segment where `network_type` says of which type; a pool grows by networks."""

    subnetpool_id: str
    limit: int  # subnets of this subnet pool that a network has, members that a pool has: then it grows no more
    prefixlen: int | None = None  # None: as the subnet pool says
    network_type: str | None = None
    physical_network: str | None = None
    minimum: int | None = None  # of the segmentation ids; both None: of the ranges of the project
    maximum: int | None = None
    floor: int = 0  # it grows when no more addresses than these are free
    horizon_days: float | None = None  # and when by its forecast (P50) these are left


bench = struct_of(
    Bench,
    subnetpool_id=uuid_text,
    limit=integer(1, 1000),
    prefixlen=or_none(integer(0, 128)),
    network_type=or_none(one_of(("vlan", "vxlan", "geneve"))),
    physical_network=or_none(text(64)),
    minimum=or_none(integer(1, 2**24 - 1)),
    maximum=or_none(integer(1, 2**24 - 1)),
    floor=integer(0, 2**31 - 1),
    horizon_days=or_none(number(0.0, 3650.0)),
)
