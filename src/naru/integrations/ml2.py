"""Neutron's settings as Naru's: what each option of its files becomes, or why nothing stands for it.

https://docs.openstack.org/neutron/latest/configuration/config.html
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from naru.integrations.ini import Option, read_options, resolve
from naru.settings import Settings

_SECRET = re.compile(r"password|secret|token|connection|transport_url")
_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_UNKNOWN = "no setting of Naru stands for it"


def _boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError("it is neither true nor false")
    return _BOOLEANS[text.lower()]


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _pairs(text: str) -> dict[str, str]:
    pairs = dict[str, str]()
    for word in _words(text):
        key, colon, value = word.partition(":")
        if not colon:
            raise ValueError(f"'{word}' is not of the form physical_network:device")
        pairs[key.strip()] = value.strip()
    return pairs


def _listening(host: str | None, port: str | None) -> str:
    host = host or "0.0.0.0"  # noqa: S104 - Neutron's default
    return f"[{host}]:{port or 9696}" if ":" in host else f"{host}:{port or 9696}"


def _metadata_url(protocol: str | None, host: str | None, port: str | None) -> str:
    return f"{protocol or 'http'}://{host or '127.0.0.1'}:{port or 8775}"


def _mechanism(drivers: str | None, interfaces: str | None, bridges: str | None) -> str:
    """What an agent's file maps says more than the drivers of the server's, which may have several."""
    named = [word for word in _words(drivers or "") if word in ("linuxbridge", "openvswitch")]
    if interfaces is not None or bridges is not None:
        named = ["linuxbridge" if interfaces is not None else "openvswitch"]
    if not named:
        raise ValueError("Naru wires hosts with linuxbridge or openvswitch")
    return named[0]


def _firewall(enabled: str | None, driver: str | None) -> str:
    is_off = enabled is not None and not _boolean(enabled)
    return "none" if is_off or "noop" in (driver or "").lower() else "native"


def _agrees(expected: str) -> Callable[[str], None]:
    """Of an option that Naru has no choice about."""

    def check(text: str) -> None:
        if text.lower() != expected:
            raise ValueError(f"Naru does as if it were {expected}")

    return check


class Row(NamedTuple):
    key: str  # of naru.toml, dotted; "" where Naru always does so
    options: tuple[str, ...]  # the values of these; one that the files do not set is None
    make: Callable[..., Any] = str  # of a single option: called only where it is set. Raises ValueError where it has no such value


ROWS = (
    Row("bind", ("default/bind_host", "default/bind_port"), _listening),
    Row("tls_cert", ("ssl/cert_file",)),
    Row("tls_key", ("ssl/key_file",)),
    Row("auth", ("keystone_authtoken/auth_url",), lambda _: "keystone"),
    Row("nova.events", ("default/notify_nova_on_port_status_changes",), _boolean),
    Row("nova.endpoint", ("nova/endpoint_override",)),
    Row("agent_down_time_s", ("default/agent_down_time",), float),
    Row("max_body_bytes", ("oslo_middleware/max_request_body_size",), int),
    Row("policy_file", ("oslo_policy/policy_file",)),
    Row("dns_domain", ("default/dns_domain",)),
    Row("pagination_max_limit", ("default/pagination_max_limit",), int),
    Row("segments.tenant_network_types", ("ml2/tenant_network_types",), _words),
    Row("segments.global_physnet_mtu", ("default/global_physnet_mtu",), int),
    Row("segments.flat.physical_networks", ("ml2_type_flat/flat_networks",), _words),
    Row("segments.vlan.ranges", ("ml2_type_vlan/network_vlan_ranges",), _words),
    Row("segments.vxlan.vni_ranges", ("ml2_type_vxlan/vni_ranges",), _words),
    *(Row(f"quota.{field.name}", (f"quotas/quota_{field.name}",), int) for field in msgspec.structs.fields(Settings().quota)),
    *(
        Row(f"keystone.{name}", (f"keystone_authtoken/{name}",))
        for name in ("auth_url", "username", "password", "project_name", "user_domain_name", "project_domain_name", "region_name", "cafile")
    ),
    Row("keystone.cache_s", ("keystone_authtoken/token_cache_time",), float),
    Row("keystone.service_token_roles", ("keystone_authtoken/service_token_roles",), _words),
    Row("agent.mechanism", ("ml2/mechanism_drivers", "linux_bridge/physical_interface_mappings", "ovs/bridge_mappings"), _mechanism),
    Row("agent.physical_interface_mappings", ("linux_bridge/physical_interface_mappings",), _pairs),
    Row("agent.bridge_mappings", ("ovs/bridge_mappings",), _pairs),
    Row("agent.ovs_datapath_type", ("ovs/datapath_type",)),
    Row("agent.local_ip", ("vxlan/local_ip",)),
    Row("agent.local_ip", ("ovs/local_ip",)),
    Row("agent.firewall", ("securitygroup/enable_security_group", "securitygroup/firewall_driver"), _firewall),
    Row("agent.availability_zone", ("agent/availability_zone",)),
    Row("agent.report_interval_s", ("agent/report_interval",), float),
    Row(
        "agent.nova_metadata_url",
        ("default/nova_metadata_protocol", "default/nova_metadata_host", "default/nova_metadata_port"),
        _metadata_url,
    ),
    Row("agent.metadata_proxy_shared_secret", ("default/metadata_proxy_shared_secret",)),
    *(Row("", (f"vxlan/{name}",), _agrees("true")) for name in ("enable_vxlan", "l2_population", "arp_responder")),
    *(Row("", (f"agent/{name}",), _agrees("true")) for name in ("l2_population", "arp_responder")),
    *(Row("", (f"default/{name}",), _agrees("true")) for name in ("enable_isolated_metadata", "force_metadata")),
    Row("", ("securitygroup/enable_ipset",), _agrees("true")),
    Row("", ("default/enable_metadata_network",), _agrees("false")),
    Row("", ("agent/enable_distributed_routing",), _agrees("false")),
    Row("", ("default/core_plugin",), _agrees("ml2")),
    Row("", ("ovs/integration_bridge",), _agrees("br-int")),
    Row("", ("agent/vxlan_udp_port",), _agrees("4789")),
)

# Former names -> the present ones.
RENAMED = {
    "default/nova_metadata_ip": "default/nova_metadata_host",
    "default/quota_items": "quotas/quota_items",
    "default/ssl_cert_file": "ssl/cert_file",
    "default/ssl_key_file": "ssl/key_file",
    "default/dhcp_domain": "default/dns_domain",
    "default/policy_file": "oslo_policy/policy_file",
    "default/max_request_body_size": "oslo_middleware/max_request_body_size",
    "default/report_interval": "agent/report_interval",
    "ml2/segment_mtu": "default/global_physnet_mtu",
    "vlans/network_vlan_ranges": "ml2_type_vlan/network_vlan_ranges",
    "vlans/tenant_network_type": "ml2/tenant_network_types",
    "ovs/network_vlan_ranges": "ml2_type_vlan/network_vlan_ranges",
    "ovs/tenant_network_type": "ml2/tenant_network_types",
    "ovs/tunnel_id_ranges": "ml2_type_vxlan/vni_ranges",
    "linuxbridge/physical_interface_mappings": "linux_bridge/physical_interface_mappings",
}

# Why nothing stands for an option that an operator will miss.
REASONS = {
    "agent/extensions": "what an agent can do does not have to be switched on",
    "agent/tunnel_types": "a host with a tunnel address offers every type that its mechanism has",
    "database/connection": "Naru's database is its own, and is not Neutron's; see database_url",
    "default/host": "the command names the host: naru agent --host",
    "default/interface_driver": "the mechanism makes the devices",
    "default/dhcp_driver": "dnsmasq serves DHCP",
    "default/service_plugins": "what the API offers does not have to be switched on",
    "default/use_ssl": "with tls_cert and tls_key it is on",
    "default/transport_url": "server and agents speak HTTP: no message broker",
    "linux_bridge/bridge_mappings": "Naru makes its bridges itself, and leaves those of others alone",
    "ml2/extension_drivers": "what the API offers does not have to be switched on",
    "ml2/mechanism_drivers": "beside linuxbridge and openvswitch Naru has none to choose; l2population is always there",
    "ml2/type_drivers": "every type is there; tenant_network_types, flat and vlan say what may be used",
    "ml2_type_geneve/vni_ranges": "Geneve ids without a wish come from a network segment range, made through the API",
    **{
        f"nova/{name}": "Nova is told by the account of [keystone]"
        for name in ("auth_url", "username", "password", "project_name", "region_name", "user_domain_name", "project_domain_name")
    },
    "vxlan/vxlan_group": "Naru floods to each host that has ports, by unicast",
}


class Taken(NamedTuple):
    key: str
    value: Any
    sources: list[Option]


class Left(NamedTuple):
    option: Option
    reason: str


def import_settings(paths: Iterable[Path]) -> str:
    """naru.toml with what the files say; what it does not take over stands there as comments, one by one.

    Later files go before earlier ones, as with oslo.config. Raises SettingsError for a file that cannot be read.
    """
    options, left = dict[str, Option](), list[Left]()
    for option in (option for path in paths for option in read_options(path)):
        place = RENAMED.get(option.path, option.path)
        if (earlier := options.get(place)) is not None:
            left.append(Left(earlier, f"{option.file} has another value after it: {_shown(option)}"))
        options[place] = option
    taken = dict[str, Taken]()
    used = set[str]()
    for row in ROWS:
        _follow(row, options, taken, left, used)
    left += [Left(option, REASONS.get(place, _UNKNOWN)) for place, option in options.items() if place not in used]
    return "\n".join([*_head(options.values()), *_tables(taken.values()), *_comments(left)]) + "\n"


def _follow(row: Row, options: Mapping[str, Option], taken: dict[str, Taken], left: list[Left], used: set[str]) -> None:
    sources = [options[place] for place in row.options if place in options]
    if not sources:
        return
    used.update(row.options)
    values = {place: option.value for place, option in options.items()}
    try:
        value = row.make(*(resolve(values[place], values) if place in values else None for place in row.options))
        if row.key:
            _check(row.key, value)
            if row.key in taken and taken[row.key].value != value:
                raise ValueError(f"{taken[row.key].sources[0].file} says {taken[row.key].value}")  # noqa: TRY301 - one place tells why
            taken.setdefault(row.key, Taken(row.key, value, sources))
    except ValueError as error:
        left.extend(Left(option, str(error)) for option in sources)
    else:
        if row.key == "agent.mechanism" and "ml2/mechanism_drivers" in options and set(_words(values["ml2/mechanism_drivers"])) != {value}:
            left.append(Left(options["ml2/mechanism_drivers"], REASONS["ml2/mechanism_drivers"]))


def _check(key: str, value: Any) -> None:
    """Raises ValueError for what the setting cannot be."""
    document = value
    for part in reversed(key.split(".")):
        document = {part: document}
    try:
        msgspec.convert(document, Settings)
    except msgspec.ValidationError as error:
        raise ValueError(f"{key} cannot be that: {error}") from None


def _head(options: Iterable[Option]) -> Iterator[str]:
    files = dict.fromkeys(option.file for option in options)
    yield f"# Made by `naru config import` from {', '.join(files) or 'nothing'}."


def _tables(taken: Iterable[Taken]) -> Iterator[str]:
    tables = dict[str, list[Taken]]()
    for each in taken:
        tables.setdefault(each.key.rpartition(".")[0], []).append(each)
    for table in sorted(tables):
        yield ""
        if table:
            yield f"[{table}]"
        for each in tables[table]:
            sources = ", ".join(f"{option.file} [{option.section}] {option.name}" for option in each.sources)
            yield f"{each.key.rpartition('.')[2]} = {_toml(each.value)}  # {sources}"


def _comments(left: Iterable[Left]) -> Iterator[str]:
    lines = [f"# {option.file} [{option.section}] {option.name} = {_shown(option)}: {reason}" for option, reason in left]
    if lines:
        yield from ("", "# Not taken over:", *lines)


def _shown(option: Option) -> str:
    return "(hidden)" if _SECRET.search(option.name) else json.dumps(option.value, ensure_ascii=False)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(each)}" for key, each in value.items()) + " }" if value else "{}"
    return json.dumps(value, ensure_ascii=False)  # of texts, numbers, booleans and lists, TOML is a superset
