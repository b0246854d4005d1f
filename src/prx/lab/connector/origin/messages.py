"""Define a request of the edge and the answer to it, whatever protocol carries them; and say it in HTTP/2."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from h2.errors import ErrorCodes

from prx.lab.connector.origin.exchanges import Answer, Headers
from prx.lab.protocol.errors import StreamError
from prx.lab.protocol.h2.stream import H2Stream
from prx.lab.protocol.headers import (
    META_CONNECTOR,
    META_ORIGIN,
    RESPONSE_HEADERS,
    RESPONSE_META,
    UPGRADE,
    WEBSOCKET,
    encode,
    is_control,
)

_HOP_BY_HOP: Final = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})


class Incoming(Protocol):
    """What the edge sends of a body."""

    async def read(self) -> bytes:
        """Wait for bytes and return all that are there; empty at the end. Raises StreamError."""


class Body(Incoming, Protocol):
    """A request's body and what follows it."""

    @property
    def trailers(self) -> Headers | None:
        """What came after the body; known once `read` has given nothing."""


class ByteStream(Incoming, Protocol):
    """Bytes both ways."""

    async def send_data(self, data: bytes, *, end: bool = False) -> None:
        """Send bytes, and possibly the end; wait while the edge is slow. Raises StreamError."""


class Response(Protocol):
    """The answer to one request, as it is written; `started` says whether it has started."""

    started: bool

    async def go_on(self) -> None:
        """Ask a visitor who waits for `100 Continue` for the body, if the edge leaves that to the connector."""

    async def head(self, answer: Answer, *, end: bool, has_body: bool) -> None:
        """Send the head; `end`: nothing follows, `has_body`: the length stands for a body, possibly of HEAD."""

    async def data(self, data: bytes, *, end: bool = False) -> None:
        """Send a part of the body; wait while the visitor is slow."""

    async def end(self, trailers: Headers) -> None:
        """End the answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the edge asks for, names of headers in lower case.

    `has_body` is None if only reading shows; `expects`: the edge waits for `100 Continue` before it sends the body;
    `never_bodiless`: cloudflared takes a body for granted and sends it in chunks even if none came, unless the method is one
    that usually has none (what it does over HTTP/2, observed with 2026.8.2).
    """

    method: bytes
    path: bytes
    authority: bytes
    headers: Headers
    websocket: bool = False
    has_body: bool | None = None
    expects: bool = False
    never_bodiless: bool = False
    protocol: str = "HTTP/2.0"

    @property
    def host(self) -> str:
        """Return the host name, possibly with a port."""
        return self.authority.decode("latin-1")

    @property
    def hostname(self) -> str:
        """Return the host name in lower case, without a port."""
        return re.sub(r":\d*$", "", self.host).lower()

    def header(self, name: bytes) -> bytes:
        """Return a header's value; empty if there is none."""
        return next((value for key, value in self.headers if key == name), b"")


def for_origin(headers: Headers) -> Headers:
    """Return those headers that go on to the origin."""
    dropped = {UPGRADE, b"host", *_HOP_BY_HOP}
    return [(name, value) for name, value in headers if name not in dropped]


def _joined_cookies(headers: Headers) -> Headers:
    """Return headers with cookie crumbs joined (RFC 9113, section 8.2.3)."""
    cookies = [value for name, value in headers if name == b"cookie"]
    rest = [(name, value) for name, value in headers if name != b"cookie"]
    return [*rest, (b"cookie", b"; ".join(cookies))] if cookies else rest


def for_edge(answer: Answer) -> Headers:
    """Return those headers of an answer that go on to the visitor; the edge drops a name with a space, which comes this far."""
    lowered = [(name.lower(), value) for name, value in answer.headers]
    return [
        (canonical(name), value)
        for name, value in lowered
        if (answer.switched or name not in _HOP_BY_HOP) and not is_control(name)
    ]


def canonical(name: bytes) -> bytes:
    """Return a header's name as Go writes it in either direction: `X-Multi`, whatever it was."""
    return b"-".join(part.capitalize() for part in name.split(b"-"))


def announced_body(headers: Headers) -> bool | None:
    """Return whether a body comes, judged by its length; None without one."""
    length = next((value for name, value in headers if name == b"content-length"), b"")
    return length != b"0" if length else None


def interruption(response: Response) -> str:
    """Return cloudflared's words for a request that was given up."""
    return "context canceled" if response.started else "Incoming request ended abruptly: context canceled"


def http2_request(stream: H2Stream) -> Request:
    """Return the request that opened a stream; an expectation is met here and does not go on, as with cloudflared 2026.8.2."""
    pseudo = {name: value for name, value in stream.headers if name.startswith(b":")}
    plain = [(name, value) for name, value in stream.headers if not name.startswith(b":")]
    host = next((value for name, value in plain if name == b"host"), b"localhost:8080")
    headers = _joined_cookies(for_origin(plain))
    rest = [header for header in headers if header[0] != b"expect"]
    return Request(
        pseudo.get(b":method", b"GET"),
        pseudo.get(b":path") or b"/",
        pseudo.get(b":authority") or host,
        rest,
        websocket=(UPGRADE, WEBSOCKET) in plain,
        has_body=announced_body(headers),
        expects=len(rest) < len(headers),
        never_bodiless=True,
    )


class Http2Response:
    """The answer to one request, written into an HTTP/2 stream."""

    def __init__(self, stream: H2Stream) -> None:
        self._stream = stream
        self.started = False

    async def go_on(self) -> None:
        """Say 100, unless the answer has started."""
        if not self.started:
            await self._stream.send_headers([(b":status", b"100")])

    async def head(self, answer: Answer, *, end: bool, has_body: bool) -> None:
        """Send the head; `has_body` says whether `content-length` may stand in the open."""
        headers: Headers = [(b":status", b"200" if answer.switched else str(answer.status).encode())]
        if has_body:
            lowered = [(name.lower(), value) for name, value in answer.headers]
            headers += [(name, value) for name, value in lowered if name == b"content-length"]
        headers += [(RESPONSE_HEADERS, encode(for_edge(answer))), (RESPONSE_META, META_ORIGIN)]
        self.started = True
        await self._stream.send_headers(headers, end=end)

    async def data(self, data: bytes, *, end: bool = False) -> None:
        """Send a part of the body; wait while the visitor is slow."""
        await self._stream.send_data(data, end=end)

    async def end(self, trailers: Headers) -> None:
        """End the answer."""
        if trailers:
            await self._stream.send_headers([(name.lower(), value) for name, value in trailers], end=True)
        else:
            await self._stream.send_data(b"", end=True)

    async def fail(self) -> None:
        """Report to the edge that there is no answer of the origin: 502, or a reset if the answer has started."""
        if self.started:
            self._stream.reset(ErrorCodes.INTERNAL_ERROR)
            return
        self.started = True
        with suppress(StreamError):  # the visitor is gone: nothing can be reported
            await self._stream.send_headers([(b":status", b"502"), (RESPONSE_META, META_CONNECTOR)], end=True)
