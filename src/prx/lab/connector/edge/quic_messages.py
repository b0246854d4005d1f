"""Translate one request and its answer between a stream of the edge's over QUIC and the origin's HTTP/1.1."""

from __future__ import annotations

from contextlib import suppress

from prx.lab.connector.origin.exchanges import Answer, Headers
from prx.lab.connector.origin.messages import Request, announced_body, for_edge, for_origin
from prx.lab.protocol.errors import StreamError
from prx.lab.protocol.quic.preamble import ConnectRequest, ConnectResponse, RequestKind
from prx.lab.protocol.quic.stream import QuicStream


def quic_request(head: ConnectRequest) -> Request:
    """Return the request that a head describes; a body has a length or is announced as chunked, or there is none."""
    _, _, rest = head.dest.partition(b"://")
    path_at = next((index for index, byte in enumerate(rest) if byte in b"/?"), len(rest))
    path = rest[path_at:].partition(b"#")[0]
    named = [(name.lower(), value) for name, value in head.headers]
    headers = for_origin([header for header in named if header[0] != b"trailer"])  # none will come
    return Request(
        head.method or b"GET",
        path if path.startswith(b"/") else b"/" + path,
        head.host or rest[:path_at],
        headers,
        websocket=head.kind is RequestKind.WEBSOCKET,
        has_body=head.chunked or bool(announced_body(headers)),
        protocol="HTTP/1.1",
    )


class QuicBody:
    """A request's body, beginning with the bytes that came together with its head."""

    trailers: Headers | None = None  # a stream over QUIC has none

    def __init__(self, stream: QuicStream, early: bytes) -> None:
        self._stream = stream
        self._early = early

    async def read(self) -> bytes:
        """Wait for bytes and return all that are there; empty at the end. Raises StreamError."""
        if self._early:
            early, self._early = self._early, b""
            return early
        return await self._stream.read()


class QuicResponse:
    """The answer to one request, written into a QUIC stream."""

    def __init__(self, stream: QuicStream) -> None:
        self._stream = stream
        self.started = False

    async def go_on(self) -> None:
        """Say nothing: interim answers do not exist here."""

    async def head(self, answer: Answer, *, end: bool, has_body: bool) -> None:
        """Send the head; `has_body` makes no difference here."""
        self.started = True
        await self._stream.send_data(ConnectResponse(answer.status, for_edge(answer)).encode(), end=end)

    async def data(self, data: bytes, *, end: bool = False) -> None:
        """Send a part of the body; wait while the visitor is slow."""
        await self._stream.send_data(data, end=end)

    async def end(self, trailers: Headers) -> None:
        """End the answer; trailers cannot be said."""
        await self._stream.send_data(b"", end=True)

    async def fail(self, text: str) -> None:
        """Report to the edge why there is no answer of the origin; of one that has started, the stream's reset says enough."""
        if self.started:
            return
        self.started = True
        with suppress(StreamError):  # the visitor is gone: nothing can be reported
            await self._stream.send_data(ConnectResponse(error=text).encode(), end=True)
