"""Speak to the local service, one request at a time: what an exchange is, and how HTTP/1.1 does it.

Failures are worded as cloudflared 2026.8.2 words them, because its log lines carry those words. Connections are opened
and kept by `prx.connector.origin_pool`.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Protocol

import h11

from prx.connector.go_errors import errno_text

Headers = list[tuple[bytes, bytes]]

_CHUNK: Final = 64 * 1024  # bytes asked of the socket at once
_MAX_HEAD: Final = 256 * 1024  # bytes of an answer's head


class OriginError(Exception):
    """Say why the origin could not be reached or did not finish its answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Hold the head of the origin's answer; `switched` after 101."""

    status: int
    reason: str
    headers: Headers

    @property
    def switched(self) -> bool:
        """Tell whether the connection now carries something else than HTTP."""
        return self.status == 101


class OriginExchange(Protocol):
    """Carry one request to the origin and its answer back; every waiting method raises OriginError.

    `reused`: the connection is not new, so that it may have died unnoticed. `trailers` are known at the end of `body`.
    """

    reused: bool
    trailers: Headers

    async def send_head(self, method: bytes, target: bytes, headers: Headers, *, has_body: bool) -> None:
        """Send the head of the request, with the headers that HTTP/1.1 would have."""

    async def send_body(self, data: bytes) -> None:
        """Send a part of the request body; wait while the origin is slow."""

    async def end_request(self, trailers: Headers) -> None:
        """Say that the request is whole."""

    async def answer(self) -> "Answer":
        """Wait for the head of the answer; interim answers other than 101 are dropped."""

    def body(self) -> AsyncIterator[bytes]:
        """Give the parts of the answer's body as they arrive."""

    def close(self) -> None:
        """Give up what is not finished."""


class OriginConnection:
    """Carry one exchange at a time over a connection to the origin."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.reused = False
        self.idle_since = 0.0
        self.trailers: Headers = []
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)

    @property
    def usable(self) -> bool:
        """Tell whether the origin has left the connection open."""
        return not (self.reader.at_eof() or self.writer.is_closing())

    async def send_head(self, method: bytes, target: bytes, headers: Headers, *, has_body: bool) -> None:
        """Send the request line and headers; raise OriginError where HTTP/1.1 forbids what they hold."""
        try:
            await self._send(h11.Request(method=method, target=target, headers=headers))
        except h11.LocalProtocolError as error:
            raise OriginError(f"the request cannot be sent as HTTP/1.1: {error}") from None

    async def send_body(self, data: bytes) -> None:
        """Send a part of the request body; wait while the origin is slow."""
        await self._send(h11.Data(data=data))

    async def end_request(self, trailers: Headers) -> None:
        """Say that the request is whole; trailers only behind a body in chunks."""
        await self._send(h11.EndOfMessage(headers=trailers))

    async def answer(self) -> Answer:
        """Wait for the head of the answer; interim answers other than 101 are dropped."""
        while True:
            event = await self._next_event("EOF")
            if isinstance(event, h11.InformationalResponse) and event.status_code != 101:
                continue
            if isinstance(event, h11.InformationalResponse | h11.Response):
                headers = [(bytes(name), bytes(value)) for name, value in event.headers.raw_items()]
                return Answer(event.status_code, event.reason.decode("latin-1"), headers)

    async def body(self) -> AsyncIterator[bytes]:
        """Give the parts of the answer's body as they arrive; `trailers` is filled at the end."""
        while True:
            event = await self._next_event("unexpected EOF")
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self.trailers = [(bytes(name), bytes(value)) for name, value in event.headers.raw_items()]
                return

    def leftover(self) -> bytes:
        """Return what has been read beyond the head of a 101 answer."""
        data, _ = self._http.trailing_data
        return bytes(data)

    def renew(self) -> bool:
        """Make ready for another exchange; tell whether that is possible."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return self.usable

    def close(self) -> None:
        """Close the connection."""
        self.writer.close()

    async def _send(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> None:
        try:
            if data := self._http.send(event):
                self.writer.write(data)
                await self.writer.drain()
        except h11.LocalProtocolError as error:
            if isinstance(event, h11.Request):
                raise
            raise OriginError(f"the request body does not match its headers: {error}") from None
        except OSError as error:
            raise OriginError(f"write: {errno_text(error)}") from None

    async def _next_event(self, at_end: str) -> object:
        """Return the next event of the answer; `at_end` words an end that comes too early."""
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                data = await self.reader.read(_CHUNK)
                if not data and self._http.their_state is h11.SEND_RESPONSE:
                    raise OriginError(at_end)
                self._http.receive_data(data)
        except h11.RemoteProtocolError as error:
            if self.reader.at_eof():
                raise OriginError(at_end) from None
            raise OriginError(f"net/http: HTTP/1.x transport connection broken: {error}") from None
        except OSError as error:
            raise OriginError(f"read: {errno_text(error)}") from None
        if isinstance(event, h11.ConnectionClosed):
            raise OriginError(at_end)
        return event
