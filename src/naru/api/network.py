"""The Networking API v2.0: a table of collections; routes, bodies and lists follow from it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec
from starlette.responses import Response

from naru.api.backend import Backend
from naru.api.extensions import EXTENSIONS, Extension
from naru.api.http import Call, Endpoint, Route, json_response, member, no_content
from naru.model.errors import Invalid, NotFound, StaleRevision
from naru.model.requests import decode_create, decode_update
from naru.model.resources import Agent, Changes, Network, NetworkIpAvailability, Port, Resource, Subnet, attributes
from naru.model.view import View
from naru.service import availability, quotas
from naru.service.hosts import delete_agent, update_agent
from naru.service.networks import create_network, delete_network, update_network
from naru.service.policy import fetch, visible
from naru.service.ports import create_port, delete_port, update_port
from naru.service.subnets import create_subnet, delete_subnet, update_subnet
from naru.store.documents import render
from naru.store.read import ListQuery, Page, list_computed, list_page, parse_query, project

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
        routes.append(Route("DELETE", f"{path}/{{id}}", partial(_delete, backend, kind, collection.delete)))
    return routes


# -- collections


async def _list(backend: Backend, kind: type[Resource], call: Call) -> Response:
    caller = call.caller
    query = parse_query(kind, call.query, admin=caller.is_admin, max_limit=backend.pagination_max_limit)
    page = list_page(backend.view, backend.documents(kind), kind, query, visible(backend.view, caller), admin=caller.is_admin)
    return _page_response(call, kind, query, page)


def _page_response(call: Call, kind: type[Resource], query: ListQuery, page: Page) -> Response:
    links = _page_links(call, query, page)
    tail = b',"%b_links":%b}' % (kind.plural.encode(), msgspec.json.encode(links)) if links else b"}"
    return json_response(b'{"%b":[%b]%b' % (kind.plural.encode(), page.items, tail))


def _page_links(call: Call, query: ListQuery, page: Page) -> list[dict[str, str]]:
    """Where a limit is set: both ways on, but for the way that has just ended in a page that is not full."""
    if query.limit is None:
        return []
    is_full = page.size >= query.limit
    rest = [(key, value) for key, value in call.query if key not in ("marker", "page_reverse")]

    def link(rel: str, marker: str | None, *more: tuple[str, str]) -> dict[str, str]:
        pairs = [*rest, *([("marker", marker)] if marker is not None else []), *more]
        return {"rel": rel, "href": f"{call.base_url}{call.request.url.path}?{urlencode(pairs)}"}

    links = []
    if is_full or query.page_reverse:
        links.append(link("next", page.last_id))
    if is_full or not query.page_reverse:
        links.append(link("previous", page.first_id, ("page_reverse", "True")))
    return links


async def _show(backend: Backend, kind: type[Resource], call: Call) -> Response:
    resource = fetch(backend.view, call.caller, kind, call.id)
    if fields := call.values("fields"):
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
    if not isinstance(document, dict):
        raise Invalid(f"The request body is not a JSON object with '{kind.singular}' or '{kind.plural}' in it")
    if kind.plural not in document:
        return [member(document, kind.singular)], False
    many = document[kind.plural]
    if many == []:
        raise Invalid("Resources required")
    items = [item.get(kind.singular, item) if isinstance(item, dict) else item for item in many] if isinstance(many, list) else [many]
    if not all(isinstance(item, dict) for item in items):
        raise Invalid(f"'{kind.plural}' in the request body is not a list of objects")
    return items, True


async def _update(backend: Backend, kind: type[Resource], update: Plan, call: Call) -> Response:
    given = decode_update(kind, await call.member(kind.singular), call.caller)
    changed = await _write(backend, kind, call, lambda view: update(view, call.caller, call.id, given, backend.cloud))
    return json_response(_wrap(kind, _document(backend, call, changed)))


async def _delete(backend: Backend, kind: type[Resource], delete: Plan, call: Call) -> Response:
    await _write(backend, kind, call, lambda view: delete(view, call.caller, call.id, backend.cloud))
    return no_content()


async def _write(backend: Backend, kind: type[Resource], call: Call, plan: Plan) -> Any:
    """Run a plan that changes a resource, if that is still of the revision that If-Match names."""
    expected = _expected_revision(call)

    def checked(view: View) -> Changes[Any]:
        revision = fetch(view, call.caller, kind, call.id).revision_number
        if revision != expected:
            raise StaleRevision(f"Constrained to {expected}, but current revision is {revision}")
        return (yield from plan(view))

    return await backend.store.write(plan if expected is None else checked)


def _expected_revision(call: Call) -> int | None:
    """`If-Match: revision_number=N`, quoted or not. Other entity tags say nothing here."""
    tags = [tag.strip().strip('"') for tag in call.request.headers.get("if-match", "").split(",")]
    wanted = [tag.removeprefix("revision_number=") for tag in tags if tag.startswith("revision_number=")]
    if len(wanted) > 1:
        raise Invalid("Multiple revision_number etags are not supported.")
    if wanted and not wanted[0].isdecimal():
        raise Invalid("Revision number etag must be in the format of revision_number=<int>")
    return int(wanted[0]) if wanted else None


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


async def _list_availability(backend: Backend, call: Call) -> Response:
    kind, admin = NetworkIpAvailability, call.caller.is_admin
    query = parse_query(kind, call.query, admin=admin, max_limit=backend.pagination_max_limit)
    filters = dict(query.filters)
    ip_versions = frozenset(int(version) for version in filters.pop("ip_version", ()))
    query = msgspec.structs.replace(query, filters=filters)
    rows = availability.list_availability(backend.view, call.caller, ip_versions)
    return _page_response(call, kind, query, list_computed(rows, kind, query, admin=admin))


async def _show_availability(backend: Backend, call: Call) -> Response:
    row = availability.show_availability(backend.view, call.caller, call.id)
    fields = call.values("fields") or tuple(attributes(NetworkIpAvailability))
    return json_response({row.singular: project(row, fields, admin=call.caller.is_admin)})


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
