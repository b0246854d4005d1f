"""When the next check is due: at once after a change, then less and less often, once an interval while all is well."""

from __future__ import annotations

# Checks after a change: quick at first, so that a start is seen within a quarter of a second, then every five seconds.
PACE = (0.25, 0.25, 0.25, 0.25, 0.5, 0.5, 1.0, 1.0, 2.0, 2.0, 5.0)
# Of a start that shows nothing a check finds out as little as that of a moment ago: only time can change the verdict.
SILENT_SHARE = 0.5  # of the silence so far; what the child logs, or answers when it is asked beside the checks, ends the wait
CHECK_LIMIT = 30.0  # seconds; a round that takes longer is given up (the runtime bounds it at a third of this)
ASK_AGAIN_AT_MOST = 3600.0  # seconds; a Retry-After beyond that is not believed


def rest_of(silent_for: float, startup_timeout: float) -> float:
    """Return the seconds for which another check of a child cannot find out more; 0 if it can.

    `silent_for`: how long it has neither answered nor logged anything of a connection since its start; 0 if it has. After
    `startup_timeout` seconds it has failed to start.
    """
    return max(0.0, min(silent_for * SILENT_SHARE, startup_timeout - silent_for))


class Cadence:
    """The checks of one run of the child. Times are monotonic seconds and come in as arguments.

    under_way: a check has been asked for and has not come back.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin again: there is another child."""
        self.under_way = self._again = False
        self._checks = 0
        self._not_before = 0.0

    def hurry(self) -> None:
        """Take in that something has changed: the next checks follow each other quickly."""
        self._checks = 0

    def begin(self) -> bool:
        """Return whether a check may begin now; while one is under way, another one follows it."""
        if self.under_way:
            self._again = True
            return False
        self.under_way = True
        return True

    def finish(self) -> bool:
        """Take in that a check has come back, or was given up; return whether another one is due at once."""
        self.under_way = False
        again, self._again = self._again, False
        return again

    def give_up(self) -> None:
        """Take in that the check under way has outlived its limit."""
        self.under_way = False

    def spare(self, now: float, asked: float | None, interval: float) -> None:
        """Take in that the public URL asks not to be asked again for `asked` seconds; None: it does not, by the newest check.

        What was asked before holds no longer then: a connector that has lost its connections is watched all the same.
        """
        self._not_before = 0.0 if asked is None else now + max(interval, min(asked, ASK_AGAIN_AT_MOST))

    def next_in(self, now: float, interval: float, *, well: bool, rest: float = 0.0) -> float:
        """Return the seconds until the next check: the interval when all is well, sooner while it is not, after `rest`."""
        asked = self._not_before - now
        if well:
            return max(interval, asked)
        pace = PACE[min(self._checks, len(PACE) - 1)]
        self._checks += 1
        return max(min(max(pace, rest), interval), asked)
