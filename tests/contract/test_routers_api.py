"""Routers, floating IPs and port forwardings as the SDK, the `openstack` command and plain HTTP use them."""

import pytest
from openstack import exceptions


def make(client, plural, path=None, **given):
    """POST one; the answer's object."""
    singular = plural[:-1].replace("-", "_")
    response = client.post(f"/v2.0/{path or plural}", json={singular: given})
    assert response.status_code == 201, response.text
    return response.json()[singular]


def refusal(response):
    """-> status, type"""
    return response.status_code, response.json()["NeutronError"]["type"]


@pytest.fixture(scope="module")
def outside(admin_http):
    network = make(admin_http, "networks", name="outside", **{"router:external": True})
    make(admin_http, "subnets", network_id=network["id"], ip_version=4, cidr="198.51.100.0/24", name="street", enable_dhcp=False)
    return network


@pytest.fixture(scope="module")
def home(http):
    """A network with a subnet and a port."""
    network = make(http, "networks", name="home")
    subnet = make(http, "subnets", network_id=network["id"], ip_version=4, cidr="10.0.0.0/24")
    port = make(http, "ports", network_id=network["id"], name="desk")
    return {"network": network, "subnet": subnet, "port": port, "address": port["fixed_ips"][0]["ip_address"]}


@pytest.fixture
def router(http, outside, home):
    """On both; gone after the test with what hangs on it."""
    router = make(http, "routers", name="r1", external_gateway_info={"network_id": outside["id"]})
    path = f"/v2.0/routers/{router['id']}"
    assert http.put(f"{path}/add_router_interface", json={"subnet_id": home["subnet"]["id"]}).status_code == 200
    yield router
    for floating in http.get("/v2.0/floatingips").json()["floatingips"]:
        assert http.delete(f"/v2.0/floatingips/{floating['id']}").status_code == 204
    http.put(path, json={"router": {"routes": []}})
    assert http.put(f"{path}/remove_router_interface", json={"subnet_id": home["subnet"]["id"]}).status_code == 200
    assert http.delete(path).status_code == 204


@pytest.fixture
def floating(http, outside, router):
    return make(http, "floatingips", floating_network_id=outside["id"])


# -- routers


def test_the_sdk_drives_a_router(sdk, outside):
    network = sdk.create_network(name="sdk")
    subnet = sdk.create_subnet(network_id=network.id, ip_version=4, cidr="10.5.0.0/24")
    router = sdk.create_router(name="sdk", external_gateway_info={"network_id": outside["id"]})
    assert (router.status, router.is_admin_state_up, router.routes) == ("ACTIVE", True, [])
    assert router.external_gateway_info["enable_snat"] is True
    assert router.external_gateway_info["external_fixed_ips"][0]["ip_address"].startswith("198.51.100.")
    answer = sdk.add_interface_to_router(router, subnet_id=subnet.id)
    assert answer["subnet_ids"] == [subnet.id]
    assert [port.id for port in sdk.ports(device_id=router.id, device_owner="network:router_interface")] == [answer["port_id"]]
    with pytest.raises(exceptions.ConflictException):
        sdk.delete_router(router)
    with pytest.raises(exceptions.ConflictException):
        sdk.delete_port(answer["port_id"])
    route = {"destination": "192.0.2.0/24", "nexthop": "10.5.0.9"}
    assert sdk.add_extra_routes_to_router(router, {"router": {"routes": [route]}}).routes == [route]
    assert sdk.remove_extra_routes_from_router(router, {"router": {"routes": [route]}}).routes == []
    assert sdk.update_router(router, routes=[route]).routes == [route]
    sdk.update_router(router, routes=[], name="renamed", is_admin_state_up=False)
    assert sdk.find_router("renamed").id == router.id
    assert sdk.remove_interface_from_router(router, subnet_id=subnet.id)["port_id"] == answer["port_id"]
    sdk.update_router(router, external_gateway_info={})
    assert sdk.get_router(router.id).external_gateway_info is None
    sdk.delete_router(router)
    sdk.delete_network(network)


def test_the_command_drives_a_router(clients, outside):
    clients.openstack("router", "create", "--external-gateway", "outside", "cli")
    shown = clients.openstack("router", "show", "cli")
    assert (shown["name"], shown["status"], shown["external_gateway_info"]["network_id"]) == ("cli", "ACTIVE", outside["id"])
    assert clients.try_openstack("router", "unset", "--external-gateway", "cli").returncode == 0
    assert [row["Name"] for row in clients.openstack("router", "list")] == ["cli"]
    assert clients.try_openstack("router", "delete", "cli").returncode == 0


def test_routers_in_bulk_with_fields_and_filters(http):
    made = http.post("/v2.0/routers", json={"routers": [{"name": "b1"}, {"name": "b2", "admin_state_up": "False"}]})
    assert made.status_code == 201
    ids = [router["id"] for router in made.json()["routers"]]
    assert http.get("/v2.0/routers?name=b2&fields=name&fields=admin_state_up").json()["routers"] == [
        {"name": "b2", "admin_state_up": False}
    ]
    names = http.get("/v2.0/routers?sort_key=name&sort_dir=desc&fields=name").json()["routers"]
    assert [row["name"] for row in names] == ["b2", "b1"]
    assert http.get("/v2.0/routers?status=ACTIVE").status_code == 400  # Neutron does not filter by it
    many = [{"name": "b3"}, {"name": "b4", "external_gateway_info": {"network_id": ids[0]}}]
    assert refusal(http.post("/v2.0/routers", json={"routers": many})) == (404, "NetworkNotFound")
    assert len(http.get("/v2.0/routers").json()["routers"]) == 2  # of a bulk that is refused, none is made
    for id in ids:
        http.delete(f"/v2.0/routers/{id}")


def test_what_only_administrators_see_and_set(http, admin_http, router, outside):
    assert "ha" not in http.get(f"/v2.0/routers/{router['id']}").json()["router"]
    assert admin_http.get(f"/v2.0/routers/{router['id']}").json()["router"]["ha"] is False
    for given in (
        {"ha": True},
        {"external_gateway_info": {"network_id": outside["id"], "enable_snat": False}},
        {"external_gateway_info": {"network_id": outside["id"], "external_fixed_ips": [{"ip_address": "198.51.100.200"}]}},
    ):
        assert refusal(http.put(f"/v2.0/routers/{router['id']}", json={"router": given})) == (403, "PolicyNotAuthorized")
    body = {"router": {"external_gateway_info": {"network_id": outside["id"], "enable_snat": False}}}
    changed = admin_http.put(f"/v2.0/routers/{router['id']}", json=body).json()["router"]
    assert (changed["external_gateway_info"]["enable_snat"], changed["enable_snat"]) == (False, False)
    foreign = make(admin_http, "routers", name="foreign")
    assert refusal(http.get(f"/v2.0/routers/{foreign['id']}")) == (404, "RouterNotFound")
    assert refusal(http.put(f"/v2.0/routers/{foreign['id']}/add_router_interface", json={})) == (404, "RouterNotFound")
    gateway = f"/v2.0/ports?device_id={router['id']}&device_owner=network:router_gateway"
    assert http.get(gateway).json()["ports"] == []
    (port,) = admin_http.get(gateway).json()["ports"]
    assert (port["project_id"], port["device_id"]) == ("", router["id"])
    assert refusal(admin_http.delete(f"/v2.0/ports/{port['id']}")) == (409, "ServicePortInUse")
    assert refusal(admin_http.delete(f"/v2.0/networks/{outside['id']}")) == (409, "NetworkInUse")


@pytest.mark.parametrize(
    ("action", "body", "expected"),
    [
        ("add_router_interface", {}, (400, "BadRequest")),
        ("add_router_interface", {"subnet_id": "x"}, (400, "BadRequest")),
        ("add_router_interface", {"subnet_id": "6e617275-0000-4000-8000-000000000001"}, (404, "SubnetNotFound")),
        ("add_router_interface", [], (400, "BadRequest")),
        ("remove_router_interface", {"port_id": "6e617275-0000-4000-8000-000000000001"}, (404, "RouterInterfaceNotFound")),
        ("remove_router_interface", {"subnet_id": "6e617275-0000-4000-8000-000000000001"}, (404, "SubnetNotFound")),
        ("add_extraroutes", {"router": {"routes": [{"destination": "192.0.2.0/24", "nexthop": "10.66.0.1"}]}}, (400, "InvalidRoutes")),
        ("add_extraroutes", {"router": {}}, (400, "BadRequest")),
        ("add_extraroutes", {"router": {"routes": [{"destination": "x"}]}}, (400, "HTTPBadRequest")),
    ],
)
def test_actions_are_refused_in_neutrons_words(http, router, action, body, expected):
    assert refusal(http.put(f"/v2.0/routers/{router['id']}/{action}", json=body)) == expected


# -- floating IPs


def test_the_sdk_drives_a_floating_ip(sdk, outside, router, home):
    made = sdk.create_ip(floating_network_id=outside["id"], port_id=home["port"]["id"], description="front door")
    assert (made.status, made.router_id, made.fixed_ip_address) == ("DOWN", router["id"], home["address"])
    assert (made.port_details["name"], made.port_details["mac_address"]) == ("desk", home["port"]["mac_address"])
    for query in (
        {"floating_ip_address": made.floating_ip_address},
        {"port_id": home["port"]["id"]},
        {"fixed_ip_address": home["address"]},
        {"router_id": router["id"]},
        {"floating_network_id": outside["id"]},
        {"status": "DOWN"},
    ):
        assert [found.id for found in sdk.ips(**query)] == [made.id], query
    assert not list(sdk.ips(status="ACTIVE"))
    assert sdk.find_ip(made.floating_ip_address).id == made.id
    with pytest.raises(exceptions.ConflictException):
        sdk.create_ip(floating_network_id=outside["id"], port_id=home["port"]["id"])
    freed = sdk.update_ip(made, port_id=None)
    assert (freed.port_id, freed.router_id, freed.port_details) == (None, None, None)
    sdk.delete_ip(freed)
    assert sdk.find_ip(made.id) is None


def test_the_command_drives_a_floating_ip(clients, router, home):
    made = clients.openstack("floating", "ip", "create", "outside")
    assert clients.try_openstack("floating", "ip", "set", "--port", home["port"]["id"], made["floating_ip_address"]).returncode == 0
    (row,) = clients.openstack("floating", "ip", "list")
    assert (row["Fixed IP Address"], row["Port"]) == (home["address"], home["port"]["id"])


def test_port_details_follow_the_port(http, floating, home):
    path = f"/v2.0/floatingips/{floating['id']}"
    assert http.put(path, json={"floatingip": {"port_id": home["port"]["id"]}}).status_code == 200
    http.put(f"/v2.0/ports/{home['port']['id']}", json={"port": {"name": "table"}})
    assert http.get(path).json()["floatingip"]["port_details"]["name"] == "table"
    listed = http.get("/v2.0/floatingips?fields=port_details").json()["floatingips"]
    assert listed[0]["port_details"]["name"] == "table"
    http.put(f"/v2.0/ports/{home['port']['id']}", json={"port": {"name": "desk"}})


def test_a_floating_ips_own_port_is_the_administrators(http, admin_http, floating):
    query = f"/v2.0/ports?device_id={floating['id']}"
    assert http.get(query).json()["ports"] == []
    (port,) = admin_http.get(query).json()["ports"]
    assert (port["device_owner"], port["project_id"], port["status"]) == ("network:floatingip", "", "N/A")


def test_floating_ips_are_refused_in_neutrons_words(http, admin_http, floating, outside, home):
    def ask(client=http, **given):
        return refusal(client.post("/v2.0/floatingips", json={"floatingip": {"floating_network_id": outside["id"]} | given}))

    address = floating["floating_ip_address"]
    assert ask(floating_ip_address="198.51.100.77") == (403, "PolicyNotAuthorized")
    assert ask(admin_http, floating_ip_address=address) == (409, "IpAddressAlreadyAllocated")
    assert ask(floating_network_id=home["network"]["id"]) == (400, "BadRequest")
    assert ask(port_id=outside["id"]) == (404, "PortNotFound")
    assert ask(port_id="x") == (400, "HTTPBadRequest")
    assert ask(fixed_ip_address="10.0.0.1") == (400, "BadRequest")
    assert ask(floating_network_id=None)[0] == 400
    assert refusal(http.get("/v2.0/floatingips/none")) == (404, "FloatingIPNotFound")


def test_quotas_of_routing(http, admin_http):
    project = http.get("/v2.0/quotas/tenant").json()["tenant"]["tenant_id"]
    quota = http.get(f"/v2.0/quotas/{project}").json()["quota"]
    assert (quota["router"], quota["floatingip"]) == (10, 50)
    assert admin_http.put(f"/v2.0/quotas/{project}", json={"quota": {"router": 0}}).status_code == 200
    assert refusal(http.post("/v2.0/routers", json={"router": {}})) == (409, "OverQuota")
    assert admin_http.delete(f"/v2.0/quotas/{project}").status_code == 204


def test_pools_of_floating_ips(http, outside):
    (pool,) = http.get("/v2.0/floatingip_pools").json()["floatingip_pools"]
    assert (pool["network_id"], pool["cidr"], pool["subnet_name"]) == (outside["id"], "198.51.100.0/24", "street")


# -- port forwardings


def test_the_sdk_drives_a_port_forwarding(sdk, http, floating, home):
    made = sdk.create_floating_ip_port_forwarding(
        floating["id"],
        protocol="tcp",
        external_port=2222,
        internal_port=22,
        internal_port_id=home["port"]["id"],
        internal_ip_address=home["address"],
        description="ssh",
    )
    assert (made.external_port, made.internal_port, made.protocol, made.description) == (2222, 22, "tcp", "ssh")
    changed = sdk.update_floating_ip_port_forwarding(floating["id"], made.id, external_port=2223)
    assert changed.external_port == 2223
    assert [found.id for found in sdk.floating_ip_port_forwardings(floating["id"], protocol="tcp", external_port=2223)] == [made.id]
    shown = http.get(f"/v2.0/floatingips/{floating['id']}").json()["floatingip"]
    assert shown["port_forwardings"][0]["external_port"] == 2223
    assert shown["router_id"] is not None
    sdk.delete_floating_ip_port_forwarding(floating["id"], made.id)
    assert not list(sdk.floating_ip_port_forwardings(floating["id"]))


def test_port_forwardings_in_neutrons_words(http, admin_http, floating, home):
    path = f"/v2.0/floatingips/{floating['id']}/port_forwardings"
    inside = {"internal_port_id": home["port"]["id"], "internal_ip_address": home["address"], "protocol": "udp"}
    made = make(http, "port_forwardings", path[6:], **inside, external_port_range="8000:8009", internal_port_range="80:89")
    shown = {"id", "protocol", "description", "internal_port_id", "internal_ip_address"}
    shown |= {f"{side}_port{kind}" for side in ("external", "internal") for kind in ("", "_range")}
    assert set(made) == shown
    ask = {"external_port": 8005, "internal_port": 5}
    assert refusal(http.post(path, json={"port_forwarding": inside | ask})) == (400, "BadRequest")
    assert refusal(http.post(path, json={"port_forwarding": inside | ask | {"protocol": "gre"}})) == (400, "HTTPBadRequest")
    assert refusal(http.get(f"{path}/none")) == (404, "PortForwardingNotFound")
    assert refusal(http.get("/v2.0/floatingips/none/port_forwardings")) == (404, "FloatingIPNotFound")
    assert refusal(http.post("/v2.0/floatingips/none/port_forwardings", json={"port_forwarding": inside | ask})) == (
        404,
        "FloatingIPNotFound",
    )
    associate = {"floatingip": {"port_id": home["port"]["id"]}}
    assert refusal(http.put(path.rpartition("/")[0], json=associate)) == (409, "FipInUseByPortForwarding")


# -- flavors and providers


def test_the_sdk_drives_flavors(clients, sdk, http, admin_http):
    profile = make(admin_http, "service_profiles", description="gold", metainfo="{}")
    flavor = make(admin_http, "flavors", name="gold", service_type="L3_ROUTER_NAT")
    assert [found.name for found in sdk.flavors(name="gold")] == ["gold"]
    bind = f"/v2.0/flavors/{flavor['id']}/service_profiles"
    body = {"service_profile": {"id": profile["id"]}}
    assert admin_http.post(bind, json=body).json() == body
    assert refusal(admin_http.post(bind, json=body)) == (409, "FlavorServiceProfileBindingExists")
    assert refusal(admin_http.delete(f"/v2.0/service_profiles/{profile['id']}")) == (409, "ServiceProfileInUse")
    assert http.get(f"/v2.0/flavors/{flavor['id']}/next_providers").json()["next_providers"][0]["provider"] == "naru"
    router = make(http, "routers", name="golden", flavor_id=flavor["id"])
    assert router["flavor_id"] == flavor["id"]
    assert refusal(admin_http.delete(f"/v2.0/flavors/{flavor['id']}")) == (409, "FlavorInUse")
    http.delete(f"/v2.0/routers/{router['id']}")
    admin_http.put(f"/v2.0/flavors/{flavor['id']}", json={"flavor": {"enabled": False}})
    assert refusal(http.post("/v2.0/routers", json={"router": {"flavor_id": flavor["id"]}})) == (503, "FlavorDisabled")
    assert admin_http.delete(f"{bind}/{profile['id']}").status_code == 204
    assert refusal(admin_http.delete(f"{bind}/{profile['id']}")) == (404, "FlavorServiceProfileBindingNotFound")
    assert admin_http.delete(f"/v2.0/flavors/{flavor['id']}").status_code == 204
    assert admin_http.delete(f"/v2.0/service_profiles/{profile['id']}").status_code == 204


def test_flavors_are_the_administrators(http, admin_http):
    assert refusal(http.post("/v2.0/flavors", json={"flavor": {"service_type": "L3_ROUTER_NAT"}})) == (403, "PolicyNotAuthorized")
    assert refusal(http.post("/v2.0/service_profiles", json={"service_profile": {"metainfo": "x"}})) == (403, "PolicyNotAuthorized")
    assert refusal(admin_http.post("/v2.0/service_profiles", json={"service_profile": {}})) == (400, "ServiceProfileEmpty")
    assert refusal(admin_http.post("/v2.0/service_profiles", json={"service_profile": {"driver": "x"}})) == (
        404,
        "ServiceProfileDriverNotFound",
    )
    assert refusal(admin_http.post("/v2.0/flavors", json={"flavor": {"service_type": "COFFEE"}})) == (400, "InvalidInput")
    nowhere = "6e617275-0000-4000-8000-000000000001"
    assert refusal(http.post("/v2.0/routers", json={"router": {"flavor_id": nowhere}})) == (404, "FlavorNotFound")


def test_who_provides_and_who_runs_routers(sdk, http, admin_http, router):
    assert [(provider.service_type, provider.name, provider.is_default) for provider in sdk.service_providers()] == [
        ("L3_ROUTER_NAT", "naru", True)
    ]
    assert refusal(http.get(f"/v2.0/routers/{router['id']}/l3-agents")) == (403, "PolicyNotAuthorized")
    assert admin_http.get(f"/v2.0/routers/{router['id']}/l3-agents").json() == {"agents": []}
