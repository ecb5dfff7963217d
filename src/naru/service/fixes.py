"""What would make a refused pick a yes: what could be done about each network is looked up, the rest is `schedule.fixes`."""

from ipaddress import ip_address, ip_network
from itertools import islice

from naru.allocate.addresses import default_pools
from naru.model.identity import Caller
from naru.model.resources import Port, Subnet
from naru.model.view import View
from naru.schedule.candidates import Wish
from naru.schedule.fixes import MOST_PORTS, Fix, Means, nearest_fixes
from naru.service.candidates import Shortlist, is_for_instances
from naru.service.holds import quarantine_s
from naru.service.policy import Cloud, owns, owns_network

_MOST_NETWORKS = 10  # are looked at for what could be done: those that lack the least
_MOST_PORTS_READ = 2_000  # of each, the oldest: a refusal may not take longer the more ports there are


def fixes_for(
    view: View, caller: Caller, wish: Wish, found: Shortlist, cloud: Cloud, rests_s: dict[str, tuple[int, ...]] | None = None
) -> list[Fix]:
    """Of a pick that was refused. `rests_s`: network -> how long each of its addresses in quarantine rests on."""
    closest = sorted(found.candidates, key=lambda candidate: (-candidate.room, candidate.facts.name))
    ids = [candidate.facts.network_id for candidate in closest if candidate.facts.ipv4 or candidate.facts.ipv6][:_MOST_NETWORKS]
    means = {id: _means(view, caller, id, (rests_s or {}).get(id, ()), cloud) for id in ids}
    return nearest_fixes(found.candidates, wish, means)


def _means(view: View, caller: Caller, network_id: str, rests_s: tuple[int, ...], cloud: Cloud) -> Means:
    subnets = [subnet for subnet in view.find(Subnet, "network_id", network_id) if is_for_instances(subnet)]
    spare = {subnet.id: _spare(view, subnet) for subnet in subnets}
    roomiest = max(spare, key=spare.__getitem__, default="")
    idle = [
        port
        for port in islice(view.find(Port, "network_id", network_id), _MOST_PORTS_READ)
        if port.status == "DOWN" and not port.device_id and not port.device_owner and port.fixed_ips
        and (owns(caller, port) or owns_network(view, caller, network_id))
    ]  # fmt: skip
    idle.sort(key=lambda port: (port.updated_at, port.id))
    ports = tuple(port.id for port in idle[:MOST_PORTS])
    return Means(roomiest, spare.get(roomiest, 0), ports, quarantine_s(view, network_id, cloud), tuple(sorted(rests_s)))


def _spare(view: View, subnet: Subnet) -> int:
    """Addresses that its allocation pools could have beside those that they have."""
    gateway = int(ip_address(subnet.gateway_ip)) if subnet.gateway_ip is not None else None
    possible = sum(end - start + 1 for start, end in default_pools(ip_network(subnet.cidr), gateway))
    space = view.addresses(subnet.id)
    return max(0, possible - space.usable - len(space.outside - {gateway}))
