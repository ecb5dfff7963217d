"""`naru server`: the API, the store, the feed to the hosts."""

from pathlib import Path

import click


@click.command("server")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="naru.toml to read.")
@click.option("--bind", metavar="HOST:PORT", help="Where to listen.  [default: 127.0.0.1:9696]")
@click.option("--state-dir", metavar="DIR", help="Database, secrets and clouds.yaml.  [default: /var/lib/naru]")
def command(config: Path | None, bind: str | None, state_dir: str | None) -> None:
    """Run the server: the API, the store, the feed to the hosts.

    Agents connect with the token in DIR/agent-token; clients find their credentials in DIR/clouds.yaml.
    """
    from naru.bootstrap import run_server
    from naru.settings import load

    settings = load(config, bind=bind, state_dir=state_dir)
    run_server(
        settings,
        lambda: click.echo(f"naru is ready at {settings.scheme}://{settings.bind}; credentials are in {settings.state_dir}/clouds.yaml"),
    )
