"""Run tempest's network suite against a server of its own: `make test-tempest`, or `.venv/bin/python tests/tempest/run.py [REGEX]`.

Starts `naru up --no-dataplane` on a free port with one host whose agent achieves at once whatever it is asked for, makes an
external network, and writes tempest.conf from what the server itself says: its extensions, its credentials. Tests that
skips.txt names are left out. The exit status is tempest's.
https://docs.openstack.org/tempest/latest/configuration.html
"""

import argparse
import configparser
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
HOST = socket.gethostname()  # tempest binds ports to the host it runs on
RULE_TYPES = ("bandwidth_limit", "dscp_marking", "packet_rate_limit")  # that real hosts enforce
TEMPEST = ROOT / ".venv-tempest/bin/tempest"
sys.path += [str(HERE.parent)]

from clients import working  # noqa: E402 - lives one folder up
from serving import Serving  # noqa: E402 - the same


def external_network(client: httpx.Client) -> str:
    """The id of a network that floating IPs and gateways come from."""
    network = client.post("/networks", json={"network": {"name": "public", "router:external": True}}).raise_for_status()
    id: str = network.json()["network"]["id"]
    subnet = {"network_id": id, "ip_version": 4, "cidr": "203.0.113.0/24", "enable_dhcp": False}
    client.post("/subnets", json={"subnet": subnet}).raise_for_status()
    return id


def settings(serving: Serving, folder: Path) -> dict[str, dict[str, object]]:
    """tempest.conf's sections for this server. Users and projects are made by tempest itself, for each class of tests."""
    auth = yaml.safe_load((serving.state_dir / "clouds.yaml").read_text())["clouds"]["naru-admin"]["auth"]
    with serving.client() as client:
        aliases = [extension["alias"] for extension in client.get("/extensions").raise_for_status().json()["extensions"]]
        public = external_network(client)
    return {
        "DEFAULT": {"log_dir": folder, "log_file": "tempest.log", "debug": True},
        "oslo_concurrency": {"lock_path": folder / "locks"},
        "auth": {
            "use_dynamic_credentials": True,
            "admin_username": auth["username"],
            "admin_password": auth["password"],
            "admin_project_name": auth["project_name"],
            "admin_domain_name": auth["user_domain_name"],
        },
        "identity": {"auth_version": "v3", "uri_v3": auth["auth_url"], "region": "RegionOne"},
        "service_available": {"neutron": True, "nova": True, "glance": False, "cinder": False, "swift": False},
        "network": {"public_network_id": public, "floating_network_name": "public", "build_timeout": 20},  # seconds
        "network-feature-enabled": {
            "api_extensions": ",".join(sorted(aliases)),
            "ipv6": True,
            "ipv6_subnet_attributes": True,
            "port_security": "port-security" in aliases,
            "floating_ips": "router" in aliases,
        },
        "validation": {"run_validation": False},
    }


def write_workspace(serving: Serving, folder: Path) -> None:
    """A folder that tempest takes for its own: its stestr settings and tempest.conf."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder.parent)}  # below it tempest remembers workspaces
    subprocess.run([TEMPEST, "init", folder], env=environment, check=True, capture_output=True)
    written = configparser.ConfigParser(interpolation=None)
    written.read_dict({name: {key: str(value) for key, value in section.items()} for name, section in settings(serving, folder).items()})
    with (folder / "etc/tempest.conf").open("w") as file:
        written.write(file)


def run(regex: str, concurrency: int, keep: Path | None) -> int:
    with tempfile.TemporaryDirectory(prefix="naru-tempest-") as scratch:
        folder = keep.absolute() if keep else Path(scratch)
        with Serving(folder / "state", "up --no-dataplane") as serving, working(serving, HOST, l3=True, qos_rule_types=RULE_TYPES):
            write_workspace(serving, folder / "rig")
            tests = ("--regex", rf"^tempest\.api\.network\..*({regex})", "--exclude-list", HERE / "skips.txt")
            command = [TEMPEST, "run", *tests, "--concurrency", str(concurrency)]
            direct = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
            status = subprocess.run(command, cwd=folder / "rig", env=direct, check=False).returncode
    if keep:
        print(f"tempest.log and the results are in {folder}/rig, the server's log in {folder}/state")
    return status


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("regex", nargs="?", default="", help="which of the network tests, by their names  [default: all]")
    parser.add_argument("--concurrency", type=int, default=os.cpu_count() or 1, help="worker processes  [default: %(default)s]")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write logs and results there, and leave them")
    arguments = parser.parse_args()
    return run(arguments.regex, arguments.concurrency, arguments.keep)


if __name__ == "__main__":
    sys.exit(main())
