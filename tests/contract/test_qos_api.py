"""QoS policies and rules of a real server.

https://docs.openstack.org/api-ref/network/v2/#quality-of-service
"""

import uuid

import pytest

from clients import FakeHost
from networking import Networking

NOWHERE = str(uuid.UUID(int=4))
RULES = {
    "bandwidth_limit_rule": {"max_kbps": 1000, "max_burst_kbps": 0, "direction": "egress"},
    "dscp_marking_rule": {"dscp_mark": 26},
    "minimum_bandwidth_rule": {"min_kbps": 500, "direction": "egress"},
    "packet_rate_limit_rule": {"max_kpps": 100, "max_burst_kpps": 0, "direction": "egress"},
    "minimum_packet_rate_rule": {"min_kpps": 50, "direction": "egress"},
}


class Qos(Networking):
    def post(self, path, name, /, **attributes):
        answer = self.request("POST", path, json={name: attributes})
        assert answer.status_code == 201, answer.text
        return answer.json()[name]

    def put(self, path, name, /, **attributes):
        answer = self.request("PUT", path, json={name: attributes})
        assert answer.status_code == 200, answer.text
        return answer.json()[name]

    def get(self, path, /, **query):
        answer = self.request("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        (value,) = answer.json().values()
        return value

    def policy(self, **attributes):
        return self.post("/qos/policies", "policy", **{"name": "gold"} | attributes)

    def rule(self, policy, name, /, **attributes):
        return self.post(f"/qos/policies/{policy['id']}/{name}s", name, **attributes)


@pytest.fixture(scope="module")
def admin(clients):
    with clients.http("admin") as http:
        yield Qos(http)


@pytest.fixture(scope="module")
def demo(clients):
    with clients.http("demo") as http:
        yield Qos(http)


@pytest.fixture
def policy(admin):
    return admin.policy()


# -- policies


def test_a_policy_has_neutrons_attributes_and_defaults(admin):
    made = admin.policy(description="best")
    times = {made.pop("created_at"), made.pop("updated_at")}
    project_id = made.pop("project_id")
    assert len(times) == 1
    assert made.pop("tenant_id") == project_id
    assert made.pop("id")
    assert made == {
        "name": "gold", "description": "best", "shared": False, "is_default": False, "rules": [], "tags": [], "revision_number": 1,
    }  # fmt: skip


def test_policies_are_listed_changed_and_deleted(admin, policy):
    path = f"/qos/policies/{policy['id']}"
    assert admin.put(path, "policy", name="silver", shared="True")["shared"] is True
    assert admin.get("/qos/policies", name="silver", fields="id") == [{"id": policy["id"]}]
    assert admin.request("DELETE", path).status_code == 204
    assert admin.refused("GET", path)[:2] == (404, "QosPolicyNotFound")


def test_members_see_shared_policies_and_change_none(admin, demo, policy):
    assert demo.refused("GET", f"/qos/policies/{policy['id']}")[:2] == (404, "QosPolicyNotFound")
    assert demo.refused("POST", "/qos/policies", {"policy": {"name": "mine"}})[:2] == (403, "PolicyNotAuthorized")
    rule = admin.rule(policy, "dscp_marking_rule", dscp_mark=8)
    admin.put(f"/qos/policies/{policy['id']}", "policy", shared=True)
    assert [one["id"] for one in demo.get(f"/qos/policies/{policy['id']}")["rules"]] == [rule["id"]]
    path = f"/qos/policies/{policy['id']}/dscp_marking_rules"
    assert demo.get(f"{path}/{rule['id']}") == rule
    for method, end in (("PUT", ""), ("DELETE", f"/dscp_marking_rules/{rule['id']}"), ("DELETE", "")):
        body = {"policy": {"name": "x"}} if method == "PUT" else None
        assert demo.refused(method, f"/qos/policies/{policy['id']}{end}", body)[:2] == (403, "PolicyNotAuthorized")


def test_a_policy_is_shared_with_one_project(admin, demo, policy):
    project_id = demo.network()["project_id"]
    asked = {"object_type": "qos_policy", "object_id": policy["id"], "action": "access_as_shared", "target_tenant": project_id}
    rbac = admin.post("/rbac-policies", "rbac_policy", **asked)
    port = demo.port(demo.network(), qos_policy_id=policy["id"])
    assert admin.refused("DELETE", f"/rbac-policies/{rbac['id']}")[:2] == (409, "RbacPolicyInUse")
    demo.update("ports", port["id"], qos_policy_id=None)
    assert admin.request("DELETE", f"/rbac-policies/{rbac['id']}").status_code == 204
    assert demo.refused("GET", f"/qos/policies/{policy['id']}")[:2] == (404, "QosPolicyNotFound")


def test_new_networks_of_a_project_get_its_default_policy(admin):
    project_id = NOWHERE.replace("-", "")
    default = admin.policy(is_default=True, project_id=project_id)
    second = admin.policy(project_id=project_id)
    taken = (409, "QoSPolicyDefaultAlreadyExists")
    assert admin.refused("POST", "/qos/policies", {"policy": {"is_default": True, "project_id": project_id}})[:2] == taken
    assert admin.refused("PUT", f"/qos/policies/{second['id']}", {"policy": {"is_default": True}})[:2] == taken
    assert admin.network(project_id=project_id)["qos_policy_id"] == default["id"]
    assert admin.network(project_id=project_id, qos_policy_id=second["id"])["qos_policy_id"] == second["id"]
    assert admin.network()["qos_policy_id"] is None


# -- rules


@pytest.mark.parametrize("name", RULES)
def test_rules_of_every_type(admin, policy, name):
    required = {key: value for key, value in RULES[name].items() if key not in ("direction", "max_burst_kbps", "max_burst_kpps")}
    made = admin.rule(policy, name, **required)
    id = made["id"]
    assert made == {"id": id} | RULES[name]
    path = f"/qos/policies/{policy['id']}/{name}s"
    assert admin.get(path) == [made]
    assert admin.get(path, **{key: str(value) for key, value in required.items()}) == [made]
    embedded = made | {"type": name.removesuffix("_rule"), "qos_policy_id": policy["id"]}
    assert admin.get(f"/qos/policies/{policy['id']}")["rules"] == [embedded]

    changed = dict.fromkeys(required, 10)
    assert admin.put(f"{path}/{id}", name, **changed) == made | changed
    for prefix in (f"/qos/alias_{name}s", f"/qos/alias-{name.replace('_', '-')}s"):
        assert admin.get(f"{prefix}/{id}") == made | changed
    assert admin.put(f"/qos/alias_{name}s/{id}", f"alias_{name}", **required) == made
    assert admin.get(f"/qos/policies/{policy['id']}")["rules"] == [embedded]

    other = admin.policy()
    assert admin.refused("GET", f"/qos/policies/{other['id']}/{name}s/{id}")[0] == 404
    assert admin.request("DELETE", f"/qos/alias_{name}s/{id}").status_code == 204
    assert admin.get(path) == []
    assert admin.get(f"/qos/policies/{policy['id']}")["rules"] == []


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("bandwidth_limit_rule", {}, 400),
        ("bandwidth_limit_rule", {"max_kbps": -1}, 400),
        ("bandwidth_limit_rule", {"max_kbps": 1, "direction": "any"}, 400),
        ("bandwidth_limit_rule", {"max_kbps": 1, "qos_policy_id": NOWHERE}, 400),
        ("dscp_marking_rule", {"dscp_mark": 3}, 400),
        ("minimum_packet_rate_rule", {"min_kpps": 1, "direction": "sideways"}, 400),
    ],
)
def test_rules_that_cannot_be_are_refused(admin, policy, name, body, status):
    assert admin.refused("POST", f"/qos/policies/{policy['id']}/{name}s", {name: body})[0] == status


def test_rules_that_do_not_go_together_are_refused(admin, policy):
    path = f"/qos/policies/{policy['id']}"
    limit = admin.rule(policy, "bandwidth_limit_rule", max_kbps=1000)
    admin.rule(policy, "bandwidth_limit_rule", max_kbps=1000, direction="ingress")
    again = {"bandwidth_limit_rule": {"max_kbps": 5}}
    assert admin.refused("POST", f"{path}/bandwidth_limit_rules", again)[:2] == (409, "QoSRulesConflict")
    turned = {"bandwidth_limit_rule": {"direction": "ingress"}}
    assert admin.refused("PUT", f"{path}/bandwidth_limit_rules/{limit['id']}", turned)[:2] == (409, "QoSRulesConflict")
    above = {"minimum_bandwidth_rule": {"min_kbps": 1001}}
    assert admin.refused("POST", f"{path}/minimum_bandwidth_rules", above)[:2] == (409, "QoSRuleParameterConflict")
    admin.rule(policy, "minimum_bandwidth_rule", min_kbps=900)
    below = {"bandwidth_limit_rule": {"max_kbps": 899}}
    assert admin.refused("PUT", f"{path}/bandwidth_limit_rules/{limit['id']}", below)[:2] == (409, "QoSRuleParameterConflict")
    admin.rule(policy, "minimum_packet_rate_rule", min_kpps=1, direction="any")
    one_way = {"minimum_packet_rate_rule": {"min_kpps": 1}}
    assert admin.refused("POST", f"{path}/minimum_packet_rate_rules", one_way)[:2] == (409, "QoSRulesConflict")
    assert admin.refused("POST", f"/qos/policies/{NOWHERE}/dscp_marking_rules", {"dscp_marking_rule": {"dscp_mark": 8}})[0] == 404


def test_rule_types(demo):
    types = ["bandwidth_limit", "dscp_marking", "minimum_bandwidth", "packet_rate_limit", "minimum_packet_rate"]
    assert [one["type"] for one in demo.get("/qos/rule-types", all_rules="True")] == types
    assert demo.get("/qos/rule-types/minimum_bandwidth") == {"type": "minimum_bandwidth", "drivers": []}
    assert demo.refused("GET", "/qos/rule-types/fast")[0] == 404
    assert demo.refused("GET", "/qos/rule-types?all_rules=1&all_supported=1")[0] == 400


# -- what has a policy


def test_networks_and_ports_have_policies(admin, demo, policy):
    admin.put(f"/qos/policies/{policy['id']}", "policy", shared=True)
    network = demo.network(qos_policy_id=policy["id"])
    port = demo.port(network)
    assert (port["qos_policy_id"], port["qos_network_policy_id"]) == (None, policy["id"])
    used = (409, "QosPolicyInUse")
    assert admin.refused("DELETE", f"/qos/policies/{policy['id']}")[:2] == used
    assert demo.update("networks", network["id"], qos_policy_id=None)["qos_policy_id"] is None
    assert demo.show("ports", port["id"])["qos_network_policy_id"] is None
    demo.update("ports", port["id"], qos_policy_id=policy["id"])
    assert admin.refused("DELETE", f"/qos/policies/{policy['id']}")[:2] == used
    demo.update("ports", port["id"], qos_policy_id=None)
    assert admin.request("DELETE", f"/qos/policies/{policy['id']}").status_code == 204


def test_nobody_takes_or_gives_a_policy_that_he_may_not_see(admin, demo, policy):
    network = demo.network()
    missing = (404, "QosPolicyNotFound")
    for id in (policy["id"], NOWHERE):
        assert demo.refused("POST", "/ports", {"port": {"network_id": network["id"], "qos_policy_id": id}})[:2] == missing
        assert demo.refused("PUT", f"/networks/{network['id']}", {"network": {"qos_policy_id": id}})[:2] == missing
    admin.update("networks", network["id"], qos_policy_id=policy["id"])
    refused = demo.refused("PUT", f"/networks/{network['id']}", {"network": {"qos_policy_id": None}})
    assert refused[:2] == (403, "PolicyRemoveAuthorizationError")


def test_a_port_is_bound_where_every_rule_of_its_policy_is_enforced_and_nowhere_else(serving, admin, policy):
    network = admin.network(qos_policy_id=policy["id"])
    guarantee = admin.rule(policy, "minimum_bandwidth_rule", min_kbps=1)
    admin.rule(policy, "dscp_marking_rule", dscp_mark=26)

    def bound(port):
        shown = admin.show("ports", port["id"])
        return shown["binding:vif_type"], shown["binding:vif_details"].get("reason")

    with FakeHost(serving, "compute1"), FakeHost(serving, "compute2", qos_rule_types=("bandwidth_limit", "dscp_marking")):
        one, two, plain = (admin.port(network, **{"binding:host_id": f"compute{number}"}) for number in (1, 2, 2))
        assert bound(one) == ("binding_failed", "host compute1 enforces no QoS rules of type dscp_marking, minimum_bandwidth")
        assert bound(two) == ("binding_failed", "host compute2 enforces no QoS rules of type minimum_bandwidth")
        own = admin.policy()
        admin.update("ports", plain["id"], qos_policy_id=own["id"])
        assert bound(plain) == ("bridge", None)
        assert admin.request("DELETE", f"/qos/policies/{policy['id']}/minimum_bandwidth_rules/{guarantee['id']}").status_code == 204
        assert bound(two) == ("bridge", None)
        assert bound(one) == ("binding_failed", "host compute1 enforces no QoS rules of type dscp_marking")
        admin.update("networks", network["id"], qos_policy_id=None)
        assert bound(one) == ("bridge", None)

    with FakeHost(serving, "compute1", qos_rule_types=("dscp_marking",)):
        admin.update("ports", one["id"], qos_policy_id=policy["id"])
    with FakeHost(serving, "compute1"):  # the same host, which can do less now
        assert bound(one)[0] == "binding_failed"


def test_a_bound_port_gets_no_policy_and_no_rule_that_its_host_does_not_enforce(serving, admin, policy):
    network = admin.network()
    guaranteed = admin.policy()
    admin.rule(guaranteed, "minimum_bandwidth_rule", min_kbps=1)
    refused = (409, "QosRuleNotSupported")
    with FakeHost(serving, "compute2", qos_rule_types=("bandwidth_limit", "dscp_marking")):
        port = admin.port(network, **{"binding:host_id": "compute2"})
        told = admin.refused("PUT", f"/ports/{port['id']}", {"port": {"name": "n", "qos_policy_id": guaranteed["id"]}})
        reason = "host compute2 enforces no QoS rules of type minimum_bandwidth"
        assert told == (*refused, f"QoS policy {guaranteed['id']} is not supported by port {port['id']}: {reason}.")
        assert admin.refused("PUT", f"/networks/{network['id']}", {"network": {"qos_policy_id": guaranteed["id"]}})[:2] == refused
        after = admin.show("ports", port["id"])
        assert (after["qos_policy_id"], after["qos_network_policy_id"], after["name"]) == (None, None, "")
        assert admin.show("networks", network["id"])["qos_policy_id"] is None

        admin.update("networks", network["id"], qos_policy_id=policy["id"])
        path = f"/qos/policies/{policy['id']}"
        for name in ("minimum_bandwidth_rule", "minimum_packet_rate_rule"):
            assert admin.refused("POST", f"{path}/{name}s", {name: RULES[name]})[:2] == refused
            assert admin.get(f"{path}/{name}s") == []
        admin.rule(policy, "dscp_marking_rule", dscp_mark=26)
        assert [rule["type"] for rule in admin.get(path)["rules"]] == ["dscp_marking"]

        moved = admin.update("ports", port["id"], qos_policy_id=guaranteed["id"], **{"binding:host_id": ""})
        assert moved["binding:vif_type"] == "unbound"
        admin.update("ports", port["id"], **{"binding:host_id": "compute2"})
        assert admin.show("ports", port["id"])["binding:vif_type"] == "binding_failed"


def test_rule_types_are_those_of_the_hosts(serving, admin):
    with FakeHost(serving, "compute1"), FakeHost(serving, "compute2", qos_rule_types=("bandwidth_limit", "dscp_marking")):
        assert [one["type"] for one in admin.get("/qos/rule-types", all_supported=True)] == ["bandwidth_limit", "dscp_marking"]
        (driver,) = admin.get("/qos/rule-types/dscp_marking")["drivers"]
        assert (driver["name"], driver["supported_parameters"][0]["parameter_name"]) == ("linuxbridge", "dscp_mark")
        assert admin.get("/qos/rule-types") == []
    with FakeHost(serving, "compute1", qos_rule_types=("dscp_marking",)):
        assert [one["type"] for one in admin.get("/qos/rule-types")] == ["dscp_marking"]


def test_floating_ips_and_gateways_have_policies(admin, policy):
    outside = admin.network(**{"router:external": True, "qos_policy_id": policy["id"]})
    admin.subnet(outside, "203.0.113.0/24")
    other = admin.policy()
    floating = admin.post("/floatingips", "floatingip", floating_network_id=outside["id"], qos_policy_id=other["id"])
    assert (floating["qos_policy_id"], floating["qos_network_policy_id"]) == (other["id"], policy["id"])
    gateway = {"network_id": outside["id"], "qos_policy_id": other["id"]}
    router = admin.post("/routers", "router", external_gateway_info=gateway)
    assert router["external_gateway_info"]["qos_policy_id"] == other["id"]
    assert admin.put(f"/floatingips/{floating['id']}", "floatingip", qos_policy_id=None)["qos_policy_id"] is None
    assert admin.refused("DELETE", f"/qos/policies/{other['id']}")[:2] == (409, "QosPolicyInUse")
    kept = admin.put(f"/routers/{router['id']}", "router", external_gateway_info={"network_id": outside["id"]})
    assert kept["external_gateway_info"]["qos_policy_id"] == other["id"]
    admin.put(f"/routers/{router['id']}", "router", external_gateway_info=gateway | {"qos_policy_id": None})
    assert admin.request("DELETE", f"/qos/policies/{other['id']}").status_code == 204


def test_at_external_addresses_bandwidth_is_limited_and_nothing_else(admin, policy):
    outside = admin.network(**{"router:external": True})
    admin.subnet(outside, "203.0.113.0/24")
    limits = admin.policy()
    admin.rule(limits, "bandwidth_limit_rule", max_kbps=1000)
    admin.rule(policy, "dscp_marking_rule", dscp_mark=26)
    refused = (409, "QosRuleNotSupported")
    gateway = {"network_id": outside["id"]}
    router = admin.post("/routers", "router", external_gateway_info=gateway | {"qos_policy_id": limits["id"]})
    floating = admin.post("/floatingips", "floatingip", floating_network_id=outside["id"])
    for method, path, body in (
        ("POST", "/floatingips", {"floatingip": {"floating_network_id": outside["id"], "qos_policy_id": policy["id"]}}),
        ("PUT", f"/floatingips/{floating['id']}", {"floatingip": {"qos_policy_id": policy["id"]}}),
        ("POST", "/routers", {"router": {"external_gateway_info": gateway | {"qos_policy_id": policy["id"]}}}),
        ("PUT", f"/routers/{router['id']}", {"router": {"external_gateway_info": gateway | {"qos_policy_id": policy["id"]}}}),
        ("POST", f"/qos/policies/{limits['id']}/dscp_marking_rules", {"dscp_marking_rule": {"dscp_mark": 26}}),
    ):
        assert admin.refused(method, path, body)[:2] == refused
    assert admin.show("routers", router["id"])["external_gateway_info"]["qos_policy_id"] == limits["id"]
    assert len(admin.get("/floatingips", floating_network_id=outside["id"])) == 1
    admin.rule(limits, "bandwidth_limit_rule", max_kbps=1000, direction="ingress")


# -- clients


def test_openstacksdk_drives_policies_and_rules(admin_sdk):
    policy = admin_sdk.create_qos_policy(name="sdk", shared=True)
    limit = admin_sdk.create_qos_bandwidth_limit_rule(policy, max_kbps=500, direction="ingress")
    admin_sdk.update_qos_bandwidth_limit_rule(limit, policy, max_kbps=600)
    admin_sdk.create_qos_minimum_packet_rate_rule(policy, min_kpps=5, direction="any")
    admin_sdk.create_qos_packet_rate_limit_rule(policy, max_kpps=5)
    assert [rule.max_kbps for rule in admin_sdk.qos_bandwidth_limit_rules(policy)] == [600]
    assert {rule["type"] for rule in admin_sdk.get_qos_policy(policy).rules} == {
        "bandwidth_limit",
        "minimum_packet_rate",
        "packet_rate_limit",
    }
    assert "dscp_marking" in {rule_type.type for rule_type in admin_sdk.qos_rule_types(all_rules=True)}
    assert admin_sdk.get_qos_rule_type("minimum_packet_rate").drivers == []
    admin_sdk.delete_qos_bandwidth_limit_rule(limit, policy)
    admin_sdk.delete_qos_policy(policy)


def test_the_openstack_command_drives_policies_and_rules(clients):
    clients.openstack("network", "qos", "policy", "create", "cli", user="admin")
    made = clients.openstack("network", "qos", "rule", "create", "--type", "dscp-marking", "--dscp-mark", "26", "cli", user="admin")
    assert made["dscp_mark"] == 26
    assert clients.openstack("network", "qos", "policy", "show", "cli", user="admin")["rules"][0]["dscp_mark"] == 26
