"""Pages that show commands and what these print: replayed, they must give the same."""

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")  # of a resource, or a MAC
_SERVER = re.compile(r"http://[\w.]+:\d+/")


def transcript(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Each command of the page's console blocks, and the lines shown below it."""
    for block in re.findall(r"^```console\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
            command, *shown = part.splitlines()
            yield command, [line for line in shown if line and not line.startswith("+")]


def replay(page: Path, programs: Path, environ: Mapping[str, str], after_each: Callable[[], None]) -> None:
    """Runs the commands of a page. Raises AssertionError for a line that is shown and was not printed."""
    replayed = _Replayed()
    for command, shown in transcript(page):
        program, *arguments = shlex.split(replayed.in_place(command))
        argv = [str(programs / program), *arguments]
        done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60, check=False)
        printed = (done.stdout + done.stderr).splitlines()
        for line in shown:
            found = next((other for other in printed if replayed.shows(line, other)), None)
            assert found is not None, f"$ {command}\n\nthe page shows\n{line}\n\nprinted was\n" + "\n".join(printed)
            printed.remove(found)
        after_each()


def without_cloud() -> dict[str, str]:
    """The environment, without what would lead a client to another cloud or through a proxy."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OS_") and not name.lower().endswith("_proxy")}


class _Replayed:
    """The page's ids and those that this server gave in their place, as far as they are known by now."""

    def __init__(self) -> None:
        self.given: dict[str, str] = {}

    def in_place(self, command: str) -> str:
        return _ID.sub(lambda found: self.given.get(found[0], found[0]), command)

    def shows(self, line: str, printed: str) -> bool:
        """Whether a line of the page is this printed one; remembers the ids of one that is."""
        if _squeezed(_ID.sub("*", line)) != _squeezed(_ID.sub("*", printed)):
            return False
        pairs = list(zip(_ID.findall(line), _ID.findall(printed), strict=True))
        if any(self.given.get(shown, actual) != actual for shown, actual in pairs):
            return False
        self.given.update(pairs)
        return True


def _squeezed(line: str) -> str:
    """Without what depends on the width of a column, and on where the server is."""
    return re.sub(r"\s+", " ", _SERVER.sub("http://…/", line)).strip()
