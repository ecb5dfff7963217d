"""Why a pick chose what it chose, as a table for people, in English or Korean. The reasons and fixes are the server's words."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Row = Mapping[str, Any]

LANGUAGES = ("en", "ko")
SUM = ("usable", "allocated", "held", "quarantined", "free")
_MOST = 30  # candidates that are told one by one


class Words(NamedTuple):
    headings: tuple[str, ...]
    verdicts: Mapping[str, str]
    score: str
    more: str
    fixes: str
    refused: str  # "": as the server says it


WORDS: Mapping[str, Words] = {
    "en": Words(
        ("Network", "Verdict", "Usable", "- Allocated", "- Held", "- Quarantined", "= Free", "Score", "Reason"),
        {"chosen": "chosen", "passed": "passed", "refused": "refused"},
        "Score: {}",
        "… and {} more: {}",
        "What would help:",
        "",
    ),
    "ko": Words(
        ("네트워크", "판정", "전체", "- 할당", "- 예약", "- 격리", "= 남음", "점수", "까닭"),
        {"chosen": "선택", "passed": "통과", "refused": "제외"},
        "점수: {}",
        "… 외에 {}개: {}",
        "이렇게 하면 됩니다:",
        "{}개를 배정할 자리가 없습니다.",
    ),
}


def language_of(environ: Mapping[str, str]) -> str:
    """As the C library takes a locale: the first that is set of LC_ALL, LC_MESSAGES and LANG."""
    locale = next((environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environ.get(name)), "")
    return "ko" if locale.startswith("ko") else "en"


def table_of(candidates: Sequence[Row], language: str) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Headings and rows."""
    words = WORDS[language]
    return words.headings, [
        (
            *(row["name"] or row["network_id"], words.verdicts[row["verdict"]]),
            *(row["sum"][part] for part in SUM),
            *(f"{row['score']:.2f}" if row["weights"] else "-", row[f"text_{language}"]),
        )
        for row in candidates[:_MOST]
    ]


def below_table(candidates: Sequence[Row], fixes: Sequence[Row], language: str) -> list[str]:
    """Lines: what the score is made of, the candidates that the table leaves out, and what would help."""
    words = WORDS[language]
    weights: Row = next((row["weights"] for row in candidates if row["weights"]), {})
    sum = " + ".join(f"{weight['multiplier']:g} {name}" for name, weight in weights.items())
    lines = [words.score.format(sum)] if weights else []
    if rest := candidates[_MOST:]:
        reasons = Counter(row["reason"] for row in rest)
        lines.append(words.more.format(len(rest), ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())))
    return lines + ([words.fixes, *(f"  {number}. {fix[f'text_{language}']}" for number, fix in enumerate(fixes, 1))] if fixes else [])
