"""A small Nova v2.1, for machines without one: servers, flavors, and what clients ask besides.

https://docs.openstack.org/api-ref/compute/
"""

import re
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
from starlette.datastructures import Headers
from starlette.responses import Response

from naru.api import keypairs
from naru.api.backend import Backend
from naru.api.http import Call, Route, compute_refusal, json_response, no_content
from naru.api.servers import (
    Row,
    Version,
    brief_flavor,
    brief_server,
    cut_page,
    flavor_document,
    interface_document,
    is_true,
    links,
    next_link,
    read,
    read_attachment,
    read_create,
    select_servers,
    server_document,
)
from naru.model.agents import Agent
from naru.model.compute import FLAVORS, Server, ServerUpdate, find_flavor
from naru.model.errors import Forbidden, Invalid, NaruError, NotAcceptable, NotFound
from naru.model.resources import Port
from naru.service.instances import (
    AVAILABILITY_ZONE,
    attach_interface,
    create_servers,
    delete_server,
    detach_interface,
    server_ports,
    update_server,
    visible_servers,
)
from naru.service.policy import fetch

OLDEST: Version = (2, 1)
NEWEST: Version = (2, 61)

Endpoint = Callable[[Backend, Call, Version], Awaitable[Response]]


def compute_routes(backend: Backend) -> list[Route]:
    table: tuple[tuple[str, str, Endpoint], ...] = (
        ("POST", "servers", _create_server),
        ("GET", "servers", _list_servers),
        ("GET", "servers/detail", _list_servers),
        ("GET", "servers/{id}", _show_server),
        ("PUT", "servers/{id}", _update_server),
        ("DELETE", "servers/{id}", _delete_server),
        ("POST", "servers/{id}/action", _act),
        ("GET", "servers/{id}/os-interface", _list_interfaces),
        ("POST", "servers/{id}/os-interface", _attach_interface),
        ("GET", "servers/{id}/os-interface/{port_id}", _show_interface),
        ("DELETE", "servers/{id}/os-interface/{port_id}", _detach_interface),
        ("GET", "servers/{id}/os-security-groups", _fixed({"security_groups": []})),
        ("GET", "servers/{id}/os-volume_attachments", _fixed({"volumeAttachments": []})),
        ("GET", "flavors", _list_flavors),
        ("GET", "flavors/detail", _list_flavors),
        ("GET", "flavors/{id}", _show_flavor),
        ("GET", "flavors/{id}/os-extra_specs", _fixed({"extra_specs": {}})),
        ("GET", "limits", _show_limits),
        ("GET", "os-availability-zone", _list_zones),
        ("GET", "os-availability-zone/detail", _list_zones_with_hosts),
        ("GET", "os-hypervisors", _list_hypervisors),
        ("GET", "os-keypairs", keypairs.list_all),
        ("POST", "os-keypairs", keypairs.create),
        ("GET", "os-keypairs/{id}", keypairs.show),
        ("DELETE", "os-keypairs/{id}", keypairs.delete),
        ("GET", "os-security-groups", _fixed({"security_groups": []})),
        ("GET", "os-quota-sets/{id}", _show_quota),
        ("GET", "os-quota-sets/{id}/defaults", _show_quota),
        ("GET", "os-server-groups", _fixed({"server_groups": []})),
    )
    routes = [
        Route("GET", "/compute", _show_versions, is_public=True),
        Route("GET", "/compute/v2.1", _show_version, is_public=True),
    ]
    return routes + [Route(method, f"/compute/v2.1/{path}", partial(_negotiated, endpoint, backend)) for method, path, endpoint in table]


def _fixed(body: Row) -> Endpoint:
    """An endpoint for what this service has none of."""

    async def respond(backend: Backend, call: Call, version: Version) -> Response:
        return json_response(body)

    return respond


# -- versions


def _version(call: Call) -> Row:
    return {
        "id": "v2.1",
        "status": "CURRENT",
        "version": _text(NEWEST),
        "min_version": _text(OLDEST),
        "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": f"{call.base_url}/compute/v2.1/"}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.compute+json;version=2.1"}],
    }


async def _show_versions(call: Call) -> Response:
    return json_response({"versions": [_version(call)]})


async def _show_version(call: Call) -> Response:
    return json_response({"version": _version(call)})


def _text(version: Version) -> str:
    return ".".join(map(str, version))


async def _negotiated(endpoint: Endpoint, backend: Backend, call: Call) -> Response:
    """Run an endpoint at the microversion that the request asks for, and say which it was, also with a refusal."""
    version = OLDEST
    try:
        version = asked_version(call.request.headers)
        response = await endpoint(backend, call, version)
    except NaruError as error:
        response = compute_refusal(error)
    response.headers["OpenStack-API-Version"] = f"compute {_text(version)}"
    response.headers["X-OpenStack-Nova-API-Version"] = _text(version)
    response.headers["Vary"] = "OpenStack-API-Version, X-OpenStack-Nova-API-Version"
    return response


def asked_version(headers: Headers) -> Version:
    """By either header; the oldest where none asks. Raises Invalid for what is no version, NotAcceptable for one out of range.

    https://docs.openstack.org/api-guide/compute/microversions.html
    """
    asked = headers.get("x-openstack-nova-api-version", "")
    for entry in headers.get("openstack-api-version", "").split(","):
        service, _, text = entry.strip().partition(" ")
        if service.lower() == "compute":
            asked = text.strip()
    if asked in ("", "latest"):
        return NEWEST if asked else OLDEST
    if not re.fullmatch(r"[1-9]\d{0,8}\.(0|[1-9]\d{0,8})", asked, re.ASCII):
        raise Invalid(f"API Version String {asked} is of invalid format. Must be of format MajorNum.MinorNum.")
    major, _, minor = asked.partition(".")
    version = int(major), int(minor)
    if not OLDEST <= version <= NEWEST:
        offered = f"Minimum is {_text(OLDEST)} and maximum is {_text(NEWEST)}"
        raise NotAcceptable(f"Version {asked} is not supported by the API. {offered}.")
    return version


# -- servers


async def _create_server(backend: Backend, call: Call, version: Version) -> Response:
    """Answers with the first of the servers made, as Nova does. It has its network and address by then; what follows is wiring."""
    body = await call.member("server")
    request, least, most = read_create(body)
    made = await backend.store.write(lambda view: create_servers(view, call.caller, request, least, most, backend.cloud))
    server: Server = made[0]
    shown = links(call, "servers", server.id)
    answer = {
        "id": server.id,
        "links": shown,
        "adminPass": body.get("adminPass") or secrets.token_urlsafe(9),
        "OS-DCF:diskConfig": "MANUAL",
        "security_groups": [{"name": name} for name in request.security_groups or ("default",)],
    }
    return json_response({"server": answer}, 202, {"Location": shown[0]["href"]})


async def _list_servers(backend: Backend, call: Call, version: Version) -> Response:
    query = dict(call.query)
    all_projects = "all_tenants" in query and is_true(query["all_tenants"])
    servers, has_more = select_servers(backend.view, visible_servers(backend.view, call.caller, all_projects=all_projects), call)
    is_detailed = call.request.url.path.endswith("/detail")
    rows = [server_document(backend.view, server, call, version) if is_detailed else brief_server(server, call) for server in servers]
    return json_response({"servers": rows} | (next_link("servers", servers[-1].id, call) if has_more and servers else {}))


async def _show_server(backend: Backend, call: Call, version: Version) -> Response:
    server = fetch(backend.view, call.caller, Server, call.id)
    return json_response({"server": server_document(backend.view, server, call, version)})


async def _update_server(backend: Backend, call: Call, version: Version) -> Response:
    asked = read(await call.member("server"), ServerUpdate, "server")
    given: dict[str, Any] = {} if asked.name is None else {"name": asked.name}
    if asked.description is not msgspec.UNSET:
        given["description"] = asked.description or ""
    changed = await backend.store.write(lambda view: update_server(view, call.caller, call.id, given, backend.cloud))
    return json_response({"server": server_document(backend.view, changed, call, version)})


async def _delete_server(backend: Backend, call: Call, version: Version) -> Response:
    await backend.store.write(lambda view: delete_server(view, call.caller, call.id, backend.cloud))
    return no_content()


async def _act(backend: Backend, call: Call, version: Version) -> Response:
    fetch(backend.view, call.caller, Server, call.id)
    body = await call.json()
    name = next(iter(body), "") if isinstance(body, dict) else ""
    raise Invalid(f"There is no such action: {name}. Of a running server, interfaces are attached and detached (os-interface).")


async def _list_interfaces(backend: Backend, call: Call, version: Version) -> Response:
    server = fetch(backend.view, call.caller, Server, call.id)
    return json_response({"interfaceAttachments": [interface_document(port) for port in server_ports(backend.view, server)]})


async def _attach_interface(backend: Backend, call: Call, version: Version) -> Response:
    nic = read_attachment(await call.member("interfaceAttachment"))
    port: Port = await backend.store.write(lambda view: attach_interface(view, call.caller, call.id, nic, backend.cloud))
    return json_response({"interfaceAttachment": interface_document(port)})


async def _detach_interface(backend: Backend, call: Call, version: Version) -> Response:
    await backend.store.write(lambda view: detach_interface(view, call.caller, call.id, call.ids[1], backend.cloud))
    return Response(status_code=202)


async def _show_interface(backend: Backend, call: Call, version: Version) -> Response:
    server = fetch(backend.view, call.caller, Server, call.id)
    for port in server_ports(backend.view, server):
        if port.id == call.ids[1]:
            return json_response({"interfaceAttachment": interface_document(port)})
    raise NotFound(f"Port {call.ids[1]} is not attached to server {server.id}.")


# -- flavors


async def _list_flavors(backend: Backend, call: Call, version: Version) -> Response:
    query = dict(call.query)
    is_shown = query.get("is_public", "True").lower() in ("true", "1", "none", "")  # all flavors are public
    least = [(key, query[key]) for key in ("minRam", "minDisk") if key in query]
    if any(not value.isdecimal() for _, value in least):
        raise Invalid(f"Invalid minimum: {least} is not a number of 0 or more.")
    minima = {key: int(value) for key, value in least}
    found = [f for f in FLAVORS if is_shown and f.ram_mib >= minima.get("minRam", 0) and f.disk_gib >= minima.get("minDisk", 0)]
    page, has_more = cut_page(found, lambda flavor: flavor.id, call)
    document = flavor_document if call.request.url.path.endswith("/detail") else brief_flavor
    rows = [document(flavor, call, version) for flavor in page]
    return json_response({"flavors": rows} | (next_link("flavors", page[-1].id, call) if has_more and page else {}))


async def _show_flavor(backend: Backend, call: Call, version: Version) -> Response:
    flavor = find_flavor(call.id)
    if flavor is None or flavor.id != call.id:  # a name is looked up in the list
        raise NotFound(f"Flavor {call.id} could not be found.")
    return json_response({"flavor": flavor_document(flavor, call, version)})


# -- what clients ask besides

_UNLIMITED = ("cores", "instances", "key_pairs", "metadata_items", "ram", "server_group_members", "server_groups")
_UNTIL_2_35 = ("fixed_ips", "floating_ips", "security_group_rules", "security_groups")
_UNTIL_2_56 = ("injected_file_content_bytes", "injected_file_path_bytes", "injected_files")


async def _show_quota(backend: Backend, call: Call, version: Version) -> Response:
    """Instances are bounded by the network's quota of ports; -1 is unlimited."""
    if not call.caller.is_admin and call.id != call.caller.project_id:
        raise Forbidden("Policy doesn't allow os_compute_api:os-quota-sets:show to be performed.")
    names = _UNLIMITED + (_UNTIL_2_35 if version < (2, 36) else ()) + (_UNTIL_2_56 if version < (2, 57) else ())
    return json_response({"quota_set": {"id": call.id} | dict.fromkeys(sorted(names), -1)})


async def _show_limits(backend: Backend, call: Call, version: Version) -> Response:
    flavors = [find_flavor(server.flavor_id) for server in visible_servers(backend.view, call.caller)]
    used = {
        "totalInstancesUsed": len(flavors),
        "totalCoresUsed": sum(flavor.vcpus for flavor in flavors if flavor is not None),
        "totalRAMUsed": sum(flavor.ram_mib for flavor in flavors if flavor is not None),
        "totalServerGroupsUsed": 0,
    }
    limits = dict.fromkeys(("maxTotalInstances", "maxTotalCores", "maxTotalRAMSize", "maxTotalKeypairs", "maxServerMeta"), -1)
    return json_response({"limits": {"rate": [], "absolute": limits | used}})


async def _list_zones(backend: Backend, call: Call, version: Version) -> Response:
    is_available = any(agent.alive and agent.admin_state_up for agent in backend.view.all(Agent))
    return json_response({"availabilityZoneInfo": [_zone(is_available, None)]})


async def _list_zones_with_hosts(backend: Backend, call: Call, version: Version) -> Response:
    if not call.caller.is_admin:
        raise Forbidden("Policy doesn't allow os_compute_api:os-availability-zone:detail to be performed.")
    hosts = {
        agent.host: {"nova-compute": {"available": agent.alive, "active": agent.admin_state_up, "updated_at": agent.heartbeat_timestamp}}
        for agent in backend.view.all(Agent)
    }
    return json_response({"availabilityZoneInfo": [_zone(bool(hosts), hosts)]})


def _zone(is_available: bool, hosts: Row | None) -> Row:  # noqa: FBT001
    return {"zoneName": AVAILABILITY_ZONE, "zoneState": {"available": is_available}, "hosts": hosts}


async def _list_hypervisors(backend: Backend, call: Call, version: Version) -> Response:
    """The hosts that may boot instances; numbered until microversion 2.53 named them by UUIDs.

    https://docs.openstack.org/api-ref/compute/#list-hypervisors
    """
    if not call.caller.is_admin:
        raise Forbidden("Policy doesn't allow os_compute_api:os-hypervisors:list to be performed.")
    hosts = sorted(
        (agent for agent in backend.view.all(Agent) if agent.configurations.get("instance_drivers")), key=lambda agent: agent.host
    )
    rows = [
        {
            "id": agent.id if version >= (2, 53) else number,
            "hypervisor_hostname": agent.host,
            "state": "up" if agent.alive else "down",
            "status": "enabled" if agent.admin_state_up else "disabled",
        }
        for number, agent in enumerate(hosts, start=1)
    ]
    return json_response({"hypervisors": rows})
