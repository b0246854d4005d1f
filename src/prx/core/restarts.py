"""How often and how late the child is started again: attempts, waits, and the replacement of a child that lives.

A replacement is scheduled before it is carried out: the wait of the schedule runs while the child is watched (timer replace).
If the child comes back, or a restart cannot help any more, the replacement is cancelled, and with it its attempt.
"""

from __future__ import annotations

from collections.abc import Callable

from prx.core import effects as do
from prx.core import events
from prx.core.backoff import RATE_LIMITED, REFUSED, REPLICA, RESTART, Schedule, steady_after
from prx.core.causes import Cause
from prx.core.outbox import Outbox
from prx.core.verdicts import Action, Diagnosis

FREE_RESTARTS = 3  # in a row, for ends that are no fault; then they count like any other

# Causes that only become one after the child has been watched for a while.
_WATCHED = frozenset({Cause.CONNECTOR_STUCK, Cause.REFUSED})


class Restarts:
    """The restarts of the tunnel `name`. `attempt` counts failed tries in a row.

    `jitter` draws a number from 0 to 1; `costs_url` returns whether a restart changes the public URL.
    """

    def __init__(self, name: str, out: Outbox, *, jitter: Callable[[], float], costs_url: Callable[[], bool]) -> None:
        self.attempt = 0
        self._name = name
        self._out = out
        self._jitter = jitter
        self._costs_url = costs_url
        self._free = 0
        self._quick = 1
        self._offline = 0  # tries in a row without a network
        self._last_delay = 0.0
        self._pending: Diagnosis | None = None  # a replacement is scheduled, for this reason
        self._due = False  # and its wait is over
        self._replacements = 0  # of a child that lived, since the tunnel was well
        self._in_vain: Cause | None = None  # a replacement for this cause has changed nothing

    # ------------------------------------------------------------------ attempts and waits

    def take_free(self) -> bool:
        """Return whether one more restart is free of a wait, and count it."""
        if self._free >= FREE_RESTARTS:
            return False
        self._free += 1
        return True

    def delay_after(self, diagnosis: Diagnosis, *, quick: bool) -> float:
        """Return the seconds to wait after an end of the child that was diagnosed, and count the attempt if it counts.

        `quick`: it was up, and others of its tunnel serve meanwhile: its end is no failed try.
        """
        match diagnosis.action:
            case Action.RESTART_RATE_LIMITED:
                self.attempt += 1
                delay = RATE_LIMITED.delay(self.attempt)
                self._out.add(do.RememberRateLimit(delay, self.attempt))
            case (
                Action.WAIT
            ):  # no network: the try did not count, and the next would fail alike; the network's return ends the wait
                self._offline += 1
                delay = RESTART.delay(max(self._offline, self.attempt))
            case _ if quick:
                delay = REPLICA.delay(self._quick)
                self._quick += 1
            case _:
                delay = self._next_delay(_schedule(diagnosis))
        return delay

    def _next_delay(self, schedule: Schedule) -> float:
        self._offline = 0
        self.attempt += 1
        return schedule.delay(self.attempt, jitter=self._jitter())

    def announce(self, delay: float, reason: str) -> None:
        """Publish that the child is started again in `delay` seconds."""
        self._last_delay = delay
        self._publish_scheduled(delay, reason)

    def announce_now(self, reason: str) -> None:
        """Publish that the child is replaced at once; the wait before it stays the last one."""
        self._publish_scheduled(0.0, reason)

    def watch(self, *, steady: bool) -> None:
        """Take in whether the connector does its part: once it has done so for long enough (timer steady), it is settled."""
        if steady:
            if "steady" not in self._out.timers and self._is_remembered:
                self._out.set_timer("steady", steady_after(self._last_delay))
        else:
            self._out.drop_timer("steady")

    @property
    def _is_remembered(self) -> bool:
        return self.attempt > 0 or self._free > 0 or self._quick > 1 or self._offline > 0

    def settle(self) -> None:
        """Forget the attempts, and the free restarts: the tunnel has stayed ready for long enough."""
        self._free = 0
        self._quick = 1
        self.forget_attempts(steady_after(self._last_delay))

    def forget_attempts(self, after: float = 0.0) -> None:
        """Begin again with the shortest wait."""
        self._offline = 0
        if self.attempt:
            self.attempt = 0
            self._out.publish(events.AttemptsForgotten(tunnel=self._name, after=after))

    # ------------------------------------------------------------------ replacing a child that lives

    def schedule(self, diagnosis: Diagnosis, lasted: float) -> bool:
        """Schedule a replacement, or renew the reason of the one that is; return whether its wait is over.

        lasted: seconds since the fault began. A child that is seen to do nothing but wait, while a fresh one of a named tunnel
        would be connected at once, has been watched for so long already: they are a part of the wait of the schedule.
        """
        if diagnosis.cause is self._in_vain and diagnosis.action is Action.COUNT:
            self.cancel(diagnosis)  # of what was scheduled for another cause, which is over
            return False  # it has been tried, and has changed nothing
        if self._pending is not None:
            self._pending = diagnosis
            return self._due
        self._pending = diagnosis
        self._replacements += 1
        schedule = _schedule(diagnosis)
        delay = self._next_delay(schedule)
        if not self._costs_url():  # one after which the tunnel was well is no failed try
            delay = min(delay, schedule.delay(self._replacements, jitter=self._jitter()))
            if diagnosis.cause in _WATCHED:
                delay = max(0.0, delay - lasted)
        self._out.set_timer("replace", delay)
        self.announce(delay, diagnosis.reason)
        self._due = delay == 0.0
        return self._due

    def make_due(self) -> None:
        """Take in that the wait is over: the next failure carries the replacement out."""
        self._due = True

    def carry_out(self, diagnosis: Diagnosis) -> None:
        """Take in that the child is being replaced for `diagnosis`: the attempt counts."""
        attempt, replacements = self.attempt, self._replacements
        self.drop()
        self.attempt, self._replacements = attempt, replacements
        self._in_vain = diagnosis.cause

    def cancel(self, diagnosis: Diagnosis) -> None:
        """Keep the child: it has come back, or what is wrong now cannot be helped by a restart."""
        if self._pending is not None:
            self.drop()
            self._out.publish(events.RestartCancelled(tunnel=self._name, attempt=self.attempt, reason=diagnosis.reason))

    def drop(self) -> None:
        """Forget a scheduled replacement, and with it the attempt that it would have been."""
        if self._pending is None:
            return
        self._out.drop_timer("replace")
        self._pending = None
        self._due = False
        self.attempt = max(0, self.attempt - 1)
        self._replacements = max(0, self._replacements - 1)

    def forget_vain(self) -> None:
        """Take in that something has changed: what a replacement did not help before, it may help now."""
        self._in_vain = None

    def may_help_again(self) -> None:
        """Take in that the tunnel is well: a replacement for a former cause is worth another try."""
        self.forget_vain()
        if self._pending is None:
            self._replacements = 0

    def _publish_scheduled(self, delay: float, reason: str) -> None:
        self._out.publish(
            events.RestartScheduled(
                tunnel=self._name, delay=delay, attempt=self.attempt, reason=reason, costs_url=self._costs_url()
            )
        )


def _schedule(diagnosis: Diagnosis) -> Schedule:
    return REFUSED if diagnosis.cause is Cause.REFUSED else RESTART
