"""Metering labels and rules: https://docs.openstack.org/api-ref/network/v2/#metering-labels-and-rules"""

import pytest

NOWHERE = "11111111-2222-4333-8444-555555555555"
LABELS, RULES = "/metering/metering-labels", "/metering/metering-label-rules"


def made(admin, path, singular, **attributes):
    answer = admin.request("POST", path, json={singular: attributes})
    assert answer.status_code == 201, answer.text
    return answer.json()[singular]


@pytest.fixture
def label(admin):
    label = made(admin, LABELS, "metering_label", name="out", description="what leaves", shared="true")
    yield label
    admin.request("DELETE", f"{LABELS}/{label['id']}")


def rule_of(label, prefix="10.0.0.0/8", **more):
    return {"metering_label_id": label["id"], "direction": "egress", "remote_ip_prefix": prefix} | more


def test_a_label_is_kept_with_its_rules_and_takes_them_along(admin, label):
    assert (label["name"], label["description"], label["shared"]) == ("out", "what leaves", True)
    assert set(label) == {"id", "name", "description", "shared", "project_id", "tenant_id"}
    rule = made(admin, RULES, "metering_label_rule", **rule_of(label))
    assert (rule["excluded"], rule["direction"], rule["remote_ip_prefix"]) == (False, "egress", "10.0.0.0/8")
    listed = admin.request("GET", f"{RULES}?metering_label_id={label['id']}&fields=id").json()
    assert listed == {"metering_label_rules": [{"id": rule["id"]}]}
    assert admin.refused("PUT", f"{LABELS}/{label['id']}", {"metering_label": {"name": "x"}})[0] == 405
    assert admin.request("DELETE", f"{LABELS}/{label['id']}").status_code == 204
    assert admin.refused("GET", f"{RULES}/{rule['id']}")[:2] == (404, "MeteringLabelRuleNotFound")
    assert admin.refused("GET", f"{LABELS}/{label['id']}")[:2] == (404, "MeteringLabelNotFound")


def test_rules_that_say_the_same_do_not_overlap(admin, label):
    made(admin, RULES, "metering_label_rule", **rule_of(label))
    again = {"metering_label_rule": rule_of(label, "10.1.0.0/16")}
    assert admin.refused("POST", RULES, again)[:2] == (409, "MeteringLabelRuleOverlaps")
    for other in (rule_of(label, "10.1.0.0/16", excluded=True), rule_of(label, direction="ingress"), rule_of(label, "fd00::/8")):
        made(admin, RULES, "metering_label_rule", **other)


@pytest.mark.parametrize(
    ("wrong", "refusal"),
    [
        ({"metering_label_id": NOWHERE}, (404, "MeteringLabelNotFound")),
        ({"direction": "both"}, (400, "HTTPBadRequest")),
        ({"remote_ip_prefix": "10.0.0.0/40"}, (400, "HTTPBadRequest")),
    ],
)
def test_rules_that_cannot_be_are_refused(admin, label, wrong, refusal):
    assert admin.refused("POST", RULES, {"metering_label_rule": rule_of(label) | wrong})[:2] == refusal


def test_they_are_the_administrators_affair(admin, demo, label):
    assert demo.request("GET", LABELS).json() == {"metering_labels": []}
    assert demo.refused("GET", f"{LABELS}/{label['id']}")[:2] == (404, "MeteringLabelNotFound")
    assert demo.refused("POST", LABELS, {"metering_label": {"name": "mine"}})[:2] == (403, "PolicyNotAuthorized")
    assert demo.refused("POST", RULES, {"metering_label_rule": rule_of(label)})[:2] == (403, "PolicyNotAuthorized")


def test_the_sdk_and_the_command(clients):
    with clients.sdk("admin") as sdk:
        label = sdk.network.create_metering_label(name="sdk", is_shared=True)
        rule = sdk.network.create_metering_label_rule(metering_label_id=label.id, direction="ingress", remote_ip_prefix="0.0.0.0/0")
        assert [found.id for found in sdk.network.metering_label_rules(direction="ingress")] == [rule.id]
        assert [row["Name"] for row in clients.openstack("network", "meter", "list", user="admin")] == ["sdk"]
        sdk.network.delete_metering_label_rule(rule)
        sdk.network.delete_metering_label(label)
        assert list(sdk.network.metering_labels()) == []
