"""The catalog of services: URLs as this client reaches this server.

https://docs.openstack.org/api-ref/identity/v3/#service-catalog-and-endpoints
"""

import uuid
from typing import Any, NamedTuple

from naru.api.http import Call

REGION = "RegionOne"
_INTERFACES = ("public", "internal", "admin")

Row = dict[str, Any]


class Service(NamedTuple):
    """A row of the catalog: what clients call the service, and where it is on this server."""

    type: str
    name: str
    path: str

    @property
    def id(self) -> str:
        return uuid.uuid5(uuid.NAMESPACE_URL, f"naru:{self.type}").hex


SERVICES = (
    Service("identity", "keystone", "/identity"),
    Service("network", "neutron", ""),
    Service("compute", "nova", "/compute/v2.1"),
    Service("image", "glance", "/image"),
)


def catalog(call: Call) -> list[Row]:
    rows = endpoints(call)
    keys = ("id", "interface", "region", "region_id", "url")
    return [
        {
            "type": service.type,
            "name": service.name,
            "id": service.id,
            "endpoints": [{key: row[key] for key in keys} for row in rows if row["service_id"] == service.id],
        }
        for service in SERVICES
    ]


def endpoints(call: Call) -> list[Row]:
    return [
        {
            "id": uuid.uuid5(uuid.UUID(service.id), interface).hex,
            "interface": interface,
            "region": REGION,
            "region_id": REGION,
            "service_id": service.id,
            "url": f"{call.base_url}{service.path}",
            "enabled": True,
        }
        for service in SERVICES
        for interface in _INTERFACES
    ]
