"""`openstack network pool`: networks that the scheduler chooses from."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from osc_lib.cli.format_columns import DictColumn, ListColumn, ListDictColumn
from osc_lib.cli.identity import add_project_owner_option_to_parser, find_project
from osc_lib.command import command
from osc_lib.exceptions import CommandError

from naru.integrations.openstackclient.requests import Row, ask, delete_each, find, names_of, rows
from naru.model.network_pools import POLICIES, WEIGHERS

# Option -> attribute, and what argparse is to know.
_VALUES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "--description": ("description", {"metavar": "<text>", "help": "what it is for, in words"}),
    "--policy": ("policy", {"choices": POLICIES, "help": "in which order its networks are taken (sequential)"}),
    "--floor-count": ("floor_count", {"metavar": "<n>", "type": int, "help": "addresses of each network that picks leave free"}),
    "--floor-ratio": ("floor_ratio", {"metavar": "<ratio>", "type": float, "help": "the same as a part of its addresses, 0 to 1"}),
    "--project-share": (
        "project_share",
        {"metavar": "<ratio>", "type": float, "help": "of all addresses, what a project may have: 0 to 1"},
    ),
    "--quarantine": ("quarantine_s", {"metavar": "<seconds>", "type": int, "help": "how long a released address rests"}),
}
_SWITCHES: Mapping[str, tuple[str, str]] = {
    "share": ("shared", "for all projects (administrators only)"),
    "default": ("is_default", "what a project gets that names no pool and no network"),
    "hide": ("hidden", "leave its networks out of lists, for those who have them from the pool alone"),
}
_SELECTORS = {
    "--member-tags": "tags",
    "--any-member-tags": "tags-any",
    "--not-member-tags": "not-tags",
    "--not-any-member-tags": "not-tags-any",
}


_RBAC = {"object_type": "network_pool", "action": "access_as_shared"}  # `openstack network rbac create` does not know of this type


def _add_settings(parser: argparse.ArgumentParser) -> None:
    for option, (attribute, known) in _VALUES.items():
        parser.add_argument(option, dest=attribute, **known)
    for name, (attribute, meaning) in _SWITCHES.items():
        either = parser.add_mutually_exclusive_group()
        either.add_argument(f"--{name}", dest=attribute, action="store_true", default=None, help=meaning)
        either.add_argument(f"--no-{name}", dest=attribute, action="store_false", default=None, help="not so")
    parser.add_argument(
        *("--member",),
        metavar="<network>[,priority=<n>][,weight=<w>]",
        dest="members",
        type=_member,
        action="append",
        default=[],
        help="a network of the pool; the lowest priority comes first, else the order given (repeat the option for several)",
    )
    for option, word in _SELECTORS.items():
        help = f"networks with these tags are members, too: {word} as in lists"
        parser.add_argument(option, dest=word, metavar="<tag>[,<tag>…]", type=lambda text: text.split(","), help=help)
    parser.add_argument("--purpose", dest="purposes", metavar="<word>", action="append", default=[], help="what it is kept for (repeat)")
    parser.add_argument(
        *("--weight",),
        metavar="<weigher>=<multiplier>",
        dest="weights",
        type=_weight,
        action="append",
        default=[],
        help=f"change the policy: {', '.join(WEIGHERS)} (repeat)",
    )


def _member(text: str) -> Row:
    network, *settings = text.split(",")
    given = dict(setting.partition("=")[::2] for setting in settings)
    if unknown := given.keys() - {"priority", "weight"}:
        raise argparse.ArgumentTypeError(f"'{unknown.pop()}' is neither priority=<n> nor weight=<w>")
    try:
        numbers = {name: {"priority": int, "weight": float}[name](value) for name, value in given.items()}
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' has a priority or a weight that is no number") from None
    return {"network": network} | numbers


def _weight(text: str) -> tuple[str, float]:
    name, _, multiplier = text.partition("=")
    try:
        return name, float(multiplier)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not <weigher>=<multiplier>") from None


def _settings(parsed: argparse.Namespace, known: Row) -> Row:
    """What the options say; lists and tables are added to those of the pool that is known."""
    given = vars(parsed)
    attributes = [attribute for attribute, _ in (*_VALUES.values(), *_SWITCHES.values())]
    settings = {attribute: given[attribute] for attribute in attributes if given[attribute] is not None}
    if selector := {word: given[word] for word in _SELECTORS.values() if given[word]}:
        settings["member_tags"] = known.get("member_tags", {}) | selector
    if parsed.purposes:
        settings["purposes"] = list(dict.fromkeys([*known.get("purposes", ()), *parsed.purposes]))
    if parsed.weights:
        settings["weights"] = known.get("weights", {}) | dict(parsed.weights)
    return settings


def _members(app: Any, given: Sequence[Row], known: Iterable[Row] = ()) -> list[Row]:
    """Those that are known, changed by what is given, and new ones behind them."""
    members = {member["network_id"]: member for member in known}
    for row in given:
        id = find(app, "networks", row["network"], "network")["id"]
        members[id] = members.get(id, {"network_id": id}) | {name: value for name, value in row.items() if name != "network"}
    return list(members.values())


def _change(app: Any, pool: Row, settings: Row) -> None:
    """Refused where somebody else changed the pool meanwhile: members are replaced as a whole."""
    headers = {"If-Match": f"revision_number={pool['revision_number']}"}
    ask(app, "PUT", f"/network-pools/{pool['id']}", {"network_pool": settings}, headers=headers)


def _pool(app: Any, name_or_id: str) -> Row:
    return find(app, "network-pools", name_or_id, "network pool")


def _shown(app: Any, pool: Row) -> tuple[Sequence[str], Sequence[Any]]:
    names = names_of(app, [member["network_id"] for member in pool["members"]])
    columns: dict[str, Any] = {name: value for name, value in pool.items() if name != "tenant_id"}
    columns["members"] = ListDictColumn([{"network": names[member["network_id"]]} | _told(member) for member in pool["members"]])
    columns |= {name: ListColumn(pool[name]) for name in ("purposes", "tags")}
    columns["shared_with"] = ListColumn(list(_shared_with(app, pool)))
    columns |= {name: DictColumn(pool[name]) for name in ("weights", "member_tags")}
    room = ask(app, "GET", f"/network-pools/{pool['id']}/availability")
    columns["availability"] = DictColumn({name: value for name, value in room["availability"].items() if name != "network_pool_id"})
    return tuple(zip(*sorted(columns.items()), strict=True))  # type: ignore[return-value]


def _shared_with(app: Any, pool: Row) -> Mapping[str, str]:
    """Project -> the RBAC policy that opens the pool to it, as far as the caller may see them."""
    policies = rows(app, "rbac-policies", object_type=_RBAC["object_type"], object_id=pool["id"])
    return {policy["target_tenant"]: policy["id"] for policy in policies}


def _told(member: Row) -> Row:
    """A member without what nobody set."""
    unset = {"priority": None, "weight": 1.0, "cordoned": False, "reason": ""}
    return {name: value for name, value in member.items() if name not in unset or value != unset[name]}


class CreateNetworkPool(command.ShowOne):
    """Create a pool of networks that the scheduler chooses from."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="<name>")
        _add_settings(parser)
        add_project_owner_option_to_parser(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        settings = {"name": parsed_args.name, "members": _members(self.app, parsed_args.members)} | _settings(parsed_args, {})
        if parsed_args.project is not None:
            connection = self.app.client_manager.sdk_connection
            settings["project_id"] = find_project(connection, parsed_args.project, parsed_args.project_domain).id
        made = ask(self.app, "POST", "/network-pools", {"network_pool": settings})["network_pool"]
        return _shown(self.app, made)


class ListNetworkPool(command.Lister):
    """List the pools that the project may use."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--name", metavar="<name>", help="only those of this name")
        parser.add_argument("--long", action="store_true", help="also how much room they have, and what was set")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        columns = ["ID", "Name", "Policy", "Networks", "Purposes", "Default", "Shared"]
        columns += ["Room", "Member Tags", "Description", "Project"] if parsed_args.long else []
        found = rows(self.app, "network-pools", **({"name": parsed_args.name} if parsed_args.name else {}))
        names = names_of(self.app, list({member["network_id"]: None for pool in found for member in pool["members"]}))
        return columns, [self._row(pool, names, is_long=parsed_args.long) for pool in found]

    def _row(self, pool: Row, names: Mapping[str, str], *, is_long: bool) -> list[Any]:
        members = ListColumn([names[member["network_id"]] for member in pool["members"]])
        row = [pool["id"], pool["name"], pool["policy"], members, ListColumn(pool["purposes"])]
        row += [pool["is_default"], pool["shared"]]
        if is_long:
            room = ask(self.app, "GET", f"/network-pools/{pool['id']}/availability")["availability"]["band"]
            row += [room, DictColumn(pool["member_tags"]), pool["description"], pool["project_id"]]
        return row


class ShowNetworkPool(command.ShowOne):
    """Show a pool, its members, and how much room it has."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("pool", metavar="<pool>", help="name or id")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        return _shown(self.app, _pool(self.app, parsed_args.pool))


class SetNetworkPool(command.Command):
    """Change a pool: add members, cordon one, change the policy."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("pool", metavar="<pool>", help="name or id")
        parser.add_argument("--name", metavar="<name>", help="a new name")
        _add_settings(parser)
        for word in ("member", "purpose", "weight"):
            parser.add_argument(f"--no-{word}", action="store_true", help=f"forget each {word} that it has; those given here are then set")
        parser.add_argument("--cordon", metavar="<network>", action="append", default=[], help="give nothing new of this member (repeat)")
        parser.add_argument("--reason", metavar="<text>", default="", help="why it is cordoned: refusals say it")
        parser.add_argument("--uncordon", metavar="<network>", action="append", default=[], help="give of it again (repeat)")
        _add_projects(parser, "open the pool to this project, and through it its networks (repeat)")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        pool = _pool(self.app, parsed_args.pool)
        cleared = {"members": parsed_args.no_member, "purposes": parsed_args.no_purpose, "weights": parsed_args.no_weight}
        known = pool | {name: type(pool[name])() for name, is_cleared in cleared.items() if is_cleared}
        settings = {name: known[name] for name, is_cleared in cleared.items() if is_cleared} | _settings(parsed_args, known)
        if parsed_args.name is not None:
            settings["name"] = parsed_args.name
        given = [*parsed_args.members]
        given += [{"network": network, "cordoned": True, "reason": parsed_args.reason} for network in parsed_args.cordon]
        given += [{"network": network, "cordoned": False, "reason": ""} for network in parsed_args.uncordon]
        if given:
            settings["members"] = _members(self.app, given, known["members"])
        if settings:
            _change(self.app, pool, settings)
        for project_id in _projects(self.app, parsed_args):
            policy = _RBAC | {"object_id": pool["id"], "target_tenant": project_id}
            ask(self.app, "POST", "/rbac-policies", {"rbac_policy": policy})


# Option -> attribute, and what is named; option -> attribute, its value then, and what that means.
_TAKEN = {"--member": ("members", "network"), "--purpose": ("purposes", "word"), "--weight": ("weights", "weigher")}
_FORGOTTEN: Mapping[str, tuple[str, Any, str]] = {
    "--member-tags": ("member_tags", {}, "follow no tags"),
    "--project-share": ("project_share", None, "no limit to what one project may have"),
    "--quarantine": ("quarantine_s", None, "released addresses rest as long as the server's setting says"),
}


class UnsetNetworkPool(command.Command):
    """Take members, purposes, weights or limits from a pool."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("pool", metavar="<pool>", help="name or id")
        for option, (attribute, named) in _TAKEN.items():
            parser.add_argument(option, metavar=f"<{named}>", dest=attribute, action="append", default=[], help=f"this {named} (repeat)")
        for option, (attribute, _, meaning) in _FORGOTTEN.items():
            parser.add_argument(option, dest=attribute, action="store_true", help=meaning)
        _add_projects(parser, "close the pool to this project (repeat)")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        pool, given = _pool(self.app, parsed_args.pool), vars(parsed_args)
        gone = {attribute: given[attribute] for attribute, _ in _TAKEN.values() if given[attribute]}
        if "members" in gone:
            gone["members"] = [find(self.app, "networks", name, "network")["id"] for name in gone["members"]]
        settings = {attribute: unset for attribute, unset, _ in _FORGOTTEN.values() if given[attribute]}
        for attribute, words in gone.items():
            kept = {_key(item): item for item in pool[attribute]}
            if missing := [word for word in words if kept.pop(word, None) is None]:
                raise CommandError(f"Network pool {parsed_args.pool} has no such {attribute}: {', '.join(missing)}.")
            settings[attribute] = {name: pool[attribute][name] for name in kept} if attribute == "weights" else list(kept.values())
        if settings:
            _change(self.app, pool, settings)
        shared_with = _shared_with(self.app, pool) if parsed_args.share_with else {}
        for project_id in _projects(self.app, parsed_args):
            if project_id not in shared_with:
                raise CommandError(f"Network pool {parsed_args.pool} is not shared with project {project_id}.")
            ask(self.app, "DELETE", f"/rbac-policies/{shared_with[project_id]}")


def _add_projects(parser: argparse.ArgumentParser, meaning: str) -> None:
    parser.add_argument("--share-with", metavar="<project>", action="append", default=[], help=meaning)
    parser.add_argument("--project-domain", metavar="<domain>", help="the domain of these projects (name or id)")


def _projects(app: Any, parsed: argparse.Namespace) -> list[str]:
    connection = app.client_manager.sdk_connection
    return [find_project(connection, project, parsed.project_domain).id for project in parsed.share_with]


def _key(item: Any) -> str:
    """Of a member its network; a purpose and a weigher are words."""
    return str(item["network_id"]) if isinstance(item, dict) else str(item)


class DeleteNetworkPool(command.Command):
    """Delete pools. Their networks stay."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("pools", metavar="<pool>", nargs="+", help="name or id")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        paths = {name: f"/network-pools/{_pool(self.app, name)['id']}" for name in parsed_args.pools}
        delete_each(self.app, paths, "network pools")
