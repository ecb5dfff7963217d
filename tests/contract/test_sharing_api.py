"""RBAC policies and roles through a real server: https://docs.openstack.org/api-ref/network/v2/#rbac-policies"""

import httpx
import pytest

from networking import SINGULAR, Networking

SINGULAR |= {"rbac-policies": "rbac_policy"}
NOWHERE = "11111111-2222-4333-8444-555555555555"


@pytest.fixture(scope="module")
def admin(clients):
    with clients.http("admin") as http:
        networking = Networking(http)
        networking.projects = {project["name"]: project["id"] for project in http.get("/identity/v3/projects").json()["projects"]}
        for name in ("admin", "demo"):
            networking.update("quotas", networking.projects[name], network=-1, rbac_policy=-1)
        yield networking


@pytest.fixture(scope="module")
def demo(clients, admin):
    with clients.http("demo") as http:
        yield Networking(http)


@pytest.fixture(scope="module")
def to_demo(admin):
    """Shares something with the project demo."""

    def share(object, object_type="network", action="access_as_shared", target=admin.projects["demo"]):
        return admin.create("rbac-policies", object_type=object_type, object_id=object["id"], action=action, target_tenant=target)

    return share


def ids(resources):
    return {resource["id"] for resource in resources}


def test_a_policy_has_neutrons_attributes(admin, to_demo):
    network = admin.network()
    policy = to_demo(network)
    assert admin.show("rbac-policies", policy["id"]) == policy
    assert policy == {
        "id": policy["id"],
        "object_type": "network",
        "object_id": network["id"],
        "action": "access_as_shared",
        "target_tenant": admin.projects["demo"],
        "project_id": admin.projects["admin"],
        "tenant_id": admin.projects["admin"],
    }
    assert admin.list("rbac-policies", object_id=network["id"], fields="id") == [{"id": policy["id"]}]
    assert admin.list("rbac-policies", object_id=network["id"], target_tenant="x") == []


def test_who_a_network_is_shared_with_sees_it_as_shared(admin, demo, to_demo):
    network, other = admin.network(), admin.network()
    assert demo.refused("GET", f"/networks/{network['id']}")[:2] == (404, "NetworkNotFound")
    policy = to_demo(network)
    assert demo.show("networks", network["id"])["shared"] is True
    assert demo.show("networks", network["id"], fields="shared") == {"shared": True}
    assert admin.show("networks", network["id"])["shared"] is False
    mine = demo.network()
    assert network["id"] in ids(demo.list("networks", shared=True))
    assert network["id"] not in ids(demo.list("networks", shared=False))
    assert mine["id"] in ids(demo.list("networks", shared=False))
    listed = {found["id"]: found["shared"] for found in demo.list("networks")}
    assert (listed[network["id"]], listed[mine["id"]], other["id"] in listed) == (True, False, False)
    assert network["id"] not in ids(admin.list("networks", shared=True))
    assert demo.refused("PUT", f"/networks/{network['id']}", {"network": {"name": "x"}})[:2] == (403, "PolicyNotAuthorized")
    port = demo.port(network)
    assert admin.refused("DELETE", f"/rbac-policies/{policy['id']}")[:2] == (409, "RbacPolicyInUse")
    demo.delete("ports", port["id"])
    admin.delete("rbac-policies", policy["id"])
    assert demo.refused("GET", f"/networks/{network['id']}")[:2] == (404, "NetworkNotFound")


def test_the_setting_and_the_policy_for_everyone_are_one(admin, demo):
    network = admin.network(shared=True)
    policy = admin.list("rbac-policies", object_id=network["id"])[0]
    assert (policy["target_tenant"], policy["action"]) == ("*", "access_as_shared")
    admin.delete("rbac-policies", policy["id"])
    assert admin.show("networks", network["id"])["shared"] is False
    assert admin.update("networks", network["id"], shared=True)["shared"] is True
    assert demo.show("networks", network["id"])["shared"] is True
    assert network["revision_number"] == 1  # made in one go


def test_external_to_one_project(admin, demo, to_demo):
    network = admin.network()
    policy = to_demo(network, action="access_as_external")
    assert demo.show("networks", network["id"])["router:external"] is True
    assert demo.show("networks", network["id"])["shared"] is False
    admin.delete("rbac-policies", policy["id"])
    assert demo.refused("GET", f"/networks/{network['id']}")[:2] == (404, "NetworkNotFound")
    assert admin.show("networks", network["id"])["router:external"] is True


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"object_type": "port"}, (400, "InvalidInput")),
        ({"object_type": None}, (400, "HTTPBadRequest")),
        ({"object_id": NOWHERE}, (404, "NetworkNotFound")),
        ({"object_id": "x"}, (400, "HTTPBadRequest")),
        ({"action": "access_as_owner"}, (400, "InvalidActionForType")),
        ({"target_tenant": "*"}, (403, "PolicyNotAuthorized")),
        ({"target_tenant": ""}, (400, "HTTPBadRequest")),
        ({"id": NOWHERE}, (400, "HTTPBadRequest")),
    ],
)
def test_what_is_no_policy_is_refused(demo, change, refusal):
    network = demo.network()
    body = {"object_type": "network", "object_id": network["id"], "action": "access_as_shared", "target_tenant": "other"}
    assert demo.refused("POST", "/rbac-policies", {"rbac_policy": body | change})[:2] == refusal
    assert demo.list("rbac-policies", object_id=network["id"]) == []


def test_a_policy_is_its_owners_and_there_once(admin, demo, to_demo):
    network = admin.network()
    policy = to_demo(network)
    body = {"object_type": "network", "object_id": network["id"], "action": "access_as_shared", "target_tenant": admin.projects["demo"]}
    assert admin.refused("POST", "/rbac-policies", {"rbac_policy": body})[:2] == (409, "DuplicateRbacPolicy")
    assert demo.refused("GET", f"/rbac-policies/{policy['id']}")[:2] == (404, "RbacPolicyNotFound")
    foreign = {"rbac_policy": body | {"target_tenant": "other"}}
    assert demo.refused("POST", "/rbac-policies", foreign)[:2] == (400, "InvalidInput")  # it sees the network, and does not own it
    assert admin.update("rbac-policies", policy["id"], target_tenant="other")["target_tenant"] == "other"
    assert demo.refused("GET", f"/networks/{network['id']}")[:2] == (404, "NetworkNotFound")


def test_the_quota_of_policies(admin, demo):
    network = demo.network()
    admin.update("quotas", admin.projects["demo"], rbac_policy=0, force=True)
    body = {"object_type": "network", "object_id": network["id"], "action": "access_as_shared", "target_tenant": "other"}
    assert demo.refused("POST", "/rbac-policies", {"rbac_policy": body})[:2] == (409, "OverQuota")
    admin.update("quotas", admin.projects["demo"], rbac_policy=-1)


@pytest.mark.parametrize("object_type", ["address_scope", "subnetpool", "security_group", "address_group", "qos_policy"])
def test_other_kinds_are_shared_the_same_way(admin, demo, to_demo, object_type):
    more = {"address_scope": {"ip_version": 4}, "subnetpool": {"prefixes": ["10.0.0.0/8"]}}
    word = object_type.removeprefix("qos_")
    plural = {"qos_policy": "qos/policies"}.get(object_type, f"{object_type}s".replace("_", "-"))
    made = admin.request("POST", f"/{plural}", json={word: {"name": "shared-kind"} | more.get(object_type, {})}).json()[word]
    assert demo.request("GET", f"/{plural}/{made['id']}").status_code == 404
    policy = to_demo(made, object_type)
    seen = demo.request("GET", f"/{plural}/{made['id']}").json()[word]
    assert seen.get("shared", True) is True
    assert made["id"] in ids(demo.request("GET", f"/{plural}").json()[plural.removeprefix("qos/").replace("-", "_")])
    assert admin.request("DELETE", f"/{plural}/{made['id']}").status_code == 204
    assert admin.refused("GET", f"/rbac-policies/{policy['id']}")[0] == 404


def test_the_sdk(clients, admin):
    network = admin.network()
    with clients.sdk("admin") as sdk:
        made = sdk.network.create_rbac_policy(
            object_type="network", object_id=network["id"], action="access_as_shared", target_project_id=admin.projects["demo"]
        )
        assert sdk.network.get_rbac_policy(made.id).target_project_id == admin.projects["demo"]
        assert [found.id for found in sdk.network.rbac_policies(object_id=network["id"])] == [made.id]
        assert sdk.network.update_rbac_policy(made, target_project_id="other").target_project_id == "other"
        sdk.network.delete_rbac_policy(made)
        assert sdk.network.find_rbac_policy(made.id) is None


def test_the_command(clients, admin):
    network = admin.network(name="TOSHARE")
    command = "network rbac create --type network --action access_as_shared --target-project demo TOSHARE"
    made = clients.openstack(*command.split(), user="admin")
    assert (made["object_id"], made["target_project_id"]) == (network["id"], admin.projects["demo"])


# -- roles


@pytest.fixture
def by_role(serving, clients, admin):
    """The network API as a new user sees it who has one role on the project demo."""
    opened = []

    def enter(role):
        name, domain = f"{role}-{len(opened)}", {"id": "default"}
        with clients.http("admin") as http:
            made = http.post("/identity/v3/users", json={"user": {"name": name, "password": "secret", "domain_id": "default"}})
            assert made.status_code == 201, made.text
            path = f"/identity/v3/projects/{admin.projects['demo']}/users/{made.json()['user']['id']}/roles"
            roles = http.get("/identity/v3/roles").json()["roles"]
            role_id = next(found["id"] for found in roles if found["name"] == role)
            assert http.put(f"{path}/{role_id}").status_code == 204
        identity = {"methods": ["password"], "password": {"user": {"name": name, "password": "secret", "domain": domain}}}
        asked = {"auth": {"identity": identity, "scope": {"project": {"id": admin.projects["demo"]}}}}
        token = httpx.post(f"{serving.url}/identity/v3/auth/tokens", json=asked, trust_env=False).headers["X-Subject-Token"]
        opened.append(httpx.Client(base_url=serving.url, headers={"X-Auth-Token": token}, trust_env=False, timeout=30))
        return Networking(opened[-1])

    yield enter
    for http in opened:
        http.close()


def test_a_reader_reads_and_changes_nothing(demo, by_role):
    reader, network = by_role("reader"), demo.network()
    assert reader.show("networks", network["id"]) == network
    assert network["id"] in ids(reader.list("networks"))
    before = reader.everything()
    for method, path, body in (
        ("POST", "/networks", {"network": {}}),
        ("POST", "/ports", {"ports": [{"network_id": network["id"]}]}),
        ("PUT", f"/networks/{network['id']}", {"network": {"name": "x"}}),
        ("PUT", f"/networks/{network['id']}/tags", {"tags": ["x"]}),
        ("PUT", f"/routers/{NOWHERE}/add_router_interface", {}),
        ("DELETE", f"/networks/{network['id']}", None),
        ("DELETE", f"/networks/{NOWHERE}", None),  # it learns nothing of what there is
    ):
        assert reader.refused(method, path, body)[:2] == (403, "PolicyNotAuthorized")
    assert reader.everything() == before
    refused = reader.http.post("/compute/v2.1/servers", json={"server": {}})
    assert (refused.status_code, set(refused.json())) == (403, {"forbidden"})


def test_a_member_writes_in_his_project_and_a_service_sees_all(admin, by_role):
    member, service, foreign = by_role("member"), by_role("service"), admin.network()
    assert member.network()["project_id"] == admin.projects["demo"]
    assert member.refused("GET", f"/networks/{foreign['id']}")[0] == 404
    assert service.show("networks", foreign["id"])["provider:network_type"] == "vxlan"
    assert service.refused("DELETE", f"/networks/{foreign['id']}")[:2] == (403, "PolicyNotAuthorized")


def test_the_subnets_of_an_external_network_are_seen_with_it(admin, demo):
    network = admin.network()
    subnet = admin.subnet(network)
    assert demo.refused("GET", f"/subnets/{subnet['id']}")[:2] == (404, "SubnetNotFound")

    admin.update("networks", network["id"], **{"router:external": True})

    assert [row["id"] for row in demo.list("subnets", network_id=network["id"])] == [subnet["id"]]


def test_a_subnet_is_external_as_its_network_is(admin):
    network = admin.network()
    subnet = admin.subnet(network)
    assert subnet["router:external"] is False
    for is_external in (True, False):
        admin.update("networks", network["id"], **{"router:external": is_external})
        assert admin.show("subnets", subnet["id"])["router:external"] is is_external
    admin.update("networks", network["id"], **{"router:external": True})
    found = admin.list("subnets", ("router:external", "True"), network_id=network["id"])
    assert [row["id"] for row in found] == [subnet["id"]]
    assert admin.subnet(network, "10.0.1.0/24")["router:external"] is True
    assert admin.refused("PUT", f"/subnets/{subnet['id']}", {"subnet": {"router:external": False}})[0] == 400
