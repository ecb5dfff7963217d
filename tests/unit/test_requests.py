"""From a body to checked values: what is sent is kept or refused, never ignored."""

import pytest

from naru.model.errors import Forbidden, Invalid
from naru.model.requests import decode_create, decode_update
from naru.model.resources import AllocationPool, HostRoute, Network, Port, Subnet, WantedIp
from planning import ADMIN, MEMBER

NETWORK_ID = "6d0f7ac0-5d9c-4d17-a6a2-1f0f1d2e3a4b"


def test_only_what_was_sent_is_there():
    assert decode_create(Network, {"name": "web"}, MEMBER) == {"name": "web", "project_id": "demo"}
    assert decode_update(Network, {"name": "web"}, MEMBER) == {"name": "web"}
    assert decode_update(Network, {}, MEMBER) == {}


def test_wire_names_become_fields():
    given = decode_create(Network, {"provider:network_type": "vxlan", "router:external": "true"}, ADMIN)
    assert given == {"provider_network_type": "vxlan", "router_external": True, "project_id": "admin"}


def test_values_are_kept_in_one_form():
    port = {"network_id": NETWORK_ID.upper(), "mac_address": "FA-16-3E-00-00-0A", "fixed_ips": [{"ip_address": "FD00:0::1"}]}
    assert decode_create(Port, port, MEMBER) == {
        "network_id": NETWORK_ID,
        "mac_address": "fa:16:3e:00:00:0a",
        "fixed_ips": (WantedIp(None, "fd00::1"),),
        "project_id": "demo",
    }
    subnet = {
        "network_id": NETWORK_ID,
        "ip_version": "4",
        "cidr": "10.0.0.9/24",
        "allocation_pools": [{"start": "10.0.0.2", "end": "10.0.0.9"}],
        "host_routes": [{"destination": "10.1.0.0/24", "nexthop": "10.0.0.1"}],
        "dns_nameservers": None,
    }
    given = decode_create(Subnet, subnet, MEMBER)
    assert given["ip_version"] == 4
    assert given["cidr"] == "10.0.0.0/24"
    assert given["allocation_pools"] == (AllocationPool("10.0.0.2", "10.0.0.9"),)
    assert given["host_routes"] == (HostRoute("10.1.0.0/24", "10.0.0.1"),)
    assert given["dns_nameservers"] == ()


@pytest.mark.parametrize(
    ("kind", "body", "named"),
    [
        (Network, {"nmae": "web"}, "nmae"),
        (Network, {"name": 7}, "name"),
        (Network, {"name": "x" * 256}, "name"),
        (Network, {"name": "a\x00b"}, "name"),
        (Network, {"admin_state_up": "perhaps"}, "admin_state_up"),
        (Network, {"mtu": -1}, "mtu"),
        (Network, {"mtu": True}, "mtu"),
        (Network, {"id": NETWORK_ID}, "id"),
        (Network, {"status": "ACTIVE"}, "status"),
        (Port, {}, "network_id"),
        (Port, {"network_id": "net1"}, "network_id"),
        (Port, {"network_id": NETWORK_ID, "mac_address": "01:00:5e:00:00:01"}, "mac_address"),
        (Port, {"network_id": NETWORK_ID, "mac_address": "00:00:00:00:00:00"}, "mac_address"),
        (Port, {"network_id": NETWORK_ID, "fixed_ips": "10.0.0.1"}, "fixed_ips"),
        (Port, {"network_id": NETWORK_ID, "fixed_ips": [{"ip_address": "10.0.0.256"}]}, "fixed_ips"),
        (Port, {"network_id": NETWORK_ID, "fixed_ips": [{"address": "10.0.0.1"}]}, "fixed_ips"),
        (Port, {"network_id": NETWORK_ID, "provisioned": ["L2"]}, "provisioned"),
        (Subnet, {"network_id": NETWORK_ID, "ip_version": 5, "cidr": "10.0.0.0/24"}, "ip_version"),
        (Subnet, {"network_id": NETWORK_ID, "ip_version": 4, "cidr": "10.0.0.0"}, "cidr"),
        (Subnet, {"network_id": NETWORK_ID, "ip_version": 4, "cidr": "10.0.0.0/24", "allocation_pools": [{"start": "10.0.0.1"}]}, "end"),
    ],
)
def test_a_refusal_names_the_attribute(kind, body, named):
    with pytest.raises(Invalid, match=named):
        decode_create(kind, body, ADMIN)


@pytest.mark.parametrize("name", ["id", "network_id", "created_at", "status", "revision_number"])
def test_what_is_fixed_cannot_be_updated(name):
    with pytest.raises(Invalid, match=f"Cannot update read-only attribute {name}"):
        decode_update(Port, {name: NETWORK_ID}, ADMIN)


def test_what_is_the_administrators_is_forbidden_to_others_unless_it_is_the_default():
    with pytest.raises(Forbidden, match="create_network:shared"):
        decode_create(Network, {"shared": True}, MEMBER)
    assert decode_create(Network, {"shared": False}, MEMBER)["shared"] is False
    with pytest.raises(Forbidden, match="update_network:shared"):
        decode_update(Network, {"shared": True}, MEMBER)
    assert decode_create(Network, {"shared": True}, ADMIN)["shared"] is True


def test_only_an_administrator_creates_for_another_project():
    assert decode_create(Network, {"tenant_id": "demo"}, MEMBER)["project_id"] == "demo"
    assert decode_create(Network, {"project_id": "demo"}, ADMIN)["project_id"] == "demo"
    with pytest.raises(Invalid, match="project_id 'other'"):
        decode_create(Network, {"project_id": "other"}, MEMBER)


def test_the_two_words_for_a_project_must_agree():
    assert decode_create(Network, {"project_id": "demo", "tenant_id": "demo"}, ADMIN)["project_id"] == "demo"
    with pytest.raises(Invalid, match="do not match"):
        decode_create(Network, {"project_id": "demo", "tenant_id": "other"}, ADMIN)
