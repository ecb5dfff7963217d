"""A running lab seen from outside: who it is, whether it lives, how to enter it."""

import os
import select
import shutil
import signal
import tempfile
from pathlib import Path

import msgspec

from naru.lab import LabError
from naru.lab.lab import Lab

_RECORD = "lab.json"


class RunningLab(msgspec.Struct, frozen=True):
    """`lab.json` in the state directory. PIDs in `hosts` and `programs` are those inside the lab."""

    pid: int  # of the lab's first process, as the machine sees it
    start_ticks: int  # when that process started: a PID alone may be someone else's later
    url: str
    state_dir: str
    hosts: dict[str, int]
    programs: dict[str, int]

    @property
    def clouds_yaml(self) -> str:
        return f"{self.state_dir}/server/clouds.yaml"


def default_state_dir() -> Path:
    return Path(tempfile.gettempdir()) / f"naru-lab-{os.getuid()}"


def claim_state_dir(state_dir: Path) -> None:
    """Make `state_dir` for this user alone, or clear it of an earlier lab.

    Raises LabError where a lab runs from it, or where it holds something else.
    """
    if find_lab(state_dir) is not None:
        raise LabError(f"a lab is up already ({state_dir}); `naru lab down` ends it")
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = state_dir.lstat()
        if state_dir.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise LabError(f"{state_dir} is open to other users; name another with --state-dir")
        if any(state_dir.iterdir()) and not (state_dir / _RECORD).exists():
            raise LabError(f"{state_dir} holds something that is no lab; name another with --state-dir")
        for part in state_dir.iterdir():
            shutil.rmtree(part) if part.is_dir() else part.unlink()
        (state_dir / _RECORD).write_text("{}")
    except OSError as error:
        raise LabError(f"cannot keep the lab's state in {state_dir}: {error.strerror}") from error


def publish(lab: Lab, outside_pid: int) -> None:
    """Write lab.json, whole or not at all; called inside the lab, by whom `run_enclosed` told its PID."""
    started = start_ticks(1)
    assert started is not None
    running = RunningLab(
        pid=outside_pid,
        start_ticks=started,
        url=lab.url,
        state_dir=str(lab.state_dir),
        hosts={host.name: host.pid for host in lab.hosts.values()},
        programs={name: program.pid for name, program in lab.programs.items()},
    )
    written = lab.state_dir / f"{_RECORD}.new"
    written.write_bytes(msgspec.json.format(msgspec.json.encode(running)))
    written.rename(lab.state_dir / _RECORD)


def find_lab(state_dir: Path) -> RunningLab | None:
    """The lab that runs from `state_dir`, if it does."""
    try:
        running = msgspec.json.decode((state_dir / _RECORD).read_bytes(), type=RunningLab)
    except (OSError, msgspec.MsgspecError):
        return None
    return running if start_ticks(running.pid) == running.start_ticks else None


def require_lab(state_dir: Path) -> RunningLab:
    running = find_lab(state_dir)
    if running is None:
        raise LabError(f"no lab runs from {state_dir}; `naru lab up` starts one")
    return running


def enter(running: RunningLab, host: str) -> list[str]:
    """The beginning of a command line that runs the rest on `host`. Raises LabError for an unknown host."""
    if host not in running.hosts:
        raise LabError(f"no host {host} in this lab; it has {', '.join(running.hosts)}")
    pid = outside_pids(running.pid).get(running.hosts[host])
    if pid is None:
        raise LabError(f"host {host} is gone; `naru lab down` and `naru lab up` make the lab anew")
    same_user = Path(f"/proc/{pid}/ns/user").samefile("/proc/self/ns/user")
    user = [] if same_user else ["--user", "--preserve-credentials"]
    return ["nsenter", "-t", str(pid), *user, "--net", "--mount", "--uts", "--pid", "--"]


def end(running: RunningLab) -> None:
    """Kill the lab's first process, and with it everything in the lab; returns when it is gone."""
    first = os.pidfd_open(running.pid)
    try:
        if start_ticks(running.pid) == running.start_ticks:
            signal.pidfd_send_signal(first, signal.SIGKILL)
            select.select([first], [], [])
    finally:
        os.close(first)


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot: field 22 of proc_pid_stat(5). None: there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])


def outside_pids(first_pid: int) -> dict[int, int]:
    """PID inside the lab -> PID on the machine, of every process in the PID namespace of `first_pid`."""
    namespace = Path(f"/proc/{first_pid}/ns/pid").readlink()
    pids = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "ns/pid").readlink() == namespace:
                status = (process / "status").read_text()
                inside = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1]
                pids[int(inside)] = int(process.name)
        except OSError:
            continue  # it has ended, or is another user's
    return pids
