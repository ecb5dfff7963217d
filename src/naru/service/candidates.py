"""The networks that a pick looks at: those of a pool, of the pools for a purpose, or all that the project may use."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from naru.model.agents import Agent
from naru.model.identity import Caller
from naru.model.network_pools import Member, NetworkPool, PoolTurn
from naru.model.provider import ProviderSegment, why_not_carried
from naru.model.resources import Network, Port, Subnet, use
from naru.model.view import View
from naru.schedule.candidates import Candidate, Counts, Facts, Share, Wish
from naru.service.policy import can_see, fetch
from naru.service.pool_reach import may_use, opens, selects

Wire = tuple[tuple[str, str | None], ...]


class Shortlist(msgspec.Struct, frozen=True):
    """What `place` needs. `pool`: the one whose policy counts, if there is one."""

    candidates: tuple[Candidate, ...]
    policy: str = "sequential"
    weights: Mapping[str, float] = {}
    pool: NetworkPool | None = None


def candidates_for(
    view: View, caller: Caller, wish: Wish, project_id: str | None = None, days_left: Mapping[str, float] | None = None
) -> Shortlist:
    """Of a pick for a project, the caller's unless said. `days_left`: network -> days until it is full, by a forecast.

    Raises NotFound for a pool, a network or a port that the wish names and the caller does not see.
    """
    look = _Look(view, caller, project_id or caller.project_id, wish, days_left or {})
    if wish.network_id is not None:
        network = fetch(view, caller, Network, wish.network_id)
        return Shortlist((look.candidate(network, None, 0, allowed=True),))
    if wish.pool_id is not None:
        pool = fetch(view, caller, NetworkPool, wish.pool_id)
        return _shortlist(pool, look.members(pool, is_kept=False))
    usable = sorted((pool for pool in view.all(NetworkPool) if may_use(pool, look.project_id)), key=look.preference)
    if not wish.purposes:
        default = next((pool for pool in usable if pool.is_default), None)
        if default is not None:
            return _shortlist(default, look.members(default, is_kept=False))
    asked = [pool for pool in usable if (wish.takes_purposes(pool.purposes) if wish.purposes else not pool.purposes)]
    found = {candidate.facts.network_id: candidate for candidate in look.loose(wish)}
    for pool in reversed([*asked, *(pool for pool in usable if pool not in asked)]):  # of several pools the first has the word
        found |= {candidate.facts.network_id: candidate for candidate in look.members(pool, is_kept=pool not in asked)}
    return _shortlist(asked[0] if asked else None, found.values())


def _shortlist(pool: NetworkPool | None, candidates: Iterable[Candidate]) -> Shortlist:
    if pool is None:
        return Shortlist(tuple(candidates))
    return Shortlist(tuple(candidates), pool.policy, pool.weights, pool)


class _Look:
    """What is the same for all candidates of a pick is found once."""

    def __init__(self, view: View, caller: Caller, project_id: str, wish: Wish, days_left: Mapping[str, float]) -> None:
        self.view = view
        self.wish = wish
        self.project_id = project_id
        self.days_left = days_left
        self.as_project = Caller(caller.user_id, project_id)  # an administrator's right to see all does not make networks the project's
        self.may_all = caller.is_admin and wish.pool_id is not None
        self.agents = list(view.all(Agent))
        self.silent = {agent.host for agent in self.agents if not agent.alive}
        self.why_not = _reachability(self.agents, wish)
        self.near, self.avoided, self.peers = (
            _networks_of(view, caller, ports) for ports in (wish.affinity, wish.anti_affinity, wish.same_network_as)
        )

    def preference(self, pool: NetworkPool) -> tuple[bool, str, str]:
        return pool.project_id != self.project_id, pool.name, pool.id

    def members(self, pool: NetworkPool, *, is_kept: bool) -> Iterator[Candidate]:
        networks = list(_members(self.view, pool))
        share = self._share(pool, [network for network, _ in networks])
        last = self.view.get(PoolTurn, pool.id)
        ids = [network.id for network, _ in networks]
        start = ids.index(last.network_id) + 1 if last is not None and last.network_id in ids else 0
        for position, (network, member) in enumerate(networks):
            allowed = (
                self.may_all or (may_use(pool, self.project_id) and opens(pool, network)) or can_see(self.view, self.as_project, network)
            )
            turn = (position - start) % len(networks)
            yield self.candidate(network, pool, position, member, share, turn, allowed=allowed, is_kept=is_kept)

    def loose(self, wish: Wish) -> Iterator[Candidate]:
        """Networks of no pool, where they are not asked for by a purpose."""
        if wish.purposes_any or wish.purposes_all:
            return
        for network in self.view.all(Network):
            if can_see(self.view, self.as_project, network):
                yield self.candidate(network, None, 0, allowed=True)

    def candidate(
        self,
        network: Network,
        pool: NetworkPool | None,
        position: int,
        member: Member | None = None,
        share: Share | None = None,
        turn: int = 0,
        *,
        allowed: bool,
        is_kept: bool = False,
    ) -> Candidate:
        facts = facts_of(self.view, network)
        counts = facts.counts(self.wish.ip_version)
        return Candidate(
            facts=facts,
            counts=counts,
            own=network.project_id == self.project_id,
            allowed=allowed,
            pool=(pool.name or pool.id) if pool is not None else "",
            pool_id=pool.id if pool is not None else None,
            priority=position if member is None or member.priority is None else member.priority,
            weight=1.0 if member is None else member.weight,
            cordoned=member.reason if member is not None and member.cordoned else None,
            kept_for=", ".join(pool.purposes) if pool is not None and is_kept else None,
            unreachable=self.why_not(facts.wire),
            silent_host=facts.dhcp_host if facts.dhcp_host in self.silent else None,
            near=not self.wish.affinity or network.id in self.near,
            avoided=self.avoided.get(network.id, 0),
            peers=self.peers.get(network.id, 0),
            floor=max(pool.floor_count, int(pool.floor_ratio * counts.usable)) if pool is not None else 0,
            floor_ratio=pool.floor_ratio if pool is not None else 0.0,
            share=share,
            turn=turn,
            project_ports=self.view.count(Port, "use", use(self.project_id, network.id)),
            days_left=self.days_left.get(network.id),
        )

    def _share(self, pool: NetworkPool, networks: Sequence[Network]) -> Share | None:
        if pool.project_share is None:
            return None
        usable = sum(facts_of(self.view, network).counts(self.wish.ip_version).usable for network in networks)
        used = sum(self.view.count(Port, "use", use(self.project_id, network.id)) for network in networks)
        return Share(pool.id, int(pool.project_share * usable), used)


def _members(view: View, pool: NetworkPool) -> Iterator[tuple[Network, Member | None]]:
    """In their order; those that the tags select come last, by name, all with the priority of the first of them."""
    named = {member.network_id for member in pool.members}
    for member in pool.members:
        network = view.get(Network, member.network_id)
        if network is not None:
            yield network, member
    if pool.member_tags:
        selected = (network for network in view.all(Network) if network.id not in named and selects(pool, network))
        for network in sorted(selected, key=lambda network: (network.name, network.id)):
            yield network, Member(network.id, priority=len(pool.members))


def facts_of(view: View, network: Network) -> Facts:
    subnets = [subnet for subnet in view.find(Subnet, "network_id", network.id) if is_for_instances(subnet)]
    server = next(view.find(Port, "dhcp", network.id), None)
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
        dhcp_host=server.binding_host_id if server is not None else None,
        wire=tuple((segment.network_type, segment.physical_network) for segment in network.on_the_wire),
        ipv4=_counts(view, [subnet for subnet in subnets if subnet.ip_version == 4]),
        ipv6=_counts(view, [subnet for subnet in subnets if subnet.ip_version == 6]),
    )


def is_for_instances(subnet: Subnet) -> bool:
    return not subnet.service_types or any(owner.startswith("compute:") for owner in subnet.service_types)


def _counts(view: View, subnets: Sequence[Subnet]) -> Counts | None:
    if not subnets:
        return None
    spaces = [view.addresses(subnet.id) for subnet in subnets]
    usable, allocated, free = (sum(getattr(space, part) for space in spaces) for part in ("usable", "allocated", "free"))
    held, quarantined = (sum(getattr(space, part, 0) for space in spaces) for part in ("held", "quarantined"))
    return Counts(usable, allocated, held, quarantined, free)


def _networks_of(view: View, caller: Caller, ports: Iterable[str]) -> dict[str, int]:
    """network -> how many of the ports are on it."""
    found: dict[str, int] = {}
    for id in ports:
        network_id = fetch(view, caller, Port, id).network_id
        found[network_id] = found.get(network_id, 0) + 1
    return found


def _reachability(agents: Sequence[Agent], wish: Wish) -> Callable[[Wire], str | None]:
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
