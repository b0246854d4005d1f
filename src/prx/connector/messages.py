"""Translate one request and its answer between the edge's HTTP/2 stream and the origin's HTTP/1.1."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from h2.errors import ErrorCodes

from prx.connector.origin import Answer, Headers
from prx.protocol.errors import StreamError
from prx.protocol.h2stream import H2Stream
from prx.protocol.headers import (
    META_CONNECTOR,
    META_ORIGIN,
    RESPONSE_HEADERS,
    RESPONSE_META,
    UPGRADE,
    encode,
    is_control,
)

_HOP_BY_HOP: Final = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})


@dataclass(frozen=True, slots=True)
class Request:
    """Hold what the edge asks for."""

    method: bytes
    path: bytes
    authority: bytes
    headers: Headers

    @property
    def host(self) -> str:
        """Return the host name, perhaps with a port."""
        return self.authority.decode("latin-1")

    def header(self, name: bytes) -> bytes:
        """Return a header's value; empty where there is none."""
        return next((value for key, value in self.headers if key == name), b"")

    @classmethod
    def of(cls, stream: H2Stream) -> "Request":
        """Return the request that opened a stream; cookie crumbs are joined (RFC 9113, section 8.2.3)."""
        pseudo = {name: value for name, value in stream.headers if name.startswith(b":")}
        headers = [
            (name, value)
            for name, value in stream.headers
            if not name.startswith(b":") and name not in {UPGRADE, b"host", b"cookie", *_HOP_BY_HOP}
        ]
        if cookies := [value for name, value in stream.headers if name == b"cookie"]:
            headers.append((b"cookie", b"; ".join(cookies)))
        host = next((value for name, value in stream.headers if name == b"host"), b"localhost:8080")
        return cls(
            pseudo.get(b":method", b"GET"),
            pseudo.get(b":path") or b"/",
            pseudo.get(b":authority") or host,
            headers,
        )


class Response:
    """Write the answer into a stream; know whether it has begun."""

    def __init__(self, stream: H2Stream) -> None:
        self._stream = stream
        self.started = False

    async def head(self, answer: Answer, *, end: bool, has_body: bool) -> None:
        """Send the head; `has_body` says whether `content-length` may stand in the open."""
        lowered = [(name, name.lower(), value) for name, value in answer.headers]
        headers: Headers = [(b":status", b"200" if answer.switched else str(answer.status).encode())]
        if has_body:
            headers += [(name, value) for _, name, value in lowered if name == b"content-length"]
        kept = [
            (name, value)
            for name, lower, value in lowered
            if (answer.switched or lower not in _HOP_BY_HOP) and not is_control(lower)
        ]
        headers += [(RESPONSE_HEADERS, encode(kept)), (RESPONSE_META, META_ORIGIN)]
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
        """Tell the edge that there is no answer of the origin: 502, or a reset where the answer has begun."""
        if self.started:
            self._stream.reset(ErrorCodes.INTERNAL_ERROR)
            return
        self.started = True
        with suppress(StreamError):  # the visitor is gone: there is nobody to tell
            await self._stream.send_headers([(b":status", b"502"), (RESPONSE_META, META_CONNECTOR)], end=True)
