"""The demo says OK only if everything held, and names what did not."""

import pytest
from msgspec.structs import replace

from naru.lab.checks import Promise, broken_promises, expected_split, promise
from naru.lab.outcome import Instance, judge

NETWORK = {"id": "n1", "mtu": 1450}
SUBNET = {
    "cidr": "10.20.1.0/28",
    "gateway_ip": "10.20.1.1",
    "dns_nameservers": ["8.8.8.8", "8.8.4.4"],
    "host_routes": [{"destination": "10.0.0.7/32", "nexthop": "10.20.1.9"}],
}
PORT = {"fixed_ips": [{"ip_address": "10.20.1.5", "subnet_id": "s1"}]}
PROMISED = promise(PORT, SUBNET, NETWORK)
LEASE = {"address": "10.20.1.5", "dns": ["8.8.8.8", "8.8.4.4"]}
LINKS = [{"ifname": "eth0", "mtu": 1450, "addr_info": [{"family": "inet", "local": "10.20.1.5", "prefixlen": 28}]}]
ROUTES = [
    {"dst": "default", "gateway": "10.20.1.1", "dev": "eth0"},
    {"dst": "10.0.0.7", "gateway": "10.20.1.9", "dev": "eth0"},
    {"dst": "10.20.1.0/28", "dev": "eth0"},
]


def test_what_the_api_promises():
    routes = {"0.0.0.0/0": "10.20.1.1", "10.0.0.7/32": "10.20.1.9"}
    assert Promise("10.20.1.5/28", ["8.8.8.8", "8.8.4.4"], routes, mtu_bytes=1450) == PROMISED


def test_an_instance_that_has_what_was_promised():
    assert broken_promises(PROMISED, LEASE, LINKS, ROUTES) == []


@pytest.mark.parametrize(
    ("lease", "links", "routes", "words"),
    [
        (LEASE | {"address": "10.20.1.6"}, LINKS, ROUTES, "address: reserved 10.20.1.5, leased 10.20.1.6"),
        (LEASE | {"dns": []}, LINKS, ROUTES, "DNS servers: the subnet has ['8.8.8.8', '8.8.4.4'], the lease []"),
        (LEASE, [LINKS[0] | {"mtu": 1500}], ROUTES, "MTU: the network has 1450, eth0 1500"),
        (LEASE, [LINKS[0] | {"addr_info": []}], ROUTES, "addresses of eth0: should be ['10.20.1.5/28'], are []"),
        (
            LEASE,
            LINKS,
            ROUTES[:1],
            "routes: should be {'10.0.0.7/32': '10.20.1.9', '0.0.0.0/0': '10.20.1.1'}, are {'0.0.0.0/0': '10.20.1.1'}",
        ),
    ],
)
def test_each_broken_promise_is_named(lease, links, routes, words):
    assert broken_promises(PROMISED, lease, links, routes) == [words]


def test_a_vanished_interface_is_named_and_does_not_crash():
    assert len(broken_promises(PROMISED, LEASE, [], [])) == 3


@pytest.mark.parametrize(
    ("count", "split"),
    [
        (20, {"NET1": 12, "NET2": 8, "MyFlatNetwork": 0}),
        (12, {"NET1": 12, "NET2": 0, "MyFlatNetwork": 0}),
        (30, {"NET1": 12, "NET2": 12, "MyFlatNetwork": 6}),
    ],
)
def test_the_first_network_takes_what_it_has(count, split):
    assert expected_split({"NET1": 12, "NET2": 12, "MyFlatNetwork": 252}, count) == split


FREE = {"NET1": 1, "NET2": 12}
GOOD = [
    Instance("web01", "compute01", "NET1", "10.20.1.3", 0.5, "NET1: chosen", "web02"),
    Instance("web02", "compute02", "NET2", "10.20.2.3", 0.7, "NET2: chosen", "web03"),
    Instance("web03", "compute01", "NET2", "10.20.2.4", 0.6, "NET2: chosen", "web02"),
]


def test_all_held():
    outcome = judge(GOOD, 3, FREE, {"NET1": 0, "NET2": 10})

    assert outcome.ok
    assert outcome.failures == []
    assert (outcome.request_to_lease_p50_s, outcome.request_to_lease_max_s) == (0.6, 0.7)
    assert outcome.verdict == (
        "OK: all 3 instances got the address reserved for them and reached another host (NET1 1, NET2 2); "
        "request to lease p50 0.60 s, max 0.70 s"
    )


def test_one_instance_without_an_answer_fails_the_demo():
    silent = replace(GOOD[2], reached="", failures=("no answer from web02 (10.20.2.3) on compute02",))
    outcome = judge([*GOOD[:2], silent], 3, FREE, {"NET1": 0, "NET2": 10})

    assert not outcome.ok
    assert outcome.failures == ["web03: no answer from web02 (10.20.2.3) on compute02"]
    assert outcome.verdict == "FAILED: 2 of 3 instances are all right; web03: no answer from web02 (10.20.2.3) on compute02"


def test_a_network_that_was_passed_over_fails_the_demo():
    elsewhere = replace(GOOD[0], network="NET2")
    outcome = judge([elsewhere, *GOOD[1:]], 3, FREE, {"NET1": 1, "NET2": 9})

    assert outcome.failures == [
        "NET1 had 1 free addresses: 1 of the picks belonged there, 0 went there",
        "NET2 had 12 free addresses: 2 of the picks belonged there, 3 went there",
    ]


def test_sums_that_do_not_add_up_and_leaks_fail_the_demo():
    outcome = judge(GOOD, 3, FREE, {"NET1": 0, "NET2": 11}, leaks=["web01 reaches web02 (10.20.2.3) on another network"])

    assert outcome.failures == [
        "web01 reaches web02 (10.20.2.3) on another network",
        "NET2: 12 addresses were free, 2 were taken, and 11 are free",
    ]


def test_a_demo_in_which_nothing_booted_still_has_a_verdict():
    outcome = judge([Instance("web01", failures=("it has no port",))], 1, FREE, FREE)

    assert not outcome.ok
    assert outcome.request_to_lease_p50_s is None
