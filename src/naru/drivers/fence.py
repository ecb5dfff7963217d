"""The fence of a router: where it is heard on another host, and nobody here knows, the kernel silences it, as lines for nft(8).

    egress    what the agent announces bears MARK: for `alive_s` from then on the device is alive, and it has not moved
    ingress   somebody else announces the device's own MAC while it is not alive: it has moved
    both      at a device that has moved nothing passes

A table `netdev naru` in the router's namespace, with two chains for each device: they go with it, and the sets stay. A digest of its
text names each chain. Announcements are what announce.py sends and a kernel by itself does not: what a bond or a loop sends back is no
evidence. Sources: nft(8), "NETDEV ADDRESS FAMILY", "SET STATEMENT". Egress hooks are there from Linux 5.16 on.
"""

import hashlib
import re
from collections.abc import Iterator

from naru.drivers import iproute

TABLE = "netdev naru"
MARK = 0x00010000  # of the bits that are kept free for routers
FIRST = -500  # before whatever else looks at frames
_PROBE = 'nft -c "add table netdev p; add chain netdev p e { type filter hook egress device lo priority 0; }"'
_KEPT = re.compile(r'chain in_([0-9a-f]+) \{\s+type filter hook ingress device "([^"]+)"')


def fence(device: str, mac_address: str, alive_s: float) -> tuple[str, tuple[str, ...]]:
    """-> the digest, and the lines."""
    digest = hashlib.sha256("\n".join(_chains("", device, mac_address, alive_s)).encode()).hexdigest()[:16]
    sets = (
        f"add table {TABLE}",
        f"add set {TABLE} alive {{ type ifname; flags dynamic,timeout; }}",
        f"add set {TABLE} moved {{ type ifname; flags dynamic; }}",
    )
    return digest, (*sets, *_chains(digest, device, mac_address, alive_s))


def unfence(digest: str) -> tuple[str, ...]:
    """The lines that take it away."""
    return f"delete chain {TABLE} in_{digest}", f"delete chain {TABLE} out_{digest}"


def fenced(listing: str) -> Iterator[tuple[str, str]]:
    """-> device and digest of each fence in what `nft list ruleset` wrote."""
    for digest, device in _KEPT.findall(listing):
        yield device, digest


def can_fence() -> bool:
    """Whether kernel and nft have egress hooks, tried in a namespace that is gone afterwards."""
    return iproute.run(("unshare", "--net", "sh", "-ec", _PROBE)).returncode == 0


def _chains(digest: str, device: str, mac_address: str, alive_s: float) -> Iterator[str]:
    for chain, hook in (("in", "ingress"), ("out", "egress")):
        yield f'add chain {TABLE} {chain}_{digest} {{ type filter hook {hook} device "{device}" priority {FIRST}; }}'
    rule, moved = f"add rule {TABLE}", "iifname != @alive add @moved { iifname }"
    yield f"{rule} in_{digest} ether saddr {mac_address} ether daddr ff:ff:ff:ff:ff:ff arp operation reply {moved}"
    yield f"{rule} in_{digest} ether saddr {mac_address} ether daddr 33:33:00:00:00:01 icmpv6 type nd-neighbor-advert {moved}"
    yield f"{rule} in_{digest} iifname @moved drop"
    alive = f"update @alive {{ oifname timeout {round(alive_s * 1000)}ms }}"
    yield f"{rule} out_{digest} meta mark {MARK:#x} {alive} delete @moved {{ oifname }} accept"
    yield f"{rule} out_{digest} oifname @moved drop"
