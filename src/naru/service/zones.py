"""Availability zones: those that the hosts are in, those that a network or router asks for, and those that a DHCP server is in."""

from collections.abc import Sequence

from msgspec.structs import replace

from naru.model.agents import Agent
from naru.model.errors import NotFound
from naru.model.resources import Changes, Network, Port, put
from naru.model.view import View
from naru.model.zones import AvailabilityZone
from naru.service.binding import agent_of


def list_zones(view: View) -> list[AvailabilityZone]:
    """For networks each zone with a host that may serve DHCP, for routers with one that may run them; available while one of these is."""
    states: dict[tuple[str, str], bool] = {}
    for agent in view.all(Agent):
        for resource, ability in (("network", "dhcp"), ("router", "l3")):
            if agent.availability_zone and agent.configurations.get(ability):
                zone = resource, agent.availability_zone
                states[zone] = states.get(zone, False) or (agent.alive and agent.admin_state_up)
    return [
        AvailabilityZone(id=f"{resource}/{name}", name=name, resource=resource, state="available" if is_up else "unavailable")
        for (resource, name), is_up in sorted(states.items())
    ]


def check_hints(view: View, resource: str, hints: Sequence[str]) -> None:
    """Raises NotFound for a zone where no host may serve a "network", run a "router"."""
    known = {zone.name for zone in list_zones(view) if zone.resource == resource}
    for hint in hints:
        if hint not in known:
            raise NotFound(f"AvailabilityZone {hint} could not be found.", "AvailabilityZoneNotFound")


def show_zones(view: View, network_id: str) -> Changes[None]:
    """A network shows the zones of the hosts that serve it."""
    network = view.get(Network, network_id)
    if network is None:
        return
    hosts = {port.binding_host_id for port in view.find(Port, "dhcp", network_id)}
    agents = [agent for host in hosts if (agent := agent_of(view, host)) is not None]
    zones = tuple(sorted({agent.availability_zone for agent in agents if agent.availability_zone}))
    if zones != network.availability_zones:
        yield put(replace(network, availability_zones=zones))
