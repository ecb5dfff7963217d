"""Network pools through a real server: what a pool may say, who finds its members, and what a refusal leaves as it was."""

import pytest

from networking import SINGULAR, Networking

SINGULAR |= {"network-pools": "network_pool", "rbac-policies": "rbac_policy"}
NOWHERE = "11111111-2222-4333-8444-555555555555"


@pytest.fixture(scope="module")
def admin(clients):
    with clients.http("admin") as http:
        networking = Networking(http)
        networking.projects = {project["name"]: project["id"] for project in http.get("/identity/v3/projects").json()["projects"]}
        for project in networking.projects.values():
            networking.update("quotas", project, network=-1, network_pool=-1, rbac_policy=-1)
        yield networking


@pytest.fixture
def pool(admin):
    """Makes a pool of networks."""

    def make(*networks, by=admin, **given):
        return by.create("network-pools", members=[{"network_id": network["id"]} for network in networks], **given)

    return make


def ids(resources):
    return {resource["id"] for resource in resources}


def test_a_pool_is_shown_as_it_was_made(admin, pool):
    network = admin.network()
    made = pool(network, name="p", policy="spread", purposes=["dev"], weights={"priority": -1}, member_tags={"tags-any": ["a"]})
    assert made == {
        "id": made["id"],
        "name": "p",
        "description": "",
        "project_id": admin.projects["admin"],
        "tenant_id": admin.projects["admin"],
        "revision_number": 1,
        "created_at": made["created_at"],
        "updated_at": made["updated_at"],
        "tags": [],
        "members": [{"network_id": network["id"], "priority": None, "weight": 1.0, "cordoned": False, "reason": ""}],
        "member_tags": {"tags-any": ["a"]},
        "policy": "spread",
        "weights": {"priority": -1.0},
        "purposes": ["dev"],
        "floor_count": 0,
        "floor_ratio": 0.0,
        "project_share": None,
        "quarantine_s": None,
        "autogrow": None,
        "shared": False,
        "is_default": False,
        "hidden": False,
    }
    assert admin.show("network-pools", made["id"]) == made


def test_pools_are_listed_filtered_sorted_tagged_and_changed(admin, pool):
    b, a = pool(name="b", policy="pack", purposes=["ci", "test"]), pool(name="a", policy="pack")
    assert [row["name"] for row in admin.list("network-pools", policy="pack", sort_key="name")] == ["a", "b"]
    assert ids(admin.list("network-pools", purposes="ci")) == {b["id"]}
    assert admin.http.put(f"/v2.0/network-pools/{a['id']}/tags", json={"tags": ["x"]}).status_code == 200
    assert ids(admin.list("network-pools", tags="x")) == {a["id"]}
    changed = admin.update("network-pools", b["id"], policy="sticky", floor_count=3, member_tags=None)
    assert (changed["policy"], changed["floor_count"], changed["revision_number"]) == ("sticky", 3, 2)
    stale = admin.http.put(
        f"/v2.0/network-pools/{b['id']}", json={"network_pool": {"name": "c"}}, headers={"If-Match": "revision_number=1"}
    )
    assert stale.status_code == 412
    admin.delete("network-pools", b["id"])
    assert admin.refused("GET", f"/network-pools/{b['id']}")[:2] == (404, "NetworkPoolNotFound")


BAD = [
    ({"members": [{"network_id": NOWHERE}]}, 404, NOWHERE),
    ({"members": [{"network_id": "x"}]}, 400, "'x' is not a valid UUID"),
    ({"members": [{}]}, 400, "missing keys ['network_id']"),
    ({"members": [{"network_id": "NET", "weight": -1}]}, 400, "'-1' is too small"),
    ({"members": [{"network_id": "NET", "weight": "NaN"}]}, 400, "'NaN' is not a number"),
    ({"members": [{"network_id": "NET", "priority": -1}]}, 400, "'-1' is too small"),
    ({"members": [{"network_id": "NET"}, {"network_id": "NET", "priority": 2}]}, 400, "is named twice"),
    ({"members": [{"network_id": "POOL"}]}, 400, "pools are not nested"),
    ({"members": [{"network_id": "SELF"}]}, 400, "names itself"),
    ({"members": "NET"}, 400, "is not a list"),
    ({"member_tags": {"tag": ["a"]}}, 400, "'tag' is no test of tags; there are tags, tags-any, not-tags, not-tags-any"),
    ({"member_tags": {"tags": []}}, 400, "'tags' names no tag"),
    ({"member_tags": {"tags": "a"}}, 400, "is not a list"),
    ({"member_tags": ["a"]}, 400, "is not an object"),
    ({"policy": "best"}, 400, "'best' is not in ['sequential', 'spread'"),
    ({"weights": {"luck": 1}}, 400, "'luck' is no weigher; there are free_count"),
    ({"weights": {"sticky": True}}, 400, "'True' is not a number"),
    ({"weights": {"sticky": "inf"}}, 400, "'inf' is not a number"),
    ({"floor_ratio": 1.5}, 400, "'1.5' is too large, must be at most 1"),
    ({"project_share": -0.1}, 400, "'-0.1' is too small, must be at least 0"),
    ({"floor_count": -1}, 400, "'-1' is too small"),
    ({"quarantine_s": -1}, 400, "'-1' is too small"),
    ({"purposes": ["a", "a"]}, 400, "duplicate items"),
    ({"purposes": ["a,b"]}, 400, "no word for a purpose"),
    ({"purposes": [""]}, 400, "no word for a purpose"),
]


@pytest.mark.parametrize(("body", "status", "says"), BAD, ids=str)
def test_bad_input_is_refused_by_name_and_changes_nothing(admin, pool, body, status, says):
    own = pool(name="own")
    names = {"NET": admin.network()["id"], "POOL": pool(name="another")["id"], "SELF": own["id"]}
    for member in body.get("members", ()):
        if isinstance(member, dict):
            body = {
                "members": [
                    row | {"network_id": names.get(row.get("network_id"), row.get("network_id"))} if row else row for row in body["members"]
                ]
            }
    before = admin.list("network-pools")
    refused = admin.refused("PUT", f"/network-pools/{own['id']}", {"network_pool": body})
    assert refused[0] == status, refused
    assert says in refused[2], refused
    if "SELF" not in str(body) and own["id"] not in str(body):
        assert admin.refused("POST", "/network-pools", {"network_pool": body})[0] == status
    assert admin.list("network-pools") == before


def test_a_foreign_network_is_none_and_a_member_shares_with_nobody_alone(admin, demo):
    foreign, own = admin.network(), demo.network()
    body = {"network_pool": {"members": [{"network_id": foreign["id"]}]}}
    assert demo.refused("POST", "/network-pools", body)[:2] == (404, "NetworkNotFound")
    mine = demo.create("network-pools", members=[{"network_id": own["id"]}])
    assert demo.refused("PUT", f"/network-pools/{mine['id']}", {"network_pool": {"shared": True}})[0] == 403
    assert demo.refused("POST", "/network-pools", {"network_pool": {"hidden": "perhaps"}})[0] == 400


def test_quota_bounds_pools(admin, demo):
    project = admin.projects["demo"]
    used = len(demo.list("network-pools"))
    admin.update("quotas", project, network_pool=used)
    assert demo.refused("POST", "/network-pools", {"network_pool": {}})[:2] == (409, "OverQuota")
    details = admin.http.get(f"/v2.0/quotas/{project}/details").json()["quota"]["network_pool"]
    assert details == {"limit": used, "used": used, "reserved": 0}
    admin.update("quotas", project, network_pool=-1)


def test_a_project_reaches_the_members_of_a_pool_that_is_shared_with_it(admin, demo, pool):
    network = admin.network()
    admin.subnet(network)
    shared = pool(network, hidden=True)
    assert demo.refused("GET", f"/networks/{network['id']}")[0] == 404
    target = {"object_type": "network_pool", "object_id": shared["id"], "action": "access_as_shared"}
    policy = admin.create("rbac-policies", target_tenant=admin.projects["demo"], **target)
    assert demo.show("network-pools", shared["id"])["shared"] is True
    assert demo.show("networks", network["id"])["id"] == network["id"]
    assert ids(demo.list("networks", id=network["id"])) == {network["id"]}
    assert network["id"] not in ids(demo.list("networks"))
    assert network["id"] not in ids(demo.list("networks", name=network["name"]))
    assert network["id"] in ids(admin.list("networks"))
    port = demo.port(network)
    assert port["fixed_ips"]
    admin.update("network-pools", shared["id"], hidden=False)
    assert network["id"] in ids(demo.list("networks"))
    demo.delete("ports", port["id"])
    admin.delete("rbac-policies", policy["id"])
    assert demo.refused("GET", f"/networks/{network['id']}")[0] == 404
    assert demo.refused("GET", f"/network-pools/{shared['id']}")[0] == 404


def test_a_network_that_is_deleted_leaves_its_pools(admin, pool):
    gone, stays = admin.network(), admin.network()
    made = pool(gone, stays)
    admin.delete("networks", gone["id"])
    assert [member["network_id"] for member in admin.show("network-pools", made["id"])["members"]] == [stays["id"]]
