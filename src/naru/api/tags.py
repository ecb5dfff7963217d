"""The paths of tags, below each resource of a kind that has the attribute `tags`."""

from functools import partial

from starlette.responses import Response

from naru.api.backend import Backend
from naru.api.collections import Collection, collection_path
from naru.api.http import Call, Route, json_response, no_content
from naru.model.resources import Resource, attributes
from naru.service import tags

_Kind = type[Resource]


def tag_routes(backend: Backend, collection: Collection) -> list[Route]:
    """None for a kind without tags."""
    kind = collection.kind
    if "tags" not in attributes(kind):
        return []
    all_tags = f"{collection_path(collection)}/{{id}}/tags"
    one_tag = f"{all_tags}/{{tag}}"
    return [
        Route("GET", all_tags, partial(_list, backend, kind)),
        Route("PUT", all_tags, partial(_replace, backend, kind)),
        Route("POST", all_tags, partial(_add_many, backend, kind)),
        Route("DELETE", all_tags, partial(_remove_all, backend, kind)),
        Route("GET", one_tag, partial(_check, backend, kind)),
        Route("PUT", one_tag, partial(_add, backend, kind)),
        Route("DELETE", one_tag, partial(_remove, backend, kind)),
    ]


async def _list(backend: Backend, kind: _Kind, call: Call) -> Response:
    return json_response({"tags": tags.list_tags(backend.view, call.caller, kind, call.id)})


async def _check(backend: Backend, kind: _Kind, call: Call) -> Response:
    tags.check_tag(backend.view, call.caller, kind, *call.ids)
    return no_content()


async def _replace(backend: Backend, kind: _Kind, call: Call) -> Response:
    wanted = tags.decode_tags(await call.json())
    kept = await backend.store.write(lambda view: tags.replace_tags(view, call.caller, kind, call.id, wanted))
    return json_response({"tags": kept})


async def _add_many(backend: Backend, kind: _Kind, call: Call) -> Response:
    wanted = tags.decode_tags(await call.json())
    await backend.store.write(lambda view: tags.add_tags(view, call.caller, kind, call.id, wanted))
    return json_response({"tags": wanted}, 201)


async def _add(backend: Backend, kind: _Kind, call: Call) -> Response:
    wanted = tags.checked([call.ids[1]])
    await backend.store.write(lambda view: tags.add_tags(view, call.caller, kind, call.id, wanted))
    return no_content(201)


async def _remove(backend: Backend, kind: _Kind, call: Call) -> Response:
    await backend.store.write(lambda view: tags.remove_tag(view, call.caller, kind, *call.ids))
    return no_content()


async def _remove_all(backend: Backend, kind: _Kind, call: Call) -> Response:
    await backend.store.write(lambda view: tags.replace_tags(view, call.caller, kind, call.id, ()))
    return no_content()
