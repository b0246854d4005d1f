"""The server that accepts visitors: over HTTP/1.1 served in a task each, over HTTP/2 handed on."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeAlias, cast

from prx.lab.edge.public.http1 import Http1Connection
from prx.lab.edge.public.visitor import UnsendableError, VisitorLeftError

Handler: TypeAlias = Callable[[Http1Connection], Awaitable[None]]
Accept: TypeAlias = Callable[[asyncio.Transport], None]

_log = logging.getLogger(__name__)


class _Welcome(asyncio.Protocol):
    """Meets a new transport and hands it on at once, before anything is read."""

    def __init__(self, server: Http1Server, scheme: str) -> None:
        self._server = server
        self._scheme = scheme

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand the transport on, which then has another protocol."""
        self._server.accept(cast("asyncio.Transport", transport), self._scheme)


class Http1Server:
    """A listener that hands every connection to `handle`, in a task of its own in `group`.

    `accept_h2` takes the transports of those who have chosen HTTP/2 in the TLS handshake (ALPN `h2`).
    """

    def __init__(self, group: asyncio.TaskGroup, name: str, handle: Handler, accept_h2: Accept | None = None) -> None:
        self._group = group
        self._name = name
        self._handle = handle
        self._accept_h2 = accept_h2
        self._servers: list[asyncio.Server] = []

    async def listen(self, host: str, port: int, context: ssl.SSLContext | None = None) -> int:
        """Listen on `port` (0: a free one) and return the port; over TLS if there is a `context`."""
        loop = asyncio.get_running_loop()
        scheme = "http" if context is None else "https"
        server = await loop.create_server(lambda: _Welcome(self, scheme), host, port, ssl=context, backlog=1024)
        self._servers.append(server)
        if not server.sockets:  # it was closed at once: this machine is short of descriptors
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return int(server.sockets[0].getsockname()[1])

    def accept(self, transport: asyncio.Transport, scheme: str) -> None:
        """Serve a transport that has passed its handshake, if it has one."""
        connection = transport.get_extra_info("ssl_object")
        if self._accept_h2 is not None and connection is not None and connection.selected_alpn_protocol() == "h2":
            self._accept_h2(transport)
            return
        connection = Http1Connection(transport, scheme=scheme)
        self._group.create_task(self._serve(connection), name=f"{self._name}-visitor")

    def close(self) -> None:
        """Stop listening; connections go on until their tasks end."""
        for server in self._servers:
            server.close()

    async def _serve(self, connection: Http1Connection) -> None:
        try:
            if await self._is_whole(connection):
                await connection.close()
            else:
                await connection.break_off()
        except Exception:  # noqa: BLE001 - as below
            _log.exception("closing a visitor's connection failed")
        finally:
            await connection.abort()

    async def _is_whole(self, connection: Http1Connection) -> bool:
        """Serve a connection to its end; whether every response on it is whole."""
        try:
            await self._handle(connection)
        except (VisitorLeftError, UnsendableError):
            return False
        except Exception:  # noqa: BLE001 - a mistake in serving one visitor must not end the lab for all
            _log.exception("serving a visitor failed")
            return False
        return True
