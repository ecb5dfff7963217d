"""`naru.toml`: every key has a working default and an environment override, in ML2's words.

A key `physical_interface_mappings` of the table `[agent]` is overridden by `NARU_AGENT_PHYSICAL_INTERFACE_MAPPINGS`; keys
outside a table by `NARU_<KEY>`. Overrides of lists and tables are written as JSON, or as ML2 writes them: `a,b` and `a:b,c:d`.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_origin

import msgspec


class SettingsError(Exception):
    """A setting that cannot be used: says which key, where it came from and what it may be."""


class Flat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    physical_networks: tuple[str, ...] = ("*",)  # "*": any name; one flat network each


class Vlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ranges: tuple[str, ...] = ("*",)  # physical_network or physical_network:first:last; "*": any, ids as administrators name them


class Vxlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    vni_ranges: tuple[str, ...] = ("1:16777215",)


class Segments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    flat: Flat = Flat()
    vlan: Vlan = Vlan()
    vxlan: Vxlan = Vxlan()
    tenant_network_types: tuple[str, ...] = ("vxlan",)  # tried in order where a network names no type
    auto_network_cidr: str = "10.10.0.0/24"  # of the network that a project without any gets at its first instance
    global_physnet_mtu: int = 1500  # bytes, of the underlay; VXLAN networks get 50 less


class Scheduler(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    quarantine_s: int = 60  # how long an address rests after its port is gone, on networks of pools that do not say; others do not rest
    webhook_url: str = ""  # is told by POST when a pool crosses one of the limits below; empty: nobody is told
    webhook_secret: str = ""  # signs what is sent; empty: it is not signed
    webhook_of: Literal["operator_pools", "pools", "all"] = "operator_pools"  # whose limits: all is networks as well
    floor: float = 0.1  # of the usable addresses the share that is to stay free
    horizon_days: int = 14  # how long the free addresses are to last


class Quota(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Defaults of a project; -1 is unlimited."""

    network: int = 100
    subnet: int = 100
    port: int = 500
    router: int = 10
    floatingip: int = 50
    security_group: int = 10
    security_group_rule: int = 100
    subnetpool: int = -1
    rbac_policy: int = 10
    trunk: int = -1
    network_pool: int = 10


class Keystone(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where auth = "keystone" has tokens validated, and as whom."""

    auth_url: str = ""
    username: str = "naru"  # has the role service, or admin, on the project
    password: str = ""
    project_name: str = "service"
    user_domain_name: str = "Default"
    project_domain_name: str = "Default"
    region_name: str = "RegionOne"  # in whose catalog clients look for this server
    cafile: str = ""  # PEM; empty: the authorities that the system trusts
    cache_s: float = 300.0  # so long is a token taken for what it was; a revoked one opens no longer than that
    service_token_roles: tuple[str, ...] = ("service",)  # one of them makes a token in X-Service-Token a service's


class Nova(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom auth = "keystone" has told of ports: the account of [keystone] needs the role admin for it."""

    events: bool = True  # is Nova told when a port of one of its servers is wired, changes or goes
    endpoint: str = ""  # of the Compute API, http://controller:8774/v2.1; empty: the catalog's


class Agent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    mechanism: Literal["linuxbridge", "openvswitch"] = "linuxbridge"
    physical_interface_mappings: dict[str, str] = {}  # linuxbridge: physical network -> device of this host
    bridge_mappings: dict[str, str] = {}  # openvswitch: physical network -> bridge of this host
    ovs_datapath_type: Literal["system", "netdev"] = "system"  # openvswitch: in the kernel, or in user space
    vif_type: Literal["bridge", "tap"] = "bridge"  # linuxbridge: a hypervisor puts a tap into the bridge, or only makes it
    local_ip: str = ""  # the VTEP; empty: the address this host reaches the server from
    dhcp: bool = True  # may this host run DHCP servers
    l3: bool = True  # may this host run routers
    metadata: bool = True  # is metadata served where this host serves DHCP or runs a router
    nova_metadata_url: str = ""  # of Nova's metadata service, which answers for Nova's instances
    metadata_proxy_shared_secret: str = ""  # as in nova.conf, [neutron]
    firewall: Literal["native", "none"] = "native"  # none: whoever may plug a port here may send and receive anything
    availability_zone: str = "nova"  # what fails together with this host has the same
    instance_drivers: tuple[str, ...] = ("netns",)  # netns: network namespaces; qemu: virtual machines
    guest_dir: str = "/var/lib/naru/guest"  # qemu: the kernel and initramfs that they boot
    qemu_accelerator: Literal["tcg", "kvm"] = "tcg"  # qemu: emulate, which works anywhere, or /dev/kvm
    cafile: str = ""  # authorities by which the server is known, PEM; empty: those that the system trusts
    report_interval_s: float = 30.0
    resync_interval_s: float = 60.0
    run_dir: str = "/run/naru"  # what a reboot may forget: pid files, leases, ownership marks


def _default_state_dir() -> str:
    """root: /var/lib/naru. Others: below their home (XDG Base Directory Specification)."""
    if os.geteuid() == 0:
        return "/var/lib/naru"
    return str(Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "naru")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bind: str = "127.0.0.1:9696"
    # the database, secrets (0600), clouds.yaml, the agent's last state
    state_dir: str = msgspec.field(default_factory=_default_state_dir)
    tls_cert: str = ""  # PEM: the server's certificate, and those between it and its authority; empty: HTTP without TLS
    tls_key: str = ""  # PEM: its private key
    database_url: str = ""  # empty: SQLite in state_dir
    auth: Literal["none", "builtin", "keystone"] = "builtin"  # none: only on loopback
    token_lifetime_s: int = 3600
    agent_down_time_s: float = 75.0  # a host not heard of for so long is not alive
    dhcp_agents_per_network: int = 1  # hosts that serve DHCP for a network, of those that can
    max_body_bytes: int = 10 * 1024 * 1024
    pagination_max_limit: int = -1  # -1: no limit
    max_fixed_ips_per_port: int = 50  # that a request may ask for
    policy_file: str = ""  # rules in the format of oslo.policy, YAML or JSON, that override who may do and see what
    dns_domain: str = "openstacklocal."  # of the names that DHCP hands out; networks keep the one that they were made with
    segments: Segments = Segments()
    scheduler: Scheduler = Scheduler()
    quota: Quota = Quota()
    keystone: Keystone = Keystone()
    nova: Nova = Nova()
    agent: Agent = Agent()

    @property
    def scheme(self) -> str:
        return "https" if self.tls_cert else "http"


def load(path: Path | None = None, environ: Mapping[str, str] = os.environ, **given: Any) -> Settings:
    """Settings from `path` (if any), then the environment, then `given` (the command line; None is "not given").

    Raises SettingsError for an unreadable file, an unknown key or a value of the wrong type.
    """
    document: dict[str, Any] = {}
    if path is not None:
        try:
            document = tomllib.loads(path.read_text())
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise SettingsError(f"cannot read settings from {path}: {error}") from error
    _override(document, Settings, "NARU", environ)
    document.update({key: value for key, value in given.items() if value is not None})
    try:
        return msgspec.convert(document, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"cannot use the settings{f' in {path}' if path else ''}: {error}") from error


def _override(document: dict[str, Any], table: type[msgspec.Struct], prefix: str, environ: Mapping[str, str]) -> None:
    for field in msgspec.structs.fields(table):
        name = f"{prefix}_{field.name.upper()}"
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            _override(document.setdefault(field.name, {}), field.type, name, environ)
        elif name in environ:
            document[field.name] = _parse(environ[name], get_origin(field.type))


def _parse(text: str, container: Any) -> Any:
    if container is tuple:
        return msgspec.json.decode(text) if text.startswith("[") else [part for part in text.split(",") if part]
    if container is dict:
        return msgspec.json.decode(text) if text.startswith("{") else dict(part.split(":", 1) for part in text.split(",") if part)
    return text
