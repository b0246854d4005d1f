"""Choose the views of a run, and feed them with events while it lasts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from prx.core.events import Log
from prx.runtime.bus import Bus, Subscription
from prx.runtime.host.clock import Clock
from prx.ui.views import Detail, JsonView, LineView, UrlView, View
from prx.ui.writer import NonBlockingWriter

_STDOUT, _STDERR = 1, 2
_LAST_WORDS_SECONDS = 1.0  # for readers that have stalled; others take everything at once
_AT_ONCE = 63  # events that are shown with one that has come


def is_smart_terminal(fd: int) -> bool:
    """Return whether `fd` is a terminal whose cursor can be moved."""
    return os.isatty(fd) and os.environ.get("TERM", "") not in {"", "dumb"}


def choose_views(*, as_json: bool, detail: Detail, bus: Bus, clock: Clock, plain: bool = False) -> list[View]:
    """Return the view for stdout (URLs, or events as JSON) and the one for stderr (a live panel on a terminal, else lines).

    If both are the same terminal one of them has to write everything: with JSON there is no panel, else the panel has the
    URLs written above it, and the lines on it leave out what stdout has said. `plain`: lines, also on a terminal.
    """
    loop = asyncio.get_running_loop()

    def lost(words: str) -> None:
        message = f"stdout takes no more: {words}; what is meant for it is lost as long as that lasts"
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(bus.publish, Log(tunnel="", level="warn", message=message))

    data = JsonView if as_json else UrlView
    same = os.path.sameopenfile(_STDOUT, _STDERR)
    if plain or not is_smart_terminal(_STDERR) or (as_json and same):
        return [
            data(NonBlockingWriter(_STDOUT, lost)),
            LineView(NonBlockingWriter(_STDERR), detail, has_urls=same and not as_json and os.isatty(_STDERR)),
        ]
    from prx.ui.live import LiveView

    panel = LiveView(NonBlockingWriter(_STDERR), _STDERR, statuses=bus.statuses, clock=clock, detail=detail, prints_urls=same)
    return [panel] if same else [data(NonBlockingWriter(_STDOUT, lost)), panel]


@asynccontextmanager
async def showing(views: Sequence[View], bus: Bus) -> AsyncIterator[None]:
    """Feed `views`, each at its own pace, while the block lasts; after it each shows what is left, and is closed."""
    async with asyncio.TaskGroup() as group:
        feeds = [group.create_task(_feed(view, bus.subscribe()), name=type(view).__name__) for view in views]
        try:
            yield
        finally:
            bus.close()
            await asyncio.wait(feeds, timeout=_LAST_WORDS_SECONDS)
            for feed in feeds:
                feed.cancel()


async def _feed(view: View, events: Subscription) -> None:
    with events:
        try:
            async with asyncio.TaskGroup() as group:
                tick = group.create_task(view.tick(), name="tick")
                async for event in events:
                    await view.show_all([event, *events.take(_AT_ONCE)])
                tick.cancel()
        finally:
            view.close()
