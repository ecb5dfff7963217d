"""The lock installs the same everywhere: exact versions, hashes, and no machine's index (docs/adr/0002)."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ("run", "dev", "keystone", "neutronclient", "nova", "tempest")


def pins(name: str) -> dict[str, str]:
    """Package -> version with its marker, of requirements/<name>.txt."""
    text = (ROOT / f"requirements/{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==(.+?) \\$", text, re.MULTILINE))


@pytest.mark.parametrize("name", LOCKS)
def test_every_line_is_an_exact_version_or_a_hash(name: str) -> None:
    lines = (ROOT / f"requirements/{name}.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[a-z0-9-]+==\S+( ; .+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line) for line in lines)


@pytest.mark.parametrize("name", LOCKS)
def test_no_index_is_named(name: str) -> None:
    text = (ROOT / f"requirements/{name}.txt").read_text()
    assert "://" not in text
    assert "index" not in text


def test_both_locks_agree() -> None:
    """On versions: what dev wants may be wanted on more platforms."""
    run, dev = ({name: pin.partition(" ;")[0] for name, pin in pins(lock).items()} for lock in ("run", "dev"))
    assert run
    assert run.items() <= dev.items()
