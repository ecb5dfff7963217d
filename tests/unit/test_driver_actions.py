"""The very lines that drivers run, for the situations that matter. No kernel is asked: facts in, lines out."""

import re
from ipaddress import ip_address
from pathlib import Path

from msgspec.structs import replace

from naru.agent.instances import Instances
from naru.agent.machines import Device, Machines
from naru.drivers.announce import announcements
from naru.drivers.base import Foreign, plan
from naru.drivers.iproute import deleted_together, parse_failures
from naru.drivers.links import Bridge, Port, Tap, Trunk
from naru.drivers.linuxbridge import LinuxBridge
from naru.drivers.qos import Qos, read_disciplines
from naru.drivers.router import Routers
from naru.drivers.tc import Discipline
from naru.model.hoststate import (
    AddressLimit,
    BandwidthLimit,
    DhcpState,
    DhcpSubnet,
    FloatingAddress,
    ForwardedPorts,
    InstanceState,
    LeaseState,
    NetworkState,
    PeerState,
    QosState,
    Route,
    RouterInterface,
    RouterState,
    SegmentState,
    TapState,
)
from wire import IPV6, ethernet, icmpv6

N = "11111111-aaaa-4bbb-8ccc-222222222222"
P = "33333333-aaaa-4bbb-8ccc-444444444444"
I = "55555555-aaaa-4bbb-8ccc-666666666666"  # noqa: E741 - the instance
RUN = Path("/run/naru")
BRIDGE_OPTIONS = "forward_delay 0 stp_state 0 mcast_snooping 0 nf_call_iptables 1 nf_call_ip6tables 1"
VXLAN = NetworkState(N, 1450, (SegmentState("vxlan", None, 77),))
FLAT = NetworkState(N, 1500, (SegmentState("flat", "physnet1"),))
TAP = TapState(P, N, "fa:16:3e:00:00:05", 1450, netns=f"instance-{I}", device="eth0")
SUBNET = DhcpSubnet("s1", "10.7.0.0/28", "10.7.0.2", "10.7.0.1", ("9.9.9.9", "8.8.8.8"), (Route("10.8.0.0/16", "10.7.0.14"),))
DHCP = DhcpState(N, P, f"qdhcp-{N}", "ns-33333333-aa", 1450, (SUBNET,))
LEASE = LeaseState("p5", N, "fa:16:3e:00:00:05", "host-5", ("10.7.0.5", "fd00::5"))


def bridges(interfaces=None, tunnel_address="10.9.0.1"):
    return LinuxBridge(RUN, interfaces or {}, tunnel_address)


def lines(driver, *values, have=()):
    """What the driver would run for `values` on a host with the facts `have`, as "tool: line"."""
    want, failures = driver.want({value.key: value for value in values})
    planned = plan(want, {fact.name: fact for fact in have}, prune=True)
    return [f"{' '.join(action.tool)}: {action.line}" for action in (*planned.removals, *planned.additions)], [
        failure.reason for failure in (*failures, *planned.failures)
    ]


def made(driver, *values):
    """The facts of a host where `values` have been achieved."""
    return driver.want({value.key: value for value in values})[0].values()


def test_vxlan_network_with_a_port_and_a_peer():
    peer = PeerState("p9", N, "fa:16:3e:00:00:09", ("10.7.0.9", "fd00::9"), "10.9.0.2", VXLAN.segments[0])
    assert lines(bridges(), VXLAN, TAP, peer) == (
        [
            f"write /run/naru/netns/instance-{I}: instance/{I}",
            f"ip: netns add instance-{I}",
            f"ip: link add name brq11111111-aa mtu 1451 group 6278 type bridge {BRIDGE_OPTIONS}",
            f"ip: link set dev brq11111111-aa alias naru:{N} mtu 1450 addrgenmode none type bridge {BRIDGE_OPTIONS}",
            "ip: link set dev brq11111111-aa up",
            "ip: link add name vxlan-77 mtu 1450 group 6278 type vxlan id 77 local 10.9.0.1 dstport 4789 nolearning proxy",
            f"ip: link set dev vxlan-77 alias naru:{N} mtu 1450 addrgenmode none master brq11111111-aa",
            "ip: link set dev vxlan-77 type bridge_slave learning off neigh_suppress on isolated off",
            "ip: link set dev vxlan-77 up",
            (
                "ip: link add name tap33333333-aa group 6278 address fe:16:3e:00:00:05 mtu 1450 type veth "
                f"peer name eth0 address fa:16:3e:00:00:05 mtu 1450 netns instance-{I}"
            ),
            f"ip: link set dev tap33333333-aa alias naru:{P}/eth0/fa:16:3e:00:00:05 mtu 1450 addrgenmode none master brq11111111-aa",
            "ip: link set dev tap33333333-aa up",
            "ip: neigh replace 10.7.0.9 lladdr fa:16:3e:00:00:09 dev vxlan-77 nud permanent",
            "ip: neigh replace fd00::9 lladdr fa:16:3e:00:00:09 dev vxlan-77 nud permanent",
            "ip: neigh replace fe80::f816:3eff:fe00:9 lladdr fa:16:3e:00:00:09 dev vxlan-77 nud permanent",
            "bridge: fdb append 00:00:00:00:00:00 dev vxlan-77 dst 10.9.0.2",
            "bridge: fdb replace fa:16:3e:00:00:09 dev vxlan-77 dst 10.9.0.2",
        ],
        [],
    )


def test_where_addresses_roam_a_tunnel_answers_nothing_and_lets_all_be_asked():
    roaming = replace(VXLAN, roaming=True)
    peer = PeerState("p9", N, "fa:16:3e:00:00:09", ("10.7.0.9", "fd00::9"), "10.9.0.2", VXLAN.segments[0])
    asked, _ = lines(bridges(), roaming, peer)
    assert "ip: link add name vxlan-77 mtu 1450 group 6278 type vxlan id 77 local 10.9.0.1 dstport 4789 nolearning noproxy" in asked
    assert "ip: link set dev vxlan-77 type bridge_slave learning on neigh_suppress off isolated off" in asked
    assert not any(line.startswith("ip: neigh") for line in asked)


def test_everything_is_removed_in_reverse():
    peer = PeerState("p9", N, "fa:16:3e:00:00:09", ("10.7.0.9",), "10.9.0.2", VXLAN.segments[0])
    driver = bridges()
    assert lines(driver, have=made(driver, VXLAN, TAP, peer)) == (
        [
            "bridge: fdb del fa:16:3e:00:00:09 dev vxlan-77 dst 10.9.0.2",
            "bridge: fdb del 00:00:00:00:00:00 dev vxlan-77 dst 10.9.0.2",
            "ip: neigh del 10.7.0.9 dev vxlan-77",
            "ip: link del dev tap33333333-aa",
            "ip: link del dev vxlan-77",
            "ip: link del dev brq11111111-aa",
            f"ip: netns del instance-{I}",
            f"unlink: /run/naru/netns/instance-{I}",
        ],
        [],
    )


def test_peer_that_moved_is_followed():
    before = PeerState("p9", N, "fa:16:3e:00:00:09", ("10.7.0.9",), "10.9.0.2", VXLAN.segments[0])
    after = PeerState("p9", N, "fa:16:3e:00:00:09", ("10.7.0.9",), "10.9.0.3", VXLAN.segments[0])
    driver = bridges()
    assert lines(driver, VXLAN, after, have=made(driver, VXLAN, before))[0] == [
        "bridge: fdb del 00:00:00:00:00:00 dev vxlan-77 dst 10.9.0.2",
        "bridge: fdb append 00:00:00:00:00:00 dev vxlan-77 dst 10.9.0.3",
        "bridge: fdb replace fa:16:3e:00:00:09 dev vxlan-77 dst 10.9.0.3",
    ]


def test_tap_is_changed_in_place_where_that_can_be():
    want, have = TAP, Tap(TAP.key, "tap33333333-aa", P, "eth0", TAP.mac_address, f"instance-{I}", "brqelsewhere", 1500, up=False)
    changed, _ = lines(bridges(), want, have=[have])
    assert changed[-3:] == [
        f"ip: link set dev tap33333333-aa alias naru:{P}/eth0/fa:16:3e:00:00:05 mtu 1450 addrgenmode none master brq11111111-aa",
        "ip: link set dev tap33333333-aa up",
        f"ip -n instance-{I}: link set dev eth0 mtu 1450",
    ]


def test_tap_of_another_mac_or_without_its_namespace_is_made_anew():
    for netns, mac in ((f"instance-{I}", "fa:16:3e:00:00:06"), ("", TAP.mac_address)):
        have = Tap(TAP.key, "tap33333333-aa", P, "eth0", mac, netns, "brq11111111-aa", 1450)
        changed, _ = lines(bridges(), TAP, have=[have])
        assert "ip: link del dev tap33333333-aa" in changed
        assert any(line.startswith("ip: link add name tap33333333-aa") for line in changed)


def test_link_that_was_cut_short_at_its_making_is_completed():
    changed, _ = lines(bridges(), VXLAN, have=[Bridge("network/", "brq11111111-aa", "", 1500, tuned=True, up=False)])
    assert changed[:2] == [
        f"ip: link set dev brq11111111-aa alias naru:{N} mtu 1450 addrgenmode none type bridge {BRIDGE_OPTIONS}",
        "ip: link set dev brq11111111-aa up",
    ]


def test_flat_network_takes_its_device_in_and_lets_it_go():
    driver = bridges({"physnet1": "eth1"})
    mark = "/run/naru/adopted/eth1"
    free = Port("port/eth1", "eth1", "", mark, up=False, marked=False)
    assert lines(driver, FLAT, have=[free])[0][-3:] == [
        f"write {mark}: network/{N}",
        "ip: link set dev eth1 master brq11111111-aa",
        "ip: link set dev eth1 up",
    ]
    taken = Port("port/eth1", "eth1", "brq11111111-aa", mark)
    assert lines(driver, have=[taken])[0] == ["ip: link set dev eth1 nomaster", f"unlink: {mark}"]


def test_device_that_must_not_be_taken_is_left_alone_and_the_reason_says_what_would_help():
    driver = bridges({"physnet1": "eth1"})
    mark = "/run/naru/adopted/eth1"
    bridge = Bridge(FLAT.key, "brq11111111-aa", f"naru:{N}", 1500)
    addressed = Port("port/eth1", "eth1", "", mark, marked=False, addresses=("192.0.2.1/24",))
    elsewhere = Port("port/eth1", "eth1", "", mark, marked=False, foreign_bridge="br0")
    for have, words in (
        ([bridge, addressed], "eth1 carries 192.0.2.1/24: in a bridge it would cut this host off; move the address elsewhere"),
        ([bridge, elsewhere], "eth1 is in bridge br0, which is not Naru's; take it out"),
        ([bridge], "device eth1 of physical network physnet1 does not exist on this host; create it"),
    ):
        actions, reasons = lines(driver, FLAT, have=have)
        assert actions == []
        assert [reason for reason in reasons if reason.startswith(words)] == reasons


def test_what_this_host_cannot_do_is_said_in_words():
    assert lines(bridges(), FLAT)[1] == [
        "physical network physnet1 is not mapped to a device of this host (mapped: none); add it to [agent] physical_interface_mappings"
    ]
    assert lines(bridges(tunnel_address=None), VXLAN)[1] == ["this host has no tunnel address, hence no VXLAN; set [agent] local_ip"]


def test_vlan_network_gets_a_vlan_of_the_device_and_all_its_segments_end_in_one_bridge():
    both = NetworkState(N, 1500, (SegmentState("vlan", "physnet1", 200), SegmentState("vlan", "physnet1", 201)))
    assert lines(bridges({"physnet1": "eth1"}), both, have=[Trunk("", "eth1", up=False)]) == (
        [
            "ip: link set dev eth1 up",
            f"ip: link add name brq11111111-aa mtu 1501 group 6278 type bridge {BRIDGE_OPTIONS}",
            f"ip: link set dev brq11111111-aa alias naru:{N} mtu 1500 addrgenmode none type bridge {BRIDGE_OPTIONS}",
            "ip: link set dev brq11111111-aa up",
            *(
                line
                for vlan in (200, 201)
                for line in (
                    f"ip: link add name eth1.{vlan} mtu 1500 group 6278 link eth1 type vlan id {vlan}",
                    f"ip: link set dev eth1.{vlan} alias naru:{N} mtu 1500 addrgenmode none master brq11111111-aa",
                    f"ip: link set dev eth1.{vlan} type bridge_slave learning on neigh_suppress off isolated on",
                    f"ip: link set dev eth1.{vlan} up",
                )
            ),
        ],
        [],
    )


def test_vlan_device_of_a_long_name_is_named_as_the_field_names_it():
    vlan = NetworkState(N, 1500, (SegmentState("vlan", "physnet1", 4094),))
    actions, _ = lines(bridges({"physnet1": "enp129s0f0np0"}), vlan, have=[Trunk("", "enp129s0f0np0")])
    assert "ip: link add name enp197e4a1.4094 mtu 1500 group 6278 link enp129s0f0np0 type vlan id 4094" in actions


def test_vlan_needs_a_device_that_is_there_and_free_and_says_so_for_each_network():
    one, two = (NetworkState(f"{n}{N[1:]}", 1500, (SegmentState("vlan", "physnet1", n),)) for n in (1, 2))
    for have, words in (
        ([], "device eth1 of physical network physnet1 does not exist"),
        ([Trunk("", "eth1", foreign_master="bond0")], "eth1 is in bond0"),
    ):
        want, _ = bridges({"physnet1": "eth1"}).want({network.key: network for network in (one, two)})
        failures = plan(want, {fact.name: fact for fact in have}, prune=True).failures
        assert [failure.key for failure in failures] == [one.key, two.key]
        assert all(failure.reason.startswith(words) for failure in failures)


def test_vlan_device_that_somebody_else_made_is_not_touched():
    vlan = NetworkState(N, 1500, (SegmentState("vlan", "physnet1", 200),))
    foreign = Foreign("", "link/eth1.200", "it is somebody's")
    actions, reasons = lines(bridges({"physnet1": "eth1"}), vlan, have=[Trunk("", "eth1"), foreign])
    assert not any("eth1.200" in line for line in actions)
    assert reasons == ["it is somebody's"]


SUB_PORT = "77777777-aaaa-4bbb-8ccc-888888888888"
OTHER = NetworkState("99999999-aaaa-4bbb-8ccc-222222222222", 1450, (SegmentState("vxlan", None, 78),))
BEHIND = TapState(SUB_PORT, OTHER.network_id, "fa:16:3e:00:00:07", 1450, parent=P, vlan=100)
MAKES_SUB_TAP = [
    "ip: link add link tap33333333-aa name tap77777777-aa group 6278 address fe:16:3e:00:00:07 mtu 1450 type vlan id 100 loose_binding on",
    f"ip: link set dev tap77777777-aa alias naru:{SUB_PORT}/fa:16:3e:00:00:07 mtu 1450 addrgenmode none master brq99999999-aa",
    "ip: link set dev tap77777777-aa up",
]


def test_a_sub_port_is_a_vlan_of_its_parents_tap_in_the_bridge_of_its_own_network_and_comes_and_goes_with_it():
    actions, _ = lines(bridges(), VXLAN, OTHER, BEHIND, TAP)
    assert actions[-3:] == MAKES_SUB_TAP
    have = made(bridges(), VXLAN, OTHER, BEHIND, TAP)
    assert lines(bridges(), VXLAN, OTHER, BEHIND, TAP, have=have) == ([], [])
    assert lines(bridges(), VXLAN, OTHER, TAP, have=have) == (["ip: link del dev tap77777777-aa"], [])
    other_pair = replace(TAP, mac_address="fa:16:3e:00:00:0a")
    anew, _ = lines(bridges(), VXLAN, OTHER, BEHIND, other_pair, have=have)
    assert anew[:2] == ["ip: link del dev tap77777777-aa", "ip: link del dev tap33333333-aa"]
    assert anew[-3:] == MAKES_SUB_TAP
    down, _ = lines(bridges(), VXLAN, OTHER, replace(BEHIND, admin_state_up=False), TAP, have=have)
    assert down[-1] == "ip: link set dev tap77777777-aa down"


def test_a_sub_port_waits_for_the_tap_that_a_hypervisor_plugs_and_does_not_touch_a_strangers():
    parent, tap = replace(TAP, netns=None, device=None), "tap33333333-aa"
    actions, reasons = lines(bridges(), VXLAN, OTHER, BEHIND, parent)
    assert not any("tap77777777" in line for line in actions)
    assert reasons == [f"not plugged yet: {tap} does not exist; the hypervisor makes it when it starts the instance"]
    actions, _ = lines(bridges(), VXLAN, OTHER, BEHIND, parent, have=[Port("", tap, "", "", marked=False)])
    assert actions[-3:] == MAKES_SUB_TAP
    actions, reasons = lines(bridges(), VXLAN, OTHER, BEHIND, TAP, have=[Foreign("", f"link/{tap}", "it is somebody's")])
    assert not any("tap77777777" in line for line in actions)
    assert reasons == ["it is somebody's"]


def test_a_sub_port_is_no_wider_than_its_parent():
    _, reasons = lines(bridges(), VXLAN, OTHER, replace(BEHIND, mtu_bytes=1500), TAP)
    assert [reason.partition(":")[0] for reason in reasons] == [
        f"the sub-port's network has MTU 1500, and its parent {P} is on one with 1450"
    ]


def test_a_link_with_less_than_the_least_mtu_of_ipv6_is_told_nothing_of_it_and_goes_down_to_be_wider():
    narrow = replace(VXLAN, mtu_bytes=1000), replace(TAP, mtu_bytes=1000)
    actions, _ = lines(bridges(), *narrow)
    assert not any("addrgenmode" in line for line in actions)
    widened, _ = lines(bridges(), VXLAN, TAP, have=made(bridges(), *narrow))
    for device in ("brq11111111-aa", "vxlan-77", "tap33333333-aa"):
        first, second = (line for line in widened if line.startswith(f"ip: link set dev {device} ") and "mtu" in line)
        assert first == f"ip: link set dev {device} down mtu 1450"
        assert "addrgenmode none" in second


def test_two_networks_cannot_share_one_device():
    other = NetworkState("99999999-aaaa", 1500, (SegmentState("flat", "physnet2"),))
    _, reasons = lines(bridges({"physnet1": "eth1", "physnet2": "eth1"}), FLAT, other)
    assert f"port/eth1 already serves network/{N}; one of the two must go" in reasons


def test_foreign_namespace_of_our_name_is_not_touched():
    foreign = Foreign("", f"netns/instance-{I}", "it is somebody's")
    actions, reasons = lines(bridges(), TAP, have=[foreign])
    assert not any("netns add" in line or "netns del" in line or line.startswith("write") for line in actions)
    assert reasons == ["it is somebody's"]


def test_instance_that_runs_has_a_dhcp_client_and_one_that_is_stopped_has_none():
    instance = InstanceState(I, "web 1", "netns", f"instance-{I}", ("eth0",), running=True)
    stopped = InstanceState(I, "web 1", "netns", f"instance-{I}", ("eth0",), running=False)
    driver = Instances(RUN)
    (start,), _ = lines(driver, instance)
    directory = f"/run/naru/instances/{I}"
    assert start.startswith(f"sh: mkdir -p {directory} && rm -f {directory}/eth0.pid && ip -n instance-{I} link set dev eth0 up && {{ ")
    assert f"busybox udhcpc -f -i eth0 -p {directory}/eth0.pid" in start
    assert "'hostname:web 1'" in start
    stop, _ = lines(driver, stopped, have=made(driver, instance))
    assert stop[:3] == [
        f"signal {directory}/eth0.pid: TERM",
        f"ip -n instance-{I}: link set dev eth0 down",
        f"ip -n instance-{I}: addr flush dev eth0 scope global",
    ]
    assert lines(driver, stopped) == ([], [])


def test_a_virtual_machine_boots_when_its_ports_are_wired_with_cards_that_its_taps_know():
    tap = TapState(P, N, "fa:16:3e:00:00:05", 1450)
    device = f"tap{P[:11]}"
    waiting, running = (InstanceState(I, "web 1", "qemu", "", (device,), runs, 64) for runs in (False, True))
    driver = Instances(RUN)
    mark = f"/run/naru/machine-taps/{device}"
    assert lines(driver, waiting, tap)[0] == [f"write {mark}: {device}", f"ip: tuntap add dev {device} mode tap"]
    (start,), _ = lines(driver, running, tap, have=made(driver, waiting, tap))
    card = f"virtio-net-pci,id={device},netdev=to-{device},mac=fa:16:3e:00:00:05,romfile= "
    assert f"-netdev tap,id=to-{device},ifname={device},script=no,downscript=no -device {card.strip()}" in start
    assert "-m 96 " in start
    assert "naru.hostname=web-1'" in start
    stop, _ = lines(driver, have=made(driver, running, tap))
    assert stop == [
        f"signal /run/naru/machines/{I}/pid: TERM",
        f"sh: rm -rf /run/naru/machines/{I}",
        f"ip: link del dev {device}",
        f"unlink: {mark}",
    ]


def test_a_card_is_plugged_into_a_machine_that_runs_and_its_tap_goes_after_it():
    tap, more = TapState(P, N, "fa:16:3e:00:00:05", 1450), TapState(SUB_PORT, N, "fa:16:3e:00:00:07", 1450)
    device, second = (f"tap{id[:11]}" for id in (P, SUB_PORT))
    one, two = (InstanceState(I, "web", "qemu", "", devices, running=True) for devices in ((device,), (device, second)))
    driver, monitor = Instances(RUN), f"qmp /run/naru/machines/{I}/qmp"
    assert lines(driver, two, tap, more, have=made(driver, one, tap))[0] == [
        f"write /run/naru/machine-taps/{second}: {second}",
        f"ip: tuntap add dev {second} mode tap",
        f"{monitor}: plug {second} fa:16:3e:00:00:07",
    ]
    assert lines(driver, two, tap, more, have=made(driver, two, more, tap)) == ([], [])
    assert lines(driver, one, tap, have=made(driver, two, tap, more))[0] == [
        f"{monitor}: unplug {second} fa:16:3e:00:00:07",
        f"ip: link del dev {second}",
        f"unlink: /run/naru/machine-taps/{second}",
    ]


def test_a_machine_on_open_vswitch_is_plugged_as_libvirt_does_it_and_computes_its_checksums_in_user_space():
    tap, device = TapState(P, N, "fa:16:3e:00:00:05", 1450), f"tap{P[:11]}"
    running = InstanceState(I, "web", "qemu", "", (device,), running=True)
    driver = Instances(RUN, machines=Machines(RUN, datapath_type="netdev"))
    actions, _ = lines(driver, running, tap)
    plug = next(line for line in actions if line.startswith("ovs-vsctl"))
    assert plug.startswith(f"ovs-vsctl: --if-exists del-port {device} -- add-port br-int {device} -- set Interface {device} ")
    assert f'external_ids:iface-id="{P}"' in plug
    assert "mac=fa:16:3e:00:00:05,romfile=,csum=off" in actions[-1]
    parent, _ = lines(driver, running, replace(tap, trunk=True))
    assert any(f"add-port tbr-{P[:10]} {device}" in line for line in parent)
    unseen = [replace(fact, wire=None) if isinstance(fact, Device) else fact for fact in made(driver, running, tap)]
    assert lines(driver, running, tap, have=unseen) == ([], [])


def test_a_queueing_discipline_of_somebody_else_is_left_alone_and_named():
    state = QosState(P, ingress=BandwidthLimit(1000, 800))
    foreign = list(read_disciplines([Discipline("htb", "1:", f"tap{P[:11]}", root=True)]))
    actions, reasons = lines(Qos("linuxbridge", ()), state, have=foreign)
    assert (actions, len(reasons)) == ([], 1)
    assert "has a queueing discipline, htb 1:, that is not Naru's" in reasons[0]
    assert lines(Qos("linuxbridge", ()), have=foreign) == ([], [])


def test_failures_of_a_batch_are_told_by_line():
    text = 'RTNETLINK answers: File exists\nCommand failed -:1\nCannot find device "x"\nsecond line\nCommand failed -:12\n'
    assert parse_failures(text) == ({0: "File exists", 11: 'Cannot find device "x" second line'}, "")
    ended = f'{text}Warning: of no line.\nError: argument "x" is wrong: Device does not exist\n'
    assert parse_failures(ended)[1] == 'Error: argument "x" is wrong: Device does not exist'


INSIDE = RouterInterface("66666666-aaaa", N, "qr-66666666-aa", ("10.7.0.1/24", "fd00::1/64"))
OUTSIDE = RouterInterface("77777777-aaaa", N, "qg-77777777-aa", ("203.0.113.5/24",))
NETNS = f"qrouter-{I}"
ROUTER = RouterState(
    I,
    NETNS,
    (INSIDE,),
    OUTSIDE,
    "203.0.113.5",
    (Route("0.0.0.0/0", "203.0.113.1"), Route("10.9.0.0/16", "10.7.0.99")),
    (FloatingAddress("f1", "203.0.113.50", "10.7.0.11"),),
    (ForwardedPorts("f2", "203.0.113.51", "tcp", "8000:8001", "10.7.0.12", "9000:9001"),),
)


def test_a_router_forwards_then_has_addresses_and_routes_then_translates():
    ran, failures = lines(Routers(RUN, 60.0), ROUTER)
    assert failures == []
    (translations,) = [line for line in ran if "nft -f" in line]
    assert [line for line in ran if line != translations] == [
        f"netns {NETNS} sysctl -q -p -: net.ipv4.ip_forward=1",
        f"netns {NETNS} sysctl -q -p -: net.ipv4.conf.all.promote_secondaries=1",
        f"netns {NETNS} sysctl -q -p -: net.ipv6.conf.all.forwarding=1",
        f"ip -n {NETNS}: link set dev lo up",
        f"netns {NETNS} sysctl -q -p -: net.ipv6.conf.qr-66666666-aa.accept_dad=0",
        f"ip -n {NETNS}: link set dev qr-66666666-aa up",
        f"netns {NETNS} sysctl -q -p -: net.ipv6.conf.qg-77777777-aa.accept_dad=0",
        f"ip -n {NETNS}: link set dev qg-77777777-aa up",
        f"ip -n {NETNS}: addr replace 10.7.0.1/24 dev qr-66666666-aa",
        f"announce {NETNS}: qr-66666666-aa 10.7.0.1",
        f"ip -n {NETNS}: addr replace fd00::1/64 dev qr-66666666-aa nodad",
        f"announce {NETNS}: qr-66666666-aa fd00::1",
        f"ip -n {NETNS}: addr replace 203.0.113.5/24 dev qg-77777777-aa",
        f"announce {NETNS}: qg-77777777-aa 203.0.113.5",
        f"ip -n {NETNS}: addr replace 203.0.113.50/32 dev qg-77777777-aa",
        f"announce {NETNS}: qg-77777777-aa 203.0.113.50",
        f"ip -n {NETNS}: addr replace 203.0.113.51/32 dev qg-77777777-aa",
        f"announce {NETNS}: qg-77777777-aa 203.0.113.51",
        f"ip -n {NETNS}: route replace 0.0.0.0/0 via 203.0.113.1",
        f"ip -n {NETNS}: route replace 10.9.0.0/16 via 10.7.0.99",
    ]
    for statement in (
        "add element ip naru inward { 203.0.113.50 : 10.7.0.11 }",
        "add element ip naru inward_ports { 203.0.113.51 . tcp . 8000 : 10.7.0.12 . 9000, 203.0.113.51 . tcp . 8001 : 10.7.0.12 . 9001 }",
        'add rule ip naru postrouting oifname "qg-77777777-aa" snat to ip saddr map @outward',
        'add rule ip naru postrouting oifname "qg-77777777-aa" snat to 203.0.113.5',
    ):
        assert statement in translations.split("; ")


def test_a_floating_ip_that_goes_takes_its_address_along_after_its_translations_and_nothing_else():
    driver, later = Routers(RUN, 60.0), replace(ROUTER, floating=())
    ran, _ = lines(driver, later, have=made(driver, ROUTER))
    assert [line.partition(": ")[0] for line in ran] == [f"netns {NETNS} nft -f -", f"ip -n {NETNS}"]
    assert ran[1] == f"ip -n {NETNS}: addr del 203.0.113.50/32 dev qg-77777777-aa"


def test_external_addresses_are_limited_before_they_are_translated_inward_and_after_it_outward():
    rates = AddressLimit("203.0.113.50", BandwidthLimit(8000, 4000), BandwidthLimit(0, 0))
    (ran,) = [line for line in lines(Routers(RUN, 60.0), replace(ROUTER, limits=(rates,)))[0] if "nft -f" in line]
    for statement in (
        "add chain ip naru arriving { type filter hook prerouting priority dstnat - 50; }",
        'add rule ip naru arriving iifname "qg-77777777-aa" ip daddr vmap @ingress',
        'add rule ip naru leaving oifname "qg-77777777-aa" ip saddr vmap @egress',
        "add rule ip naru ingress_203.0.113.50 limit rate over 1000000 bytes/second burst 500000 bytes drop",
        "add rule ip naru egress_203.0.113.50 limit rate over 125 bytes/second burst 65536 bytes drop",
        "add element ip naru egress { 203.0.113.50 : jump egress_203.0.113.50 }",
    ):
        assert f"; {statement};" in ran, statement


def test_a_gateway_beyond_all_subnets_of_the_router_is_looked_for_on_the_external_device():
    beyond = replace(ROUTER, routes=(Route("0.0.0.0/0", "198.51.100.1"),))
    assert f"ip -n {NETNS}: route replace 0.0.0.0/0 via 198.51.100.1 dev qg-77777777-aa onlink" in lines(Routers(RUN, 60.0), beyond)[0]


def test_an_address_is_announced_by_a_request_for_it_and_a_reply_that_nobody_asked_for():
    request, reply = announcements(bytes.fromhex("fa163e000012"), ip_address("203.0.113.50"))
    assert request.hex() == "fffffffffffffa163e00001208060001080006040001fa163e000012cb007132000000000000cb007132"
    assert reply.hex() == "fffffffffffffa163e00001208060001080006040002fa163e000012cb007132fa163e000012cb007132"


def test_an_ipv6_address_is_announced_to_all_nodes_as_a_routers_that_overrides():
    address, option = ip_address("fd00::1"), bytes.fromhex("0201fa163e000012")
    (frame,) = announcements(bytes.fromhex("fa163e000012"), address)
    told = icmpv6("fd00::1", "ff02::1", 136, b"\xa0\0\0\0" + address.packed + option)
    assert frame == ethernet("fa:16:3e:00:00:12", "33:33:00:00:00:01", IPV6, told)


def test_a_router_is_fenced_at_each_device_whose_mac_is_known():
    tap = TapState(OUTSIDE.port_id, N, "fa:16:3e:00:00:12", 1500, netns=NETNS, device=OUTSIDE.device)
    (text,) = [line for line in lines(Routers(RUN, 60.0), ROUTER, tap)[0] if "netdev naru" in line]
    assert re.findall(r"(\w+) device \"([^\"]+)\"", text) == [("ingress", "qg-77777777-aa"), ("egress", "qg-77777777-aa")]
    assert "ether saddr fa:16:3e:00:00:12 ether daddr ff:ff:ff:ff:ff:ff arp operation reply" in text
    assert "update @alive { oifname timeout 60000ms } delete @moved" in text
    assert not [line for line in lines(Routers(RUN, None), ROUTER, tap)[0] if "netdev naru" in line]


def test_taps_that_go_one_after_the_other_go_together():
    lines = ["link del dev tap1", "link del dev tap2", "link del dev vxlan-7", "link del dev tap3"]
    assert list(deleted_together(lines)) == [
        (0, "link set dev tap1 group 6279"),
        (1, "link set dev tap2 group 6279"),
        (1, "link del group 6279"),
        (2, "link del dev vxlan-7"),
        (3, "link del dev tap3"),
    ]
