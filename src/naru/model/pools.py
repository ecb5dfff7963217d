"""Subnet pools, from which subnets get their prefixes, and the address scopes within which prefixes are unique."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from naru.model.attributes import (
    SharedWith,
    Tags,
    at_create,
    boolean,
    cidr,
    hidden,
    integer,
    list_of,
    name_text,
    or_none,
    read_only,
    settable,
    uuid_text,
)
from naru.model.resources import Keys, Resource

_name = name_text(255)


def _non_empty_name(value: Any) -> str:
    if value == "":
        raise ValueError("'' is an empty name")
    return _name(value)  # type: ignore[no-any-return]


class AddressScope(Resource, frozen=True, kw_only=True):
    """https://docs.openstack.org/api-ref/network/v2/#address-scopes"""

    kind: ClassVar[str] = "AddressScope"
    singular: ClassVar[str] = "address_scope"
    plural: ClassVar[str] = "address_scopes"

    # It has no description and no times on the wire: Neutron keeps none.
    description: Annotated[str | None, hidden()] = None
    created_at: Annotated[str, hidden()] = ""
    updated_at: Annotated[str, hidden()] = ""
    revision_number: Annotated[int, hidden()] = 1

    name: Annotated[str, settable(_name)] = ""
    ip_version: Annotated[int, at_create(integer(one_of=(4, 6)), required=True)]
    shared: Annotated[bool, settable(boolean, who="admin")] = False
    shared_with: SharedWith = ()

    indexes: ClassVar[Mapping[str, Keys]] = {
        "project_id": lambda scope: (scope.project_id,),
        "name": lambda scope: (scope.name,),
    }


class SubnetPool(Resource, frozen=True, kw_only=True):
    """https://docs.openstack.org/api-ref/network/v2/#subnet-pools

    `prefixes` are compacted and in order; `ip_version` follows from them. `default_quota` counts addresses per project, for
    IPv6 /64 prefixes.
    """

    kind: ClassVar[str] = "SubnetPool"
    singular: ClassVar[str] = "subnetpool"
    plural: ClassVar[str] = "subnetpools"

    name: Annotated[str, settable(_non_empty_name, required=True)]
    prefixes: Annotated[tuple[str, ...], settable(list_of(cidr), required=True, filter=False, sort=False)]
    ip_version: Annotated[int, read_only()]
    min_prefixlen: Annotated[int, settable(integer(0))]
    max_prefixlen: Annotated[int, settable(integer(0))]
    default_prefixlen: Annotated[int, settable(integer(0))]
    default_quota: Annotated[int | None, settable(integer(0))] = None
    address_scope_id: Annotated[str | None, settable(or_none(uuid_text))] = None
    is_default: Annotated[bool, settable(boolean, who="admin")] = False
    shared: Annotated[bool, at_create(boolean, who="admin")] = False
    shared_with: SharedWith = ()
    tags: Tags = ()

    indexes: ClassVar[Mapping[str, Keys]] = {
        "project_id": lambda pool: (pool.project_id,),
        "name": lambda pool: (pool.name,),
        "address_scope_id": lambda pool: (pool.address_scope_id,) if pool.address_scope_id else (),
        "default": lambda pool: (str(pool.ip_version),) if pool.is_default else (),
    }
