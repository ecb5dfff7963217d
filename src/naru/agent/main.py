"""The agent of a host: follow the server's desired state, keep the kernel like it, report what was achieved.

    a reason to look -> one pass in a thread -> ledger -> report

It leaves everything in place when it ends and recognises it when it starts again. A burst is one pass: whatever arrived
while a pass ran is taken together by the next.
"""

import asyncio
import contextlib
import ssl
import time
from collections import Counter
from pathlib import Path

import httpx
import structlog

from naru.agent.clock import CLOCK, HostClock
from naru.agent.enrol import own_secret
from naru.agent.instances import SCRIPT, WAKE, Instances, keep_script
from naru.agent.machines import Machines
from naru.agent.presence import ALIVE_REPORTS, Presence
from naru.agent.reconcile import Pass, Reconciler, without_routers
from naru.agent.report import Ledger
from naru.agent.start import StartError, describe_host, filters_packets, find_leftovers, find_local_address, make_switch, only_agent
from naru.agent.wake import Wake, Why
from naru.drivers.advertise import Advertisers
from naru.drivers.base import Driver, ToolError
from naru.drivers.dnsmasq import Dnsmasq
from naru.drivers.fence import can_fence
from naru.drivers.metadata import Metadata
from naru.drivers.nft import Nft
from naru.drivers.qos import Qos
from naru.drivers.router import Routers
from naru.feed.subscribe import Feed
from naru.model.hostreport import HostDescription
from naru.model.hoststate import ONCE
from naru.settings import Agent as AgentSettings
from naru.settings import Settings

SETTLE_S = 1.0  # what others changed during a pass of ours cannot be told from our own changes: look once more
TRY_AGAIN_S = 1.0
PATIENCE_S = 1.0  # at the start, for the server's answer
MEMORY = "agent/memory"  # reported like a key of the state
LAST_REPORT_S = 2.0  # at the end

log = structlog.get_logger()


async def run_agent(
    host: str, server: str, token: str, settings: Settings, stop: asyncio.Event, *, trusted: ssl.SSLContext | None = None
) -> None:
    """Run until `stop` is set. `trusted` goes before the settings' cafile.

    Raises StartError, before anything is changed, if another agent runs here, or the host's credential or cafile cannot be used.
    """
    run_dir, memory, agent = Path(settings.agent.run_dir), Path(settings.state_dir) / "agent", settings.agent
    tunnel_address = agent.local_ip or await _find_local_address(server, stop)
    if stop.is_set():
        return
    with contextlib.suppress(OSError):  # whoever writes there says what is wrong
        for folder in (memory.parent, memory):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with only_agent(run_dir):
        description = describe_host(agent, tunnel_address)
        feed = open_feed(host, server, token, description, memory, trusted or trust(agent.cafile))
        datapath_type = agent.ovs_datapath_type if agent.mechanism == "openvswitch" else ""
        machines = Machines(run_dir, Path(agent.guest_dir), agent.qemu_accelerator, datapath_type)
        instances = Instances(run_dir, _keep_script(memory), machines)
        has_nft = agent.mechanism == "linuxbridge" and filters_packets(agent)
        firewall: list[Driver] = [Nft(agent.physical_interface_mappings)] if has_nft else []
        switch = make_switch(agent, run_dir, tunnel_address)
        shaping: list[Driver] = [Qos(agent.mechanism, description.qos_rule_types)] if description.qos_rule_types else []
        metadata = Metadata(run_dir, agent.nova_metadata_url, agent.metadata_proxy_shared_secret)
        # Filters first: a tap comes into its filter.
        drivers: list[Driver] = [
            *find_leftovers(agent),
            *firewall,
            switch,
            *shaping,
            Routers(run_dir, _alive_s(agent)),
            Advertisers(run_dir),
            Dnsmasq(run_dir),
            metadata,
            instances,
        ]
        wake = Wake(run_dir / WAKE)
        try:
            log.info("agent started", host=host, server=server, tunnel_address=tunnel_address)
            await HostAgent(feed, drivers, instances, wake, agent).run(stop)
            log.info("agent stopped; what is wired stays wired", host=host)
        finally:
            wake.close()
            await feed.close()


def trust(cafile: str) -> ssl.SSLContext | None:
    """None: what the system trusts. Raises StartError."""
    try:
        return ssl.create_default_context(cafile=cafile) if cafile else None
    except OSError as error:
        raise StartError(f"cannot use [agent] cafile {cafile}: {error}") from error


def open_feed(host: str, server: str, token: str, description: HostDescription, memory: Path, trusted: ssl.SSLContext | None) -> Feed:
    """With a one-time token the host shows a credential of its own. Raises StartError."""
    ticket = token if token.startswith(ONCE) else ""
    shown = own_secret(memory / f"{host}.credential") if ticket else token
    return Feed(server, shown, host, description, saved=memory / f"{host}.json", ticket=ticket, trusted=trusted)


def _alive_s(settings: AgentSettings) -> float | None:
    """Of fences; None where there can be none."""
    if not settings.l3:
        return None
    if can_fence():
        return ALIVE_REPORTS * settings.report_interval_s
    log.warning("this kernel has no nftables egress hooks (Linux 5.16): a router that moves while no agent runs here goes on here, too")
    return None


def _keep_script(memory: Path) -> Path:
    try:
        return keep_script(memory)
    except OSError as error:
        log.warning("DHCP clients will start anew when the agent's program moves", reason=str(error))
        return SCRIPT


async def _find_local_address(server: str, stop: asyncio.Event) -> str | None:
    """Wait for a way to the server. To go on without an address would be to take all VXLAN off this host."""
    told = False
    while (address := await asyncio.to_thread(find_local_address, server)) is None and not stop.is_set():
        if not told:
            log.warning("there is no way to the server yet, hence no tunnel address; waiting (or set [agent] local_ip)", server=server)
            told = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), TRY_AGAIN_S)
    return address


class HostAgent:
    """The loop, over its parts."""

    def __init__(self, feed: Feed, drivers: list[Driver], instances: Instances, wake: Wake, settings: AgentSettings) -> None:
        self._feed = feed
        self._drivers = drivers
        self._instances = instances
        self._wake = wake
        self._settings = settings
        self._clock = HostClock()
        self._reconciler = Reconciler(drivers, time.monotonic)
        self._ledger = Ledger()
        self._presence = Presence(settings.report_interval_s, time.monotonic)
        self._news = asyncio.Event()  # there is something to report
        self._told: dict[str, str] = {}  # failures that were logged
        feed.on_change = lambda: wake.note(Why.FEED)
        feed.on_register = self._tell_everything

    async def run(self, stop: asyncio.Event) -> None:
        self._feed.load()
        async with asyncio.TaskGroup() as tasks:
            others = [tasks.create_task(work) for work in (self._feed.run(), self._report(), self._end_on(stop))]
            await self._reconcile()
            for task in others:
                task.cancel()
        await self._report_last()

    def _tell_everything(self) -> None:
        """The server has forgotten what it was told."""
        self._ledger.restart()
        self._news.set()

    async def _end_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.note(Why.STOP)

    async def _reconcile(self) -> None:
        # What the server says now is better than what it said last; but if it is away, the last must do.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._feed.answered.wait(), PATIENCE_S)
        why = await self._wake.wait(0.0) | Why.FEED
        next_look_s = 0.0
        while Why.STOP not in why:
            if why != Why.LEASE:
                next_look_s = await self._look(why)
            self._ledger.instances = await asyncio.to_thread(self._instances.reports, dict(self._feed.state))
            if Why.FEED in why or self._ledger.has_news():
                self._news.set()
            why = await self._wake.wait(next_look_s - time.monotonic())

    async def _look(self, why: Why) -> float:
        """Make a pass; return when to look again, by time.monotonic(), if nothing happens before."""
        started_s, revision, in_sync = time.monotonic(), self._feed.revision, self._feed.in_sync
        desired = self._feed.state if in_sync else without_routers(self._feed.state)
        try:
            work = asyncio.to_thread(self._reconciler.run_pass, dict(desired), prune=in_sync)
            done, unsaved = await asyncio.gather(work, asyncio.to_thread(self._save))
            pids = await asyncio.to_thread(lambda: [pid for driver in self._drivers for pid in driver.pids()])
            done.note_failure(MEMORY, unsaved)
            done.note_failure(CLOCK, self._clock.fault())
        except ToolError as error:
            log.warning("pass failed", reason=str(error))
            return time.monotonic() + TRY_AGAIN_S
        except Exception:
            log.exception("pass failed; this is a bug")
            return time.monotonic() + TRY_AGAIN_S
        disturbed = self._wake.ignore_own_changes()
        self._wake.watch(pids)
        if in_sync and Why.FEED in why:
            await asyncio.to_thread(self._presence.announce, dict(desired), again=False)
        if in_sync:
            self._ledger.current, self._ledger.revision, self._ledger.complete = done.achieved, revision, True
        self._log(done, why, time.monotonic() - started_s)
        due_s = [time.monotonic() + (SETTLE_S if disturbed else self._settings.resync_interval_s)]
        if (retry_s := self._reconciler.next_retry_s()) is not None:
            due_s.append(retry_s)
        return min(due_s)

    def _save(self) -> str:
        """-> why the state could not be kept, "" where it could."""
        try:
            self._feed.save()
        except OSError as error:
            return f"cannot keep the desired state in state_dir: {error.strerror}; without the server it would be missing after a reboot"
        return ""

    async def _report(self) -> None:
        told = ""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), self._settings.report_interval_s)
            self._news.clear()
            if not self._ledger.complete:
                continue
            report, asked = self._ledger.next_report(), self._clock.read()
            try:
                receipt, date = await self._feed.report(report)
                self._ledger.accept(report)
                self._clock.compare(asked, date)
                told = ""
                if receipt.current:
                    await asyncio.to_thread(self._presence.announce, dict(self._feed.state), again=True)
            except httpx.HTTPError as error:
                if told != (told := f"{type(error).__name__}: {error}"):
                    log.warning("the server did not take the report", reason=told)
                await asyncio.sleep(TRY_AGAIN_S)
                self._news.set()

    async def _report_last(self) -> None:
        """What was achieved and not told yet; whoever starts next tells it again, so a server that is away does not matter."""
        if not self._ledger.complete or not self._ledger.has_news():
            return
        with contextlib.suppress(httpx.HTTPError, TimeoutError):
            async with asyncio.timeout(LAST_REPORT_S):
                await self._feed.report(self._ledger.next_report())

    def _log(self, done: Pass, why: Why, took_s: float) -> None:
        if done.actions:
            kinds = Counter(action.key.partition("/")[0] for action in done.actions)
            log.info("wired", why=why.name or "TICK", ms=round(took_s * 1000), actions=len(done.actions), **kinds)
            for action in done.actions:
                log.debug("action", key=action.key, tool=" ".join(action.tool), line=action.told)
        news: dict[str, list[str]] = {}
        for key, reason in done.failed.items():
            if self._told.get(key) != reason:
                news.setdefault(reason, []).append(key)
        for reason, keys in news.items():  # a tool that does not work is the reason of very many
            log.warning("failed", key=keys[0], others=len(keys) - 1, reason=reason)
        if recovered := sorted(self._told.keys() - done.failed.keys()):
            log.info("recovered", key=recovered[0], others=len(recovered) - 1)
        self._told = dict(done.failed)
