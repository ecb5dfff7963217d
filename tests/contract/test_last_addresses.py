"""64 clients ask at once for the last 50 addresses: exactly 50 get one, no two the same, and a kill in the middle loses none."""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest

from bench.load import Answer, Connection, drive, request
from databases import Databases
from naru.store.check import check_database
from serving import Serving

CLIENTS, LAST = 64, 50
POOL = [f"10.0.0.{number}" for number in range(10, 10 + 2 * LAST)]  # the first half is taken before the clients come


class Road(NamedTuple):
    """A way to ask for an address of a network."""

    path: str
    body: Callable[[str], object]  # network id -> what is posted there
    given: Callable[[Any], list[str]]  # answer -> the addresses in it
    exhausted: str  # type of the refusal when there is none left


PORTS = Road(
    "/v2.0/ports",
    lambda network_id: {"port": {"network_id": network_id}},
    lambda answer: [ip["ip_address"] for ip in answer["port"]["fixed_ips"]],
    "IpAddressGenerationFailure",
)
ROADS = [pytest.param(PORTS, id="ports")]


def half_full_network(client: httpx.Client) -> str:
    """-> the id of a network that has `LAST` addresses left."""
    project_id = client.get("/quotas/tenant").json()["tenant"]["tenant_id"]
    client.put(f"/quotas/{project_id}", json={"quota": {"port": -1}}).raise_for_status()
    network_id: str = client.post("/networks", json={"network": {"name": "net"}}).json()["network"]["id"]
    pool = {"start": POOL[0], "end": POOL[-1]}
    subnet = {"network_id": network_id, "cidr": "10.0.0.0/24", "ip_version": 4, "allocation_pools": [pool]}
    client.post("/subnets", json={"subnet": subnet}).raise_for_status()
    client.post("/ports", json={"ports": [{"network_id": network_id}] * LAST}).raise_for_status()
    return network_id


def kept_addresses(client: httpx.Client, network_id: str) -> list[str]:
    ports = client.get("/ports", params={"network_id": network_id}).json()["ports"]
    return [ip["ip_address"] for port in ports for ip in port["fixed_ips"]]


def answered(road: Road, answers: list[Answer]) -> list[str]:
    return [ip for answer in answers if answer.status == 201 for ip in road.given(msgspec.json.decode(answer.body))]


def ask_once_each(address: tuple[str, int], asking: bytes, on_answer: Callable[[Answer], None]) -> list[threading.Thread]:
    """64 clients that ask at the same time; one whose server dies goes without an answer."""
    together = threading.Barrier(CLIENTS)

    def ask() -> None:
        connection = Connection(address)
        together.wait(20)
        try:
            on_answer(connection.ask(asking))
        except ConnectionError:
            pass
        finally:
            connection.close()

    clients = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    return clients


@pytest.mark.parametrize("road", ROADS)
def test_the_last_addresses_go_to_as_many_and_none_twice(road: Road, url: str, tmp_path: Path):
    answers: list[Answer] = []
    with Serving(tmp_path, NARU_DATABASE_URL=url) as serving, serving.client() as client:
        network_id = half_full_network(client)
        asking = request("POST", road.path, serving.token(), msgspec.json.encode(road.body(network_id)))

        for asker in ask_once_each(serving.address, asking, answers.append):
            asker.join()

        assert Counter(answer.status for answer in answers) == {201: LAST, 409: CLIENTS - LAST}
        refusals = {msgspec.json.decode(answer.body)["NeutronError"]["type"] for answer in answers if answer.status == 409}
        assert refusals == {road.exhausted}
        assert sorted(answered(road, answers)) == sorted(POOL[LAST:])
        assert sorted(kept_addresses(client, network_id)) == sorted(POOL)


@pytest.mark.parametrize("victim", ["server", "database"])
@pytest.mark.parametrize("road", ROADS)
def test_what_was_answered_survives_kill_9_in_the_middle(
    road: Road, victim: str, url: str, engine: str, databases: Databases, tmp_path: Path
):
    if victim == "database" and engine == "sqlite":
        pytest.skip("SQLite is in the server")
    answers: list[Answer] = []
    in_the_middle = threading.Event()

    def note(answer: Answer) -> None:
        answers.append(answer)
        in_the_middle.set()

    serving = Serving(tmp_path, NARU_DATABASE_URL=url)
    try:
        with serving.client() as client:
            network_id = half_full_network(client)
        body = msgspec.json.encode(road.body(network_id))
        askers = ask_once_each(serving.address, request("POST", road.path, serving.token(), body), note)
        assert in_the_middle.wait(20)
        if victim == "server":
            serving.kill()
        else:
            databases.server(engine).crash()
            databases.server(engine).start()
        for asker in askers:
            asker.join()
        if victim == "server":
            serving = Serving(tmp_path, NARU_DATABASE_URL=url)

        with serving.client() as client:
            got = answered(road, answers)
            kept = kept_addresses(client, network_id)
            assert len(got) == len(set(got)) <= LAST
            assert set(got) <= set(kept)
            assert len(kept) == len(set(kept))

            rest = drive(serving.address, [request("POST", road.path, serving.token(), body)] * CLIENTS, CLIENTS)

            assert (rest.statuses[201], rest.statuses[409]) == (len(POOL) - len(kept), CLIENTS - len(POOL) + len(kept))
            assert sorted(kept_addresses(client, network_id)) == sorted(POOL)
        assert check_database(url)[1] == []
    finally:
        serving.stop()
