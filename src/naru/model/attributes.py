"""How a resource describes its attributes: what a value may be, who may set it, who may see it.

A resource is a struct; the annotation of each field carries an `Attribute`. Validation of requests, rendering, filters,
sort keys and the contract test against neutron-lib all follow from these descriptions.
"""

import ipaddress
import math
import re
import unicodedata
import uuid
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec

Who = Literal["nobody", "admin", "anyone"]
Convert = Callable[[Any], Any]  # a value as sent -> a value as kept; raises ValueError(reason)


class Unconvertible(ValueError):
    """Of the wrong sort altogether: Neutron calls this InvalidInput, and a value that is merely not allowed HTTPBadRequest."""


class Attribute(msgspec.Struct, frozen=True):
    """One attribute of a resource, as the API sees it."""

    convert: Convert | None = None
    post: Who = "nobody"
    put: Who = "nobody"
    see: Who = "anyone"
    required: bool = False  # in POST
    unless: str = ""  # the attribute that makes up for one that is required
    filter: bool = True
    sort: bool = True

    @property
    def is_hidden(self) -> bool:
        """Nobody sees it, sets it, or asks for it."""
        return (self.see, self.post, self.put, self.filter) == ("nobody", "nobody", "nobody", False)


def settable(convert: Convert, *, who: Who = "anyone", put: Who | None = None, **options: Any) -> Attribute:
    """May be given at create and changed later."""
    return Attribute(convert, post=who, put=put or who, **options)


def at_create(convert: Convert, *, who: Who = "anyone", **options: Any) -> Attribute:
    """May be given at create only."""
    return Attribute(convert, post=who, **options)


def at_update(convert: Convert, *, who: Who = "anyone", **options: Any) -> Attribute:
    """May be changed, not given at create."""
    return Attribute(convert, put=who, **options)


def read_only(**options: Any) -> Attribute:
    return Attribute(**options)


def filter_only(convert: Convert) -> Attribute:
    """Lists can be filtered by it; it is not on the wire."""
    return Attribute(convert, see="nobody", sort=False)


def hidden() -> Attribute:
    """Kept with the resource, never on the wire."""
    return Attribute(see="nobody", filter=False, sort=False)


# -- what a conversion takes, as JSON Schema: /openapi.json and the reference of attributes say it

C = TypeVar("C", bound=Callable[..., Any])
Schema = Mapping[str, Any]


def takes(schema: Schema | None) -> Callable[[C], C]:
    """Marks a conversion. One without the mark takes what its field keeps; booleans and numbers may be sent as texts everywhere."""

    def mark(convert: C) -> C:
        if schema is not None:
            convert.__dict__["schema"] = schema
        return convert

    return mark


def schema_of(convert: Convert) -> Schema | None:
    return getattr(convert, "schema", None)


def nullable(schema: Schema | None) -> Schema | None:
    return schema and {"anyOf": [schema, {"type": "null"}]}


# -- conversions: each raises ValueError with a reason that names the value


def shown(value: Any) -> str:
    """A value as it stands in a message: what was sent, cut where it is long."""
    try:
        text = str(value)
    except (RecursionError, ValueError):  # nested too deep; an integer of more than 4,300 digits
        text = f"a {type(value).__name__}"
    return f"'{text}'" if len(text) <= 80 else f"'{text[:80]}…'"


_BOOLEANS = dict.fromkeys(("true", "1", "t", "on", "y", "yes"), True) | dict.fromkeys(("false", "0", "f", "off", "n", "no"), False)


@takes({"type": "boolean"})
def boolean(value: Any) -> bool:
    """True, "True", "yes", 1, "1" and their opposites: old clients send strings."""
    truth = _BOOLEANS.get(str(value).strip().lower()) if isinstance(value, str | int) else None
    if truth is None:
        raise Unconvertible(f"{shown(value)} cannot be converted to boolean")
    return truth


def integer(minimum: int | None = None, maximum: int | None = None, one_of: Collection[int] | None = None) -> Convert:
    bounds = {"minimum": minimum, "maximum": maximum, "enum": one_of and list(one_of)}

    @takes({"type": "integer"} | {word: bound for word, bound in bounds.items() if bound is not None})
    def convert(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise Unconvertible(f"{shown(value)} is not an integer")
        try:
            number = int(value)
        except ValueError:
            raise Unconvertible(f"{shown(value)} is not an integer") from None
        if minimum is not None and number < minimum:
            raise ValueError(f"{shown(number)} is too small, must be at least {minimum}")
        if maximum is not None and number > maximum:
            raise ValueError(f"{shown(number)} is too large, must be at most {maximum}")
        if one_of is not None and number not in one_of:
            raise ValueError(f"{shown(number)} is not in {list(one_of)}")
        return number

    return convert


def number(minimum: float | None = None, maximum: float | None = None) -> Convert:
    """A number that need not be whole."""
    bounds = {"minimum": minimum, "maximum": maximum}

    @takes({"type": "number"} | {word: bound for word, bound in bounds.items() if bound is not None})
    def convert(value: Any) -> float:
        try:
            number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise Unconvertible(f"{shown(value)} is not a number")
        if minimum is not None and number < minimum:
            raise ValueError(f"{shown(value)} is too small, must be at least {minimum:g}")
        if maximum is not None and number > maximum:
            raise ValueError(f"{shown(value)} is too large, must be at most {maximum:g}")
        return number

    return convert


def text(maximum: int) -> Convert:
    @takes({"type": "string", "maxLength": maximum})
    def convert(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(f"{shown(value)} is not a valid string")
        if len(value) > maximum:
            raise ValueError(f"{shown(value)} exceeds maximum length of {maximum}")
        if "\x00" in value:
            raise ValueError("it holds a NUL character")
        return value

    return convert


def name_text(maximum: int) -> Convert:
    """A text on one line, without control characters, and without spaces at its ends."""
    check_text = text(maximum)

    @takes({"type": "string", "maxLength": maximum, "format": "line"})
    def convert(value: Any) -> str:
        check_text(value)
        if value != value.strip() or not (value.isprintable() or all(map(_is_on_a_line, value))):
            raise ValueError(f"{shown(value)} is not a valid string: it has a control character, or a space at an end")
        return value  # type: ignore[no-any-return]

    return convert


def _is_on_a_line(character: str) -> bool:
    """Printable, or one of Unicode's other spaces."""
    category = unicodedata.category(character)
    return category[0] != "C" and category not in ("Zl", "Zp")


def one_of(values: Collection[Any]) -> Convert:
    @takes({"enum": list(values)})
    def convert(value: Any) -> Any:
        if not isinstance(value, str | int | None) or value not in values:
            raise ValueError(f"{shown(value)} is not in {list(values)}")
        return value

    return convert


def or_none(convert: Convert) -> Convert:
    return takes(nullable(schema_of(convert)))(lambda value: None if value is None else convert(value))


@takes({"type": "string", "format": "uuid"})
def uuid_text(value: Any) -> str:
    """A UUID in its canonical form: 36 characters, lower case, hyphens."""
    if isinstance(value, str):
        try:
            return str(uuid.UUID(value))
        except ValueError:
            pass
    raise ValueError(f"{shown(value)} is not a valid UUID")


_MAC = re.compile(r"[0-9a-f]{2}([:-][0-9a-f]{2}){5}|[0-9a-f]{4}(\.[0-9a-f]{4}){2}|[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


@takes({"type": "string", "format": "mac"})
def mac_address(value: Any) -> str:
    """A unicast MAC, lower case with colons (IEEE 802: the lowest bit of the first byte marks a group)."""
    matched = isinstance(value, str) and _MAC.fullmatch(value)
    digits = re.sub(r"[-:.]", "", value).lower() if matched else ""
    if not digits or digits == "0" * 12 or int(digits[1], 16) & 1:
        raise ValueError(f"{shown(value)} is not a valid MAC address")
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


@takes(nullable(schema_of(mac_address)))
def mac_or_another(value: Any) -> str:
    """Null asks for a MAC that the server chooses, and is kept as ""."""
    return "" if value is None else mac_address(value)


@takes({"type": "string", "format": "ip"})
def ip_address(value: Any) -> str:
    if isinstance(value, str) and "%" not in value:  # a zone means something on one host only (RFC 4007 §6)
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            pass
    raise ValueError(f"{shown(value)} is not a valid IP address")


@takes({"type": "string", "format": "cidr"})
def cidr(value: Any) -> str:
    """The prefix in which an address with a length lies, in canonical form: 10.0.0.1/24 is 10.0.0.0/24."""
    if not isinstance(value, str):
        raise Unconvertible(f"{shown(value)} is not in a CIDR format")
    if "/" in value:
        try:
            return str(ipaddress.ip_network(value, strict=False))
        except ValueError:
            pass
    raise ValueError(f"{shown(value)} is not a valid IP subnet")


@takes(schema_of(cidr))
def route_destination(value: Any) -> str:
    """A prefix whose host bits are zero, and that is not this host itself."""
    prefix = ipaddress.ip_network(cidr(value))
    if ipaddress.ip_address(value.partition("/")[0]) != prefix.network_address:
        raise ValueError(f"{shown(value)} is not a valid CIDR; {prefix} would be one")
    if prefix.is_loopback:
        raise ValueError(f"{shown(value)} is not a routable CIDR")
    return str(prefix)


def list_of(convert: Convert, *, unique: bool = True) -> Convert:
    """A list, kept as a tuple."""

    @takes({"type": "array", "items": schema_of(convert) or {}, "uniqueItems": unique})
    def convert_list(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ValueError(f"{shown(value)} is not a list")
        items = tuple(convert(item) for item in value)
        if unique and len(set(items)) != len(items):
            raise ValueError(f"duplicate items in the list: {shown(value)}")
        return items

    return convert_list


def or_empty(convert: Convert, empty: Any = ()) -> Convert:
    return takes(nullable(schema_of(convert)))(lambda value: empty if value is None else convert(value))


def struct_of(kind: type[msgspec.Struct], **members: Convert) -> Convert:
    """An object with just these members, kept as `kind`; members that are absent take the struct's defaults."""
    required = [field.name for field in msgspec.structs.fields(kind) if field.required]
    properties = {name: schema_of(member) or {} for name, member in members.items()}

    @takes({"type": "object", "properties": properties, "required": required, "additionalProperties": False})
    def convert(value: Any) -> msgspec.Struct:
        if not isinstance(value, dict):
            raise ValueError(f"{shown(value)} is not a dictionary")
        if unknown := set(value) - set(members):
            raise ValueError(f"unexpected keys {sorted(unknown)} in {shown(value)}")
        try:
            return kind(**{name: members[name](item) for name, item in value.items()})
        except TypeError:
            raise ValueError(f"missing keys {sorted(set(required) - set(value))} in {shown(value)}") from None

    return convert


def mapping(maximum_bytes: int) -> Convert:
    """Any JSON object of at most so many bytes; None means empty."""

    @takes({"type": ["object", "null"]})
    def convert(value: Any) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise ValueError(f"{shown(value)} is not a dictionary")
        if len(msgspec.json.encode(value)) > maximum_bytes:
            raise Unconvertible(f"the value is too large: more than {maximum_bytes} bytes as JSON")
        return value

    return convert


# -- annotations of attributes that many kinds have

tag_list = list_of(text(255))


def zone_names(value: Any) -> tuple[str, ...]:
    """Names of availability zones; as JSON they have 255 characters at most."""
    names = list_of(text(255))(value)
    if len(msgspec.json.encode(names)) > 255:
        raise ValueError("Too many availability_zone_hints specified")
    return names  # type: ignore[no-any-return]


# Texts by which users find their resources. They are set through their own paths (api/tags.py), only a port's already at create.
Tags = Annotated[tuple[str, ...], read_only(sort=False)]

# What a list of tags asks of the tags that a resource has.
TAG_TESTS: Mapping[str, Callable[[frozenset[str], frozenset[str]], bool]] = {
    "tags": lambda asked, present: asked <= present,
    "tags-any": lambda asked, present: bool(asked & present),
    "not-tags": lambda asked, present: not asked <= present,
    "not-tags-any": lambda asked, present: not asked & present,
}

# The projects that a resource is shared with by name; `shared` is for everyone (service/sharing.py).
SharedWith = Annotated[tuple[str, ...], hidden()]
