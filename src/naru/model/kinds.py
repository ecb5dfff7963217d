"""Every kind of resource that the store keeps, by its name."""

from collections.abc import Mapping

from naru.model.agents import Agent
from naru.model.alarms import CapacityAlarm
from naru.model.compute import KeyPair, Server
from naru.model.enrolment import HostCredential
from naru.model.flavors import ServiceFlavor, ServiceProfile
from naru.model.identity import ApplicationCredential, Domain, Project, Role, Token, User
from naru.model.logs import LogResource
from naru.model.metering import MeteringLabel, MeteringLabelRule
from naru.model.network_pools import NetworkPool, PoolTurn
from naru.model.nova_events import NovaEvent
from naru.model.picks import NetworkPick, RestingAddresses
from naru.model.pools import AddressScope, SubnetPool
from naru.model.qos import RULE_KINDS, QosPolicy
from naru.model.resources import Network, Port, Quota, Resource, Subnet
from naru.model.routing import FloatingIp, PortForwarding, Router
from naru.model.security import (
    AddressGroup,
    DefaultRulesSeeded,
    DefaultSecurityGroupRule,
    SecurityGroup,
    SecurityGroupDefaultStatefulness,
    SecurityGroupRule,
)
from naru.model.segment_ranges import NetworkSegmentRange
from naru.model.segments import Segment
from naru.model.sharing import RbacPolicy
from naru.model.topology import AutoAllocatedTopology
from naru.model.trunks import Trunk
from naru.model.usage import NetworkUsage

KINDS: Mapping[str, type[Resource]] = {
    kind.kind: kind
    for kind in (
        *(QosPolicy, *RULE_KINDS, Trunk),
        *(Network, Subnet, Port, Agent, HostCredential, Quota),
        *(NetworkPool, PoolTurn, NetworkUsage, CapacityAlarm),
        *(Segment, SubnetPool, AddressScope, AutoAllocatedTopology, RbacPolicy),
        *(SecurityGroup, SecurityGroupRule, DefaultSecurityGroupRule, DefaultRulesSeeded, AddressGroup),
        *(SecurityGroupDefaultStatefulness, NetworkSegmentRange, LogResource, MeteringLabel, MeteringLabelRule),
        *(Domain, Project, User, Role, Token, ApplicationCredential, Server, KeyPair),
        *(NetworkPick, RestingAddresses),
        NovaEvent,
        *(Router, FloatingIp, PortForwarding, ServiceFlavor, ServiceProfile),
    )
}
