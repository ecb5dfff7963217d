"""Instances of our own: the network is picked and its address taken in the same step, so what was free stays ours."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from naru.model.agents import Agent
from naru.model.compute import FLAVORS, IMAGES, Flavor, Image, Server, find_flavor, find_image
from naru.model.errors import Conflict, Forbidden, Invalid, NotFound
from naru.model.identity import Caller
from naru.model.provider import ProviderSegment, why_not_carried
from naru.model.qos import effective_policy
from naru.model.resources import Changes, Network, Port, WantedIp, new_id, put, remove
from naru.model.segments import Segment
from naru.model.view import View
from naru.schedule.candidates import Wish
from naru.schedule.hosts import HostCandidate, choose_host
from naru.service import binding
from naru.service.holds import Taken
from naru.service.keypairs import find_keypair
from naru.service.picks import Choice, choose_networks, pick_of, within_quota
from naru.service.policy import Cloud, fetch, fetch_own
from naru.service.ports import check_unused, create_port, create_port_of, remove_port, update_port
from naru.service.provisioning import unwired
from naru.service.security import groups_named
from naru.service.segments import open_segments, segment_of
from naru.service.sub_ports import follow_parent
from naru.service.topology import ensure_network

AVAILABILITY_ZONE = "nova"  # the only one
MOST_AT_ONCE = 200  # servers of one request: the others who wait behind it in the writer wait no longer than that takes


class WantedNic(msgspec.Struct, frozen=True):
    """One interface that a request names: a port, or a network with perhaps an address."""

    network_id: str | None = None
    port_id: str | None = None
    fixed_ip: str | None = None
    tag: str | None = None
    security_groups: tuple[str, ...] | None = None  # of the port that is made for it; None: the default one
    taken: Taken | None = None  # what was picked for it


class ServerRequest(msgspec.Struct, frozen=True):
    """`nics` None: pick a network for me. Empty: no interface at all."""

    name: str
    flavor_id: str
    image_id: str
    description: str = ""
    nics: tuple[WantedNic, ...] | None = None
    metadata: dict[str, str] = {}
    tags: tuple[str, ...] = ()
    availability_zone: str = ""
    security_groups: tuple[str, ...] = ()  # ids or names; none: the default one
    key_name: str = ""
    user_data: str = ""  # base64
    why: str = ""  # these networks, where they were picked


def create_servers(view: View, caller: Caller, request: ServerRequest, least: int, most: int, cloud: Cloud) -> Changes[list[Server]]:
    """Between `least` and `most` servers, all with addresses; fewer than `least` are none.

    Raises Conflict when no network has a free address (naming each network that was looked at and why it was refused) or no host can
    run the instance, Forbidden when the port quota is used up, Invalid for what cannot be.
    """
    if least > most:
        raise Invalid("min_count must be <= max_count")
    if most > MOST_AT_ONCE:
        raise Invalid(f"max_count {most} is too many: one request makes up to {MOST_AT_ONCE} servers")
    if most > 1 and any(nic.port_id or nic.fixed_ip for nic in request.nics or ()):
        raise Invalid("Unable to launch multiple instances with a single configured port ID. Please launch your instance one by one.")
    if request.nics is None:
        return (yield from _create_picked(view, caller, request, least, most, cloud))
    return (yield from _create_each(view, caller, [request] * most, least, cloud))


def _create_picked(view: View, caller: Caller, request: ServerRequest, least: int, most: int, cloud: Cloud) -> Changes[list[Server]]:
    """One pick for all. It is kept, used up from the beginning, to be looked at while its ports are there."""
    image = _image_of(request)
    host = _forced_host(caller, request.availability_zone) or None
    wish = Wish(count=most, min_count=least, instance_driver=image.driver, host=host)
    choice = yield from _choose_or_make(view, caller, wish, cloud)
    if not choice.placements:
        raise Conflict(f"No network has a free address for instance {request.name}: {choice.explain()}.", "NoFreeAddress")
    pick = pick_of(caller, {"project_id": caller.project_id, "count": most, "min_count": least, "host": host}, choice)
    nics = [WantedNic(network_id=place.network_id, taken=Taken(pick.id, place)) for place in choice.placements]
    requests = [replace(request, nics=(nic,), why=choice.explain()) for nic in nics]
    servers = yield from _create_each(view, caller, requests, least, cloud)
    ports = [next(view.find(Port, "device_id", server.id)) for server in servers]
    placements = tuple(replace(place, port_id=port.id) for place, port in zip(choice.placements, ports, strict=False))
    yield put(replace(pick, status="used", placements=placements))
    yield from choice.pass_turn(view)
    return servers


def _create_each(view: View, caller: Caller, requests: Sequence[ServerRequest], least: int, cloud: Cloud) -> Changes[list[Server]]:
    """Servers until one cannot be had; an error where these are fewer than `least`."""
    servers: list[Server] = []
    for number, request in enumerate(requests, 1):
        id, name = new_id(), request.name if len(requests) == 1 else f"{request.name}-{number}"
        try:
            servers.append((yield from _create_server(view, caller, id, replace(request, name=name), cloud)))
        except (Conflict, Forbidden):
            if len(servers) < least:
                raise
            if view.get(Server, id) is not None:  # its first interfaces were made, the next one could not be
                yield from delete_server(view, caller, id, cloud)
            break
    return servers


def delete_server(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    """Ports that were made for it go with it; ports that came from outside are set free."""
    server = fetch_own(view, caller, Server, id, "delete")
    for port in server_ports(view, server):
        yield from _detach(view, server, port, cloud)
    yield remove(server)


def attach_interface(view: View, caller: Caller, id: str, nic: WantedNic | None, cloud: Cloud) -> Changes[Port]:
    """One more interface, also while the server runs; `nic` None: pick a network. It gets the first device name that is free.

    Raises NotFound for a network or port that is not there, Conflict for a port in use, where no address is free, and for a network that
    the host cannot carry.
    """
    server = fetch_own(view, caller, Server, id, "update")
    if nic is None:
        return (yield from _attach_picked(view, caller, server, cloud))
    fetch(view, caller, Port if nic.port_id else Network, nic.port_id or nic.network_id or "")
    network = _network_of(view, caller, nic)
    agent = binding.agent_of(view, server.host)
    if agent is not None and (reason := _why_unreachable(view, agent, nic, network, grows=True)):
        raise Conflict(f"Failed to attach network adapter device to {server.id}: host {server.host}: {reason}.", "InterfaceAttachFailed")
    return (yield from _attach(view, caller, server, nic, network, cloud))


def _attach_picked(view: View, caller: Caller, server: Server, cloud: Cloud) -> Changes[Port]:
    wish = Wish(count=1, host=server.host)
    choice = yield from _choose_or_make(view, caller, wish, cloud)
    if not choice.placements:
        raise Conflict(f"No network has a free address for instance {server.name}: {choice.explain()}.", "NoFreeAddress")
    pick = pick_of(caller, {"project_id": caller.project_id, "host": server.host}, choice)
    (place,) = choice.placements
    nic = WantedNic(network_id=place.network_id, taken=Taken(pick.id, place))
    port = yield from _attach(view, caller, server, nic, _network_of(view, caller, nic), cloud)
    yield put(replace(pick, status="used", placements=(replace(place, port_id=port.id),)))
    yield from choice.pass_turn(view)
    return port


def detach_interface(view: View, caller: Caller, id: str, port_id: str, cloud: Cloud) -> Changes[None]:
    """The other interfaces keep their device names. Raises NotFound for a port that is no interface of the server."""
    server = fetch_own(view, caller, Server, id, "update")
    port = next((port for port in server_ports(view, server) if port.id == port_id), None)
    if port is None:
        raise NotFound(f"Port {port_id} is not attached to server {server.id}.")
    yield from _detach(view, server, port, cloud)
    place = server.interfaces.index(port_id)
    places = (*server.interfaces[:place], "", *server.interfaces[place + 1 :])
    leased = {device: address for device, address in server.addresses.items() if device != f"eth{place}"}
    made = tuple(made for made in server.created_ports if made != port_id)
    yield put(replace(server, interfaces=places, created_ports=made, addresses=leased))


def update_server(view: View, caller: Caller, id: str, given: dict[str, Any], cloud: Cloud) -> Changes[Server]:
    changed = replace(fetch_own(view, caller, Server, id, "update"), **given)
    yield put(changed)
    return changed


def visible_servers(view: View, caller: Caller, *, all_projects: bool = False) -> Iterator[Server]:
    """The project's own. Raises Forbidden where another than an administrator asks for those of all projects."""
    if not all_projects:
        return view.find(Server, "project_id", caller.project_id)
    if not caller.is_admin:
        raise Forbidden("Policy doesn't allow os_compute_api:servers:detail:get_all_tenants to be performed.")
    return view.all(Server)


def server_ports(view: View, server: Server) -> list[Port]:
    """Its interfaces in the order in which they were attached: eth0, eth1, …"""
    ports = (view.get(Port, id) for id in server.interfaces)
    return [port for port in ports if port is not None]


def _create_server(view: View, caller: Caller, id: str, request: ServerRequest, cloud: Cloud) -> Changes[Server]:
    image, flavor = _image_of(request), find_flavor(request.flavor_id)
    if flavor is None:
        raise Invalid(f"Flavor {request.flavor_id} could not be found. There are: {_names(FLAVORS)}.")
    nics = request.nics or ()
    pair = find_keypair(view, caller.user_id, request.key_name)
    if request.key_name and pair is None:
        raise Invalid(f"Invalid key_name provided. User {caller.user_id} has no key pair {request.key_name}.")
    groups = groups_named(view, caller, request.security_groups)
    networks = [_network_of(view, caller, nic) for nic in nics]
    host = _choose_host(view, image, networks, request, _forced_host(caller, request.availability_zone))
    server = Server(
        id=id,
        project_id=caller.project_id,
        user_id=caller.user_id,
        name=request.name,
        description=request.description,
        host=host,
        flavor_id=flavor.id,
        image_id=image.id,
        metadata=request.metadata,
        tags=request.tags,
        pick=request.why,
        key_name=request.key_name,
        public_key=pair.public_key if pair is not None else "",
        user_data=request.user_data,
    )
    yield put(server)
    for nic, network in zip(nics, networks, strict=True):
        yield from _attach(view, caller, server, replace(nic, security_groups=groups), network, cloud)
    return server


def _image_of(request: ServerRequest) -> Image:
    image = find_image(request.image_id)
    if image is None:
        raise Invalid(f"Can not find requested image {request.image_id}. There is one per instance driver: {_names(IMAGES)}.")
    return image


def _choose_or_make(view: View, caller: Caller, wish: Wish, cloud: Cloud) -> Changes[Choice]:
    """A project that has no network at all gets one of its own, as Neutron's auto-allocated topology gives it."""
    try:
        wish = within_quota(view, cloud, caller.project_id, wish)
    except Conflict as full:
        raise Forbidden(f"Maximum number of ports exceeded. {full}", "OverQuota") from None
    choice = yield from choose_networks(view, caller, caller.project_id, wish, cloud)
    if all(verdict.reason == "external" for verdict in choice.verdicts):
        yield from ensure_network(view, caller, cloud)
        choice = yield from choose_networks(view, caller, caller.project_id, wish, cloud)
    return choice


def _attach(view: View, caller: Caller, server: Server, nic: WantedNic, network: Network, cloud: Cloud) -> Changes[Port]:
    plugged = {"device_id": server.id, "device_owner": f"compute:{AVAILABILITY_ZONE}", "binding_host_id": server.host}
    if nic.port_id is not None:
        check_unused(fetch(view, caller, Port, nic.port_id))
        port = yield from update_port(view, caller, nic.port_id, plugged, cloud)
        created: tuple[str, ...] = ()
    else:
        port = yield from _create_port(view, caller, network, nic, plugged, cloud)
        created = (port.id,)
    fresh = view.get(Server, server.id) or server
    free = [number for number, id in enumerate(fresh.interfaces) if view.get(Port, id) is None]
    number = free[0] if free else len(fresh.interfaces)
    interfaces = (*fresh.interfaces[:number], port.id, *fresh.interfaces[number + 1 :])
    yield put(replace(fresh, interfaces=interfaces, created_ports=fresh.created_ports + created))
    return port


def _create_port(view: View, caller: Caller, network: Network, nic: WantedNic, plugged: dict[str, Any], cloud: Cloud) -> Changes[Port]:
    given = plugged | {"network_id": network.id, "project_id": caller.project_id}
    if nic.security_groups is not None:
        given["security_groups"] = nic.security_groups
    if nic.fixed_ip is not None:
        given["fixed_ips"] = (WantedIp(ip_address=nic.fixed_ip),)
    try:
        if nic.taken is not None:
            return (yield from create_port_of(view, caller, given, cloud, nic.taken))
        return (yield from create_port(view, caller, given, cloud))
    except Conflict as refused:
        if refused.type == "OverQuota":
            raise Forbidden(f"Maximum number of ports exceeded. {refused}", "OverQuota") from None
        if nic.fixed_ip is not None:
            raise Invalid(f"Fixed IP address {nic.fixed_ip} is already in use. {refused}") from None
        raise


def _detach(view: View, server: Server, port: Port, cloud: Cloud) -> Changes[None]:
    if port.id in server.created_ports:
        yield from remove_port(view, port, cloud)
        return
    free = replace(port, device_id="", device_owner="", binding_host_id="", binding_vif_type="unbound", binding_vif_details={})
    yield put(replace(unwired(free), status="DOWN"))
    yield from follow_parent(view, free)


def _network_of(view: View, caller: Caller, nic: WantedNic) -> Network:
    """Raises Invalid for what is not there: it is the body that names it."""
    try:
        if nic.port_id is not None:
            port = fetch(view, caller, Port, nic.port_id)
            if port.project_id != caller.project_id:
                raise Invalid(f"Port {port.id} not usable for instance: it belongs to another project.")
            return fetch(view, caller, Network, port.network_id)
        network = fetch(view, caller, Network, nic.network_id or "")
    except NotFound as gone:
        raise Invalid(str(gone), gone.type) from None
    if not network.subnets and network.autogrow is None:  # else its first comes with the port
        raise Invalid(f"Network {network.id} requires a subnet in order to boot instances on.", "NetworkRequiresSubnet")
    return network


def _forced_host(caller: Caller, zone: str) -> str:
    """An availability zone may name a host, as Nova's administrators do: `nova:compute01`. "": any host."""
    name, _, host = zone.partition(":")
    if name not in ("", AVAILABILITY_ZONE):
        raise Invalid(f"The requested availability zone is not available: {name}; there is one, {AVAILABILITY_ZONE}.")
    if host and not caller.is_admin:
        raise Forbidden("Policy doesn't allow os_compute_api:servers:create:forced_host to be performed.")
    return host.partition(":")[0]


def _choose_host(view: View, image: Image, networks: Sequence[Network], request: ServerRequest, forced: str) -> str:
    """One with room, else one where a network may grow."""
    nics = list(zip(request.nics or (), networks, strict=True))
    for grows in (False, True):
        agents = (agent for agent in view.all(Agent) if forced in ("", agent.host))
        choice = choose_host([_host_candidate(view, agent, image, nics, grows=grows) for agent in agents])
        if choice.host is not None:
            return choice.host
    refused = "; ".join(f"{host}: {why}" for host, why in choice.refused.items()) or "no agent has registered"
    raise Conflict(f"No valid host was found for instance {request.name}: {refused}.", "NoValidHost")


def _host_candidate(view: View, agent: Agent, image: Image, nics: Sequence[tuple[WantedNic, Network]], *, grows: bool) -> HostCandidate:
    ids = {network.id for _, network in nics}
    return HostCandidate(
        host=agent.host,
        alive=agent.alive,
        admin_state_up=agent.admin_state_up,
        has_driver=image.driver in agent.configurations.get("instance_drivers", ()),
        unreachable=tuple(reason for nic, network in nics if (reason := _why_unreachable(view, agent, nic, network, grows=grows))),
        instances=view.count(Server, "host", agent.host),
        instances_on_network=sum(
            port.network_id in ids and bool(port.device_id) for port in view.find(Port, "binding:host_id", agent.host)
        ),
    )


def _why_unreachable(view: View, agent: Agent, nic: WantedNic, network: Network, *, grows: bool) -> str | None:
    """Why the interface cannot be on a host. Where subnets are tied to segments: on that of its addresses, or one that has some left.

    With `grows` also on one that the network may yet get.
    """
    port = view.get(Port, nic.port_id or "")
    if reason := binding.why_not_enforced(view, agent, effective_policy(port) if port is not None else network.qos_policy_id):
        return reason
    if network.l2_adjacency:
        return binding.why_unreachable(agent, network)
    is_open = nic.taken is None and (port is None or not port.fixed_ips or port.is_provisional)
    ids: Sequence[str | None]
    if is_open:
        ids = open_segments(view, network)
    else:
        ids = [nic.taken.place.segment_id if nic.taken is not None else segment_of(view, port) if port is not None else None]
    reasons = [binding.why_unreachable(agent, network, view.get(Segment, id or "")) for id in ids]
    if grows and is_open and network.autogrow is not None and network.autogrow.network_type is not None:
        wire = ProviderSegment(network.autogrow.network_type, network.autogrow.physical_network)
        reasons.append(why_not_carried(wire, agent.host, agent.configurations))
    reasons = reasons or [f"no segment of network {network.id} has an address left"]
    return None if None in reasons else "; ".join(filter(None, reasons))


def _names(items: Iterable[Flavor | Image]) -> str:
    return ", ".join(f"{item.name} ({item.id})" for item in items)
