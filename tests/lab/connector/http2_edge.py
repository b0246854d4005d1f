"""The minimal edge over HTTP/2."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.lab.connector.mini_edge import MiniEdge, Session

from prx.lab.protocol.h2.session import H2Session
from prx.lab.protocol.h2.stream import H2Stream
from prx.lab.protocol.headers import CONTROL_STREAM, UPDATE_CONFIGURATION, UPGRADE, WEBSOCKET, Headers


class Http2Edge(MiniEdge):
    """Opens the control stream, and a stream for each request."""

    protocol = "http2"

    @asynccontextmanager
    async def listening(self, slots: int) -> AsyncIterator[list[int]]:
        """Listen on so many ports for the length of a block."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.certificate.configure_cert(context)
        loop = asyncio.get_running_loop()
        servers = [
            await loop.create_server(lambda: H2Session(client=True, on_ready=self.begin), "127.0.0.1", 0, ssl=context)
            for _ in range(slots)
        ]
        try:
            yield [server.sockets[0].getsockname()[1] for server in servers]
        finally:
            for server in servers:
                server.close()

    async def open(
        self, method: str, path: str, headers: Headers | None = None, *, index: int = 0, host: str = "a.test", end: bool = False
    ) -> H2Stream:
        """Open a stream for a request."""
        first: Headers = [
            (b":method", method.encode()),
            (b":scheme", b"https"),
            (b":authority", host.encode()),
            (b":path", path.encode()),
        ]
        return await self._session(index).request(first + (headers or []), end=end)

    async def websocket(self, path: str, headers: Headers | None = None, *, index: int = 0) -> H2Stream:
        """Open a WebSocket; the answer is still to come."""
        upgrade: Headers = [(UPGRADE, WEBSOCKET), (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")]
        return await self.open("GET", path, upgrade + (headers or []), index=index)

    async def push(self, version: int, config: str, *, index: int = 0) -> tuple[int, bool]:
        """Push a configuration (JSON text); return the version in force then, and whether the connector took it."""
        body = f'{{"version": {version}, "config": {config}}}'.encode()
        reply = await self.fetch(method="PUT", headers=[(UPGRADE, UPDATE_CONFIGURATION)], body=body, index=index)
        answer = json.loads(reply.body)
        assert answer["err"] in (None, {})
        return answer["lastAppliedVersion"], answer["err"] is None

    async def control_stream(self, session: Session) -> H2Stream:
        """Open the control stream of a connection."""
        assert isinstance(session, H2Session)
        headers: Headers = [
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"edge"),
            (b":path", b"/"),
            (UPGRADE, CONTROL_STREAM),
        ]
        stream = await session.request(headers)
        await stream.response()
        return stream

    def _session(self, index: int) -> H2Session:
        session = self.connections[index].session
        assert isinstance(session, H2Session)
        return session
