"""An operator's policy file overrides who may do what, on a real server, for users with roles of their own."""

import subprocess
import sys

import httpx
import pytest

from networking import SINGULAR, Networking
from serving import Serving

SINGULAR |= {"routers": "router", "qos/policies": "policy", "rbac-policies": "rbac_policy", "trunks": "trunk"}

RULES = """
# of actions
delete_router: rule:admin_only
delete_network: rule:owner and not role:apprentice
create_subnet: rule:network_owner
create_policy: role:netops
create_trunk: "!"
add_router_interface: rule:netops_or_owner

# of attributes
create_network:shared: role:netops or rule:admin_only
update_network:shared: role:netops
update_port:binding:host_id: rule:owner
create_port:fixed_ips:ip_address: "@"
create_router:external_gateway_info:enable_snat: rule:owner

# of what is seen
get_network:provider:network_type: role:netreader
get_network:mtu: is_admin:True
get_port: rule:admin_or_owner and not role:apprentice
get_router: role:netops or rule:admin_or_owner

# an alias of this file's own
netops_or_owner: role:netops or rule:owner
"""


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    (folder / "policy.yaml").write_text(RULES)
    with Serving(folder, NARU_POLICY_FILE=str(folder / "policy.yaml")) as running:
        yield running


@pytest.fixture(scope="module")
def user(serving, clients):
    """user("ann", "member", "netops"): the network API as somebody new, with these roles on a project."""
    identity = clients.http("admin")
    identity.base_url = f"{serving.url}/identity/v3"
    projects = {one["name"]: one["id"] for one in identity.get("projects").json()["projects"]}
    projects["other"] = identity.post("projects", json={"project": {"name": "other"}}).json()["project"]["id"]
    opened = [identity]

    def enter(name, *roles, project="demo"):
        made = identity.post("users", json={"user": {"name": name, "password": "sesame"}}).json()["user"]
        for role in roles:
            found = identity.get("roles", params={"name": role}).json()["roles"]
            found = found or [identity.post("roles", json={"role": {"name": role}}).json()["role"]]
            assert identity.put(f"projects/{projects[project]}/users/{made['id']}/roles/{found[0]['id']}").status_code == 204
        methods = {"methods": ["password"], "password": {"user": {"id": made["id"], "password": "sesame"}}}
        answer = identity.post("auth/tokens", json={"auth": {"identity": methods, "scope": {"project": {"id": projects[project]}}}})
        assert answer.status_code == 201, answer.text
        headers = {"X-Auth-Token": answer.headers["X-Subject-Token"]}
        opened.append(httpx.Client(base_url=serving.url, headers=headers, trust_env=False, timeout=30))
        return Networking(opened[-1])

    yield enter
    for client in opened:
        client.close()


@pytest.fixture(scope="module")
def netops(user):
    return user("nina", "member", "netops")


@pytest.fixture(scope="module")
def apprentice(user):
    return user("arne", "member", "apprentice")


@pytest.fixture(scope="module")
def netreader(user):
    return user("rosa", "reader", "netreader")


@pytest.fixture(scope="module")
def stranger(user):
    """Of another project."""
    return user("olga", "member", project="other")


def forbidden(rule):
    return (403, "PolicyNotAuthorized", f"(rule:{rule}) is disallowed by policy: the policy file says so")


def test_a_member_with_the_role_shares_networks(netops, demo):
    assert netops.network(shared=True)["shared"] is True
    assert demo.refused("POST", "/networks", {"network": {"shared": True}}) == forbidden("create_network:shared")
    assert demo.network(shared=False)["shared"] is False  # as it is anyway


def test_an_update_is_judged_by_the_same_rules_and_administrators_are_too(netops, demo, admin):
    network = demo.network()
    assert netops.update("networks", network["id"], shared=True)["shared"] is True
    assert admin.refused("PUT", f"/networks/{network['id']}", {"network": {"shared": False}}) == forbidden("update_network:shared")
    assert demo.update("networks", network["id"], name="mine")["shared"] is True


def test_an_owner_binds_his_port_where_the_file_says_so(demo, admin, netops):
    port = demo.port(demo.network())
    demo.update("ports", port["id"], **{"binding:host_id": "compute01"})
    assert admin.show("ports", port["id"])["binding:host_id"] == "compute01"
    theirs = admin.port(admin.network())
    wanted = {"port": {"binding:host_id": "compute01"}}
    assert demo.refused("PUT", f"/ports/{theirs['id']}", wanted)[:2] == (404, "PortNotFound")
    assert netops.refused("POST", "/ports", {"port": {"network_id": port["network_id"], "binding:host_id": "x"}})[0] == 403


def test_a_member_deletes_no_router(demo, admin):
    router = demo.create("routers", name="r")
    assert demo.refused("DELETE", f"/routers/{router['id']}") == forbidden("delete_router")
    assert demo.show("routers", router["id"])["name"] == "r"
    admin.delete("routers", router["id"])


def test_an_apprentice_deletes_no_network_of_his_own_project(apprentice, demo):
    network = apprentice.network()
    assert apprentice.refused("DELETE", f"/networks/{network['id']}") == forbidden("delete_network")
    demo.delete("networks", network["id"])


def test_a_rule_asks_for_the_owner_of_the_network(netops, stranger, demo, admin):
    network = netops.network(shared=True)
    wanted = {"subnet": {"network_id": network["id"], "cidr": "10.1.0.0/24", "ip_version": 4}}
    assert stranger.refused("POST", "/subnets", wanted) == forbidden("create_subnet")
    assert admin.refused("POST", "/subnets", wanted) == forbidden("create_subnet")
    assert demo.subnet(demo.network())["cidr"] == "10.0.0.0/24"


def test_what_was_an_administrators_is_given_to_a_role(netops, demo, admin):
    assert netops.create("qos/policies", name="gold")["name"] == "gold"
    assert demo.refused("POST", "/qos/policies", {"policy": {"name": "lead"}}) == forbidden("create_policy")
    assert admin.refused("POST", "/qos/policies", {"policy": {"name": "lead"}}) == forbidden("create_policy")


def test_nobody_makes_trunks(demo, admin):
    for one in (demo, admin):
        port = one.port(one.network())
        assert one.refused("POST", "/trunks", {"trunk": {"port_id": port["id"]}}) == forbidden("create_trunk")


def test_parts_of_attributes_have_rules(netops, stranger, demo, admin):
    network = netops.network(shared=True)
    netops.subnet(network, "10.5.0.0/24")
    assert stranger.port(network, fixed_ips=[{"ip_address": "10.5.0.77"}])["fixed_ips"][0]["ip_address"] == "10.5.0.77"
    wanted = {"port": {"network_id": network["id"], "mac_address": "fa:16:3e:00:00:01"}}
    assert stranger.refused("POST", "/ports", wanted)[0] == 403  # no rule says otherwise
    outside = admin.network(**{"router:external": True})
    admin.subnet(outside, "203.0.113.0/24")
    gateway = {"network_id": outside["id"], "enable_snat": False}
    assert demo.create("routers", external_gateway_info=gateway)["external_gateway_info"]["enable_snat"] is False


def test_a_reader_with_the_role_sees_provider_attributes_and_filters_by_them(netreader, demo, admin):
    network = demo.network(name="seen")
    assert netreader.show("networks", network["id"])["provider:network_type"] == "vxlan"
    assert "provider:segmentation_id" not in netreader.show("networks", network["id"])
    [listed] = netreader.list("networks", ("provider:network_type", "vxlan"), ("name", "seen"))
    assert listed == netreader.show("networks", network["id"])
    [narrow] = netreader.list("networks", ("name", "seen"), ("fields", "provider:network_type"), ("fields", "mtu"))
    assert narrow == {"provider:network_type": "vxlan"}
    assert "provider:network_type" not in demo.show("networks", network["id"])
    assert "provider:network_type" not in admin.show("networks", network["id"])  # the file names no administrator
    assert demo.refused("GET", "/networks?provider:network_type=vxlan")[0] == 400


def test_what_all_see_is_hidden_from_those_whom_the_file_leaves_out(demo, admin):
    network = demo.network(name="hidden")
    assert admin.show("networks", network["id"])["mtu"] == 1450
    assert "mtu" not in network
    assert "mtu" not in demo.show("networks", network["id"])
    assert "mtu" not in demo.update("networks", network["id"], description="d")
    assert demo.show("networks", network["id"], fields="mtu") == {}
    assert demo.refused("GET", "/networks?mtu=1450")[0] == 400
    assert demo.refused("GET", "/networks?sort_key=mtu&sort_dir=asc")[0] == 400


def test_what_may_not_be_seen_does_not_exist(apprentice, demo):
    port = demo.port(demo.network())
    assert apprentice.refused("GET", f"/ports/{port['id']}")[:2] == (404, "PortNotFound")
    assert apprentice.refused("PUT", f"/ports/{port['id']}", {"port": {"name": "x"}})[:2] == (404, "PortNotFound")
    assert apprentice.refused("DELETE", f"/ports/{port['id']}")[:2] == (404, "PortNotFound")
    assert apprentice.list("ports") == []
    assert port["id"] in {one["id"] for one in demo.list("ports")}


def test_a_role_sees_what_belongs_to_others(netops, demo, admin):
    router = admin.create("routers", name="theirs")
    assert netops.show("routers", router["id"])["name"] == "theirs"
    assert router["id"] in {one["id"] for one in netops.list("routers")}
    assert demo.refused("GET", f"/routers/{router['id']}")[0] == 404


def test_an_action_is_given_by_an_alias_of_the_files_own(netops, demo, admin):
    router = admin.create("routers", name="theirs")
    subnet = netops.subnet(netops.network(), "10.6.0.0/24")
    answer = netops.request("PUT", f"/routers/{router['id']}/add_router_interface", json={"subnet_id": subnet["id"]})
    assert answer.status_code == 200, answer.text


def test_who_may_only_read_changes_nothing_but_what_the_file_gives_him(netreader):
    assert netreader.refused("POST", "/networks", {"network": {}})[0] == 403
    assert netreader.refused("POST", "/qos/policies", {"policy": {}}) == forbidden("create_policy")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("create_network: [", "line 1, column 18"),
        ("create_netwrok: role:member", "'create_netwrok'"),
        ("create_network: rols:member", "'rols' is none of role, rule"),
        ("create_network: rule:nobody", "there is no rule 'nobody'"),
    ],
)
def test_a_file_that_cannot_be_meant_keeps_the_server_from_starting(tmp_path, text, said):
    (tmp_path / "policy.yaml").write_text(text)
    environ = {"NARU_POLICY_FILE": str(tmp_path / "policy.yaml"), "NARU_BIND": "127.0.0.1:0"}
    command = [sys.executable, "-m", "naru.cli.main", "server", "--state-dir", str(tmp_path / "state")]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "policy_file" in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
