"""Which subnets of a network give addresses, and which segments where they are tied to some: by the same scheduler as networks."""

from collections.abc import Iterable, Mapping, Sequence

from naru.model.resources import Network, Subnet
from naru.model.view import View
from naru.schedule.candidates import Candidate, Counts, Facts, Wish
from naru.schedule.networks import place

Links = Mapping[str, Sequence[Subnet]]  # segment id, "" where subnets are tied to none -> its subnets: what is one L2 link together


def links_of(subnets: Iterable[Subnet]) -> Links:
    found: dict[str, list[Subnet]] = {}
    for subnet in subnets:
        found.setdefault(subnet.segment_id or "", []).append(subnet)
    return found


def allot(view: View, network_id: str, groups: Mapping[str, Sequence[Subnet]], count: int) -> tuple[str, ...]:
    """For each of `count` ports one of the groups of subnets, by their order or the network's `subnet_policy`. (): there is no room.

    A group of subnets of both IP versions has room for as many as the version that runs out first.
    """
    if len(groups) == 1:
        return (*groups,) * count
    network = view.get(Network, network_id)
    policy = network.subnet_policy if network is not None else None
    candidates = [_candidate(view, position, key, subnets) for position, (key, subnets) in enumerate(groups.items())]
    return place(candidates, Wish(count=count), policy or "sequential").assignments


def _candidate(view: View, position: int, key: str, subnets: Sequence[Subnet]) -> Candidate:
    facts = Facts(key, f"{position:06}", ipv4=counts_of(view, subnets, 4), ipv6=counts_of(view, subnets, 6))
    priorities = (subnet.allocation_priority for subnet in subnets)
    weights = (subnet.allocation_weight for subnet in subnets)
    return Candidate(
        facts,
        facts.counts(None),
        priority=min((priority for priority in priorities if priority is not None), default=position),
        weight=max((weight for weight in weights if weight is not None), default=1.0),
    )


def counts_of(view: View, subnets: Iterable[Subnet], ip_version: int) -> Counts | None:
    """Of all subnets of the version together; None: there are none."""
    spaces = [view.addresses(subnet.id) for subnet in subnets if subnet.ip_version == ip_version]
    if not spaces:
        return None
    return Counts(*(sum(getattr(space, part) for space in spaces) for part in Counts.__struct_fields__))
