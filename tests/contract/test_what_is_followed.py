"""What tells of itself is followed (ADR 0020): whoever changes a host, and whatever is started anew, what was followed is what is there."""

import functools
import os
import random
import select
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from naru.drivers.base import ToolError
from naru.drivers.flow_monitor import BridgeMeter, FlowTable
from naru.drivers.link_table import LinkTable
from naru.drivers.ovsdb import Database
from naru.drivers.qos import Qos
from naru.model.hoststate import BandwidthLimit, PacketRateLimit, QosState
from naru.testing import eventually
from own_host import bring, in_own_host, planned, run, start_open_vswitch, state

WITH_SWITCH = pytest.mark.needs("root", "ovs-vswitchd")


def on_own_host(test):
    return functools.wraps(test)(lambda: in_own_host(test))


def on_switch(test):
    def work():
        start_open_vswitch()
        run("ovs-vsctl add-br br-int -- set Bridge br-int datapath_type=netdev fail_mode=secure")
        test()

    return WITH_SWITCH(functools.wraps(test)(lambda: in_own_host(work)))


def flows(command, *words):
    run(f"ovs-ofctl -OOpenFlow14 {command} br-int {' '.join(words)}")


def end_switch():
    for file in Path("/run/openvswitch").glob("ovs*.pid"):
        descriptor = os.pidfd_open(int(file.read_text()))
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        select.select([descriptor], [], [])
        os.close(descriptor)
        file.unlink()


@on_switch
def test_flows_are_counted_by_their_cookies_as_they_come_change_and_go():
    table = FlowTable("br-int")
    assert table.read().flows == Counter()
    flows("add-flow", "cookie=1,table=3,ip,nw_src=10.0.0.1,actions=drop")
    flows("add-flow", "cookie=1,table=3,arp,actions=drop")
    assert table.read().flows == Counter({1: 2})
    flows("add-flow", "cookie=2,table=3,arp,actions=drop")  # the same match: it takes the place of the other
    flows("mod-flows", "table=3,arp,actions=NORMAL")
    assert table.read().flows == Counter({1: 1, 2: 1}) == FlowTable("br-int").read().flows
    flows("del-flows", "cookie=1/-1")
    assert table.read().flows == Counter({2: 1})
    flows("del-flows")
    assert table.read().flows == Counter()


@on_switch
def test_a_switch_that_had_more_to_tell_than_it_keeps_goes_on_until_all_is_told():
    table = FlowTable("br-int")
    table.read()
    many = "".join(f"cookie={number},table=5,ip,nw_src=10.{number >> 8}.{number & 255}.1,actions=drop\n" for number in range(20000))
    subprocess.run(["ovs-ofctl", "-OOpenFlow14", "--bundle", "add-flows", "br-int", "-"], input=many, text=True, check=True)
    assert table.read().flows == Counter(range(20000))


@on_switch
def test_meters_and_how_fragments_are_seen_are_read_with_the_flows():
    table = FlowTable("br-int")
    assert table.read()[1:] == ([], "normal")
    flows("add-meter", "meter=7,kbps,burst,band=type=drop,rate=1000,burst_size=800")
    flows("add-meter", "meter=9,pktps,burst,band=type=drop,rate=10,burst_size=5")
    run("ovs-ofctl set-frags br-int nx-match")
    assert sorted(table.read().meters) == [BridgeMeter(7, "kbps", 1000, 800), BridgeMeter(9, "pktps", 10, 5)]
    assert table.read().fragments == "nx-match"


@on_switch
def test_a_switch_that_is_started_anew_is_followed_anew():
    table, database = FlowTable("br-int"), Database()
    flows("add-flow", "cookie=1,actions=drop")
    run("ovs-vsctl add-port br-int patch-a -- set Interface patch-a type=patch options:peer=patch-b")
    assert (table.read().flows, len(database.read().ports)) == (Counter({1: 1}), 1)
    end_switch()
    with pytest.raises(ToolError, match="ovs-vswitchd does not answer"):
        table.read()
    with pytest.raises(ToolError, match="the database of Open vSwitch does not answer"):
        database.read()
    run("ovsdb-server /run/openvswitch/conf.db --remote=punix:/run/openvswitch/db.sock --pidfile --detach --no-chdir -vconsole:off")
    run("ovs-vswitchd --pidfile --detach --no-chdir -vconsole:off")
    eventually(lambda: Path("/run/openvswitch/br-int.mgmt").exists(), 10)
    assert (table.read().flows, len(database.read().ports)) == (Counter(), 1)


@on_switch
def test_the_database_is_read_as_it_was_left_by_whoever_changed_it_last():
    database = Database()
    wanted = set()
    for number in range(30):
        interface = f"type=internal external_ids:iface-id=i{number}"
        run(f"ovs-vsctl --no-wait add-port br-int p{number} tag={number} -- set Interface p{number} {interface}")
        wanted.add((f"p{number}", number, f"i{number}"))
        assert {(port.name, port.tag, port.interface_ids["iface-id"]) for port in database.read().ports} == wanted
    changes = ("set Port p3 tag=99", "set Interface p4 external_ids:iface-id=other", "del-port p5", "set Bridge br-int external_ids:a=b")
    run(f"ovs-vsctl --no-wait {' -- '.join(changes)}")
    found, fresh = database.read(), Database().read()
    assert (found.bridges, {port.name: port for port in found.ports}) == (fresh.bridges, {port.name: port for port in fresh.ports})
    assert found.bridges["br-int"].external_ids == {"a": "b"}
    run("ovs-vsctl --no-wait del-br br-int")
    assert (database.read().bridges, database.read().ports) == ({}, [])


CHANGES = (
    *("link add a{n} type veth peer name b{n}", "link del a{n}", "link set a{n} up", "link set a{n} down", "link set a{n} mtu 1{n}00"),
    *(
        "link set a{n} alias naru:{n}",
        "link set a{n} group 6278",
        "link set a{n} group 6279",
        "link add br{n} type bridge",
        "link del br{n}",
    ),
    *(
        "link set a{n} master br1",
        "link set a{n} nomaster",
        "link set a{n} type bridge_slave isolated on",
        "link set br{n} type bridge stp_state 1",
    ),
    *(
        "addr add 10.0.{n}.1/24 dev a{n}",
        "addr del 10.0.{n}.1/24 dev a{n}",
        "addr add fd00:{n}::1/64 dev b{n} nodad",
        "link set b{n} netns other",
    ),
    *("link set a{n} name c{n}", "link set c{n} name a{n}", "link add link a{n} name v{n} type vxlan id {n} dstport 4789", "link del v{n}"),
)


def what_counts(link):
    """What facts are made of, and the kernel tells of: of links that are down it says less, of where the far end of a pair is nothing."""
    port = link.linkinfo.info_slave_data
    when_up = (link.group, link.ifalias, link.addr_info, port.get("isolated")) if link.is_up else ()
    kind = (link.linkinfo.info_kind, link.linkinfo.info_data.get("id"))
    return (link.ifindex, link.ifname, link.is_up, link.mtu, link.master, *kind, *when_up)


@pytest.mark.needs("root", "veth", "vxlan", "linux-bridge")
@pytest.mark.parametrize("seed", range(4))
def test_links_are_those_of_a_whole_dump_whatever_was_done_to_them(seed):
    def storm():
        run("mkdir /run/netns")
        run("ip netns add other")
        table, choose = LinkTable(), random.Random(seed)
        for _ in range(60):
            lines = [choose.choice(CHANGES).format(n=choose.randint(1, 5)) for _ in range(choose.choice((1, 1, 2, 5, 70)))]
            subprocess.run(["ip", "-force", "-batch", "-"], input="\n".join(lines) + "\n", text=True, capture_output=True, check=False)
            assert list(map(what_counts, table.read())) == list(map(what_counts, LinkTable().read()))

    in_own_host(storm)


@pytest.mark.needs("root", "veth")
@on_own_host
def test_a_namespace_is_known_by_the_id_that_links_name_it_by():
    run("mkdir /run/netns")
    table = LinkTable()
    for name in ("one", "two", "three"):
        run(f"ip netns add {name}")
    assert table.netns_names() == {}
    for name in ("two", "one"):
        run(f"ip link add tap-{name} type veth peer name eth0 netns {name}")
    ids = {link.ifname.removeprefix("tap-"): link.link_netnsid for link in table.read() if link.ifname.startswith("tap-")}
    assert table.netns_names() == {id: name for name, id in ids.items()}
    run("ip netns del two")
    assert list(table.netns_names().values()) == ["one"]
    eventually(lambda: "tap-two" not in {link.ifname for link in table.read()}, 5)
    run("ip netns add two")
    run("ip link add tap-two type veth peer name eth0 netns two")
    (again,) = (link.link_netnsid for link in table.read() if link.ifname == "tap-two")
    assert table.netns_names()[again] == "two"


@pytest.mark.needs("root", "nft", "shaping")
@on_own_host
def test_who_saw_no_limit_before_he_made_one_takes_it_away_all_the_same():
    run("ip link add tap44444444-44 type veth peer name wire")
    types = ("bandwidth_limit", "dscp_marking", "packet_rate_limit")
    driver, slow, few = Qos("linuxbridge", types), BandwidthLimit(1000, 800), PacketRateLimit(10, 10)
    for limits in (QosState("44444444-4444", slow), QosState("44444444-4444", None, slow, 26, few, few)):
        bring(driver, state(limits))
        bring(driver, {})
        assert planned(Qos("linuxbridge", types), {}) == []
