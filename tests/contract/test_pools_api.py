"""Subnet pools and address scopes as openstacksdk, the `openstack` command and plain HTTP use them."""

import pytest

from networking import Networking

OVERLAP = {"name": "p", "prefixes": ["10.0.0.0/8"]}


@pytest.fixture(scope="module")
def member(clients):
    with clients.http() as http:
        yield Networking(http)


def test_a_pool_from_create_to_delete(admin_sdk):
    pool = admin_sdk.create_subnet_pool(name="one", prefixes=["10.1.0.0/16", "10.0.0.0/16"], default_prefix_length=24, description="d")
    assert (pool.prefixes, pool.ip_version, pool.minimum_prefix_length, pool.maximum_prefix_length) == (["10.0.0.0/15"], 4, 8, 32)
    assert (pool.default_quota, pool.is_default, pool.is_shared, pool.address_scope_id, pool.description) == (None, False, False, None, "d")
    assert pool.revision_number == 1
    assert pool.created_at == pool.updated_at != ""
    assert admin_sdk.find_subnet_pool("one").id == pool.id
    assert [found.id for found in admin_sdk.subnet_pools(ip_version=4, default_prefixlen=24)] == [pool.id]
    changed = admin_sdk.update_subnet_pool(pool, name="two", default_quota=1024, minimum_prefix_length=20)
    assert (changed.name, changed.default_quota, changed.minimum_prefix_length) == ("two", 1024, 20)
    admin_sdk.delete_subnet_pool(pool)
    assert list(admin_sdk.subnet_pools()) == []


def test_subnets_from_a_pool(admin_sdk, admin):
    pool = admin_sdk.create_subnet_pool(name="p", prefixes=["10.0.0.0/16"], default_prefixlen=24, is_default=True)
    network = admin_sdk.create_network(name="n")
    first = admin_sdk.create_subnet(network_id=network.id, ip_version=4, subnet_pool_id=pool.id, prefixlen="26")
    assert (first.cidr, first.subnet_pool_id, first.gateway_ip) == ("10.0.0.0/26", pool.id, "10.0.0.1")
    second = admin.create("subnets", network_id=network.id, ip_version=4, use_default_subnetpool=True)
    assert (second["cidr"], second["subnetpool_id"]) == ("10.0.1.0/24", pool.id)
    assert not {"prefixlen", "use_default_subnetpool"} & set(second)
    assert [found["id"] for found in admin.list("subnets", subnetpool_id=pool.id, ip_version=4, cidr="10.0.1.0/24")] == [second["id"]]
    path = f"/subnetpools/{pool.id}"
    assert admin.refused("DELETE", path)[:2] == (400, "SubnetPoolDeleteError")
    too_short = {"network_id": network.id, "ip_version": 4, "subnetpool_id": pool.id, "prefixlen": 7}
    assert admin.refused("POST", "/subnets", {"subnet": too_short}) == (
        400,
        "MinPrefixSubnetAllocationError",
        "Unable to allocate subnet with prefix length 7, minimum allowed prefix is 8.",
    )
    taken = {"network_id": network.id, "ip_version": 4, "subnetpool_id": pool.id, "cidr": "10.0.1.0/24"}
    assert admin.refused("POST", "/subnets", {"subnet": taken})[:2] == (409, "SubnetAllocationError")
    admin_sdk.delete_network(network)
    admin_sdk.delete_subnet_pool(pool)


def test_a_bulk_of_subnets_takes_all_or_nothing(admin):
    pool = admin.create("subnetpools", name="p", prefixes=["10.0.0.0/24"], default_prefixlen=25)
    network = admin.network()
    wanted = {"network_id": network["id"], "ip_version": 4, "subnetpool_id": pool["id"]}
    assert admin.refused("POST", "/subnets", {"subnets": [wanted] * 3})[:2] == (409, "SubnetAllocationError")
    assert [subnet["cidr"] for subnet in admin.create_many("subnets", wanted, wanted)] == ["10.0.0.0/25", "10.0.0.128/25"]
    admin.delete("networks", network["id"])
    admin.delete("subnetpools", pool["id"])


def test_prefix_operations(admin):
    pool = admin.create("subnetpools", name="p", prefixes=["10.0.0.0/24"])
    network = admin.network()
    subnet = admin.subnet(network, "192.168.0.0/24")
    path = f"/subnetpools/{pool['id']}"
    answer = admin.request("PUT", f"{path}/add_prefixes", json={"prefixes": ["10.0.1.0/24"]})
    assert (answer.status_code, answer.json()) == (200, {"prefixes": ["10.0.0.0/23"]})
    answer = admin.request("PUT", f"{path}/remove_prefixes", json={"prefixes": ["10.0.0.0/24"]})
    assert (answer.status_code, answer.json()) == (200, {"prefixes": ["10.0.1.0/24"]})
    answer = admin.request("PUT", f"{path}/onboard_network_subnets", json={"network_id": network["id"]})
    assert (answer.status_code, answer.json()) == (200, [{"id": subnet["id"], "cidr": "192.168.0.0/24"}])
    assert admin.show("subnets", subnet["id"])["subnetpool_id"] == pool["id"]
    in_use = {"prefixes": ["192.168.0.0/24"]}
    assert admin.refused("PUT", f"{path}/remove_prefixes", in_use)[:2] == (400, "IllegalSubnetPoolPrefixUpdate")
    admin.delete("networks", network["id"])
    admin.delete("subnetpools", pool["id"])


def test_address_scopes(admin_sdk, admin):
    scope = admin_sdk.create_address_scope(name="s", ip_version=4)
    assert set(admin.show("address-scopes", scope.id)) == {"id", "name", "ip_version", "shared", "tenant_id", "project_id"}
    pool = admin_sdk.create_subnet_pool(name="p", prefixes=["10.0.0.0/16"], default_prefixlen=24, address_scope_id=scope.id)
    network = admin_sdk.create_network(name="n")
    admin_sdk.create_subnet(network_id=network.id, ip_version=4, subnet_pool_id=pool.id)
    shown = admin_sdk.get_network(network.id)
    assert (shown.ipv4_address_scope_id, shown.ipv6_address_scope_id) == (scope.id, None)
    conflict = {"subnetpool": OVERLAP | {"address_scope_id": scope.id}}
    assert admin.refused("POST", "/subnetpools", conflict)[:2] == (409, "AddressScopePrefixConflict")
    assert admin.refused("DELETE", f"/address-scopes/{scope.id}")[:2] == (409, "AddressScopeInUse")
    assert admin_sdk.update_address_scope(scope, name="t", is_shared=True).is_shared
    admin_sdk.delete_network(network)
    admin_sdk.delete_subnet_pool(pool)
    admin_sdk.delete_address_scope(scope)


def test_who_may_do_what(admin, member):
    for plural, body in (("subnetpools", OVERLAP), ("address-scopes", {"name": "s", "ip_version": 4})):
        singular = {"subnetpools": "subnetpool", "address-scopes": "address_scope"}[plural]
        assert member.refused("POST", f"/{plural}", {singular: body | {"shared": True}})[:2] == (403, "PolicyNotAuthorized")
        hidden, shared = (admin.create(plural, **body, shared=shared) for shared in (False, True))
        assert [found["id"] for found in member.list(plural)] == [shared["id"]]
        assert member.refused("GET", f"/{plural}/{hidden['id']}")[:2] == (404, f"{_kind(plural)}NotFound")
        assert member.refused("PUT", f"/{plural}/{shared['id']}", {singular: {"name": "x"}})[0] == 403
        assert member.refused("DELETE", f"/{plural}/{shared['id']}")[0] == 403
        own = member.create(plural, **body)
        member.delete(plural, own["id"])
        for resource in (hidden, shared):
            admin.delete(plural, resource["id"])
    assert member.refused("POST", "/subnetpools", {"subnetpool": OVERLAP | {"is_default": True}})[:2] == (403, "PolicyNotAuthorized")


def _kind(plural):
    return {"subnetpools": "SubnetPool", "address-scopes": "AddressScope"}[plural]


def test_the_quota_of_pools(admin):
    network = admin.network()
    project = network["project_id"]
    assert admin.request("PUT", f"/quotas/{project}", json={"quota": {"subnetpool": 1}}).status_code == 200
    pool = admin.create("subnetpools", **OVERLAP)
    assert admin.refused("POST", "/subnetpools", {"subnetpool": OVERLAP})[:2] == (409, "OverQuota")
    admin.delete("subnetpools", pool["id"])
    admin.request("DELETE", f"/quotas/{project}")
    admin.delete("networks", network["id"])


def test_the_commands(clients, admin):
    def answer(command):
        return clients.openstack(*command.split(), user="admin")

    pool = answer("subnet pool create --pool-prefix 10.0.0.0/16 --default-prefix-length 24 P1")
    assert (pool["prefixes"], pool["default_prefixlen"]) == (["10.0.0.0/16"], 24)
    network = admin.network(name="POOLED")
    subnet = answer("subnet create --network POOLED --subnet-pool P1 --prefix-length 27 S1")
    assert (subnet["cidr"], subnet["subnetpool_id"]) == ("10.0.0.0/27", pool["id"])
    admin.delete("networks", network["id"])
    admin.delete("subnetpools", pool["id"])


# -- segments


def test_a_network_of_several_segments(admin, member):
    """As the old client writes them: ids are texts."""
    asked = [
        {"provider:network_type": "vlan", "provider:physical_network": "default", "provider:segmentation_id": "200"},
        {"provider:network_type": "vxlan"},
    ]
    network = admin.network(segments=asked)
    assert network["segments"][0] == asked[0] | {"provider:segmentation_id": 200}
    assert network["segments"][1]["provider:segmentation_id"] > 0
    assert not [name for name in network if name.startswith("provider:")]
    assert admin.show("networks", network["id"], fields="segments") == {"segments": network["segments"]}
    assert admin.show("networks", network["id"], fields="provider:network_type") == {}
    assert len(admin.list("segments", network_id=network["id"])) == 2
    one = admin.network()
    assert "segments" not in one
    again = {"network": {"provider:network_type": "vlan", "provider:physical_network": "default", "provider:segmentation_id": "200"}}
    assert admin.refused("POST", "/networks", again) == (
        409,
        "VlanIdInUse",
        "Unable to create the network. The VLAN 200 on physical network default is in use.",
    )
    assert admin.refused("POST", "/networks", {"network": {"segments": asked, "provider:network_type": "vxlan"}})[:2] == (
        400,
        "SegmentsSetInConjunctionWithProviders",
    )
    assert member.refused("POST", "/networks", {"network": {"segments": asked}})[:2] == (403, "PolicyNotAuthorized")
    for each in (network, one):
        admin.delete("networks", each["id"])
    assert admin.list("segments") == []


def test_segments(admin_sdk, admin, member):
    network = admin_sdk.create_network(name="n")
    segment = admin_sdk.create_segment(network_id=network.id, network_type="geneve", segmentation_id=300, name="s", description="d")
    assert (segment.network_type, segment.physical_network, segment.name, segment.description) == ("geneve", None, "s", "d")
    assert segment.revision_number == 1
    assert admin_sdk.find_segment("s").id == segment.id
    assert admin_sdk.update_segment(segment, name="t").name == "t"
    assert [found["id"] for found in admin.list("segments", network_type="geneve")] == [segment.id]
    assert "tenant_id" not in admin.show("segments", segment.id)
    subnet = admin_sdk.create_subnet(network_id=network.id, ip_version=4, cidr="10.0.0.0/24", segment_id=segment.id)
    assert subnet.segment_id == segment.id
    assert admin.show("networks", network.id, fields="l2_adjacency") == {"l2_adjacency": False}
    assert admin_sdk.create_port(network_id=network.id).ip_allocation == "deferred"
    assert admin.refused("DELETE", f"/segments/{segment.id}")[:2] == (409, "SegmentInUse")
    assert member.list("segments") == []
    assert member.refused("GET", f"/segments/{segment.id}")[:2] == (404, "SegmentNotFound")
    wanted = {"segment": {"network_id": network.id, "network_type": "geneve"}}
    assert member.refused("POST", "/segments", wanted)[:2] == (403, "PolicyNotAuthorized")
    for port in admin_sdk.ports(network_id=network.id):
        admin_sdk.delete_port(port)
    admin_sdk.delete_network(network)


def test_subnets_kept_for_an_owner(admin_sdk, admin):
    network = admin_sdk.create_network(name="n")
    subnet = admin_sdk.create_subnet(network_id=network.id, ip_version=4, cidr="10.0.0.0/24", service_types=["compute:nova"])
    assert subnet.service_types == ["compute:nova"]
    assert admin_sdk.create_port(network_id=network.id, device_owner="compute:nova").fixed_ips[0]["subnet_id"] == subnet.id
    assert admin.refused("POST", "/ports", {"port": {"network_id": network.id}})[:2] == (409, "IpAddressGenerationFailureNoMatchingSubnet")
    assert admin_sdk.update_subnet(subnet, service_types=[]).service_types == []
    assert admin.refused("PUT", f"/subnets/{subnet.id}", {"subnet": {"service_types": ["x"]}})[:2] == (400, "InvalidInput")
    for port in admin_sdk.ports(network_id=network.id):
        admin_sdk.delete_port(port)
    admin_sdk.delete_network(network)


# -- the topology that a project gets without asking for its parts


def test_a_topology_needs_an_external_network_and_a_pool(admin_sdk, admin, member):
    path = "/auto-allocated-topology"
    dry_run = f"{path}/None?fields=dry-run"
    assert member.refused("GET", dry_run) == (409, "AutoAllocationFailure", "Deployment error: No default router:external network.")
    outside = admin.network(**{"router:external": True, "is_default": True})
    assert outside["is_default"]
    admin.subnet(outside, "203.0.113.0/24", enable_dhcp=False)
    second = {"network": {"router:external": True, "is_default": True}}
    assert admin.refused("POST", "/networks", second)[:2] == (409, "DefaultExternalNetworkExists")
    assert member.refused("GET", dry_run)[:2] == (409, "AutoAllocationFailure")
    pool = admin_sdk.create_subnet_pool(name="p", prefixes=["10.0.0.0/16"], default_prefixlen=26, is_default=True, is_shared=True)

    answer = member.request("GET", dry_run).json()["auto_allocated_topology"]
    assert answer["id"] == "dry-run=pass"
    project = answer["tenant_id"]
    made = member.request("GET", f"{path}/{project}").json()["auto_allocated_topology"]
    assert member.request("GET", f"{path}/None").json()["auto_allocated_topology"] == made
    assert admin_sdk.get_auto_allocated_topology(project).id == made["id"]
    network = member.show("networks", made["id"])
    assert (network["name"], network["tenant_id"]) == ("auto_allocated_network", project)
    subnet = member.show("subnets", network["subnets"][0])
    assert (subnet["name"], subnet["cidr"], subnet["subnetpool_id"]) == ("auto_allocated_subnet_v4", "10.0.0.0/26", pool.id)
    owners = {port["device_owner"] for port in admin.list("ports")}
    assert {"network:router_interface", "network:router_gateway"} <= owners

    assert member.refused("GET", f"{path}/other")[:2] == (403, "NotAuthorized")
    assert member.refused("GET", f"{path}/None?fields=id")[:2] == (400, "BadRequest")
    member.delete("auto-allocated-topology", "None")
    member.delete("auto-allocated-topology", project)
    assert [each["id"] for each in admin.list("networks")] == [outside["id"]]
    admin.delete("networks", outside["id"])
    admin_sdk.delete_subnet_pool(pool)
