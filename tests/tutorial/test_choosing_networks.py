"""The commands of docs/tutorial/choosing-networks.md, replayed with the official client, give what the page says."""

from pathlib import Path

from clients import PROGRAMS, FakeHost
from serving import Serving
from transcripts import replay, transcript, without_cloud

PAGE = Path(__file__).parents[2] / "docs/tutorial/choosing-networks.md"


def test_the_commands_give_what_the_page_shows(tmp_path):
    with Serving(tmp_path) as serving, FakeHost(serving, "controller01") as host:
        clouds = {"OS_CLIENT_CONFIG_FILE": str(serving.state_dir / "clouds.yaml"), "OS_CLOUD": "naru-demo"}
        replay(PAGE, PROGRAMS, without_cloud() | clouds, host.achieve)


def test_both_languages_show_the_same():
    assert list(transcript(PAGE.with_suffix(".ko.md"))) == list(transcript(PAGE))
