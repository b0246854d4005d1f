"""What is kept of exchanges is bounded, and who waits for an answer hears of it."""

from __future__ import annotations

import asyncio
import tracemalloc
import zlib

import pytest

from prx.traffic.exchange import BODY_LIMIT, MESSAGES, Exchange
from prx.traffic.filters import parse_filter
from prx.traffic.inspector import Inspector
from prx.traffic.ring import Ring
from prx.traffic.search import Search
from prx.traffic.tee import SERVICE, VISITOR, Copier, Tee

ASK = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
ROUND = 60_000
KEYS = b"Sec-WebSocket-Accept: x\r\n"
STREAMS = {
    "a WebSocket": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + KEYS + b"\r\n",
        b"\x81\x7e" + ROUND.to_bytes(2, "big") + b"x" * ROUND,
    ),
    "server-sent events": (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"%x\r\ndata: " % (ROUND + 8) + b"x" * ROUND + b"\n\n\r\n",
    ),
    "a long download": (b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n", b"x" * ROUND),
    "another protocol": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n", b"x" * ROUND),
}


def held(exchange: Exchange) -> int:
    """Return how many bytes an exchange holds beside its heads."""
    bodies = len(exchange.request_body.kept) + len(exchange.answer_body.kept)
    return bodies + sum(len(message.data) for message in exchange.messages)


@pytest.mark.parametrize("what", STREAMS)
async def test_what_goes_on_after_it_made_room_keeps_nothing(what: str) -> None:
    """`keep_mb` bounds what is kept of streams as well that are open for days, however many there are."""
    ring = Ring(keep=5, most_bytes=64_000_000)
    copier = Copier(ring, "web", lambda: 0.0)
    begin, more = STREAMS[what]
    tees = []
    for number in range(20):
        tee = Tee(copier)
        upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\n" if b" 101 " in begin else b""
        tee.take(VISITOR, 0.0, ASK[:-2] % number + upgrade + b"\r\n")
        tee.take(SERVICE, 0.0, begin)
        tees.append(tee)
    for _ in range(30):
        for tee in tees:
            tee.take(SERVICE, 0.0, more)
    exchanges = [tee.first for tee in tees if tee.first is not None]
    assert [held(item) for item in exchanges[:-5]] == [0] * 15
    assert sum(map(held, exchanges)) <= 5 * (2 * BODY_LIMIT + MESSAGES * 65536)
    if "messages" in what or "events" in what or "Web" in what:
        assert {len(item.messages) + item.more_messages for item in exchanges} == {30}
    else:
        assert {item.answer_body.size for item in exchanges} == {30 * ROUND}


async def test_less_is_kept_as_soon_as_less_is_to_be_kept() -> None:
    """A smaller `keep` or `keep_mb` in a reload needs no further request to take effect."""
    ring = Ring(keep=10, most_bytes=64_000_000)
    for number in range(10):
        exchange = ring.new("web", float(number))
        exchange.answer_body.add(b"x" * 500_000)
        ring.weigh(exchange)
    ring.bound(4, 64_000_000)
    assert [item.id for item in ring] == [7, 8, 9, 10]
    ring.bound(4, 1_200_000)
    assert [item.id for item in ring] == [9, 10]
    assert ring.bytes < 1_200_000


async def test_an_answer_wakes_who_has_just_begun_to_wait() -> None:
    """An answer that comes between the last look and the beginning of the wait is not missed: nothing may come after it."""
    ring = Ring(keep=10, most_bytes=1_000_000)
    looks = 0

    def answered() -> list[Exchange]:
        nonlocal looks
        looks += 1
        if looks == 2:  # what is ready already in this round of the loop comes first
            asyncio.get_running_loop().call_soon(lambda: ring.finish(ring.new("web", 1.0)))
        return [item for item in ring if item.answered]

    inspector = Inspector.__new__(Inspector)  # it needs nothing of itself for that
    search = Search(parse_filter(""), answered, lambda: inspector._any_answer({"web": ring}))
    await search.once()
    async with asyncio.timeout(5):
        await search.until(60)
    assert [item.id for item in search.fitting] == [1]


async def test_who_gives_up_leaves_nothing_behind() -> None:
    """A wait that is over is forgotten."""
    ring = Ring(keep=10, most_bytes=1_000_000)
    waits = [ring.next_answer() for _ in range(5)]
    for wait in waits[:3]:
        wait.cancel()
    await asyncio.sleep(0)
    assert len(ring._waiting) == 2
    ring.finish(ring.new("web", 1.0))
    await asyncio.gather(*waits[3:])
    await asyncio.sleep(0)
    assert not ring._waiting


AGREED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


@pytest.mark.parametrize("packed", [False, True])
async def test_what_visitors_alone_say_is_bounded(packed: bool) -> None:
    """Visitors who fill WebSockets that the service is silent on do not pass `keep_mb`: each message is weighed as it comes."""
    ring = Ring(keep=500, most_bytes=3_000_000)
    copier = Copier(ring, "web", lambda: 0.0)
    agreed = AGREED[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n" if packed else AGREED
    message = b"\x81\x7e" + ROUND.to_bytes(2, "big") + b"x" * ROUND
    if packed:
        packer = zlib.compressobj(wbits=-15)
        data = (packer.compress(b"x" * ROUND) + packer.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")
        message = b"\xc1\x7e" + len(data).to_bytes(2, "big") + data
    exchanges = []
    for number in range(10):
        tee = Tee(copier)
        tee.take(VISITOR, 0.0, ASK[:-2] % number + b"Upgrade: websocket\r\n\r\n")
        tee.take(SERVICE, 0.0, agreed)
        for _ in range(40):
            tee.take(VISITOR, 0.0, message)
        assert tee.first is not None
        exchanges.append(tee.first)
    assert sum(map(held, exchanges)) < 3_000_000 + MESSAGES * 65536 // 5
    assert {len(item.messages) + item.more_messages for item in exchanges} == {40}


MANY_FIELDS = {
    "no names": [b"A: " for _ in range(20_000)],
    "all others": [b"X-%d: %d" % (number, number) for number in range(10_000)],
    "one name": [b"Cookie: a=%d" % number for number in range(10_000)],
    "as browsers send": [b"Accept-Encoding: gzip, deflate, br, zstd", b"Sec-Fetch-Mode: navigate"] * 20,
}


@pytest.mark.parametrize("where", ["request", "answer", "trailers"])
@pytest.mark.parametrize("kind", MANY_FIELDS)
async def test_heads_of_many_fields_weigh_what_they_hold(kind: str, where: str) -> None:
    """A head of thousands of fields is many objects: `keep_mb` counts them, so that a visitor cannot fill the memory."""
    ring = Ring(keep=10_000, most_bytes=20_000_000)
    copier = Copier(ring, "web", lambda: 0.0)
    fields = b"\r\n".join(MANY_FIELDS[kind]) + b"\r\n"
    asked = b"GET / HTTP/1.1\r\n" + (fields if where == "request" else b"") + b"\r\n"
    answer = b"HTTP/1.1 200 OK\r\n" + (fields if where == "answer" else b"") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"
    answer += (fields if where == "trailers" else b"") + b"\r\n"
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(40 if len(fields) > 50_000 else 4_000):
            tee = Tee(copier)
            tee.take(VISITOR, 0.0, bytes(bytearray(asked)))
            tee.take(SERVICE, 0.0, bytes(bytearray(answer)))
            for item in ring:  # as a list does
                assert item.request is None or item.request.values(b"host") == []
                break
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert ring.bytes < 20_000_000
    assert taken < 1.5 * ring.bytes + 2_000_000, (taken, ring.bytes)
