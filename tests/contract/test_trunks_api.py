"""Trunks of a real server.

https://docs.openstack.org/api-ref/network/v2/#trunk-networking
"""

import uuid

import pytest

from clients import FakeHost
from networking import Networking

NOWHERE = str(uuid.UUID(int=4))


class Trunks(Networking):
    def trunk(self, port, *sub_ports, **attributes):
        body = {"trunk": {"port_id": port["id"], "sub_ports": list(sub_ports), **attributes}}
        answer = self.request("POST", "/trunks", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["trunk"]

    def act(self, trunk, action, *sub_ports):
        answer = self.request("PUT", f"/trunks/{trunk['id']}/{action}", json={"sub_ports": list(sub_ports)})
        assert answer.status_code == 200, answer.text
        return answer.json()


def behind(port, tag, kind="vlan"):
    return {"port_id": port["id"], "segmentation_type": kind, "segmentation_id": tag}


@pytest.fixture(scope="module")
def admin(clients):
    with clients.http("admin") as http:
        networking = Trunks(http)
        for project in http.get("/identity/v3/projects").json()["projects"]:
            networking.update("quotas", project["id"], network=-1, port=-1)
        yield networking


@pytest.fixture(scope="module")
def demo(clients, admin):
    with clients.http("demo") as http:
        yield Trunks(http)


@pytest.fixture
def ports(demo):
    """Of four networks."""
    return [demo.port(demo.network()) for _ in range(4)]


def test_a_trunk_has_neutrons_attributes_and_defaults(demo, ports):
    made = demo.trunk(ports[0])
    assert made.pop("created_at") == made.pop("updated_at")
    assert made.pop("project_id") == made.pop("tenant_id") == ports[0]["project_id"]
    assert made.pop("id")
    assert made == {
        "name": "", "description": "", "port_id": ports[0]["id"], "admin_state_up": True, "status": "DOWN", "sub_ports": [], "tags": [],
        "revision_number": 1,
    }  # fmt: skip


def test_trunks_are_listed_changed_and_deleted(demo, ports):
    trunk = demo.trunk(ports[0], name="t1")
    path = f"/trunks/{trunk['id']}"
    assert demo.request("PUT", path, json={"trunk": {"name": "t2"}}).json()["trunk"]["name"] == "t2"
    listed = demo.request("GET", f"/trunks?port_id={ports[0]['id']}&fields=name").json()
    assert listed == {"trunks": [{"name": "t2"}]}
    assert demo.request("DELETE", path).status_code == 204
    assert demo.refused("GET", path)[:2] == (404, "TrunkNotFound")
    assert "trunk_details" not in demo.show("ports", ports[0]["id"])


def test_ports_are_put_behind_a_trunk_and_taken_away(demo, ports):
    first, second = behind(ports[1], 100), behind(ports[2], 200)
    trunk = demo.trunk(ports[0], first)
    assert trunk["sub_ports"] == [first]
    added = demo.act(trunk, "add_subports", second)
    assert (added["id"], added["sub_ports"]) == (trunk["id"], [first, second])
    assert demo.request("GET", f"/trunks/{trunk['id']}/get_subports").json() == {"sub_ports": [first, second]}
    details = demo.show("ports", ports[0]["id"])["trunk_details"]
    assert details["trunk_id"] == trunk["id"]
    assert details["sub_ports"][1] == second | {"mac_address": ports[2]["mac_address"]}
    removed = demo.act(trunk, "remove_subports", {"port_id": ports[1]["id"]})
    assert removed["sub_ports"] == [second]


def test_the_parent_follows_the_macs_behind_it(admin):
    parent, port = admin.port(admin.network()), admin.port(admin.network())
    admin.trunk(parent, behind(port, 5))
    admin.update("ports", port["id"], mac_address="fa:16:3e:00:00:77")
    assert admin.show("ports", parent["id"])["trunk_details"]["sub_ports"][0]["mac_address"] == "fa:16:3e:00:00:77"


def test_a_tag_is_inherited_from_a_vlan_only(demo, ports):
    body = {"trunk": {"port_id": ports[0]["id"], "sub_ports": [{"port_id": ports[1]["id"], "segmentation_type": "inherit"}]}}
    assert demo.refused("POST", "/trunks", body)[:2] == (400, "InvalidInput")


def test_a_port_is_in_one_trunk(demo, ports):
    trunk = demo.trunk(ports[0], behind(ports[1], 100))
    other = demo.trunk(ports[2])
    taken, unfit = (409, "TrunkPortInUse"), (409, "ParentPortInUse")
    for port in ports[:2]:
        assert demo.refused("POST", "/trunks", {"trunk": {"port_id": port["id"]}})[:2] == taken
        body = {"sub_ports": [behind(port, 300)]}
        assert demo.refused("PUT", f"/trunks/{other['id']}/add_subports", body)[:2] == taken
    itself = {"trunk": {"port_id": ports[3]["id"], "sub_ports": [behind(ports[3], 1)]}}
    assert demo.refused("POST", "/trunks", itself)[:2] == unfit
    assert demo.refused("DELETE", f"/ports/{ports[0]['id']}")[:2] == (409, "PortInUseAsTrunkParent")
    assert demo.refused("DELETE", f"/ports/{ports[1]['id']}")[:2] == (409, "PortInUseAsSubPort")
    demo.request("DELETE", f"/trunks/{trunk['id']}")
    demo.delete("ports", ports[0]["id"])
    demo.delete("ports", ports[1]["id"])


def test_refusals(demo, ports):
    trunk = demo.trunk(ports[0], behind(ports[1], 100))
    add, remove = (f"/trunks/{trunk['id']}/{action}_subports" for action in ("add", "remove"))
    used = demo.port(demo.network(), device_id="server")
    for body, expected in (
        ({"sub_ports": [behind(ports[2], 100)]}, (409, "DuplicateSubPort")),
        ({"sub_ports": [behind(ports[2], 1), behind(ports[3], 1)]}, (400, "HTTPBadRequest")),
        ({"sub_ports": [behind(ports[2], 1), behind(ports[2], 2)]}, (400, "HTTPBadRequest")),
        ({"sub_ports": [behind(ports[2], 4095)]}, (400, "InvalidInput")),
        ({"sub_ports": [behind(ports[2], 7, "gre")]}, (400, "InvalidInput")),
        ({"sub_ports": [{"port_id": ports[2]["id"]}]}, (400, "HTTPBadRequest")),
        ({"sub_ports": [{"segmentation_id": 7}]}, (400, "HTTPBadRequest")),
        ({"sub_ports": {}}, (400, "HTTPBadRequest")),
        ({"ports": []}, (400, "HTTPBadRequest")),
        ([], (400, "HTTPBadRequest")),
        ({"sub_ports": [behind({"id": NOWHERE}, 7)]}, (404, "PortNotFound")),
        ({"sub_ports": [behind(used, 7)]}, (409, "PortInUse")),
    ):
        assert demo.refused("PUT", add, body)[:2] == expected, body
    assert demo.refused("PUT", remove, {"sub_ports": [{"port_id": ports[2]["id"]}]})[:2] == (404, "SubPortNotFound")
    assert demo.refused("PUT", f"/trunks/{trunk['id']}", {"trunk": {"sub_ports": []}})[:2] == (400, "HTTPBadRequest")
    demo.request("PUT", f"/trunks/{trunk['id']}", json={"trunk": {"admin_state_up": False}})
    for path in (add, remove):
        assert demo.refused("PUT", path, {"sub_ports": [behind(ports[1], 9)]})[:2] == (409, "TrunkDisabled")


def test_a_large_mtu_does_not_fit_behind_a_small_one(demo):
    small, large = demo.port(demo.network(mtu=1200)), demo.port(demo.network())
    body = {"trunk": {"port_id": small["id"], "sub_ports": [behind(large, 7)]}}
    assert demo.refused("POST", "/trunks", body)[:2] == (409, "SubPortMtuGreaterThanTrunkPortMtu")


def test_a_bound_parent_keeps_its_trunk(serving, admin):
    free = admin.port(admin.network())
    trunk = admin.trunk(free)
    with FakeHost(serving, "compute1"):
        bound = admin.port(admin.network(), **{"binding:host_id": "compute1"})
        assert admin.refused("POST", "/trunks", {"trunk": {"port_id": bound["id"]}})[:2] == (409, "ParentPortInUse")
        admin.update("ports", free["id"], **{"binding:host_id": "compute1"})
        assert admin.refused("DELETE", f"/trunks/{trunk['id']}")[:2] == (409, "TrunkInUse")
        admin.update("ports", free["id"], **{"binding:host_id": None})
        assert admin.request("DELETE", f"/trunks/{trunk['id']}").status_code == 204


def test_a_sub_port_is_bound_where_its_parent_is_or_says_why_it_cannot_be(serving, admin):
    parent, below = admin.port(admin.network()), admin.port(admin.network())
    trunk = admin.trunk(parent, behind(below, 7))

    def said():
        port = admin.show("ports", below["id"])
        return port["device_owner"], port["binding:host_id"], port["binding:vif_type"], port["binding:vif_details"].get("reason", "")

    with FakeHost(serving, "compute1", vlan=False):
        admin.update("ports", parent["id"], **{"binding:host_id": "compute1"})
        reason = "host compute1 cannot tag for trunks: its kernel has no VLAN devices (8021q)"
        assert said() == ("trunk:subport", "compute1", "binding_failed", reason)
        assert admin.request("GET", f"/trunks/{trunk['id']}").json()["trunk"]["status"] == "DOWN"
        admin.act(trunk, "remove_subports", {"port_id": below["id"]})
        assert said() == ("", "", "unbound", "")
        admin.act(trunk, "add_subports", behind(below, 8))
        assert said()[:3] == ("trunk:subport", "compute1", "binding_failed")
        with FakeHost(serving, "compute1", vlan=True):
            assert said() == ("trunk:subport", "compute1", "bridge", "")
        admin.update("ports", parent["id"], **{"binding:host_id": None})
        assert said() == ("", "", "unbound", "")


def test_trunks_of_others_are_not_there(admin, demo, ports):
    theirs = admin.trunk(admin.port(admin.network()))
    assert demo.refused("GET", f"/trunks/{theirs['id']}")[:2] == (404, "TrunkNotFound")
    assert demo.refused("GET", f"/trunks/{theirs['id']}/get_subports")[:2] == (404, "TrunkNotFound")
    foreign = admin.port(admin.network())
    assert demo.refused("POST", "/trunks", {"trunk": {"port_id": foreign["id"]}})[:2] == (404, "PortNotFound")
    body = {"sub_ports": [behind(foreign, 7)]}
    assert demo.refused("PUT", f"/trunks/{demo.trunk(ports[0])['id']}/add_subports", body)[:2] == (404, "PortNotFound")


def test_trunks_count_against_a_quota(admin, demo, ports):
    project_id = ports[0]["project_id"]
    assert admin.request("GET", f"/quotas/{project_id}/default").json()["quota"]["trunk"] == -1
    used = admin.request("GET", f"/quotas/{project_id}/details").json()["quota"]["trunk"]["used"]
    admin.update("quotas", project_id, trunk=used)
    assert demo.refused("POST", "/trunks", {"trunk": {"port_id": ports[0]["id"]}})[:2] == (409, "OverQuota")
    admin.update("quotas", project_id, trunk=-1)


def test_openstacksdk_drives_a_trunk(sdk, ports):
    trunk = sdk.create_trunk(name="sdk", port_id=ports[0]["id"], sub_ports=[behind(ports[1], 100)])
    sdk.add_trunk_subports(trunk, [behind(ports[2], 200)])
    assert [one["segmentation_id"] for one in sdk.get_trunk_subports(trunk)["sub_ports"]] == [100, 200]
    sdk.delete_trunk_subports(trunk, [{"port_id": ports[1]["id"]}])
    assert [one["port_id"] for one in sdk.find_trunk("sdk").sub_ports] == [ports[2]["id"]]
    assert sdk.get_port(ports[0]["id"]).trunk_details["trunk_id"] == trunk.id
    sdk.update_trunk(trunk, name="sdk2")
    sdk.delete_trunk(trunk)


def test_the_openstack_command_drives_a_trunk(clients, ports):
    subport = f"port={ports[1]['id']},segmentation-type=vlan,segmentation-id=42"
    made = clients.openstack("network", "trunk", "create", "cli", "--parent-port", ports[0]["id"], "--subport", subport)
    assert made["sub_ports"][0]["segmentation_id"] == 42
