"""How many addresses there are and how many are used: resources that are made when asked for."""

from typing import Annotated, ClassVar

import msgspec

from naru.model.attributes import filter_only, hidden, integer, read_only
from naru.model.resources import Resource


class IpAvailabilityDetails(msgspec.Struct, frozen=True):
    """Addresses, each counted once: of the subnet those that a host can have, of these the ones in pools, and of both the used ones."""

    total_ips_in_subnet: int = 0
    total_ips_in_allocation_pool: int = 0
    used_ips_in_subnet: int = 0
    used_ips_in_allocation_pool: int = 0


class SubnetIpAvailability(msgspec.Struct, frozen=True):
    subnet_id: str
    subnet_name: str
    cidr: str
    ip_version: int
    total_ips: int  # of the allocation pools
    used_ips: int
    ip_availability_details: IpAvailabilityDetails


class NetworkIpAvailability(Resource, frozen=True, kw_only=True):
    """How many addresses a network has; made when asked for, never kept, so it has no times. Its id is the network's.

    https://docs.openstack.org/api-ref/network/v2/#network-ip-availability-and-usage-stats
    """

    kind: ClassVar[str] = "NetworkIpAvailability"
    singular: ClassVar[str] = "network_ip_availability"
    plural: ClassVar[str] = "network_ip_availabilities"

    id: Annotated[str, hidden()]
    description: Annotated[str | None, hidden()] = None
    created_at: Annotated[str, hidden()] = ""
    updated_at: Annotated[str, hidden()] = ""
    revision_number: Annotated[int, hidden()] = 1

    network_id: Annotated[str, read_only()]
    network_name: Annotated[str, read_only(sort=False)] = ""
    project_id: Annotated[str, read_only(sort=False)] = ""
    total_ips: Annotated[int, read_only(filter=False, sort=False)] = 0
    used_ips: Annotated[int, read_only(filter=False, sort=False)] = 0
    subnet_ip_availability: Annotated[tuple[SubnetIpAvailability, ...], read_only(filter=False, sort=False)] = ()
    ip_availability_details: Annotated[IpAvailabilityDetails, read_only(filter=False, sort=False)] = IpAvailabilityDetails()
    ip_version: Annotated[int | None, filter_only(integer())] = None
