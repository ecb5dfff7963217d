"""First tables: resources, claims, changes, lease."""

import sqlalchemy as sa
from alembic import op

from naru.store.tables import IN_BYTES

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "resources",
        sa.Column("kind", sa.String(32), primary_key=True),
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("project_id", sa.String(255), nullable=False),
        sa.Column("document", sa.LargeBinary(2**24), nullable=False),
        **IN_BYTES,
    )
    op.create_table(
        "claims",
        sa.Column("claim", sa.String(512), primary_key=True),  # SQLite, which was there before the others, does not count
        sa.Column("resource_id", sa.String(64), nullable=False),
        sqlite_with_rowid=False,
        **IN_BYTES,
    )
    op.create_table(
        "changes",
        sa.Column("revision", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("resource_id", sa.String(64), nullable=False),
        sa.Column("document", sa.LargeBinary(2**24)),
        **IN_BYTES,
    )
    lease = op.create_table(
        "lease", sa.Column("id", sa.Integer, primary_key=True), sa.Column("epoch", sa.Integer, nullable=False), **IN_BYTES
    )
    op.bulk_insert(lease, [{"id": 1, "epoch": 0}])
