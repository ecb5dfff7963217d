"""The resources of the small compute service (Nova's words), for machines without Nova."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import msgspec
from msgspec import field

from naru.model.attributes import at_create, hidden, read_only, settable, text
from naru.model.resources import Keys, Resource


class Flavor(msgspec.Struct, frozen=True):
    id: str
    name: str
    vcpus: int
    ram_mib: int
    disk_gib: int


FLAVORS = (
    Flavor("1", "m1.tiny", 1, 64, 1),
    Flavor("2", "m1.small", 1, 256, 1),
)


class Image(msgspec.Struct, frozen=True):
    """What an instance driver boots. `driver` is the instance driver; ids are fixed, so that scripts can rely on them."""

    id: str
    name: str
    driver: str


IMAGES = (Image("6e617275-0000-4000-8000-000000000001", "netns", "netns"),)


class Fault(msgspec.Struct, frozen=True):
    code: int
    message: str
    created: str


class Server(Resource, frozen=True, kw_only=True):
    """An instance. https://docs.openstack.org/api-ref/compute/#servers-servers

    `pick` says why its network was chosen; empty where the request named the network.
    """

    kind: ClassVar[str] = "Server"
    singular: ClassVar[str] = "server"
    plural: ClassVar[str] = "servers"

    name: Annotated[str, settable(text(255), required=True)]
    status: Annotated[str, read_only()] = "BUILD"  # BUILD, ACTIVE, ERROR
    user_id: Annotated[str, read_only()] = ""
    host: Annotated[str, read_only()] = ""
    flavor_id: Annotated[str, at_create(text(255), required=True)]
    image_id: Annotated[str, at_create(text(255), required=True)]
    metadata: Annotated[dict[str, str], read_only()] = field(default_factory=dict)
    tags: Annotated[tuple[str, ...], read_only()] = ()
    pick: Annotated[str, read_only()] = ""
    interfaces: Annotated[tuple[str, ...], hidden()] = ()  # port ids: eth0, eth1, …
    created_ports: Annotated[tuple[str, ...], hidden()] = ()  # those made for it, and deleted with it
    launched_at: Annotated[str | None, read_only()] = None
    fault: Annotated[Fault | None, read_only()] = None
    addresses: Annotated[dict[str, str], hidden()] = field(default_factory=dict)  # device -> leased address/prefix

    indexes: ClassVar[Mapping[str, Keys]] = {
        "project_id": lambda server: (server.project_id,),
        "name": lambda server: (server.name,),
        "host": lambda server: (server.host,),
    }
