"""When a visitor leaves, as opposed to one who has asked and still listens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

HALF_CLOSED_SECONDS: Final = 5.0  # that a visitor who says no more is taken for one who still listens


class WatchedProtocol(asyncio.StreamReaderProtocol):
    """Feeds a reader, and calls `left` when the visitor leaves."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        super().__init__(reader)
        self._reader = reader
        self._left: Callable[[], object] | None = None
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # done when the connection is gone
        self._patience: asyncio.TimerHandle | None = None
        self._lost = False

    def watch(self, left: Callable[[], object] | None) -> None:
        """Call `left`, and only that, when the visitor leaves."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        self._left = left
        if left is not None and self._reader.at_eof():
            self._take_end()

    def data_received(self, data: bytes) -> None:
        """Take bytes of the next request."""
        self._left = None
        super().data_received(data)

    def eof_received(self) -> bool | None:
        """Take note of the end; over TLS the connection ends with it."""
        half_open = super().eof_received()
        self._take_end()
        return half_open

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note of the end, or of a break."""
        super().connection_lost(exc)
        self._lost = True
        if not self.over.done():
            self.over.set_result(None)
        self._notify()

    def _take_end(self) -> None:
        if self._lost:
            self._notify()
        elif self._left is not None:
            self._patience = asyncio.get_running_loop().call_later(HALF_CLOSED_SECONDS, self._notify)

    def _notify(self) -> None:
        left = self._left
        self.watch(None)
        if left is not None:
            left()
