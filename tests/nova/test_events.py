"""An unmodified Nova hears of its servers' ports. `make test-nova`."""

from typing import Any

from naru.testing import eventually
from nova_cloud import BUILD_S


def addresses(project, server: str) -> list[str]:
    (shown,) = [each for each in project.servers() if each["id"] == server]
    return [address["addr"] for network in shown["addresses"].values() for address in network]


def told(project, port: str) -> dict[str, Any]:
    """What administrators see of it."""
    return project.cloud.admin.get(f"/nova-events/{port}").json().get("nova_event", {})


def test_nova_hears_that_a_port_is_wired_changed_and_gone(project):
    (server,) = project.boot("stock", networks=[{"uuid": project.network("net1")}])
    assert server["status"] == "ACTIVE", server.get("fault")
    (port,) = project.ports(device_id=server["id"])
    eventually(lambda: f"network-vif-plugged-{port['id']}" in project.cloud.nova.log("compute"), within_s=BUILD_S, every_s=0.2)

    plugged = {"name": "network-vif-plugged", "code": 200}.items()
    eventually(lambda: plugged <= told(project, port["id"]).items(), within_s=BUILD_S, every_s=0.2)

    subnet = port["fixed_ips"][0]["subnet_id"]
    changed = {"port": {"fixed_ips": [{"subnet_id": subnet, "ip_address": "10.1.0.25"}]}}
    project.cloud.admin.put(f"/ports/{port['id']}", json=changed).raise_for_status()
    eventually(lambda: addresses(project, server["id"]) == ["10.1.0.25"], within_s=BUILD_S, every_s=0.2)
    eventually(lambda: told(project, port["id"])["name"] == "network-changed", within_s=BUILD_S, every_s=0.2)

    project.cloud.admin.delete(f"/ports/{port['id']}").raise_for_status()
    eventually(lambda: addresses(project, server["id"]) == [], within_s=BUILD_S, every_s=0.2)
    assert told(project, port["id"]) == {}
    project.delete(server["id"])
