"""Tags: texts that users stick to their resources, of whatever kind, to find them by.

https://docs.openstack.org/api-ref/network/v2/#standard-attributes-tag-extension
"""

from typing import Any

from msgspec.structs import replace

from naru.model.attributes import shown, tag_list
from naru.model.errors import Invalid, NotFound
from naru.model.identity import Caller
from naru.model.resources import Changes, Resource, put
from naru.model.view import View
from naru.service.policy import fetch, fetch_own

Tags = tuple[str, ...]


def decode_tags(body: Any) -> Tags:
    """The list in {"tags": […]}. Raises Invalid for anything else, and for a tag named twice."""
    if not isinstance(body, dict) or set(body) != {"tags"}:
        raise _invalid(f"{shown(body)} is not an object with 'tags'")
    return checked(body["tags"])


def checked(tags: Any) -> Tags:
    try:
        return tag_list(tags)  # type: ignore[no-any-return]
    except ValueError as error:
        raise _invalid(str(error)) from None


def list_tags(view: View, caller: Caller, kind: type[Resource], id: str) -> Tags:
    return _tags(_found(view, caller, kind, id))


def check_tag(view: View, caller: Caller, kind: type[Resource], id: str, tag: str) -> None:
    """Raises NotFound where the resource has no such tag."""
    if tag not in list_tags(view, caller, kind, id):
        raise _no_such(tag)


def replace_tags(view: View, caller: Caller, kind: type[Resource], id: str, tags: Tags) -> Changes[Tags]:
    yield from _keep(_own(view, caller, kind, id), tags)
    return tags


def add_tags(view: View, caller: Caller, kind: type[Resource], id: str, tags: Tags) -> Changes[Tags]:
    """Those that are there already stay where they are."""
    resource = _own(view, caller, kind, id)
    tags = tuple(dict.fromkeys((*_tags(resource), *tags)))
    yield from _keep(resource, tags)
    return tags


def remove_tag(view: View, caller: Caller, kind: type[Resource], id: str, tag: str) -> Changes[None]:
    """Raises NotFound where the resource has no such tag."""
    resource = _own(view, caller, kind, id)
    if tag not in _tags(resource):
        raise _no_such(tag)
    yield from _keep(resource, tuple(other for other in _tags(resource) if other != tag))


def _keep(resource: Resource, tags: Tags) -> Changes[None]:
    if tags != _tags(resource):
        yield put(replace(resource, tags=tags))


def _tags(resource: Resource) -> Tags:
    return resource.tags  # type: ignore[attr-defined, no-any-return]


def _found(view: View, caller: Caller, kind: type[Resource], id: str) -> Resource:
    try:
        return fetch(view, caller, kind, id)
    except NotFound:
        raise NotFound(f"Resource {kind.plural} {id} could not be found.", "TagResourceNotFound") from None


def _own(view: View, caller: Caller, kind: type[Resource], id: str) -> Resource:
    _found(view, caller, kind, id)
    return fetch_own(view, caller, kind, id, "update")


def _no_such(tag: str) -> NotFound:
    return NotFound(f"Tag {tag} could not be found.", "TagNotFound")


def _invalid(reason: str) -> Invalid:
    return Invalid(f"Invalid input for operation: {reason}.", "InvalidInput")
