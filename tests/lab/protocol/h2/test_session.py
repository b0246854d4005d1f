"""One HTTP/2 connection between two sessions, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from h2.errors import ErrorCodes
from hpack import Decoder
from hyperframe.frame import DataFrame
from hypothesis import given
from hypothesis import strategies as st
from tests.support.waits import PATIENCE

from prx.lab.protocol.errors import SessionClosedError, StreamError, StreamResetError
from prx.lab.protocol.h2.connection import STREAM_WINDOW, ProxyConnection
from prx.lab.protocol.h2.session import H2Session
from prx.lab.protocol.h2.stream import H2Stream
from prx.lab.protocol.headers import Headers

OK: Headers = [(b":status", b"200")]


def head(path: bytes = b"/", method: bytes = b"POST") -> Headers:
    """Make a request's head."""
    return [(b":method", method), (b":scheme", b"https"), (b":authority", b"x"), (b":path", path)]


@asynccontextmanager
async def pair(serve: Callable[[H2Stream], Awaitable[None]]) -> AsyncIterator[tuple[H2Session, H2Session]]:
    """Connect a client to a server whose requests are served by `serve`, each in a task."""
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[None]] = []
    near, far = socket.socketpair()
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:

        async def run(stream: H2Stream) -> None:
            try:
                await serve(stream)
            except StreamError:
                pass
            finally:
                stream.reset()

        client = H2Session(client=True)
        server = H2Session(client=False, on_request=lambda stream: tasks.append(group.create_task(run(stream))))
        await loop.create_connection(lambda: client, sock=near)
        await loop.create_connection(lambda: server, sock=far)
        try:
            yield client, server
        finally:
            for session in (client, server):
                session.abort()
                await session.wait_closed()
            for task in tasks:
                task.cancel()


async def echo(stream: H2Stream) -> None:
    """Send back what comes, and the trailers."""
    await stream.send_headers(OK)
    while data := await stream.read():
        await stream.send_data(data)
    if stream.trailers:
        await stream.send_headers(stream.trailers, end=True)
    else:
        await stream.send_data(b"", end=True)


async def whole(stream: H2Stream) -> bytes:
    """Read a body to its end."""
    body = bytearray()
    while data := await stream.read():
        body += data
    return bytes(body)


async def test_echo_with_trailers() -> None:
    """Bodies larger than every window, and trailers, pass both ways."""
    sent = bytes(range(256)) * (5 * STREAM_WINDOW // 256)
    async with pair(echo) as (client, server), asyncio.TaskGroup() as group:
        stream = await client.request(head())

        async def upload() -> None:
            await stream.send_data(sent)
            await stream.send_headers([(b"x-sum", b"1")], end=True)

        group.create_task(upload())
        assert dict(await stream.response())[b":status"] == b"200"
        assert await whole(stream) == sent
        assert stream.trailers == [(b"x-sum", b"1")]
        assert (client.open_streams, server.open_streams) == (0, 0)


async def test_back_pressure() -> None:
    """A sender stops within the window while no reader reads, other exchanges go on, and reading lets it continue."""
    release = asyncio.Event()

    async def lazy(stream: H2Stream) -> None:
        if dict(stream.headers)[b":path"] == b"/lazy":
            await release.wait()
        await echo(stream)

    async with pair(lazy) as (client, _), asyncio.TaskGroup() as group:
        stream = await client.request(head(b"/lazy"))
        upload = group.create_task(stream.send_data(bytes(3 * STREAM_WINDOW), end=True))
        other = await client.request(head(b"/other"))
        await other.send_data(b"hello", end=True)
        assert await whole(other) == b"hello"
        assert not upload.done()
        release.set()
        assert len(await whole(stream)) == 3 * STREAM_WINDOW


async def test_unread_exchanges_do_not_block_the_connection() -> None:
    """Exchanges that are given up unread give their window back, so that the connection never runs dry."""

    async def flood(stream: H2Stream) -> None:
        await stream.send_headers(OK)
        await stream.send_data(bytes(STREAM_WINDOW), end=True)

    async with pair(flood) as (client, _):
        for _number in range(40):
            stream = await client.request(head(), end=True)
            await client.wait_idle()
            stream.reset()
        last = await client.request(head(), end=True)
        assert len(await whole(last)) == STREAM_WINDOW


async def test_reset_reaches_the_other_side() -> None:
    """A reset ends reading and writing on the other side, with its code, and only there."""
    codes: list[int | None] = []
    reached = asyncio.Event()

    async def wait(stream: H2Stream) -> None:
        reached.set()
        try:
            await whole(stream)
        except StreamResetError as error:
            codes.append(error.code)
            raise

    async with pair(wait) as (client, server):
        stream = await client.request(head())
        await stream.send_data(b"x")
        await reached.wait()
        stream.reset(ErrorCodes.INTERNAL_ERROR)
        await server.wait_idle()
        with pytest.raises(StreamResetError):
            await stream.send_data(b"more")
        assert not server.closed
    assert codes == [ErrorCodes.INTERNAL_ERROR]


async def test_what_came_before_a_reset_is_read_first() -> None:
    """Body bytes that arrived before a reset are not lost."""

    async def half(stream: H2Stream) -> None:
        await stream.send_headers(OK)
        await stream.send_data(b"half")
        stream.reset(ErrorCodes.CANCEL)

    async with pair(half) as (client, _):
        stream = await client.request(head(), end=True)
        await stream.response()
        assert await stream.read() == b"half"
        with pytest.raises(StreamResetError):
            await stream.read()


async def test_lost_connection() -> None:
    """When the connection is lost, everyone who waits learns of it, and no new exchange opens."""

    async def never(_stream: H2Stream) -> None:
        await asyncio.Event().wait()

    async with pair(never) as (client, server):
        stream = await client.request(head())
        server.abort()
        with pytest.raises(SessionClosedError):
            await stream.response()
        await client.wait_closed()
        with pytest.raises(SessionClosedError):
            await client.request(head())


async def test_goaway_lets_exchanges_finish() -> None:
    """After GOAWAY exchanges under way finish, in both roles, and new ones are not opened."""
    reached, release = asyncio.Event(), asyncio.Event()

    async def slow(stream: H2Stream) -> None:
        reached.set()
        await release.wait()
        await echo(stream)

    async with pair(slow) as (client, server):
        stream = await client.request(head())
        await stream.send_data(b"hello")
        await reached.wait()
        server.goaway()
        client.goaway()
        with pytest.raises(SessionClosedError):
            await client.request(head())
        release.set()
        await stream.send_data(b"", end=True)
        assert await whole(stream) == b"hello"
        await server.wait_idle()


async def test_orderly_close() -> None:
    """A close sends what waits and leaves no reason behind."""

    async def closing(stream: H2Stream) -> None:
        await stream.send_headers(OK)
        await stream.send_data(b"bye", end=True)
        stream.session.close()

    async with pair(closing) as (client, server):
        stream = await client.request(head(), end=True)
        assert await whole(stream) == b"bye"
        await client.wait_closed()
        assert (client.close_reason, server.close_reason) == ("", "")


async def test_peer_that_speaks_no_http2() -> None:
    """Bytes that are no HTTP/2 close the connection with a reason."""
    near, far = socket.socketpair()
    loop = asyncio.get_running_loop()
    session = H2Session(client=False)
    await loop.create_connection(lambda: session, sock=near)
    far.setblocking(False)
    await loop.sock_sendall(far, b"GET / HTTP/1.1\r\n\r\n" + b"x" * 100)
    async with asyncio.timeout(PATIENCE):
        await session.wait_closed()
    assert "broke HTTP/2" in session.close_reason
    far.close()


async def test_interim_heads() -> None:
    """Heads of 1xx come one by one before the final one."""

    async def hints(stream: H2Stream) -> None:
        await stream.send_headers([(b":status", b"103"), (b"link", b"x")])
        await stream.send_headers(OK, end=True)

    async with pair(hints) as (client, _):
        first = await client.request(head(), end=True)
        assert [(await first.next_head())[0][1], (await first.next_head())[0][1]] == [b"103", b"200"]
        second = await client.request(head(), end=True)
        assert (await second.response())[0] == (b":status", b"200")


@pytest.mark.parametrize(
    "header",
    [(b"connection", b"close"), (b"te", b"gzip"), (b"X-Upper", b"x"), (b"a b", b"x"), (b"x", b"a\nb"), (b"x", b" a")],
)
async def test_headers_that_cannot_be_sent(header: tuple[bytes, bytes]) -> None:
    """Headers that HTTP/2 forbids end that exchange alone; later ones are understood."""
    async with pair(echo) as (client, _):
        with pytest.raises(StreamResetError, match="cannot be sent"):
            await client.request([*head(), (b"x-new", b"1"), header])
        assert client.open_streams == 0
        stream = await client.request([*head(), (b"x-new", b"1"), (b"x-other", b"2")], end=True)
        assert await whole(stream) == b""


async def test_silence() -> None:
    """A silent session neither reads nor writes, and goes on afterwards."""
    async with pair(echo) as (client, server):
        server.stall()
        stream = await client.request(head())
        await stream.send_data(b"late", end=True)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await stream.response()
        server.resume()
        assert await whole(stream) == b"late"


@given(st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=300)), max_size=9), st.sampled_from([0, 100, 4096]))
def test_headers_are_sent_as_they_are(headers: Headers, table: int) -> None:
    """Any decoder reads the heads back, in its order, however small a table it asked for; what is sent is never remembered."""
    encoder, decoder = ProxyConnection(client=True).encoder, Decoder()
    encoder.header_table_size = decoder.max_allowed_table_size = table
    for _ in range(2):
        block = encoder.encode(headers)
        assert decoder.decode(block, raw=True) == headers
        assert all(name in block and value in block for name, value in headers)


async def test_bodies_are_not_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text of a DATA frame that arrives is not made: that would cost more than the frame itself."""
    written: list[DataFrame] = []

    def write_out(frame: DataFrame) -> str:
        written.append(frame)
        return "DATA"

    monkeypatch.setattr(DataFrame, "__repr__", write_out)
    async with pair(echo) as (client, _):
        stream = await client.request(head())
        await stream.send_data(b"body", end=True)
        await stream.response()
        assert await stream.read() == b"body"
    assert not written


async def test_told_of_a_break() -> None:
    """A reader of everything gets one notice when the exchange breaks, and none when it gives the exchange up itself."""
    told: list[str] = []

    async def wait(stream: H2Stream) -> None:
        stream.on_broken = lambda: told.append("server")
        await stream.next_head()

    async with pair(wait) as (client, _):
        for given_up in (True, False):
            stream = await client.request(head(), end=True)
            stream.on_broken = lambda: told.append("client")
            if given_up:
                stream.reset()
            else:
                client.abort()
                await client.wait_closed()
    assert told.count("client") == 1


@pytest.mark.parametrize(
    "odd",
    [
        head(method=b"CONNECT"),
        head(path=b""),
        [*head(), (b"host", b"another")],
        [*head(), (b":protocol", b"websocket")],
        [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"x")],
        [*head(), (b":path", b"/again")],
        [*head(), (b"x-a", b"1"), (b":late", b"2")],
    ],
)
async def test_a_malformed_request_resets_itself_alone(odd: Headers) -> None:
    """A head that HTTP/2 does not allow resets its exchange; one that is under way goes on, and the next one begins."""
    async with pair(echo) as (client, _):
        other = await client.request(head())
        await other.send_data(b"one ")
        assert await other.read() == b"one "
        stream = await client.request(odd, end=True)
        with pytest.raises(StreamResetError) as failed:
            await stream.response()
        assert failed.value.code == ErrorCodes.PROTOCOL_ERROR
        await other.send_data(b"two", end=True)
        assert await other.read() == b"two"
        again = await client.request(head(), end=True)
        assert (await again.response())[0] == (b":status", b"200")


@pytest.mark.parametrize("odd", [[(b"x-a", b"1")], [*OK, (b":path", b"/")], [*OK, (b":status", b"200")]])
async def test_a_malformed_response_resets_itself_alone(odd: Headers) -> None:
    """The same for the head of an answer: its request fails, and no other."""

    async def serve(stream: H2Stream) -> None:
        await (stream.send_headers(odd) if (b":path", b"/odd") in stream.headers else echo(stream))

    async with pair(serve) as (client, _):
        other = await client.request(head())
        await other.send_data(b"one ")
        assert await other.read() == b"one "
        stream = await client.request(head(b"/odd"), end=True)
        with pytest.raises(StreamResetError, match="the peer's headers are malformed"):
            await stream.response()
        await other.send_data(b"two", end=True)
        assert await other.read() == b"two"
