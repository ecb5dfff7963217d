"""What a watcher has put together from the feed equals the state compiled from scratch, whatever happened on the way."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from naru.compile.host import compile_host
from naru.feed.publish import Publisher
from naru.model.agents import Agent
from naru.model.compute import Server
from naru.model.errors import NaruError
from naru.model.hostreport import HostDescription, InstanceReport
from naru.model.hoststate import Bookmark, Del, Frame, Put, Value
from naru.model.port_security import AddressPair
from naru.model.provider import ProviderSegment
from naru.model.qos import BandwidthLimitRule, QosPolicy
from naru.model.resources import Network, Port, Subnet
from naru.model.routing import FloatingIp, Router, WantedGateway
from naru.model.security import AddressGroup, SecurityGroup, SecurityGroupRule
from naru.model.trunks import SubPort
from naru.service.address_groups import add_addresses, create_address_group
from naru.service.floatingips import create_floating_ip, delete_floating_ip, update_floating_ip
from naru.service.hosts import mark_silent_hosts, register_host, update_agent
from naru.service.instances import (
    ServerRequest,
    WantedNic,
    attach_interface,
    create_servers,
    delete_server,
    detach_interface,
    update_server,
)
from naru.service.networks import delete_network, update_network
from naru.service.port_forwardings import create_port_forwarding
from naru.service.ports import delete_port, update_port
from naru.service.qos import create_policy, plans_of
from naru.service.router_interfaces import add_router_interface, remove_router_interface
from naru.service.routers import create_router, delete_router, update_router
from naru.service.security import create_group, create_rule, delete_rule
from naru.service.subnets import update_subnet
from naru.service.trunks import create_trunk
from planning import ADMIN, CLOUD, NOW, PlainCloud

HOSTS = ("controller01", "compute01", "compute02")


class Watcher:
    """An agent's side of the feed: the state that the frames add up to."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self.state: dict[str, Value] = {}
        self.revision = -1

    async def run(self) -> None:
        async for chunk in self._chunks:
            for line in chunk.splitlines():
                match msgspec.json.decode(line, type=Frame):
                    case Put(key, value):
                        self.state[key] = value
                    case Del(key):
                        del self.state[key]
                    case Bookmark(revision):
                        self.revision = revision


def act(cloud: PlainCloud, action: str, number: int, place: int) -> None:  # noqa: C901, PLR0912  (a table of what somebody may do)
    """One change by somebody; raises NaruError where it is refused."""
    networks, ports = list(cloud.view.all(Network)), list(cloud.view.all(Port))
    network = networks[number % len(networks)] if networks else None
    port = ports[number % len(ports)] if ports else None
    host = HOSTS[place % 3]
    match action:
        case "network":
            made = cloud.network(f"n{len(networks)}")
            cloud.subnet(made, f"10.{len(networks)}.0.0/29")
            if mode := {5: "slaac", 6: "dhcpv6-stateful"}.get(number % 7):
                cloud.subnet(made, f"fd00:{len(networks)}::/64", ipv6_ra_mode=mode, ipv6_address_mode=mode)
        case "segments":
            vlans = (ProviderSegment("vlan", "physnet2", 200 + len(networks)), ProviderSegment("vxlan", None, 200 + len(networks)))
            cloud.subnet(cloud.network(f"n{len(networks)}", segments=vlans), f"10.{len(networks)}.0.0/29")
        case "unwired":
            wires = ("physnet2",) if number % 2 else ()
            cloud.run(
                register_host(
                    cloud.view, host, HostDescription(physical_networks=wires, tunnel_address=f"172.18.2.{number + 1}"), NOW, CLOUD
                )
            )
        case "boot":
            cloud.run(create_servers(cloud.view, ADMIN, ServerRequest("i", "1", "netns"), 1, 1, CLOUD))
        case "readdress":
            cloud.host(host, f"172.18.1.{number % 250 + 1}", dhcp=place == 0)
        case "port" if network:
            cloud.port(network, binding_host_id=host)
        case "down" if network:
            cloud.run(update_network(cloud.view, ADMIN, network.id, {"admin_state_up": bool(place % 2)}, CLOUD))
        case "gone" if network:
            cloud.run(delete_network(cloud.view, ADMIN, network.id, CLOUD))
        case "move" if port:
            cloud.run(update_port(cloud.view, ADMIN, port.id, {"binding_host_id": host if place % 2 else None}, CLOUD))
        case "wired" if port:
            cloud.report(port.binding_host_id, ok=(f"tap/{port.id}", f"lease/{port.id}"))
        case "delete" if port:
            cloud.run(delete_port(cloud.view, ADMIN, port.id, CLOUD))
        case "rename" if port and port.device_owner.startswith("compute:") and cloud.view.get(Server, port.device_id):
            cloud.run(update_server(cloud.view, ADMIN, port.device_id, {"name": f"i{number}"}, CLOUD))
        case "attach" if network and (server := next(cloud.view.all(Server), None)):
            cloud.run(attach_interface(cloud.view, ADMIN, server.id, WantedNic(network.id), CLOUD))
        case "detach" if port and port.device_owner.startswith("compute:"):
            cloud.run(detach_interface(cloud.view, ADMIN, port.device_id, port.id, CLOUD))
        case "launched" if server := next(cloud.view.all(Server), None):
            cloud.report(server.host, instances={server.id: InstanceReport("running")})
        case "end" if port and port.device_owner.startswith("compute:"):
            cloud.run(delete_server(cloud.view, ADMIN, port.device_id, CLOUD))


def shape(cloud: PlainCloud, action: str, number: int, place: int) -> None:
    """One change by somebody to what is limited, or behind what; raises NaruError where it is refused."""
    view = cloud.view
    network, port = next(view.all(Network), None), next(view.all(Port), None)
    match action:
        case "shape" if policy := next(view.all(QosPolicy), None):
            cloud.run(plans_of(BandwidthLimitRule).create(view, ADMIN, {"qos_policy_id": policy.id, "max_kbps": number}, CLOUD))
        case "trunk" if port and (sub := next((each for each in view.all(Port) if each.id != port.id), None)):
            given = {"project_id": "admin", "port_id": port.id, "sub_ports": (SubPort(sub.id, "vlan", 7),)}
            cloud.run(create_trunk(view, ADMIN, given, CLOUD))
        case "unshape" if rule := next(view.all(BandwidthLimitRule), None):
            cloud.run(plans_of(BandwidthLimitRule).delete(view, ADMIN, rule.id, CLOUD))
        case "policy":
            cloud.run(create_policy(view, ADMIN, {"project_id": "admin"}, CLOUD))
        case "shaped" if network and port:
            policy = next(view.all(QosPolicy), None)
            wanted = {"qos_policy_id": policy.id if policy and number % 3 else None}
            if place % 2:
                cloud.run(update_network(view, ADMIN, network.id, wanted, CLOUD))
            else:
                cloud.run(update_port(view, ADMIN, port.id, wanted, CLOUD))
        case _:
            act(cloud, action, number, place)


def route(cloud: PlainCloud, action: str, number: int, place: int) -> None:  # noqa: C901, PLR0912  (another such table)
    """One change by somebody to what is routed; raises NaruError where it is refused."""
    view = cloud.view
    routers, subnets, floating_ips = list(view.all(Router)), list(view.all(Subnet)), list(view.all(FloatingIp))
    router = routers[place % len(routers)] if routers else None
    subnet = subnets[number % len(subnets)] if subnets else None
    floating = floating_ips[number % len(floating_ips)] if floating_ips else None
    outside = next((network for network in view.all(Network) if network.router_external), None)
    port = next((port for port in view.all(Port) if not port.device_owner.startswith("network:")), None)
    policy = next((policy for policy in view.all(QosPolicy) if place % 3), None)
    limited = {"qos_policy_id": policy.id if policy else None}
    match action:
        case "outside":
            cloud.subnet(cloud.network("outside", router_external=True), f"203.0.{number}.0/28")
        case "router":
            gateway = WantedGateway(outside.id) if outside else None
            cloud.run(create_router(view, ADMIN, {"project_id": "admin", "external_gateway_info": gateway}, CLOUD))
        case "gateway" if router:
            gateway = WantedGateway(outside.id, enable_snat=bool(number % 2), **limited) if outside and number % 3 else None
            cloud.run(update_router(view, ADMIN, router.id, {"external_gateway_info": gateway}, CLOUD))
        case "routed" if router and subnet:
            change = add_router_interface if number % 3 else remove_router_interface
            cloud.run(change(view, ADMIN, router.id, {"subnet_id": subnet.id}, CLOUD))
        case "shut" if router:
            cloud.run(update_router(view, ADMIN, router.id, {"admin_state_up": bool(number % 2)}, CLOUD))
        case "unrouter" if router:
            cloud.run(delete_router(view, ADMIN, router.id, CLOUD))
        case "float" if outside and port:
            given = {"project_id": "admin", "floating_network_id": outside.id}
            cloud.run(create_floating_ip(view, ADMIN, given | ({"port_id": port.id} if place % 2 else {}), CLOUD))
        case "refloat" if floating:
            wanted = {"port_id": port.id if port and place % 2 else None}
            cloud.run(update_floating_ip(view, ADMIN, floating.id, wanted | limited, CLOUD))
        case "limit" if outside:
            cloud.run(update_network(view, ADMIN, outside.id, limited, CLOUD))
        case "unfloat" if floating:
            cloud.run(delete_floating_ip(view, ADMIN, floating.id, CLOUD))
        case "forward" if floating and port:
            inside = {"internal_port_id": port.id, "internal_ip_address": port.fixed_ips[0].ip_address, "internal_port": 22}
            given = {"floatingip_id": floating.id, "project_id": "admin", "protocol": "tcp", "external_port": 2000 + number}
            cloud.run(create_port_forwarding(view, ADMIN, given | inside, CLOUD))
        case "regate" if subnet:
            cloud.run(update_subnet(view, ADMIN, subnet.id, {"gateway_ip": None}, CLOUD))
        case "silence":
            cloud.run(mark_silent_hosts(view, replace(CLOUD, agent_down_time_s=-1.0), NOW))
        case "disable":
            for agent in [agent for agent in view.all(Agent) if agent.host == HOSTS[place % 3]]:
                cloud.run(update_agent(view, ADMIN, agent.id, {"admin_state_up": bool(number % 2)}, CLOUD))
        case _:
            shape(cloud, action, number, place)


def secure(cloud: PlainCloud, action: str, number: int, place: int) -> None:
    """One change by somebody to who may talk to whom; raises NaruError where it is refused."""
    view = cloud.view
    groups, rules, sets = list(view.all(SecurityGroup)), list(view.all(SecurityGroupRule)), list(view.all(AddressGroup))
    ports = [port for port in view.all(Port) if not port.device_owner.startswith("network:")]
    group, remote = (groups[n % len(groups)] if groups else None for n in (number, place))
    rule, named, port = (items[number % len(items)] if items else None for items in (rules, sets, ports))
    match action:
        case "group":
            cloud.run(create_group(view, ADMIN, {"name": f"g{len(groups)}", "project_id": "admin", "stateful": bool(number % 3)}, CLOUD))
        case "set":
            cloud.run(create_address_group(view, ADMIN, {"name": "a", "project_id": "admin", "addresses": (f"10.9.{number}.0/24",)}, CLOUD))
        case "rule" if group and remote:
            whom = {"remote_address_group_id": named.id} if named and place % 2 else {"remote_group_id": remote.id}
            given = {"security_group_id": group.id, "project_id": "admin", "direction": "ingress", **whom}
            cloud.run(create_rule(view, ADMIN, given, CLOUD))
        case "unrule" if rule:
            cloud.run(delete_rule(view, ADMIN, rule.id, CLOUD))
        case "member" if named:
            cloud.run(add_addresses(view, ADMIN, named.id, {"addresses": [f"10.8.{number}.{place}"]}, CLOUD))
        case "join" if port and group:
            cloud.run(update_port(view, ADMIN, port.id, {"security_groups": (group.id,) if place % 3 else ()}, CLOUD))
        case "pair" if port:
            pairs = (AddressPair(f"10.7.{number}.0/24"),) if place % 2 else ()
            cloud.run(update_port(view, ADMIN, port.id, {"allowed_address_pairs": pairs}, CLOUD))
        case "open" if port:
            given = {"port_security_enabled": bool(place % 2), "security_groups": (), "allowed_address_pairs": ()}
            cloud.run(update_port(view, ADMIN, port.id, given, CLOUD))
        case _:
            route(cloud, action, number, place)


SECURED = ("group", "set", "rule", "unrule", "member", "join", "pair", "open")
ROUTED = (
    *("outside", "router", "gateway", "routed", "shut", "unrouter", "float", "refloat", "unfloat", "forward", "regate"),
    *("silence", "disable", "limit"),
)
ACTIONS = (
    *("network", "segments", "unwired", "boot", "readdress", "port", "down", "gone", "move", "wired", "delete", "end", "rename"),
    *("attach", "detach", "launched", "policy", "shape", "unshape", "shaped", "trunk"),
)
STEPS = st.tuples(st.sampled_from(ACTIONS), st.integers(0, 20), st.integers(0, 5))
SECURED_STEPS = st.tuples(st.sampled_from(ACTIONS + SECURED * 2), st.integers(0, 20), st.integers(0, 5))
ROUTED_STEPS = st.tuples(st.sampled_from(ACTIONS + ROUTED * 2), st.integers(0, 20), st.integers(0, 5))


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, min_size=5, max_size=25))
def test_the_feed_adds_up_to_the_state_compiled_from_scratch(steps):
    compare([("network", 0, 0), ("network", 0, 0)], steps)


@settings(max_examples=100, deadline=None)
@given(st.lists(ROUTED_STEPS, min_size=5, max_size=25))
def test_so_it_does_with_routers(steps):
    compare([(action, 2, 1) for action in ("network", "outside", "boot", "router", "routed", "float", "policy", "shape")], steps)


@settings(max_examples=100, deadline=None)
@given(st.lists(SECURED_STEPS, min_size=5, max_size=25))
def test_so_it_does_with_security_groups(steps):
    compare([(action, 2, 1) for action in ("network", "boot", "boot", "group", "set", "rule", "join")], steps)


def compare(first, steps) -> None:
    async def scenario() -> None:
        cloud = PlainCloud()
        for number, host in enumerate(HOSTS):
            cloud.host(host, f"172.18.0.{30 + number}", dhcp=number == 0, l3=number < 2, metadata=True, qos_rule_types=("bandwidth_limit",))
        for action, number, place in first:
            secure(cloud, action, number, place)
        publisher = Publisher(cloud.view)
        watchers = {host: Watcher(publisher.watch(host, None)) for host in HOSTS}
        tasks = [asyncio.create_task(watcher.run()) for watcher in watchers.values()]
        for action, number, place in steps:
            before = len(cloud.changes)
            with contextlib.suppress(NaruError):
                secure(cloud, action, number, place)
            publisher.on_changes(cloud.changes[before:])
            if number % 3 == 0:  # some changes come together, some alone
                await drain()
        await drain()
        for host, watcher in watchers.items():
            assert watcher.state == compile_host(cloud.view, host)
            assert publisher.is_current(host, watcher.revision)
        publisher.close()
        await asyncio.gather(*tasks)

    asyncio.run(scenario())


async def drain() -> None:
    """Let the publisher compile, and the watchers read."""
    for _ in range(6):
        await asyncio.sleep(0)
