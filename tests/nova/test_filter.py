"""Real Nova with the filter in its pipeline: `make test-nova`."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from naru.testing import eventually
from nova_cloud import AMBIGUOUS, BREAKER_S, TIMEOUT_S


def networks_of(servers):
    return [name for server in servers for name in server["addresses"]]


@pytest.mark.parametrize(
    "asked",
    [
        {"networks": "auto"},
        {"networks": []},
        {"networks": [], "version": "2.1"},
        {"version": "2.36"},
        {"headers": {}},
        {"headers": {"X-OpenStack-Nova-API-Version": "2.96"}, "networks": "auto"},
    ],
    ids=str,
)
def test_a_server_that_names_no_network_becomes_active_on_the_one_that_naru_picks(project, asked):
    project.network("net2")
    picked = project.network("net1")
    (server,) = project.boot("filtered", **asked)
    assert server["status"] == "ACTIVE", server.get("fault")
    assert networks_of([server]) == ["net1"]
    (port,) = project.ports(device_id=server["id"])
    assert port["network_id"] == picked
    assert project.pick(port["pick_id"])["status"] == "used"
    project.delete(server["id"])
    assert project.ports() == []


def test_a_project_may_stand_in_the_path(project):
    project.network("net1")
    project.network("net2")
    assert project.post_server("filtered", path=f"/{project.id}", networks="auto").status_code == 202
    assert networks_of(project.built()) == ["net1"]


def test_what_is_named_is_honoured_as_given(project):
    project.network("net1")
    named = project.network("net2")
    (server,) = project.boot("filtered", networks=[{"uuid": named}])
    assert networks_of([server]) == ["net2"]
    project.delete(server["id"])
    (server,) = project.boot("filtered", networks="none")
    assert networks_of([server]) == []
    assert project.picks() == []


def test_what_nova_refuses_it_refuses_still(project):
    project.network("net1")
    assert project.post_server("filtered", version="2.37").status_code == 400  # `networks` must be there
    assert project.post_server("filtered", version="2.36", networks="auto").status_code == 400
    assert project.post_server("filtered", networks="auto", flavorRef="none-such").status_code == 400
    assert [pick["status"] for pick in project.picks()] == ["cancelled"]  # only the last one was Naru's to answer


def test_a_full_network_is_passed_over(project):
    project.port(project.network("net1", addresses=1))
    project.network("net2")
    (server,) = project.boot("filtered", networks="auto")
    assert networks_of([server]) == ["net2"]


def test_several_servers_get_the_last_addresses_of_one_network(project):
    project.network("net1", addresses=2)
    picked = project.network("net2", addresses=3)
    servers = project.boot("filtered", networks="auto", min_count=3, max_count=3)
    assert [server["status"] for server in servers] == ["ACTIVE"] * 3
    assert networks_of(servers) == ["net2"] * 3
    assert {port["network_id"] for port in project.ports()} == {picked}
    assert [pick["status"] for pick in project.picks()] == ["used"]


def test_as_many_servers_are_made_as_there_is_room_for(project):
    project.network("net1", addresses=2)
    servers = project.boot("filtered", networks="auto", min_count=1, max_count=3)
    assert [server["status"] for server in servers] == ["ACTIVE"] * 2


def test_where_no_network_has_room_the_answer_says_why_and_nothing_is_made(project):
    project.network("net1", addresses=2)
    project.port(project.network("net2", addresses=1))
    refused = project.post_server("filtered", networks="auto", min_count=3)
    assert refused.status_code == 409
    message = refused.json()["conflictingRequest"]["message"]
    assert "net1" in message
    assert "net2" in message
    assert (project.servers(), project.picks()) == ([], [])


def test_of_those_who_ask_at_once_for_the_last_addresses_each_gets_one_or_a_reason(project):
    project.network("net1", addresses=2)
    project.port(project.network("net2", addresses=1))
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda _: project.post_server("filtered", networks="auto").status_code, range(5)))
    assert sorted(answers) == [202, 202, 409, 409, 409]
    assert [server["status"] for server in project.built()] == ["ACTIVE"] * 2


@pytest.mark.parametrize("state", ["shut", "silent", "broken", "garbled"])
def test_without_naru_nova_answers_as_it_does_alone(cloud, project, state):
    project.network("net1")
    cloud.door.turn(state)
    (server,) = project.boot("filtered", networks="auto")  # of one network Nova is sure itself
    assert (server["status"], networks_of([server])) == ("ACTIVE", ["net1"])
    project.network("net2")
    for _ in range(3):
        refused = project.post_server("filtered", networks="auto")
        assert (refused.status_code, refused.json()["conflictingRequest"]["message"]) == (409, AMBIGUOUS)
    assert 1 <= len(cloud.door.asked) <= 1 + len(project.servers()) * 4

    cloud.door.turn("open")
    within_s = BREAKER_S + TIMEOUT_S + 5
    assert eventually(lambda: project.post_server("filtered", networks="auto").status_code == 202, within_s=within_s, every_s=0.2)
    assert "Traceback" not in cloud.nova.log("filtered")
