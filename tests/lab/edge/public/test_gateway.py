"""What the public side does with a request and its answer; with a scripted connector."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import struct
from typing import Any

import h11
import pytest
from h2.errors import ErrorCodes
from tests.lab.edge.connector import head, hello, registered, respond
from tests.support.origin import BLOCK, blob, blob_digest
from tests.support.waits import PATIENCE
from tests.support.wire import get, visiting

from prx.lab import Lab
from prx.lab.edge.public import leaving
from prx.lab.events import LabEvent, RequestServed
from prx.lab.protocol import headers as codec
from prx.lab.protocol.h2.stream import H2Stream


async def test_unknown_name(lab: Lab) -> None:
    """A name without a tunnel gets 530 and error 1016, one line for a program and a page for a browser."""
    line = await get(lab, "nobody.localhost")
    page = await get(lab, "nobody.localhost", headers=[("Accept", "text/html,*/*")])
    assert (line.status, line.body, line.header("content-type")) == (530, b"error code: 1016", "text/plain; charset=UTF-8")
    assert page.status == 530
    assert b"1016" in page.body
    assert page.header("cf-ray").encode() in page.body


@pytest.mark.parametrize("target", ["web.localhost:443", "/", "other.test:22"])
async def test_connect(lab: Lab, target: str) -> None:
    """A CONNECT asks for a proxy, which the edge is not: 400, and the connectors are not asked."""
    async with registered(lab, lab.token("web")):
        reply = await get(lab, "web.localhost", target, method="CONNECT")
        assert (reply.status, reply.header("server")) == (400, "cloudflare")
        assert (await get(lab, "web.localhost", "/")).status == 200
        assert len(lab.tunnel("web").connections) == 1


async def test_no_connector(lab: Lab) -> None:
    """A tunnel without a connection gets 530 and error 1033."""
    lab.token("web")
    reply = await get(lab, "WEB.localhost.", headers=[("Accept", "text/html")])
    assert reply.status == 530
    assert b"1033" in reply.body


async def test_page_escapes_the_name(lab: Lab) -> None:
    """A host name never becomes markup."""
    reply = await get(lab, "x", headers=[("Host", "<b>.localhost"), ("Accept", "text/html")])
    assert b"<b>" not in reply.body


async def test_address_instead_of_name(lab: Lab) -> None:
    """Asking by address gets 403 and error 1003."""
    reply = await get(lab, "127.0.0.1:8080")
    assert (reply.status, reply.body) == (403, b"error code: 1003")


async def test_not_http(lab: Lab) -> None:
    """Bytes that are no HTTP get 400, and the connection is closed."""
    async with asyncio.timeout(PATIENCE), visiting(lab, "web.localhost") as visitor:
        visitor.writer.write(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert (await visitor.reader.read()).startswith(b"HTTP/1.1 400 ")


async def test_head_too_large(lab: Lab) -> None:
    """A head over 128 KiB gets 431."""
    async with asyncio.timeout(PATIENCE), visiting(lab, "web.localhost") as visitor:
        visitor.writer.write(b"GET / HTTP/1.1\r\nHost: web.localhost\r\nX: " + b"x" * 200_000)
        assert (await visitor.reader.read()).startswith(b"HTTP/1.1 431 ")


async def test_large_headers_pass(lab: Lab) -> None:
    """Headers of 60 KB pass in both directions."""

    async def mirror(stream: H2Stream) -> None:
        await respond(stream, 200, [(b"X-Large", dict(stream.headers)[b"x-large"])])

    value = "v" * 60_000
    async with registered(lab, lab.token("web"), answer=mirror):
        assert (await get(lab, "web.localhost", headers=[("X-Large", value)])).header("x-large") == value


async def test_steering_headers_of_a_visitor_are_dropped(lab: Lab) -> None:
    """A visitor cannot steer the tunnel, forge an address, or name headers of the connection's own."""
    seen: dict[bytes, bytes] = {}

    async def look(stream: H2Stream) -> None:
        seen.update(stream.headers)
        await hello(stream)

    forged = [
        ("Cf-Cloudflared-Proxy-Connection-Upgrade", "control-stream"),
        ("Cf-Cloudflared-Proxy-Src", "x"),
        ("Cf-Connecting-Ip", "8.8.8.8"),
        ("Connection", "X-Private, keep-alive"),
        ("X-Private", "x"),
        ("X-Public", "y"),
    ]
    async with registered(lab, lab.token("web"), answer=look):
        assert (await get(lab, "web.localhost", headers=forged)).status == 200
    assert seen[b"cf-connecting-ip"] == b"127.0.0.1"
    assert seen[b"x-public"] == b"y"
    assert not seen.keys() & {codec.UPGRADE, codec.TCP_SOURCE, b"x-private", b"connection", b"keep-alive"}


async def test_header_order_and_case(lab: Lab) -> None:
    """The response's headers keep order, case and repeats; what HTTP/1.1 forbids is left out."""
    sent = [(b"X-b", b"1"), (b"X-A", b"2"), (b"X-b", b"3"), (b"Bad Name", b"x"), (b"Bad", b"a\nb"), (b"Content-Length", b"0")]

    async def odd(stream: H2Stream) -> None:
        await respond(stream, 200, [*sent, (b"Connection", b"close"), (b"cf-ray", b"x")])

    async with registered(lab, lab.token("web"), answer=odd):
        reply = await get(lab, "web.localhost")
    assert reply.headers[:4] == [("X-b", "1"), ("X-A", "2"), ("X-b", "3"), ("Content-Length", "0")]
    assert reply.header("cf-ray") != "x"


async def test_interim_responses_and_trailers(lab: Lab) -> None:
    """103 comes before the response and trailers after its body; a request's trailers go up."""
    seen: list[Any] = []

    async def rich(stream: H2Stream) -> None:
        await stream.send_headers([(b":status", b"103"), (b"link", b"</style.css>")])
        while await stream.read():
            pass
        seen.append(stream.trailers)
        await stream.send_headers(head(200, []))
        await stream.send_data(b"body")
        await stream.send_headers([(b"grpc-status", b"0")], end=True)

    async with registered(lab, lab.token("web"), answer=rich), visiting(lab, "web.localhost") as visitor:
        await visitor.send_head("POST", "/", [("Transfer-Encoding", "chunked"), ("Trailer", "x-sum")])
        visitor.writer.write(b"4\r\nbody\r\n0\r\nx-sum: 1\r\n\r\n")
        reply = await visitor.read_reply()
    assert (reply.interim, reply.body, reply.trailers) == ([103], b"body", [("grpc-status", "0")])
    assert seen == [[(b"x-sum", b"1")]]


async def test_trailers_cannot_steer(lab: Lab) -> None:
    """A visitor's trailers neither steer the tunnel nor forge or frame anything; if none is left the body just ends."""
    seen: list[Any] = []

    async def look(stream: H2Stream) -> None:
        seen.append(dict(stream.headers).get(b"trailer"))
        while await stream.read():
            pass
        seen.append(stream.trailers)
        await hello(stream)

    forged = b"cf-connecting-ip: 8.8.8.8\r\ncf-cloudflared-proxy-src: x\r\nconnection: x\r\ncontent-length: 9\r\n"
    async with (
        asyncio.timeout(PATIENCE),
        registered(lab, lab.token("web"), answer=look),
        visiting(lab, "web.localhost") as visitor,
    ):
        for more in (b"x-sum: 1\r\n", b""):
            visitor.writer.write(
                b"POST / HTTP/1.1\r\nHost: web.localhost\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n"
                b"4\r\nbody\r\n0\r\n" + forged + more + b"\r\n"
            )
            visitor.h11 = h11.Connection(h11.CLIENT)
            visitor.h11.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
            visitor.h11.send(h11.EndOfMessage())
            assert (await visitor.read_reply()).body == b"hello /"
    assert seen == [b"x-sum", [(b"x-sum", b"1")], b"x-sum", None]


async def test_connector_without_origin(lab: Lab, events: list[LabEvent]) -> None:
    """Where the connector could not reach its origin, the visitor gets the edge's own 502."""

    async def no_origin(stream: H2Stream) -> None:
        await stream.send_headers([(b":status", b"502"), (codec.RESPONSE_META, codec.META_CONNECTOR)], end=True)

    async with registered(lab, lab.token("web"), answer=no_origin):
        reply = await get(lab, "web.localhost")
    assert (reply.status, reply.body) == (502, b"error code: 502")
    assert [event.source for event in events if isinstance(event, RequestServed)] == ["connector"]


async def test_502_of_an_origin_passes(lab: Lab) -> None:
    """A 502 that the origin itself made passes with its body."""

    async def failing(stream: H2Stream) -> None:
        await respond(stream, 502, [(b"Content-Length", b"4")], b"mine")

    async with registered(lab, lab.token("web"), answer=failing):
        assert (await get(lab, "web.localhost")).body == b"mine"


async def test_connection_lost_before_the_answer(lab: Lab) -> None:
    """A request whose connection is lost before its answer gets 502."""

    async def vanish(stream: H2Stream) -> None:
        stream.session.abort()

    async with registered(lab, lab.token("web"), answer=vanish):
        assert (await get(lab, "web.localhost")).status == 502


@pytest.mark.parametrize("length", [b"100", None])
async def test_broken_half_way(lab: Lab, length: bytes | None) -> None:
    """A response that breaks off never looks whole, and the connection carries on for others."""

    async def half(stream: H2Stream) -> None:
        if dict(stream.headers)[b":path"] == b"/good":
            await hello(stream)
            return
        await stream.send_headers(head(200, [(b"Content-Length", length)] if length else []))
        await stream.send_data(b"half")
        stream.reset(ErrorCodes.INTERNAL_ERROR)

    async with registered(lab, lab.token("web"), answer=half):
        with pytest.raises(ConnectionError):
            await get(lab, "web.localhost")
        assert (await get(lab, "web.localhost", "/good")).status == 200


@pytest.mark.parametrize("body", [b"short", b"much too long for it"])
async def test_length_that_lies(lab: Lab, body: bytes) -> None:
    """A body that is not as long as announced never looks whole, and does not harm other requests."""

    async def liar(stream: H2Stream) -> None:
        if dict(stream.headers)[b":path"] == b"/good":
            await hello(stream)
            return
        raw = [*head(200, [(b"Content-Length", b"10")]), (b"content-length", b"10")]
        await stream.send_headers(raw)
        await stream.send_data(body, end=True)

    async with registered(lab, lab.token("web"), answer=liar):
        with pytest.raises(ConnectionError):
            await get(lab, "web.localhost")
        assert (await get(lab, "web.localhost", "/good")).status == 200


async def test_bodies_byte_exact(lab: Lab) -> None:
    """20 MB both ways at once come through unchanged."""
    size = 20 * 1024 * 1024

    async def both(stream: H2Stream) -> None:
        await stream.send_headers(head(200, []))
        digest = hashlib.sha256()
        while data := await stream.read():
            digest.update(data)
            await stream.send_data(data)
        await stream.send_data(digest.hexdigest().encode(), end=True)

    async with asyncio.timeout(60), registered(lab, lab.token("web"), answer=both), visiting(lab, "web.localhost") as visitor:
        await visitor.send_head("POST", "/", [("Content-Length", str(size))])
        async with asyncio.TaskGroup() as group:
            group.create_task(visitor.send_body(blob(size)))
            reply = await visitor.read_reply()
    expected = hashlib.sha256(b"".join([*blob(size), blob_digest(size).encode()])).hexdigest()
    assert (reply.size, reply.digest) == (size + 64, expected)


async def test_slow_visitor_holds_the_connector_back(lab: Lab) -> None:
    """A visitor who does not read stops the connector within the windows, and harms no other."""
    sent = 0
    stalled = asyncio.Event()

    async def endless(stream: H2Stream) -> None:
        nonlocal sent
        if dict(stream.headers)[b":path"] == b"/good":
            await hello(stream)
            return
        await stream.send_headers(head(200, []))
        while True:
            try:
                async with asyncio.timeout(0.5):
                    await stream.send_data(BLOCK)
            except TimeoutError:
                stalled.set()
                return
            sent += len(BLOCK)

    async with registered(lab, lab.token("web"), answer=endless), visiting(lab, "web.localhost") as visitor:
        await visitor.send_head("GET", "/")
        await visitor.send_body(())
        async with asyncio.timeout(PATIENCE):
            await stalled.wait()
        assert sent < 32 * 1024 * 1024
        assert (await get(lab, "web.localhost", "/good")).status == 200


async def test_visitor_who_leaves_resets_the_request(lab: Lab, events: list[LabEvent]) -> None:
    """When a visitor leaves, the connector learns it at once."""
    reached, told = asyncio.Event(), asyncio.Event()

    async def wait(stream: H2Stream) -> None:
        reached.set()
        try:
            await stream.send_headers(head(200, []))
            while True:
                await stream.read()
                await asyncio.sleep(0)
        finally:
            told.set()

    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("web"), answer=wait):
        async with visiting(lab, "web.localhost") as visitor:
            await visitor.send_head("POST", "/", [("Content-Length", "10")])
            await reached.wait()
        await told.wait()
        await lab.wait_for(lambda _: any(isinstance(event, RequestServed) and not event.complete for event in events))


@pytest.mark.parametrize("abrupt", [False, True])
async def test_visitor_who_has_asked_and_leaves(
    lab: Lab, events: list[LabEvent], monkeypatch: pytest.MonkeyPatch, *, abrupt: bool
) -> None:
    """When a visitor who has nothing more to send leaves before the answer, the connector is told: of a break at once."""
    monkeypatch.setattr(leaving, "HALF_CLOSED_SECONDS", 1000.0 if abrupt else 0.01)
    reached, told = asyncio.Event(), asyncio.Event()

    async def wait(stream: H2Stream) -> None:
        stream.on_broken = told.set
        reached.set()
        await told.wait()

    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("web"), answer=wait):
        async with visiting(lab, "web.localhost") as visitor:
            await visitor.send_head("GET", "/")
            await reached.wait()
            if abrupt:  # a reset, and no orderly end
                connection = visitor.writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                visitor.writer.transport.abort()
        await told.wait()
        await lab.wait_for(lambda _: any(isinstance(event, RequestServed) and not event.complete for event in events))


async def test_visitor_who_has_asked_and_only_listens(lab: Lab) -> None:
    """A visitor that closes its side right behind its requests, as `nc -N` does, gets every answer, and then the end."""
    reached, may_answer = asyncio.Event(), asyncio.Event()

    async def slow(stream: H2Stream) -> None:
        reached.set()
        await may_answer.wait()
        await hello(stream)

    async with (
        asyncio.timeout(PATIENCE),
        registered(lab, lab.token("web"), answer=slow),
        visiting(lab, "web.localhost") as visitor,
    ):
        for number in range(2):
            visitor.writer.write(b"GET /%d HTTP/1.1\r\nHost: web.localhost\r\n\r\n" % number)
        visitor.writer.write_eof()
        await reached.wait()
        await get(lab, "nobody.localhost")  # by now the end has arrived
        may_answer.set()
        seen = await visitor.reader.read()
    assert [path for path in (b"hello /0", b"hello /1") if path in seen] == [b"hello /0", b"hello /1"]


async def test_two_lengths(lab: Lab) -> None:
    """A request with a length and chunks is refused and nothing behind it is read, so that none is smuggled past a check."""
    request = b"POST / HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("web")), visiting(lab, "web.localhost") as visitor:
        visitor.writer.write(request + b"GET /smuggled HTTP/1.1\r\nHost: web.localhost\r\n\r\n")
        seen = await visitor.reader.read()
    assert seen.startswith(b"HTTP/1.1 400 ")
    assert b"hello" not in seen


async def test_answer_before_the_whole_request(lab: Lab) -> None:
    """An answer that does not wait for the request's body reaches the visitor."""

    async def impatient(stream: H2Stream) -> None:
        await respond(stream, 413, [(b"Content-Length", b"3")], b"big")

    async with registered(lab, lab.token("web"), answer=impatient), visiting(lab, "web.localhost") as visitor:
        await visitor.send_head("POST", "/", [("Content-Length", "100000000")])
        reply = await visitor.read_reply()
    assert (reply.status, reply.body) == (413, b"big")


async def test_keep_alive_and_pipelining(lab: Lab) -> None:
    """Several requests pass over one connection of a visitor, also when sent without waiting."""
    async with registered(lab, lab.token("web")), visiting(lab, "web.localhost") as visitor:
        for number in range(3):
            visitor.writer.write(b"GET /%d HTTP/1.1\r\nHost: web.localhost\r\n\r\n" % number)
        seen = b""
        while seen.count(b"hello") < 3:
            seen += await visitor.reader.read(65536)
        assert [number for number in range(3) if b"hello /%d" % number in seen] == [0, 1, 2]


async def test_keep_alive_after_a_page_of_the_edge(lab: Lab) -> None:
    """A request that the edge answers itself leaves the connection in order, whatever body came with it."""
    async with asyncio.timeout(PATIENCE), visiting(lab, "nobody.localhost") as visitor:
        for _ in range(2):
            visitor.writer.write(b"POST / HTTP/1.1\r\nHost: nobody.localhost\r\nContent-Length: 5\r\n\r\nhello")
            assert (await visitor.reader.readuntil(b"error code: 1016")).startswith(b"HTTP/1.1 530 ")


async def test_connection_that_takes_no_more(lab: Lab) -> None:
    """A connection that has announced its end is passed over for another."""
    async with registered(lab, lab.token("web")), registered(lab, lab.token("web"), index=1) as leaving:
        leaving.session.goaway()
        await leaving.update_local_configuration(b"{}")  # the edge has read what came before its answer
        assert {(await get(lab, "web.localhost")).status for _ in range(4)} == {200}


async def test_absolute_target(lab: Lab) -> None:
    """An absolute target names the host, as for a proxy."""
    async with registered(lab, lab.token("web")):
        assert (await get(lab, "other.localhost", "http://web.localhost/abs")).body == b"hello /abs"


async def test_websocket_refused_and_raw_bytes(lab: Lab) -> None:
    """An upgrade that the origin refuses is an ordinary answer; one that it accepts carries raw bytes both ways."""

    async def socket(stream: H2Stream) -> None:
        headers = dict(stream.headers)
        assert headers[codec.UPGRADE] == codec.WEBSOCKET
        if headers[b":path"] == b"/no":
            await respond(stream, 403, [(b"Content-Length", b"2")], b"no")
            return
        await stream.send_headers(head(200, [(b"Sec-WebSocket-Accept", b"x"), (b"Connection", b"Upgrade")]))
        while data := await stream.read():
            await stream.send_data(data[::-1])
        await stream.send_data(b"", end=True)

    upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Key", "k"), ("Sec-WebSocket-Version", "13")]
    async with registered(lab, lab.token("web"), answer=socket):
        assert (await get(lab, "web.localhost", "/no", headers=upgrade)).body == b"no"
        async with asyncio.timeout(PATIENCE), visiting(lab, "web.localhost") as visitor:
            await visitor.send_head("GET", "/yes", upgrade)
            visitor.writer.write(b"early")
            assert (await visitor.read_reply()).status == 101
            assert visitor.h11.trailing_data[0] + await visitor.reader.read(5) == b"ylrae"
            visitor.writer.write(b"later")
            assert await visitor.reader.readexactly(5) == b"retal"
            visitor.writer.write_eof()
            assert await visitor.reader.read() == b""
