"""How a child process ended: by a code, by a signal, or in a way that cannot be known any more."""

from __future__ import annotations

import signal as signals

from prx.core.value import Value, value_class


@value_class(frozen=True, slots=True, eq=False, repr=False)
class ExitStatus(Value):
    """Say how a process ended: exactly one of `code` (0–255) and `signal` (1–64) is set, or neither when unknown.

    Neither is set only if another process collected the exit status (SIGCHLD ignored by the parent of prx).
    """

    code: int | None = None
    signal: int | None = None

    @property
    def clean(self) -> bool:
        """Return whether the process ended by itself with code 0."""
        return self.code == 0

    def __str__(self) -> str:
        if self.signal is not None:
            return f"killed by {signal_name(self.signal)}"
        return "ended, status unknown" if self.code is None else f"exit code {self.code}"


def signal_name(number: int) -> str:
    """Name a signal ("SIGKILL"); a number without a name becomes "signal 40"."""
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"
