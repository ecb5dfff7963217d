"""What came of the demo, and the verdict on it: pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from statistics import median

import msgspec

from naru.lab.checks import expected_split


class Instance(msgspec.Struct, frozen=True):
    """A row of the table. `failures` says what did not hold, in words."""

    name: str
    host: str = ""
    network: str = ""
    address: str = ""
    request_to_lease_s: float | None = None
    why: str = ""  # this network: the server's own words
    reached: str = ""  # the instance on another host that answered its ping
    failures: tuple[str, ...] = ()


class Outcome(msgspec.Struct, frozen=True):
    """`naru demo --json` prints it as it stands."""

    ok: bool
    verdict: str
    instances: list[Instance]
    free_before: dict[str, int]
    free_after: dict[str, int]
    request_to_lease_p50_s: float | None
    request_to_lease_max_s: float | None
    failures: list[str]


def judge(
    instances: list[Instance], picked: int, free_before: Mapping[str, int], free_after: Mapping[str, int], leaks: Iterable[str] = ()
) -> Outcome:
    """`picked` instances named no network; `leaks` says who reached across networks. `free_…` is in the order of picking."""
    failures = [f"{instance.name}: {failure}" for instance in instances for failure in instance.failures]
    failures += leaks
    failures += _wrong_split(instances[:picked], free_before)
    took = Counter(instance.network for instance in instances)
    failures += [
        f"{network}: {free} addresses were free, {took[network]} were taken, and {free_after[network]} are free"
        for network, free in free_before.items()
        if free - took[network] != free_after[network]
    ]
    times = [instance.request_to_lease_s for instance in instances if instance.request_to_lease_s is not None]
    return Outcome(
        ok=not failures,
        verdict=_verdict(instances, took, times, failures),
        instances=instances,
        free_before=dict(free_before),
        free_after=dict(free_after),
        request_to_lease_p50_s=median(times) if times else None,
        request_to_lease_max_s=max(times, default=None),
        failures=failures,
    )


def _wrong_split(picked: list[Instance], free: Mapping[str, int]) -> list[str]:
    took = Counter(instance.network for instance in picked)
    return [
        f"{network} had {free[network]} free addresses: {expected} of the picks belonged there, {took[network]} went there"
        for network, expected in expected_split(free, len(picked)).items()
        if took[network] != expected
    ]


def _verdict(instances: list[Instance], took: Counter[str], times: list[float], failures: list[str]) -> str:
    good = sum(not instance.failures for instance in instances)
    if failures:
        more = f", and {len(failures) - 1} more" if len(failures) > 1 else ""
        return f"FAILED: {good} of {len(instances)} instances are all right; {failures[0]}{more}"
    split = ", ".join(f"{network} {count}" for network, count in took.items())
    return (
        f"OK: all {good} instances got the address reserved for them and reached another host ({split}); "
        f"request to lease p50 {median(times):.2f} s, max {max(times):.2f} s"
    )
