"""`naru db check` finds what is wrong in a database: each fault is made by hand in one that was right."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from naru.model.resources import Change, FixedIp, Network, Port, Subnet, put
from naru.model.segments import Segment
from naru.store.check import check_database
from naru.store.store import Store

RESOURCES = (
    Network(id="n1", provider_network_type="vxlan", provider_segmentation_id=7),
    Segment(id="g1", network_id="n1", network_type="vxlan", segmentation_id=7),
    Subnet(id="s1", network_id="n1", ip_version=4, cidr="10.0.0.0/28"),
    Port(id="p1", network_id="n1", mac_address="fa:16:3e:00:00:01", fixed_ips=(FixedIp("s1", "10.0.0.3"),)),
    Port(id="p2", network_id="n1", mac_address="fa:16:3e:00:00:02", fixed_ips=(FixedIp("s1", "10.0.0.4"),)),
)


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    async def fill() -> None:
        store = Store(f"sqlite:///{tmp_path}/naru.db")
        store.start()

        def plan(_view: object) -> Iterator[Change]:
            yield from map(put, RESOURCES)

        await store.write(plan)  # type: ignore[arg-type]
        store.stop()

    asyncio.run(fill())
    return tmp_path


def faults_after(state_dir: Path, *statements: str) -> list[str]:
    with sqlite3.connect(state_dir / "naru.db") as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount != 0
    connection.close()
    return check_database(f"sqlite:///{state_dir}/naru.db")[1]


def both(old: str, new: str, id: str) -> tuple[str, str]:
    """Statements that change a document in the table and in the log."""
    change = f"SET document = CAST(replace(CAST(document AS TEXT), '{old}', '{new}') AS BLOB)"
    return f"UPDATE resources {change} WHERE id = '{id}'", f"UPDATE changes {change} WHERE resource_id = '{id}'"


def test_a_right_database_has_no_fault(state_dir):
    assert check_database(f"sqlite:///{state_dir}/naru.db") == (5, [])


def test_a_claim_that_is_missing_and_one_too_many(state_dir):
    missing, extra = faults_after(
        state_dir, "DELETE FROM claims WHERE claim LIKE 'segment/%'", "INSERT INTO claims VALUES ('address/s1/10.0.0.9', 'p1')"
    )
    assert missing == "g1 does not hold its claim segment/vxlan//7"
    assert extra == "p1 holds the claim address/s1/10.0.0.9, which is not its own"


def test_an_address_that_was_given_twice(state_dir):
    faults = faults_after(state_dir, *both("10.0.0.4", "10.0.0.3", "p2"))
    assert "address 10.0.0.3 of subnet s1 was given 2 times" in faults


def test_a_network_that_is_not_there(state_dir):
    faults = faults_after(state_dir, *both('"network_id":"n1"', '"network_id":"n9"', "s1"))
    assert faults == ["Subnet s1 names Network n9, which is not there"]


def test_a_security_group_that_is_not_there(state_dir):
    faults = faults_after(state_dir, *both('"security_groups":[]', '"security_groups":["g9"]', "p1"))
    assert faults == ["Port p1 names SecurityGroup g9, which is not there"]


def test_a_log_that_disagrees_or_has_lost_something(state_dir):
    faults = faults_after(
        state_dir, "DELETE FROM changes WHERE resource_id = 'p1'", "UPDATE changes SET document = NULL WHERE resource_id = 'p2'"
    )
    assert faults == [
        "the change log and the resources disagree on Port p2",
        "the change log knows nothing of Port p1",
        "the change log has gaps: 4 rows for the revisions 1 to 5",
    ]


def test_a_document_that_cannot_be_read(state_dir):
    (unreadable, *_) = faults_after(state_dir, "UPDATE resources SET document = x'7b' WHERE id = 'p1'")
    assert unreadable.startswith("Port p1 cannot be read: ")


def run_check(state_dir: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "naru", "db", "check", "--state-dir", str(state_dir)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_says_ok_in_one_line(state_dir):
    done = run_check(state_dir)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "OK: 5 resources; every claim is held, no address was given twice, the change log is complete.\n"


def test_the_command_fails_for_a_fault_or_where_there_is_nothing(state_dir, tmp_path):
    faults_after(state_dir, "DELETE FROM claims WHERE claim LIKE 'segment/%'")
    done = run_check(state_dir)
    assert (done.returncode, done.stderr) == (1, "g1 does not hold its claim segment/vxlan//7\n")

    nowhere = run_check(tmp_path / "nowhere")
    assert (nowhere.returncode, nowhere.stderr) == (1, f"there is no database at {tmp_path}/nowhere/naru.db\n")
    assert not (tmp_path / "nowhere").exists()
