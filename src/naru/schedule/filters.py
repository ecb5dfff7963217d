"""Filters: why a network cannot be had. The first that refuses gives the reason; its code is a row of `reasons.REASONS`."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from naru.schedule.candidates import Candidate, Counts, Wish

Values = dict[str, Any]


class Filter(NamedTuple):
    """`values` complete the reason's words; `asked` tells whether a wish makes it count at all."""

    code: str
    refuses: Callable[[Candidate, Wish], bool]
    values: Callable[[Candidate, Wish], Values] = lambda _candidate, _wish: {}
    asked: Callable[[Wish], bool] = lambda _wish: True


FILTERS: Sequence[Filter] = (
    Filter("not_allowed", lambda c, _: not c.allowed),
    Filter(
        "purpose",
        lambda c, _: c.kept_for is not None,
        lambda c, w: {"pool": c.pool, "has": c.kept_for or "-", "wanted": w.purposes or "-"},
    ),
    Filter("cordoned", lambda c, _: c.cordoned is not None, lambda c, _: {"pool": c.pool, "because": c.cordoned and f" ({c.cordoned})"}),
    Filter("external", lambda c, _: c.facts.external),
    Filter("admin_down", lambda c, _: not c.facts.admin_state_up),
    Filter("no_subnet", lambda c, _: c.facts.ipv4 is None and c.facts.ipv6 is None),
    Filter(
        "ip_version",
        lambda c, w: bool(_missing(c, w)),
        lambda c, w: {"missing": _missing(c, w), "wanted": _version(w)},
        lambda w: w.ip_version is not None,
    ),
    Filter("unreachable", lambda c, _: c.unreachable is not None, lambda c, _: {"why": c.unreachable}),
    Filter("unhealthy", lambda c, _: c.silent_host is not None, lambda c, _: {"host": c.silent_host}),
    Filter("dhcp_off", lambda c, _: not c.facts.dhcp, asked=lambda w: bool(w.dhcp)),
    Filter("mtu", lambda c, w: c.facts.mtu < (w.mtu or 0), lambda c, w: {"mtu": c.facts.mtu, "wanted": w.mtu}, lambda w: w.mtu is not None),
    Filter(
        "port_security",
        lambda c, w: c.facts.port_security_enabled != w.port_security_enabled,
        lambda c, w: {"has": _on(c.facts.port_security_enabled), "wanted": _on(w.port_security_enabled)},
        lambda w: w.port_security_enabled is not None,
    ),
    Filter(
        "qos",
        lambda c, w: c.facts.qos_policy_id != w.qos_policy_id,
        lambda c, w: {"has": c.facts.qos_policy_id or "-", "wanted": w.qos_policy_id},
        lambda w: w.qos_policy_id is not None,
    ),
    Filter("affinity", lambda c, _: not c.near, asked=lambda w: bool(w.affinity)),
    Filter("anti_affinity", lambda c, _: c.avoided > 0, lambda c, _: {"ports": c.avoided}, lambda w: bool(w.anti_affinity)),
    Filter("full", lambda c, w: c.counts.free < w.needed, lambda c, w: full_values(c.counts, w.needed)),
    Filter(
        "floor",
        lambda c, w: c.counts.free - c.floor < w.needed,
        lambda c, w: {"pool": c.pool, "free": c.counts.free, "floor": c.floor, "needed": w.needed},
    ),
    Filter(
        "project_share",
        lambda c, w: c.share is not None and c.share.limit - c.share.used < w.needed,
        lambda c, w: {"pool": c.pool, "used": c.share and c.share.used, "limit": c.share and c.share.limit, "needed": w.needed},
    ),
)  # fmt: skip

# What changes with each pick, for all members of a pool at once. It comes last, so it may be asked when the others are known.
SHARE_FILTERS = FILTERS[-1:]


@lru_cache(maxsize=8)
def filters_of(wish: Wish) -> list[Filter]:
    return [row for row in FILTERS if row.asked(wish)]


def full_values(counts: Counts, needed: int) -> Values:
    numbers = counts.usable, counts.allocated, counts.held, counts.quarantined
    return {"needed": needed, "free": counts.free} | dict(zip(("usable", "allocated", "held", "quarantined"), numbers, strict=True))


def _missing(candidate: Candidate, wish: Wish) -> str:
    has = {4: candidate.facts.ipv4, 6: candidate.facts.ipv6}
    wanted = (4, 6) if wish.ip_version == "dual" else (wish.ip_version or 4,)
    return " or IPv".join(str(version) for version in wanted if has[version] is None)


def _version(wish: Wish) -> str:
    return "IPv4 + IPv6" if wish.ip_version == "dual" else f"IPv{wish.ip_version}"


def _on(enabled: bool | None) -> str:  # noqa: FBT001
    return "on" if enabled else "off"
