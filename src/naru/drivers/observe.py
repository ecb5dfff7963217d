"""The kernel's links and namespaces read back as facts (links.py), whichever switch joins them.

The proof that a link is ours is its group, set in the very message that creates it; its alias `naru:<network id>` or
`naru:<port id>/…` says whose it is. A namespace can carry neither: a file in the run directory, written first, is its proof.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from naru.drivers import iproute
from naru.drivers.base import Fact, Foreign
from naru.drivers.links import BRIDGE_OPTIONS, GROUP, SUMS, Bridge, Namespace, SubTap, Tap, Uplink
from naru.model.hoststate import DhcpState, InstanceState, RouterState, TapState, Value


def want_namespaces(values: Iterable[Value], marks: Path) -> Iterator[Namespace]:
    """Those that taps end in, or that something is to run in."""
    for value in values:
        if isinstance(value, TapState | DhcpState | InstanceState | RouterState) and value.netns:
            yield Namespace(_namespace_key(value.netns), value.netns, str(marks / value.netns))


def read_namespaces(marks: Path) -> Iterator[Fact]:
    inodes = iproute.netns_inodes()
    marked = file_names(marks)
    for netns in inodes.keys() | marked:
        if netns in marked:
            yield Namespace(_namespace_key(netns), netns, str(marks / netns), exists=inodes.get(netns, 0) != 0)
        else:
            reason = f"network namespace {netns} exists and is not Naru's; delete it (ip netns del {netns}) if nothing uses it"
            yield Foreign("", f"netns/{netns}", reason)


def _namespace_key(netns: str) -> str:
    kind, _, owner = netns.partition("-")
    return {"qdhcp": f"dhcp/{owner}", "instance": f"instance/{owner}", "qrouter": f"router/{owner}"}.get(kind, f"netns/{netns}")


def read_links(links: list[iproute.Link], names: Mapping[int, str]) -> Iterator[tuple[iproute.Link, Fact]]:
    """Each link with the fact that it is, or Foreign. `names`: of the namespaces that links lead to, by their ids here."""
    for link in links:
        reason = f"device {link.ifname} exists and is not Naru's; rename or remove it if nothing uses it"
        yield link, (_observe_our_link(link, names) if link.group == GROUP else None) or Foreign("", f"link/{link.ifname}", reason)


def _observe_our_link(link: iproute.Link, netns_names: Mapping[int, str]) -> Fact | None:
    """A link of our group as a fact; one whose alias is not set yet serves no key and differs from all that is wanted."""
    kind, port = link.linkinfo.info_data, link.linkinfo.info_slave_data
    owner, _, far = link.ifalias.removeprefix("naru:").partition("/")
    match link.linkinfo.info_kind:
        case "bridge":
            tuned = [kind.get(option) for option in BRIDGE_OPTIONS.split()[::2]] == [int(value) for value in BRIDGE_OPTIONS.split()[1::2]]
            return Bridge(f"network/{owner}", link.ifname, link.ifalias, link.mtu, tuned, link.is_up)
        case "vlan" if far:
            return SubTap(f"tap/{owner}", link.ifname, owner, link.link, kind.get("id", 0), far, link.master, link.mtu, link.is_up)
        case "vxlan" | "vlan":
            options = _options_of_vxlan(kind) if link.linkinfo.info_kind == "vxlan" else vlan_options(link.link, kind.get("id"))
            return Uplink(f"network/{owner}", link.ifname, link.ifalias, link.master, link.mtu, options, _port_options(port), link.is_up)
        case "veth":
            device, _, mac = far.removesuffix(SUMS).partition("/")
            netns = netns_names.get(-1 if link.link_netnsid is None else link.link_netnsid, "")
            return Tap(f"tap/{owner}", link.ifname, owner, device, mac, netns, link.master, link.mtu, link.is_up, far.endswith(SUMS))
    return None


def vlan_options(device: str, vlan: int | None) -> str:
    return f"link {device} type vlan id {vlan}"


def vxlan_options(vni: int | None, local: str, *, answers: bool = True) -> str:
    """`answers`: ARP and neighbour solicitations, for those whom it knows; for others it drops them."""
    # RFC 7348's port; the server says where MACs are.
    return f"type vxlan id {vni} local {local} dstport 4789 nolearning {'proxy' if answers else 'noproxy'}"


def _options_of_vxlan(kind: Mapping[str, Any]) -> str:
    plain = (kind.get("port"), kind.get("learning")) == (4789, False)
    return vxlan_options(kind.get("id"), kind.get("local") or kind.get("local6", ""), answers=bool(kind.get("proxy"))) if plain else ""


def _port_options(port: Mapping[str, Any]) -> str:
    words = {name: "on" if port.get(name) else "off" for name in ("learning", "neigh_suppress", "isolated")}
    return " ".join(f"{name} {word}" for name, word in words.items())


def file_names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if not path.name.startswith(".")} if directory.is_dir() else set()
