"""The observed state of one connector: every change of it is one that there is, and is published."""

from __future__ import annotations

from prx.core import events
from prx.core.outbox import Outbox
from prx.core.states import TRANSITIONS, State

UP_FOR = 2.0  # seconds for which a replica was up, so that its end is no failed start


class ObservedState:
    """The `state` of the connector of the tunnel `name`. Times are monotonic seconds and come in as arguments."""

    def __init__(self, name: str, out: Outbox) -> None:
        self.state = State.IDLE
        self._name = name
        self._out = out
        self._up_since = 0.0

    def is_running(self) -> bool:
        """Return whether it has a child that was not asked to end, or one on its way."""
        return self.state in {State.STARTING, State.READY, State.DEGRADED}

    def was_up(self, now: float) -> bool:
        """Return whether it is up, and has been for long enough: if it ends now, its start had not failed."""
        return self.state.is_up and now - self._up_since >= UP_FOR

    def change(self, now: float, state: State, reason: str) -> None:
        """Take another state, if it is another one."""
        old = self.state
        if state is old:
            return
        assert state in TRANSITIONS[old], f"{old} -> {state} is no change of state that there is"
        if state.is_up and not old.is_up:
            self._up_since = now
        self.state = state
        self._out.publish(events.StateChanged(tunnel=self._name, old=old, new=state, reason=reason))
