"""Logs are kept, and go with the security group or port that they are of. Administrators alone have any.

Reference: https://docs.openstack.org/api-ref/network/v2/#logging-resource
"""

from typing import Any

from msgspec.structs import replace

from naru.model.errors import Invalid, NotFound
from naru.model.identity import Caller
from naru.model.logs import LOGGABLE, LoggableResource, LogResource
from naru.model.resources import Changes, Port, new_id, put, remove
from naru.model.security import SecurityGroup
from naru.model.view import View
from naru.service.policy import Cloud, fetch_own, require_admin, require_overview


def create_log(view: View, caller: Caller, given: dict[str, Any], cloud: Cloud) -> Changes[LogResource]:
    """Raises Invalid for a type that has no logs, and for a group that the port is not in; NotFound for what is not there."""
    require_admin(caller, "create_log")
    log = LogResource(id=new_id(), **given)
    if log.resource_type not in LOGGABLE:
        message = f"Invalid input for operation: Invalid log resource_type: {log.resource_type}; there are {', '.join(LOGGABLE)}."
        raise Invalid(message, "InvalidLogResourceType")
    if log.resource_id is not None and view.get(SecurityGroup, log.resource_id) is None:
        raise NotFound(f"The resource with id {log.resource_id} could not be found.", "ResourceNotFound")
    port = view.get(Port, log.target_id) if log.target_id is not None else None
    if log.target_id is not None and port is None:
        raise NotFound(f"Target resource {log.target_id} could not be found.", "TargetResourceNotFound")
    if port is not None and log.resource_id is not None and log.resource_id not in port.security_groups:
        message = f"Invalid input for operation: port {port.id} is not in security_group {log.resource_id}."
        raise Invalid(message, "InvalidResourceConstraint")
    yield put(log)
    return log


def update_log(view: View, caller: Caller, id: str, given: dict[str, Any], cloud: Cloud) -> Changes[LogResource]:
    changed = replace(fetch_own(view, caller, LogResource, id, "update"), **given)
    yield put(changed)
    return changed


def delete_log(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    yield remove(fetch_own(view, caller, LogResource, id, "delete"))


def forget_logs(view: View, id: str) -> Changes[None]:
    """With a security group or a port go the logs of it."""
    for log in list(view.find(LogResource, "of", id)):
        yield remove(log)


def list_loggable(caller: Caller) -> list[LoggableResource]:
    require_overview(caller, "get_loggable_resource")
    return [LoggableResource(id=type, type=type) for type in LOGGABLE]
