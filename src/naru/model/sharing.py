"""Sharing: a policy gives a project, or everyone, access to one resource of another project."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from naru.model.attributes import at_create, hidden, read_only, settable, takes, text, uuid_text
from naru.model.resources import Keys, Resource

AS_SHARED, AS_EXTERNAL = "access_as_shared", "access_as_external"
EVERYONE = "*"


def _word(value: Any) -> str:
    return text(255)(value).strip().lower()  # type: ignore[no-any-return]


@takes({"type": "string", "minLength": 1, "maxLength": 255})
def _target(value: Any) -> str:
    """A project, or everyone."""
    if value == "":
        raise ValueError("'' is no project")
    return text(255)(value)  # type: ignore[no-any-return]


class RbacPolicy(Resource, frozen=True, kw_only=True):
    """https://docs.openstack.org/api-ref/network/v2/#rbac-policies

    Who is meant is kept with the object, too (`shared_with`): a list of networks looks at no policy.
    """

    kind: ClassVar[str] = "RbacPolicy"
    singular: ClassVar[str] = "rbac_policy"
    plural: ClassVar[str] = "rbac_policies"

    # Neutron keeps no description and no times of it.
    id: Annotated[str, read_only(sort=False)]
    project_id: Annotated[str, at_create(text(255), sort=False)] = ""
    description: Annotated[str | None, hidden()] = None
    created_at: Annotated[str, hidden()] = ""
    updated_at: Annotated[str, hidden()] = ""
    revision_number: Annotated[int, hidden()] = 1

    object_type: Annotated[str, at_create(_word, required=True, sort=False)]
    object_id: Annotated[str, at_create(uuid_text, required=True, sort=False)]
    action: Annotated[str, at_create(text(255), required=True, sort=False)]
    target_tenant: Annotated[str, settable(_target, required=True, sort=False)]

    indexes: ClassVar[Mapping[str, Keys]] = {
        "project_id": lambda policy: (policy.project_id,),
        "object_id": lambda policy: (policy.object_id,),
    }

    def claims(self) -> tuple[str, ...]:
        return (f"rbac/{self.object_id}/{self.action}/{self.target_tenant}",)
