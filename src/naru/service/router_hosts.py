"""Which host runs a router: a live one that reaches all of the router's networks. The router's ports are bound there.

Level-triggered: `ensure_router_host` looks at what is and yields what is missing, whatever happened before.
"""

from msgspec.structs import replace

from naru.model.agents import Agent
from naru.model.hostreport import HostReport
from naru.model.resources import Changes, Network, Port, put
from naru.model.routing import FloatingIp, Router
from naru.model.view import View
from naru.service import binding
from naru.service.router_ports import gateway_port, interface_ports


def ensure_router_host(view: View, router_id: str, host: str | None = None) -> Changes[None]:
    """A router with ports runs on a host that can run it; it stays where it is while that goes. `host` decides it, "" for none.

    Where no host can, it stays too: its own may come back.
    """
    router = view.get(Router, router_id)
    if router is None:
        return
    ports = ports_of(view, router_id)
    networks = _networks(view, ports)
    agent = binding.agent_of(view, router.host) if router.host else None
    if host is None:
        stays = not ports or (agent is not None and _can_run(agent, networks))
        host = router.host if stays else _least_loaded(view, router, networks) or router.host
    yield from _move(view, router, ports, host)


def ensure_router_hosts(view: View) -> Changes[None]:
    """After hosts came, went or changed: the same for every router."""
    for router in list(view.all(Router)):
        yield from ensure_router_host(view, router.id)


def settle_routing(view: View, host: str, report: HostReport) -> Changes[None]:
    """Routers and floating IPs take over what the host that runs them achieved; it speaks for no others."""
    told = dict.fromkeys(report.ok, "ACTIVE") | dict.fromkeys(report.failed, "ERROR") | dict.fromkeys(report.gone, "DOWN")
    if report.full:
        here = [floating for router in view.find(Router, "host", host) for floating in view.find(FloatingIp, "router_id", router.id)]
        told = {f"floatingip/{floating.id}": "DOWN" for floating in here} | told
    for key, status in told.items():
        kind, _, id = key.partition("/")
        if kind == "router":
            yield from _record(host, view.get(Router, id), status if status == "ERROR" else "ACTIVE")
        elif kind == "floatingip" and (floating := view.get(FloatingIp, id)) is not None and floating.reported != status:
            runs_on = view.get(Router, floating.router_id or "")
            if runs_on is not None and runs_on.host == host:
                yield put(replace(floating, reported=status))


def _record(host: str, router: Router | None, status: str) -> Changes[None]:
    if router is not None and router.host == host and router.status != status:
        yield put(replace(router, status=status))


def ports_of(view: View, router_id: str) -> list[Port]:
    """A router's interfaces and its gateway."""
    gateway = gateway_port(view, router_id)
    return [*interface_ports(view, router_id), *([gateway] if gateway is not None else [])]


def why_not_run(view: View, agent: Agent, router: Router) -> str | None:
    """Why a host cannot run a router, in words; None when it can."""
    if not (agent.configurations.get("l3") and agent.admin_state_up and agent.alive):
        return f"{agent.host} runs no routers, or is disabled or not alive"
    reasons = (binding.why_unreachable(agent, network) for network in _networks(view, ports_of(view, router.id)))
    return next(filter(None, reasons), None)


def _networks(view: View, ports: list[Port]) -> list[Network]:
    found = (view.get(Network, id) for id in {port.network_id for port in ports})
    return [network for network in found if network is not None]


def _can_run(agent: Agent, networks: list[Network]) -> bool:
    may = bool(agent.alive and agent.configurations.get("l3"))
    return may and not any(binding.why_unreachable(agent, network) for network in networks)


def _least_loaded(view: View, router: Router, networks: list[Network]) -> str | None:
    """Of the enabled hosts that can run the router, in the zones that it asks for, the one with the fewest."""
    hosts = [
        agent.host
        for agent in view.all(Agent)
        if agent.admin_state_up and _can_run(agent, networks)
        if not router.availability_zone_hints or agent.availability_zone in router.availability_zone_hints
    ]
    return min(hosts, key=lambda host: (view.count(Router, "host", host), host), default=None)


def _move(view: View, router: Router, ports: list[Port], host: str) -> Changes[None]:
    """Put the router and its ports on `host`; what moves has to be reported anew."""
    agent = binding.agent_of(view, host)
    zones = (agent.availability_zone,) if agent is not None and agent.availability_zone else ()
    moved = replace(router, host=host, availability_zones=zones)
    if moved != router:
        yield put(moved)
    if host != router.host:
        for floating in list(view.find(FloatingIp, "router_id", router.id)):
            yield put(replace(floating, reported="DOWN"))
    for port in ports:
        if port.binding_host_id == host and binding.is_bound(port):
            continue
        vif_type, vif_details = binding.bind(view, port, host)
        bound = replace(port, binding_host_id=host, binding_vif_type=vif_type, binding_vif_details=vif_details)
        if bound != port:
            yield put(replace(bound, provisioned=(), status="DOWN"))
