"""Visitors who speak HTTP/2: each exchange of theirs is one request, as `prx.lab.edge.public.visitor.Visitor` has it.

WebSockets come over HTTP/1.1 only: a server that does not announce extended CONNECT (RFC 8441) is not asked for them, and
browsers then open a connection of their own. Cloudflare does not offer it either, as far as it has said in public
(cloudflare/wrangler-legacy pull request 2153, December 2021).

A call of gRPC that fails at once is answered with nothing but trailers: one HEADERS frame with `grpc-status`, which ends the
stream. On its way through a tunnel it becomes a head and an empty body, and gRPC clients take those for a broken answer. So
a head with `grpc-status` waits until it is known whether a body follows.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Final, TypeAlias

from h2.errors import ErrorCodes

from prx.core.numbers import whole
from prx.lab.edge.public import error_pages
from prx.lab.edge.public.http1 import MAX_HEAD
from prx.lab.edge.public.translate import new_ray
from prx.lab.edge.public.visitor import RequestHead, UnsendableError, VisitorLeftError
from prx.lab.protocol.errors import StreamError
from prx.lab.protocol.h2.session import H2Session
from prx.lab.protocol.h2.stream import H2Stream
from prx.lab.protocol.headers import Headers

_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")  # RFC 9113, 8.2: a token in lower case
_FORBIDDEN: Final = re.compile(rb"[\0\r\n]|^[ \t]|[ \t]$")
_CONNECTION_SPECIFIC: Final = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
_OVERHEAD: Final = 32  # bytes that a header counts for beside its name and value (RFC 9113, 10.5.1)

_log = logging.getLogger(__name__)

Serve: TypeAlias = "Callable[[Http2Visit, RequestHead], Awaitable[bool]]"


class Http2Visit:
    """One request of a visitor over HTTP/2."""

    def __init__(self, stream: H2Stream, *, peer: str, head_only: bool, expects: bool = False) -> None:
        self._stream = stream
        self._head_only = head_only
        self._expects = expects  # the visitor waits for `100 Continue`
        self._announced: int | None = None  # length of the response's body
        self._sent = 0
        self._finished = False
        self._held: Headers = []  # a head that is possibly the whole answer
        self.scheme = "https"
        self.peer = peer

    version = "http/2"

    @property
    def trailers(self) -> Headers:
        """What came after the request's body."""
        return self._stream.trailers or []

    async def next_data(self) -> bytes | None:
        """Wait for request body bytes; None at the end. Asks a visitor who waits for `100 Continue` to go on."""
        if self._expects:
            self._expects = False
            await self.send_interim(100, [])
        try:
            return await self._stream.read() or None
        except StreamError as error:
            raise VisitorLeftError(str(error)) from error

    def watch(self, left: Callable[[], object] | None) -> None:
        """Have `left` called when the visitor gives the request up."""
        self._stream.on_broken = left
        if left is not None and not self._stream.open:
            left()

    async def send_interim(self, status: int, headers: Headers) -> None:
        """Send a 1xx."""
        await self._send_headers([(b":status", b"%d" % status), *_allowed(headers)], end=False)

    async def send_head(self, status: int, headers: Headers) -> None:
        """Send the response's head, without those headers that HTTP/2 does not allow."""
        allowed = _allowed(headers)
        length = whole(dict(allowed).get(b"content-length"))
        if length is not None and not self._head_only and status != 304:
            self._announced = length
        head = [(b":status", b"%d" % status), *allowed]
        if any(name == b"grpc-status" for name, _ in allowed):
            self._held = head
        else:
            await self._send_headers(head, end=False)

    async def send_data(self, data: bytes) -> None:
        """Send response body bytes, as fast as the visitor takes them."""
        await self._send_held()
        self._sent += len(data)
        if self._announced is not None and self._sent > self._announced:
            raise UnsendableError("the body is longer than announced")
        try:
            await self._stream.send_data(data)
        except StreamError as error:
            raise VisitorLeftError(str(error)) from error

    async def finish(self, trailers: Headers) -> None:
        """End the response."""
        if self._announced not in (None, self._sent):
            raise UnsendableError("the body is shorter than announced")
        allowed = _allowed(trailers)
        if allowed:
            await self._send_held()
        if last := allowed or self._held:
            await self._send_headers(last, end=True)
        else:
            try:
                await self._stream.send_data(b"", end=True)
            except StreamError as error:
                raise VisitorLeftError(str(error)) from error
        self._finished = True

    async def respond(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a whole response; the body is left out if the request was a HEAD."""
        await self.send_head(status, [*headers, (b"Content-Length", b"%d" % len(body))])
        if not self._head_only:
            await self.send_data(body)
        await self.finish([])

    async def switch(self, headers: Headers) -> bytes:
        """Refuse: a visitor over HTTP/2 cannot have asked for a WebSocket."""
        raise UnsendableError("HTTP/2 knows no 101")

    async def receive_raw(self) -> bytes:
        """Refuse, as `switch` does."""
        raise UnsendableError("HTTP/2 knows no 101")

    async def send_raw(self, data: bytes) -> None:
        """Refuse, as `switch` does."""
        raise UnsendableError("HTTP/2 knows no 101")

    async def break_off(self) -> None:
        """Send what has come of a response that is not whole; `close` then breaks it off."""
        with suppress(VisitorLeftError):
            await self._send_held()

    def close(self) -> None:
        """Break off what is not finished, so that the visitor sees that the response is not whole."""
        self._stream.reset(ErrorCodes.NO_ERROR if self._finished else ErrorCodes.INTERNAL_ERROR)

    async def _send_held(self) -> None:
        if self._held:
            head, self._held = self._held, []
            await self._send_headers(head, end=False)

    async def _send_headers(self, headers: Headers, *, end: bool) -> None:
        try:
            await self._stream.send_headers(headers, end=end)
        except StreamError as error:
            raise VisitorLeftError(str(error)) from error


class Http2Visitors:
    """Takes transports on which HTTP/2 was chosen, and serves each request of theirs in a task of its own in `group`."""

    def __init__(self, group: asyncio.TaskGroup, serve: Serve) -> None:
        self._group = group
        self._serve = serve

    def accept(self, transport: asyncio.Transport) -> None:
        """Serve a transport that has passed its handshake."""
        peer = str(transport.get_extra_info("peername", ("",))[0])

        def take(stream: H2Stream) -> None:
            self._group.create_task(self._visit(stream, peer), name="public-exchange")

        session = H2Session(client=False, on_request=take)
        transport.set_protocol(session)
        session.connection_made(transport)
        self._group.create_task(_hold(session), name="public-session")

    async def _visit(self, stream: H2Stream, peer: str) -> None:
        asked = _asked(stream)
        expects = asked.has_body and asked.values.get(b"expect", b"").lower() == b"100-continue"
        visit = Http2Visit(stream, peer=peer, head_only=asked.method == b"HEAD", expects=expects)
        try:
            if _size(stream.headers) > MAX_HEAD:
                status, headers, body = error_pages.render(
                    error_pages.HEAD_TOO_LARGE, ray="", hostname=asked.hostname, accept=b""
                )
                await visit.respond(status, [*headers, *error_pages.signature(new_ray())], body)
            else:
                await self._serve(visit, asked)
        except (VisitorLeftError, UnsendableError):
            await visit.break_off()
        except Exception:  # noqa: BLE001 - a mistake in serving one visitor must not end the lab for all
            _log.exception("serving a visitor failed")
        finally:
            visit.close()


async def _hold(session: H2Session) -> None:
    """Wait for a session's end, or end it with the lab."""
    try:
        await session.wait_closed()
    finally:
        session.abort("the lab is closed")


def _asked(stream: H2Stream) -> RequestHead:
    """Read a request's head; h2 has checked it (RFC 9113, 8.3)."""
    values = dict(stream.headers)
    plain = [(name, value) for name, value in stream.headers if not name.startswith(b":") and name not in (b"host", b"cookie")]
    crumbs = [value for name, value in stream.headers if name == b"cookie"]
    cookie = [(b"cookie", b"; ".join(crumbs))] if crumbs else []
    return RequestHead(
        method=values[b":method"],
        authority=values.get(b":authority") or values.get(b"host", b""),
        path=values.get(b":path", b"/"),
        headers=[*plain, *cookie],
        has_body=not stream.bodiless,
    )


def _size(headers: Headers) -> int:
    return sum(len(name) + len(value) + _OVERHEAD for name, value in headers)


def _allowed(headers: Headers) -> Headers:
    """Return the headers that HTTP/2 carries, their names in lower case."""
    lowered = ((name.lower(), value) for name, value in headers)
    return [
        (name, value)
        for name, value in lowered
        if _NAME.fullmatch(name) and name not in _CONNECTION_SPECIFIC and not _FORBIDDEN.search(value)
    ]
