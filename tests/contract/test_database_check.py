"""`naru db check` finds what is wrong in a database: each fault is made by hand in one that was right."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Executable, LargeBinary, delete, insert, make_url, select, update

from databases import ENGINES, Databases
from naru.model.resources import Change, FixedIp, Network, Port, Subnet, put
from naru.model.segments import Segment
from naru.store import database
from naru.store.check import check_database
from naru.store.database import DatabaseError, durability_gaps, migrate, open_database, upgrade
from naru.store.store import Store
from naru.store.tables import changes, claims, lease, metadata, resources
from serving import Serving

RESOURCES = (
    Network(id="n1", provider_network_type="vxlan", provider_segmentation_id=7),
    Segment(id="g1", network_id="n1", network_type="vxlan", segmentation_id=7),
    Subnet(id="s1", network_id="n1", ip_version=4, cidr="10.0.0.0/28"),
    Port(id="p1", network_id="n1", mac_address="fa:16:3e:00:00:01", fixed_ips=(FixedIp("s1", "10.0.0.3"),)),
    Port(id="p2", network_id="n1", mac_address="fa:16:3e:00:00:02", fixed_ips=(FixedIp("s1", "10.0.0.4"),)),
)


@pytest.fixture(params=ENGINES)
def url(request: pytest.FixtureRequest, databases: Databases, tmp_path: Path) -> str:
    """A database that holds `RESOURCES`."""
    url = databases.new(request.param, tmp_path)

    async def fill() -> None:
        store = Store(url)
        store.start()

        def plan(_view: object) -> Iterator[Change]:
            yield from map(put, RESOURCES)

        await store.write(plan)  # type: ignore[arg-type]
        store.stop()

    asyncio.run(fill())
    return url


def faults_after(url: str, *statements: Executable) -> list[str]:
    engine = open_database(url)
    with engine.begin() as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount != 0
    engine.dispose()
    return check_database(url)[1]


def rewritten(url: str, id: str, old: str, new: str) -> tuple[Executable, Executable]:
    """Statements that change a document in the table and in the log."""
    engine = open_database(url)
    with engine.connect() as connection:
        document = connection.execute(select(resources.c.document).where(resources.c.id == id)).scalar_one()
    engine.dispose()
    changed = document.replace(old.encode(), new.encode())
    assert changed != document
    return (
        update(resources).where(resources.c.id == id).values(document=changed),
        update(changes).where(changes.c.resource_id == id).values(document=changed),
    )


without_segment_claim = delete(claims).where(claims.c.claim.startswith("segment/"))


def test_a_right_database_has_no_fault(url: str):
    assert check_database(url) == (5, [])


def test_a_claim_that_is_missing_and_one_too_many(url: str):
    missing, extra = faults_after(url, without_segment_claim, insert(claims).values(claim="address/s1/10.0.0.9", resource_id="p1"))
    assert missing == "g1 does not hold its claim segment/vxlan//7"
    assert extra == "p1 holds the claim address/s1/10.0.0.9, which is not its own"


def test_an_address_that_was_given_twice(url: str):
    faults = faults_after(url, *rewritten(url, "p2", "10.0.0.4", "10.0.0.3"))
    assert "address 10.0.0.3 of subnet s1 was given 2 times" in faults


def test_a_network_that_is_not_there(url: str):
    faults = faults_after(url, *rewritten(url, "s1", '"network_id":"n1"', '"network_id":"n9"'))
    assert faults == ["Subnet s1 names Network n9, which is not there"]


def test_a_security_group_that_is_not_there(url: str):
    faults = faults_after(url, *rewritten(url, "p1", '"security_groups":[]', '"security_groups":["g9"]'))
    assert faults == ["Port p1 names SecurityGroup g9, which is not there"]


def test_a_log_that_disagrees_or_has_lost_something(url: str):
    faults = faults_after(
        url,
        delete(changes).where(changes.c.resource_id == "p1"),
        update(changes).where(changes.c.resource_id == "p2").values(document=None),
    )
    assert faults == [
        "the change log and the resources disagree on Port p2",
        "the change log knows nothing of Port p1",
        "the change log has gaps: 4 rows for the revisions 1 to 5",
    ]


def test_a_document_that_cannot_be_read(url: str):
    (unreadable, *_) = faults_after(url, update(resources).where(resources.c.id == "p1").values(document=b"{"))
    assert unreadable.startswith("Port p1 cannot be read: ")


def run_db(verb: str, state_dir: Path, url: str = "") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "naru", "db", verb, "--state-dir", str(state_dir)]
    environ = os.environ | {"NARU_DATABASE_URL": url}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_says_ok_in_one_line(url: str, tmp_path: Path):
    done = run_db("check", tmp_path, url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "OK: 5 resources; every claim is held, no address was given twice, the change log is complete.\n"


def test_the_command_fails_for_a_fault_or_where_there_is_nothing(url: str, tmp_path: Path):
    faults_after(url, without_segment_claim)
    done = run_db("check", tmp_path, url)
    assert (done.returncode, done.stderr) == (1, "g1 does not hold its claim segment/vxlan//7\n")

    nowhere = run_db("check", tmp_path / "nowhere")
    assert (nowhere.returncode, nowhere.stderr) == (1, f"there is no database at {tmp_path}/nowhere/naru.db\n")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("engine", ENGINES)
def test_an_empty_database_is_upgraded_once(engine: str, databases: Databases, tmp_path: Path):
    url = databases.new(engine, tmp_path)
    if engine != "sqlite":
        assert "the schema is at revision None" in run_db("check", tmp_path, url).stderr
    assert [run_db("upgrade", tmp_path, url).stdout for _ in range(2)] == ["The schema was upgraded.\n", "The schema was up to date.\n"]
    assert check_database(url) == (0, [])


@pytest.mark.parametrize("engine", ENGINES)
def test_the_tables_are_what_the_migrations_make(engine: str, databases: Databases, tmp_path: Path):
    opened = open_database(databases.new(engine, tmp_path))
    migrate(opened)
    options = {"compare_type": lambda *found: False if isinstance(found[-1], LargeBinary) else None}  # MariaDB chooses the BLOB by its size
    with opened.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
    opened.dispose()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_new_database_is_at_the_newest_revision(engine: str, databases: Databases, tmp_path: Path):
    opened = open_database(databases.new(engine, tmp_path))
    upgrade(opened)
    with opened.connect() as connection:
        context = MigrationContext.configure(connection)
        assert context.get_current_revision() == ScriptDirectory(str(Path(database.__file__).parent / "migrations")).get_current_head()
        assert [row._asdict() for row in connection.execute(lease.select())] == [{"id": 1, "epoch": 0, "revision": 0}]
    migrate(opened)  # finds nothing to do
    opened.dispose()


UNSAFE = {
    "postgresql": ({"options": "-c synchronous_commit=off"}, "synchronous_commit=off"),
    "mariadb": ({"init_command": "SET GLOBAL innodb_flush_log_at_trx_commit=2"}, "innodb_flush_log_at_trx_commit=2"),
}


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_a_server_warns_of_a_database_that_may_lose_what_it_confirmed(engine: str, databases: Databases, tmp_path: Path):
    url, (query, gap) = databases.new(engine, tmp_path), UNSAFE[engine]
    opened = open_database(url)
    assert list(durability_gaps(opened)) == []
    try:
        unsafe = make_url(url).update_query_dict(query).render_as_string(hide_password=False)
        with Serving(tmp_path, NARU_DATABASE_URL=unsafe) as serving:
            assert f"settings=['{gap}']" in serving.log()
    finally:
        if engine == "mariadb":  # the server is everybody's
            with opened.connect() as connection:
                connection.exec_driver_sql("SET GLOBAL innodb_flush_log_at_trx_commit=1")
        opened.dispose()


@pytest.mark.parametrize("scheme", ["postgresql", "mariadb", "mysql", "postgresql+psycopg"])
def test_a_password_is_in_no_message(scheme: str, tmp_path: Path):
    url = f"{scheme}://naru:geheim@127.0.0.1:1/naru"
    for done in (run_db("check", tmp_path, url), run_db("upgrade", tmp_path, url)):
        assert done.returncode == 1
        assert "geheim" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "url", ["oracle://naru:geheim@h/naru", "postgresql+asyncpg://naru:geheim@h/naru", "geheim", "://geheim", "mariadb://a:geheim@h:port/n"]
)
def test_a_database_that_naru_does_not_know_is_said_so_without_its_password(url: str):
    with pytest.raises(DatabaseError, match="database_url") as refused:
        open_database(url)
    assert "geheim" not in str(refused.value)
