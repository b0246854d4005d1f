"""A scripted connector over QUIC for tests: one connection, built on `prx.protocol` alone, that does what a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias
from uuid import UUID, uuid4

from prx.edge import Lab, address
from prx.edge.crew import Crew
from prx.protocol.errors import ProtocolError
from prx.protocol.headers import Headers
from prx.protocol.quicclient import dial
from prx.protocol.quicpush import ConfigurationServer, Updated
from prx.protocol.quicsession import QuicSession
from prx.protocol.quicstream import QuicStream
from prx.protocol.quicwire import ConnectRequest, ConnectResponse, RpcStream, read_request
from prx.protocol.registration import ClientEvent, Registered, RegisterRequest, RegistrationClient, Rejected
from prx.protocol.tokens import TunnelToken

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


class ScriptedQuicConnector:
    """One connection of a connector; `answer` serves visitors' requests, `update` takes configurations."""

    def __init__(self, group: Crew, token: str, index: int, connector: UUID, answer: Answer) -> None:
        self._group = group
        self._token = TunnelToken.decode(token)
        self._index = index
        self._connector = connector
        self._client = RegistrationClient()
        self.answer = answer
        self.update: Callable[[int, bytes], Updated] = refuse_configuration
        self.session: QuicSession
        self.control: QuicStream | None = None

    async def register(self) -> ClientEvent:
        """Register and give the edge's answer."""
        self.control = self.control or await self.session.open_stream()
        request = RegisterRequest(
            account_tag=self._token.account_tag,
            tunnel_secret=self._token.secret,
            tunnel_id=self._token.tunnel_id,
            conn_index=self._index,
            client_id=self._connector,
            version="scripted",
        )
        return await self._exchange(self._client.register(request))

    async def unregister(self) -> ClientEvent:
        """Unregister and give the edge's answer."""
        return await self._exchange(self._client.unregister())

    async def _exchange(self, data: bytes) -> ClientEvent:
        assert self.control is not None, "register first"
        await self.control.send_data(data)
        while answer := await self.control.read():
            events = self._client.feed(answer)
            await self.control.send_data(self._client.data_to_send())
            if events:
                return events[0]
        raise ConnectionError("the control stream has ended")

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
    async with Crew() as group:
        scripted = ScriptedQuicConnector(group, token, index, connector or uuid4(), answer)
        host, port = address.parse(lab.edge_addrs[index % len(lab.edge_addrs)])
        scripted.session = await dial(host, port, ca_file=lab.ca_file, on_stream=scripted.take)
        try:
            yield scripted
        finally:
            scripted.session.close()
            await scripted.session.wait_closed()


@asynccontextmanager
async def registered(
    lab: Lab, token: str, *, index: int = 0, connector: UUID | None = None, answer: Answer = hello
) -> AsyncIterator[ScriptedQuicConnector]:
    """Connect and register for the length of a block."""
    async with dialled(lab, token, index=index, connector=connector, answer=answer) as scripted:
        result = await scripted.register()
        assert isinstance(result, Registered), result
        yield scripted


__all__ = ["Registered", "Rejected", "ScriptedQuicConnector", "dialled", "hello", "registered", "respond"]
