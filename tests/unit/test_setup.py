"""`scripts/setup` installs what the lab asks for."""

from pathlib import Path

import pytest

from naru.lab.tools import PACKAGES

SETUP = (Path(__file__).parents[2] / "scripts" / "setup").read_text()


@pytest.mark.parametrize(("program", "package"), PACKAGES.items(), ids=str)
def test_each_program_of_the_lab_is_looked_for_and_its_package_installed(program: str, package: str) -> None:
    if package != "coreutils":  # of which setup itself is made
        row = next((line for line in SETUP.splitlines() if f"has {program} " in line), "")
        assert row.endswith(f"echo {package}"), f"scripts/setup does not install {package} for {program}"
