"""Routers: a way out over a gateway port, and static routes. Interfaces are in router_interfaces.py."""

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from naru.model.errors import Conflict, Invalid, invalid_value, not_found
from naru.model.identity import Caller, Read
from naru.model.resources import Changes, FixedIp, HostRoute, Network, Subnet, new_id, put, remove
from naru.model.routing import GATEWAY_OWNER, FloatingIp, Gateway, Router, WantedGateway, routes_list
from naru.model.view import View
from naru.service.addressing import choose_addresses, choose_mac, take_wanted
from naru.service.flavors import check_router_flavor
from naru.service.policy import Cloud, can_see, check_quota, fetch_own, reader, require_admin
from naru.service.qos import check_outer_policy
from naru.service.router_hosts import ensure_router_host, ports_of
from naru.service.router_ports import bad_router, check_subnets, gateway_port, interface_ports, routing_port, subnets_of
from naru.service.zones import check_hints

MAX_ROUTES = 30


def create_router(view: View, caller: Caller, given: dict[str, Any], cloud: Cloud) -> Changes[Router]:
    """Raises NotFound or Invalid for a gateway that cannot be, Conflict for a full quota or a network without a free address."""
    check_quota(view, cloud, Router, given["project_id"])
    check_router_flavor(view, caller, given.get("flavor_id"))
    wanted = given.pop("external_gateway_info", None)
    check_hints(view, "router", given.get("availability_zone_hints", ()))
    router = Router(id=new_id(), **given)
    yield put(router)
    yield from _set_gateway(view, caller, router, wanted, "create")
    yield from ensure_router_host(view, router.id)
    return view.get(Router, router.id) or router


def update_router(view: View, caller: Caller, id: str, given: dict[str, Any], cloud: Cloud) -> Changes[Router]:
    """Raises Conflict for a gateway that floating IPs need, Invalid for routes that lead nowhere and HA changed while up."""
    router = fetch_own(view, caller, Router, id, "update")
    given = dict(given)
    wanted = given.pop("external_gateway_info", UNSET)
    changed = replace(router, **given)
    if changed.ha != router.ha and router.admin_state_up and changed.admin_state_up:
        raise bad_router("Cannot change HA attribute of active routers. Please set router admin_state_up to False prior to upgrade")
    if wanted is not UNSET:
        changed = yield from _set_gateway(view, caller, changed, wanted, "update")
    if "routes" in given:
        _check_routes(view, changed)
    yield put(changed)
    yield from ensure_router_host(view, id)
    return view.get(Router, id) or changed


def delete_router(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    """Raises Conflict (RouterInUse) while the router has interfaces."""
    router = fetch_own(view, caller, Router, id, "delete")
    if interface_ports(view, id):
        raise Conflict(f"Router {id} still has ports; remove its interfaces first.", "RouterInUse")
    yield from _drop_gateway(view, router)
    yield remove(router)


# -- the gateway


def _set_gateway(view: View, caller: Caller, router: Router, wanted: WantedGateway | None, action: str) -> Changes[Router]:
    """The router with the gateway that is wanted, its port made, moved or removed."""
    if wanted is not None:
        _check_may_ask(caller, wanted, action, reader(view, caller, router))
    now = router.external_gateway_info
    if wanted is None or now is None or wanted.network_id != now.network_id:
        yield from _drop_gateway(view, router)
        now = None
    if wanted is None:
        changed = replace(router, external_gateway_info=None, enable_snat=True)
    else:
        fixed_ips = yield from _make_gateway(view, caller, router, wanted, now)
        snat = wanted.enable_snat if wanted.enable_snat is not UNSET else router.enable_snat
        policy_before = now.qos_policy_id if now is not None else None
        policy = wanted.qos_policy_id if wanted.qos_policy_id is not UNSET else policy_before
        check_outer_policy(view, caller, router, policy_before, policy)
        changed = replace(router, external_gateway_info=Gateway(wanted.network_id, snat, fixed_ips, policy), enable_snat=snat)
    yield put(changed)
    return changed


def _check_may_ask(caller: Caller, wanted: WantedGateway, action: str, read: Read) -> None:
    for part in ("enable_snat", "external_fixed_ips"):
        if getattr(wanted, part) is not UNSET:
            require_admin(caller, f"{action}_router:external_gateway_info:{part}", read)


def _make_gateway(view: View, caller: Caller, router: Router, wanted: WantedGateway, now: Gateway | None) -> Changes[tuple[FixedIp, ...]]:
    """The gateway's addresses: as asked, else as they are, else as chosen."""
    network = view.get(Network, wanted.network_id)
    if network is None or not can_see(view, caller, network):
        raise not_found("Network", wanted.network_id)
    if not network.router_external:
        raise bad_router(f"Network {network.id} is not an external network")
    port = gateway_port(view, router.id) if now is not None else None
    asked = wanted.external_fixed_ips
    if asked is UNSET and port is not None:
        return port.fixed_ips
    mac = port.mac_address if port is not None else choose_mac(view, network.id)
    if not asked:
        fixed_ips = choose_addresses(view, network.id, mac, GATEWAY_OWNER)
    else:
        gateways = {subnet.gateway_ip for subnet in view.find(Subnet, "network_id", network.id)}
        if taken := [ask.ip_address for ask in asked if ask.ip_address in gateways - {None}]:
            raise bad_router(f"External IP {taken[0]} is the same as the gateway IP")
        fixed_ips = take_wanted(view, network.id, mac, asked, held=port.fixed_ips if port is not None else ())
    if port is None:
        check_subnets(view, router.id, view.find(Subnet, "network_id", network.id))
        yield put(routing_port(view, network.id, GATEWAY_OWNER, router.id, fixed_ips, mac_address=mac))
    else:
        yield put(replace(port, fixed_ips=fixed_ips))
    return fixed_ips


def _drop_gateway(view: View, router: Router) -> Changes[None]:
    """Raises Conflict while floating IPs of the gateway's network use it."""
    port = gateway_port(view, router.id)
    if port is None:
        return
    if view.count(FloatingIp, "router_id", router.id):
        message = (
            f"Gateway cannot be updated for router {router.id}, since a gateway to external network {port.network_id} is required by "
            "one or more floating IPs."
        )
        raise Conflict(message, "RouterExternalGatewayInUseByFloatingIp")
    yield remove(port)


# -- routes


def add_extraroutes(view: View, caller: Caller, id: str, body: Any, cloud: Cloud) -> Changes[Router]:
    """PUT routers/{id}/add_extraroutes: those that are there stay as they are."""
    router, routes = _named_routes(view, caller, id, body, "add_extraroutes")
    changed = replace(router, routes=tuple(dict.fromkeys((*router.routes, *routes))))
    _check_routes(view, changed)
    yield put(changed)
    return changed


def remove_extraroutes(view: View, caller: Caller, id: str, body: Any, cloud: Cloud) -> Changes[Router]:
    """PUT routers/{id}/remove_extraroutes: those that are not there are gone already."""
    router, routes = _named_routes(view, caller, id, body, "remove_extraroutes")
    changed = replace(router, routes=tuple(route for route in router.routes if route not in routes))
    yield put(changed)
    return changed


def _named_routes(view: View, caller: Caller, id: str, body: Any, action: str) -> tuple[Router, tuple[HostRoute, ...]]:
    router = fetch_own(view, caller, Router, id, action)
    named = body.get("router") if isinstance(body, Mapping) else None
    if not isinstance(named, Mapping) or "routes" not in named:
        raise bad_router("the body has no routes; it is to be {'router': {'routes': [...]}}")
    try:
        return router, routes_list(named["routes"])
    except ValueError as error:
        raise invalid_value("routes", str(error)) from None


def _check_routes(view: View, router: Router) -> None:
    """Raises Invalid for too many routes, and for a next hop that is not a neighbour of the router."""
    if len(router.routes) > MAX_ROUTES:
        message = f"Unable to complete operation for {router.id}. The number of routes exceeds the maximum {MAX_ROUTES}."
        raise Invalid(message, "RoutesExhausted")
    ports = ports_of(view, router.id)
    own = {ip.ip_address for port in ports for ip in port.fixed_ips}
    subnets = subnets_of(view, ports)
    for route in router.routes:
        if not is_reached(route, subnets):
            raise _invalid_route(route, "the nexthop is not connected with router")
        if route.nexthop in own:
            raise _invalid_route(route, "the nexthop is used by router")


def is_reached(route: HostRoute, subnets: Iterable[Subnet]) -> bool:
    return any(ip_address(route.nexthop) in ip_network(subnet.cidr) for subnet in subnets)


def _invalid_route(route: HostRoute, reason: str) -> Invalid:
    return Invalid(f"Invalid format for routes: {route.destination} via {route.nexthop}, {reason}", "InvalidRoutes")
