"""What the machine wants done. Effects are data; the runtime performs them in order and decides nothing."""

from __future__ import annotations

from prx.core.events import Fact
from prx.core.value import Value, value_class


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Spawn(Value):
    """Start a child as run number `run`, speaking `protocol` to the edge; answer with Spawned or SpawnFailed."""

    run: int
    protocol: str


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Terminate(Value):
    """Ask the child of this run to end (SIGTERM); its end comes as Exited."""

    run: int


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Kill(Value):
    """End the child of this run and all that it started (SIGKILL to its group)."""

    run: int


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Check(Value):
    """Gather evidence about this run; answer with Checked, in bounded time."""

    run: int


@value_class(frozen=True, slots=True, eq=False, repr=False)
class WatchForChange(Value):
    """See whether anything changed that could end a wait early; answer with Woken if so, else with nothing."""


@value_class(frozen=True, slots=True, eq=False, repr=False)
class SetTimer(Value):
    """Send TimerFired(name, token) after `delay` seconds; a timer of the same name is replaced."""

    name: str
    token: int
    delay: float


@value_class(frozen=True, slots=True, eq=False, repr=False)
class CancelTimers(Value):
    """Take back all timers of this tunnel."""


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Publish(Value):
    """Make a fact known."""

    fact: Fact


@value_class(frozen=True, slots=True, eq=False, repr=False)
class RememberRateLimit(Value):
    """Keep beyond the life of this process: no new quick tunnel for `delay` seconds, in attempt `attempt`."""

    delay: float
    attempt: int


@value_class(frozen=True, slots=True, eq=False, repr=False)
class RememberProtocol(Value):
    """Keep for this network, for a day: `protocol` came up after another one did not get through."""

    protocol: str


Effect = (
    Spawn | Terminate | Kill | Check | WatchForChange | SetTimer | CancelTimers | Publish | RememberRateLimit | RememberProtocol
)
