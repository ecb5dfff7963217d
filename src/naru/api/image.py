"""A small Glance v2: one image for each instance driver. https://docs.openstack.org/api-ref/image/v2/"""

from functools import partial
from typing import Any

from starlette.responses import Response

from naru.api.http import Call, Endpoint, Route, json_response
from naru.model.compute import IMAGES, Image, find_image
from naru.model.errors import NotFound

Row = dict[str, Any]


def image_routes() -> list[Route]:
    return [
        Route("GET", "/image", partial(_show_versions, 300), is_public=True),
        Route("GET", "/image/versions", partial(_show_versions, 200), is_public=True),
        Route("GET", "/image/v2", partial(_show_versions, 300), is_public=True),
        Route("GET", "/image/v2/images", _list_images),
        Route("GET", "/image/v2/images/{id}", _show_image),
        Route("GET", "/image/v2/schemas/image", _fixed(_SCHEMA)),
        Route("GET", "/image/v2/schemas/images", _fixed({"name": "images", "properties": {"images": {"type": "array", "items": _SCHEMA}}})),
    ]


async def _show_versions(status: int, call: Call) -> Response:
    link = {"rel": "self", "href": f"{call.base_url}/image/v2/"}
    return json_response({"versions": [{"id": "v2.9", "status": "CURRENT", "links": [link]}]}, status)


async def _list_images(call: Call) -> Response:
    """Every attribute is a filter, `in:a,b` names alternatives; what is no attribute is ignored."""
    rows = [_document(image) for image in IMAGES]
    for key, value in call.query:
        wanted = value.removeprefix("in:").split(",") if value.startswith("in:") else [value]
        rows = [row for row in rows if key not in row or str(row[key]) in wanted]
    marker = dict(call.query).get("marker")
    if marker is not None:  # all fit on one page: there is nothing behind it
        rows = []
    return json_response({"images": rows, "first": "/v2/images", "schema": "/v2/schemas/images"})


async def _show_image(call: Call) -> Response:
    image = find_image(call.id)
    if image is None:
        raise NotFound(f"Failed to find image {call.id}")
    return json_response(_document(image))


def _fixed(body: Row) -> Endpoint:
    async def respond(call: Call) -> Response:
        return json_response(body)

    return respond


def _document(image: Image) -> Row:
    return {
        "id": image.id,
        "name": image.name,
        "status": "active",
        "visibility": "public",
        "protected": True,
        "os_hidden": False,
        "owner": None,
        "container_format": "bare",
        "disk_format": "raw",
        "min_disk": 0,
        "min_ram": 0,
        "size": 0,
        "virtual_size": None,
        "checksum": None,
        "tags": [],
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
        "self": f"/v2/images/{image.id}",
        "file": f"/v2/images/{image.id}/file",
        "schema": "/v2/schemas/image",
    }


_SCHEMA: Row = {"name": "image", "properties": {key: {} for key in _document(IMAGES[0])}, "additionalProperties": {"type": "string"}}
