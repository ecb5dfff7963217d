"""What Neutron defines for itself and neutron-lib does not: rights of attributes, in the form of neutron-lib's definitions.

Source: the Networking API v2.0 reference. What values they take is held by the tests of their family: no rules for them here.
"""

from types import SimpleNamespace
from typing import Any

from neutron_lib.constants import ATTR_NOT_SPECIFIED


def _attribute(post: bool = False, put: bool = False, **more: Any) -> dict[str, Any]:  # noqa: FBT001, FBT002
    return {"allow_post": post, "allow_put": put, "is_visible": True, "is_filter": True, "is_sort_key": True, "values": "elsewhere"} | more


_ID = _attribute()
_PROJECT = _attribute(post=True, validate={"type:string": 255})
_RULE = {
    "direction": _attribute(post=True),
    "ethertype": _attribute(post=True, default="IPv4"),
    **dict.fromkeys(
        ("protocol", "port_range_min", "port_range_max", "remote_ip_prefix", "remote_group_id"), _attribute(post=True, default=None)
    ),
}
_FLAG = {"is_sort_key": False}

SECURITY_GROUP = SimpleNamespace(
    ALIAS="security-group",
    NAME="security-group",
    DESCRIPTION="The security groups extension.",
    UPDATED_TIMESTAMP="2012-10-05T10:00:00-00:00",
    REQUIRED_EXTENSIONS=(),
    RESOURCE_ATTRIBUTE_MAP={
        "security_groups": {
            "id": _ID,
            "name": _attribute(post=True, put=True, default=""),
            "tenant_id": _PROJECT,
            "security_group_rules": _attribute(is_filter=False, is_sort_key=False),
            "shared": _attribute(**_FLAG),
        },
        "security_group_rules": {"id": _ID, "tenant_id": _PROJECT, "security_group_id": _attribute(post=True), **_RULE},
        "ports": {"security_groups": _attribute(post=True, put=True, default=ATTR_NOT_SPECIFIED, is_sort_key=False)},
    },
)
SECURITY_GROUPS_DEFAULT_RULES = SimpleNamespace(
    ALIAS="security-groups-default-rules",
    NAME="Default rules for security groups",
    DESCRIPTION="Configure set of security group rules used as default rules for every new security group",
    UPDATED_TIMESTAMP="2022-12-19T10:00:00-00:00",
    REQUIRED_EXTENSIONS=("security-group", "standard-attr-description"),
    RESOURCE_ATTRIBUTE_MAP={
        "default_security_group_rules": {
            "id": _ID,
            "tenant_id": _PROJECT | {"is_visible": False, "is_filter": False, "is_sort_key": False},
            "description": _attribute(post=True, default="", **_FLAG),
            **_RULE,
            "remote_address_group_id": _attribute(post=True, default=None),
            "used_in_default_sg": _attribute(post=True, default=False, **_FLAG),
            "used_in_non_default_sg": _attribute(post=True, default=True, **_FLAG),
        }
    },
)
_POLICY_PART = _attribute(post=True, **_FLAG)
RBAC_POLICIES = SimpleNamespace(
    ALIAS="rbac-policies",
    NAME="RBAC Policies",
    DESCRIPTION="Allows creation and modification of policies that control tenant access to resources.",
    UPDATED_TIMESTAMP="2015-06-17T12:15:12-00:00",
    REQUIRED_EXTENSIONS=(),
    RESOURCE_ATTRIBUTE_MAP={
        "rbac_policies": {
            "id": _attribute(**_FLAG),
            "tenant_id": _PROJECT | _FLAG,
            **dict.fromkeys(("object_type", "object_id", "action"), _POLICY_PART),
            "target_tenant": _attribute(post=True, put=True, **_FLAG),
        }
    },
)
L3_AGENT_SCHEDULER = SimpleNamespace(
    ALIAS="l3_agent_scheduler",
    NAME="L3 Agent Scheduler",
    DESCRIPTION="Schedule routers among l3 agents",
    UPDATED_TIMESTAMP="2013-02-07T10:00:00-00:00",
    REQUIRED_EXTENSIONS=("agent",),
    RESOURCE_ATTRIBUTE_MAP={},
)
