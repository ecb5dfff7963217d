"""Naru as the network service of an unmodified Nova: what names its network is honoured as given. `make test-nova`."""

from clients import FakeHost
from naru.testing import eventually
from nova_cloud import AMBIGUOUS


def test_a_server_with_a_named_network_becomes_active_and_leaves_no_port(project):
    network = project.network("net1")
    (server,) = project.boot("stock", networks=[{"uuid": network}])
    assert server["status"] == "ACTIVE", server.get("fault")
    (port,) = project.ports(device_id=server["id"])
    assert (port["network_id"], port["device_owner"]) == (network, "compute:nova")
    assert [address["addr"] for address in server["addresses"]["net1"]] == [ip["ip_address"] for ip in port["fixed_ips"]]

    project.delete(server["id"])
    assert project.ports() == []


def test_a_servers_port_is_active_once_its_host_has_wired_it(project):
    (server,) = project.boot("stock", networks=[{"uuid": project.network("net1")}])
    assert eventually(lambda: [port["status"] for port in project.ports(device_id=server["id"])] == ["ACTIVE"])


def test_networks_and_ports_are_attached_as_they_are_named(project):
    networks = [project.network("net1"), project.network("net2")]
    port = project.port(networks[0])
    (server,) = project.boot("stock", networks=[{"uuid": networks[1]}, {"port": port}])
    attached = project.interfaces(server["id"]).json()["interfaceAttachments"]
    assert {interface["net_id"] for interface in attached} == set(networks)
    project.delete(server["id"])
    (kept,) = project.ports()
    assert (kept["id"], kept["device_id"]) == (port, "")


def test_an_interface_is_attached_and_detached(project):
    network = project.network("net1")
    (server,) = project.boot("stock", networks="none")
    assert project.ports() == []
    attached = project.interfaces(server["id"], "POST", net_id=network)
    assert attached.status_code == 200, attached.text
    port = attached.json()["interfaceAttachment"]["port_id"]
    assert [each["id"] for each in project.ports(device_id=server["id"])] == [port]

    assert project.interfaces(server["id"], "DELETE", port).status_code == 202
    assert eventually(lambda: project.ports() == [], within_s=20)


def test_nova_alone_refuses_to_choose_between_two_networks(project):
    project.network("net1")
    project.network("net2")
    refused = project.post_server("stock", networks="auto")
    assert (refused.status_code, refused.json()["conflictingRequest"]["message"]) == (409, AMBIGUOUS)


def test_nova_alone_fails_on_a_full_network_after_it_accepted(project):
    """What the filter is for: the reason comes late."""
    full = project.network("full", addresses=1)
    project.port(full)
    (server,) = project.boot("stock", networks=[{"uuid": full}])
    assert server["status"] == "ERROR"
    assert "No fixed IP addresses available" in server["fault"]["message"]


def elastic(project) -> str:
    """-> the id of a network with a VLAN, 10.81.0.0/24, that Nova's host does not carry, and then a tunnel, 10.82.0.0/24, that it does."""
    wires = [
        {"provider:network_type": "vlan", "provider:physical_network": "elsewhere", "provider:segmentation_id": 81},
        {"provider:network_type": "vxlan", "provider:segmentation_id": 82},
    ]
    id = project.cloud.operate("network", name="elastic", project_id=project.id, segments=wires, subnet_policy="sequential")
    listed = project.cloud.admin.get("/segments", params={"network_id": id}).json()["segments"]
    for number, segment in sorted((segment["segmentation_id"], segment["id"]) for segment in listed):
        project.cloud.operate("subnet", network_id=id, project_id=project.id, ip_version=4, cidr=f"10.{number}.0.0/24", segment_id=segment)
    return id


def test_a_server_that_names_an_elastic_network_is_on_a_segment_that_its_host_carries(project):
    with FakeHost(project.cloud.server, "elsewhere01", ("elsewhere",), vlan=True):
        network = elastic(project)
        early = project.port(network)
        (before,) = project.ports()
        (server,) = project.boot("stock", networks=[{"uuid": network}, {"port": early}])

    assert before["fixed_ips"][0]["ip_address"].startswith("10.81.0.")
    assert server["status"] == "ACTIVE", server.get("fault")
    ports = project.ports(device_id=server["id"])
    assert sorted(address["addr"] for address in server["addresses"]["elastic"]) == sorted(
        ip["ip_address"] for port in ports for ip in port["fixed_ips"]
    )
    assert all(ip["ip_address"].startswith("10.82.0.") for port in ports for ip in port["fixed_ips"])
