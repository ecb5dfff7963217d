"""The lease knows the newest revision: each commit changes its row."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("lease", sa.Column("revision", sa.BigInteger, nullable=False, server_default="0"))
