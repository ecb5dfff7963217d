"""`openstack network autogrow`: what a network, or a pool of networks, takes when it runs out of addresses."""

import argparse
from collections.abc import Mapping
from typing import Any

from osc_lib.command import command

from naru.integrations.openstackclient.requests import ask, find

_OPTIONS: Mapping[str, tuple[str, dict[str, Any]]] = {  # option -> attribute, and what argparse is to know
    "--limit": ("limit", {"metavar": "<n>", "type": int, "required": True, "help": "subnets of a network, or networks of a pool, at most"}),
    "--prefix-length": ("prefixlen", {"metavar": "<bits>", "type": int, "help": "of each subnet (the subnet pool's default)"}),
    "--network-type": ("network_type", {"choices": ("vlan", "vxlan", "geneve"), "help": "of the segment that comes with each subnet"}),
    "--physical-network": ("physical_network", {"metavar": "<name>", "help": "of the VLANs"}),
    "--floor": ("floor", {"metavar": "<n>", "type": int, "help": "grow when no more addresses than these are free (0)"}),
    "--horizon": ("horizon_days", {"metavar": "<days>", "type": float, "help": "grow when by the forecast it is full sooner"}),
}


def _add_subject(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("subject", metavar="<network|pool>", help="name or id")
    parser.add_argument("--pool", dest="is_pool", action="store_true", help="it is a network pool, which grows by networks")


def _put(app: Any, parsed: argparse.Namespace, bench: Mapping[str, Any] | None) -> None:
    collection, singular = ("network-pools", "network_pool") if parsed.is_pool else ("networks", "network")
    id = find(app, collection, parsed.subject, singular.replace("_", " "))["id"]
    ask(app, "PUT", f"/{collection}/{id}", {singular: {"autogrow": bench}})


def _range(text: str) -> tuple[int, int]:
    least, _, most = text.partition(":")
    try:
        return int(least), int(most)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not <first>:<last>") from None


class SetNetworkAutogrow(command.Command):
    """Let a network grow by subnets of a subnet pool, or a pool by networks, before it is full (administrators only)."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_subject(parser)
        parser.add_argument("--subnet-pool", metavar="<subnet-pool>", required=True, help="where the prefixes come from (name or id)")
        for option, (attribute, known) in _OPTIONS.items():
            parser.add_argument(option, dest=attribute, **known)
        parser.add_argument("--range", metavar="<first>:<last>", type=_range, help="of the segmentation ids (the project's ranges)")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        given = vars(parsed_args)
        bench = {attribute: given[attribute] for attribute, _ in _OPTIONS.values() if given[attribute] is not None}
        if parsed_args.range is not None:
            bench["minimum"], bench["maximum"] = parsed_args.range
        bench["subnetpool_id"] = find(self.app, "subnetpools", parsed_args.subnet_pool, "subnet pool")["id"]
        _put(self.app, parsed_args, bench)


class UnsetNetworkAutogrow(command.Command):
    """Let a network or a pool grow no more. What came of it stays."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_subject(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        _put(self.app, parsed_args, None)
