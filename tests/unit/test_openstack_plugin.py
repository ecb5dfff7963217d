"""Our commands in the `openstack` client: what they are called, and how a pick is explained to people."""

import tomllib
from importlib.metadata import distribution, entry_points
from pathlib import Path

import pytest

from naru.integrations.openstackclient.explain import WORDS, below_table, language_of, table_of

OURS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["entry-points"]["openstack.network.v2"]


def test_each_command_is_installed_and_has_a_class() -> None:
    installed = distribution("naru").entry_points.select(group="openstack.network.v2")
    assert {entry.name: entry.value for entry in installed} == OURS
    assert all(entry.load().__doc__ for entry in installed)


def test_no_command_of_another_package_is_shadowed() -> None:
    groups = {name for name in entry_points().groups if name.startswith("openstack.")}
    others = {entry.name for name in groups for entry in entry_points(group=name) if entry.dist is not None and entry.dist.name != "naru"}
    assert "network_create" in others
    assert not others & OURS.keys()


def candidate(name: str, verdict: str, reason: str, free: int, **weights: float) -> dict:
    return {
        "network_id": f"id of {name}",
        "name": name,
        "verdict": verdict,
        "reason": reason,
        "text_en": f"{reason} in English",
        "text_ko": f"{reason} in Korean",
        "sum": {"usable": 13, "allocated": 13 - free, "held": 0, "quarantined": 0, "free": free},
        "weights": {name: {"raw": free, "normalised": 1.0, "multiplier": by} for name, by in weights.items()},
        "score": 1.0,
    }


CANDIDATES = [candidate("NET2", "chosen", "chosen", 12, free_count=1.0, priority=-0.5), candidate("", "refused", "full", 0)]


def test_the_table_has_the_sum_the_score_and_the_reason_of_each_candidate() -> None:
    headings, rows = table_of(CANDIDATES, "en")
    assert headings[2:7] == ("Usable", "- Allocated", "- Held", "- Quarantined", "= Free")
    assert rows == [
        ("NET2", "chosen", 13, 1, 0, 0, 12, "1.00", "chosen in English"),
        ("id of ", "refused", 13, 13, 0, 0, 0, "-", "full in English"),
    ]


def test_the_table_is_in_korean_as_well() -> None:
    headings, rows = table_of(CANDIDATES, "ko")
    assert (headings[0], rows[0][1], rows[0][-1]) == ("네트워크", "선택", "chosen in Korean")
    assert {len(words.headings) for words in WORDS.values()} == {len(rows[0])}


def test_below_the_table_stand_the_weighers_those_left_out_and_what_would_help() -> None:
    fixes = [{"text_en": "ask for 7", "text_ko": "7개만 요청"}, {"text_en": "wait 9 s", "text_ko": "9초 기다리기"}]
    many = CANDIDATES + [candidate(f"NET{number}", "refused", "full", 0) for number in range(40)]
    assert below_table(many, fixes, "en") == [
        "Score: 1 free_count + -0.5 priority",
        "… and 12 more: 12 full",
        "What would help:",
        "  1. ask for 7",
        "  2. wait 9 s",
    ]
    assert below_table((), fixes[:1], "ko") == ["이렇게 하면 됩니다:", "  1. 7개만 요청"]
    assert len(table_of(many, "en")[1]) == 30


@pytest.mark.parametrize(
    ("environ", "language"),
    [
        ({}, "en"),
        ({"LANG": "ko_KR.UTF-8"}, "ko"),
        ({"LANG": "ko_KR.UTF-8", "LC_MESSAGES": "C"}, "en"),
        ({"LANG": "C.UTF-8", "LC_ALL": "ko"}, "ko"),
    ],
)
def test_the_language_is_that_of_the_locale(environ: dict[str, str], language: str) -> None:
    assert language_of(environ) == language
