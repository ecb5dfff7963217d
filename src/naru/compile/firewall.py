"""Who may talk to whom: the filters of a host's ports, the rules of their groups, and the members of the groups that rules name.

Rules and members stand once for all ports of a host: 500 ports of one group are 500 small values and one list of rules.
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_interface

from naru.compile.shared import Shared
from naru.model.agents import Agent
from naru.model.hoststate import FilterRule, FilterState, GroupState, RulesState, Source, Value
from naru.model.resources import Change, Port, place
from naru.model.security import AddressGroup, SecurityGroup, SecurityGroupRule, protocol_number
from naru.model.view import View


def is_filtered(view: View, port: Port) -> bool:
    """Whether the port's host keeps other packets from it than its groups allow."""
    return port.port_security_enabled and any(
        agent.configurations.get("port_filter", False) for agent in view.find(Agent, "host", port.binding_host_id)
    )


def filters(view: View, ports: Iterable[tuple[str, Port]], shared: Shared) -> Iterator[Value]:
    """What a host must know to filter `ports`, which are all of its own, each with the id of its L2 domain."""
    groups: dict[str, None] = {}
    for domain_id, port in ports:
        if is_filtered(view, port):
            groups |= dict.fromkeys(port.security_groups)
            yield _filter(view, domain_id, port)
    remotes: dict[str, None] = {}
    for group_id in groups:
        rules = tuple(_rule(rule) for rule in view.find(SecurityGroupRule, "security_group_id", group_id))
        remotes |= dict.fromkeys(rule.remote_group for rule in rules if rule.remote_group is not None)
        yield RulesState(group_id, rules)
    yield from (group_state(view, group_id, shared) for group_id in remotes)


def group_state(view: View, group_id: str, shared: Shared) -> GroupState:
    if group_id not in shared.groups:
        shared.groups[group_id] = GroupState(group_id, tuple(sorted(set(_members(view, group_id)))))
    return shared.groups[group_id]


def changed_groups(change: Change) -> set[str]:
    """The groups that have other members since. Where rules name them, nothing else need be compiled for that."""
    if isinstance(change.resource, AddressGroup | SecurityGroup):
        return {change.resource.id}
    return {group_id for group_id, _ in set(_memberships(change.before)) ^ set(_memberships(change.after))}


def hosts_filtering(view: View, change: Change) -> set[str]:
    """The hosts with ports that a change of rules concerns; `view` already shows it."""
    resource = change.resource
    if isinstance(resource, SecurityGroupRule):
        return _hosts_with(view, resource.security_group_id)
    if isinstance(resource, SecurityGroup):
        return _hosts_with(view, resource.id)
    return set()


def _filter(view: View, domain_id: str, port: Port) -> FilterState:
    own = [Source(port.mac_address, ip.ip_address) for ip in port.fixed_ips]
    pairs = [Source(pair.mac_address or port.mac_address, pair.ip_address) for pair in port.allowed_address_pairs]
    groups = [view.get(SecurityGroup, id) for id in port.security_groups]
    stateful = not groups or any(group is None or group.stateful for group in groups)
    return FilterState(port.id, domain_id, port.mac_address, (*own, *pairs), port.security_groups, stateful)


def _rule(rule: SecurityGroupRule) -> FilterRule:
    return FilterRule(
        direction=rule.direction,
        ethertype=rule.ethertype,
        protocol=protocol_number(rule.protocol),
        port_min=rule.port_range_min,
        port_max=rule.port_range_max,
        remote_prefix=str(ip_interface(rule.remote_ip_prefix).network) if rule.remote_ip_prefix else None,
        remote_group=rule.remote_group_id or rule.remote_address_group_id,
    )


def _members(view: View, group_id: str) -> Iterator[str]:
    group = view.get(AddressGroup, group_id)
    if group is not None:
        yield from group.addresses
        return
    for port in view.find(Port, "security_groups", group_id):
        yield from _addresses(port)


def _addresses(port: Port) -> Iterator[str]:
    """What a port of a group adds to it: all that it may send from."""
    yield from (ip.ip_address for ip in port.fixed_ips)
    yield from (pair.ip_address for pair in port.allowed_address_pairs)


def _memberships(port: object) -> Iterator[tuple[str, str]]:
    if isinstance(port, Port):
        yield from ((group_id, address) for group_id in port.security_groups for address in _addresses(port))


def _hosts_with(view: View, group_id: str) -> set[str]:
    """By counting on each host, as for networks (host.py)."""
    return {agent.host for agent in view.all(Agent) if view.count(Port, "group_place", place(group_id, agent.host))}
