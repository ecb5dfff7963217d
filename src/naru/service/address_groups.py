"""Address groups: named sets of prefixes that security group rules refer to.

Reference: https://docs.openstack.org/api-ref/network/v2/#address-groups
"""

from typing import Any

from msgspec.structs import replace

from naru.model.attributes import cidr, list_of
from naru.model.errors import Conflict, Invalid, NotFound, invalid_value
from naru.model.identity import Caller
from naru.model.resources import Changes, new_id, put, remove
from naru.model.security import AddressGroup, DefaultSecurityGroupRule, SecurityGroupRule
from naru.model.view import View
from naru.service.policy import Cloud, fetch_own
from naru.service.sharing import forget_policies

_addresses = list_of(cidr, unique=False)


def create_address_group(view: View, caller: Caller, given: dict[str, Any], cloud: Cloud) -> Changes[AddressGroup]:
    group = AddressGroup(id=new_id(), **given)
    yield put(group)
    return group


def update_address_group(view: View, caller: Caller, id: str, given: dict[str, Any], cloud: Cloud) -> Changes[AddressGroup]:
    changed = replace(fetch_own(view, caller, AddressGroup, id, "update"), **given)
    yield put(changed)
    return changed


def delete_address_group(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    """Raises Conflict (AddressGroupInUse) while a rule names it."""
    group = fetch_own(view, caller, AddressGroup, id, "delete")
    in_template = any(template.remote_address_group_id == id for template in view.all(DefaultSecurityGroupRule))
    if in_template or view.count(SecurityGroupRule, "remote_address_group_id", id):
        raise Conflict(f"Address group {id} is in use on one or more security group rules.", "AddressGroupInUse")
    yield remove(group)
    yield from forget_policies(view, id)


def add_addresses(view: View, caller: Caller, id: str, body: Any, cloud: Cloud) -> Changes[AddressGroup]:
    """Raises Invalid (AddressesAlreadyExist) where one is in the group already."""
    group = fetch_own(view, caller, AddressGroup, id, "update")
    wanted = _named(body)
    if known := [address for address in wanted if address in group.addresses]:
        raise Invalid(f"Addresses {', '.join(known)} already exist in the address group {id}.", "AddressesAlreadyExist")
    changed = replace(group, addresses=(*group.addresses, *wanted))
    yield put(changed)
    return changed


def remove_addresses(view: View, caller: Caller, id: str, body: Any, cloud: Cloud) -> Changes[AddressGroup]:
    """Raises NotFound (AddressesNotFound) where one is not in the group."""
    group = fetch_own(view, caller, AddressGroup, id, "update")
    unwanted = _named(body)
    if unknown := [address for address in unwanted if address not in group.addresses]:
        raise NotFound(f"Addresses {', '.join(unknown)} not found in the address group {id}.", "AddressesNotFound")
    changed = replace(group, addresses=tuple(address for address in group.addresses if address not in unwanted))
    yield put(changed)
    return changed


def _named(body: Any) -> tuple[str, ...]:
    """The addresses of a body {"addresses": […]}, perhaps in an "address_group", each once."""
    named = body.get("address_group", body) if isinstance(body, dict) else None
    if not isinstance(named, dict) or set(named) != {"addresses"}:
        raise Invalid("The request body is not a JSON object with 'addresses' in it")
    try:
        return tuple(dict.fromkeys(_addresses(named["addresses"])))
    except ValueError as error:
        raise invalid_value("addresses", str(error)) from None
