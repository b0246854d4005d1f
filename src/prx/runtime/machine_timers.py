"""The timers that the machine of one connector has set: each fires as an input of the machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from prx.core import effects, inputs
from prx.runtime.context import Shared
from prx.runtime.host.clock import TimerHandle, gathered


class MachineTimers:
    """Timers by name; each calls `send` with what has fired.

    due: the monotonic second of each timer that was ever set.
    """

    def __init__(self, shared: Shared, send: Callable[[inputs.Input], None]) -> None:
        self.due: dict[str, float] = {}
        self._shared = shared
        self._send = send
        self._timers: dict[str, TimerHandle] = {}

    def set(self, effect: effects.SetTimer) -> None:
        """Set a timer, in the place of one of the same name. Beside many connectors it waits for others, to fire with them."""
        if old := self._timers.get(effect.name):
            old.cancel()
        fired = inputs.TimerFired(effect.name, effect.token)
        clock = self._shared.clock
        delay = gathered(clock.monotonic(), effect.delay, self._shared.ledger.living)
        self.due[effect.name] = clock.monotonic() + delay
        self._timers[effect.name] = clock.call_later(delay, partial(self._send, fired))

    def cancel(self) -> None:
        """Take back all that have not fired."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
