"""The commands of docs/tutorial/creating-networks.md, replayed with python-neutronclient 9.0.0, give what the page says."""

from pathlib import Path

import pytest
import yaml

from clients import FakeHost
from serving import Serving
from transcripts import replay, transcript, without_cloud

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/tutorial/creating-networks.md"
PROGRAMS = ROOT / ".venv-neutronclient/bin"

SEGMENTS = {"NARU_SEGMENTS_FLAT_PHYSICAL_NETWORKS": "physnet2", "NARU_SEGMENTS_VLAN_RANGES": "physnet2:30:33"}  # the slides' ml2_conf.ini


def environment(serving: Serving) -> dict[str, str]:
    """OS_USERNAME and its kin, as the administrator of clouds.yaml."""
    auth = yaml.safe_load((serving.state_dir / "clouds.yaml").read_text())["clouds"]["naru-admin"]["auth"]
    return without_cloud() | {f"OS_{name.upper()}": value for name, value in auth.items()}


@pytest.mark.needs("neutron")
def test_the_commands_give_what_the_page_shows(tmp_path):
    with Serving(tmp_path, **SEGMENTS) as serving, FakeHost(serving, "controller01", physical_networks=("physnet2",)) as host:
        replay(PAGE, PROGRAMS, environment(serving), host.achieve)


def test_the_page_has_every_command_of_the_slides():
    """Chapter 5 of the slides: networks flat and VLAN, subnets, the port of the DHCP server."""
    assert {command.split()[1] for command, _ in transcript(PAGE)} >= {
        *("net-create", "net-list", "net-show", "net-update", "net-delete"),
        *("subnet-create", "subnet-list", "subnet-show", "subnet-update"),
        *("port-list", "port-show"),
    }


def test_both_languages_show_the_same():
    assert list(transcript(PAGE.with_suffix(".ko.md"))) == list(transcript(PAGE))
