"""The live panel on a terminal: redrawn at each event and once a second; the story scrolls above it.

The panel says how it is now, the story what has been: a verdict is written into the story when it is over, with the time of
day and how long it lasted, so that nothing stands on the screen twice. Nothing here waits for the terminal: a stopped one
(Ctrl-S) misses frames and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from prx.core.conditions import CONDITIONS
from prx.core.events import Event, Log, Phase, UrlChanged, VerdictChanged
from prx.core.status import TunnelStatus
from prx.core.verdicts import summary
from prx.logs.text import printable
from prx.runtime.host.clock import Clock
from prx.ui.painter import Painter
from prx.ui.panel import PHASES, Progress, panel_lines
from prx.ui.text import seconds, wrapped
from prx.ui.views import Detail, View, line_for_screen
from prx.ui.writer import NonBlockingWriter

_EVERY = 1.0  # seconds between two drawings while nothing happens: the waits count down
_STYLES = {"debug": "dim", "warn": "dark_orange3", "error": "red"}


@dataclass(frozen=True, slots=True)
class _Trouble:
    """A verdict that is in force, and is none to be pleased with."""

    at: float
    words: str
    since: float  # on the clock that cannot be set


class LiveView(View):
    """Draw the panel of `statuses()` on the terminal `fd` behind `writer`; lines of the story go above it, in `detail`.

    `prints_urls`: stdout is the same terminal, so the line with each verified URL has to go above the panel too.
    """

    def __init__(
        self,
        writer: NonBlockingWriter,
        fd: int,
        *,
        statuses: Callable[[], tuple[TunnelStatus, ...]],
        clock: Clock,
        detail: Detail,
        prints_urls: bool,
    ) -> None:
        super().__init__(writer)
        self._fd = fd
        self._painter = Painter(Console(force_terminal=True, width=1_000), writer.offer)
        self._statuses = statuses
        self._clock = clock
        self._detail = detail
        self._prints_urls = prints_urls
        self._progress: dict[str, Progress] = {}
        self._troubles: dict[str, _Trouble] = {}

    async def show(self, event: Event) -> None:
        """Take in `event` and draw."""
        match event.fact:
            case Phase(tunnel=tunnel, phase=phase, elapsed_ms=elapsed):
                self._reach(tunnel, phase, elapsed / 1000)
            case UrlChanged(url=url, old=old):
                if self._prints_urls:
                    self._painter.tell(Text(printable(url)))
                if old and old != url:
                    self._write_line(event)
            case VerdictChanged():
                self._write_trouble(event.fact.tunnel)
                self._begin_trouble(event, event.fact)
            case Log(fields={"in_flight": _}) if self._says(event.fact.tunnel, event.fact.message):
                pass  # the panel has it
            case _:
                self._write_line(event)
        self._draw()

    async def tick(self) -> None:
        """Draw once a second, because waits count down, and when the window has another size."""
        with self._drawing_on_resize():
            while True:
                self._draw()
                await self._clock.sleep(_EVERY)

    def close(self) -> None:
        """Take the panel away; the story above it stays."""
        for tunnel in list(self._troubles):
            self._write_trouble(tunnel)
        self._painter.close(self._size()[0])
        super().close()

    def _reach(self, tunnel: str, phase: str, elapsed: float) -> None:
        progress = self._progress.setdefault(tunnel, Progress())
        progress.reach(phase, elapsed)
        if phase == PHASES[-1] and self._detail.threshold in {"debug", "info"}:
            self._write(f"{self._named(tunnel)}{progress.words()}", "dim")

    def _write_line(self, event: Event) -> None:
        if line := line_for_screen(event, self._detail):
            self._write(line.text, _STYLES.get(line.level, ""))

    def _begin_trouble(self, event: Event, fact: VerdictChanged) -> None:
        if CONDITIONS[fact.new].level == "warn" and line_for_screen(event, self._detail):
            self._troubles[fact.tunnel] = _Trouble(event.at, summary(fact.new, fact.reason), self._clock.boottime())

    def _write_trouble(self, tunnel: str) -> None:
        if trouble := self._troubles.pop(tunnel, None):
            lasted = seconds(round(self._clock.boottime() - trouble.since))
            at = time.strftime("%H:%M:%S", time.localtime(trouble.at))
            self._write(f"{at} {self._named(tunnel)}{printable(trouble.words)} · {lasted}", "")

    def _says(self, tunnel: str, message: str) -> bool:
        return any(status.name == tunnel and status.reason == message for status in self._statuses())

    def _named(self, tunnel: str) -> str:
        return f"{tunnel}: " if self._detail.named else ""

    def _write(self, text: str, style: str) -> None:
        for line in wrapped(text, self._size()[0]):
            self._painter.tell(Text(line, style=style))

    def _draw(self) -> None:
        size = self._size()
        lines = panel_lines(self._statuses(), self._progress, now=self._clock.wall(), size=size)
        self._painter.draw(lines, size[0])

    def _size(self) -> tuple[int, int]:
        """Return columns and lines: of the terminal, else as the environment says, else 80 × 24."""
        size = None
        with suppress(OSError):
            size = os.get_terminal_size(self._fd)
        given = [os.environ.get(name, "") for name in ("COLUMNS", "LINES")]
        columns, lines = (int(word) if word.isdecimal() else 0 for word in given)
        return (size.columns if size else 0) or columns or 80, (size.lines if size else 0) or lines or 24

    @contextmanager
    def _drawing_on_resize(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        try:
            loop.add_signal_handler(signal.SIGWINCH, self._draw)
        except (ValueError, RuntimeError):  # not the main thread: the next second draws
            yield
            return
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGWINCH)
