"""Tags on every resource that may have them: https://docs.openstack.org/api-ref/network/v2/#standard-attributes-tag-extension"""

import pytest

from naru.api.network import COLLECTIONS
from naru.model.resources import attributes


@pytest.fixture
def tagged(demo):
    """A network with the tags red and blue."""
    network = demo.network()
    assert demo.request("PUT", f"/networks/{network['id']}/tags", json={"tags": ["red", "blue"]}).json() == {"tags": ["red", "blue"]}
    yield network
    demo.delete("networks", network["id"])


def tags_of(networking, network):
    answer = networking.request("GET", f"/networks/{network['id']}/tags")
    assert answer.status_code == 200
    return answer.json()["tags"]


def test_a_new_resource_has_no_tags(demo):
    network = demo.network()
    subnet, port = demo.subnet(network), demo.port(network)
    assert (network["tags"], subnet["tags"], port["tags"]) == ([], [], [])
    assert tags_of(demo, network) == []


def test_tags_are_replaced_added_and_removed(demo, tagged):
    path = f"/networks/{tagged['id']}/tags"
    assert demo.show("networks", tagged["id"])["tags"] == ["red", "blue"]
    answer = demo.request("PUT", f"{path}/green")
    assert (answer.status_code, answer.content) == (201, b"")
    assert tags_of(demo, tagged) == ["red", "blue", "green"]
    assert demo.request("PUT", f"{path}/green").status_code == 201  # it is there already
    assert demo.request("GET", f"{path}/green").status_code == 204
    assert demo.request("DELETE", f"{path}/red").status_code == 204
    assert tags_of(demo, tagged) == ["blue", "green"]
    answer = demo.request("POST", path, json={"tags": ["green", "gold"]})
    assert answer.status_code == 201
    assert tags_of(demo, tagged) == ["blue", "green", "gold"]
    assert demo.request("DELETE", path).status_code == 204
    assert tags_of(demo, tagged) == []


def test_a_change_of_tags_is_a_revision_of_the_resource(demo, tagged):
    before = demo.show("networks", tagged["id"])["revision_number"]
    demo.request("PUT", f"/networks/{tagged['id']}/tags", json={"tags": ["red", "blue"]})
    assert demo.show("networks", tagged["id"])["revision_number"] == before
    demo.request("DELETE", f"/networks/{tagged['id']}/tags/red")
    assert demo.show("networks", tagged["id"])["revision_number"] == before + 1


@pytest.mark.parametrize(
    ("method", "below", "body", "refusal"),
    [
        ("GET", "/purple", None, (404, "TagNotFound")),
        ("DELETE", "/purple", None, (404, "TagNotFound")),
        ("PUT", "/" + "x" * 256, None, (400, "InvalidInput")),
        ("PUT", "", {}, (400, "InvalidInput")),
        ("PUT", "", {"tags": "red"}, (400, "InvalidInput")),
        ("PUT", "", {"tags": ["red", "red"]}, (400, "InvalidInput")),
        ("PUT", "", {"tags": [1]}, (400, "InvalidInput")),
        ("POST", "", {"tags": ["x" * 256]}, (400, "InvalidInput")),
    ],
)
def test_what_cannot_be_a_tag_is_refused(demo, tagged, method, below, body, refusal):
    assert demo.refused(method, f"/networks/{tagged['id']}/tags{below}", body)[:2] == refusal
    assert tags_of(demo, tagged) == ["red", "blue"]


def test_tags_are_of_those_who_may_see_and_change_the_resource(admin, demo):
    hidden = admin.network()
    for method, below in (("GET", ""), ("GET", "/red"), ("PUT", "/red"), ("DELETE", "")):
        assert demo.refused(method, f"/networks/{hidden['id']}/tags{below}")[:2] == (404, "TagResourceNotFound")
    shared = admin.network(shared=True)
    assert tags_of(demo, shared) == []
    assert demo.refused("PUT", f"/networks/{shared['id']}/tags/red")[:2] == (403, "PolicyNotAuthorized")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"tags": "red"}, {"r", "rb"}),
        ({"tags": "red,blue"}, {"rb"}),
        ({"tags-any": "red,blue"}, {"r", "b", "rb"}),
        ({"not-tags": "red,blue"}, {"", "r", "b"}),
        ({"not-tags-any": "red,blue"}, {""}),
        ({"tags": "red", "not-tags": "blue"}, {"r"}),
        ({"tags": "nobody has this"}, set()),
    ],
)
def test_lists_are_filtered_by_tags(demo, query, names):
    for name, tags in (("", []), ("r", ["red"]), ("b", ["blue"]), ("rb", ["red", "blue"])):
        if not demo.list("networks", name=f"by-tag-{name}"):
            demo.request("PUT", f"/networks/{demo.network(name=f'by-tag-{name}')['id']}/tags", json={"tags": tags})
    found = {network["name"].removeprefix("by-tag-") for network in demo.list("networks", **query) if "by-tag-" in network["name"]}
    assert found == names


def test_ports_are_tagged_as_they_are_made(demo):
    network = demo.network()
    ports = demo.create_many("ports", {"network_id": network["id"], "tags": ["a", "b"]}, {"network_id": network["id"]})
    assert [port["tags"] for port in ports] == [["a", "b"], []]
    assert demo.port(network, tags=["c"])["tags"] == ["c"]
    assert demo.refused("POST", "/ports", {"port": {"network_id": network["id"], "tags": ["a", "a"]}})[:2] == (400, "HTTPBadRequest")
    assert demo.refused("PUT", f"/ports/{ports[0]['id']}", {"port": {"tags": []}})[:2] == (400, "HTTPBadRequest")
    assert demo.refused("POST", "/networks", {"network": {"tags": []}})[:2] == (400, "HTTPBadRequest")


def test_every_resource_with_tags_has_their_paths(demo):
    nowhere = "11111111-2222-4333-8444-555555555555"
    for collection in COLLECTIONS:
        path = f"/{collection.path or collection.kind.plural.replace('_', '-')}/{nowhere}/tags"
        kind = "TagResourceNotFound" if "tags" in attributes(collection.kind) else "HTTPNotFound"
        if "{" not in path:
            assert demo.refused("GET", path)[:2] == (404, kind), path


def test_the_sdk_tags_and_finds(sdk):
    network = sdk.create_network(name="sdk-tagged")
    sdk.set_tags(network, ["one", "two"])
    assert sdk.get_network(network.id).tags == ["one", "two"]
    network.add_tag(sdk, "three")
    network.add_tags(sdk, ["four"])
    network.check_tag(sdk, "three")
    network.remove_tag(sdk, "one")
    assert network.fetch_tags(sdk).tags == ["two", "three", "four"]
    assert [found.id for found in sdk.networks(tags="two,three")] == [network.id]
    assert network.id in [found.id for found in sdk.networks(any_tags="two,five")]
    assert network.id not in [found.id for found in sdk.networks(not_any_tags="four")]
    network.remove_all_tags(sdk)
    assert sdk.get_network(network.id).tags == []
