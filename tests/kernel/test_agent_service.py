"""The agent as a service: with the rights that its unit leaves it, stopped in the middle, replaced by a newer one under traffic."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import naru
from agent_host import Cloud, Host, child_of, leased, settled
from naru.model.devices import bridge_name
from naru.testing import eventually
from serving import certify

UNIT = Path(__file__).parents[2] / "packaging/systemd/naru-agent.service"


@pytest.fixture
def host(tmp_path) -> Iterator[Host]:
    made = Host(tmp_path)
    try:
        yield made
    finally:
        made.close()
        print("".join(line for line in made.log().splitlines(keepends=True) if "[debug" not in line))


@pytest.mark.needs("setpriv")
def test_the_rights_that_its_unit_leaves_the_agent_are_enough(host):
    kept = " ".join(re.findall(r"^CapabilityBoundingSet=(.*)$", UNIT.read_text(), re.MULTILINE)).lower().split()
    bounding = ",".join(["-all", *(f"+{name.removeprefix('cap_')}" for name in kept)])
    cloud = Cloud()
    first, second = cloud.instance(1), cloud.instance(2)
    host.server.put(*cloud.dhcp(), *first, *second)
    host.start("setpriv", "--bounding-set", bounding, "--no-new-privs")
    eventually(lambda: leased(host, *first, *second) and settled(host), 20)
    host.run("ip", "netns", "exec", first[0].netns, "ping", "-c1", "-W2", "10.7.0.12")
    host.end(signal.SIGTERM)
    before = host.actions()
    host.server.reports.clear()
    host.start("setpriv", "--bounding-set", bounding, "--no-new-privs")
    eventually(lambda: any(report.full for report in host.server.reports), 10)
    assert settled(host)
    assert host.actions() == before
    host.server.delete(*host.server.state)
    eventually(lambda: not host.server.status, 20)
    assert host.run("ip", "netns") == ""


def test_what_the_agent_keeps_is_its_owners_alone_whatever_the_umask(host):
    host.server.put(*Cloud().instance(1, running=False))
    host.start("sh", "-c", 'umask 0; exec "$0" "$@"')
    saved = host.directory / "state/agent/h1.json"
    eventually(saved.exists, 10)
    modes = [path.stat().st_mode & 0o777 for path in (saved, saved.parent, saved.parent.parent)]
    assert modes == [0o600, 0o700, 0o700]


def test_an_agent_stopped_during_a_pass_finishes_it_and_reports(host):
    cloud = Cloud()
    instances = [value for number in range(20) for value in cloud.instance(number)]
    host.server.put(*cloud.dhcp(), *instances)
    host.start()
    eventually(lambda: bridge_name(cloud.id) in host.run("ip", "link"), 10)
    assert not host.server.status
    host.end(signal.SIGTERM)
    assert settled(host)
    assert leased(host)


def test_a_newer_agent_takes_over_without_a_write_and_without_a_lost_packet(host, tmp_path):
    newer = tmp_path / "newer/naru"
    shutil.copytree(Path(naru.__file__).parent, newer, ignore=shutil.ignore_patterns("__pycache__"))
    (newer / "__init__.py").write_text('__version__ = "99.0"\n')
    cloud = Cloud()
    first, second = cloud.instance(1), cloud.instance(2)
    host.server.put(*cloud.dhcp(), *first, *second)
    host.start()
    eventually(lambda: leased(host, *first, *second) and settled(host), 20)
    before = host.actions()
    ping = ["ip", "netns", "exec", first[0].netns, "ping", "-i", "0.02", "10.7.0.12"]
    with subprocess.Popen([*host.enter, *ping], stdout=subprocess.PIPE, text=True) as traffic:
        assert traffic.stdout is not None
        traffic.stdout.readline()
        host.end(signal.SIGTERM)
        host.server.reports.clear()
        host.start("env", f"PYTHONPATH={newer.parent}")
        eventually(lambda: any(report.full for report in host.server.reports), 20)
        os.kill(child_of(traffic.pid), signal.SIGINT)
        answered = [int(number) for number in re.findall(r"icmp_seq=(\d+) ", traffic.stdout.read())]
    assert host.server.descriptions[-1].version == "99.0"
    assert settled(host)
    assert host.actions() == before
    assert len(answered) > 10
    assert answered == list(range(1, len(answered) + 1)), "each packet was answered"


def test_an_agent_enrols_and_is_refused_when_it_is_revoked(host, tmp_path):
    url, state = "http://127.0.0.1:9696", ("--state-dir", str(tmp_path / "server"))
    naru_on = [*host.enter, sys.executable, "-m", "naru"]
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen([*naru_on, "server", *state], stdout=log, stderr=log)
    eventually(lambda: "naru is ready" in (tmp_path / "server.log").read_text(), 20)
    try:
        host.server.url = url
        (tmp_path / "token").write_text(host.run(sys.executable, "-m", "naru", "host", "enrol", "h1", *state))
        host.start()
        eventually(lambda: "enrolled" in host.run(sys.executable, "-m", "naru", "host", "list", *state), 20, 0.2)
        eventually(lambda: "in sync with the server" in host.log(), 10)
        host.run(sys.executable, "-m", "naru", "host", "revoke", "h1", *state)
        eventually(lambda: "lost the server; keeping what is wired" in host.log() and "naru host enrol h1" in host.log(), 20)
    finally:
        os.kill(child_of(server.pid), signal.SIGTERM)
        server.wait(20)


@pytest.mark.needs("openssl")
def test_both_halves_in_one_process_speak_tls_whatever_name_the_certificate_has(host, tmp_path):
    certify(tmp_path, "DNS:controller.example.org")
    environment = {"NARU_TLS_CERT": f"{tmp_path}/server.pem", "NARU_TLS_KEY": f"{tmp_path}/server.key"}
    with (tmp_path / "up.log").open("w") as log:
        command = [*host.enter, sys.executable, "-m", "naru", "up", "--state-dir", str(tmp_path / "up")]
        both = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log)
    try:
        eventually(lambda: "in sync with the server" in (tmp_path / "up.log").read_text(), 30)
        assert "naru is ready at https://127.0.0.1:9696" in (tmp_path / "up.log").read_text()
    finally:
        os.kill(child_of(both.pid), signal.SIGTERM)
        both.wait(20)
