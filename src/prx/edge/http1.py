"""One HTTP/1.1 connection of a visitor, on h11 and asyncio's streams, and the server that accepts them."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Final, TypeAlias

import h11

from prx.protocol.headers import Headers

READ_SIZE: Final = 256 * 1024
MAX_HEAD: Final = 128 * 1024  # bytes of a request's head, as on Cloudflare
IDLE_SECONDS: Final = 75.0  # between requests, and for a whole head to arrive
_LINGER_SECONDS: Final = 1.0
_LINGER_BYTES: Final = 1024 * 1024


_log = logging.getLogger(__name__)

Handler: TypeAlias = "Callable[[Http1Connection], Awaitable[None]]"


class VisitorLeftError(Exception):
    """The visitor closed the connection, or it broke."""


class Http1Connection:
    """A visitor's connection; `scheme` is http or https, `peer` the visitor's address."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, scheme: str) -> None:
        self._reader = reader
        self._writer = writer
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._answers_head = False
        self.trailers: Headers = []  # of the last body that was read to its end
        self.scheme = scheme
        self.peer = str(writer.get_extra_info("peername", ("",))[0])

    async def next_request(self) -> h11.Request | None:
        """Wait for a request's head; None when the visitor leaves or stays idle for too long.

        h11.RemoteProtocolError carries the status to answer with in `error_status_hint`.
        """
        if self._h11.our_state is h11.DONE:
            self._skip_body()
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
        if self._h11.our_state is not h11.IDLE:
            return None
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                event = await self._next_event()
        except (VisitorLeftError, TimeoutError):
            return None
        if not isinstance(event, h11.Request):
            return None
        self._answers_head = event.method == b"HEAD"
        return event

    async def next_data(self) -> bytes | None:
        """Wait for body bytes; None at the end. Asks a visitor who waits for `100 Continue` to go on."""
        if self._h11.they_are_waiting_for_100_continue:
            await self.send(h11.InformationalResponse(status_code=100, headers=[]))
        while True:
            event = await self._next_event()
            if isinstance(event, h11.Data):
                return bytes(event.data)
            if isinstance(event, h11.EndOfMessage):
                self.trailers = list(event.headers)
                return None

    async def read_body(self, limit: int) -> bytes:
        """Wait for the whole body; ValueError when it is longer than `limit` bytes."""
        body = bytearray()
        while (data := await self.next_data()) is not None:
            body += data
            if len(body) > limit:
                raise ValueError(f"the body is longer than {limit} bytes")
        return bytes(body)

    async def watch(self) -> None:
        """Wait until the visitor leaves (VisitorLeftError); returns early where the next request arrives already."""
        self._h11.receive_data(await self._receive())

    async def send(self, event: h11.Event) -> None:
        """Send a part of the response, as fast as the visitor takes it."""
        data = self._h11.send(event)
        if data:
            await self.send_raw(data)

    async def send_raw(self, data: bytes) -> None:
        """Send bytes as they are, after an upgrade."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise VisitorLeftError(str(error)) from error

    async def receive_raw(self) -> bytes:
        """Wait for bytes as they are, after an upgrade; b"" at the end."""
        try:
            return await self._reader.read(READ_SIZE)
        except OSError as error:
            raise VisitorLeftError(str(error)) from error

    def early_bytes(self) -> bytes:
        """Give what the visitor sent right behind an upgrade request, before the first `receive_raw`."""
        return self._h11.trailing_data[0]

    async def respond(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a whole response; the body is left out where the request was a HEAD."""
        length = (b"Content-Length", b"%d" % len(body))
        await self.send(h11.Response(status_code=status, headers=[*headers, length]))
        if not self._answers_head:
            await self.send(h11.Data(data=body))
        await self.send(h11.EndOfMessage())

    async def abort(self) -> None:
        """Break the connection, so that the visitor sees that the response is not whole; nothing after `close`."""
        self._writer.transport.abort()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def close(self) -> None:
        """Close orderly: let the visitor read the response although it may still be sending."""
        with suppress(OSError, TimeoutError):
            if self._writer.can_write_eof() and self._h11.their_state is h11.SEND_BODY:
                self._writer.write_eof()
                await self._linger()
            self._writer.close()
            async with asyncio.timeout(_LINGER_SECONDS):
                await self._writer.wait_closed()

    def _skip_body(self) -> None:
        """Drop the rest of a body that nobody wanted, as far as it has arrived."""
        while self._h11.their_state is h11.SEND_BODY and self._h11.next_event() is not h11.NEED_DATA:
            pass

    async def _linger(self) -> None:
        left = _LINGER_BYTES
        async with asyncio.timeout(_LINGER_SECONDS):
            while left > 0 and (data := await self._reader.read(READ_SIZE)):
                left -= len(data)

    async def _next_event(self) -> h11.Event:
        while True:
            event = self._h11.next_event()
            if event is h11.NEED_DATA:
                self._h11.receive_data(await self._receive())
            elif isinstance(event, h11.Event) and not isinstance(event, h11.ConnectionClosed):
                return event
            else:
                raise VisitorLeftError("closed")

    async def _receive(self) -> bytes:
        try:
            data = await self._reader.read(READ_SIZE)
        except OSError as error:
            raise VisitorLeftError(str(error)) from error
        if not data:
            raise VisitorLeftError("closed")
        return data


class Http1Server:
    """A listener that hands every connection to `handle`, in a task of its own in `group`."""

    def __init__(self, group: asyncio.TaskGroup, name: str, handle: Handler) -> None:
        self._group = group
        self._name = name
        self._handle = handle
        self._servers: list[asyncio.Server] = []

    async def listen(self, host: str, port: int, context: ssl.SSLContext | None = None) -> int:
        """Listen on `port` (0: a free one) and give the port; over TLS where there is a `context`."""
        scheme = "http" if context is None else "https"

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._group.create_task(self._serve(reader, writer, scheme), name=f"{self._name}-visitor")

        server = await asyncio.start_server(accept, host, port, ssl=context, limit=READ_SIZE, backlog=1024)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Stop listening; connections go on until their tasks end."""
        for server in self._servers:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, scheme: str) -> None:
        connection = Http1Connection(reader, writer, scheme=scheme)
        try:
            await self._handle(connection)
            await connection.close()
        except VisitorLeftError:
            pass
        except Exception:  # noqa: BLE001 - a mistake in serving one visitor must not end the lab for all
            _log.exception("serving a visitor failed")
        finally:
            await connection.abort()
