"""Figures as a table: what was found here, what is promised, and what Neutron was found to do elsewhere."""

import os
import platform
from typing import NamedTuple

import neutron
from rich.console import Console
from rich.table import Table


class Figure(NamedTuple):
    name: str
    found: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    elsewhere: float | None = None

    @property
    def promise(self) -> str:
        if self.at_least is not None:
            return f"≥ {_text(self.at_least)} {self.unit}"
        return f"≤ {_text(self.at_most)} {self.unit}" if self.at_most is not None else ""

    @property
    def is_kept(self) -> bool:
        return self.found >= (self.at_least or self.found) and self.found <= (self.at_most or self.found)


def show(title: str, figures: list[Figure]) -> None:
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column("what")
    table.add_column("here", justify="right")
    table.add_column("promised", justify="right")
    table.add_column("")
    table.add_column(f"{neutron.SOURCE}*", justify="right", style="dim")
    for figure in figures:
        kept = "" if not figure.promise else "[green]kept[/]" if figure.is_kept else "[red]missed[/]"
        elsewhere = f"{_text(figure.elsewhere)} {figure.unit}" if figure.elsewhere is not None else ""
        table.add_row(figure.name, f"{_text(figure.found)} {figure.unit}", figure.promise, kept, elsewhere)
    table.caption = (
        f"Here: {os.cpu_count()} cores, Python {platform.python_version()}, SQLite, durable; clients and server share the cores.\n"
        "* measured elsewhere, on another day, with its own client (tests/bench/neutron.py): for a claim, run both on one machine."
    )
    Console(width=None if Console().is_terminal else 140).print(table)


def _text(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
