"""Speak HTTP/1.1 to the local service, one exchange at a time on a connection, and keep no connection that is in doubt.

A connection on which one byte too much has come would pass it to the next visitor as the start of their answer. Therefore

* a connection is followed by another exchange only if nothing can be left of the last one: the whole request was sent and had
  no body (a service that does not read one takes it for the next request), the answer began after that and had a body with an
  end of its own (behind a head that allows none a service may send one all the same), and nothing came behind it;
* it is checked again, down to the socket, in the moment before the next request is written;
* while no exchange is under way, every byte that comes closes it.

A service that was once caught at sending too much is given a new connection for each request from then on.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Final

from prx.lab.connector.go_errors import errno_text
from prx.lab.connector.origin.answers import AnswerError, AnswerReader
from prx.lab.connector.origin.exchanges import Answer, Headers, OriginError, readable
from prx.lab.connector.origin.targets import TargetError, go_target

_CHUNK: Final = 64 * 1024  # bytes asked of the socket at once
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class OriginReader(asyncio.StreamReader):
    """A reader that counts what was not read yet, and reports what comes while nothing is expected."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit=limit)
        self.waiting = 0
        self.expecting = True
        self.on_idle: Callable[[int], None] = lambda _: None

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]  # a transport passes nothing but bytes
        """Take bytes from the transport."""
        self.waiting += len(data)
        super().feed_data(data)
        if not self.expecting:
            self.on_idle(len(data))

    def feed_eof(self) -> None:
        """Take the end from the transport."""
        super().feed_eof()
        if not self.expecting:
            self.on_idle(0)

    async def read(self, n: int = -1) -> bytes:
        """Wait for bytes; empty at the end."""
        data = await super().read(n)
        self.waiting -= len(data)
        return data


class OriginConnection:
    """A connection to the origin, for one exchange at a time; `on_surplus` is called when it sends too much."""

    def __init__(self, reader: OriginReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.reused = False
        self.idle_since = 0.0
        self.trailers: Headers = []
        self.on_surplus: Callable[[], None] = lambda: None
        self._answer = AnswerReader(b"")
        self._left: int | None = 0  # bytes of the request's body that are still to be sent; None: in chunks
        self._whole = False  # whether the request has been sent to its end
        self._repeatable = False  # whether the exchange is of the kind behind which nothing can be left
        reader.on_idle = self._on_idle

    @property
    def silent(self) -> bool:
        """Return whether the connection is open, and nothing has come that was not asked for."""
        if self.reader.waiting or self.reader.at_eof() or self.reader.exception() or self.writer.is_closing():
            return False
        return not readable(self.writer.transport)

    async def send_head(self, method: bytes, target: bytes, headers: Headers, *, has_body: bool) -> None:
        """Send the request line and headers; raise OriginError if HTTP/1.1 forbids what they hold, or the service has left."""
        head = _request_head(method, target, headers)
        self._answer = AnswerReader(method)
        self._whole = False
        self._repeatable = not has_body and not self.reader.waiting
        self._left = _body_length(headers)
        self.reader.expecting = True
        if self.reused and not self.silent:
            raise OriginError("http: server closed idle connection")
        await self._write(head)

    async def send_body(self, data: bytes) -> None:
        """Send a part of the request body; wait while the origin is slow."""
        if not data:
            return
        if self._left is None:
            await self._write(b"%x\r\n%b\r\n" % (len(data), data))
            return
        if len(data) > self._left:
            raise OriginError("the request body does not match its headers: it is longer than Content-Length says")
        self._left -= len(data)
        await self._write(data)

    async def end_request(self, trailers: Headers) -> None:
        """Say that the request is whole; trailers only behind a body in chunks."""
        if self._left is None:
            await self._write(b"0\r\n%b\r\n" % _lines(trailers))
        elif self._left:
            raise OriginError("the request body does not match its headers: it is shorter than Content-Length says")
        self._whole = True

    async def answer(self) -> Answer:
        """Wait for the head of the answer; interim answers other than 101 are dropped."""
        while True:
            try:
                head = self._answer.head()
            except AnswerError as error:
                text = str(error)
                broken = text if text.endswith("EOF") else f"net/http: HTTP/1.x transport connection broken: {text}"
                raise OriginError(broken) from None
            if head is None:
                await self._read()
            elif head.status == 101 or head.status >= 200:
                self._repeatable = self._repeatable and self._whole and not self._answer.done
                return Answer(head.status, head.reason, head.headers)

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the parts of the answer's body as they arrive; `trailers` is filled at the end."""
        while True:
            try:
                data = self._answer.body()
            except AnswerError as error:
                raise OriginError(str(error)) from None
            if data is None:
                await self._read()
            elif data:
                yield data
            else:
                self.trailers = self._answer.trailers
                return

    def leftover(self) -> bytes:
        """Return what has been read beyond the head of a 101 answer."""
        return self._answer.take_rest()

    def renew(self) -> bool:
        """Make ready for another exchange; return whether that is possible."""
        if self._answer.surplus or (self._answer.done and self.reader.waiting):
            self.on_surplus()
            return False
        unsent = self.writer.transport.get_write_buffer_size()
        if not (self._repeatable and self._whole and not unsent and self._answer.done and self._answer.lasting and self.silent):
            return False
        self.trailers = []
        self.reader.expecting = False
        return True

    def close(self) -> None:
        """Close the connection."""
        self.reader.on_idle = lambda _: None
        self.writer.close()

    def _on_idle(self, size: int) -> None:
        """Close a connection on which something came while nothing was asked."""
        self.close()
        if size:
            self.on_surplus()

    async def _write(self, data: bytes) -> None:
        try:
            self.writer.write(data)
            await self.writer.drain()
        except OSError as error:
            raise OriginError(f"write: {errno_text(error)}") from None

    async def _read(self) -> None:
        try:
            self._answer.feed(await self.reader.read(_CHUNK))
        except OSError as error:
            raise OriginError(f"read: {errno_text(error)}") from None


def _request_head(method: bytes, target: bytes, headers: Headers) -> bytes:
    if not _NAME.fullmatch(method):
        raise OriginError(f"net/http: invalid method {method.decode('latin-1')!r}")
    try:
        written = go_target(target)
    except TargetError as error:
        raise OriginError(str(error)) from None
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, written, _lines(headers))


def _lines(headers: Headers) -> bytes:
    for name, value in headers:
        if not _NAME.fullmatch(name):
            raise OriginError(f"net/http: invalid header field name {name.decode('latin-1')!r}")
        if _FORBIDDEN.search(value):
            raise OriginError(f"net/http: invalid header field value for {name.decode('latin-1')!r}")
    return b"".join(b"%b: %b\r\n" % (name, value.strip(b" \t")) for name, value in headers)


def _body_length(headers: Headers) -> int | None:
    """Return how many bytes follow the head; None if they come in chunks."""
    named = {name.lower(): value for name, value in headers}
    return None if b"transfer-encoding" in named else int(named.get(b"content-length", b"0"))
