"""What a network or a pool may grow by, when it is said: that it fits together, and fits what is there."""

from naru.allocate.segments import max_mtu
from naru.model.errors import invalid_value
from naru.model.growth import Bench
from naru.model.identity import Caller
from naru.model.pools import SubnetPool
from naru.model.resources import Network, Subnet
from naru.model.view import View
from naru.service.policy import Cloud, fetch
from naru.service.subnetpools import check_length


def check_bench(view: View, caller: Caller, bench: Bench | None, cloud: Cloud, network: Network | None = None) -> None:
    """Raises Invalid for a bench that could never be used, NotFound for a subnet pool that there is not. `network`: whose bench it is."""
    if bench is None:
        return
    pool = fetch(view, caller, SubnetPool, bench.subnetpool_id)
    check_length(pool, pool.default_prefixlen if bench.prefixlen is None else bench.prefixlen)
    reason = _why_not_wire(bench) or (network and _why_not_on(view, bench, pool, network, cloud))
    if reason:
        raise invalid_value("autogrow", reason)


def _why_not_wire(bench: Bench) -> str:
    has_ids = bench.minimum is not None and bench.maximum is not None
    if (bench.minimum is None) != (bench.maximum is None) or (has_ids and (bench.minimum or 0) > (bench.maximum or 0)):
        return f"{bench.minimum}:{bench.maximum} is no range of segmentation ids"
    if bench.network_type == "vlan" and not (has_ids and bench.physical_network and (bench.maximum or 0) <= 4094):
        return "segments of type vlan need physical_network, minimum and maximum, up to 4094"
    if bench.network_type != "vlan" and bench.physical_network is not None:
        return f"physical_network goes with vlan, not with {bench.network_type}"
    return "minimum and maximum go with a network_type" if has_ids and bench.network_type is None else ""


def _why_not_on(view: View, bench: Bench, pool: SubnetPool, network: Network, cloud: Cloud) -> str:
    """Neutron's rules for the subnets of a network hold for those that are to come."""
    subnets = list(view.find(Subnet, "network_id", network.id))
    if foreign := [each.id for each in subnets if each.ip_version == pool.ip_version and each.subnetpool_id != pool.id]:
        return f"subnet {foreign[0]} is not of subnet pool {pool.id}: onboard_network_subnets of the pool takes it up"
    if subnets and subnets[0].segment_id is None and bench.network_type is not None:
        return "its subnets are tied to no segment: leave network_type out"
    if subnets and subnets[0].segment_id is not None and bench.network_type is None:
        return "its subnets are tied to segments: name a network_type"
    if bench.network_type is not None and max_mtu(bench.network_type, cloud.ranges) < network.mtu:
        return f"a {bench.network_type} segment does not carry the network's MTU of {network.mtu}"
    return ""
