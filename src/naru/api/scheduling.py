"""Where networks are served: the zones that there are, and the agents that serve a network with DHCP."""

from collections.abc import Iterable
from functools import partial

from starlette.responses import Response

from naru.api.backend import Backend
from naru.api.collections import page_response
from naru.api.http import Call, Route, json_response, no_content
from naru.model.agents import Agent
from naru.model.attributes import uuid_text
from naru.model.errors import invalid_value
from naru.model.resources import Network, Resource
from naru.model.zones import AvailabilityZone
from naru.service import dhcp_agents
from naru.service.zones import list_zones
from naru.store.read import list_computed, parse_query, project


def scheduling_routes(backend: Backend) -> list[Route]:
    return [
        Route("GET", "/v2.0/availability_zones", partial(_zones, backend)),
        Route("GET", "/v2.0/networks/{id}/dhcp-agents", partial(_agents, backend)),
        Route("GET", "/v2.0/agents/{id}/dhcp-networks", partial(_networks, backend)),
        Route("POST", "/v2.0/agents/{id}/dhcp-networks", partial(_give, backend)),
        Route("DELETE", "/v2.0/agents/{id}/dhcp-networks/{network_id}", partial(_take, backend)),
    ]


async def _zones(backend: Backend, call: Call) -> Response:
    kind, admin = AvailabilityZone, call.caller.reads_all
    query = parse_query(kind, call.query, admin=admin, max_limit=backend.pagination_max_limit)
    return page_response(call, kind, query, list_computed(list_zones(backend.view), kind, query, admin=admin))


async def _agents(backend: Backend, call: Call) -> Response:
    return _listed(backend, call, Agent, dhcp_agents.agents_of_network(backend.view, call.caller, call.id))


async def _networks(backend: Backend, call: Call) -> Response:
    return _listed(backend, call, Network, dhcp_agents.networks_of_agent(backend.view, call.caller, call.id))


def _listed(backend: Backend, call: Call, kind: type[Resource], found: Iterable[Resource]) -> Response:
    if fields := call.values("fields"):
        return json_response({kind.plural: [project(resource, fields, admin=True) for resource in found]})
    items = b",".join(backend.documents(kind)[resource.id].seen_by(admin=True) for resource in found)
    return json_response(b'{"%b":[%b]}' % (kind.plural.encode(), items))


async def _give(backend: Backend, call: Call) -> Response:
    body = await call.json()
    try:
        network_id = uuid_text(body.get("network_id") if isinstance(body, dict) else None)
    except ValueError as error:
        raise invalid_value("network_id", str(error)) from None
    await backend.store.write(lambda view: dhcp_agents.give_network(view, call.caller, call.id, network_id))
    return json_response(None, 201)


async def _take(backend: Backend, call: Call) -> Response:
    await backend.store.write(lambda view: dhcp_agents.take_network(view, call.caller, *call.ids))
    return no_content()
