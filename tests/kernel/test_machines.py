"""Virtual machines as instances: a real kernel boots under qemu and gets its address as any other instance does."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from live_lab import live_lab
from naru.agent.machines import QEMU
from naru.drivers.qmp import Card, Monitor, exchange, line, read_cards
from naru.lab import LabError
from naru.lab.guest import make_guest
from naru.model.compute import IMAGES
from naru.model.devices import tap_name
from naru.testing import eventually
from own_host import RUN, on_own_host, run

pytestmark = pytest.mark.needs("root", "qemu-system-x86_64", "busybox")

GUEST = Path(__file__).parents[2] / ".guest"  # kept: the kernel is a download
BOOT_S = 90  # emulated, on a machine that does much else
WITHIN_S = 20
COUNT_CARDS = "import pathlib, sys; from naru.drivers.qmp import read_cards; print(len(read_cards(pathlib.Path(sys.argv[1]))))"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[SimpleNamespace]:
    """Two networks, each with an instance in a namespace on one host."""
    with lay_site(tmp_path_factory.mktemp("machines"), "linuxbridge") as made:
        yield made


@contextmanager
def lay_site(directory: Path, mechanism: str) -> Iterator[SimpleNamespace]:
    try:
        make_guest(GUEST)
    except LabError as reason:
        pytest.skip(f"what a virtual machine boots cannot be made: {reason}")
    config = "[agent]\nreport_interval_s = 0.5\n"
    with live_lab(directory, config, hosts=2, mechanism=mechanism, guest=GUEST) as lab:
        made = SimpleNamespace(lab=lab, network=lab.create("network", name="net", port_security_enabled=False))
        lab.create("subnet", network_id=made.network["id"], ip_version=4, cidr="10.1.0.0/24")
        made.other = lab.create("network", name="other", port_security_enabled=False)
        lab.create("subnet", network_id=made.other["id"], ip_version=4, cidr="10.2.0.0/24")
        made.near, made.beside = lab.boot("near", made.network, "compute01"), lab.boot("beside", made.other, "compute01")
        eventually(lambda: made.near.has_lease() and made.beside.has_lease(), 30)
        yield made


def boot_machine(site):
    """-> id, port and address of one that answers."""
    lab = site.lab
    wanted = {"name": "web 1", "flavorRef": "1", "imageRef": IMAGES[1].id, "networks": [{"uuid": site.network["id"]}]}
    id = lab.ask("POST", "servers", {"server": wanted}, service="compute")["server"]["id"]
    (port,) = lab.find("port", device_id=id)
    address = port["fixed_ips"][0]["ip_address"]
    eventually(lambda: lab.show("port", port["id"])["status"] == "ACTIVE", WITHIN_S)
    eventually(lambda: site.near.pings(address), BOOT_S)
    return id, port, address


def attach(site, id):
    """-> port and address of one more interface, on the other network, at which the machine answers."""
    asked = {"interfaceAttachment": {"net_id": site.other["id"]}}
    attached = site.lab.ask("POST", f"servers/{id}/os-interface", asked, service="compute")["interfaceAttachment"]
    address = attached["fixed_ips"][0]["ip_address"]
    eventually(lambda: site.lab.show("port", attached["port_id"])["status"] == "ACTIVE", WITHIN_S)
    eventually(lambda: site.beside.pings(address), WITHIN_S)
    return attached["port_id"], address


def detach(site, id, port_id, address):
    lab = site.lab
    lab.ask("DELETE", f"servers/{id}/os-interface/{port_id}", service="compute")
    assert lab.find("port", id=port_id) == []
    eventually(lambda: tap_name(port_id) not in lab.run("compute01", "ip", "-br", "link"), WITHIN_S)
    assert not site.beside.pings(address)
    reused = lab.create("port", network_id=site.other["id"], fixed_ips=[{"ip_address": address}])
    lab.ask("DELETE", f"/v2.0/ports/{reused['id']}")
    eventually(lambda: cards(lab, id) == 1, WITHIN_S)
    assert lab.log("agent-compute01").count("does not let go") == 0


def cards(lab, id):
    """As qemu counts them."""
    return int(lab.run("compute01", sys.executable, "-c", COUNT_CARDS, f"/run/naru/machines/{id}/qmp"))


def test_a_virtual_machine_gets_addresses_by_dhcp_and_cards_while_it_runs_outlives_the_agent_and_leaves_nothing(site):
    lab = site.lab
    id, port, address = boot_machine(site)
    directory = f"/run/naru/machines/{id}"
    eventually(lambda: lab.ask("GET", f"servers/{id}", service="compute")["server"]["status"] == "ACTIVE", WITHIN_S)
    for told in (f"naru: eth0 has {address}/24", "naru: booted as web-1"):
        eventually(lambda told=told: told in lab.run("compute01", "cat", f"{directory}/console.log"), WITHIN_S)

    pid = lab.run("compute01", "cat", f"{directory}/pid")
    for _ in range(2):  # the second has the same name in the guest
        more, other_address = attach(site, id)
        told = f"naru: eth1 has {other_address}/24"
        eventually(lambda told=told: told in lab.run("compute01", "cat", f"{directory}/console.log"), WITHIN_S)
        detach(site, id, more, other_address)
    assert lab.run("compute01", "cat", f"{directory}/pid") == pid
    more, other_address = attach(site, id)
    again = lab.kill("agent-compute01")
    written = lab.log("agent-compute01").count(" wired ")
    lab.start("agent-compute01", *again)
    eventually(lambda: lab.log("agent-compute01").count("in sync with the server") == 2, WITHIN_S)
    assert lab.run("compute01", "cat", f"{directory}/pid") == pid
    assert lab.log("agent-compute01").count(" wired ") == written
    assert site.near.pings(address)
    assert site.beside.pings(other_address)

    lab.ask("DELETE", f"servers/{id}", service="compute")
    eventually(lambda: tap_name(port["id"]) not in lab.run("compute01", "ip", "-br", "link"), WITHIN_S)
    left = ("find", "/run/naru/machines", "/run/naru/machine-taps", "-mindepth", "1")
    eventually(lambda: lab.run("compute01", *left) == "", WITHIN_S)
    assert lab.run("compute01", "pgrep", "-f", f"name {id}", check=False) == ""


@pytest.mark.needs("ovs-vswitchd")
def test_a_virtual_machine_on_open_vswitch_gets_its_addresses_by_dhcp_and_leaves_nothing(tmp_path):
    with lay_site(tmp_path, "openvswitch") as site:
        lab = site.lab
        id, port, address = boot_machine(site)
        more, other_address = attach(site, id)
        assert site.near.pings(address)
        again = lab.kill("agent-compute01")
        written = lab.log("agent-compute01").count(" wired ")
        lab.start("agent-compute01", *again)
        eventually(lambda: lab.log("agent-compute01").count("in sync with the server") == 2, WITHIN_S)
        assert lab.log("agent-compute01").count(" wired ") == written
        detach(site, id, more, other_address)
        lab.ask("DELETE", f"servers/{id}", service="compute")
        eventually(lambda: tap_name(port["id"]) not in lab.run("compute01", "ip", "-br", "link"), WITHIN_S)
        eventually(lambda: tap_name(port["id"]) not in lab.run("compute01", "ovs-vsctl", "show"), WITHIN_S)


@on_own_host
def test_a_card_that_a_guest_does_not_let_go_is_cut_off_and_named_and_what_a_killed_agent_left_is_no_obstacle():
    """A machine that never runs."""
    monitor, card = RUN / "qmp", Card("tap1", "fa:16:3e:00:00:05", sums=True)
    RUN.mkdir()
    run("ip tuntap add tap1 mode tap")
    run("ip link set tap1 up")
    command = [QEMU, "-S", "-nodefaults", "-nographic", "-accel", "tcg", "-qmp", f"unix:{monitor},server=on,wait=off"]
    with subprocess.Popen(command) as machine:
        try:
            eventually(monitor.exists, WITHIN_S)
            with Monitor(monitor) as asked:
                asked.ask("netdev_add", type="tap", id="to-tap1", ifname="tap1", script="no", downscript="no")
            assert exchange(monitor, [line("plug", card)]) == {}
            assert (read_cards(monitor), has_carrier("tap1")) == ((card,), True)
            (reason,) = exchange(monitor, [line("unplug", card)]).values()
            assert reason.startswith("the guest does not let go of the card tap1, whose wire is cut")
            assert not has_carrier("tap1")
        finally:
            machine.kill()
    (reason,) = exchange(monitor, [line("plug", card)]).values()
    assert reason.startswith(f"qemu does not answer at {monitor}")


def has_carrier(device):
    shown = subprocess.run(["ip", "-br", "link", "show", device], capture_output=True, text=True, check=True).stdout
    return "NO-CARRIER" not in shown
