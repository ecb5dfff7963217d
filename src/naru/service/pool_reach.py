"""Which networks a project reaches through pools: visible by id, and its ports may be there."""

from collections.abc import Iterator

from naru.model.attributes import TAG_TESTS
from naru.model.network_pools import NetworkPool
from naru.model.resources import Network
from naru.model.view import View


def may_use(pool: NetworkPool, project_id: str) -> bool:
    return bool(project_id) and (pool.project_id == project_id or pool.shared or project_id in pool.shared_with)


def opens(pool: NetworkPool, network: Network) -> bool:
    """Who may use the pool may use this member: nobody hands on what was only shared with him."""
    return pool.of_operator or network.project_id == pool.project_id


def usable_pools(view: View, project_id: str) -> list[NetworkPool]:
    """The project's own first, then by name."""
    pools = (pool for pool in view.all(NetworkPool) if may_use(pool, project_id))
    return sorted(pools, key=lambda pool: (pool.project_id != project_id, pool.name, pool.id))


def pool_of(view: View, project_id: str) -> NetworkPool | None:
    """By which a pick goes that wishes for nothing: the default one, else the first that is kept for no purpose."""
    pools = usable_pools(view, project_id)
    return next((pool for pool in pools if pool.is_default), None) or next((pool for pool in pools if not pool.purposes), None)


def default_of(view: View, project_id: str) -> NetworkPool | list[Network] | None:
    """What a project gets that asks for nothing: its default pool, else its default networks, else those that are shared with everyone.

    What one project shares with another is no default there: nobody lures the ports of others onto his network.
    """
    pools = [pool for pool in usable_pools(view, project_id) if pool.is_default]
    own = next((pool for pool in pools if pool.project_id == project_id), None)
    shared = [network for network in view.find(Network, "shared_default", "*") if network.project_id != project_id]
    return own or list(view.find(Network, "project_default", project_id)) or next(iter(pools), None) or shared or None


def selects(pool: NetworkPool, network: Network) -> bool:
    """The tags say that it is a member."""
    tags = frozenset(network.tags)
    return bool(pool.member_tags) and all(TAG_TESTS[word](frozenset(asked), tags) for word, asked in pool.member_tags.items())


def pools_with(view: View, network: Network) -> Iterator[NetworkPool]:
    yield from view.find(NetworkPool, "network_id", network.id)
    yield from (pool for pool in view.find(NetworkPool, "by_tags", "*") if selects(pool, network))


def is_reached(view: View, project_id: str, network: Network) -> bool:
    return any(may_use(pool, project_id) and opens(pool, network) for pool in pools_with(view, network))


def is_reached_in_hiding(view: View, project_id: str, network: Network) -> bool:
    """By hidden pools alone."""
    return all(pool.hidden for pool in pools_with(view, network) if may_use(pool, project_id) and opens(pool, network))


def member_networks(view: View, pool: NetworkPool) -> list[Network]:
    """Those that it names, then those that its tags select."""
    named = {member.network_id: view.get(Network, member.network_id) for member in pool.members}
    networks = [network for network in named.values() if network is not None]
    return networks + [network for network in view.all(Network) if network.id not in named and selects(pool, network)]
