"""The Networking API v2.0: its collections, and the few answers that are no collection."""

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from starlette.responses import Response

from naru.api.auth import for_writers, under_rules
from naru.api.backend import Backend
from naru.api.collections import Collection, collection_routes, page_response
from naru.api.extensions import EXTENSIONS, Extension
from naru.api.forecasts import forecast_routes
from naru.api.http import Call, Endpoint, Route, json_response, no_content
from naru.api.logs import LOGS, log_routes
from naru.api.metering import METERING
from naru.api.port_bindings import binding_routes
from naru.api.qos import QOS_COLLECTIONS, qos_routes
from naru.api.routing import routing_routes
from naru.api.scheduling import scheduling_routes
from naru.api.tags import tag_routes
from naru.model.agents import Agent
from naru.model.availability import NetworkIpAvailability
from naru.model.errors import NotFound
from naru.model.flavors import ServiceFlavor, ServiceProfile
from naru.model.network_pools import NetworkPool
from naru.model.nova_events import NovaEvent
from naru.model.picks import NetworkPick
from naru.model.pools import AddressScope, SubnetPool
from naru.model.resources import Network, Port, Resource, Subnet, attributes
from naru.model.routing import FloatingIp, PortForwarding, Router
from naru.model.security import (
    AddressGroup,
    DefaultSecurityGroupRule,
    SecurityGroup,
    SecurityGroupDefaultStatefulness,
    SecurityGroupRule,
)
from naru.model.segment_ranges import NetworkSegmentRange
from naru.model.segments import Segment
from naru.model.sharing import RbacPolicy
from naru.model.trunks import Trunk
from naru.service import availability, quotas, topology
from naru.service.address_groups import (
    add_addresses,
    create_address_group,
    delete_address_group,
    remove_addresses,
    update_address_group,
)
from naru.service.address_scopes import create_address_scope, delete_address_scope, update_address_scope
from naru.service.flavors import create_flavor, create_profile, delete_flavor, delete_profile, update_flavor, update_profile
from naru.service.floatingips import create_floating_ip, delete_floating_ip, describe_floating_ip, update_floating_ip
from naru.service.hosts import delete_agent, update_agent
from naru.service.network_pools import create_network_pool, delete_network_pool, update_network_pool
from naru.service.networks import create_network, delete_network, update_network
from naru.service.picks import cancel_pick, commit_pick, create_pick, renew_pick
from naru.service.port_forwardings import create_port_forwarding, delete_port_forwarding, update_port_forwarding
from naru.service.ports import create_port, create_ports, delete_port, update_port
from naru.service.router_interfaces import add_router_interface, remove_router_interface
from naru.service.routers import add_extraroutes, create_router, delete_router, remove_extraroutes, update_router
from naru.service.security import (
    create_group,
    create_rule,
    create_rules,
    delete_group,
    delete_rule,
    missing_default_group,
    update_group,
)
from naru.service.security_statefulness import create_statefulness, delete_statefulness, update_statefulness
from naru.service.security_templates import create_template, delete_template, missing_templates
from naru.service.segment_ranges import create_range, delete_range, describe_range, update_range
from naru.service.segments import create_segment, delete_segment, update_segment
from naru.service.sharing import create_policy, delete_policy, update_policy
from naru.service.subnetpools import (
    add_prefixes,
    create_subnetpool,
    delete_subnetpool,
    onboard_network_subnets,
    remove_prefixes,
    update_subnetpool,
)
from naru.service.subnets import create_subnet, delete_subnet, update_subnet
from naru.service.trunks import add_subports, create_trunk, delete_trunk, remove_subports, show_subports, update_trunk
from naru.store.read import list_computed, parse_query, project

COLLECTIONS = (
    Collection(Network, create_network, update_network, delete_network),
    Collection(Subnet, create_subnet, update_subnet, delete_subnet),
    Collection(Port, create_port, update_port, delete_port, create_many=create_ports),
    Collection(SecurityGroup, create_group, update_group, delete_group, before_list=missing_default_group),
    Collection(SecurityGroupRule, create_rule, None, delete_rule, create_many=create_rules, before_list=missing_default_group),
    Collection(DefaultSecurityGroupRule, create_template, None, delete_template, before_list=missing_templates),
    Collection(SecurityGroupDefaultStatefulness, create_statefulness, update_statefulness, delete_statefulness),
    Collection(
        AddressGroup,
        create_address_group,
        update_address_group,
        delete_address_group,
        actions={"add_addresses": add_addresses, "remove_addresses": remove_addresses},
    ),
    Collection(Agent, None, update_agent, delete_agent),
    Collection(NovaEvent),
    Collection(RbacPolicy, create_policy, update_policy, delete_policy),
    Collection(
        Router,
        create_router,
        update_router,
        delete_router,
        actions={
            "add_router_interface": add_router_interface,
            "remove_router_interface": remove_router_interface,
            "add_extraroutes": add_extraroutes,
            "remove_extraroutes": remove_extraroutes,
        },
    ),
    Collection(FloatingIp, create_floating_ip, update_floating_ip, delete_floating_ip, describe=describe_floating_ip),
    Collection(
        PortForwarding,
        create_port_forwarding,
        update_port_forwarding,
        delete_port_forwarding,
        path="floatingips/{floatingip_id}/port_forwardings",
        parent=FloatingIp,
    ),
    Collection(ServiceFlavor, create_flavor, update_flavor, delete_flavor),
    Collection(ServiceProfile, create_profile, update_profile, delete_profile, path="service_profiles"),
    Collection(
        SubnetPool,
        create_subnetpool,
        update_subnetpool,
        delete_subnetpool,
        actions={
            "add_prefixes": add_prefixes,
            "remove_prefixes": remove_prefixes,
            "onboard_network_subnets": onboard_network_subnets,
        },
    ),
    Collection(AddressScope, create_address_scope, update_address_scope, delete_address_scope),
    *QOS_COLLECTIONS,
    LOGS,
    *METERING,
    Collection(
        Trunk,
        create_trunk,
        update_trunk,
        delete_trunk,
        actions={"add_subports": add_subports, "remove_subports": remove_subports},
    ),
    Collection(NetworkPick, create_pick, None, cancel_pick, actions={"renew": renew_pick, "commit": commit_pick}, answers_made=True),
    Collection(Segment, create_segment, update_segment, delete_segment),
    Collection(NetworkPool, create_network_pool, update_network_pool, delete_network_pool),
    Collection(NetworkSegmentRange, create_range, update_range, delete_range, path="network_segment_ranges", describe=describe_range),
)


def network_routes(backend: Backend) -> list[Route]:
    bind: Callable[[Callable[..., Any]], Endpoint] = lambda endpoint: partial(endpoint, backend)  # noqa: E731
    routes = [
        Route("GET", "/", _show_versions, is_public=True),
        Route("GET", "/v2.0", _list_resources, is_public=True),
        Route("GET", "/v2.0/extensions", _list_extensions),
        Route("GET", "/v2.0/extensions/{alias}", _show_extension),
        Route("GET", "/v2.0/network-ip-availabilities", bind(_list_availability)),
        Route("GET", "/v2.0/network-ip-availabilities/{id}", bind(_show_availability)),
        Route("GET", "/v2.0/network-pools/{id}/availability", bind(_show_pool_availability)),
        Route("GET", "/v2.0/quotas", bind(_list_quotas)),
        Route("GET", "/v2.0/quotas/tenant", _show_quota_project),
        Route("GET", "/v2.0/quotas/project", _show_quota_project),
        Route("GET", "/v2.0/quotas/{id}", bind(_show_quota)),
        Route("GET", "/v2.0/quotas/{id}/default", bind(_show_default_quota)),
        Route("GET", "/v2.0/quotas/{id}/details", bind(_show_quota_details)),
        Route("PUT", "/v2.0/quotas/{id}", bind(_update_quota), rule="update_quota"),
        Route("DELETE", "/v2.0/quotas/{id}", bind(_delete_quota), rule="delete_quota"),
    ]
    routes += [*binding_routes(backend), *qos_routes(backend), *log_routes(backend), *forecast_routes(backend)]
    routes.append(Route("GET", "/v2.0/trunks/{id}/get_subports", bind(_show_subports)))
    routes += [*routing_routes(backend), *scheduling_routes(backend)]
    routes += [
        Route("GET", "/v2.0/auto-allocated-topology/{id}", bind(_show_topology)),
        Route("DELETE", "/v2.0/auto-allocated-topology/{id}", bind(_delete_topology)),
    ]
    for collection in COLLECTIONS:
        routes += [*collection_routes(backend, collection), *tag_routes(backend, collection)]
    routes = [for_writers(route) for route in routes]
    return routes if backend.overrides is None else [under_rules(route, backend.overrides) for route in routes]


# -- versions and extensions


async def _show_versions(call: Call) -> Response:
    link = {"rel": "self", "href": f"{call.base_url}/v2.0/"}
    return json_response({"versions": [{"id": "v2.0", "status": "CURRENT", "links": [link]}]})


async def _list_resources(call: Call) -> Response:
    def row(kind: type[Resource]) -> dict[str, Any]:
        link = {"rel": "self", "href": f"{call.base_url}/v2.0/{kind.plural}"}
        return {"name": kind.singular, "collection": kind.plural, "links": [link]}

    return json_response({"resources": [row(collection.kind) for collection in COLLECTIONS]})


def _extension(extension: Extension) -> dict[str, Any]:
    return extension._asdict() | {"links": []}


async def _list_extensions(call: Call) -> Response:
    return json_response({"extensions": [_extension(extension) for extension in EXTENSIONS]})


async def _show_extension(call: Call) -> Response:
    for extension in EXTENSIONS:
        if extension.alias == call.id:
            return json_response({"extension": _extension(extension)})
    raise NotFound(f"Extension with alias {call.id} does not exist")


async def _show_subports(backend: Backend, call: Call) -> Response:
    return json_response(show_subports(backend.view, call.caller, call.id))


# -- availability and quotas


async def _list_availability(backend: Backend, call: Call) -> Response:
    kind, admin = NetworkIpAvailability, call.caller.reads_all
    query = parse_query(kind, call.query, admin=admin, max_limit=backend.pagination_max_limit)
    filters = dict(query.filters)
    ip_versions = frozenset(int(version) for version in filters.pop("ip_version", ()))
    query = msgspec.structs.replace(query, filters=filters)
    rows = availability.list_availability(backend.view, call.caller, ip_versions)
    return page_response(call, kind, query, list_computed(rows, kind, query, admin=admin))


async def _show_availability(backend: Backend, call: Call) -> Response:
    row = availability.show_availability(backend.view, call.caller, call.id)
    fields = call.values("fields") or tuple(attributes(NetworkIpAvailability))
    return json_response({row.singular: project(row, fields, admin=call.caller.reads_all)})


async def _show_pool_availability(backend: Backend, call: Call) -> Response:
    return json_response({"availability": availability.show_pool_availability(backend.view, call.caller, call.id)})


async def _show_topology(backend: Backend, call: Call) -> Response:
    fields = call.values("fields")
    answer = await backend.store.write(lambda view: topology.show_topology(view, call.caller, call.id, fields, backend.cloud))
    return json_response({"auto_allocated_topology": answer})


async def _delete_topology(backend: Backend, call: Call) -> Response:
    await backend.store.write(lambda view: topology.delete_topology(view, call.caller, call.id, backend.cloud))
    return no_content()


async def _list_quotas(backend: Backend, call: Call) -> Response:
    return json_response({"quotas": quotas.list_quotas(backend.view, call.caller, backend.cloud)})


async def _show_quota_project(call: Call) -> Response:
    """Whose quotas `GET /quotas/{id}` would show: old clients ask before they know their project's id."""
    name = call.request.url.path.rstrip("/").rpartition("/")[2].removesuffix(".json")
    return json_response({name: {f"{name}_id": call.caller.project_id}})


async def _show_quota(backend: Backend, call: Call) -> Response:
    return json_response({"quota": quotas.show_quota(backend.view, call.caller, call.id, backend.cloud)})


async def _show_default_quota(backend: Backend, call: Call) -> Response:
    return json_response({"quota": quotas.default_quota(call.caller, call.id, backend.cloud)})


async def _show_quota_details(backend: Backend, call: Call) -> Response:
    return json_response({"quota": quotas.quota_details(backend.view, call.caller, call.id, backend.cloud)})


async def _update_quota(backend: Backend, call: Call) -> Response:
    body = await call.member("quota")
    await backend.store.write(lambda view: quotas.update_quota(view, call.caller, call.id, body, backend.cloud))
    return await _show_quota(backend, call)


async def _delete_quota(backend: Backend, call: Call) -> Response:
    await backend.store.write(lambda view: quotas.delete_quota(view, call.caller, call.id, backend.cloud))
    return no_content()
