"""The fence of a router in a real kernel: two namespaces with one MAC on one bridge, as two hosts that both have the router."""

import subprocess

import pytest

from naru.drivers.announce import announce
from naru.drivers.base import Action
from naru.drivers.fence import fence
from naru.drivers.tools import run_actions
from own_host import on_own_host, run

pytestmark = pytest.mark.needs("root", "veth", "linux-bridge", "nft")

MAC, OLD, NEW = "fa:16:3e:00:00:01", "qrouter-old", "qrouter-new"
LIST = ("nft", "list", "set", "netdev", "naru")


def prepare() -> None:
    run("ip link add name wire up type bridge forward_delay 0")
    for number, (netns, mac, host) in enumerate(((OLD, MAC, 1), (NEW, MAC, 1), ("other", "fa:16:3e:00:00:02", 2))):
        run(f"ip netns add {netns}")
        run(f"ip link add tap{number} master wire up type veth peer name qr-1 address {mac} netns {netns}")
        run(f"ip -n {netns} link set qr-1 up")
        run(f"ip -n {netns} address add 10.7.0.{host}/24 dev qr-1")
        run(f"ip -n {netns} address add fd00::{host}/64 dev qr-1 nodad")
    _, lines = fence("qr-1", MAC, 60.0)
    assert run_actions([Action("router/1", ("netns", OLD, "nft", "-f", "-"), line) for line in lines]) == []


def holds(name: str) -> bool:
    """Whether a set of the old one's fence has the device."""
    return b"elements" in subprocess.run(["ip", "netns", "exec", OLD, *LIST, name], check=True, capture_output=True).stdout


def reaches(netns: str, address: str = "10.7.0.2") -> bool:
    ping = ["ip", "netns", "exec", netns, "ping", "-c", "1", "-W", "1", address]
    return subprocess.run(ping, check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize("address", ["10.7.0.1", "fd00::1"])
@on_own_host
def test_a_device_is_shut_when_another_with_its_mac_announces_itself_and_opened_by_an_announcement_of_its_own(address):
    prepare()
    assert reaches(OLD)
    assert announce(NEW, [f"qr-1 {address}"]) == {}
    assert (holds("moved"), holds("alive")) == (True, False)
    assert not reaches(OLD)
    assert reaches(NEW)
    assert announce(OLD, [f"qr-1 {address}"]) == {}
    assert (holds("moved"), holds("alive")) == (False, True)
    assert reaches(OLD)
    announce(NEW, [f"qr-1 {address}"])
    assert not holds("moved")  # while it is alive


@on_own_host
def test_what_a_kernel_sends_by_itself_shuts_no_device_with_its_mac():
    prepare()
    for address in ("10.7.0.2", "10.7.0.99", "fd00::2", "fd00::99"):
        reaches(NEW, address)  # it asks all who hear it where that is
    assert not holds("moved")
