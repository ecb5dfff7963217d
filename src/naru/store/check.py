"""Is the database in itself right? Reads only; what it finds wrong is named, nothing is repaired."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import DBAPIError

from naru.model.identity import ApplicationCredential, Project, Token, User
from naru.model.kinds import KINDS
from naru.model.network_pools import NetworkPool, PoolTurn
from naru.model.resources import Network, Port, Resource, Subnet
from naru.model.security import AddressGroup, SecurityGroup, SecurityGroupRule
from naru.store.database import is_current, open_database, schema_revision
from naru.store.documents import restore
from naru.store.tables import changes, claims, resources


def check_database(url: str) -> tuple[int, list[str]]:
    """-> how many resources there are, and a sentence for each fault. A server may run meanwhile."""
    engine = open_database(url)
    file = engine.url.database if engine.dialect.name == "sqlite" else None
    if file is not None and not Path(file).exists():
        return 0, [f"there is no database at {file}"]
    try:
        if not is_current(engine):
            return 0, [f"the schema is at revision {schema_revision(engine)}, not at this version's: run `naru db upgrade`"]
        return _check(engine)
    except DBAPIError as error:
        return 0, [f"the database cannot be read: {error.orig}"]
    finally:
        engine.dispose()


def _check(engine: Engine) -> tuple[int, list[str]]:
    with engine.connect() as connection:
        _read_one_moment(connection)
        kept, faults = _restore(connection)
        faults += _claim_faults(connection, kept)
        faults += _address_faults(kept)
        faults += _reference_faults(kept)
        faults += _log_faults(connection)
    return len(kept), faults


def _read_one_moment(connection: Connection) -> None:
    """All that is read from here on is of one moment, though a server may be writing."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN")
    else:
        connection.execution_options(isolation_level="REPEATABLE READ")


def _restore(connection: Connection) -> tuple[list[Resource], list[str]]:
    kept: list[Resource] = []
    faults = []
    for kind, id, document in connection.execute(select(resources.c.kind, resources.c.id, resources.c.document)):
        try:
            kept.append(restore(KINDS[kind], document))
        except (KeyError, msgspec.MsgspecError) as error:
            faults.append(f"{kind} {id} cannot be read: {error!r}")
    return kept, faults


def _claim_faults(connection: Connection, kept: Iterable[Resource]) -> Iterator[str]:
    """Each claim of each resource is in the table, and nothing else is."""
    held = {(claim, id) for claim, id in connection.execute(select(claims.c.claim, claims.c.resource_id))}
    wanted = {(claim, resource.id) for resource in kept for claim in resource.claims()}
    yield from (f"{id} does not hold its claim {claim}" for claim, id in sorted(wanted - held))
    yield from (f"{id} holds the claim {claim}, which is not its own" for claim, id in sorted(held - wanted))


def _address_faults(kept: Iterable[Resource]) -> Iterator[str]:
    """Counted on the ports themselves: this is the promise, the claims are how it is kept."""
    taken = Counter((ip.subnet_id, ip.ip_address) for port in kept if isinstance(port, Port) for ip in port.fixed_ips)
    for (subnet_id, address), times in sorted(taken.items()):
        if times > 1:
            yield f"address {address} of subnet {subnet_id} was given {times} times"


def _reference_faults(kept: Iterable[Resource]) -> Iterator[str]:
    """What a resource names is there."""
    ids: dict[type[Resource], set[str]] = defaultdict(set)
    for resource in kept:
        ids[type(resource)].add(resource.id)
    for resource in kept:
        for kind, id in _references(resource):
            if id not in ids[kind]:
                yield f"{resource.kind} {resource.id} names {kind.kind} {id}, which is not there"


def _references(resource: Resource) -> Iterator[tuple[type[Resource], str]]:
    match resource:
        case Subnet():
            yield Network, resource.network_id
        case Port():
            yield Network, resource.network_id
            yield from ((Subnet, ip.subnet_id) for ip in resource.fixed_ips)
            yield from ((SecurityGroup, id) for id in resource.security_groups)
        case SecurityGroupRule():
            yield SecurityGroup, resource.security_group_id
            yield from ((SecurityGroup, id) for id in (resource.remote_group_id,) if id is not None)
            yield from ((AddressGroup, id) for id in (resource.remote_address_group_id,) if id is not None)
        case NetworkPool():
            yield from ((Network, member.network_id) for member in resource.members)
        case PoolTurn():
            yield NetworkPool, resource.id
        case ApplicationCredential():
            yield User, resource.user_id
            yield Project, resource.project_id
        case Token():
            yield User, resource.user_id
            if resource.project_id:
                yield Project, resource.project_id


def _log_faults(connection: Connection) -> Iterator[str]:
    """The newest change of each resource in the log is the resource as it is kept. Older ones may have been compacted away."""
    newest = select(func.max(changes.c.revision)).group_by(changes.c.kind, changes.c.resource_id)
    logged = select(changes.c.kind, changes.c.resource_id, changes.c.document).where(changes.c.revision.in_(newest))
    last_logged = {(kind, id): document for kind, id, document in connection.execute(logged)}
    everything = select(resources.c.kind, resources.c.id, resources.c.document)
    kept = {(kind, id): document for kind, id, document in connection.execute(everything)}
    oldest, newest_revision, count = connection.execute(
        select(func.min(changes.c.revision), func.max(changes.c.revision), func.count())
    ).one()
    for key, document in last_logged.items():
        if kept.get(key) != document:
            yield f"the change log and the resources disagree on {' '.join(key)}"
    if oldest in (None, 1):
        yield from (f"the change log knows nothing of {' '.join(key)}" for key in sorted(kept.keys() - last_logged.keys()))
    if count and newest_revision - oldest + 1 != count:
        yield f"the change log has gaps: {count} rows for the revisions {oldest} to {newest_revision}"
