"""Limits and marks on Open vSwitch: the text of meters and flows."""

import re
import subprocess

import pytest
from msgspec.structs import replace

from naru.drivers.base import plan
from naru.drivers.flow_monitor import BridgeMeter
from naru.drivers.openflow import Flows
from naru.drivers.ovs_qos import Meter, read_meters, want_limits
from naru.drivers.ovsdb import OPENFLOW
from naru.model.hoststate import BandwidthLimit, PacketRateLimit, QosState, TapState

BANDWIDTH, PACKETS = BandwidthLimit(8000, 800), PacketRateLimit(1000, 80)
PARENT = TapState("p1", "n", "fa:16:3e:00:00:05", 1450, netns="instance-1", device="eth0")
TRUNK = replace(PARENT, trunk=True)
BEHIND = TapState("p2", "m", "fa:16:3e:00:00:06", 1450, parent="p1", vlan=100)
ALL = QosState("p1", BANDWIDTH, BANDWIDTH, 26, PACKETS, PACKETS)


def want(*values):
    facts = want_limits({value.key: value for value in values}, "br-int", {"p1": 11, "p2": 12})
    return {fact.name: fact for fact in facts}


def lines(facts, bridge="br-int"):
    return [line for fact in facts.values() if isinstance(fact, Flows) and fact.bridge == bridge for line in fact.lines]


def test_what_a_port_sends_is_marked_and_meets_its_meters_one_after_the_other_before_all_else():
    assert lines(want(PARENT, ALL)) == [
        "table=0,priority=201,ip,in_port=11,reg7=0,actions=meter:65547,set_field:26->ip_dscp,load:0x1->NXM_NX_REG7[],resubmit(,0)",
        "table=0,priority=201,ipv6,in_port=11,reg7=0,actions=meter:65547,set_field:26->ip_dscp,load:0x1->NXM_NX_REG7[],resubmit(,0)",
        "table=0,priority=200,in_port=11,reg7=0,actions=meter:65547,load:0x1->NXM_NX_REG7[],resubmit(,0)",
        "table=0,priority=200,in_port=11,reg7=1,actions=meter:131083,load:0x2->NXM_NX_REG7[],resubmit(,0)",
    ]


def test_what_a_tap_receives_is_not_the_switchs_affair():
    assert want(PARENT, QosState("p1", BANDWIDTH, ingress_packets=PACKETS)) == {}


def test_what_a_port_of_a_trunk_receives_meets_its_meters_in_the_trunks_bridge():
    facts = want(TRUNK, BEHIND, QosState("p1", ingress_packets=PACKETS), QosState("p2", BANDWIDTH, ingress_packets=PACKETS))
    assert [fact.number for fact in facts.values() if isinstance(fact, Meter)] == [131072, 65636, 131172]
    assert lines(facts, "tbr-p1") == [
        "table=0,priority=200,in_port=tpt-p1,reg7=0,actions=meter:131072,NORMAL",
        "table=0,priority=200,in_port=spt-p2,reg7=0,actions=meter:65636,load:0x1->NXM_NX_REG7[],resubmit(,0)",
        "table=0,priority=200,in_port=spt-p2,reg7=1,actions=meter:131172,NORMAL",
    ]


def test_meters_are_there_before_flows_lead_through_them_and_go_after_these():
    facts = want(PARENT, ALL)
    made = [action.tool for action in plan(facts, {}, prune=True).additions]
    assert made == [("sh",), ("sh",), *[("ovs-ofctl", "--no-names", "br-int")] * 4]
    gone = plan({}, facts, prune=True)
    assert (gone.removals, next(action.line.split()[0] for action in gone.additions)) == ([], "delete")


def test_another_rate_changes_the_meter_and_no_flow():
    before, after = (want(PARENT, QosState("p1", egress=BandwidthLimit(rate, 800))) for rate in (8000, 9000))
    planned = plan(after, before, prune=True)
    assert [action.line for action in planned.additions] == [
        "ovs-ofctl --protocols=OpenFlow14 mod-meter br-int meter=65547,kbps,burst,band=type=drop,rate=9000,burst_size=800"
    ]
    assert planned.removals == []


def test_no_rate_is_nothing_and_no_bucket_smaller_than_a_frame():
    (meter, *_) = want(PARENT, QosState("p1", egress=BandwidthLimit(0, 0))).values()
    assert (meter.rate, meter.burst) == (1, 80)


def test_a_meter_of_somebody_else_is_known_by_its_number():
    others = [BridgeMeter(11, "kbps", 8000, 800), BridgeMeter(0x20000, "kbps", 8000, 800), BridgeMeter(0x30000, "pktps", 8000, 800)]
    (meter,) = read_meters("br-int", [*others, BridgeMeter(65547, "kbps", 8000, 800)])
    assert meter.is_met_by(next(iter(want(PARENT, ALL).values())))


@pytest.mark.needs("ovs-ofctl")
def test_ovs_ofctl_takes_every_word():
    made = lines(want(PARENT, BEHIND, ALL, QosState("p2", egress=BANDWIDTH)))
    done = subprocess.run([*OPENFLOW, "parse-flows", "-"], input="\n".join(made), capture_output=True, text=True, check=True, timeout=20)
    parsed = [line.partition("ADD ")[2] for line in done.stdout.splitlines() if "ADD " in line]
    assert len(parsed) == len(made)
    for line, read in zip(made, parsed, strict=True):
        fields = set(re.findall(r"(\w+)=", line.partition("actions=")[0])) - {"table", "priority"}
        assert not fields - set(re.findall(r"(\w+)=", read)), (line, read)
