"""The minimal edge over QUIC."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate
from tests.lab.connector.mini_edge import Bytes, MiniEdge, Session

from prx.lab.protocol.errors import SessionClosedError
from prx.lab.protocol.headers import META_CONNECTOR, META_ORIGIN, RESPONSE_HEADERS, RESPONSE_META, Headers, encode
from prx.lab.protocol.quic.listener import Identity, QuicListener
from prx.lab.protocol.quic.preamble import RPC, ConnectRequest, RequestKind, read_response
from prx.lab.protocol.quic.session import QuicSession
from prx.lab.protocol.quic.stream import QuicStream
from prx.lab.protocol.rpc.push import ConfigurationClient


class QuicEdgeSession:
    """One connection of a connector, with its control stream once that has been opened."""

    def __init__(self, session: QuicSession) -> None:
        self.quic = session
        self.control: asyncio.Queue[QuicStream] = asyncio.Queue()
        self._control: QuicStream | None = None
        session.on_stream = self.control.put_nowait

    async def control_stream(self) -> QuicStream:
        """Wait for the connector's first stream."""
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(self.control.get())
            closed = tasks.create_task(self.quic.wait_closed())
            await asyncio.wait({first, closed}, return_when=asyncio.FIRST_COMPLETED)
            first.cancel()
            closed.cancel()
        if first.cancelled():
            raise SessionClosedError("the connector left")
        self._control = first.result()
        return self._control

    async def wait_idle(self) -> None:
        """Wait until no request is under way."""
        await self.quic.wait_idle(besides=self._control)

    async def wait_closed(self) -> None:
        """Wait until it is gone."""
        await self.quic.wait_closed()

    def close(self) -> None:
        """Close in good order."""
        self.quic.close()

    def abort(self) -> None:
        """Break off, with a word of why."""
        self.quic.close(0, "edge kill")


class QuicExchange:
    """One request under way; its answer is shown in the way HTTP/2 has it."""

    def __init__(self, stream: QuicStream) -> None:
        self.stream = stream
        self.error = ""
        self._early = b""

    async def response(self) -> Headers:
        """Wait for the head of the answer; `error` then holds the connector's own words, if any."""
        answer, self._early = await read_response(self.stream)
        self.error = answer.error
        if answer.error:
            return [(b":status", b"502"), (RESPONSE_META, META_CONNECTOR)]
        length = [(name.lower(), value) for name, value in answer.headers if name.lower() == b"content-length"]
        inner = [(RESPONSE_HEADERS, encode(answer.headers)), (RESPONSE_META, META_ORIGIN)]
        return [(b":status", str(answer.status).encode()), *length, *inner]

    async def read(self) -> bytes:
        """Wait for bytes; empty at the end."""
        if self._early:
            early, self._early = self._early, b""
            return early
        return await self.stream.read()

    async def send_data(self, data: bytes, *, end: bool = False) -> None:
        """Send bytes."""
        await self.stream.send_data(data, end=end)

    def reset(self) -> None:
        """Abandon it."""
        self.stream.reset()


class QuicEdge(MiniEdge):
    """Waits for the control stream, and opens a stream for each request."""

    protocol = "quic"

    @asynccontextmanager
    async def listening(self, slots: int) -> AsyncIterator[list[int]]:
        """Listen on so many ports for the length of a block."""
        key = load_pem_private_key(self.certificate.private_key_pem.bytes(), None)
        assert isinstance(key, EllipticCurvePrivateKey)
        identity = Identity(load_pem_x509_certificate(self.certificate.cert_chain_pems[0].bytes()), key)
        listeners = []
        try:
            for _ in range(slots):
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                sock.bind(("127.0.0.1", 0))
                listeners.append(QuicListener(sock, identity, lambda session: self.begin(QuicEdgeSession(session))))
            yield [listener.port for listener in listeners]
        finally:
            for listener in listeners:
                listener.close()

    async def open(
        self, method: str, path: str, headers: Headers | None = None, *, index: int = 0, host: str = "a.test", end: bool = False
    ) -> QuicExchange:
        """Open a stream for a request."""
        sized = any(name == b"content-length" for name, _ in headers or [])
        return await self._open(RequestKind.HTTP, method, path, headers or [], index, host, chunked=not sized, end=end)

    async def websocket(self, path: str, headers: Headers | None = None, *, index: int = 0) -> QuicExchange:
        """Open a WebSocket; the answer is still to come."""
        key: Headers = [(b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")]
        return await self._open(RequestKind.WEBSOCKET, "GET", path, key + (headers or []), index, "a.test", chunked=False)

    async def tcp(self, dest: str, *, index: int = 0) -> QuicExchange:
        """Open a stream for private TCP."""
        stream = await self.session(index).quic.open_stream()
        await stream.send_data(ConnectRequest(RequestKind.TCP, dest.encode()).encode())
        return QuicExchange(stream)

    async def push(self, version: int, config: str, *, index: int = 0) -> tuple[int, bool]:
        """Push a configuration (JSON text); return the version in force then, and whether the connector took it."""
        stream = await self.session(index).quic.open_stream()
        client = ConfigurationClient()
        await stream.send_data(RPC + client.update(version, config.encode()))
        answer = None
        while answer is None:
            data = await stream.read()
            assert data
            answer = client.feed(data)
            await stream.send_data(client.data_to_send())
        stream.reset()
        return answer.applied, not answer.error

    async def control_stream(self, session: Session) -> Bytes:
        """Wait for the control stream of a connection."""
        assert isinstance(session, QuicEdgeSession)
        return await session.control_stream()

    def stall(self, index: int) -> None:
        """Make a connection fall silent."""
        self.session(index).quic.stall()

    def session(self, index: int) -> QuicEdgeSession:
        """Return a connection's session."""
        session = self.connections[index].session
        assert isinstance(session, QuicEdgeSession)
        return session

    async def _open(
        self,
        kind: RequestKind,
        method: str,
        path: str,
        headers: Headers,
        index: int,
        host: str,
        *,
        chunked: bool,
        end: bool = False,
    ) -> QuicExchange:
        stream = await self.session(index).quic.open_stream()
        dest = f"https://{host}{path}".encode()
        head = ConnectRequest(kind, dest, method.encode(), host.encode(), headers, chunked=chunked and not end)
        await stream.send_data(head.encode(), end=end)
        return QuicExchange(stream)
