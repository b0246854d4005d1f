"""The live panel on a terminal: redrawn at each event and once a second; the story scrolls above it.

Nothing here waits for the terminal: a stopped one (Ctrl-S) misses frames and nothing else.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.text import Text

from prx.core.events import Event, Phase, UrlChanged
from prx.core.status import TunnelStatus
from prx.runtime.host.clock import Clock
from prx.ui.panel import Progress, panel
from prx.ui.views import Detail, View, line_for_screen
from prx.ui.writer import NonBlockingWriter

_EVERY = 1.0  # seconds between two drawings while nothing happens: the waits count down


class _OutletFile(io.StringIO):
    """What rich writes to: each flush goes to the writer as one piece, or is dropped while the terminal takes nothing."""

    def __init__(self, writer: NonBlockingWriter, fd: int) -> None:
        super().__init__()
        self._writer = writer
        self._fd = fd

    def flush(self) -> None:
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        if text:
            self._writer.offer(text)

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def fileno(self) -> int:
        return self._fd


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
        self._console = Console(file=_OutletFile(writer, fd))
        self._live = Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._statuses = statuses
        self._clock = clock
        self._detail = detail
        self._prints_urls = prints_urls
        self._progress: dict[str, Progress] = {}

    async def show(self, event: Event) -> None:
        """Take in `event` and draw."""
        fact = event.fact
        if isinstance(fact, Phase):
            self._progress.setdefault(fact.tunnel, Progress()).reach(fact.phase, fact.elapsed_ms / 1000)
        line = line_for_screen(event, self._detail)
        if isinstance(fact, UrlChanged) and self._prints_urls:
            self._console.print(Text(fact.url))
        elif line is not None and not isinstance(fact, Phase | UrlChanged):  # these two are in the panel
            self._console.print(Text(line.text, style=_STYLES.get(line.level, "")))
        self._draw()

    async def tick(self) -> None:
        """Draw once a second: waits count down."""
        while True:
            self._draw()
            await self._clock.sleep(_EVERY)

    def close(self) -> None:
        """Take the panel away; the story above it stays."""
        self._live.stop()
        super().close()

    def _draw(self) -> None:
        if not self._live.is_started:
            self._live.start()
        size = self._console.size
        shown = panel(self._statuses(), self._progress, now=self._clock.wall(), size=(size.width, size.height))
        self._live.update(shown, refresh=True)


_STYLES = {"debug": "dim", "warn": "yellow", "error": "red"}
