"""Open vSwitch on the emulated hosts, in user space: what an operator would have set up before an agent with this mechanism starts.

    eth1  br-tunnel (has the tunnel address: tunnels of a switch in user space leave by bridges in user space)
    eth2  br-physnet2 (mapped to physnet2)

Each host with this mechanism has daemons and a database of its own, in its own /run/openvswitch, where every tool looks for them.
"""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from naru.drivers.checksums import compute_of
from naru.lab import LabError
from naru.lab.hosts import Host

PACKAGES = dict.fromkeys(("ovs-appctl", "ovs-ofctl", "ovs-vsctl", "ovs-vswitchd"), "openvswitch-switch")
BRIDGE_MAPPINGS = "physnet2:br-physnet2"

START = """
cd /run && mkdir -p openvswitch && cd openvswitch
[ -e conf.db ] || ovsdb-tool create conf.db /usr/share/openvswitch/vswitch.ovsschema
quietly="-vconsole:off --pidfile --detach"
ovs-vsctl --timeout=1 --no-wait show >$1 2>&1 || ovsdb-server conf.db --remote=punix:/run/openvswitch/db.sock --log-file $quietly
ovs-vsctl --no-wait init
ovs-appctl --timeout=1 -t ovs-vswitchd version >$1 2>&1 || ovs-vswitchd --log-file $quietly
"""
BRIDGES = """
netdev="datapath_type=netdev"
ovs-vsctl --may-exist add-br br-tunnel -- set Bridge br-tunnel $netdev -- --may-exist add-port br-tunnel eth1 \\
  -- --may-exist add-br br-physnet2 -- set Bridge br-physnet2 $netdev -- --may-exist add-port br-physnet2 eth2
ip address flush dev eth1
ip address replace $1 dev br-tunnel
ip link set dev br-tunnel up
"""


def start_open_vswitch(host: Host) -> None:
    """Start what does not run, and make what is missing."""
    for script, argument in ((START, "/dev/null"), (BRIDGES, f"{host.tunnel}/24")):
        done = subprocess.run(host.enter("sh", "-ec", script, "sh", argument), capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise LabError(f"Open vSwitch on {host.name} cannot be started: {done.stderr.strip()}")


def sum_up(host: Host) -> None:
    """Have a host with Linux bridges compute the checksums of what leaves it, as a network card does: switches in user space read them."""
    with ThreadPoolExecutor(1) as inside:
        for device in ("eth1", "eth2"):
            inside.submit(compute_of, Path(f"/proc/{host.pid}/ns/net"), device).result()
