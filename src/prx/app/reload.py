"""Reading the configuration again while tunnels run: asked for by `prx reload`, by SIGHUP, or because a file has changed.

Secrets may come from programs and keyrings that take seconds, so the reading is done in a thread, and no caller waits for that
thread when prx ends. Reloads come one after the other. A configuration with mistakes changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from prx.config.load import Loaded
from prx.core.errors import PrxError, ShortageError
from prx.core.shortage import lack_of
from prx.secrets.blocking import start_in_thread


class Source(Protocol):
    """Where a configuration comes from, and what goes by it."""

    def has_changed(self) -> bool:
        """Return whether something that the configuration comes from has changed since this was asked last."""

    def read(self) -> Loaded:
        """Return the configuration as it is now; raise PrxError, with every mistake. Called in a thread: it may block."""

    def take(self, loaded: Loaded, *, asked: bool) -> list[str]:
        """Put a configuration in force and return what that changes, in words.

        `asked`: the user wants it, and has accepted what it costs; else a file was seen to have changed.
        """


class Reloader:
    """Decides when `source` is read again; `around` encloses each reload."""

    def __init__(
        self, source: Source, *, around: Callable[[], AbstractContextManager[None]], refused: Callable[[str], None]
    ) -> None:
        self._source = source
        self._around = around
        self._refused = refused
        self._wanted = asyncio.Event()
        self._asked = False
        self._one_at_a_time = asyncio.Lock()

    async def reload(self, *, asked: bool = True) -> list[str]:
        """Reload now and return what has changed, in words; raise PrxError, with every mistake, if that cannot be."""
        async with self._one_at_a_time:
            with self._around():
                try:
                    reading = start_in_thread(self._source.read)
                except RuntimeError as error:
                    if lack := lack_of(error):  # no thread is to be had
                        raise ShortageError(f"it cannot be read now: {error}", hint=lack.hint) from error
                    raise
                return self._source.take(await asyncio.wrap_future(reading), asked=asked)

    def reload_soon(self, *, asked: bool = True) -> None:
        """Reload as soon as it can be done; `refused` is called if that cannot be. Many of these at once are one."""
        self._asked |= asked
        self._wanted.set()

    def reload_if_changed(self) -> None:
        """Reload, unasked, if something that the configuration comes from has changed: a wait for that ends."""
        if self._source.has_changed():
            self.reload_soon(asked=False)

    async def run(self) -> None:
        """Serve `reload_soon` forever."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            asked, self._asked = self._asked, False
            try:
                await self.reload(asked=asked)
            except PrxError as error:
                self._refused("; ".join([error.message, *getattr(error, "problems", ())]))
            except OSError as error:  # no descriptor, no thread: what runs goes on
                self._refused(f"it cannot be read: {error.strerror or error}")
