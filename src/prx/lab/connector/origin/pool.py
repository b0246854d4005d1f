"""Open connections to local services and keep them: over HTTP/1.1 for one exchange after the other, over HTTP/2 for many.

A connection over HTTP/1.1 goes back to the pool only after a whole exchange behind which nothing can be left, and comes out of
it only if nothing has come since (`prx.lab.connector.origin.http1`). Connections to one address that were opened under other
rules for its certificate are others. HTTP/2 is spoken if a rule wants it (`http2Origin`), the service has TLS, and its
handshake chooses it; a WebSocket always has HTTP/1.1. If a connection over HTTP/2 is full, another is opened; it is closed
when it is not needed any more. Observed with cloudflared 2026.8.2.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, cast

from prx.lab.connector.go_errors import dial_text, errno_text, tls_text
from prx.lab.connector.origin.exchanges import OriginError, OriginExchange
from prx.lab.connector.origin.http1 import OriginConnection, OriginReader
from prx.lab.connector.origin.http2 import Http2Exchange
from prx.lab.connector.origin.ingress import HttpService, OriginOptions, UnixService
from prx.lab.connector.roots import trust_system
from prx.lab.protocol.h2.session import H2Session

Endpoint = HttpService | UnixService

_BUFFER: Final = 256 * 1024  # bytes of an answer held while the edge is slow; asyncio allows twice as much

REST_SECONDS: Final = 0.002  # between two exchanges on a connection: what a service sends too much comes within that, mostly


class _Key(NamedTuple):
    """What makes connections alike: those with the same end, proven in the same way, for the same protocols."""

    endpoint: Endpoint
    server_name: str
    ca_pool: str
    no_tls_verify: bool
    http2: bool


@dataclass(slots=True)
class OriginPool:
    """Connections to origins, opened and kept; `now` returns seconds of a clock that only goes forward.

    `on_surplus` is called with a service that sent bytes which belong to no answer, once.
    """

    now: Callable[[], float]
    on_surplus: Callable[[Endpoint], None] = lambda _: None
    _idle: dict[_Key, list[OriginConnection]] = field(default_factory=dict)
    _busy: dict[OriginConnection, _Key] = field(default_factory=dict)
    _sessions: dict[_Key, list[H2Session]] = field(default_factory=dict)
    _contexts: dict[tuple[str, bool, bool], ssl.SSLContext] = field(default_factory=dict)
    _distrusted: set[Endpoint] = field(default_factory=set)

    async def acquire(
        self,
        endpoint: Endpoint,
        options: OriginOptions,
        host: str,
        *,
        fresh: bool = False,
        upgrade: bool = False,
        alone: bool = False,
    ) -> OriginExchange:
        """Return an exchange; `host` is the request's, `fresh` refuses a connection that is there already.

        `upgrade`: only HTTP/1.1 will do. `alone`: what is asked may not be asked twice, so that over HTTP/1.1 no kept
        connection is used, which could die of old age meanwhile. Raises OriginError.
        """
        key = self._key(endpoint, options, host)
        http2 = options.http2_origin and endpoint.tls and not upgrade
        for session in self._live(key) if http2 and not fresh else []:
            if session.has_room:
                return Http2Exchange(session, reused=True)
        if fresh or alone:
            self._make_room(key)
        elif (kept := await self._take(key, options)) is not None:
            self._busy[kept] = key
            return kept
        opened = await self._open(endpoint, options, key.server_name, http2=http2)
        if isinstance(opened, OriginConnection):
            opened.on_surplus = partial(self._distrust, endpoint)
            self._busy[opened] = key
            return opened
        self._sessions.setdefault(key, []).append(opened)
        return Http2Exchange(opened, reused=False)

    def release(self, exchange: OriginExchange, endpoint: Endpoint, options: OriginOptions, host: str) -> None:
        """Take a connection back after a whole exchange; keep it if another may follow."""
        if isinstance(exchange, OriginConnection):
            self._keep(exchange, options)
            return
        exchange.close()
        idle = [session for session in self._live(self._key(endpoint, options, host)) if not session.open_streams]
        kept = next((session for session in idle if session.has_room), None)  # not one that the service is leaving
        for session in idle:
            if session is not kept:
                session.close()

    def drop(self, exchange: OriginExchange) -> None:
        """Give up an exchange, and with it the connection if that carries nothing else."""
        if isinstance(exchange, OriginConnection):
            self._busy.pop(exchange, None)
        exchange.close()

    async def _take(self, key: _Key, options: OriginOptions) -> OriginConnection | None:
        """Return an idle connection, or None.

        One that was returned a moment ago rests until it is sure that the service had no more to say; meanwhile another
        is opened if the service is known to be serving several anyway, for one that serves a single connection at a time
        would leave the new one waiting.
        """
        while idle := self._idle.get(key):
            rest = idle[0].idle_since + REST_SECONDS - self.now()
            if rest > 0 and key in self._busy.values():
                return None
            if rest > 0:
                await asyncio.sleep(rest)
                continue
            rested = self.now() - REST_SECONDS
            newest = next((each for each in reversed(idle) if each.idle_since <= rested), idle[0])
            idle.remove(newest)
            if newest.silent and self.now() - newest.idle_since < options.keep_alive_timeout:
                newest.reused = True
                return newest
            newest.close()
        return None

    def _make_room(self, key: _Key) -> None:
        """Close an idle connection in favour of a new one; a service that serves one at a time is free for it then."""
        if idle := self._idle.get(key):
            idle.pop(0).close()

    def _distrust(self, endpoint: Endpoint) -> None:
        """Take note that a service sends more than its answers."""
        if endpoint not in self._distrusted:
            self._distrusted.add(endpoint)
            self.on_surplus(endpoint)
        for key, idle in self._idle.items():
            while key.endpoint == endpoint and idle:
                idle.pop().close()

    def _key(self, endpoint: Endpoint, options: OriginOptions, host: str) -> _Key:
        http2 = options.http2_origin and endpoint.tls
        return _Key(endpoint, self._server_name(endpoint, options, host), options.ca_pool, options.no_tls_verify, http2)

    def _live(self, key: _Key) -> list[H2Session]:
        """Return the connections over HTTP/2 that are not lost, and forget the others."""
        sessions = self._sessions.get(key, [])
        sessions[:] = [session for session in sessions if not session.closed]
        return sessions

    def _keep(self, connection: OriginConnection, options: OriginOptions) -> None:
        key = self._busy.pop(connection)
        idle = self._idle.setdefault(key, [])
        idle[:] = [each for each in idle if each.silent]
        wanted = len(idle) < options.keep_alive_connections and key.endpoint not in self._distrusted
        if not connection.renew() or not wanted:
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
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            trust_system(context)
            if options.ca_pool:
                _add_roots(context, options.ca_pool)
            if options.no_tls_verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if http2:
                context.set_alpn_protocols(["h2", "http/1.1"])
            self._contexts[key] = context
        return self._contexts[key]


def _add_roots(context: ssl.SSLContext, ca_pool: str) -> None:
    """Trust these certificates too, beside the system's, as cloudflared does."""
    try:
        _require_file(ca_pool)
        context.load_verify_locations(ca_pool)
    except OSError as error:  # an SSLError is one too
        raise OriginError(f"unable to read the file {ca_pool} for --origin-ca-pool: {errno_text(error)}") from None


def _require_file(path: str) -> None:
    """Raise OSError if it is no regular file: the library would wait for a FIFO, and all visitors with it."""
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)


class _Arrival(asyncio.Protocol):
    """The first protocol of a connection after its handshake, which hands it on to what was chosen there."""

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
        reader = OriginReader(_BUFFER)
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
