"""What a pass makes of values that most passes bring unchanged: text, above all. Made once, it is kept while each pass asks for it."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Made:
    """What pure functions made of their arguments, which can be hashed. What a whole pass did not ask for is forgotten."""

    def __init__(self) -> None:
        self._before: dict[Any, Any] = {}
        self._now: dict[Any, Any] = {}

    def begin_pass(self) -> None:
        self._before, self._now = self._now, {}

    def of(self, make: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        key = (make, args, *named.items())
        if key not in self._now:
            self._now[key] = self._before[key] if key in self._before else make(*args, **named)
        made: T = self._now[key]
        return made
