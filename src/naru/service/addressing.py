"""Addresses and MACs for ports: what a request asked for is checked, what it left open is chosen."""

import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv6Address, ip_address, ip_network
from socket import inet_ntoa

from naru.allocate.addresses import eui64, mac_from_bits
from naru.model.errors import Conflict, Invalid, Unavailable, not_found
from naru.model.picks import NetworkPick
from naru.model.resources import FixedIp, Network, Port, Subnet, WantedIp
from naru.model.view import Addresses, View
from naru.service.segments import usable_subnets
from naru.service.subnet_choice import allot, links_of

_AUTOMATIC = ("slaac", "dhcpv6-stateless")  # IPv6 modes in which the address follows from the MAC


def choose_mac(view: View, network_id: str) -> str:
    """A MAC that no port of the network has. Raises Unavailable after 16 collisions."""
    for _ in range(16):
        mac = mac_from_bits(secrets.randbits(24))
        if not _mac_taken(view, network_id, mac):
            return mac
    raise Unavailable(f"Unable to generate unique mac on network {network_id}.", "MacAddressGenerationFailure")


def check_mac(view: View, network_id: str, mac: str) -> None:
    if _mac_taken(view, network_id, mac):
        message = f"Unable to complete operation for network {network_id}. The mac address {mac} is in use."
        raise Conflict(message, "MacAddressInUse")


def _mac_taken(view: View, network_id: str, mac: str) -> bool:
    return any(port.network_id == network_id for port in view.find(Port, "mac_address", mac))


def choose_address(view: View, subnet: Subnet) -> str:
    """The next free address of one subnet. Raises Conflict (IpAddressGenerationFailure) naming its pools."""
    address = view.addresses(subnet.id).choose()
    if address is None:
        raise _exhausted(view, subnet.network_id, [subnet])
    return _text(address, subnet)


def choose_addresses(view: View, network_id: str, mac: str, device_owner: str = "", host: str | None = "") -> tuple[FixedIp, ...]:
    """What a port gets that asks for nothing: one address per IP version, and all automatic IPv6 addresses.

    Of the subnets that such a device on this host may use, in the order of their creation unless the network says otherwise; all of them
    on one segment. None at all: there is no subnet, or the port has to be bound first.
    """
    subnets = usable_subnets(view, network_id, subnets_in_order(view, network_id), device_owner, host or "")
    links = links_of(subnets)
    if not links:
        return ()
    link = _allotted(view, network_id, links, 1)[0]
    (chosen,) = _next_addresses(view, network_id, links[link], 1)
    return (*chosen, *automatic_addresses(links[link], mac))


def choose_ahead(view: View, network_id: str, subnets: Iterable[Subnet], count: int) -> list[tuple[FixedIp, ...]]:
    """For each of `count` ports to come addresses of these subnets of a network, automatic ones left out; none is taken yet.

    Raises Conflict (IpAddressGenerationFailure) where there are not so many.
    """
    links = links_of(subnets)
    allotted = _allotted(view, network_id, links, count)
    chosen = {link: iter(_next_addresses(view, network_id, links[link], number)) for link, number in Counter(allotted).items()}
    return [next(chosen[link]) for link in allotted]


def _next_addresses(view: View, network_id: str, subnets: Sequence[Subnet], count: int) -> list[tuple[FixedIp, ...]]:
    """`count` times one free address per IP version, of subnets on one segment."""
    of_versions = ([subnet for subnet in subnets if subnet.ip_version == version and not is_automatic(subnet)] for version in (4, 6))
    columns = [_next_of_some(view, network_id, stateful, count) for stateful in of_versions if stateful]
    return list(zip(*columns, strict=True)) if columns else [()] * count


def _next_of_some(view: View, network_id: str, subnets: Sequence[Subnet], count: int) -> Iterable[FixedIp]:
    if len(subnets) == 1:
        return _next_of(view, subnets[0], count)
    allotted = _allotted(view, network_id, {subnet.id: [subnet] for subnet in subnets}, count)
    numbers = Counter(allotted)
    chosen = {subnet.id: _next_of(view, subnet, numbers[subnet.id]) for subnet in subnets}
    return [next(chosen[id]) for id in allotted]


def _next_of(view: View, subnet: Subnet, count: int) -> Iterator[FixedIp]:
    found = view.addresses(subnet.id).choose_many(count)
    if len(found) < count:
        raise _exhausted(view, subnet.network_id, [subnet])
    return (FixedIp(subnet.id, _text(address, subnet)) for address in found)


def _allotted(view: View, network_id: str, groups: Mapping[str, Sequence[Subnet]], count: int) -> tuple[str, ...]:
    found = allot(view, network_id, groups, count)
    if not found:
        raise _exhausted(view, network_id, [subnet for subnets in groups.values() for subnet in subnets])
    return found


def subnets_in_order(view: View, network_id: str) -> list[Subnet]:
    """In the order of their creation, also after a restart."""
    network = view.get(Network, network_id)
    found = (view.get(Subnet, id) for id in network.subnets) if network is not None else ()
    return [subnet for subnet in found if subnet is not None]


def take_wanted(view: View, network_id: str, mac: str, wanted: Sequence[WantedIp], held: Iterable[FixedIp] = ()) -> tuple[FixedIp, ...]:
    """The addresses that a request names by subnet, address or both, and all automatic ones: no port is without those.

    `held` are those that the port has already.
    """
    subnets = subnets_in_order(view, network_id)
    mine = {ip.ip_address: ip for ip in held}
    chosen: list[FixedIp] = []
    for ask in wanted:
        subnet = _subnet_of(view, network_id, subnets, ask)
        if is_automatic(subnet):
            _check_automatic(subnet, mac, ask, mine)
            continue
        if ask.ip_address is not None:
            fixed = FixedIp(subnet.id, ask.ip_address)
            if mine.get(ask.ip_address) != fixed:
                check_free(view, subnet, ask.ip_address)
        else:
            kept = next((ip for ip in mine.values() if ip.subnet_id == subnet.id and ip not in chosen), None)
            fixed = kept or FixedIp(subnet.id, _choose_another(view, subnet, chosen))
        if fixed in chosen:
            raise Invalid(f"Invalid input for fixed_ips. Reason: Duplicate IP address '{fixed.ip_address}'.")
        chosen.append(fixed)
    return with_automatic(subnets, chosen, mac)


def with_automatic(subnets: Sequence[Subnet], chosen: Sequence[FixedIp], mac: str) -> tuple[FixedIp, ...]:
    """With the automatic addresses on the segment of those that were chosen; where none was, on the first."""
    ids = {ip.subnet_id for ip in chosen}
    segments = {subnet.segment_id for subnet in subnets if subnet.id in ids} or {subnet.segment_id for subnet in subnets[:1]}
    return (*chosen, *automatic_addresses([subnet for subnet in subnets if subnet.segment_id in segments], mac))


def fixed_by_choice(view: View, held: Iterable[FixedIp]) -> list[WantedIp]:
    """Of the addresses that a port has, those that do not follow from its MAC: what to ask for to keep them."""
    subnets = ((ip, view.get(Subnet, ip.subnet_id)) for ip in held)
    return [WantedIp(ip.subnet_id, ip.ip_address) for ip, subnet in subnets if subnet is not None and not is_automatic(subnet)]


def automatic_addresses(subnets: Iterable[Subnet], mac: str) -> list[FixedIp]:
    """The addresses that a port with this MAC gives itself in those subnets that are automatic."""
    return [FixedIp(subnet.id, eui64(subnet.cidr, mac)) for subnet in subnets if is_automatic(subnet)]


def _check_automatic(subnet: Subnet, mac: str, ask: WantedIp, held: Mapping[str, FixedIp]) -> None:
    """Raises Invalid for an address of an automatic subnet that is neither held nor the one that follows from the MAC."""
    if ask.ip_address is not None and ask.ip_address not in held and ask.ip_address != eui64(subnet.cidr, mac):
        message = (
            f"IPv6 address {ask.ip_address} cannot be directly assigned to a port on subnet {subnet.id} "
            "as the subnet is configured for automatic addresses"
        )
        raise Invalid(message, "AllocationOnAutoAddressSubnet")


def _choose_another(view: View, subnet: Subnet, chosen: Sequence[FixedIp]) -> str:
    """A free address of `subnet` beside those that this request has chosen but not yet taken."""
    pending = {int(ip_address(ip.ip_address)) for ip in chosen if ip.subnet_id == subnet.id}
    for address in view.addresses(subnet.id).choose_many(len(pending) + 1):
        if address not in pending:
            return _text(address, subnet)
    raise _exhausted(view, subnet.network_id, [subnet])


def _subnet_of(view: View, network_id: str, subnets: Sequence[Subnet], ask: WantedIp) -> Subnet:
    if ask.subnet_id is not None:
        subnet = next((subnet for subnet in subnets if subnet.id == ask.subnet_id), None)
        if subnet is None:
            if view.get(Subnet, ask.subnet_id) is None:
                raise not_found("Subnet", ask.subnet_id)
            raise Invalid(
                f"Invalid input for operation: Failed to create port on network {network_id}, because fixed_ips included invalid "
                f"subnet {ask.subnet_id}.",
                "InvalidInput",
            )
        if ask.ip_address is not None and not _holds(subnet, ask.ip_address):
            message = f"IP address {ask.ip_address} is not a valid IP for the specified subnet."
            raise Invalid(message, "InvalidIpForSubnet")
        return subnet
    if ask.ip_address is None:
        raise Invalid("Invalid input for operation: IP allocation requires subnet_id or ip_address.", "InvalidInput")
    subnet = next((subnet for subnet in subnets if _holds(subnet, ask.ip_address)), None)
    if subnet is None:
        message = f"IP address {ask.ip_address} is not a valid IP for any of the subnets on the specified network."
        raise Invalid(message, "InvalidIpForNetwork")
    return subnet


def _holds(subnet: Subnet, address: str) -> bool:
    number, prefix = ip_address(address), ip_network(subnet.cidr)
    if number not in prefix:
        return False
    return prefix.num_addresses <= 2 or subnet.ip_version == 6 or number not in (prefix.network_address, prefix.broadcast_address)


def check_free(view: View, subnet: Subnet, address: str) -> None:
    """Raises Conflict (IpAddressAlreadyAllocated) for an address that a port has, or a pick holds."""
    if not view.addresses(subnet.id).is_free(int(ip_address(address))):
        holders = [pick.id for pick in view.find(NetworkPick, "subnet_id", subnet.id) if FixedIp(subnet.id, address) in pick.held]
        why = f": network pick {holders[0]} holds it" if holders else ""
        message = f"IP address {address} already allocated in subnet {subnet.id}{why}"
        raise Conflict(message, "IpAddressAlreadyAllocated")


def are_free(view: View, fixed_ips: Iterable[FixedIp]) -> bool:
    return all(view.addresses(ip.subnet_id).is_free(int(ip_address(ip.ip_address))) for ip in fixed_ips)


def is_automatic(subnet: Subnet) -> bool:
    return subnet.ipv6_address_mode in _AUTOMATIC


def _text(address: int, subnet: Subnet) -> str:
    return inet_ntoa(address.to_bytes(4)) if subnet.ip_version == 4 else str(IPv6Address(address))


def _of_these(space: Addresses) -> str:
    uses = ((space.held, "held by picks"), (space.quarantined, "at rest"))
    words = " and ".join(f"{number} {use}" for number, use in uses if number)
    return f", of these {words}" if words else ""


def _exhausted(view: View, network_id: str, subnets: Sequence[Subnet]) -> Conflict:
    parts = []
    for subnet in subnets:
        space = view.addresses(subnet.id)
        pools = ", ".join(f"{pool.start}-{pool.end}" for pool in subnet.allocation_pools)
        parts.append(f"subnet {subnet.id} (pool {pools}): {space.usable - space.free} of {space.usable} taken{_of_these(space)}")
    message = f"No more IP addresses available on network {network_id}. {'; '.join(parts)}. Add a subnet or delete unused ports."
    return Conflict(message, "IpAddressGenerationFailure")
