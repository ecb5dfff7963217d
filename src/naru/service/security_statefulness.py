"""Whether new security groups are stateful where nobody says: a project's own default, else the cloud's, else yes."""

from typing import Any

from msgspec.structs import replace

from naru.model.errors import Conflict
from naru.model.identity import Caller
from naru.model.resources import Changes, new_id, put, remove
from naru.model.security import SecurityGroupDefaultStatefulness
from naru.model.view import View
from naru.service.policy import Cloud, fetch, require_admin

_OF_ALL = ""  # index key of the default of all projects


def is_stateful_by_default(view: View, project_id: str) -> bool:
    for key in (project_id, _OF_ALL):
        for default in view.find(SecurityGroupDefaultStatefulness, "project_id", key):
            return default.stateful
    return True


def create_statefulness(view: View, caller: Caller, given: dict[str, Any], cloud: Cloud) -> Changes[SecurityGroupDefaultStatefulness]:
    """Administrators only. Raises Conflict where the project, or the cloud, has a default already."""
    require_admin(caller, "create_security_group_default_statefulness")
    project_id = given["project_id"] or None
    if view.count(SecurityGroupDefaultStatefulness, "project_id", project_id or _OF_ALL):
        message = f"A security group default statefulness setting already exists for project '{project_id or 'system-wide'}'."
        raise Conflict(message, "SecurityGroupDefaultStatefulnessAlreadyExists")
    default = SecurityGroupDefaultStatefulness(id=new_id(), **given | {"project_id": project_id})
    yield put(default)
    return default


def update_statefulness(
    view: View, caller: Caller, id: str, given: dict[str, Any], cloud: Cloud
) -> Changes[SecurityGroupDefaultStatefulness]:
    default = fetch(view, caller, SecurityGroupDefaultStatefulness, id)
    require_admin(caller, "update_security_group_default_statefulness")
    changed = replace(default, **given)
    yield put(changed)
    return changed


def delete_statefulness(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    """Groups stay as they were made."""
    default = fetch(view, caller, SecurityGroupDefaultStatefulness, id)
    require_admin(caller, "delete_security_group_default_statefulness")
    yield remove(default)
