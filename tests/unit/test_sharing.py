"""Who sees what is shared, and what sharing may not be taken back, over a plain snapshot."""

import pytest

from naru.model.errors import Conflict, NaruError, NotFound
from naru.model.identity import Caller
from naru.model.resources import Change, Network, Subnet
from naru.model.routing import Gateway, Router
from naru.model.sharing import AS_EXTERNAL, AS_SHARED, EVERYONE, RbacPolicy
from naru.service.networks import delete_network, update_network
from naru.service.policy import appearance, can_see, fetch, require_writer
from naru.service.sharing import create_policy, delete_policy, update_policy
from planning import ADMIN, CLOUD, MEMBER, PlainCloud

OWNER, OTHER = Caller("bob", "owner", frozenset({"member"})), Caller("eve", "other", frozenset({"member"}))


@pytest.fixture
def cloud():
    return PlainCloud()


def share(cloud, network, target=MEMBER.project_id, *, caller=ADMIN, action=AS_SHARED):
    given = {"object_type": "network", "object_id": network.id, "action": action, "target_tenant": target}
    return cloud.run(create_policy(cloud.view, caller, given | {"project_id": caller.project_id}, CLOUD))


def now(cloud, resource):
    return cloud.view.get(type(resource), resource.id)


def seen_as(cloud, caller, network):
    return appearance(caller, Network)(fetch(cloud.view, caller, Network, network.id))


def refusal(cloud, plan):
    with pytest.raises(NaruError) as refused:
        cloud.run(plan)
    return refused.value.status, refused.value.type


def test_a_network_is_seen_and_shared_by_the_project_of_its_policy_alone(cloud):
    network = cloud.network(caller=OWNER)
    subnet = cloud.subnet(network, caller=OWNER)
    share(cloud, network, caller=OWNER)
    assert seen_as(cloud, MEMBER, network).shared
    assert can_see(cloud.view, MEMBER, subnet)
    assert not seen_as(cloud, OWNER, network).shared
    with pytest.raises(NotFound):
        fetch(cloud.view, OTHER, Network, network.id)
    assert not can_see(cloud.view, OTHER, subnet)


def test_the_setting_is_a_policy_for_everyone(cloud):
    network = cloud.network(shared=True, router_external=True)
    policies = list(cloud.view.find(RbacPolicy, "object_id", network.id))
    assert {(policy.action, policy.target_tenant) for policy in policies} == {(AS_SHARED, EVERYONE), (AS_EXTERNAL, EVERYONE)}
    subnet = cloud.subnet(network)
    assert subnet.shared
    cloud.run(delete_policy(cloud.view, ADMIN, next(policy.id for policy in policies if policy.action == AS_SHARED), CLOUD))
    assert not now(cloud, network).shared
    assert not now(cloud, subnet).shared
    assert can_see(cloud.view, MEMBER, now(cloud, network))  # it is external still
    cloud.run(update_network(cloud.view, ADMIN, network.id, {"router_external": False}, CLOUD))
    assert not list(cloud.view.all(RbacPolicy))
    assert not can_see(cloud.view, MEMBER, now(cloud, network))
    share(cloud, network, EVERYONE)
    assert now(cloud, network).shared
    assert now(cloud, subnet).shared


def test_a_network_external_to_one_project_is_external(cloud):
    network = cloud.network()
    share(cloud, network, action=AS_EXTERNAL)
    assert now(cloud, network).router_external
    assert can_see(cloud.view, MEMBER, now(cloud, network))
    assert not can_see(cloud.view, OTHER, now(cloud, network))


def test_a_gateway_keeps_its_network_external_to_its_project(cloud):
    network = cloud.network(caller=OWNER)
    cloud.subnet(network, caller=OWNER)
    policy = share(cloud, network, action=AS_EXTERNAL)
    router = Router(id="r1", project_id=MEMBER.project_id, external_gateway_info=Gateway(network.id))
    cloud.view.apply([Change(None, router)])
    assert refusal(cloud, delete_policy(cloud.view, ADMIN, policy.id, CLOUD)) == (409, "RbacPolicyInUse")
    share(cloud, network, EVERYONE, action=AS_EXTERNAL)
    cloud.run(delete_policy(cloud.view, ADMIN, policy.id, CLOUD))


def test_the_default_external_network_is_for_everyone(cloud):
    network = cloud.network(router_external=True, is_default=True)
    (policy,) = cloud.view.find(RbacPolicy, "object_id", network.id)
    assert refusal(cloud, delete_policy(cloud.view, ADMIN, policy.id, CLOUD)) == (409, "RbacPolicyInUse")


def test_access_in_use_is_not_taken_back(cloud):
    network = cloud.network(caller=OWNER)
    cloud.subnet(network, caller=OWNER)
    policy = share(cloud, network, caller=OWNER)
    cloud.port(network, caller=MEMBER)
    assert refusal(cloud, delete_policy(cloud.view, OWNER, policy.id, CLOUD)) == (409, "RbacPolicyInUse")
    assert refusal(cloud, update_policy(cloud.view, OWNER, policy.id, {"target_tenant": "other"}, CLOUD)) == (409, "RbacPolicyInUse")
    cloud.run(update_network(cloud.view, ADMIN, network.id, {"shared": True}, CLOUD))
    cloud.run(delete_policy(cloud.view, OWNER, policy.id, CLOUD))
    assert refusal(cloud, update_network(cloud.view, ADMIN, network.id, {"shared": False}, CLOUD)) == (409, "InvalidSharedSetting")
    share(cloud, network)
    assert not cloud.run(update_network(cloud.view, ADMIN, network.id, {"shared": False}, CLOUD)).shared


def test_a_target_may_become_everyone(cloud):
    network = cloud.network()
    cloud.subnet(network)
    policy = share(cloud, network)
    cloud.port(network, caller=MEMBER)
    assert cloud.run(update_policy(cloud.view, ADMIN, policy.id, {"target_tenant": EVERYONE}, CLOUD)).target_tenant == EVERYONE
    assert now(cloud, network).shared


def test_policies_go_with_their_object(cloud):
    network = cloud.network(shared=True)
    share(cloud, network)
    cloud.run(delete_network(cloud.view, ADMIN, network.id, CLOUD))
    assert not list(cloud.view.all(RbacPolicy))
    assert not list(cloud.view.all(Subnet))


def test_readers_read_and_services_see_all(cloud):
    network = cloud.network(caller=MEMBER)
    reader, service = Caller("rita", "demo", frozenset({"reader"})), Caller("nova", "service", frozenset({"service"}))
    assert can_see(cloud.view, reader, network)
    assert can_see(cloud.view, service, network)
    require_writer(MEMBER, "POST /v2.0/networks")
    require_writer(service, "POST /v2.0/networks")
    for roles in (frozenset({"reader"}), frozenset[str]()):
        with pytest.raises(NaruError) as refused:
            require_writer(Caller("rita", "demo", roles), "POST /v2.0/networks")
        assert (refused.value.status, refused.value.type) == (403, "PolicyNotAuthorized")


def test_a_quota_counts_policies(cloud):
    network = cloud.network()
    given = {"object_type": "network", "object_id": network.id, "action": AS_SHARED, "target_tenant": "a", "project_id": "demo"}
    full = type(CLOUD)(CLOUD.ranges, CLOUD.quotas | {"rbac_policy": 0})
    with pytest.raises(Conflict) as refused:
        cloud.run(create_policy(cloud.view, ADMIN, given, full))
    assert refused.value.type == "OverQuota"
