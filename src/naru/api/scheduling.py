"""Where networks are served and routers run: the zones that there are, and which agent has which network and router."""

from collections.abc import Callable, Iterable
from functools import partial

from starlette.responses import Response

from naru.api.backend import Backend
from naru.api.collections import Plan, page_response
from naru.api.http import Call, Route, json_response, no_content
from naru.model.agents import Agent
from naru.model.attributes import uuid_text
from naru.model.errors import invalid_value
from naru.model.resources import Network, Resource
from naru.model.routing import Router
from naru.model.zones import AvailabilityZone
from naru.service import dhcp_agents, l3_agents
from naru.service.zones import list_zones
from naru.store.read import list_computed, parse_query, project


def scheduling_routes(backend: Backend) -> list[Route]:
    return [
        Route("GET", "/v2.0/availability_zones", partial(_zones, backend)),
        Route("GET", "/v2.0/networks/{id}/dhcp-agents", partial(_list, backend, Agent, dhcp_agents.agents_of_network)),
        Route("GET", "/v2.0/agents/{id}/dhcp-networks", partial(_list, backend, Network, dhcp_agents.networks_of_agent)),
        Route("POST", "/v2.0/agents/{id}/dhcp-networks", partial(_give, backend, "network_id", dhcp_agents.give_network)),
        Route("DELETE", "/v2.0/agents/{id}/dhcp-networks/{network_id}", partial(_take, backend, dhcp_agents.take_network)),
        Route("GET", "/v2.0/routers/{id}/l3-agents", partial(_list, backend, Agent, l3_agents.agents_of_router)),
        Route("GET", "/v2.0/agents/{id}/l3-routers", partial(_list, backend, Router, l3_agents.routers_of_agent)),
        Route("POST", "/v2.0/agents/{id}/l3-routers", partial(_give, backend, "router_id", l3_agents.give_router)),
        Route("DELETE", "/v2.0/agents/{id}/l3-routers/{router_id}", partial(_take, backend, l3_agents.take_router)),
    ]


async def _zones(backend: Backend, call: Call) -> Response:
    kind, admin = AvailabilityZone, call.caller.reads_all
    query = parse_query(kind, call.query, admin=admin, max_limit=backend.pagination_max_limit)
    return page_response(call, kind, query, list_computed(list_zones(backend.view), kind, query, admin=admin))


async def _list(backend: Backend, kind: type[Resource], find: Callable[..., Iterable[Resource]], call: Call) -> Response:
    found = find(backend.view, call.caller, call.id)
    if fields := call.values("fields"):
        return json_response({kind.plural: [project(resource, fields, admin=True) for resource in found]})
    items = b",".join(backend.documents(kind)[resource.id].seen_by(admin=True) for resource in found)
    return json_response(b'{"%b":[%b]}' % (kind.plural.encode(), items))


async def _give(backend: Backend, name: str, give: Plan, call: Call) -> Response:
    body = await call.json()
    try:
        given_id = uuid_text(body.get(name) if isinstance(body, dict) else None)
    except ValueError as error:
        raise invalid_value(name, str(error)) from None
    await backend.store.write(lambda view: give(view, call.caller, call.id, given_id))
    return json_response(None, 201)


async def _take(backend: Backend, take: Plan, call: Call) -> Response:
    await backend.store.write(lambda view: take(view, call.caller, *call.ids))
    return no_content()
