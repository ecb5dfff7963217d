"""Which address comes next, what is left, and what an address is made of."""

import ipaddress

import pytest

from naru.allocate.addresses import AddressSpace, default_pools, eui64, mac_from_bits


def choose(space: AddressSpace) -> int | None:
    address = space.choose()
    if address is not None:
        space.take(address)
    return address


def test_addresses_come_in_order_and_end():
    space = AddressSpace([(10, 12), (20, 21)])
    assert [choose(space) for _ in range(6)] == [10, 11, 12, 20, 21, None]
    assert (space.usable, space.allocated, space.free) == (5, 5, 0)


def test_a_released_address_rests_until_the_others_had_their_turn():
    space = AddressSpace([(1, 4)])
    assert [choose(space), choose(space)] == [1, 2]
    space.release(1)
    assert [choose(space) for _ in range(4)] == [3, 4, 1, None]


def test_an_address_named_by_hand_is_not_chosen_again():
    space = AddressSpace([(1, 4)], taken=[2])
    assert [choose(space) for _ in range(3)] == [3, 4, 1]


def test_an_address_outside_the_pools_is_taken_but_not_counted():
    space = AddressSpace([(10, 12)])
    space.take(1)
    assert not space.is_free(1)
    assert (space.free, space.allocated, space.outside) == (3, 0, {1})
    space.release(1)
    assert space.is_free(1)


def test_taking_or_releasing_twice_is_once():
    space = AddressSpace([(1, 3)])
    for _ in range(2):
        space.take(2)
    assert space.free == 2
    for _ in range(2):
        space.release(2)
    assert space.free == 3


def test_neighbours_that_are_released_are_one_run_again():
    space = AddressSpace([(1, 100)])
    for _ in range(100):
        choose(space)
    for address in (50, 52, 51, *range(1, 50), *range(100, 52, -1)):
        space.release(address)
    assert (space._starts, space._ends) == ([1], [100])


def test_a_prefix_of_2_to_the_64_is_nothing_special():
    first = int(ipaddress.ip_address("fd00::"))
    space = AddressSpace([(first + 1, first + 2**64 - 1)])
    assert [choose(space) for _ in range(1000)] == [first + number for number in range(1, 1001)]
    assert space.free == 2**64 - 1001


@pytest.mark.parametrize(
    ("cidr", "gateway", "pools"),
    [
        ("10.0.0.0/28", "10.0.0.1", [("10.0.0.2", "10.0.0.14")]),
        ("10.0.0.0/28", None, [("10.0.0.1", "10.0.0.14")]),
        ("10.0.0.0/28", "10.0.0.7", [("10.0.0.1", "10.0.0.6"), ("10.0.0.8", "10.0.0.14")]),
        ("10.0.0.0/28", "10.0.0.14", [("10.0.0.1", "10.0.0.13")]),
        ("10.0.0.0/28", "192.0.2.1", [("10.0.0.1", "10.0.0.14")]),
        ("10.0.0.0/31", None, [("10.0.0.0", "10.0.0.1")]),
        ("10.0.0.7/32", None, [("10.0.0.7", "10.0.0.7")]),
        ("10.0.0.7/32", "10.0.0.7", []),
        ("fd00::/64", "fd00::1", [("fd00::2", "fd00::ffff:ffff:ffff:ffff")]),
        ("fd00::/64", None, [("fd00::1", "fd00::ffff:ffff:ffff:ffff")]),
        ("fd00::/127", None, [("fd00::", "fd00::1")]),
    ],
)
def test_pools_are_all_hosts_but_the_gateway(cidr, gateway, pools):
    network = ipaddress.ip_network(cidr)
    found = default_pools(network, None if gateway is None else int(ipaddress.ip_address(gateway)))
    family = type(network.network_address)
    assert [(str(family(start)), str(family(end))) for start, end in found] == pools


def test_a_mac_has_neutrons_prefix_and_three_bytes_of_chance():
    assert mac_from_bits(0) == "fa:16:3e:00:00:00"
    assert mac_from_bits(0xFFABCDEF) == "fa:16:3e:ab:cd:ef"


def test_eui64_is_as_in_rfc_4291_appendix_a():
    assert eui64("2001:db8::/64", "34:56:78:9a:bc:de") == "2001:db8::3656:78ff:fe9a:bcde"
    assert eui64("fd00::/64", "fa:16:3e:00:00:01") == "fd00::f816:3eff:fe00:1"
