"""Which policy holds for a port, which rules go together, and what they ask of a host."""

import pytest
from msgspec.structs import replace

from naru.compile.qos import address_limit, shaping
from naru.model.errors import Conflict
from naru.model.hoststate import AddressLimit, BandwidthLimit, PacketRateLimit, QosState
from naru.model.qos import (
    BandwidthLimitRule,
    DscpMarkingRule,
    MinimumBandwidthRule,
    MinimumPacketRateRule,
    PacketRateLimitRule,
    effective_policy,
)
from naru.model.resources import Port
from naru.service.instances import ServerRequest, WantedNic, create_servers
from naru.service.qos import create_policy, delete_policy, plans_of
from planning import ADMIN, CLOUD, PlainCloud


@pytest.fixture
def cloud():
    return PlainCloud()


@pytest.fixture
def policy(cloud):
    return cloud.run(create_policy(cloud.view, ADMIN, {"name": "gold", "project_id": "admin"}, CLOUD))


def add(cloud, policy, kind, **given):
    return cloud.run(plans_of(kind).create(cloud.view, ADMIN, {"qos_policy_id": policy.id, **given}, CLOUD))


@pytest.mark.parametrize(
    ("own", "inherited", "owner", "expected"),
    [
        ("a", "b", "compute:nova", "a"),
        (None, "b", "compute:nova", "b"),
        (None, "b", "network:dhcp", None),
        ("a", "b", "network:router_gateway", "a"),
        (None, None, "", None),
    ],
)
def test_a_ports_own_policy_goes_before_its_networks(own, inherited, owner, expected):
    port = Port(id="p", network_id="n", mac_address="", device_owner=owner, qos_policy_id=own, qos_network_policy_id=inherited)
    assert effective_policy(port) == expected


def test_a_limit_bounds_guarantees_of_its_own_direction_only(cloud, policy):
    add(cloud, policy, BandwidthLimitRule, max_kbps=10, direction="ingress")
    add(cloud, policy, MinimumBandwidthRule, min_kbps=20, direction="egress")
    with pytest.raises(Conflict) as refused:
        add(cloud, policy, MinimumBandwidthRule, min_kbps=20, direction="ingress")
    assert refused.value.type == "QoSRuleParameterConflict"
    with pytest.raises(Conflict) as refused:
        add(cloud, policy, BandwidthLimitRule, max_kbps=19, direction="egress")
    assert refused.value.type == "QoSRuleParameterConflict"


def test_any_direction_leaves_room_for_no_other(cloud, policy):
    add(cloud, policy, MinimumPacketRateRule, min_kpps=1, direction="ingress")
    with pytest.raises(Conflict) as refused:
        add(cloud, policy, MinimumPacketRateRule, min_kpps=1, direction="any")
    assert refused.value.type == "QoSRulesConflict"


def test_rules_go_with_their_policy(cloud, policy):
    add(cloud, policy, BandwidthLimitRule, max_kbps=10)
    cloud.run(delete_policy(cloud.view, ADMIN, policy.id, CLOUD))
    assert not list(cloud.view.all(BandwidthLimitRule))


def test_rules_become_limits_of_each_direction_and_a_mark(cloud, policy):
    add(cloud, policy, BandwidthLimitRule, max_kbps=1000)
    add(cloud, policy, BandwidthLimitRule, max_kbps=500, max_burst_kbps=50, direction="ingress")
    add(cloud, policy, PacketRateLimitRule, max_kpps=2, direction="ingress")
    add(cloud, policy, DscpMarkingRule, dscp_mark=26)
    port = Port(id="p", network_id="n", mac_address="", qos_policy_id=policy.id)
    (state,) = shaping(cloud.view, [port])
    assert state == QosState("p", BandwidthLimit(500, 50), BandwidthLimit(1000, 800), 26, PacketRateLimit(2000, 1600))


def test_an_external_address_is_limited_by_its_own_policy_else_by_that_of_its_network(cloud, policy):
    add(cloud, policy, BandwidthLimitRule, max_kbps=1000, max_burst_kbps=10)
    add(cloud, policy, DscpMarkingRule, dscp_mark=26)
    none = cloud.run(create_policy(cloud.view, ADMIN, {"project_id": "admin"}, CLOUD))
    outside, plain = cloud.network("outside", router_external=True, qos_policy_id=policy.id), cloud.network("plain", router_external=True)
    limited = AddressLimit("203.0.113.5", None, BandwidthLimit(1000, 10))
    assert address_limit(cloud.view, "203.0.113.5", None, outside.id) == limited
    assert address_limit(cloud.view, "203.0.113.5", policy.id, plain.id) == limited
    assert address_limit(cloud.view, "203.0.113.5", none.id, outside.id) is None
    assert address_limit(cloud.view, "203.0.113.5", None, plain.id) is None


def test_an_instance_goes_to_a_host_that_enforces_the_policy_of_its_port(cloud, policy):
    cloud.host("compute1", "172.18.0.31")
    cloud.host("compute2", "172.18.0.32", qos_rule_types=("bandwidth_limit",))
    network = cloud.network("n", qos_policy_id=policy.id)
    cloud.subnet(network, "10.0.0.0/24")
    add(cloud, policy, BandwidthLimitRule, max_kbps=1000)
    request = ServerRequest("i", "1", "netns", nics=(WantedNic(network.id),))
    servers = [server for _ in range(2) for server in cloud.run(create_servers(cloud.view, ADMIN, request, 1, 1, CLOUD))]
    assert [server.host for server in servers] == ["compute2", "compute2"]

    other = cloud.run(create_policy(cloud.view, ADMIN, {"project_id": "admin"}, CLOUD))
    add(cloud, other, MinimumBandwidthRule, min_kbps=1)
    port = cloud.port(network, qos_policy_id=other.id)
    with pytest.raises(Conflict, match="compute2: host compute2 enforces no QoS rules of type minimum_bandwidth"):
        cloud.run(create_servers(cloud.view, ADMIN, replace(request, nics=(WantedNic(port_id=port.id),)), 1, 1, CLOUD))
