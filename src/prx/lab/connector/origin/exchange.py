"""Take the steps of one exchange: the request's head and body to the service, its answer back, or both joined after 101.

How the body of a request is framed follows Go's client, as observed with cloudflared 2026.8.2.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from prx.lab.connector.log import Field
from prx.lab.connector.origin.answers import bodiless
from prx.lab.connector.origin.exchanges import Answer, Headers, OriginError, OriginExchange
from prx.lab.connector.origin.http1 import OriginConnection
from prx.lab.connector.origin.ingress import Rule
from prx.lab.connector.origin.messages import Body, Request, Response, canonical
from prx.lab.protocol.errors import StreamError

_SAFE: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})
_BODY_UNUSUAL: Final = frozenset({b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"PROPFIND", b"SEARCH", b"CONNECT"})
_LENGTH_EXPECTED: Final = frozenset({b"POST", b"PUT", b"PATCH"})
_FRAMING: Final = frozenset({b"Content-Length", b"Transfer-Encoding", b"Trailer"})
_NO_TRAILERS: Final = frozenset({b"content-length", b"transfer-encoding", b"trailer", b"host"})  # RFC 9110, 6.5.1
_LAST_WORDS: Final = 5.0  # seconds an origin has for its end of a WebSocket after the visitor ended


class ProxyError(Exception):
    """The origin did not answer a request, or not to the end."""


class Exchange:
    """What belongs to one request, and the steps of carrying it."""

    def __init__(self, incoming: Body, response: Response, request: Request, rule: Rule, fields: Mapping[str, Field]) -> None:
        self.fields = fields
        self.incoming = incoming
        self.response = response
        self.request = request
        self.rule = rule
        self.has_body = False
        self.switched = False
        self._first = b""

    @property
    def repeatable(self) -> bool:
        """Return whether the request may be sent again if a kept connection fails: RFC 9110 (9.2.1), and no body is lost."""
        return self.request.method in _SAFE and not self.has_body

    async def look_for_body(self) -> None:
        """Find out whether a body comes, without waiting for it."""
        if self.request.websocket:
            return
        if self.request.has_body is not None:
            self.has_body = self.request.has_body
            return
        try:
            async with asyncio.timeout(0):
                self._first = await self.incoming.read()
            self.has_body = bool(self._first)
        except TimeoutError:
            self.has_body = True
        except StreamError:
            self.has_body = False  # the visitor is gone, and the request too

    def head(self, tags: Headers) -> Headers:
        """Return the headers for the origin."""
        host = self.rule.options.host_header.encode("latin-1")
        headers: Headers = [(b"Host", host or self.request.authority)]
        headers += [(canonical(name), value) for name, value in self.request.headers if name != b"user-agent"]
        if agent := self.request.header(b"user-agent"):  # of several the first; an empty one is none
            headers.append((b"User-Agent", agent))
        headers += tags
        if host:
            headers.append((b"X-Forwarded-Host", self.request.authority))
        if self.request.websocket:
            dropped = {b"Content-Length", b"Sec-Websocket-Version"}
            headers = [(name, value) for name, value in headers if name not in dropped]
            upgrade = [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"), (b"Sec-WebSocket-Version", b"13")]
            return headers + upgrade
        return [*self._framed(headers), (b"Connection", b"keep-alive")]

    def _framed(self, headers: Headers) -> Headers:
        """Return how long the body is, as Go's client does; raise ProxyError if its length is no number."""
        headers = [(name, value) for name, value in headers if name not in _FRAMING]
        lengths = {value.strip() for name, value in self.request.headers if name == b"content-length"}
        if len(lengths) > 1 or not all(length.isdigit() for length in lengths):
            raise ProxyError(f"bad Content-Length {b', '.join(sorted(lengths)).decode('latin-1')!r}")
        if self.chunked:
            names = self._announced()
            announced: Headers = [(b"Trailer", b", ".join(names))] if names else []
            return [*headers, *announced, (b"Transfer-Encoding", b"chunked")]
        if self.has_body:
            return [*headers, (b"Content-Length", lengths.pop())]
        return [*headers, (b"Content-Length", b"0")] if self.request.method in _LENGTH_EXPECTED else headers

    async def upload(self, connection: OriginExchange) -> None:
        """Send the request's body; an origin that stops reading shows in its answer, a lost visitor ends the request."""
        with suppress(OriginError, StreamError):
            if self.has_body:
                if self.request.expects:
                    await self.response.go_on()
                if self._first:
                    await connection.send_body(self._first)
                while data := await self.incoming.read():
                    await connection.send_body(data)
            await connection.end_request(self._trailers() if self.chunked else [])

    @property
    def chunked(self) -> bool:
        """Return whether a body is sent in chunks: its length is not known, or over HTTP/2 whether there is any."""
        if self.request.websocket:
            return False
        if self.has_body:
            return not self.request.header(b"content-length")
        return self.request.never_bodiless and self.request.method not in _BODY_UNUSUAL

    def _trailers(self) -> Headers:
        """Return the visitor's trailers for the origin: only those that were announced."""
        announced = {name.lower() for name in self._announced()}
        return [(canonical(name), value) for name, value in self.incoming.trailers or [] if name.lower() in announced]

    def _announced(self) -> list[bytes]:
        """Return the names of the trailers that the visitor announced, without those that would frame or route a request."""
        values = [value for name, value in self.request.headers if name == b"trailer"]
        names = [name.strip(b" \t") for value in values for name in value.split(b",")]
        return [name for name in names if name and name.lower() not in _NO_TRAILERS]

    async def download(self, answer: Answer, connection: OriginExchange) -> None:
        """Send the answer to the visitor."""
        nothing = bodiless(self.request.method, answer.status)
        try:
            await self.response.head(answer, end=nothing, has_body=self.request.method == b"HEAD" or not nothing)
            if nothing:
                return
            async for data in connection.body():
                await self.response.data(data)
            await self.response.end(connection.trailers)
        except OriginError as error:
            raise ProxyError(str(error)) from None
        except StreamError:
            raise ProxyError("Incoming request ended abruptly: context canceled") from None

    async def join(self, answer: Answer, connection: OriginConnection) -> None:
        """Join visitor and origin after 101, until the origin ends, or a little longer than the visitor."""
        with suppress(StreamError, OSError):
            await self.response.head(answer, end=False, has_body=False)
            async with asyncio.TaskGroup() as tasks:
                up = tasks.create_task(self._to_origin(connection), name="visitor to origin")
                down = tasks.create_task(self._to_visitor(connection), name="origin to visitor")
                await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.wait({down}, timeout=_LAST_WORDS)
                up.cancel()
                down.cancel()
            await self.response.data(b"", end=True)

    async def _to_origin(self, connection: OriginConnection) -> None:
        with suppress(StreamError, OSError):
            while data := await self.incoming.read():
                connection.writer.write(data)
                await connection.writer.drain()
            if connection.writer.can_write_eof():
                connection.writer.write_eof()

    async def _to_visitor(self, connection: OriginConnection) -> None:
        with suppress(StreamError, OSError):
            data = connection.leftover() or await connection.reader.read(65536)
            while data:
                await self.response.data(data)
                data = await connection.reader.read(65536)
