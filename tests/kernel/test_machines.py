"""Virtual machines as instances: a real kernel boots under qemu and gets its address as any other instance does."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from live_lab import live_lab
from naru.lab import LabError
from naru.lab.guest import make_guest
from naru.model.compute import IMAGES
from naru.model.devices import tap_name
from naru.testing import eventually

pytestmark = pytest.mark.needs("root", "qemu-system-x86_64", "busybox")

GUEST = Path(__file__).parents[2] / ".guest"  # kept: the kernel is a download
BOOT_S = 90  # emulated, on a machine that does much else
WITHIN_S = 20


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[SimpleNamespace]:
    """A network with an instance in a namespace on one host."""
    try:
        make_guest(GUEST)
    except LabError as reason:
        pytest.skip(f"what a virtual machine boots cannot be made: {reason}")
    config = "[agent]\nreport_interval_s = 0.5\n"
    with live_lab(tmp_path_factory.mktemp("machines"), config, hosts=2, guest=GUEST) as lab:
        made = SimpleNamespace(lab=lab, network=lab.create("network", name="net", port_security_enabled=False))
        lab.create("subnet", network_id=made.network["id"], ip_version=4, cidr="10.1.0.0/24")
        made.near = lab.boot("near", made.network, "compute01")
        eventually(made.near.has_lease, 30)
        yield made


def test_a_virtual_machine_gets_its_address_by_dhcp_answers_outlives_the_agent_and_leaves_nothing(site):
    lab = site.lab
    wanted = {"name": "web 1", "flavorRef": "1", "imageRef": IMAGES[1].id, "networks": [{"uuid": site.network["id"]}]}
    id = lab.ask("POST", "servers", {"server": wanted}, service="compute")["server"]["id"]
    (port,) = lab.find("port", device_id=id)
    address, directory = port["fixed_ips"][0]["ip_address"], f"/run/naru/machines/{id}"

    eventually(lambda: lab.show("port", port["id"])["status"] == "ACTIVE", WITHIN_S)
    eventually(lambda: site.near.pings(address), BOOT_S)
    eventually(lambda: lab.ask("GET", f"servers/{id}", service="compute")["server"]["status"] == "ACTIVE", WITHIN_S)
    said = lab.run("compute01", "cat", f"{directory}/console.log")
    assert f"naru: eth0 has {address}/24" in said.replace("\r", "")
    eventually(lambda: "naru: booted as web-1" in lab.run("compute01", "cat", f"{directory}/console.log"), WITHIN_S)

    pid = lab.run("compute01", "cat", f"{directory}/pid")
    again = lab.kill("agent-compute01")
    written = lab.log("agent-compute01").count(" wired ")
    lab.start("agent-compute01", *again)
    eventually(lambda: lab.log("agent-compute01").count("in sync with the server") == 2, WITHIN_S)
    assert lab.run("compute01", "cat", f"{directory}/pid") == pid
    assert lab.log("agent-compute01").count(" wired ") == written
    assert site.near.pings(address)

    lab.ask("DELETE", f"servers/{id}", service="compute")
    eventually(lambda: tap_name(port["id"]) not in lab.run("compute01", "ip", "-br", "link"), WITHIN_S)
    left = ("find", "/run/naru/machines", "/run/naru/machine-taps", "-mindepth", "1")
    eventually(lambda: lab.run("compute01", *left) == "", WITHIN_S)
    assert lab.run("compute01", "pgrep", "-f", f"name {id}", check=False) == ""
