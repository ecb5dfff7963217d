"""Security groups, rules, templates and address groups of a real server, as clients use them.

https://docs.openstack.org/api-ref/network/v2/#security-groups-security-groups
"""

import concurrent.futures
import uuid

import pytest

from networking import Networking

NOWHERE = str(uuid.UUID(int=4))


@pytest.fixture(scope="module")
def admin(clients):
    with clients.http("admin") as http:
        networking = Networking(http)
        networking.projects = {project["name"]: project["id"] for project in http.get("/identity/v3/projects").json()["projects"]}
        networking.update("quotas", networking.projects["demo"], security_group=-1, security_group_rule=-1)
        yield networking


@pytest.fixture(scope="module")
def demo(clients, admin):
    with clients.http("demo") as http:
        yield Networking(http)


@pytest.fixture
def project():
    """A project that nobody has used yet."""
    return uuid.uuid4().hex


@pytest.fixture
def group(demo):
    return demo.create("security-groups", name="web")


def ids(resources):
    return [resource["id"] for resource in resources]


def refused_rule(demo, group, **given):
    body = {"security_group_rule": {"security_group_id": group["id"], "direction": "ingress"} | given}
    return demo.refused("POST", "/security-group-rules", body)[:2]


# -- the default group


def test_a_project_has_a_default_group_from_its_first_list_on(admin, project):
    (group,) = admin.list("security-groups", project_id=project)
    assert admin.list("security-groups", tenant_id=project) == [group]
    assert (group["name"], group["description"], group["project_id"]) == ("default", "Default security group", project)
    assert (group["stateful"], group["shared"], group["revision_number"]) == (True, False, 1)
    rules = admin.list("security-group-rules", security_group_id=group["id"])
    assert sorted((rule["direction"], rule["ethertype"], rule["remote_group_id"] == group["id"]) for rule in rules) == [
        ("egress", "IPv4", False),
        ("egress", "IPv6", False),
        ("ingress", "IPv4", True),
        ("ingress", "IPv6", True),
    ]
    assert all(rule["belongs_to_default_sg"] and rule["project_id"] == project for rule in rules)
    assert sorted(group["security_group_rules"], key=lambda rule: rule["id"]) == sorted(rules, key=lambda rule: rule["id"])


@pytest.mark.parametrize("first", ["networks", "security-groups", "security-group-rules"])
def test_whatever_comes_first_makes_the_default_group(admin, project, first):
    if first == "networks":
        admin.network(project_id=project)
    elif first == "security-groups":
        admin.create("security-groups", name="web", project_id=project)
    else:
        assert len(admin.list(first, project_id=project)) == 4
    assert len([group for group in admin.list("security-groups", project_id=project) if group["name"] == "default"]) == 1


def test_many_at_once_make_one_default_group(admin, project):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        lists = list(pool.map(lambda _: ids(admin.list("security-groups", project_id=project)), range(16)))
    assert len({tuple(found) for found in lists}) == 1
    assert len(lists[0]) == 1


def test_nobody_makes_the_default_group_of_another_project(demo, admin, project):
    assert demo.list("security-groups", project_id=project) == []
    quota = admin.request("GET", f"/quotas/{project}/details").json()["quota"]
    assert quota["security_group"] == {"limit": 10, "used": 0, "reserved": 0}


def test_the_default_group_stays_and_keeps_its_name(demo, admin, project):
    (default,) = demo.list("security-groups", name="default")
    path = f"/security-groups/{default['id']}"
    assert demo.refused("DELETE", path)[:2] == (409, "SecurityGroupCannotRemoveDefault")
    assert demo.refused("PUT", path, {"security_group": {"name": "web"}})[:2] == (409, "SecurityGroupCannotUpdateDefault")
    assert demo.update("security-groups", default["id"], description="ours")["description"] == "ours"
    for name in ("default", "Default"):
        body = {"security_group": {"name": name}}
        assert demo.refused("POST", "/security-groups", body)[:2] == (409, "SecurityGroupDefaultAlreadyExists")
    (others,) = admin.list("security-groups", project_id=project)
    admin.delete("security-groups", others["id"])  # an administrator may, to clean up after a project


# -- groups


def test_a_new_group_lets_everything_out(demo):
    group = demo.create("security-groups", name="web", description="for the web", stateful=False)
    assert (group["stateful"], group["description"]) == (False, "for the web")
    rules = group["security_group_rules"]
    assert [(rule["direction"], rule["ethertype"], rule["protocol"], rule["remote_ip_prefix"]) for rule in rules] == [
        ("egress", "IPv4", None, None),
        ("egress", "IPv6", None, None),
    ]
    assert {rule["tenant_id"] for rule in rules} == {group["tenant_id"]}
    assert demo.show("security-groups", group["id"]) == group
    assert demo.update("security-groups", group["id"], name="api", stateful=True)["name"] == "api"
    demo.delete("security-groups", group["id"])
    assert demo.refused("GET", f"/security-groups/{group['id']}")[:2] == (404, "SecurityGroupNotFound")
    assert demo.list("security-group-rules", security_group_id=group["id"]) == []


def test_groups_are_created_in_bulk_all_or_none(demo):
    made = demo.create_many("security-groups", {"name": "one"}, {"name": "two"})
    assert [group["name"] for group in made] == ["one", "two"]
    before = ids(demo.list("security-groups"))
    body = {"security_groups": [{"name": "three"}, {"name": "default"}]}
    assert demo.refused("POST", "/security-groups", body)[:2] == (409, "SecurityGroupDefaultAlreadyExists")
    assert ids(demo.list("security-groups")) == before


def test_a_group_that_is_used_is_not_deleted_and_stays_stateful(demo, group):
    port = demo.port(demo.network(), security_groups=[group["id"]])
    path = f"/security-groups/{group['id']}"
    assert demo.refused("DELETE", path)[:2] == (409, "SecurityGroupInUse")
    assert demo.refused("PUT", path, {"security_group": {"stateful": False}})[:2] == (409, "SecurityGroupInUse")
    demo.delete("ports", port["id"])
    demo.delete("security-groups", group["id"])


def test_rules_that_name_a_group_go_with_it(demo, group):
    other = demo.create("security-groups", name="other")
    rule = demo.create("security-group-rules", security_group_id=group["id"], direction="ingress", remote_group_id=other["id"])
    assert rule["id"] in ids(demo.show("security-groups", group["id"])["security_group_rules"])
    demo.delete("security-groups", other["id"])
    assert demo.refused("GET", f"/security-group-rules/{rule['id']}")[:2] == (404, "SecurityGroupRuleNotFound")
    assert rule["id"] not in ids(demo.show("security-groups", group["id"])["security_group_rules"])


def test_groups_of_others_are_not_there(demo, admin):
    theirs = admin.create("security-groups", name="secret")
    path = f"/security-groups/{theirs['id']}"
    for method, body in (("GET", None), ("PUT", {"security_group": {"name": "mine"}}), ("DELETE", None)):
        assert demo.refused(method, path, body)[:2] == (404, "SecurityGroupNotFound")
    assert theirs["id"] not in ids(demo.list("security-groups"))
    assert refused_rule(demo, theirs) == (404, "SecurityGroupNotFound")
    rule = theirs["security_group_rules"][0]["id"]
    assert demo.refused("GET", f"/security-group-rules/{rule}")[:2] == (404, "SecurityGroupRuleNotFound")
    network = demo.network()
    body = {"port": {"network_id": network["id"], "security_groups": [theirs["id"]]}}
    assert demo.refused("POST", "/ports", body)[:2] == (404, "SecurityGroupNotFound")


def test_lists_are_filtered_sorted_and_projected(demo):
    for name in ("sorted-b", "sorted-a"):
        demo.create("security-groups", name=name, stateful=False)
    pairs = (("name", "sorted-a"), ("name", "sorted-b"), ("sort_key", "name"), ("fields", "name"))
    assert demo.list("security-groups", *pairs) == [{"name": "sorted-a"}, {"name": "sorted-b"}]
    assert {group["stateful"] for group in demo.list("security-groups", stateful="False")} == {False}
    assert demo.list("security-groups", shared="True") == []
    (group,) = demo.list("security-groups", name="sorted-a")
    found = demo.list("security-group-rules", security_group_id=group["id"], direction="egress", ethertype="IPv6")
    assert [(rule["ethertype"], rule["direction"]) for rule in found] == [("IPv6", "egress")]
    assert demo.list("security-group-rules", security_group_id=group["id"], belongs_to_default_sg="True") == []


# -- rules


def test_a_rule_is_kept_with_its_group(demo, group):
    rule = demo.create(
        "security-group-rules",
        security_group_id=group["id"],
        direction="ingress",
        protocol="TCP",
        port_range_min="80",
        port_range_max=443,
        remote_ip_prefix="10.0.0.7/24",
        description="the web",
    )
    assert (rule["protocol"], rule["port_range_min"], rule["port_range_max"], rule["ethertype"]) == ("tcp", 80, 443, "IPv4")
    assert (rule["remote_ip_prefix"], rule["normalized_cidr"], rule["description"]) == ("10.0.0.7/24", "10.0.0.0/24", "the web")
    assert (rule["remote_group_id"], rule["remote_address_group_id"], rule["belongs_to_default_sg"]) == (None, None, False)
    assert demo.show("security-group-rules", rule["id"]) == rule
    shown = demo.show("security-groups", group["id"])
    assert shown["security_group_rules"][-1] == rule
    assert shown["revision_number"] == group["revision_number"] + 1
    demo.delete("security-group-rules", rule["id"])
    assert len(demo.show("security-groups", group["id"])["security_group_rules"]) == 2


PREFIX4, PREFIX6 = {"remote_ip_prefix": "10.0.0.0/8"}, {"remote_ip_prefix": "fd00::/8"}
REFUSED_RULES = {
    "SecurityGroupRuleInvalidProtocol": ({"protocol": "quic"}, {"protocol": 256}, {"protocol": -1}, {"protocol": []}),
    "SecurityGroupInvalidPortValue": (
        {"protocol": "tcp", "port_range_min": 1, "port_range_max": 65536},
        {"protocol": "tcp", "port_range_min": -1, "port_range_max": 5},
        {"protocol": "udp", "port_range_min": 0, "port_range_max": 5},
        {"protocol": "tcp", "port_range_min": "http", "port_range_max": 5},
    ),
    "SecurityGroupInvalidPortRange": (
        {"protocol": "tcp", "port_range_min": 90, "port_range_max": 80},
        {"protocol": "sctp", "port_range_min": 90},
        {"protocol": "17", "port_range_max": 90},
    ),
    "SecurityGroupProtocolRequiredWithPorts": ({"port_range_min": 1, "port_range_max": 2}, {"protocol": "any", "port_range_min": 1}),
    "SecurityGroupInvalidProtocolForPort": ({"protocol": "gre", "port_range_min": 1, "port_range_max": 2},),
    "SecurityGroupInvalidIcmpValue": (
        {"protocol": "icmp", "port_range_min": 256},
        {"protocol": "icmp", "port_range_min": 8, "port_range_max": 300},
    ),
    "SecurityGroupMissingIcmpType": ({"protocol": "icmp", "port_range_max": 0},),
    "SecurityGroupRuleInvalidEtherType": ({"ethertype": "IPX"}, {"ethertype": 4}),
    "SecurityGroupEthertypeConflictWithProtocol": ({"protocol": "ipv6-icmp"}, {"protocol": "58"}),
    "SecurityGroupRuleParameterConflict": (PREFIX6, PREFIX4 | {"ethertype": "IPv6"}),
    "InvalidCIDR": ({"remote_ip_prefix": "10.0.0.0/33"}, {"remote_ip_prefix": "everywhere"}, {"remote_ip_prefix": 7}),
    "HTTPBadRequest": ({"direction": "sideways"}, {"normalized_cidr": "10.0.0.0/8"}, {"port": 80}),
}


@pytest.mark.parametrize(("type", "cases"), REFUSED_RULES.items(), ids=list(REFUSED_RULES))
def test_rules_that_cannot_be_are_refused(demo, type, cases):
    group = demo.create("security-groups", name="none of it")
    for given in cases:
        assert refused_rule(demo, group, **given) == (400, type), given
    assert len(demo.show("security-groups", group["id"])["security_group_rules"]) == 2


def test_what_a_rule_names_must_be_there_and_be_one(demo, group):
    assert refused_rule(demo, {"id": NOWHERE}) == (404, "SecurityGroupNotFound")
    assert refused_rule(demo, group, remote_group_id=NOWHERE) == (404, "SecurityGroupNotFound")
    assert refused_rule(demo, group, remote_address_group_id=NOWHERE) == (404, "AddressGroupNotFound")
    two = PREFIX4 | {"remote_group_id": group["id"]}
    assert refused_rule(demo, group, **two) == (400, "SecurityGroupRemoteGroupAndRemoteIpPrefix")
    assert demo.refused("POST", "/security-group-rules", {"security_group_rule": {"security_group_id": group["id"]}})[0] == 400


def test_a_rule_is_there_once_however_it_is_written(demo, group):
    def rule(**given):
        return {"security_group_id": group["id"], "direction": "ingress"} | given

    (made,) = demo.create_many("security-group-rules", rule(protocol="tcp", remote_ip_prefix="0.0.0.0/0"))
    for same in (rule(protocol="6"), rule(protocol=6, remote_ip_prefix="0.0.0.0/0"), rule(protocol="TCP", description="another")):
        status, type, message = demo.refused("POST", "/security-group-rules", {"security_group_rule": same})
        assert (status, type) == (409, "SecurityGroupRuleExists")
        assert made["id"] in message
    twice = {"security_group_rules": [rule(protocol="udp"), rule(protocol="17")]}
    assert demo.refused("POST", "/security-group-rules", twice)[:2] == (409, "DuplicateSecurityGroupRuleInPost")
    assert refused_rule(demo, group, direction="egress") == (409, "SecurityGroupRuleExists")


def test_rules_in_bulk_are_of_one_group(demo, group):
    bodies = [{"security_group_id": group["id"], "direction": "ingress", "protocol": str(number)} for number in range(100, 140)]
    made = demo.create_many("security-group-rules", *bodies)
    shown = demo.show("security-groups", group["id"])
    assert ids(shown["security_group_rules"][2:]) == ids(made)
    assert shown["revision_number"] == group["revision_number"] + 1
    other = demo.create("security-groups", name="other")
    mixed = {"security_group_rules": [bodies[0] | {"protocol": "1"}, bodies[0] | {"security_group_id": other["id"]}]}
    assert demo.refused("POST", "/security-group-rules", mixed)[:2] == (400, "SecurityGroupNotSingleGroupRules")
    bad = {"security_group_rules": [bodies[0] | {"protocol": "tcp"}, bodies[0] | {"protocol": "udp", "port_range_min": 5}]}
    assert demo.refused("POST", "/security-group-rules", bad)[:2] == (400, "SecurityGroupInvalidPortRange")
    assert demo.show("security-groups", group["id"]) == shown


def test_icmp_for_ipv6_is_icmpv6(demo, group):
    for given, kept in (("icmp", "ipv6-icmp"), ("58", "58")):
        body = {"security_group_id": group["id"], "direction": "ingress", "ethertype": "ipv6", "protocol": given}
        rule = demo.create("security-group-rules", **body, port_range_min=128 if given == "icmp" else 129, port_range_max=0)
        assert (rule["protocol"], rule["ethertype"]) == (kept, "IPv6")


# -- templates


def test_templates_are_the_rules_of_new_groups(admin, demo, project):
    templates = admin.list("default-security-group-rules")
    assert [(t["direction"], t["remote_group_id"], t["used_in_default_sg"], t["used_in_non_default_sg"]) for t in templates].count(
        ("ingress", "PARENT", True, False)
    ) == 2
    assert set(templates[0]) == {
        "id", "description", "direction", "ethertype", "protocol", "port_range_min", "port_range_max", "remote_ip_prefix",
        "remote_group_id", "remote_address_group_id", "used_in_default_sg", "used_in_non_default_sg",
    }  # fmt: skip
    made = admin.create(
        "default-security-group-rules", direction="ingress", protocol="tcp", port_range_min=22, port_range_max=22, used_in_default_sg=True
    )
    ssh = {"security_group_rules": [("ingress", "tcp", 22)]}
    for group in (demo.create("security-groups", name="with ssh"), *admin.list("security-groups", project_id=project)):
        rules = [(rule["direction"], rule["protocol"], rule["port_range_min"]) for rule in group["security_group_rules"]]
        assert ssh["security_group_rules"][0] in rules
    body = {"default_security_group_rule": {"direction": "ingress", "protocol": "6", "port_range_min": 22, "port_range_max": 22}}
    assert admin.refused("POST", "/default-security-group-rules", body)[:2] == (409, "DefaultSecurityGroupRuleExists")
    admin.delete("default-security-group-rules", made["id"])
    assert made["id"] not in ids(admin.list("default-security-group-rules"))


def test_templates_are_the_administrators(demo, admin):
    (template, *_) = admin.list("default-security-group-rules")
    path = f"/default-security-group-rules/{template['id']}"
    assert demo.show("default-security-group-rules", template["id"]) == template
    assert demo.refused("DELETE", path)[:2] == (403, "PolicyNotAuthorized")
    body = {"default_security_group_rule": {"direction": "ingress"}}
    assert demo.refused("POST", "/default-security-group-rules", body)[:2] == (403, "PolicyNotAuthorized")
    body = {"default_security_group_rule": {"direction": "ingress", "protocol": "tcp", "port_range_min": 2, "port_range_max": 1}}
    assert admin.refused("POST", "/default-security-group-rules", body)[:2] == (400, "SecurityGroupInvalidPortRange")
    assert admin.refused("DELETE", f"/default-security-group-rules/{NOWHERE}")[:2] == (404, "DefaultSecurityGroupRuleNotFound")


# -- address groups


def test_address_groups_with_the_sdk(sdk, demo):
    made = sdk.create_address_group(name="offices", addresses=["192.0.2.0/24"])
    sdk.add_addresses_to_address_group(made, ["198.51.100.0/24", "fd00::/64"])
    assert demo.show("address-groups", made.id)["addresses"] == ["192.0.2.0/24", "198.51.100.0/24", "fd00::/64"]
    sdk.remove_addresses_from_address_group(made, ["192.0.2.0/24"])
    assert sdk.get_address_group(made.id).addresses == ["198.51.100.0/24", "fd00::/64"]
    assert sdk.update_address_group(made, description="all of them").description == "all of them"
    path = f"/address-groups/{made.id}"
    known, unknown = {"addresses": ["fd00::/64"]}, {"addresses": ["203.0.113.0/24"]}
    assert demo.refused("PUT", f"{path}/add_addresses", known)[:2] == (400, "AddressesAlreadyExist")
    assert demo.refused("PUT", f"{path}/remove_addresses", unknown)[:2] == (404, "AddressesNotFound")
    for body in ({}, [], {"addresses": "fd00::/64"}, {"addresses": ["everywhere"]}):
        assert demo.refused("PUT", f"{path}/add_addresses", body)[0] == 400
    group = sdk.create_security_group(name="for offices")
    rule = sdk.create_security_group_rule(security_group_id=group.id, direction="ingress", remote_address_group_id=made.id, protocol="tcp")
    assert rule.remote_address_group_id == made.id
    assert demo.refused("DELETE", path)[:2] == (409, "AddressGroupInUse")
    sdk.delete_security_group_rule(rule)
    sdk.delete_address_group(made)
    assert demo.refused("GET", path)[:2] == (404, "AddressGroupNotFound")


# -- quotas and clients


def test_quotas_of_groups_and_rules(admin, project):
    admin.update("quotas", project, security_group=2, security_group_rule=7)
    group = admin.create("security-groups", name="one", project_id=project)  # and the default group: 2 groups, 6 rules
    body = {"security_group": {"name": "two", "project_id": project}}
    assert admin.refused("POST", "/security-groups", body)[:2] == (409, "OverQuota")
    rule = {"security_group_id": group["id"], "direction": "ingress", "project_id": project}
    two = {"security_group_rules": [rule | {"protocol": "tcp"}, rule | {"protocol": "udp"}]}
    assert admin.refused("POST", "/security-group-rules", two)[:2] == (409, "OverQuota")
    admin.create("security-group-rules", **rule)
    used = admin.request("GET", f"/quotas/{project}/details").json()["quota"]
    assert (used["security_group"]["used"], used["security_group_rule"]["used"]) == (2, 7)


def test_the_openstack_command(clients, demo):
    made = clients.openstack("security", "group", "create", "cli", "--stateless")
    assert made["stateful"] is False
    rule = clients.openstack(
        "security", "group", "rule", "create", "cli", "--protocol", "tcp", "--dst-port", "80:90", "--remote-ip", "10.0.0.0/8"
    )
    assert (rule["port_range_min"], rule["port_range_max"], rule["remote_ip_prefix"]) == (80, 90, "10.0.0.0/8")
    rows = clients.openstack("default", "security", "group", "rule", "list", user="admin")
    assert len(rows) == 4


def test_the_sdk_finds_and_shows_groups(clients, sdk):
    made = sdk.create_security_group(name="sdk")
    assert sdk.find_security_group("sdk").id == made.id
    with clients.sdk() as cloud:
        assert cloud.get_security_group("sdk").id == made.id
    assert len(sdk.get_security_group(made.id).security_group_rules) == 2
    sdk.delete_security_group(made, if_revision=made.revision_number)
    assert sdk.find_security_group("sdk") is None


# -- stateful or not, by default


def test_new_groups_are_as_stateful_as_their_project_or_the_cloud_says(admin, demo, project):
    plural = "security-groups-default-statefulness"

    def stateful(**given):
        return admin.create("security-groups", name="new", project_id=project, **given)["stateful"]

    everywhere = admin.create(plural, project_id=None, stateful=False)
    assert everywhere == {"id": everywhere["id"], "project_id": None, "tenant_id": None, "stateful": False}
    assert (stateful(), stateful(stateful=True)) == (False, True)
    assert [group["stateful"] for group in admin.list("security-groups", project_id=project, name="default")] == [False]
    own = admin.create(plural, project_id=project)
    assert (own["stateful"], stateful()) == (True, True)
    body = {"security_group_default_statefulness": {"project_id": project}}
    assert admin.refused("POST", f"/{plural}", body)[:2] == (409, "SecurityGroupDefaultStatefulnessAlreadyExists")
    assert admin.update(plural, own["id"], stateful=False)["stateful"] is False
    assert ids(admin.list(plural, project_id=project)) == [own["id"]]
    assert demo.list(plural) == []
    assert demo.refused("POST", f"/{plural}", {"security_group_default_statefulness": {}})[:2] == (403, "PolicyNotAuthorized")
    for default in (own, everywhere):
        assert demo.refused("DELETE", f"/{plural}/{default['id']}")[:2] == (404, "SecurityGroupDefaultStatefulnessNotFound")
        admin.delete(plural, default["id"])
    assert stateful() is True


# -- shared groups


def test_a_shared_group_can_be_used_and_found_not_changed(admin, demo):
    group = admin.create("security-groups", name="for all")
    offices = admin.create("address-groups", name="offices", addresses=["192.0.2.0/24"])
    own = ids(demo.list("security-groups", shared="False"))
    target = admin.projects["demo"]
    for kind, shared in (("security_group", group), ("address_group", offices)):
        policy = {"object_type": kind, "object_id": shared["id"], "action": "access_as_shared", "target_tenant": target}
        answer = admin.request("POST", "/rbac-policies", json={"rbac_policy": policy})
        assert answer.status_code == 201, answer.text
    (found,) = demo.list("security-groups", shared="True")
    assert (found["id"], found["shared"], len(found["security_group_rules"])) == (group["id"], True, 2)
    assert ids(demo.list("security-groups", shared="False")) == own
    assert demo.show("security-groups", group["id"])["shared"] is True
    assert admin.show("security-groups", group["id"])["shared"] is False
    assert demo.port(demo.network(), security_groups=[group["id"]])["security_groups"] == [group["id"]]
    body = {"security_group": {"name": "mine"}}
    assert demo.refused("PUT", f"/security-groups/{group['id']}", body)[:2] == (403, "PolicyNotAuthorized")
    assert refused_rule(demo, group) == (404, "SecurityGroupNotFound")
    mine = demo.create("security-groups", name="mine")
    for remote in ({"remote_group_id": group["id"]}, {"remote_address_group_id": offices["id"]}):
        demo.create("security-group-rules", security_group_id=mine["id"], direction="ingress", **remote)
