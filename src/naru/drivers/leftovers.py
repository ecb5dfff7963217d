"""What a driver that this host no longer uses has made on it: another mechanism's switch, filters that are off by now. It all goes."""

from collections.abc import Callable

from naru.drivers.base import Action, Fact, Failure, ToolError
from naru.model.hoststate import HostState


class Leftovers:
    """The driver: nothing is wanted. `read` and `apply` are those of the driver that made it."""

    def __init__(self, kind: str, read: Callable[[], dict[str, Fact]], apply: Callable[[list[Action]], list[Failure]]) -> None:
        self.kinds = (kind,)
        self._read = read
        self._apply = apply

    def want(self, desired: HostState) -> tuple[dict[str, Fact], list[Failure]]:
        return {}, []

    def read(self) -> dict[str, Fact]:
        try:
            return self._read()
        except ToolError:  # a tool that this host need not have, or whose daemon need not run
            return {}

    def apply(self, actions: list[Action]) -> list[Failure]:
        return self._apply(actions)

    def pids(self) -> list[int]:
        return []
