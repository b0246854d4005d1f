"""Visitors over HTTP/2: chosen by ALPN, carried like any other, with what only HTTP/2 can carry."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx2
import pytest
from tests.lab.edge.connector import head, hello, registered, respond
from tests.support.origin import blob, blob_digest
from tests.support.waits import PATIENCE

from prx.lab import Lab
from prx.lab.events import LabEvent, RequestServed
from prx.lab.protocol.errors import StreamError
from prx.lab.protocol.h2.session import H2Session
from prx.lab.protocol.h2.stream import H2Stream
from prx.lab.protocol.headers import Headers


@asynccontextmanager
async def session(lab: Lab, host: str) -> AsyncIterator[H2Session]:
    """Connect over HTTP/2 for the length of a block."""
    context = ssl.create_default_context(cafile=str(lab.ca_file))
    context.set_alpn_protocols(["h2"])
    made = H2Session(client=True)
    await asyncio.get_running_loop().create_connection(
        lambda: made, "127.0.0.1", urlsplit(lab.public_https).port or 0, ssl=context, server_hostname=host
    )
    assert made.transport.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
    try:
        yield made
    finally:
        made.abort()
        await made.wait_closed()


def ask(path: str = "/", *headers: tuple[bytes, bytes], method: bytes = b"GET") -> Headers:
    """A request's head."""
    pseudo = [(b":method", method), (b":scheme", b"https"), (b":authority", b"web.localhost"), (b":path", path.encode())]
    return [*pseudo, *headers]


async def whole(stream: H2Stream) -> tuple[dict[bytes, bytes], bytes]:
    """The final head and the body."""
    found = dict(await stream.response())
    body = b""
    while data := await stream.read():
        body += data
    return found, body


async def test_an_ordinary_client(lab: Lab) -> None:
    """A client of the trade chooses HTTP/2, reuses its connection, and gets what others get."""
    async with registered(lab, lab.token("web")):
        context = ssl.create_default_context(cafile=str(lab.ca_file))
        named = {"sni_hostname": "web.localhost"}  # not every resolver knows names below .localhost
        async with httpx2.AsyncClient(http2=True, verify=context, trust_env=False, base_url=lab.public_https) as client:
            for number in range(3):
                reply = await client.get(f"/{number}", headers={"Host": "web.localhost"}, extensions=named)
                assert (reply.http_version, reply.status_code, reply.text) == ("HTTP/2", 200, f"hello /{number}")
                assert reply.headers["server"] == "cloudflare"


async def test_many_on_one_connection(lab: Lab) -> None:
    """A hundred requests at once on one connection all get their own answer."""
    async with registered(lab, lab.token("web")), session(lab, "web.localhost") as visitor:

        async def one(number: int) -> bytes:
            return (await whole(await visitor.request(ask(f"/{number}"), end=True)))[1]

        assert await asyncio.gather(*map(one, range(100))) == [b"hello /%d" % number for number in range(100)]


async def test_as_grpc_has_it(lab: Lab) -> None:
    """TE, a request without a length, interim heads, and the trailers that carry the result: all pass."""
    seen: dict[bytes, bytes] = {}

    async def grpc(stream: H2Stream) -> None:
        seen.update(stream.headers)
        while await stream.read():
            pass
        seen.update(stream.trailers or [])
        await stream.send_headers([(b":status", b"103"), (b"link", b"</x>")])
        await stream.send_headers(head(200, [(b"Content-Type", b"application/grpc"), (b"Connection", b"x"), (b"Bad N", b"")]))
        await stream.send_data(b"reply")
        await stream.send_headers([(b"grpc-status", b"5"), (b"grpc-message", b"none")], end=True)

    async with registered(lab, lab.token("web"), answer=grpc), session(lab, "web.localhost") as visitor:
        stream = await visitor.request(ask("/pkg.Service/Call", (b"te", b"trailers"), method=b"POST"))
        await stream.send_data(b"message")
        await stream.send_headers([(b"x-sum", b"1")], end=True)
        assert dict(await stream.next_head())[b":status"] == b"103"
        found, body = await whole(stream)
    assert (found[b"content-type"], body) == (b"application/grpc", b"reply")
    assert stream.trailers == [(b"grpc-status", b"5"), (b"grpc-message", b"none")]
    assert (seen[b"te"], seen[b"x-sum"], seen[b"x-forwarded-proto"]) == (b"trailers", b"1", b"https")


async def test_grpc_error_without_a_message(lab: Lab) -> None:
    """A head with grpc-status and nothing behind it reaches the visitor as the one frame that gRPC clients want."""

    async def grpc(stream: H2Stream) -> None:
        await stream.send_headers(head(200, [(b"Grpc-Status", b"5"), (b"Content-Type", b"application/grpc")]))
        await stream.send_data(b"message" if dict(stream.headers)[b":path"] == b"/odd" else b"", end=True)

    async with registered(lab, lab.token("web"), answer=grpc), session(lab, "web.localhost") as visitor:
        stream = await visitor.request(ask("/pkg.Service/Call", (b"te", b"trailers"), method=b"POST"), end=True)
        data_frames: list[bytes] = []
        stream.on_data = lambda data, flow_length: data_frames.append(data)  # type: ignore[method-assign]
        found = dict(await stream.response())
        assert (await stream.read(), data_frames) == (b"", []), "the head has not ended the stream"
        assert (found[b":status"], found[b"grpc-status"]) == (b"200", b"5")
        found, body = await whole(await visitor.request(ask("/odd"), end=True))
        assert (found[b"grpc-status"], body) == (b"5", b"message")


async def test_expect_continue(lab: Lab) -> None:
    """A visitor who waits for leave to send gets it; one without a body is not asked to go on."""

    async def sized(stream: H2Stream) -> None:
        assert b"expect" not in dict(stream.headers)
        body = b""
        while data := await stream.read():
            body += data
        await respond(stream, 200, [], b"%d" % len(body))

    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("web"), answer=sized), session(lab, "web.localhost") as one:
        stream = await one.request(ask("/", (b"expect", b"100-continue"), method=b"POST"))
        assert (await stream.next_head())[0] == (b":status", b"100")
        await stream.send_data(b"hello", end=True)
        assert (await whole(stream))[1] == b"5"
        bodiless = await one.request(ask("/", (b"expect", b"100-continue")), end=True)
        assert (await bodiless.next_head())[0] == (b":status", b"200")


async def test_order_repeats_and_cookies(lab: Lab) -> None:
    """Headers keep order and repeats in both directions, and the crumbs of a cookie become one."""
    seen: Headers = []

    async def odd(stream: H2Stream) -> None:
        seen.extend(stream.headers)
        await respond(stream, 200, [(b"X-B", b"1"), (b"X-A", b"2"), (b"X-B", b"3"), (b"Content-Length", b"0")])

    sent = [(b"x-b", b"1"), (b"cookie", b"a=1"), (b"x-a", b"2"), (b"x-b", b"3"), (b"cookie", b"b=2")]
    async with registered(lab, lab.token("web"), answer=odd), session(lab, "web.localhost") as visitor:
        stream = await visitor.request(ask("/", *sent), end=True)
        reply = await stream.response()
    assert [pair for pair in seen if pair[0].startswith(b"x-") and not pair[0].startswith(b"x-f")] == [
        sent[0],
        sent[2],
        sent[3],
    ]
    assert [value for name, value in seen if name == b"cookie"] == [b"a=1; b=2"]
    assert reply[1:4] == [(b"x-b", b"1"), (b"x-a", b"2"), (b"x-b", b"3")]


async def test_big_bodies_both_ways(lab: Lab) -> None:
    """20 MB up and down at once come through unchanged."""
    size = 20 * 1024 * 1024

    async def echo(stream: H2Stream) -> None:
        await stream.send_headers(head(200, []))
        while data := await stream.read():
            await stream.send_data(data)
        await stream.send_data(b"", end=True)

    async with asyncio.timeout(60), registered(lab, lab.token("web"), answer=echo), session(lab, "web.localhost") as visitor:
        stream = await visitor.request(ask("/", method=b"POST"))

        async def upload() -> None:
            for part in blob(size):
                await stream.send_data(part)
            await stream.send_data(b"", end=True)

        async with asyncio.TaskGroup() as group:
            group.create_task(upload())
            _, body = await whole(stream)
    assert hashlib.sha256(body).hexdigest() == blob_digest(size)


async def test_head_too_large(lab: Lab) -> None:
    """A head over 128 KiB gets 431, and the connection carries on; 100 KB pass."""

    async def size(stream: H2Stream) -> None:
        await respond(stream, 200, [(b"X-Size", b"%d" % len(dict(stream.headers)[b"x-large"])), (b"Content-Length", b"0")])

    async with registered(lab, lab.token("web"), answer=size), session(lab, "web.localhost") as visitor:
        too_large, _ = await whole(await visitor.request(ask("/", (b"x-large", b"x" * 140_000)), end=True))
        assert too_large[b":status"] == b"431"
        fine, _ = await whole(await visitor.request(ask("/", (b"x-large", b"x" * 100_000)), end=True))
        assert fine[b"x-size"] == b"100000"


@pytest.mark.parametrize("body", [b"short", b"much too long for it"])
async def test_length_that_lies(lab: Lab, body: bytes) -> None:
    """A body that is not as long as announced never looks whole, and other requests on the connection go on."""

    async def liar(stream: H2Stream) -> None:
        if dict(stream.headers)[b":path"] == b"/good":
            await hello(stream)
            return
        await stream.send_headers(head(200, [(b"Content-Length", b"10")]))
        await stream.send_data(body, end=True)

    async with registered(lab, lab.token("web"), answer=liar), session(lab, "web.localhost") as visitor:
        with pytest.raises(StreamError):
            await whole(await visitor.request(ask("/"), end=True))
        assert (await whole(await visitor.request(ask("/good"), end=True)))[1] == b"hello /good"


async def test_head_and_304(lab: Lab) -> None:
    """HEAD and 304 have a length and no body."""

    async def bodiless(stream: H2Stream) -> None:
        status = 304 if dict(stream.headers)[b":path"] == b"/304" else 200
        await respond(stream, status, [(b"Content-Length", b"1000")])

    async with registered(lab, lab.token("web"), answer=bodiless), session(lab, "web.localhost") as visitor:
        for request in (ask("/", method=b"HEAD"), ask("/304")):
            found, body = await whole(await visitor.request(request, end=True))
            assert (found[b"content-length"], body) == (b"1000", b"")


async def test_visitor_gives_one_request_up(lab: Lab, events: list[LabEvent]) -> None:
    """A request that the visitor resets ends in the tunnel at once, and the others on the connection go on."""
    reached, told = asyncio.Event(), asyncio.Event()

    async def wait(stream: H2Stream) -> None:
        if dict(stream.headers)[b":path"] == b"/good":
            await hello(stream)
            return
        stream.on_broken = told.set
        reached.set()
        await told.wait()

    async with (
        asyncio.timeout(PATIENCE),
        registered(lab, lab.token("web"), answer=wait),
        session(lab, "web.localhost") as visitor,
    ):
        stream = await visitor.request(ask("/"), end=True)
        await reached.wait()
        stream.reset()
        await told.wait()
        assert (await whole(await visitor.request(ask("/good"), end=True)))[1] == b"hello /good"
        await lab.wait_for(lambda _: any(isinstance(event, RequestServed) and not event.complete for event in events))


async def test_not_http2(lab: Lab) -> None:
    """Bytes that are no HTTP/2 end that connection and no other."""
    async with registered(lab, lab.token("web")), session(lab, "web.localhost") as good:
        async with asyncio.timeout(PATIENCE), session(lab, "web.localhost") as bad:
            bad.transport.write(b"\xff" * 200)
            await bad.wait_closed()
        assert (await whole(await good.request(ask("/x"), end=True)))[1] == b"hello /x"
