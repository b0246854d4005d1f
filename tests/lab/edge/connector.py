"""A scripted connector for tests: one connection, built on `prx.lab.protocol` alone, that does just what a test says."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias
from uuid import UUID, uuid4

from tests.lab.edge.registering import Registering, and_registered

from prx.lab import Lab
from prx.lab.edge import address
from prx.lab.edge.task_group import ServerTaskGroup
from prx.lab.protocol import headers as codec
from prx.lab.protocol.errors import ProtocolError
from prx.lab.protocol.h2.session import H2Session
from prx.lab.protocol.h2.stream import H2Stream
from prx.lab.protocol.headers import Headers
from prx.lab.protocol.rpc.registration import Registered, Rejected

Answer: TypeAlias = Callable[[H2Stream], Awaitable[None]]


async def hello(stream: H2Stream) -> None:
    """Answer every request with `hello` and the request's path."""
    body = b"hello " + dict(stream.headers)[b":path"]
    await respond(stream, 200, [(b"X-Scripted", b"yes"), (b"Content-Length", b"%d" % len(body))], body)


async def respond(stream: H2Stream, status: int, headers: Headers, body: bytes = b"", meta: bytes = codec.META_ORIGIN) -> None:
    """Answer as a connector does, with serialised headers."""
    await stream.send_headers(head(status, headers, meta), end=not body)
    if body:
        await stream.send_data(body, end=True)


def head(status: int, headers: Headers, meta: bytes = codec.META_ORIGIN) -> Headers:
    """Make the HTTP/2 head of a response."""
    return [
        (b":status", b"%d" % status),
        (codec.RESPONSE_HEADERS, codec.encode(headers)),
        (codec.RESPONSE_META, meta),
    ]


class ScriptedConnector(Registering[H2Stream]):
    """One connection of a connector; `answer` serves visitors' requests."""

    features = ("serialized_headers",)

    def __init__(self, group: ServerTaskGroup, token: str, index: int, connector: UUID, answer: Answer) -> None:
        super().__init__(token, index, connector)
        self._group = group
        self._opened: asyncio.Future[H2Stream] = asyncio.get_running_loop().create_future()
        self.answer = answer
        self.session = H2Session(client=False, on_request=self._take)

    async def open_control(self) -> H2Stream:
        """Wait for the exchange that the edge opens, and begin the answer."""
        stream = await self._opened
        await stream.send_headers([(b":status", b"200")])
        return stream

    def _take(self, stream: H2Stream) -> None:
        if dict(stream.headers).get(codec.UPGRADE) == codec.CONTROL_STREAM:
            self._opened.set_result(stream)
        else:
            self._group.create_task(self._serve(stream), name="scripted-request")

    async def _serve(self, stream: H2Stream) -> None:
        try:
            await self.answer(stream)
        except ProtocolError:
            pass  # the visitor or the edge broke it off
        finally:
            stream.reset()


@asynccontextmanager
async def dialled(
    lab: Lab, token: str, *, index: int = 0, connector: UUID | None = None, answer: Answer = hello
) -> AsyncIterator[ScriptedConnector]:
    """Connect to an edge address for the length of a block, without registering."""
    async with ServerTaskGroup() as group:
        scripted = ScriptedConnector(group, token, index, connector or uuid4(), answer)
        host, port = address.parse(lab.edge_addrs[index % len(lab.edge_addrs)])
        context = ssl.create_default_context(cafile=str(lab.ca_file))
        await asyncio.get_running_loop().create_connection(
            lambda: scripted.session, host, port, ssl=context, server_hostname="h2.cftunnel.com"
        )
        try:
            yield scripted
        finally:
            scripted.session.abort()
            await scripted.session.wait_closed()


def registered(lab: Lab, token: str, **more: Any) -> AbstractAsyncContextManager[ScriptedConnector]:
    """Connect and register for the length of a block; `more` goes to `dialled`."""
    return and_registered(dialled(lab, token, **more))


__all__ = ["Registered", "Rejected", "ScriptedConnector", "dialled", "head", "hello", "registered", "respond"]
