"""Picks over HTTP: what is held, who may take it, what is refused and leaves nothing."""

import json

import pytest

from clients import Clients, FakeHost
from naru.testing import eventually
from networking import Networking
from serving import Serving


@pytest.fixture
def net(demo):
    """A network with 5 free addresses, and nothing else that the project could be given."""
    network = demo.network(name="NET1")
    demo.subnet(network, "10.30.0.0/24", enable_dhcp=False, allocation_pools=[{"start": "10.30.0.10", "end": "10.30.0.14"}])
    yield network
    for pick in demo.list("network-picks"):
        demo.delete("network-picks", pick["id"])
    for port in demo.list("ports", network_id=network["id"]):
        demo.delete("ports", port["id"])
    demo.delete("networks", network["id"])


def sums(networking: Networking, network: dict) -> dict[str, int]:
    """Of the candidate that the network is in a dry run."""
    pick = networking.create("network-picks", dry_run=True)
    (candidate,) = (candidate for candidate in pick["candidates"] if candidate["network_id"] == network["id"])
    return candidate["sum"]


# -- the whole way


def test_a_pick_is_shown_with_its_reasons_and_taken_by_ports(demo, net):
    pick = demo.create("network-picks", count=3)

    assert (pick["status"], len(pick["placements"]), pick["considered"]) == ("held", 3, 1)
    (candidate,) = pick["candidates"]
    assert (candidate["name"], candidate["verdict"], candidate["reason"]) == ("NET1", "chosen", "chosen")
    assert candidate["text_en"]
    assert candidate["text_ko"]
    assert candidate["sum"] == {"usable": 5, "allocated": 0, "held": 0, "quarantined": 0, "free": 5}
    assert len(pick["token"]) > 30

    shown = demo.show("network-picks", pick["id"])
    assert "token" not in shown
    assert shown == {name: value for name, value in pick.items() if name != "token"}
    assert sums(demo, net) == {"usable": 5, "allocated": 0, "held": 3, "quarantined": 0, "free": 2}

    one = demo.create("ports", pick_id=pick["id"])
    two, three = demo.create_many("ports", {"pick_id": pick["id"]}, {"pick_id": pick["id"], "network_id": net["id"]})
    made = [port["fixed_ips"] for port in (one, two, three)]
    assert made == [place["fixed_ips"] for place in pick["placements"]]
    assert {port["pick_id"] for port in (one, two, three)} == {pick["id"]}
    assert [place["port_id"] for place in demo.show("network-picks", pick["id"])["placements"]] == [one["id"], two["id"], three["id"]]
    assert demo.show("network-picks", pick["id"])["status"] == "used"
    assert {port["id"] for port in demo.list("ports", pick_id=pick["id"])} == {one["id"], two["id"], three["id"]}
    assert "pick_id" not in demo.port(net)


def test_renewed_committed_cancelled(demo, net):
    pick = demo.create("network-picks", hold_s=30)
    renewed = demo.request("PUT", f"/network-picks/{pick['id']}/renew", json={"hold_s": 600})
    assert (renewed.status_code, renewed.json()["network_pick"]["hold_s"]) == (200, 600)
    assert renewed.json()["network_pick"]["expires_at"] > pick["expires_at"]
    assert demo.refused("PUT", f"/network-picks/{pick['id']}/commit", {"hold_s": 9})[0] == 400
    committed = demo.request("PUT", f"/network-picks/{pick['id']}/commit", json={}).json()["network_pick"]
    assert (committed["status"], committed["expires_at"]) == ("committed", None)
    demo.delete("network-picks", pick["id"])
    assert demo.show("network-picks", pick["id"])["status"] == "cancelled"
    assert sums(demo, net)["free"] == 5
    assert demo.refused("PUT", f"/network-picks/{pick['id']}/commit", {})[:2] == (409, "NetworkPickUsed")


def test_the_token_lets_others_take(demo, admin, clients, net):
    pick = demo.create("network-picks", count=2)
    made = admin.create("ports", pick_id=pick["id"], pick_token=pick["token"])
    assert made["pick_id"] == pick["id"]
    assert "pick_token" not in made
    assert demo.refused("POST", "/ports", {"port": {"pick_id": pick["id"], "pick_token": "guess"}})[0] == 403
    admin.delete("ports", made["id"])


def test_the_same_key_is_the_same_pick(demo, net):
    first, again = (demo.create("network-picks", count=2, idempotency_key="boot-7") for _ in range(2))
    assert again["id"] == first["id"]
    assert sums(demo, net)["held"] == 2
    refused = demo.refused("POST", "/network-picks", {"network_pick": {"count": 1, "idempotency_key": "boot-7"}})
    assert refused[:2] == (409, "IdempotencyKeyReused")


def test_others_do_not_know_of_a_pick(admin, demo, net):
    pick = admin.create("network-picks", dry_run=False, pool_id=admin.create("network-pools", members=[{"network_id": net["id"]}])["id"])
    assert demo.refused("GET", f"/network-picks/{pick['id']}")[:2] == (404, "NetworkPickNotFound")
    assert demo.refused("DELETE", f"/network-picks/{pick['id']}")[:2] == (404, "NetworkPickNotFound")
    assert demo.refused("POST", "/ports", {"port": {"pick_id": pick["id"]}})[:2] == (404, "NetworkPickNotFound")
    admin.delete("network-picks", pick["id"])
    admin.delete("network-pools", pick["pool_id"])


def test_a_hold_goes_free_by_itself(demo, net):
    demo.create("network-picks", count=5, hold_s=1)
    wanted = {"network_pick": {"dry_run": True}}
    assert demo.refused("POST", "/network-picks", wanted)[:2] == (409, "NetworkPickRefused")
    eventually(lambda: demo.request("POST", "/network-picks", json={"network_pick": {"count": 5, "dry_run": True}}).status_code == 201, 15)


def test_availability_counts_what_ports_have_and_a_pool_tells_a_project_no_numbers(admin, demo, net):
    pool = demo.create("network-pools", members=[{"network_id": net["id"]}], quarantine_s=60)
    port = demo.create("ports", pick_id=demo.create("network-picks", pool_id=pool["id"], count=2)["id"])
    demo.delete("ports", demo.port(net)["id"])

    shown = admin.request("GET", f"/network-ip-availabilities/{net['id']}").json()["network_ip_availability"]
    assert (shown["total_ips"], shown["used_ips"]) == (5, 1)
    path = f"/network-pools/{pool['id']}/availability"
    told = {"network_pool_id": pool["id"], "band": "plenty"}
    assert demo.request("GET", path).json()["availability"] == told
    numbers = {"usable": 5, "allocated": 1, "held": 1, "quarantined": 1, "free": 2}
    assert admin.request("GET", path).json()["availability"] == told | numbers
    demo.create("network-picks", pool_id=pool["id"], count=2)
    assert demo.request("GET", path).json()["availability"]["band"] == "none"
    demo.delete("ports", port["id"])
    demo.delete("network-pools", pool["id"])


# -- what is refused, and leaves nothing


def test_a_refusal_carries_every_verdict_and_what_would_help(demo, net):
    answer = demo.request("POST", "/network-picks", json={"network_pick": {"count": 6}})
    body = answer.json()
    assert (answer.status_code, body["NeutronError"]["type"]) == (409, "NetworkPickRefused")
    assert json.loads(body["NeutronError"]["detail"]) == body["network_pick"]
    assert {candidate["reason"] for candidate in body["network_pick"]["candidates"]} == {"no_quorum"}
    assert "ask_fewer" in [fix["code"] for fix in body["network_pick"]["fixes"]]
    assert sums(demo, net)["free"] == 5


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"count": 0}, 400, "count"),
        ({"count": -3}, 400, "count"),
        ({"count": 1001}, 400, "count"),
        ({"min_count": -1}, 400, "min_count"),
        ({"min_count": 3, "count": 2}, 400, "min_count"),
        ({"hold_s": 0}, 400, "hold_s"),
        ({"hold_s": 10**6}, 400, "hold_s"),
        ({"max_skew": 0}, 400, "max_skew"),
        ({"mode": "all"}, 400, "mode"),
        ({"ip_version": 5}, 400, "ip_version"),
        ({"ip_version": True}, 400, "ip_version"),
        ({"purposes": ["dev"]}, 400, "purposes"),
        ({"purposes": {"some": ["dev"]}}, 400, "purposes"),
        ({"purposes": {"any": "dev"}}, 400, "purposes"),
        ({"consumable_by": "anyone"}, 400, "consumable_by"),
        ({"surprise": 1}, 400, "surprise"),
        ({"status": "used"}, 400, "status"),
        ({"token": "x"}, 400, "token"),
        ({"placements": []}, 400, "placements"),
        ({"pool_id": "no uuid"}, 400, "pool_id"),
        ({"pool_id": "11111111-2222-4333-8444-555555555555"}, 404, "NetworkPool"),
        ({"affinity": ["11111111-2222-4333-8444-555555555555"]}, 404, "Port"),
        ({"purposes": {"any": ["dev"]}}, 409, "No room"),
        ({"host": "mars"}, 409, "No room"),
        ({"physical_network": "physnet9"}, 409, "No room"),
        ({"ip_version": 6}, 409, "No room"),
        ({"mtu": 9000}, 409, "No room"),
    ],
    ids=str,
)
def test_bad_input_is_refused_and_holds_nothing(demo, net, body, status, words):
    answer = demo.request("POST", "/network-picks", json={"network_pick": body})
    assert answer.status_code == status, answer.text
    assert words in answer.json()["NeutronError"]["message"]
    assert demo.list("network-picks", status="held") == []


def test_a_pool_of_a_strangers_network_is_nothing_to_pick_from(admin, demo, net):
    foreign = admin.network()
    pool = {"network_pool": {"members": [{"network_id": foreign["id"]}]}}
    assert demo.refused("POST", "/network-pools", pool)[:2] == (404, "NetworkNotFound")
    admin.delete("networks", foreign["id"])


@pytest.mark.parametrize("of", ["expired", "used", "cancelled"])
def test_a_pick_that_is_over_makes_no_port(demo, net, of):
    pick = demo.create("network-picks", hold_s=1 if of == "expired" else 60)
    if of == "used":
        demo.create("ports", pick_id=pick["id"])
    elif of == "cancelled":
        demo.delete("network-picks", pick["id"])
    before = len(demo.list("ports", network_id=net["id"]))
    body = {"port": {"pick_id": pick["id"], "pick_token": pick["token"], "name": "late"}}
    kind = "NetworkPickExpired" if of == "expired" else "NetworkPickUsed"
    if of == "expired":
        eventually(lambda: demo.show("network-picks", pick["id"])["status"] == "expired", 15)
    assert demo.refused("POST", "/ports", body)[:2] == (409, kind)
    assert demo.refused("POST", "/ports", {"ports": [{"network_id": net["id"]}, body["port"]]})[:2] == (409, kind)
    assert len(demo.list("ports", network_id=net["id"])) == before


# -- pick, port, --port: the road for any client


def test_the_commands_boot_a_server_on_a_port_of_a_pick(demo, clients: Clients, serving: Serving, net):
    with FakeHost(serving, "compute01"):
        pick = demo.create("network-picks")
        port = demo.create("ports", pick_id=pick["id"], name="web1")
        made = clients.openstack("server", "create", "--image", "netns", "--flavor", "m1.tiny", "--port", port["id"], "web1")
        assert made["addresses"] == {"NET1": [pick["placements"][0]["fixed_ips"][0]["ip_address"]]}
        assert clients.try_openstack("server", "delete", "--wait", "web1").returncode == 0
        assert demo.show("ports", port["id"])["pick_id"] == pick["id"]
