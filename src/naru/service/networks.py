"""Networks: a segment is chosen at create, and subnets and DHCP ports go with the network at delete."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from naru.allocate.segments import max_mtu
from naru.model.errors import Conflict, Forbidden, Invalid
from naru.model.identity import Caller
from naru.model.provider import ProviderSegment
from naru.model.resources import DHCP_OWNER, Changes, Network, Port, Subnet, new_id, put, remove
from naru.model.segments import Segment
from naru.model.view import View
from naru.service.benches import check_bench
from naru.service.holds import let_go
from naru.service.network_pools import leave_pools
from naru.service.policy import Cloud, check_quota, fetch_own
from naru.service.port_options import check_vlan_transparency
from naru.service.qos import check_policy, follow_network_policy, policy_of_new_network
from naru.service.router_ports import check_not_external, drop_unused_floating_ips
from naru.service.security import ensure_default_group
from naru.service.segment_ranges import ranges_of
from naru.service.segments import asked_segments, provider_attributes, take_segments
from naru.service.sharing import follow_settings, forget_policies, share_subnets
from naru.service.zones import check_hints

MIN_MTU_BYTES = {4: 68, 6: 1280}  # RFC 791 and RFC 8200 §5
_SEGMENT = ("provider_network_type", "provider_physical_network", "provider_segmentation_id", "segments")


def create_network(view: View, caller: Caller, given: dict[str, Any], cloud: Cloud) -> Changes[Network]:
    """Raises Conflict for a segment in use or a full quota, Invalid for a segment that cannot be."""
    check_quota(view, cloud, Network, given["project_id"])
    check_vlan_transparency(given)
    yield from ensure_default_group(view, given["project_id"])
    id = new_id()
    segments = yield from take_segments(view, id, asked_segments(given), ranges_of(view, given["project_id"], cloud.ranges))
    network = Network(
        id=id,
        **given
        | {
            "dns_suffix": cloud.dns_domain,
            "qos_policy_id": policy_of_new_network(view, caller, given),
            "mtu": _mtu(given.get("mtu", 0), segments, cloud),
        }
        | provider_attributes(segments),
    )
    check_hints(view, "network", network.availability_zone_hints)
    network = yield from follow_settings(view, None, _with_policy(network))
    _check_default(view, network)
    _check_project_default(caller, None, network)
    check_bench(view, caller, network.autogrow, cloud, network)
    yield put(network)
    return network


def update_network(view: View, caller: Caller, id: str, given: dict[str, Any], cloud: Cloud) -> Changes[Network]:
    """Raises Invalid for another segment, Conflict for an MTU too small for a subnet and for `shared` taken from its users."""
    network = fetch_own(view, caller, Network, id, "update")
    if any(given.get(part, getattr(network, part)) != getattr(network, part) for part in _SEGMENT):
        raise _invalid(f"the provider attributes of network {id} are fixed when it is created")
    check_policy(view, caller, network.qos_policy_id, given.get("qos_policy_id", network.qos_policy_id))
    subnets = list(view.find(Subnet, "network_id", id))
    if "mtu" in given:
        given = given | {"mtu": _mtu(given["mtu"], network.on_the_wire, cloud)}
        for subnet in subnets:
            check_mtu(given["mtu"], id, subnet.ip_version)
    changed = _with_policy(replace(network, **given))
    if network.router_external and not changed.router_external:
        check_not_external(view, network)
    _check_default(view, changed)
    _check_project_default(caller, network, changed)
    if changed.autogrow != network.autogrow:
        check_bench(view, caller, changed.autogrow, cloud, changed)
    changed = yield from follow_settings(view, network, changed)
    yield put(changed)
    yield from share_subnets(view, changed)
    if changed.qos_policy_id != network.qos_policy_id:
        yield from follow_network_policy(view, changed)
    return changed


def delete_network(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    """Raises Conflict (NetworkInUse) while a port other than a DHCP server's is on it."""
    network = fetch_own(view, caller, Network, id, "delete")
    yield from drop_unused_floating_ips(view, id)
    ports = list(view.find(Port, "network_id", id))
    if in_use := [port.id for port in ports if port.device_owner != DHCP_OWNER]:
        message = (
            f"Unable to complete operation on network {id}. There are one or more ports still in use on the network, "
            f"id for these ports is {','.join(in_use[:20])}."
        )
        raise Conflict(message, "NetworkInUse")
    subnets = list(view.find(Subnet, "network_id", id))
    for subnet in subnets:
        yield from let_go(view, subnet)
    for part in [*ports, *subnets, *view.find(Segment, "network_id", id), network]:
        yield remove(part)
    yield from forget_policies(view, id)
    yield from leave_pools(view, id)


def _with_policy(network: Network) -> Network:
    """What grows by segments chooses among them: without a policy a host that carries two of them could have no port."""
    grows_by_segments = network.autogrow is not None and network.autogrow.network_type is not None
    return replace(network, subnet_policy="sequential") if grows_by_segments and network.subnet_policy is None else network


def _check_default(view: View, network: Network) -> None:
    """Raises Conflict (DefaultExternalNetworkExists): there is one at most."""
    for other in view.find(Network, "default", "external"):
        if other.id != network.id and network.is_default and network.router_external:
            raise Conflict(f"A default external network already exists: {other.id}.", "DefaultExternalNetworkExists")


def _check_project_default(caller: Caller, before: Network | None, network: Network) -> None:
    """Raises Forbidden where another than an administrator makes a network that everyone may use the default of everyone."""
    is_for_all = network.project_default and network.shared and not (before is not None and before.project_default and before.shared)
    if is_for_all and not caller.is_admin:
        rule = "(rule:update_network:project_default) is disallowed by policy"
        raise Forbidden(f"{rule}: network {network.id} is shared with everyone: an administrator makes it a default")


def _mtu(asked: int, segments: Sequence[ProviderSegment], cloud: Cloud) -> int:
    """0 means the largest that all segments can carry."""
    largest = min(max_mtu(segment.network_type, cloud.ranges) for segment in segments)
    if asked == 0:
        return largest
    if asked > largest:
        raise _invalid(f"Requested MTU is too big, maximum is {largest}")
    if asked < MIN_MTU_BYTES[4]:
        raise _invalid(f"Requested MTU is too small, minimum is {MIN_MTU_BYTES[4]}")
    return asked


def check_mtu(mtu: int, network_id: str, ip_version: int) -> None:
    """Raises Conflict where the network's MTU is less than what every link of this IP version carries."""
    if mtu < MIN_MTU_BYTES[ip_version]:
        message = f"MTU of {network_id} is not valid, subnet requires a minimum of {MIN_MTU_BYTES[ip_version]}"
        raise Conflict(message, "NetworkMTUSubnetConflict")


def _invalid(reason: str) -> Invalid:
    return Invalid(f"Invalid input for operation: {reason}.", "InvalidInput")
