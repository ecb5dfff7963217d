"""A network for a project that has none: one of a hidden pool, or its own, with subnets from the default subnet pools and a router.

https://docs.openstack.org/api-ref/network/v2/#auto-allocated-topologies
"""

from typing import Any

from naru.model.errors import Conflict, Forbidden, Invalid
from naru.model.identity import Caller
from naru.model.network_pools import NetworkPool
from naru.model.pools import SubnetPool
from naru.model.resources import Changes, Network, Subnet, put, remove
from naru.model.routing import Router, WantedGateway
from naru.model.topology import AutoAllocatedTopology
from naru.model.view import View
from naru.service.networks import create_network, delete_network
from naru.service.picks import create_pick
from naru.service.policy import Cloud
from naru.service.pool_reach import pool_of
from naru.service.router_interfaces import add_router_interface, remove_router_interface
from naru.service.router_ports import interface_ports
from naru.service.routers import create_router, delete_router
from naru.service.subnetpools import default_pool
from naru.service.subnets import create_subnet


def show_topology(view: View, caller: Caller, project_id: str, fields: tuple[str, ...], cloud: Cloud) -> Changes[dict[str, Any]]:
    """The network that the project's next port is to be on. The field `dry-run` asks only whether there is one.

    Of a hidden pool every answer is another pick, and an address there is held: Nova asks once for each instance, then makes its port.
    Otherwise it is the project's own network, made at the first request.

    Raises NetworkPickRefused where the pool has no room, Conflict (AutoAllocationFailure) where a default is missing, Forbidden for
    another's project.
    """
    project_id = _project(caller, project_id)
    if fields and fields != ("dry-run",):
        raise Invalid("Bad auto_allocate request: Unrecognized field.", "BadRequest")
    pool = pool_of(view, project_id)
    if pool is not None and pool.hidden:
        id = yield from _pick_network(view, caller, project_id, pool, cloud, dry_run=bool(fields))
    elif fields:
        _defaults(view, caller)
        id = ""
    else:
        id = (yield from ensure_topology(view, caller, project_id, cloud)).network_id
    return {"id": "dry-run=pass" if fields else id, "project_id": project_id, "tenant_id": project_id}


def _pick_network(view: View, caller: Caller, project_id: str, pool: NetworkPool, cloud: Cloud, *, dry_run: bool) -> Changes[str]:
    wish = {"project_id": project_id, "pool_id": pool.id, "consumable_by": "project", "dry_run": dry_run}
    return (yield from create_pick(view, caller, wish, cloud)).placements[0].network_id


def delete_topology(view: View, caller: Caller, project_id: str, cloud: Cloud) -> Changes[None]:
    """Raises Conflict while something else than its router uses the network. What is not there is gone already."""
    topology = _topology(view, _project(caller, project_id))
    if topology is None:
        return
    if view.get(Router, topology.router_id) is not None:
        for port in interface_ports(view, topology.router_id):
            yield from remove_router_interface(view, caller, topology.router_id, {"port_id": port.id}, cloud)
        yield from delete_router(view, caller, topology.router_id, cloud)
    yield from delete_network(view, caller, topology.network_id, cloud)
    yield remove(topology)


def ensure_topology(view: View, caller: Caller, project_id: str, cloud: Cloud) -> Changes[AutoAllocatedTopology]:
    topology = _topology(view, project_id)
    if topology is not None:
        return topology
    external, pools = _defaults(view, caller)
    network = yield from _make_network(view, caller, project_id, cloud)
    gateway = WantedGateway(external.id)
    named = {"project_id": project_id, "name": "auto_allocated_router", "external_gateway_info": gateway}
    router = yield from create_router(view, caller, named, cloud)
    for pool in pools:
        wanted = {"ip_version": pool.ip_version, "subnetpool_id": pool.id}
        subnet = yield from _make_subnet(view, caller, network, wanted, cloud)
        yield from add_router_interface(view, caller, router.id, {"subnet_id": subnet.id}, cloud)
    topology = AutoAllocatedTopology(id=project_id, project_id=project_id, network_id=network.id, router_id=router.id)
    yield put(topology)
    return topology


def ensure_network(view: View, caller: Caller, cloud: Cloud) -> Changes[None]:
    """For the first instance of a project: its topology, and where a default is missing a network that is not routed."""
    try:
        _defaults(view, caller)
    except Conflict:
        network = yield from _make_network(view, caller, caller.project_id, cloud)
        yield from _make_subnet(view, caller, network, {"ip_version": 4, "cidr": cloud.auto_network_cidr}, cloud)
    else:
        yield from ensure_topology(view, caller, caller.project_id, cloud)


def _project(caller: Caller, project_id: str) -> str:
    """Old clients write None for their own project."""
    if project_id == "None":
        return caller.project_id
    if project_id != caller.project_id and not caller.is_admin:
        raise Forbidden("Not authorized.", "NotAuthorized")
    return project_id


def _topology(view: View, project_id: str) -> AutoAllocatedTopology | None:
    topology = view.get(AutoAllocatedTopology, project_id)
    return topology if topology is not None and view.get(Network, topology.network_id) is not None else None


def _defaults(view: View, caller: Caller) -> tuple[Network, list[SubnetPool]]:
    external = next(view.find(Network, "default", "external"), None)
    if external is None:
        raise _failure("No default router:external network")
    pools = [pool for version in (4, 6) if (pool := default_pool(view, caller, version)) is not None]
    if not pools:
        raise _failure("No default subnetpools defined")
    return external, pools


def _make_network(view: View, caller: Caller, project_id: str, cloud: Cloud) -> Changes[Network]:
    return (yield from create_network(view, caller, {"project_id": project_id, "name": "auto_allocated_network"}, cloud))


def _make_subnet(view: View, caller: Caller, network: Network, wanted: dict[str, Any], cloud: Cloud) -> Changes[Subnet]:
    named = {"project_id": network.project_id, "name": f"auto_allocated_subnet_v{wanted['ip_version']}", "network_id": network.id}
    return (yield from create_subnet(view, caller, named | wanted, cloud))


def _failure(reason: str) -> Conflict:
    return Conflict(f"Deployment error: {reason}.", "AutoAllocationFailure")
