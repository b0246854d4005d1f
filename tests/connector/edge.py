"""A minimal edge on loopback: takes connectors over HTTP/2, registers them, and sends them requests."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

import trustme
from h2.errors import ErrorCodes

from prx.protocol.errors import ProtocolError
from prx.protocol.h2session import H2Session
from prx.protocol.h2stream import H2Stream
from prx.protocol.headers import (
    CONTROL_STREAM,
    RESPONSE_HEADERS,
    RESPONSE_META,
    UPDATE_CONFIGURATION,
    UPGRADE,
    WEBSOCKET,
    Headers,
    decode,
)
from prx.protocol.registration import (
    Register,
    Registered,
    RegisterRequest,
    RegistrationServer,
    Rejected,
    Unregister,
    UpdateLocalConfiguration,
)

PATIENCE = 20.0  # seconds that a test waits at most for what must come

Policy = Callable[[RegisterRequest], Registered | Rejected | None]


@dataclass
class Reply:
    """What came back for a request, the way the edge sees it."""

    status: int
    headers: dict[str, str]
    meta: str
    body: bytes
    outer: Headers


@dataclass
class Connection:
    """One registered connection, or one that is about to be."""

    session: H2Session
    request: RegisterRequest | None = None
    local_config: bytes = b""
    refused: bool = False
    unregistered: asyncio.Event = field(default_factory=asyncio.Event)


def accept(_: RegisterRequest) -> Registered:
    """Accept whoever comes."""
    return Registered(uuid4(), "test01")


class MiniEdge:
    """Listens on `slots` ports; `policy` answers registrations (None: never); `linger` leaves connections open."""

    def __init__(self, folder: Path) -> None:
        self.policy: Policy = accept
        self.linger = False
        self.remotely_managed = False
        self.close_after_refusal = True
        self.connections: dict[int, Connection] = {}
        self.registrations: list[RegisterRequest] = []
        self.addresses: list[str] = []
        self.ca = folder / "ca.pem"
        self._changed = asyncio.Condition()
        self._sessions: set[H2Session] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self._authority = trustme.CA()
        self._authority.cert_pem.write_to_path(str(self.ca))

    @asynccontextmanager
    async def running(self, slots: int = 4) -> AsyncIterator["MiniEdge"]:
        """Listen until the block ends."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert("h2.cftunnel.com", "quic.cftunnel.com").configure_cert(context)
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            servers = [await loop.create_server(self._new_session, "127.0.0.1", 0, ssl=context) for _ in range(slots)]
            self.addresses = [f"127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers]
            try:
                yield self
            finally:
                for server in servers:
                    server.close()
                for session in list(self._sessions):
                    session.abort()
                    await session.wait_closed()

    async def connected(self, count: int) -> None:
        """Wait until so many connections are registered at the same time."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(lambda: len(self.connections) == count)

    async def told(self) -> bytes:
        """Wait until connection 0 has told its local configuration."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(lambda: 0 in self.connections and self.connections[0].local_config != b"")
        return self.connections[0].local_config

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
        return await self.connections[index].session.request(first + (headers or []), end=end)

    async def fetch(
        self,
        path: str = "/",
        *,
        method: str = "GET",
        headers: Headers | None = None,
        body: bytes = b"",
        index: int = 0,
        host: str = "a.test",
    ) -> Reply:
        """Send a request and read the whole answer."""
        more = list(headers or [])
        if body:
            more.append((b"content-length", str(len(body)).encode()))
        async with asyncio.timeout(PATIENCE):
            stream = await self.open(method, path, more, index=index, host=host, end=not body)
            if body:
                await stream.send_data(body, end=True)
            return await finish(stream)

    async def websocket(self, path: str, headers: Headers | None = None, *, index: int = 0) -> H2Stream:
        """Open a WebSocket; the answer is still to come."""
        upgrade: Headers = [(UPGRADE, WEBSOCKET), (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")]
        return await self.open("GET", path, upgrade + (headers or []), index=index)

    async def push(self, version: int, config: str, *, index: int = 0) -> dict[str, object]:
        """Push a configuration (JSON text) and return the connector's answer."""
        body = f'{{"version": {version}, "config": {config}}}'.encode()
        reply = await self.fetch(method="PUT", headers=[(UPGRADE, UPDATE_CONFIGURATION)], body=body, index=index)
        answer: dict[str, object] = json.loads(reply.body)
        return answer

    def kill(self, index: int) -> None:
        """Drop a connection as a broken network would."""
        self.connections[index].session.abort()

    def _new_session(self) -> H2Session:
        return H2Session(client=True, on_ready=self._begin, on_lost=self._lost)

    def _begin(self, session: H2Session) -> None:
        assert self._tasks is not None
        self._sessions.add(session)
        self._tasks.create_task(self._control(Connection(session)))

    def _lost(self, session: H2Session) -> None:
        self._sessions.discard(session)
        assert self._tasks is not None
        self._tasks.create_task(self._forget(session))

    async def _forget(self, session: H2Session) -> None:
        async with self._changed:
            self.connections = {i: c for i, c in self.connections.items() if c.session is not session}
            self._changed.notify_all()

    async def _control(self, connection: Connection) -> None:
        headers: Headers = [
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"edge"),
            (b":path", b"/"),
            (UPGRADE, CONTROL_STREAM),
        ]
        server = RegistrationServer()
        with suppress(ProtocolError):
            stream = await connection.session.request(headers)
            await stream.response()
            while data := await stream.read():
                for event in server.feed(data):
                    await self._answer(connection, server, stream, event)
                if out := server.data_to_send():
                    await stream.send_data(out)
            stream.reset(ErrorCodes.NO_ERROR)
        if connection.unregistered.is_set() and not self.linger:
            await connection.session.wait_idle()
            connection.session.close()
        elif connection.refused and self.close_after_refusal:
            connection.session.close()

    async def _answer(self, connection: Connection, server: RegistrationServer, stream: H2Stream, event: object) -> None:
        match event:
            case Register(request=request):
                self.registrations.append(request)
                answer = self.policy(request)
                if self.remotely_managed and isinstance(answer, Registered):
                    answer = replace(answer, remotely_managed=True)
                if isinstance(answer, Registered):
                    connection.request = request
                    self.connections[request.conn_index] = connection
                    await stream.send_data(server.accept(event, answer))
                elif answer is not None:
                    await stream.send_data(server.refuse(event, answer))
                    connection.refused = True
            case UpdateLocalConfiguration(config=config):
                connection.local_config = config
                await stream.send_data(server.done(event))
            case Unregister():
                await stream.send_data(server.done(event))
                connection.unregistered.set()
        async with self._changed:
            self._changed.notify_all()


async def finish(stream: H2Stream) -> Reply:
    """Read the answer to a request that has been sent."""
    outer = await stream.response()
    found = dict(outer)
    inner = {name.decode().lower(): value.decode() for name, value in decode(found.get(RESPONSE_HEADERS, b""))}
    body = bytearray()
    while data := await stream.read():
        body += data
    return Reply(int(found[b":status"]), inner, found.get(RESPONSE_META, b"").decode(), bytes(body), outer)
