"""Names in DNS, DHCP options and hints of ports, through a real server.

https://docs.openstack.org/api-ref/network/v2/#dns-integration and the sections on port attributes.
"""

import pytest


@pytest.fixture(scope="module")
def network(demo):
    network = demo.network()
    demo.subnet(network)
    demo.subnet(network, "fd00::/64")
    return network


def test_a_port_has_neutrons_defaults(demo, network):
    port = demo.port(network)
    expected = {
        "extra_dhcp_opts": [], "dns_name": "", "dns_domain": "", "propagate_uplink_status": True, "data_plane_status": None,
        "numa_affinity_policy": None, "device_profile": None,
    }  # fmt: skip
    assert {name: port[name] for name in expected} == expected
    assert demo.show("networks", network["id"])["dns_domain"] == ""
    assert demo.show("networks", network["id"])["vlan_transparent"] is None


# -- names


def test_each_address_has_a_name_in_the_dns(demo, network):
    port = demo.port(network, fixed_ips=[{"ip_address": "10.0.0.77"}, {"ip_address": "fd00::77"}])
    assert port["dns_assignment"] == [
        {"ip_address": "10.0.0.77", "hostname": "host-10-0-0-77", "fqdn": "host-10-0-0-77.openstacklocal."},
        {"ip_address": "fd00::77", "hostname": "host-fd00--77", "fqdn": "host-fd00--77.openstacklocal."},
    ]
    named = demo.update("ports", port["id"], dns_name="Web", fixed_ips=[{"ip_address": "10.0.0.77"}])
    assert named["dns_name"] == "web"
    assert named["dns_assignment"] == [{"ip_address": "10.0.0.77", "hostname": "web", "fqdn": "web.openstacklocal."}]
    assert demo.list("ports", id=port["id"], fields="dns_assignment") == [{"dns_assignment": named["dns_assignment"]}]


@pytest.mark.parametrize("name", ["-web", "web-", "a..b", "a_b", "host.1", "a" * 64, "web.example.org.", ".".join(["a" * 60] * 4)])
def test_names_that_no_host_can_have_are_refused(demo, network, name):
    refused = demo.refused("POST", "/ports", {"port": {"network_id": network["id"], "dns_name": name}})
    assert refused[:2] == (400, "HTTPBadRequest")
    assert refused[2].startswith("Invalid input for dns_name. Reason: ")


def test_a_complete_name_is_one_of_the_networks_domain(demo, network):
    port = demo.port(network, dns_name="web.openstacklocal.")
    assert {assignment["fqdn"] for assignment in port["dns_assignment"]} == {"web.openstacklocal."}


def test_domains_end_in_a_period_and_may_hold_keywords(demo, network):
    assert demo.update("networks", network["id"], dns_domain="<project_id>.Example.org.")["dns_domain"] == "<project_id>.example.org."
    assert demo.port(network, dns_domain="example.org.")["dns_domain"] == "example.org."
    refused = demo.refused("PUT", f"/networks/{network['id']}", {"network": {"dns_domain": "example.org"}})
    assert refused == (400, "HTTPBadRequest", "Invalid input for dns_domain. Reason: 'example.org' is not a FQDN.")


def test_a_subnet_says_whether_its_addresses_are_published(demo, network):
    subnet = demo.subnet(demo.network(), dns_publish_fixed_ip=True)
    assert subnet["dns_publish_fixed_ip"] is True
    assert demo.update("subnets", subnet["id"], dns_publish_fixed_ip="False")["dns_publish_fixed_ip"] is False


def test_a_floating_ip_has_a_name_and_a_domain_or_neither(admin):
    outside = admin.network(**{"router:external": True})
    admin.subnet(outside, "203.0.113.0/24")
    asked = {"floating_network_id": outside["id"], "dns_name": "Web", "dns_domain": "example.org."}
    made = admin.request("POST", "/floatingips", json={"floatingip": asked}).json()["floatingip"]
    assert (made["dns_name"], made["dns_domain"]) == ("web", "example.org.")
    for lone in ({"dns_domain": ""}, {"dns_name": ""}):
        assert admin.refused("POST", "/floatingips", {"floatingip": asked | lone})[:2] == (400, "BadRequest")
    assert admin.refused("POST", "/floatingips", {"floatingip": asked | {"dns_name": "web.example.org."}})[:2] == (400, "HTTPBadRequest")


# -- DHCP options


def test_an_update_of_dhcp_options_names_those_that_change(demo, network):
    boot, server = ({"opt_name": name, "opt_value": "x", "ip_version": 4} for name in ("bootfile-name", "66"))
    port = demo.port(network, extra_dhcp_opts=[{"opt_name": "bootfile-name", "opt_value": "x"}, {"opt_name": "67", "opt_value": None}])
    assert port["extra_dhcp_opts"] == [boot]
    assert demo.update("ports", port["id"], extra_dhcp_opts=[server])["extra_dhcp_opts"] == [boot, server]
    changed = demo.update("ports", port["id"], extra_dhcp_opts=[boot | {"opt_value": None}, server | {"opt_value": "y"}])
    assert changed["extra_dhcp_opts"] == [server | {"opt_value": "y"}]


@pytest.mark.parametrize(
    "option",
    [
        {"opt_name": "bootfile-name"},
        {"opt_name": "", "opt_value": "x"},
        {"opt_name": "255", "opt_value": "x"},
        {"opt_name": "66", "opt_value": ""},
    ],
)
def test_dhcp_options_that_cannot_be_are_refused(demo, network, option):
    body = {"port": {"network_id": network["id"], "extra_dhcp_opts": [option]}}
    assert demo.refused("POST", "/ports", body)[:2] == (400, "InvalidInput")


# -- hints


def test_hints_for_who_plugs_a_port_in(admin, demo, network):
    port = demo.port(network, numa_affinity_policy="socket", device_profile="gpu", propagate_uplink_status=False)
    assert (port["numa_affinity_policy"], port["device_profile"], port["propagate_uplink_status"]) == ("socket", "gpu", False)
    assert demo.update("ports", port["id"], numa_affinity_policy=None, propagate_uplink_status=True)["numa_affinity_policy"] is None
    assert demo.refused("PUT", f"/ports/{port['id']}", {"port": {"device_profile": "x"}})[0] == 400
    assert demo.refused("POST", "/ports", {"port": {"network_id": network["id"], "numa_affinity_policy": "near"}})[0] == 400


def test_an_administrator_reports_the_state_of_the_data_plane(admin, demo, network):
    port = demo.port(network)
    assert demo.refused("PUT", f"/ports/{port['id']}", {"port": {"data_plane_status": "DOWN"}})[:2] == (403, "PolicyNotAuthorized")
    assert admin.update("ports", port["id"], data_plane_status="DOWN")["data_plane_status"] == "DOWN"
    assert admin.refused("PUT", f"/ports/{port['id']}", {"port": {"data_plane_status": "SLOW"}})[:2] == (400, "HTTPBadRequest")
    assert demo.show("ports", port["id"])["data_plane_status"] == "DOWN"


def test_null_gives_a_port_another_mac(admin, demo, network):
    port = demo.port(network, mac_address=None)
    changed = admin.update("ports", port["id"], mac_address=None)
    assert changed["mac_address"].startswith("fa:16:3e:")
    assert changed["mac_address"] != port["mac_address"]


def test_no_network_carries_tags_of_guests(demo):
    refused = demo.refused("POST", "/networks", {"network": {"vlan_transparent": True}})
    assert refused == (400, "VlanTransparencyDriverError", "Backend does not support VLAN Transparency.")
    assert demo.network(vlan_transparent="False")["vlan_transparent"] is False


def test_openstacksdk_sees_names_and_options(admin_sdk, network):
    port = admin_sdk.create_port(
        network_id=network["id"],
        dns_name="sdk",
        extra_dhcp_opts=[{"opt_name": "66", "opt_value": "10.0.0.1"}],
        numa_affinity_policy="legacy",
    )
    assert port.dns_assignment[0]["fqdn"] == "sdk.openstacklocal."
    assert port.extra_dhcp_opts == [{"opt_name": "66", "opt_value": "10.0.0.1", "ip_version": 4}]
    assert admin_sdk.get_port(port.id).numa_affinity_policy == "legacy"
