"""What one input to the machine leads to, in order, and the timers that run: shared by the machine and its parts."""

from __future__ import annotations

from prx.core import effects as do
from prx.core import events, inputs
from prx.core.effects import Effect


class Outbox:
    """The effects of the input that is handled now. `timers` maps the name of each running timer to its token."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self.timers: dict[str, int] = {}
        self._token = 0

    def begin(self) -> None:
        """Start a new list for another input; the timers run on."""
        self.effects = []

    def add(self, effect: Effect) -> None:
        """Ask for an effect."""
        self.effects.append(effect)

    def publish(self, fact: events.Fact) -> None:
        """Make a fact known."""
        self.add(do.Publish(fact))

    def set_timer(self, name: str, delay: float) -> None:
        """Set the timer `name` to fire after `delay` seconds; one of the same name is replaced."""
        self._token += 1
        self.timers[name] = self._token
        self.add(do.SetTimer(name, self._token, delay))

    def drop_timer(self, name: str) -> None:
        """Ignore the timer `name` if it still fires."""
        self.timers.pop(name, None)

    def clear_timers(self) -> None:
        """Cancel all timers."""
        if self.timers:
            self.timers.clear()
            self.add(do.CancelTimers())

    def take(self, fired: inputs.TimerFired) -> bool:
        """Return whether a timer that has fired was still set; it is not any more."""
        if self.timers.get(fired.name) != fired.token:
            return False
        del self.timers[fired.name]
        return True
