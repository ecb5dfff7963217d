"""The feed: each host's desired state as a list, then as what changes.

A change marks the hosts that it may touch; on the next turn of the event loop each marked host that somebody watches is compiled
once, however many changes came together, and the difference to what was sent before goes out with a bookmark. A group's members are
the same value for very many hosts: it is made once, and takes the place of the one before. A watcher that
cannot keep up is cut off: it lists again, which is cheaper than an unbounded queue.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from naru.compile.firewall import changed_groups, group_state
from naru.compile.host import affected_hosts, compile_host
from naru.compile.shared import Shared
from naru.model.hoststate import Bookmark, Del, Frame, GroupState, Put, Value
from naru.model.resources import Change
from naru.model.view import View

_KEEP_ALIVE_S = 10.0
_MAX_WAITING = 1000  # chunks that a slow watcher may be behind

_encode = msgspec.json.Encoder().encode


class _HostFeed:
    """What one host has been told, and who watches it."""

    def __init__(self) -> None:
        self.state: Mapping[str, Value] = {}
        self.revision = -1  # of the last bookmark; -1: nothing compiled yet
        self.watchers: set[asyncio.Queue[bytes | None]] = set()


class Publisher:
    """Lives on the event loop of the store's published view."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._feeds: dict[str, _HostFeed] = {}
        self._dirty: set[str] = set()  # hosts to be compiled
        self._regrouped: set[str] = set()  # groups with other members
        self._shared = Shared()
        self._told_of: dict[str, tuple[Value, bytes]] = {}  # of groups by key: in which line they were told

    def on_changes(self, changes: Sequence[Change]) -> None:
        """A listener for the store: mark what the changes touch. Where nobody ever watched, that is nothing."""
        if not self._feeds:
            return
        touched = set().union(*(affected_hosts(self._view, change) for change in changes))
        regrouped = set().union(*map(changed_groups, changes))
        if (touched or regrouped) and not (self._dirty or self._regrouped):
            asyncio.get_running_loop().call_soon(self._flush)
        self._dirty |= touched
        self._regrouped |= regrouped
        self._shared.peers.clear()
        self._shared.roaming.clear()
        for group_id in regrouped:
            self._shared.groups.pop(group_id, None)
            self._told_of.pop(f"group/{group_id}", None)

    def is_current(self, host: str, revision: int) -> bool:
        """May a watcher that saw `revision` go on from there without a list?"""
        feed = self._feeds.get(host)
        return feed is not None and feed.revision == revision and host not in self._dirty and not self._regrouped

    async def watch(self, host: str, since: int | None) -> AsyncIterator[bytes]:
        """NDJSON for one watcher: the whole state unless `since` is current, then every difference, until it is cut off."""
        feed = self._feeds.setdefault(host, _HostFeed())
        self._compile(host, feed)
        listed = [Put(key, value) for key, value in feed.state.items()] if since is None else []
        waiting: asyncio.Queue[bytes | None] = asyncio.Queue(_MAX_WAITING)
        waiting.put_nowait(self._lines([*listed, Bookmark(feed.revision)]))
        feed.watchers.add(waiting)
        try:
            while True:
                try:
                    chunk = await asyncio.wait_for(waiting.get(), _KEEP_ALIVE_S)
                except TimeoutError:
                    chunk = b"\n"
                if chunk is None:
                    return
                yield chunk
        finally:
            feed.watchers.discard(waiting)

    def hang_up(self, host: str) -> None:
        """End the watches of one host; who may, watches again."""
        if (feed := self._feeds.get(host)) is not None:
            self._send(feed, None)

    def close(self) -> None:
        """End every watch."""
        for feed in self._feeds.values():
            self._send(feed, None)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, set()
        groups, self._regrouped = {f"group/{id}": id for id in self._regrouped}, set()
        for host, feed in list(self._feeds.items()):
            is_dirty, told = host in dirty, groups.keys() & feed.state.keys()
            if not feed.watchers and (is_dirty or told):
                del self._feeds[host]  # whoever comes next lists
            elif is_dirty:
                self._compile(host, feed)
            elif told:
                self._tell(feed, dict(feed.state) | {key: group_state(self._view, groups[key], self._shared) for key in sorted(told)})

    def _compile(self, host: str, feed: _HostFeed) -> None:
        """Bring the feed up to date."""
        self._tell(feed, compile_host(self._view, host, self._shared))

    def _tell(self, feed: _HostFeed, after: Mapping[str, Value]) -> None:
        """Tell those who watch it what is different."""
        before = feed.state
        frames: list[Frame] = [Put(key, value) for key, value in after.items() if before.get(key) != value]
        frames += [Del(key) for key in before if key not in after]
        if frames or feed.revision < 0:
            feed.state, feed.revision = after, self._view.revision
            self._send(feed, self._lines([*frames, Bookmark(feed.revision)]))

    def _lines(self, frames: Sequence[Frame]) -> bytes:
        return b"".join(map(self._line, frames))

    def _line(self, frame: Frame) -> bytes:
        """A group may have thousands of members, and thousands of hosts that are told of it."""
        if not (isinstance(frame, Put) and isinstance(frame.value, GroupState)):
            return _encode(frame) + b"\n"
        value, line = self._told_of.get(frame.key, (None, b""))
        if value is not frame.value:
            line = _encode(frame) + b"\n"
            self._told_of[frame.key] = frame.value, line
        return line

    @staticmethod
    def _send(feed: _HostFeed, chunk: bytes | None) -> None:
        for waiting in list(feed.watchers):
            try:
                waiting.put_nowait(chunk)
            except asyncio.QueueFull:
                feed.watchers.discard(waiting)
                while not waiting.empty():
                    waiting.get_nowait()
                waiting.put_nowait(None)
