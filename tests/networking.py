"""The network API over plain HTTP, so that tests read as requests and answers."""

import ipaddress
import itertools
from typing import Any
from urllib.parse import urlencode

import httpx

SINGULAR = {"networks": "network", "subnets": "subnet", "ports": "port", "routers": "router", "agents": "agent", "quotas": "quota"}
SINGULAR |= {"subnetpools": "subnetpool", "address-scopes": "address_scope", "segments": "segment"}
SINGULAR |= {"security-groups": "security_group", "security-group-rules": "security_group_rule", "address-groups": "address_group"}
SINGULAR |= {"default-security-group-rules": "default_security_group_rule"}
SINGULAR |= {"security-groups-default-statefulness": "security_group_default_statefulness"}
SINGULAR |= {"network-picks": "network_pick", "network-pools": "network_pool"}
_names = itertools.count(1)


class Networking:
    """`/v2.0` as one user sees it. Its short words raise AssertionError with the answer where that is not what was meant."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.http.request(method, f"/v2.0{path}", **options)

    def create(self, plural: str, *, expect: int = 201, **attributes: Any) -> dict[str, Any]:
        answer = self.request("POST", f"/{plural}", json={SINGULAR[plural]: attributes})
        assert answer.status_code == expect, answer.text
        return answer.json()[SINGULAR[plural]]

    def create_many(self, plural: str, *bodies: dict[str, Any]) -> list[dict[str, Any]]:
        answer = self.request("POST", f"/{plural}", json={plural.replace("-", "_"): list(bodies)})
        assert answer.status_code == 201, answer.text
        return answer.json()[plural.replace("-", "_")]

    def show(self, plural: str, id: str, **query: Any) -> dict[str, Any]:
        answer = self.request("GET", f"/{plural}/{id}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()[SINGULAR[plural]]

    def list(self, plural: str, *pairs: tuple[str, str], **query: Any) -> list[dict[str, Any]]:
        answer = self.request("GET", f"/{plural}?{urlencode([*pairs, *query.items()])}")
        assert answer.status_code == 200, answer.text
        return answer.json()[plural.replace("-", "_")]

    def update(self, plural: str, id: str, **attributes: Any) -> dict[str, Any]:
        answer = self.request("PUT", f"/{plural}/{id}", json={SINGULAR[plural]: attributes})
        assert answer.status_code == 200, answer.text
        return answer.json()[SINGULAR[plural]]

    def delete(self, plural: str, id: str) -> None:
        answer = self.request("DELETE", f"/{plural}/{id}")
        assert (answer.status_code, answer.content) == (204, b""), answer.text

    def refused(self, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, str, str]:
        """-> status, type, message of a refusal. A string or bytes go as they are, everything else as JSON."""
        options |= {"content": body} if isinstance(body, str | bytes) else {"json": body} if body is not None else {}
        answer = self.request(method, path, **options)
        assert answer.status_code >= 400, answer.text
        error = answer.json()["NeutronError"]
        assert set(error) == {"type", "message", "detail"}, error
        assert answer.headers["X-Openstack-Request-Id"].startswith("req-")
        return answer.status_code, error["type"], error["message"]

    # -- what most tests begin with

    def network(self, **attributes: Any) -> dict[str, Any]:
        return self.create("networks", **{"name": f"net{next(_names)}"} | attributes)

    def subnet(self, network: dict[str, Any], cidr: str = "10.0.0.0/24", **attributes: Any) -> dict[str, Any]:
        version = ipaddress.ip_network(cidr).version
        return self.create("subnets", **{"network_id": network["id"], "cidr": cidr, "ip_version": version} | attributes)

    def port(self, network: dict[str, Any], **attributes: Any) -> dict[str, Any]:
        return self.create("ports", network_id=network["id"], **attributes)

    def everything(self) -> dict[str, Any]:
        """All that there is, to see that a refusal changed nothing."""
        return {path: self.request("GET", f"/{path}").json() for path in ("networks", "subnets", "ports", "quotas", "agents")}
