"""How a resource describes its attributes: what a value may be, who may set it, who may see it.

A resource is a struct; the annotation of each field carries an `Attribute`. Validation of requests, rendering, filters,
sort keys and the contract test against neutron-lib all follow from these descriptions.
"""

import ipaddress
import re
import uuid
from collections.abc import Callable, Collection
from typing import Any, Literal

import msgspec

Who = Literal["nobody", "admin", "anyone"]
Convert = Callable[[Any], Any]  # a value as sent -> a value as kept; raises ValueError(reason)


class Attribute(msgspec.Struct, frozen=True):
    """One attribute of a resource, as the API sees it."""

    convert: Convert | None = None
    post: Who = "nobody"
    put: Who = "nobody"
    see: Who = "anyone"
    required: bool = False  # in POST
    filter: bool = True
    sort: bool = True


def settable(convert: Convert, *, who: Who = "anyone", put: Who | None = None, **options: Any) -> Attribute:
    """May be given at create and changed later."""
    return Attribute(convert, post=who, put=put or who, **options)


def at_create(convert: Convert, *, who: Who = "anyone", **options: Any) -> Attribute:
    """May be given at create only."""
    return Attribute(convert, post=who, **options)


def read_only(**options: Any) -> Attribute:
    return Attribute(**options)


def hidden() -> Attribute:
    """Kept with the resource, never on the wire."""
    return Attribute(see="nobody", filter=False, sort=False)


# -- conversions: each raises ValueError with a reason that names the value


def boolean(value: Any) -> bool:
    """True, "True", "true", 1, "1" and their opposites: old clients send strings."""
    truth = {"true": True, "1": True, "false": False, "0": False}.get(str(value).lower()) if isinstance(value, str | int) else None
    if truth is None:
        raise ValueError(f"'{value}' cannot be converted to boolean")
    return truth


def integer(minimum: int | None = None, maximum: int | None = None, one_of: Collection[int] | None = None) -> Convert:
    def convert(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError(f"'{value}' is not an integer")
        try:
            number = int(value)
        except ValueError:
            raise ValueError(f"'{value}' is not an integer") from None
        if minimum is not None and number < minimum:
            raise ValueError(f"'{number}' is too small, must be at least {minimum}")
        if maximum is not None and number > maximum:
            raise ValueError(f"'{number}' is too large, must be at most {maximum}")
        if one_of is not None and number not in one_of:
            raise ValueError(f"'{number}' is not in {list(one_of)}")
        return number

    return convert


def text(maximum: int) -> Convert:
    def convert(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(f"'{value}' is not a valid string")
        if len(value) > maximum:
            raise ValueError(f"'{value[:64]}…' exceeds maximum length of {maximum}")
        if "\x00" in value:
            raise ValueError("it holds a NUL character")
        return value

    return convert


def one_of(values: Collection[Any]) -> Convert:
    def convert(value: Any) -> Any:
        if not isinstance(value, str | int | None) or value not in values:
            raise ValueError(f"'{value}' is not in {list(values)}")
        return value

    return convert


def or_none(convert: Convert) -> Convert:
    return lambda value: None if value is None else convert(value)


def uuid_text(value: Any) -> str:
    """A UUID in its canonical form: 36 characters, lower case, hyphens."""
    if isinstance(value, str):
        try:
            return str(uuid.UUID(value))
        except ValueError:
            pass
    raise ValueError(f"'{value}' is not a valid UUID")


def mac_address(value: Any) -> str:
    """A unicast MAC, lower case with colons (IEEE 802: the lowest bit of the first byte marks a group)."""
    digits = re.sub(r"[-:.]", "", value).lower() if isinstance(value, str) else ""
    if not re.fullmatch(r"[0-9a-f]{12}", digits) or digits == "0" * 12 or int(digits[1], 16) & 1:
        raise ValueError(f"'{value}' is not a valid MAC address")
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


def ip_address(value: Any) -> str:
    if isinstance(value, str):
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            pass
    raise ValueError(f"'{value}' is not a valid IP address")


def cidr(value: Any) -> str:
    """A prefix whose host bits are zero, in canonical form."""
    if isinstance(value, str) and "/" in value:
        try:
            return str(ipaddress.ip_network(value))
        except ValueError as error:
            raise ValueError(f"'{value}' is not a valid IP subnet: {error}") from None
    raise ValueError(f"'{value}' is not a valid IP subnet")


def list_of(convert: Convert, *, unique: bool = True) -> Convert:
    """A list, kept as a tuple; None means empty (Neutron's convert_none_to_empty_list)."""

    def convert_list(value: Any) -> tuple[Any, ...]:
        if value is None:
            return ()
        if not isinstance(value, list):
            raise ValueError(f"'{value}' is not a list")
        items = tuple(convert(item) for item in value)
        if unique and len(set(items)) != len(items):
            raise ValueError(f"duplicate items in the list: '{value}'")
        return items

    return convert_list


def struct_of(kind: type[msgspec.Struct], **members: Convert) -> Convert:
    """An object with just these members, kept as `kind`; members that are absent take the struct's defaults."""

    def convert(value: Any) -> msgspec.Struct:
        if not isinstance(value, dict):
            raise ValueError(f"'{value}' is not a dictionary")
        if unknown := set(value) - set(members):
            raise ValueError(f"unexpected keys {sorted(unknown)} in '{value}'")
        try:
            return kind(**{name: members[name](item) for name, item in value.items()})
        except TypeError:
            missing = {f.name for f in msgspec.structs.fields(kind) if f.required} - set(value)
            raise ValueError(f"missing keys {sorted(missing)} in '{value}'") from None

    return convert


def mapping(value: Any) -> dict[str, Any]:
    """Any JSON object; None means empty."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"'{value}' is not a dictionary")
    return value
