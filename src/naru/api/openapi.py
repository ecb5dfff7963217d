"""`GET /openapi.json`: what the network API takes and answers (OpenAPI 3.1), as it follows from the routes and the descriptions of kinds.

A route of a collection is described by its kind; of any other route, the path, the method and that it speaks JSON are told.
"""

from collections.abc import Iterable, Mapping
from typing import Any, get_type_hints

import msgspec

from naru import __version__
from naru.api.collections import collection_path
from naru.api.http import Route
from naru.api.network import COLLECTIONS
from naru.model.attributes import Attribute, cidr, list_of, schema_of, uuid_text
from naru.model.availability import NetworkIpAvailability as Availability
from naru.model.bindings import PortBinding
from naru.model.logs import LoggableResource
from naru.model.resources import Described, Resource, attributes
from naru.model.routing import FloatingIpPool, routes_list

_Schema = dict[str, Any]

# Kinds that are answered without being collections of what is kept.
_COMPUTED: dict[str, type[Resource]] = {
    "/v2.0/network-ip-availabilities": Availability,
    "/v2.0/floatingip_pools": FloatingIpPool,
    "/v2.0/ports/{port_id}/bindings": PortBinding,
    "/v2.0/log/loggable-resources": LoggableResource,
}
_TAG_FILTERS = ("tags-any", "not-tags", "not-tags-any")
_TAG_LIST = {
    "type": "object",
    "properties": {"tags": {"type": "array", "items": {"type": "string", "maxLength": 255}}},
    "required": ["tags"],
}
_ANY_OBJECT = {"type": "object"}
_NO_MORE = {"additionalProperties": False}


def _object(**members: _Schema) -> _Schema:
    return {"type": "object", "properties": members, "required": list(members)} | _NO_MORE


_ID = dict(schema_of(uuid_text) or {})
_PREFIXES = _object(prefixes=dict(schema_of(list_of(cidr)) or {}))
_ADDRESSES = _object(addresses=dict(schema_of(list_of(cidr)) or {}))
_INTERFACE = {"anyOf": [_object(subnet_id=_ID), _object(port_id=_ID)]}
_ROUTES = _object(router=_object(routes=dict(schema_of(routes_list) or {})))

# What is taken by what neither creates nor changes a resource, by the last word of the path.
_BODIES = {
    **dict.fromkeys(("add_router_interface", "remove_router_interface"), _INTERFACE),
    **dict.fromkeys(("add_extraroutes", "remove_extraroutes"), _ROUTES),
    **dict.fromkeys(("add_prefixes", "remove_prefixes"), _PREFIXES),
    **dict.fromkeys(("add_addresses", "remove_addresses"), _ADDRESSES),
    **dict.fromkeys(("onboard_network_subnets", "dhcp-networks"), _object(network_id=_ID)),
    "add_subports": _object(
        sub_ports={
            "type": "array",
            "items": _object(port_id=_ID, segmentation_type={"enum": ["vlan"]}, segmentation_id={"type": "integer"}),
        }
    ),
    "remove_subports": _object(sub_ports={"type": "array", "items": _object(port_id=_ID)}),
    "quotas": _object(quota={"type": "object", "additionalProperties": {"type": "integer", "minimum": -1}}),
    "service_profiles": _object(service_profile=_object(id=_ID)),
}


def openapi_document(routes: Iterable[Route]) -> bytes:
    """The whole document, as JSON."""
    kinds = described_kinds()
    paths: dict[str, _Schema] = {}
    for route in routes:
        paths.setdefault(route.pattern, {})[route.method.lower()] = _operation(route, kinds)
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Naru: Networking API v2.0", "version": __version__},
        "security": [{"token": []}],
        "tags": [{"name": name} for name in dict.fromkeys(operation["tags"][0] for item in paths.values() for operation in item.values())],
        "paths": paths,
        "components": {
            "schemas": schemas_of(kinds.values()),
            "responses": {"Refused": _answer("A refusal: docs/reference/errors.md says which", _ref("NeutronError"))},
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}},
        },
    }
    return msgspec.json.encode(document)


def described_kinds() -> dict[str, type[Resource]]:
    """Path -> the kind whose resources it lists."""
    return {collection_path(collection): collection.kind for collection in COLLECTIONS} | _COMPUTED


# -- operations


def _operation(route: Route, kinds: Mapping[str, type[Resource]]) -> _Schema:
    above, _, last = route.pattern.rpartition("/")
    if route.pattern in kinds:
        described = _of_collection(route.method, kinds[route.pattern], is_bulk=route.pattern not in _COMPUTED)
    elif above in kinds and last.startswith("{"):
        described = _of_one(route.method, kinds[above])
    elif above.rpartition("/")[0] in kinds and last == "tags":
        described = _of_tags(route.method)
    else:
        described = _of_others(route, kinds)
    words = [segment for segment in route.pattern.removeprefix("/v2.0/").split("/") if segment] or ["versions"]
    named = [{"name": word.strip("{}"), "in": "path", "required": True, "schema": _of_path(word)} for word in words if "{" in word]
    refusals = {"4XX": {"$ref": "#/components/responses/Refused"}, "503": {"$ref": "#/components/responses/Refused"}}
    if not route.is_public:
        refusals = {"401": _answer("No token, or one that is not valid (any more)", _ANY_OBJECT)} | refusals
    return {
        "operationId": "_".join([route.method.lower(), *(word.strip("{}") for word in words)]),
        "tags": [words[0]],
        "parameters": named + described.pop("parameters", []),
        **described,
        "responses": described["responses"] | refusals,
        **({"security": []} if route.is_public else {}),
    }


def _of_path(word: str) -> _Schema:
    return {"type": "string", "minLength": 1, **({"format": "uuid"} if word.endswith("id}") else {})}


def _of_collection(method: str, kind: type[Resource], *, is_bulk: bool) -> _Schema:
    one, many = _wrapped(kind, kind.kind), _many(kind, kind.kind)
    wanted = f"{kind.kind}Create"
    if method == "POST" and not is_bulk:
        body = _body(_wrapped(kind, wanted) | _NO_MORE)
        return {"summary": f"Create a {kind.singular}", "requestBody": body, "responses": {"201": _answer("As it was made", one)}}
    if method == "POST":
        return {
            "summary": f"Create one {kind.singular}, or several at once",
            "requestBody": _body({"anyOf": [_wrapped(kind, wanted) | _NO_MORE, _many(kind, wanted, minItems=1) | _NO_MORE]}),
            "responses": {"201": _answer("As it was made", {"anyOf": [one, many]})},
        }
    many["properties"][f"{kind.plural}_links"] = {"type": "array", "items": _ANY_OBJECT}
    return {
        "summary": f"List {kind.plural}",
        "parameters": [*_filters(kind), *_paging(kind), _fields(kind)],
        "responses": {"200": _answer("Those that match", many)},
    }


def _of_one(method: str, kind: type[Resource]) -> _Schema:
    shown = {"200": _answer("As it is now", _wrapped(kind, kind.kind))}
    if method == "GET":
        return {"summary": f"Show a {kind.singular}", "parameters": [_fields(kind)], "responses": shown}
    if method == "DELETE":
        return {"summary": f"Delete a {kind.singular}", "responses": {"204": {"description": "Gone"}}}
    body = _body(_wrapped(kind, f"{kind.kind}Update") | _NO_MORE)
    return {"summary": f"Change a {kind.singular}", "parameters": [_IF_MATCH], "requestBody": body, "responses": shown}


def _of_tags(method: str) -> _Schema:
    if method == "DELETE":
        return {"summary": "Remove all tags", "responses": {"204": {"description": "Gone"}}}
    answer = _answer("The tags", _TAG_LIST)
    if method == "GET":
        return {"summary": "List the tags", "responses": {"200": answer}}
    summary, status = ("Replace all tags", "200") if method == "PUT" else ("Add tags", "201")
    return {"summary": summary, "requestBody": _body(_TAG_LIST | _NO_MORE), "responses": {status: answer}}


def _of_others(route: Route, kinds: Mapping[str, type[Resource]]) -> _Schema:
    above, _, name = route.pattern.rpartition("/")
    word = above.rpartition("/")[2] if name == "{id}" else name
    takes_body = route.method in ("PUT", "POST") and word != "{tag}"
    taken = {"requestBody": _body(_BODIES.get(word, _ANY_OBJECT))} if takes_body else {}
    summary = f"{route.method} {route.pattern}" if above.rpartition("/")[0] not in kinds else name.replace("_", " ").capitalize()
    is_empty = route.method == "DELETE" or word == "{tag}"
    done = {"2XX": {"description": "Done"} if is_empty else _answer("Done", {})}
    return {"summary": summary, **taken, "responses": done}


# -- parameters

_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "schema": {"type": "string", "pattern": "^revision_number=[0-9]+$"},
    "description": "Refused with 412 where the resource has another revision by now",
}


def _query(name: str, schema: _Schema, description: str = "") -> _Schema:
    return {"name": name, "in": "query", "schema": schema} | ({"description": description} if description else {})


def _filters(kind: type[Resource]) -> list[_Schema]:
    rows = [
        _query(wire, {"type": "array", "items": _of_filter(item.attribute)}, "Any of these")
        for wire, item in attributes(kind).items()
        if item.attribute.filter
    ]
    if "tags" in attributes(kind):
        rows += [_query(name, {"type": "string"}, "Parted by commas") for name in _TAG_FILTERS]
    return [*rows, _query("changed_since", {"type": "string", "format": "date-time"})]


def _of_filter(attribute: Attribute) -> _Schema:
    sent = dict(schema_of(attribute.convert) or {}) if attribute.convert is not None else {}
    return sent if sent.get("type") in ("string", "integer", "boolean") else {"type": "string"}


def _paging(kind: type[Resource]) -> list[_Schema]:
    keys = [wire for wire, item in attributes(kind).items() if item.attribute.sort]
    return [
        *([_query("sort_key", {"type": "array", "items": {"enum": keys}}, "The first decides first")] if keys else []),
        _query("sort_dir", {"type": "array", "items": {"enum": ["asc", "desc"]}}, "None, or one for each sort_key"),
        _query("limit", {"type": "integer", "minimum": 0}),
        _query("marker", {"type": "string"}, "The id after which the page begins"),
        _query("page_reverse", {"type": "boolean"}),
    ]


def _fields(kind: type[Resource]) -> _Schema:
    shown = [wire for wire, item in attributes(kind).items() if item.attribute.see != "nobody"]
    return _query("fields", {"type": "array", "items": {"enum": shown}}, "Show no others")


# -- bodies


def _ref(name: str) -> _Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _answer(description: str, schema: _Schema) -> _Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _body(schema: _Schema) -> _Schema:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _wrapped(kind: type[Resource], name: str) -> _Schema:
    return {"type": "object", "properties": {kind.singular: _ref(name)}, "required": [kind.singular]}


def _many(kind: type[Resource], name: str, **bounds: int) -> _Schema:
    return {"type": "object", "properties": {kind.plural: {"type": "array", "items": _ref(name)} | bounds}, "required": [kind.plural]}


# -- schemas of kinds


def schemas_of(kinds: Iterable[type[Resource]]) -> _Schema:
    """For each kind `<Kind>`, which is answered, `<Kind>Create` and `<Kind>Update`, which are taken, and what they refer to."""
    ordered = sorted(set(kinds), key=lambda kind: kind.kind)
    on_wire = [(kind, item) for kind in ordered for item in attributes(kind).values() if not item.attribute.is_hidden]
    kept, parts = msgspec.json.schema_components([_kept_type(*row) for row in on_wire], ref_template="#/components/schemas/{name}")
    found: dict[str, _Schema] = dict(parts)
    for kind in ordered:
        assert kind.kind not in found, kind.kind
        shapes = {item.wire: schema for (of, item), schema in zip(on_wire, kept, strict=True) if of is kind}
        found[kind.kind] = _shown(kind, shapes)
        found[f"{kind.kind}Create"] = _taken(kind, shapes, "post")
        found[f"{kind.kind}Update"] = _taken(kind, shapes, "put")
    error = {word: {"type": "string"} for word in ("type", "message", "detail")}
    refusal = {"type": "object", "properties": error, "required": list(error)}
    return found | {"NeutronError": {"type": "object", "properties": {"NeutronError": refusal}, "required": ["NeutronError"]}}


def _kept_type(kind: type[Resource], item: Described) -> Any:
    """A field's type, or that of the property from which it follows."""
    hints = get_type_hints(kind)
    return hints[item.field] if item.field in hints else get_type_hints(getattr(kind, item.field).fget)["return"]


def _shown(kind: type[Resource], shapes: Mapping[str, _Schema]) -> _Schema:
    notes = {"admin": {"description": "Administrators alone see it"}}
    properties = {
        wire: shapes[wire] | notes.get(item.attribute.see, {}) for wire, item in attributes(kind).items() if item.attribute.see != "nobody"
    }
    return {"type": "object", "description": (kind.__doc__ or "").strip(), "properties": properties}


def _taken(kind: type[Resource], shapes: Mapping[str, _Schema], method: str) -> _Schema:
    """The object of a POST or PUT body: what may be in it, and nothing else."""
    properties, required = {}, []
    for wire, item in attributes(kind).items():
        attribute = item.attribute
        who = attribute.post if method == "post" else attribute.put
        if who == "nobody" or attribute.convert is None:
            continue
        properties[wire] = dict(schema_of(attribute.convert) or shapes[wire])
        if who == "admin":
            properties[wire]["description"] = "Administrators alone set it"
        if method == "post" and attribute.required:
            required.append(wire)
    return {"type": "object", "properties": properties, "required": required} | _NO_MORE
