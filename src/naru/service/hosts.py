"""Hosts: they register, report what they achieved, and are missed when they fall silent."""

from datetime import datetime
from typing import Any

from msgspec.structs import replace

from naru.model.agents import Agent
from naru.model.compute import Fault, Server
from naru.model.errors import not_found
from naru.model.hostreport import HostDescription, HostReport, InstanceReport
from naru.model.identity import Caller
from naru.model.resources import Changes, Port, new_id, put, remove
from naru.model.view import View
from naru.service.binding import agent_of
from naru.service.dhcp import ensure_all_dhcp_servers, servers_of
from naru.service.policy import Cloud, fetch_own
from naru.service.provisioning import leased_by, port_status
from naru.service.rebinding import bind_anew
from naru.service.router_hosts import ensure_router_hosts, settle_routing
from naru.service.sub_ports import show_trunk_status

AGENT_TYPES = {"linuxbridge": "Linux bridge agent", "openvswitch": "Open vSwitch agent"}  # Neutron's words, by mechanism
_HEARTBEAT_KEPT_S = 10  # a newer heartbeat than this is not worth a write


def register_host(view: View, host: str, description: HostDescription, now: datetime, cloud: Cloud) -> Changes[Agent]:
    """A host says what it can do: ports may be bound now that could not be; networks get DHCP servers, routers a host."""
    agent = agent_of(view, host) or Agent(id=new_id(), host=host)
    configurations = {
        "mechanism": description.mechanism,
        "vif_type": description.vif_type,
        "vif_details": description.vif_details,
        "physical_networks": list(description.physical_networks),
        "vlan": description.vlan,
        "tunnel_types": list(description.tunnel_types),
        "tunneling_ip": description.tunnel_address,
        "dhcp": description.dhcp,
        "l3": description.l3,
        "metadata": description.metadata,
        "port_filter": description.port_filter,
        "qos_rule_types": list(description.qos_rule_types),
        "instance_drivers": list(description.instance_drivers),
        "version": description.version,
    }
    agent = replace(agent, alive=True, started_at=_text(now), heartbeat_timestamp=_text(now), configurations=configurations, failures={})
    agent = replace(agent, agent_type=AGENT_TYPES[description.mechanism], availability_zone=description.availability_zone)
    yield put(agent)
    for port in list(view.find(Port, "binding:host_id", host)):
        yield from bind_anew(view, port)
    yield from _place_services(view, cloud)
    return agent


def record_report(view: View, host: str, report: HostReport, now: datetime, cloud: Cloud) -> Changes[None]:
    """Ports and instances take over what their host achieved. Raises NotFound for a host that never registered."""
    agent = agent_of(view, host)
    if agent is None:
        raise not_found("Agent", host)
    failures = {} if report.full else {k: v for k, v in agent.failures.items() if k not in report.ok and k not in report.gone}
    failures |= report.failed
    is_old = _age_s(agent.heartbeat_timestamp, now) > min(_HEARTBEAT_KEPT_S, cloud.agent_down_time_s / 4)
    if failures != agent.failures or is_old or not agent.alive:
        yield put(replace(agent, failures=failures, alive=True, heartbeat_timestamp=_text(now)))
    if not agent.alive:
        yield from _place_services(view, cloud)
    for key in report.ok:
        yield from _settle(view, host, key, achieved=True)
    for key in (*report.failed, *report.gone):
        yield from _settle(view, host, key, achieved=False)
    yield from settle_routing(view, host, report)
    if report.full:
        yield from _forget_the_rest(view, host, set(report.ok))
    for key, reason in (*dict.fromkeys(report.ok, "").items(), *report.failed.items()):
        if key.startswith("instance/"):
            yield from _judge_instance(view, host, key.partition("/")[2], reason, now)
    for id, seen in report.instances.items():
        yield from _record_instance(view, host, id, seen, now)


def mark_silent_hosts(view: View, cloud: Cloud, now: datetime) -> Changes[None]:
    """Agents not heard of for `agent_down_time_s` are not alive: the routers and DHCP servers of their hosts go to others."""
    silent = [a for a in view.all(Agent) if a.alive and _age_s(a.heartbeat_timestamp, now) > cloud.agent_down_time_s]
    for agent in silent:
        yield put(replace(agent, alive=False))
    if silent:
        yield from _place_services(view, cloud)


def update_agent(view: View, caller: Caller, id: str, given: dict[str, Any], cloud: Cloud) -> Changes[Agent]:
    agent = fetch_own(view, caller, Agent, id, "update")
    changed = replace(agent, **given)
    yield put(changed)
    yield from _place_services(view, cloud)
    return changed


def delete_agent(view: View, caller: Caller, id: str, cloud: Cloud) -> Changes[None]:
    """A host that still runs registers again."""
    yield remove(fetch_own(view, caller, Agent, id, "delete"))
    yield from _place_services(view, cloud)


def _place_services(view: View, cloud: Cloud) -> Changes[None]:
    """After hosts came, went or changed: networks are served, and routers run, where that can be."""
    yield from ensure_all_dhcp_servers(view, cloud)
    yield from ensure_router_hosts(view)


def _settle(view: View, host: str, key: str, *, achieved: bool) -> Changes[None]:
    """A port's part is done, or not any more. A host speaks only for what it was asked to do."""
    kind, _, id = key.partition("/")
    port = view.get(Port, id) if kind in ("tap", "lease") else None
    if port is None:
        return
    part, responsible = ("L2", {port.binding_host_id}) if kind == "tap" else (leased_by(host), _servers(view, port))
    if host not in responsible and part not in port.provisioned:
        return
    provisioned = tuple(sorted({*port.provisioned, part} if achieved else {*port.provisioned} - {part}))
    if provisioned != port.provisioned:
        changed = replace(port, provisioned=provisioned)
        yield put(replace(changed, status=port_status(view, changed)))
        yield from show_trunk_status(view, changed)


def _servers(view: View, port: Port) -> set[str]:
    return {server.binding_host_id for server in servers_of(view, port)}


def _forget_the_rest(view: View, host: str, achieved: set[str]) -> Changes[None]:
    """After a full report: what the host did not name, it does not have."""
    here = list(view.find(Port, "binding:host_id", host))
    served = {port.network_id for port in view.find(Port, "dhcp_host", host)}
    for port in here:
        if f"tap/{port.id}" not in achieved:
            yield from _settle(view, host, f"tap/{port.id}", achieved=False)
    for network_id in served:
        for port in list(view.find(Port, "network_id", network_id)):
            if f"lease/{port.id}" not in achieved:
                yield from _settle(view, host, f"lease/{port.id}", achieved=False)


def _judge_instance(view: View, host: str, id: str, reason: str, now: datetime) -> Changes[None]:
    """A server whose host fails at it is in ERROR, and is again what it was when it does not any more (`reason` "")."""
    server = view.get(Server, id)
    if server is None or server.host != host or (server.status == "ERROR") == bool(reason):
        return
    if reason:
        yield put(replace(server, status="ERROR", fault=Fault(500, reason, now.strftime("%Y-%m-%dT%H:%M:%SZ"))))
    else:
        yield put(replace(server, status="ACTIVE" if server.launched_at else "BUILD", fault=None))


def _record_instance(view: View, host: str, id: str, seen: InstanceReport, now: datetime) -> Changes[None]:
    server = view.get(Server, id)
    if server is None or server.host != host:
        return
    changed = replace(server, addresses=seen.addresses)
    if seen.state == "running":
        status = "ERROR" if server.status == "ERROR" else "ACTIVE"  # what its host fails at is still to be done
        changed = replace(changed, status=status, launched_at=server.launched_at or now.strftime("%Y-%m-%dT%H:%M:%S.%f"))
    if changed != server:
        yield put(changed)


def _text(moment: datetime) -> str:
    """Neutron's form of an agent's times: UTC, a blank between date and time, no zone."""
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def _age_s(text: str, now: datetime) -> float:
    """How far a moment is from now; one in the future is of a clock that was set."""
    if not text:
        return float("inf")
    return abs((now - datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=now.tzinfo)).total_seconds())
