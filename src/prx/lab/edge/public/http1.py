"""One HTTP/1.1 connection of a visitor, on h11 and asyncio's streams."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import h11

from prx.lab.edge.public.http1_heads import has_two_lengths, head_size, response_head
from prx.lab.edge.public.leaving import WatchedProtocol
from prx.lab.edge.public.visitor import MalformedError, UnsendableError, VisitorLeftError
from prx.lab.protocol.headers import Headers

READ_SIZE: Final = 256 * 1024
MAX_HEAD: Final = 128 * 1024  # bytes of a request's head, as on Cloudflare
IDLE_SECONDS: Final = 75.0  # between requests, and for a whole head to arrive
_LINGER_SECONDS: Final = 1.0
_STUCK_SECONDS: Final = 30.0  # without a byte taken, until a visitor who still has to read is given up
_LINGER_RESETS: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close with a reset
_CORK: Final = 16 * 1024  # bytes; a part of this size is not worth waiting
_LINGER_BYTES: Final = 1024 * 1024
_ASCII: Final = "".join(map(chr, range(128)))


class Http1Connection:
    """A visitor's connection; `scheme` is http or https, `peer` the visitor's address.

    Small parts of a response that follow each other at once, such as its head and a short body, leave in one write at the end
    of the event loop's turn: a system call for each was the dearest thing in a small request.
    """

    def __init__(self, transport: asyncio.Transport, *, scheme: str) -> None:
        self._reader = asyncio.StreamReader(limit=READ_SIZE)
        self._watched = WatchedProtocol(self._reader)
        transport.set_protocol(self._watched)
        self._watched.connection_made(transport)
        self._writer = asyncio.StreamWriter(transport, self._watched, self._reader, asyncio.get_running_loop())
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._corked: list[bytes] = []
        self._answers_head = False
        self._takes_trailers = False
        self._in_request_line = True
        self._ends_with_connection = False
        self.trailers: Headers = []  # of the last body that was read to its end
        self.scheme = scheme
        self.peer = str(transport.get_extra_info("peername", ("",))[0])

    @property
    def version(self) -> str:
        """The protocol's version."""
        return f"http/{(self._h11.their_http_version or b'1.1').decode()}"

    async def next_request(self) -> h11.Request | None:
        """Wait for a request's head; None when the visitor leaves or stays idle for too long.

        MalformedError if it is no HTTP/1.1, or if the head is too large.
        """
        if self._h11.our_state is h11.DONE:
            self._skip_body()
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
        if self._h11.our_state is not h11.IDLE:
            return None
        self._in_request_line = b"\n" not in self._h11.trailing_data[0]
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                event = await self._next_event()
        except (VisitorLeftError, TimeoutError):
            return None
        if not isinstance(event, h11.Request):
            return None
        if head_size(event) > MAX_HEAD:  # h11 checks only heads that do not come in one piece
            raise MalformedError("the head is too large", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if has_two_lengths(event):
            raise MalformedError("a length and chunks, so the end of the body is ambiguous")
        self._answers_head = event.method == b"HEAD"
        return event

    async def next_data(self) -> bytes | None:
        """Wait for body bytes; None at the end. Asks a visitor who waits for `100 Continue` to go on."""
        if self._h11.they_are_waiting_for_100_continue:
            await self._send(h11.InformationalResponse(status_code=100, headers=[]))
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

    def watch(self, left: Callable[[], object] | None) -> None:
        """Have `left` called when the visitor leaves; not if the next request has started to arrive.

        An end of what they send means the same of one who has left and of one who has asked and listens (`nc -N`; RFC 9112,
        9.6). So they are answered for some seconds more, and have left when these are over or nothing can be written any more.
        """
        self._watched.watch(left)

    async def send_interim(self, status: int, headers: Headers) -> None:
        """Send a 1xx."""
        await self._send(h11.InformationalResponse(status_code=status, headers=headers))

    async def send_head(self, status: int, headers: Headers) -> None:
        """Send the response's head, without those headers that HTTP/1.1 does not allow."""
        response = response_head(status, headers)
        chunked = all(name != b"content-length" for name, _ in response.headers)
        modern = self._h11.their_http_version == b"1.1"
        self._takes_trailers = chunked and not self._answers_head and modern
        self._ends_with_connection = chunked and not self._answers_head and not modern
        await self._send(response)

    async def send_data(self, data: bytes) -> None:
        """Send response body bytes, as fast as the visitor takes them."""
        await self._send(h11.Data(data=data))

    async def finish(self, trailers: Headers) -> None:
        """End the response; trailers are dropped if its body has a length and so no place for them."""
        await self._send(h11.EndOfMessage(headers=trailers if self._takes_trailers else []))
        self._ends_with_connection = False
        self._uncork()

    async def switch(self, headers: Headers) -> bytes:
        """Answer 101; return what the visitor sent right behind the request."""
        await self.send_interim(HTTPStatus.SWITCHING_PROTOCOLS, headers)
        return self._h11.trailing_data[0]

    async def send_raw(self, data: bytes) -> None:
        """Send bytes as they are, after an upgrade."""
        self._uncork()
        self._writer.write(data)
        await self._drain()

    async def receive_raw(self) -> bytes:
        """Wait for bytes as they are, after an upgrade; b"" at the end."""
        try:
            return await self._reader.read(READ_SIZE)
        except OSError as error:
            raise VisitorLeftError(str(error)) from error

    async def respond(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a whole response; the body is left out if the request was a HEAD."""
        length = (b"Content-Length", b"%d" % len(body))
        await self._send(h11.Response(status_code=status, headers=[*headers, length]))
        if not self._answers_head:
            await self._send(h11.Data(data=body))
        await self._send(h11.EndOfMessage())

    async def abort(self) -> None:
        """Abort the connection at once, with everything that has not left yet."""
        self._corked.clear()
        self._writer.transport.abort()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def break_off(self) -> None:
        """Close although the response is not whole: what has come of it goes out first, its end never.

        The missing bytes or the missing last chunk show it to the visitor. If only the end of the connection would mark the end
        of the body (HTTP/1.0 without a length), it is reset instead, for an orderly end would make half a body seem whole.
        """
        if self._ends_with_connection:
            await self._reset()
        else:
            await self.close()

    async def close(self) -> None:
        """Close in order: the visitor can read the response although it may still be sending."""
        self._uncork()
        with suppress(OSError, TimeoutError):
            if self._writer.can_write_eof() and self._may_still_send:
                self._writer.write_eof()
                await self._linger()
            self._writer.close()
            await self._until_taken()

    @property
    def _may_still_send(self) -> bool:
        return self._h11.their_state in (h11.SEND_BODY, h11.SWITCHED_PROTOCOL)

    async def _reset(self) -> None:
        """Send everything, then break the connection with a reset, over TLS without its farewell."""
        self._uncork()
        if self._watched.over.done():
            return
        with suppress(OSError, TimeoutError):
            self._writer.transport.set_write_buffer_limits(high=0)
            async with asyncio.timeout(_STUCK_SECONDS):
                await self._writer.drain()
            connection = self._writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESETS)
        self._writer.transport.abort()

    async def _until_taken(self) -> None:
        """Wait until the visitor has taken everything, for as long as they take something."""
        left = self._unsent()
        while True:
            patience = _STUCK_SECONDS if left else _LINGER_SECONDS
            _, waiting = await asyncio.wait((self._watched.over,), timeout=patience)
            now = self._unsent()
            if not waiting or now >= left:
                return
            left = now

    def _unsent(self) -> int:
        """Count the bytes that have not left yet."""
        try:
            return self._writer.transport.get_write_buffer_size()
        except AttributeError:  # a TLS transport of asyncio's that is closed twice forgets whose it is (Python 3.11)
            return 0

    def _skip_body(self) -> None:
        """Drop the rest of a body that was not wanted, as far as it has arrived."""
        with suppress(h11.RemoteProtocolError):
            while self._h11.their_state is h11.SEND_BODY and self._h11.next_event() is not h11.NEED_DATA:
                pass

    async def _linger(self) -> None:
        left = _LINGER_BYTES
        async with asyncio.timeout(_LINGER_SECONDS):
            while left > 0 and (data := await self._reader.read(READ_SIZE)):
                left -= len(data)

    async def _send(self, event: h11.Event) -> None:
        try:
            data = self._h11.send(event)
        except h11.LocalProtocolError as error:
            raise UnsendableError(str(error)) from error
        if not data:
            return
        self._corked.append(data)
        if len(data) >= _CORK:
            self._uncork()
        elif len(self._corked) == 1:
            asyncio.get_running_loop().call_soon(self._uncork)
        await self._drain()

    def _uncork(self) -> None:
        if self._corked:
            self._writer.write(b"".join(self._corked))
            self._corked.clear()

    async def _drain(self) -> None:
        try:
            await self._writer.drain()
        except OSError as error:
            raise VisitorLeftError(str(error)) from error

    async def _next_event(self) -> h11.Event:
        while True:
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError as error:
                raise MalformedError(str(error), error.error_status_hint) from error
            if event is h11.NEED_DATA:
                self._h11.receive_data(self._plain(await self._receive()))
            elif isinstance(event, h11.Event) and not isinstance(event, h11.ConnectionClosed):
                return event
            else:
                raise VisitorLeftError("closed")

    def _plain(self, data: bytes) -> bytes:
        """Write the raw bytes of a request line in percent-encoding, as browsers do: many programs send UTF-8 as it is."""
        if not self._in_request_line:
            return data
        line, end, rest = data.partition(b"\n")
        self._in_request_line = not end
        return (line if line.isascii() else quote(line, safe=_ASCII).encode()) + end + rest

    async def _receive(self) -> bytes:
        try:
            data = await self._reader.read(READ_SIZE)
        except OSError as error:
            raise VisitorLeftError(str(error)) from error
        if not data:
            raise VisitorLeftError("closed")
        return data
