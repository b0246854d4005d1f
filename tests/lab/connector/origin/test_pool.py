"""Connections to a service over HTTP/1.1: which are kept, and which are never used again."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme
from tests.support.waits import PATIENCE

from prx.lab.connector.origin.exchanges import OriginError, OriginExchange
from prx.lab.connector.origin.http1 import OriginConnection
from prx.lab.connector.origin.ingress import HttpService, OriginOptions
from prx.lab.connector.origin.pool import Endpoint, OriginPool

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Service:
    """Plays a script: each request that comes is answered with the next piece; `later` sends when asked to."""

    script: list[bytes]
    one_at_a_time: bool = False
    pool: OriginPool = field(default_factory=lambda: OriginPool(asyncio.get_running_loop().time))
    options: OriginOptions = field(default_factory=OriginOptions)
    endpoint: Endpoint = field(default_factory=lambda: HttpService("", "", 0))
    heads: list[bytes] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    _busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        self.writers.append(writer)
        if self.one_at_a_time:
            await self._busy.acquire()
        try:
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(self.script.pop(0) if self.script else OK)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()
            if self.one_at_a_time:
                self._busy.release()

    async def ask(self, method: bytes = b"GET", *, alone: bool = False, fresh: bool = False) -> tuple[int, bytes, bool]:
        """Carry a whole exchange; give status, body, and whether a kept connection was used."""
        exchange = await self.begin(method, alone=alone, fresh=fresh)
        answer = await exchange.answer()
        body = b"".join([part async for part in exchange.body()])
        reused = exchange.reused
        self.pool.release(exchange, self.endpoint, self.options, "a.test")
        return answer.status, body, reused

    async def begin(self, method: bytes = b"GET", *, alone: bool = False, fresh: bool = False) -> OriginExchange:
        """Send a request."""
        exchange = await self.pool.acquire(self.endpoint, self.options, "a.test", alone=alone, fresh=fresh)
        await exchange.send_head(method, b"/", [(b"Host", b"a.test")], has_body=False)
        await exchange.end_request([])
        return exchange

    async def until_closed(self, index: int = 0) -> None:
        """Wait until the pool has closed a connection."""
        await self.writers[index].wait_closed()


@asynccontextmanager
async def running(*script: bytes, one_at_a_time: bool = False) -> AsyncIterator[Service]:
    """Run a service for the length of a block."""
    service = Service(list(script), one_at_a_time)
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    service.endpoint = HttpService(f"http://127.0.0.1:{port}", "127.0.0.1", port)
    try:
        async with asyncio.timeout(PATIENCE):
            yield service
    finally:
        await ended(service, server)


async def ended(service: Service, server: asyncio.Server) -> None:
    """Close everything, and wait until it is."""
    service.pool.close()
    server.close()
    for writer in service.writers:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


KEPT = [
    OK,
    b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 103 E\r\n\r\n" + OK,
]
NOT_KEPT = {
    "newline": (b"GET", OK + b"\r\n"),
    "second answer": (b"GET", OK + OK),
    "half an answer": (b"GET", OK + b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\n"),
    "garbage": (b"GET", OK + b"x"),
    "interim behind": (b"GET", OK + b"HTTP/1.1 103 E\r\n\r\n"),
    "chunks and more": (b"GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n0\r\n\r\n"),
    "HEAD with a body": (b"HEAD", OK),
    "HEAD": (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
    "204 with a body": (b"GET", b"HTTP/1.1 204 No\r\n\r\n0\r\n\r\n"),
    "204": (b"GET", b"HTTP/1.1 204 No\r\n\r\n"),
    "304 with a body": (b"GET", b"HTTP/1.1 304 Not\r\nContent-Length: 2\r\n\r\nok"),
    "304": (b"GET", b"HTTP/1.1 304 Not\r\nContent-Length: 2\r\n\r\n"),
    "length 0": (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "close": (b"GET", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"),
    "HTTP/1.0": (b"GET", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
}


@pytest.mark.parametrize("answer", KEPT)
async def test_kept(answer: bytes) -> None:
    """After a whole answer the connection is used again, without end."""
    async with running(*[answer] * 4) as service:
        reused = [(await service.ask())[2] for _ in range(4)]
        assert (reused, len(service.writers)) == ([False, True, True, True], 1)


@pytest.mark.parametrize("kind", NOT_KEPT)
async def test_not_kept(kind: str) -> None:
    """Where a byte may be left, the next request has a new connection, and the old one is closed."""
    method, answer = NOT_KEPT[kind]
    async with running(answer) as service:
        await service.ask(method)
        assert await service.ask() == (200, b"ok", False)
        await service.until_closed()


@pytest.mark.parametrize("late", [b"\r\n", OK, b"x", b"HTTP/1.1 408 Request Timeout\r\n\r\n"])
async def test_what_comes_while_idle(late: bytes) -> None:
    """A connection on which something comes while nothing is asked is closed at once, and the service trusted no more."""
    told: list[Endpoint] = []
    async with running() as service:
        service.pool.on_surplus = told.append
        await service.ask()
        service.writers[0].write(late)
        await service.until_closed()
        assert [(await service.ask())[2] for _ in range(3)] == [False, False, False]
        assert told == [service.endpoint]


async def test_what_comes_in_the_last_moment() -> None:
    """Bytes that wait in the socket, unseen by the event loop, are seen in the moment before the request is sent."""
    async with running() as service:
        await service.ask()
        exchange = await service.pool.acquire(service.endpoint, service.options, "a.test")
        assert exchange.reused
        service.writers[0].write(OK)  # on loopback it is in the other socket at once
        with pytest.raises(OriginError, match="server closed idle connection"):
            await exchange.send_head(b"GET", b"/", [(b"Host", b"a.test")], has_body=False)
        service.pool.drop(exchange)


async def test_a_connection_that_the_service_closed() -> None:
    """One that the service closed or reset while idle is not used again."""
    async with running() as service:
        for abruptly in (False, True):
            await service.ask(fresh=True)
            end = service.writers[-1].transport.abort if abruptly else service.writers[-1].close
            end()
            assert await service.ask() == (200, b"ok", False)


async def test_a_request_that_may_not_be_repeated() -> None:
    """Such a request has a connection of its own, for which an idle one makes room."""
    async with running() as service:
        await service.ask()
        assert await service.ask(b"POST", alone=True) == (200, b"ok", False)
        await service.until_closed()
        assert len(service.writers) == 2


async def test_a_service_that_serves_one_connection_at_a_time() -> None:
    """It is never left waiting for a connection that is kept idle."""
    async with running(one_at_a_time=True) as service:
        for method in (b"GET", b"GET", b"POST", b"POST", b"GET", b"HEAD", b"GET"):
            assert (await service.ask(method, alone=method == b"POST"))[0] == 200


async def test_at_the_same_time() -> None:
    """Exchanges at the same time have connections of their own, and all of those are kept."""
    async with running() as service:
        exchanges = [await service.begin() for _ in range(3)]
        for exchange in exchanges:
            await exchange.answer()
            assert [part async for part in exchange.body()] == [b"ok"]
            service.pool.release(exchange, service.endpoint, service.options, "a.test")
        assert await service.ask() == (200, b"ok", True)
        assert len(service.writers) == 3


async def test_an_answer_before_the_question() -> None:
    """A service that answers before it was asked is heard once, on a connection that no other gets."""
    service = Service([])

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        service.writers.append(writer)
        writer.write(OK)

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    service.endpoint = HttpService(f"http://127.0.0.1:{port}", "127.0.0.1", port)
    async with asyncio.timeout(PATIENCE):
        exchange = await service.pool.acquire(service.endpoint, service.options, "a.test")
        assert isinstance(exchange, OriginConnection)
        greeting = await exchange.reader.read(1000)
        exchange.reader.feed_data(greeting)
        await exchange.send_head(b"GET", b"/", [], has_body=False)
        await exchange.end_request([])
        assert (await exchange.answer()).status == 200
        assert [part async for part in exchange.body()] == [b"ok"]
        assert not exchange.renew()
        service.pool.drop(exchange)
    await ended(service, server)


async def test_other_rules_for_the_certificate(tmp_path: Path) -> None:
    """A connection that was opened without a check of the certificate does not serve a rule that wants one."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    service = Service([])
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    service.endpoint = HttpService(f"https://localhost:{port}", "localhost", port, tls=True)
    async with asyncio.timeout(PATIENCE):
        service.options = OriginOptions(no_tls_verify=True)
        assert [(await service.ask())[2] for _ in range(2)] == [False, True]
        service.options = OriginOptions()
        with pytest.raises(OriginError, match="certificate signed by unknown authority"):
            await service.ask()
        authority.cert_pem.write_to_path(str(tmp_path / "ca"))
        service.options = OriginOptions(ca_pool=str(tmp_path / "ca"))
        assert (await service.ask())[2] is False
        service.options = OriginOptions(ca_pool=str(tmp_path / "missing"))
        with pytest.raises(OriginError, match="unable to read the file"):
            await service.ask()
    await ended(service, server)


@pytest.mark.parametrize(
    ("method", "target", "headers", "words"),
    [
        (b"GE T", b"/", [], "invalid method"),
        (b"GET", b"/\r\nX: y", [], "invalid control character"),
        (b"GET", b"/", [(b"X Y", b"z")], "invalid header field name"),
        (b"GET", b"/", [(b"X", b"a\r\nb: c")], "invalid header field value"),
        (b"GET", b"/", [(b"X", b"a\x00")], "invalid header field value"),
    ],
)
async def test_requests_that_would_be_two(method: bytes, target: bytes, headers: list[tuple[bytes, bytes]], words: str) -> None:
    """What would break out of the head of a request is refused before a byte is sent."""
    async with running() as service:
        exchange = await service.pool.acquire(service.endpoint, service.options, "a.test")
        with pytest.raises(OriginError, match=words):
            await exchange.send_head(method, target, headers, has_body=False)
        service.pool.drop(exchange)
        assert service.heads == []


@pytest.mark.parametrize(("sent", "words"), [(b"toolong", "longer"), (b"sho", "shorter")])
async def test_bodies_and_their_length(sent: bytes, words: str) -> None:
    """A request's body is as long as its head says, or the exchange ends."""
    async with running() as service:
        exchange = await service.pool.acquire(service.endpoint, service.options, "a.test")
        await exchange.send_head(b"POST", b"/", [(b"Content-Length", b"5")], has_body=True)
        with pytest.raises(OriginError, match=words):
            await _send(exchange, sent)
        service.pool.drop(exchange)


async def _send(exchange: OriginExchange, data: bytes) -> None:
    await exchange.send_body(data)
    await exchange.end_request([])
