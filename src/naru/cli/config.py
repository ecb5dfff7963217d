"""`naru config`: settings, and where they come from."""

from pathlib import Path

import click


@click.group("config")
def command() -> None:
    """Make naru.toml from the files of Neutron."""


@command.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE…")
@click.option("--output", default="naru.toml", show_default=True, metavar="FILE", help="Where to write; - is standard output.")
def import_(files: tuple[Path, ...], output: str) -> None:
    """Write naru.toml with what Neutron's files say, and comments for what they say in vain.

    It reads neutron.conf, ml2_conf.ini, and the files of the Linux bridge, Open vSwitch, DHCP, L3 and metadata agents. A later file
    goes before an earlier one. Nothing of a file is dropped without a comment. A file that is there is not overwritten.
    """
    import os

    from naru.integrations.ml2 import import_settings

    text = import_settings(files)
    if output == "-":
        click.echo(text, nl=False)
        return
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # it may hold passwords
    except OSError as error:
        raise click.ClickException(f"cannot write {output}: {error.strerror}; choose another file with --output") from error
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    click.echo(f"wrote {output}; read the comments at its end")
