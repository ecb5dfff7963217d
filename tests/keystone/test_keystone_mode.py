"""auth = "keystone", with a real Keystone: `make test-keystone`."""

from collections.abc import Iterator

import httpx
import pytest

from naru.testing import eventually
from real_keystone import RealKeystone
from serving import Serving

CACHE_S = 2.0


class Cloud:
    """A Keystone with a project `lab`, and a server that asks it."""

    def __init__(self, keystone: RealKeystone, server: Serving, project_id: str) -> None:
        self.keystone = keystone
        self.server = server
        self.project_id = project_id

    def ask(self, token: str, path: str = "/v2.0/networks", method: str = "GET", **more) -> httpx.Response:
        headers = {"X-Auth-Token": token} | more.pop("headers", {})
        return httpx.request(method, f"{self.server.url}{path}", headers=headers, trust_env=False, timeout=30, **more)

    def token(self, name: str) -> str:
        return self.keystone.token(name, name, on="lab")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with RealKeystone(tmp_path_factory.mktemp("keystone")) as keystone:
        lab, service = keystone.create("project", name="lab"), keystone.create("project", name="service")
        keystone.user("naru", service, "service")
        keystone.user("nova", service, "service")
        keystone.user("alice", lab, "member")
        keystone.user("rita", lab, "reader")
        settings = {"AUTH_URL": keystone.url, "PASSWORD": "naru", "CACHE_S": str(CACHE_S)}
        environ = {f"NARU_KEYSTONE_{key}": value for key, value in settings.items()}
        with Serving(tmp_path_factory.mktemp("server"), NARU_AUTH="keystone", **environ) as server:
            yield Cloud(keystone, server, lab)


def test_a_member_makes_networks_in_the_project_of_the_token(cloud):
    made = cloud.ask(cloud.token("alice"), method="POST", json={"network": {"name": "hers"}})
    assert made.status_code == 201
    assert made.json()["network"]["project_id"] == cloud.project_id
    assert "provider:network_type" not in made.json()["network"]


def test_an_administrator_sees_and_sets_what_members_do_not(cloud):
    admin = cloud.keystone.token("admin", cloud.keystone.password, on="admin")
    made = cloud.ask(admin, method="POST", json={"network": {"shared": True, "project_id": cloud.project_id}})
    assert made.status_code == 201
    assert made.json()["network"]["provider:network_type"] == "vxlan"
    refused = cloud.ask(cloud.token("alice"), method="POST", json={"network": {"shared": True}})
    assert refused.status_code == 403


def test_a_reader_reads(cloud):
    token = cloud.token("rita")
    assert cloud.ask(token).status_code == 200
    assert cloud.ask(token, method="POST", json={"network": {}}).status_code == 403


@pytest.mark.parametrize("token", ["", "no-such", "gAAAAABm" * 20, "h\xf6hle"], ids=["none", "word", "fernet-like", "not ASCII"])
def test_a_wrong_token_opens_nothing(cloud, token):
    refused = cloud.ask(token.encode("latin-1") if token else "")
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == f'Keystone uri="{cloud.keystone.url}"'


def test_a_token_is_for_a_project(cloud):
    keystone = cloud.keystone
    unscoped = keystone.token("alice", "alice", scope={"unscoped": {}})
    system = keystone.token("admin", keystone.password, scope={"system": {"all": True}})
    assert cloud.ask(unscoped).status_code == 401
    assert cloud.ask(system).status_code == 403


def test_identity_is_elsewhere(cloud):
    assert cloud.ask("", "/identity/v3").status_code == 404
    assert not (cloud.server.state_dir / "clouds.yaml").exists()


def test_the_log_says_at_the_start_that_clients_will_not_find_the_server(cloud):
    assert eventually(lambda: "no network endpoint" in cloud.server.log())


def test_nova_deletes_a_users_port_with_its_own_token_besides(cloud):
    alice, nova = cloud.token("alice"), cloud.keystone.token("nova", "nova", on="service")
    network = cloud.ask(alice, method="POST", json={"network": {}}).json()["network"]
    asked = {"port": {"network_id": network["id"], "device_id": "some-server", "device_owner": "compute:nova"}}
    port = cloud.ask(alice, "/v2.0/ports", "POST", json=asked).json()["port"]
    path = f"/v2.0/ports/{port['id']}"

    assert cloud.ask(alice, path, "DELETE").status_code == 403
    assert cloud.ask(alice, path, "DELETE", headers={"X-Service-Token": alice}).status_code == 403  # not a service's
    assert cloud.ask(alice, path, "DELETE", headers={"X-Service-Token": "no-such"}).status_code == 401
    assert cloud.ask(alice, path, "DELETE", headers={"X-Service-Token": nova}).status_code == 204


def test_a_revoked_token_opens_nothing_once_it_is_forgotten(cloud):
    token = cloud.token("alice")
    assert cloud.ask(token).status_code == 200
    cloud.keystone.revoke(token)
    assert eventually(lambda: cloud.ask(token).status_code == 401, within_s=CACHE_S + 3)


def test_a_revoked_token_of_our_own_is_replaced(cloud):
    cloud.keystone.http.patch(f"/users/{_user_id(cloud, 'naru')}", json={"user": {"password": "other"}}).raise_for_status()
    cloud.keystone.http.patch(f"/users/{_user_id(cloud, 'naru')}", json={"user": {"password": "naru"}}).raise_for_status()
    # Keystone counts revocations in seconds: a token of the second in which the password changed is revoked too.
    assert eventually(lambda: cloud.ask(cloud.token("alice")).status_code == 200)


def _user_id(cloud: Cloud, name: str) -> str:
    return cloud.keystone.http.get("/users", params={"name": name}).json()["users"][0]["id"]


def test_while_keystone_is_away_those_who_are_known_go_on(cloud):
    known, unknown = cloud.token("alice"), cloud.token("alice")
    assert cloud.ask(known).status_code == 200
    cloud.keystone.stop()
    try:
        assert cloud.ask(known).status_code == 200
        refused = cloud.ask(unknown)
        assert refused.status_code == 503
        assert refused.json()["NeutronError"]["type"] == "ServiceUnavailable"
        assert eventually(lambda: cloud.ask(known).status_code == 503, within_s=CACHE_S + 3)
    finally:
        cloud.keystone.start()
    assert cloud.ask(known).status_code == 200
