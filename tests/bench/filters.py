"""What filters cost on one host: `python tests/bench/filters.py`, as root. Milliseconds, medians of five.

The driver works in a network namespace of this program's own; the agent, for its memory, in a host of its own.
"""

import ctypes
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from msgspec.structs import replace

sys.path.append(str(Path(__file__).parents[1]))  # as pytest does
from agent_host import Cloud, Host, child_of, settled
from naru.drivers.base import plan
from naru.drivers.nft import Nft
from naru.model.hoststate import FilterRule, FilterState, GroupState, HostState, RulesState, Source, TapState, Value
from naru.testing import eventually

CLONE_NEWNET = 0x40000000  # sched.h
RULES, ROUNDS = 20, 5


def ports(count: int, groups: int) -> Iterator[Value]:
    """`count` filtered ports, which have one of `groups` groups each; a group has 20 rules, one of them from its own members."""
    addresses = [f"10.{number >> 8}.{number & 255}.7" for number in range(count)]
    for number in range(groups):
        own = FilterRule("ingress", "IPv4", remote_group=f"g{number}")
        yield RulesState(f"g{number}", (own, *(FilterRule("ingress", "IPv4", 6, port, port) for port in range(1, RULES))))
        yield GroupState(f"g{number}", tuple(addresses[number::groups]))
    for number, address in enumerate(addresses):
        mac = f"fa:16:3e:00:{number >> 8:02x}:{number & 255:02x}"
        yield FilterState(f"{number:08x}-0000", "net", mac, (Source(mac, address),), (f"g{number % groups}",))


def milliseconds(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    work()
    return (time.perf_counter() - started_s) * 1000


def bring(driver: Nft, desired: HostState) -> None:
    """One pass: what is wanted, what there is, the difference."""
    want, failures = driver.want(desired)
    planned = plan(want, driver.read(), prune=True)
    assert [*failures, *planned.failures, *driver.apply(planned.removals), *driver.apply(planned.additions)] == []


def measure(count: int, groups: int) -> dict[str, float]:
    full = {value.key: value for value in ports(count, groups)}
    filters = [value for value in full.values() if isinstance(value, FilterState)]
    figures: dict[str, list[float]] = {}
    for number in range(ROUNDS):
        driver = Nft({})
        moved = replace(filters[number], sources=(Source(filters[number].mac_address, "10.99.0.1"),))
        group = full["group/g0"]
        joined = replace(group, addresses=(*group.addresses, "10.98.0.1"))
        for name, state in (
            ("all from nothing", full),
            ("again, nothing to do", full),
            ("another address of one port", full | {moved.key: moved}),
            ("one member more", full | {moved.key: moved, joined.key: joined}),
            ("all gone", {}),
        ):
            figures.setdefault(name, []).append(milliseconds(partial(bring, driver, state)))
            figures.setdefault("read back after it", []).append(milliseconds(driver.read))
    return {name: statistics.median(values) for name, values in figures.items()}


def leave() -> None:
    assert not ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET)


def resident_mib(count: int) -> tuple[float, float]:
    """The agent's memory and the seconds until everything was reported, with `count` filtered ports that it wired itself."""
    with tempfile.TemporaryDirectory() as directory:
        host = Host(Path(directory))
        try:
            cloud, values = Cloud(), list(ports(count, 1))
            filters = [replace(value, network_id=cloud.id) for value in values if isinstance(value, FilterState)]
            taps = [
                TapState(port.port_id, cloud.id, port.mac_address, 1450, netns=f"instance-{number}", device="eth0", filtered=True)
                for number, port in enumerate(filters)
            ]
            shared = [value for value in values if not isinstance(value, FilterState)]
            started_s = time.monotonic()
            host.server.put(cloud.network, *shared, *filters, *taps)
            host.start()
            eventually(lambda: settled(host), 120)
            took_s = time.monotonic() - started_s
            assert host.agent is not None
            status = Path(f"/proc/{child_of(host.agent.pid)}/status").read_text()
            return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024, took_s
        finally:
            host.close()


def main() -> None:
    for count in (200, 500):
        for groups, words in ((1, "of one group"), (count, "of a group each")):
            with ThreadPoolExecutor(1, initializer=leave) as host:
                figures = host.submit(measure, count, groups).result()
            print(f"{count} ports {words}, {RULES} rules:", ", ".join(f"{name} {value:.0f}" for name, value in figures.items()), flush=True)
    mib, took_s = resident_mib(500)
    print(f"agent with 500 filtered ports of one group: {mib:.0f} MiB, wired and reported within {took_s:.1f} s of its start")


if __name__ == "__main__":
    main()
