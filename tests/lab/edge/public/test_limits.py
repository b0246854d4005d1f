"""Cloudflare's limits and habits: what an edge refuses, holds back, rewrites and says by itself; with a scripted connector."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import brotli
import h11
import pytest
from h2.errors import ErrorCodes
from hypothesis import given
from hypothesis import strategies as st
from tests.lab.edge.connector import head, hello, registered, respond
from tests.lab.edge.public.test_http2 import ask, session, whole
from tests.support.waits import PATIENCE
from tests.support.wire import get, visiting

from prx.lab import AccessFront, Lab, LabConfig
from prx.lab.edge.limits import NAMES, Limits
from prx.lab.edge.public.translate import MAX_LOOPS
from prx.lab.edge.public.unpacking import accepts, decoder_for
from prx.lab.edge.public.visitor import UnsendableError
from prx.lab.events import LabEvent, RequestServed
from prx.lab.protocol.h2.stream import H2Stream

UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Key", "k"), ("Sec-WebSocket-Version", "13")]


@asynccontextmanager
async def limited(limits: str | Limits, events: list[LabEvent] | None = None) -> AsyncIterator[Lab]:
    """Run a lab with these limits."""
    async with asyncio.timeout(PATIENCE), Lab.start(LabConfig(limits=limits, on_event=(events or []).append)) as lab:
        yield lab


def quick_name(lab: Lab) -> tuple[str, str]:
    """Make a quick tunnel as the quick service does; gives its name and its token."""
    tunnel = lab._registry.new_quick()
    return tunnel.hostname, tunnel.token()


def test_limits_by_name() -> None:
    """There are two sets of limits, and a mistake is reported with both names."""
    assert NAMES["none"] == Limits(None, None, None, None, None, None)
    assert LabConfig().limited == NAMES["free"]
    with pytest.raises(ValueError, match="unknown limits 'pro'; expected one of free, none"):
        LabConfig(limits="pro")


# -- requests in flight --------------------------------------------------------------------------------------------------


class Crowd:
    """A service whose answers wait for `go`; `full` is set when so many requests are there."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = 0
        self.full = asyncio.Event()
        self.go = asyncio.Event()

    async def answer(self, stream: H2Stream) -> None:
        """Wait, then answer."""
        self.count += 1
        if self.count == self.size:
            self.full.set()
        await self.go.wait()
        await hello(stream)


@pytest.mark.parametrize(("limits", "named", "last"), [("free", False, 429), ("none", False, 200), ("free", True, 200)])
async def test_two_hundred_in_flight(limits: str, last: int, *, named: bool) -> None:
    """A quick tunnel carries 200 requests at a time and the edge refuses the next; a named one has no such limit."""
    crowd = Crowd(200)
    async with limited(limits) as lab:
        name, token = ("web.localhost", lab.token("web")) if named else quick_name(lab)
        async with registered(lab, token, answer=crowd.answer), asyncio.TaskGroup() as group:
            waiting = [group.create_task(get(lab, name)) for _ in range(200)]
            await crowd.full.wait()
            one_more = group.create_task(get(lab, name))
            if last == 429:
                refused = await one_more
                assert (refused.body, refused.header("server")) == (b"error code: 429", "cloudflare")
            crowd.go.set()
            assert {(await task).status for task in waiting} == {200}
            assert (await one_more).status == last
            assert (await get(lab, name)).status == 200, "the places are free again"


async def test_every_way_out_frees_its_place() -> None:
    """A request that fails, is given up, or breaks off counts no longer; a WebSocket counts for as long as it is open."""
    crowd = Crowd(1)

    async def answer(stream: H2Stream) -> None:
        match dict(stream.headers)[b":path"]:
            case b"/reset":
                stream.reset(ErrorCodes.INTERNAL_ERROR)
            case b"/half":
                await stream.send_headers(head(200, [(b"Content-Length", b"9")]))
                stream.reset(ErrorCodes.INTERNAL_ERROR)
            case b"/wait":
                await crowd.answer(stream)
            case b"/ws":
                await stream.send_headers(head(200, [(b"Sec-WebSocket-Accept", b"x")]))
                await stream.read()
            case _:
                await hello(stream)

    async with limited(Limits(in_flight=1)) as lab:
        name, token = quick_name(lab)
        async with registered(lab, token, answer=answer):
            assert (await get(lab, name, "/reset")).status == 502
            with pytest.raises(ConnectionError):
                await get(lab, name, "/half")
            async with visiting(lab, name) as visitor:
                await visitor.send_head("POST", "/wait", [("Content-Length", "5")])
                await crowd.full.wait()
                assert (await get(lab, name)).status == 429
            while (await get(lab, name)).status == 429:  # noqa: ASYNC110 - until the edge has learnt that the visitor left
                await asyncio.sleep(0)
            async with visiting(lab, name) as visitor:
                await visitor.send_head("GET", "/ws", UPGRADE)
                assert (await visitor.read_reply()).status == 101
                assert (await get(lab, name)).status == 429


# -- silence -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/silent", "/interim", "/uploaded"])
async def test_silent_origin(path: str) -> None:
    """An origin that says nothing for so long is a 524, and learns that the visitor waits no longer."""
    told = asyncio.Event()

    async def silent(stream: H2Stream) -> None:
        stream.on_broken = told.set
        if path == "/interim":
            await stream.send_headers([(b":status", b"103"), (b"link", b"</x>")])
        await told.wait()

    async with limited(Limits(silence=0.1)) as lab, registered(lab, lab.token("web"), answer=silent):
        body = [b"hello"] if path == "/uploaded" else []
        headers = [("Content-Length", "5")] if body else []
        reply = await get(lab, "web.localhost", path, method="POST" if body else "GET", headers=headers, body=body)
        assert (reply.status, reply.body, reply.header("cf-error-type")) == (524, b"error code: 524", "524")
        await told.wait()


@pytest.mark.parametrize("limits", [Limits(silence=0.15), Limits(silence=None)])
async def test_silence_is_counted_from_the_last_word(limits: Limits) -> None:
    """A slow but steady answer is none, nor is a slow upload; a response that falls silent half way is cut off."""

    async def steady(stream: H2Stream) -> None:
        while await stream.read():
            pass
        await stream.send_headers(head(200, []))
        for _ in range(5):
            await asyncio.sleep(0.06)
            await stream.send_data(b"x")
        if dict(stream.headers)[b":path"] == b"/stops":
            await asyncio.sleep(0.6)
        await stream.send_data(b"", end=True)

    async with limited(limits) as lab, registered(lab, lab.token("web"), answer=steady):
        assert (await get(lab, "web.localhost")).body == b"xxxxx"
        async with visiting(lab, "web.localhost") as visitor:
            await visitor.send_head("POST", "/", [("Content-Length", "5")])
            for _ in range(5):
                await asyncio.sleep(0.06)
                visitor.writer.write(b"x")
            visitor.h11.send(h11.Data(data=b"xxxxx"))
            visitor.h11.send(h11.EndOfMessage())
            assert (await visitor.read_reply()).body == b"xxxxx"
        if limits.silence is None:
            assert (await get(lab, "web.localhost", "/stops")).body == b"xxxxx"
        else:
            with pytest.raises(ConnectionError):
                await get(lab, "web.localhost", "/stops")


async def test_a_websocket_may_be_silent() -> None:
    """A WebSocket is exempt, however long nothing passes on it."""

    async def socket(stream: H2Stream) -> None:
        await stream.send_headers(head(200, [(b"Sec-WebSocket-Accept", b"x")]))
        assert await stream.read() == b"ping"
        await asyncio.sleep(0.3)
        await stream.send_data(b"pong", end=True)

    async with (
        limited(Limits(silence=0.1)) as lab,
        registered(lab, lab.token("web"), answer=socket),
        visiting(lab, "web.localhost") as visitor,
    ):
        await visitor.send_head("GET", "/", UPGRADE)
        assert (await visitor.read_reply()).status == 101
        visitor.writer.write(b"ping")
        assert visitor.h11.trailing_data[0] + await visitor.reader.read() == b"pong"


# -- sizes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize(("size", "status"), [(1000, 200), (1001, 413), (400_000, 413)])
async def test_upload(framing: str, size: int, status: int) -> None:
    """An upload over the limit is a 413, announced or not, whose page arrives although the visitor is still sending."""
    seen: list[int] = []

    async def swallow(stream: H2Stream) -> None:
        seen.append(0)
        while data := await stream.read():
            seen[-1] += len(data)
        await hello(stream)

    headers = [("Content-Length", str(size))] if framing == "length" else [("Transfer-Encoding", "chunked")]
    async with limited(Limits(upload=1000)) as lab, registered(lab, lab.token("web"), answer=swallow):
        reply = await get(lab, "web.localhost", method="POST", headers=headers, body=[b"x" * size])
        assert (reply.status, reply.header("server")) == (status, "cloudflare")
        assert bool(reply.header("cf-ray"))
        assert status == 200 or b"413 Request Entity Too Large" in reply.body
        assert status == 200 or framing == "chunked" or seen == [], "an announced one does not get as far as the service"


async def test_upload_over_http2() -> None:
    """The same holds over HTTP/2."""

    async def swallow(stream: H2Stream) -> None:
        while await stream.read():
            pass
        await hello(stream)

    async with (
        limited(Limits(upload=1000)) as lab,
        registered(lab, lab.token("web"), answer=swallow),
        session(lab, "web.localhost") as visitor,
    ):
        for size, status in ((1000, b"200"), (1001, b"413")):
            stream = await visitor.request(ask(method=b"POST"))
            await stream.send_data(b"x" * size, end=True)
            found, _ = await whole(stream)
            assert found[b":status"] == status
            assert b"connection" not in found


async def test_the_free_limit_is_a_hundred_megabytes(lab: Lab) -> None:
    """If nothing else is said 100 MB go up and one byte more does not."""

    async def at_once(stream: H2Stream) -> None:
        await hello(stream)

    async with registered(lab, lab.token("web"), answer=at_once):
        for size, status in ((100 * 1024 * 1024, 200), (100 * 1024 * 1024 + 1, 413), (10**12, 413)):
            async with visiting(lab, "web.localhost") as visitor:
                await visitor.send_head("POST", "/", [("Content-Length", str(size))])
                assert (await visitor.read_reply(head_only=True)).status == status


@pytest.mark.parametrize(("limits", "length", "status"), [("free", 16_384, 200), ("free", 16_385, 414), ("none", 60_000, 200)])
async def test_long_url(limits: str, length: int, status: int) -> None:
    """A URL over 16 KB is a 414, over both versions of HTTP."""
    path = "/?" + "x" * (length - 2)
    async with limited(limits) as lab, registered(lab, lab.token("web")):
        reply = await get(lab, "web.localhost", path)
        assert (reply.status, reply.header("server"), bool(reply.header("cf-ray"))) == (status, "cloudflare", True)
        async with session(lab, "web.localhost") as visitor:
            found, _ = await whole(await visitor.request(ask(path), end=True))
            assert found[b":status"] == str(status).encode()


@pytest.mark.parametrize("count", [1, 40, 3000])
async def test_large_request_head(lab: Lab, count: int) -> None:
    """A head over 128 KB is a 431, in one header or in many, in one piece or in parts, over both versions of HTTP."""
    headers = [(f"x-{number}", "v" * (140_000 // count)) for number in range(count)]
    async with registered(lab, lab.token("web")):
        assert (await get(lab, "web.localhost", headers=headers)).status == 431
        async with session(lab, "web.localhost") as visitor:
            plain = [(name.encode(), value.encode()) for name, value in headers]
            found, _ = await whole(await visitor.request(ask("/", *plain), end=True))
            assert (found[b":status"], found[b"server"], bool(found[b"cf-ray"])) == (b"431", b"cloudflare", True)


@pytest.mark.parametrize(("limits", "size", "status"), [("free", 100_000, 200), ("free", 132_000, 520), ("none", 132_000, 200)])
async def test_large_response_head(limits: str, size: int, status: int) -> None:
    """An answer whose head is over 128 KB is a 520."""

    async def large(stream: H2Stream) -> None:
        await respond(stream, 200, [(b"X-%d" % number, b"v" * (size // 10)) for number in range(10)])

    async with (
        limited(limits) as lab,
        registered(lab, lab.token("web"), answer=large),
        visiting(lab, "web.localhost") as visitor,
    ):
        visitor.h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        await visitor.send_head("GET", "/")
        await visitor.send_body(())
        assert (await visitor.read_reply()).status == status


# -- server-sent events --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limits", "named", "held"), [("free", False, True), ("none", False, False), ("free", True, False)])
async def test_events_on_a_quick_tunnel(limits: str, *, named: bool, held: bool) -> None:
    """Server-sent events on a quick tunnel wait for their end, as they are not supported there; elsewhere they come at once."""
    go = asyncio.Event()

    async def events(stream: H2Stream) -> None:
        await stream.send_headers(head(200, [(b"Content-Type", b"text/event-stream; charset=utf-8")]))
        await stream.send_data(b"data: 1\n\n")
        await go.wait()
        await stream.send_data(b"data: 2\n\n", end=True)

    async with limited(limits) as lab:
        name, token = ("web.localhost", lab.token("web")) if named else quick_name(lab)
        async with registered(lab, token, answer=events), visiting(lab, name) as visitor:
            await visitor.send_head("GET", "/")
            await visitor.send_body(())
            assert (await visitor.read_reply(head_only=True)).status == 200
            if held:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await visitor.next_event()
                go.set()
            event = await visitor.next_event()
            assert bytes(getattr(event, "data", b"")) == b"data: 1\n\n" + b"data: 2\n\n" * held
            go.set()


async def test_many_events_come_in_blocks() -> None:
    """What is held goes on once there is enough of it, and what came before a break arrives too."""
    go = asyncio.Event()

    async def events(stream: H2Stream) -> None:
        await stream.send_headers(head(200, [(b"Content-Type", b"text/event-stream")]))
        await stream.send_data(b"x" * 70_000)
        await go.wait()
        await stream.send_data(b"y")
        stream.reset(ErrorCodes.INTERNAL_ERROR)

    async with limited("free") as lab:
        name, token = quick_name(lab)
        async with registered(lab, token, answer=events), visiting(lab, name) as visitor:
            await visitor.send_head("GET", "/")
            await visitor.send_body(())
            await visitor.read_reply(head_only=True)
            got = b""
            while len(got) < 70_000:
                got += bytes(getattr(await visitor.next_event(), "data", b""))
            go.set()
            got += bytes(getattr(await visitor.next_event(), "data", b""))
            assert got == b"x" * 70_000 + b"y"
            with pytest.raises(ConnectionError):
                await visitor.next_event()


async def test_other_streams_are_not_held(lab: Lab) -> None:
    """What streams on a quick tunnel under another type, and what is only asked with HEAD, is not held back."""
    go = asyncio.Event()

    async def lines(stream: H2Stream) -> None:
        await stream.send_headers(head(200, [(b"Content-Type", b"application/x-ndjson")]))
        await stream.send_data(b"{}\n")
        await go.wait()

    name, token = quick_name(lab)
    async with asyncio.timeout(PATIENCE), registered(lab, token, answer=lines), visiting(lab, name) as visitor:
        await visitor.send_head("GET", "/")
        await visitor.send_body(())
        await visitor.read_reply(head_only=True)
        assert bytes(getattr(await visitor.next_event(), "data", b"")) == b"{}\n"


# -- compression ---------------------------------------------------------------------------------------------------------

TEXT = b"a line of text that is worth packing\n" * 5000
PACKED = {"gzip": gzip.compress(TEXT), "br": brotli.compress(TEXT), "x-gzip": gzip.compress(TEXT[:9]) + gzip.compress(TEXT[9:])}


@pytest.mark.parametrize("accept", [None, "identity", "deflate, gzip;q=0", "*;q=0", "gzip", "br", "gzip, br", "*", "zstd"])
@pytest.mark.parametrize("coding", PACKED)
async def test_compression(lab: Lab, coding: str, accept: str | None) -> None:
    """The origin is always asked for `br, gzip`; the edge unpacks for those who accept what comes not."""
    asked: list[bytes] = []

    async def pack(stream: H2Stream) -> None:
        asked.append(dict(stream.headers)[b"accept-encoding"])
        length = b"%d" % len(PACKED[coding])
        headers = [(b"Content-Encoding", coding.encode()), (b"Content-Length", length), (b"ETag", b'"x"')]
        await respond(stream, 200, headers, PACKED[coding])

    async with registered(lab, lab.token("web"), answer=pack):
        headers = [] if accept is None else [("Accept-Encoding", accept)]
        reply = await get(lab, "web.localhost", headers=headers)
        looked = await get(lab, "web.localhost", method="HEAD", headers=headers) if coding == "gzip" else reply
    assert set(asked) == {b"br, gzip"}
    taken = accept == "*" or coding.removeprefix("x-") in (accept or "").split(", ")
    if taken:
        assert (reply.body, reply.header("content-encoding"), reply.header("etag")) == (PACKED[coding], coding, '"x"')
    else:
        assert (reply.body, reply.header("content-encoding"), reply.header("content-length")) == (TEXT, "", "")
        assert (reply.header("etag"), reply.header("vary")) == ('W/"x"', "Accept-Encoding")
    assert looked.header("content-encoding") == reply.header("content-encoding")


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (206, [(b"Content-Encoding", b"gzip")]),
        (200, [(b"Content-Encoding", b"gzip"), (b"Cache-Control", b"public, no-transform")]),
        (200, [(b"Content-Encoding", b"deflate")]),
        (200, [(b"Content-Encoding", b"gzip, br")]),
        (200, [(b"Content-Type", b"text/plain")]),
    ],
)
def test_what_passes_packed(status: int, headers: list[tuple[bytes, bytes]]) -> None:
    """A part of an answer, one that must not be changed, and other codings pass as they are."""
    assert decoder_for(b"identity", status, headers) is None


@pytest.mark.parametrize("body", [b"no gzip at all", PACKED["gzip"][:-20], PACKED["gzip"][:300] + b"\0" * 50])
@pytest.mark.parametrize("coding", ["gzip", "br"])
async def test_broken_compression(lab: Lab, coding: str, body: bytes) -> None:
    """A body that is not what it is said to be, or that breaks off, never looks whole to one for whom it is unpacked."""

    async def broken(stream: H2Stream) -> None:
        await respond(stream, 200, [(b"Content-Encoding", coding.encode())], body)

    async with registered(lab, lab.token("web"), answer=broken):
        with pytest.raises(ConnectionError):
            await get(lab, "web.localhost")
        assert (await get(lab, "web.localhost", headers=[("Accept-Encoding", coding)])).body == body


@given(st.lists(st.binary(max_size=4000), max_size=6), st.integers(1, 500), st.sampled_from(["gzip", "br"]))
def test_unpacking_is_the_same_in_any_pieces(parts: list[bytes], step: int, coding: str) -> None:
    """However the packed bytes come in pieces, what comes out is what was packed."""
    plain = b"".join(parts)
    packed = gzip.compress(plain) if coding == "gzip" else brotli.compress(plain)
    decoder = decoder_for(b"", 200, [(b"Content-Encoding", coding.encode())])
    assert decoder is not None
    pieces = [packed[at : at + step] for at in range(0, len(packed), step)]
    assert b"".join(out for piece in pieces for out in decoder.feed(piece)) == plain
    decoder.finish()


@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_unpacking_comes_in_bounded_pieces(coding: str) -> None:
    """A small body that unpacks to a huge one is given out piece by piece."""
    huge = bytes(50_000_000)
    packed = gzip.compress(huge) if coding == "gzip" else brotli.compress(huge, quality=4)
    decoder = decoder_for(None, 200, [(b"content-encoding", coding.encode())])
    assert decoder is not None
    sizes = [len(piece) for piece in decoder.feed(packed)]
    assert sum(sizes) == len(huge)
    assert max(sizes) <= 1024 * 1024
    cut = decoder_for(None, 200, [(b"content-encoding", coding.encode())])
    assert cut is not None
    assert b"".join(cut.feed(packed[:-5]))
    with pytest.raises(UnsendableError):
        cut.finish()


def test_accepts() -> None:
    """Weights, the star and the old name of gzip are understood (RFC 9110, 12.5.3)."""
    assert accepts(b"GZIP;q=0.5", b"gzip")
    assert accepts(b"x-gzip", b"gzip")
    assert accepts(b"*", b"br")
    assert not accepts(b"*;q=0, br", b"gzip")
    assert not accepts(b"gzip;q=0.000, *", b"gzip")


# -- headers -------------------------------------------------------------------------------------------------------------


async def test_headers_that_the_edge_says_itself(lab: Lab) -> None:
    """`CF-Cache-Status: DYNAMIC` comes with each answer of a service, `X-Accel-…` and forged words of the edge's own never."""

    async def answer(stream: H2Stream) -> None:
        accel = [(b"X-Accel-" + name, b"1") for name in (b"Buffering", b"Charset", b"Limit-Rate", b"Redirect", b"Expires")]
        await respond(stream, 404, [*accel, (b"CF-Cache-Status", b"HIT"), (b"Server", b"mine"), (b"X-Mine", b"1")])

    async with registered(lab, lab.token("web"), answer=answer):
        reply = await get(lab, "web.localhost")
    names = [name.lower() for name, _ in reply.headers]
    assert not [name for name in names if name.startswith("x-accel")]
    assert [value for name, value in reply.headers if name == "CF-Cache-Status"] == ["DYNAMIC"]
    assert (reply.header("server"), reply.header("x-mine"), names.count("cf-ray")) == ("cloudflare", "1", 1)


async def test_country_and_other_words_are_not_a_visitors_to_say(lab: Lab) -> None:
    """The service sees `CF-IPCountry: XX`, whatever the visitor says of that and of Workers."""
    seen: list[tuple[bytes, bytes]] = []

    async def look(stream: H2Stream) -> None:
        seen.extend(stream.headers)
        await hello(stream)

    forged = [("CF-IPCountry", "DE"), ("cf-ipcountry", "T1"), ("CF-Worker", "evil"), ("CF-Connecting-IPv6", "::2")]
    async with registered(lab, lab.token("web"), answer=look):
        await get(lab, "web.localhost", headers=forged)
    assert [value for name, value in seen if name == b"cf-ipcountry"] == [b"XX"]
    assert not {b"cf-worker", b"cf-connecting-ipv6"} & {name for name, _ in seen}


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ([], "cloudflare; loops=1"),
        (["cloudflare; loops=1"], "cloudflare; loops=2"),
        (["cloudflare"], "cloudflare; loops=2"),
        (["fastly", "Cloudflare; subreqs=1; loops=3"], "fastly, cloudflare; loops=4"),
        (["other; x=1, cloudflare; loops=2"], "other; x=1, cloudflare; loops=3"),
        (["cloudflare-not; loops=9"], "cloudflare-not; loops=9, cloudflare; loops=1"),
    ],
)
async def test_loops_are_counted(lab: Lab, sent: list[str], seen: str) -> None:
    """Each passage is counted in CDN-Loop, and what other networks have said there stays."""
    found: list[bytes] = []

    async def look(stream: H2Stream) -> None:
        found.append(dict(stream.headers)[b"cdn-loop"])
        await hello(stream)

    async with registered(lab, lab.token("web"), answer=look):
        await get(lab, "web.localhost", headers=[("CDN-Loop", value) for value in sent])
    assert found == [seen.encode()]


async def test_a_loop_ends(lab: Lab) -> None:
    """A service that leads its visitors to its own public name is stopped by the edge, after so many rounds."""
    rounds = 0

    async def again(stream: H2Stream) -> None:
        nonlocal rounds
        rounds += 1
        loop = dict(stream.headers)[b"cdn-loop"].decode()
        reply = await get(lab, "web.localhost", headers=[("CDN-Loop", loop)])
        await respond(stream, reply.status, [(b"Content-Length", b"%d" % len(reply.body))], reply.body)

    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("web"), answer=again):
        reply = await get(lab, "web.localhost")
    assert (reply.status, reply.body, rounds) == (403, b"error code: 1000", MAX_LOOPS)


@pytest.mark.parametrize("how", ["unknown", "no-connector", "refused", "access", "forbidden", "bad-request", "certs", "trace"])
async def test_every_answer_says_whose_it_is(lab: Lab, how: str) -> None:
    """`Server: cloudflare` and `CF-RAY` come with whatever the edge says itself."""
    lab.token("web")
    name, path = "web.localhost", "/"
    match how:
        case "unknown":
            name = "nobody.localhost"
        case "refused":
            path = "/?" + "x" * 20_000
        case "access" | "certs":
            lab.protect("web", AccessFront())
            path = "/cdn-cgi/access/certs" if how == "certs" else "/"
        case "forbidden":
            lab.protect("web", AccessFront("a", "b", deny="forbidden"))
        case "trace":
            path = "/cdn-cgi/trace"
    async with visiting(lab, name) as visitor:
        line = b"GET / BAD/1.1" if how == "bad-request" else b"GET %b HTTP/1.1" % path.encode()
        visitor.writer.write(line + b"\r\nHost: %b\r\nConnection: close\r\n\r\n" % name.encode())
        answer = (await visitor.reader.read()).lower()
    assert answer.count(b"\r\nserver: cloudflare\r\n") == 1
    assert answer.count(b"\r\ncf-ray: ") == 1


# -- the edge's own paths, odd paths -------------------------------------------------------------------------------------


async def test_own_paths(lab: Lab, events: list[LabEvent]) -> None:
    """What is below /cdn-cgi/ is the edge's own and never reaches the service: the trace, the pages of errors, else a 404."""
    async with registered(lab, lab.token("web")):
        trace = await get(lab, "web.localhost", "/cdn-cgi/trace", headers=[("User-Agent", "me/1")])
        told = dict(line.split("=", 1) for line in trace.body.decode().splitlines())
        assert (told["h"], told["ip"], told["uag"], told["http"], told["loc"]) == (
            "web.localhost",
            "127.0.0.1",
            "me/1",
            "http/1.1",
            "XX",
        )
        assert trace.header("content-type") == "text/plain"
        assert (await get(lab, "web.localhost", "/cdn-cgi/error/1015")).body == b"error code: 1015"
        for path in ("/cdn-cgi/", "/cdn-cgi/error/9999", "/cdn-cgi/error/x", "/cdn-cgi/login", "/cdn-cgi/access/certs?x"):
            assert (await get(lab, "web.localhost", path)).status == 404, path
        assert (await get(lab, "web.localhost", "/cdn-cgi")).body == b"hello /cdn-cgi"
        async with session(lab, "web.localhost") as visitor:
            _, body = await whole(await visitor.request(ask("/cdn-cgi/trace"), end=True))
            assert b"http=http/2\n" in body
            assert b"visit_scheme=https\n" in body
    assert {event.source for event in events if isinstance(event, RequestServed) and "cgi/" in event.path} == {"edge"}


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("/café".encode(), b"/caf%C3%A9"),
        ("/日本?q=ü".encode(), b"/%E6%97%A5%E6%9C%AC?q=%C3%BC"),
        (b"/latin\xe9", b"/latin%E9"),
        (b"/caf%C3%A9|^{}", b"/caf%C3%A9|^{}"),
    ],
)
async def test_raw_path(lab: Lab, sent: bytes, seen: bytes) -> None:
    """A path in raw UTF-8, as curl sends it, reaches the service in percent-encoding; what is encoded stays as it is."""
    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("web")), visiting(lab, "web.localhost") as visitor:
        for piece in (b"GET " + sent[:4], sent[4:] + b" HTTP/1.1\r\nHost: web.localhost\r\n", b"Connection: close\r\n\r\n"):
            visitor.writer.write(piece)
            await visitor.writer.drain()
        assert (await visitor.reader.read()).endswith(b"hello " + seen)
