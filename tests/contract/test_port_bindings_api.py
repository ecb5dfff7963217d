"""Bindings of a port on several hosts, as Nova uses them to move an instance.

https://docs.openstack.org/api-ref/network/v2/#port-binding
"""

import pytest

from clients import FakeHost


@pytest.fixture(scope="module", autouse=True)
def hosts(serving):
    with FakeHost(serving, "compute1"), FakeHost(serving, "compute2"):
        yield


@pytest.fixture
def port(admin):
    return admin.port(admin.network(), device_owner="compute:nova", **{"binding:host_id": "compute1", "binding:profile": {"a": 1}})


def bind(admin, port, host, status=201, **more):
    answer = admin.request("POST", f"/ports/{port['id']}/bindings", json={"binding": {"host": host, **more}})
    assert answer.status_code == status, answer.text
    return answer.json()["binding"]


def bindings(admin, port, **query):
    answer = admin.request("GET", f"/ports/{port['id']}/bindings", params=query)
    assert answer.status_code == 200, answer.text
    return {binding["host"]: binding["status"] for binding in answer.json()["bindings"]}


def test_the_active_binding_is_that_of_the_port(admin, port):
    answer = admin.request("GET", f"/ports/{port['id']}/bindings/compute1").json()
    assert answer == {
        "binding": {
            "host": "compute1", "status": "ACTIVE", "vif_type": "bridge", "vnic_type": "normal", "profile": {"a": 1},
            "vif_details": port["binding:vif_details"], "project_id": port["project_id"], "tenant_id": port["project_id"],
        }
    }  # fmt: skip


def test_an_instance_moves(admin, port):
    made = bind(admin, port, "compute2", vnic_type="normal", profile={"b": 2})
    assert (made["status"], made["vif_type"], made["profile"]) == ("INACTIVE", "bridge", {"b": 2})
    assert admin.show("ports", port["id"])["binding:host_id"] == "compute1"
    assert bindings(admin, port) == {"compute1": "ACTIVE", "compute2": "INACTIVE"}
    assert bindings(admin, port, status="INACTIVE") == {"compute2": "INACTIVE"}

    activated = admin.request("PUT", f"/ports/{port['id']}/bindings/compute2/activate")
    assert (activated.status_code, activated.json()["binding"]["status"]) == (200, "ACTIVE")
    moved = admin.show("ports", port["id"])
    assert (moved["binding:host_id"], moved["binding:profile"], moved["status"]) == ("compute2", {"b": 2}, "DOWN")
    assert admin.request("GET", f"/ports/{port['id']}/bindings/compute1").json()["binding"]["vif_type"] == "unbound"

    assert admin.request("DELETE", f"/ports/{port['id']}/bindings/compute1").status_code == 204
    assert bindings(admin, port) == {"compute2": "ACTIVE"}


def test_a_waiting_binding_can_be_changed(admin, port):
    bind(admin, port, "compute2")
    changed = admin.request("PUT", f"/ports/{port['id']}/bindings/compute2", json={"binding": {"profile": {"c": 3}}})
    assert changed.json()["binding"]["profile"] == {"c": 3}
    changed = admin.request("PUT", f"/ports/{port['id']}/bindings/compute1", json={"binding": {"profile": {"d": 4}}})
    assert changed.json()["binding"]["status"] == "ACTIVE"
    assert admin.show("ports", port["id"])["binding:profile"] == {"d": 4}


def test_deleting_the_active_binding_unbinds_the_port(admin, port):
    assert admin.request("DELETE", f"/ports/{port['id']}/bindings/compute1").status_code == 204
    unbound = admin.show("ports", port["id"])
    assert (unbound["binding:host_id"], unbound["binding:vif_type"]) == ("", "unbound")
    assert bindings(admin, port) == {}


def test_a_port_that_is_moved_by_its_own_attribute_waits_there_no_more(admin, port):
    bind(admin, port, "compute2")
    admin.update("ports", port["id"], **{"binding:host_id": "compute2"})
    assert bindings(admin, port) == {"compute2": "ACTIVE"}


def test_refusals(admin, demo, port):
    path = f"/ports/{port['id']}/bindings"
    exists, error = (409, "PortBindingAlreadyExists"), (409, "PortBindingError")
    assert admin.refused("POST", path, {"binding": {"host": "compute1"}})[:2] == exists
    assert admin.refused("POST", path, {"binding": {"host": "nowhere"}})[:2] == error
    assert admin.refused("POST", path, {"binding": {"host": "compute2", "vnic_type": "direct"}})[:2] == error
    assert admin.refused("POST", path, {"binding": {}})[:2] == (400, "HTTPBadRequest")
    assert admin.refused("POST", path, {"binding": {"host": "compute2", "status": "ACTIVE"}})[:2] == (400, "HTTPBadRequest")
    assert admin.refused("PUT", f"{path}/compute1/activate")[:2] == (409, "PortBindingAlreadyActive")
    for method, end in (("GET", ""), ("DELETE", ""), ("PUT", "/activate")):
        assert admin.refused(method, f"{path}/compute9{end}")[:2] == (404, "PortBindingNotFound")
    bind(admin, port, "compute2")
    assert admin.refused("POST", path, {"binding": {"host": "compute2"}})[:2] == exists
    assert demo.refused("GET", path)[:2] == (404, "PortNotFound")
    own = demo.port(demo.network())
    for method, body in (("GET", None), ("POST", {"binding": {"host": "compute2"}})):
        assert demo.refused(method, f"/ports/{own['id']}/bindings", body)[:2] == (403, "PolicyNotAuthorized")


def test_openstacksdk_moves_a_port(admin_sdk, port):
    admin_sdk.create_port_binding(port["id"], host="compute2")
    admin_sdk.activate_port_binding(port["id"], "compute2")
    assert {binding.host: binding.status for binding in admin_sdk.port_bindings(port["id"])} == {
        "compute1": "INACTIVE",
        "compute2": "ACTIVE",
    }
    admin_sdk.delete_port_binding(port["id"], "compute1")
    assert [binding.host for binding in admin_sdk.port_bindings(port["id"])] == ["compute2"]
