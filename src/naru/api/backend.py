"""What the endpoints work with, handed to them by the composition root."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

import msgspec

from naru.model.identity import Overrides
from naru.model.resources import Changes, Resource
from naru.service.policy import Cloud
from naru.store.documents import Document
from naru.store.snapshot import Snapshot
from naru.telemetry import WriterSums


class Store(Protocol):
    """The published view and its documents; `write` runs a plan and returns what it returned.

    `confirm` raises Unavailable when nothing can be written here any more.
    """

    view: Snapshot
    documents: dict[type[Resource], dict[str, Document]]
    sums: WriterSums

    async def confirm(self) -> None: ...

    async def write(self, plan: Callable[[Snapshot], Changes[Any]]) -> Any: ...


class Backend(msgspec.Struct, frozen=True):
    store: Store
    cloud: Cloud
    now: Callable[[], datetime]
    token_lifetime_s: int = 3600
    pagination_max_limit: int = -1
    overrides: Overrides | None = None  # what the operator's policy file says

    @property
    def view(self) -> Snapshot:
        return self.store.view

    def documents(self, kind: type[Resource]) -> Mapping[str, Document]:
        return self.store.documents[kind]
