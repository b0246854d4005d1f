"""How a child process ended: by a code, by a signal, or in a way that nobody can know any more."""

from __future__ import annotations

import signal as signals
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """Say how a process ended: exactly one of `code` (0–255) and `signal` (1–64) is set, or neither when unknown.

    Neither is set only where somebody else collected the exit status (SIGCHLD ignored by whoever started prx).
    """

    code: int | None = None
    signal: int | None = None

    @property
    def clean(self) -> bool:
        """Tell whether the process ended by itself with code 0."""
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
