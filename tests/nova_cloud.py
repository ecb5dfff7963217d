"""A cloud of real services around Naru, Keystone and Nova, and what a member of a project does in it."""

from typing import Any

import httpx

from naru.testing import eventually
from real_keystone import RealKeystone
from real_nova import RealNova
from serving import Serving
from side_door import SideDoor

AMBIGUOUS = "Multiple possible networks found, use a Network ID to be more specific."  # as Nova says it
BREAKER_S = 2.0
TIMEOUT_S = 5.0  # a token that is new to Naru costs a question to Keystone
BUILD_S = 60.0  # so long a boot may take on a busy machine


class Cloud:
    """`door` stands between the filter and Naru; `operator` is an administrator in a project of his own."""

    def __init__(self, keystone: RealKeystone, server: Serving, nova: RealNova, door: SideDoor) -> None:
        self.keystone = keystone
        self.server = server
        self.nova = nova
        self.door = door
        token = {"X-Auth-Token": keystone.token("admin", keystone.password, on="admin")}
        self.admin = httpx.Client(base_url=f"{server.url}/v2.0", headers=token, trust_env=False, timeout=30)
        own = keystone.http.get("/auth/projects").raise_for_status().json()["projects"][0]["id"]
        self.operator = Project(self, own, token["X-Auth-Token"])
        tiny = {"flavor": {"name": "tiny", "ram": 64, "vcpus": 1, "disk": 1}}
        with httpx.Client(headers=token, trust_env=False, timeout=30) as http:
            self.image_id = http.get(f"{server.url}/image/v2/images").raise_for_status().json()["images"][0]["id"]
            self.flavor_id = http.post(f"{nova.url('stock')}/flavors", json=tiny).raise_for_status().json()["flavor"]["id"]

    def project(self, name: str) -> "Project":
        id = self.keystone.create("project", name=name)
        self.keystone.user(f"{name}-member", id, "member")
        return Project(self, id, self.keystone.token(f"{name}-member", f"{name}-member", on=name))

    def operate(self, singular: str, **given: Any) -> str:
        """-> the id of what an administrator makes."""
        made = self.admin.post(f"/{singular}s", json={singular: given})
        assert made.status_code == 201, made.text
        return str(made.json()[singular]["id"])

    def close(self) -> None:
        self.operator.http.close()
        self.admin.close()


class Project:
    """What a member of a project does."""

    def __init__(self, cloud: Cloud, id: str, token: str) -> None:
        self.cloud = cloud
        self.id = id
        self.token = token
        self.http = httpx.Client(headers={"X-Auth-Token": token}, trust_env=False, timeout=BUILD_S)
        self._subnets = 0

    def network(self, name: str, addresses: int = 20, **given: Any) -> str:
        """-> the id of a network with so many free addresses, one of which its DHCP server takes at once."""
        self._subnets += 1
        prefix = f"10.{self._subnets}.0"
        network = self._create("network", name=name, **given)
        pool = {"start": f"{prefix}.10", "end": f"{prefix}.{9 + addresses + 1}"}
        self._create("subnet", network_id=network, ip_version=4, cidr=f"{prefix}.0/24", allocation_pools=[pool])
        return network

    def port(self, network_id: str) -> str:
        return self._create("port", network_id=network_id)

    def ports(self, **filters: str) -> list[dict[str, Any]]:
        listed = self._get(f"{self.cloud.server.url}/v2.0/ports", project_id=self.id, **filters)["ports"]
        return [port for port in listed if not port["device_owner"].startswith("network:")]

    def post_server(
        self, api: str, path: str = "", version: str = "2.37", headers: dict[str, str] | None = None, **body: Any
    ) -> httpx.Response:
        """POST /servers as it goes to the API `stock` or `filtered`."""
        server = {"name": "web", "imageRef": self.cloud.image_id, "flavorRef": self.cloud.flavor_id} | body
        asked = {"OpenStack-API-Version": f"compute {version}"} if headers is None else headers
        url = f"{self.cloud.nova.url(api)}{path}/servers"
        return self.http.post(url, json={"server": server}, headers=asked)

    def boot(self, api: str, **body: Any) -> list[dict[str, Any]]:
        """The servers of an accepted request, when none of them is building any more."""
        accepted = self.post_server(api, **body)
        assert accepted.status_code == 202, accepted.text
        return self.built()

    def servers(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self._get(f"{self.cloud.nova.url('stock')}/servers/detail")["servers"]
        return listed

    def built(self) -> list[dict[str, Any]]:
        def ready() -> list[dict[str, Any]]:
            servers = self.servers()
            return servers if all(server["status"] != "BUILD" for server in servers) else []

        return eventually(ready, within_s=BUILD_S, every_s=0.1)

    def picks(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self._get(f"{self.cloud.server.url}/v2.0/network-picks", project_id=self.id)["network_picks"]
        return listed

    def pick(self, id: str) -> dict[str, Any]:
        return next(pick for pick in self.picks() if pick["id"] == id)

    def delete(self, id: str) -> None:
        url = f"{self.cloud.nova.url('stock')}/servers/{id}"
        self.http.delete(url).raise_for_status()
        assert eventually(lambda: self.http.get(url).status_code == 404, within_s=BUILD_S, every_s=0.1)

    def reboot(self, id: str) -> None:
        """Hard: Nova builds the server's network anew."""
        url = f"{self.cloud.nova.url('stock')}/servers/{id}"
        self.http.post(f"{url}/action", json={"reboot": {"type": "HARD"}}).raise_for_status()
        assert eventually(lambda: self._get(url)["server"]["status"] == "ACTIVE", within_s=BUILD_S, every_s=0.1)

    def interfaces(self, id: str, method: str = "GET", port_id: str = "", **asked: Any) -> httpx.Response:
        url = "/".join(filter(None, (f"{self.cloud.nova.url('stock')}/servers/{id}/os-interface", port_id)))
        body = {"json": {"interfaceAttachment": asked}} if method == "POST" else {}
        return self.http.request(method, url, **body)

    def _get(self, url: str, **filters: str) -> Any:
        return self.http.get(url, params=filters).raise_for_status().json()

    def _create(self, singular: str, **given: Any) -> str:
        made = self.http.post(f"{self.cloud.server.url}/v2.0/{singular}s", json={singular: given})
        assert made.status_code == 201, made.text
        return str(made.json()[singular]["id"])
