"""What an instance must have got, and what it has: pure, so that the demo's judgement can be tested by itself."""

from collections.abc import Iterable, Mapping
from ipaddress import ip_interface, ip_network
from typing import Any

import msgspec

from naru.model.hoststate import METADATA_ADDRESS

Document = Mapping[str, Any]


class Promise(msgspec.Struct, frozen=True):
    """What the API has promised an instance on one of its networks."""

    address: str  # with its prefix length
    dns: list[str]
    routes: dict[str, str]  # destination -> next hop; the default route is 0.0.0.0/0
    mtu_bytes: int


def promise(port: Document, subnet: Document, network: Document) -> Promise:
    """From the API's own documents of the port, its subnet and its network."""
    routes = {route["destination"]: route["nexthop"] for route in subnet["host_routes"]}
    if subnet["gateway_ip"]:
        routes["0.0.0.0/0"] = subnet["gateway_ip"]
    return Promise(
        address=f"{port['fixed_ips'][0]['ip_address']}/{ip_network(subnet['cidr']).prefixlen}",
        dns=subnet["dns_nameservers"],
        routes=routes,
        mtu_bytes=network["mtu"],
    )


def broken_promises(promised: Promise, lease: Document, links: Iterable[Document], routes: Iterable[Document]) -> list[str]:
    """What differs, in words.

    `lease` is the DHCP client's file; `links` and `routes` are what `ip -json address` and `ip -json route` say in the instance.
    """
    interface = next((link for link in links if link["ifname"] == "eth0"), {})
    held = [f"{entry['local']}/{entry['prefixlen']}" for entry in interface.get("addr_info", []) if entry["family"] == "inet"]
    routed = {_destination(route["dst"]): route["gateway"] for route in routes if "gateway" in route and route["dst"] != METADATA_ADDRESS}
    compared = [
        ("address: reserved {}, leased {}", _bare(promised.address), _bare(lease["address"])),
        ("addresses of eth0: should be {}, are {}", [promised.address], held),
        ("DNS servers: the subnet has {}, the lease {}", promised.dns, list(lease["dns"])),
        ("MTU: the network has {}, eth0 {}", promised.mtu_bytes, interface.get("mtu")),
        ("routes: should be {}, are {}", promised.routes, routed),
    ]
    return [words.format(wanted, found) for words, wanted, found in compared if wanted != found]


def expected_split(free: Mapping[str, int], count: int) -> dict[str, int]:
    """How many of `count` instances each network must get: the first takes what it has, the next ones take the rest.

    `free` is in the order in which picks consider the networks.
    """
    split = {}
    for network, addresses in free.items():
        split[network] = min(addresses, count)
        count -= split[network]
    return split


def _bare(address: str) -> str:
    return str(ip_interface(address).ip)


def _destination(text: str) -> str:
    return "0.0.0.0/0" if text == "default" else str(ip_network(text))
