"""Key pairs and user data as the `openstack` and `nova` commands and plain HTTP give them, and who is told of them."""

import base64
import json
import subprocess

import msgspec
import pytest

from clients import FakeHost
from naru.model.hoststate import MetadataState

IMAGE = "6e617275-0000-4000-8000-000000000001"
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAFOTZIsWWo4Ct/J7tci6DWCLxI2dhaT5Lq7YeGvuwTx me@home"
FINGERPRINT = "90:49:2c:36:bd:e1:ca:62:11:bb:fd:2c:61:20:fc:f5"  # by ssh-keygen -E md5 -lf


@pytest.fixture(scope="module")
def host(serving):
    with FakeHost(serving, "compute01", dhcp=True, metadata=True) as host:
        yield host


@pytest.fixture
def no_keys(http, host):
    yield
    for row in http.get("/compute/v2.1/os-keypairs").json()["keypairs"]:
        http.delete(f"/compute/v2.1/os-keypairs/{row['keypair']['name']}")
    for row in http.get("/compute/v2.1/servers").json()["servers"]:
        assert http.delete(f"/compute/v2.1/servers/{row['id']}").status_code == 204


def ask(http, method, path="", version="2.1", **keypair):
    json = {"keypair": keypair} if keypair else None
    return http.request(method, f"/compute/v2.1/os-keypairs{path}", json=json, headers={"X-OpenStack-Nova-API-Version": version})


def is_a_key(private_key, public_key, directory):
    """Whether the two halves belong together, by ssh-keygen's own word."""
    file = directory / "key"
    file.touch(0o600)
    file.write_text(private_key)
    derived = subprocess.run(["ssh-keygen", "-y", "-f", str(file)], capture_output=True, text=True, check=True).stdout
    return derived.split()[:2] == public_key.split()[:2]


@pytest.mark.needs("ssh-keygen")
def test_openstack_makes_a_key_and_boots_with_it_and_with_user_data(clients, http, host, no_keys, tmp_path):
    done = clients.try_openstack("keypair", "create", "mine")  # the command makes the key itself, and sends its public half
    assert done.returncode == 0, done.stderr
    (row,) = clients.openstack("keypair", "list")
    shown = ask(http, "GET", "/mine").json()["keypair"]
    assert (row["Name"], row["Type"], row["Fingerprint"]) == ("mine", "ssh", shown["fingerprint"])
    assert is_a_key(done.stdout, shown["public_key"], tmp_path)

    (tmp_path / "script").write_text("#!/bin/sh\n")
    boot = ("server", "create", "--image", "netns", "--flavor", "m1.tiny", "--nic", "none", "--key-name", "mine")
    server = clients.openstack(*boot, "--user-data", str(tmp_path / "script"), "web")
    assert server["key_name"] == "mine"
    assert clients.try_openstack("keypair", "delete", "mine").returncode == 0
    assert ask(http, "GET").json() == {"keypairs": []}
    assert http.get(f"/compute/v2.1/servers/{server['id']}").json()["server"]["key_name"] == "mine"


@pytest.mark.needs("ssh-keygen")
@pytest.mark.parametrize("version", ["2.1", "2.latest"])
def test_nova_gets_a_key_that_is_generated_here_and_adds_one_of_its_own(clients, http, host, no_keys, tmp_path, version):
    nova = ("--os-compute-api-version", version)
    done = clients.nova(*nova, "keypair-add", "old")
    assert done.returncode == 0, done.stderr
    public_key = ask(http, "GET", "/old").json()["keypair"]["public_key"]
    assert is_a_key(done.stdout.strip() + "\n", public_key, tmp_path)
    (tmp_path / "own.pub").write_text(PUBLIC_KEY)
    done = clients.nova(*nova, "keypair-add", "--pub-key", str(tmp_path / "own.pub"), "own")
    assert done.returncode == 0, done.stderr
    assert FINGERPRINT in clients.nova(*nova, "keypair-list").stdout
    assert PUBLIC_KEY in clients.nova(*nova, "keypair-show", "own").stdout
    assert clients.nova(*nova, "keypair-delete", "old").returncode == 0
    assert [row["keypair"]["name"] for row in ask(http, "GET").json()["keypairs"]] == ["own"]


def test_a_key_pair_looks_as_nova_shows_it_at_each_microversion(http, host, no_keys):
    made = ask(http, "POST", name="a", public_key=PUBLIC_KEY)
    user_id = made.json()["keypair"]["user_id"]
    brief = {"name": "a", "public_key": PUBLIC_KEY, "fingerprint": FINGERPRINT}
    assert (made.status_code, made.json()) == (200, {"keypair": brief | {"user_id": user_id}})
    made = ask(http, "POST", version="2.2", name="b", type="ssh")
    assert (made.status_code, set(made.json()["keypair"])) == (201, {*brief, "user_id", "type", "private_key"})
    assert made.json()["keypair"]["private_key"].startswith("-----BEGIN RSA PRIVATE KEY-----")

    shown = ask(http, "GET", "/a", version="2.61").json()["keypair"]
    assert set(shown) == {*brief, "user_id", "type", "id", "created_at", "updated_at", "deleted", "deleted_at"}
    assert isinstance(shown["id"], int)
    assert ask(http, "GET").json()["keypairs"][0] == {"keypair": brief}
    page = http.get("/compute/v2.1/os-keypairs?limit=1", headers={"X-OpenStack-Nova-API-Version": "2.35"}).json()
    assert [row["keypair"]["name"] for row in page["keypairs"]] == ["a"]
    assert page["keypairs_links"][0]["href"].endswith("limit=1&marker=a")
    assert ask(http, "DELETE", "/a").status_code == 202
    assert ask(http, "DELETE", "/b", version="2.2").status_code == 204
    assert "private" not in json.dumps(ask(http, "GET").json())


@pytest.mark.parametrize(
    ("version", "given", "words"),
    [
        ("2.1", {"name": ""}, "at `keypair.name`"),
        ("2.1", {"name": " a"}, "at `keypair.name`"),
        ("2.1", {"name": "a/b"}, "at `keypair.name`"),
        ("2.1", {"name": "a", "public_key": "ssh-rsa AAAA"}, "it is no public key of SSH"),
        ("2.1", {"name": "a", "public_key": "ssh-rsa A\x00é"}, "it is no public key of SSH"),
        ("2.1", {"name": "a", "public_key": ""}, "it is no public key of SSH"),
        ("2.1", {"name": "a", "public_key": 7}, "at `keypair.public_key`"),
        ("2.1", {"name": "a", "type": "ssh"}, "from microversion 2.2 on"),
        ("2.9", {"name": "a", "user_id": "x"}, "from microversion 2.10 on"),
        ("2.2", {"name": "a", "type": "x509"}, "none of type x509"),
        ("2.2", {"name": "a", "surprise": 1}, "unknown field `surprise`"),
    ],
    ids=str,
)
def test_what_is_no_key_pair_is_refused(http, host, version, given, words):
    answer = ask(http, "POST", version=version, **given)
    assert answer.status_code == 400, answer.text
    assert words in answer.json()["badRequest"]["message"]
    assert ask(http, "GET").json() == {"keypairs": []}


def test_key_pairs_are_their_users_own(http, admin_http, host, no_keys):
    user_id = ask(http, "POST", name="mine", public_key=PUBLIC_KEY).json()["keypair"]["user_id"]
    again = ask(http, "POST", name="mine", public_key=PUBLIC_KEY)
    assert (again.status_code, again.json()["conflictingRequest"]["message"]) == (409, "Key pair 'mine' already exists.")
    assert ask(admin_http, "GET").json() == {"keypairs": []}
    assert ask(admin_http, "GET", "/mine").status_code == 404
    assert ask(admin_http, "GET", f"/mine?user_id={user_id}", version="2.10").json()["keypair"]["user_id"] == user_id
    of_admin = ask(admin_http, "POST", name="mine", public_key=PUBLIC_KEY).json()["keypair"]["user_id"]
    assert ask(http, "GET", f"/mine?user_id={of_admin}", version="2.10").status_code == 403
    assert ask(http, "POST", version="2.10", name="x", user_id=of_admin).status_code == 403
    assert ask(http, "DELETE", "/none").json()["itemNotFound"]["message"] == f"Keypair none not found for user {user_id}"
    assert ask(admin_http, "DELETE", "/mine").status_code == 202
    assert ask(http, "GET", "/mine").status_code == 200


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"key_name": "none"}, "Invalid key_name provided."),
        ({"user_data": "not base64!"}, "it is not base64"),
        ({"user_data": "A" * 65536}, "at `server.user_data`"),
        ({"user_data": 1}, "at `server.user_data`"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_key_that_is_not_there_and_user_data_that_is_none_are_refused(http, host, no_keys, given, words):
    answer = http.post("/compute/v2.1/servers", json={"server": server() | given})
    assert answer.status_code == 400, answer.text
    assert words in answer.json()["badRequest"]["message"]


def test_what_an_instance_reads_goes_to_the_host_that_answers_it_and_no_other(admin_http, http, serving, host):
    ask(admin_http, "POST", name="mine", public_key=PUBLIC_KEY)
    secret = base64.b64encode(b"\x00s3cret" * 6000).decode()
    network = admin_http.post("/v2.0/networks", json={"network": {"name": "net"}}).json()["network"]
    subnet = {"network_id": network["id"], "ip_version": 4, "cidr": "10.21.1.0/28"}
    assert admin_http.post("/v2.0/subnets", json={"subnet": subnet}).status_code == 201
    with FakeHost(serving, "compute02", dhcp=False) as other:
        there = server(networks=[{"uuid": network["id"]}], availability_zone="nova:compute02")
        made = admin_http.post("/compute/v2.1/servers", json={"server": there | {"key_name": "mine", "user_data": secret}})
        assert made.status_code == 202, made.text
        (told,) = [value for value in host.read()[0].values() if isinstance(value, MetadataState)]
        assert (told.document.public_key, told.document.user_data) == (PUBLIC_KEY, secret)
        state = msgspec.json.encode(other.read()[0])
        assert b"instance/" in state
        assert secret.encode() not in state
    path, newest = f"/compute/v2.1/servers/{made.json()['server']['id']}", {"X-OpenStack-Nova-API-Version": "2.61"}
    shown = admin_http.get(path, headers=newest).json()["server"]
    assert (shown["OS-EXT-SRV-ATTR:user_data"], shown["key_name"]) == (secret, "mine")
    assert http.get(path).status_code == 404
    ask(admin_http, "DELETE", "/mine")
    assert admin_http.delete(path).status_code == 204
    assert admin_http.delete(f"/v2.0/networks/{network['id']}").status_code == 204


def server(**given):
    return {"name": "web", "flavorRef": "1", "imageRef": IMAGE, "networks": "none"} | given
