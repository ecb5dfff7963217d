"""Lists as bytes: filter, sort, page and project, by the description of the kind.

Without `fields` a list is a join of documents that were rendered when they were written. Filters on indexed attributes look up,
the others scan what is left.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from naru.model.errors import Invalid
from naru.model.resources import FixedIp, Resource, attributes
from naru.store.documents import Document
from naru.store.snapshot import Snapshot

Sees = Callable[[Resource], bool] | None  # None: all


class ListQuery(msgspec.Struct, frozen=True):
    """A parsed query string. `filters` maps wire names to the values of which one must match."""

    filters: Mapping[str, tuple[str, ...]] = {}
    fields: tuple[str, ...] = ()
    sort: tuple[tuple[str, bool], ...] = ()  # wire name, ascending
    limit: int | None = None
    marker: str | None = None
    page_reverse: bool = False


class Page(msgspec.Struct, frozen=True):
    """The items as JSON (without the brackets), and the ids to continue from where there is more."""

    items: bytes
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False


def parse_query(kind: type[Resource], pairs: Sequence[tuple[str, str]], *, admin: bool, max_limit: int = -1) -> ListQuery:
    """Raises Invalid for an unknown filter, sort key, limit or marker direction, naming it."""
    filters: dict[str, tuple[str, ...]] = {}
    plain: dict[str, list[str]] = {"fields": [], "sort_key": [], "sort_dir": [], "limit": [], "marker": [], "page_reverse": []}
    described = attributes(kind)
    unknown = []
    for key, value in pairs:
        if key in plain:
            plain[key].append(value)
        elif (item := described.get(key)) is not None and item.attribute.filter and _sees(item.attribute.see, admin):
            filters[key] = (*filters.get(key, ()), value)
        else:
            unknown.append(key)
    if unknown:
        raise Invalid(f"{unknown} is invalid attribute for filtering of {kind.plural}")
    return ListQuery(
        filters=filters,
        fields=tuple(field for field in plain["fields"] if field),
        sort=_parse_sort(kind, plain["sort_key"], plain["sort_dir"]),
        limit=_parse_limit(plain["limit"], max_limit),
        marker=plain["marker"][-1] if plain["marker"] else None,
        page_reverse=bool(plain["page_reverse"]) and plain["page_reverse"][-1].lower() in ("true", "1"),
    )


def _parse_sort(kind: type[Resource], keys: Sequence[str], directions: Sequence[str]) -> tuple[tuple[str, bool], ...]:
    described = attributes(kind)
    if len(directions) not in (0, len(keys)):
        raise Invalid("The number of sort_keys and sort_dirs must be same")
    for key in keys:
        if key not in described or not described[key].attribute.sort:
            raise Invalid(f"'{key}' is an invalid attribute for sort keys")
    for direction in directions:
        if direction not in ("asc", "desc"):
            raise Invalid(f"sort_dir '{direction}' is invalid: asc or desc")
    return tuple(zip(keys, (direction == "asc" for direction in directions or ["asc"] * len(keys)), strict=True))


def _parse_limit(values: Sequence[str], max_limit: int) -> int | None:
    if not values:
        return max_limit if max_limit > 0 else None
    try:
        limit = int(values[-1])
    except ValueError:
        limit = -1
    if limit < 0:
        raise Invalid(f"Bad limit '{values[-1]}': limit must be an integer of 0 or greater")
    limit = limit or max_limit  # 0: as many as there may be
    return min(limit, max_limit) if max_limit > 0 else limit if limit > 0 else None


def select(view: Snapshot, kind: type[Resource], query: ListQuery, sees: Sees) -> tuple[list[Resource], bool]:
    """The resources of a page in order, and whether there are more behind it. Raises Invalid for an unknown marker."""
    found: Iterable[Resource] = _filtered(view, kind, query.filters)
    if sees is not None:
        found = filter(sees, found)
    resources = list(found)
    is_paged = query.limit is not None or query.marker is not None
    order = [*query.sort, ("id", True)] if is_paged else list(query.sort)
    for wire, ascending in reversed(order):
        field = attributes(kind)[wire].field
        resources.sort(key=lambda resource: _sort_value(getattr(resource, field)), reverse=not ascending)
    if not is_paged:
        return resources, False
    return _page(view, kind, resources, query)


def _page(view: Snapshot, kind: type[Resource], resources: list[Resource], query: ListQuery) -> tuple[list[Resource], bool]:
    if query.page_reverse:
        resources.reverse()
    if query.marker is not None:
        place = next((i for i, resource in enumerate(resources) if resource.id == query.marker), None)
        if place is None:
            raise Invalid(f"Invalid input for operation: The marker {query.marker} is not one of the {kind.plural} listed.", "InvalidInput")
        resources = resources[place + 1 :]
    has_more = query.limit is not None and len(resources) > query.limit
    page = resources[: query.limit]
    if query.page_reverse:
        page.reverse()
    return page, has_more


def list_page(
    view: Snapshot, documents: Mapping[str, Document], kind: type[Resource], query: ListQuery, sees: Sees, *, admin: bool
) -> Page:
    resources, has_more = select(view, kind, query, sees)
    if query.fields:
        rows = [project(resource, query.fields, admin=admin) for resource in resources]
        items = msgspec.json.encode(rows)[1:-1]
    elif admin:
        items = b",".join([d.public + d.admin + b"}" for d in [documents[resource.id] for resource in resources]])
    else:
        items = b",".join([documents[resource.id].public + b"}" for resource in resources])
    if not resources:
        return Page(items)
    return Page(items, resources[0].id, resources[-1].id, has_more)


def project(resource: Resource, fields: Sequence[str], *, admin: bool) -> dict[str, Any]:
    """The named attributes that the caller may see; unknown names are left out, as Neutron does."""
    described = attributes(type(resource))
    known = ((name, described[name]) for name in fields if name in described)
    return {name: getattr(resource, item.field) for name, item in known if _sees(item.attribute.see, admin)}


def _sees(who: str, admin: bool) -> bool:  # noqa: FBT001
    return who == "anyone" or (who == "admin" and admin)


def _filtered(view: Snapshot, kind: type[Resource], filters: Mapping[str, tuple[str, ...]]) -> Iterator[Resource]:
    rest = dict(filters)
    start: Iterator[Resource] | None = None
    for wire, values in filters.items():
        start = _look_up(view, kind, wire, values)
        if start is not None:
            if wire != "fixed_ips":
                del rest[wire]
            break
    found = view.all(kind) if start is None else start
    if not rest:
        return found
    tests = [_test(kind, wire, values) for wire, values in rest.items()]
    return (resource for resource in found if all(test(resource) for test in tests))


def _look_up(view: Snapshot, kind: type[Resource], wire: str, values: Sequence[str]) -> Iterator[Resource] | None:
    """Candidates from an index, each once; None where no index helps."""
    if wire == "id":
        return (resource for value in dict.fromkeys(values) if (resource := view.get(kind, value)) is not None)
    if wire == "fixed_ips":
        wanted = [value.partition("=") for value in values]
        index = next((name for name in ("ip_address", "subnet_id") if all(key == name for key, _, _ in wanted)), None)
        values = [value for _, _, value in wanted]
    else:
        index = "project_id" if wire == "tenant_id" else wire
    if index is None or index not in kind.indexes:
        return None
    found = {resource.id: resource for value in values for resource in view.find(kind, index, value)}
    return iter(found.values())


def _test(kind: type[Resource], wire: str, values: Sequence[str]) -> Callable[[Resource], bool]:
    if wire == "fixed_ips":
        return _fixed_ips_test(values)
    field = attributes(kind)[wire].field
    wanted = {value.lower() for value in values} if _is_bool(kind, field) else set(values)
    if _is_bool(kind, field):
        wanted = {"true" if value in ("true", "1") else "false" for value in wanted}
    return lambda resource: _as_text(getattr(resource, field)) in wanted


def _fixed_ips_test(values: Sequence[str]) -> Callable[[Resource], bool]:
    """`ip_address=A` and `subnet_id=S`: alternatives within a key, both keys must match the same address."""
    wanted: dict[str, set[str]] = {}
    for value in values:
        key, _, text = value.partition("=")
        if key not in ("ip_address", "subnet_id", "ip_address_substr"):
            raise Invalid(f"Invalid input for fixed_ips. Reason: '{key}' is not ip_address, subnet_id or ip_address_substr.")
        wanted.setdefault(key, set()).add(text)

    def matches(ip: FixedIp) -> bool:
        return (
            ip.ip_address in wanted.get("ip_address", {ip.ip_address})
            and ip.subnet_id in wanted.get("subnet_id", {ip.subnet_id})
            and any(part in ip.ip_address for part in wanted.get("ip_address_substr", {""}))
        )

    return lambda resource: any(matches(ip) for ip in getattr(resource, "fixed_ips", ()))


def _is_bool(kind: type[Resource], field: str) -> bool:
    return any(item.name == field and isinstance(item.default, bool) for item in msgspec.structs.fields(kind))


def _as_text(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _sort_value(value: Any) -> tuple[bool, Any]:
    return (value is not None, value)
