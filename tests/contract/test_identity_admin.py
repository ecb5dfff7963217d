"""Identity administered, as the openstack client and test suites that make their own users do it."""

import itertools
import uuid

import httpx
import pytest

V3 = "/identity/v3"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def admin(clients):
    with clients.http("admin") as http:
        yield http


@pytest.fixture(scope="module")
def member(clients):
    with clients.http() as http:
        yield http


def create(admin, singular, **body):
    body = {"name": f"{singular}-{next(_numbers)}"} | body
    answer = admin.post(f"{V3}/{singular}s", json={singular: body})
    assert answer.status_code == 201, answer.text
    return answer.json()[singular]


def refusal(answer):
    """(status, message) in Keystone's shape."""
    error = answer.json()["error"]
    assert error["code"] == answer.status_code
    assert error["title"]
    return answer.status_code, error["message"]


class Person:
    """A user with roles on a project of their own, whose password is his name."""

    def __init__(self, admin, clients, *roles):
        self.clients = clients
        self.project = create(admin, "project")
        self.user = create(admin, "user", password="first-password")
        self.path = f"{V3}/projects/{self.project['id']}/users/{self.user['id']}/roles"
        for role in roles:
            assert admin.put(f"{self.path}/{role}").status_code == 204

    def ask_token(self, password="first-password", **changed):
        who = {"id": self.user["id"], "password": password}
        given = {"identity": {"methods": ["password"], "password": {"user": who}}, "scope": {"project": {"id": self.project["id"]}}}
        return self.clients.ask_token(**given | changed)

    def http(self, **changed):
        answer = self.ask_token(**changed)
        assert answer.status_code == 201, answer.text
        return httpx.Client(
            base_url=self.clients.serving.url, headers={"X-Auth-Token": answer.headers["X-Subject-Token"]}, trust_env=False, timeout=30
        )


@pytest.fixture
def person(admin, clients):
    return Person(admin, clients, "member")


# -- the command line


def test_openstack_makes_a_project_with_a_user_who_has_a_role_there(clients):
    made = clients.openstack("project", "create", "lab", "--description", "of alice", user="admin")
    assert made["domain_id"] == "default"
    clients.openstack("user", "create", "alice", "--password", "secret", "--project", "lab", "--email", "a@example.org", user="admin")
    assert clients.try_openstack("role", "add", "--user", "alice", "--project", "lab", "member", user="admin").returncode == 0
    listed = clients.openstack("role", "assignment", "list", "--user", "alice", "--names", user="admin")
    assert [(row["Role"], row["User"], row["Project"]) for row in listed] == [("member", "alice@Default", "lab@Default")]


def test_openstack_uses_an_application_credential(clients):
    made = clients.openstack("application", "credential", "create", "robot", "--role", "reader")
    given = ("--os-auth-type", "v3applicationcredential", "--os-auth-url", f"{clients.serving.url}{V3}")
    given += ("--os-application-credential-id", made["id"] if "id" in made else made["ID"])
    given += ("--os-application-credential-secret", made.get("secret") or made["Secret"])
    done = clients._run("openstack", *given, "network", "list", "-f", "json")
    assert done.returncode == 0, done.stderr


# -- projects, users, roles, domains


@pytest.mark.parametrize(
    ("singular", "shown"),
    [
        ("project", {"description": "", "enabled": True, "domain_id": "default", "parent_id": "default", "is_domain": False, "tags": []}),
        ("user", {"enabled": True, "domain_id": "default", "password_expires_at": None}),
        ("role", {"domain_id": None, "description": None}),
        ("domain", {"description": "", "enabled": True}),
    ],
)
def test_what_is_made_is_shown_listed_changed_and_deleted(admin, singular, shown):
    made = create(admin, singular)
    path = f"{V3}/{singular}s/{made['id']}"
    assert made | shown == made
    assert made["links"]["self"].endswith(path)
    assert admin.get(path).json()[singular] == made
    assert admin.get(f"{V3}/{singular}s", params={"name": made["name"]}).json()[f"{singular}s"] == [made]

    changed = admin.patch(path, json={singular: {"name": f"{made['name']}-new", "description": "changed"}})
    assert changed.status_code == 200
    assert (changed.json()[singular]["name"], changed.json()[singular]["description"]) == (f"{made['name']}-new", "changed")

    if singular == "domain":
        assert admin.delete(path).status_code == 403
        admin.patch(path, json={"domain": {"enabled": False}})
    assert admin.delete(path).status_code == 204
    for method in ("GET", "PATCH", "DELETE"):
        answer = admin.request(method, path, json={singular: {"name": "x"}} if method == "PATCH" else None)
        assert refusal(answer) == (404, f"Could not find {singular}: {made['id']}.")


@pytest.mark.parametrize("singular", ["project", "user", "role", "domain"])
def test_a_name_is_taken_once(admin, singular):
    made, other = create(admin, singular), create(admin, singular)
    again = admin.post(f"{V3}/{singular}s", json={singular: {"name": made["name"]}})
    renamed = admin.patch(f"{V3}/{singular}s/{other['id']}", json={singular: {"name": made["name"]}})
    assert refusal(again) == refusal(renamed)
    assert refusal(again)[0] == 409
    assert f"Conflict occurred attempting to store {singular}" in refusal(again)[1]


@pytest.mark.parametrize(
    ("singular", "body", "words"),
    [
        ("project", {}, "'name' is a required property"),
        ("project", {"name": ""}, "Invalid input for field 'name'"),
        ("project", {"name": "   "}, "Invalid input for field 'name'"),
        ("project", {"name": 7}, "is not of type 'string'"),
        ("project", {"name": "x" * 65}, "is too long"),
        ("project", {"name": "x", "description": 7}, "Invalid input for field 'description'"),
        ("project", {"name": "x", "enabled": "True"}, "Invalid input for field 'enabled': 'True' is not of type 'boolean'"),
        ("user", {"name": "x" * 256}, "is too long"),
        ("user", {"name": "x", "password": 7}, "Invalid input for field 'password'"),
        ("user", {"name": "x", "much": "y" * 20_000}, "more than 16384 bytes"),
        ("role", {"name": "x", "domain_id": "default"}, "leave domain_id out"),
        ("domain", {"name": None}, "is not of type 'string'"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_with_its_field(admin, singular, body, words):
    status, message = refusal(admin.post(f"{V3}/{singular}s", json={singular: body}))
    assert status == 400
    assert words in message


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "x", "password": "\\ud800"}',
        b'{"name": "\\ud800"}',
        b'{"name": "x", "deep": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"name": "x", "options": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}",
        b'{"name": "x", "large": ' + b"9" * 5000 + b"}",
        b'{"name": "x", "options": []}',
        b'{"name": "\\u0000"}',
        b"[]",
    ],
    ids=range(8),
)
def test_nonsense_is_refused_and_changes_nothing(admin, body):
    before = admin.get(f"{V3}/users").json()["users"]
    answer = admin.post(f"{V3}/users", content=b'{"user": ' + body + b"}")
    assert answer.status_code in (201, 400), answer.text
    if answer.status_code == 201:
        assert admin.delete(f"{V3}/users/{answer.json()['user']['id']}").status_code == 204
    assert admin.get(f"{V3}/users").json()["users"] == before


def test_what_cannot_change_is_refused(admin, person):
    path = f"{V3}/users/{person.user['id']}"
    assert admin.patch(path, json={"user": {"id": "other"}}).status_code == 400
    assert admin.patch(path, json={"user": {"domain_id": "other"}}).status_code == 400
    assert admin.patch(path, json={"user": {}}).status_code == 400
    assert admin.patch(path, json={"user": {"domain_id": "default", "name": "the-same"}}).status_code == 200
    refused = admin.patch(f"{V3}/roles/member", json={"role": {"name": "members"}})
    assert refusal(refused)[0] == 403
    assert "immutable" in refusal(refused)[1]
    assert admin.delete(f"{V3}/roles/admin").status_code == 403
    assert admin.delete(f"{V3}/domains/default").status_code == 403


def test_attributes_that_identity_does_not_know_are_kept(admin):
    made = create(admin, "user", email="alice@example.org", password="x")
    assert made["email"] == "alice@example.org"
    assert "password" not in made
    changed = admin.patch(f"{V3}/users/{made['id']}", json={"user": {"phone": "1"}}).json()["user"]
    assert (changed["email"], changed["phone"]) == ("alice@example.org", "1")


def test_names_are_unique_in_their_domain_and_a_domain_ends_with_what_is_in_it(admin, clients):
    domain = create(admin, "domain")
    names = {"name": "twin", "domain_id": domain["id"]}
    user, project = create(admin, "user", password="x", **names), create(admin, "project", **names)
    create(admin, "user", name="twin"), create(admin, "project", name="twin")
    assert admin.put(f"{V3}/projects/{project['id']}/users/{user['id']}/roles/member").status_code == 204

    who = {"name": "twin", "password": "x", "domain": {"name": domain["name"]}}
    scope = {"project": {"name": "twin", "domain": {"id": domain["id"]}}}
    token = clients.ask_token(identity={"methods": ["password"], "password": {"user": who}}, scope=scope)
    assert token.json()["token"]["project"]["domain"] == {"id": domain["id"], "name": domain["name"]}

    admin.patch(f"{V3}/domains/{domain['id']}", json={"domain": {"enabled": False}})
    subject = {"X-Subject-Token": token.headers["X-Subject-Token"]}
    assert admin.get(f"{V3}/auth/tokens", headers=subject).status_code == 404
    assert admin.delete(f"{V3}/domains/{domain['id']}").status_code == 204
    assert admin.get(f"{V3}/users/{user['id']}").status_code == admin.get(f"{V3}/projects/{project['id']}").status_code == 404


def test_a_project_below_another_goes_first(admin):
    above = create(admin, "project")
    below = create(admin, "project", parent_id=above["id"])
    assert (below["parent_id"], below["domain_id"]) == (above["id"], "default")
    assert admin.delete(f"{V3}/projects/{above['id']}").status_code == 403
    assert admin.delete(f"{V3}/projects/{below['id']}").status_code == 204
    assert admin.delete(f"{V3}/projects/{above['id']}").status_code == 204
    refused = admin.post(f"{V3}/projects", json={"project": {"name": "orphan", "parent_id": "no-such"}})
    assert refusal(refused) == (404, "Could not find project: no-such.")


def test_lists_compare_names_and_truths(admin):
    made = create(admin, "project", name=f"Compare-{uuid.uuid4().hex}", enabled=False)
    for query in (
        {"name__istartswith": made["name"].lower()},
        {"name__contains": made["name"][3:]},
        {"name": made["name"], "enabled": "0"},
    ):
        assert admin.get(f"{V3}/projects", params=query).json()["projects"] == [made]
    assert admin.get(f"{V3}/projects", params={"name": made["name"], "enabled": "true"}).json()["projects"] == []


def test_members_administer_nothing(member, person):
    for method, path, body in [
        ("POST", "projects", {"project": {"name": "mine"}}),
        ("POST", "users", {"user": {"name": "mine", "password": "x"}}),
        ("PATCH", f"users/{person.user['id']}", {"user": {"enabled": False}}),
        ("DELETE", f"projects/{person.project['id']}", None),
        ("PUT", f"projects/{person.project['id']}/users/{person.user['id']}/roles/admin", None),
        ("GET", f"projects/{person.project['id']}/users/{person.user['id']}/roles", None),
    ]:
        status, message = refusal(member.request(method, f"{V3}/{path}", json=body))
        assert status == 403
        assert message.startswith("You are not authorized to perform the requested action: identity:")


# -- roles


def test_a_role_is_given_checked_listed_and_taken(admin, clients):
    person = Person(admin, clients)
    one = f"{person.path}/member"
    assert person.ask_token().status_code == 401
    assert admin.head(one).status_code == 404
    assert admin.put(one).status_code == admin.put(one).status_code == admin.head(one).status_code == 204
    assert [role["name"] for role in admin.get(person.path).json()["roles"]] == ["member"]
    with person.http() as http:
        assert http.get("/v2.0/networks").status_code == 200
        assert admin.delete(one).status_code == 204
        assert http.get("/v2.0/networks").status_code == 401
    assert admin.delete(one).status_code == 404
    assert admin.put(f"{person.path}/no-such").status_code == 404
    assert admin.put(one.replace(person.user["id"], "no-such")).status_code == 404
    assert admin.put(one.replace(person.project["id"], "no-such")).status_code == 404


def test_roles_imply_others(admin, clients):
    person = Person(admin, clients, "admin")
    assert {role["name"] for role in person.ask_token().json()["token"]["roles"]} == {"admin", "member", "reader"}
    query = {"user.id": person.user["id"], "effective": ""}
    rows = admin.get(f"{V3}/role_assignments", params=query).json()["role_assignments"]
    assert {row["role"]["id"] for row in rows} == {"admin", "member", "reader"}


def test_a_role_of_ones_own_making_is_in_the_token_and_ends_everywhere(admin, clients):
    role = create(admin, "role")
    person = Person(admin, clients, "member", role["id"])
    assert {"id": role["id"], "name": role["name"]} in person.ask_token().json()["token"]["roles"]
    assert admin.delete(f"{V3}/roles/{role['id']}").status_code == 204
    assert [given["name"] for given in admin.get(person.path).json()["roles"]] == ["member"]


def test_assignments_are_filtered_and_named(admin, person, member):
    project, user = person.project, person.user

    def found(http=admin, **query):
        query = {key.replace("_", "."): value for key, value in query.items()}
        return http.get(f"{V3}/role_assignments", params=query).json()["role_assignments"]

    (row,) = found(scope_project_id=project["id"], user_id=user["id"], role_id="member")
    assert row["role"] == {"id": "member"}
    assert row["user"] == {"id": user["id"]}
    assert row["scope"] == {"project": {"id": project["id"]}}
    assert row["links"]["assignment"].endswith(f"{person.path}/member")
    assert found(scope_project_id=project["id"], role_id="admin") == found(group_id="any") == []

    (named,) = admin.get(f"{V3}/role_assignments", params={"user.id": user["id"], "include_names": "1"}).json()["role_assignments"]
    domain = {"id": "default", "name": "Default"}
    assert named["user"] == {"id": user["id"], "name": user["name"], "domain": domain}
    assert named["scope"]["project"] == {"id": project["id"], "name": project["name"], "domain": domain}
    assert [row["scope"] for row in found(scope_system="all")] == [{"system": {"all": True}}]
    assert len({row["user"]["id"] for row in found(member)}) == 1


def test_tokens_are_for_a_domain_or_the_system_where_a_role_was_given(admin, clients):
    person = Person(admin, clients, "member")
    domain = create(admin, "domain")
    scopes = {f"domains/{domain['id']}": {"domain": {"id": domain["id"]}}, "system": {"system": {"all": True}}}
    for path, scope in scopes.items():
        assert person.ask_token(scope=scope).status_code == 401
        assert admin.put(f"{V3}/{path}/users/{person.user['id']}/roles/admin").status_code == 204
        with person.http(scope=scope) as http:
            token = http.get(f"{V3}/auth/tokens", headers={"X-Subject-Token": http.headers["X-Auth-Token"]}).json()["token"]
            assert "project" not in token
            assert token["roles"]
            assert http.get(f"{V3}/users").status_code == 200
            assert http.get("/v2.0/networks").status_code == 403
            assert http.post(f"{V3}/projects", json={"project": {"name": f"by-{path}"}}).json()["project"]["domain_id"] in (
                "default",
                domain["id"],
            )
        assert admin.delete(f"{V3}/{path}/users/{person.user['id']}/roles/admin").status_code == 204
    with person.http() as http:
        assert http.get(f"{V3}/auth/domains").json()["domains"] == []


def test_a_token_without_a_scope_is_for_the_default_project(admin, clients, person):
    unscoped = person.ask_token(scope=None)
    assert "project" not in unscoped.json()["token"]
    admin.patch(f"{V3}/users/{person.user['id']}", json={"user": {"default_project_id": person.project["id"]}})
    assert person.ask_token(scope=None).json()["token"]["project"]["id"] == person.project["id"]
    assert "project" not in person.ask_token(scope="unscoped").json()["token"]


# -- what ends tokens


@pytest.mark.parametrize("what", ["user", "project"])
@pytest.mark.parametrize("how", ["disabled", "deleted"])
def test_tokens_end_with_their_user_and_project(admin, person, what, how):
    path = f"{V3}/{what}s/{getattr(person, what)['id']}"
    with person.http() as http:
        assert http.get("/v2.0/networks").status_code == 200
        answer = admin.delete(path) if how == "deleted" else admin.patch(path, json={what: {"enabled": False}})
        assert answer.is_success
        assert http.get("/v2.0/networks").status_code == 401
        if how == "disabled":
            assert person.ask_token().status_code == 401
            admin.patch(path, json={what: {"enabled": True}})
            assert http.get("/v2.0/networks").status_code == 401
            assert person.ask_token().status_code == 201


def test_a_password_is_changed_by_an_administrator_or_by_who_knows_it(admin, person):
    path = f"{V3}/users/{person.user['id']}"
    with person.http() as http:
        assert admin.patch(path, json={"user": {"password": "second"}}).status_code == 200
        assert http.get("/v2.0/networks").status_code == 401
    assert person.ask_token().status_code == 401

    with person.http(password="second") as http:
        wrong = http.post(f"{path}/password", json={"user": {"original_password": "guess", "password": "third"}})
        assert refusal(wrong)[0] == 401
        assert http.post(f"{path}/password", json={"user": {"password": "third"}}).status_code == 400
        assert http.post(f"{path}/password", json={"user": {"original_password": "second", "password": "third"}}).status_code == 204
        assert http.get("/v2.0/networks").status_code == 401
    assert person.ask_token(password="third").status_code == 201


# -- application credentials


def credential(person, http, **body):
    path = f"{V3}/users/{person.user['id']}/application_credentials"
    return http.post(path, json={"application_credential": {"name": f"robot-{next(_numbers)}"} | body})


def by_credential(clients, made, **changed):
    proof = {"id": made["id"], "secret": made["secret"]} | changed
    return clients.ask_token(identity={"methods": ["application_credential"], "application_credential": proof}, scope=None)


def test_an_application_credential_opens_its_project_with_its_roles_until_it_is_deleted(admin, clients, person):
    with person.http() as http:
        made = credential(person, http, roles=[{"name": "reader"}], description="reads").json()["application_credential"]
        path = f"{V3}/users/{person.user['id']}/application_credentials/{made['id']}"
        assert made["project_id"] == person.project["id"]
        assert made["roles"] == [{"id": "reader", "name": "reader", "domain_id": None}]
        shown = http.get(path).json()["application_credential"]
        assert "secret" not in shown
        assert http.get(path.rpartition("/")[0]).json()["application_credentials"][0]["id"] == made["id"]
        assert admin.get(path).status_code == 200

        answer = by_credential(clients, made)
        assert answer.status_code == 201
        token = answer.json()["token"]
        assert token["project"]["id"] == person.project["id"]
        assert [role["name"] for role in token["roles"]] == ["reader"]
        assert token["application_credential"] == {"id": made["id"], "name": made["name"], "restricted": True}
        robot = {"X-Auth-Token": answer.headers["X-Subject-Token"]}
        assert http.get("/v2.0/networks", headers=robot).status_code == 200
        assert http.delete(path).status_code == 204
        assert http.get("/v2.0/networks", headers=robot).status_code == 401
        assert http.get(path).status_code == 404
    assert by_credential(clients, made).status_code == 401


def test_an_application_credential_is_found_by_its_name_and_user(clients, person):
    with person.http() as http:
        made = credential(person, http, secret="of my choice").json()["application_credential"]
    assert made["secret"] == "of my choice"
    user = {"name": person.user["name"], "domain": {"name": "Default"}}
    assert by_credential(clients, made, id=None, name=made["name"], user=user).status_code == 201
    assert by_credential(clients, made, secret="guess").status_code == 401
    assert by_credential(clients, made, id="no-such").status_code == 401
    assert by_credential(clients, made, id=None, name=made["name"]).status_code == 400


def test_an_application_credential_stays_what_it_is(clients, person):
    """No other scope, no more roles, no others of its kind unless it is unrestricted."""
    with person.http() as http:
        made = credential(person, http, roles=[{"id": "reader"}]).json()["application_credential"]
        free = credential(person, http, unrestricted=True).json()["application_credential"]
    token = by_credential(clients, made).headers["X-Subject-Token"]
    for scope, status in [
        (None, 201),
        ({"project": {"id": person.project["id"]}}, 201),
        ("unscoped", 401),
        ({"system": {"all": True}}, 401),
    ]:
        answer = clients.ask_token(identity={"methods": ["token"], "token": {"id": token}}, scope=scope)
        assert answer.status_code == status
        if status == 201:
            assert [role["name"] for role in answer.json()["token"]["roles"]] == ["reader"]
    with person.http() as http:
        assert credential(person, http, roles=[{"name": "admin"}]).status_code == 400
        http.headers["X-Auth-Token"] = token
        assert credential(person, http).status_code == 403
        assert http.delete(f"{V3}/users/{person.user['id']}/application_credentials/{made['id']}").status_code == 403
        http.headers["X-Auth-Token"] = by_credential(clients, free).headers["X-Subject-Token"]
        assert credential(person, http).status_code == 201


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"expires_at": "yesterday"}, 400, "expires_at"),
        ({"expires_at": "2020-01-01T00:00:00"}, 400, "in the past"),
        ({"expires_at": "9999-12-31T23:59:59-12:00"}, 400, "expires_at"),
        ({"unrestricted": "yes"}, 400, "unrestricted"),
        ({"roles": "member"}, 400, "roles"),
        ({"access_rules": [{"path": "/"}]}, 400, "access_rules"),
        ({"name": ""}, 400, "name"),
    ],
    ids=str,
)
def test_an_application_credential_that_cannot_be_is_refused(person, body, status, words):
    with person.http() as http:
        answer = credential(person, http, **body)
    assert refusal(answer)[0] == status
    assert words in refusal(answer)[1]


def test_application_credentials_are_their_users_own(admin, member, person):
    with person.http() as http:
        assert credential(person, http, name="same").status_code == 201
        assert refusal(credential(person, http, name="same"))[0] == 409
    assert refusal(credential(person, admin))[0] == refusal(credential(person, member))[0] == 403
    assert member.get(f"{V3}/users/{person.user['id']}/application_credentials").status_code == 403


# -- services


def test_a_service_reads_all_and_deletes_the_ports_of_servers(admin, clients):
    owner, service = Person(admin, clients, "member"), Person(admin, clients, "service")
    with owner.http() as http, service.http() as nova:
        network = http.post("/v2.0/networks", json={"network": {}}).json()["network"]
        body = {"port": {"network_id": network["id"], "device_id": "a-server", "device_owner": "compute:nova"}}
        path = f"/v2.0/ports/{http.post('/v2.0/ports', json=body).json()['port']['id']}"
        assert nova.get(f"{V3}/users/{owner.user['id']}").status_code == 200
        assert nova.get(f"{V3}/auth/tokens", headers={"X-Subject-Token": http.headers["X-Auth-Token"]}).status_code == 200

        assert http.delete(path).status_code == 403
        assert http.delete(path, headers={"X-Service-Token": http.headers["X-Auth-Token"]}).status_code == 403
        assert http.delete(path, headers={"X-Service-Token": "no-such"}).status_code == 401
        assert http.delete(path, headers={"X-Service-Token": nova.headers["X-Auth-Token"]}).status_code == 204
        assert http.delete(f"/v2.0/networks/{network['id']}").status_code == 204


def test_what_is_not_there_is_refused_in_the_shape_of_the_service(admin):
    assert refusal(admin.get(f"{V3}/trusts"))[0] == 404
    assert "itemNotFound" in admin.get("/compute/v2.1/no-such").json()
    assert "NeutronError" in admin.get("/v2.0/no-such").json()


def test_it_is_told_which_role_implies_which(admin):
    rows = admin.get(f"{V3}/role_inferences").json()["role_inferences"]
    implied = {row["prior_role"]["name"]: {role["name"] for role in row["implies"]} for row in rows}
    assert implied == {"admin": {"member", "reader"}, "member": {"reader"}}


def test_there_are_no_groups(admin, person):
    assert admin.get(f"{V3}/users/{person.user['id']}/access_rules").json()["access_rules"] == []
    assert admin.get(f"{V3}/groups").json()["groups"] == []
    assert admin.get(f"{V3}/users/{person.user['id']}/groups").json()["groups"] == []
    assert refusal(admin.get(f"{V3}/groups/any")) == (404, "Could not find group: any.")
