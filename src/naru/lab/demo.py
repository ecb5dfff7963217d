"""The main job, end to end: instances that name no network get an address, and reach each other across hosts.

Everything goes through the public HTTP API, as a user and an administrator would. What came of it is read on the hosts:
the DHCP client's lease, `ip` inside the instance, a ping to an instance on another host.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from naru.lab import LabError
from naru.lab.checks import Document, broken_promises, promise
from naru.lab.cloud import Service, Services, connect
from naru.lab.hosts import Host
from naru.lab.inside import reaches, read_lease, read_links, read_routes
from naru.lab.lab import CONTROLLER, Lab, holds_within, start_lab
from naru.lab.outcome import Instance, Outcome, judge

PICKED = ("NET1", "NET2")  # the user's own, in the order in which picks consider them
FLAT = "MyFlatNetwork"
ON_FLAT = 2  # instances that name it
_DNS = ["8.8.8.8", "8.8.4.4"]
_LEASES_WITHIN_S = 30.0
_ACTIVE_WITHIN_S = 10.0
_LEAK_WITHIN_S = 1

Say = Callable[[str, str], None]  # the step, and how far it is


class Boot(msgspec.Struct, frozen=True):
    """A request for an instance, and what the API answered."""

    name: str
    requested_at: float  # unix time
    id: str = ""
    refusal: str = ""


class Placed(msgspec.Struct, frozen=True):
    """An instance that has a port, and where it runs."""

    boot: Boot
    port: Document
    host: Host

    @property
    def address(self) -> str:
        return str(self.port["fixed_ips"][0]["ip_address"])


class Documents(msgspec.Struct, frozen=True):
    """What the API shows: ports by their instance's id, the others by their own."""

    ports: Mapping[str, Document]
    servers: Mapping[str, Document]
    networks: Mapping[str, Document]
    subnets: Mapping[str, Document]


def run_demo(count: int, state_dir: Path, say: Say) -> Outcome:
    """The five steps. Raises LabError where going on makes no sense."""
    say("Bringing up three hosts, a server and three agents", "")
    lab = start_lab(3, state_dir)
    admin, user = connect(lab.clouds_yaml, "naru-admin"), connect(lab.clouds_yaml, "naru-demo")

    say("Creating NET1, NET2 and MyFlatNetwork", "")
    create_networks(admin["network"], user["network"])
    free_before = free_addresses(admin["network"])

    say(f"Booting {count} instances with no network given, and {ON_FLAT} on {FLAT}", "")
    boots = boot_all(user, count)

    step = "Waiting until every instance has its lease and is ACTIVE, and so is its port"
    say(step, "")
    placed = await_leases(lab, admin["network"], boots, lambda leases: say(step, f"{leases} of {len(boots)} have a lease"))
    holds_within(lab, lambda: all_active(admin["network"], user["compute"], boots), _ACTIVE_WITHIN_S)

    say("Looking into every instance, and pinging across hosts and across networks", "")
    api = read_documents(user, admin["network"])
    with ThreadPoolExecutor(max_workers=8) as observers:
        instances = list(observers.map(lambda boot: describe(boot, placed, api), boots))
        leaks = [leak for leak in observers.map(find_leak, placed, placed[1:] + placed[:1]) if leak]
    return judge(instances, count, free_before, free_addresses(admin["network"]), leaks)


def create_networks(admin: Service, user: Service) -> None:
    """NET1 and NET2 as the demo project's user makes them; the provider network as only the administrator can."""
    for number, name in enumerate(PICKED, start=1):
        network = _create(user, "network", name=name)
        _create_subnet(user, network, cidr=f"10.20.{number}.0/28")
    provider = {"provider:network_type": "flat", "provider:physical_network": "physnet2"}
    flat = _create(admin, "network", name=FLAT, shared=True, **provider)
    to_hosts = {"destination": "10.0.0.0/24", "nexthop": "192.168.100.1"}
    _create_subnet(admin, flat, cidr="192.168.100.0/24", host_routes=[to_hosts])


def _create_subnet(service: Service, network: Document, **attributes: Any) -> None:
    _create(service, "subnet", name=network["name"], network_id=network["id"], ip_version=4, dns_nameservers=_DNS, **attributes)


def _create(service: Service, kind: str, **attributes: Any) -> Document:
    created: Document = service.post(f"/v2.0/{kind}s", json={kind: attributes}).json()[kind]
    return created


def free_addresses(network: Service) -> dict[str, int]:
    """By network name, in the order in which picks consider them."""
    sums = network.get("/v2.0/network-ip-availabilities").json()["network_ip_availabilities"]
    free = {row["network_name"]: row["total_ips"] - row["used_ips"] for row in sums}
    return {name: free[name] for name in (*PICKED, FLAT)}


def boot_all(user: Services, count: int) -> list[Boot]:
    """Ask for all instances at once, as that many users would who do not know of each other."""
    flavor = user["compute"].get("/flavors").json()["flavors"][0]["id"]
    image = user["image"].get("/v2/images").json()["images"][0]["id"]
    (flat,) = user["network"].get("/v2.0/networks", params={"name": FLAT}).json()["networks"]
    servers: list[dict[str, Any]] = [{"name": f"web{number:02}"} for number in range(1, count + 1)]
    servers += [{"name": f"flat{number:02}", "networks": [{"uuid": flat["id"]}]} for number in range(1, ON_FLAT + 1)]

    def boot(server: dict[str, Any]) -> Boot:
        requested_at = time.time()
        try:
            answer = user["compute"].post("/servers", json={"server": server | {"flavorRef": flavor, "imageRef": image}})
        except LabError as error:
            return Boot(server["name"], requested_at, refusal=str(error))
        return Boot(server["name"], requested_at, answer.json()["server"]["id"])

    with ThreadPoolExecutor(max_workers=len(servers)) as clients:
        return list(clients.map(boot, servers))


def await_leases(lab: Lab, network: Service, boots: Sequence[Boot], progress: Callable[[int], None]) -> list[Placed]:
    """The instances that have a port, once each has a lease or the time is over: the table shows what is missing."""
    ports = _ports(network)
    found = [(boot, ports[boot.id]) for boot in boots if boot.id in ports]
    placed = [Placed(boot, port, lab.hosts[port["binding:host_id"]]) for boot, port in found]

    def all_leased() -> bool:
        leases = sum(read_lease(one.host, one.boot.id) is not None for one in placed)
        progress(leases)
        return leases == len(placed)

    holds_within(lab, all_leased, _LEASES_WITHIN_S)
    return placed


def all_active(network: Service, compute: Service, boots: Sequence[Boot]) -> bool:
    ports, servers = _ports(network), _servers(compute)
    return all(ports[boot.id]["status"] == servers[boot.id]["status"] == "ACTIVE" for boot in boots if boot.id in ports)


def read_documents(user: Services, admin_network: Service) -> Documents:
    return Documents(
        ports=_ports(admin_network),
        servers=_servers(user["compute"]),
        networks=_by_id(user["network"].get("/v2.0/networks").json()["networks"]),
        subnets=_by_id(user["network"].get("/v2.0/subnets").json()["subnets"]),
    )


def describe(boot: Boot, placed: Sequence[Placed], api: Documents) -> Instance:
    """The row of one boot: what the API has promised it, compared with what its host shows."""
    one = next((one for one in placed if one.boot is boot), None)
    if one is None:
        return Instance(boot.name, failures=(boot.refusal or "it has no port",))
    network = api.networks[one.port["network_id"]]
    lease = read_lease(one.host, boot.id)
    reached = ""
    statuses = {"it": api.servers[boot.id]["status"], "its port": api.ports[boot.id]["status"]}
    failures = [f"{what} is {status}" for what, status in statuses.items() if status != "ACTIVE"]
    if lease is None:
        failures.append(f"no lease within {_LEASES_WITHIN_S:.0f} s")
    else:
        promised = promise(one.port, api.subnets[one.port["fixed_ips"][0]["subnet_id"]], network)
        failures += broken_promises(promised, lease, read_links(one.host, boot.id), read_routes(one.host, boot.id))
        reached, unreached = ping_peer(one, placed, lease["server"])
        failures += unreached
    return Instance(
        name=boot.name,
        host=one.host.name,
        network=network["name"],
        address=one.address,
        request_to_lease_s=lease["leased_at"] - boot.requested_at if lease else None,
        why=api.servers[boot.id]["metadata"].get("naru:network_pick", ""),
        reached=reached,
        failures=tuple(failures),
    )


def ping_peer(one: Placed, placed: Sequence[Placed], dhcp_server: str) -> tuple[str, list[str]]:
    """Who on another host answers, and what failed: the next instance on the same network, or where there is none its DHCP server."""
    after = placed.index(one) + 1
    neighbours = [other for other in (*placed[after:], *placed[: after - 1]) if other.port["network_id"] == one.port["network_id"]]
    peer = next((other for other in neighbours if other.host is not one.host), None)
    if neighbours and peer is None:
        return "", [f"every instance of its network runs on {one.host.name}"]
    name, address = (peer.boot.name, peer.address) if peer else ("its DHCP server", dhcp_server)
    if not reaches(one.host, one.boot.id, address):
        return "", [f"no answer from {name} ({address}) on {peer.host.name if peer else CONTROLLER}"]
    return name, []


def find_leak(one: Placed, other: Placed) -> str:
    """A sentence if the two are on different networks and yet one reaches the other."""
    if one.port["network_id"] == other.port["network_id"] or not reaches(one.host, one.boot.id, other.address, _LEAK_WITHIN_S):
        return ""
    return f"{one.boot.name} reaches {other.boot.name} ({other.address}) on another network"


def _ports(network: Service) -> dict[str, Document]:
    return {port["device_id"]: port for port in network.get("/v2.0/ports").json()["ports"]}


def _servers(compute: Service) -> dict[str, Document]:
    return _by_id(compute.get("/servers/detail").json()["servers"])


def _by_id(documents: Sequence[Document]) -> dict[str, Document]:
    return {document["id"]: document for document in documents}
