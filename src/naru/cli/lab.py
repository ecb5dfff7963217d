"""`naru lab`: several hosts on one machine, to look at, to learn and to test on."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from naru.lab.lab import Lab
    from naru.lab.running import RunningLab

HOW_TO_USE = """\
the lab is ready: {hosts}
  API     {url} (reached from inside the lab)
  logs    {state_dir}/logs
  use it  naru lab exec{option} controller01 -- openstack --os-cloud naru-demo server list
          naru lab exec{option} compute01 -- ip -brief link
"""


def state_dir_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--state-dir", type=click.Path(path_type=Path, file_okay=False), help="Its record and its logs.  [default: /tmp/naru-lab-UID]"
    )(command)


@click.group()
def command() -> None:
    """Emulate several hosts on this machine.

    Each host is a set of namespaces; all of them live in namespaces of the lab's own and are gone when it ends.
    Needs root, or a kernel that allows user namespaces.
    """


@command.command()
@click.option("--hosts", "host_count", default=3, show_default=True, help="Hosts in all: controller01, then compute01 …")
@click.option(
    "--mechanism",
    "mechanisms",
    multiple=True,
    metavar="[HOST=]MECHANISM",
    help="How the hosts are wired, or one of them: linuxbridge (the default), openvswitch, which runs in user space.",
)
@click.option("--detach", is_flag=True, help="Leave the lab running and return when it is ready.")
@click.option("--guest", type=click.Path(path_type=Path), help="Run virtual machines too; `naru lab guest` made DIR.", metavar="DIR")
@click.option("--config", type=click.Path(path_type=Path), help="naru.toml for the server and the agents.", metavar="FILE")
@state_dir_option
def up(
    host_count: int, mechanisms: tuple[str, ...], *, detach: bool, guest: Path | None, config: Path | None, state_dir: Path | None
) -> None:
    """Start the hosts, a server on controller01, and an agent on every host.

    Runs until Ctrl-C, or until `naru lab down`.
    """
    from naru.lab.hosts import host_names
    from naru.lab.lab import choose_mechanisms, start_lab
    from naru.lab.namespaces import INTERRUPTED, run_enclosed
    from naru.lab.openvswitch import PACKAGES
    from naru.lab.running import claim_state_dir, default_state_dir
    from naru.lab.tools import require_tools

    with plain_refusals():
        option = f" --state-dir {state_dir}" if state_dir else ""
        state_dir = (state_dir or default_state_dir()).absolute()
        chosen = choose_mechanisms(mechanisms, host_names(host_count))
        require_tools(PACKAGES if "openvswitch" in chosen.values() else {})
        claim_state_dir(state_dir)
        if detach:
            _detach(state_dir)
        config = config.absolute() if config else None
        start = partial(start_lab, host_count, state_dir, mechanisms, config, guest.absolute() if guest else None)
        code = run_enclosed(lambda outside_pid: _run_lab(start, state_dir, option, outside_pid))
    if code == INTERRUPTED:
        click.echo(f"the lab is gone; its logs are in {state_dir}/logs", err=True)
    sys.exit(code)


@command.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
def guest(directory: Path) -> None:
    """Make what virtual machines boot: a kernel of Debian's, and a small file system with busybox."""
    from naru.lab.guest import make_guest

    with plain_refusals():
        make_guest(directory)
        click.echo(f"{directory} has a kernel and an initramfs; name it in [agent] guest_dir, or as naru lab up --guest {directory}")


@command.command()
@state_dir_option
def status(state_dir: Path | None) -> None:
    """Say whether the lab is up, and which of its programs run."""
    from naru.lab.running import outside_pids

    with _found(state_dir) as running:
        pids = outside_pids(running.pid)
        click.echo(f"the lab is up (pid {running.pid}): {', '.join(running.hosts)}")
        for name, pid in running.programs.items():
            state = f"pid {pids[pid]}" if pid in pids else "ended"
            click.echo(f"  {name:20} {state:12} {running.state_dir}/logs/{name}.log")


@command.command(name="exec", context_settings={"ignore_unknown_options": True})
@click.argument("host")
@click.argument("command_line", nargs=-1, required=True, type=click.UNPROCESSED)
@state_dir_option
def exec_(host: str, command_line: tuple[str, ...], state_dir: Path | None) -> None:
    """Run a command on a host of the lab: naru lab exec compute01 -- ip netns.

    OS_CLIENT_CONFIG_FILE names the clouds.yaml, so `openstack --os-cloud naru-demo` works there.
    """
    from naru.lab.running import enter
    from naru.lab.tools import with_sbin

    with _found(state_dir) as running:
        ours = Path(sys.executable).parent  # where `openstack` is, if it was installed along with us
        added = {"PATH": f"{ours}:{with_sbin(os.environ.get('PATH', os.defpath))}", "OS_CLIENT_CONFIG_FILE": running.clouds_yaml}
        entered = enter(running, host)
        os.execvpe(entered[0], [*entered, *command_line], os.environ | added)  # noqa: S606 - no shell is meant


@command.command()
@state_dir_option
def down(state_dir: Path | None) -> None:
    """End the lab: every process, interface and namespace of it. The logs stay until the next `up`."""
    from naru.lab.running import end

    with _found(state_dir) as running:
        end(running)
        click.echo(f"the lab is gone; its logs are in {running.state_dir}/logs")


@contextmanager
def plain_refusals() -> Iterator[None]:
    """What the lab refuses is one line on stderr and exit code 1."""
    from naru.lab import LabError

    try:
        yield
    except LabError as error:
        click.echo(f"naru: {error}", err=True)
        sys.exit(1)


@contextmanager
def _found(state_dir: Path | None) -> Iterator["RunningLab"]:
    from naru.lab.running import default_state_dir, require_lab

    with plain_refusals():
        yield require_lab((state_dir or default_state_dir()).absolute())


def _run_lab(start: Callable[[], "Lab"], state_dir: Path, option: str, outside_pid: int) -> int:
    """Inside the lab: start it, say how to use it, and tell of every program that ends."""
    from naru.lab import LabError
    from naru.lab.running import publish

    try:
        lab = start()
    except LabError as error:
        raise LabError(f"{error}\nthe logs are in {state_dir}/logs") from error
    click.echo(HOW_TO_USE.format(hosts=", ".join(lab.hosts), url=lab.url, state_dir=state_dir, option=option))
    publish(lab, outside_pid)
    _watch(lab)
    return 1


def _watch(lab: "Lab") -> None:
    """Say which program has ended, until none is left."""
    names = {program.pid: name for name, program in lab.programs.items()}
    while names:
        pid, wait_status = os.wait()
        if pid in names:
            name = names.pop(pid)
            click.echo(f"{name} ended with exit code {os.waitstatus_to_exitcode(wait_status)}; see {lab.logs}/{name}.log", err=True)


def _detach(state_dir: Path) -> None:
    """Go on in a child without a terminal; the caller waits for the lab to be ready, or to have failed, and exits."""
    from naru.lab.running import find_lab

    log = state_dir / "up.log"
    child = os.fork()
    if child == 0:
        os.setsid()
        for number, path in enumerate((os.devnull, str(log), str(log))):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), number)
        return
    pause = threading.Event()
    ended = 0
    while not ended and find_lab(state_dir) is None:
        pause.wait(0.02)
        ended, wait_status = os.waitpid(child, os.WNOHANG)
    click.echo(log.read_text(), nl=False, err=bool(ended))
    sys.exit(os.waitstatus_to_exitcode(wait_status) if ended else 0)
