"""Resources as JSON bytes: rendered once, when they are written.

A document is kept in two pieces so that visibility is splicing, not encoding: `public` is everything that anyone who may see the
resource sees, open at its end; `admin` is what only administrators see besides.
"""

from functools import cache
from typing import Any

import msgspec

from naru.model.resources import Described, Resource, attributes

_encode = msgspec.json.Encoder().encode


class Document(msgspec.Struct, frozen=True, gc=False):
    public: bytes  # {"id":"…","name":"…"      (no closing brace)
    admin: bytes  # ,"binding:host_id":"…"     (or empty)

    def seen_by(self, *, admin: bool) -> bytes:
        return self.public + self.admin + b"}" if admin else self.public + b"}"


@cache
def _fields(kind: type[Resource], who: str, absent: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    def sees(item: Described) -> str:
        return "nobody" if item.wire in absent else item.attribute.see

    return tuple((item.wire, item.field) for item in attributes(kind).values() if sees(item) == who)


def _members(resource: Resource, who: str, absent: tuple[str, ...]) -> bytes:
    """`"name":value,…` of the attributes that `who` sees, without braces."""
    return _encode({wire: getattr(resource, field) for wire, field in _fields(type(resource), who, absent)})[1:-1]


def unkept(resource: Resource, *, admin: bool) -> dict[str, Any]:
    """What is shown of a resource that is not kept as it is: to be encoded once, with what is around it."""
    seen = _fields(type(resource), "anyone", resource.absent)
    if admin:
        seen += _fields(type(resource), "admin", resource.absent)
    return {wire: getattr(resource, field) for wire, field in seen}


def render(resource: Resource) -> tuple[Document, bytes]:
    """-> the document, and the bytes to store: everything, hidden attributes included."""
    absent = resource.absent
    public = b"{" + _members(resource, "anyone", absent)
    admin = _members(resource, "admin", absent)
    if admin:
        admin = b"," + admin
    secret = _members(resource, "nobody", absent)
    return Document(public, admin), public + admin + (b"," + secret if secret else b"") + b"}"


@cache
def _decoder(kind: type[Resource]) -> msgspec.json.Decoder[Resource]:
    return msgspec.json.Decoder(kind)


def restore(kind: type[Resource], stored: bytes) -> Resource:
    """The resource that was stored."""
    return _decoder(kind).decode(stored)
