"""What the machine wants done. Effects are data; the runtime performs them in order and decides nothing."""

from __future__ import annotations

from dataclasses import dataclass

from prx.core.events import Fact


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a child as run number `run`, speaking `protocol` to the edge; answer with Spawned or SpawnFailed."""

    run: int
    protocol: str


@dataclass(frozen=True, slots=True)
class Terminate:
    """Ask the child of this run to end (SIGTERM); its end comes as Exited."""

    run: int


@dataclass(frozen=True, slots=True)
class Kill:
    """End the child of this run and all that it started (SIGKILL to its group)."""

    run: int


@dataclass(frozen=True, slots=True)
class Check:
    """Gather evidence about this run; answer with Checked, in bounded time."""

    run: int


@dataclass(frozen=True, slots=True)
class WatchForChange:
    """See whether anything changed that could end a wait early; answer with Woken if so, else with nothing."""


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Send TimerFired(name, token) after `delay` seconds; a timer of the same name is replaced."""

    name: str
    token: int
    delay: float


@dataclass(frozen=True, slots=True)
class CancelTimers:
    """Take back all timers of this tunnel."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Make a fact known."""

    fact: Fact


@dataclass(frozen=True, slots=True)
class RememberRateLimit:
    """Keep beyond the life of this process: no new quick tunnel for `delay` seconds, in attempt `attempt`."""

    delay: float
    attempt: int


@dataclass(frozen=True, slots=True)
class RememberProtocol:
    """Keep for this network, for a day: `protocol` came up after another one did not get through."""

    protocol: str


Effect = (
    Spawn | Terminate | Kill | Check | WatchForChange | SetTimer | CancelTimers | Publish | RememberRateLimit | RememberProtocol
)
