"""The words in which /openapi.json is written (https://spec.openapis.org/oas/v3.1.0), and the schemas that follow from kinds."""

from collections.abc import Iterable, Mapping
from typing import Any, get_type_hints

import msgspec

from naru.model.attributes import schema_of
from naru.model.resources import Described, Resource, attributes

Schema = dict[str, Any]

ANY_OBJECT: Schema = {"type": "object"}
NO_MORE: Schema = {"additionalProperties": False}


def object_of(**members: Schema) -> Schema:
    """With all of these members, and no others."""
    return {"type": "object", "properties": members, "required": list(members)} | NO_MORE


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def gives_json(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def takes_json(schema: Schema) -> Schema:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


# -- schemas of kinds


def schemas_of(kinds: Iterable[type[Resource]]) -> Schema:
    """For each kind `<Kind>`, which is answered, `<Kind>Create` and `<Kind>Update`, which are taken, and what they refer to."""
    ordered = sorted(set(kinds), key=lambda kind: kind.kind)
    on_wire = [(kind, item) for kind in ordered for item in attributes(kind).values() if not item.attribute.is_hidden]
    kept, parts = msgspec.json.schema_components([_kept_type(*row) for row in on_wire], ref_template="#/components/schemas/{name}")
    found: dict[str, Schema] = dict(parts)
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


def _shown(kind: type[Resource], shapes: Mapping[str, Schema]) -> Schema:
    notes = {"admin": {"description": "Administrators alone see it"}}
    properties = {
        wire: shapes[wire] | notes.get(item.attribute.see, {}) for wire, item in attributes(kind).items() if item.attribute.see != "nobody"
    }
    return {"type": "object", "description": (kind.__doc__ or "").strip(), "properties": properties}


def _taken(kind: type[Resource], shapes: Mapping[str, Schema], method: str) -> Schema:
    """The object of a POST or PUT body: what may be in it, and nothing else."""
    properties, required, either = {}, [], []
    for wire, item in attributes(kind).items():
        attribute = item.attribute
        who = attribute.post if method == "post" else attribute.put
        if who == "nobody" or attribute.convert is None:
            continue
        properties[wire] = dict(schema_of(attribute.convert) or shapes[wire])
        if who == "admin":
            properties[wire]["description"] = "Administrators alone set it"
        if method == "post" and attribute.required and attribute.unless:
            either += [{"required": [wire]}, {"required": [attribute.unless]}]
        elif method == "post" and attribute.required:
            required.append(wire)
    return {"type": "object", "properties": properties, "required": required, **({"anyOf": either} if either else {})} | NO_MORE
