"""The agent's side of the feed: register, list, watch, and the last state on disk for when the server is away.

    PUT  /agent/v1/hosts/{host}/credential      with a one-time token: what the host will show from then on
    PUT  /agent/v1/hosts/{host}                 HostDescription, at start and whenever the server does not know the host
    GET  /agent/v1/hosts/{host}/state[?since=R] NDJSON frames; a blank line now and then keeps the connection alive
    POST /agent/v1/hosts/{host}/report          HostReport; the answer is a Receipt

A list (no `since`) is the whole state: at its bookmark, keys that it did not name are gone. Until then nothing may be pruned.
"""

import asyncio
import contextlib
import hashlib
import random
import ssl
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import structlog

from naru.model.hostreport import HostDescription, HostReport, Receipt
from naru.model.hoststate import Bookmark, Del, Frame, Put, Value

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 5.0
SILENCE_S = 30.0  # keep-alives come every 10 s: after three that did not come, the connection is dead
ANSWER_S = 10.0

JSON = {"Content-Type": "application/json"}
FRAMES = msgspec.json.Decoder(Frame)

log = structlog.get_logger()


class Saved(msgspec.Struct, frozen=True):
    """The file on disk: the state as of a bookmark."""

    revision: int
    state: dict[str, Value]


class Feed:
    """The desired state of one host, kept current by `run`.

    `state`, `revision` and `in_sync` are for reading; `on_change` is called when frames have changed the state or made it
    complete, `on_register` when the server has forgotten whatever it knew of this host. `ticket` is a one-time token that
    makes `token` this host's; `trusted` says which certificates are the server's, None: what the system trusts.
    """

    def __init__(
        self,
        server: str,
        token: str,
        host: str,
        description: HostDescription,
        *,
        saved: Path,
        ticket: str = "",
        trusted: ssl.SSLContext | None = None,
    ) -> None:
        self._client = httpx.AsyncClient(
            base_url=server,
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(ANSWER_S),
            verify=trusted or server.startswith("https:"),  # loading the certificates of all authorities costs 8 MB
        )
        self._url = f"/agent/v1/hosts/{host}"
        self._host = host
        self._token = token
        self._ticket = ticket
        self._description = description
        self._saved = saved
        self._listed: set[str] | None = None  # the keys of a list that is being received
        self._registered = False
        self._heard = False  # a bookmark came through the present connection
        self._dirty = False
        self.state: dict[str, Value] = {}
        self.revision = 0
        self.in_sync = False
        self.refusal = ""  # why the server is not followed, while it is not
        self.answered = asyncio.Event()  # the state has been in sync at least once
        self.on_change: Callable[[], None] = lambda: None
        self.on_register: Callable[[], None] = lambda: None

    def load(self) -> None:
        """Start from the state on disk, if there is one: enough to keep and repair what is wired, not to prune."""
        try:
            saved = msgspec.json.decode(self._saved.read_bytes(), type=Saved)
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError) as error:
            log.warning("the saved state cannot be used; waiting for the server's", file=str(self._saved), reason=str(error))
            return
        self.state, self.revision = saved.state, saved.revision

    def save(self) -> None:
        """Write the state to disk if it is in sync and has changed since; the file is replaced at once or not at all."""
        if self.in_sync and self._dirty:
            self._saved.parent.mkdir(parents=True, exist_ok=True)
            new = self._saved.with_suffix(".new")
            new.touch(0o600)  # what instances may read about themselves is in it
            new.write_bytes(msgspec.json.encode(Saved(self.revision, self.state)))
            new.replace(self._saved)
            self._dirty = False

    async def run(self) -> None:
        """Follow the server until cancelled, whatever it does."""
        wait_s, told = FIRST_WAIT_S, ""
        while True:
            self._heard = False
            try:
                if self._ticket:
                    await self._enrol()
                if not self._registered:
                    await self._register()
                await self._follow()
                reason = "it ended the stream"
            except httpx.HTTPStatusError as error:
                reason = self._refusal(error.response)
            except (httpx.HTTPError, msgspec.DecodeError) as error:
                reason = f"{type(error).__name__}: {error}"
            self.refusal = reason
            if self._heard:
                wait_s, told = FIRST_WAIT_S, ""
            if reason and reason != told:
                log.warning("lost the server; keeping what is wired", reason=reason)
                told = reason
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads the hosts, guards nothing
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    async def report(self, report: HostReport) -> tuple[Receipt, str]:
        """Send a report. -> the answer, and when the server gave it (Date). Raises httpx.HTTPError if it did not take the report."""
        answer = await self._client.post(f"{self._url}/report", content=msgspec.json.encode(report), headers=JSON)
        if answer.status_code == httpx.codes.NOT_FOUND:  # it has forgotten the host: what it knew of it is to be told again
            await self._register()
        answer.raise_for_status()
        receipt, date = Receipt(), str(answer.headers.get("Date", ""))
        with contextlib.suppress(msgspec.DecodeError):  # an older server says nothing
            receipt = msgspec.json.decode(answer.content, type=Receipt)
        return receipt, date

    async def close(self) -> None:
        await self._client.aclose()

    async def _enrol(self) -> None:
        """Have the server take our token for this host's. A ticket that it refuses was perhaps used by us: then it knows the token."""
        chosen = {"credential_sha256": hashlib.sha256(self._token.encode()).hexdigest()}
        answer = await self._client.put(f"{self._url}/credential", json=chosen, headers={"Authorization": f"Bearer {self._ticket}"})
        if answer.status_code != httpx.codes.UNAUTHORIZED:
            answer.raise_for_status()
            log.info("enrolled", host=self._host)
        self._ticket = ""

    async def _register(self) -> None:
        answer = await self._client.put(self._url, content=msgspec.json.encode(self._description), headers=JSON)
        answer.raise_for_status()
        self._registered = True
        self.on_register()

    async def _follow(self) -> None:
        since = {"since": str(self.revision)} if self.revision else {}
        self._listed = None if since else set()
        timeout = httpx.Timeout(ANSWER_S, read=SILENCE_S)
        async with self._client.stream("GET", f"{self._url}/state", params=since, timeout=timeout) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if line:
                    self._take(line)

    def _take(self, line: str) -> None:
        try:
            frame = FRAMES.decode(line)
        except msgspec.ValidationError as error:  # of a newer server: what we do not know we cannot wire, the rest we can
            log.warning("a frame of the server was not understood; is this agent older than the server?", reason=str(error))
            return
        match frame:
            case Put(key, value):
                if self._listed is not None:
                    self._listed.add(key)
                if self.state.get(key) != value:
                    self.state[key] = value
                    self._note_change()
            case Del(key):
                if self.state.pop(key, None) is not None:
                    self._note_change()
            case Bookmark(revision):
                self._come_in_sync(revision)

    def _come_in_sync(self, revision: int) -> None:
        unlisted = self.state.keys() - self._listed if self._listed is not None else set()
        for key in unlisted:
            del self.state[key]
        self._listed = None
        self.revision = revision
        if not self._heard:
            log.info("in sync with the server", revision=revision, keys=len(self.state))
            self._heard = True
        if unlisted or not self.in_sync:
            self.in_sync = True
            self.answered.set()
            self._note_change()

    def _note_change(self) -> None:
        self._dirty = True
        self.on_change()

    def _refusal(self, answer: httpx.Response) -> str:
        """Prepare for what the answer asks for; return the reason for the log, "" for what is part of the protocol."""
        match answer.status_code:
            case httpx.codes.GONE:  # our revision is too old, or of another database: list again
                self.revision, self.in_sync = 0, False
                return ""
            case httpx.codes.NOT_FOUND:
                self._registered = False
                return "it does not know this host (yet)"
            case httpx.codes.UNAUTHORIZED | httpx.codes.FORBIDDEN:
                wanted = f"the server's agent token, or one for this very host from `naru host enrol {self._host}`"
                return f"it refuses this host's token ({answer.status_code}); the token file is to hold {wanted}"
        return f"it answered {answer.status_code}"
