"""Speak HTTP/2 to the local service: one exchange on a connection that carries others too.

The head and the answer have the shape that they have over HTTP/1.1; what HTTP/2 says in another way is translated here. The
words for failures are those of Go's client, as cloudflared 2026.8.2 logs them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Final

from h2.errors import ErrorCodes

from prx.core.numbers import whole
from prx.lab.connector.origin.answers import bodiless
from prx.lab.connector.origin.exchanges import Answer, Headers, OriginError, readable
from prx.lab.protocol.errors import StreamError, StreamResetError
from prx.lab.protocol.h2.session import H2Session
from prx.lab.protocol.h2.stream import H2Stream

_TURNS: Final = 64  # of the event loop, for reading what waits
_NOT_SAID: Final = frozenset({b"host", b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
_STATUS: Final = re.compile(rb"[1-9][0-9]{2}")


class Http2Exchange:
    """One request over a session; it is an `OriginExchange`."""

    def __init__(self, session: H2Session, *, reused: bool) -> None:
        self.reused = reused
        self.trailers: Headers = []
        self._session = session
        self._stream: H2Stream | None = None
        self._ended = False
        self._method = b""
        self._length: int | None = None  # of the answer's body; None if only its end shows

    async def send_head(self, method: bytes, target: bytes, headers: Headers, *, has_body: bool) -> None:
        """Send the head of the request; the Host becomes its authority."""
        lowered = [(name.lower(), value) for name, value in headers]
        head: Headers = [
            (b":method", method),
            (b":scheme", b"https"),
            (b":authority", next((value for name, value in lowered if name == b"host"), b"")),
            (b":path", target),
        ]
        head += [(name, value) for name, value in lowered if name not in _NOT_SAID]
        self._ended = not has_body
        self._method = method
        if self.reused:
            await self._heard()
        try:
            self._stream = await self._session.request(head, end=self._ended)
            self._session.flush()  # an answer that comes before the question has left would be taken for one
        except StreamError as error:
            raise OriginError(_text(error, self._stream)) from None

    async def _heard(self) -> None:
        """Have everything read that the service has sent before the question.

        What it says of an exchange that does not exist yet breaks the connection; read afterwards it would be the answer.
        """
        for _ in range(_TURNS):
            if self._session.closed or not readable(self._session.transport):
                return
            await asyncio.sleep(0)
        raise OriginError("the connection is too busy for another exchange")

    async def send_body(self, data: bytes) -> None:
        """Send a part of the request body; wait while the origin is slow."""
        await self._send(data, end=False)

    async def end_request(self, trailers: Headers) -> None:
        """Say that the request is whole."""
        if self._ended:
            return
        self._ended = True
        if not trailers:
            await self._send(b"", end=True)
            return
        try:
            await self._opened().send_headers([(name.lower(), value) for name, value in trailers], end=True)
        except StreamError as error:
            raise OriginError(_text(error, self._stream)) from None

    async def answer(self) -> Answer:
        """Wait for the head of the answer; interim answers are dropped."""
        try:
            head = await self._opened().response()
        except StreamError as error:
            self.reused = error.code == ErrorCodes.REFUSED_STREAM  # then nothing has been done, and another may be asked
            raise OriginError(_text(error, self._stream)) from None
        if not _STATUS.fullmatch(head[0][1]):
            raise OriginError(f"malformed response from server: malformed non-numeric status pseudo header {head[0][1]!r}")
        status = int(head[0][1])
        headers = [(name, value) for name, value in head if not name.startswith(b":")]
        lengths = {value for name, value in headers if name == b"content-length"}
        if len(lengths) > 1 or any(whole(length) is None for length in lengths):
            headers = [(name, value) for name, value in headers if name != b"content-length"]
            lengths = set()
        if bodiless(self._method, status):
            self._length = 0
        elif lengths:
            self._length = int(lengths.pop())
        return Answer(status, "", headers)

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the parts of the answer's body as they arrive; `trailers` is filled at the end."""
        stream, size = self._opened(), 0
        try:
            while data := await stream.read():
                size += len(data)
                if self._length is not None and size > self._length:
                    raise OriginError("net/http: server replied with more than declared Content-Length; truncated")
                yield data
        except StreamError as error:
            raise OriginError(_text(error, stream)) from None
        if self._length not in {None, size}:
            raise OriginError("unexpected EOF")
        self.trailers = stream.trailers or []

    def close(self) -> None:
        """Give up what is not finished; the connection lives on."""
        if self._stream is not None:
            self._stream.reset()

    async def _send(self, data: bytes, *, end: bool) -> None:
        try:
            await self._opened().send_data(data, end=end)
        except StreamError as error:
            raise OriginError(_text(error, self._stream)) from None

    def _opened(self) -> H2Stream:
        assert self._stream is not None, "the head comes first"
        return self._stream


def _text(error: StreamError, stream: H2Stream | None) -> str:
    """Return the words for an exchange that broke."""
    if not isinstance(error, StreamResetError) or error.code is None or stream is None:
        return "unexpected EOF"
    try:
        name = ErrorCodes(error.code).name
    except ValueError:
        name = f"unknown error code 0x{error.code:x}"
    return f"stream error: stream ID {stream.id}; {name}; received from peer"
