"""What looks abandoned, and what only looks so at a first glance."""

from datetime import UTC, datetime

import pytest

from naru.cli.reclaim import find

NOW = datetime(2026, 3, 1, tzinfo=UTC)
OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-27T00:00:00Z"
COMMON = {"id": "x", "project_id": "p", "revision_number": 3, "updated_at": OLD}
PORT = COMMON | {
    "status": "DOWN",
    "device_owner": "",
    "device_id": "",
    "network_id": "n",
    "fixed_ips": [{"subnet_id": "s", "ip_address": "10.0.0.5"}],
}
FLOATING = COMMON | {"port_id": None, "floating_ip_address": "203.0.113.9", "floating_network_id": "ext"}
HELD = {"port_id": None, "network_id": "n", "fixed_ips": [{"subnet_id": "s", "ip_address": "10.0.0.7"}]}
PICK = COMMON | {"status": "committed", "placements": [HELD, HELD | {"port_id": "taken", "fixed_ips": [{"ip_address": "10.0.0.8"}]}]}
SERVER = {"device_owner": "compute:nova", "device_id": "vm"}


def found(*, ports=(), floatingips=(), picks=(), servers=(), days=30):
    listings = {"ports": ports, "floatingips": floatingips, "network_picks": picks}
    if servers is not None:
        listings["servers"] = [{"id": id, "status": status} for id, status in servers]
    return list(find(listings, NOW, days))


@pytest.mark.parametrize(
    ("listing", "reason", "path", "addresses", "network"),
    [
        ({"ports": [PORT]}, "idle_port", "/v2.0/ports/x", ["10.0.0.5"], "n"),
        ({"ports": [PORT | SERVER]}, "gone_server", "/v2.0/ports/x", ["10.0.0.5"], "n"),
        ({"ports": [PORT | SERVER], "servers": [("vm", "ACTIVE")]}, "never_up", "/v2.0/ports/x", ["10.0.0.5"], "n"),
        ({"floatingips": [FLOATING]}, "idle_floating_ip", "/v2.0/floatingips/x", ["203.0.113.9"], "ext"),
        ({"picks": [PICK]}, "forgotten_hold", "/v2.0/network-picks/x", ["10.0.0.7"], "n"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_sign_of_abandonment_is_found_with_its_evidence(listing, reason, path, addresses, network):
    (row,) = found(**listing)
    assert (row.reason, row.path, row.addresses, row.network_id, row.project_id, row.days) == (reason, path, addresses, network, "p", 59)
    assert row.revision == 3
    for text in (row.text_en, row.text_ko):
        assert "{" not in text
        assert "59" in text or "vm" in text


@pytest.mark.parametrize(
    "listing",
    [
        {"ports": [PORT | {"updated_at": NEW}]},
        {"ports": [PORT | {"status": "ACTIVE"}]},
        {"ports": [PORT | {"device_owner": "network:dhcp", "device_id": "host"}]},
        {"ports": [PORT | {"device_owner": "trunk:subport", "device_id": "t"}]},
        {"ports": [PORT | {"device_id": "an appliance of somebody"}]},
        {"ports": [PORT | SERVER], "servers": [("vm", "SHUTOFF")]},
        {"ports": [PORT | SERVER], "servers": None},
        {"floatingips": [FLOATING | {"port_id": "p"}]},
        {"picks": [PICK | {"status": "held"}]},
        {"picks": [PICK | {"status": "used"}]},
    ],
    ids=["new", "up", "dhcp", "subport", "foreign device", "stopped", "no compute service", "attached", "held for a while", "used up"],
)
def test_what_is_in_use_or_may_be_is_not_listed(listing):
    assert found(**listing) == []


def test_the_time_is_the_askers_to_choose():
    assert found(ports=[PORT | {"updated_at": NEW}], days=2)
    assert not found(ports=[PORT | {"updated_at": NEW}], days=3)
