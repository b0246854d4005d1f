"""Speak HTTP/1.1 to the local service: open connections, keep them for reuse, exchange one request at a time.

A connection goes back to the pool only after a whole exchange that both sides want to follow with another. An idle
connection that the origin has closed meanwhile is noticed before it is used again. Failures are worded as cloudflared
2026.8.2 words them, because its log lines carry those words.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final

import h11

from prx.connector.go_errors import dial_text, errno_text, tls_text
from prx.connector.ingress import HttpService, OriginOptions, UnixService

Headers = list[tuple[bytes, bytes]]
Endpoint = HttpService | UnixService

_CHUNK: Final = 64 * 1024  # bytes asked of the socket at once
_BUFFER: Final = 256 * 1024  # bytes of an answer held while the edge is slow; asyncio allows twice as much
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

    async def send_head(self, method: bytes, target: bytes, headers: Headers) -> None:
        """Send the request line and headers; raise OriginError where HTTP/1.1 forbids what they hold."""
        try:
            await self._send(h11.Request(method=method, target=target, headers=headers))
        except h11.LocalProtocolError as error:
            raise OriginError(f"the request cannot be sent as HTTP/1.1: {error}") from None

    async def send_body(self, data: bytes) -> None:
        """Send a part of the request body; wait while the origin is slow."""
        await self._send(h11.Data(data=data))

    async def end_request(self) -> None:
        """Say that the request is whole."""
        await self._send(h11.EndOfMessage())

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


_Key = tuple[Endpoint, str]


@dataclass(slots=True)
class OriginPool:
    """Open connections to origins and keep idle ones; `now` gives seconds of a clock that only goes forward."""

    now: Callable[[], float]
    _idle: dict[_Key, list[OriginConnection]] = field(default_factory=dict)
    _contexts: dict[tuple[str, bool], ssl.SSLContext] = field(default_factory=dict)

    async def acquire(self, endpoint: Endpoint, options: OriginOptions, host: str, *, fresh: bool = False) -> OriginConnection:
        """Return a connection; `host` is the request's, `fresh` refuses an idle one. Raises OriginError."""
        name = self._server_name(endpoint, options, host)
        idle = [] if fresh else self._idle.get((endpoint, name), [])
        while idle:
            connection = idle.pop()
            if connection.usable and self.now() - connection.idle_since < options.keep_alive_timeout:
                connection.reused = True
                return connection
            connection.close()
        reader, writer = await self._open(endpoint, options, name)
        return OriginConnection(reader, writer)

    def release(self, connection: OriginConnection, endpoint: Endpoint, options: OriginOptions, host: str) -> None:
        """Take a connection back after an exchange; keep it if another may follow."""
        idle = self._idle.setdefault((endpoint, self._server_name(endpoint, options, host)), [])
        if len(idle) >= options.keep_alive_connections or not connection.renew():
            connection.close()
            return
        connection.idle_since = self.now()
        idle.append(connection)

    def close(self) -> None:
        """Close every idle connection."""
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()

    async def _open(
        self, endpoint: Endpoint, options: OriginOptions, name: str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = self._context(options) if endpoint.tls else None
        server_name = name if context else None
        where = ("unix", endpoint.path) if isinstance(endpoint, UnixService) else ("tcp", address(endpoint))
        try:
            async with asyncio.timeout(options.connect_timeout):
                if isinstance(endpoint, UnixService):
                    return await asyncio.open_unix_connection(
                        endpoint.path, limit=_BUFFER, ssl=context, server_hostname=server_name
                    )
                connected = await _connect(endpoint.host, endpoint.port)
            return await asyncio.open_connection(
                sock=connected,
                limit=_BUFFER,
                ssl=context,
                server_hostname=server_name,
                ssl_handshake_timeout=options.tls_timeout if context else None,
            )
        except ssl.SSLError as error:
            raise OriginError(tls_text(error)) from None
        except OSError as error:
            raise OriginError(dial_text(*where, error)) from None

    def _server_name(self, endpoint: Endpoint, options: OriginOptions, host: str) -> str:
        if options.match_sni_to_host:
            return host.rpartition(":")[0] or host
        return options.server_name or (endpoint.host if isinstance(endpoint, HttpService) else "localhost")

    def _context(self, options: OriginOptions) -> ssl.SSLContext:
        key = (options.ca_pool, options.no_tls_verify)
        if key not in self._contexts:
            context = ssl.create_default_context(cafile=options.ca_pool or None)
            if options.no_tls_verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            self._contexts[key] = context
        return self._contexts[key]


def address(endpoint: HttpService) -> str:
    """Return `host:port`."""
    return f"[{endpoint.host}]:{endpoint.port}" if ":" in endpoint.host else f"{endpoint.host}:{endpoint.port}"


async def _connect(host: str, port: int) -> socket.socket:
    """Return a socket connected to the first address that answers; raise the first address's OSError."""
    loop = asyncio.get_running_loop()
    first: OSError | None = None
    try:
        entries = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror:
        raise OriginError(f"dial tcp: lookup {host}: no such host") from None
    for family, kind, protocol, _, target in entries:
        connecting = socket.socket(family, kind, protocol)
        connecting.setblocking(False)
        try:
            await loop.sock_connect(connecting, target)
            return connecting
        except OSError as error:
            connecting.close()
            first = first or error
        except BaseException:
            connecting.close()
            raise
    assert first is not None
    raise first
