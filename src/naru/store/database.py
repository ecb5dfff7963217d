"""Opening the database: engine options per dialect, schema migrations, the writer's epoch.

SQLite runs in WAL mode with synchronous=FULL: a commit is on disk before it returns
(https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select, text

from naru.model.errors import NaruError
from naru.store.tables import lease

_HEAD = "0001"  # the newest revision in migrations/versions; a test holds it against Alembic's own answer


class DatabaseError(NaruError):
    """The database cannot be opened, or its schema is of a newer version of Naru."""


def open_database(url: str) -> Engine:
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA wal_autocheckpoint=4000")  # pages of 4 KiB: whoever writes when it is reached waits for the copying


def schema_revision(engine: Engine) -> str | None:
    """The revision that the database is at; None for an empty one."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def is_current(engine: Engine) -> bool:
    """Whether the schema is at the newest revision that this version knows."""
    return schema_revision(engine) == _HEAD


def upgrade(engine: Engine) -> bool:
    """Bring the schema to the newest revision. -> whether anything had to be done.

    Alembic is imported only when there is something to do, which keeps a normal start quick.
    Raises DatabaseError when the database is newer than this program.
    """
    if is_current(engine):
        return False
    from alembic import command  # noqa: PLC0415  (see above)
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise DatabaseError(
                f"the database {engine.url.render_as_string()} is at a revision that this version of Naru does not know ({error}); "
                "run the version that wrote it, or restore a backup"
            ) from error
    return True


def take_lease(connection: Connection) -> int:
    """Become the writer. -> the new epoch; whoever wrote before fails its next commit."""
    epoch = (connection.execute(select(lease.c.epoch)).scalar() or 0) + 1
    connection.execute(lease.update().values(epoch=epoch))
    return epoch
