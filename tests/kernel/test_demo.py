"""`naru demo` as a newcomer runs it: everything real, and nothing left."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import naru
from machine import WITHOUT_RIGHTS, have_ended, hold, traces
from naru.lab.running import outside_pids

DEMO = [sys.executable, "-m", "naru", "demo"]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    saved = tmp_path_factory.mktemp("saved")
    done = subprocess.run(
        [*DEMO, "--json"], capture_output=True, text=True, timeout=120, check=False, env=os.environ | {"TMPDIR": str(saved)}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(saved.iterdir()) == []
    return json.loads(done.stdout)


def test_every_instance_got_its_address_and_reached_another_host(outcome):
    assert outcome["ok"]
    assert outcome["failures"] == []
    assert len(outcome["instances"]) == 22
    for instance in outcome["instances"]:
        assert instance["failures"] == []
        assert instance["reached"]
        assert instance["host"] in ("compute01", "compute02")


def test_no_address_was_given_twice(outcome):
    assert len({instance["address"] for instance in outcome["instances"]}) == 22


def test_the_split_follows_free_addresses(outcome):
    networks = [instance["network"] for instance in outcome["instances"]]
    free = outcome["free_before"]

    assert free["NET1"] in (11, 12)
    assert networks.count("NET1") == free["NET1"]
    assert networks.count("NET2") == 20 - free["NET1"]
    assert networks.count("MyFlatNetwork") == 2
    assert outcome["free_after"] == {name: free[name] - networks.count(name) for name in free}


def test_every_pick_has_its_reason(outcome):
    on_net2 = [instance["why"] for instance in outcome["instances"] if instance["network"] == "NET2"]
    assert all("NET1: full, 0 of" in why for why in on_net2)


def test_the_demo_prints_a_table_sums_and_a_verdict():
    done = subprocess.run([*DEMO, "--instances", "4"], capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("web04", "flat02", "free addresses of NET1: 12 before, 8 after", "OK: all 6 instances"):
        assert words in done.stdout
    assert "Bringing up three hosts" in done.stderr


def test_it_runs_without_root():
    done = subprocess.run([*WITHOUT_RIGHTS, *DEMO, "--instances", "4"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def run_with(replaced, replacement, saved):
    """The demo, for which alone one file of ours reads as another."""
    swap = 'mount --bind "$1" "$2"; shift 2; exec "$@"'
    alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", swap, "sh", str(replacement), str(replaced)]
    environ = os.environ | {"TMPDIR": str(saved)}
    return subprocess.run([*alone, *DEMO], capture_output=True, text=True, timeout=120, check=False, env=environ)


NARU = Path(naru.__file__).parent


def test_a_client_that_ignores_the_mtu_fails_the_demo(tmp_path):
    script = NARU / "agent" / "udhcpc.sh"
    careless, saved = tmp_path / "udhcpc.sh", tmp_path / "saved"
    saved.mkdir()
    careless.write_text(script.read_text().replace("mtu $mtu", "mtu 1500"))
    careless.chmod(0o755)
    done = run_with(script, careless, saved)

    assert done.returncode == 1
    assert "did not hold: web01: MTU: the network has 1450, eth0 1500" in done.stdout
    assert "FAILED: 2 of 22 instances are all right" in done.stdout
    (logs,) = saved.iterdir()
    assert done.stderr.endswith(f"the logs of the server and the agents are in {logs}\n")
    assert {log.name for log in logs.iterdir()} >= {"server.log", "agent-compute01.log"}


def test_a_server_that_cannot_start_is_told_with_its_last_words(tmp_path):
    broken, saved = tmp_path / "bootstrap.py", tmp_path / "saved"
    saved.mkdir()
    broken.write_text("raise SystemExit('the disk is full')")
    done = run_with(NARU / "bootstrap.py", broken, saved)

    assert (done.returncode, done.stdout) == (1, "")
    assert "naru: server ended with exit code 1: the disk is full" in done.stderr
    assert [log.name for logs in saved.iterdir() for log in logs.iterdir()] == ["server.log"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_at_work_it_leaves_nothing_and_runs_again(number, tmp_path):
    before = traces()
    demo = subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)})
    assert demo.stderr.readline().startswith("Bringing up three hosts")  # the step has ended: the programs run
    first = int(Path(f"/proc/{demo.pid}/task/{demo.pid}/children").read_text())
    processes = hold(outside_pids(first).values())
    assert len(processes) >= 2 + 3 + 4  # the first and the worker, the hosts, the server and its agents
    demo.send_signal(number)
    _, said = demo.communicate(timeout=10)

    assert demo.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    assert "Traceback" not in said
    assert have_ended(processes)
    assert traces() == before
    assert list(tmp_path.iterdir()) == []
    again = subprocess.run([*DEMO, "--instances", "2"], capture_output=True, text=True, timeout=120, check=False)
    assert again.returncode == 0, again.stdout + again.stderr
