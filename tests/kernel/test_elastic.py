"""An elastic network on real hosts: its segments are links of their own, each with its DHCP server."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from live_lab import live_lab
from naru.testing import eventually

pytestmark = pytest.mark.needs("root", "nft")

CONFIG = """
[agent]
report_interval_s = 0.5
"""


SEGMENTS = {
    "linuxbridge": {"provider:network_type": "vxlan"},
    "openvswitch": {"provider:network_type": "vlan", "provider:physical_network": "physnet2"},
}


@pytest.fixture(scope="module", params=["linuxbridge", pytest.param("openvswitch", marks=pytest.mark.needs("ovs-vswitchd"))])
def site(request, tmp_path_factory) -> Iterator[SimpleNamespace]:
    """One network of two segments, and four instances that only named the network: two on each host."""
    with live_lab(tmp_path_factory.mktemp("elastic"), CONFIG, mechanism=request.param) as lab:
        wires = [SEGMENTS[request.param] | {"provider:segmentation_id": number} for number in (201, 202)]
        network = lab.create("network", name="prod", segments=wires, subnet_policy="spread", port_security_enabled=False)
        segments = {segment["segmentation_id"]: segment["id"] for segment in lab.find("segment", network_id=network["id"])}
        for number, id in segments.items():
            lab.create("subnet", network_id=network["id"], ip_version=4, cidr=f"10.20.{number}.0/24", gateway_ip=None, segment_id=id)
        instances = [lab.boot(f"i{number}", network, f"compute0{1 + number // 2}") for number in range(4)]
        eventually(lambda: all(instance.has_lease() for instance in instances), 40)
        yield SimpleNamespace(lab=lab, network=network, segments=segments, instances=instances, mechanism=request.param)


def segment_of(instance):
    return int(instance.address.split(".")[2])


def test_instances_that_name_the_network_are_spread_over_its_segments(site):
    first, second, third, fourth = (segment_of(instance) for instance in site.instances)
    assert (first, second) == (third, fourth)
    assert {first, second} == {201, 202}
    eventually(lambda: all(site.lab.show("port", each.port["id"])["status"] == "ACTIVE" for each in site.instances), 20)


def test_each_segment_is_a_link_of_its_own_across_hosts(site):
    for here in site.instances:
        for there in site.instances:
            if here is not there:
                assert here.pings(there.address) == (segment_of(here) == segment_of(there)), (here.address, there.address)


def test_an_instance_is_in_the_bridge_of_its_segment(site):
    """Bridges are named by the first characters of the domain's id, taps by those of the port's."""
    if site.mechanism != "linuxbridge":
        pytest.skip("Open vSwitch has one bridge: its ports are told apart by tags")
    for instance in site.instances:
        bridge = f"brq{site.segments[segment_of(instance)][:11]}"
        assert f"tap{instance.port['id'][:11]}" in site.lab.run(instance.host, "ip", "-br", "link", "show", "master", bridge)
    for host in ("compute01", "compute02"):
        assert f"brq{site.network['id'][:11]}" not in site.lab.run(host, "ip", "-br", "link")


def test_each_segment_has_a_dhcp_server(site):
    servers = site.lab.find("port", network_id=site.network["id"], device_owner="network:dhcp")
    assert sorted(int(ip["ip_address"].split(".")[2]) for server in servers for ip in server["fixed_ips"]) == [201, 202]


def test_an_instance_that_a_full_network_grew_for_has_its_lease_on_the_new_segment(site):
    wire = SEGMENTS[site.mechanism]
    pool = site.lab.create("subnetpool", name="spare", prefixes=["10.30.0.0/24"])
    bench = {"subnetpool_id": pool["id"], "prefixlen": 29, "limit": 2, "minimum": 301, "maximum": 301}
    bench |= {name.removeprefix("provider:"): value for name, value in wire.items()}
    network = site.lab.create("network", autogrow=bench, **wire | {"provider:segmentation_id": 300})
    eventually(lambda: site.lab.show("network", network["id"])["subnets"], 20)
    room = site.lab.ask("GET", f"/v2.0/network-ip-availabilities/{network['id']}")["network_ip_availability"]
    for _ in range(room["total_ips"] - room["used_ips"]):
        site.lab.create("port", network_id=network["id"])

    instance = site.lab.boot("grown", network, "compute02")
    assert instance.address in ("10.30.0.10", "10.30.0.11", "10.30.0.12", "10.30.0.13", "10.30.0.14")
    eventually(instance.has_lease, 30)
