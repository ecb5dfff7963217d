"""Binding: can this host carry this network, and how is a port plugged there."""

from typing import Any

from naru.model.agents import Agent
from naru.model.provider import why_not_carried
from naru.model.resources import Network
from naru.model.view import View


def agent_of(view: View, host: str) -> Agent | None:
    return next(view.find(Agent, "host", host), None)


def why_unreachable(agent: Agent, network: Network) -> str | None:
    """Why a host cannot carry a network, in words; None when it can."""
    reasons = [why_not_carried(segment, agent.host, agent.configurations) for segment in network.on_the_wire]
    return None if None in reasons else "; ".join(filter(None, reasons))


def bind(view: View, network: Network, host: str | None) -> tuple[str, dict[str, Any]]:
    """-> vif_type and vif_details of a port of `network` on `host`: "unbound", "bridge" or "binding_failed"."""
    if not host:
        return "unbound", {}
    agent = agent_of(view, host)
    if agent is None or not agent.alive or why_unreachable(agent, network):
        return "binding_failed", {}
    return "bridge", {"port_filter": False, "connectivity": "l2"}
