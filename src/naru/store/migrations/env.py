"""Alembic runs the migrations on the connection that `naru.store.database` hands it."""

from alembic import context

from naru.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
