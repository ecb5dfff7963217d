"""Instances on real hosts: interfaces that come and go while they run."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from live_lab import live_lab
from naru.model.devices import tap_name
from naru.testing import eventually

pytestmark = pytest.mark.needs("root", "dnsmasq", "busybox")

WITHIN_S = 20


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[SimpleNamespace]:
    """Two networks, and an instance that is on the first."""
    with live_lab(tmp_path_factory.mktemp("instances"), "[agent]\nreport_interval_s = 0.5\n", hosts=2) as lab:
        made = SimpleNamespace(lab=lab)
        made.first, made.second = (network(lab, number) for number in (1, 2))
        made.instance = lab.boot("web", made.first, "compute01")
        eventually(made.instance.has_lease, 30)
        yield made


def network(lab, number):
    made = lab.create("network", name=f"net{number}")
    lab.create("subnet", network_id=made["id"], ip_version=4, cidr=f"10.{number}.0.0/24")
    return made


def devices(instance) -> dict[str, list[str]]:
    """Device -> its IPv4 addresses, as the instance sees them."""
    lines = (line.split() for line in instance.run("ip", "-br", "-4", "address").splitlines())
    return {name.partition("@")[0]: addresses for name, _, *addresses in lines if name != "lo"}


def test_an_attached_interface_gets_its_lease_and_a_detached_one_leaves_the_others_alone(site):
    lab, web = site.lab, site.instance
    path = f"servers/{web.id}/os-interface"
    first = devices(web)["eth0"]
    client = web.run("pgrep", "-f", "udhcpc.*eth0.pid").split()

    attached = lab.ask("POST", path, {"interfaceAttachment": {"net_id": site.second["id"]}}, service="compute")["interfaceAttachment"]
    address = attached["fixed_ips"][0]["ip_address"]
    eventually(lambda: devices(web).get("eth1") == [f"{address}/24"], WITHIN_S)
    eventually(lambda: lab.show("port", attached["port_id"])["status"] == "ACTIVE", WITHIN_S)
    assert web.pings("10.2.0.2")
    assert devices(web)["eth0"] == first
    assert web.run("pgrep", "-f", "udhcpc.*eth0.pid").split() == client

    kept = lab.create("port", network_id=site.second["id"])
    lab.ask("POST", path, {"interfaceAttachment": {"port_id": kept["id"]}}, service="compute")
    eventually(lambda: devices(web).get("eth2") == [f"{kept['fixed_ips'][0]['ip_address']}/24"], WITHIN_S)

    lab.ask("DELETE", f"{path}/{attached['port_id']}", service="compute")
    eventually(lambda: set(devices(web)) == {"eth0", "eth2"}, WITHIN_S)
    eventually(lambda: tap_name(attached["port_id"]) not in lab.run("compute01", "ip", "-br", "link"), WITHIN_S)
    assert lab.find("port", id=attached["port_id"]) == []

    lab.ask("DELETE", f"{path}/{kept['id']}", service="compute")
    eventually(lambda: set(devices(web)) == {"eth0"}, WITHIN_S)
    assert lab.show("port", kept["id"])["device_id"] == ""
    assert web.run("pgrep", "-f", "udhcpc.*eth0.pid").split() == client
    assert web.pings("10.1.0.2")
    leases = lab.run("compute01", "sh", "-c", f"ls /run/naru/instances/{web.id}")
    assert "eth1" not in leases
    assert "eth2" not in leases
