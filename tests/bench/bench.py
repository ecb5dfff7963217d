"""The speed that Naru promises, measured here: a real server, a real disk, the load of light clients on the same machine.

Each round starts a server on a new database and loads it with few ports; then it loads one that holds many. So the two rates
that are compared were measured within seconds of each other, and a noisy neighbour disturbs both. Figures are medians.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import neutron
import pick_requests
import picks
from load import Connection, Load, drive, request
from report import Figure, show

sys.path.append(str(Path(__file__).parents[1]))  # as pytest does
from databases import NEEDS, DatabaseServer, find_servers
from serving import Serving

FEW, LISTED, MANY = 100, 10_000, 20_000  # ports
WARMING = 3_000  # ports, until SQLite's log has its size: while the file still grows, a commit costs more
CLIENTS = (1, 8)
READS = 9
BULK = 100  # ports in one request
TURNED_OVER = 400  # resources of a kind, made and deleted
QUOTAS = ("port", "network", "subnet", "router", "security_group", "security_group_rule")


class Bench:
    """Measures; `figures` collects what each round found, by name."""

    def __init__(self, command: str, rounds: int, creates: int) -> None:
        self.command = command
        self.rounds = rounds
        self.creates = creates
        self.figures: dict[str, list[float]] = {}

    def run(self) -> None:
        with self._started() as few, self._started() as full:
            clouds = {"few": LoadedCloud(few), "full": LoadedCloud(full)}
            clouds["few"].fill(FEW + WARMING)
            clouds["full"].fill(LISTED)
            self._read(clouds["full"])
            for _ in range(READS):
                self._note("bulk ms", clouds["few"].create_many() * 1000)
            for plural, rate in clouds["few"].turn_over(max(CLIENTS)):
                self._note(f"{plural} per s", rate)
            clouds["full"].fill(MANY)
            self._note("mib at 20,000 ports", resident_mib(full.process.pid)[0])
            for number in range(1, self.rounds + 1):
                print(f"round {number} of {self.rounds}", flush=True)
                self._compare(clouds if number % 2 else dict(reversed(clouds.items())))
        for _ in range(self.rounds):
            self._start_twice()
        for name, found in picks.measure():
            self._note(name, found)
        for name, cost in pick_requests.measure(self.command):
            self._note(f"pick over HTTP, {name} ms", cost.processor_ms)
        for engine, needs in NEEDS.items():
            if engine != "sqlite" and all(map(shutil.which, needs)):
                self._compare_database(engine)

    def _compare(self, clouds: dict[str, "LoadedCloud"]) -> None:
        """One client, then eight, each on both; the subnet of the cloud with few ports is a new one."""
        clouds["few"].begin_network()
        clouds["few"].fill(FEW)
        for clients in CLIENTS:
            rates = {}
            for name, cloud in clouds.items():
                load = cloud.create(self.creates * min(clients, 2), clients)
                rates[name] = load.per_s
                self._note(f"{name} {clients} per s", load.per_s)
                self._note(f"{name} {clients} p99 ms", percentile(load, 99) * 1000)
            self._note(f"ratio {clients}", rates["full"] / rates["few"])

    def _compare_database(self, engine: str) -> None:
        """The same few ports, kept elsewhere: its server and ours share the machine, and its files are on a disk too."""
        with DatabaseServer(engine, Path("/var/tmp")) as database, self._started(NARU_DATABASE_URL=database.new_database()) as serving:
            cloud = LoadedCloud(serving)
            cloud.fill(FEW + WARMING)
            for number in range(1, self.rounds + 1):
                print(f"{engine}, round {number} of {self.rounds}", flush=True)
                cloud.begin_network()
                cloud.fill(FEW)
                for clients in CLIENTS:
                    self._note(f"{engine} {clients} per s", cloud.create(self.creates * min(clients, 2), clients).per_s)

    def _read(self, cloud: "LoadedCloud") -> None:
        port = cloud.ask("GET", "/ports?limit=1")["ports"][0]
        connection = Connection(cloud.serving.address)
        for name, path in (
            ("list", "/ports"),
            ("list ids", "/ports?fields=id"),
            ("device_id", f"/ports?device_id={port['device_id']}"),
            ("name", f"/ports?name={port['name']}"),
            ("address", f"/ports?fixed_ips=ip_address%3D{port['fixed_ips'][0]['ip_address']}"),
            ("show", f"/ports/{port['id']}"),
        ):
            for _ in range(READS * (1 if name.startswith("list") else 20)):
                answer = connection.ask(request("GET", f"/v2.0{path}", cloud.token))
                assert answer.status == 200, answer.body
                self._note(f"{name} ms", answer.took_s * 1000)
            self._note(f"{name} bytes", len(answer.body))
        connection.close()

    def _start_twice(self) -> None:
        with self._started() as serving:
            self._note_start("first", serving)
            serving.stop()
            with Serving(serving.state_dir, self.command) as again:
                self._note_start("second", again)

    @contextmanager
    def _started(self, **environ: str) -> Iterator[Serving]:
        """A server on a new database, on the disk that holds the working directory: /tmp may be memory."""
        state_dir = Path(tempfile.mkdtemp(prefix=".bench-", dir=Path.cwd()))
        try:
            with Serving(state_dir, self.command, **environ) as serving:
                yield serving
        finally:
            shutil.rmtree(state_dir)

    def _note_start(self, name: str, serving: Serving) -> None:
        rss, pss = resident_mib(serving.process.pid)
        self._note(f"{name} start s", serving.started_after_s)
        self._note(f"{name} rss mib", rss)
        self._note(f"{name} pss mib", pss)

    def _note(self, name: str, value: float) -> None:
        self.figures.setdefault(name, []).append(value)


class LoadedCloud:
    """A server, and a network on it with one /16 that is filled with ports."""

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self.token = serving.token()
        self._http = serving.client()
        project = self.ask("GET", "/quotas/tenant")["tenant"]["tenant_id"]
        self.ask("PUT", f"/quotas/{project}", {"quota": dict.fromkeys(QUOTAS, -1)})
        self.begin_network()

    def begin_network(self) -> None:
        self._made = 0
        self._network = self.ask("POST", "/networks", {"network": {"name": "bench"}})["network"]["id"]
        self.ask("POST", "/subnets", {"subnet": {"network_id": self._network, "cidr": "10.64.0.0/16", "ip_version": 4}})

    def ask(self, method: str, path: str, body: object = None) -> dict:
        answer = self._http.request(method, path, json=body)
        answer.raise_for_status()
        return answer.json()

    def fill(self, total: int) -> None:
        """Make ports, many in a request, until there are so many."""
        while self._made < total:
            self.ask("POST", "/ports", {"ports": [self._port() for _ in range(min(500, total - self._made))]})

    def create(self, number: int, clients: int) -> Load:
        """Make ports one by one. Every answer must be 201."""
        bodies = [json.dumps({"port": self._port()}).encode() for _ in range(number)]
        load = drive(self.serving.address, [request("POST", "/v2.0/ports", self.token, body) for body in bodies], clients)
        if set(load.statuses) != {201}:
            raise SystemExit(f"not every port was created: {dict(load.statuses)}")
        return load

    def create_many(self) -> float:
        """Ports in one request -> how long it took, in seconds."""
        body = json.dumps({"ports": [self._port() for _ in range(BULK)]}).encode()
        load = drive(self.serving.address, [request("POST", "/v2.0/ports", self.token, body)], 1)
        if set(load.statuses) != {201}:
            raise SystemExit(f"the ports were not created: {dict(load.statuses)}")
        return load.took_s

    def turn_over(self, clients: int) -> Iterator[tuple[str, float]]:
        """Make many of a kind, delete them again -> how many in a second."""
        numbers = range(TURNED_OVER)
        subnet = {"network_id": self._network, "ip_version": 4}
        for plural, bodies in {
            "networks": [{"network": {"name": f"n-{number}"}} for number in numbers],
            "subnets": [{"subnet": subnet | {"cidr": f"10.{100 + number // 256}.{number % 256}.0/24"}} for number in numbers],
            "routers": [{"router": {"name": f"r-{number}"}} for number in numbers],
            "security-groups": [{"security_group": {"name": f"g-{number}"}} for number in numbers],
        }.items():
            before = self._ids(plural)
            making = [request("POST", f"/v2.0/{plural}", self.token, json.dumps(body).encode()) for body in bodies]
            made = drive(self.serving.address, making, clients)
            ids = self._ids(plural) - before
            gone = drive(self.serving.address, [request("DELETE", f"/v2.0/{plural}/{id}", self.token) for id in ids], clients)
            if (made.statuses, gone.statuses) != ({201: TURNED_OVER}, {204: TURNED_OVER}):
                raise SystemExit(f"not all {plural} were created and deleted: {dict(made.statuses)}, {dict(gone.statuses)}")
            yield plural, TURNED_OVER / (made.took_s + gone.took_s)

    def _ids(self, plural: str) -> set[str]:
        return {row["id"] for row in self.ask("GET", f"/{plural}?fields=id")[plural.replace("-", "_")]}

    def _port(self) -> dict[str, object]:
        self._made += 1
        return {"network_id": self._network, "name": f"p-{self._made}", "admin_state_up": True, "device_id": f"vm-{self._made}"}


def percentile(load: Load, percent: int) -> float:
    return sorted(load.latencies_s)[len(load.latencies_s) * percent // 100]


def resident_mib(pid: int) -> tuple[float, float]:
    """-> memory of a process with (RSS) and without (PSS) the share of others in common pages."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("Rss:", "Pss:"))}
    return kib["Rss"] / 1024, kib["Pss"] / 1024


def report(found: Callable[[str], float]) -> list[Figure]:
    creates, ratio = neutron.CREATES_PER_S, neutron.FULL_TO_EMPTY
    return [
        Figure("create a port, 1 client", found("few 1 per s"), "/s", at_least=800, elsewhere=creates[1]),
        Figure("create a port, 8 clients", found("few 8 per s"), "/s", at_least=1500, elsewhere=creates[8]),
        Figure("slowest of 100 creates, 8 clients", found("few 8 p99 ms"), "ms"),
        Figure("create at 20,000 ports, 1 client", found("full 1 per s"), "/s"),
        Figure("create at 20,000 ports, 8 clients", found("full 8 per s"), "/s"),
        Figure("rate at 20,000 ports by rate at 100, 1 client", found("ratio 1") * 100, "%", at_least=90, elsewhere=ratio[1] * 100),
        Figure("rate at 20,000 ports by rate at 100, 8 clients", found("ratio 8") * 100, "%", at_least=90, elsewhere=ratio[8] * 100),
        Figure("start to first answer, new database", found("first start s"), "s", at_most=1, elsewhere=neutron.START_S),
        Figure("start to first answer, second start", found("second start s"), "s", at_most=1, elsewhere=neutron.START_S),
        Figure("memory (PSS) after start, new database", found("first pss mib"), "MiB", at_most=80, elsewhere=neutron.IDLE_MIB),
        Figure("memory (PSS) after start, second start", found("second pss mib"), "MiB", at_most=80, elsewhere=neutron.IDLE_MIB),
        Figure("memory (RSS) after start, new database", found("first rss mib"), "MiB", at_most=80),
        Figure("memory (RSS) at 20,000 ports", found("mib at 20,000 ports"), "MiB"),
        Figure("list 10,000 ports", found("list ms"), "ms", at_most=45, elsewhere=neutron.LIST_MS),
        Figure("list 10,000 ports, fields=id", found("list ids ms"), "ms", at_most=20, elsewhere=neutron.LIST_IDS_MS),
        *(
            Figure(f"list by {name} among 10,000", found(f"{name} ms"), "ms", at_most=3, elsewhere=took_ms)
            for name, took_ms in neutron.FILTER_MS.items()
        ),
        Figure("show a port among 10,000", found("show ms"), "ms", at_most=2, elsewhere=neutron.SHOW_MS),
        Figure("create 100 ports in one request", found("bulk ms"), "ms", at_most=60, elsewhere=neutron.BULK_MS),
        *(
            Figure(f"create and delete {plural}, 8 clients", found(f"{plural} per s"), "/s", at_least=300)
            for plural in ("networks", "subnets", "routers", "security-groups")
        ),
        Figure("pick 1 address of 1,000 networks, processor time", found("pick 1 ms"), "ms", at_most=2),
        Figure("the same with 20,000 ports on them", found("pick 1, ports ms"), "ms", at_most=2),
        Figure("pick 500 addresses of 1,000 networks, processor time", found("pick 500 ms"), "ms"),
        Figure("the whole request for 1 address, processor time", found("pick over HTTP, spread ms"), "ms", at_most=2),
        *(
            Figure(f"the same, {name}", found(f"pick over HTTP, {name} ms"), "ms")
            for name in ("no pool", "spread, dry_run", "spread, anti_affinity", "spread, project_share", "round_robin")
        ),
    ]


def report_databases(found: dict[str, list[float]]) -> list[Figure]:
    """Of those that are installed here."""
    names = {"postgresql": "PostgreSQL", "mariadb": "MariaDB"}
    return [
        Figure(f"create a port, {names[engine]}, {clients} client{'s' * (clients > 1)}", statistics.median(found[key]), "/s")
        for engine in names
        for clients in CLIENTS
        if (key := f"{engine} {clients} per s") in found
    ]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--command", default="up --no-dataplane", help="what is measured, as in `naru COMMAND`  [up --no-dataplane]")
    options.add_argument("--rounds", type=int, default=7, help="[7]")
    options.add_argument("--creates", type=int, default=500, help="ports that one client makes in a round; eight make twice as many  [500]")
    options.add_argument("--json", type=Path, metavar="FILE", help="write the figures of every round there as well")
    asked = options.parse_args()
    bench = Bench(asked.command, asked.rounds, asked.creates)
    find_servers()
    bench.run()
    figures = [*report(lambda name: statistics.median(bench.figures[name])), *report_databases(bench.figures)]
    show(f"naru {asked.command}, median of {asked.rounds} rounds", figures)
    if asked.json:
        asked.json.write_text(json.dumps(bench.figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
