"""What one transaction of the writer does: the same few statements on every database, however many rows.

psycopg sends all rows of a statement in one go, PyMySQL only those of an INSERT. So rows are deleted by a list of their keys, and on
MariaDB they are updated by an INSERT that finds them there. Resources are deleted kind by kind: SQLite has no index for a list of pairs.
"""

from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError

from naru.model.errors import Unavailable
from naru.model.resources import Change, Resource
from naru.store.tables import changes as change_log
from naru.store.tables import claims, lease, resources

Row = dict[str, Any]  # bound parameter -> value

_KEPT_CHANGES = 100_000  # rows of the change log that survive compaction
_MOST_KEYS = 10_000  # in one statement: SQLite takes 32,766 parameters, PostgreSQL 65,535


class Fenced(Unavailable):
    """Another server took the writer's lease: this one must not write any more."""

    def __init__(self) -> None:
        super().__init__("another server has become the writer of this database; send the request there")


class InDoubt(Unavailable):
    """The database went away while it committed: it knows whether it did, we do not."""

    def __init__(self) -> None:
        super().__init__(
            "The database was lost during the commit: whether this was written shows when it is back. Look before you try again."
        )


_hold_lease = update(lease).where(lease.c.epoch == bindparam("mine")).values(revision=bindparam("newest"))
_lock_lease = update(lease).where(lease.c.epoch == bindparam("mine")).values(epoch=lease.c.epoch)
_delete_claims = delete(claims).where(claims.c.claim.in_(bindparam("keys", expanding=True)))
_delete_resources = delete(resources).where(resources.c.kind == bindparam("of_kind"), resources.c.id.in_(bindparam("keys", expanding=True)))
_insert_resource, _insert_claim, _insert_change = insert(resources), insert(claims), insert(change_log)
_update_resource = (
    update(resources)
    .where(resources.c.kind == bindparam("of_kind"), resources.c.id == bindparam("of_id"))
    .values(project_id=bindparam("of_project"), document=bindparam("now"))
)
_found_there = mysql.insert(resources).values(
    kind=bindparam("of_kind"), id=bindparam("of_id"), project_id=bindparam("of_project"), document=bindparam("now")
)
_UPDATES: dict[str, Any] = {
    "mysql": _found_there.on_duplicate_key_update(project_id=_found_there.inserted.project_id, document=_found_there.inserted.document)
}


def confirm_lease(connection: Connection, epoch: int) -> None:
    """Raises Fenced where the lease is another's."""
    newest = connection.execute(select(lease.c.epoch)).scalar()
    connection.rollback()
    if newest != epoch:
        raise Fenced


def lock_lease(connection: Connection, epoch: int) -> None:
    """Wait for a commit of ours that is still under way, and let nobody else commit until this transaction ends.

    Raises Fenced where the lease is another's.
    """
    if connection.execute(_lock_lease, {"mine": epoch}).rowcount != 1:
        raise Fenced


def save(connection: Connection, epoch: int, revision: int, changes: list[Change], stored: list[bytes | None]) -> None:
    """One transaction: the net effect on resources and claims, and every change in the log, after `revision`.

    Raises Fenced, InDoubt, or DBAPIError; then, but for InDoubt, nothing was written.
    """
    fence = connection.execute(_hold_lease, {"mine": epoch, "newest": revision + len(changes)})
    if fence.rowcount != 1:
        raise Fenced
    effect = _net_effect(changes, stored)
    _delete(connection, _delete_claims, effect.unclaimed)
    for kind, ids in effect.removed.items():
        _delete(connection, _delete_resources, ids, of_kind=kind)
    for statement, rows in (
        (_UPDATES.get(connection.dialect.name, _update_resource), effect.updated),
        (_insert_resource, effect.added),
        (_insert_claim, effect.claimed),
        (_insert_change, _log(revision, changes, stored)),
    ):
        if rows:
            connection.execute(statement, rows)
    if (revision + len(changes)) // 10_000 > revision // 10_000:
        connection.execute(delete(change_log).where(change_log.c.revision <= revision - _KEPT_CHANGES))
    try:
        connection.commit()
    except DBAPIError as error:
        if error.connection_invalidated:
            raise InDoubt from error
        raise


class _Effect(NamedTuple):
    """Rows as the statements above take them."""

    added: list[Row]
    updated: list[Row]
    removed: dict[str, list[str]]  # kind -> ids
    claimed: list[Row]
    unclaimed: list[str]


def _net_effect(changes: list[Change], stored: list[bytes | None]) -> _Effect:
    """What is left to do where one resource was changed several times."""
    first: dict[tuple[str, str], Resource | None] = {}
    last: dict[tuple[str, str], tuple[Resource | None, bytes | None]] = {}
    for change, document in zip(changes, stored, strict=True):
        key = (change.resource.kind, change.resource.id)
        first.setdefault(key, change.before)
        last[key] = (change.after, document)

    effect = _Effect([], [], {}, [], [])
    for (kind, id), (after, document) in last.items():
        before = first[kind, id]
        if after is not None and before is None:
            effect.added.append({"kind": kind, "id": id, "project_id": after.project_id or "", "document": document})
        elif after is not None:
            effect.updated.append({"of_kind": kind, "of_id": id, "of_project": after.project_id or "", "now": document})
        elif before is not None:
            effect.removed.setdefault(kind, []).append(id)
        old = set(before.claims()) if before is not None else set()
        new = set(after.claims()) if after is not None else set()
        effect.unclaimed.extend(old - new)
        effect.claimed.extend({"claim": claim, "resource_id": id} for claim in new - old)
    return effect


def _log(revision: int, changes: list[Change], stored: list[bytes | None]) -> list[Row]:
    return [
        {"revision": number, "kind": change.resource.kind, "resource_id": change.resource.id, "document": document}
        for number, (change, document) in enumerate(zip(changes, stored, strict=True), revision + 1)
    ]


def _delete(connection: Connection, statement: Any, keys: list[str], **rest: str) -> None:
    for start in range(0, len(keys), _MOST_KEYS):
        connection.execute(statement, {"keys": keys[start : start + _MOST_KEYS], **rest})
