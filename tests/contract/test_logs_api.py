"""Logs: https://docs.openstack.org/api-ref/network/v2/#logging-resource"""

import pytest

NOWHERE = "11111111-2222-4333-8444-555555555555"
GROUP = {"resource_type": "security_group"}


def made(admin, **attributes):
    answer = admin.request("POST", "/log/logs", json={"log": GROUP | attributes})
    assert answer.status_code == 201, answer.text
    return answer.json()["log"]


def logs(admin, query=""):
    return admin.request("GET", f"/log/logs{query}").json()["logs"]


def test_what_can_be_logged(admin):
    assert admin.request("GET", "/log/loggable-resources").json() == {"loggable_resources": [{"type": "security_group"}]}


def test_a_log_is_kept_changed_and_deleted(admin):
    log = made(admin, name="all")
    shown = {name: log[name] for name in ("name", "event", "enabled", "resource_id", "target_id", "resource_type", "revision_number")}
    assert shown == {
        "name": "all", "event": "ALL", "enabled": True, "resource_id": None, "target_id": None, "resource_type": "security_group",
        "revision_number": 1,
    }  # fmt: skip
    path = f"/log/logs/{log['id']}"
    changed = admin.request("PUT", path, json={"log": {"enabled": "False", "description": "off"}}).json()["log"]
    assert (changed["enabled"], changed["description"], changed["revision_number"]) == (False, "off", 2)
    assert admin.refused("PUT", path, {"log": {"event": "DROP"}})[0] == 400
    made(admin, event="DROP")
    assert [row["id"] for row in logs(admin, "?event=ALL&fields=id")] == [log["id"]]
    assert [row["enabled"] for row in logs(admin, "?sort_key=enabled&sort_dir=desc")] == [True, False]
    assert admin.request("DELETE", path).status_code == 204
    assert admin.refused("GET", path)[:2] == (404, "LogResourceNotFound")


def test_logs_go_with_their_group_and_port(admin, demo):
    group = demo.create("security-groups", name="web")
    network = demo.network()
    port, other = demo.port(network, security_groups=[group["id"]]), demo.port(network)
    made(admin, name="port", resource_id=group["id"], target_id=port["id"])
    made(admin, name="group", resource_id=group["id"])
    wrong = {"log": GROUP | {"resource_id": group["id"], "target_id": other["id"]}}
    assert admin.refused("POST", "/log/logs", wrong)[:2] == (400, "InvalidResourceConstraint")
    demo.delete("ports", port["id"])
    assert [row["name"] for row in logs(admin, f"?resource_id={group['id']}")] == ["group"]
    demo.delete("security-groups", group["id"])
    assert logs(admin, f"?resource_id={group['id']}") == []


@pytest.mark.parametrize(
    ("wanted", "refusal"),
    [
        ({}, (400, "HTTPBadRequest")),
        ({"resource_type": "router"}, (400, "InvalidLogResourceType")),
        (GROUP | {"resource_id": NOWHERE}, (404, "ResourceNotFound")),
        (GROUP | {"target_id": NOWHERE}, (404, "TargetResourceNotFound")),
        (GROUP | {"event": "REJECT"}, (400, "HTTPBadRequest")),
    ],
)
def test_logs_that_cannot_be_are_refused(admin, wanted, refusal):
    assert admin.refused("POST", "/log/logs", {"log": wanted})[:2] == refusal


def test_they_are_the_administrators_affair(admin, demo):
    project = demo.network()["project_id"]
    log = made(admin, project_id=project)
    assert logs(demo) == []
    assert demo.refused("GET", f"/log/logs/{log['id']}")[:2] == (404, "LogResourceNotFound")
    assert demo.refused("POST", "/log/logs", {"log": GROUP})[:2] == (403, "PolicyNotAuthorized")
    assert demo.refused("GET", "/log/loggable-resources")[:2] == (403, "PolicyNotAuthorized")
