"""Quotas: a project's limits, where they differ from the defaults, and what it uses."""

from typing import Any

from naru.model.attributes import integer
from naru.model.errors import Forbidden, Invalid, invalid_value
from naru.model.identity import Caller
from naru.model.resources import Changes, Network, Port, Quota, Resource, Subnet, put, remove
from naru.model.view import View
from naru.service.policy import Cloud, quota_limits

COUNTED: dict[str, type[Resource]] = {kind.singular: kind for kind in (Network, Subnet, Port)}

_limit = integer(-1, 2**31 - 1)


def show_quota(view: View, caller: Caller, project_id: str, cloud: Cloud) -> dict[str, int]:
    _require_access(caller, project_id)
    return quota_limits(view, cloud, project_id)


def quota_details(view: View, caller: Caller, project_id: str, cloud: Cloud) -> dict[str, dict[str, int]]:
    """For each counted resource its limit, what is used, and what is reserved (always 0: a plan needs no reservation)."""
    limits = show_quota(view, caller, project_id, cloud)
    return {
        name: {"limit": limits[name], "used": view.count(kind, "project_id", project_id), "reserved": 0} for name, kind in COUNTED.items()
    }


def update_quota(view: View, caller: Caller, project_id: str, body: dict[str, object], cloud: Cloud) -> Changes[None]:
    """Administrators only. Raises Invalid for a resource that is not counted or a limit below -1."""
    if not caller.is_admin:
        raise Forbidden("(rule:update_quota) is disallowed by policy: quotas are set by an administrator")
    limits: dict[str, int] = {}
    for name, value in body.items():
        if name in ("tenant_id", "project_id"):
            continue
        if name not in COUNTED:
            raise Invalid(f"Unrecognized attribute(s) '{name}'")
        try:
            limits[name] = _limit(value)
        except ValueError as error:
            raise invalid_value(name, str(error)) from None
    quota = view.get(Quota, project_id) or Quota(id=project_id, project_id=project_id)
    yield put(Quota(id=quota.id, project_id=project_id, limits=quota.limits | limits))


def delete_quota(view: View, caller: Caller, project_id: str, cloud: Cloud) -> Changes[None]:
    """Back to the defaults."""
    if not caller.is_admin:
        raise Forbidden("(rule:delete_quota) is disallowed by policy: quotas are set by an administrator")
    quota = view.get(Quota, project_id)
    if quota is not None:
        yield remove(quota)


def _require_access(caller: Caller, project_id: str) -> None:
    if not caller.is_admin and caller.project_id != project_id:
        raise Forbidden("(rule:get_quota) is disallowed by policy: the quota belongs to another project")


def list_quotas(view: View, caller: Caller, cloud: Cloud) -> list[dict[str, Any]]:
    """Of the projects whose limits differ from the defaults."""
    if not caller.is_admin:
        raise Forbidden("(rule:get_quota) is disallowed by policy: an administrator may list quotas")
    return [{"project_id": quota.id, "tenant_id": quota.id, **quota_limits(view, cloud, quota.id)} for quota in view.all(Quota)]
