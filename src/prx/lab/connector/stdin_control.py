"""Obey commands from stdin (`--stdin-control`): `reconnect [DELAY]` restarts a connection chosen by chance, `help` names that.

Read in a thread of its own, because stdin may be anything, files and terminals too. Observed with cloudflared 2026.8.2.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Final

from prx.core.durations import format_duration, parse_duration
from prx.lab.connector.log import Log

_MAX_LINE: Final = 64 * 1024
_HELP: Final = (
    "Supported command:\nreconnect [delay]\n- restarts one randomly chosen connection with optional delay before reconnect\n"
)


class StdinControl:
    """A reader of commands, which calls `reconnect(delay in seconds)` on the event loop."""

    def __init__(self, log: Log, reconnect: Callable[[float], None], *, descriptor: int = 0) -> None:
        self._log = log
        self._reconnect = reconnect
        self._descriptor = descriptor

    def start(self) -> None:
        """Begin to read; the thread ends with the input, or with the process."""
        self._log.info("Enabling control through stdin")
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(loop,), name="stdin control", daemon=True).start()

    def obey(self, line: str) -> None:
        """Obey one command."""
        word, _, argument = line.partition(" ")
        match word:
            case "":
                pass
            case "reconnect":
                try:
                    delay = parse_duration(argument) if argument else 0.0
                except ValueError:
                    self._log.error(f'time: invalid duration "{argument}"')
                    return
                self._log.info(f"Sending {{Delay:{format_duration(delay)}}}")
                self._reconnect(delay)
            case "help":
                self._log.info(_HELP)
            case _:
                self._log.info("Unknown command", command=line)
                self._log.info(_HELP)

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting = b""
        while True:
            try:
                data = os.read(self._descriptor, 4096)
            except OSError:
                return
            if not data:
                return
            *lines, waiting = (waiting + data).split(b"\n")
            waiting = waiting[:_MAX_LINE]
            for line in lines:
                try:
                    loop.call_soon_threadsafe(self.obey, line.rstrip(b"\r").decode("utf-8", "replace"))
                except RuntimeError:  # the event loop has ended
                    return
