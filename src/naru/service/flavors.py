"""Flavors of services and their profiles: an administrator makes them, everybody may choose one."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from naru.model.errors import Conflict, Invalid, NotFound, Unavailable
from naru.model.flavors import PROVIDER, ROUTING, ServiceFlavor, ServiceProfile
from naru.model.identity import Caller
from naru.model.resources import Changes, new_id, put, remove
from naru.model.routing import Router
from naru.model.view import View
from naru.service.policy import Cloud, fetch, require_admin


def create_flavor(view: View, caller: Caller, given: dict[str, Any], cloud: Cloud) -> Changes[ServiceFlavor]:
    require_admin(caller, "create_flavor")
    flavor = ServiceFlavor(id=new_id(), **given | {"project_id": ""})
    _check_profiles(view, flavor)
    yield put(flavor)
    return flavor


def update_flavor(view: View, caller: Caller, id: str, given: dict[str, Any], cloud: Cloud) -> Changes[ServiceFlavor]:
    require_admin(caller, "update_flavor")
    flavor = replace(fetch(view, caller, ServiceFlavor, id), **given)
    _check_profiles(view, flavor)
    yield put(flavor)
    return flavor


def delete_flavor(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    """Raises Conflict (FlavorInUse) while a router is of the flavor."""
    require_admin(caller, "delete_flavor")
    flavor = fetch(view, caller, ServiceFlavor, id)
    if view.count(Router, "flavor_id", id):
        raise Conflict(f"Flavor {id} is used by some service instance.", "FlavorInUse")
    yield remove(flavor)


def create_profile(view: View, caller: Caller, given: dict[str, Any], cloud: Cloud) -> Changes[ServiceProfile]:
    """Raises Invalid for a profile that says nothing, NotFound for a driver that there is not."""
    require_admin(caller, "create_service_profile")
    profile = ServiceProfile(id=new_id(), **given | {"project_id": ""})
    _check_profile(profile)
    yield put(profile)
    return profile


def update_profile(view: View, caller: Caller, id: str, given: dict[str, Any], cloud: Cloud) -> Changes[ServiceProfile]:
    """A profile that a flavor uses is what it is."""
    require_admin(caller, "update_service_profile")
    profile = fetch(view, caller, ServiceProfile, id)
    _check_unused(view, profile)
    changed = replace(profile, **given)
    _check_profile(changed)
    yield put(changed)
    return changed


def delete_profile(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    require_admin(caller, "delete_service_profile")
    profile = fetch(view, caller, ServiceProfile, id)
    _check_unused(view, profile)
    yield remove(profile)


def add_profile(view: View, caller: Caller, flavor_id: str, body: Any) -> Changes[dict[str, Any]]:
    """POST flavors/{flavor_id}/service_profiles"""
    require_admin(caller, "create_flavor_service_profile")
    flavor = fetch(view, caller, ServiceFlavor, flavor_id)
    named = body.get("service_profile") if isinstance(body, Mapping) else None
    if not isinstance(named, Mapping) or not isinstance(named.get("id"), str):
        raise Invalid("Unable to find 'service_profile' with an id in request body")
    profile = fetch(view, caller, ServiceProfile, named["id"])
    if profile.id in flavor.service_profiles:
        message = f"Service Profile {profile.id} is already associated with flavor {flavor.id}."
        raise Conflict(message, "FlavorServiceProfileBindingExists")
    yield put(replace(flavor, service_profiles=(*flavor.service_profiles, profile.id)))
    return {"service_profile": {"id": profile.id}}


def remove_profile(view: View, caller: Caller, flavor_id: str, profile_id: str) -> Changes[None]:
    """DELETE flavors/{flavor_id}/service_profiles/{profile_id}"""
    require_admin(caller, "delete_flavor_service_profile")
    flavor = fetch(view, caller, ServiceFlavor, flavor_id)
    if profile_id not in flavor.service_profiles:
        message = f"Service Profile {profile_id} is not associated with flavor {flavor.id}."
        raise NotFound(message, "FlavorServiceProfileBindingNotFound")
    yield put(replace(flavor, service_profiles=tuple(id for id in flavor.service_profiles if id != profile_id)))


def next_providers(view: View, caller: Caller, flavor_id: str) -> list[dict[str, str]]:
    """Who would provide the next instance of a flavor. Raises Unavailable where its profile is not enabled."""
    flavor = fetch(view, caller, ServiceFlavor, flavor_id)
    check_enabled(view, flavor)
    profiles = (view.get(ServiceProfile, id) for id in flavor.service_profiles)
    return [{"provider": PROVIDER, "driver": p.driver, "metainfo": p.metainfo} for p in profiles if p is not None][:1]


def check_router_flavor(view: View, caller: Caller, flavor_id: str | None) -> None:
    """Raises NotFound, Invalid or Unavailable for a flavor that a router cannot be of."""
    if flavor_id is None:
        return
    flavor = fetch(view, caller, ServiceFlavor, flavor_id)
    if flavor.service_type != ROUTING:
        raise Invalid(f"Invalid service type: {flavor.service_type}.", "InvalidServiceType")
    check_enabled(view, flavor)


def check_enabled(view: View, flavor: ServiceFlavor) -> None:
    if not flavor.enabled:
        raise Unavailable("Flavor is not enabled.", "FlavorDisabled")
    profile = view.get(ServiceProfile, flavor.service_profiles[0]) if flavor.service_profiles else None
    if profile is not None and not profile.enabled:
        raise Unavailable("Service Profile is not enabled.", "ServiceProfileDisabled")


def _check_profiles(view: View, flavor: ServiceFlavor) -> None:
    for id in flavor.service_profiles:
        if view.get(ServiceProfile, id) is None:
            raise NotFound(f"Service Profile {id} could not be found.", "ServiceProfileNotFound")


def _check_profile(profile: ServiceProfile) -> None:
    if not profile.driver and not profile.metainfo:
        raise Invalid("Service Profile needs either a driver or metainfo.", "ServiceProfileEmpty")
    if profile.driver not in ("", PROVIDER):
        raise NotFound(f"Service Profile driver {profile.driver} could not be found.", "ServiceProfileDriverNotFound")


def _check_unused(view: View, profile: ServiceProfile) -> None:
    if view.count(ServiceFlavor, "service_profiles", profile.id):
        raise Conflict(f"Service Profile {profile.id} is used by some service instance.", "ServiceProfileInUse")
