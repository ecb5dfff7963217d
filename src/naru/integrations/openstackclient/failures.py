"""`openstack network agent failure list`: what hosts cannot do now, and why."""

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from osc_lib.command import command

from naru.integrations.openstackclient.requests import rows


class ListNetworkAgentFailure(command.Lister):
    """List what hosts cannot do now, and why (administrators only). Of hosts that are silent it is what they said last."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--host", metavar="<host>", help="only those of this host")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        filters = {"host": parsed_args.host} if parsed_args.host else {}
        agents = rows(self.app, "agents", fields=["host", "alive", "failures"], sort_key="host", **filters)
        found = [(agent["host"], agent["alive"], key, why) for agent in agents for key, why in sorted(agent.get("failures", {}).items())]
        return ("Host", "Alive", "About", "Reason"), found
