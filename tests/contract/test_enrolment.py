"""A host of its own: it enrols with a one-time token, speaks for itself alone, and is refused when it is revoked; over TLS as well."""

import asyncio
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from naru.agent.enrol import own_secret
from naru.agent.main import trust
from naru.feed.subscribe import Feed
from naru.model.hostreport import HostDescription, HostReport
from naru.testing import eventually
from serving import Serving, certify

DESCRIPTION = HostDescription("linuxbridge", (), "172.18.0.31")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Serving]:
    with Serving(tmp_path / "server") as serving:
        yield serving


def naru_host(server: Serving, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "naru", "host", *words, "--server", server.url, "--state-dir", str(server.state_dir)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def invite(server: Serving, host: str) -> str:
    done = naru_host(server, "enrol", host)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def follow(server: Serving, host: str, memory: Path, ticket: str = "", cafile: str = "") -> list[str]:
    """Be the agent of a host until it is in sync, or refused. -> what it logged of refusals."""

    async def run() -> list[str]:
        feed = Feed(
            server.url,
            own_secret(memory / f"{host}.credential"),
            host,
            DESCRIPTION,
            saved=memory / "s",
            ticket=ticket,
            trusted=trust(cafile),
        )
        running = asyncio.ensure_future(feed.run())
        try:
            await asyncio.to_thread(eventually, lambda: feed.in_sync or feed.refusal, 10)
            return [] if feed.in_sync else [feed.refusal]
        finally:
            running.cancel()
            await feed.close()

    return asyncio.run(run())


def speak(server: Serving, host: str, secret: str) -> int:
    """Register a host, and report for it; -> the status of both, or the first that is an error."""
    headers = {"Authorization": f"Bearer {secret}"}
    with httpx.Client(base_url=f"{server.url}/agent/v1/hosts/{host}", headers=headers, trust_env=False, timeout=30) as http:
        answers = [http.put("", content=msgspec.json.encode(DESCRIPTION))]
        answers.append(http.post("/report", content=msgspec.json.encode(HostReport(1))))
        return next((answer.status_code for answer in answers if answer.is_error), 200)


def shared(server: Serving) -> str:
    return (server.state_dir / "agent-token").read_text().strip()


def test_a_host_enrols_once_and_speaks_for_itself_alone(server, tmp_path):
    token = invite(server, "compute01")
    assert speak(server, "compute01", shared(server)) == 200, "an invitation alone shuts nobody out"
    assert follow(server, "compute01", tmp_path, token) == []
    credential = tmp_path / "compute01.credential"
    assert stat.S_IMODE(credential.stat().st_mode) == 0o600
    own = credential.read_text().strip()
    assert speak(server, "compute01", own) == 200
    assert speak(server, "compute01", shared(server)) == 401
    assert speak(server, "compute02", own) == 401
    assert speak(server, "compute02", shared(server)) == 200
    assert follow(server, "compute01", tmp_path, token) == [], "the used token in its file does not matter to the host that used it"
    (refusal,) = follow(server, "compute01", tmp_path / "thief", token)
    assert "naru host enrol compute01" in refusal
    assert naru_host(server, "list").stdout == "compute01  enrolled\n"


def test_a_host_that_is_revoked_is_cut_off_at_once_and_comes_back_by_a_new_token(server, tmp_path):
    follow(server, "compute01", tmp_path, invite(server, "compute01"))
    own = (tmp_path / "compute01.credential").read_text().strip()
    url, headers = f"{server.url}/agent/v1/hosts/compute01/state", {"Authorization": f"Bearer {own}"}
    with httpx.stream("GET", url, headers=headers, trust_env=False, timeout=30) as stream:
        lines = stream.iter_lines()
        next(lines)
        assert naru_host(server, "revoke", "compute01").returncode == 0
        assert [line for line in lines if line] == []  # it ends
    assert speak(server, "compute01", own) == 401
    assert speak(server, "compute01", shared(server)) == 401
    assert naru_host(server, "list").stdout == "compute01  revoked\n"
    assert follow(server, "compute01", tmp_path, invite(server, "compute01")) == []


def test_what_enrols_hosts_needs_the_servers_own_token_and_sound_names(server):
    url = f"{server.url}/agent/v1/hosts"
    for method, path in (("GET", ""), ("POST", "/compute01/invitation"), ("DELETE", "/compute01/credential")):
        assert httpx.request(method, f"{url}{path}", headers={"Authorization": "Bearer wrong"}, trust_env=False).status_code == 401
    own = {"Authorization": f"Bearer {shared(server)}"}
    assert httpx.post(f"{url}/a%20b/invitation", headers=own, trust_env=False).status_code == 400
    assert httpx.delete(f"{url}/nobody/credential", headers=own, trust_env=False).status_code == 404
    chosen = {"credential_sha256": "short"}
    assert httpx.put(f"{url}/compute01/credential", headers=own, json=chosen, trust_env=False).status_code == 400
    chosen = {"credential_sha256": "0" * 64}
    assert httpx.put(f"{url}/compute01/credential", headers=own, json=chosen, trust_env=False).status_code == 401
    assert naru_host(server, "revoke", "nobody").stderr == "Error: the server refused: HostCredential nobody could not be found.\n"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certify(tmp_path_factory.mktemp("certificates"), "IP:127.0.0.1")


@pytest.mark.needs("openssl")
def test_over_tls_a_host_trusts_the_authority_that_it_was_told_and_no_other(certificates, tmp_path):
    pair = {"NARU_TLS_CERT": f"{certificates}/server.pem", "NARU_TLS_KEY": f"{certificates}/server.key"}
    with Serving(tmp_path / "server", cafile=str(certificates / "ca.pem"), **pair) as server:
        assert server.url.startswith("https://")
        done = naru_host(server, "enrol", "compute01", "--cafile", str(certificates / "ca.pem"))
        assert done.returncode == 0, done.stderr
        (refusal,) = follow(server, "compute01", tmp_path, done.stdout.strip())
        assert "CERTIFICATE_VERIFY_FAILED" in refusal
        assert follow(server, "compute01", tmp_path, done.stdout.strip(), str(certificates / "ca.pem")) == []
        assert f"auth_url: {server.url}/identity" in (server.state_dir / "clouds.yaml").read_text()


@pytest.mark.parametrize("given", [{"NARU_TLS_CERT": "/nowhere"}, {"NARU_TLS_CERT": "/nowhere", "NARU_TLS_KEY": "/nowhere"}])
def test_a_certificate_that_cannot_be_used_is_one_line(tmp_path, given, monkeypatch):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-m", "naru", "server", "--state-dir", str(tmp_path), "--bind", "127.0.0.1:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("naru: ")
    assert "tls_" in done.stderr
    assert len(done.stderr.splitlines()) == 1
