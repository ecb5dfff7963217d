"""Networks of several segments, subnets tied to segments, and which addresses a port gets where."""

import pytest

from naru.model.errors import Conflict, Forbidden, Invalid, NaruError, NotFound
from naru.model.provider import ProviderSegment
from naru.model.resources import AllocationPool, HostRoute, Network, Port, Subnet, WantedIp
from naru.model.segments import Segment
from naru.service import segments
from naru.service.networks import delete_network, update_network
from naru.service.ports import update_port
from naru.service.subnets import delete_subnet, update_subnet
from naru.store.documents import render, restore
from planning import ADMIN, CLOUD, MEMBER, PlainCloud

VXLAN, FLAT = ProviderSegment("vxlan", None, 7), ProviderSegment("flat", "physnet2")


class Routed(PlainCloud):
    """compute01 carries flat networks only: it has no tunnel address."""

    def segment(self, network, network_type="vxlan", caller=ADMIN, **given):
        wanted = {"network_id": network.id, "network_type": network_type, "project_id": caller.project_id} | given
        return self.run(segments.create_segment(self.view, caller, wanted, CLOUD))

    def segments_of(self, network):
        return list(self.view.find(Segment, "network_id", network.id))

    def bind(self, port, host):
        return self.run(update_port(self.view, ADMIN, port.id, {"binding_host_id": host}, CLOUD))


@pytest.fixture
def cloud():
    cloud = Routed()
    cloud.host("compute01", "")
    return cloud


@pytest.fixture
def routed(cloud):
    """A network whose subnets are tied to its two segments."""
    network = cloud.network(segments=(FLAT, VXLAN))
    for prefix, segment in zip(("10.0.1.0/24", "10.0.2.0/24"), cloud.segments_of(network), strict=True):
        cloud.subnet(network, prefix, segment_id=segment.id)
    return cloud.view.get(Network, network.id)


# -- of a network


def test_each_network_has_a_segment_and_gives_it_back(cloud):
    network = cloud.network()
    assert [segment.on_the_wire for segment in cloud.segments_of(network)] == [ProviderSegment("vxlan", None, 1)]
    assert cloud.network().provider_segmentation_id == 2
    cloud.run(delete_network(cloud.view, ADMIN, network.id, CLOUD))
    assert cloud.segments_of(network) == []
    assert cloud.network().provider_segmentation_id == 1


def test_a_refused_network_gives_its_segments_back(cloud):
    with pytest.raises(Invalid, match="MTU is too small"):
        cloud.network(mtu=9, segments=(VXLAN, FLAT))
    assert cloud.network(segments=(VXLAN, FLAT)).segments == (VXLAN, FLAT)


def test_several_segments_are_shown_instead_of_one(cloud):
    one, several = cloud.network(), cloud.network(segments=(VXLAN, ProviderSegment("vlan", "physnet3", 200)))
    assert b'"provider:network_type"' in render(one)[0].admin
    assert b'"segments"' not in render(one)[0].admin
    assert (
        b'"segments":[{"provider:network_type":"vxlan","provider:physical_network":null,"provider:segmentation_id":7},'
        b'{"provider:network_type":"vlan","provider:physical_network":"physnet3","provider:segmentation_id":200}]'
    ) in render(several)[0].admin
    assert b'"provider:network_type":"vxlan","provider:physical_network"' not in render(several)[0].admin.partition(b"segments")[0]
    assert several.mtu == 1450
    for network in (one, several):
        assert restore(Network, render(network)[1]) == network


@pytest.mark.parametrize(
    ("given", "type"),
    [
        ({"segments": (VXLAN, VXLAN)}, "SegmentsContainDuplicateEntry"),
        ({"segments": (VXLAN,), "provider_network_type": "vxlan"}, "SegmentsSetInConjunctionWithProviders"),
        ({"segments": (FLAT, ProviderSegment("vlan", "physnet2"))}, "InvalidInput"),
    ],
)
def test_segments_that_do_not_fit_together(cloud, given, type):
    with pytest.raises(Invalid) as refused:
        cloud.network(**given)
    assert refused.value.type == type
    assert list(cloud.view.all(Segment)) == []


def test_the_segments_of_a_network_are_not_updated(cloud):
    network = cloud.network()
    with pytest.raises(Invalid, match="fixed when it is created"):
        cloud.run(update_network(cloud.view, ADMIN, network.id, {"segments": (VXLAN,)}, CLOUD))


# -- as a resource


def test_a_segment_comes_and_goes(cloud):
    network = cloud.network()
    segment = cloud.segment(network, "vlan", physical_network="physnet2", segmentation_id=30, name="s")
    assert [each.network_type for each in cloud.view.get(Network, network.id).segments] == ["vxlan", "vlan"]
    with pytest.raises(Conflict) as refused:
        cloud.segment(cloud.network(), "vlan", physical_network="physnet2", segmentation_id=30)
    assert refused.value.type == "VlanIdInUse"
    assert cloud.run(segments.update_segment(cloud.view, ADMIN, segment.id, {"name": "t"}, CLOUD)).name == "t"
    cloud.run(segments.delete_segment(cloud.view, ADMIN, segment.id, CLOUD))
    assert cloud.view.get(Network, network.id).segments == ()
    with pytest.raises(Conflict, match="only segment"):
        cloud.run(segments.delete_segment(cloud.view, ADMIN, cloud.segments_of(network)[0].id, CLOUD))


def test_segments_are_the_administrators_business(cloud):
    network = cloud.network(caller=MEMBER)
    with pytest.raises(Forbidden):
        cloud.segment(network, caller=MEMBER)
    with pytest.raises(NotFound):
        cloud.run(segments.delete_segment(cloud.view, MEMBER, cloud.segments_of(network)[0].id, CLOUD))


# -- of a subnet


def test_subnets_are_tied_all_or_none(cloud, routed):
    other = cloud.network()
    for network, segment_id, type in (
        (routed, None, "SubnetsNotAllAssociatedWithSegments"),
        (routed, cloud.segments_of(other)[0].id, "NetworkIdsDontMatch"),
        (routed, "gone", "SegmentNotFound"),
    ):
        with pytest.raises(NaruError) as refused:
            cloud.subnet(network, "10.0.3.0/24", segment_id=segment_id)
        assert refused.value.type == type
    with pytest.raises(Conflict) as refused:
        cloud.run(segments.delete_segment(cloud.view, ADMIN, cloud.segments_of(routed)[0].id, CLOUD))
    assert refused.value.type == "SegmentInUse"


def test_a_subnet_is_tied_once(cloud):
    network = cloud.network()
    subnet, segment = cloud.subnet(network), cloud.segments_of(network)[0]
    tied = cloud.run(update_subnet(cloud.view, ADMIN, subnet.id, {"segment_id": segment.id}, CLOUD))
    assert tied.segment_id == segment.id
    with pytest.raises(Invalid) as refused:
        cloud.run(update_subnet(cloud.view, ADMIN, subnet.id, {"segment_id": None}, CLOUD))
    assert refused.value.type == "SubnetSegmentAssociationChangeNotAllowed"
    several = cloud.network(segments=(VXLAN, FLAT))
    loose = cloud.subnet(several)
    with pytest.raises(Invalid) as refused:
        cloud.run(update_subnet(cloud.view, ADMIN, loose.id, {"segment_id": cloud.segments_of(several)[0].id}, CLOUD))
    assert refused.value.type == "NoUpdateSubnetWhenMultipleSegmentsOnNetwork"


def test_subnets_lead_to_their_peers(cloud, routed):
    """By their own gateways; what somebody else routed there stays as it is."""
    first, second = (cloud.view.get(Subnet, id) for id in routed.subnets)

    def routes(subnet):
        return [(route.destination, route.nexthop) for route in cloud.view.get(Subnet, subnet.id).host_routes]

    assert (routes(first), routes(second)) == ([("10.0.2.0/24", "10.0.1.1")], [("10.0.1.0/24", "10.0.2.1")])
    pools = (AllocationPool("10.0.1.2", "10.0.1.200"),)
    cloud.run(update_subnet(cloud.view, ADMIN, first.id, {"allocation_pools": pools}, CLOUD))
    cloud.run(update_subnet(cloud.view, ADMIN, first.id, {"gateway_ip": "10.0.1.254"}, CLOUD))
    assert (routes(first), routes(second)) == ([("10.0.2.0/24", "10.0.1.254")], [("10.0.1.0/24", "10.0.2.1")])
    mine = {"host_routes": (HostRoute("10.0.1.0/24", "10.0.2.9"),)}
    cloud.run(update_subnet(cloud.view, ADMIN, second.id, mine, CLOUD))
    neighbour = cloud.subnet(routed, "10.0.3.0/24", segment_id=first.segment_id)
    assert routes(first) == [("10.0.2.0/24", "10.0.1.254")]
    assert routes(second) == [("10.0.1.0/24", "10.0.2.9"), ("10.0.3.0/24", "10.0.2.1")]
    cloud.run(delete_subnet(cloud.view, ADMIN, neighbour.id, CLOUD))
    assert routes(second) == [("10.0.1.0/24", "10.0.2.9")]
    cloud.subnet(cloud.network(), "10.0.9.0/24")


def test_no_subnet_has_more_routes_to_its_peers_than_dhcp_can_tell(cloud):
    network = cloud.network()
    for number in range(25):
        segment = cloud.segment(network) if number else cloud.segments_of(network)[0]
        cloud.subnet(network, f"10.0.{number}.0/24", segment_id=segment.id)
    routes = [len(subnet.host_routes) for subnet in cloud.view.find(Subnet, "network_id", network.id)]
    assert routes == [20] * 25


def test_a_routed_network_is_not_one_link(cloud, routed):
    adjacency = lambda network: cloud.view.get(Network, network.id).l2_adjacency  # noqa: E731
    assert not adjacency(routed)
    for id in routed.subnets:
        cloud.run(delete_subnet(cloud.view, ADMIN, id, CLOUD))
    assert adjacency(routed)
    plain = cloud.network()
    subnet = cloud.subnet(plain, "10.0.9.0/24")
    assert adjacency(plain)
    (segment,) = cloud.view.find(Segment, "network_id", plain.id)
    cloud.run(update_subnet(cloud.view, ADMIN, subnet.id, {"segment_id": segment.id}, CLOUD))
    assert not adjacency(plain)


# -- of a port


def test_a_routed_port_gets_its_address_when_it_is_bound(cloud, routed):
    port = cloud.port(routed)
    assert (port.ip_allocation, port.fixed_ips) == ("deferred", ())
    bound = cloud.bind(port, "compute01")
    assert (bound.ip_allocation, bound.fixed_ips[0].ip_address, bound.binding_vif_type) == ("immediate", "10.0.1.2", "bridge")
    at_once = cloud.port(routed, binding_host_id="compute01")
    assert (at_once.ip_allocation, at_once.fixed_ips[0].ip_address) == ("immediate", "10.0.1.3")


def test_a_routed_port_stays_where_its_address_works(cloud, routed):
    port = cloud.port(routed, fixed_ips=(WantedIp(ip_address="10.0.2.9"),))
    assert port.ip_allocation == "immediate"
    with pytest.raises(Conflict) as refused:
        cloud.bind(port, "compute01")
    assert refused.value.type == "HostNotCompatibleWithFixedIps"
    with pytest.raises(Invalid) as refused:
        cloud.port(routed, fixed_ips=(WantedIp(ip_address="10.0.2.10"), WantedIp(ip_address="10.0.1.10")))
    assert refused.value.type == "FixedIpsSubnetsNotOnSameSegment"


def test_a_host_is_on_one_segment_of_a_routed_network(cloud, routed):
    cloud.host("compute02", "172.18.0.32")
    for host, type in (("compute02", "HostConnectedToMultipleSegments"), ("nowhere", "HostNotConnectedToAnySegment")):
        with pytest.raises(Conflict) as refused:
            cloud.port(routed, binding_host_id=host)
        assert refused.value.type == type


def test_when_other_ports_get_their_addresses(cloud):
    network = cloud.network()
    assert cloud.port(network).ip_allocation == "immediate"
    assert cloud.port(network, fixed_ips=()).ip_allocation == "none"
    cloud.subnet(network)
    assert cloud.port(network).ip_allocation == "immediate"
    unaddressed = cloud.port(network, fixed_ips=())
    assert unaddressed.ip_allocation == "none"
    addressed = cloud.run(update_port(cloud.view, ADMIN, unaddressed.id, {"fixed_ips": (WantedIp(ip_address="10.0.0.9"),)}, CLOUD))
    assert addressed.ip_allocation == "immediate"


def test_a_port_on_a_network_of_several_segments_is_bound_where_one_is(cloud):
    network = cloud.network(segments=(ProviderSegment("vlan", "elsewhere", 30), FLAT))
    cloud.subnet(network)
    assert cloud.port(network, binding_host_id="compute01").binding_vif_type == "bridge"
    vlan = cloud.network(segments=(ProviderSegment("vlan", "elsewhere", 31), ProviderSegment("vlan", "elsewhere", 32)))
    assert cloud.port(vlan, binding_host_id="compute01").binding_vif_type == "binding_failed"


# -- subnets kept for an owner


def test_ports_of_an_owner_get_addresses_of_its_subnets(cloud):
    network = cloud.network()
    cloud.subnet(network, "10.0.0.0/24")
    cloud.subnet(network, "10.0.1.0/24", service_types=("compute:nova", "network:router_gateway"))
    for owner, prefix in (("", "10.0.0."), ("compute:nova", "10.0.1."), ("network:router_gateway", "10.0.1."), ("compute:az2", "10.0.0.")):
        assert cloud.port(network, device_owner=owner).fixed_ips[0].ip_address.startswith(prefix)


def test_an_owner_without_a_subnet_gets_no_address(cloud):
    network = cloud.network()
    cloud.subnet(network, service_types=("compute:nova",))
    with pytest.raises(Conflict) as refused:
        cloud.port(network)
    assert refused.value.type == "IpAddressGenerationFailureNoMatchingSubnet"
    assert list(cloud.view.all(Port)) == []
