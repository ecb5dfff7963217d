"""Which host runs a router, as administrators see and decide it.

https://docs.openstack.org/api-ref/network/v2/#l3-agent-scheduler . A router runs on one host: it is taken from there before
it is given to another.
"""

from naru.model.agents import Agent
from naru.model.errors import Conflict, NotFound
from naru.model.identity import Caller
from naru.model.resources import Changes
from naru.model.routing import Router
from naru.model.view import View
from naru.service.binding import agent_of
from naru.service.policy import fetch, require_admin, require_overview
from naru.service.router_hosts import ensure_router_host, why_not_run


def agents_of_router(view: View, caller: Caller, router_id: str) -> list[Agent]:
    router = fetch(view, caller, Router, router_id)
    require_overview(caller, "get_l3-agents")
    agent = agent_of(view, router.host)
    return [agent] if agent is not None else []


def routers_of_agent(view: View, caller: Caller, agent_id: str) -> list[Router]:
    require_overview(caller, "get_l3-routers")
    agent = fetch(view, caller, Agent, agent_id)
    return sorted(view.find(Router, "host", agent.host), key=lambda router: router.id)


def give_router(view: View, caller: Caller, agent_id: str, router_id: str) -> Changes[None]:
    """Have a host run a router that no other one runs. Raises NotFound or Conflict where that cannot be."""
    require_admin(caller, "create_l3-router")
    agent = fetch(view, caller, Agent, agent_id)
    router = fetch(view, caller, Router, router_id)
    if not (agent.configurations.get("l3") and agent.admin_state_up):
        raise NotFound(f"Agent {agent_id} is not a L3 Agent or has been disabled", "InvalidL3Agent")
    if router.host == agent.host:
        return
    if (other := agent_of(view, router.host)) is not None:
        message = f"The router {router_id} has been already hosted by the L3 Agent {other.id}."
        raise Conflict(message, "RouterHostedByL3Agent")
    if reason := why_not_run(view, agent, router):
        raise Conflict(f"Failed scheduling router {router_id} to the L3 Agent {agent_id}: {reason}.", "RouterSchedulingFailed")
    yield from ensure_router_host(view, router_id, host=agent.host)


def take_router(view: View, caller: Caller, agent_id: str, router_id: str) -> Changes[None]:
    """Stop a router on a host. It gets another when a host registers or its interfaces change."""
    require_admin(caller, "delete_l3-router")
    agent = fetch(view, caller, Agent, agent_id)
    router = fetch(view, caller, Router, router_id)
    if router.host != agent.host:
        message = f"The router {router_id} is not hosted by L3 agent {agent_id}."
        raise Conflict(message, "RouterNotHostedByL3Agent")
    yield from ensure_router_host(view, router_id, host="")
