"""What this machine cannot run is skipped with its reason, and named once more at the end.

`@pytest.mark.needs("namespaces", "vxlan", "dnsmasq")` names what a test needs of the machine: a row of `NEEDS`, or
else a program. tests/kernel needs what wiring needs without saying so. Probes run in throw-away namespaces
of their own and at most once.
"""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import hypothesis
import pytest

from databases import Databases, find_servers
from naru.drivers.qos import probe_rule_types

hypothesis.settings.register_profile("naru", deadline=None, print_blob=True)  # a busy machine is not a bug
hypothesis.settings.load_profile("naru")

find_servers()  # and ip, nft and dnsmasq, where a user's PATH may not look

FOLDERS = {
    "keystone": ("keystone",),
    "kernel": ("namespaces", "vxlan", "ip", "bridge", "dnsmasq", "udhcpc", "ping"),
    "nova": ("keystone", "nova", "setpriv", "mariadb-install-db", "my_print_defaults", "mariadbd", "rabbitmq-server"),
}


def _root() -> str | None:
    return None if os.geteuid() == 0 else "not root"


def _in_namespace(*argv: str) -> str | None:
    """Why `argv` fails in a network namespace of its own, or None."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return "no unshare (Debian: util-linux)"
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    done = subprocess.run([unshare, "--net", *user, "--", *argv], capture_output=True, text=True, timeout=20, check=False)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]


def _namespaces() -> str | None:
    reason = _in_namespace("true")
    return reason and f"network namespaces cannot be made here ({reason})"


def _link(kind: str, *arguments: str) -> str | None:
    reason = _in_namespace("ip", "link", "add", "probe", "type", kind, *arguments)
    return reason and f"the kernel makes no {kind} device ({reason})"


def _8021q() -> str | None:
    reason = _in_namespace("sh", "-ec", "ip link add v type veth peer name w; ip link add link v name v.7 type vlan id 7")
    return reason and f"the kernel has no 8021q ({reason}; `make test-vm` boots one that has)"


def _shaping() -> str | None:
    missing = {"bandwidth_limit", "dscp_marking", "packet_rate_limit"} - set(probe_rule_types("linuxbridge"))
    return f"the kernel enforces no QoS rules of type {', '.join(sorted(missing))}" if missing else None


def _is_loaded(path: str, module: str) -> bool:
    """Whether the kernel has it, perhaps only now."""
    probe = f"test -e {path} || modprobe {module}"
    return subprocess.run(["sh", "-c", probe], capture_output=True, timeout=20, check=False).returncode == 0


def _openvswitch() -> str | None:
    loaded = _is_loaded("/sys/module/openvswitch", "openvswitch")
    return None if loaded else "the kernel has no Open vSwitch (`make test-vm` boots one that has)"


def _br_netfilter() -> str | None:
    return None if _is_loaded("/proc/sys/net/bridge", "br_netfilter") else "the kernel has no br_netfilter"


def _libfaketime() -> str | None:
    return None if faketime() else "no libfaketime (Debian: libfaketime)"


def faketime() -> Path | None:
    """The library by which a program sees another time of day."""
    return next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


def _udhcpc() -> str | None:
    busybox = shutil.which("busybox")
    if busybox is None:
        return "no busybox (Debian: busybox)"
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, timeout=20, check=True).stdout.split()
    return None if "udhcpc" in applets else "busybox was built without udhcpc"


def _keystone() -> str | None:
    """keystone-manage comes into an environment of its own, so that Keystone's dependencies are not ours."""
    here = Path(__file__).parents[1] / ".venv-keystone/bin/keystone-manage"
    return None if here.exists() else "no Keystone in .venv-keystone (`make test-keystone` makes it)"


def _nova() -> str | None:
    here = Path(__file__).parents[1] / ".venv-nova/bin/nova-compute"
    return None if here.exists() else "no Nova in .venv-nova (`make test-nova` makes it)"


def _neutron() -> str | None:
    """The last release with the `neutron` command wants older clients than ours: it has an environment of its own too."""
    here = Path(__file__).parents[1] / ".venv-neutronclient/bin/neutron"
    return None if here.exists() else "no neutron command in .venv-neutronclient (`make test-slides` makes it)"


def _program(name: str) -> str | None:
    return None if shutil.which(name) else f"no {name}"


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """New databases on SQLite, PostgreSQL and MariaDB."""
    opened = Databases()
    yield opened
    opened.close()


NEEDS: dict[str, Callable[[], str | None]] = {
    "root": _root,
    "namespaces": _namespaces,
    "veth": partial(_link, "veth"),
    "linux-bridge": partial(_link, "bridge"),
    "vxlan": partial(_link, "vxlan", "id", "1", "dstport", "4789"),
    "8021q": _8021q,
    "openvswitch": _openvswitch,
    "br_netfilter": _br_netfilter,
    "shaping": _shaping,
    "udhcpc": _udhcpc,
    "libfaketime": _libfaketime,
    "keystone": _keystone,
    "neutron": _neutron,
    "nova": _nova,
}


@cache
def missing(need: str) -> str | None:
    """Why this machine does not meet `need`, or None."""
    return NEEDS[need]() if need in NEEDS else _program(need)


def _needs(item: pytest.Item) -> Iterator[str]:
    here = Path(__file__).parent
    for folder in item.path.relative_to(here).parts[:-1]:
        yield from FOLDERS.get(folder, ())
    for mark in item.iter_markers("needs"):
        yield from mark.args


@pytest.hookimpl(tryfirst=True)  # before the fixtures, which may need it too
def pytest_runtest_setup(item: pytest.Item) -> None:
    for need in _needs(item):
        if reason := missing(need):
            pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", ()))
    if reasons:
        terminalreporter.section("not run on this machine")
        for reason, count in sorted(reasons.items()):
            terminalreporter.write_line(f"{count:4} {'test' if count == 1 else 'tests'}: {reason}")
