"""The contract between server and agent, upwards: what a host can do, and what it achieved of its state (hoststate.py).

PUT  /agent/v1/hosts/{host}          <- HostDescription, when the agent starts
POST /agent/v1/hosts/{host}/report   <- HostReport, when something changed and as heartbeat; -> Receipt
"""

from typing import Any, Literal

import msgspec


class HostDescription(msgspec.Struct, frozen=True):
    """What a host can do, said by its agent at start; scheduling and binding rely on it."""

    mechanism: Literal["linuxbridge", "openvswitch"] = "linuxbridge"
    physical_networks: tuple[str, ...] = ()
    tunnel_address: str | None = None  # the VTEP; None: no tunnels on this host
    dhcp: bool = False  # may run DHCP servers
    instance_drivers: tuple[str, ...] = ()
    version: str = ""
    availability_zone: str = "nova"
    vlan: bool = True  # its kernel, or its switch, can tag frames
    tunnel_types: tuple[str, ...] = ("vxlan",)
    vif_type: Literal["bridge", "tap", "ovs"] = "bridge"  # how a hypervisor plugs a port here
    vif_details: dict[str, Any] = {}  # what it needs to know for that
    l3: bool = False  # may run routers
    metadata: bool = False  # serves metadata where it serves DHCP or runs a router
    port_filter: bool = False  # enforces security groups and port security
    qos_rule_types: tuple[str, ...] = ()  # enforces rules of these types


class InstanceReport(msgspec.Struct, frozen=True):
    """What the agent sees of a running instance. `addresses` maps device to the leased `address/prefix`."""

    state: Literal["stopped", "running"]
    addresses: dict[str, str] = {}


class HostReport(msgspec.Struct, frozen=True):
    """What the agent achieved.

    `ok`, `failed` and `gone` are what changed since the last accepted report; with `full` they are everything,
    and what the server remembered of this host is replaced. An empty report is a heartbeat.
    """

    revision: int  # newest bookmark that has been acted on
    ok: tuple[str, ...] = ()
    failed: dict[str, str] = {}  # key -> the reason, in words for the operator
    gone: tuple[str, ...] = ()
    instances: dict[str, InstanceReport] = {}
    full: bool = False


class Receipt(msgspec.Struct, frozen=True):
    """The server's answer to a report that it has taken: the host is alive, for all that the server knows."""

    current: bool = False  # the report's revision is the newest: what the host was asked for is what it is asked for now
