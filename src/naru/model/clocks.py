"""Two clocks: one that only goes on, and the time of day, which somebody may set."""

import msgspec

SET_S = 1.0  # by so much a clock that is only kept right does not move between two looks


class Clocks(msgspec.Struct, frozen=True):
    """What they say at one moment, in seconds."""

    steady_s: float
    wall_s: float  # since 1970

    def set_by_s(self, before: "Clocks") -> float:
        """By how much the time of day jumped since `before`; 0.0 for no more than what keeps it right."""
        jump_s = (self.wall_s - before.wall_s) - (self.steady_s - before.steady_s)
        return jump_s if abs(jump_s) > SET_S else 0.0


def span_text(seconds: float) -> str:
    """How long, in words, as exactly as people need it: `90 s`, `45 min`, `3 h`, `2 days`."""
    whole = round(abs(seconds))
    for unit, unit_s, from_s in (("days", 86400, 172800), ("h", 3600, 7200), ("min", 60, 120)):
        if whole >= from_s:
            return f"{round(whole / unit_s)} {unit}"
    return f"{whole} s"
