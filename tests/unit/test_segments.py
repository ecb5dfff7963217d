"""The segment of a new network: what the types accept, choose and refuse."""

import pytest

from naru.allocate.addresses import AddressSpace
from naru.allocate.segments import MAX_VNI, IdRange, SegmentRanges, choose_segment, max_mtu, parse_ranges, parse_vlan_ranges
from naru.model.errors import Conflict, Invalid, Unavailable
from naru.model.provider import ProviderSegment as Segment

RANGES = SegmentRanges(
    flat_physical_networks=("physnet2",),
    vlan_physical_networks=("physnet2", "physnet3"),
    ids={"vxlan": (IdRange(10, 12), IdRange(20, 20)), "vlan": (IdRange(30, 33, "physnet2"),)},
)


def choose(*asked: object, taken: tuple[Segment, ...] = (), ranges: SegmentRanges = RANGES) -> Segment:
    def ids_of(network_type: str, physical_network: str | None) -> AddressSpace:
        there = [each for each in taken if (each.network_type, each.physical_network) == (network_type, physical_network)]
        return AddressSpace([(0, 2**32 - 1)], (each.segmentation_id or 0 for each in there))

    network_type, *rest = (*asked, None)
    return choose_segment(Segment(network_type or "", *rest[:2]), ranges, ids_of)  # type: ignore[arg-type]


def vlan(number: int, physical_network: str = "physnet2") -> Segment:
    return Segment("vlan", physical_network, number)


def vni(number: int) -> Segment:
    return Segment("vxlan", None, number)


def test_the_first_free_vni_of_the_ranges_is_chosen():
    assert choose() == vni(10)
    assert choose("vxlan", taken=(vni(10), vni(11), vni(12))) == vni(20)


def test_without_a_free_vni_there_is_no_network():
    with pytest.raises(Unavailable) as refused:
        choose(taken=(vni(10), vni(11), vni(12), vni(20)))
    assert refused.value.type == "NoNetworkAvailable"


def test_a_vni_may_be_asked_for_also_outside_the_ranges():
    assert choose("vxlan", None, 77) == vni(77)
    with pytest.raises(Conflict, match="77 is in use") as refused:
        choose("vxlan", None, 77, taken=(vni(77),))
    assert refused.value.type == "TunnelIdInUse"


def test_a_flat_network_has_a_physical_network_to_itself():
    assert choose("flat", "physnet2") == Segment("flat", "physnet2")
    with pytest.raises(Conflict, match="physnet2 is in use") as refused:
        choose("flat", "physnet2", taken=(Segment("flat", "physnet2"),))
    assert refused.value.type == "FlatNetworkInUse"


def test_a_star_lets_any_physical_network_be_flat():
    assert choose("flat", "whatever", ranges=SegmentRanges()) == Segment("flat", "whatever")


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (("flat",), "physical_network required"),
        (("flat", "physnet2", 7), "segmentation_id prohibited"),
        (("flat", "elsewhere"), "'elsewhere' unknown"),
        (("vxlan", "physnet2"), "provider:physical_network specified"),
        (("vxlan", None, 0), "out of range"),
        (("vxlan", None, MAX_VNI + 1), "out of range"),
        ((None, "physnet2"), "network_type required"),
        ((None, None, 7), "network_type required"),
        (("token-ring",), "'token-ring' not supported; supported are local, flat, vlan, vxlan, geneve, gre"),
        (("vlan", "elsewhere", 7), "'elsewhere' unknown"),
        (("vlan", None, 7), "segmentation_id requires physical_network"),
        (("vlan", "physnet3"), "Physical network physnet3 requires segmentation_id"),
        (("vlan", "physnet2", 0), "out of range .1 through 4094."),
        (("vlan", "physnet2", 4095), "out of range .1 through 4094."),
        (("gre", None, 2**32), "out of range"),
        (("local", "physnet2"), "physical_network prohibited"),
    ],
)
def test_what_a_type_has_not_is_refused_with_the_reason(asked, reason):
    with pytest.raises(Invalid, match=reason):
        choose(*asked)


def test_a_vlan_is_chosen_from_the_ranges_or_named():
    assert choose("vlan") == choose("vlan", "physnet2") == vlan(30)
    assert choose("vlan", taken=(vlan(30), vlan(31, "physnet3"))) == vlan(31)
    assert choose("vlan", "physnet3", 30, taken=(vlan(30),)) == vlan(30, "physnet3")
    assert choose("vlan", "physnet2", 4000) == vlan(4000)
    with pytest.raises(Conflict, match="The VLAN 30 on physical network physnet2 is in use") as refused:
        choose("vlan", "physnet2", 30, taken=(vlan(30),))
    assert refused.value.type == "VlanIdInUse"
    with pytest.raises(Unavailable):
        choose("vlan", taken=tuple(map(vlan, range(30, 34))))


def test_types_are_tried_in_order():
    ranges = SegmentRanges(tenant_network_types=("vlan", "vxlan"), ids=RANGES.ids)
    assert choose(ranges=ranges) == vlan(30)
    assert choose(ranges=ranges, taken=tuple(map(vlan, range(30, 34)))) == vni(10)


def test_a_tunnel_takes_fifty_bytes_of_the_mtu():
    assert max_mtu("flat", RANGES) == 1500
    assert max_mtu("vxlan", RANGES) == 1450


def test_ranges_are_read_as_ml2_writes_them():
    assert parse_ranges(("1:100", "7:7")) == (IdRange(1, 100), IdRange(7, 7))
    vlans = (IdRange(30, 33, "physnet2"), IdRange(40, 40, "physnet2"))
    assert parse_vlan_ranges(("physnet2:30:33", "physnet3", "physnet2:40:40")) == (("physnet2", "physnet3"), vlans)


@pytest.mark.parametrize("text", ["", "1", "5:4", "0:4", f"1:{MAX_VNI + 1}", "a:b", "-1:4", "1:2:3"])
def test_a_range_that_is_none_is_named(text):
    with pytest.raises(ValueError, match="write first:last") as refused:
        parse_ranges((text,))
    assert f"'{text}'" in str(refused.value)


@pytest.mark.parametrize("text", ["", ":1:2", "p:1", "p:2:1", "p:0:1", "p:1:4095", "p:a:b", "p:1:2:3"])
def test_a_vlan_range_that_is_none_is_named(text):
    with pytest.raises(ValueError, match="write physical_network or physical_network:first:last") as refused:
        parse_vlan_ranges((text,))
    assert f"'{text}'" in str(refused.value)
