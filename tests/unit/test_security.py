"""Security groups over a plain snapshot: what is decided, without a server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.model.errors import Conflict, NaruError, NotFound
from naru.model.port_security import AddressPair, address_pairs, group_ids
from naru.model.resources import DHCP_OWNER, Port
from naru.model.security import (
    PROTOCOLS,
    DefaultSecurityGroupRule,
    SecurityGroup,
    SecurityGroupRule,
    embedded,
    protocol,
    remote_prefix,
    what_matches,
)
from naru.service.address_groups import create_address_group, delete_address_group
from naru.service.ports import update_port
from naru.service.security import (
    create_group,
    create_rule,
    create_rules,
    delete_group,
    delete_rule,
    find_default_group,
    missing_default_group,
)
from naru.service.security_templates import create_template, delete_template
from planning import ADMIN, CLOUD, MEMBER, PlainCloud


@pytest.fixture
def cloud():
    return PlainCloud()


def make_group(cloud, caller=MEMBER, name="web", **given):
    return cloud.run(create_group(cloud.view, caller, {"name": name, "project_id": caller.project_id, **given}, CLOUD))


def make_rule(cloud, group, caller=MEMBER, **given):
    wanted = {"security_group_id": group.id, "direction": "ingress", "project_id": caller.project_id, **given}
    return cloud.run(create_rule(cloud.view, caller, wanted, CLOUD))


def agrees(cloud):
    """Each group shows just the rules that there are, each rule is of a group that is there."""
    groups = list(cloud.view.all(SecurityGroup))
    shown = {rule["id"]: rule for group in groups for rule in group.security_group_rules}
    assert shown == {rule.id: embedded(rule) for rule in cloud.view.all(SecurityGroupRule)}
    assert {rule["security_group_id"] for rule in shown.values()} <= {group.id for group in groups}
    defaults = [group.project_id for group in groups if group.is_default]
    assert len(set(defaults)) == len(defaults)
    return True


# -- the default group


def test_the_first_network_and_the_first_port_make_one_default_group(cloud):
    network = cloud.network()
    group = find_default_group(cloud.view, "admin")
    assert cloud.port(network).security_groups == (group.id,)
    assert [group.project_id for group in cloud.view.all(SecurityGroup)] == ["admin"]
    assert group.claims() == ("security-group-default/admin",)
    assert agrees(cloud)


def test_a_port_costs_one_change_once_its_project_has_a_default_group(cloud):
    network = cloud.network()
    cloud.changes.clear()
    cloud.port(network)
    assert len(cloud.changes) == 1


def test_the_default_group_of_a_port_is_its_projects(cloud):
    port = cloud.port(cloud.network(shared=True), caller=MEMBER)
    assert port.security_groups == (find_default_group(cloud.view, "demo").id,)


def test_a_refused_port_leaves_no_default_group(cloud):
    network = cloud.network(shared=True)
    with pytest.raises(NotFound):
        cloud.port(network, caller=MEMBER, security_groups=("00000000-0000-4000-8000-000000000000",))
    assert find_default_group(cloud.view, "demo") is None


def test_a_list_makes_the_default_group_of_whom_it_is_about(cloud):
    assert missing_default_group(cloud.view, MEMBER, {"project_id": ("other",)}) is None
    cloud.run(missing_default_group(cloud.view, ADMIN, {"project_id": ("other",)})(cloud.view))
    cloud.run(missing_default_group(cloud.view, MEMBER, {})(cloud.view))
    assert {group.project_id for group in cloud.view.all(SecurityGroup)} == {"other", "demo"}
    assert missing_default_group(cloud.view, MEMBER, {}) is None


def test_dhcp_servers_have_no_port_security(cloud):
    cloud.host("controller01", "172.18.0.11", dhcp=True)
    cloud.subnet(cloud.network())
    (server,) = (port for port in cloud.view.all(Port) if port.device_owner == DHCP_OWNER)
    assert (server.port_security_enabled, server.security_groups) == (False, ())


# -- groups and rules stay together

DEEDS = st.lists(
    st.tuples(
        st.sampled_from(["group", "rule", "rules", "delete group", "delete rule"]),
        st.integers(0, 5),
        st.integers(0, 5),
        st.sampled_from([None, "tcp", "6", "udp", "any"]),
    ),
    max_size=20,
)


@given(DEEDS)
def test_groups_show_their_rules_whatever_happens(deeds):
    cloud = PlainCloud()
    make_group(cloud)
    for deed, one, two, word in deeds:
        groups = list(cloud.view.all(SecurityGroup))
        group, other = groups[one % len(groups)], groups[two % len(groups)]
        wanted = {
            "security_group_id": group.id,
            "direction": "ingress",
            "protocol": word,
            "remote_group_id": other.id,
            "project_id": "demo",
        }
        try:
            if deed == "group":
                make_group(cloud)
            elif deed == "rule":
                make_rule(cloud, group, protocol=word, remote_group_id=other.id)
            elif deed == "rules":
                cloud.run(create_rules(cloud.view, MEMBER, [wanted, wanted | {"direction": "egress"}], CLOUD))
            elif deed == "delete group":
                cloud.run(delete_group(cloud.view, MEMBER, group.id, CLOUD))
            elif group.security_group_rules:
                cloud.run(delete_rule(cloud.view, MEMBER, group.security_group_rules[0]["id"], CLOUD))
        except NaruError:
            pass
        assert agrees(cloud)


def test_a_rule_that_an_administrator_adds_is_of_his_own_project(cloud):
    group = make_group(cloud)
    rule = make_rule(cloud, group, caller=ADMIN)
    assert rule.project_id == "admin"
    cloud.run(delete_rule(cloud.view, ADMIN, rule.id, CLOUD))


# -- what rules say


@pytest.mark.parametrize("word", PROTOCOLS)
def test_a_protocol_has_a_name_and_a_number(word):
    assert protocol(word.upper()) == word
    numbered, named = (
        SecurityGroupRule(id="", security_group_id="", direction="ingress", protocol=name) for name in (protocol(PROTOCOLS[word]), word)
    )
    assert what_matches(numbered) == what_matches(named)


@pytest.mark.parametrize(("sent", "kept"), [("", None), (None, None), ("10.0.0.1", "10.0.0.1/32"), ("FD00::1/64", "fd00::1/64")])
def test_a_remote_prefix_keeps_its_host_bits(sent, kept):
    assert remote_prefix(sent) == kept


def test_the_same_group_as_a_whole_is_one_rule(cloud):
    group = make_group(cloud)
    make_rule(cloud, group)
    for same in ({"protocol": "any"}, {"protocol": "0"}, {"remote_ip_prefix": "0.0.0.0/0"}):
        with pytest.raises(Conflict, match="already exists"):
            make_rule(cloud, group, **same)
    make_rule(cloud, group, ethertype="IPv6")


# -- templates


def test_deleted_templates_do_not_come_back(cloud):
    make_group(cloud)
    for template in list(cloud.view.all(DefaultSecurityGroupRule)):
        cloud.run(delete_template(cloud.view, ADMIN, template.id, CLOUD))
    assert make_group(cloud, name="closed").security_group_rules == ()
    assert list(cloud.view.all(DefaultSecurityGroupRule)) == []


def test_what_a_template_names_is_kept_or_taken_away_with_it(cloud):
    addresses = cloud.run(create_address_group(cloud.view, ADMIN, {"name": "offices", "project_id": "admin"}, CLOUD))
    group = make_group(cloud, ADMIN)
    for named in ({"remote_address_group_id": addresses.id}, {"remote_group_id": group.id}):
        cloud.run(create_template(cloud.view, ADMIN, {"direction": "ingress", **named}, CLOUD))
    with pytest.raises(Conflict, match="in use"):
        cloud.run(delete_address_group(cloud.view, ADMIN, addresses.id, CLOUD))
    assert len(make_group(cloud).security_group_rules) == 4
    cloud.run(delete_group(cloud.view, ADMIN, group.id, CLOUD))
    assert agrees(cloud)
    assert len(make_group(cloud).security_group_rules) == 3


# -- ports


def test_pairs_take_the_mac_of_their_port(cloud):
    network = cloud.network()
    pairs = address_pairs([{"ip_address": "10.0.0.9"}, {"ip_address": "10.0.0.9", "mac_address": "fa:16:3e:00:00:01"}])
    port = cloud.port(network, mac_address="fa:16:3e:00:00:02", allowed_address_pairs=pairs)
    assert [pair.mac_address for pair in port.allowed_address_pairs] == ["fa:16:3e:00:00:02", "fa:16:3e:00:00:01"]
    with pytest.raises(NaruError, match="duplicate"):
        cloud.port(network, mac_address="fa:16:3e:00:00:01", allowed_address_pairs=pairs)


@pytest.mark.parametrize("address", ["224.0.0.1", "ff02::1", "239.0.0.0/8", "10.0.0.0/33", "fe80::1%eth0", 7, None])
def test_addresses_that_no_port_may_send_from(address):
    with pytest.raises(ValueError, match="not"):
        address_pairs([{"ip_address": address}])


def test_groups_are_named_once(cloud):
    id = "11111111-2222-4333-8444-555555555555"
    assert group_ids([id, id.upper()]) == (id,)
    assert group_ids(None) is None


def test_what_is_given_up_together_is_given_up(cloud):
    port = cloud.port(cloud.network(), allowed_address_pairs=(AddressPair("10.0.0.9"),))
    given = {"port_security_enabled": False, "security_groups": (), "allowed_address_pairs": ()}
    changed = cloud.run(update_port(cloud.view, ADMIN, port.id, given, CLOUD))
    assert (changed.port_security_enabled, changed.security_groups, changed.allowed_address_pairs) == (False, (), ())
