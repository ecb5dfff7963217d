"""Compute and image as the `openstack` and `nova` commands, the SDK and plain HTTP use them; a host achieves what it is told."""

import subprocess
import sys
from collections import Counter

import httpx
import openstack
import pytest

from clients import Clients, FakeHost
from serving import Serving

IMAGE = "6e617275-0000-4000-8000-000000000001"
WEB = {"name": "web", "flavorRef": "1", "imageRef": IMAGE}
NO_NETWORK = WEB | {"networks": "none"}


@pytest.fixture(scope="module")
def host(serving):
    with FakeHost(serving, "compute01") as host:
        yield host


@pytest.fixture
def net1(http, host):
    """A network with 13 free addresses, gone with its servers after the test."""
    network = make_network(http, "NET1", "10.20.1.0/28")
    yield network
    for server in http.get("/compute/v2.1/servers").json()["servers"]:
        assert http.delete(f"/compute/v2.1/servers/{server['id']}").status_code == 204
    assert http.delete(f"/v2.0/networks/{network['id']}").status_code == 204


def make_network(http, name, cidr):
    network = http.post("/v2.0/networks", json={"network": {"name": name}}).json()["network"]
    subnet = {"network_id": network["id"], "ip_version": 4, "cidr": cidr}
    assert http.post("/v2.0/subnets", json={"subnet": subnet}).status_code == 201
    return network


def boot(http, headers=None, **given):
    return http.post("/compute/v2.1/servers", json={"server": WEB | given}, headers=headers)


def show(http, id, version="2.1"):
    return http.get(f"/compute/v2.1/servers/{id}", headers={"X-OpenStack-Nova-API-Version": version}).json()["server"]


def ran(done):
    assert done.returncode == 0, done.stderr


def refusal(response):
    """-> status, fault, message"""
    ((fault, body),) = response.json().items()
    assert body["code"] == response.status_code
    return response.status_code, fault, body["message"]


# -- the commands


def test_openstack_boots_without_naming_a_network(clients, http, host):
    """The main job, as a user does it, from nothing to ACTIVE and gone."""
    assert [flavor["Name"] for flavor in clients.openstack("flavor", "list")] == ["m1.tiny", "m1.small"]
    assert [image["Name"] for image in clients.openstack("image", "list")] == ["netns", "qemu"]
    clients.openstack("network", "create", "NET1")
    clients.openstack("subnet", "create", "--network", "NET1", "--subnet-range", "10.20.1.0/28", "NET1")

    server = clients.openstack("server", "create", "--image", "netns", "--flavor", "m1.tiny", "web1")
    assert server["addresses"] == {"NET1": ["10.20.1.3"]}
    assert server["properties"] == {"naru:network_pick": "NET1: chosen, 12 of 13 free"}

    host.achieve()  # the ports; then the instance may run
    host.achieve()
    (row,) = clients.openstack("server", "list")
    assert (row["Status"], row["Networks"], row["Image"]) == ("ACTIVE", {"NET1": ["10.20.1.3"]}, "netns")
    shown = clients.openstack("server", "show", "web1")
    assert shown["OS-EXT-STS:power_state"] in ("Running", 1)
    assert shown["flavor"]["original_name"] == "m1.tiny"

    bare = clients.openstack("server", "create", "--image", "netns", "--flavor", "m1.tiny", "--nic", "none", "web2")
    assert bare["addresses"] == {}
    assert clients.try_openstack("server", "delete", "--wait", "web1", "web2").returncode == 0
    assert http.get("/compute/v2.1/servers").json()["servers"] == []
    (network,) = http.get("/v2.0/networks?name=NET1").json()["networks"]
    assert http.delete(f"/v2.0/networks/{network['id']}").status_code == 204


def test_openstack_prints_why_no_network_could_be_had(clients, http, host):
    small = make_network(http, "SMALL", "10.20.9.0/30")
    (port,) = http.get("/v2.0/ports", params={"network_id": small["id"]}).json()["ports"]
    assert port["device_owner"] == "network:dhcp"

    done = clients.try_openstack("server", "create", "--image", "netns", "--flavor", "m1.tiny", "web1")

    assert done.returncode == 1
    assert "No network has a free address for instance web1: SMALL: full, 0 of 1 free." in done.stderr
    assert http.get("/compute/v2.1/servers").json()["servers"] == []
    assert http.delete(f"/v2.0/networks/{small['id']}").status_code == 204


@pytest.mark.parametrize("version", ["2.1", "2.latest"])
def test_nova_boots_without_naming_a_network(clients, http, net1, version):
    boots = clients.nova("--os-compute-api-version", version, "boot", "--image", "netns", "--flavor", "m1.tiny", "old1")
    assert boots.returncode == 0, boots.stderr
    assert "| NET1 network " in boots.stdout

    lists = clients.nova("--os-compute-api-version", version, "list")
    assert "NET1=10.20.1.3" in lists.stdout
    assert clients.nova("delete", "old1").returncode == 0
    assert http.get("/compute/v2.1/servers").json()["servers"] == []


def test_the_sdk_waits_for_a_server_and_finds_its_address(clients, serving, host, net1):
    auth = clients.auth("demo")
    with openstack.connect(**auth, region_name="RegionOne", app_name="tests") as cloud:
        server = cloud.compute.create_server(name="sdk", image_id=IMAGE, flavor_id="1", networks="auto")
        host.achieve()
        host.achieve()
        server = cloud.compute.wait_for_server(server, interval=0.1, wait=10)
        (interface,) = cloud.compute.server_interfaces(server)
        assert server.addresses["NET1"][0]["addr"] == interface.fixed_ips[0]["ip_address"]
        assert cloud.compute.find_server("sdk").id == server.id
        assert cloud.compute.find_flavor("m1.tiny").vcpus == 1
        cloud.compute.delete_server(server)
        cloud.compute.wait_for_delete(server, interval=0.1, wait=10)


# -- which network


@pytest.mark.parametrize("networks", [None, [], "auto"], ids=str)
def test_what_means_pick_for_me(http, net1, networks):
    given = {} if networks is None else {"networks": networks}
    server = show(http, boot(http, **given).json()["server"]["id"])
    assert list(server["addresses"]) == ["NET1"]
    assert server["metadata"]["naru:network_pick"].startswith("NET1: chosen, ")


def test_a_full_network_is_passed_over_for_the_next_by_name(http, net1):
    other = make_network(http, "NET2", "10.20.2.0/28")
    assert boot(http, min_count=15, max_count=15).status_code == 202

    shown = http.get("/compute/v2.1/servers/detail").json()["servers"]
    networks = Counter(name for server in shown for name in server["addresses"])
    assert networks == {"NET1": 12, "NET2": 3}  # of 13 each, the DHCP server has one
    (why,) = {server["metadata"]["naru:network_pick"] for server in shown}
    assert why == "NET1: chosen for 12 of 15, 12 of 13 free; NET2: chosen for 3 of 15, 12 of 13 free"
    for row in http.get("/compute/v2.1/servers").json()["servers"]:
        http.delete(f"/compute/v2.1/servers/{row['id']}")
    assert http.delete(f"/v2.0/networks/{other['id']}").status_code == 204


def test_named_networks_addresses_and_ports(http, net1):
    port = http.post("/v2.0/ports", json={"port": {"network_id": net1["id"]}}).json()["port"]
    nics = [{"uuid": net1["id"], "fixed_ip": "10.20.1.9"}, {"port": port["id"]}, {"uuid": net1["id"]}]
    made = boot(http, networks=nics, metadata={"role": "web"})
    server = show(http, made.json()["server"]["id"])

    shown = [row["addr"] for row in server["addresses"]["NET1"]]
    assert shown[:2] == ["10.20.1.9", port["fixed_ips"][0]["ip_address"]]
    assert server["metadata"] == {"role": "web"}
    attached = http.get(f"/compute/v2.1/servers/{server['id']}/os-interface").json()["interfaceAttachments"]
    assert [row["fixed_ips"][0]["ip_address"] for row in attached] == shown

    again = boot(http, networks=[{"port": port["id"]}])
    assert refusal(again)[:2] == (409, "conflictingRequest")
    assert http.delete(f"/compute/v2.1/servers/{server['id']}").status_code == 204
    freed = http.get(f"/v2.0/ports/{port['id']}").json()["port"]
    assert (freed["device_id"], freed["status"]) == ("", "DOWN")
    assert http.delete(f"/v2.0/ports/{port['id']}").status_code == 204


def test_interfaces_are_attached_to_a_server_and_detached(clients, http, net1):
    other = make_network(http, "NET2", "10.20.2.0/28")
    port = http.post("/v2.0/ports", json={"port": {"network_id": other["id"]}}).json()["port"]
    server = boot(http, networks=[{"uuid": net1["id"]}]).json()["server"]["id"]

    ran(clients.try_openstack("server", "add", "port", server, port["id"]))
    ran(clients.try_openstack("server", "add", "fixed", "ip", "--fixed-ip-address", "10.20.2.9", server, "NET2"))
    shown = show(http, server)["addresses"]
    assert [row["addr"] for row in shown["NET2"]] == [port["fixed_ips"][0]["ip_address"], "10.20.2.9"]
    assert http.get(f"/v2.0/ports/{port['id']}").json()["port"]["device_id"] == server

    ran(clients.nova("interface-detach", server, port["id"]))
    ran(clients.try_openstack("server", "remove", "network", server, "NET2"))
    assert list(show(http, server)["addresses"]) == ["NET1"]
    assert http.get(f"/v2.0/ports/{port['id']}").json()["port"]["device_id"] == ""
    assert [row["id"] for row in http.get(f"/v2.0/ports?network_id={other['id']}&device_owner=").json()["ports"]] == [port["id"]]
    ran(clients.nova("interface-attach", "--net-id", other["id"], server))
    assert list(show(http, server)["addresses"]) == ["NET1", "NET2"]

    assert http.delete(f"/compute/v2.1/servers/{server}").status_code == 204
    assert http.delete(f"/v2.0/networks/{other['id']}").status_code == 409  # the port that came from outside is left
    assert http.delete(f"/v2.0/ports/{port['id']}").status_code == 204
    assert http.delete(f"/v2.0/networks/{other['id']}").status_code == 204


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        ({"net_id": "NET1", "port_id": "x"}, 400, "it names a net_id and a port_id"),
        ({"fixed_ips": [{"ip_address": "10.20.1.9"}]}, 400, "fixed_ips needs the net_id"),
        ({"net_id": "NET1", "fixed_ips": [{"ip_address": "10.20.1"}]}, 400, "'10.20.1' is not a valid IP address"),
        ({"net_id": "NET1", "fixed_ips": [{"ip_address": "10.20.1.2"}]}, 400, "10.20.1.2 is already in use"),
        ({"net_id": "no-such"}, 404, "Network no-such could not be found"),
        ({"port_id": "no-such"}, 404, "Port no-such could not be found"),
        ({"port_id": "OWN"}, 409, "already has an attached device"),
        ({"surprise": 1}, 400, "unknown field `surprise`"),
    ],
    ids=str,
)
def test_an_interface_that_cannot_be_attached_changes_nothing(http, net1, asked, status, words):
    server = boot(http, networks=[{"uuid": net1["id"]}]).json()["server"]["id"]
    path = f"/compute/v2.1/servers/{server}/os-interface"
    (before,) = http.get(path).json()["interfaceAttachments"]
    named = {"NET1": net1["id"], "OWN": before["port_id"]}
    attachment = {name: named.get(value, value) if isinstance(value, str) else value for name, value in asked.items()}

    refused = refusal(http.post(path, json={"interfaceAttachment": attachment}))

    assert (refused[0], words in refused[2]) == (status, True), refused
    assert http.get(path).json()["interfaceAttachments"] == [before]
    assert refusal(http.delete(f"{path}/{net1['id']}"))[0] == 404


def test_a_port_of_another_project_is_not_taken(http, admin_http, net1):
    port = admin_http.post("/v2.0/ports", json={"port": {"network_id": net1["id"]}}).json()["port"]
    status, _, message = refusal(boot(http, networks=[{"port": port["id"]}]))
    assert (status, message) == (400, f"Port {port['id']} not usable for instance: it belongs to another project.")
    assert admin_http.delete(f"/v2.0/ports/{port['id']}").status_code == 204


def test_as_many_servers_as_have_addresses_or_none(http, net1):
    assert refusal(boot(http, min_count=14, max_count=20))[:2] == (409, "conflictingRequest")
    assert http.get("/compute/v2.1/servers").json()["servers"] == []

    assert boot(http, min_count=2, max_count=20).status_code == 202
    names = sorted(row["name"] for row in http.get("/compute/v2.1/servers").json()["servers"])
    assert len(names) == 12
    assert names[0] == "web-1"


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ({"name": ""}, 400, "at `server.name`"),
        ({"name": 7}, 400, "Expected `str`, got `int` - at `server.name`"),
        ({"name": "a\x00b"}, 400, "at `server.name`"),
        ({"flavorRef": "9"}, 400, "Flavor 9 could not be found"),
        ({"imageRef": "no-such"}, 400, "requested image no-such"),
        ({"imageRef": {}}, 400, "at `server.imageRef`"),
        ({"surprise": 1}, 400, "unknown field `surprise`"),
        ({"networks": "some"}, 400, "at `server.networks`"),
        ({"networks": [{"net": "x"}]}, 400, "unknown field `net` - at `server.networks[0]`"),
        ({"networks": [{}]}, 400, "neither a uuid (of a network) nor a port"),
        ({"networks": [{"uuid": "no-such"}]}, 400, "Network no-such could not be found"),
        ({"networks": [{"port": "no-such"}]}, 400, "Port no-such could not be found"),
        ({"networks": [{"uuid": "NET1", "fixed_ip": "10.0.0"}]}, 400, "'10.0.0' is not a valid IP address"),
        ({"networks": [{"uuid": "NET1", "fixed_ip": "10.99.0.1"}]}, 400, "not a valid IP for any of the subnets"),
        ({"networks": [{"uuid": "NET1", "fixed_ip": "10.20.1.2"}]}, 400, "Fixed IP address 10.20.1.2 is already in use"),
        ({"min_count": 0}, 400, "at `server.min_count`"),
        ({"min_count": 3, "max_count": 2}, 400, "min_count must be <= max_count"),
        ({"max_count": 10_000, "networks": "none"}, 400, "one request makes up to"),
        ({"metadata": {"a": 1}}, 400, "at `server.metadata"),
        ({"key_name": "mine"}, 400, "Invalid key_name provided. User"),
        ({"block_device_mapping_v2": [{"source_type": "volume", "uuid": "x", "boot_index": 0}]}, 400, "there are no volumes"),
        ({"availability_zone": "mars"}, 400, "zone is not available: mars"),
        ({"availability_zone": "nova:compute01"}, 403, "forced_host"),
    ],
    ids=str,
)
def test_a_request_that_cannot_be_met_says_what_is_wrong(http, net1, given, status, words):
    if isinstance(given.get("networks"), list):
        given = given | {"networks": [{k: net1["id"] if v == "NET1" else v for k, v in nic.items()} for nic in given["networks"]]}
    response = boot(http, **given)
    assert (response.status_code, list(response.json())) == (status, ["badRequest" if status == 400 else "forbidden"])
    assert words in refusal(response)[2]
    assert http.get("/compute/v2.1/servers").json()["servers"] == []


def test_bodies_that_are_no_server_are_refused(http):
    for body in (b"", b"[]", b'{"server": []}', b"{"):
        assert refusal(http.post("/compute/v2.1/servers", content=body))[:2] == (400, "badRequest")


def test_no_live_host_is_a_conflict_that_says_why(tmp_path):
    with Serving(tmp_path) as alone, Clients(alone).http() as http:
        status, fault, message = refusal(http.post("/compute/v2.1/servers", json={"server": NO_NETWORK}))
    assert (status, fault) == (409, "conflictingRequest")
    assert message == "No valid host was found for instance web: no agent has registered."


# -- microversions


@pytest.mark.parametrize(
    ("headers", "version"),
    [
        ({}, "2.1"),
        ({"OpenStack-API-Version": "compute 2.61"}, "2.61"),
        ({"OpenStack-API-Version": "volume 3.0, compute 2.19"}, "2.19"),
        ({"OpenStack-API-Version": "compute latest"}, "2.61"),
        ({"X-OpenStack-Nova-API-Version": "2.26"}, "2.26"),
    ],
    ids=str,
)
def test_a_microversion_is_honoured_and_told(http, headers, version):
    response = http.get("/compute/v2.1/flavors", headers=headers)
    assert response.headers["OpenStack-API-Version"] == f"compute {version}"
    assert response.headers["X-OpenStack-Nova-API-Version"] == version


@pytest.mark.parametrize(
    ("asked", "status", "fault"), [("2.62", 406, "computeFault"), ("2.0", 406, "computeFault"), ("two", 400, "badRequest")]
)
def test_a_microversion_that_is_not_offered_is_refused(http, asked, status, fault):
    response = http.get("/compute/v2.1/flavors", headers={"OpenStack-API-Version": f"compute {asked}"})
    assert refusal(response)[:2] == (status, fault)
    assert response.headers["OpenStack-API-Version"] == "compute 2.1"


def test_a_server_looks_as_nova_shows_it_at_each_microversion(http, admin_http, host, net1):
    id = boot(http, headers={"OpenStack-API-Version": "compute 2.61"}, description="front", tags=["blue"]).json()["server"]["id"]
    base, newest = show(http, id), show(http, id, "2.61")

    assert set(newest) - set(base) == {"locked", "description", "tags"}
    assert (newest["description"], newest["tags"], newest["locked"]) == ("front", ["blue"], False)
    assert base["flavor"]["id"] == "1"
    assert newest["flavor"] == {
        "vcpus": 1, "ram": 64, "disk": 1, "ephemeral": 0, "swap": 0, "original_name": "m1.tiny", "extra_specs": {},
    }  # fmt: skip
    assert base["addresses"]["NET1"][0] == {
        "addr": "10.20.1.3",
        "version": 4,
        "OS-EXT-IPS:type": "fixed",
        "OS-EXT-IPS-MAC:mac_addr": base["addresses"]["NET1"][0]["OS-EXT-IPS-MAC:mac_addr"],
    }
    seen_by_admin = show(admin_http, id, "2.61")
    assert seen_by_admin["OS-EXT-SRV-ATTR:host"] == "compute01"
    assert seen_by_admin["host_status"] == "UP"
    assert not [key for key in newest if key.startswith("OS-EXT-SRV-ATTR") or key == "host_status"]


# -- whose, and which


def test_servers_of_others_do_not_exist_for_a_member(http, admin_http, net1):
    id = boot(admin_http, networks="none").json()["server"]["id"]
    try:
        for method, body in (("GET", None), ("DELETE", None), ("PUT", {"server": {"name": "mine"}})):
            response = http.request(method, f"/compute/v2.1/servers/{id}", json=body)
            assert refusal(response)[:2] == (404, "itemNotFound")
        assert http.get("/compute/v2.1/servers").json()["servers"] == []
        assert http.get("/compute/v2.1/servers?all_tenants=1").status_code == 403
        boot(http)
        assert len(admin_http.get("/compute/v2.1/servers").json()["servers"]) == 1
        assert len(admin_http.get("/compute/v2.1/servers?all_tenants=1").json()["servers"]) == 2
    finally:
        admin_http.delete(f"/compute/v2.1/servers/{id}")


def test_lists_filter_sort_and_page(http, admin_http, net1):
    for name in ("web1", "web2", "db1"):
        assert boot(http, name=name, networks="auto" if name != "db1" else "none", tags=[name]).status_code == 202

    def names(query, client=http):
        answer = client.get(f"/compute/v2.1/servers?{query}").json()
        return [row["name"] for row in answer["servers"]]

    assert sorted(names("name=web")) == ["web1", "web2"]
    assert names("name=^web1$") == ["web1"]
    assert names("name=(a+)%2B$") == []
    assert sorted(names("status=build")) == ["db1", "web1", "web2"]
    assert names("status=ACTIVE") == []
    assert names("tags=db1") == ["db1"]
    assert names("ip=10.20.1.4") == ["web2"]
    assert names("sort_key=display_name&sort_dir=asc&deleted=False") == ["db1", "web1", "web2"]
    assert names("deleted=True&all_tenants=1", admin_http) == []
    assert sorted(names("host=compute01&all_tenants=1", admin_http)) == ["db1", "web1", "web2"]

    first = http.get("/compute/v2.1/servers/detail?limit=2&sort_key=display_name&sort_dir=asc").json()
    (link,) = first["servers_links"]
    rest = http.get(link["href"]).json()
    assert [row["name"] for row in first["servers"] + rest["servers"]] == ["db1", "web1", "web2"]
    assert "servers_links" not in rest
    for bad in ("limit=-1", "limit=x", "marker=no-such", "sort_key=colour"):
        assert refusal(http.get(f"/compute/v2.1/servers?{bad}"))[:2] == (400, "badRequest")


def test_a_server_is_renamed_and_described(http, net1):
    id = boot(http).json()["server"]["id"]
    changed = http.put(f"/compute/v2.1/servers/{id}", json={"server": {"name": "new", "description": "d"}})
    assert changed.json()["server"]["name"] == show(http, id)["name"] == "new"
    assert show(http, id, "2.19")["description"] == "d"
    assert refusal(http.put(f"/compute/v2.1/servers/{id}", json={"server": {"status": "ACTIVE"}}))[0] == 400
    assert refusal(http.post(f"/compute/v2.1/servers/{id}/action", json={"reboot": {}}))[:2] == (400, "badRequest")


def test_a_host_that_fails_an_instance_makes_it_an_error_with_the_reason(http, host, net1):
    id = boot(http, networks="none").json()["server"]["id"]
    report = {"revision": 1, "failed": {f"instance/{id}": "no namespace could be made: Operation not permitted"}}
    assert host.http.post("/report", json=report).status_code == 200

    server = show(http, id)
    assert (server["status"], server["OS-EXT-STS:vm_state"]) == ("ERROR", "error")
    assert server["fault"]["code"] == 500
    assert "Operation not permitted" in server["fault"]["message"]


# -- the rest of what clients ask


def test_versions_are_told_without_a_token(serving):
    compute = httpx.get(f"{serving.url}/compute/v2.1", trust_env=False).json()["version"]
    assert (compute["min_version"], compute["version"]) == ("2.1", "2.61")
    assert httpx.get(f"{serving.url}/compute", trust_env=False).json()["versions"] == [compute]
    image = httpx.get(f"{serving.url}/image", trust_env=False)
    assert image.status_code == 300
    assert image.json()["versions"][0]["links"][0]["href"] == f"{serving.url}/image/v2/"
    assert httpx.get(f"{serving.url}/compute/v2.1/servers", trust_env=False).status_code == 401


def test_images_by_id_by_name_and_by_filter(http):
    assert http.get("/image/v2/images/netns").json()["id"] == http.get(f"/image/v2/images/{IMAGE}").json()["id"] == IMAGE
    assert len(http.get("/image/v2/images?name=netns").json()["images"]) == 1
    assert len(http.get(f"/image/v2/images?id=in:{IMAGE},other").json()["images"]) == 1
    assert http.get("/image/v2/images?name=cirros").json()["images"] == []
    assert http.get("/image/v2/images/cirros").status_code == 404
    assert "name" in http.get("/image/v2/schemas/image").json()["properties"]


def test_flavors_by_id_and_in_lists(http):
    assert http.get("/compute/v2.1/flavors/1").json()["flavor"]["name"] == "m1.tiny"
    assert refusal(http.get("/compute/v2.1/flavors/m1.tiny"))[:2] == (404, "itemNotFound")
    assert len(http.get("/compute/v2.1/flavors/detail?is_public=None").json()["flavors"]) == 2
    page = http.get("/compute/v2.1/flavors?limit=1").json()
    assert [row["id"] for row in http.get(page["flavors_links"][0]["href"]).json()["flavors"]] == ["2"]
    assert [row["id"] for row in http.get("/compute/v2.1/flavors?minRam=100").json()["flavors"]] == ["2"]


def test_quotas_limits_and_zones(http, admin_http, host):
    project_id = http.get("/identity/v3/auth/projects").json()["projects"][0]["id"]
    assert http.get(f"/compute/v2.1/os-quota-sets/{project_id}").json()["quota_set"]["instances"] == -1
    assert refusal(http.get("/compute/v2.1/os-quota-sets/other"))[0] == 403
    assert http.get("/compute/v2.1/limits").json()["limits"]["absolute"]["totalInstancesUsed"] == 0
    (zone,) = http.get("/compute/v2.1/os-availability-zone").json()["availabilityZoneInfo"]
    assert (zone["zoneName"], zone["zoneState"]["available"]) == ("nova", True)
    (zone,) = admin_http.get("/compute/v2.1/os-availability-zone/detail").json()["availabilityZoneInfo"]
    assert list(zone["hosts"]) == ["compute01"]
    (hypervisor,) = admin_http.get("/compute/v2.1/os-hypervisors").json()["hypervisors"]
    assert hypervisor == {"id": 1, "hypervisor_hostname": "compute01", "state": "up", "status": "enabled"}
    assert refusal(http.get("/compute/v2.1/os-hypervisors"))[0] == 403
    assert http.get("/compute/v2.1/os-keypairs").json() == {"keypairs": []}


# -- what an answer promises


def test_what_was_answered_survives_the_death_of_the_server(tmp_path):
    with Serving(tmp_path) as first, FakeHost(first, "compute01"), Clients(first).http() as http:
        network = make_network(http, "NET1", "10.20.1.0/28")
        id = boot(http).json()["server"]["id"]
        first.kill()

    with Serving(tmp_path) as second, Clients(second).http() as http:
        assert http.get(f"/v2.0/networks/{network['id']}").status_code == 200
        assert list(show(http, id)["addresses"]) == ["NET1"]
        check = [sys.executable, "-m", "naru", "db", "check", "--state-dir", str(tmp_path)]
        done = subprocess.run(check, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("OK: ")
