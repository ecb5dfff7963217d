"""`openstack network forecast`: when the addresses of networks and pools run out."""

import argparse
import os
from collections.abc import Iterable, Sequence
from typing import Any

from cliff.columns import FormattableColumn
from osc_lib.command import command

from naru.integrations.openstackclient.explain import LANGUAGES, language_of
from naru.integrations.openstackclient.requests import Row, find, rows

_QUANTILES = ("p10", "p50", "p90")
_KINDS = {"network": "network", "pool": "network_pool"}


class Day(FormattableColumn[int | None]):
    """Days from now. People are told what null means of a forecast: not within a year."""

    def human_readable(self) -> str:
        return "> 365" if self._value is None else str(self._value)


def _days(row: Row, what: str) -> list[Any]:
    """By when the last address is taken in 1 of 10 cases, in half of them, in 9 of 10."""
    if row["status"] != "forecast" or row[what] is None:
        return [None] * len(_QUANTILES)
    return [Day(row[what][quantile]) for quantile in _QUANTILES]


def _soonest(row: Row) -> tuple[bool, float, str]:
    median = (row["days_to_exhaustion"] or {}).get("p50")
    return row["status"] != "forecast", float("inf") if median is None else median, row["name"]


class ListNetworkForecast(command.Lister):
    """List when networks and pools run out of addresses, the soonest first.

    In 1 of 10 cases that is before the day of P10, in half of them before P50, in 9 of 10 before P90.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--of", choices=tuple(_KINDS), help="only those of networks, or of pools")
        parser.add_argument("--long", action="store_true", help="also when picks come to the floor of the pool, and what is known")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        columns = ["ID", "Name", "Of", "Usable", "Free", "Days P10", "Days P50", "Days P90", "Status"]
        columns += ["Floor", "Floor P10", "Floor P50", "Floor P90", "Days Known"] if parsed_args.long else []
        filters = {"of": _KINDS[parsed_args.of]} if parsed_args.of else {}
        found = sorted(rows(self.app, "network-ip-forecasts", **filters), key=_soonest)
        return columns, [self._row(row, is_long=parsed_args.long) for row in found]

    def _row(self, row: Row, *, is_long: bool) -> list[Any]:
        told = [row["id"], row["name"], row["of"], row["usable"], row["free"], *_days(row, "days_to_exhaustion"), row["status"]]
        return told + ([row["floor"], *_days(row, "days_to_floor"), row["days_known"]] if is_long else [])


class ShowNetworkForecast(command.ShowOne):
    """Show when a network or a pool runs out of addresses, and what that goes by."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("of", metavar="<network|pool>", help="name or id")
        parser.add_argument("--lang", choices=LANGUAGES, default=language_of(os.environ), help="of the sentence that tells it")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        row = find(self.app, "network-ip-forecasts", parsed_args.of, "network or pool that has a forecast")
        told = {"text": row[f"text_{parsed_args.lang}"]}
        for what in ("days_to_exhaustion", "days_to_floor"):
            told |= {f"{what}_{quantile}": day for quantile, day in zip(_QUANTILES, _days(row, what), strict=True)}
        columns = {name: value for name, value in row.items() if not name.startswith(("text_", "days_to_")) and name != "tenant_id"}
        return tuple(zip(*sorted((columns | told).items()), strict=True))  # type: ignore[return-value]
