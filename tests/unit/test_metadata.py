"""What an instance reads about itself, and who is taken for whom."""

import json
import socket

import msgspec
import pytest

from naru.compile.host import compile_host
from naru.drivers.base import plan
from naru.drivers.metadata import Asker, Config, Listener, Metadata
from naru.drivers.metadata_proxy import Proxy, Request, find, tree
from naru.model.compute import Server
from naru.model.hoststate import DhcpState, InstanceDocument, MetadataState, PeerState, Route, RouterState
from naru.model.resources import Port
from naru.service.instances import ServerRequest, create_servers, update_server
from naru.service.router_interfaces import add_router_interface
from naru.service.routers import create_router
from planning import ADMIN, CLOUD, PlainCloud

WEB = Asker("qdhcp-1", ("10.0.0.5", "fd00::5"), "i1", "demo", InstanceDocument("web", "web server", "nova", {"role": "front"}))


def test_the_paths_of_ec2_and_of_openstack():
    assert find(tree(WEB), "/latest/meta-data/instance-id") == "i1"
    assert find(tree(WEB), "/2009-04-04/meta-data/local-ipv4/") == "10.0.0.5"
    assert find(tree(WEB), "/latest/meta-data/placement/availability-zone") == "nova"
    document = json.loads(find(tree(WEB), "/openstack/2018-08-27/meta_data.json") or "")
    assert (document["uuid"], document["name"], document["hostname"], document["meta"]) == ("i1", "web server", "web", {"role": "front"})


def test_keys_and_user_data_are_read_as_ec2_and_openstack_name_them():
    document = InstanceDocument("web", "web", "nova", key_name="my key", public_key="ssh-ed25519 AAAA", user_data="/wAK")
    known = tree(Asker("qdhcp-1", ("10.0.0.5",), "i1", "demo", document))
    assert find(known, "/latest/meta-data/public-keys/") == "0=my key"
    assert find(known, "/latest/meta-data/public-keys/0/") == "openssh-key"
    assert find(known, "/2009-04-04/meta-data/public-keys/0/openssh-key") == "ssh-ed25519 AAAA"
    assert "public-keys/" in (find(known, "/latest/meta-data") or "").split()
    assert find(known, "/latest/user-data") == find(known, "/openstack/latest/user_data") == b"\xff\x00\n"
    assert find(known, "/latest") == "meta-data/\nuser-data"
    said = json.loads(find(known, "/openstack/latest/meta_data.json") or "")
    assert said["public_keys"] == {"my key": "ssh-ed25519 AAAA"}
    assert said["keys"] == [{"name": "my key", "type": "ssh", "data": "ssh-ed25519 AAAA"}]


@pytest.mark.parametrize(
    ("name", "hostname"),
    [("web", "web"), ("My web.1", "my-web-1"), ("-a_b-", "a-b"), ("서버", "server-i1"), ("x" * 70, "x" * 63)],
)
def test_a_host_is_called_as_its_server_as_far_as_a_hosts_name_can_say_it(name, hostname):
    assert Server(id="i1", name=name, flavor_id="1", image_id="i").hostname == hostname


def test_a_folder_lists_its_names_and_nothing_is_nothing():
    assert (find(tree(WEB), "/latest/meta-data/") or "").split() == [
        "instance-id",
        "hostname",
        "local-hostname",
        "local-ipv4",
        "placement/",
    ]
    assert find(tree(WEB), "/") == "2009-04-04/\nlatest/\nopenstack/"
    for path in ("/latest/user-data", "/latest/meta-data/instance-id/more", "/latest/meta-data/public-keys/", "/../config"):
        assert find(tree(WEB), path) is None


def test_by_ipv6_one_port_of_a_domain_answers_and_every_host_knows_where():
    cloud = PlainCloud()
    cloud.host("controller01", "172.18.0.30", dhcp=True, metadata=True)
    cloud.host("controller02", "172.18.0.31", l3=True, metadata=True)
    cloud.host("compute01", "172.18.0.32")
    network = cloud.network("net1")
    cloud.subnet(network)
    cloud.port(network, device_owner="compute:nova", device_id="i1", binding_host_id="compute01")

    def speakers():
        """host -> the MACs that it is told have the address; and who listens."""
        known = compile_host(cloud.view, "compute01").values()
        told = [value.port_id for value in known if isinstance(value, PeerState) and "fe80::a9fe:a9fe" in value.ip_addresses]
        served = [value for host in ("controller01", "controller02") for value in compile_host(cloud.view, host).values()]
        listening = [value.port_id for value in served if isinstance(value, DhcpState) and value.metadata_ipv6]
        listening += [end.port_id for value in served if isinstance(value, RouterState) for end in value.interfaces if end.speaks_ipv6]
        assert told == listening
        heard = {(value.netns, value.devices) for value in served if isinstance(value, MetadataState) and value.devices}
        return told, heard

    assert speakers() == ([], set())
    six = cloud.subnet(network, "fd00::/64", ipv6_ra_mode="slaac", ipv6_address_mode="slaac")
    (server,) = cloud.view.find(Port, "dhcp", network.id)
    assert speakers() == ([server.id], {(f"qdhcp-{network.id}", (f"ns-{server.id[:11]}",))})

    router = cloud.run(create_router(cloud.view, ADMIN, {"project_id": "admin"}, CLOUD))
    cloud.run(add_router_interface(cloud.view, ADMIN, router.id, {"subnet_id": six.id}, CLOUD))
    assert speakers()[0] == [server.id]
    cloud.host("controller01", "172.18.0.30", dhcp=True, metadata=False)
    (inner,) = (port for port in cloud.view.find(Port, "device_id", router.id))
    assert speakers() == ([inner.id], {(f"qrouter-{router.id}", (f"qr-{inner.id[:11]}",))})


@pytest.mark.parametrize(
    ("listener", "peer", "status"),
    [
        (Listener("qdhcp-1"), "10.0.0.5", 200),
        (Listener("qdhcp-1"), "10.0.0.6", 404),
        (Listener("qrouter-1"), "10.0.0.5", 404),
        (Listener("qdhcp-1", "ns-1"), "fe80::1%3", 200),
        (Listener("qdhcp-1", "ns-1"), "fe80::2%3", 404),
        (Listener("qdhcp-1", "ns-2"), "fe80::1%3", 404),
        (Listener("qrouter-1", "ns-1"), "fe80::1%3", 404),
    ],
    ids=str,
)
def test_an_instance_is_known_by_its_own_address_in_its_own_network(tmp_path, listener, peer, status):
    proxy = Proxy(tmp_path)
    asker = Asker("qdhcp-1", ("10.0.0.5", "fe80::1%ns-1"), "i1", "demo", InstanceDocument("web", "web", "nova"))
    config = Config(askers=(asker,))
    (tmp_path / "config").write_bytes(msgspec.json.encode(config))
    proxy.load()
    client, server = socket.socketpair()
    with client, server:
        client.sendall(b"GET /latest/meta-data/instance-id HTTP/1.0\r\n\r\n")
        Request(server, (peer, 4711), proxy, listener)
        assert client.recv(1000).split()[1] == str(status).encode()


def test_no_log_shows_what_an_instance_may_read(tmp_path):
    state = (
        DhcpState("n1", "p9", "qdhcp-n1", "ns-p9", 1450, (), metadata=True),
        MetadataState("p1", "qdhcp-n1", ("10.0.0.5",), "i1", "demo", InstanceDocument("web", "web", "nova", user_data="c2VjcmV0")),
    )
    want, _ = Metadata(tmp_path, "http://nova:8775", "between us").want({value.key: value for value in state})
    actions = plan(want, {}, prune=True).additions
    lines = "".join(action.line for action in actions)
    assert "c2VjcmV0" in lines
    assert "between us" in lines
    told = "".join(action.told for action in actions)
    assert "c2VjcmV0" not in told
    assert "between us" not in told


def test_the_host_that_serves_dhcp_or_runs_the_router_knows_who_asks_and_instances_the_way():
    cloud = PlainCloud()
    cloud.host("controller01", "172.18.0.30", dhcp=True, metadata=True)
    cloud.host("controller02", "172.18.0.31", l3=True, metadata=True)
    cloud.host("compute01", "172.18.0.32")
    network = cloud.network("net1")
    subnet = cloud.subnet(network)
    (server,) = cloud.run(create_servers(cloud.view, ADMIN, ServerRequest("web", "1", "netns"), 1, 1, CLOUD))
    nova = cloud.port(network, device_owner="compute:nova", device_id="of-nova", binding_host_id="compute01")

    def known(host):
        return {value.instance_id: value for value in compile_host(cloud.view, host).values() if isinstance(value, MetadataState)}

    def routes():
        (dhcp,) = [value for value in compile_host(cloud.view, "controller01").values() if isinstance(value, DhcpState)]
        return dhcp.subnets[0].host_routes

    (way,) = routes()
    assert way == Route("169.254.169.254/32", "10.0.0.2")
    assert known("controller01").keys() == {server.id, "of-nova"}
    assert known("controller01")["of-nova"].document is None
    assert known("controller01")["of-nova"].ip_addresses == (nova.fixed_ips[0].ip_address,)
    assert known("compute01") == known("controller02") == {}
    cloud.run(update_server(cloud.view, ADMIN, server.id, {"name": "renamed"}, CLOUD))
    assert known("controller01")[server.id].document == InstanceDocument("renamed", "renamed", "nova")

    router = cloud.run(create_router(cloud.view, ADMIN, {"project_id": "admin"}, CLOUD))
    cloud.run(add_router_interface(cloud.view, ADMIN, router.id, {"subnet_id": subnet.id}, CLOUD))

    assert routes() == ()
    assert known("controller02").keys() == {server.id, "of-nova"}
    assert {value.netns for value in known("controller02").values()} == {f"qrouter-{router.id}"}
