"""`/v2.0/ports/{id}/bindings`: bindings are parts of their port, so these are no collection of resources."""

from functools import partial

from starlette.responses import Response

from naru.api.backend import Backend
from naru.api.collections import page_response
from naru.api.http import Call, Route, json_response, no_content
from naru.model.bindings import PortBinding
from naru.model.requests import decode_create, decode_update
from naru.model.resources import attributes
from naru.service.port_bindings import activate_binding, create_binding, delete_binding, list_bindings, show_binding, update_binding
from naru.store.read import list_computed, parse_query, project


def binding_routes(backend: Backend) -> list[Route]:
    bindings = "/v2.0/ports/{port_id}/bindings"
    return [
        Route("GET", bindings, partial(_list, backend)),
        Route("POST", bindings, partial(_create, backend)),
        Route("GET", f"{bindings}/{{host}}", partial(_show, backend)),
        Route("PUT", f"{bindings}/{{host}}", partial(_update, backend)),
        Route("DELETE", f"{bindings}/{{host}}", partial(_delete, backend)),
        Route("PUT", f"{bindings}/{{host}}/activate", partial(_activate, backend)),
    ]


async def _list(backend: Backend, call: Call) -> Response:
    query = parse_query(PortBinding, call.query, admin=True, max_limit=backend.pagination_max_limit)
    bindings = list_bindings(backend.view, call.caller, call.id)
    return page_response(call, PortBinding, query, list_computed(bindings, PortBinding, query, admin=True))


async def _show(backend: Backend, call: Call) -> Response:
    return _answer(show_binding(backend.view, call.caller, *call.ids), fields=call.values("fields"))


async def _create(backend: Backend, call: Call) -> Response:
    given = decode_create(PortBinding, await call.member("binding"), call.caller)
    made = await backend.store.write(lambda view: create_binding(view, call.caller, call.id, given, backend.cloud))
    return _answer(made, 201)


async def _update(backend: Backend, call: Call) -> Response:
    port_id, host = call.ids
    given = decode_update(PortBinding, await call.member("binding"), call.caller)
    return _answer(await backend.store.write(lambda view: update_binding(view, call.caller, port_id, host, given, backend.cloud)))


async def _activate(backend: Backend, call: Call) -> Response:
    port_id, host = call.ids
    return _answer(await backend.store.write(lambda view: activate_binding(view, call.caller, port_id, host, backend.cloud)))


async def _delete(backend: Backend, call: Call) -> Response:
    port_id, host = call.ids
    await backend.store.write(lambda view: delete_binding(view, call.caller, port_id, host, backend.cloud))
    return no_content()


def _answer(binding: PortBinding, status: int = 200, fields: tuple[str, ...] = ()) -> Response:
    return json_response({"binding": project(binding, fields or tuple(attributes(PortBinding)), admin=True)}, status)
