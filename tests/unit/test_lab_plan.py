"""What the lab would do, without doing it."""

import os
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from naru.lab import LabError
from naru.lab.cloud import error_message, read_cloud
from naru.lab.hosts import Host, addressing, host_names, underlay
from naru.lab.lab import agent_settings, choose_mechanisms
from naru.lab.running import outside_pids, start_ticks
from naru.settings import load

CONTROLLER = Host("controller01", 7, IPv4Address("10.0.0.30"), IPv4Address("172.18.0.30"))
COMPUTE = Host("compute01", 8, IPv4Address("10.0.0.31"), IPv4Address("172.18.0.31"))


def test_names_of_hosts():
    assert host_names(3) == ["controller01", "compute01", "compute02"]
    assert host_names(100)[-1] == "compute99"


@pytest.mark.parametrize("count", [0, 1, 101])
def test_a_lab_needs_two_hosts_and_holds_a_hundred(count):
    with pytest.raises(LabError, match=f"a lab of {count} hosts"):
        host_names(count)


def test_the_wires_are_bridges_with_one_port_for_each_host():
    lines = underlay({"controller01": CONTROLLER, "compute01": COMPUTE})

    assert lines[:4] == [
        "link add name management up type bridge forward_delay 0",
        "link add name tunnel up type bridge forward_delay 0",
        "link add name physnet2 up type bridge forward_delay 0",
        "address add 10.0.0.1/24 dev management",
    ]
    assert lines[4] == "link add name m-controller01 master management up type veth peer name eth0 netns 7"
    assert len(lines) == 4 + 2 * 3


def test_interface_names_fit_into_the_kernels_15_characters():
    names = [line.split()[3] for line in underlay({name: Host(name, 1, COMPUTE.management, COMPUTE.tunnel) for name in host_names(100)})]
    assert max(len(name) for name in names) <= 15


def test_a_host_has_no_address_on_the_physical_network():
    assert addressing(COMPUTE)[:2] == ["address add 10.0.0.31/24 dev eth0", "address add 172.18.0.31/24 dev eth1"]
    assert not any("eth2" in line for line in addressing(COMPUTE) if line.startswith("address"))


def test_a_lab_has_one_mechanism_or_one_for_each_host():
    names = host_names(3)
    assert choose_mechanisms((), names) == dict.fromkeys(names, "linuxbridge")
    assert choose_mechanisms(("openvswitch",), names) == dict.fromkeys(names, "openvswitch")
    mixed = choose_mechanisms(("controller01=linuxbridge", "openvswitch"), names)
    assert mixed == {"controller01": "linuxbridge", "compute01": "openvswitch", "compute02": "openvswitch"}
    for word, reason in (("ovn", "ovn is no mechanism"), ("compute9=openvswitch", "there is no host compute9 in this lab")):
        with pytest.raises(LabError, match=reason):
            choose_mechanisms((word,), names)


def test_agents_settings_are_settings_that_naru_knows():
    controller, compute = (load(environ=agent_settings(host, Path("/lab"), "linuxbridge")) for host in (CONTROLLER, COMPUTE))

    assert (controller.agent.dhcp, controller.agent.instance_drivers) == (True, ())
    assert (compute.agent.dhcp, compute.agent.instance_drivers) == (False, ("netns",))
    assert compute.agent.local_ip == "172.18.0.31"
    assert compute.agent.physical_interface_mappings == {"physnet2": "eth2"}
    assert compute.state_dir == "/lab/compute01"


CLOUDS = """\
clouds:
  naru-admin:
    auth_type: password
    auth:
      auth_url: http://10.0.0.30:9696/identity/v3
      username: "admin"
      password: s3:cret
      project_name: admin
  naru-demo:
    auth:
      username: demo
      password: other
"""


def test_a_cloud_is_read_from_clouds_yaml(tmp_path):
    (tmp_path / "clouds.yaml").write_text(CLOUDS)

    admin, demo = (read_cloud(tmp_path / "clouds.yaml", cloud) for cloud in ("naru-admin", "naru-demo"))
    assert (admin["username"], admin["password"], admin["auth_url"]) == ("admin", "s3:cret", "http://10.0.0.30:9696/identity/v3")
    assert demo == {"username": "demo", "password": "other"}
    with pytest.raises(LabError, match="no cloud naru-ops"):
        read_cloud(tmp_path / "clouds.yaml", "naru-ops")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"NeutronError": {"type": "X", "message": "full", "detail": ""}}', "full"),
        ('{"conflictingRequest": {"code": 409, "message": "No network has a free address"}}', "No network has a free address"),
        ("<html>502</html>", "<html>502</html>"),
        ('["odd"]', '["odd"]'),
    ],
)
def test_the_message_of_an_error_body(body, message):
    assert error_message(body) == message


def test_processes_are_told_apart_by_when_they_started():
    assert start_ticks(os.getpid()) is not None
    assert start_ticks(2**22 + 1) is None
    assert outside_pids(os.getpid())[os.getpid()] == os.getpid()
