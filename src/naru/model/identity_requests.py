"""From the body of a request to identity to checked values, in Keystone's words.

As in model/requests.py, the result maps struct fields to values, only those that were sent. Unlike there, what the description does not
name is no fault: Keystone keeps it, and so it goes into `extra`.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from naru.model.attributes import Who, text
from naru.model.errors import Invalid
from naru.model.resources import Resource, attributes

_MADE_HERE = frozenset({"id", "links", "project_id", "tenant_id", "created_at", "updated_at", "revision_number", "is_domain"})
_EXTRA_BYTES = 16384  # of what Keystone would keep without asking


def decode_new(kind: type[Resource], body: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a POST body. Raises Invalid, naming the attribute."""
    missing = [wire for wire, item in attributes(kind).items() if item.attribute.required and wire not in body]
    if missing:
        raise Invalid(f"'{missing[0]}' is a required property")
    return _decode(kind, body, is_new=True)


def decode_change(kind: type[Resource], body: Mapping[str, Any], before: Resource) -> dict[str, Any]:
    """The values of a PATCH body: what is to change. What cannot change may be sent as it is."""
    if not body:
        raise Invalid("{} does not have enough properties")
    if body.get("id", before.id) != before.id:
        raise Invalid(f"Cannot change {kind.singular} ID")
    return _decode(kind, body, is_new=False, before=before)


def _decode(kind: type[Resource], body: Mapping[str, Any], *, is_new: bool, before: Resource | None = None) -> dict[str, Any]:
    described = attributes(kind)
    given: dict[str, Any] = {}
    extra: dict[str, Any] = dict(getattr(before, "extra", {}))
    for wire, value in body.items():
        item = described.get(wire)
        if wire in _MADE_HERE:
            continue
        if item is None or item.attribute.is_hidden:
            extra[wire] = value
            continue
        converted = _convert(_description if wire == "description" else item.attribute.convert, wire, value)
        who: Who = item.attribute.post if is_new else item.attribute.put
        if who != "nobody":
            given[item.field] = converted
        elif getattr(before, item.field) != converted:
            raise Invalid(f"Cannot change {wire} of a {kind.singular}")
    if extra and hasattr(kind, "extra"):
        _check_extra(kind, extra)
        given["extra"] = extra
    return given


def _check_extra(kind: type[Resource], extra: dict[str, Any]) -> None:
    try:
        size = len(msgspec.json.encode(extra))
    except (RecursionError, OverflowError) as error:
        raise Invalid(f"An attribute that a {kind.singular} does not have cannot be kept: {error}") from None
    if size > _EXTRA_BYTES:
        raise Invalid(f"The attributes that a {kind.singular} does not have are more than {_EXTRA_BYTES} bytes as JSON")


def _description(value: Any) -> str:
    """Longer than that of a network may be, and null where there is none."""
    return text(65_535)("" if value is None else value)  # type: ignore[no-any-return]


def _convert(convert: Any, wire: str, value: Any) -> Any:
    try:
        return convert(value)
    except ValueError as error:
        raise Invalid(f"Invalid input for field '{wire}': {error}") from None
