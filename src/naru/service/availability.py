"""How many addresses a network has and how many are used, in Neutron's words. Administrators see it; for others there is none."""

from naru.model.errors import not_found
from naru.model.identity import Caller
from naru.model.resources import Network, NetworkIpAvailability, Subnet, SubnetIpAvailability
from naru.model.view import View
from naru.service.policy import fetch


def show_availability(view: View, caller: Caller, network_id: str) -> NetworkIpAvailability:
    """Raises NotFound for a network that is none, and for whoever may not know."""
    network = fetch(view, caller, Network, network_id)
    if not caller.reads_all:
        raise not_found("Network", network_id)
    return _availability(view, network, list(view.find(Subnet, "network_id", network_id)))


def list_availability(view: View, caller: Caller, ip_versions: frozenset[int] = frozenset()) -> list[NetworkIpAvailability]:
    """Of all networks; with `ip_versions` the sums of these alone, and of the networks only those that have such subnets."""
    if not caller.reads_all:
        return []
    found = []
    for network in view.all(Network):
        subnets = list(view.find(Subnet, "network_id", network.id))
        if ip_versions:
            subnets = [subnet for subnet in subnets if subnet.ip_version in ip_versions]
        if subnets or not ip_versions:
            found.append(_availability(view, network, subnets))
    return found


def _availability(view: View, network: Network, subnets: list[Subnet]) -> NetworkIpAvailability:
    rows = tuple(_subnet_availability(view, subnet) for subnet in subnets)
    return NetworkIpAvailability(
        id=network.id,
        network_id=network.id,
        network_name=network.name,
        project_id=network.project_id,
        total_ips=sum(row.total_ips for row in rows),
        used_ips=sum(row.used_ips for row in rows),
        subnet_ip_availability=rows,
    )


def _subnet_availability(view: View, subnet: Subnet) -> SubnetIpAvailability:
    space = view.addresses(subnet.id)
    used = space.allocated + len(space.outside)
    return SubnetIpAvailability(subnet.id, subnet.name, subnet.cidr, subnet.ip_version, space.usable, used)
