"""The very lines that the driver of Open vSwitch runs. No switch is asked: its database is a value."""

from pathlib import Path

from msgspec.structs import replace

from naru.drivers.base import Action, Failure, plan
from naru.drivers.ovs import OpenVswitch, choose_vlans
from naru.drivers.ovsdb import Bridge, Port, Switch
from naru.drivers.switch import MappedBridge, PluggedPort, SwitchBridge
from naru.drivers.tools import uncut
from naru.model.hoststate import NetworkState, PeerState, SegmentState, TapState

N = "11111111-aaaa-4bbb-8ccc-222222222222"
P = "33333333-aaaa-4bbb-8ccc-444444444444"
EMPTY = Switch({}, [])
BR_EX = MappedBridge("", "br-ex", "netdev")
TAP = TapState(P, N, "fa:16:3e:00:00:05", 1450, netns="instance-1", device="eth0")


def network(*segments):
    return NetworkState(N, 1450, tuple(SegmentState(*segment) for segment in segments))


def lines(*values, have=(), switch=EMPTY, tunnel_address="10.9.0.1"):
    """-> what the driver would run for `values` on a host with the facts `have`, and the reasons of what it would not."""
    driver = OpenVswitch(Path("/run/naru"), {"physnet1": "br-ex"}, tunnel_address, "netdev", filters=False)
    want, failures = driver.want_with({value.key: value for value in values}, switch)
    planned = plan(want, {fact.name: fact for fact in have}, prune=True)
    actions = [f"{' '.join(action.tool)}: {action.line}" for action in (*planned.removals, *planned.additions)]
    return actions, [failure.reason for failure in (*failures, *planned.failures)]


def test_two_vlans_of_one_network_are_two_pairs_of_patch_ports_and_both_end_in_its_local_vlan():
    actions, reasons = lines(network(("vlan", "physnet1", 200), ("vlan", "physnet1", 201)), have=[BR_EX])
    assert reasons == []
    assert actions == [
        (
            "ovs-vsctl: --may-exist add-br br-int -- "
            "set Bridge br-int datapath_type=netdev fail_mode=standalone external_ids:naru=br-int"
        ),
        f"ovs-vsctl: set Bridge br-int external_ids:naru-{N}=1",
        *(
            f"ovs-vsctl: add-port {bridge} {end}-br-ex.{vlan} -- set Port {end}-br-ex.{vlan} tag={tag} trunks=[] protected={protected} "
            f'external_ids:naru=network/{N} -- set Interface {end}-br-ex.{vlan} type=patch options:peer="{peer}-br-ex.{vlan}"{number}'
            for vlan, requested in ((200, 16384), (201, 16385))
            for bridge, end, peer, tag, protected, number in (
                ("br-int", "int", "phy", 1, "true", f" ofport_request={requested}"),
                ("br-ex", "phy", "int", vlan, "false", ""),
            )
        ),
    ]  # fmt: skip


def test_tap_on_a_switch_in_user_space_sums_up_what_it_sends_before_it_is_plugged():
    actions, _ = lines(network(("flat", "physnet1")), TAP, have=[BR_EX])
    of_tap = [line for line in actions if "tap33333333-aa" in line or "checksums" in line]
    assert [line.partition(" ")[0] for line in of_tap] == ["ip:", "checksums:", "ip:", "ip:", "ovs-vsctl:"]
    assert of_tap[1] == "checksums: instance-1 eth0"
    assert of_tap[4] == (
        "ovs-vsctl: add-port br-int tap33333333-aa -- "
        f"set Port tap33333333-aa tag=1 trunks=[] protected=false external_ids:naru=tap/{P} -- "
        'set Interface tap33333333-aa type="" external_ids:attached-mac="fa:16:3e:00:00:05" '
        f'external_ids:iface-id="{P}" external_ids:iface-status="active" ofport_request=16385'
    )


def test_many_taps_take_one_batch_of_ip_before_their_checksums_and_one_after():
    actions = [
        Action(f"tap/{n}", tool, f"{what} {n}")
        for n in (1, 2)
        for tool, what in ((("ip",), "add"), (("checksums",), "compute"), (("ip",), "settle"))
    ]
    plug = Action("tap/1", ("ovs-vsctl",), "plug 1")
    lines = ["add 1", "add 2", "compute 1", "compute 2", "settle 1", "settle 2", "plug 1"]
    assert [action.line for action in uncut([*actions, plug])] == lines


def test_peer_is_reached_by_the_tunnel_of_its_segment_alone_and_its_arp_is_answered_here():
    peers = [
        PeerState(f"p{n}", N, f"fa:16:3e:00:00:0{n}", (f"10.7.0.{n}", f"fd00::{n}"), f"10.9.0.{n}", SegmentState("geneve", None, 77))
        for n in (2, 3)
    ]
    actions, _ = lines(network(("geneve", None, 77)), *peers)
    flows = [line.partition(",")[2] for line in actions if line.startswith("ovs-ofctl br-tun: add cookie=0x6278")]
    to = "set_field:0x4d->tun_id,set_field:10.9.0.{}->tun_dst,output:tun-geneve"
    assert flows[:3] == [
        "priority=1,tun_id=0x4d,in_port=tun-geneve,actions=push_vlan:0x8100,set_field:4097->vlan_vid,output:patch-int",
        f"priority=1,in_port=patch-int,dl_vlan=1,actions=pop_vlan,{to.format(2)},{to.format(3)}",
        f"priority=2,in_port=patch-int,dl_vlan=1,dl_dst=fa:16:3e:00:00:02,actions=pop_vlan,{to.format(2)}",
    ]
    assert flows[3].startswith("priority=3,arp,in_port=patch-int,dl_vlan=1,arp_tpa=10.7.0.2,arp_op=1,actions=set_field:2->arp_op,")
    assert len(flows) == 6


def test_network_without_a_port_elsewhere_floods_to_nobody():
    actions, _ = lines(network(("vxlan", None, 77)))
    assert not any("in_port=patch-int" in line for line in actions)


def test_local_vlan_that_br_int_remembers_is_kept_and_one_that_a_stranger_uses_is_not_taken():
    stranger = Port("br-int", "eth9", 1, False, {}, "", {}, {}, "")
    switch = Switch({"br-int": Bridge("br-int", "", "", {"naru-old": "2", "naru-gone": "3"})}, [stranger])
    assert choose_vlans(["new", "old", "next"], switch) == {"new": 4, "old": 2, "next": 5}


def test_when_no_local_vlan_is_free_the_network_says_so():
    switch = Switch({"br-int": Bridge("br-int", "", "", {f"naru-n{n}": str(n) for n in range(1, 4095)})}, [])
    _, reasons = lines(network(("flat", "physnet1")), have=[BR_EX], switch=switch)
    assert "no local VLAN is free on this host: it has 4094 networks" in reasons


def test_what_the_host_cannot_do_is_said_in_words():
    flat, vxlan = network(("flat", "physnet1")), network(("vxlan", None, 77))
    other_datapath, others_tunnels = MappedBridge("", "br-ex", "system"), SwitchBridge("", "br-tun", "netdev", secure=True, ours=False)
    for values, have, words in (
        (flat, [], "bridge br-ex does not exist on this host; create it with the physical device in it"),
        (flat, [other_datapath], "bridge br-ex has datapath_type system, and [agent] ovs_datapath_type is netdev: "),
        (network(("flat", "elsewhere")), [], "physical network elsewhere is not mapped to a bridge of this host (mapped: physnet1)"),
        (vxlan, [others_tunnels], "bridge br-tun of Open vSwitch exists and is not Naru's"),
        (network(("gre", None, 7)), [], "Open vSwitch carries flat, VLAN, VXLAN and Geneve networks, and none of type gre"),
    ):
        _, (reason,) = lines(values, have=have)
        assert reason.startswith(words)
    assert lines(vxlan, tunnel_address=None)[1] == ["this host has no tunnel address, hence no tunnels; set [agent] local_ip"]


def test_bridge_with_a_strangers_port_in_it_stays():
    ours, shared = (SwitchBridge("bridge/br-int", "br-int", "netdev", shared=shared) for shared in (False, True))
    assert lines(have=[ours])[0] == ["ovs-vsctl: --if-exists del-br br-int"]
    assert lines(have=[shared])[0] == []


def test_port_that_a_hypervisor_plugged_is_put_into_its_vlan_and_let_go_but_never_removed():
    plugged = TapState(P, N, "fa:16:3e:00:00:05", 1450)
    actions, (reason,) = lines(network(("flat", "physnet1")), plugged, have=[BR_EX])
    assert reason.startswith("not plugged yet: ")
    found = PluggedPort("", P, None, up=False, mtu_bytes=1500, device="vnet7", marked=False)
    actions, _ = lines(network(("flat", "physnet1")), plugged, have=[BR_EX, found])
    assert actions[-2:] == [
        f"ovs-vsctl: set Port vnet7 tag=1 trunks=[] vlan_mode=[] external_ids:naru-adopted=tap/{P}",
        "ip: link set dev vnet7 mtu 1450 up",
    ]
    adopted = PluggedPort("", P, 1, mtu_bytes=1450, device="vnet7")
    assert lines(have=[adopted])[0] == [
        "ovs-vsctl: --if-exists set Port vnet7 tag=[] trunks=4095 -- --if-exists remove Port vnet7 external_ids naru-adopted"
    ]


def test_port_that_is_plugged_before_its_tap_is_there_is_not_wired_yet():
    plugged = TapState(P, N, "fa:16:3e:00:00:05", 1450)
    found = PluggedPort("", P, None, up=False, device="vnet7", marked=False, error="could not open network device vnet7")
    actions, (reason,) = lines(network(("flat", "physnet1")), plugged, have=[BR_EX, found])
    assert reason == "Open vSwitch cannot use vnet7: could not open network device vnet7"
    assert not [action for action in actions if action.startswith("ip: link set dev vnet7")]
    taken = replace(found, tag=1, up=True, mtu_bytes=1450, marked=True)
    wanted = PluggedPort(f"tap/{P}", P, 1, mtu_bytes=1450)
    assert not wanted.is_met_by(taken)
    assert wanted.is_met_by(replace(taken, error=""))


def test_a_failure_ends_the_plan_for_its_key():
    class Broken(MappedBridge, frozen=True):
        def add(self):
            yield Failure(self.key, "first")

    later = SwitchBridge(f"network/{N}", "br-int", "netdev")
    planned = plan({"mapped/br-ex": Broken(f"network/{N}", "br-ex", "netdev"), "bridge/br-int": later}, {}, prune=True)
    assert (planned.additions, [failure.reason for failure in planned.failures]) == ([], ["first"])


def test_a_sub_port_that_is_down_has_no_way_to_the_bridge_of_its_trunk():
    parent, below = replace(TAP, trunk=True), TapState(f"5{P[1:]}", N, "fa:16:3e:00:00:07", 1450, parent=P, vlan=100)
    vxlan = network(("vxlan", None, 77))
    up, down = (lines(vxlan, parent, replace(below, admin_state_up=is_up))[0] for is_up in (True, False))
    assert [line.split()[2:4] for line in up if line not in down] == [["tbr-33333333-a", "spt-53333333-aa"], ["br-int", "spi-53333333-aa"]]


def test_the_parent_of_a_trunk_that_a_hypervisor_put_into_br_int_is_left_there_with_the_reason():
    vxlan, parent = network(("vxlan", None, 77)), TapState(P, N, "fa:16:3e:00:00:05", 1450, trunk=True)
    have = [PluggedPort("", P, None, True, 1450, "br-int", "tap33333333-aa")]
    _, reasons = lines(vxlan, parent, have=have)
    assert [reason.partition(";")[0] for reason in reasons] == ["tap33333333-aa is in br-int, and belongs in tbr-33333333-a"]
