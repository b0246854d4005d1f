"""How often a tunnel that was well was not any more, within the last hour: what comes and goes is a fault of its own.

Each single trouble may be too short to be shown (`prx.core.damping`), or over when the operator looks. Times are wall-clock
seconds.
"""

from __future__ import annotations

from dataclasses import replace

from prx.core.value import Value, value_class

WINDOW = 3600.0  # seconds
WORTH_SAYING = 3  # falls within WINDOW: fewer are chance
_KEPT = 1000  # falls remembered, one for each 3.6 s of an hour


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Flaps(Value):
    """The falls of one tunnel; `well`: the last look found nothing wrong."""

    well: bool = False
    falls: tuple[float, ...] = ()

    def see(self, at: float, *, well: bool) -> Flaps:
        """Take in what a check at `at` has found."""
        if self.well and not well:
            falls = tuple(fall for fall in self.falls if at - fall < WINDOW)
            return Flaps(well=False, falls=(*falls, at)[-_KEPT:])
        return self if self.well == well else replace(self, well=well)

    def forget_well(self) -> Flaps:
        """Take in that it was stopped or started again as asked: its next trouble is no fall until it was well again."""
        return replace(self, well=False)

    def moved(self, by: float) -> Flaps:
        """Return the same falls after the wall clock was set `by` seconds ahead."""
        return replace(self, falls=tuple(fall + by for fall in self.falls)) if self.falls else self

    def count(self, now: float) -> int:
        """Return how many falls there were in the `WINDOW` before `now`."""
        return sum(0 <= now - fall < WINDOW for fall in self.falls)

    def words(self, now: float) -> str:
        """Return one line on it for people, empty while it is not worth one."""
        count = self.count(now)
        return f"it flaps: well, then not, {count} times within the last hour" if count >= WORTH_SAYING else ""
