"""The files of OpenStack's services: oslo.config's ini syntax, with the place that each value came from.

https://docs.openstack.org/oslo.config/latest/reference/configuration-files.html
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

import msgspec

from naru.settings import SettingsError

_REFERENCE = re.compile(r"\$(?:\$|\{(?P<braced>[\w.]+)\}|(?P<bare>\w+(?:\.\w+)?))")
_DEPTH = 10  # references in references


class Option(msgspec.Struct, frozen=True):
    file: str
    section: str  # small letters, as oslo.config compares them
    name: str
    value: str  # of several lines: with line feeds

    @property
    def path(self) -> str:
        return f"{self.section}/{self.name}"


def read_options(path: Path) -> list[Option]:
    """What a file sets, in its order. Raises SettingsError for a file that cannot be read, or a line that is none of the syntax."""
    try:
        return list(_parse(path, path.read_text()))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {path}: {error}") from error


def _parse(path: Path, text: str) -> Iterator[Option]:
    section, name, lines = "", "", list[str]()
    for number, line in enumerate((*text.splitlines(), ""), 1):
        if line[:1] in (" ", "\t") and line.strip():
            if not name:
                _refuse(path, number, "a line that begins with a blank goes on with a value, and there is none before it")
            lines.append(line.strip())
            continue
        if name:
            yield Option(path.name, section, name, "\n".join(lines))
            name = ""
        if not line.strip() or line[0] in "#;":
            continue
        if line[0] == "[":
            header = re.fullmatch(r"\[([^\]]+)\]", line.rstrip()) or _refuse(path, number, "a section is written [name]")
            section = header[1].lower()
            continue
        written = re.match(r"([^=:]*?)\s*[=:](.*)", line) or _refuse(path, number, "an option is written name = value")
        name, lines = written[1], [_unquote(written[2].strip())]
        if not name or not section:
            _refuse(path, number, "an option has a name, and stands in a section")


def _unquote(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _refuse(path: Path, number: int, reason: str) -> NoReturn:
    raise SettingsError(f"{path}, line {number}: {reason}")


def resolve(text: str, values: Mapping[str, str], depth: int = _DEPTH) -> str:
    """`text` with each $name, ${name} and $section.name as `values` ("section/name") have it. Raises ValueError for one they lack."""

    def replacement(found: re.Match[str]) -> str:
        reference = found["braced"] or found["bare"]
        if reference is None:
            return "$"
        section, _, name = reference.rpartition(".")
        value = values.get(f"{section.lower() or 'default'}/{name}")
        if value is None or not depth:
            raise ValueError(f"it refers to ${reference}, which {'these files do not set' if depth else 'refers to itself'}")
        return resolve(value, values, depth - 1)

    return _REFERENCE.sub(replacement, text)
