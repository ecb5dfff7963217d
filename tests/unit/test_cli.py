"""The command line answers at once: shown by what it imports, which is the same on every machine."""

import subprocess
import sys

import click
import pytest

from naru.cli.main import COMMANDS, naru

HEAVY = {
    "alembic", "asyncio", "httpx", "rich", "sqlalchemy", "ssl", "starlette", "structlog", "uvicorn", "uvloop",
    "naru.agent", "naru.api", "naru.bootstrap", "naru.compile", "naru.drivers", "naru.feed", "naru.lab", "naru.service", "naru.store",
}  # fmt: skip

SHOW_IMPORTS = """
import sys
from naru.cli.main import naru
try:
    naru(sys.argv[1:], prog_name="naru")
finally:
    print("imports", *sorted(sys.modules), file=sys.stderr)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`naru` in a process of its own."""
    return subprocess.run([sys.executable, "-m", "naru", *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("arguments", [(), *((name,) for name in COMMANDS)], ids=" ".join)
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHOW_IMPORTS, *arguments, "--help"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    imported = set(done.stderr.splitlines()[-1].split()[1:])
    assert imported & HEAVY == set()
    assert len(imported) < 250, "the interpreter and click load about 200 modules"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_teaches_with_an_example(name: str) -> None:
    done = run(name, "--help")
    assert done.returncode == 0, done.stderr
    assert "Example" in done.stdout
    assert f"naru {name}" in done.stdout.partition("Example")[2]


def test_the_list_names_every_command_and_its_line() -> None:
    shown = run("--help").stdout
    for name, entry in COMMANDS.items():
        assert f"  {name}" in shown
        assert entry.help in shown


def test_version_is_the_installed_one() -> None:
    from importlib.metadata import version

    assert version("naru") in run("--version").stdout


def test_an_unknown_command_is_refused_in_one_line() -> None:
    done = run("upp")
    assert done.returncode == 2
    assert "No such command" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_setting_that_cannot_be_used_is_one_line_and_exit_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NARU_TOKEN_LIFETIME_S", "soon")
    done = run("server")
    assert done.returncode == 1
    assert done.stderr.startswith("naru: cannot use the settings")
    assert len(done.stderr.splitlines()) == 1


def test_every_row_of_the_table_is_a_click_command() -> None:
    context = click.Context(naru)
    for name in COMMANDS:
        assert isinstance(naru.get_command(context, name), click.Command)
