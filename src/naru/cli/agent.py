"""`naru agent`: the process of one host."""

from pathlib import Path

import click


@click.command("agent", short_help="Run the agent of one host.")
@click.option("--host", required=True, help="The name of this host, as the server knows it.")
@click.option("--server", required=True, metavar="URL", help="The server, for example http://controller:9696.")
@click.option(
    "--token-file",
    required=True,
    type=click.Path(path_type=Path),
    help="The server's agent token, or this host's from `naru host enrol`.",
    metavar="FILE",
)
@click.option("--config", type=click.Path(path_type=Path), help="naru.toml; every key has a default.", metavar="FILE")
@click.option("-v", "--verbose", is_flag=True, help="Log each action too.")
def command(host: str, server: str, token_file: Path, config: Path | None, *, verbose: bool) -> None:
    """Wire this host as the server wants it, until stopped. What is wired stays when the agent ends."""
    import asyncio

    from naru import settings
    from naru.agent.main import run_agent
    from naru.agent.start import StartError, check_host
    from naru.signals import stop_on_signal
    from naru.telemetry import configure_logging

    if not server.startswith(("http://", "https://")):
        raise click.BadParameter(f"{server!r} is not a URL; write http://HOST:PORT", param_hint="--server")
    chosen = settings.load(config)
    try:
        token = token_file.read_text().strip()
    except OSError as error:
        raise click.ClickException(f"cannot read the token from {token_file}: {error.strerror}") from error
    configure_logging(verbose=verbose)

    async def run() -> None:
        await run_agent(host, server, token, chosen, stop_on_signal())

    try:
        check_host(chosen.agent)
        asyncio.run(run())
    except StartError as error:
        raise click.ClickException(str(error)) from error
