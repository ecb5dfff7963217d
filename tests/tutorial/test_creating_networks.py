"""The commands of docs/tutorial/creating-networks.md, replayed with python-neutronclient 9.0.0, give what the page says."""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from clients import FakeHost
from serving import Serving

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/tutorial/creating-networks.md"
PROGRAMS = ROOT / ".venv-neutronclient/bin"

ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")  # of a resource, or a MAC
SEGMENTS = {"NARU_SEGMENTS_FLAT_PHYSICAL_NETWORKS": "physnet2", "NARU_SEGMENTS_VLAN_RANGES": "physnet2:30:33"}  # the slides' ml2_conf.ini


def transcript(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Each command of the page's console blocks, and the lines shown below it."""
    for block in re.findall(r"^```console\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
            command, *shown = part.splitlines()
            yield command, [line for line in shown if line and not line.startswith("+")]


class Page:
    """The page's ids and those that this server gave in their place, as far as they are known by now."""

    def __init__(self) -> None:
        self.given: dict[str, str] = {}

    def in_place(self, command: str) -> str:
        return ID.sub(lambda found: self.given.get(found[0], found[0]), command)

    def shows(self, line: str, printed: str) -> bool:
        """Whether a line of the page is this printed one; remembers the ids of one that is."""
        if squeezed(ID.sub("*", line)) != squeezed(ID.sub("*", printed)):
            return False
        pairs = list(zip(ID.findall(line), ID.findall(printed), strict=True))
        if any(self.given.get(shown, actual) != actual for shown, actual in pairs):
            return False
        self.given.update(pairs)
        return True


def squeezed(line: str) -> str:
    """Without what depends on the width of a column."""
    return re.sub(r"\s+", " ", line).strip()


def environment(serving: Serving) -> dict[str, str]:
    """OS_USERNAME and its kin, as the administrator of clouds.yaml."""
    auth = yaml.safe_load((serving.state_dir / "clouds.yaml").read_text())["clouds"]["naru-admin"]["auth"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OS_") and not name.lower().endswith("_proxy")}
    return kept | {f"OS_{name.upper()}": value for name, value in auth.items()}


@pytest.mark.needs("neutron")
def test_the_commands_give_what_the_page_shows(tmp_path):
    page = Page()
    with Serving(tmp_path, **SEGMENTS) as serving, FakeHost(serving, "controller01", physical_networks=("physnet2",)) as host:
        environ = environment(serving)
        for command, shown in transcript(PAGE):
            program, *arguments = shlex.split(page.in_place(command))
            argv = [str(PROGRAMS / program), *arguments]
            done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60, check=False)
            printed = (done.stdout + done.stderr).splitlines()
            for line in shown:
                found = next((other for other in printed if page.shows(line, other)), None)
                assert found is not None, f"$ {command}\n\nthe page shows\n{line}\n\nprinted was\n" + "\n".join(printed)
                printed.remove(found)
            host.achieve()


def test_the_page_has_every_command_of_the_slides():
    """Chapter 5 of the slides: networks flat and VLAN, subnets, the port of the DHCP server."""
    assert {command.split()[1] for command, _ in transcript(PAGE)} >= {
        *("net-create", "net-list", "net-show", "net-update", "net-delete"),
        *("subnet-create", "subnet-list", "subnet-show", "subnet-update"),
        *("port-list", "port-show"),
    }


def test_both_languages_show_the_same():
    assert list(transcript(PAGE.with_suffix(".ko.md"))) == list(transcript(PAGE))
