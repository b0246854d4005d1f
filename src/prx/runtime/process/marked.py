"""Find what a command has started by a mark in its environment, which stays when it leaves its session, group and pipes.

A server that goes into the background the old way (two forks, a session of its own, its log closed) is found by nothing else
(see `prx.runtime.process.child`). The environment that a process began with is in /proc/PID/environ, for its own user to read;
if there is no /proc, nothing is found.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

VARIABLE = "PRX_SERVICE_ID"


def new_mark() -> dict[str, str]:
    """Return a variable that marks everything that is started with it."""
    return {VARIABLE: os.urandom(8).hex()}


def marked(mark: dict[str, str]) -> list[int]:
    """List the living processes that were started with `mark`."""
    try:
        entries = [entry for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    except OSError:
        return []
    return [int(entry.name) for entry in entries if _bears(int(entry.name), mark)]


def signal_marked(pid: int, mark: dict[str, str], number: int) -> None:
    """Send a signal to a process that bears `mark`, by pidfd and a second check, so that no pid is mistaken."""
    with suppress(OSError, AttributeError):
        process = os.pidfd_open(pid)
        try:
            if _bears(pid, mark):
                signal.pidfd_send_signal(process, number)
        finally:
            os.close(process)


def _bears(pid: int, mark: dict[str, str]) -> bool:
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")  # empty for a zombie
    except OSError:
        return False
    return all(f"{name}={value}".encode() in environ for name, value in mark.items())
