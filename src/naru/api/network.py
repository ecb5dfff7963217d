"""The Networking API v2.0: a table of collections; routes, bodies and lists follow from it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec
from starlette.responses import Response

from naru.api.backend import Backend
from naru.api.extensions import EXTENSIONS, Extension
from naru.api.http import Call, Endpoint, Route, json_response, no_content
from naru.model.errors import Invalid, NotFound
from naru.model.requests import decode_create, decode_update
from naru.model.resources import Agent, Changes, Network, Port, Resource, Subnet
from naru.model.view import View
from naru.service import availability, quotas
from naru.service.hosts import delete_agent, update_agent
from naru.service.networks import create_network, delete_network, update_network
from naru.service.policy import fetch, visible
from naru.service.ports import create_port, delete_port, update_port
from naru.service.subnets import create_subnet, delete_subnet, update_subnet
from naru.store.documents import render
from naru.store.read import Page, list_page, parse_query, project

Plan = Callable[..., Changes[Any]]


class Collection(NamedTuple):
    """A kind and what may be done with it: create(view, caller, given, cloud), update and delete with an id before `given`."""

    kind: type[Resource]
    create: Plan | None = None
    update: Plan | None = None
    delete: Plan | None = None


COLLECTIONS = (
    Collection(Network, create_network, update_network, delete_network),
    Collection(Subnet, create_subnet, update_subnet, delete_subnet),
    Collection(Port, create_port, update_port, delete_port),
    Collection(Agent, None, update_agent, delete_agent),
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
        Route("GET", "/v2.0/quotas", bind(_list_quotas)),
        Route("GET", "/v2.0/quotas/tenant", _show_quota_project),
        Route("GET", "/v2.0/quotas/project", _show_quota_project),
        Route("GET", "/v2.0/quotas/{id}", bind(_show_quota)),
        Route("GET", "/v2.0/quotas/{id}/default", bind(_show_default_quota)),
        Route("GET", "/v2.0/quotas/{id}/details", bind(_show_quota_details)),
        Route("PUT", "/v2.0/quotas/{id}", bind(_update_quota)),
        Route("DELETE", "/v2.0/quotas/{id}", bind(_delete_quota)),
    ]
    for collection in COLLECTIONS:
        routes += _collection_routes(backend, collection)
    return routes


def _collection_routes(backend: Backend, collection: Collection) -> list[Route]:
    kind = collection.kind
    path = f"/v2.0/{kind.plural.replace('_', '-')}"
    routes = [Route("GET", path, partial(_list, backend, kind)), Route("GET", f"{path}/{{id}}", partial(_show, backend, kind))]
    if collection.create is not None:
        routes.append(Route("POST", path, partial(_create, backend, kind, collection.create)))
    if collection.update is not None:
        routes.append(Route("PUT", f"{path}/{{id}}", partial(_update, backend, kind, collection.update)))
    if collection.delete is not None:
        routes.append(Route("DELETE", f"{path}/{{id}}", partial(_delete, backend, collection.delete)))
    return routes


# -- collections


async def _list(backend: Backend, kind: type[Resource], call: Call) -> Response:
    caller = call.caller
    query = parse_query(kind, call.query, admin=caller.is_admin, max_limit=backend.pagination_max_limit)
    page = list_page(backend.view, backend.documents(kind), kind, query, visible(backend.view, caller), admin=caller.is_admin)
    links = _page_links(call, page) if query.limit is not None else []
    tail = b', "%b_links":%b}' % (kind.plural.encode(), msgspec.json.encode(links)) if links else b"}"
    return json_response(b'{"%b":[%b]%b' % (kind.plural.encode(), page.items, tail))


def _page_links(call: Call, page: Page) -> list[dict[str, str]]:
    """`next` where there is more, `previous` where a marker says that there was something before."""
    path = f"{call.base_url}{call.request.url.path}"
    rest = [(key, value) for key, value in call.query if key not in ("marker", "page_reverse")]
    reverse = ("page_reverse", "True")
    asked = dict(call.query)
    is_reverse = asked.get("page_reverse", "").lower() in ("true", "1")
    links = []
    if page.last_id is not None and (page.has_more or is_reverse):
        links.append({"rel": "next", "href": f"{path}?{urlencode([*rest, ('marker', page.last_id)])}"})
    if page.first_id is not None and (("marker" in asked and not is_reverse) or (is_reverse and page.has_more)):
        links.append({"rel": "previous", "href": f"{path}?{urlencode([*rest, ('marker', page.first_id), reverse])}"})
    return links


async def _show(backend: Backend, kind: type[Resource], call: Call) -> Response:
    resource = fetch(backend.view, call.caller, kind, call.id)
    fields = [value for key, value in call.query if key == "fields" and value]
    if fields:
        return json_response({kind.singular: project(resource, fields, admin=call.caller.is_admin)})
    return json_response(_wrap(kind, _document(backend, call, resource)))


async def _create(backend: Backend, kind: type[Resource], create: Plan, call: Call) -> Response:
    bodies, is_bulk = _bodies(await call.json(), kind)
    wanted = [decode_create(kind, body, call.caller) for body in bodies]

    def plan(view: View) -> Changes[list[Resource]]:
        made = []
        for given in wanted:
            made.append((yield from create(view, call.caller, given, backend.cloud)))  # noqa: PERF401  (a plan cannot yield in a comprehension)
        return made

    made = await backend.store.write(plan)
    documents = [_document(backend, call, resource) for resource in made]
    if is_bulk:
        return json_response(b'{"%b":[%b]}' % (kind.plural.encode(), b",".join(documents)), 201)
    return json_response(_wrap(kind, documents[0]), 201)


def _bodies(document: Any, kind: type[Resource]) -> tuple[list[dict[str, Any]], bool]:
    """-> the objects to create, and whether they came as a list. Raises Invalid for anything else."""
    if isinstance(document, dict):
        if isinstance(one := document.get(kind.singular), dict):
            return [one], False
        many = document.get(kind.plural)
        if isinstance(many, list) and many and all(isinstance(item, dict) for item in many):
            return many, True
        if many == []:
            raise Invalid("Resources required")
    raise Invalid(f"Unable to find '{kind.singular}' in request body")


async def _update(backend: Backend, kind: type[Resource], update: Plan, call: Call) -> Response:
    given = decode_update(kind, await call.member(kind.singular), call.caller)
    changed = await backend.store.write(lambda view: update(view, call.caller, call.id, given, backend.cloud))
    return json_response(_wrap(kind, _document(backend, call, changed)))


async def _delete(backend: Backend, delete: Plan, call: Call) -> Response:
    await backend.store.write(lambda view: delete(view, call.caller, call.id, backend.cloud))
    return no_content()


def _document(backend: Backend, call: Call, resource: Resource) -> bytes:
    """As published; a resource that was deleted a moment ago is rendered once more."""
    document = backend.documents(type(resource)).get(resource.id) or render(resource)[0]
    return document.seen_by(admin=call.caller.is_admin)


def _wrap(kind: type[Resource], document: bytes) -> bytes:
    return b'{"%b":%b}' % (kind.singular.encode(), document)


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


# -- availability and quotas


def _ip_versions(call: Call) -> frozenset[int]:
    asked = {value for key, value in call.query if key == "ip_version"}
    return frozenset(version for version in (4, 6) if not asked or str(version) in asked)


def _projected(row: dict[str, Any], call: Call) -> dict[str, Any]:
    fields = [value for key, value in call.query if key == "fields"]
    return {name: row[name] for name in fields if name in row} if fields else row


_AVAILABILITY_FILTERS = ("network_id", "network_name", "tenant_id", "project_id")


async def _list_availability(backend: Backend, call: Call) -> Response:
    rows = availability.list_availability(backend.view, call.caller, _ip_versions(call))
    for name in _AVAILABILITY_FILTERS:
        wanted: Sequence[str] = [value for key, value in call.query if key == name]
        if wanted:
            rows = [row for row in rows if row[name] in wanted]
    return json_response({"network_ip_availabilities": [_projected(row, call) for row in rows]})


async def _show_availability(backend: Backend, call: Call) -> Response:
    row = availability.show_availability(backend.view, call.caller, call.id, _ip_versions(call))
    return json_response({"network_ip_availability": _projected(row, call)})


async def _list_quotas(backend: Backend, call: Call) -> Response:
    return json_response({"quotas": quotas.list_quotas(backend.view, call.caller, backend.cloud)})


async def _show_quota_project(call: Call) -> Response:
    """Whose quotas `GET /quotas/{id}` would show: old clients ask before they know their project's id."""
    name = call.request.url.path.rstrip("/").rpartition("/")[2].removesuffix(".json")
    return json_response({name: {f"{name}_id": call.caller.project_id}})


async def _show_quota(backend: Backend, call: Call) -> Response:
    return json_response({"quota": quotas.show_quota(backend.view, call.caller, call.id, backend.cloud)})


async def _show_default_quota(backend: Backend, call: Call) -> Response:
    return json_response({"quota": backend.cloud.quotas})


async def _show_quota_details(backend: Backend, call: Call) -> Response:
    return json_response({"quota": quotas.quota_details(backend.view, call.caller, call.id, backend.cloud)})


async def _update_quota(backend: Backend, call: Call) -> Response:
    body = await call.member("quota")
    await backend.store.write(lambda view: quotas.update_quota(view, call.caller, call.id, body, backend.cloud))
    return await _show_quota(backend, call)


async def _delete_quota(backend: Backend, call: Call) -> Response:
    await backend.store.write(lambda view: quotas.delete_quota(view, call.caller, call.id, backend.cloud))
    return no_content()
