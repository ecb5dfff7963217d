"""The segment of a new network: what the types accept, choose and refuse."""

import pytest

from naru.allocate.segments import MAX_VNI, Segment, SegmentRanges, choose_segment, max_mtu, parse_ranges
from naru.model.errors import Conflict, Invalid, Unavailable

RANGES = SegmentRanges(flat_physical_networks=("physnet2",), vni_ranges=((10, 12), (20, 20)))


def choose(*asked: object, taken: tuple[Segment, ...] = (), ranges: SegmentRanges = RANGES) -> Segment:
    network_type, physical_network, segmentation_id = (*asked, None, None, None)[:3]
    return choose_segment(network_type, physical_network, segmentation_id, ranges, lambda segment: segment in taken)  # type: ignore[arg-type]


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
        (("token-ring",), "'token-ring' not supported; supported are flat, vxlan"),
    ],
)
def test_what_a_type_has_not_is_refused_with_the_reason(asked, reason):
    with pytest.raises(Invalid, match=reason):
        choose(*asked)


def test_a_tunnel_takes_fifty_bytes_of_the_mtu():
    assert max_mtu("flat", RANGES) == 1500
    assert max_mtu("vxlan", RANGES) == 1450


def test_ranges_are_read_as_ml2_writes_them():
    assert parse_ranges(("1:100", "7:7")) == ((1, 100), (7, 7))


@pytest.mark.parametrize("text", ["", "1", "5:4", "0:4", f"1:{MAX_VNI + 1}", "a:b", "-1:4", "1:2:3"])
def test_a_range_that_is_none_is_named(text):
    with pytest.raises(ValueError, match="write first:last") as refused:
        parse_ranges((text,))
    assert f"'{text}'" in str(refused.value)
