"""The connection to a child that is kept open: what it saves, and that it changes no answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.support.servers import Servers, forever

from prx.runtime.probes.connector import ConnectorEndpoints, Reply
from prx.runtime.probes.head import Head
from prx.runtime.probes.kept import _parted, body_of

KEPT = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1;x=y\r\nk\r\n0\r\n\r\n"


async def keeping(servers: Servers, raw: bytes, times: int = 9) -> tuple[ConnectorEndpoints, Callable[[], int]]:
    """Return endpoints that answer `raw` so many times on each connection, and how to count connections."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for left in range(times, 0, -1):
            for piece in (raw[:7], raw[7:40], raw[40:]):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if left > 1:
                await reader.readuntil(b"\r\n\r\n")

    served = await servers.start(serve)
    return ConnectorEndpoints(served.port), lambda: served.connections


@pytest.mark.parametrize("raw", [KEPT, CHUNKED], ids=["length", "chunked"])
async def test_one_connection_serves_all_questions(servers: Servers, raw: bytes) -> None:
    """However the body is delimited, and in whatever pieces it comes."""
    endpoints, connections = await keeping(servers, raw)
    for _ in range(5):
        assert await endpoints.get("/ready") == Reply(200, b"ok")
    assert connections() == 1
    endpoints.close()
    assert await endpoints.get("/ready") == Reply(200, b"ok")
    assert connections() == 2


async def test_a_server_that_hangs_up_is_asked_again(servers: Servers) -> None:
    """A question meets a connection that was closed meanwhile: it is asked on another one, and answered."""
    endpoints, connections = await keeping(servers, KEPT, times=1)
    assert [await endpoints.get("/ready") for _ in range(3)] == [Reply(200, b"ok")] * 3
    assert connections() >= 3


async def test_two_questions_at_once_get_an_answer_each(servers: Servers) -> None:
    """A check that asks while the watch waits does not read the other's answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = served.heads[-1].split()[1]
        await asyncio.sleep(0.02)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path))

    served = await servers.start(serve)
    endpoints = ConnectorEndpoints(served.port)
    found = await asyncio.gather(endpoints.get("/ready"), endpoints.get("/metrics"))
    assert list(found) == [Reply(200, b"/ready"), Reply(200, b"/metrics")]


async def test_a_child_that_freezes_between_two_questions_is_silent(servers: Servers) -> None:
    """The kernel still takes what is sent to a stopped process: no answer in time is none, and no old answer counts."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if served.connections == 1:
            writer.write(KEPT)
        await forever()

    served = await servers.start(serve)
    endpoints = ConnectorEndpoints(served.port)
    assert await endpoints.get("/ready") == Reply(200, b"ok")
    assert await endpoints.get("/ready", timeout=0.1) is None
    assert await endpoints.get("/ready", timeout=0.1) is None
    assert served.connections == 2


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\nbroken\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nokok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
    ],
)
async def test_what_is_no_answer_is_none(servers: Servers, raw: bytes) -> None:
    """Neither is another protocol, a head or a body that cannot be read, nor a part of one."""
    served = await servers.canned(raw)
    assert await ConnectorEndpoints(served.port).get("/ready") is None


async def test_an_answer_that_ends_with_its_connection_is_whole(servers: Servers) -> None:
    """What the quick reader does not know is read the careful way."""
    served = await servers.canned(b"HTTP/1.0 503 no\r\n\r\nwait")
    assert await ConnectorEndpoints(served.port).get("/ready") == Reply(503, b"wait")


@pytest.mark.parametrize(
    ("buffer", "found"),
    [
        (b"", None),
        (b"3\r\nab", None),
        (b"3\r\nabc\r\n0\r\n", None),
        (b"3\r\nabc\r\n0\r\n\r\n", (b"abc", b"")),
        (b"3\r\nabc\r\n0\r\n\r\nHTTP", (b"abc", b"HTTP")),
    ],
)
def test_a_chunked_body_is_over_with_its_last_chunk(buffer: bytes, found: tuple[bytes, bytes] | None) -> None:
    """Not before, and what follows is not part of it."""
    assert body_of(Head(200, {}, True, None), buffer) == found


@pytest.mark.parametrize("size", [b"-6", b"-2", b"+4", b"0x4", b"1_0", b"", b" 4", b"f" * 17])
def test_a_chunk_has_a_length_in_plain_digits(size: bytes) -> None:
    """A signed one would lead back to the chunk before, and the reader would never end."""
    with pytest.raises(ValueError, match="length"):
        body_of(Head(200, {}, True, None), b"4\r\nabcd\r\n" + size + b"\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "late", [KEPT.replace(b"ok", b"no"), b"x", b"HTTP/1.1 408 late\r\n\r\n", b""], ids=["answer", "byte", "408", "end"]
)
async def test_what_comes_unasked_answers_no_question(servers: Servers, late: bytes) -> None:
    """A connection that has more to say than its answer, or is over, is never used again."""
    answered, said = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(KEPT)
        if served.connections == 1:
            await answered.wait()
            writer.write(late)
            await writer.drain()
            said.set()
            if not late:
                return
        await forever()

    served = await servers.start(serve)
    endpoints = ConnectorEndpoints(served.port)
    assert await endpoints.get("/ready") == Reply(200, b"ok")
    answered.set()
    await said.wait()
    assert await endpoints.get("/ready") == Reply(200, b"ok")
    assert served.connections == 2


async def echoing(servers: Servers) -> tuple[ConnectorEndpoints, asyncio.Event, list[bytes]]:
    """Return endpoints that answer each path with itself, an event that is set with each answer, and the heads of questions."""
    answered = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = served.heads[-1]
        while head:
            path = head.split()[1]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path))
            await writer.drain()
            answered.set()
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return
            served.heads.append(head)

    served = await servers.start(serve)
    return ConnectorEndpoints(served.port), answered, served.heads


async def test_an_answer_to_what_was_asked_ahead_is_at_hand(servers: Servers) -> None:
    """It costs no wait and no second question, and is there once."""
    endpoints, answered, heads = await echoing(servers)
    for count in (1, 2, 3):
        answered.clear()
        endpoints.ask("/ready")
        await answered.wait()
        assert endpoints.at_hand("/ready") == Reply(200, b"/ready")
        assert endpoints.at_hand("/ready") is None
        assert len(heads) == count


async def test_a_question_goes_on_with_what_was_asked_ahead(servers: Servers) -> None:
    """An answer that is not there yet is no sign of anything: it is waited for, and not asked for again."""
    endpoints, _, heads = await echoing(servers)
    endpoints.ask("/ready")
    assert endpoints.at_hand("/ready") is None
    assert await endpoints.get("/ready") == Reply(200, b"/ready")
    assert len(heads) == 1


async def test_an_answer_that_was_not_waited_for_answers_no_later_question(servers: Servers) -> None:
    """Asked ahead again, or for another path: the old answer is left behind with its connection."""
    endpoints, answered, _ = await echoing(servers)
    endpoints.ask("/ready")
    await answered.wait()
    assert endpoints.at_hand("/metrics") is None
    assert await endpoints.get("/metrics") == Reply(200, b"/metrics")
    answered.clear()
    endpoints.ask("/quicktunnel")
    await answered.wait()
    assert endpoints.at_hand("/ready") is None
    assert endpoints.at_hand("/quicktunnel") == Reply(200, b"/quicktunnel")


@pytest.mark.parametrize("raw", [b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nbroken\r\n\r\n", b"", KEPT + b"x"])
async def test_what_is_at_hand_and_no_answer_is_asked_for_the_careful_way(servers: Servers, raw: bytes) -> None:
    """Nothing is concluded from it, and the connection is not used again."""
    said = asyncio.Event()

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if served.connections > 1:
            writer.write(KEPT)
            return
        writer.write(raw)
        await writer.drain()
        said.set()
        if raw:
            await forever()

    served = await servers.start(serve)
    endpoints = ConnectorEndpoints(served.port)
    endpoints.ask("/ready")
    await said.wait()
    found = endpoints.at_hand("/ready")
    assert found == (Reply(200, b"ok") if raw.startswith(KEPT) else None)
    assert await endpoints.get("/ready") == Reply(200, b"ok")
    assert served.connections >= 2


async def test_a_question_that_cannot_be_asked_ahead_is_harmless(unused_port: int) -> None:
    """Nothing listens: the question itself finds that out."""
    endpoints = ConnectorEndpoints(unused_port)
    endpoints.ask("/ready")
    assert endpoints.at_hand("/ready") is None
    assert await endpoints.get("/ready") is None


async def test_a_port_on_which_nothing_listens_is_known_at_once(servers: Servers, unused_port: int) -> None:
    """It costs no wait; and the connection that shows that something does listen serves the question."""
    assert ConnectorEndpoints(unused_port).is_refused()
    endpoints, connections = await keeping(servers, KEPT)
    assert not endpoints.is_refused()
    assert not endpoints.is_refused()
    assert await endpoints.get("/ready") == Reply(200, b"ok")
    assert connections() == 1


@pytest.mark.parametrize(
    ("head", "status", "length"),
    [
        (b"HTTP/1.1 200 OK\r\nDate: Sun, 29 Nov 2026 13:00:00 GMT\r\nContent-Length: 2\r\n\r\n", 200, 2),
        (b"HTTP/1.1 200 OK\r\nDate: Sun, 29 Nov 2026 13:00:01 GMT\r\nContent-Length: 2\r\n\r\n", 200, 2),
        (b"HTTP/1.1 200 OK\r\nDate: Sun, 29 Nov 2026 13:00:01 GMT\r\nContent-Length: 3\r\n\r\n", 200, 3),
        (b"HTTP/1.1 503 No\r\nDate: Sun, 29 Nov 2026 13:00:01 GMT\r\nContent-Length: 2\r\n\r\n", 503, 2),
        (b"HTTP/1.1 200 OK\r\nDate: yesterday\r\nContent-Length: 2\r\n\r\n", 200, 2),
        (b"HTTP/1.1 200 OK\nDate: Sun, 29 Nov 2026 13:00:01 GMT\nContent-Length: 2\n\n", 200, 2),
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nab\r\nDate: Sun, 29 Nov 2026 13:00:01 GMT\r\n\r\n", 200, 2),
    ],
    ids=["first", "another second", "another length", "another status", "no date", "bare newlines", "a date in the body"],
)
def test_a_head_that_is_known_says_the_same(head: bytes, status: int, length: int) -> None:
    """Whatever came before: only the date may differ from a head that is not read again."""
    for _ in range(2):
        parts = _parted(head + b"ok")
        assert parts is not None
        assert (parts[0].status, parts[0].length) == (status, length)
        assert parts[1] == head.partition(b"\n\n")[2] + b"ok"
        assert _parted(head[:-1]) is None or b"\n\n" in head
