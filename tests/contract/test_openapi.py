"""/openapi.json tells of every route, and the server keeps to it under whatever it allows to be sent."""

import httpx
import pytest

from naru.api.backend import Backend
from naru.api.network import network_routes
from naru.store.store import utc_now
from planning import CLOUD, PlainCloud


@pytest.fixture(scope="module")
def document(serving):
    answer = httpx.get(f"{serving.url}/openapi.json", trust_env=False)
    assert answer.status_code == 200
    return answer.json()


def test_every_route_is_described_without_a_token(document):
    routes = network_routes(Backend(PlainCloud(), CLOUD, utc_now))
    told = {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item}
    assert told == {f"{route.method} {route.pattern}" for route in routes}


def test_operations_have_names_of_their_own(document):
    names = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(set(names)) == len(names)


def test_bodies_and_answers_follow_from_the_description(document):
    schemas = document["components"]["schemas"]
    created, changed, shown = (schemas[name]["properties"] for name in ("PortCreate", "PortUpdate", "Port"))
    assert created["network_id"] == {"type": "string", "format": "uuid"}
    assert "network_id" not in changed
    assert "status" not in created
    assert shown["status"] == {"type": "string"}
    assert created["binding:host_id"]["description"] == "Administrators alone set it"
    assert shown["binding:vif_type"]["description"] == "Administrators alone see it"
    assert schemas["PortCreate"]["required"] == ["network_id"]
    assert "provisioned" not in shown


def test_lists_tell_their_filters_and_sort_keys(document):
    parameters = {row["name"]: row["schema"] for row in document["paths"]["/v2.0/ports"]["get"]["parameters"]}
    assert parameters["admin_state_up"]["items"] == {"type": "boolean"}
    assert "device_id" in parameters["sort_key"]["items"]["enum"]
    assert "fixed_ips" not in parameters["sort_key"]["items"]["enum"]
    assert "binding:profile" not in parameters
