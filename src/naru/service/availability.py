"""How many addresses a network has and how many are used, in Neutron's words.

https://docs.openstack.org/api-ref/network/v2/#network-ip-availability-and-usage-stats
"""

from typing import Any

from naru.model.errors import Forbidden
from naru.model.identity import Caller
from naru.model.resources import Network, Subnet
from naru.model.view import View
from naru.service.policy import fetch


def show_availability(view: View, caller: Caller, network_id: str, ip_versions: frozenset[int] = frozenset({4, 6})) -> dict[str, Any]:
    """Sums over the network's subnets: `total_ips` of their pools, `used_ips` of all that is allocated."""
    _require_admin(caller)
    network = fetch(view, caller, Network, network_id)
    found = view.find(Subnet, "network_id", network_id)
    subnets = [_subnet_availability(view, subnet) for subnet in found if subnet.ip_version in ip_versions]
    return {
        "network_id": network.id,
        "network_name": network.name,
        "tenant_id": network.project_id,
        "project_id": network.project_id,
        "total_ips": sum(subnet["total_ips"] for subnet in subnets),
        "used_ips": sum(subnet["used_ips"] for subnet in subnets),
        "subnet_ip_availability": subnets,
    }


def list_availability(view: View, caller: Caller, ip_versions: frozenset[int] = frozenset({4, 6})) -> list[dict[str, Any]]:
    _require_admin(caller)
    return [show_availability(view, caller, network.id, ip_versions) for network in view.all(Network)]


def _subnet_availability(view: View, subnet: Subnet) -> dict[str, Any]:
    space = view.addresses(subnet.id)
    return {
        "subnet_id": subnet.id,
        "subnet_name": subnet.name,
        "cidr": subnet.cidr,
        "ip_version": subnet.ip_version,
        "total_ips": space.usable,
        "used_ips": space.allocated + len(space.outside),
    }


def _require_admin(caller: Caller) -> None:
    if not caller.is_admin:
        raise Forbidden("(rule:get_network_ip_availability) is disallowed by policy: an administrator may see it")
