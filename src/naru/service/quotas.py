"""Quotas: a project's limits, where they differ from the defaults, and what it uses."""

from typing import Any

from naru.model.attributes import Unconvertible, boolean, integer
from naru.model.errors import Invalid, NotFound, invalid_value
from naru.model.identity import Caller
from naru.model.network_pools import NetworkPool
from naru.model.pools import SubnetPool
from naru.model.resources import Changes, Network, Port, Quota, Resource, Subnet, put, remove
from naru.model.routing import FloatingIp, Router
from naru.model.security import SecurityGroup, SecurityGroupRule
from naru.model.sharing import RbacPolicy
from naru.model.trunks import Trunk
from naru.model.view import View
from naru.service.holds import count_held
from naru.service.policy import Cloud, quota_limits, refused, require_admin

COUNTED: dict[str, type[Resource]] = {
    kind.singular: kind
    for kind in (Network, Subnet, Port, SubnetPool, Router, FloatingIp, SecurityGroup, SecurityGroupRule, RbacPolicy, Trunk, NetworkPool)
}

_limit = integer(-1, 2**31 - 1)


def show_quota(view: View, caller: Caller, project_id: str, cloud: Cloud) -> dict[str, int]:
    _require_access(caller, project_id)
    return quota_limits(view, cloud, project_id)


def default_quota(caller: Caller, project_id: str, cloud: Cloud) -> dict[str, int]:
    """What a project may have that has no limits of its own."""
    _require_access(caller, project_id)
    return cloud.quotas


def quota_details(view: View, caller: Caller, project_id: str, cloud: Cloud) -> dict[str, dict[str, int]]:
    """For each counted resource its limit, what is used, and what is reserved: ports that picks hold addresses for."""
    limits = show_quota(view, caller, project_id, cloud)
    held = {Port.singular: count_held(view, project_id)}
    return {
        name: {"limit": limits[name], "used": view.count(kind, "project_id", project_id), "reserved": held.get(name, 0)}
        for name, kind in COUNTED.items()
    }


def update_quota(view: View, caller: Caller, project_id: str, body: dict[str, object], cloud: Cloud) -> Changes[None]:
    """Administrators only. Raises Invalid for a resource that is not counted or a limit below -1.

    A limit below what is used is refused, unless `force` is in the body. (`check_limit` asks for what is the rule by now.)
    """
    require_admin(caller, "update_quota")
    values = _decode(body)
    limits = {name: value for name, value in values.items() if name in COUNTED}
    if not values.get("force"):
        for name, limit in limits.items():
            used = view.count(COUNTED[name], "project_id", project_id)
            if 0 <= limit < used:
                raise Invalid(f"Quota limit {limit} for {name} must be greater than or equal to already used {used}")
    quota = view.get(Quota, project_id) or Quota(id=project_id, project_id=project_id)
    yield put(Quota(id=quota.id, project_id=project_id, limits=quota.limits | limits))


def delete_quota(view: View, caller: Caller, project_id: str, cloud: Cloud) -> Changes[None]:
    """Back to the defaults. Raises NotFound where they hold already."""
    require_admin(caller, "delete_quota")
    quota = view.get(Quota, project_id)
    if quota is None:
        raise NotFound(f"Quota for project {project_id} could not be found.", "TenantQuotaNotFound")
    yield remove(quota)


def _decode(body: dict[str, object]) -> dict[str, int]:
    given = {}
    for name, value in body.items():
        if name in ("tenant_id", "project_id"):
            continue
        convert = _limit if name in COUNTED else boolean if name in ("check_limit", "force") else None
        if convert is None:
            raise Invalid(f"Unrecognized attribute(s) '{name}'")
        try:
            given[name] = convert(value)
        except ValueError as error:
            raise invalid_value(name, str(error), "InvalidInput" if isinstance(error, Unconvertible) else "HTTPBadRequest") from None
    return given


def _require_access(caller: Caller, project_id: str) -> None:
    about = {"project_id": project_id, "tenant_id": project_id}
    if not caller.may("get_quota", caller.is_admin or caller.project_id == project_id, about.__getitem__):
        raise refused(caller, "get_quota", "the quota belongs to another project")


def list_quotas(view: View, caller: Caller, cloud: Cloud) -> list[dict[str, Any]]:
    """Of the projects whose limits differ from the defaults."""
    require_admin(caller, "get_quota")
    return [{"project_id": quota.id, "tenant_id": quota.id, **quota_limits(view, cloud, quota.id)} for quota in view.all(Quota)]
