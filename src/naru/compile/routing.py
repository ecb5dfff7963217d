"""The routers of a host: what each needs to know to forward, translate and answer.

Source for what is translated: the Networking guide's "Floating IP" and "Source NAT" of a centralised router.
"""

from collections.abc import Iterator, Mapping

from naru.compile.metadata import askers, ipv6_speaker, serves_metadata
from naru.compile.qos import address_limit
from naru.model.devices import gateway_device, router_device, router_netns
from naru.model.hoststate import (
    METADATA_ADDRESS_IPV6,
    AddressLimit,
    AdvertisedPrefix,
    FloatingAddress,
    ForwardedPorts,
    MetadataState,
    Route,
    RouterInterface,
    RouterState,
)
from naru.model.qos import QosPolicy
from naru.model.resources import Change, Network, Port, Subnet
from naru.model.routing import GATEWAY_OWNER, INTERFACE_OWNER, ROUTER_OWNERS, FloatingIp, PortForwarding, Router
from naru.model.view import View


def routers(view: View, host: str) -> Iterator[RouterState | MetadataState]:
    """Those that the host runs; one that is administratively down keeps its wires, and has no address, route or translation."""
    has_metadata = serves_metadata(view, host)
    for router in view.find(Router, "host", host):
        if router.admin_state_up:
            state = _router(view, router, _ports(view, router), has_metadata=has_metadata)
            yield state
            if has_metadata:
                heard: dict[str, tuple[str, ...]] = {interface.network_id: () for interface in state.interfaces}
                heard |= {interface.network_id: (interface.device,) for interface in state.interfaces if interface.speaks_ipv6}
                yield from askers(view, state.netns, heard)


def router_ends(view: View, host: str) -> Mapping[str, tuple[str, str]]:
    """Port id -> namespace and device, of the routers' ports on the host."""
    return {
        port.id: (router_netns(router.id), _device(port)) for router in view.find(Router, "host", host) for port in _ports(view, router)
    }


def hosts_of_routing(view: View, change: Change) -> set[str]:
    """The hosts that run a router which a change of a router, a floating IP, a port forwarding or a QoS policy may touch."""
    resources = [resource for resource in (change.before, change.after) if resource is not None]
    above = (view.get(FloatingIp, resource.floatingip_id) for resource in resources if isinstance(resource, PortForwarding))
    policies = {resource.id for resource in resources if isinstance(resource, QosPolicy)}
    limited = (floating for policy_id in policies for floating in view.find(FloatingIp, "qos_policy_id", policy_id))
    floating_ips = [resource for resource in (*resources, *above, *limited) if isinstance(resource, FloatingIp)]
    serving = (view.get(Router, floating.router_id) for floating in floating_ips if floating.router_id)
    led = (router for policy_id in policies for router in view.find(Router, "qos_policy_id", policy_id))
    return {router.host for router in (*resources, *serving, *led) if isinstance(router, Router)} - {""}


def _ports(view: View, router: Router) -> list[Port]:
    """Its ports that are on its host: while it moves, none may be in two places."""
    ports = [port for port in view.find(Port, "device_id", router.id) if port.device_owner in ROUTER_OWNERS]
    here = (port for port in ports if port.binding_host_id == router.host and port.binding_vif_type not in ("unbound", "binding_failed"))
    return sorted(here, key=lambda port: port.id)


def _device(port: Port) -> str:
    return gateway_device(port.id) if port.device_owner == GATEWAY_OWNER else router_device(port.id)


def _router(view: View, router: Router, ports: list[Port], *, has_metadata: bool) -> RouterState:
    gateway = next((port for port in ports if port.device_owner == GATEWAY_OWNER), None)
    floating_ips = sorted(view.find(FloatingIp, "router_id", router.id), key=lambda floating: floating.id) if gateway is not None else []
    addresses = [ip.ip_address for ip in gateway.fixed_ips if ":" not in ip.ip_address] if gateway is not None else []
    return RouterState(
        router_id=router.id,
        netns=router_netns(router.id),
        interfaces=tuple(_interface(view, port) for port in ports if port is not gateway),
        gateway=_interface(view, gateway) if gateway is not None else None,
        snat_address=addresses[0] if addresses and router.enable_snat else None,
        routes=_routes(view, router, gateway),
        floating=tuple(_floating(floating_ips)),
        forwarded=tuple(_forwarded(view, floating_ips)),
        metadata=has_metadata,
        limits=tuple(_limits(view, router, floating_ips, addresses)),
    )


def _interface(view: View, port: Port) -> RouterInterface:
    network = view.get(Network, port.network_id)
    found = [(ip, subnet) for ip in port.fixed_ips if (subnet := view.get(Subnet, ip.subnet_id)) is not None]
    addresses = tuple(f"{ip.ip_address}/{subnet.cidr.partition('/')[2]}" for ip, subnet in found)
    if any(ipv6_speaker(view, port.network_id, subnet.segment_id) == port.id for _, subnet in found):
        addresses += (f"{METADATA_ADDRESS_IPV6}/64",)
    advertised = (_advertised(subnet) for _, subnet in found if subnet.ipv6_ra_mode and port.device_owner == INTERFACE_OWNER)
    mtu_bytes = network.mtu if network is not None else 0
    return RouterInterface(port.id, port.network_id, _device(port), addresses, mtu_bytes, tuple(dict.fromkeys(advertised)))


def _advertised(subnet: Subnet) -> AdvertisedPrefix:
    return AdvertisedPrefix(subnet.cidr, subnet.ipv6_ra_mode or "", subnet.dns_nameservers)


def _routes(view: View, router: Router, gateway: Port | None) -> tuple[Route, ...]:
    """Out through the gateways of the external subnets; an extra route of the same destination goes before."""
    routes: dict[str, str] = {}
    for ip in gateway.fixed_ips if gateway is not None else ():
        subnet = view.get(Subnet, ip.subnet_id)
        if subnet is not None and subnet.gateway_ip is not None:
            routes.setdefault("::/0" if subnet.ip_version == 6 else "0.0.0.0/0", subnet.gateway_ip)
    routes |= {route.destination: route.nexthop for route in router.routes}
    return tuple(Route(destination, nexthop) for destination, nexthop in routes.items())


def _limits(view: View, router: Router, floating_ips: list[FloatingIp], addresses: list[str]) -> Iterator[AddressLimit]:
    """Of the floating IPs, and of the addresses of the gateway."""
    gateway = router.external_gateway_info
    own = [(floating.floating_ip_address or "", floating.qos_policy_id, floating.floating_network_id) for floating in floating_ips]
    if gateway is not None:
        own += [(address, gateway.qos_policy_id, gateway.network_id) for address in addresses]
    yield from filter(None, (address_limit(view, *each) for each in own))


def _floating(floating_ips: list[FloatingIp]) -> Iterator[FloatingAddress]:
    for floating in floating_ips:
        if floating.floating_ip_address and floating.fixed_ip_address:
            yield FloatingAddress(floating.id, floating.floating_ip_address, floating.fixed_ip_address)


def _forwarded(view: View, floating_ips: list[FloatingIp]) -> Iterator[ForwardedPorts]:
    for floating in floating_ips:
        for forwarding in sorted(view.find(PortForwarding, "floatingip_id", floating.id), key=lambda forwarding: forwarding.id):
            yield ForwardedPorts(
                floatingip_id=floating.id,
                external=floating.floating_ip_address or "",
                protocol=forwarding.protocol,
                external_ports=forwarding.external_port_range or "",
                fixed=forwarding.internal_ip_address,
                fixed_ports=forwarding.internal_port_range or "",
            )
