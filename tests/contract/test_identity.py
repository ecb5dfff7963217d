"""Identity as clients use it: tokens for passwords, what a token opens and for how long, clouds.yaml."""

import re
import stat

import httpx
import pytest

from clients import Clients
from naru.testing import eventually
from serving import Serving


def projects(http):
    return http.get("/identity/v3/auth/projects").json()["projects"]


def test_openstack_gets_a_token_and_reads_the_catalog(clients):
    token = clients.openstack("token", "issue")
    catalog = clients.openstack("catalog", "list")

    with clients.http() as http:
        (demo,) = projects(http)
    assert token["project_id"] == demo["id"]
    assert {row["Type"] for row in catalog} == {"identity", "network", "compute", "image"}
    assert [endpoint["interface"] for endpoint in catalog[0]["Endpoints"]] == ["public", "internal", "admin"]


def test_openstack_finds_projects_and_users_by_name(clients):
    assert clients.openstack("project", "show", "demo", user="admin")["domain_id"] == "default"
    assert clients.openstack("user", "show", "demo", user="admin")["enabled"] is True


def test_a_wrong_password_and_an_unknown_user_get_the_same_answer(clients):
    wrong = clients.ask_token(password="guess")
    unknown = clients.ask_token(name="nobody")
    elsewhere = clients.ask_token(domain={"name": "Elsewhere"})

    assert wrong.status_code == 401
    assert wrong.json() == unknown.json() == elsewhere.json()
    assert wrong.json()["error"]["message"] == "The request you have made requires authentication."


@pytest.mark.parametrize(
    "scope",
    [{"project": {"id": "no-such"}}, {"project": {"name": "admin", "domain": {"id": "default"}}}, {"system": {"all": True}}],
    ids=str,
)
def test_a_scope_on_which_the_user_has_no_role_is_refused(clients, scope):
    assert clients.ask_token(scope=scope).status_code == 401


@pytest.mark.parametrize(
    ("identity", "status", "words"),
    [
        ({}, 400, "missing required field `methods`"),
        (
            {"methods": ["password"], "password": {"user": {"name": "demo", "password": 7, "domain": {"id": "default"}}}},
            400,
            "Expected `str`",
        ),
        ({"methods": ["password"], "password": {"user": {"name": "demo", "password": "x"}}}, 400, "domain in user"),
        ({"methods": ["password"], "password": {"user": {"password": "x"}}}, 400, "names no user"),
        ({"methods": ["password"]}, 400, "find password in identity"),
        ({"methods": ["totp"]}, 401, "unsupported method: ['totp']"),
        ({"methods": ["token"], "token": {"id": "no-such"}}, 401, "requires authentication"),
    ],
    ids=str,
)
def test_a_request_that_is_none_is_refused_with_what_is_wrong(clients, identity, status, words):
    response = clients.ask_token(identity=identity)
    assert response.status_code == status
    assert words in response.json()["error"]["message"]


def test_a_body_that_is_no_json_is_refused(serving):
    response = httpx.post(f"{serving.url}/identity/v3/auth/tokens", content=b"{", trust_env=False)
    assert response.status_code == 400
    assert "not valid JSON" in response.json()["error"]["message"]


def test_a_token_says_who_where_and_until_when(clients):
    response = clients.ask_token()
    token = response.json()["token"]

    assert response.status_code == 201
    assert token["user"]["name"] == token["project"]["name"] == "demo"
    assert token["project"]["domain"] == {"id": "default", "name": "Default"}
    assert {role["name"] for role in token["roles"]} == {"member", "reader"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", token["expires_at"])
    assert token["issued_at"] < token["expires_at"]
    assert len(token["audit_ids"]) == 1


def test_an_unscoped_token_opens_identity_only_until_it_is_rescoped(clients, serving):
    unscoped = clients.ask_token(scope="unscoped")
    assert {"project", "roles", "catalog"} & set(unscoped.json()["token"]) == set()

    with httpx.Client(base_url=serving.url, headers={"X-Auth-Token": unscoped.headers["X-Subject-Token"]}, trust_env=False) as http:
        (demo,) = projects(http)
        refused = http.get("/v2.0/networks")
    assert refused.status_code == 401
    assert "not scoped" in refused.json()["error"]["message"]

    proof = {"methods": ["token"], "token": {"id": unscoped.headers["X-Subject-Token"]}}
    scoped = clients.ask_token(identity=proof, scope={"project": {"id": demo["id"]}})
    assert scoped.json()["token"]["project"]["name"] == "demo"
    assert scoped.json()["token"]["expires_at"] == unscoped.json()["token"]["expires_at"]


def test_a_token_is_looked_at_by_its_owner_and_administrators(clients):
    subject = clients.token()
    with clients.http() as own, clients.http("admin") as admin:
        shown = admin.get("/identity/v3/auth/tokens", headers={"X-Subject-Token": subject})
        assert shown.json()["token"]["user"]["name"] == "demo"
        assert shown.headers["X-Subject-Token"] == subject
        assert own.head("/identity/v3/auth/tokens", headers={"X-Subject-Token": subject}).status_code == 200
        foreign = {"X-Subject-Token": admin.headers["X-Auth-Token"]}
        assert own.get("/identity/v3/auth/tokens", headers=foreign).status_code == 403
        assert admin.get("/identity/v3/auth/tokens", headers={"X-Subject-Token": "no-such"}).status_code == 404
        assert admin.get("/identity/v3/auth/tokens").status_code == 400


def test_a_revoked_token_opens_nothing_from_then_on(clients):
    with clients.http() as http:
        assert http.get("/v2.0/networks").status_code == 200
        assert http.delete("/identity/v3/auth/tokens", headers={"X-Subject-Token": http.headers["X-Auth-Token"]}).status_code == 204
        refused = http.get("/v2.0/networks")
    assert refused.status_code == 401
    assert "Keystone uri=" in refused.headers["WWW-Authenticate"]


def test_an_expired_token_opens_nothing(tmp_path):
    with Serving(tmp_path, NARU_TOKEN_LIFETIME_S="1") as brief, Clients(brief).http() as http:
        assert http.get("/v2.0/networks").status_code == 200
        assert eventually(lambda: http.get("/v2.0/networks").status_code == 401)


def test_the_catalog_leads_back_to_the_host_that_the_client_used(clients, serving):
    with clients.http() as http:
        answer = http.get("/identity/v3/auth/catalog", headers={"Host": "controller01:9696"}).json()
    urls = {service["type"]: {endpoint["url"] for endpoint in service["endpoints"]} for service in answer["catalog"]}
    assert urls == {
        "identity": {"http://controller01:9696/identity"},
        "network": {"http://controller01:9696"},
        "compute": {"http://controller01:9696/compute/v2.1"},
        "image": {"http://controller01:9696/image"},
    }


def test_versions_are_told_without_a_token(serving):
    versions = httpx.get(f"{serving.url}/identity", trust_env=False)
    version = httpx.get(f"{serving.url}/identity/v3", trust_env=False).json()["version"]
    assert versions.status_code == 300
    assert versions.json()["versions"]["values"] == [version]
    assert version["links"] == [{"rel": "self", "href": f"{serving.url}/identity/v3/"}]


def test_a_member_sees_himself_and_his_projects(clients):
    with clients.http() as http, clients.http("admin") as admin:
        everyone = {user["name"]: user["id"] for user in admin.get("/identity/v3/users").json()["users"]}
        assert set(everyone) == {"admin", "demo"}
        assert [user["name"] for user in http.get("/identity/v3/users").json()["users"]] == ["demo"]
        assert [project["name"] for project in http.get("/identity/v3/projects").json()["projects"]] == ["demo"]
        assert http.get(f"/identity/v3/users/{everyone['admin']}").status_code == 404
        assert http.get(f"/identity/v3/users/{everyone['admin']}/projects").status_code == 403
        assert [p["name"] for p in admin.get(f"/identity/v3/users/{everyone['demo']}/projects").json()["projects"]] == ["demo"]


@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("projects?name=demo", 1),
        ("projects?name=no-such", 0),
        ("domains?name=Default", 1),
        ("auth/domains", 1),
        ("regions", 1),
        ("services?type=network", 1),
        ("endpoints?interface=public", 4),
        ("roles?name=member", 1),
    ],
)
def test_lists_filter_by_attributes_and_name_each_row_by_id(clients, path, count):
    plural = path.partition("?")[0].rpartition("/")[2]
    with clients.http("admin") as http:
        rows = http.get(f"/identity/v3/{path}").json()[plural]
        assert len(rows) == count
        for row in rows:
            shown = http.get(f"/identity/v3/{plural}/{row['id']}").json()[plural[:-1]]
            assert shown["id"] == row["id"]
        assert http.get(f"/identity/v3/{plural}/no-such").status_code == 404


def test_clouds_yaml_is_private_kept_and_written_again_when_lost(tmp_path):
    file = tmp_path / "clouds.yaml"

    def start_and_log_in():
        with Serving(tmp_path) as server:
            assert Clients(server).ask_token("admin").status_code == 201
            log = server.log()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        found = re.findall(r'password: "(.+)"', file.read_text())
        assert not any(password in log for password in found)
        return found

    first = start_and_log_in()
    assert start_and_log_in() == first
    file.unlink()
    assert set(start_and_log_in()) & set(first) == set()


def test_a_password_that_was_changed_and_a_user_who_was_deleted_stay_so(tmp_path):
    with Serving(tmp_path) as server, Clients(server).http("admin") as admin:
        ids = {user["name"]: user["id"] for user in admin.get("/identity/v3/users").json()["users"]}
        assert admin.delete(f"/identity/v3/users/{ids['demo']}").status_code == 204
        assert admin.patch(f"/identity/v3/users/{ids['admin']}", json={"user": {"password": "changed"}}).status_code == 200
    with Serving(tmp_path) as server:
        assert Clients(server).ask_token("admin", password="changed").status_code == 201
        assert Clients(server).ask_token("admin").status_code == 401
        assert Clients(server).ask_token("demo").status_code == 401


def test_without_authentication_everyone_on_this_machine_is_an_administrator(tmp_path):
    with Serving(tmp_path, NARU_AUTH="none") as server:
        made = httpx.post(f"{server.url}/v2.0/networks", json={"network": {"shared": True}}, trust_env=False)
    assert made.status_code == 201
