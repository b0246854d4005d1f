"""What passes the relay comes out as it went in, whatever it is; and a copy of it is kept."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import struct
from dataclasses import replace

import pytest
import trustme
from tests.runtime.probes.odd_answers import ODD_ANSWERS
from tests.support.origin import blob, blob_digest
from tests.support.waits import PATIENCE, free_port
from tests.traffic.pieces import ask, kept, read_head, relaying, service

from prx.runtime.probes.connect import FailureKind, ProbeError
from prx.traffic.pair import HIGH_WATER
from prx.traffic.relay import Target

GET = b"GET /a?b=1 HTTP/1.1\r\nHost: app.example.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize("odd", ODD_ANSWERS, ids=lambda odd: odd.name)
async def test_an_odd_answer_is_byte_for_byte_what_the_service_wrote(odd: object) -> None:
    """With the relay a connector reads the same bytes as without it, and the copy never fails for what they are."""
    raw: bytes = odd.raw  # type: ignore[attr-defined]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(raw)
        await writer.drain()

    async with service(answer) as port, relaying(port) as relay:
        assert await ask(relay.port, GET) == await ask(port, GET) == raw
        (seen,) = kept(relay)
        assert seen.request is not None
        assert seen.ended
        assert not any("could not be read" in note for note in seen.notes)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\xff\x00 no HTTP at all",
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 300_000 + b"\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET /ünï\x1b[2J HTTP/1.1\r\nX-\xff: \xfe\r\n\r\n".encode("latin-1"),
    ],
    ids=["binary", "bare LF", "smuggling", "header bomb", "HTTP/2", "escapes"],
)
async def test_an_odd_request_reaches_the_service_as_it_is(raw: bytes) -> None:
    """The relay judges nothing: the service sees what it would see without it."""

    async def mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())

    async with service(mirror) as port, relaying(port) as relay:
        assert await ask(relay.port, raw) == raw
        assert kept(relay)
        assert relay.copier.ring.dropped == 0


async def test_each_request_of_a_connection_is_kept_with_its_answer() -> None:
    """Keep-alive, pipelining, chunks, HEAD and 204 are distinguished."""
    answers = [
        OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
    ]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number, raw in enumerate(answers):
            head = await read_head(reader)
            if b"POST" in head:
                await reader.readexactly(4)
            for at in range(0, len(raw), 7 + number):
                writer.write(raw[at : at + 7 + number])
                await writer.drain()

    posted = b"POST /4 HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody"
    asked = b"GET /0 HTTP/1.1\r\n\r\nGET /1 HTTP/1.1\r\n\r\nHEAD /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n" + posted
    async with service(answer) as port, relaying(port) as relay:
        assert await ask(relay.port, asked) == b"".join(answers)
        seen = kept(relay)
        assert [(item.request.target, item.status) for item in seen if item.request] == [
            (b"/0", 200),
            (b"/1", 200),
            (b"/2", 200),
            (b"/3", 204),
            (b"/4", 201),
        ]
        assert [bytes(item.answer_body.kept) for item in seen] == [b"ok", b"abcde", b"", b"", b""]
        assert seen[1].trailers == [(b"X-Sum", b"1")]
        assert (bytes(seen[4].request_body.kept), seen[4].interim) == (b"body", [100])
        assert not any(item.answer_body.cut or item.notes for item in seen)


async def test_a_large_body_passes_whole_and_only_its_beginning_is_kept() -> None:
    """32 MB arrive byte for byte; the copy is cut, and says so."""
    size = 32 * 1024 * 1024

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for part in blob(size):
            writer.write(part)
            await writer.drain()

    async with service(answer) as port, relaying(port) as relay:
        whole = await ask(relay.port, GET)
        assert isinstance(whole, bytes)
        assert hashlib.sha256(whole.partition(b"\r\n\r\n")[2]).hexdigest() == blob_digest(size)
        (seen,) = kept(relay)
        assert len(seen.answer_body.kept) <= 1024 * 1024
        assert seen.answer_body.size == size or relay.copier.ring.dropped


async def test_a_reader_that_stalls_holds_the_writer_up() -> None:
    """Nothing piles up in the relay: a service whose visitor takes nothing can write no more."""
    written = 0
    stuck = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await read_head(reader)
        writer.transport.set_write_buffer_limits(high=65536)
        while not stuck.is_set():
            writer.write(b"x" * 65536)
            written += 65536
            try:
                async with asyncio.timeout(1):
                    await writer.drain()
            except TimeoutError:
                stuck.set()

    async with service(answer) as port, relaying(port) as relay:
        _, writer = await asyncio.open_connection("127.0.0.1", relay.port, limit=1024)
        writer.write(GET)
        async with asyncio.timeout(PATIENCE):
            await stuck.wait()
        (pair,) = relay.pairs
        assert pair.visitor.transport is not None
        assert pair.visitor.transport.get_write_buffer_size() <= HIGH_WATER + 512 * 1024
        writer.transport.abort()


async def test_half_of_a_connection_ends_alone() -> None:
    """A visitor who has said everything still gets the answer, and the service hears of the end."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        everything = await reader.read()
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n%d bytes" % len(everything))

    async with service(answer) as port, relaying(port) as relay:
        assert await ask(relay.port, GET) == b"HTTP/1.0 200 OK\r\n\r\n%d bytes" % len(GET)


async def test_a_service_that_hangs_holds_up_no_other_and_hears_that_its_visitor_has_left() -> None:
    """Requests that get no answer cost their own connections; these end with their visitors, at the service, too."""
    left = asyncio.Semaphore(0)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"/hang" not in await read_head(reader):
            writer.write(OK)
            return
        assert await reader.read() == b""
        left.release()

    async with service(answer) as port, relaying(port) as relay:
        writers = []
        for _ in range(50):
            _, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            writer.write(b"GET /hang HTTP/1.1\r\n\r\n")
            writers.append(writer)
        assert await ask(relay.port, GET) == OK
        for writer in writers:
            writer.close()
        async with asyncio.timeout(PATIENCE):
            for _ in writers:
                await left.acquire()
            while relay.pairs:  # noqa: ASYNC110 - the loop that is waited for is this one
                await asyncio.sleep(0)


async def test_connections_that_wait_do_not_mix_their_bytes() -> None:
    """What could not be written at once is what was read, however much others read meanwhile."""
    size = 4 * 1024 * 1024

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        letter = (await read_head(reader)).split()[1][1:2]
        writer.write(letter * size)
        await writer.drain()

    async def slowly(letter: bytes) -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port, limit=4096)
        writer.write(b"GET /" + letter + b" HTTP/1.1\r\n\r\n")
        whole = bytearray()
        while data := await reader.read(3000):
            whole += data
            await asyncio.sleep(0)
        writer.close()
        return whole == letter * size

    async with service(answer) as port, relaying(port) as relay, asyncio.timeout(PATIENCE):
        assert await asyncio.gather(*(slowly(letter) for letter in (b"a", b"b", b"c"))) == [True] * 3


async def test_a_service_that_breaks_off_is_a_reset_for_the_connector() -> None:
    """An answer that was cut off does not look like one that ended."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await writer.drain()
        await reader.read(1)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with service(answer) as port, relaying(port) as relay:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(GET)
        assert (await reader.readuntil(b"half")).endswith(b"half")
        writer.write(GET)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_a_service_that_does_not_listen_is_a_reset_and_no_hang() -> None:
    """The connector answers 502 at once, as it does without the relay."""
    async with relaying(free_port()) as relay:
        assert await ask(relay.port, GET) == "reset"
        assert not relay.pairs


def _no_certificates() -> ssl.SSLContext:
    raise ProbeError(FailureKind.LOCAL, "the CA file cannot be used")


def _no_thread() -> ssl.SSLContext:
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize(
    "target",
    [
        Target("a..b", 80),
        Target("127.0.0.1", 1 << 20),
        Target("127.0.0.1", 0, _no_certificates, "localhost"),
        Target("127.0.0.1", 0, _no_thread, "localhost"),
    ],
    ids=["no name", "no port", "no certificates", "no thread"],
)
async def test_a_service_that_cannot_be_asked_for_whatever_reason_is_a_reset_and_no_hang(target: Target) -> None:
    """A connection that cannot be opened at all ends as one that is refused, and the reason is handed on."""

    async def wait(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with service(wait) as port, relaying(0, target=replace(target, port=target.port or port)) as relay:
        refused: list[Exception] = []
        relay.on_refused = refused.append
        assert await ask(relay.port, GET) == "reset"
        assert (len(refused), len(relay.pairs)) == (1, 0)


async def test_a_service_that_speaks_tls_is_seen_plainly() -> None:
    """The relay speaks TLS with an https service, so that its requests are readable."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    certificate.configure_cert(theirs)
    authority.configure_trust(ours)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(OK)

    async with (
        service(answer, ssl=theirs) as port,
        relaying(port, target=Target("127.0.0.1", port, ours, "localhost")) as relay,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(GET)
        assert await reader.readexactly(len(OK)) == OK
        assert [item.status for item in kept(relay)] == [200]
        writer.close()


async def test_the_ring_is_bounded() -> None:
    """Of many requests the last ones are kept."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_head(reader):
            writer.write(OK)

    async with service(answer) as port, relaying(port, keep=5) as relay:
        assert await ask(relay.port, GET * 20) == OK * 20
        assert [item.id for item in kept(relay)] == [16, 17, 18, 19, 20]
