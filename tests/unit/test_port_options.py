"""Names and DHCP options of ports: what DHCP is told, and what fits together."""

import pytest

from naru.compile.host import compile_host
from naru.model.errors import Invalid
from naru.model.hoststate import DhcpState, LeaseState
from naru.model.port_options import DhcpOption, dhcp_options, merged_options
from naru.service.networks import create_network
from naru.service.policy import Cloud
from naru.service.ports import update_port
from naru.service.subnets import create_subnet
from planning import ADMIN, CLOUD, PlainCloud

EXAMPLE = Cloud(CLOUD.ranges, CLOUD.quotas, dns_domain="example.org.")


@pytest.fixture
def cloud():
    return PlainCloud()


@pytest.fixture
def network(cloud):
    cloud.host("net1", "172.18.0.11", dhcp=True)
    made = cloud.run(create_network(cloud.view, ADMIN, {"name": "net", "project_id": "admin"}, EXAMPLE))
    wanted = {"network_id": made.id, "cidr": "10.0.0.0/28", "ip_version": 4, "project_id": "admin"}
    cloud.run(create_subnet(cloud.view, ADMIN, wanted, EXAMPLE))
    return made


def test_dhcp_hands_out_the_name_of_the_port_and_the_domain_of_its_network(cloud, network):
    cloud.port(network, dns_name="web")
    cloud.port(network, dns_name="db.example.org.")
    cloud.port(network)
    values = compile_host(cloud.view, "net1").values()
    assert [value.domain for value in values if isinstance(value, DhcpState)] == ["example.org"]
    assert {value.hostname for value in values if isinstance(value, LeaseState)} == {"web", "db", "host-10-0-0-5"}


def test_a_name_must_fit_into_the_domain_of_its_network(cloud, network):
    port = cloud.port(network, dns_name="web.example.org.")
    assert [assignment.fqdn for assignment in port.dns_assignment] == ["web.example.org."]
    for name in ("web.example.com.", "example.org.", ".".join(["a" * 60] * 4)):
        with pytest.raises(Invalid):
            cloud.port(network, dns_name=name)
        with pytest.raises(Invalid):
            cloud.run(update_port(cloud.view, ADMIN, port.id, {"dns_name": name}, EXAMPLE))


def test_options_are_told_apart_by_name_and_ip_version():
    present = (DhcpOption("59", "a", 6), DhcpOption("59", "b", 4))
    assert merged_options(present, (DhcpOption("59", None, 6),)) == (DhcpOption("59", "b", 4),)
    assert merged_options(present, (DhcpOption("59", "c", 4),)) == (DhcpOption("59", "a", 6), DhcpOption("59", "c", 4))


def test_an_option_number_is_one_of_its_protocol():
    assert dhcp_options([{"opt_name": "300", "opt_value": "x", "ip_version": 6}]) == (DhcpOption("300", "x", 6),)
    for number in ("0", "255", "300"):
        with pytest.raises(ValueError, match="no DHCPv4 option"):
            dhcp_options([{"opt_name": number, "opt_value": "x"}])
