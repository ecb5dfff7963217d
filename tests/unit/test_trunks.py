"""What may lie behind a port, and what the request says of it."""

import pytest
from msgspec.structs import replace

from naru.compile.host import compile_host
from naru.model.errors import Conflict
from naru.model.hostreport import HostDescription
from naru.model.resources import Network, Port, put
from naru.model.trunks import SubPort, Trunk, sub_port_list
from naru.service.hosts import register_host
from naru.service.port_bindings import create_binding
from naru.service.ports import update_port
from naru.service.trunks import add_subports, create_trunk
from planning import ADMIN, CLOUD, NOW, PlainCloud

ID = "11111111-2222-4333-8444-555555555555"
PLUGGED = {"binding_host_id": "compute01", "device_id": "of-nova", "device_owner": "compute:nova"}
OPEN_VSWITCH = HostDescription(
    "openvswitch", tunnel_address="172.18.0.31", vif_type="ovs", vif_details={"bridge_name": "br-int", "datapath_type": "system"}
)


@pytest.fixture
def cloud():
    return PlainCloud()


def as_vlan(cloud, network, tag):
    def plan():
        yield put(replace(cloud.view.get(Network, network.id), provider_network_type="vlan", provider_segmentation_id=tag))

    cloud.run(plan())
    return network


def trunk_on(cloud, port, *below):
    return cloud.run(create_trunk(cloud.view, ADMIN, {"project_id": "admin", "port_id": port.id, "sub_ports": below}, CLOUD))


def test_a_tag_is_inherited_from_the_ports_network(cloud):
    parent, vlan = cloud.port(cloud.network()), cloud.port(as_vlan(cloud, cloud.network(), 42))
    trunk = trunk_on(cloud, parent, SubPort(vlan.id, "inherit"))
    assert trunk.sub_ports == (SubPort(vlan.id, "vlan", 42),)
    other = cloud.port(cloud.network())
    body = {"sub_ports": [{"port_id": other.id, "segmentation_type": "vlan", "segmentation_id": "42"}]}
    with pytest.raises(Conflict) as refused:
        cloud.run(add_subports(cloud.view, ADMIN, trunk.id, body, CLOUD))
    assert refused.value.type == "DuplicateSubPort"


def test_a_trunk_is_active_while_all_its_ports_are_wired(cloud):
    cloud.run(register_host(cloud.view, "compute01", OPEN_VSWITCH, NOW, CLOUD))
    parent, below = cloud.port(cloud.network()), cloud.port(cloud.network())
    trunk = trunk_on(cloud, parent, SubPort(below.id, "vlan", 7))
    cloud.run(update_port(cloud.view, ADMIN, parent.id, PLUGGED, CLOUD))
    cloud.report("compute01", ok=(f"tap/{parent.id}",))
    assert cloud.view.get(Trunk, trunk.id).status == "DOWN"
    taps = compile_host(cloud.view, "compute01")
    assert (taps[f"tap/{below.id}"].parent, taps[f"tap/{below.id}"].vlan, taps[f"tap/{parent.id}"].trunk) == (parent.id, 7, True)
    cloud.report("compute01", ok=(f"tap/{below.id}",))
    assert cloud.view.get(Trunk, trunk.id).status == "ACTIVE"
    cloud.report("compute01", failed={f"tap/{below.id}": "no room"})
    assert cloud.view.get(Trunk, trunk.id).status == "DOWN"


def test_a_hypervisor_is_told_to_plug_the_parent_of_a_trunk_into_a_bridge_of_its_own_on_open_vswitch(cloud):
    cloud.run(register_host(cloud.view, "compute01", OPEN_VSWITCH, NOW, CLOUD))
    parent, plain = cloud.port(cloud.network()), cloud.port(cloud.network())
    trunk_on(cloud, parent)
    for port, bridge in ((parent, f"tbr-{parent.id[:10]}"), (plain, "br-int")):
        cloud.run(update_port(cloud.view, ADMIN, port.id, PLUGGED, CLOUD))
        assert cloud.view.get(Port, port.id).binding_vif_details["bridge_name"] == bridge
    cloud.run(register_host(cloud.view, "compute02", OPEN_VSWITCH, NOW, CLOUD))
    moving = cloud.run(create_binding(cloud.view, ADMIN, parent.id, {"host": "compute02"}, CLOUD))
    assert moving.vif_details["bridge_name"] == f"tbr-{parent.id[:10]}"


@pytest.mark.parametrize("vlan", [True, False])
def test_a_linux_bridge_wires_a_trunk_whoever_plugs_it_where_its_kernel_has_vlan_devices(cloud, vlan):
    host = HostDescription("linuxbridge", tunnel_address="172.18.0.31", vlan=vlan)
    cloud.run(register_host(cloud.view, "compute01", host, NOW, CLOUD))
    parent, below = cloud.port(cloud.network()), cloud.port(cloud.network())
    trunk_on(cloud, parent, SubPort(below.id, "vlan", 7))
    cloud.run(update_port(cloud.view, ADMIN, parent.id, PLUGGED, CLOUD))
    bound = cloud.view.get(Port, below.id)
    assert bound.binding_vif_type == ("bridge" if vlan else "binding_failed")
    assert bound.binding_vif_details.get("reason", "").startswith("" if vlan else "host compute01 cannot tag for trunks")
    tap = compile_host(cloud.view, "compute01").get(f"tap/{below.id}")
    assert (tap is not None and (tap.parent, tap.vlan) == (parent.id, 7)) is vlan


def test_two_inherited_tags_must_differ(cloud):
    parent = cloud.port(cloud.network())
    below = [SubPort(cloud.port(as_vlan(cloud, cloud.network(), 42)).id, "inherit") for _ in range(2)]
    with pytest.raises(Conflict) as refused:
        trunk_on(cloud, parent, *below)
    assert refused.value.type == "DuplicateSubPort"
    assert not list(cloud.view.all(Trunk))


def test_the_database_keeps_a_port_in_one_trunk():
    trunk = Trunk(id="t", port_id="p", sub_ports=(SubPort("s", "vlan", 1),))
    assert trunk.claims() == ("trunk-port/p", "trunk-port/s")


@pytest.mark.parametrize(
    "value",
    [None, {}, ["x"], [{}], [{"port_id": "x"}], [{"port_id": ID, "segmentation_type": "vlan"}], [{"port_id": ID, "segmentation_id": 1}],
     [{"port_id": ID, "segmentation_type": "inherit", "x": 1}], [{"port_id": ID, "segmentation_type": [], "segmentation_id": 1}],
     [{"port_id": ID, "segmentation_type": "vlan", "segmentation_id": 0}], [{"port_id": ID, "segmentation_type": "inherit"}] * 2],
)  # fmt: skip
def test_sub_ports_that_cannot_be(value):
    with pytest.raises(ValueError, match=r"."):
        sub_port_list(value)
