"""The lab by itself: hosts that reach each other, and nothing that outlives it. Everything here runs the real thing."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from machine import WITHOUT_RIGHTS, have_ended, hold, traces
from naru.lab.running import outside_pids

# A lab of three hosts without programs; says what it sees as JSON, then waits to be killed.
THREE_HOSTS = """
import json, signal, subprocess, sys
from naru.lab.namespaces import run_enclosed

def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else f"failed: {done.stderr.strip()}"

def body(outside_pid):
    from naru.lab.hosts import create_hosts, host_names
    hosts = create_hosts(host_names(3))
    on = {name: lambda *command, host=host: run(*host.enter(*command)) for name, host in hosts.items()}
    for host in on.values():
        host("ip", "netns", "add", "same-name")
    on["compute01"]("ip", "-n", "same-name", "link", "add", "only-here", "type", "bridge")
    seen = {
        "pid": outside_pid,
        "names": [host("hostname") for host in on.values()],
        "management": on["compute01"]("ping", "-c1", "-W2", "10.0.0.30"),
        "tunnel": on["compute01"]("ping", "-c1", "-W2", "172.18.0.32"),
        "lab to server": run("ping", "-c1", "-W2", "10.0.0.30"),
        "physnet2": json.loads(on["compute02"]("ip", "-json", "address", "show", "eth2"))[0],
        "netns": [host("ip", "netns") for host in on.values()],
        "links": [host("ip", "-br", "-n", "same-name", "link") for host in on.values()],
    }
    print(json.dumps(seen), flush=True)
    signal.pause()

sys.exit(run_enclosed(body))
"""

USERS = {"this user": [], "a user without rights": WITHOUT_RIGHTS}


def start_hosts(user):
    command = [*USERS[user], sys.executable, "-c", THREE_HOSTS]
    lab = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said = lab.stdout.readline()
    assert said, lab.communicate(timeout=10)
    return lab, json.loads(said)


@pytest.mark.parametrize("user", USERS)
def test_hosts_reach_each_other_and_do_not_share_namespaces(user):
    lab, seen = start_hosts(user)
    lab.kill()
    lab.communicate(timeout=10)

    assert seen["names"] == ["controller01", "compute01", "compute02"]
    for wire in ("management", "tunnel", "lab to server"):
        assert " 0% packet loss" in seen[wire], wire
    assert [entry["family"] for entry in seen["physnet2"]["addr_info"]] in ([], ["inet6"])
    assert seen["physnet2"]["mtu"] == 1500
    assert seen["netns"] == ["same-name"] * 3
    assert ["only-here" in links for links in seen["links"]] == [False, True, False]


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_first_process_however_it_ends(user, number):
    before = traces()
    lab, seen = start_hosts(user)
    processes = hold(outside_pids(seen["pid"]).values())
    assert len(processes) >= 5  # the first, the worker, one for each host

    lab.send_signal(number)
    lab.communicate(timeout=10)

    assert have_ended(processes)
    assert traces() == before


def run_naru(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "naru", *arguments], capture_output=True, text=True, timeout=60, check=False, **options)


@pytest.mark.parametrize("command", [["demo"], ["lab", "up"]])
def test_a_missing_tool_is_one_line_with_the_package(command, tmp_path):
    hide = 'mount --bind /dev/null "$1"; shift; exec "$@"'
    alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", hide, "sh"]
    words = [*alone, shutil.which("dnsmasq"), sys.executable, "-m", "naru", *command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env=os.environ | {"TMPDIR": str(tmp_path)})

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "naru: missing here: dnsmasq. As root: apt-get install dnsmasq-base\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["demo"], ["lab", "up"]])
def test_neither_root_nor_user_namespaces_is_one_line_with_a_way_out(command, tmp_path):
    """A user namespace in which no PID namespace may be made stands for a kernel that forbids them."""
    forbid = 'echo 0 > /proc/sys/user/max_pid_namespaces; exec "$@"'
    words = ["unshare", "--user", "--map-root-user", "sh", "-ec", forbid, "sh", sys.executable, "-m", "naru", *command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env=os.environ | {"TMPDIR": str(tmp_path)})

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("naru: the kernel does not let this user make namespaces")
    assert done.stderr.count("\n") == 1
    assert "Run as root" in done.stderr


def test_commands_without_a_lab_say_how_to_get_one(tmp_path):
    for command, *arguments in (["status"], ["down"], ["exec", "compute01", "true"]):
        done = run_naru("lab", command, "--state-dir", str(tmp_path), *arguments)
        assert done.returncode == 1
        assert done.stderr == f"naru: no lab runs from {tmp_path}; `naru lab up` starts one\n"


def test_a_lab_takes_no_folder_that_holds_something_else(tmp_path):
    (tmp_path / "thesis.txt").write_text("three years of work")
    done = run_naru("lab", "up", "--state-dir", str(tmp_path))

    assert done.returncode == 1
    assert done.stderr == f"naru: {tmp_path} holds something that is no lab; name another with --state-dir\n"
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.parametrize("count", ["1", "101"])
def test_a_lab_of_an_impossible_size_is_refused(count, tmp_path):
    done = run_naru("lab", "up", "--hosts", count, "--state-dir", str(tmp_path / "lab"))

    assert done.returncode == 1
    assert f"a lab of {count} hosts" in done.stderr
    assert not (tmp_path / "lab").exists()


@pytest.fixture
def detached_lab(tmp_path):
    state_dir = tmp_path / "lab"
    up = run_naru("lab", "up", "--detach", "--state-dir", str(state_dir))
    assert up.returncode == 0, up.stderr
    yield str(state_dir), up.stdout
    run_naru("lab", "down", "--state-dir", str(state_dir))


def test_a_detached_lab_is_used_from_outside_and_ended(detached_lab):
    state_dir, said = detached_lab
    before = run_naru("lab", "status", "--state-dir", state_dir).stdout

    assert "the lab is ready: controller01, compute01, compute02" in said
    assert before.count(" pid ") == 1 + 3
    hostname = run_naru("lab", "exec", "--state-dir", state_dir, "compute01", "--", "hostname")
    assert hostname.stdout == "compute01\n"
    unknown = run_naru("lab", "exec", "--state-dir", state_dir, "compute09", "--", "hostname")
    assert unknown.stderr == "naru: no host compute09 in this lab; it has controller01, compute01, compute02\n"
    again = run_naru("lab", "up", "--state-dir", state_dir)
    assert again.stderr == f"naru: a lab is up already ({state_dir}); `naru lab down` ends it\n"

    down = run_naru("lab", "down", "--state-dir", state_dir)
    assert down.returncode == 0
    assert run_naru("lab", "status", "--state-dir", state_dir).returncode == 1


def test_the_official_client_works_in_the_lab(detached_lab):
    state_dir, _ = detached_lab
    words = ["controller01", "--", "openstack", "--os-cloud", "naru-admin", "network", "agent", "list", "-f", "json"]
    agents = run_naru("lab", "exec", "--state-dir", state_dir, *words)

    assert agents.returncode == 0, agents.stderr
    assert {agent["Host"] for agent in json.loads(agents.stdout)} == {"controller01", "compute01", "compute02"}
