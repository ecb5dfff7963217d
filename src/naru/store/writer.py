"""The writer: one thread that plans requests in order and commits them in groups.

A request is a *plan*: a generator over the view that yields changes, each applied to the draft as soon as it is yielded, or
raises a domain error. All of a request happens or nothing of it. Requests that arrive while a commit is running form the next
batch, so the cost of a durable commit is shared by whoever waits: with one client a batch is one request, with many it is many.

For a batch: plan each request on the draft, write resources, claims and change log in one transaction, commit, then hand
the batch to the event loop, which applies it to the published snapshot and answers. Nothing is visible before it is durable.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from naru.model.errors import Conflict, Invalid, NaruError, Unavailable
from naru.model.kinds import KINDS
from naru.model.resources import Change, Changes, Resource
from naru.store.documents import Document, render, restore
from naru.store.save import InDoubt, confirm_lease, lock_lease, save
from naru.store.snapshot import Snapshot
from naru.store.tables import changes as change_log

Plan = Callable[[Snapshot], Changes[Any]]

_MAX_BATCH = 256  # requests; bounds how long the first of a batch waits for the last
_FAILING_S = 60.0  # so long after a commit that failed, and none that did not, it says that it cannot write

_log = structlog.get_logger("naru.store")


class Written(msgspec.Struct, frozen=True):
    """A change that is durable, with its document (None: removed)."""

    change: Change
    document: Document | None


class Request:
    """A plan and what became of it: `result` is what the plan returned, unless `refusal` says why not.

    One that `confirms_lease` is refused, too, when another server has become the writer, or the disk was full just now; what changes
    nothing does not ask otherwise.
    """

    __slots__ = ("answer", "confirms_lease", "plan", "refusal", "result")

    def __init__(self, plan: Plan, answer: Callable[[], None], *, confirms_lease: bool = False) -> None:
        self.plan = plan
        self.confirms_lease = confirms_lease
        self.answer = answer  # called on the event loop, after the batch is published
        self.result: Any = None
        self.refusal: NaruError | None = None


class Batch(msgspec.Struct, frozen=True):
    """What one transaction did: to be published, then answered."""

    revision: int
    written: list[Written]
    requests: list[Request]
    seconds: float = 0.0  # from planning to the commit


class Writer:
    """Owns the draft and the connection; only its thread touches them."""

    def __init__(self, engine: Engine, draft: Snapshot, epoch: int, publish: Callable[[Batch], None], now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._draft = draft
        self._epoch = epoch
        self._publish = publish
        self._now = now
        self._is_in_doubt = False  # the database went away during a commit
        self._failure: tuple[NaruError, float] | None = None  # of the last commit, as on a full disk; and when, by time.monotonic()
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="naru-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, request: Request) -> None:
        self._requests.put(request)

    def stop(self) -> None:
        """Finish what was submitted, then end the thread."""
        self._requests.put(None)
        self._thread.join()

    def _run(self) -> None:
        with self._engine.connect() as connection:
            while batch := self._next_batch():
                self._write(connection, batch)

    def _next_batch(self) -> list[Request]:
        """Wait for a request, then take all that are there. Empty: stop."""
        first = self._requests.get()
        if first is None:
            return []
        batch = [first]
        while len(batch) < _MAX_BATCH:
            try:
                request = self._requests.get_nowait()
            except queue.Empty:
                break
            if request is None:
                self._requests.put(None)
                break
            batch.append(request)
        return batch

    def _write(self, connection: Connection, requests: list[Request], *, is_retry: bool = False) -> None:
        """Plan, commit, publish. What may be the fault of one request replays the batch one by one, so that it hits only its cause.

        A connection that had died meanwhile is replaced once: nothing was written, and nobody need know.
        """
        planned: list[Change] = []
        began = time.perf_counter()
        try:
            if self._is_in_doubt:
                self._resolve_doubt(connection)
            for request in requests:
                planned += self._plan(request)
            written, stored = _render(planned)
            if planned:
                save(connection, self._epoch, self._draft.revision, planned, stored)
                self._failure = None
            elif any(request.confirms_lease for request in requests):
                self._confirm(connection)
        except Exception as error:  # noqa: BLE001  (the boundary of a batch: whatever it was, the writer goes on)
            _roll_back(connection)
            self._draft.undo(planned)
            self._is_in_doubt = self._is_in_doubt or isinstance(error, InDoubt)
            if not is_retry and isinstance(error, DBAPIError) and error.connection_invalidated:
                self._write(connection, requests, is_retry=True)
            elif len(requests) > 1 and _may_be_of_one(error):
                for request in requests:
                    self._write(connection, [request])
            else:
                self._refuse(requests, self._refusal(error))
        else:
            self._draft.revision += len(planned)
            self._publish(Batch(self._draft.revision, written, requests, time.perf_counter() - began))

    def _confirm(self, connection: Connection) -> None:
        """Raises Unavailable where it may not write, or could not a moment ago."""
        confirm_lease(connection, self._epoch)
        if self._failure is not None and time.monotonic() - self._failure[1] < _FAILING_S:
            raise self._failure[0]

    def _refusal(self, error: Exception) -> NaruError:
        refusal = _refusal(error)
        if isinstance(error, DBAPIError) and not error.connection_invalidated and not _may_be_of_one(error):
            self._failure = refusal, time.monotonic()
        return refusal

    def _refuse(self, requests: list[Request], refusal: NaruError) -> None:
        for request in requests:
            request.refusal = refusal
        self._publish(Batch(self._draft.revision, [], requests))

    def _resolve_doubt(self, connection: Connection) -> None:
        """Take over from the change log what was committed without our knowing: all of the last batch, or nothing."""
        lock_lease(connection, self._epoch)
        columns = (change_log.c.kind, change_log.c.resource_id, change_log.c.document)
        newer = select(*columns).where(change_log.c.revision > self._draft.revision).order_by(change_log.c.revision)
        logged = connection.execute(newer).all()
        connection.rollback()
        written = []
        for kind, id, stored in logged:
            before = self._draft.get(KINDS[kind], id)
            change = Change(before, None if stored is None else restore(KINDS[kind], stored))
            self._draft.apply([change])
            written.append(Written(change, render(change.after)[0] if change.after is not None else None))
        self._draft.revision += len(logged)
        self._is_in_doubt = False
        _log.info("the database is back", the_commit_in_doubt="written" if logged else "not written")
        self._publish(Batch(self._draft.revision, written, []))

    def _plan(self, request: Request) -> list[Change]:
        """Run a plan on the draft. -> its changes; none if it was refused."""
        done: list[Change] = []
        self._draft.now = self._now()
        now = self._draft.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            steps = request.plan(self._draft)
            while True:
                try:
                    step = next(steps)
                except StopIteration as end:
                    request.result, request.refusal = end.value, None
                    return done
                before = self._draft.get(type(step.resource), step.resource.id)
                if step.after == before:
                    continue  # nothing changes, so there is no new revision
                change = _stamp(step, before, now)
                self._draft.apply([change])
                done.append(change)
        except NaruError as refusal:
            request.refusal = refusal
        except Exception:  # noqa: BLE001  (the boundary of a write batch)
            _log.exception("plan failed")
            request.refusal = NaruError("The server could not plan this request; its log says why.")
        self._draft.undo(done)
        return []


def _roll_back(connection: Connection) -> None:
    try:
        connection.rollback()
    except DBAPIError:  # the database went away: the next statement begins a new connection
        connection.invalidate()


def _may_be_of_one(error: Exception) -> bool:
    """Whether one request of several may be the cause; a database that is away is nobody's fault."""
    return isinstance(error, IntegrityError | DataError) or not isinstance(error, DBAPIError | Unavailable)


def _refusal(error: Exception) -> NaruError:
    if isinstance(error, InDoubt):
        _log.error("the database went away during a commit", error=str(error.__cause__))
    if isinstance(error, Unavailable):
        return error
    if isinstance(error, IntegrityError):
        _log.error("the database knows of a clash that the plan did not see", error=str(error.orig))
        return Conflict(f"The database refused a duplicate: {error.orig}", "NeutronDbObjectDuplicateEntry")
    if isinstance(error, DataError):
        return Invalid(f"The database cannot hold a value of this request: {error.orig}")
    if isinstance(error, DBAPIError):
        _log.error("batch not committed", error=str(error.orig))
        return Unavailable(f"The database could not be written ({error.orig}); nothing was changed. Try again.")
    _log.error("batch failed", exc_info=error)
    return NaruError("The server could not write this request; its log says why.")


def _stamp(change: Change, before: Resource | None, now: str) -> Change:
    """Times and revision number of a resource are the store's business."""
    after = change.after
    if after is None:
        return Change(before, None)
    if before is None:
        return Change(None, msgspec.structs.replace(after, created_at=now, updated_at=now))
    stamped = msgspec.structs.replace(after, created_at=before.created_at, updated_at=now, revision_number=before.revision_number + 1)
    return Change(before, stamped)


def _render(changes: Iterable[Change]) -> tuple[list[Written], list[bytes | None]]:
    written: list[Written] = []
    stored: list[bytes | None] = []
    for change in changes:
        document, kept = render(change.after) if change.after is not None else (None, None)
        written.append(Written(change, document))
        stored.append(kept)
    return written, stored
