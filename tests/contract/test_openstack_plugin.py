"""`openstack network pool` and `openstack network pick`, the real command with our plugin. Each call takes a second."""

import json

import pytest


@pytest.fixture(scope="module")
def pool(clients, demo):
    """Two networks of 6 addresses, in a pool made by the command."""
    for number in (1, 2):
        network = demo.network(name=f"NET{number}")
        allocation = {"start": f"10.60.{number}.10", "end": f"10.60.{number}.15"}
        demo.subnet(network, f"10.60.{number}.0/24", enable_dhcp=False, allocation_pools=[allocation])
    members = ("--member", "NET1", "--member", "NET2,weight=2", "--member-tags", "old,spare")
    limits = ("--floor-ratio", "0.1", "--project-share", "1", "--quarantine", "0")
    return clients.openstack("network", "pool", "create", "dev", *members, *limits, "--policy", "spread", "--purpose", "dev", "--hide")


@pytest.fixture
def do(clients):
    """Runs a command that answers nothing."""

    def run(*words):
        done = clients.try_openstack(*words)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr

    return run


def test_a_pool_is_made_as_the_options_say(clients, demo, pool):
    made = demo.show("network-pools", pool["id"])
    one, two = (next(network["id"] for network in demo.list("networks", name=name)) for name in ("NET1", "NET2"))
    assert [(member["network_id"], member["weight"]) for member in made["members"]] == [(one, 1.0), (two, 2.0)]
    assert (made["policy"], made["purposes"], made["weights"]) == ("spread", ["dev"], {})
    assert (made["floor_ratio"], made["project_share"], made["quarantine_s"], made["hidden"]) == (0.1, 1.0, 0, True)
    assert made["member_tags"] == {"tags": ["old", "spare"]}
    assert [member["network"] for member in pool["members"]] == ["NET1", "NET2"]
    assert pool["availability"]["band"] == "plenty"
    (row,) = clients.openstack("network", "pool", "list", "--long")
    assert (row["Name"], row["Networks"], row["Purposes"], row["Room"]) == ("dev", ["NET1", "NET2"], ["dev"], "plenty")


def test_a_pool_is_changed_member_by_member(clients, demo, pool, do):
    do(
        "network",
        "pool",
        "set",
        "dev",
        "--cordon",
        "NET1",
        "--reason",
        "moves on Sunday",
        "--purpose",
        "test",
        "--no-hide",
        "--weight",
        "priority=-1",
    )
    changed = demo.show("network-pools", pool["id"])
    assert [(member["cordoned"], member["reason"], member["weight"]) for member in changed["members"]] == [
        (True, "moves on Sunday", 1.0),
        (False, "", 2.0),
    ]
    assert (changed["purposes"], changed["hidden"], changed["policy"]) == (["dev", "test"], False, "spread")
    assert changed["weights"] == {"priority": -1.0}
    do("network", "pool", "set", "dev", "--uncordon", "NET1", "--no-weight", "--floor-count", "0")
    gone = ("--member-tags", "--project-share", "--purpose", "test")
    do("network", "pool", "unset", "dev", *gone)
    changed = demo.show("network-pools", pool["id"])
    assert [member["cordoned"] for member in changed["members"]] == [False, False]
    assert (changed["weights"], changed["member_tags"], changed["project_share"], changed["purposes"]) == ({}, {}, None, ["dev"])
    done = clients.try_openstack("network", "pool", "unset", "dev", "--purpose", "prod")
    assert (done.returncode, done.stderr.strip()) == (1, "Network pool dev has no such purposes: prod.")


def test_a_pool_is_opened_to_a_project_and_closed(clients, demo, admin):
    network = admin.network(name="OPERATORS")
    pool = admin.create("network-pools", name="lent", members=[{"network_id": network["id"]}])
    project_id = demo.network(name="mine")["project_id"]
    done = clients.try_openstack("network", "pool", "set", "lent", "--share-with", "demo", user="admin")
    assert done.returncode == 0, done.stderr
    assert [found["id"] for found in demo.list("network-pools", name="lent")] == [pool["id"]]
    assert clients.openstack("network", "pool", "show", "lent", user="admin")["shared_with"] == [project_id]
    assert clients.try_openstack("network", "pool", "unset", "lent", "--share-with", "demo", user="admin").returncode == 0
    assert demo.list("network-pools", name="lent") == []
    again = clients.try_openstack("network", "pool", "unset", "lent", "--share-with", "demo", user="admin")
    assert again.stderr.strip() == f"Network pool lent is not shared with project {project_id}."
    admin.delete("network-pools", pool["id"])


def test_a_pick_is_held_explained_taken_and_given_back(clients, demo, pool, do):
    done = clients.try_openstack("network", "pick", "--pool", "dev", "--count", "5", "--explain")
    assert done.returncode == 0, done.stderr
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if line.startswith("| NET")]
    assert sorted(row[:2] + row[6:7] for row in table) == [["NET1", "chosen", "6"], ["NET2", "chosen", "6"]]
    assert all("addresses were free" in row[-1] for row in table)
    assert "\nScore: 1 free_count" in done.stdout

    (row,) = clients.openstack("network", "pick", "list", "--status", "held", "--pool", "dev")
    assert (row["Placements"], row["Untaken"], row["Pool ID"]) == (5, 5, pool["id"])
    do("network", "pick", "renew", row["ID"], "--hold", "900")
    port = clients.openstack("port", "create", "--network", "NET1", "--extra-property", f"name=pick_id,value={row['ID']}", "web1")
    do("network", "pick", "commit", row["ID"])
    shown = clients.openstack("network", "pick", "show", row["ID"], "--explain")
    assert (shown["status"], shown["hold_s"], shown["considered"]) == ("committed", 900, 2)
    assert port["id"] in {place["port_id"] for place in shown["placements"]}
    do("network", "pick", "delete", row["ID"])
    assert demo.show("network-picks", row["ID"])["status"] == "cancelled"
    demo.delete("ports", port["id"])


def test_a_refusal_says_what_would_help(clients, demo, pool):
    done = clients.try_openstack("network", "pick", "--purpose", "dev", "--count", "20", "--explain", "--lang", "ko")
    assert (done.returncode, done.stderr.strip()) == (1, "20개를 배정할 자리가 없습니다.")
    assert "제외" in done.stdout
    assert "  1. 12개만 요청하면 됩니다. 그만큼은 자리가 있습니다" in done.stdout
    done = clients.try_openstack("network", "pick", "--purpose", "dev", "--count", "20", "--explain", "-f", "json")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert {row["reason"] for row in answer["candidates"]} == {"no_quorum"}
    assert answer["fixes"][0]["code"] == "ask_fewer"
    done = clients.try_openstack("network", "pick", "--pool", "dev", "--count", "20")
    assert "What would help:\n  1. ask for 12: there is room for so many" in done.stderr
    assert demo.list("network-picks", status="held") == []


def test_what_the_scheduler_is_asked_for(clients, demo, pool):
    port = demo.port(next(network for network in demo.list("networks", name="NET2")))
    wishes = ("--one-network", "--min-count", "2", "--ip-version", "4", "--mtu", "1200", "--enable-port-security", "--near", port["id"])
    pick = clients.openstack("network", "pick", "--count", "3", *wishes, "--not-purpose", "prod", "--dry-run", "--pool", "dev")
    assert (pick["mode"], pick["min_count"], pick["ip_version"], pick["mtu"]) == ("one_network", 2, 4, 1200)
    assert (pick["port_security_enabled"], pick["affinity"], pick["purposes"]) == (
        True,
        [port["id"]],
        {"any": [], "all": [], "not": ["prod"]},
    )
    assert {place["network_id"] for place in pick["placements"]} == {port["network_id"]}
    assert (pick["status"], demo.list("network-picks", status="held")) == ("dry_run", [])
    done = clients.try_openstack("network", "pick", "--near", "nobody")
    assert (done.returncode, done.stderr.strip()) == (1, "No port with the name or id 'nobody'.")
    demo.delete("ports", port["id"])


def test_pools_and_picks_that_are_not_there_are_named(clients, demo, pool):
    other = demo.create("network-pools", name="other")
    done = clients.try_openstack("network", "pool", "delete", "other", "prod")
    assert (done.returncode, done.stderr.strip()) == (1, "No network pool with the name or id 'prod'.")
    assert demo.show("network-pools", other["id"])
    nobody = "11111111-2222-4333-8444-555555555555"
    done = clients.try_openstack("network", "pick", "delete", nobody)
    assert done.returncode == 1
    assert f"NetworkPick {nobody} could not be found" in done.stderr
    assert clients.try_openstack("network", "pool", "delete", "other").returncode == 0
    assert [found["id"] for found in demo.list("network-pools")] == [pool["id"]]


def test_a_network_and_a_pool_are_told_what_they_may_grow_by(clients, admin):
    prefixes = admin.create("subnetpools", name="prefixes", prefixes=["10.70.0.0/16"], default_prefixlen=26)
    network = admin.network(name="elastic")
    pool = admin.create("network-pools", name="growing")
    options = ("--subnet-pool", "prefixes", "--limit", "8", "--prefix-length", "28")
    more = ("--network-type", "vxlan", "--range", "2000:2007", "--floor", "5", "--horizon", "14")
    for subject in (("elastic", *more), ("--pool", "growing")):
        done = clients.try_openstack("network", "autogrow", "set", *options, *subject, user="admin")
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
    bench = {"subnetpool_id": prefixes["id"], "limit": 8, "prefixlen": 28}
    wide = {"network_type": "vxlan", "physical_network": None, "minimum": 2000, "maximum": 2007, "floor": 5, "horizon_days": 14.0}
    assert admin.show("networks", network["id"])["autogrow"] == bench | wide
    grows = admin.show("network-pools", pool["id"])["autogrow"]
    assert {name: grows[name] for name in bench} == bench
    for subject in (("elastic",), ("--pool", "growing")):
        assert clients.try_openstack("network", "autogrow", "unset", *subject, user="admin").returncode == 0
    assert "autogrow" not in admin.show("networks", network["id"])
    done = clients.try_openstack("network", "autogrow", "set", *options, "--range", "2000", "elastic", user="admin")
    assert "'2000' is not <first>:<last>" in done.stderr
