"""`naru reclaim`: addresses that look abandoned, and why. Nothing is deleted that is not named."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from naru.cli.cloud import cloud_options, connect, list_all, plain_refusals

if TYPE_CHECKING:
    import httpx

Row = Mapping[str, Any]


class Words(NamedTuple):
    en: str
    ko: str


REASONS: Mapping[str, Words] = {
    "idle_port": Words(
        "a port without a device, DOWN and unchanged for {days} days",
        "연결된 장치가 없는 포트이며 {days}일 동안 DOWN 상태로 바뀌지 않았습니다",
    ),
    "gone_server": Words("the port of server {server}, which is gone", "서버 {server}의 포트인데, 그 서버는 이제 없습니다"),
    "never_up": Words(
        "the port of server {server}, which runs; but its host has not had it up for {days} days, so there is no lease",
        "실행 중인 서버 {server}의 포트이지만 {days}일 동안 호스트에서 연결되지 않아 주소를 임대하지 못했습니다",
    ),
    "idle_floating_ip": Words(
        "a floating IP that leads nowhere, unchanged for {days} days", "{days}일 동안 어디에도 연결되지 않은 유동 IP입니다"
    ),
    "forgotten_hold": Words(
        "held without a limit of time by a pick, and not taken for {days} days", "기한 없이 예약된 뒤 {days}일 동안 쓰이지 않은 주소입니다"
    ),
}


class Found(NamedTuple):
    """What looks abandoned. `path` is where it is deleted."""

    id: str
    reason: str
    path: str
    addresses: list[str]
    network_id: str
    project_id: str
    days: int
    revision: int
    text_en: str
    text_ko: str


@click.command("reclaim")
@click.argument("ids", nargs=-1)
@click.option("--days", default=30, show_default=True, type=click.IntRange(0), help="How long it has not changed.")
@click.option("--network", metavar="ID", help="Of this network alone.")
@click.option("--delete", is_flag=True, help="Delete what IDS name, each if it is still as it was listed.")
@cloud_options
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@click.option("--lang", type=click.Choice(["en", "ko"]), default="en", show_default=True, help="Of the evidence.")
def command(
    ids: tuple[str, ...], days: int, network: str | None, clouds: Path | None, os_cloud: str, lang: str, *, delete: bool, as_json: bool
) -> None:
    """List addresses that look abandoned, with the evidence.

    Ports without a device, ports whose server is gone or never got its lease, floating IPs that lead nowhere, holds that nobody took. With
    IDS only these. Nothing is deleted without --delete and IDS. Credentials come from --clouds, else from OS_AUTH_URL and its like in the
    environment.
    """
    if delete and not ids:
        raise click.UsageError("--delete wants the IDs of what to delete; list them first")
    with plain_refusals():
        services = connect(clouds, os_cloud)
        found = [row for row in find(_listings(services), datetime.now(UTC), days) if network in (None, row.network_id)]
        listed = {row.id for row in found}
        if missing := [id for id in ids if id not in listed]:
            raise click.UsageError(f"{missing[0]} is not among what looks abandoned for {days} days; nothing was deleted")
        found = [row for row in found if not ids or row.id in ids]
        for row in found if delete else ():
            services["network"].delete(row.path, headers={"If-Match": f"revision_number={row.revision}"})
            click.echo(f"deleted {row.id}", err=as_json)
    if not delete:
        _show(found, lang, as_json=as_json)


def _listings(services: "Mapping[str, httpx.Client]") -> dict[str, list[Row]]:
    from naru.lab import LabError

    listings = {
        name: list_all(services["network"], f"/v2.0/{name.replace('_', '-')}", name) for name in ("ports", "floatingips", "network_picks")
    }
    compute = services.get("compute")
    if compute is not None:
        try:
            listings["servers"] = list_all(compute, "servers/detail?all_tenants=1", "servers")
        except LabError:  # administrators alone may ask for all; the ports that a project sees are those of its own servers
            listings["servers"] = list_all(compute, "servers/detail", "servers")
    return listings


def find(listings: Mapping[str, list[Row]], now: datetime, days: int) -> Iterator[Found]:
    """What looks abandoned among `ports`, `floatingips`, `network_picks` and, where there is a compute service, `servers`."""
    servers = {row["id"]: row["status"] for row in listings["servers"]} if "servers" in listings else None
    judges: tuple[tuple[str, str, Callable[[Row], str | None]], ...] = (
        ("ports", "/v2.0/ports", lambda port: _why_port(port, servers)),
        ("floatingips", "/v2.0/floatingips", lambda row: "idle_floating_ip" if row["port_id"] is None else None),
        ("network_picks", "/v2.0/network-picks", _why_pick),
    )
    for name, path, why in judges:
        for row in listings[name]:
            reason, idle = why(row), now - datetime.fromisoformat(row["updated_at"])
            if reason is not None and (idle >= timedelta(days=days)):
                yield _found(row, reason, path, idle.days)


def _why_port(port: Row, servers: Mapping[str, str] | None) -> str | None:
    owner, device = port["device_owner"], port["device_id"]
    if port["status"] != "DOWN":
        return None
    if not owner and not device:
        return "idle_port"
    if servers is None or not owner.startswith("compute:"):
        return None
    if device not in servers:
        return "gone_server"
    return "never_up" if servers[device] == "ACTIVE" else None


def _why_pick(pick: Row) -> str | None:
    return "forgotten_hold" if pick["status"] == "committed" and any(place["port_id"] is None for place in pick["placements"]) else None


def _found(row: Row, reason: str, path: str, days: int) -> Found:
    placements = [place for place in row.get("placements", ()) if place["port_id"] is None]
    fixed_ips = [ip["ip_address"] for part in (row, *placements) for ip in part.get("fixed_ips", ())]
    addresses = [row["floating_ip_address"]] if "floating_ip_address" in row else fixed_ips
    network_id = row.get("network_id") or row.get("floating_network_id") or (placements[0]["network_id"] if placements else "")
    words = (text.format(days=days, server=row.get("device_id", "")) for text in REASONS[reason])
    return Found(row["id"], reason, f"{path}/{row['id']}", addresses, network_id, row["project_id"], days, row["revision_number"], *words)


def _show(found: list[Found], lang: str, *, as_json: bool) -> None:
    import json

    if as_json:
        click.echo(json.dumps([row._asdict() for row in found], ensure_ascii=False, indent=2))
        return
    for row in found:
        text = row.text_ko if lang == "ko" else row.text_en
        click.echo(f"{row.id}  {', '.join(row.addresses) or '-'}\n    {text}; project {row.project_id or '-'}")
    count = sum(len(row.addresses) for row in found)
    click.echo(f"addresses: {count}; to delete: naru reclaim --delete ID…" if found else "nothing looks abandoned")
