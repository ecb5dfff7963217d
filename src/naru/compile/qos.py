"""Quality of service: how fast ports of a host may send and receive, and with which mark; of what the host enforces."""

from collections.abc import Iterable, Iterator
from typing import Any

from naru.model.agents import Agent
from naru.model.hoststate import BandwidthLimit, QosState
from naru.model.qos import QosPolicy, effective_policy
from naru.model.resources import Change, Network, Port
from naru.model.view import View

DEFAULT_BURST = 0.8  # of the rate: Neutron's, where a rule names no burst


def shaping(view: View, host: str, ports: Iterable[Port]) -> Iterator[QosState]:
    enforced = next((agent.configurations.get("qos_rule_types", ()) for agent in view.find(Agent, "host", host)), ())
    for port in ports:
        policy = view.get(QosPolicy, effective_policy(port) or "")
        rules = [rule for rule in policy.rules if rule["type"] in enforced] if policy is not None else []
        if rules:
            yield QosState(port.id, _limit(rules, "ingress"), _limit(rules, "egress"), _mark(rules))


def hosts_shaping(view: View, change: Change) -> set[str]:
    """The hosts of the ports that have a policy that changed."""
    if not isinstance(change.resource, QosPolicy):
        return set()
    own = view.find(Port, "qos_policy_id", change.resource.id)
    networks = list(view.find(Network, "qos_policy_id", change.resource.id))
    inherited = (port for network in networks for port in view.find(Port, "network_id", network.id))
    return {port.binding_host_id for port in (*own, *inherited)}


def _limit(rules: list[dict[str, Any]], direction: str) -> BandwidthLimit | None:
    for rule in rules:
        if (rule["type"], rule.get("direction")) == ("bandwidth_limit", direction):
            return BandwidthLimit(rule["max_kbps"], rule["max_burst_kbps"] or int(rule["max_kbps"] * DEFAULT_BURST))
    return None


def _mark(rules: list[dict[str, Any]]) -> int | None:
    return next((rule["dscp_mark"] for rule in rules if rule["type"] == "dscp_marking"), None)
