"""The Networking API v2.0 of a real server, to the letter of the API reference.

https://docs.openstack.org/api-ref/network/v2/
"""

import uuid
from urllib.parse import urlsplit

import httpx
import openstack
import pytest

from clients import FakeHost
from networking import Networking
from serving import Serving

NOWHERE = str(uuid.UUID(int=4))


@pytest.fixture(scope="module")
def admin(clients):
    with clients.http("admin") as http:
        networking = Networking(http)
        projects = {project["name"]: project["id"] for project in http.get("/identity/v3/projects").json()["projects"]}
        for name in ("admin", "demo"):
            networking.update("quotas", projects[name], network=-1, subnet=-1, port=-1)
        networking.projects = projects
        yield networking


@pytest.fixture(scope="module")
def demo(clients, admin):
    with clients.http("demo") as http:
        yield Networking(http)


def has(resource, expected):
    """Those attributes; that there are no others is the business of test_neutron_lib.py."""
    __tracebackhide__ = True
    assert {name: resource[name] for name in expected} == expected


def ids(resources):
    return [resource["id"] for resource in resources]


# -- create, show, update, delete


def test_a_network_has_neutrons_attributes_and_defaults(admin):
    made = admin.network(name="NET1")
    assert made.pop("created_at") == made.pop("updated_at")
    assert made.pop("id")
    assert made.pop("provider:segmentation_id") > 0
    has(
        made,
        {
            "name": "NET1",
            "description": "",
            "admin_state_up": True,
            "status": "ACTIVE",
            "shared": False,
            "subnets": [],
            "mtu": 1450,
            "router:external": False,
            "provider:network_type": "vxlan",
            "provider:physical_network": None,
            "project_id": admin.projects["admin"],
            "tenant_id": admin.projects["admin"],
            "revision_number": 1,
        },
    )


def test_a_subnet_has_neutrons_attributes_and_defaults(admin):
    network = admin.network()
    made = admin.subnet(network, "192.168.100.0/24")
    assert made.pop("created_at") == made.pop("updated_at")
    id = made.pop("id")
    has(
        made,
        {
            "name": "",
            "description": "",
            "network_id": network["id"],
            "ip_version": 4,
            "cidr": "192.168.100.0/24",
            "gateway_ip": "192.168.100.1",
            "allocation_pools": [{"start": "192.168.100.2", "end": "192.168.100.254"}],
            "dns_nameservers": [],
            "host_routes": [],
            "enable_dhcp": True,
            "ipv6_ra_mode": None,
            "ipv6_address_mode": None,
            "subnetpool_id": None,
            "project_id": admin.projects["admin"],
            "tenant_id": admin.projects["admin"],
            "revision_number": 1,
        },
    )
    assert admin.show("networks", network["id"])["subnets"] == [id]


def test_a_port_has_neutrons_attributes_and_defaults(admin):
    network = admin.network()
    subnet = admin.subnet(network)
    made = admin.port(network)
    assert made.pop("created_at") == made.pop("updated_at")
    assert made.pop("id")
    assert made.pop("mac_address").startswith("fa:16:3e:")
    assert made.pop("fixed_ips") == [{"subnet_id": subnet["id"], "ip_address": "10.0.0.2"}]
    has(
        made,
        {
            "name": "",
            "description": "",
            "network_id": network["id"],
            "admin_state_up": True,
            "device_id": "",
            "device_owner": "",
            "status": "DOWN",
            "binding:host_id": "",
            "binding:profile": {},
            "binding:vif_type": "unbound",
            "binding:vif_details": {},
            "binding:vnic_type": "normal",
            "project_id": admin.projects["admin"],
            "tenant_id": admin.projects["admin"],
            "revision_number": 1,
        },
    )


def test_update_changes_what_is_named_and_counts_the_revision(admin):
    made = admin.network()
    changed = admin.update("networks", made["id"], name="renamed", description="of 2")
    assert changed == made | {"name": "renamed", "description": "of 2", "revision_number": 2, "updated_at": changed["updated_at"]}
    assert admin.show("networks", made["id"]) == changed


def test_an_update_that_changes_nothing_is_no_new_revision(admin):
    network = admin.network(name="same")
    assert admin.update("networks", network["id"], name="same", mtu=1450) == network


def test_delete_answers_204_and_then_404(admin):
    network = admin.network()
    subnet, port = admin.subnet(network), admin.port(network)
    for plural, kind, id in (("ports", "Port", port["id"]), ("subnets", "Subnet", subnet["id"]), ("networks", "Network", network["id"])):
        admin.delete(plural, id)
        for method in ("GET", "DELETE"):
            assert admin.refused(method, f"/{plural}/{id}") == (404, f"{kind}NotFound", f"{kind} {id} could not be found.")
        assert admin.refused("PUT", f"/{plural}/{id}", {kind.lower(): {"name": "x"}})[:2] == (404, f"{kind}NotFound")


def test_a_network_goes_with_its_subnets(admin):
    network = admin.network()
    subnet = admin.subnet(network)
    admin.delete("networks", network["id"])
    assert admin.refused("GET", f"/subnets/{subnet['id']}")[0] == 404


def test_strings_are_taken_for_booleans_and_numbers(admin):
    network = admin.network(
        admin_state_up="False", shared="True", mtu="1400", **{"provider:segmentation_id": "7777", "provider:network_type": "vxlan"}
    )
    assert (network["admin_state_up"], network["shared"], network["mtu"], network["provider:segmentation_id"]) == (False, True, 1400, 7777)
    assert admin.update("networks", network["id"], **{"router:external": "True", "shared": "False"})["router:external"] is True
    assert admin.subnet(network, ip_version="4", enable_dhcp="no")["enable_dhcp"] is False


# -- bulk


def test_bulk_create_answers_a_list_in_order(admin):
    network = admin.network()
    admin.subnet(network)
    made = admin.create_many("ports", *({"network_id": network["id"], "name": f"p{i}"} for i in range(20)))
    assert [port["name"] for port in made] == [f"p{i}" for i in range(20)]
    assert len({port["fixed_ips"][0]["ip_address"] for port in made}) == 20
    wrapped = admin.create_many("networks", {"network": {"name": "wrapped"}})  # as some old clients send it
    assert wrapped[0]["name"] == "wrapped"


@pytest.mark.parametrize("last", [{"mac_address": "x"}, {"fixed_ips": [{"ip_address": "172.16.0.1"}]}, {"network_id": NOWHERE}])
def test_bulk_create_is_all_or_nothing(admin, last):
    network = admin.network()
    admin.subnet(network)
    before = admin.everything()
    status = admin.refused("POST", "/ports", {"ports": [{"network_id": network["id"]}] * 5 + [{"network_id": network["id"]} | last]})[0]
    assert status in (400, 404)
    assert admin.everything() == before


def test_bulk_create_beyond_what_is_free_creates_nothing(admin):
    network = admin.network()
    admin.subnet(network, "10.0.0.0/29")
    before = admin.everything()
    refusal = admin.refused("POST", "/ports", {"ports": [{"network_id": network["id"]}] * 6})
    assert refusal[:2] == (409, "IpAddressGenerationFailure")
    assert refusal[2].startswith(f"No more IP addresses available on network {network['id']}.")
    assert admin.everything() == before


# -- lists


@pytest.fixture(scope="module")
def row(admin):
    """A network with ten ports p0 … p9, even ones up, in two subnets."""
    network = admin.network(name="row")
    subnets = [admin.subnet(network, cidr) for cidr in ("10.0.0.0/24", "10.0.1.0/24")]
    ports = [
        admin.port(
            network,
            name=f"p{i}",
            device_id=f"vm{i // 2}",
            admin_state_up=i % 2 == 0,
            fixed_ips=[{"subnet_id": subnets[i % 2]["id"], "ip_address": f"10.0.{i % 2}.{10 + i}"}],
        )
        for i in range(10)
    ]
    return network, subnets, ports


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"name": "p3"}, [3]),
        ({"name": "p"}, []),
        ({"device_id": "vm1"}, [2, 3]),
        ({"device_id": "vm1", "name": "p2"}, [2]),
        ({"admin_state_up": "True"}, [0, 2, 4, 6, 8]),
        ({"admin_state_up": "0"}, [1, 3, 5, 7, 9]),
        ({"status": "DOWN"}, list(range(10))),
        ({"status": "ACTIVE"}, []),
        ({"device_owner": ""}, list(range(10))),
        ({"fixed_ips": "ip_address=10.0.1.13"}, [3]),
        ({"fixed_ips": "ip_address_substr=.1.1"}, [1, 3, 5, 7, 9]),
        ({"binding:host_id": "compute01"}, []),
    ],
)
def test_filters(admin, row, filters, expected):
    network, _, ports = row
    assert set(ids(admin.list("ports", network_id=network["id"], **filters))) == {ports[i]["id"] for i in expected}


def test_filters_by_what_only_the_server_knows(admin, row):
    network, subnets, ports = row
    assert ids(admin.list("ports", id=ports[4]["id"])) == [ports[4]["id"]]
    assert ids(admin.list("ports", mac_address=ports[4]["mac_address"].upper())) == [ports[4]["id"]]
    assert len(admin.list("ports", fixed_ips=f"subnet_id={subnets[1]['id']}")) == 5
    assert {port["network_id"] for port in admin.list("ports", project_id=admin.projects["admin"])} >= {network["id"]}
    assert admin.list("ports", tenant_id=NOWHERE) == []
    assert ids(admin.list("networks", id=network["id"], shared="False")) == [network["id"]]
    assert admin.list("networks", id=network["id"], shared="True") == []
    assert ids(admin.list("networks", id=network["id"], mtu="1450", **{"provider:network_type": "vxlan"})) == [network["id"]]
    assert len(admin.list("subnets", network_id=network["id"], ip_version=4, enable_dhcp="true")) == 2
    assert ids(admin.list("subnets", network_id=network["id"], cidr="10.0.1.0/24")) == [subnets[1]["id"]]


def test_several_values_of_a_filter_are_alternatives(admin, row):
    network, subnets, ports = row
    found = admin.list("ports", ("name", "p1"), ("name", "p2"), ("name", "nobody"), network_id=network["id"])
    assert set(ids(found)) == {ports[1]["id"], ports[2]["id"]}
    pairs = [("fixed_ips", "ip_address=10.0.0.10"), ("fixed_ips", "ip_address=10.0.1.11")]
    assert set(ids(admin.list("ports", *pairs, network_id=network["id"]))) == {ports[0]["id"], ports[1]["id"]}
    pairs = [("fixed_ips", "ip_address=10.0.0.10"), ("fixed_ips", f"subnet_id={subnets[1]['id']}")]  # of one and the same address
    assert admin.list("ports", *pairs, network_id=network["id"]) == []


def test_shared_is_a_filter_of_subnets_too(admin):
    network = admin.network(shared=True)
    subnet = admin.subnet(network)
    assert "shared" not in subnet
    assert ids(admin.list("subnets", network_id=network["id"], shared="True")) == [subnet["id"]]
    admin.update("networks", network["id"], shared=False)
    assert admin.list("subnets", network_id=network["id"], shared="True") == []


def test_fields_choose_what_is_shown(admin, row):
    network, _, ports = row
    rows = admin.list("ports", ("fields", "id"), ("fields", "name"), ("fields", "nonsense"), network_id=network["id"])
    assert sorted(rows, key=lambda port: port["name"]) == [{"id": port["id"], "name": port["name"]} for port in ports]
    assert admin.show("ports", ports[0]["id"], fields=["mac_address", "tenant_id"]) == {
        "mac_address": ports[0]["mac_address"],
        "tenant_id": admin.projects["admin"],
    }


def test_sort_by_several_keys(admin, row):
    network, _, ports = row
    keys = [("sort_key", "admin_state_up"), ("sort_dir", "desc"), ("sort_key", "name"), ("sort_dir", "asc")]
    names = [port["name"] for port in admin.list("ports", *keys, network_id=network["id"])]
    assert names == ["p0", "p2", "p4", "p6", "p8", "p1", "p3", "p5", "p7", "p9"]
    keys = [("sort_key", "device_id"), ("sort_dir", "asc"), ("sort_key", "name"), ("sort_dir", "desc")]
    assert [port["name"] for port in admin.list("ports", *keys, network_id=network["id"])][:4] == ["p1", "p0", "p3", "p2"]
    assert ids(admin.list("ports", network_id=network["id"])) == sorted(ids(ports))  # without a key, by id


def test_changed_since_finds_what_changed(admin):
    network = admin.network()
    assert ids(admin.list("networks", id=network["id"], changed_since=network["updated_at"])) == [network["id"]]
    assert admin.list("networks", id=network["id"], changed_since="2100-01-01T00:00:00") == []


# -- pages


def page(admin, path):
    answer = admin.http.get(path).json()
    return answer["ports"], {link["rel"]: _path(link["href"]) for link in answer.get("ports_links", ())}


def _path(href):
    parts = urlsplit(href)
    return f"{parts.path}?{parts.query}"


def test_pages_are_walked_by_their_links_both_ways(admin, row):
    """As tempest walks them: a full last page links on to an empty one, from which `previous` leads all the way back."""
    network, _, _ = row
    path = f"/v2.0/ports?network_id={network['id']}&sort_key=name&sort_dir=desc&limit=2"
    forward = []
    for _ in range(5):
        ports, links = page(admin, path)
        forward += [port["name"] for port in ports]
        assert set(links) == {"next", "previous"}
        path = links["next"]
    assert forward == [f"p{i}" for i in range(9, -1, -1)]
    ports, links = page(admin, path)
    assert (ports, set(links)) == ([], {"previous"})
    backward = []
    for _ in range(5):
        ports, links = page(admin, links["previous"])
        backward = [port["name"] for port in ports] + backward
    assert backward == forward
    ports, links = page(admin, links["previous"])
    assert (ports, set(links)) == ([], {"next"})


def test_a_page_that_is_not_full_is_the_last(admin, row):
    network, _, ports = row
    found, links = page(admin, f"/v2.0/ports?network_id={network['id']}&sort_key=name&limit=7&marker={ports[4]['id']}")
    assert [port["name"] for port in found] == ["p5", "p6", "p7", "p8", "p9"]
    assert set(links) == {"previous"}
    assert page(admin, f"/v2.0/ports?network_id={network['id']}")[1] == {}
    assert len(page(admin, f"/v2.0/ports?network_id={network['id']}&limit=0")[0]) == 10


def test_page_reverse_ends_before_the_marker(admin, row):
    network, _, ports = row
    query = f"network_id={network['id']}&sort_key=name&limit=2&marker={ports[5]['id']}&page_reverse=True"
    assert [port["name"] for port in page(admin, f"/v2.0/ports?{query}")[0]] == ["p3", "p4"]


def test_a_page_goes_on_where_the_marker_was_though_it_no_longer_matches(admin, row):
    network, _, ports = row
    query = f"network_id={network['id']}&admin_state_up=True&sort_key=name&limit=2&marker={ports[3]['id']}"
    assert [port["name"] for port in page(admin, f"/v2.0/ports?{query}")[0]] == ["p4", "p6"]


def test_a_marker_that_is_gone_is_not_found(admin):
    assert admin.refused("GET", f"/networks?limit=1&marker={NOWHERE}")[:2] == (404, "NetworkNotFound")


def test_the_sdk_walks_pages_by_itself(admin_sdk, row):
    network, _, ports = row
    assert {port.id for port in admin_sdk.ports(network_id=network["id"], limit=3)} == {port["id"] for port in ports}


# -- addresses


def test_addresses_are_taken_as_asked(admin):
    network = admin.network()
    subnet = admin.subnet(network)
    fixed = {"subnet_id": subnet["id"], "ip_address": "10.0.0.50"}
    assert admin.port(network, fixed_ips=[fixed])["fixed_ips"] == [fixed]
    assert admin.port(network, fixed_ips=[])["fixed_ips"] == []
    two = admin.port(network, fixed_ips=[{"subnet_id": subnet["id"]}, {"ip_address": "10.0.0.60"}])["fixed_ips"]
    assert len({ip["ip_address"] for ip in two}) == 2
    path, body = "/ports", {"port": {"network_id": network["id"], "fixed_ips": [fixed]}}
    assert admin.refused("POST", path, body) == (
        409,
        "IpAddressAlreadyAllocated",
        f"IP address 10.0.0.50 already allocated in subnet {subnet['id']}",
    )


def test_update_keeps_the_addresses_that_are_named_again(admin):
    network = admin.network()
    subnet = admin.subnet(network)
    port = admin.port(network)
    kept = port["fixed_ips"][0]
    assert admin.update("ports", port["id"], fixed_ips=[{"subnet_id": subnet["id"]}])["fixed_ips"] == [kept]
    both = admin.update("ports", port["id"], fixed_ips=[kept, {"ip_address": "10.0.0.99"}])["fixed_ips"]
    assert both == [kept, {"subnet_id": subnet["id"], "ip_address": "10.0.0.99"}]
    assert admin.update("ports", port["id"], fixed_ips=[])["fixed_ips"] == []
    assert admin.port(network, fixed_ips=[kept])["fixed_ips"] == [kept]  # given back


def test_a_network_without_subnets_gives_ports_without_addresses(admin):
    assert admin.port(admin.network())["fixed_ips"] == []


def test_a_subnet_without_gateway_gives_that_address_too(admin):
    network = admin.network()
    subnet = admin.subnet(network, "10.0.0.0/29", gateway_ip=None)
    assert (subnet["gateway_ip"], subnet["allocation_pools"]) == (None, [{"start": "10.0.0.1", "end": "10.0.0.6"}])


def test_a_subnet_without_pools_gives_only_what_is_asked_for(admin):
    network = admin.network()
    assert admin.subnet(network, allocation_pools=[])["allocation_pools"] == []
    assert admin.refused("POST", "/ports", {"port": {"network_id": network["id"]}})[:2] == (409, "IpAddressGenerationFailure")
    assert admin.port(network, fixed_ips=[{"ip_address": "10.0.0.9"}])["fixed_ips"][0]["ip_address"] == "10.0.0.9"


def test_a_gateway_inside_splits_the_pool_that_is_made(admin):
    made = admin.subnet(admin.network(), "10.0.0.0/24", gateway_ip="10.0.0.100")
    assert made["allocation_pools"] == [{"start": "10.0.0.1", "end": "10.0.0.99"}, {"start": "10.0.0.101", "end": "10.0.0.254"}]


def test_a_prefix_with_host_bits_is_its_network(admin):
    assert admin.create("subnets", network_id=admin.network()["id"], cidr="10.0.0.77/24", ip_version=4)["cidr"] == "10.0.0.0/24"


def test_a_gateway_may_not_move_into_a_pool_that_shrinks_with_it(admin):
    subnet = admin.subnet(admin.network(), "192.168.100.0/24")
    pool = {"start": "192.168.100.2", "end": "192.168.100.22"}
    both = {"allocation_pools": [pool], "gateway_ip": "192.168.100.100"}

    assert admin.refused("PUT", f"/subnets/{subnet['id']}", {"subnet": both})[:2] == (409, "GatewayConflictWithAllocationPools")
    assert admin.update("subnets", subnet["id"], allocation_pools=[pool])["allocation_pools"] == [pool]
    assert admin.update("subnets", subnet["id"], gateway_ip="192.168.100.100")["gateway_ip"] == "192.168.100.100"


def test_a_gateway_may_not_move_into_a_pool(admin):
    subnet = admin.subnet(admin.network(), "192.168.100.0/24")
    assert admin.refused("PUT", f"/subnets/{subnet['id']}", {"subnet": {"gateway_ip": "192.168.100.100"}}) == (
        409,
        "GatewayConflictWithAllocationPools",
        "Gateway ip 192.168.100.100 conflicts with allocation pool 192.168.100.2-192.168.100.254.",
    )
    assert admin.update("subnets", subnet["id"], gateway_ip=None)["gateway_ip"] is None
    assert admin.update("subnets", subnet["id"], gateway_ip="10.9.9.9")["gateway_ip"] == "10.9.9.9"  # outside the prefix: on the link


def test_new_pools_leave_what_is_allocated(admin):
    network = admin.network()
    subnet = admin.subnet(network)
    first = admin.port(network)["fixed_ips"]
    pools = [{"start": "10.0.0.100", "end": "10.0.0.101"}]
    assert admin.update("subnets", subnet["id"], allocation_pools=pools)["allocation_pools"] == pools
    assert first[0]["ip_address"] == "10.0.0.2"
    assert {admin.port(network)["fixed_ips"][0]["ip_address"] for _ in range(2)} == {"10.0.0.100", "10.0.0.101"}
    assert admin.refused("POST", "/ports", {"port": {"network_id": network["id"]}})[1] == "IpAddressGenerationFailure"
    assert admin.refused("POST", "/ports", {"port": {"network_id": network["id"], "fixed_ips": first}})[1] == "IpAddressAlreadyAllocated"


def test_a_subnet_in_use_stays(admin):
    network = admin.network()
    subnet, port = admin.subnet(network), admin.port(network)
    assert admin.refused("DELETE", f"/subnets/{subnet['id']}")[:2] == (409, "SubnetInUse")
    refusal = admin.refused("DELETE", f"/networks/{network['id']}")
    assert refusal[:2] == (409, "NetworkInUse")
    assert port["id"] in refusal[2]


def test_ipv6_stateful_gives_addresses_from_the_pool(admin):
    network = admin.network()
    subnet = admin.subnet(network, "fd00::/64", ipv6_ra_mode="dhcpv6-stateful", ipv6_address_mode="dhcpv6-stateful")
    assert (subnet["gateway_ip"], subnet["allocation_pools"]) == ("fd00::1", [{"start": "fd00::2", "end": "fd00::ffff:ffff:ffff:ffff"}])
    assert admin.port(network)["fixed_ips"][0]["ip_address"] == "fd00::2"
    asked = admin.port(network, fixed_ips=[{"ip_address": "FD00:0::0AB0"}])["fixed_ips"]
    assert asked == [{"subnet_id": subnet["id"], "ip_address": "fd00::ab0"}]
    assert len(admin.list("ports", fixed_ips="ip_address=FD00::AB0", network_id=network["id"])) == 1


@pytest.mark.parametrize("mode", ["slaac", "dhcpv6-stateless"])
def test_automatic_ipv6_addresses_follow_from_the_mac_and_come_by_themselves(admin, mode):
    network = admin.network()
    v4 = admin.subnet(network)
    before = admin.port(network)
    automatic = admin.subnet(network, "fd00::/64", ipv6_ra_mode=mode, ipv6_address_mode=mode)
    expected = {"subnet_id": automatic["id"], "ip_address": "fd00::f816:3eff:fe00:1"}
    port = admin.port(network, mac_address="fa:16:3e:00:00:01")
    assert [ip["subnet_id"] for ip in port["fixed_ips"]] == [v4["id"], automatic["id"]]
    assert port["fixed_ips"][1] == expected
    assert len(admin.show("ports", before["id"])["fixed_ips"]) == 2
    # None is without it, none chooses it, and it moves with the MAC.
    assert admin.update("ports", port["id"], fixed_ips=[])["fixed_ips"] == [expected]
    assert admin.update("ports", port["id"], fixed_ips=[expected])["fixed_ips"] == [expected]
    body = {"port": {"network_id": network["id"], "fixed_ips": [{"ip_address": "fd00::5"}]}}
    assert admin.refused("POST", "/ports", body)[:2] == (400, "AllocationOnAutoAddressSubnet")
    moved = admin.update("ports", port["id"], mac_address="fa:16:3e:00:00:02")
    assert moved["fixed_ips"] == [expected | {"ip_address": "fd00::f816:3eff:fe00:2"}]
    admin.delete("subnets", automatic["id"])
    assert admin.show("ports", port["id"])["fixed_ips"] == []


def test_a_full_network_keeps_no_host_from_registering(tmp_path):
    """Its DHCP server gets an address as soon as the subnet has one again."""
    with Serving(tmp_path, NARU_AUTH="none") as running, httpx.Client(base_url=running.url, trust_env=False) as http:
        admin = Networking(http)
        network = admin.network()
        subnet = admin.subnet(network, "10.0.0.0/29", allocation_pools=[{"start": "10.0.0.2", "end": "10.0.0.2"}])
        admin.port(network)
        with FakeHost(running, "compute01"):
            assert [agent["host"] for agent in admin.list("agents")] == ["compute01"]
        assert admin.list("ports", device_owner="network:dhcp") == []
        admin.update("subnets", subnet["id"], allocation_pools=[{"start": "10.0.0.2", "end": "10.0.0.3"}])
        assert [port["fixed_ips"][0]["ip_address"] for port in admin.list("ports", device_owner="network:dhcp")] == ["10.0.0.3"]


def test_the_first_subnet_is_the_first_after_a_restart_too(tmp_path):
    with Serving(tmp_path, NARU_AUTH="none") as running, httpx.Client(base_url=running.url, trust_env=False) as http:
        network = Networking(http).network()
        first, *_ = [Networking(http).subnet(network, f"10.0.{i}.0/24") for i in range(6)]
    with Serving(tmp_path, NARU_AUTH="none") as running, httpx.Client(base_url=running.url, trust_env=False) as http:
        assert Networking(http).port(network)["fixed_ips"][0]["subnet_id"] == first["id"]


# -- conflicts, with the messages that people know


def test_a_flat_network_is_alone_on_its_physical_network(admin):
    body = {"provider:network_type": "flat", "provider:physical_network": "physnet2"}
    admin.network(**body)
    assert admin.refused("POST", "/networks", {"network": body}) == (
        409,
        "FlatNetworkInUse",
        "Unable to create the flat network. Physical network physnet2 is in use.",
    )


def test_a_tunnel_id_is_used_once(admin):
    body = {"provider:network_type": "vxlan", "provider:segmentation_id": 4242}
    network = admin.network(**body)
    assert admin.refused("POST", "/networks", {"network": body})[:2] == (409, "TunnelIdInUse")
    admin.delete("networks", network["id"])
    assert admin.network(**body)["provider:segmentation_id"] == 4242


def test_a_segment_is_fixed_when_the_network_is_made(admin):
    network = admin.network()
    same = {"provider:network_type": "vxlan", "provider:segmentation_id": network["provider:segmentation_id"]}
    assert admin.update("networks", network["id"], **same)["provider:network_type"] == "vxlan"
    body = {"network": {"provider:segmentation_id": 99}}
    assert admin.refused("PUT", f"/networks/{network['id']}", body)[:2] == (400, "InvalidInput")


def test_a_mac_is_used_once_in_a_network(admin):
    network, mac = admin.network(), "fa:16:3e:00:00:aa"
    port = admin.port(network, mac_address="FA-16-3E-00-00-AA")
    assert port["mac_address"] == mac
    refusal = admin.refused("POST", "/ports", {"port": {"network_id": network["id"], "mac_address": mac}})
    assert refusal == (
        409,
        "MacAddressInUse",
        f"Unable to complete operation for network {network['id']}. The mac address {mac} is in use.",
    )
    assert admin.port(admin.network(), mac_address=mac)["mac_address"] == mac
    assert admin.refused("PUT", f"/ports/{admin.port(network)['id']}", {"port": {"mac_address": mac}})[1] == "MacAddressInUse"


def test_a_quota_is_a_limit(admin):
    project = str(uuid.uuid4())
    has(admin.show("quotas", project), {"network": 100, "subnet": 100, "port": 500})
    has(admin.update("quotas", project, network="1", port=2), {"network": 1, "subnet": 100, "port": 2})
    network = admin.network(project_id=project)
    refusal = admin.refused("POST", "/networks", {"network": {"tenant_id": project}})
    assert refusal[:2] == (409, "OverQuota")
    assert refusal[2].startswith("Quota exceeded for resources: ['network'].")
    bulk = {"ports": [{"network_id": network["id"], "project_id": project}] * 3}
    assert admin.refused("POST", "/ports", bulk)[1] == "OverQuota"
    assert admin.list("ports", network_id=network["id"]) == []
    details = admin.request("GET", f"/quotas/{project}/details").json()["quota"]
    assert details["network"] == {"limit": 1, "used": 1, "reserved": 0}
    assert admin.request("GET", f"/quotas/{project}/default").json()["quota"]["network"] == 100
    row = next(row for row in admin.list("quotas") if row["project_id"] == project)
    has(row, {"tenant_id": project, "network": 1, "subnet": 100, "port": 2})
    for check in ({}, {"check_limit": True}, {"force": False}):
        assert admin.refused("PUT", f"/quotas/{project}", {"quota": {"network": 0} | check})[0] == 400
    assert admin.update("quotas", project, network=0, force=True)["network"] == 0
    admin.delete("quotas", project)
    assert admin.show("quotas", project)["network"] == 100
    assert admin.refused("DELETE", f"/quotas/{project}")[:2] == (404, "TenantQuotaNotFound")


def test_an_mtu_fits_the_segment_and_the_subnets(admin):
    network = admin.network(mtu=1000)
    for mtu, type, status in ((1451, "InvalidInput", 400), (67, "InvalidInput", 400), (-1, "HTTPBadRequest", 400)):
        assert admin.refused("PUT", f"/networks/{network['id']}", {"network": {"mtu": mtu}})[:2] == (status, type)
    body = {"subnet": {"network_id": network["id"], "cidr": "fd00::/64", "ip_version": 6}}
    assert admin.refused("POST", "/subnets", body)[:2] == (409, "NetworkMTUSubnetConflict")
    assert admin.update("networks", network["id"], mtu=0)["mtu"] == 1450
    admin.create("subnets", **body["subnet"])
    assert admin.refused("PUT", f"/networks/{network['id']}", {"network": {"mtu": 1000}})[1] == "NetworkMTUSubnetConflict"


# -- revisions


@pytest.mark.parametrize("tag", ["revision_number=1", '"revision_number=1"'])
def test_if_match_changes_only_the_revision_that_was_seen(admin, tag):
    network = admin.network()
    path, body, header = f"/networks/{network['id']}", {"network": {"name": "x"}}, {"If-Match": tag}
    assert admin.request("PUT", path, json=body, headers=header).json()["network"]["revision_number"] == 2
    stale = (412, "RevisionNumberConstraintFailed", "Constrained to 1, but current revision is 2")
    assert admin.refused("PUT", path, body, headers=header) == stale
    assert admin.refused("DELETE", path, headers=header) == stale
    assert admin.request("DELETE", path, headers={"If-Match": "revision_number=2"}).status_code == 204
    assert admin.refused("PUT", path, body, headers={"If-Match": "revision_number=x"})[:2] == (400, "HTTPBadRequest")


# -- who may see and do what


def test_a_foreign_network_does_not_exist(admin, demo):
    network = admin.network()
    subnet, port = admin.subnet(network), admin.port(network)
    for plural, kind, id in (("networks", "Network", network["id"]), ("subnets", "Subnet", subnet["id"]), ("ports", "Port", port["id"])):
        assert demo.list(plural, id=id) == []
        for method, body in (("GET", None), ("PUT", {kind.lower(): {"name": "mine"}}), ("DELETE", None)):
            assert demo.refused(method, f"/{plural}/{id}", body)[:2] == (404, f"{kind}NotFound")
    assert demo.refused("POST", "/ports", {"port": {"network_id": network["id"]}})[:2] == (404, "NetworkNotFound")
    body = {"subnet": {"network_id": network["id"], "cidr": "10.1.0.0/24", "ip_version": 4}}
    assert demo.refused("POST", "/subnets", body)[:2] == (404, "NetworkNotFound")


def test_a_shared_network_is_seen_and_used_but_not_changed(admin, demo):
    network = admin.network(shared=True)
    subnet, foreign = admin.subnet(network), admin.port(network)
    assert demo.show("networks", network["id"])["shared"] is True
    assert ids(demo.list("subnets", network_id=network["id"])) == [subnet["id"]]
    port = demo.port(network)
    assert port["project_id"] == admin.projects["demo"]
    assert ids(demo.list("ports", network_id=network["id"])) == [port["id"]]
    assert demo.refused("GET", f"/ports/{foreign['id']}")[0] == 404
    for method, path, body in (
        ("PUT", f"/networks/{network['id']}", {"network": {"name": "mine"}}),
        ("DELETE", f"/networks/{network['id']}", None),
        ("PUT", f"/subnets/{subnet['id']}", {"subnet": {"name": "mine"}}),
        ("POST", "/subnets", {"subnet": {"network_id": network["id"], "cidr": "10.1.0.0/24", "ip_version": 4}}),
        ("POST", "/ports", {"port": {"network_id": network["id"], "mac_address": "fa:16:3e:00:00:07"}}),
        ("POST", "/ports", {"port": {"network_id": network["id"], "fixed_ips": [{"ip_address": "10.0.0.9"}]}}),
        ("POST", "/ports", {"port": {"network_id": network["id"], "device_owner": "network:dhcp"}}),
    ):
        assert demo.refused(method, path, body)[:2] == (403, "PolicyNotAuthorized"), (method, path, body)
    assert admin.refused("PUT", f"/networks/{network['id']}", {"network": {"shared": False}})[:2] == (409, "InvalidSharedSetting")


def test_what_only_administrators_see_and_set(admin, demo):
    network = demo.network()
    port = demo.port(network)
    hidden = {"binding:host_id", "binding:profile", "binding:vif_type", "binding:vif_details"}
    assert {name for name in network if name.startswith("provider:")} == set()
    assert {name for name in port if name.startswith("binding:")} == {"binding:vnic_type"}
    assert hidden <= set(admin.show("ports", port["id"]))
    assert demo.show("ports", port["id"], fields=["id", "binding:host_id"]) == {"id": port["id"]}
    for method, path, body in (
        ("POST", "/networks", {"network": {"shared": True}}),
        ("POST", "/networks", {"network": {"router:external": True}}),
        ("POST", "/networks", {"network": {"provider:network_type": "vxlan"}}),
        ("PUT", f"/networks/{network['id']}", {"network": {"shared": False}}),
        ("POST", "/ports", {"port": {"network_id": network["id"], "binding:host_id": "compute01"}}),
        ("PUT", f"/ports/{port['id']}", {"port": {"mac_address": "fa:16:3e:00:00:08"}}),
        ("PUT", f"/quotas/{admin.projects['demo']}", {"quota": {"network": 5}}),
        ("GET", f"/quotas/{admin.projects['admin']}", None),
        ("GET", "/quotas", None),
    ):
        assert demo.refused(method, path, body)[:2] == (403, "PolicyNotAuthorized"), (method, path, body)
    assert demo.create("networks", shared=False)["shared"] is False  # the default is anyone's to name
    assert demo.refused("POST", "/networks", {"network": {"project_id": admin.projects["admin"]}})[:2] == (400, "HTTPBadRequest")


def test_an_owner_sees_the_ports_of_others_on_his_network(admin, demo):
    network = demo.network()
    port = admin.port(network)
    assert ids(demo.list("ports", network_id=network["id"])) == [port["id"]]
    demo.delete("ports", port["id"])


def test_members_see_neither_agents_nor_availability(admin, demo):
    network = demo.network()
    assert demo.list("agents") == demo.list("network-ip-availabilities") == []
    assert demo.refused("GET", f"/network-ip-availabilities/{network['id']}")[:2] == (404, "NetworkNotFound")


# -- availability


def details(*numbers):
    names = ("total_ips_in_subnet", "total_ips_in_allocation_pool", "used_ips_in_subnet", "used_ips_in_allocation_pool")
    return {"ip_availability_details": dict(zip(names, numbers, strict=True))}


def test_availability_tells_pools_from_the_rest_of_a_subnet(admin):
    network = admin.network()
    subnet = admin.subnet(network, "10.0.0.0/28", allocation_pools=[{"start": "10.0.0.4", "end": "10.0.0.5"}])
    admin.subnet(network, "10.0.1.0/31", enable_dhcp=False, gateway_ip=None)
    admin.port(network, fixed_ips=[{"subnet_id": subnet["id"], "ip_address": "10.0.0.4"}])
    admin.port(network, fixed_ips=[{"subnet_id": subnet["id"], "ip_address": "10.0.0.9"}])
    found = admin.request("GET", f"/network-ip-availabilities/{network['id']}").json()["network_ip_availability"]
    assert (found["total_ips"], found["used_ips"]) == (2 + 2, 2)  # Neutron's own sums: of pools, but of all that is used
    assert found["ip_availability_details"] == details(14 + 2, 2 + 2, 2, 1)["ip_availability_details"]
    assert found["subnet_ip_availability"][0]["ip_availability_details"] == details(14, 2, 2, 1)["ip_availability_details"]


def test_availability_sums_the_pools(admin):
    network = admin.network(name="counted")
    subnet = admin.subnet(network, "10.0.0.0/28", name="of 13")
    six = admin.subnet(network, "fd00::/120", enable_dhcp=False)
    admin.port(network)
    path = f"/network-ip-availabilities/{network['id']}"
    found = admin.request("GET", path).json()["network_ip_availability"]
    assert found == {
        "network_id": network["id"],
        "network_name": "counted",
        "project_id": admin.projects["admin"],
        "tenant_id": admin.projects["admin"],
        "total_ips": 13 + 254,
        "used_ips": 2,
        "subnet_ip_availability": [
            {"subnet_id": subnet["id"], "subnet_name": "of 13", "cidr": "10.0.0.0/28", "ip_version": 4, "total_ips": 13, "used_ips": 1}
            | details(14, 13, 1, 1),
            {"subnet_id": six["id"], "subnet_name": "", "cidr": "fd00::/120", "ip_version": 6, "total_ips": 254, "used_ips": 1}
            | details(256, 254, 1, 1),
        ],
        **details(14 + 256, 13 + 254, 2, 2),
    }
    assert admin.list("network-ip-availabilities", network_id=network["id"]) == [found]
    four = admin.list("network-ip-availabilities", network_name="counted", ip_version=4)
    assert [(row["total_ips"], len(row["subnet_ip_availability"])) for row in four] == [(13, 1)]
    assert admin.list("network-ip-availabilities", ("fields", "used_ips"), network_id=network["id"]) == [{"used_ips": 2}]
    empty = admin.network()
    assert admin.list("network-ip-availabilities", network_id=empty["id"])[0]["total_ips"] == 0
    assert admin.list("network-ip-availabilities", network_id=empty["id"], ip_version=4) == []
    assert admin.refused("GET", "/network-ip-availabilities?nonsense=1")[0] == 400


# -- what stands around the resources


def test_versions_and_resources(admin, serving):
    link = {"rel": "self", "href": f"{serving.url}/v2.0/"}
    assert admin.http.get("/").json() == {"versions": [{"id": "v2.0", "status": "CURRENT", "links": [link]}]}
    resources = admin.request("GET", "/").json()["resources"]
    links = [{"rel": "self", "href": f"{serving.url}/v2.0/networks"}]
    assert {"name": "network", "collection": "networks", "links": links} in resources


def test_extensions(admin):
    found = {extension["alias"]: extension for extension in admin.list("extensions")}
    assert set(found["net-mtu"]) == {"alias", "name", "description", "updated", "links"}
    assert admin.request("GET", "/extensions/net-mtu").json() == {"extension": found["net-mtu"]}
    assert admin.refused("GET", "/extensions/nonsense")[:2] == (404, "HTTPNotFound")


def test_whose_quotas_are_mine(admin, demo):
    project = admin.projects["demo"]
    assert demo.request("GET", "/quotas/tenant").json() == {"tenant": {"tenant_id": project}}
    assert demo.request("GET", "/quotas/project").json() == {"project": {"project_id": project}}
    assert set(demo.show("quotas", project)) >= {"network", "subnet", "port"}


@pytest.mark.parametrize("path", ["/networks/", "/networks.json", "/networks"])
def test_paths_as_old_clients_write_them(admin, path):
    assert admin.request("GET", path).status_code == 200


def test_paths_and_methods_that_are_not_there(admin):
    assert admin.refused("GET", "/nonsense")[:2] == (404, "HTTPNotFound")
    assert admin.refused("GET", "/networks/a/b/c")[:2] == (404, "HTTPNotFound")
    network = admin.network()
    for method, path, allowed in (("PATCH", f"/networks/{network['id']}", "DELETE, GET, PUT"), ("PUT", "/networks", "GET, POST")):
        assert admin.refused(method, path, {})[:2] == (405, "HTTPMethodNotAllowed")
        assert admin.request(method, path, json={}).headers["Allow"] == allowed


def test_without_a_token_nothing_is_shown(admin, serving):
    answer = admin.http.get("/v2.0/networks", headers={"X-Auth-Token": "stale"})
    assert answer.status_code == 401
    assert "WWW-Authenticate" in answer.headers


# -- docs/adr/0007: where Naru departs from Neutron


def test_where_it_departs_from_neutron(admin, demo, row):
    network, _, ports = row
    for query in ("binding:host_id=compute01", "provider:network_type=vxlan"):
        path = "/ports" if query.startswith("binding") else "/networks"
        assert demo.refused("GET", f"{path}?{query}")[:2] == (400, "HTTPBadRequest")
    found = admin.list("ports", network_id=network["id"], sort_key="name", marker=ports[7]["id"])
    assert [port["name"] for port in found] == ["p8", "p9"]
    assert admin.subnet(network, "10.0.9.0/31", gateway_ip="10.0.9.0", enable_dhcp=False)["allocation_pools"] == [
        {"start": "10.0.9.1", "end": "10.0.9.1"}
    ]
    head = admin.request("HEAD", f"/networks/{network['id']}")
    assert (head.status_code, head.content) == (200, b"")
    assert admin.network(name="💧")["name"] == "💧"


# -- the SDK


def test_the_sdk_does_the_same(admin_sdk):
    network = admin_sdk.create_network(name="by-sdk", mtu=1400, is_shared=True)
    subnet = admin_sdk.create_subnet(network_id=network.id, ip_version=4, cidr="10.7.0.0/24", dns_nameservers=["1.1.1.1"])
    port = admin_sdk.create_port(network_id=network.id, fixed_ips=[{"ip_address": "10.7.0.9"}], is_admin_state_up=False)
    assert (network.mtu, network.is_shared, subnet.dns_nameservers, port.is_admin_state_up) == (1400, True, ["1.1.1.1"], False)
    assert admin_sdk.find_network("by-sdk").id == network.id
    assert [found.id for found in admin_sdk.ports(fixed_ips="ip_address=10.7.0.9", network_id=network.id)] == [port.id]
    assert admin_sdk.update_port(port, name="renamed").name == "renamed"
    with pytest.raises(openstack.exceptions.ConflictException, match="in use"):
        admin_sdk.delete_network(network)
    with pytest.raises(openstack.exceptions.NotFoundException):
        admin_sdk.get_port(NOWHERE)
    assert [row.total_ips for row in admin_sdk.network_ip_availabilities(network_id=network.id)] == [253]
    for delete, made in ((admin_sdk.delete_port, port), (admin_sdk.delete_subnet, subnet), (admin_sdk.delete_network, network)):
        delete(made)
    assert admin_sdk.find_network("by-sdk") is None


def test_the_sdk_updates_only_what_it_has_seen(admin_sdk):
    network = admin_sdk.create_network(name="seen")
    admin_sdk.update_network(network.id, name="changed by another")
    with pytest.raises(openstack.exceptions.PreconditionFailedException):
        admin_sdk.update_network(network.id, if_revision=network.revision_number, name="mine")


def test_bulk_by_the_sdk(admin_sdk):
    network = admin_sdk.create_network(name="many")
    made = admin_sdk.create_ports([{"network_id": network.id, "name": f"b{i}"} for i in range(3)])
    assert [port.name for port in made] == ["b0", "b1", "b2"]
