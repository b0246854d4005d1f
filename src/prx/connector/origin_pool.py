"""Open connections to local services and keep them: over HTTP/1.1 for one exchange after the other, over HTTP/2 for many.

A connection over HTTP/1.1 goes back to the pool only after a whole exchange that both sides want to follow with another. An
idle one that the origin has closed meanwhile is noticed before it is used again. HTTP/2 is spoken where a rule wants it
(`http2Origin`), the service has TLS, and its handshake chooses it; a WebSocket always has HTTP/1.1. Where a connection over
HTTP/2 is full, another is opened; it is closed when it is not needed any more. Observed with cloudflared 2026.8.2.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, cast

from prx.connector.go_errors import dial_text, tls_text
from prx.connector.ingress import HttpService, OriginOptions, UnixService
from prx.connector.origin import OriginConnection, OriginError, OriginExchange
from prx.connector.origin_http2 import Http2Exchange
from prx.protocol.h2session import H2Session

Endpoint = HttpService | UnixService

_BUFFER: Final = 256 * 1024  # bytes of an answer held while the edge is slow; asyncio allows twice as much

_Key = tuple[Endpoint, str]


@dataclass(slots=True)
class OriginPool:
    """Open connections to origins and keep idle ones; `now` gives seconds of a clock that only goes forward."""

    now: Callable[[], float]
    _idle: dict[_Key, list[OriginConnection]] = field(default_factory=dict)
    _sessions: dict[_Key, list[H2Session]] = field(default_factory=dict)
    _contexts: dict[tuple[str, bool, bool], ssl.SSLContext] = field(default_factory=dict)

    async def acquire(
        self, endpoint: Endpoint, options: OriginOptions, host: str, *, fresh: bool = False, upgrade: bool = False
    ) -> OriginExchange:
        """Return an exchange; `host` is the request's, `fresh` refuses a connection that is there already.

        `upgrade`: only HTTP/1.1 will do. Raises OriginError.
        """
        name = self._server_name(endpoint, options, host)
        http2 = options.http2_origin and endpoint.tls and not upgrade
        for session in self._live(endpoint, name) if http2 and not fresh else []:
            if session.has_room:
                return Http2Exchange(session, reused=True)
        idle = [] if fresh else self._idle.get((endpoint, name), [])
        while idle:
            connection = idle.pop()
            if connection.usable and self.now() - connection.idle_since < options.keep_alive_timeout:
                connection.reused = True
                return connection
            connection.close()
        opened = await self._open(endpoint, options, name, http2=http2)
        if isinstance(opened, OriginConnection):
            return opened
        self._sessions.setdefault((endpoint, name), []).append(opened)
        return Http2Exchange(opened, reused=False)

    def release(self, exchange: OriginExchange, endpoint: Endpoint, options: OriginOptions, host: str) -> None:
        """Take a connection back after an exchange; keep it if another may follow."""
        name = self._server_name(endpoint, options, host)
        if isinstance(exchange, OriginConnection):
            self._keep(exchange, endpoint, options, name)
            return
        exchange.close()
        idle = [session for session in self._live(endpoint, name) if not session.open_streams]
        kept = next((session for session in idle if session.has_room), None)  # not one that the service is leaving
        for session in idle:
            if session is not kept:
                session.close()

    def _live(self, endpoint: Endpoint, name: str) -> list[H2Session]:
        """Return the connections over HTTP/2 that are not lost, and forget the others."""
        sessions = self._sessions.get((endpoint, name), [])
        sessions[:] = [session for session in sessions if not session.closed]
        return sessions

    def _keep(self, connection: OriginConnection, endpoint: Endpoint, options: OriginOptions, name: str) -> None:
        idle = self._idle.setdefault((endpoint, name), [])
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
        for sessions in self._sessions.values():
            for session in sessions:
                session.close()
        self._sessions.clear()

    async def _open(
        self, endpoint: Endpoint, options: OriginOptions, name: str, *, http2: bool
    ) -> OriginConnection | H2Session:
        context = self._context(options, http2=http2) if endpoint.tls else None
        server_name = name if context else None
        where = ("unix", endpoint.path) if isinstance(endpoint, UnixService) else ("tcp", address(endpoint))
        loop, handshake_limit = asyncio.get_running_loop(), options.tls_timeout if context else None
        try:
            async with asyncio.timeout(options.connect_timeout):
                if isinstance(endpoint, UnixService):
                    _, arrival = await loop.create_unix_connection(
                        _Arrival, endpoint.path, ssl=context, server_hostname=server_name
                    )
                    return arrival.connection
                connected = await connect(endpoint.host, endpoint.port)
            _, arrival = await loop.create_connection(
                _Arrival, sock=connected, ssl=context, server_hostname=server_name, ssl_handshake_timeout=handshake_limit
            )
            return arrival.connection
        except ssl.SSLError as error:
            raise OriginError(tls_text(error)) from None
        except OSError as error:
            raise OriginError(dial_text(*where, error)) from None

    def _server_name(self, endpoint: Endpoint, options: OriginOptions, host: str) -> str:
        if options.match_sni_to_host:
            return host.rpartition(":")[0] or host
        return options.server_name or (endpoint.host if isinstance(endpoint, HttpService) else "localhost")

    def _context(self, options: OriginOptions, *, http2: bool) -> ssl.SSLContext:
        key = (options.ca_pool, options.no_tls_verify, http2)
        if key not in self._contexts:
            context = ssl.create_default_context(cafile=options.ca_pool or None)
            if options.no_tls_verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if http2:
                context.set_alpn_protocols(["h2", "http/1.1"])
            self._contexts[key] = context
        return self._contexts[key]


class _Arrival(asyncio.Protocol):
    """Meets a connection after its handshake, and hands it on at once to what was chosen there."""

    connection: OriginConnection | H2Session

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand it on, before anything is read."""
        arrived = cast("asyncio.Transport", transport)
        handshake = arrived.get_extra_info("ssl_object")
        if handshake is not None and handshake.selected_alpn_protocol() == "h2":
            self.connection = H2Session(client=True)
            arrived.set_protocol(self.connection)
            self.connection.connection_made(arrived)
            return
        reader = asyncio.StreamReader(limit=_BUFFER)
        protocol = asyncio.StreamReaderProtocol(reader)
        arrived.set_protocol(protocol)
        protocol.connection_made(arrived)
        writer = asyncio.StreamWriter(arrived, protocol, reader, asyncio.get_running_loop())
        self.connection = OriginConnection(reader, writer)


def address(endpoint: HttpService) -> str:
    """Return `host:port`."""
    return f"[{endpoint.host}]:{endpoint.port}" if ":" in endpoint.host else f"{endpoint.host}:{endpoint.port}"


async def connect(host: str, port: int) -> socket.socket:
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
