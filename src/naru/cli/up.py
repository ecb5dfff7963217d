"""`naru up`: everything on this machine, in one process."""

from pathlib import Path

import click


@click.command("up")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="naru.toml to read.")
@click.option("--bind", metavar="HOST:PORT", help="Where to listen.  [default: 127.0.0.1:9696]")
@click.option(
    "--state-dir", metavar="DIR", help="Database, secrets and clouds.yaml.  [default: /var/lib/naru; below the home without root]"
)
@click.option("--no-dataplane", is_flag=True, help="The API alone: wires nothing, boots nothing, needs no root.")
def command(config: Path | None, bind: str | None, state_dir: str | None, *, no_dataplane: bool) -> None:
    """Run everything on this machine, in one process: server, identity, compute, and the agent of this host.

    Ends with Ctrl-C; what is wired stays, and the next start finds it right.
    """
    from naru.agent.start import StartError
    from naru.bootstrap import run_all
    from naru.settings import load

    settings = load(config, bind=bind, state_dir=state_dir)

    def announce() -> None:
        clouds = Path(settings.state_dir).absolute() / "clouds.yaml"
        click.echo(f"naru is ready at {settings.scheme}://{settings.bind}")
        click.echo(f"  export OS_CLIENT_CONFIG_FILE={clouds}")
        click.echo("  openstack --os-cloud naru-demo server create --image netns --flavor m1.tiny web1")

    try:
        run_all(settings, announce, dataplane=not no_dataplane)
    except StartError as error:
        raise click.ClickException(f"{error}; or run the API alone with --no-dataplane") from error
