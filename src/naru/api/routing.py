"""What the network API answers about routing besides its collections: pools, providers, the profiles of a flavor."""

from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.responses import Response

from naru.api.backend import Backend
from naru.api.collections import page_response
from naru.api.http import Call, Endpoint, Route, json_response, no_content
from naru.model.flavors import ServiceProvider
from naru.model.routing import FloatingIpPool
from naru.service.flavors import add_profile, next_providers, remove_profile
from naru.service.floatingips import list_pools
from naru.store.read import list_computed, parse_query


def routing_routes(backend: Backend) -> list[Route]:
    bind: Callable[[Callable[..., Any]], Endpoint] = lambda endpoint: partial(endpoint, backend)  # noqa: E731
    return [
        Route("GET", "/v2.0/floatingip_pools", bind(_list_pools)),
        Route("GET", "/v2.0/service-providers", bind(_list_providers)),
        Route("GET", "/v2.0/flavors/{flavor_id}/next_providers", bind(_list_next_providers)),
        Route("POST", "/v2.0/flavors/{flavor_id}/service_profiles", bind(_add_profile)),
        Route("DELETE", "/v2.0/flavors/{flavor_id}/service_profiles/{id}", bind(_remove_profile)),
    ]


async def _list_pools(backend: Backend, call: Call) -> Response:
    kind, admin = FloatingIpPool, call.caller.reads_all
    query = parse_query(kind, call.query, admin=admin, max_limit=backend.pagination_max_limit)
    return page_response(call, kind, query, list_computed(list_pools(backend.view, call.caller), kind, query, admin=admin))


async def _list_providers(backend: Backend, call: Call) -> Response:
    kind = ServiceProvider
    query = parse_query(kind, call.query, admin=call.caller.reads_all, max_limit=backend.pagination_max_limit)
    return page_response(call, kind, query, list_computed([ServiceProvider()], kind, query, admin=call.caller.reads_all))


async def _list_next_providers(backend: Backend, call: Call) -> Response:
    return json_response({"next_providers": next_providers(backend.view, call.caller, call.id)})


async def _add_profile(backend: Backend, call: Call) -> Response:
    body = await call.json()
    return json_response(await backend.store.write(lambda view: add_profile(view, call.caller, call.id, body)), 201)


async def _remove_profile(backend: Backend, call: Call) -> Response:
    await backend.store.write(lambda view: remove_profile(view, call.caller, *call.ids))
    return no_content()
