"""The feed: each host's desired state as a list, then as what changes.

A change marks the hosts that it may touch; on the next turn of the event loop each marked host that somebody watches is compiled
once, however many changes came together, and the difference to what was sent before goes out with a bookmark. A watcher that
cannot keep up is cut off: it lists again, which is cheaper than an unbounded queue.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from naru.compile.host import affected_hosts, compile_host
from naru.model.hoststate import Bookmark, Del, Frame, Put, Value
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
        self._dirty: set[str] = set()

    def on_changes(self, changes: Sequence[Change]) -> None:
        """A listener for the store: mark what the changes touch. Where nobody ever watched, that is nothing."""
        if not self._feeds:
            return
        touched = set().union(*(affected_hosts(self._view, change) for change in changes))
        if touched and not self._dirty:
            asyncio.get_running_loop().call_soon(self._flush)
        self._dirty |= touched

    def is_current(self, host: str, revision: int) -> bool:
        """May a watcher that saw `revision` go on from there without a list?"""
        feed = self._feeds.get(host)
        return feed is not None and feed.revision == revision and host not in self._dirty

    async def watch(self, host: str, since: int | None) -> AsyncIterator[bytes]:
        """NDJSON for one watcher: the whole state unless `since` is current, then every difference, until it is cut off."""
        feed = self._feeds.setdefault(host, _HostFeed())
        self._compile(host, feed)
        listed = [Put(key, value) for key, value in feed.state.items()] if since is None else []
        waiting: asyncio.Queue[bytes | None] = asyncio.Queue(_MAX_WAITING)
        waiting.put_nowait(_lines([*listed, Bookmark(feed.revision)]))
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
        for host in dirty:
            feed = self._feeds.get(host)
            if feed is None:
                continue
            if not feed.watchers:
                del self._feeds[host]  # whoever comes next lists
                continue
            self._compile(host, feed)

    def _compile(self, host: str, feed: _HostFeed) -> None:
        """Bring the feed up to date; tell those who watch it what is different."""
        before, after = feed.state, compile_host(self._view, host)
        frames: list[Frame] = [Put(key, value) for key, value in after.items() if before.get(key) != value]
        frames += [Del(key) for key in before if key not in after]
        if frames or feed.revision < 0:
            feed.state, feed.revision = after, self._view.revision
            self._send(feed, _lines([*frames, Bookmark(feed.revision)]))

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


def _lines(frames: Sequence[Frame]) -> bytes:
    return b"".join(_encode(frame) + b"\n" for frame in frames)
