"""`GET /openapi.json`: what the server takes and answers (OpenAPI 3.1), as it follows from the routes and the descriptions of kinds.

A route of a collection is described by its kind; of any other route, the path, the method and that it speaks JSON are told.
"""

from collections.abc import Iterable, Mapping

import msgspec

from naru import __version__
from naru.api.collections import collection_path
from naru.api.http import Route
from naru.api.network import COLLECTIONS
from naru.api.openapi_schemas import ANY_OBJECT, NO_MORE, Schema, gives_json, object_of, ref, schemas_of, takes_json
from naru.api.openapi_services import REFUSALS, describe_service, is_of_service, refusal_of, service_schemas
from naru.model.attributes import Attribute, cidr, list_of, schema_of, uuid_text
from naru.model.availability import NetworkIpAvailability as Availability
from naru.model.bindings import PortBinding
from naru.model.logs import LoggableResource
from naru.model.picks import LONGEST_HOLD_S
from naru.model.resources import Resource, attributes
from naru.model.routing import FloatingIpPool, routes_list
from naru.model.usage import NetworkIpForecast

# Kinds that are answered without being collections of what is kept.
_COMPUTED: dict[str, type[Resource]] = {
    "/v2.0/network-ip-availabilities": Availability,
    "/v2.0/network-ip-forecasts": NetworkIpForecast,
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
_ID = dict(schema_of(uuid_text) or {})
_PREFIXES = object_of(prefixes=dict(schema_of(list_of(cidr)) or {}))
_ADDRESSES = object_of(addresses=dict(schema_of(list_of(cidr)) or {}))
_INTERFACE = {"anyOf": [object_of(subnet_id=_ID), object_of(port_id=_ID)]}
_ROUTES = object_of(router=object_of(routes=dict(schema_of(routes_list) or {})))

# What is taken by what neither creates nor changes a resource, by the last word of the path.
_BODIES = {
    **dict.fromkeys(("add_router_interface", "remove_router_interface"), _INTERFACE),
    **dict.fromkeys(("add_extraroutes", "remove_extraroutes"), _ROUTES),
    **dict.fromkeys(("add_prefixes", "remove_prefixes"), _PREFIXES),
    **dict.fromkeys(("add_addresses", "remove_addresses"), _ADDRESSES),
    **dict.fromkeys(("onboard_network_subnets", "dhcp-networks"), object_of(network_id=_ID)),
    "add_subports": object_of(
        sub_ports={
            "type": "array",
            "items": object_of(port_id=_ID, segmentation_type={"enum": ["vlan"]}, segmentation_id={"type": "integer"}),
        }
    ),
    "remove_subports": object_of(sub_ports={"type": "array", "items": object_of(port_id=_ID)}),
    "renew": {"type": "object", "properties": {"hold_s": {"type": "integer", "minimum": 1, "maximum": LONGEST_HOLD_S}}} | NO_MORE,
    "quotas": object_of(quota={"type": "object", "additionalProperties": {"type": "integer", "minimum": -1}}),
    "service_profiles": object_of(service_profile=object_of(id=_ID)),
}


def openapi_document(routes: Iterable[Route]) -> bytes:
    """The whole document, as JSON."""
    kinds = described_kinds()
    paths: dict[str, Schema] = {}
    for route in routes:
        paths.setdefault(route.pattern, {})[route.method.lower()] = _operation(route, kinds)
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Naru: Networking v2.0, and its subsets of Identity v3, Compute v2.1 and Image v2", "version": __version__},
        "security": [{"token": []}],
        "tags": [{"name": name} for name in dict.fromkeys(operation["tags"][0] for item in paths.values() for operation in item.values())],
        "paths": paths,
        "components": {
            "schemas": schemas_of(kinds.values()) | service_schemas(),
            "responses": {name: gives_json("A refusal: docs/reference/errors.md says which", ref(schema)) for name, schema in _REFUSED},
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}},
        },
    }
    return msgspec.json.encode(document)


_REFUSED = (("Refused", "NeutronError"), *((name, name) for name, _ in REFUSALS.values()))


def described_kinds() -> dict[str, type[Resource]]:
    """Path -> the kind whose resources it lists."""
    return {collection_path(collection): collection.kind for collection in COLLECTIONS} | _COMPUTED


# -- operations


def _operation(route: Route, kinds: Mapping[str, type[Resource]]) -> Schema:
    above, _, last = route.pattern.rpartition("/")
    if is_of_service(route):
        described = describe_service(route)
    elif route.pattern in kinds:
        described = _of_collection(route.method, kinds[route.pattern], is_bulk=route.pattern not in _COMPUTED)
    elif above in kinds and last.startswith("{"):
        described = _of_one(route.method, kinds[above])
    elif above.rpartition("/")[0] in kinds and last == "tags":
        described = _of_tags(route.method)
    else:
        described = _of_others(route, kinds)
    words = [segment for segment in route.pattern.removeprefix("/v2.0/").split("/") if segment] or ["versions"]
    named = [{"name": word.strip("{}"), "in": "path", "required": True, "schema": _of_path(word, route)} for word in words if "{" in word]
    refusals: Schema = {status: {"$ref": f"#/components/responses/{refusal_of(route)}"} for status in ("4XX", "503")}
    if not route.is_public:
        refusals = {"401": gives_json("No token, or one that is not valid (any more)", ANY_OBJECT)} | refusals
    return {
        "operationId": "_".join([route.method.lower(), *(word.strip("{}") for word in words)]),
        "tags": [words[0]],
        "parameters": named + described.pop("parameters", []),
        **described,
        "responses": described["responses"] | refusals,
        **({"security": []} if route.is_public else {}),
    }


def _of_path(word: str, route: Route) -> Schema:
    is_uuid = word.endswith("id}") and not is_of_service(route)  # a role's id is its name
    return {"type": "string", "minLength": 1, **({"format": "uuid"} if is_uuid else {})}


def _of_collection(method: str, kind: type[Resource], *, is_bulk: bool) -> Schema:
    one, many = _wrapped(kind, kind.kind), _many(kind, kind.kind)
    wanted = f"{kind.kind}Create"
    if method == "POST" and not is_bulk:
        body = takes_json(_wrapped(kind, wanted) | NO_MORE)
        return {"summary": f"Create a {kind.singular}", "requestBody": body, "responses": {"201": gives_json("As it was made", one)}}
    if method == "POST":
        return {
            "summary": f"Create one {kind.singular}, or several at once",
            "requestBody": takes_json({"anyOf": [_wrapped(kind, wanted) | NO_MORE, _many(kind, wanted, minItems=1) | NO_MORE]}),
            "responses": {"201": gives_json("As it was made", {"anyOf": [one, many]})},
        }
    many["properties"][f"{kind.plural}_links"] = {"type": "array", "items": ANY_OBJECT}
    return {
        "summary": f"List {kind.plural}",
        "parameters": [*_filters(kind), *_paging(kind), _fields(kind)],
        "responses": {"200": gives_json("Those that match", many)},
    }


def _of_one(method: str, kind: type[Resource]) -> Schema:
    shown = {"200": gives_json("As it is now", _wrapped(kind, kind.kind))}
    if method == "GET":
        return {"summary": f"Show a {kind.singular}", "parameters": [_fields(kind)], "responses": shown}
    if method == "DELETE":
        return {"summary": f"Delete a {kind.singular}", "responses": {"204": {"description": "Gone"}}}
    body = takes_json(_wrapped(kind, f"{kind.kind}Update") | NO_MORE)
    return {"summary": f"Change a {kind.singular}", "parameters": [_IF_MATCH], "requestBody": body, "responses": shown}


def _of_tags(method: str) -> Schema:
    if method == "DELETE":
        return {"summary": "Remove all tags", "responses": {"204": {"description": "Gone"}}}
    answer = gives_json("The tags", _TAG_LIST)
    if method == "GET":
        return {"summary": "List the tags", "responses": {"200": answer}}
    summary, status = ("Replace all tags", "200") if method == "PUT" else ("Add tags", "201")
    return {"summary": summary, "requestBody": takes_json(_TAG_LIST | NO_MORE), "responses": {status: answer}}


def _of_others(route: Route, kinds: Mapping[str, type[Resource]]) -> Schema:
    above, _, name = route.pattern.rpartition("/")
    word = above.rpartition("/")[2] if name == "{id}" else name
    takes_body = route.method in ("PUT", "POST") and word != "{tag}"
    taken = {"requestBody": takes_json(_BODIES.get(word, ANY_OBJECT))} if takes_body else {}
    summary = f"{route.method} {route.pattern}" if above.rpartition("/")[0] not in kinds else name.replace("_", " ").capitalize()
    is_empty = route.method == "DELETE" or word == "{tag}"
    done = {"2XX": {"description": "Done"} if is_empty else gives_json("Done", {})}
    return {"summary": summary, **taken, "responses": done}


# -- parameters

_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "schema": {"type": "string", "pattern": "^revision_number=[0-9]+$"},
    "description": "Refused with 412 where the resource has another revision by now",
}


def _query(name: str, schema: Schema, description: str = "") -> Schema:
    return {"name": name, "in": "query", "schema": schema} | ({"description": description} if description else {})


def _filters(kind: type[Resource]) -> list[Schema]:
    rows = [
        _query(wire, {"type": "array", "items": _of_filter(item.attribute)}, "Any of these")
        for wire, item in attributes(kind).items()
        if item.attribute.filter
    ]
    if "tags" in attributes(kind):
        rows += [_query(name, {"type": "string"}, "Parted by commas") for name in _TAG_FILTERS]
    return [*rows, _query("changed_since", {"type": "string", "format": "date-time"})]


def _of_filter(attribute: Attribute) -> Schema:
    sent = dict(schema_of(attribute.convert) or {}) if attribute.convert is not None else {}
    return sent if sent.get("type") in ("string", "integer", "boolean") else {"type": "string"}


def _paging(kind: type[Resource]) -> list[Schema]:
    keys = [wire for wire, item in attributes(kind).items() if item.attribute.sort]
    return [
        *([_query("sort_key", {"type": "array", "items": {"enum": keys}}, "The first decides first")] if keys else []),
        _query("sort_dir", {"type": "array", "items": {"enum": ["asc", "desc"]}}, "None, or one for each sort_key"),
        _query("limit", {"type": "integer", "minimum": 0}),
        _query("marker", {"type": "string"}, "The id after which the page begins"),
        _query("page_reverse", {"type": "boolean"}),
    ]


def _fields(kind: type[Resource]) -> Schema:
    shown = [wire for wire, item in attributes(kind).items() if item.attribute.see != "nobody"]
    return _query("fields", {"type": "array", "items": {"enum": shown}}, "Show no others")


# -- bodies


def _wrapped(kind: type[Resource], name: str) -> Schema:
    return {"type": "object", "properties": {kind.singular: ref(name)}, "required": [kind.singular]}


def _many(kind: type[Resource], name: str, **bounds: int) -> Schema:
    return {"type": "object", "properties": {kind.plural: {"type": "array", "items": ref(name)} | bounds}, "required": [kind.plural]}
