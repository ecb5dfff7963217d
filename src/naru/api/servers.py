"""Servers on the wire: what a request says, and how a server looks at each microversion.

https://docs.openstack.org/api-ref/compute/#servers-servers
"""

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import zip_longest
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec

from naru.api.http import Call
from naru.model.attributes import ip_address
from naru.model.compute import REFUSED, AttachAsk, Flavor, NicAsk, Server, ServerCreate, find_flavor
from naru.model.devices import instance_netns
from naru.model.errors import Invalid
from naru.model.resources import Network, Port
from naru.model.security import SecurityGroup
from naru.model.view import View
from naru.service.binding import agent_of
from naru.service.instances import AVAILABILITY_ZONE, ServerRequest, WantedNic, server_ports

Version = tuple[int, int]
Row = dict[str, Any]
T = TypeVar("T")

MOST_LISTED = 1000  # on one page, as Nova's max_limit
PICK_KEY = "naru:network_pick"  # in the metadata: why this network

# status -> OS-EXT-STS: task_state, vm_state, power_state (0: none, 1: running)
_STATES: Mapping[str, tuple[str | None, str, int]] = {
    "BUILD": ("spawning", "building", 0),
    "ACTIVE": (None, "active", 1),
    "ERROR": (None, "error", 0),
}

# -- requests


def read(body: Row, kind: type[T], name: str) -> T:
    """`body` as `kind`. Raises Invalid saying what is wrong where. Numbers may be sent as texts, as Nova takes them."""
    try:
        return msgspec.convert(body, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(f"Invalid input for {name}: {str(error).replace('`$', f'`{name}')}.") from None


def read_create(body: Row) -> tuple[ServerRequest, int, int]:
    """-> the request, and how many servers at least and at most."""
    for key, why in REFUSED.items():
        if body.get(key):
            raise Invalid(f"Invalid {key} provided: {why}.")
    asked = read({key: value for key, value in body.items() if key not in REFUSED}, ServerCreate, "server")
    if any((device.source_type, device.destination_type, device.boot_index) != ("image", "local", 0) for device in asked.block_devices):
        raise Invalid("Invalid block_device_mapping_v2: there are no volumes; the one device is the image at boot_index 0.")
    if str(asked.config_drive).lower() in ("true", "1"):
        raise Invalid("Invalid config_drive: an instance here has no configuration drive.")
    _check_base64(asked.user_data or "")
    request = ServerRequest(
        name=asked.name,
        flavor_id=str(asked.flavor),
        image_id=asked.image,
        description=asked.description or "",
        nics=_nics(asked),
        metadata=asked.metadata,
        tags=tuple(dict.fromkeys(asked.tags)),
        availability_zone=asked.availability_zone or "",
        security_groups=tuple(group.name for group in asked.security_groups),
        key_name=asked.key_name or "",
        user_data=asked.user_data or "",
    )
    return request, asked.min_count, asked.max_count or asked.min_count


def _check_base64(user_data: str) -> None:
    try:
        base64.b64decode("".join(user_data.split()), validate=True)
    except ValueError:
        raise Invalid("Invalid input for server.user_data: it is not base64.") from None


def _nics(asked: ServerCreate) -> tuple[WantedNic, ...] | None:
    """None: pick for me. Nova's `[]` means "not stated", as absence does."""
    if asked.networks == "none":
        return ()
    if not asked.networks or isinstance(asked.networks, str):
        return None
    return tuple(_nic(nic, f"server.networks[{number}]") for number, nic in enumerate(asked.networks))


def _nic(asked: NicAsk, name: str) -> WantedNic:
    if asked.uuid is None and asked.port is None:
        raise Invalid(f"Invalid input for {name}: it names neither a uuid (of a network) nor a port.")
    if asked.fixed_ip is None:
        return WantedNic(None if asked.port else asked.uuid, asked.port, None, asked.tag)
    if asked.port is not None:
        raise Invalid(f"Specified Fixed IP '{asked.fixed_ip}' cannot be used with port '{asked.port}': the port has its own.")
    try:
        return WantedNic(asked.uuid, None, ip_address(asked.fixed_ip), asked.tag)
    except ValueError as error:
        raise Invalid(f"Invalid input for {name}.fixed_ip: {error}.") from None


def read_attachment(body: Row) -> WantedNic | None:
    """None: pick a network for me."""
    asked = read(body, AttachAsk, "interfaceAttachment")
    if asked.net_id is not None and asked.port_id is not None:
        raise Invalid("Invalid input for interfaceAttachment: it names a net_id and a port_id; a port is on a network already.")
    if asked.fixed_ips and asked.net_id is None:
        raise Invalid("Invalid input for interfaceAttachment: fixed_ips needs the net_id of the network that the address is of.")
    if asked.net_id is None and asked.port_id is None:
        return None
    address = asked.fixed_ips[0].ip_address if asked.fixed_ips else None
    return _nic(NicAsk(asked.net_id, asked.port_id, address, asked.tag), "interfaceAttachment")


# -- lists


def is_true(value: str) -> bool:
    """A flag in a query: `?all_tenants` alone counts."""
    return value.lower() in ("", "1", "t", "true", "on", "y", "yes")


def _matches(pattern: str, value: str) -> bool:
    """Nova takes a regular expression. Here its anchors count and the rest is plain text, so that no pattern can stall the server."""
    text = re.sub(r"\\(.)", r"\1", pattern.removeprefix("^").removesuffix("$"))
    if pattern.startswith("^"):
        return value == text if pattern.endswith("$") else value.startswith(text)
    return value.endswith(text) if pattern.endswith("$") else text in value


def _has_address(view: View, server: Server, pattern: str) -> bool:
    return any(_matches(pattern, ip.ip_address) for port in server_ports(view, server) for ip in port.fixed_ips)


def _split(tags: str) -> set[str]:
    return set(tags.split(","))


# Nova ignores a filter that it does not know, and those of ADMIN_FILTERS where no administrator asks; so do we.
Test = Callable[[View, Server, str], bool]
FILTERS: dict[str, Test] = {
    "name": lambda _view, server, value: _matches(value, server.name),
    "status": lambda _view, server, value: server.status == value.upper(),
    "image": lambda _view, server, value: server.image_id == value.rpartition("/")[2],
    "flavor": lambda _view, server, value: server.flavor_id == value.rpartition("/")[2],
    "ip": _has_address,
    "ip6": _has_address,
    "uuid": lambda _view, server, value: server.id == value,
    "tags": lambda _view, server, value: _split(value) <= set(server.tags),
    "tags-any": lambda _view, server, value: bool(_split(value) & set(server.tags)),
    "not-tags": lambda _view, server, value: not _split(value) <= set(server.tags),
    "not-tags-any": lambda _view, server, value: not _split(value) & set(server.tags),
}
ADMIN_FILTERS: dict[str, Test] = {
    "host": lambda _view, server, value: server.host == value,
    "user_id": lambda _view, server, value: server.user_id == value,
    "project_id": lambda _view, server, value: server.project_id == value,
    "tenant_id": lambda _view, server, value: server.project_id == value,
    "deleted": lambda _view, _server, value: not is_true(value),  # what is deleted is gone
}
SORT_KEYS = {
    "created_at": "created_at",
    "updated_at": "updated_at",
    "launched_at": "launched_at",
    "display_name": "name",
    "display_description": "description",
    "host": "host",
    "image_ref": "image_id",
    "project_id": "project_id",
    "user_id": "user_id",
    "uuid": "id",
    "vm_state": "status",
}


def select_servers(view: View, servers: Iterable[Server], call: Call) -> tuple[list[Server], bool]:
    """One page, newest first unless the query says otherwise, and whether there is more. Raises Invalid for a bad limit, marker or key."""
    known = FILTERS | ADMIN_FILTERS if call.caller.is_admin else FILTERS
    asked = [(known[key], value) for key, value in call.query if key in known]
    found = [server for server in servers if all(test(view, server, value) for test, value in asked)]
    keys = [value for key, value in call.query if key == "sort_key"]
    directions = [value for key, value in call.query if key == "sort_dir"]
    order = list(zip_longest(keys, directions[: len(keys)], fillvalue="desc")) or [("created_at", "desc"), ("uuid", "desc")]
    for key, direction in reversed(order):
        if key not in SORT_KEYS or direction not in ("asc", "desc"):
            raise Invalid(f"Invalid sort '{key}' '{direction}': the keys are {', '.join(SORT_KEYS)}, the directions asc and desc.")
        found.sort(key=lambda server: getattr(server, SORT_KEYS[key]) or "", reverse=direction == "desc")
    return cut_page(found, lambda server: server.id, call)


def cut_page(found: list[T], id_of: Callable[[T], str], call: Call) -> tuple[list[T], bool]:
    """What `limit` and `marker` leave, and whether there is more behind it."""
    query = dict(call.query)
    limit, marker = query.get("limit", str(MOST_LISTED)), query.get("marker")
    if not limit.isdecimal():
        raise Invalid(f"Invalid input for query parameters limit: '{limit}' is not a number of 0 or more.")
    if marker is not None:
        place = next((place for place, item in enumerate(found) if id_of(item) == marker), None)
        if place is None:
            raise Invalid(f"marker [{marker}] not found")
        found = found[place + 1 :]
    size = min(int(limit), MOST_LISTED)
    return found[:size], len(found) > size


def next_link(name: str, last_id: str, call: Call) -> Row:
    query = urlencode([*((key, value) for key, value in call.query if key != "marker"), ("marker", last_id)])
    return {f"{name}_links": [{"rel": "next", "href": f"{call.base_url}{call.request.url.path}?{query}"}]}


# -- documents


def links(call: Call, kind: str, id: str) -> list[Row]:
    base = f"{call.base_url}/compute"
    return [{"rel": "self", "href": f"{base}/v2.1/{kind}/{id}"}, {"rel": "bookmark", "href": f"{base}/{kind}/{id}"}]


def brief_server(server: Server, call: Call) -> Row:
    return {"id": server.id, "name": server.name, "links": links(call, "servers", server.id)}


def server_document(view: View, server: Server, call: Call, version: Version) -> Row:
    """All of a server that the caller may see, as Nova shows it at this microversion."""
    task_state, vm_state, power_state = _STATES[server.status]
    row = brief_server(server, call) | {
        "tenant_id": server.project_id,
        "user_id": server.user_id,
        "status": server.status,
        "progress": 0,
        "created": server.created_at,
        "updated": server.updated_at,
        "image": {"id": server.image_id, "links": links(call, "images", server.image_id)[1:]},
        "flavor": _flavor(server, call, version),
        "metadata": server.metadata | ({PICK_KEY: server.pick} if server.pick else {}),
        "addresses": _addresses(view, server),
        "accessIPv4": "",
        "accessIPv6": "",
        "hostId": hashlib.sha224(f"{server.project_id}{server.host}".encode()).hexdigest() if server.host else "",
        "key_name": server.key_name or None,
        "config_drive": "",
        "OS-DCF:diskConfig": "MANUAL",
        "OS-EXT-AZ:availability_zone": AVAILABILITY_ZONE,
        "OS-EXT-STS:task_state": task_state,
        "OS-EXT-STS:vm_state": vm_state,
        "OS-EXT-STS:power_state": power_state,
        "OS-SRV-USG:launched_at": server.launched_at,
        "OS-SRV-USG:terminated_at": None,
        "os-extended-volumes:volumes_attached": [],
    }
    if groups := group_names(view, server):
        row["security_groups"] = [{"name": name} for name in groups]
    if server.fault is not None:
        row["fault"] = server.fault
    if call.caller.is_admin:
        row |= _for_administrators(view, server, version)
    since: dict[Version, Row] = {
        (2, 9): {"locked": False},
        (2, 19): {"description": server.description or None},
        (2, 26): {"tags": server.tags},
    }
    for first, members in since.items():
        if version >= first:
            row |= members
    return row


def _for_administrators(view: View, server: Server, version: Version) -> Row:
    row: Row = {
        "OS-EXT-SRV-ATTR:host": server.host,
        "OS-EXT-SRV-ATTR:hypervisor_hostname": server.host,
        "OS-EXT-SRV-ATTR:instance_name": instance_netns(server.id),
    }
    if version >= (2, 3):
        row |= {
            "OS-EXT-SRV-ATTR:hostname": server.hostname,
            "OS-EXT-SRV-ATTR:launch_index": 0,
            "OS-EXT-SRV-ATTR:reservation_id": "",
            "OS-EXT-SRV-ATTR:root_device_name": None,
            "OS-EXT-SRV-ATTR:kernel_id": "",
            "OS-EXT-SRV-ATTR:ramdisk_id": "",
            "OS-EXT-SRV-ATTR:user_data": server.user_data or None,
        }
    if version >= (2, 16):
        agent = agent_of(view, server.host)
        row["host_status"] = "UP" if agent is not None and agent.alive else "UNKNOWN"
    return row


def group_names(view: View, server: Server) -> list[str]:
    """Of the security groups that its ports have."""
    groups = (view.get(SecurityGroup, id) for port in server_ports(view, server) for id in port.security_groups)
    return list(dict.fromkeys(group.name for group in groups if group is not None))


def _addresses(view: View, server: Server) -> dict[str, list[Row]]:
    """network name -> its addresses, in the order of the interfaces."""
    shown: dict[str, list[Row]] = {}
    for port in server_ports(view, server):
        network = view.get(Network, port.network_id)
        rows = shown.setdefault(network.name if network is not None else port.network_id, [])
        for ip in port.fixed_ips:
            mac = {"OS-EXT-IPS:type": "fixed", "OS-EXT-IPS-MAC:mac_addr": port.mac_address}
            rows.append({"addr": ip.ip_address, "version": 6 if ":" in ip.ip_address else 4} | mac)
    return shown


def _flavor(server: Server, call: Call, version: Version) -> Row:
    """Embedded from 2.47 on, because a flavor may change after its servers were made."""
    flavor = find_flavor(server.flavor_id)
    if version < (2, 47) or flavor is None:
        return {"id": server.flavor_id, "links": links(call, "flavors", server.flavor_id)[1:]}
    size = {"vcpus": flavor.vcpus, "ram": flavor.ram_mib, "disk": flavor.disk_gib, "ephemeral": 0, "swap": 0}
    return size | {"original_name": flavor.name, "extra_specs": {}}


def flavor_document(flavor: Flavor, call: Call, version: Version) -> Row:
    row = brief_flavor(flavor, call, version) | {
        "vcpus": flavor.vcpus,
        "ram": flavor.ram_mib,
        "disk": flavor.disk_gib,
        "swap": "",
        "rxtx_factor": 1.0,
        "OS-FLV-EXT-DATA:ephemeral": 0,
        "OS-FLV-DISABLED:disabled": False,
        "os-flavor-access:is_public": True,
    }
    return row | ({"extra_specs": {}} if version >= (2, 61) else {})


def brief_flavor(flavor: Flavor, call: Call, version: Version) -> Row:
    row = {"id": flavor.id, "name": flavor.name, "links": links(call, "flavors", flavor.id)}
    return row | ({"description": None} if version >= (2, 55) else {})


def interface_document(port: Port) -> Row:
    return {
        "port_id": port.id,
        "net_id": port.network_id,
        "mac_addr": port.mac_address,
        "port_state": port.status,
        "fixed_ips": port.fixed_ips,
    }
