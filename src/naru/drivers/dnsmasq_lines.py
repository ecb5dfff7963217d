"""What dnsmasq is told, as text: its arguments, and the lines of its files. Pure. Source: dnsmasq(8).

A reservation carries no `set:<tag>`: dnsmasq 2.90 of Debian 12 crashes on SIGHUP once a client holds a lease of a tagged one. The options
of a subnet are tied to the tag that its `--dhcp-range` sets, those of a client to one that a `dhcp-mac` line of the file `tags` sets.
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

from naru.model.hoststate import METADATA_ADDRESS, METADATA_ADDRESS_IPV6, ClientOption, DhcpState, DhcpSubnet, LeaseState

_SHORTEST_PREFIX = 64  # of IPv6, that dnsmasq serves


def arguments(dhcp: DhcpState, directory: Path) -> tuple[str, ...]:
    # For who has no lease in a subnet, hence no tag of it, and for advertisements: dnsmasq that only advertises reads no file of options.
    name_servers = dict.fromkeys(server for subnet in dhcp.subnets if ":" in subnet.cidr for server in subnet.dns_nameservers)
    ranges = [f"--dhcp-range=set:{_tag(subnet)},{words},{dhcp.lease_s}s" for subnet in dhcp.subnets if (words := _range(subnet))]
    return (
        "dnsmasq",
        f"--conf-file={directory}/tags",
        "--user=root",
        "--group=",  # and its group stays: a user namespace without further groups refuses to change it
        "--port=0",  # DHCP alone: names are not its business
        "--bind-dynamic",
        f"--interface={dhcp.device}",
        "--except-interface=lo",
        f"--pid-file={directory}/pid",
        f"--dhcp-hostsfile={directory}/reservations",
        f"--dhcp-optsfile={directory}/options",
        f"--dhcp-leasefile={directory}/leases",
        "--dhcp-lease-max=65536",
        "--dhcp-authoritative",
        "--no-ping",  # the server has already made sure that an address is free; the ping costs a client a second
        f"--domain={dhcp.domain}",
        f"--dhcp-option=option6:domain-search,{dhcp.domain}",
        *([f"--dhcp-option={name_servers6(name_servers)}"] if name_servers else []),
        f"--dhcp-option-force=option:mtu,{dhcp.mtu_bytes}",
        f"--log-facility={directory}/log",
        "--quiet-dhcp",
        "--quiet-dhcp6",
        "--quiet-ra",
        f"--ra-param={dhcp.device},mtu:{dhcp.mtu_bytes},0,0",  # at dnsmasq's own interval, and never as a way out
        *(["--enable-ra"] if any(subnet.advertised and subnet.mode == "dhcpv6-stateful" for subnet in dhcp.subnets) else []),
        *ranges,
    )


def _range(subnet: DhcpSubnet) -> str:
    """What is served of a subnet; "" for nothing."""
    network = ip_network(subnet.cidr)
    if network.version == 4:
        return f"{network.network_address},static,{network.netmask}"
    # Of a prefix shorter than dnsmasq serves: the part that the server is in, where the first addresses are.
    prefix_length = max(network.prefixlen, _SHORTEST_PREFIX)
    network = ip_interface(f"{subnet.server_address}/{prefix_length}").network
    if subnet.mode == "slaac":
        word = "ra-only" if subnet.advertised else ""
    else:
        word = "ra-stateless" if subnet.advertised and subnet.mode == "dhcpv6-stateless" else "static"
    return f"{network.network_address},{word},{prefix_length}" if word else ""


def server_addresses(dhcp: DhcpState) -> tuple[str, ...]:
    own = (f"{subnet.server_address}/{ip_network(subnet.cidr).prefixlen}" for subnet in dhcp.subnets)
    of_metadata = {f"{METADATA_ADDRESS}/32": dhcp.metadata, f"{METADATA_ADDRESS_IPV6}/64": dhcp.metadata_ipv6}
    return (*own, *(address for address, is_here in of_metadata.items() if is_here))


def reservations(dhcp: DhcpState, leases: Iterable[LeaseState]) -> tuple[str, ...]:
    """Lines of `--dhcp-hostsfile`."""
    networks = [ip_network(subnet.cidr) for subnet in dhcp.subnets]
    in_subnets = {
        ",".join(part for part in (lease.mac_address, lease.hostname, f"[{address}]" if ":" in address else address) if part)
        for lease in leases
        for address in lease.ip_addresses
        if any(ip_address(address) in network for network in networks)
    }
    return tuple(sorted(in_subnets))


def tags(leases: Iterable[LeaseState]) -> tuple[str, ...]:
    return tuple(sorted(f"dhcp-mac=set:{_client_tag(lease)},{lease.mac_address}" for lease in leases if lease.options))


def options(dhcp: DhcpState, leases: Iterable[LeaseState]) -> tuple[str, ...]:
    """Lines of `--dhcp-optsfile`. Of two that apply the last counts: a client's own go before those of its subnet."""
    of_subnets = [line for subnet in dhcp.subnets for line in (_options6(subnet) if ":" in subnet.cidr else _options(subnet))]
    of_clients = sorted(_option(lease, option) for lease in leases for option in lease.options)
    return (*of_subnets, *of_clients)


def _options(subnet: DhcpSubnet) -> Iterator[str]:
    """An option without a value keeps dnsmasq from sending its own address in its place."""
    tag = f"tag:{_tag(subnet)}"
    yield ",".join((tag, "option:dns-server", *subnet.dns_nameservers))
    yield ",".join((tag, "option:router", *([subnet.gateway_ip] if subnet.gateway_ip else [])))
    routes = [(route.destination, route.nexthop) for route in subnet.host_routes]
    if routes:
        # A client that gets routes must ignore the router option (RFC 3442): the default route goes along. 249: older Windows.
        if subnet.gateway_ip and "0.0.0.0/0" not in dict(routes):
            routes.append(("0.0.0.0/0", subnet.gateway_ip))
        flat = [part for route in routes for part in route]
        yield ",".join((tag, "option:classless-static-route", *flat))
        yield ",".join((tag, "249", *flat))


def _options6(subnet: DhcpSubnet) -> Iterator[str]:
    """Routes are the affair of router advertisements; DHCPv6 has no option for them."""
    if subnet.dns_nameservers:
        yield f"tag:{_tag(subnet)},{name_servers6(subnet.dns_nameservers)}"


def name_servers6(servers: Iterable[str]) -> str:
    """The option of DHCPv6, which advertisements carry as well (RFC 8106)."""
    return ",".join(("option6:dns-server", *(f"[{server}]" for server in servers)))


def _option(lease: LeaseState, option: ClientOption) -> str:
    """A number, or a name; before it there may be further tags, as in `tag:!ipxe,67`."""
    further, _, name = option.name.rpartition(",")
    word = f"option6:{name}" if option.ip_version == 6 else name if name.isdecimal() else f"option:{name}"
    value = " ".join(option.value.split())  # one line
    return ",".join(part for part in (f"tag:{_client_tag(lease)}", further, word, value) if part)


def _tag(subnet: DhcpSubnet) -> str:
    return f"subnet-{subnet.subnet_id}"


def _client_tag(lease: LeaseState) -> str:
    return f"port-{lease.port_id}"
