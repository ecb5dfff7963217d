"""The rules of packet filters as nft text: what holds for every port, and what the rules of a security group say. Pure.

Rules speak of connections, not of packets. A group's rules stand in four chains: for what goes in and what goes out, each once as
written, for packets in the connection's own direction, and once reversed, for the answers. So every packet is held against the
rules of now, and a flow ends in both directions with the very transaction that takes its rule away, without a search for its
entry in the kernel's table and a race with its next packet; connection tracking only tells the direction.
"""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_network

from naru.model.hoststate import FilterRule

# The mark plan (skb marks, 32 bits). While a frame passes a bridge of ours it carries 0xA and the port's number when it came
# from a filtered port, 0xB and the number when it goes to one. Other values are left as they are: routers and other users of marks have
# every value below 0xA0000000. A mark does not leave its network namespace, and 0xA does not leave the bridge.
FROM_PORT, TO_PORT, NUMBERS = 0xA0000000, 0xB0000000, 0x0FFFFFFF
_DIRECTION = "meta mark & 0xf0000000"

# Family and name -> type. Elements are those of ports, but for zones and `open`: devices in bridges of ours that are not filtered.
SETS: Mapping[str, str] = {
    "bridge open": "typeof iifname",
    "bridge inports": "typeof iifname : meta mark",
    "bridge outports": "typeof oifname : meta mark",
    "bridge macs": "typeof meta mark . ether saddr",
    # Addresses and prefixes apart: from a set with both, nft 1.0.6 cannot delete an address.
    "bridge sources4": "typeof meta mark . ether saddr . ip saddr",
    "bridge sources6": "typeof meta mark . ether saddr . ip6 saddr",
    "bridge prefixes4": "typeof meta mark . ether saddr . ip saddr; flags interval",
    "bridge prefixes6": "typeof meta mark . ether saddr . ip6 saddr; flags interval",
    "bridge targets6": "typeof meta mark . @th,64,128",  # of neighbour advertisements; nft 1.0.6 has no word for it
    "bridge any_target": "typeof meta mark",  # ports with a whole prefix: such a set takes no intervals
    "inet zones": "typeof iifname : ct zone",
    "inet stateless": "typeof meta mark",
    "inet egress": "typeof meta mark : verdict",
    "inet egress_answers": "typeof meta mark : verdict",
    "inet ingress": "typeof meta mark : verdict",
    "inet ingress_answers": "typeof meta mark : verdict",
}

_MLD_AND_ND = (
    "mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report, nd-router-solicit, nd-neighbor-solicit, "
    "nd-neighbor-advert"
)

# Family, name, hook, rules; what jumps comes after what is jumped to.
BASE_CHAINS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    (
        "bridge",
        "arp-from-port",
        "",
        (
            "arp saddr ip 0.0.0.0 meta mark . arp saddr ether @macs accept",  # a probe poisons no cache (RFC 5227 §1.1)
            "meta mark . arp saddr ether . arp saddr ip @sources4 accept",
            "meta mark . arp saddr ether . arp saddr ip @prefixes4 accept",
            "drop",
        ),
    ),
    (
        "bridge",
        "from-port",
        "",
        (
            "meta mark . ether saddr != @macs drop",
            "ether type arp goto arp-from-port",
            "ether type ip ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept",  # no address yet (RFC 2131 §4.1)
            "ether type ip meta mark . ether saddr . ip saddr @sources4 accept",
            "ether type ip meta mark . ether saddr . ip saddr @prefixes4 accept",
            "icmpv6 type nd-neighbor-advert meta mark != @any_target meta mark . @th,64,128 != @targets6 drop",
            f"ether type ip6 ip6 saddr :: icmpv6 type {{ {_MLD_AND_ND} }} accept",  # no address yet (RFC 4862 §5.4.2)
            "ether type ip6 meta mark . ether saddr . ip6 saddr @sources6 accept",
            "ether type ip6 meta mark . ether saddr . ip6 saddr @prefixes6 accept",
            "drop",  # and what is neither ARP nor IP: a tagged frame would pass the rules below unseen
        ),
    ),
    (
        "bridge",
        "prerouting",
        "prerouting priority -300",
        ("meta mark set iifname map @inports", f"{_DIRECTION} == {FROM_PORT:#x} goto from-port"),
    ),
    (
        "bridge",
        "from-stranger",
        "",
        ("meta mark set oifname map @outports", f"{_DIRECTION} == {TO_PORT:#x} drop", "oifname @open drop"),
    ),
    (
        "bridge",
        "forward",
        "forward priority -300",
        (
            # A tap may be in a bridge before anybody has told us of it: a hypervisor plugs it there. Bridges of others know strangers only.
            f"{_DIRECTION} != {FROM_PORT:#x} iifname != @open goto from-stranger",
            f"{_DIRECTION} == {FROM_PORT:#x} meta mark set 0x0",
            "meta mark set oifname map @outports",
            f"{_DIRECTION} != {TO_PORT:#x} oifname != @open drop",
        ),
    ),
    (
        "inet",
        "tracked-from-port",
        "",
        (
            "ct state related accept",
            "ct state invalid drop",
            "ct direction reply meta mark vmap @ingress_answers",
            "ct direction reply drop",
        ),
    ),
    (
        "inet",
        "tracked-to-port",
        "",
        (
            "ct state related accept",
            "ct state invalid drop",
            "ct direction reply meta mark vmap @egress_answers",
            "ct direction reply drop",
        ),
    ),
    (
        "inet",
        "from-port",
        "",
        (
            # Here and not in the bridge's tables, because here fragments have been put together.
            "udp sport 67 udp dport 68 drop",
            "udp sport 547 udp dport 546 drop",
            "icmpv6 type nd-router-advert drop",
            "udp sport 68 udp dport 67 accept",
            "udp sport 546 udp dport 547 accept",
            f"icmpv6 type {{ {_MLD_AND_ND} }} accept",
            "meta mark != @stateless jump tracked-from-port",
            "meta mark vmap @egress",
            "drop",
        ),
    ),
    (
        "inet",
        "to-port",
        "",
        (
            "udp sport 67 udp dport 68 accept",
            "udp sport 547 udp dport 546 accept",
            f"icmpv6 type {{ nd-router-advert, {_MLD_AND_ND} }} accept",
            "meta mark != @stateless jump tracked-to-port",
            "meta mark vmap @ingress",
            "drop",
        ),
    ),
    ("inet", "raw", "prerouting priority -350", ("ct zone set iifname map @zones",)),
    ("inet", "prerouting", "prerouting priority -100", (f"{_DIRECTION} == {FROM_PORT:#x} goto from-port",)),
    ("inet", "forward", "forward priority 0", (f"{_DIRECTION} == {TO_PORT:#x} goto to-port",)),
)

CHAIN_KINDS = ("egress", "egress_answers", "ingress", "ingress_answers")  # of a group, and the maps that lead to them

_ICMP, _ICMPV6 = 1, 58


def group_chain(group_id: str, kind: str) -> str:
    return f"g-{group_id}-{kind}"


def members_set(group_id: str, ethertype: str) -> str:
    return f"m{ethertype[-1]}-{group_id}"


def group_rules(rules: Iterable[FilterRule], kind: str) -> list[str]:
    """The text of one of a group's chains. Short rules first: they let most through."""
    direction, _, answers = kind.partition("_")
    texts = {" ".join(_words(rule, answers=bool(answers))) for rule in rules if rule.direction == direction}
    return sorted(texts, key=lambda text: (len(text), text))


def _words(rule: FilterRule, *, answers: bool) -> Iterator[str]:
    ip, nfproto = ("ip", "ipv4") if rule.ethertype == "IPv4" else ("ip6", "ipv6")
    yield f"meta nfproto {nfproto}"
    if rule.protocol:
        yield f"meta l4proto {rule.protocol}"
    if rule.port_min is not None:
        yield from _icmp_words(rule, answers=answers) if rule.protocol in (_ICMP, _ICMPV6) else _port_words(rule, answers=answers)
    # The other side is the source of what comes in, and the destination of the answers to it.
    side = "saddr" if (rule.direction == "ingress") != answers else "daddr"
    if rule.remote_group is not None:
        yield f"{ip} {side} @{members_set(rule.remote_group, rule.ethertype)}"
    elif rule.remote_prefix is not None and ip_network(rule.remote_prefix).prefixlen:
        yield f"{ip} {side} {rule.remote_prefix}"
    yield "accept"


def _port_words(rule: FilterRule, *, answers: bool) -> Iterator[str]:
    low, high = rule.port_min, rule.port_max if rule.port_max is not None else rule.port_min
    yield f"th {'sport' if answers else 'dport'} {low}" + (f"-{high}" if high != low else "")


def _icmp_words(rule: FilterRule, *, answers: bool) -> Iterator[str]:
    """`port_min` is the type, `port_max` the code. An answer has another type: there the connection's first packet counts."""
    type_ = rule.port_min or 0
    if answers:
        low, high = (0, 255) if rule.port_max is None else (rule.port_max, rule.port_max)
        yield f"ct original proto-dst {type_ << 8 | low}" + (f"-{type_ << 8 | high}" if high != low else "")
        return
    word = "icmp" if rule.protocol == _ICMP else "icmpv6"
    yield f"{word} type {type_}"
    if rule.port_max is not None:
        yield f"{word} code {rule.port_max}"
