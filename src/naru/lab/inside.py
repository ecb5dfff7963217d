"""What an instance really has, seen on its host: the lease of its DHCP client, its interface, who it can reach."""

import subprocess
from pathlib import Path
from typing import Any

import msgspec

from naru.lab.hosts import Host
from naru.model.devices import instance_netns

_PATIENCE_S = 5


def read_lease(host: Host, instance_id: str) -> dict[str, Any] | None:
    """The lease as udhcpc's script wrote it in the host's own /run; None as long as there is none."""
    path = Path(f"/proc/{host.pid}/root/run/naru/instances/{instance_id}/eth0.lease")
    try:
        lease: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    return lease


def read_links(host: Host, instance_id: str) -> list[dict[str, Any]]:
    return _ip(host, instance_id, "address")


def read_routes(host: Host, instance_id: str) -> list[dict[str, Any]]:
    return _ip(host, instance_id, "route")


def reaches(host: Host, instance_id: str, address: str, patience_s: int = _PATIENCE_S) -> bool:
    """Whether `address` answers a ping from the instance, tried every 0.2 s."""
    ping = ["ping", "-c", "1", "-i", "0.2", "-w", str(patience_s), address]
    command = host.enter("ip", "netns", "exec", instance_netns(instance_id), *ping)
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _ip(host: Host, instance_id: str, kind: str) -> list[dict[str, Any]]:
    command = host.enter("ip", "-json", "-n", instance_netns(instance_id), kind)
    done = subprocess.run(command, capture_output=True, check=False)
    found: list[dict[str, Any]] = msgspec.json.decode(done.stdout) if done.returncode == 0 and done.stdout else []
    return found
