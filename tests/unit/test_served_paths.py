"""The reference of identity, compute and image names what is served, and nothing else."""

import re
from pathlib import Path

from naru.api.backend import Backend
from naru.api.compute import NEWEST, OLDEST, compute_routes
from naru.api.identity import identity_routes
from naru.api.image import image_routes
from naru.store.store import utc_now
from planning import CLOUD, PlainCloud

PAGE = (Path(__file__).parents[2] / "docs/reference/identity-compute-image.md").read_text()


def test_every_path_is_in_the_reference_and_every_row_is_served():
    backend = Backend(PlainCloud(), CLOUD, utc_now)  # type: ignore[arg-type]
    routes = [*identity_routes(backend), *compute_routes(backend), *image_routes()]
    served = {f"{route.method} {route.pattern}" for route in routes}
    assert set(re.findall(r"^\| `([A-Z]+ [^`]+)` \|", PAGE, re.MULTILINE)) == served


def test_the_microversions_are_those_that_are_offered():
    assert f"Microversions {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}" in PAGE
