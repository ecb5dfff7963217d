"""Trunks: ports of several networks behind one port, told apart by a tag."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec

from naru.model.attributes import Tags, Unconvertible, at_create, boolean, integer, name_text, read_only, settable, shown, uuid_text
from naru.model.resources import Keys, Resource

SUB_PORT_OWNER = "trunk:subport"  # device_owner of a port behind a parent that is bound
SEGMENTATION_TYPES = ("vlan", "inherit")
_MEMBERS = {"port_id", "segmentation_type", "segmentation_id"}
_vlan_id = integer(1, 4094)  # IEEE 802.1Q


class SubPort(msgspec.Struct, frozen=True, gc=False):
    """`segmentation_id` 0: asked for, to be taken over from the port's network ("inherit")."""

    port_id: str
    segmentation_type: str
    segmentation_id: int = 0


def sub_port_list(value: Any) -> tuple[SubPort, ...]:
    """Each with its own port and tag."""
    if not isinstance(value, list):
        raise ValueError(f"Invalid data format for subports: {shown(value)} is not a list")
    found = tuple(_sub_port(item) for item in value)
    if len({one.port_id for one in found}) < len(found):
        raise ValueError(f"Non unique UUID for subport: {shown(value)}")
    tags = [one.segmentation_id for one in found if one.segmentation_type == "vlan"]
    if len(set(tags)) < len(tags):
        raise ValueError(f"a segmentation ID is not unique: {shown(value)}")
    return found


def _sub_port(value: Any) -> SubPort:
    port_id = port_id_of(value)
    if unknown := set(value) - _MEMBERS:
        raise ValueError(f"unexpected keys {sorted(unknown)} in {shown(value)}")
    kind, id = value.get("segmentation_type"), value.get("segmentation_id")
    if kind == "inherit":
        return SubPort(port_id, kind)
    if not kind or id is None:
        missing = "missing segmentation information. Must specify both segmentation_id and segmentation_type"
        raise ValueError(f"Invalid subport details {shown(value)}: {missing}")
    if kind not in SEGMENTATION_TYPES:
        raise Unconvertible(f"Invalid segmentation type {shown(kind)}: it is one of {list(SEGMENTATION_TYPES)}")
    try:
        return SubPort(port_id, kind, _vlan_id(id))
    except ValueError as error:
        raise Unconvertible(f"Invalid segmentation ID: {error}") from None


def port_id_of(value: Any) -> str:
    """Of a sub-port as a request names it."""
    if not isinstance(value, dict):
        raise ValueError(f"Invalid data format for subport: {shown(value)} is not a dict")
    if "port_id" not in value:
        raise ValueError("A valid port UUID must be specified")
    return uuid_text(value["port_id"])


class Trunk(Resource, frozen=True, kw_only=True):
    """https://docs.openstack.org/api-ref/network/v2/#trunk-networking"""

    kind: ClassVar[str] = "Trunk"
    singular: ClassVar[str] = "trunk"
    plural: ClassVar[str] = "trunks"

    name: Annotated[str, settable(name_text(255))] = ""
    port_id: Annotated[str, at_create(uuid_text, required=True)]
    admin_state_up: Annotated[bool, settable(boolean)] = True
    status: Annotated[str, read_only()] = "DOWN"
    sub_ports: Annotated[tuple[SubPort, ...], at_create(sub_port_list, filter=False, sort=False)] = ()
    tags: Tags = ()

    indexes: ClassVar[Mapping[str, Keys]] = {
        "project_id": lambda trunk: (trunk.project_id,),
        "name": lambda trunk: (trunk.name,),
        "port_id": lambda trunk: (trunk.port_id,),
        "sub_port_id": lambda trunk: tuple(sub_port.port_id for sub_port in trunk.sub_ports),
    }

    def claims(self) -> tuple[str, ...]:
        """A port is in one trunk, as its parent or below it."""
        return tuple(f"trunk-port/{id}" for id in (self.port_id, *(sub_port.port_id for sub_port in self.sub_ports)))
