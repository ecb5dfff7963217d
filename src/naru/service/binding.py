"""Binding: can this host carry this network, and how is a port plugged there."""

from typing import Any

from naru.model.agents import Agent
from naru.model.provider import why_not_carried
from naru.model.resources import Network
from naru.model.segments import Segment
from naru.model.view import View


def agent_of(view: View, host: str) -> Agent | None:
    return next(view.find(Agent, "host", host), None)


def why_unreachable(agent: Agent, network: Network, segment: Segment | None = None) -> str | None:
    """Why a host cannot carry any segment of a network, or this one of them, in words; None when it can."""
    segments = network.on_the_wire if segment is None else (segment.on_the_wire,)
    reasons = [why_not_carried(each, agent.host, agent.configurations) for each in segments]
    return None if None in reasons else "; ".join(dict.fromkeys(filter(None, reasons)))


def bind(view: View, network: Network, host: str | None, vnic_type: str = "normal") -> tuple[str, dict[str, Any]]:
    """-> vif_type and vif_details of a port of `network` on `host`.

    The type is "unbound", "binding_failed" (the details say the reason), or what the host's agent says hypervisors plug there.
    """
    if not host:
        return "unbound", {}
    agent = agent_of(view, host)
    if reason := _why_not(agent, network, host, vnic_type):
        return "binding_failed", {"reason": reason}
    assert agent is not None
    said = agent.configurations
    details = {"port_filter": said.get("port_filter", False), "connectivity": "l2"}
    return said.get("vif_type", "bridge"), details | said.get("vif_details", {})


def _why_not(agent: Agent | None, network: Network, host: str, vnic_type: str) -> str | None:
    if agent is None:
        return f"no agent has registered for host {host}"
    if not agent.alive:
        return f"the agent of host {host} was last heard of at {agent.heartbeat_timestamp} UTC"
    if vnic_type != "normal":
        return f"no agent plugs VNICs of type {vnic_type}"
    return why_unreachable(agent, network)
