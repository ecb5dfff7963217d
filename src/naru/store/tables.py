"""The database: every resource as one document, the claims that keep them apart, and the log of changes.

resources  what is, to rebuild the snapshot from
claims     texts that at most one resource may hold: the safety net under the planner
changes    what happened, in order; followers and hosts tail it
lease      who may write: each commit checks that its epoch is still the newest

MariaDB compares texts by `IN_BYTES`, so that no two claims are one because of a capital, an accent or a space at the end.
"""

from typing import Any

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, String, Table

IN_BYTES: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_nopad_bin"}

metadata = MetaData()

resources = Table(
    "resources",
    metadata,
    Column("kind", String(32), primary_key=True),
    Column("id", String(64), primary_key=True),
    Column("project_id", String(255), nullable=False),
    Column("document", LargeBinary(2**24), nullable=False),
    **IN_BYTES,
)

claims = Table(
    "claims",
    metadata,
    Column("claim", String(512), primary_key=True),
    Column("resource_id", String(64), nullable=False),
    sqlite_with_rowid=False,
    **IN_BYTES,
)

changes = Table(
    "changes",
    metadata,
    Column("revision", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("kind", String(32), nullable=False),
    Column("resource_id", String(64), nullable=False),
    Column("document", LargeBinary(2**24)),  # None: removed
    **IN_BYTES,
)

lease = Table(
    "lease",
    metadata,
    Column("id", Integer, primary_key=True),  # always 1
    Column("epoch", Integer, nullable=False),
    Column("revision", BigInteger, nullable=False),  # the newest: each commit changes this row, so two at once cannot both succeed
    **IN_BYTES,
)
