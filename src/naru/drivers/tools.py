"""Where actions turn into effects: the tools, and the one function that runs lines of several of them in order.

("ip",), ("ip", "-n", NETNS), ("bridge",), ("tc",)   lines of a batch
("nft",)                                    lines of one transaction, without those that fail
("ovs-vsctl",)                              commands of one transaction
("ovs-ofctl", *OPTIONS, BRIDGE)             changes of flows, all at once
("sh",)                                     a command line
("netns", NETNS, "nft", "-f", "-")          the whole input of a program that runs there; it does all of it or nothing
("checksums",)                              a namespace and a device there that is to compute checksums itself
("qmp", PATH)                               a card that the qemu with this monitor is to get or lose: see qmp.py
("announce", NETNS)                         a device and an IPv4 address to announce there
("write", PATH)                             the lines are the whole content of the file, replaced atomically
("secret", PATH)                            the same, and no log shows the lines
("signal", PID_FILE)                        the name of a signal for the daemon; TERM waits until it has ended
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

from naru.drivers import daemons, iproute, nftables, ovsdb, qmp
from naru.drivers.announce import announce
from naru.drivers.base import Action, Failure
from naru.drivers.checksums import compute_checksums

LATE = ("announce", "unlink")
CUT = (("ip",), ("checksums",))
SIDE_BY_SIDE = 8


def run_actions(actions: list[Action]) -> list[Failure]:
    """Run actions in order, neighbours of one tool in one batch; return the first failure of each key.

    After a failure, actions of the same key in later batches are left out. Three exceptions to the order, so that a mark of
    ownership per namespace does not cut a batch of a hundred lines into a hundred: a file may be written before the `ip` lines
    that precede it; of `ip` lines that `checksums` cut, those before it run first, of all keys, and those after it last; and
    after all else addresses are announced and files unlinked.
    """
    failures: dict[str, str] = {}
    for tool, batch in _batches(list(uncut(actions))):
        runnable = [action for action in batch if action.key not in failures]
        for index, reason in _run(tool, [action.line for action in runnable]).items():
            failures.setdefault(runnable[index].key, reason)
    return [Failure(key, reason) for key, reason in failures.items()]


def uncut(actions: list[Action]) -> Iterator[Action]:
    """The actions with `ip` lines that `checksums` cut in one batch before and one after, where each tap would take a batch."""
    for _, group in groupby(actions, key=lambda action: action.tool in CUT):
        begun: set[str] = set()  # keys
        before: list[Action] = []
        cuts: list[Action] = []
        after: list[Action] = []
        for action in group:
            if action.tool == ("checksums",):
                cuts.append(action)
                begun.add(action.key)
            else:
                (after if action.key in begun else before).append(action)
        yield from (*before, *cuts, *after)


def _batches(actions: list[Action]) -> Iterator[tuple[tuple[str, ...], list[Action]]]:
    waiting: list[Action] = []
    late = sorted((action for action in actions if action.tool[0] in LATE), key=lambda action: (LATE.index(action.tool[0]), action.tool))
    for tool, group in groupby((action for action in actions if action.tool[0] not in LATE), key=lambda action: action.tool):
        batch = list(group)
        if tool[0] in ("write", "secret") and (not waiting or waiting[0].tool == ("ip",)):
            yield tool, batch
        elif waiting and waiting[0].tool == tool:
            waiting += batch
        else:
            if waiting:
                yield waiting[0].tool, waiting
            waiting = batch
    if waiting:
        yield waiting[0].tool, waiting
    for tool, group in groupby(late, key=lambda action: action.tool):
        yield tool, list(group)


def _run(tool: tuple[str, ...], lines: list[str]) -> dict[int, str]:
    """The reason of each line that failed, by its index."""
    return _TOOLS[tool[0]](tool, lines) if lines else {}


def _run_shell(_: tuple[str, ...], lines: list[str]) -> dict[int, str]:
    def why(line: str) -> str:
        ran = iproute.run(("sh", "-c", line))
        return (ran.stderr.strip() or f"ended with {ran.returncode}: {line}") if ran.returncode else ""

    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        return {index: reason for index, reason in enumerate(threads.map(why, lines)) if reason}


def _run_inside(tool: tuple[str, ...], lines: list[str]) -> dict[int, str]:
    _, netns, *argv = tool
    ran = iproute.run(("nsenter", f"--net={iproute.NETNS_DIR / netns}", *argv), "".join(f"{line}\n" for line in lines))
    if ran.returncode == 0:
        return {}
    reason = " ".join(ran.stderr.split()) or f"{argv[0]} ended with {ran.returncode}"
    is_gone = "No such file or directory" in reason
    return {index: reason for index, line in enumerate(lines) if not (is_gone and line.startswith("delete "))}


def _write_file(tool: tuple[str, ...], lines: list[str]) -> dict[int, str]:
    reason = _write(Path(tool[1]), "".join(f"{line}\n" for line in lines if line))
    return dict.fromkeys(range(len(lines)), reason) if reason else {}


def _unlink_files(_: tuple[str, ...], lines: list[str]) -> dict[int, str]:
    return {index: reason for index, line in enumerate(lines) if (reason := _unlink(Path(line)))}


def _signal(tool: tuple[str, ...], lines: list[str]) -> dict[int, str]:
    for line in lines:
        daemons.send(Path(tool[1]), line)
    return {}


_TOOLS: Mapping[str, Callable[[tuple[str, ...], list[str]], dict[int, str]]] = {
    "ip": iproute.batch,
    "bridge": iproute.batch,
    "tc": iproute.batch,
    "nft": lambda _, lines: nftables.batch([str(number) for number in range(len(lines))], lines),
    "ovs-vsctl": lambda _, lines: ovsdb.transact(lines),
    "ovs-ofctl": lambda tool, lines: ovsdb.bundle(tool[1:], lines),
    "sh": _run_shell,
    "netns": _run_inside,
    "checksums": lambda _, lines: compute_checksums(lines),
    "qmp": lambda tool, lines: qmp.exchange(Path(tool[1]), lines),
    "announce": lambda tool, lines: announce(tool[1], lines),
    "write": _write_file,
    "secret": _write_file,
    "unlink": _unlink_files,
    "signal": _signal,
}


def _write(path: Path, content: str) -> str:
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.touch(0o600)  # some hold secrets, and all are ours alone
        new.write_text(content)
        new.replace(path)
    except OSError as error:
        return f"cannot write {path}: {error.strerror}"
    return ""


def _unlink(path: Path) -> str:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        return f"cannot remove {path}: {error.strerror}"
    return ""
