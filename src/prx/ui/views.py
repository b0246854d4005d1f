"""The plain renderings of the events: URLs or JSON for stdout, lines for stderr."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from prx.core.events import Event, StateChanged, UrlChanged, VerdictChanged
from prx.ui.event_lines import Line, describe
from prx.ui.writer import NonBlockingWriter


@dataclass(slots=True)
class Detail:
    """How much of the story is shown: lines from `threshold` (debug, info, warn, error) on, each with its tunnel if `named`.

    A reload may change both while views use it.
    """

    threshold: str
    named: bool


class View(ABC):
    """One rendering of the events, written to `writer`."""

    def __init__(self, writer: NonBlockingWriter) -> None:
        self.writer = writer

    @abstractmethod
    async def show(self, event: Event) -> None:
        """Render one event."""

    async def show_all(self, events: Sequence[Event]) -> None:
        """Render events that came at once, in order."""
        for event in events:
            await self.show(event)

    async def tick(self) -> None:
        """Render what changes with time alone, forever; most views have nothing of the kind."""
        return

    def close(self) -> None:
        """Leave the screen in order; nothing is shown after this."""
        self.writer.close()


class UrlView(View):
    """Each verified URL, alone on a line."""

    async def show(self, event: Event) -> None:
        """Write the URL if `event` reports a newly verified one."""
        if isinstance(event.fact, UrlChanged):
            await self.writer.write(f"{event.fact.url}\n")


class JsonView(View):
    """One event per line, as JSON."""

    async def show(self, event: Event) -> None:
        """Write `event`."""
        await self.show_all([event])

    async def show_all(self, events: Sequence[Event]) -> None:
        """Write events that came at once in one piece: each write is a journey to the writing thread and back."""
        await self.writer.write("".join(json.dumps(event.to_json(), default=str) + "\n" for event in events))


class LineView(View):
    """The story as plain lines, in the `detail` that is wanted; a first URL is left out if `has_urls`: it is there already."""

    def __init__(self, writer: NonBlockingWriter, detail: Detail, *, has_urls: bool = False) -> None:
        super().__init__(writer)
        self._detail = detail
        self._has_urls = has_urls

    async def show(self, event: Event) -> None:
        """Write the line for `event`, if there is one."""
        if self._has_urls and isinstance(event.fact, UrlChanged) and event.fact.proven and not event.fact.old:
            return
        line = line_for_screen(event, self._detail)
        if line is not None:
            mark = f"{line.level}: " if line.level in {"warn", "error"} else ""
            await self.writer.write(f"{mark}{line.text}\n")


def line_for_screen(event: Event, detail: Detail) -> Line | None:
    """Return the line of the story to show; None if there is none, or if the command's own last words say the same."""
    if not detail.named and isinstance(event.fact, StateChanged | VerdictChanged) and event.fact.new.is_final:
        return None  # the only tunnel: the command ends with this as its error
    line = describe(event, named=detail.named)
    return line if line is not None and line.shown_at(detail.threshold) else None
