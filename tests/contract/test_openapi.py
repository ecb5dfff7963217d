"""/openapi.json tells of every route, and the server keeps to it under whatever it allows to be sent."""

import json
import zlib

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from clients import FakeHost
from naru.api.backend import Backend
from naru.api.compute import compute_routes
from naru.api.identity import identity_routes
from naru.api.image import image_routes
from naru.api.network import network_routes
from naru.api.openapi import openapi_document
from naru.model.compute import IMAGES
from naru.store.store import utc_now
from planning import CLOUD, PlainCloud

BACKEND = Backend(PlainCloud(), CLOUD, utc_now)
ROUTES = [*network_routes(BACKEND), *identity_routes(BACKEND), *compute_routes(BACKEND), *image_routes()]


@pytest.fixture(scope="module")
def document(serving):
    answer = httpx.get(f"{serving.url}/openapi.json", trust_env=False)
    assert answer.status_code == 200
    return answer.json()


def test_every_route_is_described_without_a_token(document):
    told = {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item}
    assert told == {f"{route.method} {route.pattern}" for route in ROUTES}


def test_operations_have_names_of_their_own(document):
    names = sorted(operation["operationId"] for item in document["paths"].values() for operation in item.values())
    assert names == sorted(set(names))


def test_bodies_and_answers_follow_from_the_description(document):
    schemas = document["components"]["schemas"]
    created, changed, shown = (schemas[name]["properties"] for name in ("PortCreate", "PortUpdate", "Port"))
    assert created["network_id"] == {"type": "string", "format": "uuid"}
    assert "network_id" not in changed
    assert "status" not in created
    assert shown["status"] == {"type": "string"}
    assert created["binding:host_id"]["description"] == "Administrators alone set it"
    assert shown["binding:vif_type"]["description"] == "Administrators alone see it"
    assert schemas["SubnetCreate"]["required"] == ["network_id", "ip_version"]
    assert schemas["PortCreate"]["anyOf"] == [{"required": ["network_id"]}, {"required": ["pick_id"]}]
    assert "provisioned" not in shown


def test_the_bodies_of_identity_and_compute_are_described(document):
    schemas = document["components"]["schemas"]
    asked = document["paths"]["/identity/v3/auth/tokens"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert asked["properties"]["auth"] == {"$ref": "#/components/schemas/AuthRequest"}
    assert schemas["AuthRequest"]["required"] == ["identity"]
    assert schemas["UserCreate"]["required"] == ["name"]
    assert "password" in schemas["UserUpdate"]["properties"]
    assert "password" not in schemas["User"]["properties"]
    assert schemas["ServerCreate"]["properties"]["name"]["pattern"].startswith("^")
    assert document["paths"]["/compute/v2.1/servers"]["post"]["responses"]["4XX"] == {"$ref": "#/components/responses/ComputeRefused"}


def test_lists_tell_their_filters_and_sort_keys(document):
    parameters = {row["name"]: row["schema"] for row in document["paths"]["/v2.0/ports"]["get"]["parameters"]}
    assert parameters["admin_state_up"]["items"] == {"type": "boolean"}
    assert "device_id" in parameters["sort_key"]["items"]["enum"]
    assert "fixed_ips" not in parameters["sort_key"]["items"]["enum"]
    assert "binding:profile" not in parameters


# -- Schemathesis sends what the description allows, and some of what it does not

byte, word = st.integers(0, 255), st.from_regex("[a-z][a-z0-9]{0,20}", fullmatch=True)
TEXTS = {
    "mac": st.tuples(byte, byte).map(lambda numbers: "fa:16:3e:00:{:02x}:{:02x}".format(*numbers)),
    "ip": st.tuples(byte, byte).map(lambda numbers: "10.9.{}.{}".format(*numbers)) | st.ip_addresses().map(str),
    "cidr": st.tuples(byte, st.integers(8, 32)).map(lambda numbers: "10.{}.0.0/{}".format(*numbers)),
    "line": st.text(max_size=255).map(lambda text: "".join(filter(str.isprintable, text)).strip()),
    "dns-label": word,
    "dns-name": word,
    "dns-domain": word.map(lambda label: f"{label}.example."),
}
for name, strategy in TEXTS.items():
    schemathesis.openapi.format(name, strategy)

# Without the phases that take minutes for an API of this size.
CONFIG = SchemathesisConfig.from_dict(
    {"generation": {"mode": "positive"}, "phases": {"coverage": {"enabled": False}, "examples": {"enabled": False}}}
)
DESCRIBED = schemathesis.openapi.from_dict(json.loads(openapi_document(ROUTES)), config=CONFIG)
OPERATIONS = DESCRIBED.exclude(path_regex="^/v2.0/(?!networks/).*/tags|/alias_")  # the same once more

EVERYONE_SEES = {"object_type": "network", "action": "access_as_shared", "target_tenant": "*"}

# What is there at first. {network_id}: the first of those.
SEEDS = [
    ("networks", {"network": {"name": "net"}}),
    ("networks", {"network": {"name": "outside", "router:external": True}}),
    ("subnets", {"subnet": {"network_id": "{network_id}", "ip_version": 4, "cidr": "10.9.0.0/24"}}),
    ("subnets", {"subnet": {"network_id": "{floating_network_id}", "ip_version": 4, "cidr": "203.0.113.0/24"}}),
    *(("ports", {"port": {"network_id": "{network_id}", "name": name}}) for name in "abcd"),
    ("routers", {"router": {"external_gateway_info": {"network_id": "{floating_network_id}"}}}),
    ("floatingips", {"floatingip": {"floating_network_id": "{floating_network_id}"}}),
    ("trunks", {"trunk": {"port_id": "{port_id}"}}),
    ("segments", {"segment": {"network_id": "{network_id}", "network_type": "vxlan"}}),
    ("security-groups", {"security_group": {"name": "group"}}),
    ("security-group-rules", {"security_group_rule": {"security_group_id": "{security_group_id}", "direction": "ingress"}}),
    ("default-security-group-rules", {"default_security_group_rule": {"direction": "ingress"}}),
    ("address-groups", {"address_group": {"name": "addresses"}}),
    ("address-scopes", {"address_scope": {"name": "scope", "ip_version": 4}}),
    ("subnetpools", {"subnetpool": {"name": "pool", "prefixes": ["10.128.0.0/16"]}}),
    ("rbac-policies", {"rbac_policy": EVERYONE_SEES | {"object_id": "{network_id}"}}),
    ("qos/policies", {"policy": {"name": "policy"}}),
    ("qos/policies/{qos_policy_id}/dscp_marking_rules", {"dscp_marking_rule": {"dscp_mark": 10}}),
    ("network-picks", {"network_pick": {"count": 1}}),
    ("network-pools", {"network_pool": {"name": "pool", "members": [{"network_id": "{network_id}"}]}}),
    ("flavors", {"flavor": {"name": "flavor", "service_type": "L3_ROUTER_NAT"}}),
    ("service_profiles", {"service_profile": {"metainfo": "meta"}}),
    ("/identity/v3/domains", {"domain": {"name": "domain"}}),
    ("/identity/v3/projects", {"project": {"name": "project"}}),
    ("/identity/v3/users", {"user": {"name": "user", "password": "sesame"}}),
    ("/identity/v3/roles", {"role": {"name": "role"}}),
]
KEEPS_ITS_NAME = ("network_id", "subnet_id", "port_id", "security_group_id")  # with a word before it


@pytest.fixture(scope="module")
def session(serving):
    with requests.Session() as session:
        session.trust_env = False
        session.headers["X-Auth-Token"] = serving.token()
        yield session


@pytest.fixture(scope="module")
def there(serving, session):
    """Path of a collection, or an attribute that refers to it -> ids of its members."""
    ids = {}
    for path, body in SEEDS:
        text = json.dumps([path, body])
        for name, known in ids.items():
            text = text.replace(f"{{{name}}}", known[-1 if name == "floating_network_id" else 0])
        filled, wanted = json.loads(text)
        answer = session.post(serving.url + filled if filled.startswith("/") else f"{serving.url}/v2.0/{filled}", json=wanted)
        assert answer.status_code == 201, answer.text
        [(kind, made)] = answer.json().items()
        for name in (path, path.replace("-", "_"), f"{kind}_id", f"{path.partition('/')[0]}_{kind}_id"):
            ids.setdefault(name, [])
            ids[name] += [made["id"]] * (made["id"] not in ids[name])
        if kind == "network":
            ids["floating_network_id"] = ids["network-ip-availabilities"] = ids["network-ip-forecasts"] = ids["network_id"]
    ids |= {
        "flavorRef": ["1"],
        "imageRef": [IMAGES[0].id],
        "uuid": ids["network_id"],
        "/compute/v2.1/flavors": ["1"],
        "/image/v2/images": [IMAGES[0].id],
    }
    with FakeHost(serving, "compute01") as host:
        asked = {"name": "server", "flavorRef": "1", "imageRef": IMAGES[0].id, "networks": [{"uuid": ids["network_id"][0]}]}
        made = session.post(f"{serving.url}/compute/v2.1/servers", json={"server": asked})
        assert made.status_code == 202, made.text
        host.achieve()
    return ids | {"/compute/v2.1/servers": [made.json()["server"]["id"]]}


def aimed(value, there, key):
    """Most of what stands where an id belongs becomes the id of something that is there."""
    if isinstance(value, dict):
        return {name: aimed(item, there, name) for name, item in value.items() if name != "tenant_id"}
    if isinstance(value, list):
        return [aimed(item, there, key) for item in value]
    plain = next((name for name in KEEPS_ITS_NAME if key.endswith(f"_{name}")), key)
    known, die = there.get(plain), zlib.crc32(str(value).encode())
    return known[die // 8 % len(known)] if known and isinstance(value, str) and die % 8 else value


@OPERATIONS.parametrize()
@settings(max_examples=6, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_sent_no_answer_is_a_fault_or_undescribed(case, serving, session, there):
    collection = case.path.removeprefix("/v2.0/").partition("/{id}")[0]
    if case.method != "DELETE":
        case.path_parameters = {
            name: aimed(value, there, collection if name == "id" else name) for name, value in (case.path_parameters or {}).items()
        }
    case.body = aimed(case.body, there, "")
    case.headers.pop("X-Auth-Token", None)  # the session has one that is valid
    response = case.call(base_url=serving.url, session=session)
    case.validate_response(response, checks=[not_a_server_error, status_code_conformance, response_schema_conformance])
