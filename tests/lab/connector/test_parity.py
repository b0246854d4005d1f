"""Requests as a service sees them and answers as visitors do, with this connector and with the real one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.lab.connector.bench import BUILTIN_ONLY, Bench
from tests.lab.connector.mini_edge import finish
from tests.support.servers import listening
from tests.support.waits import PATIENCE

from prx.lab.protocol.errors import StreamError

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class RawService:
    """Notes the bytes of each request and answers with the bytes that the test wants."""

    def __init__(self) -> None:
        self.url = ""
        self.answer = OK
        self.requests: list[bytes] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator["RawService"]:
        """Listen until the block ends."""
        async with listening(self._serve) as served:
            self.url = served.url
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and close."""
        head = await reader.readuntil(b"\r\n\r\n")
        lowered = head.lower()
        if b"transfer-encoding: chunked" in lowered:
            head += await reader.readuntil(b"0\r\n\r\n")
        elif b"content-length: " in lowered:
            head += await reader.readexactly(int(lowered.partition(b"content-length: ")[2].split(b"\r\n")[0]))
        self.requests.append(head)
        writer.write(self.answer)
        await writer.drain()

    def head(self) -> dict[str, str]:
        """Headers of the last request, names in lower case; the request line stands under an empty name."""
        line, *rest = self.requests[-1].partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        return {"": line, **{name.lower(): value for name, _, value in (each.partition(": ") for each in rest)}}


@pytest.fixture
async def service(bench: Bench) -> AsyncIterator[RawService]:
    """Yield a service, with a connector before it."""
    async with RawService().running() as running, bench.started(url=running.url) as child:
        await bench.up(child)
        yield running


FRAMING = [
    ("GET", None, "", ""),
    ("HEAD", None, "", ""),
    ("DELETE", None, "", ""),
    ("OPTIONS", None, "", ""),
    ("GET", b"0", "", ""),
    ("POST", None, "chunked", "0"),
    ("PUT", None, "chunked", "0"),
    ("PATCH", b"0", "chunked", "0"),
    ("POST", b"0", "chunked", "0"),
    ("TRACE", None, "chunked", ""),
    ("BREW", None, "chunked", ""),
]


@pytest.mark.parametrize(("method", "length", "http2", "quic"), FRAMING, ids=[f"{row[0]}-{row[1]!r}" for row in FRAMING])
async def test_requests_without_a_body(
    bench: Bench, service: RawService, method: str, length: bytes | None, http2: str, quic: str
) -> None:
    """How a request without a body says so hangs on its method, and over which protocol it came."""
    headers = [(b"content-length", length)] if length is not None else []
    async with asyncio.timeout(PATIENCE):
        stream = await bench.edge.open(method, "/", headers, end=True)
        await finish(stream)
    seen = service.head()
    over_http2 = bench.edge.protocol == "http2"
    assert seen.get("transfer-encoding", "") == (http2 if over_http2 else "")
    assert seen.get("content-length", "") == ("" if over_http2 else quic)


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("/plain?q=1", "/plain?q=1"),
        ("/a|b", "/a%7Cb"),
        ("/^{}", "/%5E%7B%7D"),
        ('/`"<>', "/%60%22%3C%3E"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a%2Fb|", "/a/b%7C"),
        ("/!'()*", "/!'()*"),
        ("/?a|b", "/?a|b"),
    ],
)
async def test_paths(bench: Bench, service: RawService, path: str, written: str) -> None:
    """A path arrives as Go writes it."""
    assert (await bench.edge.fetch(path)).status == 200
    assert service.head()[""] == f"GET {written} HTTP/1.1"


@pytest.mark.parametrize("path", ["/a%", "/a%2", "/a%zz"])
async def test_bad_escapes(bench: Bench, service: RawService, path: str) -> None:
    """A path with a broken escape never reaches the service."""
    try:
        assert (await bench.edge.fetch(path)).status == 502
    except StreamError:
        assert bench.edge.protocol == "http2"  # Go breaks the stream off, for which visitors get a 502 too
    assert service.requests == []


async def test_user_agent(bench: Bench, service: RawService) -> None:
    """None is added, and an empty one is left out."""
    await bench.edge.fetch("/", headers=[(b"user-agent", b"")])
    assert "user-agent" not in service.head()
    await bench.edge.fetch("/")
    assert "user-agent" not in service.head()
    await bench.edge.fetch("/", headers=[(b"user-agent", b"curl/8")])
    assert service.head()["user-agent"] == "curl/8"


ANSWERS: dict[str, tuple[bytes, int, bytes]] = {
    "length beside chunks": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200, b"hello",
    ),
    "equal lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    "other lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", 502, b""),
    "a list of lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", 502, b""),
    "no number": (b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok", 502, b""),
    "bare newlines": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200, b"ok"),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nok", 200, b"ok"),
    "until closed": (b"HTTP/1.1 200 OK\r\n\r\nok", 200, b"ok"),
    "chunks in 1.0": (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nk", 200, b"1\r\nk"),
    "another coding": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok", 502, b""),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    "another version": (b"HTTP/1.7 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    "folded": (b"HTTP/1.1 200 OK\r\nX-A: 1\r\n 2\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    "space in a name": (b"HTTP/1.1 200 OK\r\nX A: 1\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    "other byte in a name": (b"HTTP/1.1 200 OK\r\nX@: 1\r\nContent-Length: 2\r\n\r\nok", 502, b""),
    "no name": (b"HTTP/1.1 200 OK\r\n: 1\r\nContent-Length: 2\r\n\r\nok", 502, b""),
    "no colon": (b"HTTP/1.1 200 OK\r\nabc\r\nContent-Length: 2\r\n\r\nok", 502, b""),
    "control character": (b"HTTP/1.1 200 OK\r\nX-A: a\x01b\r\nContent-Length: 2\r\n\r\nok", 502, b""),
    "high bytes": (b"HTTP/1.1 200 OK\r\nX-A: a\xffb\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    "bare CR": (b"HTTP/1.1 200 OK\r\nX-A: a\rb\r\nContent-Length: 2\r\n\r\nok", 502, b""),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n", 502, b""),
    "empty": (b"", 502, b""),
    "half a head": (b"HTTP/1.1 200 OK\r\nX-A: 1", 502, b""),
    "newline first": (b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 502, b""),
    "more than its length": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n", 200, b"ok"),
    "204 with a length": (b"HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\nok", 204, b""),
    "304 with a body": (b"HTTP/1.1 304 Not\r\nContent-Length: 2\r\n\r\nok", 304, b""),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n", 200, b"ok"),
    "interim": (b"HTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 103 Early\r\n\r\n" + OK, 200, b"ok"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ANSWERS)
async def test_answers(bench: Bench, service: RawService, kind: str) -> None:
    """What a service may get wrong is judged alike: what is forgiven, and what is a 502."""
    service.answer, status, body = ANSWERS[kind]
    reply = await bench.edge.fetch("/")
    assert (reply.status, reply.body) == (status, body)
    lengths = {value for name, value in reply.outer if name == b"content-length"}
    assert lengths <= {str(len(body)).encode()} or status in {204, 304}
    assert "transfer-encoding" not in reply.headers


BROKEN = {
    "bare newline behind the size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n",
    "no end of a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokxx",
    "no size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok",
    "too short": b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nok",
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_bodies_that_break_off(bench: Bench, service: RawService, kind: str) -> None:
    """A body that is not framed well never looks whole."""
    service.answer = BROKEN[kind]
    try:
        reply = await bench.edge.fetch("/")
    except StreamError:
        return
    length = reply.headers.get("content-length")
    assert reply.status == 502 or (length is not None and int(length) > len(reply.body)), reply


@BUILTIN_ONLY
async def test_switching_without_being_asked(bench: Bench, service: RawService) -> None:
    """A 101 that was not asked for is no answer."""
    service.answer = b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nfree bytes"
    assert (await bench.edge.fetch("/")).status == 502


@BUILTIN_ONLY
async def test_nothing_is_unpacked(bench: Bench, service: RawService) -> None:
    """Unlike Go's client this one adds no Accept-Encoding, and what is packed stays so; on Cloudflare one always comes."""
    await bench.edge.fetch("/")
    assert "accept-encoding" not in service.head()
    service.answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok"
    reply = await bench.edge.fetch("/")
    assert (reply.headers["content-encoding"], reply.body) == ("gzip", b"ok")
