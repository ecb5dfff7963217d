"""From a request body to checked values, by the description of the resource.

The result maps struct fields to values, only those that were sent: what is absent takes the resource's default or is chosen by
the service. Anything that the description does not allow is refused, so nothing is silently ignored.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from naru.model.attributes import Attribute, Unconvertible
from naru.model.errors import Forbidden, Invalid, invalid_value
from naru.model.identity import Caller
from naru.model.resources import Resource, attributes, rule_name


def decode_create(kind: type[Resource], body: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
    """The values of a POST body. Raises Invalid or Forbidden, naming the attribute."""
    given = _decode(kind, body, caller, "post")
    demanded = [(wire, item) for wire, item in attributes(kind).items() if item.attribute.required]
    missing = [wire for wire, item in demanded if item.field not in given and given.get(item.attribute.unless) is None]
    if missing:
        raise Invalid(f"Failed to parse request. Required attribute '{missing[0]}' not specified")
    project_id = given.setdefault("project_id", caller.project_id)
    if project_id != caller.project_id and not caller.is_admin:
        raise Invalid(f"project_id '{project_id}' is not the project of the request: only an administrator creates for another one")
    return given


def decode_update(kind: type[Resource], body: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
    """The values of a PUT body: what is to change."""
    return _decode(kind, body, caller, "put")


def _decode(kind: type[Resource], body: Mapping[str, Any], caller: Caller, method: str) -> dict[str, Any]:
    described = attributes(kind)
    given: dict[str, Any] = {}
    for wire, value in body.items():
        item = described.get(wire)
        if item is None or item.attribute.is_hidden:
            raise Invalid(f"Unrecognized attribute(s) '{wire}'")
        attribute = item.attribute
        who = attribute.post if method == "post" else attribute.put
        if who == "nobody":
            if method == "post":
                raise Invalid(f"Attribute '{wire}' not allowed in POST")
            raise Invalid(f"Cannot update read-only attribute {wire}")
        converted = _convert(attribute, wire, value)
        is_change = method == "put" or converted != defaults(kind).get(item.field, msgspec.UNSET)
        if who == "admin" and is_change and not caller.is_admin:
            rule = rule_name("create" if method == "post" else "update", kind, wire)
            if not caller.is_ruled(rule):  # else what it is set on is part of the question (service/policy.py)
                raise Forbidden(f"(rule:{rule}) is disallowed by policy: an administrator may set it")
        if given.setdefault(item.field, converted) != converted:
            raise Invalid(f"'project_id' and 'tenant_id' do not match in the request for {kind.singular}")
    return given


def _convert(attribute: Attribute, wire: str, value: Any) -> Any:
    assert attribute.convert is not None
    try:
        return attribute.convert(value)
    except Unconvertible as error:
        raise invalid_value(wire, str(error), "InvalidInput") from None
    except ValueError as error:
        raise invalid_value(wire, str(error)) from None


@cache
def defaults(kind: type[Resource]) -> Mapping[str, Any]:
    """Field -> what it is where nobody says."""
    return {
        item.name: item.default if item.default is not msgspec.NODEFAULT else item.default_factory()
        for item in msgspec.structs.fields(kind)
        if not item.required
    }
