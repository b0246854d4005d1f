"""What signals mean to a running prx.

SIGINT and SIGTERM: the first one asks for a graceful stop, the second one for an end at once, further ones change nothing.
SIGTERM twice in one moment is one: timeout(1) sends it to its child and then to the whole group, 0.06 to 0.09 ms apart.
SIGHUP: read the configuration again; many at once count as one. But if it comes because the terminal is gone, it asks for a
stop: a closed window must not leave a machine public. Who wants that uses `nohup` (then SIGHUP is ignored, as it
was at the start) or `--detach`.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from types import TracebackType

from prx.runtime.host.terminal import has_terminal

_ONE_MOMENT = 0.0005  # seconds; no script that sees the stop begin answers in so short a time


class Signals:
    """Hand signals over on the running loop while the `with` block lasts; `stop()`, `kill(number)`, `reload()` are called."""

    def __init__(self, *, stop: Callable[[], None], kill: Callable[[int], None], reload: Callable[[], None]) -> None:
        self._stop = stop
        self._kill = kill
        self._reload = reload
        self._ending = 0
        self._terminated_just_now = False
        self._reload_waits = False
        self._has_terminal = has_terminal()
        self._caught: list[int] = []

    def __enter__(self) -> Signals:
        self._loop = asyncio.get_running_loop()
        self._catch(signal.SIGINT, self._on_ending)
        self._catch(signal.SIGTERM, self._on_ending)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self._catch(signal.SIGHUP, self._on_hangup)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number in self._caught:
            self._loop.remove_signal_handler(number)

    def _catch(self, number: int, handler: Callable[[int], None]) -> None:
        self._loop.add_signal_handler(number, handler, number)
        self._caught.append(number)

    def _on_ending(self, number: int) -> None:
        if number == signal.SIGTERM:
            if self._terminated_just_now:
                return
            self._terminated_just_now = True
            self._loop.call_later(_ONE_MOMENT, self._loop.call_soon, self._moment_is_over)  # behind what has come meanwhile
        self._ending += 1
        if self._ending == 1:
            self._stop()
        elif self._ending == 2:
            self._kill(number)

    def _moment_is_over(self) -> None:
        self._terminated_just_now = False

    def _on_hangup(self, number: int) -> None:
        if self._has_terminal and not has_terminal():
            self._has_terminal = False  # it comes once for the terminal; what comes later is meant as a reload
            if not self._ending:
                self._on_ending(number)
        elif not self._reload_waits and not self._ending:
            self._reload_waits = True
            self._loop.call_soon(self._reload_now)

    def _reload_now(self) -> None:
        self._reload_waits = False
        if not self._ending:
            self._reload()
