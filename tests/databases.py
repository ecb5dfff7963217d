"""PostgreSQL and MariaDB as processes of our own, in a folder of their own, reached by a socket in it: nothing of the machine's is used.

They sync to disk as an operator's do. As root they run as nobody, because PostgreSQL refuses root; they end when the tests end.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple, Self

import pytest
from sqlalchemy.exc import DBAPIError

from naru.model.resources import new_id
from naru.store.database import open_database
from naru.testing import eventually


class Kind(NamedTuple):
    """How a database server is set up and run in {folder}, and how it is reached."""

    install: tuple[str, ...]
    run: tuple[str, ...]
    socket: str
    url: str
    first: str  # a database that is there from the beginning
    sigcrash: signal.Signals  # ends it without a chance to tidy up


KINDS = {
    "postgresql": Kind(
        ("initdb", "--pgdata={folder}/data", "--username=naru", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"),
        ("postgres", "-D", "{folder}/data", "-k", "{folder}", "-c", "listen_addresses="),
        "{folder}/.s.PGSQL.5432",
        "postgresql://naru@/{name}?host={folder}",
        "postgres",
        signal.SIGQUIT,  # immediate shutdown: its children end with it, and the next start recovers from the log
    ),
    "mariadb": Kind(
        ("mariadb-install-db", "--no-defaults", "--datadir={folder}/data", "--auth-root-authentication-method=normal", "--skip-test-db"),
        ("mariadbd", "--no-defaults", "--datadir={folder}/data", "--socket={folder}/socket", "--skip-networking"),
        "{folder}/socket",
        "mariadb://root@localhost/{name}?unix_socket={folder}/socket",
        "mysql",
        signal.SIGKILL,
    ),
}
NEEDS = {
    "sqlite": (),
    "postgresql": ("setpriv", "initdb", "postgres"),
    "mariadb": ("setpriv", "mariadb-install-db", "my_print_defaults", "mariadbd"),
}
ENGINES = [pytest.param(name, marks=pytest.mark.needs(*needs)) for name, needs in NEEDS.items()]

_AS_NOBODY = ["--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []


def find_servers() -> None:
    """Look where Debian keeps database servers and what only root needs, too."""
    os.environ["PATH"] = ":".join([os.environ["PATH"], "/usr/sbin", "/sbin", *map(str, Path("/usr/lib/postgresql").glob("*/bin"))])


class DatabaseServer:
    """One of `KINDS` from start to stop."""

    def __init__(self, kind: str, under: Path | None = None, **settings: str) -> None:
        """Set it up in a new folder below `under` and start it. `settings` are the server's own."""
        self._kind = KINDS[kind]
        self._folder = folder = Path(tempfile.mkdtemp(prefix=f"naru-{kind}-", dir=under))
        self.socket = Path(self._kind.socket.format(folder=folder))
        sign = "--" if kind == "mariadb" else "-c"
        self._settings = [f"{sign}{name}={value}" for name, value in settings.items()]
        if _AS_NOBODY:
            shutil.chown(self._folder, "nobody", "nogroup")
        try:
            subprocess.run(self._command(self._kind.install), capture_output=True, check=True, timeout=60, cwd=self._folder)
            self.start()
        except BaseException:
            shutil.rmtree(self._folder)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.send_signal(self._kind.sigcrash)
        self.process.wait(20)
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Return when it answers."""
        with (self._folder / "log").open("ab") as log:
            command = [*self._command(self._kind.run), *self._settings]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)
        eventually(self._answers, within_s=30)

    def crash(self) -> None:
        """What a power cut does to it, but for the disk."""
        self.process.send_signal(self._kind.sigcrash)
        self.process.wait(20)

    def new_database(self) -> str:
        """-> the URL of an empty one."""
        name = f"naru_{new_id().replace('-', '')}"
        engine = open_database(self._url(self._kind.first))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        engine.dispose()
        return self._url(name)

    def _url(self, name: str) -> str:
        return self._kind.url.format(folder=self._folder, name=name)

    def _command(self, argv: tuple[str, ...]) -> list[str]:
        return ["setpriv", "--pdeathsig=QUIT", *_AS_NOBODY, *(argument.format(folder=self._folder) for argument in argv)]

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self._folder / "log").read_text()[-2000:]
        engine = open_database(self._url(self._kind.first))
        try:
            with socket.socket(socket.AF_UNIX) as probe:  # PyMySQL would leave a socket that was refused to the collector
                probe.connect(str(self.socket))
            with engine.connect():
                return True
        except (OSError, DBAPIError):
            return False
        finally:
            engine.dispose()


class Databases:
    """New databases on every engine: one server of a kind for all tests, started by the first that asks."""

    def __init__(self) -> None:
        self.servers: dict[str, DatabaseServer] = {}

    def new(self, engine: str, folder: Path) -> str:
        """-> the URL of an empty one; SQLite's is a file in `folder`."""
        return f"sqlite:///{folder / 'naru.db'}" if engine == "sqlite" else self.server(engine).new_database()

    def server(self, engine: str) -> DatabaseServer:
        if engine not in self.servers:
            self.servers[engine] = DatabaseServer(engine)
        return self.servers[engine]

    def close(self) -> None:
        for server in self.servers.values():
            with server:
                pass
