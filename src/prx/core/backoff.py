"""The waits between restarts, as schedules that a test can read.

The schedule never gives up: past its end the last wait repeats. It is written here once, and nowhere computed.
"""

from __future__ import annotations

from prx.core.value import Value, value_class

STEADY_AT_LEAST = 60.0  # seconds


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Schedule(Value):
    """A list of waits in seconds, never empty, each at least as long as the one before."""

    delays: tuple[float, ...]

    def delay(self, attempt: int, *, jitter: float = 0.0) -> float:
        """Return the wait in seconds before restart number `attempt` (1 is the first; any larger number is fine).

        `jitter` is a number from 0 to 1 that the caller draws; it adds up to 10 %, so that many tunnels that fell together
        do not rise together.
        """
        if attempt < 1:
            raise ValueError(f"attempts count from 1, found {attempt}")
        return self.delays[min(attempt, len(self.delays)) - 1] * (1 + 0.1 * jitter)


RESTART = Schedule((5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0))

# A tunnel that has worked, and whose registrations the edge refuses now, meets an incident of minutes: its connector, like
# cloudflared's own, is to be there soon after that is over. Then the waits grow as they do for anything else.
REFUSED = Schedule((*[5.0] * 10, *[10.0] * 10, *[20.0] * 20, 40.0, 80.0, 160.0, 300.0))

# One of several connectors that was up and ended: the others serve meanwhile, so it is to be back before the next one may end.
REPLICA = Schedule((0.5, 1.0, 2.0))

# The quick-tunnel service counts requests by address: asking sooner than after a minute only prolongs the ban.
RATE_LIMITED = Schedule((60.0, 120.0, 240.0, 480.0, 900.0))


def steady_after(last_delay: float) -> float:
    """Return for how many seconds a tunnel must stay ready before its attempts are forgotten."""
    return max(STEADY_AT_LEAST, 2 * last_delay)
