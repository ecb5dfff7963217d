"""Identity, compute and image in /openapi.json: what they take follows from the structs that read it, what they answer is an object."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from naru.api.http import Route
from naru.api.openapi_schemas import ANY_OBJECT, Schema, gives_json, object_of, ref, schemas_of, takes_json
from naru.model.auth_request import AuthRequest, Ref
from naru.model.compute import ServerCreate, ServerUpdate
from naru.model.identity import ApplicationCredential, Domain, Project, Role, User
from naru.service.instances import MOST_AT_ONCE

_KINDS = {kind.plural: kind for kind in (Domain, Project, User, Role, ApplicationCredential)}
_ASKED = (AuthRequest, Ref, ServerCreate, ServerUpdate)  # structs that a body is read as
_TEXT: Schema = {"type": "string", "minLength": 1}
_ID: Schema = {"type": "string", "format": "uuid"}
_IP: Schema = {"type": "string", "format": "ip"}
# Narrower than the struct: what may be said of an instance that has no volumes and no configuration drive (api/servers.py).
_SERVER_CAN_HAVE: Schema = {
    "block_device_mapping_v2": {
        "type": "array",
        "items": object_of(source_type={"enum": ["image"]}, destination_type={"enum": ["local"]}, boot_index={"enum": [0]}),
    },
    "config_drive": {"enum": [False, None, ""]},
    "imageRef": _TEXT,
    "min_count": {"type": "integer", "minimum": 1, "maximum": MOST_AT_ONCE},
    "max_count": {"type": "integer", "minimum": 1, "maximum": MOST_AT_ONCE},
}

# How each refuses; the network API's own is described with it.
REFUSALS: Mapping[str, tuple[str, Schema]] = {
    "/identity": ("IdentityRefused", object_of(error={"type": "object"})),
    "/compute": ("ComputeRefused", ANY_OBJECT | {"minProperties": 1, "maxProperties": 1}),
    "/image": ("ImageRefused", object_of(error={"type": "object"})),
}

_BODIES: Mapping[tuple[str, str], Schema] = {
    ("POST", "/identity/v3/auth/tokens"): {"type": "object", "properties": {"auth": ref("AuthRequest")}, "required": ["auth"]},
    ("POST", "/identity/v3/users/{id}/password"): object_of(user=object_of(original_password=_TEXT, password=_TEXT)),
    ("POST", "/compute/v2.1/servers"): {"type": "object", "properties": {"server": ref("ServerCreate")}, "required": ["server"]},
    ("PUT", "/compute/v2.1/servers/{id}"): {"type": "object", "properties": {"server": ref("ServerUpdate")}, "required": ["server"]},
}
_SUBJECT: Schema = {"name": "X-Subject-Token", "in": "header", "required": True, "schema": _TEXT, "description": "The token that is meant"}
_PAGING: list[Schema] = [
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 0}},
    {"name": "marker", "in": "query", "schema": {"type": "string"}, "description": "The id after which the page begins"},
]


def is_of_service(route: Route) -> bool:
    return route.pattern.startswith(tuple(REFUSALS))


def refusal_of(route: Route) -> str:
    """The name of the response."""
    return next((name for prefix, (name, _) in REFUSALS.items() if route.pattern.startswith(prefix)), "Refused")


def describe_service(route: Route) -> Schema:
    """Summary, parameters, body and answers of a route of identity, compute or image."""
    parameters: list[Schema] = []
    if route.pattern == "/identity/v3/auth/tokens" and route.method != "POST":
        parameters.append(_SUBJECT)
    if route.pattern.removesuffix("/detail").endswith("/servers") and route.method == "GET":
        parameters += _PAGING
    taken = {"requestBody": takes_json(_taken(route))} if route.method in ("POST", "PATCH") or _is_put_with_body(route) else {}
    is_empty = (route.method in ("DELETE", "PUT") and not taken) or route.pattern.endswith(("/password", "/roles/{role_id}"))
    done = {"2XX": {"description": "Done"} if is_empty else gives_json("Done", ANY_OBJECT)}
    if route.pattern in ("/identity", "/image", "/image/v2"):
        done = {"300": gives_json("The versions that there are", ANY_OBJECT)}
    return {"summary": f"{route.method} {route.pattern}", "parameters": parameters, **taken, "responses": done}


def _is_put_with_body(route: Route) -> bool:
    return (route.method, route.pattern) in _BODIES


def _taken(route: Route) -> Schema:
    if (route.method, route.pattern) in _BODIES:
        return _BODIES[route.method, route.pattern]
    plural = route.pattern.removesuffix("/{id}").rpartition("/")[2]
    kind = _KINDS.get(plural)
    if kind is None:
        return ANY_OBJECT
    wanted = ref(f"{kind.kind}{'Create' if route.method == 'POST' else 'Update'}")
    return {"type": "object", "properties": {kind.singular: wanted}, "required": [kind.singular]}


def service_schemas() -> Schema:
    """What those bodies and refusals refer to."""
    found = schemas_of(_KINDS.values())
    for kind in _KINDS.values():
        for name in (f"{kind.kind}Create", f"{kind.kind}Update"):
            found[name]["additionalProperties"] = True  # Keystone keeps what it does not know
    found["ApplicationCredentialCreate"]["properties"]["roles"] = {"type": "array", "items": ref("Ref")}
    _, asked = msgspec.json.schema_components(_ASKED, ref_template="#/components/schemas/{name}")
    asked["ServerCreate"]["properties"] |= _SERVER_CAN_HAVE
    asked["ServerCreate"]["required"] += ["imageRef"]
    asked["NicAsk"] = {"anyOf": [object_of(uuid=_ID), object_of(port=_ID), object_of(uuid=_ID, fixed_ip=_IP)]}
    return found | _anchored(asked) | dict(REFUSALS.values())


def _anchored(schemas: dict[str, Any]) -> Schema:
    """Patterns with the anchors of JSON Schema, which has those of ECMA-262."""
    text = msgspec.json.encode(schemas).decode()
    return msgspec.json.decode(re.sub(r"\\\\Z", "$", re.sub(r"\\\\A", "^", text)))  # type: ignore[no-any-return]
