"""Of the last 50 addresses picks give exactly 50, none twice and none lost, whoever asks at once and whenever the server dies."""

import threading
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from bench.load import Answer, Connection, request
from naru.store.check import check_database
from naru.testing import eventually
from serving import Serving

CLIENTS, LAST = 64, 50


def two_networks(client: httpx.Client) -> None:
    """With `LAST` addresses between them."""
    for number, size in enumerate((LAST - 20, 20)):
        network = client.post("/networks", json={"network": {"name": f"net{number}"}}).json()["network"]
        pool = {"start": f"10.0.{number}.10", "end": str(ip_address(f"10.0.{number}.9") + size)}
        subnet = {"network_id": network["id"], "cidr": f"10.0.{number}.0/24", "ip_version": 4, "enable_dhcp": False}
        client.post("/subnets", json={"subnet": subnet | {"allocation_pools": [pool]}}).raise_for_status()


def addresses(placements: Iterable[dict[str, Any]]) -> list[str]:
    return [ip["ip_address"] for place in placements for ip in place["fixed_ips"]]


def ask_at_once(serving: Serving, *bodies: tuple[str, object], on_answer: Any) -> list[threading.Thread]:
    """Each body by a client of its own; one whose server dies goes without an answer."""
    token, together = serving.token(), threading.Barrier(len(bodies))

    def ask(path: str, body: object) -> None:
        connection = Connection(serving.address)
        together.wait(20)
        with suppress(ConnectionError):
            on_answer(connection.ask(request("POST", path, token, msgspec.json.encode(body))))
        connection.close()

    asking = [threading.Thread(target=ask, args=body) for body in bodies]
    for thread in asking:
        thread.start()
    return asking


def picks_of(answers: list[Answer]) -> list[dict[str, Any]]:
    return [msgspec.json.decode(answer.body)["network_pick"] for answer in answers if answer.status == 201]


@pytest.mark.parametrize("count", [1, 5])
def test_the_last_addresses_are_held_for_as_many_and_none_twice(url: str, tmp_path: Path, count: int):
    answers: list[Answer] = []
    with Serving(tmp_path, NARU_DATABASE_URL=url) as serving, serving.client() as client:
        two_networks(client)
        asked = ("/v2.0/network-picks", {"network_pick": {"count": count}})
        for asking in ask_at_once(serving, *[asked] * CLIENTS, on_answer=answers.append):
            asking.join()

        picks = picks_of(answers)
        held = [address for pick in picks for address in addresses(pick["placements"])]
        assert (len(picks), len(answers)) == (LAST // count, CLIENTS)
        assert {answer.status for answer in answers} == {201, 409}
        assert len(set(held)) == len(held) == LAST

        answers.clear()
        wanted = [("/v2.0/ports", {"port": {"pick_id": pick["id"]}}) for pick in picks for _ in pick["placements"]]
        for asking in ask_at_once(serving, *wanted, on_answer=answers.append):
            asking.join()
        ports = [msgspec.json.decode(answer.body)["port"] for answer in answers if answer.status == 201]
        assert sorted(addresses(ports)) == sorted(held)


def test_what_was_answered_is_held_after_kill_9_and_the_rest_goes_free(url: str, tmp_path: Path):
    count, answers = 5, list[Answer]()
    in_the_middle = threading.Event()

    def note(answer: Answer) -> None:
        answers.append(answer)
        in_the_middle.set()

    serving = Serving(tmp_path, NARU_DATABASE_URL=url)
    try:
        with serving.client() as client:
            two_networks(client)
            first = client.post("/network-picks", json={"network_pick": {"count": count}}).json()["network_pick"]
        asked = ("/v2.0/network-picks", {"network_pick": {"count": count, "hold_s": 3}})
        taken = ("/v2.0/ports", {"port": {"pick_id": first["id"]}})
        asking = ask_at_once(serving, *[asked] * (CLIENTS - count), *[taken] * count, on_answer=note)
        assert in_the_middle.wait(20)
        serving.kill()
        for thread in asking:
            thread.join()
        serving = Serving(tmp_path, NARU_DATABASE_URL=url)

        with serving.client() as client:
            decoded = [msgspec.json.decode(answer.body) for answer in answers if answer.status == 201]
            kept = {pick["id"]: pick for pick in client.get("/network-picks").json()["network_picks"]}
            ports = {port["id"]: port for port in client.get("/ports").json()["ports"]}
            for answer in decoded:
                if "port" in answer:
                    assert ports[answer["port"]["id"]]["fixed_ips"] == answer["port"]["fixed_ips"]
                else:
                    assert kept[answer["network_pick"]["id"]]["placements"] == answer["network_pick"]["placements"]
            waiting = [place for pick in kept.values() for place in pick["placements"] if place["port_id"] is None]
            in_use = addresses(waiting) + addresses(ports.values())
            assert len(set(in_use)) == len(in_use) <= LAST

            rest = {"network_pick": {"count": LAST - count, "dry_run": True}}
            eventually(lambda: client.post("/network-picks", json=rest).status_code == 201, within_s=30)
    finally:
        serving.stop()
    assert check_database(url)[1] == []
