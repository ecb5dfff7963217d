"""The writer: one thread that plans requests in order and commits them in groups.

A request is a *plan*: a generator over the view that yields changes, each applied to the draft as soon as it is yielded, or
raises a domain error. All of a request happens or nothing of it. Requests that arrive while a commit is running form the next
batch, so the cost of a durable commit is shared by whoever waits: with one client a batch is one request, with many it is many.

For a batch: plan each request on the draft, write resources, claims and change log in one transaction, commit, then hand
the batch to the event loop, which applies it to the published snapshot and answers. Nothing is visible before it is durable.
"""

import queue
import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, Engine, bindparam, delete, insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from naru.model.errors import Conflict, NaruError, Unavailable
from naru.model.resources import Change, Changes, Resource
from naru.store.documents import Document, render
from naru.store.snapshot import Snapshot
from naru.store.tables import changes as change_log
from naru.store.tables import claims, lease, resources

Plan = Callable[[Snapshot], Changes[Any]]

_MAX_BATCH = 256  # requests; bounds how long the first of a batch waits for the last
_KEPT_CHANGES = 100_000  # rows of the change log that survive compaction

_log = structlog.get_logger("naru.store")


class Written(msgspec.Struct, frozen=True):
    """A change that is durable, with its document (None: removed)."""

    change: Change
    document: Document | None


class Request:
    """A plan and what became of it: `result` is what the plan returned, unless `refusal` says why not.

    One that `confirms_lease` is refused, too, when another server has become the writer; what changes nothing does not ask otherwise.
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


class Writer:
    """Owns the draft and the connection; only its thread touches them."""

    def __init__(self, engine: Engine, draft: Snapshot, epoch: int, publish: Callable[[Batch], None], now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._draft = draft
        self._epoch = epoch
        self._publish = publish
        self._now = now
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

    def _write(self, connection: Connection, requests: list[Request]) -> None:
        """Plan, commit, publish. What may be the fault of one request replays the batch one by one, so that it hits only its cause."""
        planned = [change for request in requests for change in self._plan(request)]
        revision = self._draft.revision
        try:
            written, stored = _render(planned)
            if planned:
                _save(connection, self._epoch, revision, planned, stored)
            elif any(request.confirms_lease for request in requests):
                _confirm_lease(connection, self._epoch)
        except Exception as error:  # noqa: BLE001  (the boundary of a batch: whatever it was, the writer goes on)
            connection.rollback()
            self._draft.undo(planned)
            if len(requests) > 1 and (isinstance(error, IntegrityError) or not isinstance(error, DBAPIError | _Fenced)):
                for request in requests:
                    self._write(connection, [request])
                return
            written, refusal = [], _refusal(error)
            for request in requests:
                request.refusal = refusal
        else:
            self._draft.revision = revision + len(planned)
        self._publish(Batch(self._draft.revision, written, requests))

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


class _Fenced(Unavailable):
    """Another server took the writer's lease: this one must not write any more."""

    def __init__(self) -> None:
        super().__init__("another server has become the writer of this database; send the request there")


def _refusal(error: Exception) -> NaruError:
    if isinstance(error, _Fenced):
        return error
    if isinstance(error, IntegrityError):
        _log.error("the database knows of a clash that the plan did not see", error=str(error.orig))
        return Conflict(f"The database refused a duplicate: {error.orig}", "NeutronDbObjectDuplicateEntry")
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


_this = (resources.c.kind == bindparam("of_kind"), resources.c.id == bindparam("of_id"))
_update_resource = update(resources).where(*_this).values(document=bindparam("document"))
_delete_resource = delete(resources).where(*_this)
_delete_claim = delete(claims).where(claims.c.claim == bindparam("held"))
_insert_resource, _insert_claim, _insert_change = insert(resources), insert(claims), insert(change_log)
_hold_lease = update(lease).where(lease.c.epoch == bindparam("mine")).values(epoch=bindparam("mine"))


def _confirm_lease(connection: Connection, epoch: int) -> None:
    newest = connection.execute(select(lease.c.epoch)).scalar()
    connection.rollback()
    if newest != epoch:
        raise _Fenced


def _save(connection: Connection, epoch: int, revision: int, changes: list[Change], stored: list[bytes | None]) -> None:
    """One transaction: the net effect on resources and claims, and every change in the log."""
    fence = connection.execute(_hold_lease, {"mine": epoch})
    if fence.rowcount != 1:
        raise _Fenced
    first: dict[tuple[str, str], Resource | None] = {}
    last: dict[tuple[str, str], tuple[Change, bytes | None]] = {}
    log = []
    for number, (change, document) in enumerate(zip(changes, stored, strict=True), revision + 1):
        resource = change.resource
        key = (resource.kind, resource.id)
        first.setdefault(key, change.before)
        last[key] = (change, document)
        log.append({"revision": number, "kind": resource.kind, "resource_id": resource.id, "document": document})

    added, updated, removed, claimed, unclaimed = [], [], [], [], []
    for (kind, id), (change, document) in last.items():
        before, after = first[kind, id], change.after
        if after is not None and before is None:
            added.append({"kind": kind, "id": id, "project_id": after.project_id or "", "document": document})
        elif after is not None:
            updated.append({"of_kind": kind, "of_id": id, "document": document})
        elif before is not None:
            removed.append({"of_kind": kind, "of_id": id})
        old = set(before.claims()) if before is not None else set()
        new = set(after.claims()) if after is not None else set()
        unclaimed += [{"held": claim} for claim in old - new]
        claimed += [{"claim": claim, "resource_id": id} for claim in new - old]
    for statement, rows in (
        (_delete_claim, unclaimed),
        (_delete_resource, removed),
        (_update_resource, updated),
        (_insert_resource, added),
        (_insert_claim, claimed),
        (_insert_change, log),
    ):
        if rows:
            connection.execute(statement, rows)
    if (revision + len(log)) // 10_000 > revision // 10_000:
        connection.execute(delete(change_log).where(change_log.c.revision <= revision - _KEPT_CHANGES))
    connection.commit()
