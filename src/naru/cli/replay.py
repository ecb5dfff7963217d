"""`naru replay`: a history against several policies, so that one is chosen with data."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from naru.cli.cloud import cloud_options, connect, list_all, plain_refusals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    import httpx

    from naru.schedule.replay import Event, Outcome, Pool

_COLUMNS = ("policy", "first refusal", "refused", "addresses refused", "most used", "skew", "fragmentation", "first full")


@click.command("replay")
@click.argument("trace", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--record", metavar="POOL", help="Write TRACE: the ports that a network pool of a server has now, by when they were made.")
@click.option("--policy", "policies", metavar="NAME[,NAME…]", help="Policies to try.  [default: all]")
@click.option(
    "--pool-file", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="JSON of a pool instead of the trace's own."
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcomes as JSON, with the day on which each network was full first.")
@cloud_options
def command(
    trace: Path,
    record: str | None,
    policies: str | None,
    pool_file: Path | None,
    clouds: Path | None,
    os_cloud: str,
    *,
    as_json: bool,
) -> None:
    """Replay a history of requests and say what each policy would have made of it.

    TRACE has a pool in its first line and a request in each further one, as JSON; .gz is unpacked. The decisions are those of the server:
    the same code makes them. Only --record asks a server.
    """
    import msgspec

    from naru.schedule.replay import POLICY_NAMES, replay

    if record is not None:
        with plain_refusals():
            lines = recorded(connect(clouds, os_cloud)["network"], record)
        try:
            trace.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        except OSError as error:
            raise click.ClickException(f"cannot write {trace}: {error.strerror}") from error
        return
    wanted = POLICY_NAMES if policies is None else tuple(policies.split(","))
    if unknown := [name for name in wanted if name not in POLICY_NAMES]:
        raise click.BadParameter(f"{unknown[0]!r} is no policy; there are {', '.join(POLICY_NAMES)}", param_hint="--policy")
    pool, events = _read(trace, pool_file)
    outcomes = [replay(events, pool, policy) for policy in wanted]
    click.echo(msgspec.json.format(msgspec.json.encode(outcomes)) if as_json else "\n".join(table(outcomes)))


def _read(trace: Path, pool_file: Path | None) -> "tuple[Pool, list[Event]]":
    """Raises BadParameter for a file that is none, with the line."""
    import gzip

    import msgspec

    from naru.schedule.replay import Pool, read_trace

    try:
        content = trace.read_bytes()
        pool, events = read_trace(gzip.decompress(content) if trace.suffix == ".gz" else content)
    except (OSError, EOFError, ValueError) as error:
        raise click.BadParameter(f"{trace} is no trace: {error}", param_hint="TRACE") from error
    try:
        return msgspec.json.decode(pool_file.read_bytes(), type=Pool) if pool_file is not None else pool, events
    except (OSError, msgspec.DecodeError) as error:
        raise click.BadParameter(f"{pool_file} is no pool: {error}", param_hint="--pool-file") from error


def recorded(network: "httpx.Client", pool_id: str) -> "list[Pool | Event]":
    """The lines of a trace. What is gone the server knows no more: it tells how the pool filled with what is there now."""
    from datetime import datetime

    from naru.schedule.replay import Event, Member, Pool

    pool = network.get(f"/v2.0/network-pools/{pool_id}").json()["network_pool"]
    rows = {
        row["network_id"]: row for row in list_all(network, "/v2.0/network-ip-availabilities?ip_version=4", "network_ip_availabilities")
    }
    members = [member for member in pool["members"] if member["network_id"] in rows]
    keys = ("priority", "weight", "cordoned")
    networks = [
        Member(member["network_id"], rows[member["network_id"]]["total_ips"], **{key: member[key] for key in keys}) for member in members
    ]
    if not networks:
        raise click.BadParameter(f"network pool {pool_id} names no network that an administrator sees", param_hint="--record")
    settings = {key: pool[key] for key in ("weights", "floor_count", "floor_ratio")}
    names = {member.name for member in networks}
    ports = [port for port in list_all(network, "/v2.0/ports", "ports") if port["network_id"] in names]
    events = [Event(datetime.fromisoformat(port["created_at"]), create=port["id"], project=port["project_id"]) for port in ports]
    return [Pool(tuple(networks), **settings), *sorted(events, key=lambda event: event.time)]


def table(outcomes: "Sequence[Outcome]") -> "Iterator[str]":
    """Lines of a Markdown table, padded to be read as they are."""
    rows = [_COLUMNS, *(_cells(outcome) for outcome in outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in (rows[0], tuple("-" * width for width in widths), *rows[1:]):
        yield "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"


def _cells(outcome: "Outcome") -> tuple[str, ...]:
    days = [_day(outcome.first_refusal), _day(min(outcome.first_full.values(), default=None))]
    ratios = (f"{ratio:.0%}" for ratio in (outcome.peak_used, outcome.skew, outcome.fragmentation))
    refused = f"{outcome.refused} of {outcome.requests}"
    return outcome.policy, days[0], refused, str(outcome.refused_addresses), *ratios, days[1]


def _day(time: "datetime | None") -> str:
    return "never" if time is None else f"{time:%Y-%m-%d}"
