"""What a driver that this host no longer uses has made on it: another mechanism's switch, filters that are off by now. It all goes."""

from collections.abc import Callable

from naru.drivers.base import Action, Fact, Failure, ToolError
from naru.model.hoststate import HostState


class Leftovers:
    """The driver: nothing is wanted. `read` and `apply` are those of the driver that made it; once nothing is left, nothing comes."""

    def __init__(self, kind: str, read: Callable[[], dict[str, Fact]], apply: Callable[[list[Action]], list[Failure]]) -> None:
        self.kinds = (kind,)
        self._read = read
        self._apply = apply
        self._is_gone = False

    def want(self, desired: HostState) -> tuple[dict[str, Fact], list[Failure]]:
        return {}, []

    def read(self) -> dict[str, Fact]:
        if self._is_gone:
            return {}
        try:
            left = self._read()
        except ToolError:  # a tool that this host need not have, or whose daemon need not run
            return {}
        self._is_gone = not left
        return left

    def apply(self, actions: list[Action]) -> list[Failure]:
        return self._apply(actions)

    def pids(self) -> list[int]:
        return []
