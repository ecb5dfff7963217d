"""Flavors of services, and the profiles that say what a flavor means. A router may be of a flavor.

https://docs.openstack.org/api-ref/network/v2/#flavors-framework-v2-0-current-flavor-service-profile
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec

from naru.model.attributes import (
    Unconvertible,
    at_create,
    boolean,
    hidden,
    list_of,
    name_text,
    or_none,
    read_only,
    settable,
    takes,
    text,
    uuid_text,
)
from naru.model.resources import Keys, Resource

ROUTING = "L3_ROUTER_NAT"
PROVIDER = "naru"  # of every service there is
SERVICE_TYPES = (ROUTING,)


class _Nobodys(Resource, frozen=True, kw_only=True):
    """Belongs to no project, and has no times."""

    project_id: Annotated[str, hidden()] = ""
    created_at: Annotated[str, hidden()] = ""
    updated_at: Annotated[str, hidden()] = ""
    revision_number: Annotated[int, hidden()] = 1
    description: Annotated[str | None, settable(or_none(text(1024)))] = ""


@takes({"enum": list(SERVICE_TYPES)})
def service_type(value: Any) -> str:
    if value not in SERVICE_TYPES:
        raise Unconvertible(f"'{value}' is no service of this cloud; {', '.join(SERVICE_TYPES)} would be")
    return str(value)


def any_text(value: Any) -> str:
    """A text as it is, anything else as JSON, null as nothing."""
    if value is None:
        return ""
    return text(4096)(value if isinstance(value, str) else msgspec.json.encode(value).decode())  # type: ignore[no-any-return]


class ServiceFlavor(_Nobodys, frozen=True, kw_only=True):
    kind: ClassVar[str] = "Flavor"
    singular: ClassVar[str] = "flavor"
    plural: ClassVar[str] = "flavors"

    name: Annotated[str, settable(name_text(255))] = ""
    service_type: Annotated[str, at_create(service_type, required=True)]
    service_profiles: Annotated[tuple[str, ...], settable(list_of(uuid_text), filter=False, sort=False)] = ()
    enabled: Annotated[bool, settable(boolean)] = True

    indexes: ClassVar[Mapping[str, Keys]] = {"service_profiles": lambda flavor: flavor.service_profiles}


class ServiceProfile(_Nobodys, frozen=True, kw_only=True):
    kind: ClassVar[str] = "ServiceProfile"
    singular: ClassVar[str] = "service_profile"
    plural: ClassVar[str] = "service_profiles"

    driver: Annotated[str, settable(text(1024))] = ""
    metainfo: Annotated[str, settable(any_text, filter=False)] = ""
    enabled: Annotated[bool, settable(boolean)] = True


class ServiceProvider(_Nobodys, frozen=True, kw_only=True):
    """Who provides a service; made when asked for, never kept.

    https://docs.openstack.org/api-ref/network/v2/#service-providers
    """

    kind: ClassVar[str] = "ServiceProvider"
    singular: ClassVar[str] = "service_provider"
    plural: ClassVar[str] = "service_providers"

    id: Annotated[str, hidden()] = ""
    description: Annotated[str | None, hidden()] = None

    service_type: Annotated[str, read_only(filter=False, sort=False)] = ROUTING
    name: Annotated[str, read_only(filter=False, sort=False)] = PROVIDER
    default: Annotated[bool, read_only(filter=False, sort=False)] = True
