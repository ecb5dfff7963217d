"""Binding: can this host carry the network of a port and enforce its QoS policy, and how is the port plugged there."""

from typing import Any

from msgspec.structs import replace

from naru.model.agents import Agent
from naru.model.devices import trunk_bridge
from naru.model.errors import Conflict
from naru.model.provider import why_not_carried
from naru.model.qos import QosPolicy, effective_policy
from naru.model.resources import Network, Port
from naru.model.segments import Segment
from naru.model.trunks import Trunk
from naru.model.view import View


def agent_of(view: View, host: str) -> Agent | None:
    return next(view.find(Agent, "host", host), None)


def why_unreachable(agent: Agent, network: Network, segment: Segment | None = None) -> str | None:
    """Why a host cannot carry any segment of a network, or this one of them, in words; None when it can."""
    segments = network.on_the_wire if segment is None else (segment.on_the_wire,)
    reasons = [why_not_carried(each, agent.host, agent.configurations) for each in segments]
    return None if None in reasons else "; ".join(dict.fromkeys(filter(None, reasons)))


def is_bound(port: Port) -> bool:
    return port.binding_vif_type not in ("unbound", "binding_failed")


def bind(view: View, port: Port, host: str | None, vnic_type: str = "normal") -> tuple[str, dict[str, Any]]:
    """-> vif_type and vif_details of a port on `host`.

    The type is "unbound", "binding_failed" (the details say the reason), or what the host's agent says hypervisors plug there. With Open
    vSwitch, that is a bridge of its own for the parent of a trunk.
    """
    if not host:
        return "unbound", {}
    agent = agent_of(view, host)
    if reason := _why_not(view, agent, port, host, vnic_type):
        return "binding_failed", {"reason": reason}
    assert agent is not None
    said = agent.configurations
    details = {"port_filter": said.get("port_filter", False), "connectivity": "l2"}
    details |= said.get("vif_details", {})
    if "bridge_name" in details and view.count(Trunk, "port_id", port.id):
        details["bridge_name"] = trunk_bridge(port.id)
    return said.get("vif_type", "bridge"), details


def bound(view: View, port: Port) -> Port:
    """The port as it is bound on its host, which has not wired it yet."""
    vif_type, vif_details = bind(view, port, port.binding_host_id, port.binding_vnic_type)
    host = port.binding_host_id or ""
    return replace(port, binding_host_id=host, binding_vif_type=vif_type, binding_vif_details=vif_details, status="DOWN")


def _why_not(view: View, agent: Agent | None, port: Port, host: str, vnic_type: str) -> str | None:
    if agent is None:
        return f"no agent has registered for host {host}"
    if not agent.alive:
        return f"the agent of host {host} was last heard of at {agent.heartbeat_timestamp} UTC"
    if vnic_type != "normal":
        return f"no agent plugs VNICs of type {vnic_type}"
    network = view.get(Network, port.network_id)
    assert network is not None
    return why_unreachable(agent, network) or why_not_enforced(view, agent, effective_policy(port))


def why_not_enforced(view: View, agent: Agent, policy_id: str | None) -> str | None:
    """Which rules of a QoS policy a host does not enforce, in words; None when it does all of them."""
    policy = view.get(QosPolicy, policy_id or "")
    types = {rule["type"] for rule in policy.rules} if policy is not None else set()
    missing = sorted(types - set(agent.configurations.get("qos_rule_types", ())))
    return f"host {agent.host} enforces no QoS rules of type {', '.join(missing)}" if missing else None


def check_enforced(view: View, port: Port) -> None:
    """Raises Conflict (QosRuleNotSupported) where a port is bound to a host that does not enforce all of its policy."""
    agent, policy_id = agent_of(view, port.binding_host_id) if is_bound(port) else None, effective_policy(port)
    if agent is not None and (reason := why_not_enforced(view, agent, policy_id)):
        message = f"QoS policy {policy_id} is not supported by port {port.id}: {reason}."
        raise Conflict(message, "QosRuleNotSupported")
