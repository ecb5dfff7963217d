"""Which security groups ports and servers have, port security and allowed address pairs, of a real server.

https://docs.openstack.org/api-ref/network/v2/#ports
"""

import pytest

from clients import FakeHost
from networking import Networking

IMAGE = "6e617275-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def admin(clients):
    with clients.http("admin") as http:
        networking = Networking(http)
        projects = {project["name"]: project["id"] for project in http.get("/identity/v3/projects").json()["projects"]}
        networking.update("quotas", projects["demo"], security_group=-1, security_group_rule=-1)
        yield networking


@pytest.fixture(scope="module")
def demo(clients, admin):
    with clients.http("demo") as http:
        yield Networking(http)


@pytest.fixture
def group(demo):
    return demo.create("security-groups", name="web")


def ids(resources):
    return [resource["id"] for resource in resources]


# -- ports


def test_a_port_gets_the_default_group_of_its_project(demo, group):
    network = demo.network()
    assert network["port_security_enabled"] is True
    port = demo.port(network)
    (default,) = demo.list("security-groups", name="default")
    assert (port["security_groups"], port["port_security_enabled"], port["allowed_address_pairs"]) == ([default["id"]], True, [])
    assert demo.port(network, security_groups=[])["security_groups"] == []
    chosen = demo.port(network, security_groups=[group["id"], default["id"], group["id"]])
    assert chosen["security_groups"] == [group["id"], default["id"]]
    assert demo.update("ports", chosen["id"], security_groups=[group["id"]])["security_groups"] == [group["id"]]
    assert demo.update("ports", chosen["id"], security_groups=None)["security_groups"] == []


def test_ports_are_found_by_their_groups(demo, group):
    network, other = demo.network(), demo.create("security-groups", name="other")
    first = demo.port(network, security_groups=[group["id"]], name="found")
    both = demo.port(network, security_groups=[group["id"], other["id"]])
    assert {*ids(demo.list("ports", security_groups=group["id"]))} == {first["id"], both["id"]}
    assert ids(demo.list("ports", security_groups=other["id"])) == [both["id"]]
    assert ids(demo.list("ports", ("name", "found"), ("security_groups", group["id"]))) == [first["id"]]
    assert ids(demo.list("ports", ("name", "found"), ("security_groups", other["id"]))) == []


def test_a_port_without_port_security_has_no_groups_and_no_pairs(demo, admin, group):
    open_network = demo.network(port_security_enabled=False)
    port = demo.port(open_network)
    assert (port["port_security_enabled"], port["security_groups"]) == (False, [])

    def refused(**given):
        return demo.refused("POST", "/ports", {"port": {"network_id": open_network["id"]} | given})[:2]

    assert refused(security_groups=[group["id"]]) == (400, "PortSecurityAndIPRequiredForSecurityGroups")
    assert refused(allowed_address_pairs=[{"ip_address": "10.0.0.9"}]) == (409, "AddressPairAndPortSecurityRequired")
    closed = demo.port(open_network, port_security_enabled=True, allowed_address_pairs=[{"ip_address": "10.0.0.9"}])
    path = f"/ports/{closed['id']}"
    off = {"port_security_enabled": False}
    assert demo.refused("PUT", path, {"port": off})[:2] == (409, "AddressPairAndPortSecurityRequired")
    demo.update("ports", closed["id"], allowed_address_pairs=[])
    assert demo.refused("PUT", path, {"port": off})[:2] == (409, "PortSecurityPortHasSecurityGroup")
    now = demo.update("ports", closed["id"], security_groups=[], **off)
    assert (now["port_security_enabled"], now["security_groups"]) == (False, [])
    assert demo.update("networks", open_network["id"], port_security_enabled=True)["port_security_enabled"] is True
    own = admin.port(open_network, device_owner="network:router_interface")
    assert (own["port_security_enabled"], own["security_groups"]) == (False, [])


PAIRS_REFUSED = {
    "AllowedAddressPairsMissingIP": [{"mac_address": "fa:16:3e:00:00:01"}],
    "DuplicateAddressPairInRequest": [{"ip_address": "10.0.0.9"}, {"ip_address": "10.0.0.9"}],
    "AllowedAddressPairExhausted": [{"ip_address": f"10.0.0.{number}"} for number in range(1, 12)],
    "HTTPBadRequest": [{"ip_address": "224.0.0.1"}],
}


def test_allowed_address_pairs(demo):
    network = demo.network()
    port = demo.port(
        network, allowed_address_pairs=[{"ip_address": "10.0.0.9"}, {"ip_address": "fd00::/64", "mac_address": "FA-16-3E-00-00-01"}]
    )
    assert port["allowed_address_pairs"] == [
        {"ip_address": "10.0.0.9", "mac_address": port["mac_address"]},
        {"ip_address": "fd00::/64", "mac_address": "fa:16:3e:00:00:01"},
    ]
    for type, pairs in PAIRS_REFUSED.items():
        assert demo.refused("PUT", f"/ports/{port['id']}", {"port": {"allowed_address_pairs": pairs}})[:2] == (400, type)
    for pairs in ("10.0.0.9", [7], [{"ip_address": "x"}], [{"ip_address": "10.0.0.9", "mac_address": "01:00:5e:00:00:01"}], [{"ip": 1}]):
        assert demo.refused("PUT", f"/ports/{port['id']}", {"port": {"allowed_address_pairs": pairs}})[0] == 400
    assert demo.update("ports", port["id"], allowed_address_pairs=None)["allowed_address_pairs"] == []


def test_who_only_uses_a_network_leaves_its_port_security_alone(demo, admin):
    shared = admin.network(shared=True)
    for given in ({"port_security_enabled": False}, {"allowed_address_pairs": [{"ip_address": "10.0.0.9"}]}):
        body = {"port": {"network_id": shared["id"]} | given}
        assert demo.refused("POST", "/ports", body)[:2] == (403, "PolicyNotAuthorized")
    assert demo.port(shared)["port_security_enabled"] is True


# -- servers


@pytest.fixture
def compute(clients, serving):
    """Nova's words of a server that asks for no network."""
    with FakeHost(serving, "compute01"), clients.http() as http:

        def boot(**given):
            asked = {"name": "web", "flavorRef": "1", "imageRef": IMAGE, "networks": []} | given
            answer = http.post("/compute/v2.1/servers", json={"server": asked})
            if answer.status_code != 202:
                return answer.status_code, next(iter(answer.json().values()))["message"]
            id = answer.json()["server"]["id"]
            shown = http.get(f"/compute/v2.1/servers/{id}").json()["server"]
            groups = [port["security_groups"] for port in http.get(f"/v2.0/ports?device_id={id}").json()["ports"]]
            assert http.delete(f"/compute/v2.1/servers/{id}").status_code == 204
            return [group["name"] for group in shown["security_groups"]], groups

        yield boot


def test_a_server_has_the_groups_that_it_was_booted_with(demo, compute):
    network = demo.network()
    demo.subnet(network)
    chosen = demo.create("security-groups", name="chosen")
    (default,) = demo.list("security-groups", name="default")
    nic = [{"uuid": network["id"]}]
    assert compute(networks=nic) == (["default"], [[default["id"]]])
    assert compute(networks=nic, security_groups=[{"name": "chosen"}]) == (["chosen"], [[chosen["id"]]])
    both = [{"name": chosen["id"]}, {"name": "default"}]
    assert compute(networks=nic, security_groups=both) == (["chosen", "default"], [[chosen["id"], default["id"]]])
    status, message = compute(networks=nic, security_groups=[{"name": "nowhere"}])
    assert (status, "nowhere not found" in message) == (400, True)
    demo.create("security-groups", name="chosen")
    assert compute(networks=nic, security_groups=[{"name": "chosen"}])[0] == 409
