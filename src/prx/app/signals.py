"""What signals do to a running prx; which one means what is in `prx.core.signal_table`.

A stop (SIGINT, SIGTERM, SIGQUIT): the first one asks for a graceful one, the second one for an end at once, further ones change
nothing. SIGTERM or SIGQUIT twice in one moment is one: timeout(1) sends its signal to its child and then to the whole group,
0.06 to 0.09 ms apart. A limit (SIGALRM, SIGXCPU, SIGPWR) asks for a graceful stop, too, and is not counted.
A reload (SIGHUP): read the configuration again; many at once count as one. But if it comes because the terminal is gone, it
asks for a stop: a closed window must not leave a machine public. Who wants that uses `nohup` (then SIGHUP is ignored, as it
was at the start) or `--detach`.
What means nothing is caught all the same, because its default would end prx without a drain; that it came is said once.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from types import TracebackType

from prx.core.exit_status import signal_name
from prx.core.signal_table import ALWAYS, BY_NUMBER, Meaning, go_on, is_free
from prx.runtime.host.terminal import has_terminal

_ONE_MOMENT = 0.0005  # seconds; no script that sees the stop begin answers in so short a time


class Signals:
    """Hand signals over on the running loop while the `with` block lasts.

    `stop()`, `kill(number)`, `reload()` are called, and `say(words)` for what needs a word: why prx stops, what was ignored.
    """

    def __init__(
        self,
        *,
        stop: Callable[[], None],
        kill: Callable[[int], None],
        reload: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self._stop = stop
        self._kill = kill
        self._reload = reload
        self._say = say
        self._asked = 0  # signals that ask for a stop
        self._stopping = False
        self._just_now = 0  # the one of them that has come in this moment
        self._ignored: set[int] = set()
        self._reload_waits = False
        self._has_terminal = has_terminal()
        self._caught: dict[int, bool] = {}  # whether prx has caught it before, in its first moment

    def __enter__(self) -> Signals:
        self._loop = asyncio.get_running_loop()
        handlers = {
            Meaning.STOP: self._on_ending,
            Meaning.LIMIT: self._on_limit,
            Meaning.RELOAD: self._on_hangup,
            Meaning.NOTHING: self._on_nothing,
        }
        for number, entry in BY_NUMBER.items():
            if number in ALWAYS or is_free(number):
                self._caught[number] = callable(signal.getsignal(number))
                self._loop.add_signal_handler(number, handlers[entry.meaning], number)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, before in self._caught.items():
            self._loop.remove_signal_handler(number)
            if before and BY_NUMBER[number].meaning in {Meaning.LIMIT, Meaning.NOTHING}:
                signal.signal(number, go_on)  # its default would end prx in its last moment

    def _on_ending(self, number: int) -> None:
        if number != signal.SIGINT:
            if self._just_now == number:
                return
            self._just_now = number
            self._loop.call_later(_ONE_MOMENT, self._loop.call_soon, self._moment_is_over)  # behind what has come meanwhile
        self._asked += 1
        if self._asked == 1:
            self._stop_once()
        elif self._asked == 2:
            self._kill(number)

    def _moment_is_over(self) -> None:
        self._just_now = 0

    def _stop_once(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._stop()

    def _on_limit(self, number: int) -> None:
        if not self._stopping:
            self._say(f"{signal_name(number)}: {BY_NUMBER[number].words}; prx stops")
            self._stop_once()

    def _on_hangup(self, number: int) -> None:
        if self._has_terminal and not has_terminal():
            self._has_terminal = False  # it comes once for the terminal; what comes later is meant as a reload
            if not self._stopping:
                self._on_ending(number)
        elif not self._reload_waits and not self._stopping:
            self._reload_waits = True
            self._loop.call_soon(self._reload_now)

    def _reload_now(self) -> None:
        self._reload_waits = False
        if not self._stopping:
            self._reload()

    def _on_nothing(self, number: int) -> None:
        if number not in self._ignored:
            self._ignored.add(number)
            words = BY_NUMBER[number].words
            self._say(f"{signal_name(number)} changes nothing" + (f": {words}" if words else ""))
