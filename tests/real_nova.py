"""A real Nova in a directory: two APIs, conductor, scheduler, a compute node with Nova's fake driver, Placement, and their message
broker.

All of it is unmodified, on loopback, and ends with the fixture that started it. The API `stock` has Nova's
own pipeline, the API `filtered` has the filter of `naru.integrations.nova` in it besides; the cloud behind both is the same one.
"""

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

import httpx

from databases import DatabaseServer
from naru.testing import eventually
from real_keystone import RealKeystone

ROOT = Path(__file__).parents[1]
PROGRAMS = ROOT / ".venv-nova/bin"
BROKER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # the one in /usr/sbin takes another user
HOST = "fake1"
START_S = 120.0  # each program imports most of Nova

_NOVA = """\
[DEFAULT]
host = {host}
my_ip = 127.0.0.1
state_path = {home}
transport_url = rabbit://guest:guest@127.0.0.1:{broker}//
compute_driver = fake.FakeDriverWithoutFakeNodes
report_interval = 2

[api_database]
connection = {nova_api}

[database]
connection = {nova_cell1}

[oslo_concurrency]
lock_path = {home}/locks

[conductor]
workers = 1

[scheduler]
workers = 1

[glance]
endpoint_override = {network_url}/image

[neutron]
endpoint_override = {network_url}
{account}
[placement]
endpoint_override = http://127.0.0.1:{placement}
{account}
[service_user]
send_service_user_token = true
{account}
[keystone_authtoken]
interface = public
service_token_roles_required = true
{account}
"""

_PLACEMENT = """\
[placement_database]
connection = {placement_db}
sync_on_startup = true

[keystone_authtoken]
interface = public
{account}
"""

_ACCOUNT = """\
auth_type = password
auth_url = {url}
username = nova
password = nova
project_name = service
user_domain_name = Default
project_domain_name = Default
"""

_BROKER = """\
listeners.tcp.1 = 127.0.0.1:{port}
log.console = true
"""

_SERVE = """\
import sys
from importlib import import_module
from werkzeug.serving import run_simple
module, port = sys.argv.pop(), int(sys.argv.pop())  # what stays, oslo.config reads
run_simple("127.0.0.1", port, import_module(module).application, threaded=True)
"""


class RealNova:
    """A cloud whose network and image service is at `network_url`. `options` are those of the filter in `filtered`'s paste file.

    Keystone has the user `nova` with the roles admin and service on the project `service`.
    """

    def __init__(self, home: Path, keystone: RealKeystone, network_url: str, databases: DatabaseServer, options: Mapping[str, str]) -> None:
        self.home = home
        self._keystone = keystone
        self._programs: dict[str, subprocess.Popen[bytes]] = {}
        self._ports = {name: _free_port() for name in ("broker", "names", "clustering", "placement", "stock", "filtered")}
        urls = {name: _for_nova(databases.new_database()) for name in ("nova_api", "nova_cell0", "nova_cell1", "placement_db")}
        account = _ACCOUNT.format(url=keystone.url)
        known = {"home": home, "host": HOST, "network_url": network_url, "account": account, **self._ports, **urls}
        (home / "nova.conf").write_text(_NOVA.format(**known))
        (home / "placement.conf").write_text(_PLACEMENT.format(**known))
        stock = (PROGRAMS.parent / "etc/nova/api-paste.ini").read_text()
        (home / "stock.ini").write_text(stock)
        (home / "filtered.ini").write_text(with_filter(stock, options))
        try:
            self._start(urls["nova_cell0"])
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def url(self, api: str) -> str:
        return f"http://127.0.0.1:{self._ports[api]}/v2.1"

    def log(self, name: str) -> str:
        return (self.home / f"{name}.log").read_text()

    def stop(self) -> None:
        """Each program has a process group of its own: some fork a worker."""
        for process in reversed(self._programs.values()):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _start(self, cell0: str) -> None:
        self._launch_broker()
        self._serve("placement", "placement.wsgi.api")
        self._manage("api_db", "sync")
        self._manage("cell_v2", "map_cell0", "--database_connection", cell0)
        self._manage("db", "sync")
        self._manage("cell_v2", "create_cell")
        self._wait("broker", lambda: _listens(self._ports["broker"]))
        for name in ("conductor", "scheduler", "compute"):
            self._launch(name, str(PROGRAMS / f"nova-{name}"), "--config-file", str(self.home / "nova.conf"))
        for name in ("stock", "filtered"):  # the pipeline is in the first of the files
            files = f"{name}.ini;nova.conf"
            self._serve(name, "nova.wsgi.osapi_compute", OS_NOVA_CONFIG_FILES=files, PYTHONPATH=str(ROOT / "src"))
        for name in ("placement", "stock", "filtered"):
            self._wait(name, lambda name=name: _answers(self._ports[name]))
        self._wait("compute", self._has_host)
        self._manage("cell_v2", "discover_hosts")

    def _launch_broker(self) -> None:
        home, port = self.home / "broker", self._ports["broker"]
        home.mkdir()
        (home / "rabbitmq.conf").write_text(_BROKER.format(port=port))
        (home / "plugins").write_text("[].")
        environ = {
            "HOME": str(home),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._ports["names"]),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq"),
            "RABBITMQ_DIST_PORT": str(self._ports["clustering"]),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_LOG_BASE": str(home),
            "RABBITMQ_MNESIA_BASE": str(home),
            "RABBITMQ_NODENAME": "naru@localhost",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }
        self._launch("names", "epmd", **environ)  # else the broker starts one that outlives it
        self._wait("names", lambda: _listens(self._ports["names"]))
        self._launch("broker", str(BROKER), **environ)

    def _manage(self, *words: str) -> None:
        command = [str(PROGRAMS / "nova-manage"), "--config-file", str(self.home / "nova.conf"), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_S, check=False)
        assert done.returncode == 0, f"nova-manage {' '.join(words)}: {done.stderr[-2000:]}"

    def _serve(self, name: str, module: str, **environ: str) -> None:
        environ |= {"OS_NOVA_CONFIG_DIR": str(self.home), "OS_PLACEMENT_CONFIG_DIR": str(self.home)}
        self._launch(name, str(PROGRAMS / "python"), "-c", _SERVE, str(self._ports[name]), module, **environ)

    def _has_host(self) -> bool:
        token = self._keystone.http.headers["X-Auth-Token"]
        url = f"http://127.0.0.1:{self._ports['placement']}/resource_providers"
        listed = httpx.get(url, headers={"X-Auth-Token": token}, trust_env=False, timeout=30)
        return bool(listed.raise_for_status().json()["resource_providers"])

    def _launch(self, name: str, *argv: str, **environ: str) -> None:
        command = ["setpriv", "--pdeathsig=TERM", *argv]  # it ends with the tests, however they end
        with (self.home / f"{name}.log").open("ab") as log:
            self._programs[name] = subprocess.Popen(command, env=os.environ | environ, stdout=log, stderr=log, start_new_session=True)

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        process = self._programs[name]
        eventually(lambda: process.poll() is not None or ready(), within_s=START_S, every_s=0.1)
        assert process.poll() is None, f"{name} ended; its log ends in:\n{self.log(name)[-2000:]}"


def _for_nova(url: str) -> str:
    """SQLAlchemy's URL of a database, with the driver that Nova's environment has."""
    return f"mysql+pymysql{url.removeprefix('mariadb')}"


def with_filter(paste: str, options: Mapping[str, str]) -> str:
    """Nova's pipelines with the filter `naru` behind the one that learns who asks."""
    settings = {"paste.filter_factory": "naru.integrations.nova:filter_factory"} | dict(options)
    section = "\n".join(["[filter:naru]", *map(" = ".join, settings.items())])
    return f"{paste.replace(' keystonecontext ', ' keystonecontext naru ')}\n{section}\n"


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/", trust_env=False, timeout=30).status_code < httpx.codes.BAD_REQUEST
    except httpx.TransportError:
        return False


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
