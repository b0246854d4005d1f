"""A scripted connector over QUIC for tests: one connection, built on `prx.lab.protocol` alone, that does what a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias
from uuid import UUID, uuid4

from tests.lab.edge.registering import Registering, and_registered

from prx.lab import Lab
from prx.lab.edge import address
from prx.lab.edge.task_group import ServerTaskGroup
from prx.lab.protocol.errors import ProtocolError
from prx.lab.protocol.headers import Headers
from prx.lab.protocol.quic.client import dial
from prx.lab.protocol.quic.preamble import ConnectRequest, ConnectResponse, RpcStream, read_request
from prx.lab.protocol.quic.session import QuicSession
from prx.lab.protocol.quic.stream import QuicStream
from prx.lab.protocol.rpc.push import ConfigurationServer, Updated
from prx.lab.protocol.rpc.registration import Registered, Rejected

Answer: TypeAlias = Callable[[QuicStream, ConnectRequest, bytes], Awaitable[None]]


async def hello(stream: QuicStream, request: ConnectRequest, early: bytes) -> None:
    """Answer every request with `hello` and the request's URL."""
    body = b"hello " + request.dest
    await respond(stream, 200, [(b"X-Scripted", b"yes"), (b"Content-Length", b"%d" % len(body))], body)


async def respond(stream: QuicStream, status: int, headers: Headers, body: bytes = b"") -> None:
    """Answer a request whole."""
    await stream.send_data(ConnectResponse(status, headers).encode())
    await stream.send_data(body, end=True)


def refuse_configuration(version: int, config: bytes) -> Updated:
    """Refuse every configuration."""
    return Updated(-1, "not here")


class ScriptedQuicConnector(Registering[QuicStream]):
    """One connection of a connector; `answer` serves visitors' requests, `update` takes configurations."""

    session: QuicSession

    def __init__(self, group: ServerTaskGroup, token: str, index: int, connector: UUID, answer: Answer) -> None:
        super().__init__(token, index, connector)
        self._group = group
        self.answer = answer
        self.update: Callable[[int, bytes], Updated] = refuse_configuration

    async def open_control(self) -> QuicStream:
        """Open the first stream of the connection."""
        return await self.session.open_stream()

    def take(self, stream: QuicStream) -> None:
        """Serve a stream of the edge."""
        self._group.create_task(self._serve(stream), name="scripted-request")

    async def _serve(self, stream: QuicStream) -> None:
        try:
            request, early = await read_request(stream)
            if isinstance(request, RpcStream):
                await self._serve_rpc(stream, request.early)
            else:
                await self.answer(stream, request, early)
        except ProtocolError:
            pass  # the visitor or the edge broke it off
        finally:
            stream.reset()

    async def _serve_rpc(self, stream: QuicStream, data: bytes) -> None:
        server = ConfigurationServer(self.update)
        while True:
            if data:
                await stream.send_data(server.feed(data))
            data = await stream.read()
            if not data:
                await stream.send_data(b"", end=True)
                return


@asynccontextmanager
async def dialled(
    lab: Lab, token: str, *, index: int = 0, connector: UUID | None = None, answer: Answer = hello
) -> AsyncIterator[ScriptedQuicConnector]:
    """Connect to an edge address for the length of a block, without registering."""
    async with ServerTaskGroup() as group:
        scripted = ScriptedQuicConnector(group, token, index, connector or uuid4(), answer)
        host, port = address.parse(lab.edge_addrs[index % len(lab.edge_addrs)])
        scripted.session = await dial(host, port, ca_file=lab.ca_file, on_stream=scripted.take)
        try:
            yield scripted
        finally:
            scripted.session.close()
            await scripted.session.wait_closed()


def registered(lab: Lab, token: str, **more: Any) -> AbstractAsyncContextManager[ScriptedQuicConnector]:
    """Connect and register for the length of a block; `more` goes to `dialled`."""
    return and_registered(dialled(lab, token, **more))


__all__ = ["Registered", "Rejected", "ScriptedQuicConnector", "dialled", "hello", "registered", "respond"]
