"""`naru db`: the schema and the consistency of the database."""

import sys
from pathlib import Path

import click

_config = click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="naru.toml to read.")
_state_dir = click.option("--state-dir", metavar="DIR", help="Where the database is.  [default: /var/lib/naru]")


@click.group("db")
def command() -> None:
    """Upgrade the database's schema, or check what it holds."""


@command.command("upgrade")
@_config
@_state_dir
def upgrade(config: Path | None, state_dir: str | None) -> None:
    """Bring the schema to this version's. A server does so itself when it starts."""
    from naru.bootstrap import upgrade_database
    from naru.settings import load

    done = upgrade_database(load(config, state_dir=state_dir))
    click.echo("The schema was upgraded." if done else "The schema was up to date.")


@command.command("check")
@_config
@_state_dir
def check(config: Path | None, state_dir: str | None) -> None:
    """Say whether the database is right in itself; exit 1 if not. It may be in use meanwhile."""
    from naru.bootstrap import find_faults
    from naru.settings import load

    count, faults = find_faults(load(config, state_dir=state_dir))
    for fault in faults:
        click.echo(fault, err=True)
    if faults:
        sys.exit(1)
    click.echo(f"OK: {count} resources; every claim is held, no address was given twice, the change log is complete.")
