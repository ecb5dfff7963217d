"""What the lab needs of the machine, and how to get it where it is missing."""

import os
import shutil
import subprocess

from naru.lab import LabError

# Programs that the lab and the agents on its hosts run, and the Debian package of each.
PACKAGES = {
    "bridge": "iproute2",
    "busybox": "busybox",
    "dnsmasq": "dnsmasq-base",
    "hostname": "hostname",
    "ip": "iproute2",
    "mount": "mount",
    "nft": "nftables",
    "nsenter": "util-linux",
    "ping": "iputils-ping",
    "sleep": "coreutils",
    "sysctl": "procps",
    "unshare": "util-linux",
}


def require_tools(more: dict[str, str] | None = None) -> None:
    """Raises LabError naming every tool that is missing and its package. From here on PATH has what Debian keeps in sbin."""
    os.environ["PATH"] = path = with_sbin(os.environ.get("PATH", os.defpath))
    missing = {tool: package for tool, package in (PACKAGES | (more or {})).items() if shutil.which(tool, path=path) is None}
    if missing:
        install = f"apt-get install {' '.join(sorted(set(missing.values())))}"
        raise LabError(f"missing here: {', '.join(missing)}. As root: {install}")
    applets = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=False).stdout.split()
    if "udhcpc" not in applets:
        raise LabError("this busybox has no udhcpc, the DHCP client of the instances. As root: apt-get install busybox")


def with_sbin(path: str) -> str:
    """`path` and the places where Debian keeps `ip` and `dnsmasq`, which are not on every user's path."""
    return f"{path}:/usr/local/sbin:/usr/sbin:/sbin"
