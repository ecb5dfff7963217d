"""What cannot be is refused with 4xx and a NeutronError that says what, which and why; and nothing changes."""

import json
import re
import uuid
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from naru.model.errors import NaruError
from naru.model.resources import Network, Port, Subnet, attributes
from networking import Networking
from serving import Serving

NOWHERE = str(uuid.UUID(int=4))


@pytest.fixture(scope="module")
def admin(clients):
    with clients.http("admin") as http:
        networking = Networking(http)
        networking.update("quotas", networking.network()["project_id"], network=-1, subnet=-1, port=-1)
        yield networking


@pytest.fixture(scope="module")
def there(admin, demo):
    """What the refused requests stumble over: names for the ids in their paths and bodies."""
    network = admin.network(name="there")
    subnet = admin.subnet(network, "10.0.0.0/24")
    port = admin.port(network, mac_address="fa:16:3e:00:00:01", fixed_ips=[{"ip_address": "10.0.0.5"}])
    other = admin.network(name="other")
    foreign = demo.network(name="foreign")
    return {
        "NETWORK": network["id"],
        "SUBNET": subnet["id"],
        "PORT": port["id"],
        "OTHER": other["id"],
        "OTHERSUBNET": admin.subnet(other, "10.9.0.0/24")["id"],
        "FOREIGN": foreign["id"],
        "NOWHERE": NOWHERE,
    }


def _filled(text, there):
    for word in sorted(there, key=len, reverse=True):
        text = text.replace(f"<{word}>", there[word])
    return text


# -- one thing wrong

SUBNET = {"network_id": "<NETWORK>", "ip_version": 4, "cidr": "10.5.0.0/24"}
PORT = {"network_id": "<NETWORK>"}
SIX = {"ip_version": 6, "cidr": "fd05::/64"}
POOL = {"start": "10.5.0.10", "end": "10.5.0.20"}
ROUTE = {"destination": "10.8.0.0/16", "nexthop": "10.5.0.9"}


def asks(**address):
    return {"fixed_ips": [address]}


# What is wrong, how it is refused, and what the message says.
REFUSED_SUBNETS = [
    ({"cidr": "10.0.0.128/25"}, "400 InvalidInput", "overlaps with another subnet: <SUBNET> (10.0.0.0/24)"),
    ({"cidr": "10.0.0.0/8"}, "400 InvalidInput", "overlaps with another subnet"),
    ({"cidr": "10.5.0.0/33"}, "400 HTTPBadRequest", "'10.5.0.0/33' is not a valid IP subnet"),
    ({"cidr": "0.0.0.0/0"}, "400 InvalidInput", "0 is not allowed as CIDR prefix length"),
    ({"cidr": "10.5.0.0/31"}, "400 InvalidInput", "prefix length that is incompatible with DHCP"),
    ({"cidr": "224.0.0.0/24"}, "400 InvalidInput", "Multicast IP subnet"),
    ({"cidr": "127.0.0.0/24"}, "400 InvalidInput", "Loopback IP subnet"),
    ({"cidr": "0.0.0.0/8"}, "400 InvalidInput", "First IP '0.0.0.0'"),
    ({"cidr": "fd00::/64"}, "400 InvalidInput", "does not match the ip_version '4'"),
    ({"cidr": None}, "400 BadRequest", "in the absence of a cidr"),
    ({"prefixlen": 24}, "400 BadRequest", "cidr and prefixlen"),
    ({"subnetpool_id": NOWHERE}, "404 SubnetPoolNotFound", f"{NOWHERE} could not be found."),
    ({"network_id": NOWHERE}, "404 NetworkNotFound", f"Network {NOWHERE} could not be found."),
    ({"ip_version": 5}, "400 HTTPBadRequest", "ip_version"),
    ({"gateway_ip": "10.5.0.15", "allocation_pools": [POOL]}, "409 GatewayConflictWithAllocationPools", "Gateway ip 10.5.0.15 conflicts"),
    ({"allocation_pools": [POOL | {"start": "10.5.0.1"}]}, "409 GatewayConflictWithAllocationPools", "Gateway ip 10.5.0.1 conflicts"),
    ({"gateway_ip": "10.5.0.0"}, "400 InvalidInput", "10.5.0.0 is the network or broadcast address"),
    ({"gateway_ip": "10.5.0.255"}, "400 InvalidInput", "10.5.0.255 is the network or broadcast address"),
    ({"gateway_ip": "fd00::1"}, "400 InvalidInput", "'fd00::1' is not an IPv4 address"),
    (
        {"allocation_pools": [POOL, POOL | {"start": "10.5.0.11"}]},
        "409 OverlappingAllocationPools",
        "10.5.0.10-10.5.0.20 10.5.0.11-10.5.0.20",
    ),
    ({"allocation_pools": [POOL | {"end": "10.5.1.5"}]}, "400 OutOfBoundsAllocationPool", "pool 10.5.0.10-10.5.1.5 spans beyond"),
    ({"allocation_pools": [POOL | {"end": "10.5.0.9"}]}, "400 InvalidAllocationPool", "pool 10.5.0.10-10.5.0.9 is not valid"),
    ({"allocation_pools": [{"start": "fd00::1", "end": "fd00::9"}]}, "400 InvalidAllocationPool", "pool fd00::1-fd00::9 is not valid"),
    ({"dns_nameservers": ["fd00::1"]}, "400 InvalidInput", "dns_nameservers holds fd00::1, which is not IPv4"),
    ({"dns_nameservers": [f"9.9.9.{i}" for i in range(6)]}, "400 DNSNameServersExhausted", "exceeds the limit 5"),
    ({"host_routes": [ROUTE | {"nexthop": "fd00::1"}]}, "400 InvalidInput", "10.8.0.0/16 via fd00::1 is not IPv4"),
    ({"host_routes": [ROUTE | {"nexthop": f"10.5.0.{i}"} for i in range(21)]}, "400 HostRoutesExhausted", "exceeds the limit 20"),
    ({"ipv6_ra_mode": "slaac"}, "400 InvalidInput", "not valid when ip_version is 4"),
    (SIX | {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "dhcpv6-stateful"}, "400 InvalidInput", "must be the same value"),
    (SIX | {"ipv6_address_mode": "slaac", "enable_dhcp": False}, "400 InvalidInput", "cannot be set when enable_dhcp is set to False"),
    (SIX | {"ipv6_address_mode": "slaac", "cidr": "fd05::/80"}, "400 InvalidInput", "EUI-64 addresses need a /64 prefix"),
    (SIX | {"cidr": "fd05::/127"}, "400 InvalidInput", "incompatible with DHCP"),
]
REFUSED_PORTS = [
    ({"network_id": NOWHERE}, "404 NetworkNotFound", f"Network {NOWHERE} could not be found."),
    ({"mac_address": "fa:16:3e:00:00:01"}, "409 MacAddressInUse", "The mac address fa:16:3e:00:00:01 is in use."),
    (asks(ip_address="10.0.0.5"), "409 IpAddressAlreadyAllocated", "IP address 10.0.0.5 already allocated in subnet <SUBNET>"),
    (asks(ip_address="172.16.0.1"), "400 InvalidIpForNetwork", "IP address 172.16.0.1 is not a valid IP for any of the subnets"),
    (asks(ip_address="10.0.0.255"), "400 InvalidIpForNetwork", "IP address 10.0.0.255 is not a valid IP"),
    (
        asks(ip_address="10.9.0.7", subnet_id="<SUBNET>"),
        "400 InvalidIpForSubnet",
        "IP address 10.9.0.7 is not a valid IP for the specified subnet",
    ),
    (asks(subnet_id="<OTHERSUBNET>"), "400 InvalidInput", "included invalid subnet <OTHERSUBNET>"),
    (asks(subnet_id=NOWHERE), "404 SubnetNotFound", f"Subnet {NOWHERE} could not be found."),
    (asks(), "400 InvalidInput", "requires subnet_id or ip_address"),
    ({"fixed_ips": [{"ip_address": "10.0.0.7"}] * 2}, "400 HTTPBadRequest", "Duplicate IP address '10.0.0.7'"),
    ({"fixed_ips": [{"subnet_id": "<SUBNET>"}] * 51}, "400 InvalidInput", "fixed ips per port: 51 are asked for, and 50 may be"),
    ({"binding:profile": {"x": "y" * 5000}}, "400 InvalidInput", "Invalid input for binding:profile. Reason: the value is too large"),
]
FLAT, VXLAN = ({"provider:network_type": type} for type in ("flat", "vxlan"))
REFUSED_NETWORKS = [
    ({"provider:network_type": "token-ring"}, "400 InvalidInput", "'token-ring' not supported; supported are"),
    (FLAT, "400 InvalidInput", "physical_network required for flat"),
    (FLAT | {"provider:physical_network": "p", "provider:segmentation_id": 5}, "400 InvalidInput", "segmentation_id prohibited for flat"),
    (VXLAN | {"provider:physical_network": "p"}, "400 InvalidInput", "provider:physical_network specified for vxlan"),
    (VXLAN | {"provider:segmentation_id": 2**24}, "400 InvalidInput", "out of range (1 through 16777215)"),
    ({"provider:segmentation_id": 5}, "400 InvalidInput", "network_type required"),
    ({"mtu": 9000}, "400 InvalidInput", "Requested MTU is too big, maximum is 1450"),
]
REFUSED_UPDATES = [
    ("networks/<NETWORK>", {"status": "DOWN"}, "400 HTTPBadRequest", "Cannot update read-only attribute status"),
    ("networks/<NETWORK>", {"project_id": NOWHERE}, "400 HTTPBadRequest", "Cannot update read-only attribute project_id"),
    ("networks/<NETWORK>", {"provider:segmentation_id": 77}, "400 InvalidInput", "provider attributes of network <NETWORK> are fixed"),
    ("subnets/<SUBNET>", {"cidr": "10.6.0.0/24"}, "400 HTTPBadRequest", "Cannot update read-only attribute cidr"),
    ("subnets/<SUBNET>", {"gateway_ip": "10.0.0.50"}, "409 GatewayConflictWithAllocationPools", "pool 10.0.0.2-10.0.0.254."),
    (
        "subnets/<SUBNET>",
        {"allocation_pools": [{"start": "10.0.0.1", "end": "10.0.0.9"}]},
        "409 GatewayConflictWithAllocationPools",
        "10.0.0.1",
    ),
    ("ports/<PORT>", {"network_id": "<OTHER>"}, "400 HTTPBadRequest", "Cannot update read-only attribute network_id"),
    ("ports/<PORT>", asks(ip_address="10.9.0.9"), "400 InvalidIpForNetwork", "IP address 10.9.0.9 is not a valid IP"),
]
REFUSED = [
    *[("POST subnets", {"subnet": SUBNET | wrong}, *refusal) for wrong, *refusal in REFUSED_SUBNETS],
    *[("POST ports", {"port": PORT | wrong}, *refusal) for wrong, *refusal in REFUSED_PORTS],
    *[("POST networks", {"network": wrong}, *refusal) for wrong, *refusal in REFUSED_NETWORKS],
    *[(f"PUT {path}", {path.partition("s/")[0]: wrong}, *refusal) for path, wrong, *refusal in REFUSED_UPDATES],
]


@pytest.mark.parametrize(("request_line", "body", "refusal", "message"), REFUSED, ids=range(len(REFUSED)))
def test_refused_with_neutrons_type_and_the_reason(admin, there, request_line, body, refusal, message):
    before = admin.everything()
    method, path = request_line.split()
    status, type, said = admin.refused(method, f"/{_filled(path, there)}", _filled(json.dumps(body), there))
    assert f"{status} {type}" == refusal, said
    assert _filled(message, there) in said
    assert admin.everything() == before


@pytest.mark.parametrize(("plural", "body"), [("ports", {}), ("subnets", {"ip_version": 4, "cidr": "10.5.0.0/24"})])
def test_what_a_member_cannot_reach_is_not_found(admin, demo, there, plural, body):
    before = admin.everything()
    refusal = demo.refused("POST", f"/{plural}", {plural[:-1]: body | {"network_id": there["NETWORK"]}})
    assert refusal == (404, "NetworkNotFound", f"Network {there['NETWORK']} could not be found.")
    assert admin.everything() == before


# -- every attribute

WRONG = ({"a": 1}, ["x"], "\x00", "x" * 5000, 1.5, "x", None, True, 2**70, -(2**70), [[]], [{"x": "y"}], "10.0.0.0/99")
EVERY = [
    (kind, name, method)
    for kind in (Network, Subnet, Port)
    for name, item in attributes(kind).items()
    for method, who in (("POST", item.attribute.post), ("PUT", item.attribute.put))
    if who != "nobody"
]


@pytest.mark.parametrize(("kind", "name", "method"), EVERY, ids=lambda value: getattr(value, "kind", value))
def test_a_wrong_value_is_refused_by_the_name_of_its_attribute(admin, there, kind, name, method):
    wrong = [value for value in WRONG if _is_refused(kind, name, value)]
    assert len(wrong) >= 3
    path = f"/{kind.plural}" if method == "POST" else f"/{kind.plural}/{there[kind.singular.upper()]}"
    needed = {Network: {}, Subnet: SUBNET, Port: PORT}[kind] if method == "POST" else {}
    before = admin.everything()
    for value in wrong:
        refusal = admin.refused(method, path, _filled(json.dumps({kind.singular: needed | {name: value}}), there))
        assert refusal[0] == 400, refusal
        assert _letters(name) in _letters(refusal[2])
        assert len(refusal[2]) < 400
    assert admin.everything() == before


def _letters(text):
    """`allowed_address_pairs` is also an AllowedAddressPair."""
    return re.sub("[^a-z]|s$", "", text.lower())


def _is_refused(kind, name, value):
    try:
        attributes(kind)[name].attribute.convert(value)
    except (ValueError, NaruError):
        return True
    return False


@pytest.mark.parametrize("kind", [Network, Subnet, Port], ids=lambda kind: kind.kind)
def test_attributes_that_are_none_are_refused(admin, there, kind):
    before = admin.everything()
    needed = {Network: {}, Subnet: SUBNET, Port: PORT}[kind]
    for name in ("nonsense", "ID", "", "id", "status", "revision_number", "created_at", "provisioned"):
        for method, path, body in (("POST", f"/{kind.plural}", needed), ("PUT", f"/{kind.plural}/<{kind.singular.upper()}>", {})):
            refusal = admin.refused(method, _filled(path, there), _filled(json.dumps({kind.singular: body | {name: "x"}}), there))
            assert refusal[:2] == (400, "HTTPBadRequest")
            assert name in refusal[2]
    for name in (name for name, item in attributes(kind).items() if item.attribute.required):
        refusal = admin.refused("POST", f"/{kind.plural}", {kind.singular: {}})
        assert refusal[0] == 400
        assert name in refusal[2] or "Required attribute" in refusal[2]
    assert admin.everything() == before


# -- bodies

DEEP = "[" * 100_000
BODIES = [
    (b"", "Resource body required"),
    (b"{", "not valid JSON"),
    (b"nonsense", "not valid JSON"),
    (b"{'network': {}}", "not valid JSON"),
    (b'{"network": {"name": NaN}}', "not valid JSON"),
    (b'{"network": {"mtu": 1e999}}', "not valid JSON"),
    (b'{"network": {"mtu": ' + b"9" * 5000 + b"}}", "not valid JSON"),
    (b'{"network": {"name": "\xff\xfe"}}', "not valid JSON"),
    (b'{"network": {"name": "\\ud800"}}', "not valid JSON"),
    (b'{"network": {}} {}', "not valid JSON"),
    (DEEP.encode(), "not valid JSON"),
    (b'{"network": {"name": ' + b"[" * 900 + b"]" * 900 + b"}}", "name"),
    (b"null", "not a JSON object"),
    (b"[]", "not a JSON object"),
    (b'"network"', "not a JSON object"),
    (b"4", "not a JSON object"),
    (b"{}", "Unable to find 'network' in request body"),
    (b'{"port": {}}', "Unable to find 'network' in request body"),
    (b'{"network": null}', "Object 'network' contains invalid data"),
    (b'{"network": []}', "Object 'network' contains invalid data"),
    (b'{"networks": []}', "Resources required"),
    (b'{"networks": {}}', "not a list of objects"),
    (b'{"networks": [null]}', "not a list of objects"),
    (b'{"networks": [{"network": 5}]}', "Object 'network' contains invalid data"),
]


@pytest.mark.parametrize(("body", "message"), BODIES, ids=lambda value: repr(value)[:50])
def test_a_body_that_is_none_is_refused(admin, there, body, message):
    before = admin.everything()
    status, type, said = admin.refused("POST", "/networks", body)
    assert (status, type) in ((400, "HTTPBadRequest"), (400, "InvalidInput"))
    assert message in said
    if b"networks" not in body:
        assert admin.refused("PUT", f"/networks/{there['NETWORK']}", body)[0] == 400
        assert admin.refused("PUT", f"/quotas/{NOWHERE}", body.replace(b"network", b"quota"))[0] == 400
    assert admin.everything() == before


def test_a_body_that_is_too_large_is_refused_unread(admin):
    before = admin.everything()
    assert admin.refused("POST", "/networks", b'{"network": {"name": "' + b"x" * 11_000_000 + b'"}}')[:2] == (413, "RequestTooLarge")
    chunks = (b"x" * 1_000_000 for _ in range(11))  # without Content-Length
    answer = admin.request("POST", "/networks", content=chunks)
    assert answer.status_code == 413
    assert admin.everything() == before


# -- query strings


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("nonsense=1", "['nonsense'] is invalid attribute for filtering"),
        ("created_at=2026", "['created_at'] is invalid attribute for filtering"),
        ("sort_key=nonsense&sort_dir=asc", "'nonsense' is an invalid attribute for sort keys"),
        ("sort_key=fixed_ips", "'fixed_ips' is an invalid attribute for sort keys"),
        ("sort_key=name&sort_dir=up", "'up' is invalid value for sort_dirs"),
        ("sort_key=name&sort_dir=asc&sort_dir=asc", "The number of sort_keys and sort_dirs must be same"),
        ("limit=-1", "Limit must be an integer 0 or greater and not '-1'"),
        ("limit=x", "Limit must be an integer 0 or greater and not 'x'"),
        (f"limit={'9' * 5000}", "Limit must be an integer"),
        (f"limit=1&marker={NOWHERE}", f"Port {NOWHERE} could not be found."),
        ("limit=1&marker=%00", "could not be found"),
        ("admin_state_up=maybe", "'maybe' cannot be converted to boolean"),
        ("fixed_ips=nonsense", "'nonsense' is not ip_address, subnet_id or ip_address_substr"),
        ("tenant_id=a&project_id=a", "Both tenant_id and project_id passed as filters."),
        ("changed_since=yesterday", "YYYY-MM-DDTHH:MM:SS"),
    ],
)
def test_a_query_string_that_means_nothing_is_refused(admin, query, message):
    status, _, said = admin.refused("GET", f"/ports?{query}")
    assert status in (400, 404)
    assert message in said


@pytest.mark.parametrize(
    "query",
    ["name=%ff%fe", "name=%00", "name", "&&&", "id=" + "x" * 5000, "limit=", "fields=", "fields=%00", "mac_address=x", f"limit={10**20}"],
)
def test_a_query_string_that_matches_nothing_is_answered(admin, query):
    assert admin.request("GET", f"/ports?{query}").status_code in (200, 400)


@pytest.mark.parametrize("id", ["x", "%00", "%ff", "a b", "'; drop table resources; --", "x" * 3000, "💧"])
def test_ids_that_are_none_are_not_found(admin, id):
    before = admin.everything()
    for method, body in (("GET", None), ("PUT", {"port": {"name": "x"}}), ("DELETE", None)):
        status, _, said = admin.refused(method, f"/ports/{quote(id, safe='%')}", body)
        assert status in (404, 405)
        assert said
    assert admin.everything() == before


# -- anything at all

MEMBERS = ("ip_address", "subnet_id", "start", "end", "destination", "nexthop")
ADDRESSES = ("10.0.0.0/24", "10.5.0.0/24", "10.5.0.7", "10.0.0.5", "fd00::/64", "fd05::7", "fa:16:3e:00:00:01")
WORDS = (*ADDRESSES, "slaac", "vxlan", "flat", "4", "6", "True", NOWHERE, "<NETWORK>", "<SUBNET>", "<OTHERSUBNET>")
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=20) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS) | st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PLAUSIBLE = {
    Network: {"name": "n", "mtu": 1400, "shared": True, "router:external": "true", "admin_state_up": 0, "provider:network_type": "vxlan"},
    Subnet: SUBNET | {"gateway_ip": None, "allocation_pools": [POOL], "host_routes": [ROUTE], "enable_dhcp": False, "name": "s"},
    Port: PORT | asks(subnet_id="<SUBNET>") | {"device_id": "vm", "binding:host_id": None, "binding:profile": {"a": 1}, "name": "p"},
}
NAMES = sorted({name for kind in PLAUSIBLE for name in attributes(kind)})
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def requests(draw):
    """-> method, kind, body: mostly what would be taken, with a few values of anything at all."""
    kind, method = draw(st.sampled_from(list(PLAUSIBLE))), draw(st.sampled_from(["POST", "PUT", "BULK"]))
    needed = {Network: {}, Subnet: SUBNET, Port: PORT}[kind] if method != "PUT" else {}
    chosen = draw(st.lists(st.sampled_from(list(PLAUSIBLE[kind].items())), max_size=4))
    if kind is Subnet:
        chosen.append(("cidr", f"10.{draw(st.integers(10, 250))}.0.0/24"))
    wild = draw(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), VALUES, max_size=2))
    resource = needed | dict(chosen) | wild
    return method, kind, {kind.plural: [resource] * draw(st.integers(1, 2))} if method == "BULK" else {kind.singular: resource}


@FUZZ
@given(request_=requests())
def test_no_body_breaks_the_server(admin, there, request_):
    method, kind, body = request_
    path = f"/{kind.plural}/{there[kind.singular.upper()]}" if method == "PUT" else f"/{kind.plural}"
    _assert_no_fault(admin.request("PUT" if method == "PUT" else "POST", path, content=_filled(json.dumps(body), there)))


KEYS = st.sampled_from([*NAMES, "limit", "marker", "page_reverse", "sort_key", "sort_dir", "fields", "changed_since"]) | st.text(max_size=8)
QUERY_VALUES = st.text(max_size=20) | st.sampled_from(["1", "asc", "id", "name", "ip_address=10.0.0.5", *WORDS])


@FUZZ
@given(kind=st.sampled_from([Network, Subnet, Port]), pairs=st.lists(st.tuples(KEYS, QUERY_VALUES), max_size=5))
def test_no_query_string_breaks_the_server(admin, kind, pairs):
    query = "&".join(f"{quote(key)}={quote(value)}" for key, value in pairs)
    _assert_no_fault(admin.request("GET", f"/{kind.plural}?{query}"))


@FUZZ
@given(body=st.binary(max_size=200), tag=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30))
def test_no_bytes_break_the_server(admin, there, body, tag):
    _assert_no_fault(
        admin.request("PUT", f"/networks/{there['NETWORK']}", content=body, headers={"If-Match": f"revision_number={tag}".strip()})
    )


def _assert_no_fault(answer: httpx.Response):
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert set(answer.json()["NeutronError"]) == {"type", "message", "detail"}


def test_all_that_was_taken_is_there_after_the_server_was_killed(serving, admin):
    """The last test here: everything that the ones before have left is written as it can be read."""
    before = admin.everything()
    serving.kill()
    with Serving(serving.state_dir) as again, httpx.Client(base_url=again.url, headers=admin.http.headers, trust_env=False) as http:
        assert Networking(http).everything() == before
    assert len(before["ports"]["ports"]) > 1
