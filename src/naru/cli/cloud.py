"""The cloud that a command asks: with whose credentials, and what becomes of its refusals."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import httpx


def cloud_options(command: Callable[..., None]) -> Callable[..., None]:
    by_file = click.option(
        "--clouds",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="clouds.yaml that a server wrote.  [default: $OS_AUTH_URL and its like, else the one in the state directory]",
    )
    by_name = click.option(
        "--os-cloud", default=lambda: os.environ.get("OS_CLOUD", "naru-admin"), help="Who asks.  [default: $OS_CLOUD, or naru-admin]"
    )
    return by_file(by_name(command))


@contextmanager
def plain_refusals() -> Iterator[None]:
    """What the server says no to, and that there is none, is one line."""
    import httpx

    from naru.lab import LabError

    try:
        yield
    except LabError as error:
        raise click.ClickException(str(error)) from error
    except httpx.HTTPError as error:
        raise click.ClickException(f"the server does not answer: {error}") from error


def connect(clouds: Path | None, cloud: str) -> "Mapping[str, httpx.Client]":
    from naru.lab.cloud import log_in, read_cloud

    if clouds is None and "OS_AUTH_URL" in os.environ:
        return log_in(
            {
                "auth_url": os.environ["OS_AUTH_URL"],
                **{key: os.environ.get(f"OS_{key.upper()}", "") for key in ("username", "password", "project_name")},
                **{key: os.environ.get(f"OS_{key.upper()}", "Default") for key in ("user_domain_name", "project_domain_name")},
            }
        )
    from naru.settings import load

    path = clouds or Path(load().state_dir) / "clouds.yaml"
    if not path.exists():
        raise click.UsageError(f"there is no {path}; name one with --clouds, or set OS_AUTH_URL and its like")
    return log_in(read_cloud(path, cloud))


def list_all(service: "httpx.Client", path: str, name: str) -> list[Mapping[str, Any]]:
    """Page by page, where the server cuts its lists."""
    rows: list[Mapping[str, Any]] = []
    while path:
        answer = service.get(path).json()
        rows += answer[name]
        path = next((link["href"] for link in answer.get(f"{name}_links", ()) if link["rel"] == "next"), "")
    return rows
