"""What Prometheus collects of a real server, and what a webhook is told: signed, once for each crossing, again until it is taken."""

import hashlib
import hmac
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from clients import Clients
from naru.testing import eventually
from networking import Networking
from serving import Serving

PAGE = (Path(__file__).parents[2] / "docs/reference/metrics.md").read_text()


def metrics(serving):
    """family -> {labels: value}"""
    token = (serving.state_dir / "metrics-token").read_text().strip()
    answer = httpx.get(f"{serving.url}/metrics", headers={"Authorization": f"Bearer {token}"}, trust_env=False)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(answer.text)
    return {family.name: {(sample.name, *sorted(sample.labels.items())): sample.value for sample in family.samples} for family in families}


def value(family, sample, **labels):
    return family[(sample, *sorted(labels.items()))]


@pytest.fixture(scope="module")
def counted(serving, clients):
    """A pool with a network of 13 addresses: a port, a pick that holds two, one that was refused."""
    with clients.http("admin") as http:
        admin = Networking(http)
        network = admin.network(name='a "quoted" name')
        admin.subnet(network, "10.0.0.0/28", enable_dhcp=False)
        pool = admin.create("network-pools", name="counted", members=[{"network_id": network["id"]}], floor_count=1)
        admin.create("ports", network_id=network["id"])
        admin.create("network-picks", pool_id=pool["id"], count=2)
        assert admin.refused("POST", "/network-picks", {"network_pick": {"pool_id": pool["id"], "count": 99}})[0] == 409
        http.get("/v2.0/nowhere")
    return metrics(serving), network, pool


def test_the_metrics_are_for_who_shows_the_token_alone(serving):
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"X-Auth-Token": serving.token()}):
        answer = httpx.get(f"{serving.url}/metrics", headers=headers, trust_env=False)
        assert answer.status_code == 401
        assert "naru_" not in answer.text
    assert (serving.state_dir / "metrics-token").stat().st_mode & 0o777 == 0o600


def test_addresses_are_counted_by_state_and_add_up(counted):
    found, network, pool = counted
    for of, id, name in (("network", network["id"], network["name"]), ("network_pool", pool["id"], "counted")):
        family = found[f"naru_{of}_addresses"]
        states = {state: value(family, f"naru_{of}_addresses", id=id, name=name, state=state) for state in ("usable", "free", "held")}
        states |= {state: value(family, f"naru_{of}_addresses", id=id, name=name, state=state) for state in ("allocated", "quarantined")}
        assert states == {"usable": 13, "allocated": 1, "held": 2, "quarantined": 0, "free": 10}
    assert value(found["naru_network_pool_floor_addresses"], "naru_network_pool_floor_addresses", id=pool["id"], name="counted") == 1


def test_without_a_history_there_are_no_days(counted):
    found, network, _ = counted
    assert not [labels for labels in found["naru_network_days_to_exhaustion"] if ("id", network["id"]) in labels]


def test_picks_are_counted_by_what_became_of_them(counted):
    family = counted[0]["naru_network_picks"]
    assert value(family, "naru_network_picks_total", verdict="held") >= 1
    assert value(family, "naru_network_picks_total", verdict="refused") >= 1


def test_requests_are_counted_by_route_and_never_by_id(counted):
    found = counted[0]["naru_http_requests"]
    assert value(found, "naru_http_requests_total", method="POST", route="/v2.0/network-picks", status="409") >= 1
    assert value(found, "naru_http_requests_total", method="GET", route="", status="404") >= 1
    seconds = counted[0]["naru_http_request_seconds"]
    assert value(seconds, "naru_http_request_seconds_count", method="POST", route="/v2.0/ports") >= 1
    assert 0 < value(seconds, "naru_http_request_seconds_sum", method="POST", route="/v2.0/ports") < 30
    assert not [labels for labels in found if re.search(r"[0-9a-f]{8}-", str(labels))]


def test_the_writer_says_how_large_its_batches_are_and_how_long_they_take(counted):
    found = counted[0]
    batches = value(found["naru_writer_batch_requests"], "naru_writer_batch_requests_count")
    assert value(found["naru_writer_batch_requests"], "naru_writer_batch_requests_sum") >= batches > 0
    assert value(found["naru_writer_batch_seconds"], "naru_writer_batch_seconds_sum") > 0
    assert value(found["naru_writer_changes"], "naru_writer_changes_total") > 0


def test_each_metric_is_in_the_reference_and_each_row_is_a_metric(counted):
    assert set(re.findall(r"^\| `(naru_\w+)` \|", PAGE, re.MULTILINE)) == set(counted[0])


def test_the_server_says_whether_it_is_well(serving):
    assert httpx.get(f"{serving.url}/healthz", trust_env=False).json() == {"status": "ok"}


# -- the webhook


class Receiver:
    """Takes what a webhook sends, after refusing the first few."""

    def __init__(self, refusals=0):
        self.taken, self.refused = [], []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                refused = len(receiver.refused) < refusals
                (receiver.refused if refused else receiver.taken).append((dict(self.headers), body))
                self.send_response(503 if refused else 204)
                self.end_headers()

            def log_message(self, *words):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/alarms"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self):
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def receiver():
    receiver = Receiver(refusals=2)
    yield receiver
    receiver.close()


def test_a_crossing_is_told_signed_until_it_is_taken_and_then_never_again(tmp_path, receiver):
    with Serving(tmp_path) as serving, Clients(serving).http("admin") as http:
        admin = Networking(http)
        for name, cidr in (("roomy", "10.0.0.0/24"), ("tight", "10.1.0.0/29")):
            network = admin.network(name=name)
            admin.subnet(network, cidr, enable_dhcp=False)
            pool = admin.create("network-pools", name=name, members=[{"network_id": network["id"]}])
        for _ in range(5):
            admin.create("ports", network_id=network["id"])
    told = {"NARU_SCHEDULER_WEBHOOK_URL": receiver.url, "NARU_SCHEDULER_WEBHOOK_SECRET": "shared"}
    with Serving(tmp_path, **told):
        eventually(lambda: receiver.taken, within_s=20)
    with Serving(tmp_path, NARU_SCHEDULER_FLOOR="1.0", **told) as serving:
        eventually(lambda: len(receiver.taken) > 1, within_s=20)
        assert value(metrics(serving)["naru_capacity_alarms"], "naru_capacity_alarms", crossed="floor") == 2
    (headers, body), (_, other) = receiver.taken
    assert json.loads(other)["network_ip_forecast"]["name"] == "roomy"
    assert headers["X-Naru-Signature-256"] == f"sha256={hmac.new(b'shared', body, hashlib.sha256).hexdigest()}"
    message = json.loads(body)
    assert (message["event"], message["network_ip_forecast"]["id"]) == ("floor_crossed", pool["id"])
    assert (message["network_ip_forecast"]["free"], message["network_ip_forecast"]["usable"]) == (0, 5)
    assert {earlier["X-Naru-Delivery"] for earlier, _ in receiver.refused} == {headers["X-Naru-Delivery"]} == {message["delivery"]}
    assert len(receiver.refused) == 2


def test_what_is_no_url_keeps_the_server_from_starting(tmp_path):
    with pytest.raises(AssertionError, match=r"scheduler\.webhook_url is no URL"):
        Serving(tmp_path, NARU_SCHEDULER_WEBHOOK_URL="alarms.example")
