"""Availability zones, and which agent serves a network: https://docs.openstack.org/api-ref/network/v2/#availability-zones"""

import httpx
import msgspec
import pytest

from clients import FakeHost
from naru.model.hostreport import HostDescription, HostReport, Receipt
from networking import Networking

NOWHERE = "11111111-2222-4333-8444-555555555555"


def register(serving, host, zone, *, dhcp=True, l3=False):
    description = HostDescription(tunnel_address="172.18.0.31", dhcp=dhcp, availability_zone=zone, l3=l3)
    headers = {"Authorization": f"Bearer {(serving.state_dir / 'agent-token').read_text().strip()}"}
    url = f"{serving.url}/agent/v1/hosts/{host}"
    httpx.put(url, content=msgspec.json.encode(description), headers=headers, trust_env=False).raise_for_status()


@pytest.fixture(scope="module")
def admin(clients, serving):
    for host, zone, l3 in (("h1", "nova", True), ("h2", "west", True), ("h3", "west", False)):
        register(serving, host, zone, l3=l3)
    register(serving, "compute1", "east", dhcp=False)
    with clients.http("admin") as http:
        yield Networking(http)


@pytest.fixture(scope="module")
def demo(clients, admin):
    with clients.http("demo") as http:
        yield Networking(http)


@pytest.fixture(scope="module")
def agents(admin):
    return {agent["host"]: agent["id"] for agent in admin.list("agents")}


def hosting(admin, network):
    answer = admin.request("GET", f"/networks/{network['id']}/dhcp-agents")
    assert answer.status_code == 200, answer.text
    return [agent["host"] for agent in answer.json()["agents"]]


def served(admin, agent_id):
    return {network["id"] for network in admin.request("GET", f"/agents/{agent_id}/dhcp-networks").json()["networks"]}


def test_zones_are_those_of_the_hosts_that_serve_networks_and_run_routers(admin, demo):
    zones = [{"name": name, "resource": "network", "state": "available"} for name in ("nova", "west")]
    assert demo.list("availability_zones", resource="network") == zones
    routers = [{"name": name, "resource": "router", "state": "available"} for name in ("nova", "west")]
    assert demo.list("availability_zones", resource="router") == routers
    assert demo.list("availability_zones", name="west", fields="resource") == [{"resource": "network"}, {"resource": "router"}]
    assert demo.list("availability_zones", resource="network", state="unavailable") == []
    assert demo.refused("GET", "/availability_zones?nonsense=1")[0] == 400
    assert {agent["host"]: agent["availability_zone"] for agent in admin.list("agents")}["h2"] == "west"
    assert {agent["host"] for agent in admin.list("agents", availability_zone="west")} == {"h2", "h3"}


def test_a_zone_without_a_host_that_may_serve_is_unavailable(admin, agents):
    admin.update("agents", agents["h1"], admin_state_up=False)
    assert [zone["name"] for zone in admin.list("availability_zones", resource="network", state="unavailable")] == ["nova"]
    admin.update("agents", agents["h1"], admin_state_up=True)


def test_a_network_is_served_in_the_zone_that_it_asks_for(admin, demo):
    networks = [demo.network(availability_zone_hints=["west"]) for _ in range(3)]
    assert networks[0]["availability_zone_hints"] == ["west"]
    assert networks[0]["availability_zones"] == []
    for network in networks:
        demo.subnet(network)
        assert demo.show("networks", network["id"])["availability_zones"] == ["west"]
        assert hosting(admin, network)[0] in ("h2", "h3")
    demo.request("DELETE", f"/subnets/{demo.show('networks', networks[0]['id'])['subnets'][0]}")
    assert demo.show("networks", networks[0]["id"])["availability_zones"] == []


@pytest.mark.parametrize(
    ("hints", "refusal"),
    [
        (["mars"], (404, "AvailabilityZoneNotFound")),
        (["east"], (404, "AvailabilityZoneNotFound")),  # no host there serves networks
        ("west", (400, "HTTPBadRequest")),
        (["west", "west"], (400, "HTTPBadRequest")),
        ([f"zone{n}" for n in range(50)], (400, "HTTPBadRequest")),
    ],
)
def test_hints_that_cannot_be_followed_are_refused(demo, hints, refusal):
    assert demo.refused("POST", "/networks", {"network": {"availability_zone_hints": hints}})[:2] == refusal
    assert demo.refused("POST", "/routers", {"router": {"availability_zone_hints": hints}})[:2] == refusal


def test_a_router_runs_in_the_zone_that_it_asks_for_as_soon_as_it_has_an_interface(admin, demo):
    router = make_router(demo, availability_zone_hints=["west"])
    assert (router["availability_zone_hints"], router["availability_zones"]) == (["west"], [])
    assert running(admin, router) == []
    connect(demo, router)
    assert demo.show("routers", router["id"])["availability_zones"] == ["west"]
    assert running(admin, router) == ["h2"]
    (port,) = admin.list("ports", device_id=router["id"])
    assert (port["binding:host_id"], port["binding:vif_type"]) == ("h2", "bridge")
    assert demo.refused("PUT", f"/routers/{router['id']}", {"router": {"availability_zone_hints": []}})[0] == 400


def test_a_network_is_given_to_another_agent_and_taken_from_the_first(admin, agents):
    network = admin.network()
    admin.subnet(network)
    (before,) = hosting(admin, network)
    after = next(host for host in ("h1", "h2") if host != before)
    answer = admin.request("POST", f"/agents/{agents[after]}/dhcp-networks", json={"network_id": network["id"]})
    assert (answer.status_code, answer.json()) == (201, None)
    assert sorted(hosting(admin, network)) == ["h1", "h2"]
    assert network["id"] in served(admin, agents[after])
    assert network["id"] in served(admin, agents[before])
    ports = admin.list("ports", network_id=network["id"], device_owner="network:dhcp")
    assert {(port["binding:host_id"], port["binding:vif_type"]) for port in ports} == {("h1", "bridge"), ("h2", "bridge")}
    assert len({port["fixed_ips"][0]["ip_address"] for port in ports}) == 2
    again = admin.refused("POST", f"/agents/{agents[after]}/dhcp-networks", {"network_id": network["id"]})
    assert again[:2] == (409, "NetworkHostedByDHCPAgent")
    assert admin.request("DELETE", f"/agents/{agents[before]}/dhcp-networks/{network['id']}").status_code == 204
    assert hosting(admin, network) == [after]
    assert network["id"] not in served(admin, agents[before])
    assert admin.request("DELETE", f"/agents/{agents[after]}/dhcp-networks/{network['id']}").status_code == 204
    assert hosting(admin, network) == []
    assert admin.show("networks", network["id"])["availability_zones"] == []
    answer = admin.request("POST", f"/agents/{agents[before]}/dhcp-networks", json={"network_id": network["id"]})
    assert answer.status_code == 201
    assert hosting(admin, network) == [before]


def test_what_cannot_serve_is_refused(admin, agents):
    network = admin.network()
    path = f"/agents/{agents['h1']}/dhcp-networks"
    assert admin.refused("POST", path, {"network_id": network["id"]})[:2] == (400, "InvalidInput")  # it has no subnet
    assert admin.refused("POST", path, {"network_id": NOWHERE})[:2] == (404, "NetworkNotFound")
    assert admin.refused("POST", path, {})[:2] == (400, "HTTPBadRequest")
    assert admin.refused("DELETE", f"{path}/{network['id']}")[:2] == (409, "NetworkNotHostedByDhcpAgent")
    assert admin.refused("GET", f"/agents/{NOWHERE}/dhcp-networks")[:2] == (404, "AgentNotFound")
    other = f"/agents/{agents['compute1']}/dhcp-networks"
    assert admin.refused("POST", other, {"network_id": network["id"]})[:2] == (404, "InvalidDHCPAgent")
    flat = admin.network(**{"provider:network_type": "flat", "provider:physical_network": "nowhere"})
    assert admin.refused("POST", path, {"network_id": flat["id"]})[:2] == (400, "InvalidInput")


def make_router(demo, **given):
    answer = demo.request("POST", "/routers", json={"router": given})
    assert answer.status_code == 201, answer.text
    return answer.json()["router"]


def connect(demo, router):
    subnet = demo.subnet(demo.network())
    answer = demo.request("PUT", f"/routers/{router['id']}/add_router_interface", json={"subnet_id": subnet["id"]})
    assert answer.status_code == 200, answer.text


def running(admin, router):
    answer = admin.request("GET", f"/routers/{router['id']}/l3-agents")
    assert answer.status_code == 200, answer.text
    return [agent["host"] for agent in answer.json()["agents"]]


def test_a_router_is_taken_from_one_agent_and_given_to_another(admin, demo, agents):
    router = make_router(demo)
    connect(demo, router)
    (before,) = running(admin, router)
    after = next(host for host in ("h1", "h2") if host != before)
    there, here = (f"/agents/{agents[host]}/l3-routers" for host in (before, after))
    assert router["id"] in {found["id"] for found in admin.request("GET", there).json()["routers"]}
    assert admin.refused("POST", here, {"router_id": router["id"]})[:2] == (409, "RouterHostedByL3Agent")
    assert admin.request("POST", there, json={"router_id": router["id"]}).status_code == 201  # it is there already
    assert admin.request("DELETE", f"{there}/{router['id']}").status_code == 204
    assert running(admin, router) == []
    assert admin.refused("DELETE", f"{there}/{router['id']}")[:2] == (409, "RouterNotHostedByL3Agent")
    answer = admin.request("POST", here, json={"router_id": router["id"]})
    assert (answer.status_code, answer.json()) == (201, None)
    assert running(admin, router) == [after]
    assert demo.show("routers", router["id"])["availability_zones"] == [{"h1": "nova", "h2": "west"}[after]]


def test_what_cannot_run_a_router_is_refused(admin, demo, agents):
    router = make_router(demo)
    body, path = {"router_id": router["id"]}, f"/agents/{agents['h1']}/l3-routers"
    assert admin.refused("POST", f"/agents/{agents['h3']}/l3-routers", body)[:2] == (404, "InvalidL3Agent")
    assert admin.refused("POST", path, {"router_id": NOWHERE})[:2] == (404, "RouterNotFound")
    assert admin.refused("POST", path, {})[:2] == (400, "HTTPBadRequest")
    assert admin.refused("GET", f"/agents/{NOWHERE}/l3-routers")[:2] == (404, "AgentNotFound")
    flat = admin.network(**{"provider:network_type": "flat", "provider:physical_network": "elsewhere", "router:external": True})
    gateway = {"external_gateway_info": {"network_id": flat["id"]}}
    assert admin.request("PUT", f"/routers/{router['id']}", json={"router": gateway}).status_code == 200
    assert running(admin, router) == []  # no host reaches the network
    status, type, message = admin.refused("POST", path, body)
    assert (status, type) == (409, "RouterSchedulingFailed")
    assert "elsewhere" in message


def test_a_disabled_agent_keeps_its_routers_and_gets_no_new_ones(admin, demo, agents):
    kept = make_router(demo, availability_zone_hints=["nova"])
    connect(demo, kept)
    admin.update("agents", agents["h1"], admin_state_up=False)
    moved = make_router(demo)
    connect(demo, moved)
    assert (running(admin, kept), running(admin, moved)) == (["h1"], ["h2"])
    admin.update("agents", agents["h1"], admin_state_up=True)


def test_agents_are_the_administrators_affair(demo, agents):
    network, router = demo.network(), make_router(demo)
    for method, path in (
        ("GET", f"/routers/{router['id']}/l3-agents"),
        ("GET", f"/agents/{agents['h1']}/l3-routers"),
        ("DELETE", f"/agents/{agents['h1']}/l3-routers/{router['id']}"),
        ("GET", f"/networks/{network['id']}/dhcp-agents"),
        ("GET", f"/agents/{agents['h1']}/dhcp-networks"),
        ("DELETE", f"/agents/{agents['h1']}/dhcp-networks/{network['id']}"),
    ):
        assert demo.refused(method, path)[:2] == (403, "PolicyNotAuthorized")


def test_agents_are_sorted(admin):
    names = [agent["host"] for agent in admin.list("agents", ("sort_key", "host"), ("sort_dir", "desc"))]
    assert names == sorted(names, reverse=True)
    assert admin.refused("GET", "/agents?sort_key=configurations")[0] == 400


def test_the_sdk(clients, admin, agents):
    network = admin.network(availability_zone_hints=["west"])
    admin.subnet(network)
    with clients.sdk("admin") as sdk:
        assert {zone.name for zone in sdk.network.availability_zones()} == {"nova", "west"}
        hosts = [agent.host for agent in sdk.network.network_hosting_dhcp_agents(network["id"])]
        assert hosts == hosting(admin, network)
        found = sdk.network.get_agent(agents["h1"])
        sdk.network.add_dhcp_agent_to_network(found, network["id"])
        assert network["id"] in [hosted.id for hosted in sdk.network.dhcp_agent_hosting_networks(found)]
        sdk.network.remove_dhcp_agent_from_network(found, network["id"])
        assert hosting(admin, network) == hosts
        router = sdk.network.create_router()
        sdk.network.add_router_to_agent(found, router)
        assert [agent.host for agent in sdk.network.routers_hosting_l3_agents(router)] == ["h1"]
        assert router.id in [hosted.id for hosted in sdk.network.agent_hosted_routers(found)]
        sdk.network.remove_router_from_agent(found, router)
        assert running(admin, {"id": router.id}) == []
        sdk.network.delete_router(router)


def test_the_command(clients, admin):
    zones = clients.openstack("availability", "zone", "list", "--network", user="admin")
    assert {zone["Zone Name"] for zone in zones} == {"nova", "west"}


def test_a_host_hears_with_each_report_whether_it_still_has_what_it_had(admin, demo, serving):
    with FakeHost(serving, "h4", dhcp=False, l3=True) as host:

        def is_current(revision):
            answer = host.http.post("/report", content=msgspec.json.encode(HostReport(revision))).raise_for_status()
            return msgspec.json.decode(answer.content, type=Receipt).current

        router = make_router(demo)
        connect(demo, router)
        (agent,) = admin.list("agents", host="h4")
        if running(admin, router) != ["h4"]:
            (before,) = admin.list("agents", host=running(admin, router)[0])
            assert admin.request("DELETE", f"/agents/{before['id']}/l3-routers/{router['id']}").status_code == 204
            assert admin.request("POST", f"/agents/{agent['id']}/l3-routers", json={"router_id": router["id"]}).status_code == 201
        values, revision = host.read()
        assert f"router/{router['id']}" in values
        assert is_current(revision)
        assert not is_current(revision - 1)
        assert admin.request("DELETE", f"/agents/{agent['id']}/l3-routers/{router['id']}").status_code == 204
        assert not is_current(revision)
