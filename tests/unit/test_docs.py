"""The documentation keeps up: every setting, command and error is in it, and its links lead somewhere."""

import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from naru.model import errors
from naru.schedule.reasons import FIXES, REASONS
from naru.schedule.weighers import POLICIES, WEIGHERS
from naru.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def settings(table: type[msgspec.Struct] = Settings, prefix: str = "NARU") -> Iterator[tuple[str, str, str]]:
    """(key, environment variable, default as TOML writes it) of every setting."""
    defaults = table()
    for field in msgspec.structs.fields(table):
        name = f"{prefix}_{field.name.upper()}"
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from settings(field.type, name)
        else:
            yield field.name, name, json.dumps(getattr(defaults, field.name))


@pytest.mark.parametrize(("key", "variable", "default"), settings(), ids=str)
def test_each_setting_is_documented_with_its_variable_and_its_default(key: str, variable: str, default: str) -> None:
    page = (ROOT / "docs/reference/settings.md").read_text()
    assert f"| `{key}` | `{variable}` | `{default}` | " in page


def test_no_setting_is_documented_that_does_not_exist() -> None:
    page = (ROOT / "docs/reference/settings.md").read_text()
    assert set(re.findall(r"`(NARU_\w+)`", page)) == {variable for _, variable, _ in settings()}


def test_the_command_reference_says_what_help_says() -> None:
    written = runpy.run_path(str(ROOT / "scripts/write-command-reference"))["command_reference"]()
    assert (ROOT / "docs/reference/commands.md").read_text() == written, "run `make docs`"


def test_each_error_is_documented_with_its_status_and_type() -> None:
    page = (ROOT / "docs/reference/errors.md").read_text()
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.NaruError)]
    assert classes
    for error in classes:
        row = next((line for line in page.splitlines() if line.startswith(f"| `{error.__name__}` | {error.status} | ")), None)
        assert row, f"{error.__name__} is not in docs/reference/errors.md"
        assert error.type in row or error.type in {"HTTPNotFound", "Conflict"}, "each case has a type of its own"


def test_the_scheduling_reference_has_each_row_of_the_schedulers_tables() -> None:
    page = (ROOT / "docs/reference/scheduling.md").read_text()
    rows = [f"| `{code}` | {told.en} | {told.ko} |" for code, told in {**REASONS, **FIXES}.items()]
    rows += [f"| `{name}` | {weigher.meaning} |" for name, weigher in WEIGHERS.items()]
    rows += [
        f"| `{name}` | {', '.join(f'`{weigher}` {times:g}' for weigher, times in preset.items())} |" for name, preset in POLICIES.items()
    ]
    assert [line for line in page.splitlines() if line.startswith("| `")] == rows


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_pictures_lead_to_files(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        path = target.partition("#")[0]
        if path and "://" not in path:
            assert (page.parent / path).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pictures_have_a_text_for_those_who_do_not_see_them(page: Path) -> None:
    for text in re.findall(r"!\[([^\]]*)\]", page.read_text()):
        assert len(text) > 20


def test_each_page_is_found_from_the_index() -> None:
    docs = ROOT / "docs"
    linked = {(docs / target.partition("#")[0]).resolve() for target in LINK.findall((docs / "index.md").read_text())}
    assert {page for page in docs.rglob("*.md") if page.name != "index.md"} <= linked


def test_both_readmes_have_the_same_parts() -> None:
    english, korean = (ROOT / name for name in ("README.md", "README.ko.md"))
    for pattern in (r"^#+ ", r"^    \S", r"^\| "):
        counts = [len(re.findall(pattern, page.read_text(), re.MULTILINE)) for page in (english, korean)]
        assert counts[0] == counts[1], pattern


def test_each_make_target_of_the_documentation_exists() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        assert set(re.findall(r"(?:`|^    )make ([\w-]+)", page.read_text(), re.MULTILINE)) <= targets, page
