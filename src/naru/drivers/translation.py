"""The address translation of one router, as lines for nft(8): a table `ip naru` in the router's namespace.

    arriving, leaving    no more than may be of what comes for an external address, or leaves with it
    prerouting, output   a floating IP, or numbers of it, lead to the address inside
    forward              what was led where nothing leads any more is cut off, in either direction
    input                what belongs to a connection that is not known (yet) is not refused: it came from another host with the router
    postrouting          out: with the floating IP of the address, else with the gateway's; back inside: with the router's own

The lines replace the whole table in one transaction, and connections keep what they have: the kernel translates those by its conntrack.
The last line makes an empty chain whose name is a digest of all others: by it a restarted agent sees that the table is right.
No packet marks are used here; bits 0x000f0000 of the mark are kept free for routers. Source: nft(8), "NAT STATEMENTS".
"""

import hashlib
from collections.abc import Iterator

from naru.model.hoststate import BandwidthLimit, ForwardedPorts, RouterState

TABLE = "ip naru"
DIGEST_PREFIX = "as_"
WITH_PORTS = ("tcp", "udp", "sctp", "dccp")
_PORTS = "ipv4_addr . inet_proto . inet_service"
_BY_PORT = f"meta l4proto {{ {', '.join(WITH_PORTS)} }} dnat ip to ip daddr . meta l4proto . th dport map"


# What was not used of a second may be sent in the next, beside the burst: so nft counts. And the kernel may carry 64 KiB as one packet.
LEAST_BURST_BYTES, MOST_BURST_BYTES, MOST_BYTES_S = 2**16, 2**32 - 1, 10**10


def translation(router: RouterState) -> tuple[str, tuple[str, ...]]:
    """-> the digest, and the lines."""
    lines = [*_table(), *_elements(router), *_limits(router), *_rules(router)]
    digest = DIGEST_PREFIX + hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]
    return digest, (f"add table {TABLE}", f"delete table {TABLE}", *lines, f"add chain {TABLE} {digest}")


def _table() -> Iterator[str]:
    yield f"add table {TABLE}"
    yield f"add map {TABLE} inward {{ type ipv4_addr : ipv4_addr; }}"
    yield f"add map {TABLE} outward {{ type ipv4_addr : ipv4_addr; }}"
    yield f"add map {TABLE} inward_ports {{ type {_PORTS} : ipv4_addr . inet_service; flags interval; }}"
    yield f"add map {TABLE} inward_ranges {{ type {_PORTS} : ipv4_addr; flags interval; }}"
    yield f"add set {TABLE} led {{ type ipv4_addr . ipv4_addr; }}"
    yield f"add chain {TABLE} lead"
    yield f"add chain {TABLE} prerouting {{ type nat hook prerouting priority dstnat; }}"
    yield f"add chain {TABLE} output {{ type nat hook output priority -100; }}"
    yield f"add chain {TABLE} forward {{ type filter hook forward priority filter; }}"
    yield f"add chain {TABLE} input {{ type filter hook input priority filter; }}"
    yield f"add chain {TABLE} postrouting {{ type nat hook postrouting priority srcnat; }}"
    yield f"add map {TABLE} ingress {{ type ipv4_addr : verdict; }}"
    yield f"add map {TABLE} egress {{ type ipv4_addr : verdict; }}"
    yield f"add chain {TABLE} arriving {{ type filter hook prerouting priority dstnat - 50; }}"
    yield f"add chain {TABLE} leaving {{ type filter hook postrouting priority srcnat + 50; }}"


def _elements(router: RouterState) -> Iterator[str]:
    for floating in router.floating:
        yield f"add element {TABLE} inward {{ {floating.external} : {floating.fixed} }}"
        yield f"add element {TABLE} outward {{ {floating.fixed} : {floating.external} }}"
    for ports in router.forwarded:
        yield from _forward(ports)
    for external, fixed in router.led:
        yield f"add element {TABLE} led {{ {external} . {fixed} }}"


def _forward(ports: ForwardedPorts) -> Iterator[str]:
    """A range that keeps its numbers, or leads to one, is one element; another has one for each number."""
    if ports.protocol not in WITH_PORTS:
        return
    (first, last), (inner, inner_last) = (_bounds(numbers) for numbers in (ports.external_ports, ports.fixed_ports))
    outside = f"{ports.external} . {ports.protocol}"
    if inner == inner_last:
        yield f"add element {TABLE} inward_ports {{ {outside} . {_span(first, last)} : {ports.fixed} . {inner} }}"
    elif first == inner:
        yield f"add element {TABLE} inward_ranges {{ {outside} . {_span(first, last)} : {ports.fixed} }}"
    else:
        each = (f"{outside} . {first + step} : {ports.fixed} . {inner + step}" for step in range(last - first + 1))
        yield f"add element {TABLE} inward_ports {{ {', '.join(each)} }}"


def _bounds(numbers: str) -> tuple[int, int]:
    first, _, last = numbers.partition(":")
    return int(first), int(last or first)


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _limits(router: RouterState) -> Iterator[str]:
    for limit in router.limits:
        for direction, bandwidth in (("ingress", limit.ingress), ("egress", limit.egress)):
            if bandwidth is not None:
                chain = f"{direction}_{limit.external}"
                yield f"add chain {TABLE} {chain}"
                yield f"add rule {TABLE} {chain} limit rate over {_rate(bandwidth)} drop"
                yield f"add element {TABLE} {direction} {{ {limit.external} : jump {chain} }}"


def _rate(limit: BandwidthLimit) -> str:
    burst = min(max(limit.burst_kbit * 125, LEAST_BURST_BYTES), MOST_BURST_BYTES)
    return f"{min(max(limit.max_kbps, 1) * 125, MOST_BYTES_S)} bytes/second burst {burst} bytes"


def _rules(router: RouterState) -> Iterator[str]:
    rule = f"add rule {TABLE}"
    yield f"{rule} lead dnat to ip daddr map @inward"
    yield f"{rule} lead {_BY_PORT} @inward_ports"
    yield f"{rule} lead {_BY_PORT} @inward_ranges"
    yield f"{rule} prerouting jump lead"
    yield f"{rule} output jump lead"
    yield f"{rule} forward ct status dnat ct direction original ct original ip daddr . ip daddr != @led drop"
    if router.gateway is not None:
        out = f'oifname "{router.gateway.device}"'
        yield f'{rule} arriving iifname "{router.gateway.device}" ip daddr vmap @ingress'
        yield f"{rule} leaving {out} ip saddr vmap @egress"
        own = f"ct reply ip daddr != {router.snat_address} " if router.snat_address else ""
        yield f"{rule} forward {out} ct status snat ct direction original {own}ct reply ip daddr . ip saddr != @led drop"
        # Refused, it would be at an end; so its next packet from inside takes it up, with the numbers that it had.
        yield f'{rule} input iifname "{router.gateway.device}" ct state new,invalid tcp flags & syn == 0x0 drop'
        yield f"{rule} postrouting {out} snat to ip saddr map @outward"
        if router.snat_address:
            yield f"{rule} postrouting {out} snat to {router.snat_address}"
    yield f'{rule} postrouting iifname "qr-*" ct status dnat snat to ip saddr map @outward'
    yield f'{rule} postrouting iifname "qr-*" ct status dnat masquerade'
