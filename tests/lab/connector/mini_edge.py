"""A minimal edge on loopback: takes connectors, registers them, and sends them requests; its protocols are made of it."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import trustme
from tests.support.waits import PATIENCE

from prx.lab.protocol.errors import ProtocolError
from prx.lab.protocol.headers import RESPONSE_HEADERS, RESPONSE_META, Headers, decode
from prx.lab.protocol.rpc.registration import (
    Register,
    Registered,
    RegisterRequest,
    RegistrationServer,
    Rejected,
    Unregister,
    UpdateLocalConfiguration,
)

Policy = Callable[[RegisterRequest], Registered | Rejected | None]


class Session(Protocol):
    """A connection to a connector, in the way its protocol has it."""

    async def wait_idle(self) -> None:
        """Wait until no request is under way."""

    async def wait_closed(self) -> None:
        """Wait until it is gone."""

    def close(self) -> None:
        """Close in good order."""

    def abort(self) -> None:
        """Break off."""


class Bytes(Protocol):
    """A stream of bytes both ways."""

    async def read(self) -> bytes:
        """Wait for bytes; empty at the end."""

    async def send_data(self, data: bytes, *, end: bool = False) -> None:
        """Send bytes."""


class Exchange(Bytes, Protocol):
    """One request under way."""

    async def response(self) -> Headers:
        """Wait for the head of the answer, in the way HTTP/2 has it."""

    def reset(self) -> None:
        """Abandon it."""


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

    session: Session
    request: RegisterRequest | None = None
    local_config: bytes = b""
    refused: bool = False
    unregistered: asyncio.Event = field(default_factory=asyncio.Event)


def accept(_: RegisterRequest) -> Registered:
    """Accept every connection."""
    return Registered(uuid4(), "test01")


class MiniEdge(ABC):
    """Listens on `slots` ports; `policy` answers registrations (None: never); `linger` leaves connections open."""

    protocol: str

    def __init__(self, folder: Path) -> None:
        self.policy: Policy = accept
        self.linger = False
        self.remotely_managed = False
        self.close_after_refusal = True
        self.hasty = False  # closes in the same breath as it refuses
        self.connections: dict[int, Connection] = {}
        self.registrations: list[RegisterRequest] = []
        self.addresses: list[str] = []
        self.ca = folder / "ca.pem"
        self._changed = asyncio.Condition()
        self._sessions: set[Session] = set()
        self._tasks: asyncio.TaskGroup | None = None
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca))
        self.certificate = authority.issue_cert("h2.cftunnel.com", "quic.cftunnel.com")

    @asynccontextmanager
    async def running(self, slots: int = 4) -> AsyncIterator["MiniEdge"]:
        """Listen until the block ends."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            async with self.listening(slots) as ports:
                self.addresses = [f"127.0.0.1:{port}" for port in ports]
                try:
                    yield self
                finally:
                    for session in list(self._sessions):
                        session.abort()
                        await session.wait_closed()

    @abstractmethod
    def listening(self, slots: int) -> AbstractAsyncContextManager[list[int]]:
        """Listen on so many ports for the length of a block."""

    @abstractmethod
    async def open(
        self, method: str, path: str, headers: Headers | None = None, *, index: int = 0, host: str = "a.test", end: bool = False
    ) -> Exchange:
        """Open a stream for a request."""

    @abstractmethod
    async def websocket(self, path: str, headers: Headers | None = None, *, index: int = 0) -> Exchange:
        """Open a WebSocket; the answer is still to come."""

    @abstractmethod
    async def push(self, version: int, config: str, *, index: int = 0) -> tuple[int, bool]:
        """Push a configuration (JSON text); return the version in force then, and whether the connector took it."""

    async def connected(self, count: int) -> None:
        """Wait until so many connections are registered at the same time."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(lambda: len(self.connections) == count)

    async def told(self) -> bytes:
        """Wait until connection 0 has sent its local configuration."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(lambda: 0 in self.connections and self.connections[0].local_config != b"")
        return self.connections[0].local_config

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

    def kill(self, index: int) -> None:
        """Drop a connection as a broken edge would."""
        self.connections[index].session.abort()

    def begin(self, session: Session) -> None:
        """Take a connection that has just been made."""
        assert self._tasks is not None
        self._sessions.add(session)
        self._tasks.create_task(self._serve(session))

    @abstractmethod
    async def control_stream(self, session: Session) -> Bytes:
        """Return the control stream of a connection."""

    async def _serve(self, session: Session) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._control(Connection(session)))
            await session.wait_closed()
        self._sessions.discard(session)
        async with self._changed:
            self.connections = {i: c for i, c in self.connections.items() if c.session is not session}
            self._changed.notify_all()

    async def _control(self, connection: Connection) -> None:
        server = RegistrationServer()
        with suppress(ProtocolError):
            stream = await self.control_stream(connection.session)
            while data := await stream.read():
                for event in server.feed(data):
                    await self._answer(connection, server, stream, event)
                if out := server.data_to_send():
                    await stream.send_data(out)
            await stream.send_data(b"", end=True)
        if connection.unregistered.is_set() and not self.linger:
            await connection.session.wait_idle()
            connection.session.close()
        elif connection.refused and self.close_after_refusal:
            connection.session.close()

    async def _answer(self, connection: Connection, server: RegistrationServer, stream: Bytes, event: object) -> None:
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
                    if self.hasty:
                        connection.session.close()
            case UpdateLocalConfiguration(config=config):
                connection.local_config = config
                await stream.send_data(server.done(event))
            case Unregister():
                await stream.send_data(server.done(event))
                connection.unregistered.set()
        async with self._changed:
            self._changed.notify_all()


async def finish(stream: Exchange) -> Reply:
    """Read the answer to a request that has been sent."""
    outer = await stream.response()
    found = dict(outer)
    inner = {
        name.decode().lower(): value.decode("utf-8", "replace") for name, value in decode(found.get(RESPONSE_HEADERS, b""))
    }
    body = bytearray()
    while data := await stream.read():
        body += data
    return Reply(int(found[b":status"]), inner, found.get(RESPONSE_META, b"").decode(), bytes(body), outer)
