"""Subnet pools and address scopes as openstacksdk, the `openstack` command and plain HTTP use them."""

import openstack
import pytest

from networking import Networking

OVERLAP = {"name": "p", "prefixes": ["10.0.0.0/8"]}


@pytest.fixture(scope="module")
def sdk(serving):
    clouds = openstack.config.OpenStackConfig(config_files=[str(serving.state_dir / "clouds.yaml")], load_envvars=False)
    with openstack.connection.Connection(config=clouds.get_one("naru-admin")) as connection:
        yield connection.network


@pytest.fixture(scope="module")
def admin(clients):
    with clients.http("admin") as http:
        yield Networking(http)


@pytest.fixture(scope="module")
def member(clients):
    with clients.http() as http:
        yield Networking(http)


def test_a_pool_from_create_to_delete(sdk):
    pool = sdk.create_subnet_pool(name="one", prefixes=["10.1.0.0/16", "10.0.0.0/16"], default_prefix_length=24, description="d")
    assert (pool.prefixes, pool.ip_version, pool.minimum_prefix_length, pool.maximum_prefix_length) == (["10.0.0.0/15"], 4, 8, 32)
    assert (pool.default_quota, pool.is_default, pool.is_shared, pool.address_scope_id, pool.description) == (None, False, False, None, "d")
    assert pool.revision_number == 1
    assert pool.created_at == pool.updated_at != ""
    assert sdk.find_subnet_pool("one").id == pool.id
    assert [found.id for found in sdk.subnet_pools(ip_version=4, default_prefixlen=24)] == [pool.id]
    changed = sdk.update_subnet_pool(pool, name="two", default_quota=1024, minimum_prefix_length=20)
    assert (changed.name, changed.default_quota, changed.minimum_prefix_length) == ("two", 1024, 20)
    sdk.delete_subnet_pool(pool)
    assert list(sdk.subnet_pools()) == []


def test_subnets_from_a_pool(sdk, admin):
    pool = sdk.create_subnet_pool(name="p", prefixes=["10.0.0.0/16"], default_prefixlen=24, is_default=True)
    network = sdk.create_network(name="n")
    first = sdk.create_subnet(network_id=network.id, ip_version=4, subnet_pool_id=pool.id, prefixlen="26")
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
    sdk.delete_network(network)
    sdk.delete_subnet_pool(pool)


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


def test_address_scopes(sdk, admin):
    scope = sdk.create_address_scope(name="s", ip_version=4)
    assert set(admin.show("address-scopes", scope.id)) == {"id", "name", "ip_version", "shared", "tenant_id", "project_id"}
    pool = sdk.create_subnet_pool(name="p", prefixes=["10.0.0.0/16"], default_prefixlen=24, address_scope_id=scope.id)
    network = sdk.create_network(name="n")
    sdk.create_subnet(network_id=network.id, ip_version=4, subnet_pool_id=pool.id)
    shown = sdk.get_network(network.id)
    assert (shown.ipv4_address_scope_id, shown.ipv6_address_scope_id) == (scope.id, None)
    conflict = {"subnetpool": OVERLAP | {"address_scope_id": scope.id}}
    assert admin.refused("POST", "/subnetpools", conflict)[:2] == (409, "AddressScopePrefixConflict")
    assert admin.refused("DELETE", f"/address-scopes/{scope.id}")[:2] == (409, "AddressScopeInUse")
    assert sdk.update_address_scope(scope, name="t", is_shared=True).is_shared
    sdk.delete_network(network)
    sdk.delete_subnet_pool(pool)
    sdk.delete_address_scope(scope)


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
    project = admin.network()["project_id"]
    assert admin.request("PUT", f"/quotas/{project}", json={"quota": {"subnetpool": 1}}).status_code == 200
    pool = admin.create("subnetpools", **OVERLAP)
    assert admin.refused("POST", "/subnetpools", {"subnetpool": OVERLAP})[:2] == (409, "OverQuota")
    admin.delete("subnetpools", pool["id"])
    admin.request("DELETE", f"/quotas/{project}")


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
