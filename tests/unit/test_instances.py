"""Instances: which network they get, and what is left when a request can be met only in part."""

import pytest

from naru.model.compute import Server
from naru.model.errors import Conflict, Forbidden, Invalid
from naru.model.hostreport import InstanceReport
from naru.model.network_pools import NetworkPool
from naru.model.picks import NetworkPick
from naru.model.requests import decode_create
from naru.model.resources import Network, Port
from naru.service.instances import ServerRequest, WantedNic, create_servers, delete_server
from naru.service.network_pools import create_network_pool
from naru.service.policy import Cloud
from planning import ADMIN, CLOUD, MEMBER, PlainCloud

WEB = ServerRequest("web", "1", "netns")


def cloud_with_host() -> PlainCloud:
    cloud = PlainCloud()
    cloud.host("compute01", "172.18.0.31")
    return cloud


def boot(cloud, request=WEB, least=1, most=1, caller=MEMBER, policy=CLOUD):
    return cloud.run(create_servers(cloud.view, caller, request, least, most, policy))


def networks_of(cloud, servers):
    return [cloud.view.get(Network, port.network_id).name for s in servers for port in cloud.view.find(Port, "device_id", s.id)]


def test_the_first_network_by_name_is_filled_to_its_last_address_then_the_next():
    cloud = cloud_with_host()
    for name in ("NET2", "NET1"):
        cloud.subnet(cloud.network(name, MEMBER), "10.0.0.0/29", MEMBER)

    servers = boot(cloud, least=8, most=8)

    assert networks_of(cloud, servers) == ["NET1"] * 5 + ["NET2"] * 3
    words = "NET1: chosen for 5 of 8, 5 of 5 free; NET2: chosen for 3 of 8, 5 of 5 free"
    assert {server.pick for server in servers} == {words}


def test_servers_of_one_request_come_of_one_pick_that_their_ports_name():
    cloud = cloud_with_host()
    for name in ("NET2", "NET1"):
        cloud.subnet(cloud.network(name, MEMBER), "10.0.0.0/29", MEMBER)

    servers = boot(cloud, least=6, most=6)

    (pick,) = cloud.view.all(NetworkPick)
    ports = [port for server in servers for port in cloud.view.find(Port, "device_id", server.id)]
    assert (pick.status, pick.held) == ("used", ())
    assert [(place.port_id, place.fixed_ips) for place in pick.placements] == [(port.id, port.fixed_ips) for port in ports]
    assert {port.pick_id for port in ports} == {pick.id}
    for server in servers:
        cloud.run(delete_server(cloud.view, MEMBER, server.id, CLOUD))
    assert cloud.view.size(NetworkPick) == cloud.view.size(Port) == 0


def test_own_networks_come_before_shared_ones():
    cloud = cloud_with_host()
    cloud.subnet(cloud.network("A-shared", ADMIN, shared=True), "10.0.0.0/29")
    cloud.subnet(cloud.network("own", MEMBER), "10.1.0.0/29", MEMBER)

    assert networks_of(cloud, boot(cloud)) == ["own"]


def test_a_refusal_names_every_network_and_why():
    cloud = cloud_with_host()
    cloud.subnet(cloud.network("full", MEMBER), "10.0.0.0/30", MEMBER)
    cloud.network("bare", MEMBER)
    cloud.subnet(cloud.network("down", MEMBER, admin_state_up=False), "10.1.0.0/29", MEMBER)
    elsewhere = cloud.network("elsewhere", ADMIN, shared=True, provider_network_type="flat", provider_physical_network="physnet9")
    cloud.subnet(elsewhere, "10.2.0.0/29")
    boot(cloud)

    with pytest.raises(Conflict) as refusal:
        boot(cloud)

    assert str(refusal.value) == (
        "No network has a free address for instance web: bare: it has no subnet; down: it is administratively down; "
        "full: full, 0 of 1 free; "
        "elsewhere: no host that could be used carries it: host compute01 has no device for physical network physnet9."
    )


def test_an_administrators_sight_of_all_networks_does_not_make_them_his():
    cloud = cloud_with_host()
    cloud.subnet(cloud.network("A-foreign", MEMBER), "10.0.0.0/29", MEMBER)
    cloud.subnet(cloud.network("own", ADMIN), "10.1.0.0/29")

    assert networks_of(cloud, boot(cloud, caller=ADMIN)) == ["own"]


def test_a_project_without_any_network_gets_one_of_its_own():
    cloud = cloud_with_host()

    servers = boot(cloud, least=2, most=2)

    assert networks_of(cloud, servers) == ["auto_allocated_network"] * 2
    assert cloud.view.size(Network) == 1


def test_fewer_than_the_least_are_none():
    cloud = cloud_with_host()
    cloud.subnet(cloud.network("NET1", MEMBER), "10.0.0.0/29", MEMBER)

    with pytest.raises(Conflict):
        boot(cloud, least=6, most=6)

    assert cloud.view.size(Server) == cloud.view.size(Port) == 0


def test_as_many_as_there_are_addresses_when_that_is_enough():
    cloud = cloud_with_host()
    network = cloud.network("NET1", MEMBER)
    cloud.subnet(network, "10.0.0.0/29", MEMBER)
    named = ServerRequest("web", "1", "netns", nics=(WantedNic(network_id=network.id),))

    servers = boot(cloud, named, least=2, most=9)

    assert len(servers) == 5
    assert {server.id for server in cloud.view.all(Server)} == {server.id for server in servers}


def test_a_full_port_quota_is_refused_as_nova_refuses_it():
    cloud = cloud_with_host()
    cloud.subnet(cloud.network("NET1", MEMBER), "10.0.0.0/29", MEMBER)

    with pytest.raises(Forbidden, match="Maximum number of ports exceeded"):
        boot(cloud, policy=Cloud(CLOUD.ranges, {"port": 0}))


def test_a_port_quota_that_leaves_enough_clips_the_rest():
    cloud = cloud_with_host()
    cloud.subnet(cloud.network("NET1", MEMBER), "10.0.0.0/29", MEMBER)

    assert len(boot(cloud, least=1, most=3, policy=Cloud(CLOUD.ranges, {"port": 1}))) == 1
    assert cloud.view.size(Server) == 1


def test_a_server_whose_second_network_is_full_leaves_nothing_behind():
    cloud = cloud_with_host()
    wide, small = (cloud.network(name, MEMBER) for name in ("wide", "small"))
    cloud.subnet(wide, "10.0.0.0/28", MEMBER)
    cloud.subnet(small, "10.1.0.0/30", MEMBER)
    both = ServerRequest("web", "1", "netns", nics=(WantedNic(network_id=wide.id), WantedNic(network_id=small.id)))

    assert len(boot(cloud, both, least=1, most=3)) == 1
    assert (cloud.view.size(Server), cloud.view.size(Port)) == (1, 2)


@pytest.mark.parametrize(
    ("zone", "caller", "refusal", "words"),
    [
        ("mars", ADMIN, Invalid, "there is one, nova"),
        ("nova:compute01", MEMBER, Forbidden, "forced_host"),
        ("nova:x", ADMIN, Conflict, "No valid host"),
    ],
)
def test_a_zone_that_cannot_be_had_is_refused(zone, caller, refusal, words):
    with pytest.raises(refusal, match=words):
        boot(cloud_with_host(), ServerRequest("web", "1", "netns", nics=(), availability_zone=zone), caller=caller)


def test_boots_of_any_size_spread_evenly_over_a_pool():
    cloud = cloud_with_host()
    networks = [cloud.network(f"NET{number}", MEMBER) for number in range(4)]
    for number, network in enumerate(networks):
        cloud.subnet(network, f"10.0.{number}.0/24", MEMBER, enable_dhcp=False)
    body = {"members": [{"network_id": network.id} for network in networks], "policy": "spread", "is_default": True}
    cloud.run(create_network_pool(cloud.view, MEMBER, decode_create(NetworkPool, body, MEMBER), CLOUD))

    for most in (*[1] * 50, *[7] * 20, *[31] * 10):
        boot(cloud, least=most, most=most)
        counts = [cloud.view.count(Port, "network_id", network.id) for network in networks]
        assert max(counts) - min(counts) <= 1
    assert sum(counts) == 500


@pytest.mark.parametrize("launched", [True, False])
def test_a_server_is_taken_back_from_error_when_its_host_does_not_fail_at_it_any_more(launched):
    cloud = cloud_with_host()
    cloud.subnet(cloud.network("NET1", MEMBER), "10.0.0.0/29", MEMBER)
    (server,) = boot(cloud)
    key, running = f"instance/{server.id}", {server.id: InstanceReport("running")}
    if launched:
        cloud.report("compute01", ok=(key,), instances=running)

    cloud.report("compute01", failed={key: "no udhcpc"}, instances={} if launched else running)
    failing = cloud.view.get(Server, server.id)
    assert (failing.status, failing.fault.message) == ("ERROR", "no udhcpc")

    cloud.report("compute01", instances={server.id: InstanceReport("running", {"eth0": "10.0.0.2/29"})})
    assert cloud.view.get(Server, server.id).status == "ERROR"

    cloud.report("compute01", ok=(key,))
    healthy = cloud.view.get(Server, server.id)
    assert (healthy.status, healthy.fault, bool(healthy.launched_at)) == ("ACTIVE", None, True)


def test_a_server_that_never_ran_builds_on_after_an_error():
    cloud = cloud_with_host()
    cloud.subnet(cloud.network("NET1", MEMBER), "10.0.0.0/29", MEMBER)
    (server,) = boot(cloud)
    key = f"instance/{server.id}"

    for report, status in (({"failed": {key: "no room"}}, "ERROR"), ({"ok": (key,)}, "BUILD")):
        cloud.report("compute01", **report)
        assert cloud.view.get(Server, server.id).status == status
