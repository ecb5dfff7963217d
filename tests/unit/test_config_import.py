"""`naru config import`: Neutron's files become naru.toml, and nothing of them is lost without a word."""

import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from naru.integrations.ini import read_options, resolve
from naru.integrations.ml2 import import_settings
from naru.settings import SettingsError, load

# As the slides show it (page 5), on the controller of three hosts.
SLIDES = """\
[ml2]
mechanism_drivers = linuxbridge,l2population
tenant_network_types = vxlan, vlan
[ml2_type_flat]
flat_networks = physnet2
[ml2_type_vlan]
network_vlan_ranges = physnet2:30:33
[ml2_type_vxlan]
vni_ranges = 1:1000
[securitygroup]
firewall_driver =
 neutron.agent.linux.iptables_firewall.IptablesFirewallDriver
[linux_bridge]
physical_interface_mappings = physnet2:eth2
[vxlan]
enable_vxlan = true
l2_population = true
local_ip = 172.18.0.100
"""


@pytest.fixture
def imported(tmp_path: Path):
    """Import files of these texts, by name; -> (what naru.toml says as TOML, its text)."""

    def run(**texts: str) -> tuple[dict, str]:
        paths = [tmp_path / f"{name}.ini" for name in texts]
        for path, text in zip(paths, texts.values(), strict=True):
            path.write_text(text)
        written = import_settings(paths)
        (tmp_path / "naru.toml").write_text(written)
        load(tmp_path / "naru.toml", environ={})
        return tomllib.loads(written), written

    return run


def test_the_configuration_of_the_slides_becomes_naru_toml(imported) -> None:
    document, text = imported(ml2_conf=SLIDES)
    assert document == {
        "segments": {
            "tenant_network_types": ["vxlan", "vlan"],
            "flat": {"physical_networks": ["physnet2"]},
            "vlan": {"ranges": ["physnet2:30:33"]},
            "vxlan": {"vni_ranges": ["1:1000"]},
        },
        "agent": {
            "mechanism": "linuxbridge",
            "physical_interface_mappings": {"physnet2": "eth2"},
            "local_ip": "172.18.0.100",
            "firewall": "native",
        },
    }
    comments = text.partition("# Not taken over:\n")[2].splitlines()
    assert [line.partition(" = ")[0] for line in comments] == ["# ml2_conf.ini [ml2] mechanism_drivers"]
    assert "l2population is always there" in comments[0]


def test_a_server_and_an_open_vswitch_host_become_one_file(imported) -> None:
    document, text = imported(
        neutron="""\
[DEFAULT]
bind_host = 10.0.0.30
transport_url = rabbit://openstack:hush@controller
dns_domain = example.org.
notify_nova_on_port_status_changes = yes
[ssl]
cert_file = /etc/neutron/server.pem
key_file = /etc/neutron/server.key
[nova]
endpoint_override = http://controller:8774/v2.1
password = hush
[keystone_authtoken]
auth_url = http://controller:5000
username = neutron
password = "two words"
[quotas]
quota_port = -1
[database]
connection = mysql+pymysql://neutron:hush@controller/neutron
""",
        openvswitch_agent="""\
[DEFAULT]
my_ip = 10.20.0.31
[ovs]
local_ip = $my_ip
bridge_mappings =
  physnet1:br-ex,
  physnet2:br-vlan
datapath_type = netdev
[agent]
tunnel_types = vxlan
l2_population = false
""",
        metadata_agent="[DEFAULT]\nnova_metadata_ip = controller\nmetadata_proxy_shared_secret = hush\n",
    )
    assert document["bind"] == "10.0.0.30:9696"
    assert (document["tls_cert"], document["tls_key"]) == ("/etc/neutron/server.pem", "/etc/neutron/server.key")
    assert document["nova"] == {"events": True, "endpoint": "http://controller:8774/v2.1"}
    assert document["auth"] == "keystone"
    assert document["keystone"] == {"auth_url": "http://controller:5000", "username": "neutron", "password": "two words"}
    assert document["quota"] == {"port": -1}
    assert document["agent"] == {
        "mechanism": "openvswitch",
        "bridge_mappings": {"physnet1": "br-ex", "physnet2": "br-vlan"},
        "ovs_datapath_type": "netdev",
        "local_ip": "10.20.0.31",
        "nova_metadata_url": "http://controller:8775",
        "metadata_proxy_shared_secret": "hush",
    }
    left = text.partition("# Not taken over:\n")[2]
    assert {line.split("]")[1].split("=")[0].strip() for line in left.splitlines()} == {
        "password", "transport_url", "connection", "my_ip", "tunnel_types", "l2_population",
    }  # fmt: skip
    assert "Naru does as if it were true" in left
    assert "hush" not in left, "a comment is no place for a secret"


def test_each_option_is_taken_over_or_named(imported) -> None:
    options = {"polling_interval": "2", "quitting_rpc_timeout": "10", "mechanism drivers": "linuxbridge"}
    document, text = imported(linuxbridge_agent="[agent]\n" + "".join(f"{name} = {value}\n" for name, value in options.items()))
    assert document == {}
    for name, value in options.items():
        assert f'# linuxbridge_agent.ini [agent] {name} = "{value}": no setting of Naru stands for it' in text


def test_a_value_that_cannot_be_is_a_comment_with_the_reason(imported) -> None:
    document, text = imported(
        agent="[vxlan]\nlocal_ip = $host_ip\n[linux_bridge]\nphysical_interface_mappings = eth2\n[DEFAULT]\nagent_down_time = soon\n"
        "[ovs]\ndatapath_type = dpdk\n"
    )
    assert document == {"agent": {"mechanism": "linuxbridge"}}
    assert "it refers to $host_ip, which these files do not set" in text
    assert "'eth2' is not of the form physical_network:device" in text
    assert "agent.ovs_datapath_type cannot be that: Invalid enum value 'dpdk'" in text
    assert "could not convert string to float: 'soon'" in text


def test_a_later_file_goes_before_an_earlier_one_and_both_are_named(imported) -> None:
    document, text = imported(first="[vxlan]\nlocal_ip = 10.0.0.1\n", second="[VXLAN]\nlocal_ip = 10.0.0.2\n")
    assert document["agent"] == {"local_ip": "10.0.0.2"}
    assert '# first.ini [vxlan] local_ip = "10.0.0.1": second.ini has another value after it: "10.0.0.2"' in text


def test_references_are_followed_and_two_dollars_are_one() -> None:
    values = {"default/a": "${b}!", "default/b": "$ovs.c", "ovs/c": "deep", "default/round": "$round"}
    assert resolve("$a costs $$5", values) == "deep! costs $5"
    with pytest.raises(ValueError, match="refers to itself"):
        resolve("$round", values)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("[DEFAULT]\nthis is prose\n", "line 2: an option"), ("a = b\n", "line 1"), (" a = b\n", "line 1"), ("[open\n", "line 1: a section")],
)
def test_a_file_of_another_syntax_is_refused_by_line(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "broken.ini"
    path.write_text(text)
    with pytest.raises(SettingsError, match=reason):
        read_options(path)


def test_the_command_writes_a_file_for_its_owner_alone_and_overwrites_none(tmp_path: Path) -> None:
    (tmp_path / "ml2_conf.ini").write_text(SLIDES)
    command = [sys.executable, "-m", "naru", "config", "import", "ml2_conf.ini"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    written = tmp_path / "naru.toml"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    before = written.read_text()
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode == 1
    assert "--output" in again.stderr
    assert written.read_text() == before
