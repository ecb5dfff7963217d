"""Opening the database: engine options per dialect, schema migrations, the writer's epoch.

SQLite runs in WAL mode with synchronous=FULL: a commit is on disk before it returns
(https://www.sqlite.org/pragma.html#pragma_synchronous). On PostgreSQL and MariaDB that is the operator's to set; `durability_gaps`
says where he did not. Both read what is committed: whoever waited for the lease must see what was written meanwhile.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Column, Connection, Engine, MetaData, String, Table, create_engine, event, inspect, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError

from naru.model.errors import NaruError
from naru.store.tables import lease, metadata

# How a database may be called -> what SQLAlchemy calls it and the driver; it asks a "mysql" whether it is MariaDB.
_DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "mariadb": "mysql+pymysql",
    "mariadb+pymysql": "mysql+pymysql",
    "mysql": "mysql+pymysql",
    "mysql+pymysql": "mysql+pymysql",
}
_EXTRAS = {"psycopg": "postgresql", "pymysql": "mariadb"}  # module -> what `pip install naru[…]` calls it

# A database that fell silent is given up after half a minute. What the URL says goes before these.
# https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
# https://pymysql.readthedocs.io/en/latest/modules/connections.html
_CONNECT: Mapping[str, Mapping[str, Any]] = {
    "sqlite": {},
    "postgresql": {
        "connect_timeout": 10,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 4,
        "tcp_user_timeout": 30_000,  # ms
    },
    "mysql": {
        "connect_timeout": 10,
        "read_timeout": 30,
        "write_timeout": 30,
        "sql_mode": "STRICT_ALL_TABLES",  # whatever is too long is refused, not cut
    },
}

# What a server must not be set to: a commit would be answered before it is on disk.
_UNSAFE: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "postgresql": {"fsync": ("off",), "synchronous_commit": ("off",), "full_page_writes": ("off",)},
    "mysql": {"innodb_flush_log_at_trx_commit": ("0", "2"), "innodb_doublewrite": ("0", "OFF")},
}

_HEAD = "0002"  # the newest revision in migrations/versions; a test holds it against Alembic's own answer
_stamp = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))  # as Alembic makes it


class DatabaseError(NaruError):
    """The database cannot be opened, or its schema is of a newer version of Naru."""


def open_database(url: str) -> Engine:
    """Nothing is connected yet. Raises DatabaseError for a URL that is none, or whose driver is not installed."""
    parsed = _parse(url)
    dialect = parsed.get_backend_name()
    given = {key: value for key, value in _CONNECT[dialect].items() if key not in parsed.query}
    try:
        if dialect != "sqlite":
            return create_engine(parsed, connect_args=given, isolation_level="READ COMMITTED")
        engine = create_engine(parsed)
    except ModuleNotFoundError as error:
        install = f"pip install 'naru[{_EXTRAS.get(error.name or '', 'server')}]'"
        raise DatabaseError(f"the database {display_name(parsed)} needs {error.name}, which is not installed: {install}") from error
    event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        return parsed.set(drivername=_DRIVERS[parsed.drivername])
    except (ArgumentError, KeyError, ValueError):  # whose texts repeat the URL, and a password may be in it
        raise DatabaseError(
            "database_url is none that Naru knows: it is sqlite:///FILE, postgresql://USER:PASSWORD@HOST/NAME or mariadb://USER:PASSWORD@HOST/NAME"
        ) from None


def display_name(url: URL) -> str:
    """For messages: no password, wherever it stands."""
    return url.set(query={}).render_as_string()


def unusable(engine: Engine, error: DBAPIError) -> DatabaseError:
    return DatabaseError(f"cannot use the database {display_name(engine.url)}: {error.orig}")


def durability_gaps(engine: Engine) -> Iterator[str]:
    """`name=value` of each setting of the server by which it may lose a commit that it has confirmed."""
    for name, unsafe in _UNSAFE.get(engine.dialect.name, {}).items():
        ask = f"SHOW {name}" if engine.dialect.name == "postgresql" else f"SELECT @@{name}"
        with engine.connect() as connection:
            value = str(connection.exec_driver_sql(ask).scalar())
        if value in unsafe:
            yield f"{name}={value}"


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
        return connection.execute(select(_stamp.c.version_num)).scalar()


def is_current(engine: Engine) -> bool:
    """Whether the schema is at the newest revision that this version knows."""
    return schema_revision(engine) == _HEAD


def upgrade(engine: Engine) -> bool:
    """Bring the schema to the newest revision. -> whether anything had to be done.

    Raises DatabaseError when the database cannot be used or is newer than this program.
    """
    _make_private(engine)
    try:
        revision = schema_revision(engine)
        if revision is None:
            _create(engine)
        elif revision != _HEAD:
            migrate(engine)
    except DBAPIError as error:
        raise unusable(engine, error) from error
    return revision != _HEAD


def _make_private(engine: Engine) -> None:
    """A new file is its owner's alone (0600), for digests of passwords are in it; SQLite gives the same rights to those beside it."""
    file = engine.url.database or ""
    if engine.dialect.name != "sqlite" or file.startswith((":", "file:")):
        return
    with contextlib.suppress(OSError):  # it is there; or SQLite will say why it cannot be
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _create(engine: Engine) -> None:
    """All tables at once, as the migrations make them one after the other; what an interrupted start made is taken as it is."""
    with engine.begin() as connection:
        metadata.create_all(connection)
        if not connection.execute(select(lease.c.id)).all():
            connection.execute(lease.insert(), {"id": 1, "epoch": 0, "revision": 0})
        _stamp.create(connection)
        connection.execute(_stamp.insert(), {"version_num": _HEAD})


def migrate(engine: Engine) -> None:
    """From any revision, also from an empty database. Alembic is imported only here, which keeps a start quick."""
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
                f"the database {display_name(engine.url)} is at a revision that this version of Naru does not know ({error}); "
                "run the version that wrote it, or restore a backup"
            ) from error


def take_lease(connection: Connection) -> int:
    """Become the writer. -> the new epoch; whoever wrote before fails its next commit.

    The update comes first: it waits for a commit that is under way, and what is read afterwards has it.
    """
    connection.execute(lease.update().values(epoch=lease.c.epoch + 1))
    epoch: int = connection.execute(select(lease.c.epoch)).scalar_one()
    return epoch
