"""The store as the rest of the server sees it: a published view to read, `write` to change it, and who listens."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import DBAPIError

from naru.model.kinds import KINDS
from naru.model.resources import Change, Changes, Resource
from naru.store.database import durability_gaps, open_database, take_lease, unusable, upgrade
from naru.store.documents import Document, render, restore
from naru.store.snapshot import Snapshot
from naru.store.tables import changes, resources
from naru.store.writer import Batch, Plan, Request, Writer
from naru.telemetry import WriterSums

_log = structlog.get_logger("naru.store")


def utc_now() -> datetime:
    return datetime.now(UTC)


def _nothing(view: Snapshot) -> Changes[None]:
    yield from ()


class Store:
    """Lives on one event loop; everything but `Writer`'s thread is called there."""

    def __init__(self, url: str, now: Callable[[], datetime] = utc_now) -> None:
        """Open the database, bring its schema up to date, take the writer's lease and read everything.

        Raises DatabaseError for one that cannot be opened or is of a newer version.
        """
        self.view = Snapshot()
        self.sums = WriterSums()
        self._now = now
        self.documents: dict[type[Resource], dict[str, Document]] = {kind: {} for kind in KINDS.values()}
        self._listeners: list[Callable[[Sequence[Change]], None]] = []
        self._engine = open_database(url)
        draft = Snapshot()
        try:
            upgrade(self._engine)
            epoch = self._load(self._engine, draft)
            gaps = list(durability_gaps(self._engine))
        except DBAPIError as error:
            raise unusable(self._engine, error) from error
        if gaps:
            _log.warning("the database may lose writes that were answered when its machine fails", settings=gaps)
        self._writer = Writer(self._engine, draft, epoch, self._publish_soon, now)
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin to write. Call on the event loop that will read."""
        self._loop = asyncio.get_running_loop()
        self._writer.start()

    def stop(self) -> None:
        """End the writer after what was submitted, close the database."""
        self._writer.stop()
        self._engine.dispose()

    def listen(self, listener: Callable[[Sequence[Change]], None]) -> None:
        """Call `listener` with the changes of every published batch."""
        self._listeners.append(listener)

    async def write(self, plan: Plan) -> Any:
        """Run a plan. -> what it returned; its changes are durable and published.

        Raises the domain error with which the plan refused; then nothing has changed.
        """
        return await self._submit(plan, confirms_lease=False)

    async def confirm(self) -> None:
        """Return when the writer answers and may still write. Raises Unavailable when it may not."""
        await self._submit(_nothing, confirms_lease=True)

    async def _submit(self, plan: Plan, *, confirms_lease: bool) -> Any:
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        answer = lambda: None if answered.done() else answered.set_result(None)  # noqa: E731
        request = Request(plan, answer, confirms_lease=confirms_lease)
        self._writer.submit(request)
        await answered
        if request.refusal is not None:
            raise request.refusal
        return request.result

    def _load(self, engine: Engine, draft: Snapshot) -> int:
        with engine.begin() as connection:
            epoch = take_lease(connection)
            for kind, stored in connection.execute(select(resources.c.kind, resources.c.document)):
                resource = restore(KINDS[kind], stored)
                put = [Change(None, resource)]
                draft.apply(put)
                self.view.apply(put)
                self.documents[type(resource)][resource.id] = render(resource)[0]
            draft.revision = self.view.revision = connection.execute(select(func.max(changes.c.revision))).scalar() or 0
        return epoch

    def _publish_soon(self, batch: Batch) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._publish, batch)

    def _publish(self, batch: Batch) -> None:
        refusals = [request.refusal.type for request in batch.requests if request.refusal is not None]
        self.sums.add(len(batch.requests), len(batch.written), batch.seconds, refusals)
        done = [written.change for written in batch.written]
        self.view.apply(done)
        self.view.now = self._now()
        self.view.revision = batch.revision
        for written in batch.written:
            resource = written.change.resource
            documents = self.documents[type(resource)]
            if written.document is None:
                documents.pop(resource.id, None)
            else:
                documents[resource.id] = written.document
        for request in batch.requests:
            request.answer()
        if done:
            for listener in self._listeners:
                listener(done)
