"""`naru demo`: the main job in a private lab, with a table, the reasons and a verdict."""

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from naru.lab.outcome import Instance, Outcome

_ROOM_FOR_PINGS = 105  # columns of the terminal
_SHOW_CURSOR = "\x1b[?25h"  # the moving line had hidden it


@click.command()
@click.option("--instances", default=20, show_default=True, type=click.IntRange(1, 200), help="How many name no network.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON; progress goes to stderr all the same.")
def command(instances: int, *, as_json: bool) -> None:
    """Boot instances in a private lab and say why each network was picked.

    Three emulated hosts, a server, three agents; NET1 and NET2 with few addresses, and instances that name no network. Each must
    get its reserved address by DHCP and reach an instance on another host. Exit code 0 only if all of it held. The lab lives in
    namespaces of its own: nothing of it is left, however it ends. Needs root, or a kernel that allows user namespaces.
    """
    from importlib.util import find_spec

    from naru.cli.lab import plain_refusals
    from naru.lab import LabError
    from naru.lab.namespaces import INTERRUPTED, run_enclosed
    from naru.lab.tools import require_tools

    with plain_refusals():
        if find_spec("rich") is None:
            raise LabError("the demo draws with rich, which is not installed: pip install 'naru[demo]'")
        require_tools()
        code = run_enclosed(lambda _: _run(instances, as_json=as_json))
    if code == INTERRUPTED:
        click.echo(f"{_SHOW_CURSOR if sys.stderr.isatty() else ''}naru: interrupted; the lab is gone", err=True)
    sys.exit(code)


def _run(count: int, *, as_json: bool) -> int:
    """Inside the lab. Its files are in memory and vanish with it; logs are saved only if something failed."""
    import msgspec

    from naru.lab import LabError
    from naru.lab.demo import run_demo
    from naru.lab.namespaces import SCRATCH

    state_dir = SCRATCH / "naru-demo"
    progress = Progress()
    try:
        outcome = run_demo(count, state_dir, progress.say)
    except LabError as error:
        progress.end("failed after ")
        raise LabError(f"{error}\n{_save_logs(state_dir)}") from error
    progress.end()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(outcome)))
    else:
        print_outcome(outcome)
    if not outcome.ok:
        click.echo(_save_logs(state_dir), err=True)
    return 0 if outcome.ok else 1


def _save_logs(state_dir: Path) -> str:
    """Copy the logs out of the lab; says where they are."""
    saved = tempfile.mkdtemp(prefix="naru-demo-")
    shutil.copytree(state_dir / "logs", saved, dirs_exist_ok=True)
    return f"the logs of the server and the agents are in {saved}"


class Progress:
    """Steps on stderr: a line that moves on a terminal, else one line per step."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True)
        self.status = self.console.status("")
        self.step = ""
        self.began = time.monotonic()
        if self.console.is_terminal:
            self.status.start()

    def say(self, step: str, detail: str) -> None:
        if step != self.step:
            self._finish_step()
            self.step, self.began = step, time.monotonic()
        self.status.update(f"{step} … {detail}")

    def end(self, how: str = "") -> None:
        self._finish_step(how)
        self.status.stop()

    def _finish_step(self, how: str = "") -> None:
        if self.step:
            self.console.print(f"{self.step}: {how}{time.monotonic() - self.began:.1f} s", highlight=False, soft_wrap=True)


def print_outcome(outcome: "Outcome") -> None:
    """The table, the sums and the verdict, on stdout."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    table = Table("instance", "host", "network", "address", "lease", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in table.columns:
        column.no_wrap = True
    table.add_column("why this network")
    if console.width >= _ROOM_FOR_PINGS:
        table.add_column("reached", no_wrap=True)
    for instance in outcome.instances:
        lease = "none" if instance.request_to_lease_s is None else f"{instance.request_to_lease_s:.2f} s"
        row = (instance.name, instance.host, instance.network, instance.address, lease, short_reason(instance), instance.reached)
        table.add_row(*row[: len(table.columns)], style="red" if instance.failures else "")
    console.print(table)
    for network, before in outcome.free_before.items():
        console.print(f"free addresses of {network}: {before} before, {outcome.free_after[network]} after")
    for failure in outcome.failures:
        console.print(Text(f"did not hold: {failure}", "red"), soft_wrap=True)
    console.print(Text(outcome.verdict, "green" if outcome.ok else "red"), soft_wrap=True)


def short_reason(instance: "Instance") -> str:
    """The server's reason without what the row says already and without the networks that were not needed; --json has all of it."""
    verdicts = [verdict for verdict in instance.why.split("; ") if ": not needed" not in verdict]
    return "; ".join(verdicts).removeprefix(f"{instance.network}: chosen, ") or "it was named"
