"""The composition root: the only place where the parts are put together."""

import asyncio
import contextlib
import ctypes
import os
import secrets
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog
import uvloop

from naru.allocate.segments import SegmentRanges, parse_ranges, parse_vlan_ranges
from naru.api.agents import HostDoor, agent_routes
from naru.api.app import App, Authenticate
from naru.api.auth import ByToken, anyone, for_writers
from naru.api.backend import Backend
from naru.api.compute import compute_routes
from naru.api.enrolment import enrolment_routes
from naru.api.http import Dispatch, compute_refusal, identity_refusal, network_refusal
from naru.api.identity import identity_routes
from naru.api.image import image_routes
from naru.api.keystone import ByKeystone
from naru.api.metrics import PickOutcomes, metrics_routes
from naru.api.network import network_routes
from naru.api.public import public_routes
from naru.api.rules import rule_names
from naru.api.serve import listen, pin, serve, tls_context
from naru.clouds import keep_clouds, reachable, require_loopback
from naru.feed.publish import Publisher
from naru.integrations.keystone import http_client, open_keystone
from naru.integrations.nova_events import NovaEvents
from naru.integrations.webhook import Webhook, open_webhook
from naru.model.clocks import Clocks, span_text
from naru.model.errors import NaruError, Unavailable
from naru.model.identity import Overrides
from naru.model.nova_events import NovaEvent
from naru.model.port_options import domain_name
from naru.model.resources import Changes, Network
from naru.model.usage import NetworkIpForecast
from naru.model.view import View
from naru.service.alarms import Limits, alarms_to_tell, notice, record_told, watch_capacity, watched_subjects
from naru.service.forecasts import forecast, hour_of, observe_usage, record_days_left, record_usage, subjects_of
from naru.service.growth import full_soon, grow_ahead, with_horizon
from naru.service.holds import sweep_holds
from naru.service.hosts import mark_silent_hosts
from naru.service.identity import remove_expired
from naru.service.listening import Listening
from naru.service.nova_events import record_nova_events
from naru.service.policy import Cloud
from naru.service.segment_ranges import keep_default_ranges
from naru.settings import Settings, SettingsError
from naru.signals import stop_on_signal
from naru.store.check import check_database
from naru.store.database import open_database, upgrade
from naru.store.store import Store, utc_now
from naru.telemetry import Answered, configure_logging

_log = structlog.get_logger("naru.server")

_SWEEP_INTERVAL_S = 5.0
_CLOCK_WAS_SET = (
    "this server's clock was set, or its machine slept. Tokens, holds and addresses at rest end by the new time, and none lasts longer "
    "for it; no host is missed for it, and no wiring goes by it"
)
_RETRY_S, _LONGEST_RETRY_S = 1.0, 300.0


class Server:
    """The server half of Naru: store, API and feed in one process."""

    def __init__(self, settings: Settings, now: Callable[[], datetime] = utc_now, look_every_s: float = 60.0) -> None:
        """Take the address, open the store and read it. Raises SettingsError or DatabaseError.

        `look_every_s`: how often it looks how many addresses are in use, and who runs out of them.
        """
        return_large_blocks()
        self.settings = settings
        self._tls = tls_context(settings.tls_cert, settings.tls_key)
        self.now = now
        self.look_every_s = look_every_s
        self.peaks: dict[str, int] = {}  # network -> the most addresses that were seen in use in the hour that runs
        self._listening = listen(settings.bind)
        self.state_dir = Path(settings.state_dir)
        try:
            self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"cannot use {self.state_dir}: {error.strerror}; choose another folder with --state-dir") from error
        self.agent_token = keep_secret(self.state_dir / "agent-token")
        self.store = Store(database_url(settings), now)
        self.publisher = Publisher(self.store.view)
        self.store.listen(self.publisher.on_changes)
        self.backend = Backend(
            self.store,
            cloud_of(settings),
            now,
            token_lifetime_s=settings.token_lifetime_s,
            pagination_max_limit=settings.pagination_max_limit,
            overrides=overrides_of(settings),
        )
        self.keystone = open_keystone(settings.keystone) if settings.auth == "keystone" else None
        self.authenticate = self._authenticate()
        self.metrics_token = keep_secret(self.state_dir / "metrics-token")
        self.picks = PickOutcomes()
        self.store.listen(self.picks.on_changes)
        self.webhook = open_webhook(settings.scheduler)
        self.nova_events = self._tell_nova()

    def _tell_nova(self) -> NovaEvents | None:
        account, nova = self.settings.keystone, self.settings.nova
        if self.keystone is None or not nova.events:
            return None

        async def record(told: Sequence[NovaEvent]) -> None:
            await self.store.write(partial(record_nova_events, told=told))

        open_http, region = partial(http_client, account), account.region_name
        events = NovaEvents(self.store.view, self.keystone, open_http, region, nova.endpoint, record=record, now=self.now)
        self.store.listen(events.on_changes)
        return events

    def _authenticate(self) -> Authenticate:
        if self.settings.auth == "none":
            require_loopback(self.settings.bind)
            return anyone
        if self.keystone is not None:
            trust = self.settings.keystone
            return ByKeystone(self.keystone.validate, self.now, trust.cache_s, trust.service_token_roles)
        by_token = ByToken(self.backend)
        self.store.listen(by_token.on_changes)
        return by_token

    def app(self) -> App:
        dispatch = Dispatch()
        network = network_routes(self.backend)
        identity = identity_routes(self.backend) if self.keystone is None else []
        compute = [for_writers(route) for route in compute_routes(self.backend)]
        image = image_routes()
        dispatch.add(network, network_refusal)
        dispatch.add(public_routes(self.backend, [*network, *identity, *compute, *image]), network_refusal)
        answered = Answered()
        dispatch.add(metrics_routes(self.backend, self.metrics_token, answered, self.picks), network_refusal)
        dispatch.add(identity, identity_refusal)
        dispatch.add(compute, compute_refusal)
        dispatch.add(image, identity_refusal)
        door = HostDoor(self.backend, self.publisher, self.agent_token)
        dispatch.add([*agent_routes(door), *enrolment_routes(door)], network_refusal)
        identity_url = "/identity/v3" if self.keystone is None else self.keystone.url
        return App(dispatch, self.authenticate, self.settings.max_body_bytes, identity_url, answered)

    async def run(self, stop: asyncio.Event, on_ready: Callable[[], None]) -> None:
        """Serve until `stop` is set; `on_ready` is called when the first request would be answered."""
        self.store.start()
        await self.store.write(lambda view: keep_default_ranges(view, self.backend.cloud.ranges))
        if self.keystone is None:
            await keep_clouds(self.store, self.state_dir / "clouds.yaml", f"{self.settings.scheme}://{reachable(self.settings.bind)}")
        duties = (
            self._sweep,
            self._record_usage,
            self._watch_capacity,
            self._grow_ahead,
            self._greet_keystone,
            self._run_events,
        )
        chores = [asyncio.ensure_future(keep_on(duty)) for duty in duties]
        try:
            await serve(self.app(), self._listening, self._tls, stop, on_ready, self.publisher.close)
        finally:
            for chore in chores:
                chore.cancel()
            for door in (self.keystone, self.webhook, self.nova_events):
                if door is not None:
                    await door.close()
            self.store.stop()

    async def _run_events(self) -> None:
        if self.nova_events is not None:
            self.nova_events.remember()
            await self.nova_events.run()

    async def _greet_keystone(self) -> None:
        """The log says at the start what would else be found by the first user: no Keystone, no account there, no endpoint."""
        if self.keystone is None:
            return
        region = self.settings.keystone.region_name
        with contextlib.suppress(Unavailable):  # was logged
            if not await self.keystone.endpoints("network", region):
                _log.warning("the catalog has no network endpoint: clients will not find this server", region=region)

    def _read_clocks(self) -> Clocks:
        return Clocks(time.monotonic(), self.now().timestamp())

    async def _sweep(self) -> None:
        """Now and then: miss silent hosts, forget expired tokens, free what was held or at rest long enough, add room that is lacking."""
        clocks, down_s = self._read_clocks(), self.settings.agent_down_time_s
        listening = Listening(clocks)

        def sweep(view: View) -> Changes[None]:
            if listening.lasts_s(self._read_clocks()) > down_s:
                yield from mark_silent_hosts(view, self.backend.cloud, self.now())
            yield from remove_expired(view, self.now())
            yield from sweep_holds(view)
            yield from grow_ahead(view, self.backend.cloud)

        while True:
            await asyncio.sleep(_SWEEP_INTERVAL_S)
            clocks, before = self._read_clocks(), clocks
            if jump_s := clocks.set_by_s(before):
                _log.warning(_CLOCK_WAS_SET, by=f"{'-' if jump_s < 0 else ''}{span_text(jump_s)}")
            try:
                await self.store.write(sweep)
            except NaruError:  # a full disk or a lost lease must not end the sweeping; what hosts report is refused as well
                listening.begin_anew(self._read_clocks())

    async def _grow_ahead(self) -> None:
        """Look now and then what will be full before its horizon, and give it room."""
        while True:
            await asyncio.sleep(self.look_every_s)
            subjects = with_horizon(self.store.view, self.now())
            if subjects and (soon := await asyncio.to_thread(full_soon, subjects)):
                with contextlib.suppress(NaruError):  # it will be seen again
                    await self.store.write(partial(grow_ahead, cloud=self.backend.cloud, soon=soon))

    async def _record_usage(self) -> None:
        """Look now and then how many addresses are in use, and write at the end of an hour how many there were at the most."""
        hour = hour_of(self.now())
        while True:
            await asyncio.sleep(self.look_every_s)
            observe_usage(self.store.view, self.peaks)
            if (now := hour_of(self.now())) > hour:
                with contextlib.suppress(NaruError):  # the next hour is written, this one counts as the one before
                    await self.store.write(partial(record_usage, hour=hour, peaks=self.peaks))
                    if now // 24 > hour // 24:
                        await self._record_days_left()
                hour, self.peaks = now, {}

    async def _record_days_left(self) -> None:
        """Once a day, for the picks that go by them."""
        subjects = subjects_of(self.store.view, self.store.view.all(Network), self.now())
        forecasts = await asyncio.to_thread(list, map(forecast, subjects))
        await self.store.write(partial(record_days_left, forecasts=forecasts))

    async def _watch_capacity(self) -> None:
        """Look now and then which pools crossed a limit, and tell the webhook, once of each; what it does not take is tried again."""
        scheduler, pause_s = self.settings.scheduler, _RETRY_S
        limits = Limits(scheduler.floor, scheduler.horizon_days)
        while True:
            subjects = watched_subjects(self.store.view, scheduler.webhook_of, self.now())
            forecasts = await asyncio.to_thread(list, map(forecast, subjects))
            try:
                await self.store.write(partial(watch_capacity, forecasts=forecasts, limits=limits))
                if self.webhook is not None:
                    await self._tell(self.webhook, forecasts)
            except NaruError:  # was logged
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_RETRY_S)
            else:
                pause_s = _RETRY_S
                await asyncio.sleep(self.look_every_s)

    async def _tell(self, webhook: Webhook, forecasts: Sequence[NetworkIpForecast]) -> None:
        """Raises what kept one of the alarms from being told, after all were tried."""
        failure: NaruError | None = None
        for alarm in alarms_to_tell(self.store.view):
            try:
                await webhook.post(alarm.delivery, notice(alarm, forecasts))
                await self.store.write(partial(record_told, delivery=alarm.delivery))
            except NaruError as error:
                failure = error
        if failure is not None:
            raise failure


async def keep_on(duty: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Until it returns: a fault of ours that ends it is logged, and it begins anew, after a pause that doubles."""
    pause_s = _RETRY_S
    while True:
        try:
            await duty()
        except Exception:  # noqa: BLE001 - a boundary: the other chores and the API go on
            _log.exception("a chore failed", chore=getattr(duty, "__qualname__", repr(duty)), again_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_RETRY_S)
        else:
            return


def run_server(settings: Settings, on_ready: Callable[[], None]) -> None:
    """`naru server`: until SIGTERM or SIGINT."""
    configure_logging()
    server = Server(settings)

    async def run() -> None:
        await server.run(stop_on_signal(), on_ready)

    uvloop.run(run())


def return_large_blocks() -> None:
    """Have glibc give the 16 MiB of a password check back to the system, which it would else keep for each thread (mallopt(3)).

    What smaller answers were made in it keeps: to be given the pages again and again costs a pick of 1,000 networks a tenth of its time.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library: it does as it does
        glibc = ctypes.CDLL(None)
        glibc.mallopt(-3, 1 << 20)  # M_MMAP_THRESHOLD, bytes
        glibc.mallopt(-1, 4 << 20)  # M_TRIM_THRESHOLD, bytes: the most that it keeps at the end of a heap


def database_url(settings: Settings) -> str:
    return settings.database_url or f"sqlite:///{Path(settings.state_dir) / 'naru.db'}"


def upgrade_database(settings: Settings) -> bool:
    """`naru db upgrade`. -> whether anything had to be done. Raises DatabaseError for a database of a newer version."""
    return upgrade(open_database(database_url(settings)))


def find_faults(settings: Settings) -> tuple[int, list[str]]:
    """`naru db check`. -> how many resources there are, and a sentence for each fault."""
    return check_database(database_url(settings))


def run_all(settings: Settings, on_ready: Callable[[], None], *, dataplane: bool) -> None:
    """`naru up`: the server and, with `dataplane`, this machine's agent, in one process, until SIGTERM or SIGINT.

    Raises SettingsError or StartError, before anything was changed.
    """
    if not dataplane:
        run_server(settings, on_ready)
        return
    from naru.agent.main import run_agent  # noqa: PLC0415  (the API alone does without the agent's memory)
    from naru.agent.start import check_host  # noqa: PLC0415

    configure_logging()
    check_host(settings.agent)
    server = Server(settings)

    async def run() -> None:
        stop = stop_on_signal()
        url = f"{settings.scheme}://{reachable(settings.bind)}"
        async with asyncio.TaskGroup() as halves:
            halves.create_task(server.run(stop, on_ready))
            halves.create_task(run_agent(socket.gethostname(), url, server.agent_token, settings, stop, trusted=pin(settings.tls_cert)))

    uvloop.run(run())


def cloud_of(settings: Settings) -> Cloud:
    """Raises SettingsError for ranges and types that cannot be."""
    segments = settings.segments
    try:
        vlan_physical_networks, vlan_ids = parse_vlan_ranges(segments.vlan.ranges)
        ranges = SegmentRanges(
            flat_physical_networks=segments.flat.physical_networks,
            vlan_physical_networks=vlan_physical_networks,
            ids={"vlan": vlan_ids, "vxlan": parse_ranges(segments.vxlan.vni_ranges)},
            tenant_network_types=segments.tenant_network_types,
            global_physnet_mtu=segments.global_physnet_mtu,
        )
    except ValueError as error:
        raise SettingsError(f"segments.vlan.ranges, segments.vxlan.vni_ranges: {error}") from None
    quotas = msgspec.structs.asdict(settings.quota)
    try:
        dns_domain = domain_name(settings.dns_domain.removesuffix(".") + ".")
    except ValueError as error:
        raise SettingsError(f"dns_domain: {error}") from None
    rest = settings.scheduler.quarantine_s
    return Cloud(
        ranges,
        quotas,
        settings.agent_down_time_s,
        settings.dhcp_agents_per_network,
        segments.auto_network_cidr,
        dns_domain,
        max_fixed_ips_per_port=settings.max_fixed_ips_per_port,
        quarantine_s=rest,
    )


def overrides_of(settings: Settings) -> Overrides | None:
    """Raises SettingsError for a policy file that cannot be used."""
    if not settings.policy_file:
        return None
    try:
        from naru.integrations.policy_file import open_overrides  # noqa: PLC0415  (an extra: 19 MiB that others do without)
    except ImportError as error:
        raise SettingsError(f"policy_file needs oslo.policy ({error}): pip install 'naru[policy]'") from error
    return open_overrides(Path(settings.policy_file), rule_names())


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
