"""The resources of the small compute service (Nova's words), for machines without Nova."""

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta, field

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


IMAGES = (
    Image("6e617275-0000-4000-8000-000000000001", "netns", "netns"),
    Image("6e617275-0000-4000-8000-000000000002", "qemu", "qemu"),
)


def find_image(id_or_name: str) -> Image | None:
    return next((image for image in IMAGES if id_or_name in (image.id, image.name)), None)


def find_flavor(id_or_name: str) -> Flavor | None:
    return next((flavor for flavor in FLAVORS if id_or_name in (flavor.id, flavor.name)), None)


class Fault(msgspec.Struct, frozen=True):
    code: int
    message: str
    created: str


MOST_KEY_CHARACTERS = 65535


class Server(Resource, frozen=True, kw_only=True):
    """An instance. https://docs.openstack.org/api-ref/compute/#servers-servers

    `pick` says why its network was chosen; empty where the request named the network. `public_key` is that of `key_name` when it was made.
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
    interfaces: Annotated[tuple[str, ...], hidden()] = ()  # port ids: eth0, eth1, …; "" where one was detached
    created_ports: Annotated[tuple[str, ...], hidden()] = ()  # those made for it, and deleted with it
    launched_at: Annotated[str | None, read_only()] = None
    fault: Annotated[Fault | None, read_only()] = None
    addresses: Annotated[dict[str, str], hidden()] = field(default_factory=dict)  # device -> leased address/prefix
    key_name: Annotated[str, read_only()] = ""
    public_key: Annotated[str, hidden()] = ""
    user_data: Annotated[str, hidden()] = ""  # base64

    indexes: ClassVar[Mapping[str, Keys]] = {
        "project_id": lambda server: (server.project_id,),
        "name": lambda server: (server.name,),
        "host": lambda server: (server.host,),
    }

    @property
    def hostname(self) -> str:
        """Its name as far as one label of a host's name can say it (RFC 1123), else one made of its id."""
        said = re.sub(r"[^a-z0-9-]", "", re.sub(r"[ _.]", "-", self.name.lower()))[:63].strip("-")
        return said or f"server-{self.id}"


class KeyPair(Resource, frozen=True, kw_only=True):
    """The public half of a key for SSH, a user's own. https://docs.openstack.org/api-ref/compute/#keypairs-keypairs"""

    kind: ClassVar[str] = "KeyPair"
    singular: ClassVar[str] = "keypair"
    plural: ClassVar[str] = "keypairs"

    name: Annotated[str, at_create(text(255), required=True)]
    user_id: Annotated[str, read_only()] = ""
    public_key: Annotated[str, at_create(text(MOST_KEY_CHARACTERS), required=True)] = ""
    fingerprint: Annotated[str, read_only()] = ""

    indexes: ClassVar[Mapping[str, Keys]] = {"user_id": lambda pair: (pair.user_id,)}

    def claims(self) -> tuple[str, ...]:
        return (f"keypair:{self.user_id}/{self.name}",)


# -- what a request says: https://docs.openstack.org/api-ref/compute/#create-server

Text = Annotated[str, Meta(max_length=255)]
Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\A(?! )[^\x00-\x1f\x7f]+(?<! )\Z")]  # it becomes a host's name
Key = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\A[a-zA-Z0-9-_:. ]+\Z")]
KeyPairName = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\A(?! )[a-zA-Z0-9_ -]+(?<! )\Z")]
Tag = Annotated[str, Meta(min_length=1, max_length=60, pattern=r"\A[^,/]*\Z")]


class NicAsk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of `networks`: a network by uuid, or a port."""

    uuid: str | None = None
    port: str | None = None
    fixed_ip: str | None = None
    tag: str | None = None


class FixedIpAsk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ip_address: str


class AttachAsk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An interface for a running server: https://docs.openstack.org/api-ref/compute/#create-interface. Empty: pick a network."""

    net_id: str | None = None
    port_id: str | None = None
    fixed_ips: Annotated[tuple[FixedIpAsk, ...], Meta(max_length=1)] = ()
    tag: Tag | None = None


class BlockDevice(msgspec.Struct, frozen=True):
    source_type: str = ""
    destination_type: str = ""
    boot_index: int | None = None


class SecurityGroupName(msgspec.Struct, frozen=True):
    name: str


class ServerCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What Nova takes and an instance here can have; what it cannot have is in REFUSED."""

    name: Name
    flavor: str | int = field(name="flavorRef")
    image: str = field(name="imageRef", default="")
    networks: tuple[NicAsk, ...] | Literal["auto", "none"] | None = None
    min_count: Annotated[int, Meta(ge=1)] = 1
    max_count: Annotated[int, Meta(ge=1)] | None = None
    metadata: dict[Key, Text] = {}
    description: Text | None = None
    tags: Annotated[tuple[Tag, ...], Meta(max_length=50)] = ()
    availability_zone: Text | None = None
    security_groups: tuple[SecurityGroupName, ...] = ()
    admin_password: Text | None = field(name="adminPass", default=None)
    disk_config: Literal["AUTO", "MANUAL"] = field(name="OS-DCF:diskConfig", default="MANUAL")
    block_devices: tuple[BlockDevice, ...] = field(name="block_device_mapping_v2", default=())
    config_drive: bool | str | None = None
    key_name: Text | None = None
    user_data: Annotated[str, Meta(max_length=65535)] | None = None


REFUSED: Mapping[str, str] = {
    "personality": "an instance here takes no files",
    "block_device_mapping": "there are no volumes",
    "trusted_image_certificates": "images are not signed",
}


class KeyPairCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """https://docs.openstack.org/api-ref/compute/#import-or-create-keypair"""

    name: KeyPairName
    type: Literal["ssh", "x509"] = "ssh"  # from microversion 2.2 on
    public_key: Annotated[str, Meta(max_length=MOST_KEY_CHARACTERS)] | None = None
    user_id: str | None = None  # from 2.10 on


class ServerUpdate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Name | None = None
    description: Text | msgspec.UnsetType | None = msgspec.UNSET
