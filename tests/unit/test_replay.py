"""A policy replayed on a history decides as the server would; what is no trace is refused with its line; the shipped tables are true."""

import gzip
import re
import runpy
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from naru.cli.replay import command
from naru.schedule.candidates import Wish
from naru.schedule.networks import place
from naru.schedule.replay import Event, Member, Pool, read_trace, replay, usage_by_hour
from placing import candidate

ROOT = Path(__file__).parents[2]
DATA = ROOT / "docs" / "data"
TRACES = sorted(path.name.removesuffix(".jsonl.gz") for path in DATA.glob("*.gz"))
NOW = datetime(2026, 1, 5, tzinfo=UTC)
TWO = Pool((Member("A", 4), Member("B", 4)), quarantine_s=0)


def at(hours, **given):
    return Event(NOW + timedelta(hours=hours), **given)


def create(hours, name, count=1, **given):
    return at(hours, create=name, count=count, **given)


def test_what_comes_and_goes_is_counted_and_refusals_are_dated():
    outcome = replay([create(0, "a", 4), create(1, "b", 4), create(2, "c", 2), at(3, delete="a"), create(4, "d", 4)], TWO, "sequential")
    assert (outcome.requests, outcome.refused, outcome.refused_addresses) == (4, 1, 2)
    assert outcome.first_refusal == NOW + timedelta(hours=2)
    assert outcome.first_full == {"A": NOW, "B": NOW + timedelta(hours=1)}
    assert outcome.peak_used == 1.0


def test_skew_and_fragmentation_are_means_over_time():
    half_a_day = [create(0, "a", 4), create(12, "b", 4), at(24, delete="a")]
    sequential, spread = (replay(half_a_day, TWO, policy) for policy in ("sequential", "spread"))
    assert (sequential.skew, spread.skew) == (0.5, 0.0)
    assert (sequential.fragmentation, spread.fragmentation) == (0.0, 0.25)


@pytest.mark.parametrize("policy", ["sequential", "spread", "pack", "balanced"])
def test_the_networks_are_those_that_place_chooses(policy):
    usable, free, full = {"A": 5, "B": 9, "C": 7}, {"A": 5, "B": 9, "C": 7}, []
    for _ in range(sum(usable.values())):
        members = [candidate(name, free[name], usable[name], priority=number) for number, name in enumerate(usable)]
        (chosen,) = place(members, Wish(), policy).assignments
        free[name := chosen.removeprefix("id-of-")] -= 1
        full += [name] * (free[name] == 0)
    pool = Pool(tuple(Member(name, count) for name, count in usable.items()))
    outcome = replay([create(hour, str(hour)) for hour in range(sum(usable.values()))], pool, policy)
    assert sorted(outcome.first_full, key=outcome.first_full.get) == full


def test_round_robin_goes_round_and_sticky_stays():
    pool = Pool((Member("A", 10), Member("B", 10)))
    asked = [create(hour, str(hour), project="p") for hour in range(8)]
    assert replay([*asked, at(9)], pool, "round_robin").skew < 0.1
    assert replay([*asked, at(9)], pool, "sticky").skew > 0.3


def test_a_released_address_rests():
    pool = Pool((Member("A", 1),), quarantine_s=7200)
    history = [create(0, "a"), at(1, delete="a"), create(2, "b"), create(3, "c")]
    assert replay(history, pool, "spread").refused == 1
    assert replay(history, TWO, "spread").refused == 0


def test_purposes_floors_and_cordons_count():
    pool = Pool((Member("A", 4, purposes=("ci",)), Member("B", 4), Member("C", 9, cordoned=True)), floor_count=1)
    history = [create(0, "a", 3, purpose="ci"), create(0, "b", 1, purpose="ci"), create(0, "c", 3), create(0, "d", 1)]
    assert replay(history, pool, "sequential").refused == 2


def test_what_was_refused_is_not_there_to_be_deleted():
    pool = Pool((Member("A", 2),), quarantine_s=0)
    history = [create(0, "a", 3), at(1, delete="a"), create(2, "b", 2), create(3, "c")]
    assert replay(history, pool, "spread").refused == 2


def test_usage_is_the_most_of_each_hour():
    assert usage_by_hour([create(0, "a", 3), at(0.5, delete="a"), create(2.2, "b", 2), at(4, delete="b")]) == [3, 0, 2, 2, 2]


# -- what is read

POOL = '{"networks":[{"name":"A","usable":4}]}'
BAD = [
    ("", 1),
    ("[]", 1),
    ('{"networks":[]}', 1),
    ('{"networks":[{"name":"A","usable":-1}]}', 1),
    ('{"networks":[{"name":"A","usable":4},{"name":"A","usable":4}]}', 1),
    ('{"networks":[{"name":"A","usable":4}],"weights":{"best":1}}', 1),
    ('{"networks":[{"name":"A","usable":4}],"polcy":"pack"}', 1),
    (f"{POOL}\n{{}}", 2),
    (f'{POOL}\n{{"time":"2026-01-05T00:00:00","create":"a"}}', 2),
    (f'{POOL}\n{{"time":"2026-01-05T00:00:00Z","create":"a"}}\n{{"time":"2026-01-05T00:00:00Z","create":"b","count":0}}', 3),
    (f'{POOL}\n{{"time":"2026-01-05T00:00:00Z","create":"a","mode":"any"}}', 2),
    (f"{POOL}\n\xff", 2),
]


@pytest.mark.parametrize(("text", "line"), BAD, ids=[f"{line}-{number}" for number, (_, line) in enumerate(BAD)])
def test_what_is_no_trace_is_refused_with_its_line(text, line, tmp_path):
    trace = tmp_path / "trace.jsonl"
    trace.write_bytes(text.encode("latin-1"))
    done = CliRunner().invoke(command, [str(trace)])
    assert done.exit_code == 2
    assert f"line {line}: " in done.output
    assert "Traceback" not in done.output


def test_a_policy_that_there_is_not_and_a_file_that_is_no_pool_are_refused(tmp_path):
    trace = str(DATA / "classroom.jsonl.gz")
    assert "there are sequential" in CliRunner().invoke(command, [trace, "--policy", "best"]).output
    (tmp_path / "pool.json").write_text('{"networks": 3}')
    done = CliRunner().invoke(command, [trace, "--pool-file", str(tmp_path / "pool.json")])
    assert (done.exit_code, "is no pool" in done.output) == (2, True)
    (tmp_path / "broken.gz").write_bytes(gzip.compress(b"x" * 100)[:-8])
    assert CliRunner().invoke(command, [str(tmp_path / "broken.gz")]).exit_code == 2


def test_another_pool_may_be_tried_and_the_outcome_be_read_by_programs(tmp_path):
    (tmp_path / "pool.json").write_bytes(msgspec.json.encode(Pool((Member("ONE", 250),))))
    arguments = [str(DATA / "classroom.jsonl.gz"), "--policy", "pack,spread", "--pool-file", str(tmp_path / "pool.json"), "--json"]
    outcomes = msgspec.json.decode(CliRunner().invoke(command, arguments).output)
    assert [(outcome["policy"], outcome["refused"], outcome["skew"]) for outcome in outcomes] == [("pack", 0, 0.0), ("spread", 0, 0.0)]


# -- what is shipped


@pytest.mark.parametrize("name", TRACES)
def test_a_shipped_trace_is_what_the_script_writes(name):
    kept = (DATA / f"{name}.jsonl.gz").read_bytes()
    assert len(kept) < 200_000
    assert gzip.decompress(kept) == runpy.run_path(str(ROOT / "scripts/write-traces"))["trace"](name)
    pool, events = read_trace(gzip.decompress(kept))
    assert pool.networks
    assert len(events) > 1000


@pytest.mark.parametrize("name", TRACES)
def test_the_table_in_the_documentation_is_what_the_command_prints(name):
    page = (ROOT / "docs/explanation/choosing-a-policy.md").read_text()
    written = re.search(rf"^    naru replay docs/data/{name}\.jsonl\.gz\n\n((?:\|.*\n)+)", page, re.MULTILINE)
    assert written is not None
    assert CliRunner().invoke(command, [str(DATA / f"{name}.jsonl.gz")]).output == written[1]
