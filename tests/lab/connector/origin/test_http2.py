"""Local services that speak HTTP/2: when it is chosen, how connections are shared, and what a broken exchange becomes."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from tests.support.waits import PATIENCE

from prx.lab.connector.origin.exchanges import OriginError, OriginExchange
from prx.lab.connector.origin.http1 import OriginConnection
from prx.lab.connector.origin.http2 import Http2Exchange
from prx.lab.connector.origin.ingress import HttpService, OriginOptions
from prx.lab.connector.origin.pool import OriginPool
from prx.lab.edge.task_group import ServerTaskGroup
from prx.lab.protocol.errors import StreamError
from prx.lab.protocol.h2.session import H2Session
from prx.lab.protocol.h2.stream import H2Stream

Serve = Callable[[H2Stream], Awaitable[None]]


@dataclass
class Service:
    """A service on one port; `sessions` are the connections that it has had, `data_frames` counts those of requests."""

    endpoint: HttpService
    options: OriginOptions
    pool: OriginPool
    sessions: list[H2Session] = field(default_factory=list)
    data_frames: int = 0

    async def ask(self, *, method: bytes = b"GET", body: bytes = b"", fresh: bool = False) -> OriginExchange:
        """Send a request; the answer is still to come."""
        exchange = await self.pool.acquire(self.endpoint, self.options, "a.test", fresh=fresh)
        headers = [(b"Host", b"a.test"), (b"X-A", b"1"), (b"Connection", b"keep-alive"), (b"Te", b"trailers")]
        await exchange.send_head(method, b"/path", headers, has_body=bool(body))
        if body:
            await exchange.send_body(body)
        await exchange.end_request([(b"X-Sum", b"1")] if body else [])
        return exchange

    def release(self, exchange: OriginExchange) -> None:
        """Hand an exchange back."""
        self.pool.release(exchange, self.endpoint, self.options, "a.test")


async def mirror(stream: H2Stream) -> None:
    """Answer with what came: head, size of the body, trailers."""
    size = 0
    while data := await stream.read():
        size += len(data)
    await stream.send_headers([(b":status", b"103"), (b"link", b"</a>")])
    await stream.send_headers([(b":status", b"200"), (b"x-seen", repr((stream.headers, size, stream.trailers)).encode())])
    await stream.send_data(b"body")
    await stream.send_headers([(b"x-end", b"1")], end=True)


@asynccontextmanager
async def running(folder: Path, serve: Serve, *, alpn: str = "h2", wanted: bool = True) -> AsyncIterator[Service]:
    """Run a service for the length of a block; `alpn` is what it speaks, `wanted` what the rule says of HTTP/2."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    context.set_alpn_protocols([alpn])
    async with ServerTaskGroup() as crew:

        async def guarded(stream: H2Stream) -> None:
            try:
                await serve(stream)
            except StreamError:
                pass
            finally:
                stream.reset(ErrorCodes.NO_ERROR)

        def take(stream: H2Stream) -> None:
            known = stream.on_data

            def count(data: bytes, flow_length: int) -> None:
                service.data_frames += 1
                known(data, flow_length)

            stream.on_data = count  # type: ignore[method-assign]
            crew.create_task(guarded(stream), name="service")

        def accept() -> H2Session:
            session = H2Session(client=False, on_request=take)
            service.sessions.append(session)
            return session

        server = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        options = OriginOptions(http2_origin=wanted, ca_pool=str(folder / "ca"))
        pool = OriginPool(asyncio.get_running_loop().time)
        service = Service(HttpService(f"https://localhost:{port}", "localhost", port, tls=True), options, pool)
        try:
            async with asyncio.timeout(PATIENCE):
                yield service
        finally:
            pool.close()
            for session in service.sessions:
                session.abort()
                await session.wait_closed()
            server.close()


async def whole(exchange: OriginExchange) -> bytes:
    """Read a body to its end."""
    return b"".join([data async for data in exchange.body()])


async def test_request_and_answer(tmp_path: Path) -> None:
    """Head, body and trailers arrive as HTTP/2 has them, without what belongs to a connection; interim answers are dropped."""
    async with running(tmp_path, mirror) as service:
        exchange = await service.ask(method=b"POST", body=b"12345")
        answer = await exchange.answer()
        assert (answer.status, await whole(exchange), exchange.trailers) == (200, b"body", [(b"x-end", b"1")])
        service.release(exchange)
    pseudo = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"a.test"), (b":path", b"/path")]
    head = [*pseudo, (b"x-a", b"1"), (b"te", b"trailers")]
    assert dict(answer.headers)[b"x-seen"] == repr((head, 5, [(b"x-sum", b"1")])).encode()


async def test_no_body_is_said_at_once(tmp_path: Path) -> None:
    """A request without a body ends with its head, and not with an empty body."""
    async with running(tmp_path, mirror) as service:
        await (await service.ask()).answer()
        assert service.data_frames == 0


async def test_connections_are_shared(tmp_path: Path) -> None:
    """Requests share a connection at the same time; a lost one is replaced unnoticed."""
    async with running(tmp_path, mirror) as service:
        first = await service.ask()
        both = [first, await service.ask()]
        for exchange in both:
            await exchange.answer()
            await whole(exchange)
            service.release(exchange)
        assert len(service.sessions) == 1
        service.sessions[0].abort()
        await service.sessions[0].wait_closed()
        assert isinstance(first, Http2Exchange)
        await first._session.wait_closed()
        assert (await (await service.ask()).answer()).status == 200
        assert len(service.sessions) == 2


async def test_connection_that_is_full(tmp_path: Path) -> None:
    """Where a connection takes no more, another is opened, and it is closed when both are idle."""
    go = asyncio.Event()

    async def held(stream: H2Stream) -> None:
        stream.session._h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        stream.session._plan_flush()
        await go.wait()
        await mirror(stream)

    async with running(tmp_path, held) as service:
        first = await service.ask()
        assert isinstance(first, Http2Exchange)
        while first._session.has_room:
            await first._session._changes.next()
        second = await service.ask()
        assert len(service.sessions) == 2
        go.set()
        for exchange in (first, second):
            await exchange.answer()
            await whole(exchange)
            service.release(exchange)
        await service.sessions[1].wait_closed()
        assert not service.sessions[0].closed


@pytest.mark.parametrize(("alpn", "wanted"), [("http/1.1", True), ("h2", False)])
async def test_when_http2_is_not_spoken(tmp_path: Path, alpn: str, *, wanted: bool) -> None:
    """A service that does not choose HTTP/2, or a rule that does not want it, has HTTP/1.1; a WebSocket always has."""
    async with running(tmp_path, mirror, alpn=alpn, wanted=wanted) as service:
        exchange = await service.pool.acquire(service.endpoint, service.options, "a.test")
        assert isinstance(exchange, OriginConnection)
        exchange.close()
    async with running(tmp_path, mirror) as service:
        upgrade = await service.pool.acquire(service.endpoint, service.options, "a.test", upgrade=True)
        assert isinstance(upgrade, OriginConnection)
        upgrade.close()


async def test_body_that_is_too_short(tmp_path: Path) -> None:
    """A body that is not as long as announced is not taken for a whole one; that of HEAD and 304 need not come."""

    async def short(stream: H2Stream) -> None:
        status = b"304" if b"x" in dict(stream.headers).get(b"x-status", b"") else b"200"
        await stream.send_headers([(b":status", status), (b"content-length", b"10")])
        await stream.send_data(b"" if dict(stream.headers)[b":method"] == b"HEAD" else b"short", end=True)

    async with running(tmp_path, short) as service:
        exchange = await service.ask()
        await exchange.answer()
        with pytest.raises(OriginError, match="unexpected EOF"):
            await whole(exchange)
        head = await service.ask(method=b"HEAD")
        assert (dict((await head.answer()).headers)[b"content-length"], await whole(head)) == (b"10", b"")


@pytest.mark.parametrize(
    ("code", "words", "again"),
    [(ErrorCodes.INTERNAL_ERROR, "INTERNAL_ERROR", False), (ErrorCodes.REFUSED_STREAM, "REFUSED_STREAM", True)],
)
async def test_reset(tmp_path: Path, code: ErrorCodes, words: str, *, again: bool) -> None:
    """A reset is reported in Go's words; only if the service has done nothing may another connection be asked."""

    async def refuse(stream: H2Stream) -> None:
        stream.reset(code)

    async with running(tmp_path, refuse) as service:
        exchange = await service.ask()
        with pytest.raises(OriginError, match=rf"^stream error: stream ID 1; {words}; received from peer$"):
            await exchange.answer()
        assert exchange.reused is again


async def test_giving_up(tmp_path: Path) -> None:
    """An exchange that is given up is reset at the service, and its connection serves others."""
    gone = asyncio.Event()

    async def wait(stream: H2Stream) -> None:
        if dict(stream.headers)[b":method"] == b"GET":
            await mirror(stream)
            return
        stream.on_broken = gone.set
        if not stream.open:  # given up in the same moment
            gone.set()
        await gone.wait()

    async with running(tmp_path, wait) as service:
        exchange = await service.ask(method=b"POST")
        exchange.close()
        await gone.wait()
        assert (await (await service.ask()).answer()).status == 200
        assert len(service.sessions) == 1


async def test_a_connection_that_the_service_leaves_is_not_kept(tmp_path: Path) -> None:
    """After a GOAWAY one other connection serves everything, though the service has not closed the old one."""
    began, may_answer = asyncio.Event(), asyncio.Event()

    async def slow(stream: H2Stream) -> None:
        began.set()
        await may_answer.wait()
        await mirror(stream)

    async with running(tmp_path, slow) as service:
        under_way = await service.ask()
        await began.wait()
        service.sessions[0].goaway()
        may_answer.set()
        assert (await under_way.answer()).status == 200
        assert await whole(under_way) == b"body"
        for _ in range(3):
            exchange = await service.ask()
            await exchange.answer()
            await whole(exchange)
            service.release(exchange)
        service.release(under_way)
        assert len(service.sessions) == 2
        await service.sessions[0].wait_closed()
