"""Quality of service: how fast ports of a host and external addresses of its routers may send and receive, and with which mark."""

from collections.abc import Iterable, Iterator
from typing import Any

from naru.model.hoststate import AddressLimit, BandwidthLimit, PacketRateLimit, QosState
from naru.model.qos import DIRECTIONS, QosPolicy, effective_policy
from naru.model.resources import Change, Network, Port
from naru.model.view import View

DEFAULT_BURST = 0.8  # of the rate: Neutron's, where a rule names no burst

Rules = tuple[dict[str, Any], ...]  # as they stand in their policy


def shaping(view: View, ports: Iterable[Port]) -> Iterator[QosState]:
    for port in ports:
        policy = view.get(QosPolicy, effective_policy(port) or "")
        if policy is not None and (rules := policy.rules):
            ingress, egress = (_bandwidth_limit(rules, direction) for direction in DIRECTIONS)
            packets = (_packet_rate_limit(rules, direction) for direction in DIRECTIONS)
            yield QosState(port.id, ingress, egress, _mark(rules), *packets)


def hosts_shaping(view: View, change: Change) -> set[str]:
    """The hosts of the ports that have a policy that changed."""
    if not isinstance(change.resource, QosPolicy):
        return set()
    own = view.find(Port, "qos_policy_id", change.resource.id)
    networks = list(view.find(Network, "qos_policy_id", change.resource.id))
    inherited = (port for network in networks for port in view.find(Port, "network_id", network.id))
    return {port.binding_host_id for port in (*own, *inherited)}


def address_limit(view: View, external: str, own: str | None, network_id: str) -> AddressLimit | None:
    """By the policy of a floating IP or a gateway, else by that of the external network; None where there is nothing to limit."""
    network = view.get(Network, network_id)
    policy = view.get(QosPolicy, own or (network.qos_policy_id if network is not None else None) or "")
    ingress, egress = (_bandwidth_limit(policy.rules if policy is not None else (), direction) for direction in DIRECTIONS)
    return AddressLimit(external, ingress, egress) if ingress is not None or egress is not None else None


def _bandwidth_limit(rules: Rules, direction: str) -> BandwidthLimit | None:
    rule = _rule(rules, "bandwidth_limit", direction)
    return BandwidthLimit(rule["max_kbps"], rule["max_burst_kbps"] or int(rule["max_kbps"] * DEFAULT_BURST)) if rule is not None else None


def _packet_rate_limit(rules: Rules, direction: str) -> PacketRateLimit | None:
    rule = _rule(rules, "packet_rate_limit", direction)
    if rule is None:
        return None
    max_pps, burst = rule["max_kpps"] * 1000, rule["max_burst_kpps"] * 1000
    return PacketRateLimit(max_pps, burst or int(max_pps * DEFAULT_BURST))


def _mark(rules: Rules) -> int | None:
    rule = _rule(rules, "dscp_marking", None)
    return rule["dscp_mark"] if rule is not None else None


def _rule(rules: Rules, type: str, direction: str | None) -> dict[str, Any] | None:
    return next((rule for rule in rules if (rule["type"], rule.get("direction")) == (type, direction)), None)
