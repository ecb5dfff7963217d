"""Availability zones: those that the hosts are in, those that a network asks for, and those that its DHCP server is in."""

from collections.abc import Sequence

from msgspec.structs import replace

from naru.model.agents import Agent
from naru.model.errors import NotFound
from naru.model.resources import Changes, Network, Port, put
from naru.model.view import View
from naru.model.zones import AvailabilityZone
from naru.service.binding import agent_of


def list_zones(view: View) -> list[AvailabilityZone]:
    """For networks and for routers each zone that has a host which may serve DHCP; it is available while one of these is."""
    states: dict[str, bool] = {}
    for agent in view.all(Agent):
        if agent.availability_zone and agent.configurations.get("dhcp"):
            states[agent.availability_zone] = states.get(agent.availability_zone, False) or (agent.alive and agent.admin_state_up)
    return [
        AvailabilityZone(id=f"{resource}/{name}", name=name, resource=resource, state="available" if is_up else "unavailable")
        for resource, has_hosts in (("network", True), ("router", False))  # no host runs routers yet
        for name, is_up in sorted((name, has_hosts and is_up) for name, is_up in states.items())
    ]


def check_hints(view: View, hints: Sequence[str]) -> None:
    """Raises NotFound for a zone that no host is in."""
    known = {zone.name for zone in list_zones(view)}
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
