"""Lists as bytes: filter, sort, page and project, by the description of the kind.

Without `fields` a list is a join of documents that were rendered when they were written. Filters on indexed attributes look up,
the others scan what is left. The order is that of `sort_key`, then of the ids, so that a page goes on where the last one ended.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from naru.model.attributes import TAG_TESTS, Attribute, Unconvertible, ip_address
from naru.model.errors import Invalid, invalid_value, not_found
from naru.model.resources import FixedIp, Resource, attributes
from naru.store.documents import Document, render
from naru.store.snapshot import Snapshot

Sees = Callable[[Resource], bool] | None  # None: all
Shows = Callable[[Resource], Sequence[str]] | None  # the wire names of what is shown of a resource; None: by its description
Test = Callable[[Any], bool]


class ListQuery(msgspec.Struct, frozen=True):
    """A parsed query string. `filters` maps wire names to the values, as texts, of which one must match."""

    filters: Mapping[str, tuple[str, ...]] = {}
    changed_since: str = ""  # as `updated_at` is written
    fields: tuple[str, ...] = ()
    sort: tuple[tuple[str, bool], ...] = ()  # wire name, ascending
    limit: int | None = None
    marker: str | None = None
    page_reverse: bool = False


class Sight(NamedTuple):
    """What a caller sees: the resources that `sees` lets by (None: all), each as `appears` makes it (None: as it is kept), and filtered
    as such; of each the attributes that `shows` names, else those that the kind describes so, with `admin` those of administrators too.
    """

    admin: bool
    sees: Sees = None
    appears: Callable[[Resource], Resource] | None = None
    shows: Shows = None


class Page(msgspec.Struct, frozen=True):
    """The items as JSON (without the brackets), in pieces, how many they are, and the ids of the first and the last."""

    pieces: Sequence[bytes]  # joined once, with what is around them: of a long list a copy takes longer than all else
    size: int = 0
    first_id: str | None = None
    last_id: str | None = None


# -- the query string


def parse_query(kind: type[Resource], pairs: Sequence[tuple[str, str]], *, admin: bool, max_limit: int = -1) -> ListQuery:
    """Raises Invalid for an unknown filter or sort key, and for a value that its filter cannot have, naming it."""
    filters: dict[str, tuple[str, ...]] = {}
    plain: dict[str, list[str]] = {
        "fields": [], "sort_key": [], "sort_dir": [], "limit": [], "marker": [], "page_reverse": [], "changed_since": [],
    }  # fmt: skip
    described = attributes(kind)
    unknown = []
    for key, value in pairs:
        if key in plain:
            plain[key] += [value] if value else []
        elif (item := described.get(key)) is not None and item.attribute.filter and (admin or item.attribute.see != "admin"):
            filters[key] = (*filters.get(key, ()), _parse_filter(item.attribute, key, value))
        elif key in TAG_TESTS and "tags" in described:
            filters[key] = (*filters.get(key, ()), value)
        else:
            unknown.append(key)
    if unknown:
        raise Invalid(f"{unknown} is invalid attribute for filtering of {kind.plural}")
    if "tenant_id" in filters and "project_id" in filters:
        raise Invalid("Both tenant_id and project_id passed as filters.", "TenantIdProjectIdFilterConflict")
    return ListQuery(
        filters=filters,
        changed_since=_parse_time(plain["changed_since"][-1]) if plain["changed_since"] else "",
        fields=tuple(plain["fields"]),
        sort=_parse_sort(kind, plain["sort_key"], plain["sort_dir"]),
        limit=_parse_limit(plain["limit"], max_limit),
        marker=plain["marker"][-1] if plain["marker"] else None,
        page_reverse=bool(plain["page_reverse"]) and plain["page_reverse"][-1].lower() in ("true", "1"),
    )


def _parse_filter(attribute: Attribute, wire: str, value: str) -> str:
    """`value` as `_as_text` writes the attribute: True is true, FA:16:3E:00:00:01 is lower case. What it can never be, matches nothing."""
    if wire == "fixed_ips":
        return _parse_fixed_ip(value)
    if attribute.convert is None:
        return value
    try:
        return _as_text(attribute.convert(value))
    except Unconvertible as error:
        raise invalid_value(wire, str(error), "InvalidInput") from None
    except ValueError:
        return value


def _parse_fixed_ip(value: str) -> str:
    key, _, text = value.partition("=")
    if key not in ("ip_address", "subnet_id", "ip_address_substr"):
        raise invalid_value("fixed_ips", f"'{key}' is not ip_address, subnet_id or ip_address_substr")
    with suppress(ValueError):
        text = ip_address(text) if key == "ip_address" else text
    return f"{key}={text}"


def _parse_time(value: str) -> str:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        message = f"The input changed_since must be in the following format: YYYY-MM-DDTHH:MM:SS[Z], not '{value}'"
        raise Invalid(f"Invalid input for operation: {message}.", "InvalidInput") from None
    return (moment.astimezone(UTC) if moment.tzinfo else moment).strftime("%Y-%m-%dT%H:%M:%SZ")


def _parse_sort(kind: type[Resource], keys: Sequence[str], directions: Sequence[str]) -> tuple[tuple[str, bool], ...]:
    described = attributes(kind)
    if len(directions) not in (0, len(keys)):
        raise Invalid("The number of sort_keys and sort_dirs must be same")
    for key in keys:
        if key not in described or not described[key].attribute.sort:
            raise Invalid(f"'{key}' is an invalid attribute for sort keys")
    for direction in directions:
        if direction not in ("asc", "desc"):
            raise Invalid(f"'{direction}' is invalid value for sort_dirs, valid value is 'asc' and 'desc'")
    return tuple(zip(keys, (direction == "asc" for direction in directions or ["asc"] * len(keys)), strict=True))


def _parse_limit(values: Sequence[str], max_limit: int) -> int | None:
    try:
        limit = int(values[-1]) if values else 0
    except ValueError:
        limit = -1
    if limit < 0:
        raise Invalid(f"Bad limit request: Limit must be an integer 0 or greater and not '{values[-1]}'.", "BadRequest")
    limit = limit or max_limit  # 0: as many as there may be
    return min(limit, max_limit) if max_limit > 0 else limit if limit > 0 else None


# -- the list


def list_page(
    view: Snapshot,
    documents: Mapping[str, Document],
    kind: type[Resource],
    query: ListQuery,
    sight: Sight,
    describe: Callable[[Resource], Resource] | None = None,
) -> Page:
    """Raises NotFound for a marker that is none. `describe` fills in what is not kept with those on the page."""
    resources = select(view, kind, query, sight.sees, sight.appears)
    if describe is not None:
        resources = [describe(resource) for resource in resources]
    if describe is not None or sight.appears is not None:
        documents = {
            resource.id: documents[resource.id] if view.get(kind, resource.id) is resource else render(resource)[0]
            for resource in resources
        }
    if query.fields or sight.shows is not None:
        fields = query.fields or tuple(attributes(kind))
        return _page_of(resources, [_rows(resources, fields, admin=sight.admin, shows=sight.shows)])
    listed = [documents[resource.id] for resource in resources]
    if sight.admin:
        pieces = [piece for document in listed for piece in (document.public, document.admin, b"},")]
    else:
        pieces = [piece for document in listed for piece in (document.public, b"},")]
    return _page_of(resources, [*pieces[:-1], b"}"] if pieces else pieces)


def list_computed(resources: Iterable[Resource], kind: type[Resource], query: ListQuery, *, admin: bool) -> Page:
    """The same for resources that are not kept, but made when they are asked for."""
    found = list(resources)
    marker = next((resource for resource in found if resource.id == query.marker), None)
    found = list(_matching(found, kind, query.filters))
    page = _cut([*found, marker] if marker is not None and marker not in found else found, query, kind, marker)
    fields = query.fields or tuple(attributes(kind))
    return _page_of(page, [_rows(page, fields, admin=admin)])


def select(
    view: Snapshot, kind: type[Resource], query: ListQuery, sees: Sees, appears: Callable[[Resource], Resource] | None = None
) -> list[Resource]:
    """The resources of a page, in order."""
    marker = view.get(kind, query.marker) if query.marker is not None else None
    if marker is not None and appears is not None:
        marker = appears(marker)
    found: Iterable[Resource] = _filtered(view, kind, query.filters, appears)
    if query.changed_since:
        found = (resource for resource in found if resource.updated_at >= query.changed_since)
    if sees is not None:
        found = filter(sees, found)
        marker = marker if marker is None or sees(marker) else None
    resources = list(found)
    if marker is not None and marker not in resources:
        resources.append(marker)
    return _cut(resources, query, kind, marker)


def _cut(resources: list[Resource], query: ListQuery, kind: type[Resource], marker: Resource | None) -> list[Resource]:
    """Sort, then go on behind the marker (which is among the resources, though it need not match)."""
    resources.sort(key=attrgetter("id"))
    for wire, ascending in reversed(query.sort):
        field = attributes(kind)[wire].field
        resources.sort(key=lambda resource: _sort_value(getattr(resource, field)), reverse=not ascending)
    if query.page_reverse:
        resources.reverse()
    if query.marker is not None:
        if marker is None:
            raise not_found(kind.kind, query.marker)
        resources = resources[resources.index(marker) + 1 :]
    page = resources[: query.limit]
    if query.page_reverse:
        page.reverse()
    return page


def _page_of(resources: list[Resource], pieces: Sequence[bytes]) -> Page:
    if not resources:
        return Page(pieces)
    return Page(pieces, len(resources), resources[0].id, resources[-1].id)


def _rows(resources: list[Resource], fields: Sequence[str], *, admin: bool, shows: Shows = None) -> bytes:
    return msgspec.json.encode([project(resource, fields, admin=admin, shows=shows) for resource in resources])[1:-1]


def project(resource: Resource, fields: Sequence[str], *, admin: bool, shows: Shows = None) -> dict[str, Any]:
    """The named attributes that the caller may see; unknown names are left out, as Neutron does."""
    if shows is not None:
        fields, admin = [name for name in shows(resource) if name in fields], True
    absent = resource.absent
    return {name: getattr(resource, field) for name, field in _seen(type(resource), tuple(fields), admin) if name not in absent}


@lru_cache(maxsize=256)
def _seen(kind: type[Resource], fields: tuple[str, ...], admin: bool) -> tuple[tuple[str, str], ...]:  # noqa: FBT001
    """Wire names and fields of what is asked for."""
    sees = ("anyone", "admin") if admin else ("anyone",)
    described = attributes(kind)
    return tuple((name, described[name].field) for name in fields if name in described and described[name].attribute.see in sees)


def _filtered(
    view: Snapshot, kind: type[Resource], filters: Mapping[str, tuple[str, ...]], appears: Callable[[Resource], Resource] | None
) -> Iterator[Resource]:
    found, rest = _candidates(view, kind, filters)
    return _matching(found if appears is None else map(appears, found), kind, rest)


def _candidates(
    view: Snapshot, kind: type[Resource], filters: Mapping[str, tuple[str, ...]]
) -> tuple[Iterable[Resource], Mapping[str, tuple[str, ...]]]:
    """-> what the filter leaves whose index is the narrowest, and the filters that are still to be tested."""
    if "id" in filters:
        found = (view.get(kind, id) for id in dict.fromkeys(filters["id"]))
        return (resource for resource in found if resource is not None), _without(filters, "id")
    indexed = {wire: place for wire, values in filters.items() if (place := _index_of(kind, wire, values)) is not None}
    if not indexed:
        return view.all(kind), filters
    wire = min(indexed, key=lambda wire: sum(view.count(kind, indexed[wire][0], key) for key in indexed[wire][1]))
    index, keys = indexed[wire]
    resources = {resource.id: resource for key in keys for resource in view.find(kind, index, key)}
    return resources.values(), filters if wire == "fixed_ips" else _without(filters, wire)


def _without(filters: Mapping[str, tuple[str, ...]], done: str) -> Mapping[str, tuple[str, ...]]:
    return {wire: values for wire, values in filters.items() if wire != done}


def _matching(resources: Iterable[Resource], kind: type[Resource], filters: Mapping[str, tuple[str, ...]]) -> Iterator[Resource]:
    tests = [_test(kind, wire, values) for wire, values in filters.items()]
    return (resource for resource in resources if all(test(resource) for test in tests)) if tests else iter(resources)


def _index_of(kind: type[Resource], wire: str, values: Sequence[str]) -> tuple[str, Sequence[str]] | None:
    """-> the index that finds what this filter asks for, and its keys; None where no index helps."""
    index = "project_id" if wire == "tenant_id" else wire
    if wire == "fixed_ips":
        wanted = [value.partition("=") for value in values]
        index = next((name for name in ("ip_address", "subnet_id") if all(key == name for key, _, _ in wanted)), "")
        values = [value for _, _, value in wanted]
    return (index, values) if index in kind.indexes else None


def _test(kind: type[Resource], wire: str, values: Sequence[str]) -> Test:
    if wire == "fixed_ips":
        return _fixed_ips_test(values)
    if wire in TAG_TESTS:
        return _tags_test(wire, values)
    value_of, wanted = attrgetter(attributes(kind)[wire].field), frozenset(values)

    def matches(resource: Resource) -> bool:
        value = value_of(resource)
        return any(_as_text(item) in wanted for item in value) if isinstance(value, tuple) else _as_text(value) in wanted

    return matches


def _fixed_ips_test(values: Sequence[str]) -> Test:
    """`ip_address=A` and `subnet_id=S`: alternatives within a key, both keys must match the same address."""
    wanted: dict[str, set[str]] = {}
    for value in values:
        key, _, text = value.partition("=")
        wanted.setdefault(key, set()).add(text)

    def matches(ip: FixedIp) -> bool:
        return (
            ip.ip_address in wanted.get("ip_address", {ip.ip_address})
            and ip.subnet_id in wanted.get("subnet_id", {ip.subnet_id})
            and any(part in ip.ip_address for part in wanted.get("ip_address_substr", {""}))
        )

    return lambda resource: any(matches(ip) for ip in getattr(resource, "fixed_ips", ()))


def _tags_test(wire: str, values: Sequence[str]) -> Test:
    """`tags=a,b`: a list of tags, parted by commas. Given twice it is one longer list."""
    test, asked = TAG_TESTS[wire], frozenset(tag for value in values for tag in value.split(",") if tag)
    return lambda resource: test(asked, frozenset(resource.tags))


def _as_text(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _sort_value(value: Any) -> tuple[bool, Any]:
    return (value is not None, value)
