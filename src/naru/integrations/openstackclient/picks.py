"""`openstack network pick`: let the scheduler choose, and hold what it chose."""

import argparse
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cliff.columns import FormattableColumn
from openstack import exceptions
from osc_lib.cli.identity import add_project_owner_option_to_parser, find_project
from osc_lib.command import command
from osc_lib.exceptions import CommandError

from naru.integrations.openstackclient.explain import LANGUAGES, WORDS, below_table, language_of, table_of
from naru.integrations.openstackclient.requests import Row, ask, delete_each, find, names_of, rows, send

# Option -> attribute, and what argparse is to know.
_WISHES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "--count": ("count", {"metavar": "<n>", "type": int, "help": "for how many ports (1)"}),
    "--min-count": ("min_count", {"metavar": "<n>", "type": int, "help": "fewer will do, but not fewer than these"}),
    "--one-network": ("mode", {"action": "store_const", "const": "one_network", "help": "all on the same network"}),
    "--max-skew": ("max_skew", {"metavar": "<n>", "type": int, "help": "how many more one network may get than another"}),
    "--ip-version": ("ip_version", {"choices": ("4", "6", "dual"), "help": "only networks that have it"}),
    "--host": ("host", {"metavar": "<host>", "help": "reachable on this host"}),
    "--availability-zone": ("availability_zone", {"metavar": "<zone>", "help": "reachable in this zone"}),
    "--physical-network": ("physical_network", {"metavar": "<name>", "help": "on this physical network"}),
    "--mtu": ("mtu", {"metavar": "<bytes>", "type": int, "help": "this at least"}),
    "--hold": ("hold_s", {"metavar": "<seconds>", "type": int, "help": "for how long what is chosen is kept (120)"}),
    "--idempotency-key": ("idempotency_key", {"metavar": "<key>", "help": "asked again with it, the answer is the same pick"}),
    "--for-project": (
        "consumable_by",
        {"action": "store_const", "const": "project", "help": "any port of the project may take it, without naming the pick"},
    ),
    "--dry-run": ("dry_run", {"action": "store_true", "default": None, "help": "choose, and hold nothing"}),
}
_PURPOSES = {"--purpose": "any", "--every-purpose": "all", "--not-purpose": "not"}
_NAMED = {  # attribute -> where what it names is looked for
    "pool_id": ("network-pools", "network pool"),
    "qos_policy_id": ("qos/policies", "QoS policy"),
    "affinity": ("ports", "port"),
    "anti_affinity": ("ports", "port"),
}

_MOST = 6  # addresses of a network that people are told


class Placements(FormattableColumn[list[Row]]):
    """Addresses by network for people, the placements as they are for programs."""

    def __init__(self, placements: list[Row], names: Mapping[str, str]) -> None:
        super().__init__(placements)
        self._names = names

    def human_readable(self) -> str:
        by_network: dict[str, list[str]] = {}
        for place in self._value:
            addresses = " + ".join(ip["ip_address"] for ip in place["fixed_ips"])
            by_network.setdefault(self._names[place["network_id"]], []).append(addresses + (" (taken)" if place["port_id"] else ""))
        return "\n".join(f"{name}: {_told(addresses)}" for name, addresses in by_network.items())


def _told(addresses: Sequence[str]) -> str:
    more = len(addresses) - _MOST
    return ", ".join(addresses[:_MOST]) + (f" and {more} more" if more > 0 else "")


def _columns(pick: Row, names: Mapping[str, str], *, is_explained: bool) -> tuple[Sequence[str], Sequence[Any]]:
    """Without what was not asked for."""
    unsaid = {"tenant_id"} | (set() if is_explained else {"candidates", "considered"})
    columns = {name: value for name, value in pick.items() if name not in unsaid and value not in (None, [], "")}
    columns["placements"] = Placements(pick["placements"], names)
    return tuple(zip(*sorted(columns.items()), strict=True))  # type: ignore[return-value]


class _Explained(command.ShowOne):
    """A pick that can be explained: as a table above it for people, as its candidates for programs."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--explain", action="store_true", help="say of each network why it was chosen, passed over or refused")
        language = language_of(os.environ)
        parser.add_argument(
            "--lang", choices=LANGUAGES, default=language, help="of the explanation; else that of LC_ALL, LC_MESSAGES, LANG"
        )
        return parser

    def explain(self, parsed: argparse.Namespace, candidates: Sequence[Row], fixes: Sequence[Row] = ()) -> None:
        """Prints, where the answer is for people."""
        if parsed.formatter != "table":
            return
        if candidates:
            self.formatter.emit_list(*table_of(candidates, parsed.lang), self.app.stdout, parsed)  # type: ignore[attr-defined]
        for line in below_table(candidates, fixes, parsed.lang):
            self.app.stdout.write(line + "\n")

    def answer(self, parsed: argparse.Namespace, pick: Row) -> tuple[Sequence[str], Sequence[Any]]:
        if parsed.explain:
            self.explain(parsed, pick["candidates"])
        names = names_of(self.app, list(dict.fromkeys(place["network_id"] for place in pick["placements"])))
        return _columns(pick, names, is_explained=parsed.explain and parsed.formatter != "table")


class CreateNetworkPick(_Explained):
    """Let the scheduler choose networks, and hold an address there for each port to come.

    Without a pool or a purpose: of the project's default pool or networks, where it has none of all that it may use.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--pool", dest="pool_id", metavar="<pool>", help="of this pool (name or id)")
        for option, word in _PURPOSES.items():
            help = f"of pools that are kept for it: {word} of those given so (repeat)"
            parser.add_argument(option, dest=word, metavar="<word>", action="append", default=[], help=help)
        for option, (attribute, known) in _WISHES.items():
            parser.add_argument(option, dest=attribute, **known)
        either = parser.add_mutually_exclusive_group()
        for word, is_on in (("enable", True), ("disable", False)):
            help = f"only networks with port security {word}d"
            either.add_argument(f"--{word}-port-security", dest="port_security_enabled", action="store_const", const=is_on, help=help)
        parser.add_argument("--qos-policy", dest="qos_policy_id", metavar="<policy>", help="only networks that have it (name or id)")
        parser.add_argument("--near", dest="affinity", metavar="<port>", action="append", help="on the network of one of these (repeat)")
        parser.add_argument("--away-from", dest="anti_affinity", metavar="<port>", action="append", help="on the network of none (repeat)")
        add_project_owner_option_to_parser(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        response = send(self.app, "POST", "/network-picks", {"network_pick": self._request(parsed_args)})
        refused = response.json().get("network_pick") if response.status_code == 409 else None
        if refused is not None:
            raise self._refusal(parsed_args, response.json()["NeutronError"]["message"], refused)
        exceptions.raise_from_response(response)
        return self.answer(parsed_args, response.json()["network_pick"])

    def _request(self, parsed: argparse.Namespace) -> Row:
        given = vars(parsed)
        request = {attribute: given[attribute] for attribute, _ in _WISHES.values() if given[attribute] is not None}
        request |= {"port_security_enabled": parsed.port_security_enabled} if parsed.port_security_enabled is not None else {}
        if purposes := {word: given[word] for word in _PURPOSES.values() if given[word]}:
            request["purposes"] = purposes
        for attribute, (collection, what) in _NAMED.items():
            named = given[attribute]
            if isinstance(named, list):
                request[attribute] = [find(self.app, collection, name, what)["id"] for name in named]
            elif named is not None:
                request[attribute] = find(self.app, collection, named, what)["id"]
        if parsed.project is not None:
            connection = self.app.client_manager.sdk_connection
            request["project_id"] = find_project(connection, parsed.project, parsed.project_domain).id
        return request

    def _refusal(self, parsed: argparse.Namespace, message: str, refused: Row) -> CommandError:
        """What is printed on stderr, after the explanation, if one is wanted, on stdout."""
        if not parsed.explain:
            fixes = below_table((), refused["fixes"], parsed.lang)
            return CommandError("\n".join([message, *fixes]))
        self.explain(parsed, refused["candidates"], refused["fixes"])
        if parsed.formatter != "table":
            self.produce_output(parsed, tuple(refused), tuple(refused.values()))
        if not refused["candidates"]:
            return CommandError(message)
        return CommandError(WORDS[parsed.lang].refused.format(parsed.min_count or parsed.count or 1) or message.partition(":")[0] + ".")


class ListNetworkPick(command.Lister):
    """List the project's picks."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        states = ("held", "committed", "used", "expired", "cancelled")
        parser.add_argument("--status", choices=states, help="only those")
        parser.add_argument("--pool", metavar="<pool>", help="only those of this pool (name or id)")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        filters = {"status": parsed_args.status} if parsed_args.status else {}
        if parsed_args.pool is not None:
            filters["pool_id"] = find(self.app, "network-pools", parsed_args.pool, "network pool")["id"]
        columns = ("ID", "Status", "Placements", "Untaken", "Pool ID", "Expires At", "Project")
        return columns, [
            (
                *(pick["id"], pick["status"], len(pick["placements"]), sum(place["port_id"] is None for place in pick["placements"])),
                *(pick["pool_id"], pick["expires_at"], pick["project_id"]),
            )
            for pick in rows(self.app, "network-picks", **filters)
        ]


class ShowNetworkPick(_Explained):
    """Show a pick: what is held, and what ports took."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("pick", metavar="<pick>", help="its id")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        return self.answer(parsed_args, ask(self.app, "GET", f"/network-picks/{parsed_args.pick}")["network_pick"])


class RenewNetworkPick(command.Command):
    """Hold a pick from now on for as long as at first, or as said."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("pick", metavar="<pick>", help="its id")
        parser.add_argument("--hold", metavar="<seconds>", type=int, help="for how long")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        body = {"hold_s": parsed_args.hold} if parsed_args.hold is not None else {}
        ask(self.app, "PUT", f"/network-picks/{parsed_args.pick}/renew", body)


class CommitNetworkPick(command.Command):
    """Hold a pick without a limit of time, until ports took it or it is deleted."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("pick", metavar="<pick>", help="its id")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        ask(self.app, "PUT", f"/network-picks/{parsed_args.pick}/commit", {})


class DeleteNetworkPick(command.Command):
    """Give back what picks hold. Ports that were made from them stay."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("picks", metavar="<pick>", nargs="+", help="its id")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        delete_each(self.app, {id: f"/network-picks/{id}" for id in parsed_args.picks}, "network picks")
