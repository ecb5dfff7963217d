"""`naru`: the table of commands.

A command is found by name here and imported only when it is run, so that `naru --help` and `naru COMMAND --help` answer
at once and an agent host needs nothing of the server. tests/unit/test_cli.py holds the budget of imports.
"""

import importlib
import sys
from typing import NamedTuple

import click

from naru import __version__


class Entry(NamedTuple):
    module: str  # exports `command`
    help: str  # one line, so that the list needs no import
    examples: tuple[str, ...]


COMMANDS = {
    "up": Entry(
        "naru.cli.up",
        "Run everything on this machine, in one process.",
        ("naru up --state-dir ./state", "naru up --no-dataplane          the API alone: needs no root"),
    ),
    "server": Entry(
        "naru.cli.server",
        "Run the server: the API, the store, the feed to the hosts.",
        ("naru server --bind 10.0.0.30:9696 --state-dir /var/lib/naru",),
    ),
    "agent": Entry(
        "naru.cli.agent",
        "Run the agent of one host: it wires what the server wants there.",
        ("naru agent --host compute01 --server http://10.0.0.30:9696 --token-file /etc/naru/agent-token",),
    ),
    "demo": Entry(
        "naru.cli.demo",
        "Boot instances in a private lab; say why each network was picked.",
        ("naru demo", "naru demo --json > outcome.json"),
    ),
    "lab": Entry(
        "naru.cli.lab",
        "Emulate several hosts on this machine.",
        ("naru lab up --detach", "naru lab exec compute01 -- ip -brief link", "naru lab down"),
    ),
    "reclaim": Entry(
        "naru.cli.reclaim",
        "List addresses that look abandoned, with the evidence.",
        ("naru reclaim --days 90", "naru reclaim --delete 6fc1d0b2-… 77b09e3a-…"),
    ),
    "replay": Entry(
        "naru.cli.replay",
        "Replay a history of requests against several policies.",
        ("naru replay docs/data/classroom.jsonl.gz", "naru replay trace.jsonl --policy spread,pack --pool-file pool.json"),
    ),
    "host": Entry(
        "naru.cli.host",
        "Enrol hosts, each with a credential of its own, and revoke it.",
        ("naru host enrol compute01 > token      then copy it to the host's token file", "naru host revoke compute01"),
    ),
    "config": Entry(
        "naru.cli.config",
        "Make naru.toml from the files of Neutron.",
        ("naru config import /etc/neutron/plugins/ml2/ml2_conf.ini /etc/neutron/plugins/ml2/linuxbridge_agent.ini",),
    ),
    "db": Entry(
        "naru.cli.db",
        "Upgrade the database's schema, or check what it holds.",
        ("naru db upgrade --state-dir ./state", "naru db check --state-dir ./state"),
    ),
}


def epilog(examples: tuple[str, ...]) -> str:
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in examples)))


EPILOG = (
    epilog(
        (
            "naru demo                       the whole way through; leaves nothing behind",
            "naru up --state-dir ./state     a small cloud on this machine",
            "naru up --no-dataplane          the API alone: needs no root",
            "naru server --help              what a command takes",
        )
    )
    + """

`naru up` says where its clouds.yaml is. The official client then works:
`openstack --os-cloud naru-demo server create --image netns --flavor m1.tiny web1`.
"""
)


class CommandTable(click.Group):
    """A group whose commands are rows of `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        entry = COMMANDS[cmd_name]
        command = importlib.import_module(entry.module).command
        if not isinstance(command, click.Command):
            raise TypeError(f"{entry.module}.command is {command!r}, not a click command")
        command.epilog = command.epilog or epilog(entry.examples)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.group(cls=CommandTable, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="naru")
def naru() -> None:
    """An OpenStack-compatible network service.

    Naru chooses the network by its free addresses, wires real Linux hosts, and says why.
    """


def expected_errors() -> tuple[type[Exception], ...]:
    """Errors that are the user's to read: one line, no traceback. Imported only once something has gone wrong."""
    from naru.model.errors import NaruError
    from naru.settings import SettingsError

    return (NaruError, SettingsError)


def main() -> None:
    """Run `naru` with this process's arguments; never returns."""
    try:
        naru(prog_name="naru")
    except SystemExit:
        raise
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "naru":
            raise
        click.echo(f"naru: this command needs {error.name}, which is not installed: pip install 'naru[server,demo]'", err=True)
        sys.exit(1)
    except expected_errors() as error:
        click.echo(f"naru: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
