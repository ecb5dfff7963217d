"""The composition root: the only place where the parts are put together."""

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import structlog
import uvicorn
import uvloop

from naru.allocate.segments import SegmentRanges, parse_ranges
from naru.api.agents import HostDoor, agent_routes
from naru.api.app import App
from naru.api.auth import anyone, by_token
from naru.api.backend import Backend
from naru.api.http import Dispatch, network_refusal
from naru.api.network import network_routes
from naru.feed.publish import Publisher
from naru.service.hosts import mark_silent_hosts
from naru.service.policy import Cloud
from naru.settings import Settings, SettingsError
from naru.store.store import Store, utc_now
from naru.telemetry import configure_logging

_SWEEP_INTERVAL_S = 5.0

_log = structlog.get_logger("naru.server")


class Server:
    """The server half of Naru: store, API and feed in one process."""

    def __init__(self, settings: Settings) -> None:
        """Open the store and read it. Raises SettingsError for settings that cannot be."""
        self.settings = settings
        self.state_dir = Path(settings.state_dir)
        self.state_dir.mkdir(parents=True, exist_ok=True)
        self.agent_token = keep_secret(self.state_dir / "agent-token")
        self.store = Store(settings.database_url or f"sqlite:///{self.state_dir / 'naru.db'}")
        self.publisher = Publisher(self.store.view)
        self.store.listen(self.publisher.on_changes)
        self.backend = Backend(
            self.store,
            cloud_of(settings),
            utc_now,
            token_lifetime_s=settings.token_lifetime_s,
            pagination_max_limit=settings.pagination_max_limit,
        )

    def app(self) -> App:
        dispatch = Dispatch()
        dispatch.add(network_routes(self.backend), network_refusal)
        dispatch.add(agent_routes(HostDoor(self.backend, self.publisher, self.agent_token)), network_refusal)
        return App(dispatch, anyone if self.settings.auth == "none" else by_token(self.backend), self.settings.max_body_bytes)

    async def run(self, ready: asyncio.Event | None = None) -> None:
        """Serve until SIGTERM or SIGINT; `ready` is set when the first request would be answered."""
        listening = listen(self.settings.bind)
        self.store.start()
        config = uvicorn.Config(self.app(), log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=2)
        http = _Http(config, ready, self.publisher)
        async with _in_background(self._sweep()):
            await http.serve(sockets=[listening])
        self.store.stop()

    async def _sweep(self) -> None:
        """Now and then: miss the hosts that fell silent."""
        while True:
            await asyncio.sleep(_SWEEP_INTERVAL_S)
            await self.store.write(lambda view: mark_silent_hosts(view, self.backend.cloud, utc_now()))


def run_server(settings: Settings, announce: Callable[[], None]) -> None:
    """`naru server`: until SIGTERM or SIGINT. `announce` is called when the first request would be answered."""
    configure_logging()
    server = Server(settings)

    async def run() -> None:
        ready = asyncio.Event()
        async with _in_background(_announce(ready, announce)):
            await server.run(ready)

    uvloop.run(run())


async def _announce(ready: asyncio.Event, announce: Callable[[], None]) -> None:
    await ready.wait()
    announce()


class _Http(uvicorn.Server):
    """uvicorn, which tells when it listens, and ends the endless feeds before it waits for requests to end."""

    def __init__(self, config: uvicorn.Config, ready: asyncio.Event | None, publisher: Publisher) -> None:
        super().__init__(config)
        self._ready = ready
        self._publisher = publisher

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._ready is not None:
            self._ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._publisher.close()
        await super().shutdown(sockets)


@contextlib.asynccontextmanager
async def _in_background(work: object) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)  # type: ignore[call-overload]
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def cloud_of(settings: Settings) -> Cloud:
    """Raises SettingsError for ranges and types that cannot be."""
    segments = settings.segments
    try:
        ranges = SegmentRanges(
            flat_physical_networks=segments.flat.physical_networks,
            vni_ranges=parse_ranges(segments.vxlan.vni_ranges),
            tenant_network_types=segments.tenant_network_types,
            global_physnet_mtu=segments.global_physnet_mtu,
        )
    except ValueError as error:
        raise SettingsError(f"segments.vxlan.vni_ranges: {error}") from None
    quota = settings.quota
    return Cloud(ranges, {"network": quota.network, "subnet": quota.subnet, "port": quota.port}, settings.agent_down_time_s)


def listen(bind: str) -> socket.socket:
    """A listening socket at `host:port` (`[v6]:port`). Raises SettingsError when the address cannot be had."""
    host, _, port = bind.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    try:
        listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, int(port)))
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot listen at {bind}: {error}; choose another address with --bind HOST:PORT") from error
    listening.listen(1024)
    return listening


def keep_secret(path: Path) -> str:
    """The secret kept in `path` (0600), made at first."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        secret = secrets.token_urlsafe(32)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secret + "\n")
        return secret
