"""How many addresses a network has and how many are used, in Neutron's words. Administrators see it; for others there is none."""

from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

from msgspec.structs import asdict, astuple

from naru.model.availability import IpAvailabilityDetails, NetworkIpAvailability, SubnetIpAvailability
from naru.model.errors import not_found
from naru.model.identity import Caller
from naru.model.resources import Network, Subnet
from naru.model.view import View
from naru.schedule.candidates import Counts, Wish
from naru.service.candidates import candidates_for
from naru.service.policy import fetch

_LOW = 0.1  # of the usable addresses


def show_availability(view: View, caller: Caller, network_id: str) -> NetworkIpAvailability:
    """Raises NotFound for a network that is none, and for whoever may not know."""
    network = fetch(view, caller, Network, network_id)
    if not caller.may("get_network_ip_availability", caller.reads_all):
        raise not_found("Network", network_id)
    return _availability(view, network, list(view.find(Subnet, "network_id", network_id)))


def list_availability(view: View, caller: Caller, ip_versions: frozenset[int] = frozenset()) -> list[NetworkIpAvailability]:
    """Of all networks; with `ip_versions` the sums of these alone, and of the networks only those that have such subnets."""
    if not caller.may("get_network_ip_availability", caller.reads_all):
        return []
    found = []
    for network in view.all(Network):
        subnets = list(view.find(Subnet, "network_id", network.id))
        if ip_versions:
            subnets = [subnet for subnet in subnets if subnet.ip_version in ip_versions]
        if subnets or not ip_versions:
            found.append(_availability(view, network, subnets))
    return found


def show_pool_availability(view: View, caller: Caller, pool_id: str) -> dict[str, Any]:
    """How much room a pool has for the caller's project: in a word, and for administrators in numbers. Raises NotFound."""
    wish = Wish(pool_id=pool_id)
    fit = [candidate for candidate in candidates_for(view, caller, wish).candidates if candidate.allowed and candidate.cordoned is None]
    sums = Counts(*(sum(getattr(candidate.counts, part) for candidate in fit) for part in Counts.__struct_fields__))
    band = "none" if not sums.free else "low" if sums.free < sums.usable * _LOW else "plenty"
    return {"network_pool_id": pool_id, "band": band, **(asdict(sums) if caller.reads_all else {})}


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
        ip_availability_details=_sum([row.ip_availability_details for row in rows]),
    )


def _sum(parts: Sequence[IpAvailabilityDetails]) -> IpAvailabilityDetails:
    return IpAvailabilityDetails(*(sum(numbers) for numbers in zip(*(astuple(part) for part in parts), strict=True)))


def _subnet_availability(view: View, subnet: Subnet) -> SubnetIpAvailability:
    space = view.addresses(subnet.id)
    used = space.allocated + len(space.outside)
    details = IpAvailabilityDetails(_host_addresses(subnet.cidr), space.usable, used, space.allocated)
    return SubnetIpAvailability(subnet.id, subnet.name, subnet.cidr, subnet.ip_version, space.usable, used, details)


def _host_addresses(cidr: str) -> int:
    """Of an IPv4 prefix all but the network and broadcast address, which point-to-point prefixes have not (RFC 3021)."""
    prefix = ip_network(cidr)
    return prefix.num_addresses - (2 if prefix.version == 4 and prefix.prefixlen < 31 else 0)
