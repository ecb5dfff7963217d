"""The networks that a pick looks at: those of a pool, of the pools for a purpose, or all that the project may use."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from naru.model.agents import Agent
from naru.model.identity import Caller
from naru.model.network_pools import Member, NetworkPool, PoolTurn
from naru.model.picks import NetworkPick
from naru.model.provider import ProviderSegment, why_not_carried
from naru.model.resources import Network, Port, Subnet, use
from naru.model.segments import Segment
from naru.model.usage import NetworkUsage
from naru.model.view import View
from naru.schedule.candidates import Candidate, Facts, Share, Wish
from naru.schedule.filters import SHARE_FILTERS
from naru.schedule.networks import Judged, Placement, judge, place_judged
from naru.schedule.weighers import POLICIES, TURN
from naru.service.addressing import subnets_in_order
from naru.service.policy import can_see, fetch
from naru.service.pool_reach import default_of, may_use, opens, selects, usable_pools
from naru.service.subnet_choice import counts_of

Wire = tuple[tuple[str, str | None], ...]
WhyNot = Callable[[Wire], str | None]  # why no host can carry a network of such segments


class Shortlist(msgspec.Struct, frozen=True):
    """What `place_judged` needs. `pool`: the one whose policy counts, if there is one."""

    judged: Sequence[Judged]
    policy: str = "sequential"
    weights: Mapping[str, float] = {}
    pool: NetworkPool | None = None

    @property
    def candidates(self) -> list[Candidate]:
        return [candidate for candidate, _ in self.judged]

    def place(self, wish: Wish) -> Placement:
        return place_judged(self.judged, wish, self.policy, self.weights)


def candidates_for(view: View, caller: Caller, wish: Wish, project_id: str | None = None) -> Shortlist:
    """Of a pick for a project, the caller's unless said.

    Raises NotFound for a pool, a network or a port that the wish names and the caller does not see.
    """
    look = _Look(view, caller, project_id or caller.project_id, wish)
    if wish.network_id is not None:
        return _shortlist(None, [look.judged(fetch(view, caller, Network, wish.network_id))])
    if wish.pool_id is not None:
        pool = fetch(view, caller, NetworkPool, wish.pool_id)
        return _shortlist(pool, look.members(pool, is_kept=False))
    if not wish.purposes:
        default = default_of(view, look.project_id)
        if isinstance(default, NetworkPool):
            return _shortlist(default, look.members(default, is_kept=False))
        if default is not None:
            return _shortlist(None, look.alone(network.id for network in default))
    usable = usable_pools(view, look.project_id)
    asked = [pool for pool in usable if (wish.takes_purposes(pool.purposes) if wish.purposes else not pool.purposes)]
    found = {judged[0].facts.network_id: judged for judged in look.loose()}
    for pool in reversed([*asked, *(pool for pool in usable if pool not in asked)]):  # of several pools the first has the word
        found |= {judged[0].facts.network_id: judged for judged in look.members(pool, is_kept=pool not in asked)}
    return _shortlist(asked[0] if asked else None, list(found.values()))


def _shortlist(pool: NetworkPool | None, judged: Sequence[Judged]) -> Shortlist:
    return Shortlist(judged) if pool is None else Shortlist(judged, pool.policy, pool.weights, pool)


class _Look:
    """What is the same for all candidates of a pick is found once; what is the same for many picks is noted in the view."""

    def __init__(self, view: View, caller: Caller, project_id: str, wish: Wish) -> None:
        self.view = view
        self.wish = wish
        self.project_id = project_id
        self.as_project = Caller(caller.user_id, project_id)  # an administrator's right to see all does not make networks the project's
        self.may_all = caller.is_admin and wish.pool_id is not None
        agents = list(view.all(Agent))
        self.silent = {agent.host for agent in agents if not agent.alive}
        self.why_not = reachability(agents, wish)
        self.near, self.avoided, self.peers = (
            _networks_of(view, caller, ports) for ports in (wish.affinity, wish.anti_affinity, wish.same_network_as)
        )

    def members(self, pool: NetworkPool, *, is_kept: bool) -> list[Judged]:
        rows = _rows(self.view, pool)

        def note(id: str) -> Judged:
            return self.judged(_network(self.view, id), pool, *rows[id], is_kept=is_kept)

        noted = self._noted((pool.id, self.may_all, is_kept), rows, note)
        share = self._share(pool, noted) if pool.project_share is not None else None
        turns = _turns(self.view, pool, rows) if goes_round(pool) else {}
        return [self._as_of_now(judged, share, turns) for judged in noted] if share is not None or turns else noted

    def alone(self, ids: Iterable[str]) -> list[Judged]:
        """Networks that are looked at as members of no pool."""
        return self._noted(("alone",), ids, lambda network_id: self.judged(_network(self.view, network_id)))

    def loose(self) -> list[Judged]:
        """Networks of no pool, where they are not asked for by a purpose."""
        if self.wish.purposes_any or self.wish.purposes_all:
            return []

        def note(network_id: str) -> bool:
            return can_see(self.view, self.as_project, _network(self.view, network_id))

        sees = self.view.notes(("sees", self.project_id), note)
        return self.alone(network.id for network in self.view.all(Network) if sees[network.id])

    def _noted(self, subject: tuple[object, ...], ids: Iterable[str], note: Callable[[str], Judged]) -> list[Judged]:
        """What the wish says of ports is new for the networks that these are on, and the same for all others."""
        asked = replace(self.wish, count=self.wish.needed, min_count=None, max_skew=None, affinity=(), anti_affinity=(), same_network_as=())
        notes = self.view.notes((*subject, self.project_id, asked, bool(self.wish.affinity)), note)
        named = {*self.near, *self.avoided, *self.peers}
        return [note(id) if id in named else notes[id] for id in ids] if named else [notes[id] for id in ids]

    def _as_of_now(self, judged: Judged, share: Share | None, turns: Mapping[str, int]) -> Judged:
        """With what each pick from the pool changes for all of its members."""
        candidate, refusal = judged
        candidate = replace(candidate, share=share, turn=turns.get(candidate.facts.network_id, 0))
        return candidate, refusal or (judge(candidate, self.wish, SHARE_FILTERS) if share is not None else None)

    def judged(
        self,
        network: Network,
        pool: NetworkPool | None = None,
        position: int = 0,
        member: Member | None = None,
        *,
        is_kept: bool = False,
    ) -> Judged:
        facts = facts_of(self.view, network, self.why_not)
        counts = facts.counts(self.wish.ip_version)
        usage = self.view.get(NetworkUsage, network.id)
        candidate = Candidate(
            facts=facts,
            counts=counts,
            own=network.project_id == self.project_id,
            allowed=pool is None or self._may_have(pool, network),
            pool=(pool.name or pool.id) if pool is not None else "",
            pool_id=pool.id if pool is not None else None,
            priority=position if member is None or member.priority is None else member.priority,
            weight=1.0 if member is None else member.weight,
            cordoned=member.reason if member is not None and member.cordoned else None,
            kept_for=", ".join(pool.purposes) if pool is not None and is_kept else None,
            unreachable=self.why_not(facts.wire),
            silent_host=next(iter(facts.dhcp_hosts), None) if self.silent.issuperset(facts.dhcp_hosts) else None,
            near=not self.wish.affinity or network.id in self.near,
            avoided=self.avoided.get(network.id, 0),
            peers=self.peers.get(network.id, 0),
            floor=max(pool.floor_count, int(pool.floor_ratio * counts.usable)) if pool is not None else 0,
            floor_ratio=pool.floor_ratio if pool is not None else 0.0,
            project_ports=self.view.count(Port, "use", use(self.project_id, network.id)),
            days_left=usage.days_left if usage is not None else None,
        )
        return candidate, judge(candidate, self.wish)

    def _may_have(self, pool: NetworkPool, network: Network) -> bool:
        is_opened = may_use(pool, self.project_id) and opens(pool, network)
        return self.may_all or is_opened or can_see(self.view, self.as_project, network)

    def _share(self, pool: NetworkPool, judged: Sequence[Judged]) -> Share:
        members = {candidate.facts.network_id: candidate for candidate, _ in judged}
        usable = sum(candidate.counts.usable for candidate in members.values())
        has = sum(candidate.project_ports for candidate in members.values())
        picks = self.view.find(NetworkPick, "holder", self.project_id)
        holds = sum(place.network_id in members for pick in picks for place in pick.waiting)
        return Share(pool.id, int((pool.project_share or 0.0) * usable), has + holds)


def _rows(view: View, pool: NetworkPool) -> dict[str, tuple[int, Member]]:
    """Network -> its place and its row. Those that the tags select come last, by name, all in the same place."""
    rows = {member.network_id: (position, member) for position, member in enumerate(pool.members)}
    if pool.member_tags:
        is_selected = view.notes(("selected", pool.id), lambda network_id: selects(pool, _network(view, network_id)))
        selected = [network for network in view.all(Network) if is_selected[network.id] and network.id not in rows]
        selected.sort(key=lambda network: (network.name, network.id))
        rows |= {network.id: (len(pool.members), Member(network.id)) for network in selected}
    return rows


def _turns(view: View, pool: NetworkPool, rows: Iterable[str]) -> dict[str, int]:
    """Network -> how many have their turn before it."""
    ids, last = list(rows), view.get(PoolTurn, pool.id)
    start = ids.index(last.network_id) + 1 if last is not None and last.network_id in ids else 0
    return {id: (position - start) % len(ids) for position, id in enumerate(ids)}


def goes_round(pool: NetworkPool) -> bool:
    return TURN in POLICIES[pool.policy] or TURN in pool.weights


def _network(view: View, id: str) -> Network:
    network = view.get(Network, id)
    assert network is not None, f"a network that is gone has left its pools: {id}"
    return network


def facts_of(view: View, network: Network, why_not: WhyNot = lambda _: None) -> Facts:
    """Where subnets are tied to segments, of those on segments that some host can carry."""
    wire = wire_of(view, network)
    subnets = subnets_for(view, network, why_not)
    return Facts(
        network_id=network.id,
        name=network.name,
        project_id=network.project_id,
        admin_state_up=network.admin_state_up,
        external=network.router_external,
        mtu=network.mtu,
        port_security_enabled=network.port_security_enabled,
        qos_policy_id=network.qos_policy_id,
        dhcp=any(subnet.enable_dhcp for subnet in subnets),
        dhcp_hosts=tuple(port.binding_host_id for port in view.find(Port, "dhcp", network.id)),
        wire=wire,
        ipv4=counts_of(view, subnets, 4),
        ipv6=counts_of(view, subnets, 6),
    )


def subnets_for(view: View, network: Network, why_not: WhyNot) -> list[Subnet]:
    """Those that ports of instances may have addresses of, in order; where no segment with one is carried, of all segments."""
    subnets = [subnet for subnet in subnets_in_order(view, network.id) if is_for_instances(subnet)]
    if network.l2_adjacency:
        return subnets
    reached = {segment.id for segment in view.find(Segment, "network_id", network.id) if why_not((_kind(segment.on_the_wire),)) is None}
    return [subnet for subnet in subnets if subnet.segment_id in reached] or subnets


def wire_of(view: View, network: Network) -> Wire:
    """Its segments; where subnets are tied to some, only these."""
    if network.l2_adjacency:
        return tuple(_kind(segment) for segment in network.on_the_wire)
    segments = view.find(Segment, "network_id", network.id)
    return tuple(_kind(segment.on_the_wire) for segment in segments if view.count(Subnet, "segment_id", segment.id))


def _kind(segment: ProviderSegment) -> tuple[str, str | None]:
    return segment.network_type, segment.physical_network


def is_for_instances(subnet: Subnet) -> bool:
    return not subnet.service_types or any(owner.startswith("compute:") for owner in subnet.service_types)


def _networks_of(view: View, caller: Caller, ports: Iterable[str]) -> dict[str, int]:
    """network -> how many of the ports are on it."""
    found: dict[str, int] = {}
    for id in ports:
        network_id = fetch(view, caller, Port, id).network_id
        found[network_id] = found.get(network_id, 0) + 1
    return found


def reachability(agents: Sequence[Agent], wish: Wish) -> WhyNot:
    """Why no host that the wish leaves can carry such a network. It is not known where none ever registered."""
    hosts = [agent for agent in agents if _is_meant(agent, wish)]
    asked = [f"{word} {value}" for word, value in (("host", wish.host), ("zone", wish.availability_zone)) if value]
    asked += [f"a driver for {wish.instance_driver}"] if wish.instance_driver else []
    known: dict[Wire, str | None] = {}

    def judge(wire: Wire) -> str | None:
        if wish.physical_network is not None and all(physical_network != wish.physical_network for _, physical_network in wire):
            return f"it is not on physical network {wish.physical_network}"
        if not agents and not asked:
            return None
        if not hosts:
            return f"there is no live host with {', '.join(asked)}" if asked else "there is no live host"
        segments = [ProviderSegment(network_type, physical_network) for network_type, physical_network in wire]
        reasons = []
        for agent in hosts:
            refused = [why_not_carried(segment, agent.host, agent.configurations) for segment in segments]
            if None in refused:
                return None
            reasons += [reason for reason in refused if reason is not None]
        return "; ".join(reasons[:3]) + (f"; and so {len(reasons) - 3} more" if len(reasons) > 3 else "")

    def why_not(wire: Wire) -> str | None:
        if wire not in known:
            known[wire] = judge(wire)
        return known[wire]

    return why_not


def _is_meant(agent: Agent, wish: Wish) -> bool:
    return (
        agent.alive
        and wish.host in (None, agent.host)
        and wish.availability_zone in (None, agent.availability_zone)
        and (wish.instance_driver is None or wish.instance_driver in agent.configurations.get("instance_drivers", ()))
    )
