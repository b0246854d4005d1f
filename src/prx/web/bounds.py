"""An HTTP connection that cannot be held open for nothing: bounded in number, in the time until a request, and in size.

uvicorn waits for a first request without end, and closes a connection whose client does not read only once it has read. So the
protocol counts connections, ends those that send no whole head in time, and can be ended at once by the address of its client.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS: Final = 512
HEAD_BYTES: Final = 16 * 1024
HEAD_SECONDS: Final = 10.0
WAITING_BYTES: Final = 64 * 1024 * 1024


class Connections:
    """The open connections of one server. `most_waiting`: bytes of answers that clients may leave unread, all together."""

    def __init__(self, most: int = MOST_CONNECTIONS, head_seconds: float = HEAD_SECONDS) -> None:
        self.most = most
        self.head_seconds = head_seconds
        self.most_waiting = WAITING_BYTES
        self.refused = 0
        self._open: dict[Any, asyncio.Transport] = {}

    def __len__(self) -> int:
        return len(self._open)

    @property
    def is_clogged(self) -> bool:
        """Return whether clients that do not read their answers hold so much memory that there is none for another one."""
        return sum(transport.get_write_buffer_size() for transport in self._open.values()) > self.most_waiting

    def add(self, transport: asyncio.Transport) -> bool:
        """Return whether one more connection is taken."""
        if len(self._open) >= self.most:
            self.refused += 1
            return False
        self._open[_client(transport)] = transport
        return True

    def remove(self, transport: asyncio.BaseTransport) -> None:
        """Forget a connection that has ended."""
        self._open.pop(_client(transport), None)

    def abort(self, client: tuple[str, int] | None) -> None:
        """End a connection at once, with what waits to be sent."""
        transport = self._open.get(client)
        if transport is not None:
            transport.abort()


def _client(transport: asyncio.BaseTransport) -> tuple[str, int] | None:
    peer = transport.get_extra_info("peername")
    return (str(peer[0]), int(peer[1])) if peer else None


def bounded(connections: Connections) -> type[H11Protocol]:
    """Return a protocol for uvicorn whose connections are those of `connections`."""

    class BoundedProtocol(H11Protocol):
        """One connection."""

        _waiting: asyncio.TimerHandle | None = None
        _taken = False

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # what asyncio calls it with
            """Take the connection, or end it."""
            self._taken = connections.add(transport)
            super().connection_made(transport)
            if self._taken:
                self._wait_for_head()
            else:
                transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            """Forget the connection."""
            if self._taken:
                connections.remove(self.transport)
            if self._waiting is not None:
                self._waiting.cancel()
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            """Wait for the next request."""
            super().on_response_complete()
            if not self.transport.is_closing():
                self._wait_for_head()

        def _wait_for_head(self) -> None:
            if self._waiting is not None:
                self._waiting.cancel()
            self._waiting = self.loop.call_later(connections.head_seconds, self._too_late)

        def _too_late(self) -> None:
            cycle = self.cycle
            if cycle is None or cycle.response_complete:
                self.transport.abort()

    return BoundedProtocol
