"""Requests from an edge to a local service and back, with this connector and with the real one."""

import asyncio
import hashlib
import json
import signal
from collections.abc import AsyncIterator

import pytest
from tests.lab.connector.bench import BUILTIN_ONLY, HTTP2_ONLY, Bench
from tests.lab.connector.child import Child
from tests.lab.connector.mini_edge import MiniEdge, finish
from tests.support.origin import BLOCK, Origin
from tests.support.waits import PATIENCE

from prx.lab.protocol.errors import StreamError
from prx.lab.protocol.h2.stream import H2Stream


@pytest.fixture
async def child(bench: Bench) -> AsyncIterator[Child]:
    """Yield a connector with one registered connection."""
    async with bench.started() as running:
        await bench.up(running)
        yield running


async def test_request_and_answer(child: Child, edge: MiniEdge) -> None:
    """Method, path, headers and body reach the origin, and its answer comes back with the origin's own headers."""
    reply = await edge.fetch(
        "/mirror?q=1", method="POST", body=b"question", headers=[(b"x-a", b"1"), (b"cookie", b"c=1"), (b"cookie", b"d=2")]
    )
    seen = json.loads(reply.body)
    headers = dict(seen["headers"])
    assert (reply.status, reply.meta, reply.headers["x-origin"]) == (200, '{"src":"origin"}', "yes")
    assert (seen["method"], seen["body"]) == ("POST", "question")
    assert headers["host"] == "a.test"
    assert headers["x-a"] == "1"
    cookies = [value for name, value in seen["headers"] if name == "cookie"]
    assert cookies == (["c=1; d=2"] if edge.protocol == "http2" else ["c=1", "d=2"])
    assert headers["content-length"] == "8"
    assert len(headers["cf-warp-tag-id"]) == 36
    assert "cf-cloudflared-proxy-connection-upgrade" not in headers
    assert (b"content-length", reply.headers["content-length"].encode()) in reply.outer


async def test_body_of_unknown_length(child: Child, edge: MiniEdge) -> None:
    """A body without a length reaches the origin whole."""
    async with asyncio.timeout(PATIENCE):
        stream = await edge.open("POST", "/mirror")
        await stream.send_data(b"one ")
        await stream.send_data(b"two", end=True)
        seen = json.loads((await finish(stream)).body)
    assert seen["body"] == "one two"
    assert dict(seen["headers"])["transfer-encoding"] == "chunked"


async def test_trailers_of_a_request(child: Child, edge: MiniEdge) -> None:
    """Trailers that were announced reach the origin over HTTP/2, the others do not; over QUIC none is promised."""
    async with asyncio.timeout(PATIENCE):
        stream = await edge.open("POST", "/mirror", [(b"trailer", b"X-Sum, x-late")])
        if isinstance(stream, H2Stream):
            await stream.send_data(b"body")
            await stream.send_headers([(b"x-sum", b"1"), (b"x-stowaway", b"2")], end=True)
        else:
            await stream.send_data(b"body", end=True)
        seen = json.loads((await finish(stream)).body)
    over_http2 = edge.protocol == "http2"
    assert (seen["body"], seen["trailers"]) == ("body", [["x-sum", "1"]] if over_http2 else [])
    assert ("trailer" in dict(seen["headers"])) == over_http2


@BUILTIN_ONLY
@pytest.mark.parametrize("name", [b"content-length", b"Content-Length", b"trailer", b"HOST"])
async def test_trailers_that_would_frame_a_request(child: Child, edge: MiniEdge, name: bytes) -> None:
    """A trailer that would frame or route a request does not reach the origin, though it was announced."""
    async with asyncio.timeout(PATIENCE):
        stream = await edge.open("POST", "/mirror", [(b"trailer", b"x-sum, " + name)])
        if isinstance(stream, H2Stream):
            await stream.send_data(b"body")
            await stream.send_headers([(b"x-sum", b"1"), (name.lower(), b"7")], end=True)
        else:
            await stream.send_data(b"body", end=True)
        seen = json.loads((await finish(stream)).body)
    over_http2 = edge.protocol == "http2"
    assert seen["trailers"] == ([["x-sum", "1"]] if over_http2 else [])
    assert dict(seen["headers"]).get("trailer") == ("x-sum" if over_http2 else None)


async def test_trailers_without_a_place(child: Child, edge: MiniEdge) -> None:
    """Behind a body with a length there is no place for trailers: they are left out, and the body is whole."""
    async with asyncio.timeout(PATIENCE):
        stream = await edge.open("POST", "/mirror", [(b"content-length", b"4"), (b"trailer", b"x-sum")])
        await stream.send_data(b"body", end=not isinstance(stream, H2Stream))
        if isinstance(stream, H2Stream):
            await stream.send_headers([(b"x-sum", b"1")], end=True)
        seen = json.loads((await finish(stream)).body)
    assert (seen["body"], seen["trailers"], "trailer" in dict(seen["headers"])) == ("body", [], False)


@HTTP2_ONLY
async def test_edge_that_waits_for_continue(child: Child, edge: MiniEdge) -> None:
    """An edge that leaves `Expect: 100-continue` to the connector is asked to go on; the origin is not asked."""
    async with asyncio.timeout(PATIENCE):
        stream = await edge.open("POST", "/mirror", [(b"content-length", b"4"), (b"expect", b"100-continue")])
        assert isinstance(stream, H2Stream)
        assert (await stream.next_head())[0] == (b":status", b"100")
        await stream.send_data(b"body", end=True)
        seen = json.loads((await finish(stream)).body)
    assert (seen["body"], "expect" in dict(seen["headers"])) == ("body", False)


async def test_status(child: Child, edge: MiniEdge) -> None:
    """The origin's status comes through, also if no body may follow."""
    for status in (201, 204, 301, 304, 404, 500):
        reply = await edge.fetch(f"/status/{status}")
        assert (reply.status, reply.meta) == (status, '{"src":"origin"}')
        assert reply.body == (b"" if status in {204, 304} else b"answer")


async def test_head(child: Child, edge: MiniEdge) -> None:
    """An answer to HEAD has its length and no body."""
    reply = await edge.fetch("/long-head", method="HEAD")
    assert (reply.headers["content-length"], reply.body) == ("12345", b"")


async def test_interim_answer(child: Child, edge: MiniEdge) -> None:
    """An interim answer does not take the place of the final one."""
    assert (await edge.fetch("/interim")).body == b"after 103"


async def test_connections_are_kept(child: Child, edge: MiniEdge, origin: Origin) -> None:
    """Requests one after the other share a connection to the origin."""
    for _ in range(5):
        await edge.fetch("/status/200")
    assert origin.connections == 1


@BUILTIN_ONLY
async def test_dropped_connections_do_no_harm(child: Child, edge: MiniEdge, origin: Origin) -> None:
    """An idle connection that the origin dropped costs no request (the real one sometimes answers 502)."""
    for _ in range(5):
        await edge.fetch("/status/200")
        origin.drop_idle()
        assert (await edge.fetch("/status/200")).status == 200


@pytest.mark.slow
async def test_100_megabytes_each_way(child: Child, edge: MiniEdge) -> None:
    """A hundred megabytes arrive unchanged, in both directions."""
    count = 100 * 1024 * 1024 // len(BLOCK)
    expected = hashlib.sha256()
    async with asyncio.timeout(60):
        up = await edge.open("POST", "/digest", [(b"content-length", str(count * len(BLOCK)).encode())])
        for number in range(count):
            expected.update(BLOCK)
            await up.send_data(BLOCK, end=number == count - 1)
        reply = await finish(up)
        told = json.loads(reply.body)
        assert (told["size"], told["sha256"]) == (count * len(BLOCK), expected.hexdigest())
        down = await edge.open("GET", f"/bytes/{count * len(BLOCK)}", end=True)
        received = hashlib.sha256()
        await down.response()
        while data := await down.read():
            received.update(data)
    assert received.digest() == expected.digest()


async def test_events_are_not_held_back(child: Child, edge: MiniEdge, origin: Origin) -> None:
    """A part of a streamed answer arrives before the origin has written the next."""
    async with asyncio.timeout(PATIENCE):
        stream = await edge.open("GET", "/events", end=True)
        await stream.response()
        for event in ("first", "second"):
            origin.events.put_nowait(event)
            assert await stream.read() == f"data: {event}\n\n".encode()
        origin.events.put_nowait(None)
        assert await stream.read() == b""


async def test_back_pressure(child: Child, edge: MiniEdge) -> None:
    """A visitor who does not read holds the origin back, and loses nothing."""
    async with asyncio.timeout(PATIENCE):
        slow = await edge.open("GET", "/bytes/26214400", end=True)
        await slow.response()
        assert (await edge.fetch("/status/200")).status == 200
        size = 0
        while data := await slow.read():
            size += len(data)
    assert size == 26_214_400


async def test_visitor_leaves(child: Child, edge: MiniEdge, origin: Origin) -> None:
    """A visitor who gives up ends the request at the origin too."""
    async with asyncio.timeout(PATIENCE):
        stream = await edge.open("GET", "/slow", end=True)
        await origin.reached.wait()
        stream.reset()
        await origin.left.wait()


async def test_websocket(child: Child, edge: MiniEdge) -> None:
    """After an upgrade both sides stream freely, and the last words of the origin arrive."""
    async with asyncio.timeout(PATIENCE):
        stream = await edge.websocket("/raw")
        outer = dict(await stream.response())
        assert outer[b":status"] == (b"200" if edge.protocol == "http2" else b"101")
        received = bytearray()
        while len(received) < len(b"hello from the origin;"):
            received += await stream.read()
        await stream.send_data(b"ping" * 1000)
        while len(received) < len(b"hello from the origin;") + 4000:
            received += await stream.read()
        stream.reset()
    assert received == b"hello from the origin;" + b"ping" * 1000


async def test_websocket_refused(child: Child, edge: MiniEdge) -> None:
    """An origin that does not upgrade is heard too."""
    async with asyncio.timeout(PATIENCE):
        reply = await finish(await edge.websocket("/status/403"))
    assert (reply.status, reply.body) == (403, b"answer")


async def test_origin_breaks_off(child: Child, edge: MiniEdge) -> None:
    """An answer that breaks off is a reset, not an answer that seems whole."""
    async with asyncio.timeout(PATIENCE):
        stream = await edge.open("GET", "/half", end=True)
        with pytest.raises(StreamError):
            await finish(stream)
    await child.line(" ERR  error=", "unexpected EOF", "connIndex=0", "event=1", "ingressRule=0")


async def test_origin_refuses(bench: Bench) -> None:
    """A dead origin is a 502 of the connector's own, and two lines that name the address."""
    async with bench.started(url="http://127.0.0.1:1") as child:
        await bench.up(child)
        reply = await bench.edge.fetch("/")
        assert (reply.status, reply.meta, reply.body) == (502, '{"src":"cloudflared"}', b"")
        cause = (
            "Unable to reach the origin service. The service may be down or it may not be responding to traffic from "
            "cloudflared: dial tcp 127.0.0.1:1: connect: connection refused"
        )
        line = await child.line(" ERR  error=")
        assert line.partition(" ERR ")[2] == (
            f' error="{cause}" connIndex=0 event=1 ingressRule=0 originService=http://127.0.0.1:1'
        )
        if bench.edge.protocol == "http2":
            await child.line(f'ERR failed to serve incoming request error="Failed to proxy HTTP: {cause}"')
        else:
            rest = "connIndex=0 dest=https://a.test/ event=0 ip=127.0.0.1 type=http"
            await child.line(f'ERR Request failed error="{cause}" {rest}')


async def test_push(child: Child, edge: MiniEdge, origin: Origin) -> None:
    """A pushed configuration replaces the rules once, a bad or old one changes nothing."""
    rules = f'{{"ingress": [{{"hostname": "a.test", "service": "{origin.url}"}}, {{"service": "http_status:418"}}]}}'
    assert await edge.push(1, rules) == (1, True)
    await child.line("INF Updated to new configuration", "version=1", 'config="{\\"ingress\\": [{\\"hostname\\": \\"a.test\\"')
    assert (await edge.fetch("/status/200")).status == 200
    assert (await edge.fetch("/", host="b.test")).status == 418
    assert await edge.push(2, '{"ingress": [{"service": "bogus"}]}') == (1, False)
    await child.line("ERR Failed to deserialize new configuration", "bogus is an invalid address", "version=2")
    assert await edge.push(1, "{}") == (1, True)
    assert (await edge.fetch("/", host="b.test")).status == 418
    assert await edge.push(3, "{}") == (3, True)
    assert (await edge.fetch("/")).status == 503


async def test_stop_waits_for_requests(child: Child, edge: MiniEdge, origin: Origin) -> None:
    """After SIGTERM a request in flight is finished, then the process ends with 0."""
    async with asyncio.timeout(PATIENCE):
        stream = await edge.open("GET", "/slow", end=True)
        await origin.reached.wait()
        child.send(signal.SIGTERM)
        await child.line("INF Initiating graceful shutdown due to signal terminated ...")
        await child.line("INF Unregistered tunnel connection connIndex=0 event=0 ip=127.0.0.1")
        origin.release.set()
        assert (await finish(stream)).body == b"slow"
    assert await child.exit_code() == 0
    for words in (
        "INF Retrying connection in up to 1s connIndex=0 event=0 ip=127.0.0.1",
        "ERR Connection terminated connIndex=0",
        "ERR no more connections active and exiting",
        "INF Tunnel server stopped",
        "INF Metrics server stopped",
    ):
        await child.line(words)


async def test_flag_for_http2(bench: Bench) -> None:
    """`--http2-origin` holds for the rule that the command line makes, and is reported to the edge."""
    async with bench.started("--http2-origin", url="https://127.0.0.1:1") as child:
        await bench.up(child)
        (rule,) = json.loads(await bench.edge.told())["ingress"]
    assert rule == {"service": "https://127.0.0.1:1", "originRequest": {"http2Origin": True}}
