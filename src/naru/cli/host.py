"""`naru host`: which hosts may speak to the server, each for itself."""

from pathlib import Path
from typing import Any

import click

_server = click.option("--server", default="http://127.0.0.1:9696", show_default=True, metavar="URL", help="The server.")
_state_dir = click.option("--state-dir", metavar="DIR", help="The server's, which has its agent token.  [default: /var/lib/naru]")
_cafile = click.option(
    "--cafile", type=click.Path(path_type=Path), metavar="FILE", help="Authorities to trust, PEM.  [default: the system's]"
)


@click.group("host")
def command() -> None:
    """Enrol hosts, each with a credential of its own, and revoke it. Run it where the server's state directory is."""


@command.command("enrol")
@click.argument("name")
@_server
@_state_dir
@_cafile
def enrol(name: str, server: str, state_dir: str | None, cafile: Path | None) -> None:
    """Print a one-time token with which the host NAME gets a credential of its own, within a day.

    Nothing else is printed, so it can go straight to the host's token file. The host's credential, if it has one, is good until then.
    """
    click.echo(_ask("POST", f"/{name}/invitation", server, state_dir, cafile)["token"])


@command.command("revoke")
@click.argument("name")
@_server
@_state_dir
@_cafile
def revoke(name: str, server: str, state_dir: str | None, cafile: Path | None) -> None:
    """Refuse the host NAME from now on. What is wired there stays; `naru host enrol` lets it in again."""
    _ask("DELETE", f"/{name}/credential", server, state_dir, cafile)
    click.echo(f"host {name} is refused from now on")


@command.command("list")
@_server
@_state_dir
@_cafile
def list_(server: str, state_dir: str | None, cafile: Path | None) -> None:
    """List the hosts that were enrolled. Others show the token that they share."""
    for host in _ask("GET", "", server, state_dir, cafile)["hosts"]:
        until = f" until {host['until']}" if host["until"] else ""
        click.echo(f"{host['host']}  {host['state']}{until}")


def _ask(method: str, path: str, server: str, state_dir: str | None, cafile: Path | None) -> Any:
    import ssl

    import httpx

    from naru.settings import load

    token_file = Path(load(None, state_dir=state_dir).state_dir) / "agent-token"
    try:
        token = token_file.read_text().strip()
        trusted = ssl.create_default_context(cafile=cafile) if server.startswith("https:") else False
    except OSError as error:
        raise click.ClickException(f"cannot read {error.filename or cafile}: {error.strerror}") from error
    try:
        headers = {"Authorization": f"Bearer {token}"}
        answer = httpx.request(method, f"{server.rstrip('/')}/agent/v1/hosts{path}", headers=headers, verify=trusted, timeout=30)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise click.ClickException(f"{server} does not answer: {error}") from error
    if answer.is_error:
        try:
            reason = answer.json()["NeutronError"]["message"]
        except (ValueError, KeyError):
            reason = answer.text[:200]
        raise click.ClickException(f"the server refused: {reason}")
    return answer.json() if answer.content else None
