"""Collections: what may be done with a kind is a row; routes, bodies, lists and links follow from it."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec
from starlette.responses import Response

from naru.api.backend import Backend
from naru.api.http import Call, Route, json_response, member, no_content
from naru.model.errors import Invalid, StaleRevision, not_found
from naru.model.identity import Caller
from naru.model.requests import decode_create, decode_update
from naru.model.resources import Changes, Network, Resource, attributes, rule_name
from naru.model.view import View
from naru.service.policy import appearance, check_asked, check_rules, fetch, reader, reader_of_new, shown, visible
from naru.store.documents import render, unkept
from naru.store.read import ListQuery, Page, Sight, list_page, parse_query, project

Plan = Callable[..., Changes[Any]]


class Collection(NamedTuple):
    """A kind and what may be done with it.

    create(view, caller, given, cloud), update(view, caller, id, given, cloud), delete(view, caller, id, cloud);
    an action, `PUT …/{id}/<name>`, is action(view, caller, id, body, cloud) and returns a resource of the kind, or the answer as a
    JSON object. create_many(view, caller, [given], cloud), where it is there, makes all that one request asks for;
    before_list(view, caller, filters) is the plan of what must be made before the first list, or None.
    Where `answers_made`, the answer to a create shows what the plan returned, which is more than what is kept.
    describe(view, resource) fills in what a resource shows of others, which is not kept with it.

    `path` is what follows /v2.0/, the kind's plural unless said. A path such as `floatingips/{floatingip_id}/port_forwardings` puts
    the collection below a parent: its members are those whose attribute `floatingip_id` is the id in the path.
    """

    kind: type[Resource]
    create: Plan | None = None
    update: Plan | None = None
    delete: Plan | None = None
    path: str = ""
    actions: Mapping[str, Plan] = {}
    create_many: Plan | None = None
    before_list: Callable[[View, Caller, Mapping[str, tuple[str, ...]]], Plan | None] | None = None
    parent: type[Resource] | None = None  # the kind in `path`
    describe: Callable[[View, Any], Resource] | None = None
    answers_made: bool = False

    @property
    def parent_attribute(self) -> str | None:
        return self.path.partition("{")[2].partition("}")[0] or None


def collection_path(collection: Collection) -> str:
    return f"/v2.0/{collection.path or collection.kind.plural.replace('_', '-')}"


def collection_routes(backend: Backend, collection: Collection) -> list[Route]:
    path = collection_path(collection)
    one = f"{path}/{{id}}"
    rule = partial(rule_name, kind=collection.kind)
    routes = [
        Route("GET", path, partial(_list, backend, collection)),
        Route("GET", one, partial(_show, backend, collection)),
    ]
    if collection.create is not None:
        routes.append(Route("POST", path, partial(_create, backend, collection, collection.create), rule=rule("create")))
    if collection.update is not None:
        routes.append(Route("PUT", one, partial(_update, backend, collection, collection.update), rule=rule("update")))
    if collection.delete is not None:
        routes.append(Route("DELETE", one, partial(_delete, backend, collection, collection.delete), rule=rule("delete")))
    for name, action in collection.actions.items():
        routes.append(Route("PUT", f"{one}/{name}", partial(_act, backend, collection, action), rule=name))
    return routes


async def _list(backend: Backend, collection: Collection, call: Call) -> Response:
    kind, caller = collection.kind, call.caller
    shows = shown(backend.view, caller, kind)
    admin = caller.reads_all or shows is not None
    query = parse_query(kind, call.query, admin=admin, max_limit=backend.pagination_max_limit)
    if shows is not None:
        check_asked(caller, kind, [*query.filters, *(wire for wire, _ in query.sort)])
    if collection.parent_attribute is not None:
        if collection.parent is not None:
            fetch(backend.view, caller, collection.parent, call.ids[0])
        query = msgspec.structs.replace(query, filters={**query.filters, collection.parent_attribute: (call.ids[0],)})
    if collection.before_list is not None and (plan := collection.before_list(backend.view, caller, query.filters)) is not None:
        await backend.store.write(plan)
    describe = partial(collection.describe, backend.view) if collection.describe is not None else None
    sees = visible(backend.view, caller, by_id=kind is not Network or "id" in query.filters)
    sight = Sight(caller.reads_all, sees, appearance(caller, kind), shows)
    return page_response(call, kind, query, list_page(backend.view, backend.documents(kind), kind, query, sight, describe))


def page_response(call: Call, kind: type[Resource], query: ListQuery, page: Page) -> Response:
    links = _page_links(call, query, page)
    head = b'{"%b":[' % kind.plural.encode()
    tail = b'],"%b_links":%b}' % (kind.plural.encode(), msgspec.json.encode(links)) if links else b"]}"
    return json_response(b"".join([head, *page.pieces, tail]))


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


async def _show(backend: Backend, collection: Collection, call: Call) -> Response:
    kind = collection.kind
    resource = _member(backend.view, collection, call)
    if fields := call.values("fields"):
        resource = _as_shown(backend, collection, call, resource)
        shows = shown(backend.view, call.caller, kind)
        return json_response({kind.singular: project(resource, fields, admin=call.caller.reads_all, shows=shows)})
    return json_response(_wrap(kind, _document(backend, collection, call, resource)))


def _member(view: View, collection: Collection, call: Call) -> Resource:
    """The resource that the path names. Raises NotFound, also where it belongs to another parent."""
    resource = fetch(view, call.caller, collection.kind, call.ids[-1])
    parent = collection.parent_attribute
    if parent is not None and getattr(resource, attributes(collection.kind)[parent].field) != call.ids[0]:
        raise not_found(collection.kind.kind, call.ids[-1])
    return resource


async def _create(backend: Backend, collection: Collection, create: Plan, call: Call) -> Response:
    kind = collection.kind
    bodies, is_bulk = _bodies(await call.json(), kind)
    above = {collection.parent_attribute: call.ids[0]} if collection.parent_attribute is not None else {}
    wanted = [decode_create(kind, body, call.caller) | above for body in bodies]

    def plan(view: View) -> Changes[list[Resource]]:
        for given in wanted:
            check_rules(call.caller, kind, "create", given, reader_of_new(view, call.caller, kind, given))
        if collection.create_many is not None:
            return (yield from collection.create_many(view, call.caller, wanted, backend.cloud))  # type: ignore[no-any-return]
        made = []
        for given in wanted:
            made.append((yield from create(view, call.caller, given, backend.cloud)))  # noqa: PERF401  (a plan cannot yield in a comprehension)
        return made

    made = await backend.store.write(plan)
    if collection.answers_made:
        answers = [unkept(resource, admin=call.caller.reads_all) for resource in made]
        return json_response({kind.plural: answers} if is_bulk else {kind.singular: answers[0]}, 201)
    documents = [_document(backend, collection, call, resource) for resource in made]
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
    if not isinstance(many, list) or not all(isinstance(item, dict) for item in many):
        raise Invalid(f"'{kind.plural}' in the request body is not a list of objects")
    return [member(item, kind.singular) if kind.singular in item else item for item in many], True  # some clients wrap each


async def _update(backend: Backend, collection: Collection, update: Plan, call: Call) -> Response:
    kind = collection.kind
    given = decode_update(kind, await call.member(kind.singular), call.caller)

    def plan(view: View) -> Changes[Resource]:
        check_rules(call.caller, kind, "update", given, reader(view, call.caller, _member(view, collection, call)))
        return (yield from update(view, call.caller, call.ids[-1], given, backend.cloud))  # type: ignore[no-any-return]

    changed = await _write(backend, collection, call, plan)
    return json_response(_wrap(kind, _document(backend, collection, call, changed)))


async def _delete(backend: Backend, collection: Collection, delete: Plan, call: Call) -> Response:
    await _write(backend, collection, call, lambda view: delete(view, call.caller, call.ids[-1], backend.cloud))
    return no_content()


async def _act(backend: Backend, collection: Collection, action: Plan, call: Call) -> Response:
    body = await call.json()
    answer = await _write(backend, collection, call, lambda view: action(view, call.caller, call.ids[-1], body, backend.cloud))
    return json_response(_wrap(collection.kind, _document(backend, collection, call, answer)) if isinstance(answer, Resource) else answer)


async def _write(backend: Backend, collection: Collection, call: Call, plan: Plan) -> Any:
    """Run a plan that changes a resource, if it is the path's and still of the revision that If-Match names."""
    expected = _expected_revision(call)

    def checked(view: View) -> Changes[Any]:
        revision = _member(view, collection, call).revision_number
        if expected is not None and revision != expected:
            raise StaleRevision(f"Constrained to {expected}, but current revision is {revision}")
        return (yield from plan(view))

    return await backend.store.write(checked)


def _expected_revision(call: Call) -> int | None:
    """`If-Match: revision_number=N`, quoted or not. Other entity tags say nothing here."""
    tags = [tag.strip().strip('"') for tag in call.request.headers.get("if-match", "").split(",")]
    wanted = [tag.removeprefix("revision_number=") for tag in tags if tag.startswith("revision_number=")]
    if len(wanted) > 1:
        raise Invalid("Multiple revision_number etags are not supported.")
    if wanted and not wanted[0].isdecimal():
        raise Invalid("Revision number etag must be in the format of revision_number=<int>")
    return int(wanted[0]) if wanted else None


def _document(backend: Backend, collection: Collection, call: Call, resource: Resource) -> bytes:
    """As published; a resource that was deleted a moment ago is rendered once more."""
    seen = _as_shown(backend, collection, call, resource)
    if (shows := shown(backend.view, call.caller, collection.kind)) is not None:
        return msgspec.json.encode(project(seen, shows(seen), admin=True))
    published = backend.documents(type(resource)).get(resource.id) if seen is resource else None
    return (published or render(seen)[0]).seen_by(admin=call.caller.reads_all)


def _as_shown(backend: Backend, collection: Collection, call: Call, resource: Resource) -> Resource:
    appears = appearance(call.caller, collection.kind)
    resource = resource if appears is None else appears(resource)
    return resource if collection.describe is None else collection.describe(backend.view, resource)


def _wrap(kind: type[Resource], document: bytes) -> bytes:
    return b'{"%b":%b}' % (kind.singular.encode(), document)
