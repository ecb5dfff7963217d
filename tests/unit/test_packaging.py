"""The units of systemd: they are understood, they start what there is, and they leave the agent what it needs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from naru.cli.main import COMMANDS

PACKAGING = Path(__file__).parents[2] / "packaging"
UNITS = sorted(PACKAGING.glob("systemd/*.service"))
# systemd.exec(5): each gives a service mounts of its own, and what is mounted there the host does not see.
OWN_MOUNTS = re.compile(r"(Protect(?!Clock|Hostname)\w+|Private\w+|ReadWritePaths|ReadOnlyPaths|InaccessiblePaths|\w+Directory)=", re.ASCII)


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_understands_the_unit(unit: Path, tmp_path: Path) -> None:
    here = tmp_path / unit.name
    here.write_text(unit.read_text().replace("/opt/naru/bin/", f"{Path(sys.executable).parent}/"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", here], capture_output=True, text=True, timeout=60, check=False)
    ours = [line for line in done.stderr.splitlines() if unit.name in line or str(tmp_path) in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_starts_a_command_with_options_that_it_has(unit: Path) -> None:
    (line,) = re.findall(r"^ExecStart=\S+/naru (\w+) (.*)$", unit.read_text(), re.MULTILINE)
    assert line[0] in COMMANDS
    shown = subprocess.run([sys.executable, "-m", "naru", line[0], "--help"], capture_output=True, text=True, timeout=60, check=True).stdout
    assert [option for option in re.findall(r"--[\w-]+", line[1]) if option not in shown] == []


def test_the_agents_unit_gives_it_no_mounts_of_its_own_and_ends_nothing_but_the_agent() -> None:
    lines = [line for line in (PACKAGING / "systemd/naru-agent.service").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if OWN_MOUNTS.match(line)] == []
    assert "KillMode=process" in lines
