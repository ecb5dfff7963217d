"""Ranges of segmentation ids: https://docs.openstack.org/api-ref/network/v2/#network-segment-ranges"""

import pytest

from serving import Serving

PLURAL = "network_segment_ranges"


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    state_dir = tmp_path_factory.mktemp("server")
    (state_dir / "naru.toml").write_text('[segments.vlan]\nranges = ["physnet1:10:13"]\n[segments.vxlan]\nvni_ranges = ["100:102"]\n')
    with Serving(state_dir, f"server --config {state_dir / 'naru.toml'}") as running:
        yield running


@pytest.fixture(scope="module")
def project(demo):
    network = demo.network()
    demo.delete("networks", network["id"])
    return network["project_id"]


def shown(admin, id):
    return admin.request("GET", f"/{PLURAL}/{id}").json()["network_segment_range"]


def made(admin, **attributes):
    answer = admin.request("POST", f"/{PLURAL}", json={"network_segment_range": attributes})
    assert answer.status_code == 201, answer.text
    return answer.json()["network_segment_range"]


def default(admin, network_type):
    return next(row for row in admin.list(PLURAL, network_type=network_type) if row["default"])


def test_the_settings_ranges_are_shown_and_fixed(admin):
    vlan, vxlan = default(admin, "vlan"), default(admin, "vxlan")
    assert (vlan["physical_network"], vlan["minimum"], vlan["maximum"], vlan["available"]) == ("physnet1", 10, 13, [10, 11, 12, 13])
    assert (vxlan["physical_network"], vxlan["available"], vxlan["used"], vxlan["shared"]) == (None, [100, 101, 102], {}, True)
    path = f"/{PLURAL}/{vlan['id']}"
    for method, body in (("PUT", {"network_segment_range": {"name": "mine"}}), ("DELETE", None)):
        assert admin.refused(method, path, body)[:2] == (400, "NetworkSegmentRangeDefaultReadOnly")


def test_a_project_has_its_own_ids_first_and_nobody_else_has_them(admin, demo, project):
    own = made(admin, name="own", shared=False, project_id=project, network_type="vxlan", minimum=102, maximum=103)
    assert (own["project_id"], own["available"], own["tags"]) == (project, [102, 103], [])
    networks = [demo.network() for _ in range(3)]
    ids = [admin.show("networks", network["id"])["provider:segmentation_id"] for network in networks]
    assert ids == [102, 103, 100]
    assert shown(admin, own["id"])["used"] == {"102": project, "103": project}
    assert shown(admin, own["id"])["available"] == []
    assert admin.network()["provider:segmentation_id"] == 101
    assert admin.refused("POST", "/networks", {"network": {}})[:2] == (503, "NoNetworkAvailable")
    path, body = f"/{PLURAL}/{own['id']}", {"network_segment_range": {"maximum": 102}}
    assert admin.refused("PUT", path, body)[:2] == (409, "NetworkSegmentRangeReferencedByProject")
    assert admin.refused("DELETE", path)[:2] == (409, "NetworkSegmentRangeReferencedByProject")
    for network in (*networks, *admin.list("networks")):
        admin.request("DELETE", f"/networks/{network['id']}")
    body = {"network_segment_range": {"maximum": 104, "name": "wider", "description": "for tests"}}
    assert admin.request("PUT", path, json=body).json()["network_segment_range"]["available"] == [102, 103, 104]
    assert admin.request("DELETE", path).status_code == 204


def test_a_shared_range_is_used_after_the_settings(admin):
    more = made(admin, network_type="geneve", minimum=7, maximum=7, project_id="whoever")
    assert (more["shared"], more["project_id"]) == (True, "")
    network = admin.network(**{"provider:network_type": "geneve"})
    assert network["provider:segmentation_id"] == 7
    assert shown(admin, more["id"])["used"] == {"7": network["project_id"]}
    admin.delete("networks", network["id"])
    admin.delete(PLURAL, more["id"])


@pytest.mark.parametrize(
    ("wanted", "refusal"),
    [
        ({"network_type": "flat", "minimum": 1, "maximum": 2}, (400, "HTTPBadRequest")),
        ({"minimum": 1, "maximum": 2}, (400, "NetworkSegmentRangeNetTypeNotSupported")),
        ({"network_type": "vlan", "minimum": 1, "maximum": 2}, (400, "BadRequest")),
        ({"network_type": "vlan", "physical_network": "p", "minimum": 1, "maximum": 4095}, (400, "NetworkVlanRangeError")),
        ({"network_type": "vxlan", "minimum": 9, "maximum": 8}, (400, "NetworkTunnelRangeError")),
        ({"network_type": "vxlan", "minimum": 0, "maximum": 8}, (400, "HTTPBadRequest")),
        ({"network_type": "vxlan", "minimum": 1}, (400, "HTTPBadRequest")),
        ({"network_type": "vxlan", "minimum": 500, "maximum": 600}, (409, "NetworkSegmentRangeOverlaps")),
    ],
)
def test_ranges_that_cannot_be_are_refused(admin, wanted, refusal):
    there = made(admin, network_type="vxlan", minimum=600, maximum=700)
    assert admin.refused("POST", f"/{PLURAL}", {"network_segment_range": wanted})[:2] == refusal
    admin.delete(PLURAL, there["id"])


def test_they_are_the_administrators_affair(admin, demo, project):
    own = made(admin, shared=False, project_id=project, network_type="vxlan", minimum=800, maximum=801)
    assert demo.list(PLURAL) == []
    assert demo.refused("GET", f"/{PLURAL}/{own['id']}")[:2] == (404, "NetworkSegmentRangeNotFound")
    assert demo.refused("DELETE", f"/{PLURAL}/{own['id']}")[:2] == (404, "NetworkSegmentRangeNotFound")
    body = {"network_segment_range": {"network_type": "vxlan", "minimum": 1, "maximum": 2}}
    assert demo.refused("POST", f"/{PLURAL}", body)[:2] == (403, "PolicyNotAuthorized")
    admin.delete(PLURAL, own["id"])


def test_the_sdk_and_the_command(clients, admin):
    with clients.sdk("admin") as sdk:
        found = sdk.network.create_network_segment_range(name="sdk", network_type="gre", minimum=5, maximum=9)
        assert sdk.network.update_network_segment_range(found, maximum=8).available == [5, 6, 7, 8]
        assert [row.name for row in sdk.network.network_segment_ranges(network_type="gre")] == ["sdk"]
        rows = clients.openstack("network", "segment", "range", "list", "--available", user="admin")
        assert {"5-8"} in [set(row["Available"]) for row in rows]
        sdk.network.delete_network_segment_range(found)


def test_a_restart_keeps_what_the_settings_say(tmp_path):
    config = tmp_path / "naru.toml"
    for vnis in ("1:5", "1:16777215"):
        config.write_text(f'auth = "none"\n[segments.vxlan]\nvni_ranges = ["{vnis}"]\n')
        with Serving(tmp_path, f"server --config {config}") as running, running.client() as http:
            rows = http.get(f"/{PLURAL}").json()["network_segment_ranges"]
            assert [f"{row['minimum']}:{row['maximum']}" for row in rows] == [vnis]
    assert len(rows[0]["available"]) == 4094
